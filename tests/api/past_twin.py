# SPDX-License-Identifier: Apache-2.0
"""The past once more, as plain lists: what a read must answer, and a history that is slow, late, away or wrong in time.

Used by `test_reads_past.py`. `Story` makes seeded batches (the maker of the views' tests), feeds the compiled views,
and remembers how much there was after each batch, so that a reader can stand at any of them. It must never import the
code under test, `bidhall.api.past`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from bidhall.core.records import ORDER_STRUCT, OrderRow
from bidhall.core.views import Views
from bidhall.replica import reading
from bidhall.sinks import Cursor, HistoryUnavailable
from tests.replica.views_twin import History, Maker, Order, Trade, page

END = 1 << 62


def row_of(order: Order) -> OrderRow:
    """As the kernel or the history would give it."""
    return OrderRow._make(ORDER_STRUCT.unpack(order.record()))


class Mark(NamedTuple):
    """How much there was after a batch."""

    cursor: Cursor
    done: int
    fills: int
    trades: dict[int, int]


class NamedMaker(Maker):
    """Client ids are taken by one open order of an account and market at a time, as the kernel sees to."""

    def order(self, account: int, market: int) -> Order:
        order = super().order(account, market)
        taken = {o.client_id for o in self.open if (o.account, o.market) == (account, market)}
        if order.client_id in taken:
            order.client_id = b""
        return order


class Exchange:
    """The kernel's open orders, as `bidhall.replica.reading` asks for them."""

    def __init__(self, maker: Maker) -> None:
        self.maker = maker

    @property
    def sequence(self) -> int:
        return self.maker.sequence

    def order(self, order_id: int) -> Any:
        return _bytes(o for o in self.maker.open if o.order_id == order_id)

    def find(self, account: int, market: int, client_id: bytes) -> int:
        for order in self.maker.open:
            if (order.account, order.market, order.client_id) == (account, market, client_id):
                return order.order_id
        return 0

    def open_orders(self, account: int, market: int) -> Any:
        found = [o for o in self.maker.open if (o.account, o.market) == (account, market)]
        return _bytes(sorted(found, key=lambda o: o.order_id))


def _bytes(orders: Any) -> Any:
    return np.frombuffer(b"".join(o.record() for o in orders), dtype=np.uint8)


class Story:
    """A replica's memory and everything that ever happened beside it."""

    def __init__(self, seed: int, **limits: Any) -> None:
        self.maker = NamedMaker(seed)
        self.exchange = Exchange(self.maker)
        self.views = Views(seed=seed, **limits)
        self.marks = [Mark(Cursor(), 0, 0, {})]
        self.done_rows: list[OrderRow] = []

    # What `bidhall.api.past` asks a replica for

    @property
    def position(self) -> int:
        return len(self.marks) - 1

    @property
    def time_ns(self) -> int:
        return self.maker.time_ns

    def order(self, account: int, market: int, order_id: int = 0, client_id: bytes = b"") -> OrderRow | None:
        return reading.order(self.exchange, self.views, account, market, order_id, client_id)  # type: ignore[arg-type]

    def all_orders(self, *question: Any) -> list[OrderRow]:
        return reading.all_orders(self.exchange, self.views, *question)  # type: ignore[arg-type]

    # The story goes on

    def batch(self, quiet_ns: int = 0) -> None:
        """The next one; an empty one when time shall pass."""
        self.maker.time_ns += quiet_ns or 1  # the kernel's clock does not stand still between two batches
        self.views.apply(*((b"", b"", self.time_ns) if quiet_ns else self.maker.batch()))
        history = self.maker.history
        self.done_rows += [row_of(order) for order in history.done[len(self.done_rows) :]]
        told = self.maker.sequence > self.marks[-1].cursor.sequence  # of an empty batch the history does not take note
        time_ns = self.maker.time_ns if told else self.marks[-1].cursor.time_ns
        cursor = Cursor(self.position + 1, self.maker.sequence, time_ns, b"")
        trades = {market: len(rows) for market, rows in history.trades.items()}
        self.marks.append(Mark(cursor, len(history.done), len(history.fills), trades))

    def reader(self, position: int) -> Truth:
        """A reader that stands at a position."""
        return Truth(self, self.marks[position])

    def truth(self) -> Truth:
        """Everything up to now, with the open orders."""
        return Truth(self, self.marks[-1], [row_of(order) for order in self.maker.open])


