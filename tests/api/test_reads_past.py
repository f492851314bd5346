# SPDX-License-Identifier: Apache-2.0
"""Reads that need memory and history: over seeded stories, each answer is the plain lists' at the moment it was asked.

The history is asked late, answers late, stands anywhere, is away now and then; memory gives things up meanwhile. What
comes must be exact or a refusal with -1008, and refusals only where the history was away or behind.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from bidhall.api.past import Past
from bidhall.core.records import ORDER_BYTES
from bidhall.core.views import INTERVALS
from bidhall.protocol.errors import ApiError
from tests.api.past_twin import LateHistory, Story, Truth
from tests.replica.views_twin import NS

OFFSETS_S = (0, 0, 8 * 3600, 19_800, -12 * 3600)
SMALL: dict[str, Any] = {"done_bytes": 40 * ORDER_BYTES, "fills_max": 50, "trades_max": 12, "candle_days": (0, 0, 1, 2)}


class FakeLane:
    """Counts what `Past` calls a bug."""

    def excuse(self, route: object) -> ApiError:
        raise AssertionError("a bug in a read") from None


class Kept:
    """A request: who asks, and what came."""

    route = None

    def __init__(self, account: int) -> None:
        self.account = account
        self.answers: list[Any] = []

    def finish(self, body: Any) -> None:
        self.answers.append(body)

    def fail(self, error: ApiError) -> None:
        self.answers.append(error)


class Reads:
    """Asks at random and compares every answer with the truth at that moment."""

    def __init__(self, seed: int, **limits: Any) -> None:
        self.dice = random.Random(seed)
        self.story = Story(seed, **limits)
        self.favourites: list[tuple[Any, ...]] = [
            (self.order, self.client, self.orders), (self.fills,), (self.trades,), (self.aggregates,), (self.klines,)
        ]  # fmt: skip
        self.history = LateHistory(self.story, self.dice, seed % len(self.favourites))
        self.past = Past(self.story, FakeLane(), self.history)  # type: ignore[arg-type]
        self.open: list[tuple[Kept, Callable[[Any], None]]] = []
        self.counts: Counter[str] = Counter()

    def run(self, batches: int) -> Counter[str]:
        for _ in range(batches):
            self.story.batch()
            if self.dice.random() < 0.04:
                self.story.batch(quiet_ns=self.dice.randrange(1, 9 * 86_400) * NS)
            if self.dice.random() < 0.02:
                self.history.away = not self.history.away
            for _ in range(self.dice.randrange(5)):
                self.ask()
            for _ in range(self.dice.randrange(12)):
                self.history.step()
            self.settle()
        self.history.away = False
        self.history.at = self.story.position
        while self.history.busy:
            self.history.step()
        self.settle()
        assert not self.open
        assert self.past.waiting == 0
        return self.counts

    def settle(self) -> None:
        """Compare what has come."""
        still = []
        for kept, check in self.open:
            if not kept.answers:
                still.append((kept, check))
                continue
            (answer,) = kept.answers
            if isinstance(answer, ApiError):
                assert (answer.code, answer.status) == (-1008, 503)
                self.counts["refused"] += 1
            else:
                self.counts["late"] += 1
                check(answer)
        self.open = still

    def ask(self) -> None:
        dice = self.dice
        kept = Kept(dice.randrange(1, 6))
        market = dice.randrange(1, 4)
        every = [kind for kinds in self.favourites for kind in kinds]
        kind = dice.choice([*every, *self.favourites[self.history.edge] * 6])
        check, at_once = kind(kept, market, self.story.truth())
        if at_once is not None:
            self.counts["at once"] += 1
            check(at_once)
        else:
            self.open.append((kept, check))

    def bounds(self) -> tuple[int, int]:
        """A start and an end, or not."""
        dice, now_ns = self.dice, self.story.time_ns
        marks = self.story.marks[1:]
        out = []
        for _ in range(2):
            time_ns = now_ns - dice.randrange(dice.choice([NS, 100 * NS, 100_000 * NS]))
            if dice.random() < 0.5 and marks:  # exactly then, or just not
                time_ns = dice.choice(marks[-150:]).cursor.time_ns + dice.randrange(-1, 2)
            out.append(time_ns if dice.random() < 0.3 else -1)
        return out[0], out[1]

    def near(self, edge: int, newest: int) -> int:
        """An id: just where memory ends, or not long ago, or any."""
        dice = self.dice
        some = [edge + dice.randrange(-2, 3), newest - dice.randrange(150), dice.randrange(newest + 3)]
        return max(dice.choice(some), 0)

    # Each asks, and gives (how to check an answer, the answer in a tuple if it came at once)

    def order(self, kept: Kept, market: int, truth: Truth) -> Any:
        left = self.story.views.left(kept.account, market)[0]
        order_id = max(self.near(left, self.story.maker.order_id), 1)
        if self.dice.random() < 0.5:
            some = [row for row in self.story.done_rows[-150:] if (row.account, row.market) == (kept.account, market)]
            order_id = self.dice.choice(some).order_id if some else order_id
        _, expected = truth.order(kept.account, market, order_id)
        return self.one(expected), self.one_order(kept, market, order_id, b"")

    def client(self, kept: Kept, market: int, truth: Truth) -> Any:
        client_id = f"id-{self.dice.randrange(32)}".encode()
        _, expected = truth.order_by_client(kept.account, market, client_id)
        return self.one(expected), self.one_order(kept, market, 0, client_id)

    def one_order(self, kept: Kept, market: int, order_id: int, client_id: bytes) -> Any:
        """As the handler does: memory is asked first."""
        row = self.story.order(kept.account, market, order_id, client_id)
        if row is not None:
            return (row,)
        return self.past.order(kept, market, order_id, client_id, lambda found: (found,))  # type: ignore[arg-type, return-value]

    def one(self, expected: Any) -> Callable[[Any], None]:
        self.counts["no such order" if expected is None else "an order"] += 1

        newest = self.story.maker.order_id

        def check(answer: Any) -> None:
            (row,) = answer
            if row is None or row.order_id <= newest:  # else it was made, and done, while the read waited
                assert (row and row.order_id) == (expected and expected.order_id)

        return check

    def orders(self, kept: Kept, market: int, truth: Truth) -> Any:
        limit = self.dice.choice([1, 3, 20, 1000])
        left, from_id = self.story.views.left(kept.account, market)[0], -1
        if self.dice.random() < 0.4:
            from_id = self.near(left, self.story.maker.order_id)
        question = (market, limit, from_id, *self.bounds())
        _, expected = truth.orders(kept.account, *question)

        return self.same(expected), self.past.all_orders(kept, *question, lambda rows: (rows,))  # type: ignore

    def fills(self, kept: Kept, market: int, truth: Truth) -> Any:
        dice = self.dice
        limit = dice.choice([1, 3, 20, 1000])
        left = self.story.views.left(kept.account, market)
        from_id = self.near(left[2], self.story.maker.trade_ids[market]) if dice.random() < 0.4 else -1
        order_id = max(self.near(left[0], self.story.maker.order_id), 1) if dice.random() < 0.4 else 0
        question = (market, limit, from_id, order_id, *self.bounds())
        _, expected = truth.fills(kept.account, *question)
        return self.same(expected), self.past.fills(kept, *question, lambda rows: (rows,))  # type: ignore

    def trades(self, kept: Kept, market: int, truth: Truth) -> Any:
        limit = self.dice.choice([1, 3, 20, 1000])
        left, from_id = self.story.views.trades_left(market)[0], -1
        if self.dice.random() < 0.7:
            from_id = self.near(left, self.story.maker.trade_ids[market])
        _, expected = truth.trades(market, limit, from_id)
        return self.same(expected), self.past.trades(kept, market, limit, from_id, lambda rows: (rows,))  # type: ignore

    def aggregates(self, kept: Kept, market: int, truth: Truth) -> Any:
        limit = self.dice.choice([1, 3, 20, 1000])
        left, from_id = self.story.views.trades_left(market)[2], -1
        if self.dice.random() < 0.4:
            from_id = self.near(left, self.story.views.last_ids(market)[1])
        start_ns, end_ns = self.bounds()
        if self.dice.random() < 0.2:
            start_ns = self.story.views.trades_left(market)[4] + self.dice.randrange(-1, 2)
        question = (market, limit, from_id, start_ns, end_ns)
        _, expected = truth.agg_trades(*question)
        return self.same(expected), self.past.agg_trades(kept, *question, lambda rows: (rows,))  # type: ignore

    def klines(self, kept: Kept, market: int, truth: Truth) -> Any:
        dice, maker = self.dice, self.story.maker
        limit, offset_s = dice.choice([1, 5, 100]), dice.choice(OFFSETS_S)
        first = maker.history.trades[market][0].time_ns if market in maker.history.trades else maker.time_ns
        wide = [
            name for name, seconds in INTERVALS.items() if (maker.time_ns - first) < 2_000 * NS * (seconds or 10**6)
        ]
        interval = dice.choice(wide)
        start_ns, end_ns = self.bounds()
        if dice.random() < 0.3:
            start_ns = dice.randrange(first - NS, maker.time_ns)
        question = (market, interval, limit, start_ns, end_ns, offset_s)
        _, expected = truth.candles(*question, time_ns=maker.time_ns)
        return self.candles(expected), self.past.klines(kept, *question, lambda rows: (rows,))  # type: ignore

    def candles(self, expected: list[Any]) -> Callable[[Any], None]:
        now_ns = self.story.time_ns

        def check(answer: Any) -> None:
            rows = answer[0]
            if rows and rows[-1][1] > now_ns and rows != expected:  # the candle of now has grown meanwhile
                assert rows[-1][8] > expected[-1][8]
                assert rows[:-1] == expected[:-1]
            else:
                assert rows == expected

        return check

    def same(self, expected: list[Any]) -> Callable[[Any], None]:
        def check(answer: Any) -> None:
            assert answer[0] == expected

        return check


@pytest.mark.parametrize("seed", range(10))
def test_every_answer_is_that_of_the_moment(seed: int) -> None:
    counts = Reads(seed, **SMALL).run(400)
    assert min(counts[name] for name in ("at once", "late", "refused", "an order", "no such order")) > 5, counts
