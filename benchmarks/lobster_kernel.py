# SPDX-License-Identifier: Apache-2.0
"""Carries the operations of the NASDAQ hour out in the kernel, in this process, as commands of several accounts.

Used by `benchmarks.lobster`. It must never touch the kernel but by commands; answers are read from events.
"""

from benchmarks.lobster_flow import TICK, Add, Cancel, Checkpoint, Fill, Operation, Reduce, Take, Top
from bidhall.core import Exchange
from bidhall.core.records import (
    EVENT_STRUCT,
    EventFlag,
    EventKind,
    EventRow,
    OrderType,
    Side,
    TimeInForce,
    account,
    amend,
    asset,
    cancel,
    configure,
    deposit,
    market,
    place,
)

MARKET, BASE, QUOTE = 1, 1, 2
MAKERS, TAKERS = 4, 2
FUNDS_UNITS = 10**17


def setup() -> bytes:
    """One market with a tick of a cent and a step of one share; everybody is rich."""
    people = range(1, MAKERS + TAKERS + 1)
    return b"".join(
        [
            configure(accounts_max=64, orders_max=1 << 17, assets_max=2, markets_max=1),
            asset(b"AAPL", 0),
            asset(b"USD", 2),
            market(
                b"AAPLUSD", BASE, QUOTE, tick_e8=10**6, step_units=1, price_ticks_max=1 << 20,
                quantity_steps_max=1 << 20, orders_max=0,
            ),
            *[account(b"lobster") for _ in people],
            *[deposit(person, asset_id, FUNDS_UNITS) for person in people for asset_id in (BASE, QUOTE)],
        ]
    )


class KernelVenue:
    """The exchange and what is known of it."""

    def __init__(self) -> None:
        self.exchange = Exchange()
        self.tops: list[Top] = []
        self.deletes = self.deletes_right = 0
        self.faults: list[str] = []
        self._order_ids: dict[int, int] = {}
        self._ids: dict[int, int] = {}
        self._takes = 0
        self._apply(setup())

    def _apply(self, command: bytes) -> list[EventRow]:
        events = self.exchange.apply(command)
        raw = b"" if events is None else events.tobytes()
        rows = [EventRow._make(row) for row in EVENT_STRUCT.iter_unpack(raw)]
        self.faults += [f"refused with code {row.code}" for row in rows if row.kind == EventKind.REJECTED]
        return rows

    def carry_out(self, operation: Operation) -> list[Fill] | None:
        """One operation; the fills of a Take."""
        match operation:
            case Add():
                self._add(operation)
            case Reduce(order_id, size, total):
                (event,) = self._apply(amend(_maker(order_id), MARKET, self._order_ids[order_id], quantity_steps=total))
                if event.kind != EventKind.REPLACED or event.remaining_steps != size:
                    self.faults.append(f"order {order_id}: reduced to {event.remaining_steps}, not to {size}")
            case Cancel(order_id, size, counts):
                (event,) = self._apply(cancel(_maker(order_id), MARKET, self._order_ids.pop(order_id)))
                right = event.kind == EventKind.CANCELED and event.remaining_steps == size
                self.deletes += counts
                self.deletes_right += counts and right
                if not right:
                    self.faults.append(f"order {order_id}: {event.remaining_steps} were left, not {size}")
            case Take():
                return self._take(operation)
            case Checkpoint():
                _, bid, bid_size, ask, ask_size = self.exchange.top(MARKET)
                self.tops.append(Top(ask * TICK, ask_size, bid * TICK, bid_size))
        return None

    def _add(self, add: Add) -> None:
        side = Side.BUY if add.direction > 0 else Side.SELL
        command = place(
            _maker(add.id), MARKET, side, OrderType.LIMIT_MAKER, price_ticks=add.price // TICK, quantity_steps=add.size
        )
        (event,) = self._apply(command)
        self._order_ids[add.id] = event.order_id
        self._ids[event.order_id] = add.id

    def _take(self, take: Take) -> list[Fill]:
        self._takes += 1
        side = Side.BUY if take.direction > 0 else Side.SELL
        taker = MAKERS + 1 + self._takes % TAKERS
        limit, size = take.price // TICK, take.size
        command = place(
            taker, MARKET, side, OrderType.LIMIT, TimeInForce.IOC, price_ticks=limit, quantity_steps=size
        )
        return [
            Fill(self._ids[event.other_order_id], event.price_ticks * TICK, event.quantity_steps)
            for event in self._apply(command)
            if event.kind == EventKind.FILL and not event.flags & EventFlag.MAKER
        ]


def _maker(order_id: int) -> int:
    return order_id % MAKERS + 1