class Truth:
    """All answers, searched out of the lists as they were at a mark; the interface of the history's reader."""

    def __init__(self, story: Story, mark: Mark, open_rows: list[OrderRow] | None = None) -> None:
        history = story.maker.history
        self.mark = mark
        self.rows = story.done_rows[: mark.done] + (open_rows or [])
        self.open_ids = {row.order_id for row in open_rows or []}
        self.all_fills = history.fills[: mark.fills]
        self.history = History({m: history.trades[m][:count] for m, count in mark.trades.items()})

    def order(self, account: int, market: int, order_id: int) -> tuple[Cursor, OrderRow | None]:
        for row in self.rows:
            if (row.order_id, row.account, row.market) == (order_id, account, market):
                return self.mark.cursor, row
        return self.mark.cursor, None

    def order_by_client(self, account: int, market: int, client_id: bytes) -> tuple[Cursor, OrderRow | None]:
        key = (account, market, client_id.ljust(36, b"\0"))
        found = [row for row in self.rows if (row.account, row.market, row.client_id) == key]
        found.sort(key=lambda row: (row.order_id in self.open_ids, row.sequence))
        return self.mark.cursor, found[-1] if found else None

    def orders(
        self, account: int, market: int, limit: int, from_id: int = -1, start_ns: int = -1, end_ns: int = -1
    ) -> tuple[Cursor, list[OrderRow]]:
        mine = sorted(
            (row for row in self.rows if (row.account, row.market) == (account, market)), key=lambda row: row.order_id
        )
        return self.mark.cursor, page(
            mine, limit, lambda row: row.order_id >= from_id and row.created_ns >= start_ns,
            lambda row: end_ns < 0 or row.created_ns <= end_ns, from_id >= 0 or start_ns >= 0,
        )  # fmt: skip

    def fills(
        self, account: int, market: int, limit: int, from_id: int = -1, order_id: int = 0, start_ns: int = -1,
        end_ns: int = -1,
    ) -> tuple[Cursor, list[Any]]:  # fmt: skip
        mine = [
            row for of, at, row in self.all_fills if (of, at) == (account, market) and order_id in (0, row[0])
        ]  # fmt: skip
        return self.mark.cursor, page(
            mine, limit, lambda row: row[1] >= from_id and row[2] >= start_ns,
            lambda row: end_ns < 0 or row[2] <= end_ns, from_id >= 0 or start_ns >= 0,
        )  # fmt: skip

    def trades(self, market: int, limit: int = 500, from_id: int = -1) -> tuple[Cursor, list[Any]]:
        rows = [_trade(t) for t in self.history.trades.get(market, [])]
        return self.mark.cursor, page(rows, limit, lambda row: row[0] >= from_id, lambda row: True, from_id >= 0)

    def agg_trades(
        self, market: int, limit: int = 500, from_id: int = -1, start_ns: int = -1, end_ns: int = -1
    ) -> tuple[Cursor, list[Any]]:
        return self.mark.cursor, page(
            self.history.agg_trades(market), limit, lambda row: row[0] >= from_id and row[3] >= start_ns,
            lambda row: end_ns < 0 or row[3] <= end_ns, from_id >= 0 or start_ns >= 0,
        )  # fmt: skip

    def candles(
        self, market: int, interval: str, limit: int, start_ns: int = -1, end_ns: int = -1, offset_s: int = 0,
        time_ns: int = 0,
    ) -> tuple[Cursor, list[Any]]:  # fmt: skip
        rows = self.history.klines(market, interval, time_ns or self.mark.cursor.time_ns, offset_s)
        return self.mark.cursor, page(
            rows, limit, lambda row: row[0] >= start_ns, lambda row: end_ns < 0 or row[0] <= end_ns, start_ns >= 0
        )


def _trade(t: Trade) -> tuple[Any, ...]:
    return (t.trade_id, t.time_ns, t.price, t.quantity, not t.taker_buys)


Done = Callable[[Any, BaseException | None], None]


class LateHistory:
    """A history that answers when the dice say so, from wherever its cursor is by then."""

    def __init__(self, story: Story, dice: random.Random, edge: int) -> None:
        self.story = story
        self.edge = edge  # it likes to stand where the memory of this begins: orders, fills, trades, aggregates; or now
        self.dice = dice
        self.at = 0
        self.asked: list[tuple[Callable[[Truth], Any], Done]] = []
        self.answers: list[tuple[Any, BaseException | None, Done]] = []
        self.wanted: list[tuple[int, Callable[[bool], None]]] = []
        self.away = False

    @property
    def cursor(self) -> Cursor:
        return self.story.marks[self.at].cursor

    def ask(self, question: Callable[[Truth], Any], done: Done) -> None:
        self.asked.append((question, done))

    def reach(self, position: int, callback: Callable[[bool], None], seconds: float = 1.0) -> None:
        self.wanted.append((position, callback))

    def status(self) -> dict[str, str]:
        return {"state": "waiting" if self.away else "following"}

    @property
    def busy(self) -> bool:
        return bool(self.asked or self.answers or self.wanted)

    def move(self) -> None:
        """The writer commits something, or nothing."""
        views, marks = self.story.views, self.story.marks
        left = views.trades_left(1)
        edge = [views.done_left, views.fills_left, left[1], left[3], self.story.maker.sequence][self.edge]
        if self.dice.random() < 0.98:  # to there, or just not
            while self.at < self.story.position and marks[self.at].cursor.sequence < edge - self.dice.randrange(3):
                self.at += 1
        else:
            self.at = self.dice.randint(self.at, self.story.position)

    def step(self) -> None:
        """One thing that a thread or a timer might do next."""
        choice = self.dice.randrange(4)
        if choice == 0:
            self.move()
        elif choice == 1 and self.asked:
            question, done = self.asked.pop(self.dice.randrange(len(self.asked)))
            if self.away:
                self.answers.append((None, HistoryUnavailable("away"), done))
            else:
                self.answers.append((question(self.story.reader(self.at)), None, done))
        elif choice == 2 and self.answers:
            result, error, done = self.answers.pop(self.dice.randrange(len(self.answers)))
            done(result, error)
        elif self.wanted:
            index = self.dice.randrange(len(self.wanted))
            position, callback = self.wanted[index]
            reached = self.at >= position
            if reached or self.dice.random() < 0.05:  # the time is over
                self.wanted.pop(index)
                callback(reached)
