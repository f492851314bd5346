# SPDX-License-Identifier: Apache-2.0
"""binance_api.md §11.2, the rows of tickers: 24 hours, rolling windows and average prices, against the trades."""

from __future__ import annotations

import random
from decimal import ROUND_DOWN, Decimal
from typing import Any

import pytest

from tests.wire_rules.hall import Hall
from tests.wire_rules.room import text
from tests.wire_rules.tape import DAY, HOUR, MINUTE, SECOND, Tape, Trade, Window, window

WINDOWS = {"1h": HOUR, "4h": 4 * HOUR, "1d": DAY}
FULL = ("p", "P", "w", "o", "h", "l", "c", "v", "q", "F", "L", "n")
REST = (
    "priceChange", "priceChangePercent", "weightedAvgPrice", "openPrice", "highPrice", "lowPrice", "lastPrice",
    "volume", "quoteVolume", "firstId", "lastId", "count",
)  # fmt: skip
MINI = ("openPrice", "highPrice", "lowPrice", "lastPrice", "volume", "quoteVolume", "firstId", "lastId", "count")


async def move(tape: Tape, rng: random.Random, trades: int) -> None:
    """Some trades around the last price."""
    base = int(tape.trades[-1].price * 100) if tape.trades else 10_000
    for _ in range(trades):
        base = max(1_000, base + rng.randrange(-150, 150))
        quantity = f"{rng.randrange(10, 3_000) / 1_000:.3f}"
        await tape.trade(f"{base / 100:.2f}", quantity, rng.choice(("BUY", "SELL")))


def of_rest(row: dict[str, Any]) -> Window:
    return Window(*(row[key] for key in REST))


def of_stream(event: dict[str, Any]) -> Window:
    return Window(*(event[key] for key in FULL))


