# SPDX-License-Identifier: Apache-2.0
"""Markets to test with, and a small exchange that places orders by parameters and answers as the door would."""

from typing import Any, NamedTuple

import orjson

from bidhall.core import Exchange, records
from bidhall.core.records import (
    EVENT_STRUCT,
    ORDER_STRUCT,
    POSITION_STRUCT,
    CommandKind,
    EventKind,
    EventRow,
    OrderRow,
    PositionRow,
)
from bidhall.protocol import endpoints, order_answers, orders, requests
from bidhall.protocol.errors import from_reject
from bidhall.protocol.markets import Asset, Market

MS = 1_000_000
TIME_NS = 1_700_000_000_123_456_789
BTC = Asset(1, "BTC", 8)
USDT = Asset(2, "USDT", 8)
ASSETS = {1: BTC, 2: USDT}


def market_command(name: bytes = b"BTCUSDT", **changes: Any) -> bytes:
    """BTCUSDT with a tick of 0.01 and a step of 0.00001."""
    fields: dict[str, Any] = {
        "tick_e8": 1_000_000,
        "step_units": 1_000,
        "price_ticks_max": 100_000_000,
        "quantity_steps_max": 900_000_000,
        "notional_units_min": 5 * 10**8,
    }
    return records.market(name, 1, 2, **(fields | changes))


def a_market(name: bytes = b"BTCUSDT", **changes: Any) -> Market:
    """The market of that command."""
    return Market.from_command(1, market_command(name, **changes), ASSETS)


def market_of(base_decimals: int, quote_decimals: int, tick_e8: int, step_units: int) -> Market:
    """A market with wide bounds of any decimals."""
    assets = {1: Asset(1, "BASE", base_decimals), 2: Asset(2, "QUOTE", quote_decimals)}
    command = records.market(
        b"BASEQUOTE", 1, 2, tick_e8=tick_e8, step_units=step_units, price_ticks_max=1 << 42,
        quantity_steps_max=1 << 62,
    )  # fmt: skip
    return Market.from_command(1, command, assets)


class Applied(NamedTuple):
    """What one command did."""

    events: list[EventRow]
    done: dict[int, OrderRow]
    positions: list[PositionRow]
    time_ns: int


def rows(kind: Any, layout: Any, array: Any) -> list[Any]:
    """Records as named tuples."""
    return [kind._make(values) for values in layout.iter_unpack(array.tobytes())]


class Place:
    """A kernel with one market and two rich accounts; requests go through the real parsers."""

    def __init__(self, **changes: Any) -> None:
        self.exchange = Exchange()
        self.time_ns = TIME_NS
        self.market = a_market(**changes)
        self.count = 0
        for command in (
            records.configure(), records.asset(b"BTC", 8), records.asset(b"USDT", 8), records.account(b"one"),
            records.account(b"two"), market_command(**changes),
        ):  # fmt: skip
            self.apply(command)
        for account in (1, 2):
            self.exchange.watch(account, True)
            self.apply(records.deposit(account, 1, 1_000 * 10**8))
            self.apply(records.deposit(account, 2, 100_000_000 * 10**8))

    def apply(self, command: bytes) -> Applied:
        """One command as a batch of its own."""
        self.time_ns += 7 * MS
        array = self.exchange.apply(command, self.time_ns, self.time_ns)
        events = rows(EventRow, EVENT_STRUCT, array)
        done = {order.order_id: order for order in rows(OrderRow, ORDER_STRUCT, self.exchange.done())}
        positions = rows(PositionRow, POSITION_STRUCT, self.exchange.positions())
        assert self.exchange.time_ns == self.time_ns
        return Applied(events, done, positions, self.time_ns)

    def values(self, endpoint: endpoints.Endpoint, text: str) -> dict[str, Any]:
        """A signed query's values."""
        query = f"{text}&timestamp={self.time_ns // MS}&signature=00"
        return requests.parse(endpoint, query.encode()).values

    def digest(self) -> bytes:
        """Another one each time."""
        self.count += 1
        return self.count.to_bytes(16, "big")

    def placement(self, text: str, account: int = 1) -> orders.Placement:
        """The placement of POST /order parameters."""
        values = self.values(endpoints.ORDER_POST, "symbol=BTCUSDT&" + text)
        return orders.place(values, self.market, account, 0, self.digest())

    def place_raw(self, text: str, account: int = 1) -> tuple[orders.Placement, Applied]:
        """The placement and what it did."""
        placement = self.placement(text, account)
        applied = self.apply(placement.command)
        if applied.events[0].kind == EventKind.REJECTED:
            raise from_reject(applied.events[0].code, CommandKind.PLACE)
        return placement, applied

    def place(self, text: str, account: int = 1, unit_ns: int = MS) -> dict[str, Any]:
        """POST /order: the answer."""
        placement, applied = self.place_raw(text, account)
        answer: dict[str, Any] = orjson.loads(order_answers.placed(placement, applied.events, applied.time_ns, unit_ns))
        return answer

    def order(self, order_id: int) -> OrderRow:
        """An open order."""
        found: OrderRow = rows(OrderRow, ORDER_STRUCT, self.exchange.order(order_id))[0]
        return found


LIMIT = "type=LIMIT&timeInForce=GTC&"
