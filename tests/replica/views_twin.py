# SPDX-License-Identifier: Apache-2.0
"""The views once more, in plain Python over plain lists, and a maker of seeded histories to feed both.

`test_views.py` compares every answer of `bidhall.core.views` with this. It must never import the compiled views, and
never be clever: each answer is searched out of everything that ever happened.
"""

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from bidhall.core.records import EVENT_STRUCT, ORDER_STRUCT, EventFlag, EventKind, EventRow, OrderRow

NS = 1_000_000_000
SECONDS = {
    "1s": 1, "1m": 60, "3m": 180, "5m": 300, "15m": 900, "30m": 1800, "1h": 3600, "2h": 7200, "4h": 14400,
    "6h": 21600, "8h": 28800, "12h": 43200, "1d": 86400, "3d": 259200,
}  # fmt: skip
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Row = tuple[Any, ...]


@dataclass
class Trade:
    """One trade of a market, and who was in it."""

    market: int
    trade_id: int
    time_ns: int
    price: int
    quantity: int
    quote: int
    taker_buys: bool
    sequence: int
    taker_order: int


@dataclass
class History:
    """Everything that happened, and the answers searched out of it."""

    trades: dict[int, list[Trade]] = field(default_factory=dict)
    fills: list[tuple[int, int, Row]] = field(default_factory=list)  # account, market, row
    done: list["Order"] = field(default_factory=list)  # in order of their end

    def agg_trades(self, market: int) -> list[Row]:
        rows: list[list[Any]] = []
        key: Any = None
        for t in self.trades.get(market, []):
            now = (t.sequence, t.taker_order, t.price)
            if now == key:
                rows[-1][2] = t.trade_id
                rows[-1][5] += t.quantity
            else:
                rows.append([len(rows) + 1, t.trade_id, t.trade_id, t.time_ns, t.price, t.quantity, not t.taker_buys])
            key = now
        return [tuple(r) for r in rows]

    def klines(self, market: int, interval: str, time_ns: int, offset_s: int) -> list[Row]:
        """Every candle from the first trade on."""
        trades = self.trades.get(market, [])
        if not trades:
            return []
        rows = []
        open_ns, end_ns = bounds(interval, trades[0].time_ns, offset_s)
        at, close = 0, 0
        while open_ns <= time_ns:
            inside = []
            while at < len(trades) and trades[at].time_ns < end_ns:
                inside.append(trades[at])
                at += 1
            rows.append(candle(open_ns, end_ns, inside, close))
            close = rows[-1][5]
            open_ns, end_ns = bounds(interval, end_ns, offset_s)
        return rows

    def ticker(self, market: int, begin_ns: int, open_ns: int, close_ns: int) -> Row:
        trades = self.trades.get(market, [])
        if not trades:
            return (open_ns, close_ns, 0, 0, 0, 0, 0, 0, 0, -1, -1, 0, 0)
        last = trades[-1]
        inside = [t for t in trades if t.time_ns >= begin_ns]
        if not inside:
            p = last.price
            return (open_ns, close_ns, p, p, p, p, last.quantity, 0, 0, -1, -1, 0, p)
        before = [t for t in trades if t.time_ns < begin_ns]
        prices = [t.price for t in inside]
        return (
            open_ns, close_ns, prices[0], max(prices), min(prices), prices[-1], last.quantity,
            sum(t.quantity for t in inside), sum(t.quote for t in inside), inside[0].trade_id, inside[-1].trade_id,
            len(inside), before[-1].price if before else 0,
        )  # fmt: skip


def candle(open_ns: int, end_ns: int, inside: list[Trade], close: int) -> Row:
    """A row of klines."""
    if not inside:
        return (open_ns, end_ns, close, close, close, close, 0, 0, 0, 0, 0, -1, -1)
    prices = [t.price for t in inside]
    bought = [t for t in inside if t.taker_buys]
    return (
        open_ns, end_ns, prices[0], max(prices), min(prices), prices[-1], sum(t.quantity for t in inside),
        sum(t.quote for t in inside), len(inside), sum(t.quantity for t in bought), sum(t.quote for t in bought),
        inside[0].trade_id, inside[-1].trade_id,
    )  # fmt: skip


