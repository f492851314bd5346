# SPDX-License-Identifier: Apache-2.0
"""A small market to tell stories on: the readable rule tests play on it, once on the twin and once on the kernel.

Four accounts with a million of either asset, one market where a tick times a step is one unit, and texts instead of
records: books are drawn, events told in one line each. It must never know a rule.
"""

import re
from typing import Any

from tests.model import ModelExchange, commands
from tests.model.records import Event, EventKind, Flag, OrderType, Reason, Reject, Side, TimeInForce

ANN, BOB, CYD, DAN = 1, 2, 3, 4
NAMES = {"ann": ANN, "bob": BOB, "cyd": CYD, "dan": DAN}
BASE, QUOTE = 1, 2
MILLION = 1_000_000
SECOND = 10**9
BUY, SELL = Side.BUY, Side.SELL


def name_of(words: type, value: int) -> str:
    """The word of a number, for messages."""
    return next((name for name, other in vars(words).items() if other == value and name.isupper()), str(value))


def told(event: Event) -> str:
    """One event in a few words."""
    number, kind = f"#{event.order_id}", event.kind
    trade = f"{event.quantity_steps}@{event.price_ticks}"
    if kind == EventKind.ACCEPTED:
        return f"{number} accepted" if event.flags & Flag.WORKING else f"{number} waits"
    if kind == EventKind.FILL:
        verb = "gives" if event.flags & Flag.MAKER else "takes"
        return f"{number} {verb} {trade}" + (", filled" if event.flags & Flag.LAST else "")
    if kind == EventKind.PREVENTED:
        rest = "" if event.flags & Flag.LAST else f", {event.remaining_steps} left"
        return f"{number} prevented {trade}" + (f" for {event.quote_units}" if event.quote_units else "") + rest
    if kind == EventKind.EXPIRED:
        return f"{number} expired {name_of(Reason, event.reason)}, {event.remaining_steps} left"
    if kind == EventKind.CANCELED:
        return f"{number} canceled, {event.remaining_steps} left"
    if kind == EventKind.REPLACED:
        return f"{number} replaced, {event.remaining_steps} of {event.quantity_steps} left"
    if kind == EventKind.TRIGGERED:
        return f"{number} triggered"
    if kind == EventKind.REJECTED:
        return f"refused {name_of(Reject, event.code)}"
    if kind == EventKind.REPEATED:
        return f"repeats {event.trade_id}: {number} {name_of(Reject, event.code)}"
    if kind == EventKind.BALANCE:
        return f"balance {event.quantity_steps:+d}: {event.executed_steps} free, {event.executed_quote_units} locked"
    if kind == EventKind.KILLED:
        return f"killed {event.quantity_steps}"
    return name_of(EventKind, kind).lower()


