# SPDX-License-Identifier: Apache-2.0
"""binance_api.md §11.2, the rows of klines: all sixteen intervals, over REST and as streams, against the trades."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest

from tests.wire_rules.hall import Hall
from tests.wire_rules.room import Listener
from tests.wire_rules.tape import DAY, HOUR, INTERVALS, MINUTE, SECOND, Tape, candle, follows, of_stream, opens

ZONES = {"0": 0, "8": 480, "-12:00": -720, "+14:00": 840, "5:45": 345, "-3:30": -210}
EAST = 480  # the one other zone of the streams

# Which intervals are watched together, how far apart trades may be, and how many there are.
STAGES = {
    "seconds and minutes": (("1s", "1m", "3m", "5m"), 20 * SECOND, 60),
    "minutes and hours": (("15m", "30m", "1h", "2h"), HOUR, 50),
    "parts of a day": (("4h", "6h", "8h", "12h", "1d"), 9 * HOUR, 50),
    "days, weeks and months": (("3d", "1w", "1M"), 7 * DAY, 60),
}


def test_every_interval_is_in_a_stage() -> None:
    assert sorted(INTERVALS) == sorted(interval for intervals, _, _ in STAGES.values() for interval in intervals)


async def run(tape: Tape, rng: random.Random, step: int, count: int) -> None:
    """Trades at random times, with silences of several candles."""
    price = 10_000
    for _ in range(count):
        price = max(1_000, price + rng.randrange(-300, 300))
        for _ in range(rng.choice((0, 1, 1, 2))):
            price += rng.randrange(-20, 20)
            quantity = f"{rng.randrange(10, 5_000) / 1_000:.3f}"
            await tape.trade(f"{price / 100:.2f}", quantity, rng.choice(("BUY", "SELL")))
        await tape.hall.pass_time(rng.choice((rng.randrange(1, step), rng.randrange(1, max(2, step // 10)))))


def named(interval: str, offset: int) -> str:
    """The stream's name."""
    return f"kline_{interval}" + ("@+08:00" if offset else "")


async def listen(tape: Tape, intervals: tuple[str, ...]) -> Listener:
    names = [named(interval, offset) for interval in intervals for offset in (0, EAST)]
    return await tape.room.listen(*names, combined=True)


@pytest.mark.parametrize("stage", STAGES)
async def test_11_2_kline_closes_exactly_once_at_its_end_and_is_what_its_trades_say(
    hall: Hall, seed: int, stage: str
) -> None:
    """x:true once per candle, none left out, also where nothing traded; every frame says what had traded then."""
    intervals, step, count = STAGES[stage]
    tape = await Tape.begin(hall)
    await tape.trade("100", "1")
    begin = hall.now_ms()
    stream = await listen(tape, intervals)
    await run(tape, random.Random(seed), step, count)
    end = follows(intervals[-1], follows(intervals[-1], opens(intervals[-1], hall.now_ms())))
    while hall.now_ms() <= end + DAY // 2 * (step > HOUR):  # two more of the widest, in every zone
        await hall.pass_time(step)
    frames: dict[str, list[Any]] = defaultdict(list)
    for message in await stream.take():
        frames[message["stream"].partition("@")[2]].append(message["data"])
    empty = 0
    for interval in intervals:
        for offset in (0, EAST):
            closed = []
            for event in frames[named(interval, offset)]:
                k = event["k"]
                end = follows(interval, k["t"], offset)
                assert (event["e"], k["i"]) == ("kline", interval)
                assert event["s"] == k["s"] == tape.room.symbol
                assert k["t"] == opens(interval, k["t"], offset)
                assert k["x"] == (event["E"] >= end)
                assert of_stream(k) == candle(tape, k["t"], end, event["E"])
                if k["x"]:
                    closed.append(k["t"])
                    empty += k["n"] == 0
            expected, at = [], opens(interval, begin, offset)
            while at < opens(interval, hall.now_ms(), offset):
                expected.append(at)
                at = follows(interval, at, offset)
            assert closed == expected, (interval, offset)
            assert len(closed) >= 2
    assert empty or stage.startswith("days"), "a silence was among them"


