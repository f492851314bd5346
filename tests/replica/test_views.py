# SPDX-License-Identifier: Apache-2.0
"""Every answer of the compiled views is compared with the plain twin's, over seeded histories."""

import random
from typing import Any

import pytest

from bidhall.core.records import ORDER_BYTES, EventFlag, EventKind
from bidhall.core.views import INTERVALS, ViewClosed, ViewFault, Views, interval_bounds
from tests.replica.views_twin import NS, History, Maker, bounds, event, page

LONG = (4000, 4000, 4000, 4000)  # days: no candle leaves
OFFSETS_S = (0, 8 * 3600, -5 * 3600, 19_800, 20_700, -12 * 3600, 14 * 3600)


def grown(seed: int, batches: int, **limits: Any) -> tuple[Maker, Views]:
    maker, views = Maker(seed), Views(seed=seed, **limits)
    for _ in range(batches):
        views.apply(*maker.batch())
    return maker, views


def orders(data: bytes) -> list[bytes]:
    return [data[i : i + ORDER_BYTES] for i in range(0, len(data), ORDER_BYTES)]


def check_markets(maker: Maker, views: Views, dice: random.Random) -> None:
    for market in range(1, maker.markets + 2):
        trades = maker.history.trades.get(market, [])
        rows = [(t.trade_id, t.time_ns, t.price, t.quantity, not t.taker_buys) for t in trades]
        limit = dice.choice([1, 7, 500])
        assert views.trades(market, limit) == rows[-limit:]
        first = dice.randrange(len(rows) + 3)
        assert views.trades_from(market, first, limit) == [r for r in rows if r[0] >= first][:limit]
        assert views.last_trade(market) == (rows[-1] if rows else None)
        aggregates = maker.history.agg_trades(market)
        assert views.last_ids(market) == (len(rows), len(aggregates))
        check_aggregates(views, market, aggregates, limit, some_times(maker, trades, dice))


def check_aggregates(views: Views, market: int, rows: list[Any], limit: int, some: tuple[int, int, int]) -> None:
    start, end, from_id = some
    assert views.agg_trades(market, limit, -1, start, end) == page(
        rows, limit, lambda r: r[3] >= start, lambda r: end < 0 or r[3] <= end, start >= 0
    )
    assert views.agg_trades(market, limit, from_id) == page(
        rows, limit, lambda r: r[0] >= from_id, lambda r: True, from_id >= 0
    )


def some_times(maker: Maker, trades: list[Any], dice: random.Random) -> tuple[int, int, int]:
    first = trades[0].time_ns if trades else maker.time_ns
    start = dice.choice([-1, dice.randrange(first - NS, maker.time_ns + NS)])
    end = dice.choice([-1, dice.randrange(first - NS, maker.time_ns + NS)])
    if trades and dice.random() < 0.3:
        start = dice.choice(trades).time_ns
    return start, end, dice.choice([-1, 0, 1, dice.randrange(len(trades) + 3)])


def check_candles(maker: Maker, views: Views, dice: random.Random) -> None:
    market, interval = dice.randrange(1, maker.markets + 2), dice.choice(list(INTERVALS))
    offset_s = dice.choice(OFFSETS_S)
    seconds = INTERVALS[interval] or 28 * 86_400
    trades = maker.history.trades.get(market, [])
    if trades and (maker.time_ns - trades[0].time_ns) // NS // seconds > 20_000:
        return  # the twin would write out every second of months
    every = maker.history.klines(market, interval, maker.time_ns, offset_s)
    start, end, _ = some_times(maker, trades, dice)
    limit = dice.choice([1, 5, 1000])
    assert views.klines(market, interval, limit, maker.time_ns, start, end, offset_s) == page(
        every, limit, lambda r: r[0] >= start, lambda r: end < 0 or r[0] <= end, start >= 0
    )
    assert views.candle(market, interval, maker.time_ns, offset_s) == (every[-1] if every else None)
    if every:
        row = dice.choice(every)
        assert views.candle(market, interval, dice.randrange(row[0], row[1]), offset_s) == row