def bounds(interval: str, time_ns: int, offset_s: int = 0) -> tuple[int, int]:
    """Open and end of the candle that holds a time, by the calendar of the standard library."""
    local = EPOCH + timedelta(seconds=time_ns // NS + offset_s)
    midnight = local.replace(hour=0, minute=0, second=0)
    if interval == "1M":
        first = midnight.replace(day=1)
        end = (first + timedelta(days=32)).replace(day=1)
    elif interval == "1w":
        first = midnight - timedelta(days=midnight.weekday())
        end = first + timedelta(days=7)
    else:
        width = timedelta(seconds=SECONDS[interval])
        first = EPOCH + ((local - EPOCH) // width) * width
        end = first + width
    out = [(int((moment - EPOCH).total_seconds()) - offset_s) * NS for moment in (first, end)]
    return out[0], out[1]


def page(rows: list[Any], limit: int, lower: Any, upper: Any, oldest: bool) -> list[Any]:
    """The rule of every list: from a lower bound the oldest, else the newest."""
    kept = [r for r in rows if lower(r) and upper(r)]
    return kept[:limit] if oldest else kept[max(len(kept) - limit, 0) :]


@dataclass
class Order:
    """An order of the history; only what the views read."""

    order_id: int
    account: int
    market: int
    created_ns: int
    client_id: bytes = b""
    sequence: int = 0
    executed_steps: int = 0

    def record(self) -> bytes:
        """As the kernel would give it."""
        values = dict.fromkeys(OrderRow._fields, 0) | {"client_id": b""} | vars(self)
        return ORDER_STRUCT.pack(*values.values())


def event(**fields: int) -> bytes:
    """An EVENT record."""
    return EVENT_STRUCT.pack(*(dict.fromkeys(EventRow._fields, 0) | fields).values())


class Maker:
    """Makes batches of events as the kernel would give them, from a seed, and tells the history the same."""

    def __init__(self, seed: int, *, markets: int = 3, accounts: int = 5) -> None:
        self.random = random.Random(seed)
        self.markets, self.accounts = markets, accounts
        self.history = History()
        self.time_ns = 1_700_000_000 * NS + self.random.randrange(NS)
        self.sequence = self.order_id = self.execution_id = 0
        self.trade_ids = dict.fromkeys(range(1, markets + 1), 0)
        self.open: list[Order] = []

    def pass_time(self) -> None:
        """Mostly not at all or a little; now and then minutes, hours, days."""
        step = self.random.choice([0, 0, 1, 200_000_000, NS, 3 * NS, 61 * NS, 1000 * NS, 7300 * NS])
        if self.random.random() < 0.01:
            step = self.random.randrange(40) * 86_400 * NS
        self.time_ns += step

    def order(self, account: int, market: int) -> Order:
        self.order_id += 1
        named = self.random.random() < 0.8
        client_id = f"id-{self.random.randrange(30)}".encode() if named else b""
        return Order(self.order_id, account, market, self.time_ns, client_id)

    def finish(self, order: Order) -> bytes:
        order.sequence = self.sequence
        order.executed_steps = self.random.randrange(1 << 62)
        self.history.done.append(order)
        return order.record()

    def trade(self, taker: Order, maker: Order, price: int, buys: bool) -> bytes:
        market = taker.market
        self.trade_ids[market] += 1
        trade_id = self.trade_ids[market]
        big = self.random.random() < 0.1
        quantity = self.random.randrange(1, (1 << 62) if big else 1000)
        quote = self.random.randrange(1, (1 << 62) if big else 100_000)
        pair = b""
        for order, side in ((taker, buys), (maker, not buys)):
            self.execution_id += 1
            fee = self.random.randrange(100)
            pair += event(
                kind=EventKind.FILL, account=order.account, market=market, sequence=self.sequence,
                flags=(EventFlag.BUY if side else 0) | (EventFlag.MAKER if order is maker else 0),
                order_id=order.order_id, execution_id=self.execution_id, price_ticks=price, quantity_steps=quantity,
                quote_units=quote, trade_id=trade_id, fee_units=fee,
            )  # fmt: skip
            fill = (order.order_id, trade_id, self.time_ns, price, quantity, fee, side, order is maker)
            self.history.fills.append((order.account, market, fill))
        self.history.trades.setdefault(market, []).append(
            Trade(market, trade_id, self.time_ns, price, quantity, quote, buys, self.sequence, taker.order_id)
        )
        return pair

    def batch(self) -> tuple[bytes, bytes, int]:
        """(events, done, time_ns) of a few commands."""
        self.pass_time()
        events: list[bytes] = []
        done: list[bytes] = []
        for _ in range(self.random.randrange(4)):
            self.command(events, done)
        return b"".join(events), b"".join(done), self.time_ns

    def command(self, events: list[bytes], done: list[bytes]) -> None:
        self.sequence += 1
        market = self.random.randrange(1, self.markets + 1)
        taker = self.order(self.random.randrange(1, self.accounts + 1), market)
        events.append(event(kind=EventKind.ACCEPTED, sequence=self.sequence, order_id=self.order_id))
        price = self.random.randrange(50, 150)
        buys = self.random.random() < 0.5
        makers = [order for order in self.open if order.market == market]
        self.random.shuffle(makers)
        for maker in makers[: self.random.randrange(4)]:
            events.append(self.trade(taker, maker, price, buys))
            if self.random.random() < 0.5:
                price += self.random.randrange(3)
            if self.random.random() < 0.5:
                self.open = [order for order in self.open if order is not maker]
                done.append(self.finish(maker))
        if self.random.random() < 0.5:
            done.append(self.finish(taker))
        else:
            self.open.append(taker)