class Stage:
    """One exchange, its market, and words for them."""

    rules = 1  # the version in which `open` begins

    def __init__(self, exchange: Any) -> None:
        self.exchange = exchange
        self.events: list[Event] = []
        self.time_ns = 0

    def open(self, **market: int) -> "Stage":
        """The usual world; `market` changes fields of its market."""
        self.do(commands.configure(rules_version=self.rules), commands.asset(b"BASE", 0), commands.asset(b"QUOTE", 0))
        for _ in NAMES:
            self.do(commands.account())
        for account in NAMES.values():
            self.do(commands.deposit(account, BASE, MILLION), commands.deposit(account, QUOTE, MILLION))
        assert self.do(commands.market(b"MARKET", BASE, QUOTE, **market)) == ["market"]
        return self

    def apply(self, *batch: Any, **named: Any) -> list[Event] | None:
        """A batch as it is; the events as rows whoever gave them."""
        events = self.exchange.apply(*batch, **named)
        if events is None or isinstance(self.exchange, ModelExchange):
            return events
        return [Event._make(event) for event in events.tolist()]

    def do(self, *raw: bytes) -> list[str]:
        """Commands in one batch; what happened."""
        events = self.apply(b"".join(raw), self.time_ns, self.time_ns)
        assert events is not None
        self.events = events
        self.exchange.audit()
        return [told(event) for event in events]

    def wait(self, time_ns: int) -> None:
        """Kernel time goes on."""
        self.time_ns += time_ns
        self.do()

    # Orders in few words.

    def limit(self, account: int, side: int, quantity: int, price: int, **fields: int | bytes) -> list[str]:
        fields = {"time_in_force": TimeInForce.GTC} | fields
        return self.do(
            commands.place(account, 1, side, OrderType.LIMIT, quantity_steps=quantity, price_ticks=price, **fields)
        )

    def market(self, account: int, side: int, quantity: int = 0, quote: int = 0, **fields: int | bytes) -> list[str]:
        return self.do(
            commands.place(
                account, 1, side, OrderType.MARKET, quantity_steps=quantity, quote_quantity_units=quote, **fields
            )
        )

    def stop(
        self,
        account: int,
        side: int,
        quantity: int,
        stop: int,
        price: int = 0,
        profit: bool = False,
        **fields: int | bytes,
    ) -> list[str]:
        """STOP_LOSS or TAKE_PROFIT, with a limit when a price is given."""
        if price:
            fields = {"time_in_force": TimeInForce.GTC} | fields
            kind = OrderType.TAKE_PROFIT_LIMIT if profit else OrderType.STOP_LOSS_LIMIT
        else:
            kind = OrderType.TAKE_PROFIT if profit else OrderType.STOP_LOSS
        return self.do(
            commands.place(
                account, 1, side, kind, quantity_steps=quantity, stop_price_ticks=stop, price_ticks=price, **fields
            )
        )

    def cancel(self, account: int, order_id: int = 0, **fields: int | bytes) -> list[str]:
        return self.do(commands.cancel(account, 1, order_id, **fields))

    def amend(self, account: int, order_id: int, quantity: int, **fields: int | bytes) -> list[str]:
        return self.do(commands.amend(account, 1, order_id, quantity, **fields))

    # Books, drawn.

    def book(self, drawing: str) -> None:
        """Places the orders of a drawing, as LIMIT GTC; the worst prices first, each line from left to right.

        book(\"\"\"
            sell 102: 4@bob
            sell 101: 3@ann 2@bob
            buy  100: 5@cyd 2/9@dan
        \"\"\")

        2/9 is an iceberg that shows 2 of 9.
        """
        lines = lines_of(drawing)
        sells = [line for line in lines if line.startswith("sell")]
        buys = [line for line in lines if line.startswith("buy")]
        for line in [*sells, *reversed(buys)]:
            side, price, orders = re.fullmatch(r"(sell|buy) (\d+): (.*)", line).groups()  # type: ignore[union-attr]
            for order in orders.split():
                quantity, name = order.split("@")
                *shown, whole = quantity.split("/")
                fields = {"iceberg_steps": int(shown[0])} if shown else {}
                told = self.limit(NAMES[name], SELL if side == "sell" else BUY, int(whole), int(price), **fields)
                assert len(told) == 1, f"{line} does not rest: {told}"

    def drawn(self) -> list[str]:
        """The book as it is, in the same lines."""
        market = self.exchange.dump()["markets"][0]
        names = {number: name for name, number in NAMES.items()}
        lines: dict[str, str] = {}
        for side, word in (("asks", "sell"), ("bids", "buy")):
            orders = market[side]
            prices = sorted({order["price_ticks"] for order in orders}, reverse=True)
            lines |= {f"{word} {price}:": "" for price in prices}
            for order in orders:
                left = order["quantity_steps"] - order["executed_steps"] - order["prevented_steps"]
                shown = f"{order['shown_steps']}/" if order["iceberg_steps"] else ""
                lines[f"{word} {order['price_ticks']}:"] += f" {shown}{left}@{names[order['account']]}"
        return [start + orders for start, orders in lines.items()]

    def shows(self, drawing: str) -> bool:
        """Whether the book is as drawn."""
        assert self.drawn() == lines_of(drawing)
        return True

    def group(self, *accounts: int, number: int = 1) -> None:
        """Puts accounts into one trade group."""
        self.do(*[commands.account_change(account, trade_group=number) for account in accounts])

    # State.

    def balance(self, account: int, asset: int) -> tuple[int, int]:
        """Free and locked."""
        found: tuple[int, int] = self.exchange.dump()["accounts"][account - 1]["balances"].get(asset, (0, 0))
        return found

    def last(self, kind: int) -> Event:
        """The last event of a kind in the last batch."""
        return [event for event in self.events if event.kind == kind][-1]

    def done(self) -> list[dict[str, Any]]:
        """The orders that left in the last batch."""
        if isinstance(self.exchange, ModelExchange):
            return self.exchange.done
        rows = self.exchange.done()
        return [dict(zip(rows.dtype.names, row, strict=True)) for row in rows.tolist()]

    def tops(self) -> list[tuple[int, ...]]:
        """Best prices that changed in the last batch: rows of a Top."""
        rows = self.exchange.tops
        return [tuple(row) for row in (rows if isinstance(rows, list) else rows().tolist())]

    def positions(self) -> list[tuple[int, ...]]:
        """What the watched accounts have after the last batch: rows of a Position."""
        rows = self.exchange.positions
        return [tuple(row) for row in (rows if isinstance(rows, list) else rows().tolist())]

    def levels(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """What everybody sees of the book: price and quantity of its levels, bids and asks, the best first."""
        if isinstance(self.exchange, ModelExchange):
            market = self.exchange.markets[1]
            return market.levels(market.bids), market.levels(market.asks)
        _, bids, asks = self.exchange.depth(1, 1000)
        return [tuple(level) for level in bids.tolist()], [tuple(level) for level in asks.tolist()]

    def waiting(self) -> list[int]:
        """Ids of the orders that wait for a trigger, the next to trigger first: above, then below."""
        market = self.exchange.dump()["markets"][0]
        return [order["order_id"] for order in market["above"] + market["below"]]


def lines_of(drawing: str) -> list[str]:
    return [" ".join(line.split()) for line in drawing.strip().splitlines() if line.strip()]