def check_tickers(maker: Maker, views: Views, dice: random.Random) -> None:
    market = dice.randrange(1, maker.markets + 2)
    now = maker.time_ns + dice.choice([0, 1, 999_999_999, 3600 * NS])
    seconds = dice.choice([60, 3600, 86_400])
    begin_ns = (-(-now // NS) - seconds) * NS
    want = maker.history.ticker(market, begin_ns, now - seconds * NS, now)
    assert views.ticker(market, now, seconds) == want
    begin_ns = (now // NS // 60 - dice.choice([0, 1, 59, 1440, 10_080])) * 60 * NS
    if now - begin_ns < 31 * 86_400 * NS:
        assert views.statistics(market, begin_ns, now) == maker.history.ticker(market, begin_ns, begin_ns, now)


def check_orders(history: History, maker: Maker, views: Views, dice: random.Random, kept: int) -> None:
    held = history.done[-kept:]
    for row in held[:3] + held[-3:]:
        assert views.done_order(row.order_id) == row.record()
    for row in history.done[: len(history.done) - len(held)][-3:]:
        assert views.done_order(row.order_id) == b""
    assert views.done_order(1 << 60) == b""
    account, market = dice.randrange(1, maker.accounts + 2), dice.randrange(1, maker.markets + 2)
    mine = [row for row in held if (row.account, row.market) == (account, market)]
    client_id = f"id-{dice.randrange(32)}".encode()
    named = [row for row in mine if row.client_id == client_id]
    assert views.done_by_client(account, market, client_id) == (named[-1].record() if named else b"")
    mine.sort(key=lambda row: row.order_id)
    limit = dice.choice([1, 7, 500])
    start, end, _ = some_times(maker, history.trades.get(market, []), dice)
    from_id = dice.choice([-1, 0, dice.randrange(maker.order_id + 3)])
    want = page(
        mine, limit, lambda r: r.created_ns >= start and r.order_id >= max(from_id, 0),
        lambda r: end < 0 or r.created_ns <= end, start >= 0 or from_id >= 0,
    )  # fmt: skip
    got = views.done_orders(account, market, limit, from_id, start, end)
    assert orders(got) == [row.record() for row in want]


def check_fills(history: History, maker: Maker, views: Views, dice: random.Random, kept: int) -> None:
    held = history.fills[-kept:]
    account, market = dice.randrange(1, maker.accounts + 2), dice.randrange(1, maker.markets + 2)
    mine = [row for a, m, row in held if (a, m) == (account, market)]
    limit = dice.choice([1, 7, 500])
    start, end, from_id = some_times(maker, history.trades.get(market, []), dice)
    order_id = dice.choice([0, 0, mine[dice.randrange(len(mine))][0] if mine else 5, dice.randrange(1, 50)])
    want = page(
        [row for row in mine if order_id in (0, row[0])], limit, lambda r: r[2] >= start and r[1] >= from_id,
        lambda r: end < 0 or r[2] <= end, start >= 0 or from_id >= 0,
    )  # fmt: skip
    assert views.fills(account, market, limit, from_id, order_id, start, end) == want
    if held:
        order_id = dice.choice(held)[2][0]
        assert views.fills_of_order(order_id) == [row for _, _, row in held if row[0] == order_id]
    assert views.fills_of_order(1 << 60) == []


@pytest.mark.parametrize("seed", range(6))
def test_answers_are_the_twins(seed: int) -> None:
    maker, views = Maker(seed), Views(seed=seed, candle_days=LONG)
    dice = random.Random(seed + 1000)
    for i in range(600):
        views.apply(*maker.batch())
        if i % 10 == 0:
            check_markets(maker, views, dice)
            check_candles(maker, views, dice)
            check_tickers(maker, views, dice)
            check_orders(maker.history, maker, views, dice, 1 << 30)
            check_fills(maker.history, maker, views, dice, 1 << 30)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kept", [1, 2, 50, 2500])
def test_full_rings_hold_the_newest(seed: int, kept: int) -> None:
    maker, views = Maker(seed, accounts=2), Views(seed=seed, done_bytes=224 * kept, fills_max=kept)
    dice = random.Random(seed)
    for i in range(1500):
        views.apply(*maker.batch())
        if i % 3 == 0:
            check_orders(maker.history, maker, views, dice, kept)
            check_fills(maker.history, maker, views, dice, kept)
    counts = views.counts()
    assert counts["done_orders"] == min(kept, len(maker.history.done))
    assert counts["fills"] == min(kept, len(maker.history.fills))


def test_trades_beyond_the_ring_leave() -> None:
    maker, views = grown(3, 400, trades_max=10)
    for market, trades in maker.history.trades.items():
        rows = [(t.trade_id, t.time_ns, t.price, t.quantity, not t.taker_buys) for t in trades]
        assert views.trades(market, 500) == rows[-10:]
        assert views.trades_from(market, 1, 3) == rows[-10:][:3]
        assert views.trades_from(market, len(rows) - 1, 3) == rows[-2:]
        assert views.agg_trades(market, 500) == maker.history.agg_trades(market)[-10:]


def test_candles_that_lost_their_beginning_are_not_shown() -> None:
    maker, views = grown(5, 900, candle_days=(0, 0, 1, 2))
    for market in maker.history.trades:
        for interval in ("1s", "1m", "5m", "1h", "4h", "1d", "1w"):
            if maker.time_ns - maker.history.trades[market][0].time_ns > 20_000 * NS * max(INTERVALS[interval], 1):
                continue
            every = maker.history.klines(market, interval, maker.time_ns, 0)
            rows = views.klines(market, interval, 5000, maker.time_ns)
            assert rows == every[len(every) - len(rows) :]


@pytest.mark.parametrize("seed", range(4))
def test_a_snapshot_is_the_same_state(seed: int) -> None:
    maker, views = grown(seed, 300, done_bytes=224 * 100, fills_max=150, trades_max=40, candle_days=LONG)
    data = views.snapshot()
    again = Views.restore(data, seed=seed + 1, done_bytes=224 * 100, fills_max=150, trades_max=40, candle_days=LONG)
    assert again.snapshot() == data
    dice = random.Random(seed)
    for _ in range(300):
        batch = maker.batch()
        views.apply(*batch)
        again.apply(*batch)
        check_orders(maker.history, maker, again, dice, 100)
        check_fills(maker.history, maker, again, dice, 150)
        check_tickers(maker, again, dice)
    assert again.snapshot() == views.snapshot()


def test_a_cut_is_the_moment_it_was_taken() -> None:
    maker, views = grown(11, 300, done_bytes=224 * 50, fills_max=60, trades_max=20)
    data, cut = views.snapshot(), views.cut()
    assert cut.size == len(data)
    for _ in range(600):  # everything it holds leaves the rings meanwhile
        views.apply(*maker.batch())
    assert b"".join(cut.pieces()) == data


def test_a_smaller_ring_takes_the_newest_of_a_snapshot() -> None:
    maker, views = grown(12, 600)
    again = Views.restore(views.snapshot(), done_bytes=224 * 30, fills_max=40, trades_max=5)
    dice = random.Random(12)
    for _ in range(200):
        again.apply(*maker.batch())
        check_orders(maker.history, maker, again, dice, 30)
        check_fills(maker.history, maker, again, dice, 40)


@pytest.mark.parametrize("cut", [0, 7, 8, 20, 60, -1])
def test_a_short_snapshot_is_refused(cut: int) -> None:
    _, views = grown(13, 50)
    data = views.snapshot()
    with pytest.raises(ValueError, match="snapshot"):
        Views.restore(data[:cut])
    with pytest.raises(ValueError, match="longer"):
        Views.restore(data + b"x")


def test_any_interval_begins_where_the_calendar_says() -> None:
    dice = random.Random(99)
    for _ in range(3000):
        interval, offset_s = dice.choice(list(INTERVALS)), dice.choice(OFFSETS_S)
        time_ns = dice.randrange(86_400 * NS, 4_102_444_800 * NS)
        assert interval_bounds(interval, time_ns, offset_s) == bounds(interval, time_ns, offset_s)


def test_lost_and_doubled_trades_are_a_fault() -> None:
    for change in (2, 0):
        maker, views = Maker(21), Views()
        while not maker.history.trades:
            views.apply(*maker.batch())
        market = next(iter(maker.history.trades))
        trade_id = views.last_ids(market)[0] + change
        pair = [event(kind=EventKind.FILL, market=market, trade_id=trade_id, flags=f) for f in (0, EventFlag.MAKER)]
        with pytest.raises(ViewFault, match="trade id"):
            views.apply(b"".join(pair), b"", 2)


def test_half_a_pair_is_a_fault() -> None:
    for other in (b"", event(kind=EventKind.FILL, market=1, trade_id=2, flags=EventFlag.MAKER)):
        with pytest.raises(ViewFault, match="followed"):
            Views().apply(event(kind=EventKind.FILL, market=1, trade_id=1) + other, b"", 2)


def test_a_closed_view_answers_nothing() -> None:
    _, views = grown(1, 100)
    views.close("torn")
    views.apply(b"", b"", 1)
    for ask in (
        lambda: views.trades(1), lambda: views.ticker(1, 5), lambda: views.done_order(1), lambda: views.fills(1, 1, 5),
        lambda: views.klines(1, "1m", 5, 5), lambda: views.cut(), lambda: views.done_orders(1, 1, 5),
    ):  # fmt: skip
        with pytest.raises(ViewClosed, match="torn"):
            ask()


def test_odd_questions_get_empty_answers() -> None:
    _, views = grown(1, 100)
    assert views.trades(-1) == views.trades(1 << 40) == views.trades(1, 0) == views.trades(1, -5) == []
    assert views.done_by_client(1, 1, b"") == views.done_by_client(1, 1, b"x" * 37) == b""
    assert views.fills(1, 1, 0) == []
    assert views.done_orders(1, 1, -1) == b""
    assert views.klines(1, "1m", 5, 1 << 61, 1 << 61) == []
    with pytest.raises(KeyError):
        views.klines(1, "2m", 5, 5)