@pytest.mark.parametrize("stage", STAGES)
async def test_11_2_klines_of_rest_have_no_holes_and_are_what_their_trades_say(
    hall: Hall, seed: int, stage: str
) -> None:
    """In every time zone, page by page from the first trade on; the last one is the open one."""
    intervals, step, count = STAGES[stage]
    tape = await Tape.begin(hall)
    await tape.trade("100", "1")
    await run(tape, random.Random(seed), step, count)
    for interval in intervals:
        for zone, offset in ZONES.items():
            if offset % 60 and stage.startswith("days"):
                continue  # candles of months that begin between two hours are made of minutes, kept for a month
            expected, at = [], opens(interval, tape.trades[0].time, offset)
            while at <= hall.now_ms():
                end = follows(interval, at, offset)
                expected.append(candle(tape, at, end)[:12])
                at = end
            rows: list[Any] = []
            while not rows or rows[-1][6] < hall.now_ms():
                start = rows[-1][0] + 1 if rows else expected[0][0]
                rows += await tape.room.get(
                    "klines", interval=interval, timeZone=zone, startTime=start, limit=1000, endTime=hall.now_ms()
                )
            assert rows == expected, (interval, zone)
            assert all(before[6] + 1 == after[0] for before, after in pairwise(rows))
        newest = await tape.room.get("klines", interval=interval, limit=3)
        assert newest == await tape.room.get("uiKlines", interval=interval, limit=3)
        assert newest[-1][6] >= hall.now_ms() > newest[-1][0] - 1


async def test_11_2_kline_of_a_week_starts_on_monday_of_a_month_on_the_first_3d_by_the_epoch(hall: Hall) -> None:
    """Named once more with dates that a person can check."""
    tape = await Tape.begin(hall)
    await hall.reach(at(2024, 2, 29, 12))  # a Thursday
    await tape.trade("100", "1")
    await hall.reach(at(2024, 3, 4, 12))
    await tape.trade("101", "1")

    async def opened(interval: str, zone: str = "0") -> list[int]:
        return [row[0] for row in await tape.room.get("klines", interval=interval, timeZone=zone)]

    assert await opened("1w") == [at(2024, 2, 26), at(2024, 3, 4)]
    assert await opened("1M") == [at(2024, 2, 1), at(2024, 3, 1)]
    assert await opened("3d") == [at(2024, 2, 29), at(2024, 3, 3)], "days 19782 and 19785 of the epoch"
    assert [time // DAY % 3 for time in await opened("3d")] == [0, 0]
    assert await opened("1M", "8") == [at(2024, 1, 31, 16), at(2024, 2, 29, 16)]
    assert await opened("1w", "-3:30") == [at(2024, 2, 26, 3, 30), at(2024, 3, 4, 3, 30)]


def at(*date: int) -> int:
    return int(datetime(*date, tzinfo=UTC).timestamp()) * 1_000  # type: ignore[misc, arg-type]


async def test_11_2_kline_is_pushed_every_second_or_every_other_one_while_it_changes(hall: Hall) -> None:
    """1s: 1000 ms, all others: 2000 ms; nothing while nothing trades."""
    tape = await Tape.begin(hall)
    await hall.reach((hall.now_ms() // MINUTE + 1) * MINUTE)
    await tape.trade("100", "1")
    stream = await tape.room.listen("kline_1s", "kline_1m", "kline_1d", combined=True)
    for _ in range(100):
        await hall.pass_time(100)
        await tape.trade("100", "0.1")
    times: dict[str, list[int]] = defaultdict(list)
    for message in await stream.take():
        k = message["data"]["k"]
        if not k["x"]:
            times[k["i"]].append(message["data"]["E"])
    assert len(times["1m"]) == len(times["1d"]) == 5
    assert {after - before for before, after in pairwise(times["1m"])} == {2 * SECOND}
    await hall.pass_time(2 * SECOND)
    await stream.take()
    for _ in range(10):
        await hall.pass_time(SECOND)
    assert {m["data"]["k"]["i"] for m in await stream.take()} == {"1s"}, "only seconds close in a silence"


async def test_11_2_kline_closes_by_itself_in_a_silence(hall: Hall) -> None:
    """The process asks its log for the time when a candle must close: nobody trades, no other request comes."""
    tape = await Tape.begin(hall)
    await tape.trade("100", "1")
    stream = await tape.room.listen("kline_1s")
    closes = []
    for _ in range(3):
        hall.turn(SECOND)
        event = await stream.next()
        while not event["k"]["x"]:
            event = await stream.next()
        closes.append(event["k"]["t"])
    first = opens("1s", tape.trades[0].time)
    assert closes == [first, first + SECOND, first + 2 * SECOND]


async def test_11_2_kline_before_the_first_trade_there_is_none(hall: Hall) -> None:
    tape = await Tape.begin(hall)
    stream = await tape.room.listen("kline_1s", "kline_1m")
    await tape.room.traders["alice"].limit("BUY", "1", "100")
    for _ in range(3):
        await hall.pass_time(MINUTE)
    assert await stream.take() == []
    assert await tape.room.get("klines", interval="1m") == []