async def whole_second(hall: Hall, ms: int) -> None:
    """Time passes, up to a whole second, where windows begin and end exactly."""
    await hall.reach((hall.now_ms() + ms) // SECOND * SECOND)


def before(tape: Tape, time: int) -> Trade | None:
    """The trade just before."""
    return next((trade for trade in reversed(tape.trades) if trade.time < time), None)


async def test_11_2_24h_ticker_is_the_rolling_day_that_its_trades_say(hall: Hall, seed: int) -> None:
    """REST and stream, over two and a half days: window, previous price, best prices, counts by ids."""
    rng = random.Random(seed)
    tape = await Tape.begin(hall)
    room = tape.room
    full, mini = await room.listen("ticker"), await room.listen("miniTicker")
    previous = 0
    for _ in range(36):
        await whole_second(hall, rng.choice((2 * SECOND, MINUTE, 3 * HOUR, 3 * HOUR)))
        await full.take(), await mini.take()
        await move(tape, rng, rng.randrange(1, 4))
        await hall.pass_time(SECOND)
        now = hall.now_ms()
        trades = tape.between(now - DAY, now)
        expected = window(trades)
        row = await room.get("ticker/24hr")
        assert of_rest(row) == expected
        assert (row["closeTime"], row["openTime"]) == (now, now - DAY), "O = C - 24 h, not a UTC day"
        assert row["count"] == row["lastId"] - row["firstId"] + 1
        last = before(tape, now - DAY)
        previous += last is not None
        assert row["prevClosePrice"] == text(last.price if last else 0), "the price of the trade just before the window"
        assert row["lastQty"] == text(trades[-1].quantity)
        (event,) = await full.take()
        assert (event["e"], event["E"], event["C"], event["O"]) == ("24hrTicker", now, now, now - DAY)
        assert of_stream(event) == expected
        assert (event["x"], event["Q"]) == (row["prevClosePrice"], row["lastQty"])
        top = await room.get("ticker/bookTicker")
        assert [event[key] for key in "bBaA"] == [row["bidPrice"], row["bidQty"], row["askPrice"], row["askQty"]]
        assert [Decimal(event[key]) for key in "bBaA"] == [
            Decimal(top[key]) for key in ("bidPrice", "bidQty", "askPrice", "askQty")
        ]
        (small,) = await mini.take()
        assert small == {
            "e": "24hrMiniTicker", "E": now, "s": room.symbol, "c": expected.last, "o": expected.open,
            "h": expected.high, "l": expected.low, "v": expected.volume, "q": expected.quote,
        }  # fmt: skip
    assert previous > 2


async def test_11_2_24h_ticker_leaves_trades_behind_to_the_second(hall: Hall) -> None:
    tape = await Tape.begin(hall)
    await whole_second(hall, SECOND)
    for price in ("100", "101", "102"):
        await tape.trade(price, "1")
        await hall.pass_time(SECOND)
    begin = tape.trades[0].time
    for seconds, opened, previous in ((0, "100", 0), (1, "101", 100), (2, "102", 101)):
        await hall.reach(begin + DAY + seconds * SECOND)
        row = await tape.room.get("ticker/24hr")
        assert (row["openPrice"], row["prevClosePrice"]) == (text(opened), text(previous))
        assert row["count"] == 3 - seconds
    await hall.pass_time(SECOND)
    row = await tape.room.get("ticker/24hr")
    assert (row["count"], row["firstId"], row["lastId"], row["volume"]) == (0, -1, -1, "0.00000000")
    assert {row[key] for key in ("openPrice", "highPrice", "lowPrice", "lastPrice", "prevClosePrice")} == {text(102)}


@pytest.mark.parametrize("name", ["1m", "37m", "1h", "4h", "23h", "1d", "2d", "7d"])
async def test_11_2_rolling_ticker_opens_at_a_whole_minute(hall: Hall, seed: int, name: str) -> None:
    """GET /ticker: up to 59 999 ms wider than its size."""
    size = int(name[:-1]) * {"m": MINUTE, "h": HOUR, "d": DAY}[name[-1]]
    rng = random.Random(seed)
    tape = await Tape.begin(hall)
    wider = set()
    for _ in range(12):
        await hall.pass_time(rng.randrange(1, max(2, size // 4)))
        await move(tape, rng, rng.randrange(0 if tape.trades else 1, 3))
        await hall.pass_time(rng.randrange(1, SECOND))
        now = hall.now_ms()
        row = await tape.room.get("ticker", windowSize=name)
        assert row["closeTime"] == now
        assert row["openTime"] % MINUTE == 0
        assert row["openTime"] == (now - size) // MINUTE * MINUTE
        wider.add(now - size - row["openTime"])
        trades = tape.between(row["openTime"], now + 1)
        if trades:
            assert of_rest(row) == window(trades)
        else:
            assert (row["count"], row["firstId"], row["lastId"]) == (0, -1, -1)
            assert row["openPrice"] == row["lastPrice"] == text(tape.trades[-1].price)
        mini = await tape.room.get("ticker", windowSize=name, type="MINI")
        assert mini == {key: row[key] for key in ("symbol", *MINI, "openTime", "closeTime")}
    assert len(wider) > 6
    assert max(wider) <= 59_999


async def test_11_2_rolling_ticker_streams_say_what_rest_says(hall: Hall, seed: int) -> None:
    """ticker_1h, ticker_4h, ticker_1d, and the arrays of all markets: opened at a whole minute, once a second."""
    rng = random.Random(seed)
    tape = await Tape.begin(hall)
    room = tape.room
    names = [f"ticker_{name}" for name in WINDOWS]
    own = await room.listen(*names, combined=True)
    everybody = await room.listen(*(f"!{name}@arr" for name in names), combined=True)
    for _ in range(30):
        await whole_second(hall, rng.choice((2 * SECOND, 10 * MINUTE, 2 * HOUR)))
        await own.take(), await everybody.take()
        await move(tape, rng, rng.randrange(1, 4))
        await hall.pass_time(SECOND)
        now = hall.now_ms()
        heard = {message["stream"]: message["data"] for message in await own.take()}
        arrays = {message["stream"]: message["data"] for message in await everybody.take()}
        for name, size in WINDOWS.items():
            event = heard[f"{room.stream}@ticker_{name}"]
            opened = (now - size) // MINUTE * MINUTE
            assert set(event) == {"e", "E", "s", "p", "P", "o", "h", "l", "c", "w", "v", "q", "O", "C", "F", "L", "n"}
            assert (event["e"], event["E"], event["s"]) == (f"{name}Ticker", now, room.symbol)
            assert (event["O"], event["C"]) == (opened, now)
            assert of_stream(event) == window(tape.between(opened, now)) == of_rest(
                await room.get("ticker", windowSize=name)
            )  # fmt: skip
            assert arrays[f"!ticker_{name}@arr"] == [event]
    for _ in range(5):
        await hall.pass_time(SECOND)
    assert await own.take() == await everybody.take() == [], "nothing has traded"


async def test_11_2_arrays_hold_only_the_markets_that_changed(hall: Hall) -> None:
    """!miniTicker@arr, !ticker@arr and the windows: once a second, each market once, equal to its own stream."""
    first, second = await Tape.begin(hall), await Tape.begin(hall)
    arrays = ("!miniTicker@arr", "!ticker@arr", "!ticker_1h@arr", "!ticker_4h@arr", "!ticker_1d@arr")
    kinds = ("miniTicker", "ticker", "ticker_1h", "ticker_4h", "ticker_1d")
    everybody = await first.room.listen(*arrays, combined=True)
    own = [await tape.room.listen(*kinds, combined=True) for tape in (first, second)]
    for moved in ([first], [second], [first, second], []):
        await whole_second(hall, 2 * SECOND)
        await everybody.take()
        for listener in own:
            await listener.take()
        for tape in moved:
            await tape.trade("100", "1")
        await hall.pass_time(SECOND)
        heard = {message["stream"]: message["data"] for message in await everybody.take()}
        single = [{m["stream"].partition("@")[2]: m["data"] for m in await listener.take()} for listener in own]
        if not moved:
            assert heard == {}
            assert single == [{}, {}]
            continue
        for array, kind in zip(arrays, kinds, strict=True):
            assert [event["s"] for event in heard[array]] == [tape.room.symbol for tape in moved]
            assert heard[array] == [one[kind] for one in single if one]


async def test_11_2_tickers_come_once_a_second_however_much_trades(hall: Hall) -> None:
    tape = await Tape.begin(hall)
    await whole_second(hall, SECOND)
    kinds = ("ticker", "miniTicker", "ticker_1h", "avgPrice")
    stream = await tape.room.listen(*kinds, combined=True)
    begin = hall.now_ms()
    for _ in range(40):
        await tape.trade("100", "0.1")
        await hall.pass_time(100)
    heard = await stream.take()
    for kind in kinds:
        times = [m["data"]["E"] for m in heard if m["stream"].endswith("@" + kind)]
        assert times == [begin + SECOND * number for number in range(1, 5)], kind


def average(tape: Tape, now: int, minutes: int) -> str:
    """Volume-weighted, of the last minutes by the clock, cut to the tick; the last price when none has traded."""
    trades = tape.between((now // MINUTE - minutes + 1) * MINUTE, now + 1)
    if not trades:
        return text(tape.trades[-1].price)
    paid = sum(trade.quantity * trade.price for trade in trades)
    return text((paid / sum(trade.quantity for trade in trades)).quantize(Decimal("0.01"), ROUND_DOWN))


@pytest.mark.parametrize("minutes", [1, 5])
async def test_11_2_average_price_is_that_of_the_last_minutes(hall: Hall, seed: int, minutes: int) -> None:
    """GET /avgPrice and the stream; what they average over is the market's own number of minutes."""
    rng = random.Random(seed)
    tape = await Tape.begin(hall, average_minutes=minutes)
    stream = await tape.room.listen("avgPrice")
    row = await tape.room.get("avgPrice")
    assert (row["mins"], row["closeTime"], Decimal(row["price"])) == (minutes, 0, 0), "before the first trade"
    for _ in range(25):
        await whole_second(hall, rng.choice((2 * SECOND, 30 * SECOND, 3 * MINUTE, 9 * MINUTE)))
        await stream.take()
        await move(tape, rng, rng.randrange(1, 3))
        await hall.pass_time(SECOND)
        now = hall.now_ms()
        row = await tape.room.get("avgPrice")
        assert row["mins"] == minutes
        assert text(row["price"]) == average(tape, now, minutes)
        event = (await stream.take())[-1]
        assert event == {
            "e": "avgPrice", "E": now, "s": tape.room.symbol, "i": f"{minutes}m", "w": text(row["price"]),
            "T": tape.trades[-1].time,
        }  # fmt: skip
