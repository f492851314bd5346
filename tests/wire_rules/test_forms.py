# SPDX-License-Identifier: Apache-2.0
"""binance_api.md §6 as far as it is a rule of every stream: envelopes, time units, and where a stream may be named."""

from __future__ import annotations

from typing import Any

import pytest

from tests.feeds.raw import RawClient
from tests.wire_rules.hall import Hall
from tests.wire_rules.room import Room, is_answer
from tests.wire_rules.tape import SECOND, Tape

KINDS = (
    "depth", "depth@100ms", "depth5", "depth5@100ms", "depth10", "depth10@100ms", "depth20", "depth20@100ms",
    "bookTicker", "trade", "aggTrade", "kline_1s", "kline_1m", "kline_1M", "kline_1d@+08:00", "miniTicker", "ticker",
    "ticker_1h", "ticker_4h", "ticker_1d", "avgPrice",
)  # fmt: skip
OF_ALL = ("!miniTicker@arr", "!ticker@arr", "!ticker_1h@arr", "!ticker_4h@arr", "!ticker_1d@arr", "!bookTicker")
TIMES = {"E", "T", "O", "C"}  # of events; in a candle: t, T


async def happen(tape: Tape) -> None:
    """Something that every stream has to tell."""
    await tape.hall.reach((tape.hall.now_ms() // (2 * SECOND) + 1) * 2 * SECOND)
    await tape.trade("100", "1")
    await tape.room.traders["alice"].limit("BUY", "1", "90")
    await tape.hall.pass_time(2 * SECOND)


def names_of(room: Room) -> list[str]:
    return [f"{room.stream}@{kind}" for kind in KINDS] + list(OF_ALL)


async def connect(room: Room, path: str) -> RawClient:
    return await RawClient.connect(room.address.port, path)


async def all_of(client: RawClient, number: int = 99) -> list[Any]:
    """What is there, by an unsubscription of nothing behind a flush."""
    client.text({"method": "SUBSCRIBE", "params": ["nothing@trade"], "id": number})
    messages = []
    while not is_answer(message := await client.message(), number):
        messages.append(message)
    return messages


async def test_6_combined_wraps_each_event_with_the_name_that_was_asked_for(hall: Hall) -> None:
    """By URL and by SUBSCRIBE on /stream, and by SET_PROPERTY on /ws: the same payloads as the raw streams."""
    tape = await Tape.begin(hall)
    room = tape.room
    names = names_of(room)
    by_url = await connect(room, "/stream?streams=" + "/".join(names))
    by_frame, by_property = await connect(room, "/stream"), await connect(room, "/ws")
    by_property.text({"method": "SET_PROPERTY", "params": ["combined", True], "id": 1})
    assert await by_property.message() == {"result": None, "id": 1}
    for client in (by_frame, by_property):
        client.text({"method": "SUBSCRIBE", "params": names, "id": 2})
        assert await client.message() == {"result": None, "id": 2}
    raw = {name: await connect(room, f"/ws/{name}") for name in names}
    for client in (by_url, by_frame, by_property, *raw.values()):
        await all_of(client)
    await happen(tape)
    heard = await all_of(by_url)
    assert all(set(message) == {"stream", "data"} for message in heard)
    assert {message["stream"] for message in heard} == set(names), "every stream has told something"
    assert await all_of(by_frame) == await all_of(by_property) == heard
    for name, client in raw.items():
        assert await all_of(client) == [m["data"] for m in heard if m["stream"] == name], name


@pytest.mark.parametrize("unit", ["MICROSECOND", "microsecond"])
async def test_6_time_unit_changes_every_time_and_nothing_else(hall: Hall, unit: str) -> None:
    tape = await Tape.begin(hall)
    room = tape.room
    streams = "/stream?streams=" + "/".join(names_of(room))
    plain, micro = await connect(room, streams), await connect(room, f"{streams}&timeUnit={unit}")
    for client in (plain, micro):
        await all_of(client)
    await happen(tape)
    ours, theirs = await all_of(plain), await all_of(micro)
    assert len(ours) == len(theirs) > len(KINDS)
    for one, other in zip(ours, theirs, strict=True):
        assert one["stream"] == other["stream"]
        assert coarse(other["data"]) == one["data"]


def coarse(data: Any) -> Any:
    """Microseconds as milliseconds."""
    if isinstance(data, list):
        return [coarse(one) for one in data]
    cut = {key: value // 1_000 if key in TIMES and isinstance(value, int) else value for key, value in data.items()}
    if data.get("e") == "kline":
        cut["k"] = {key: value // 1_000 if key in ("t", "T") else value for key, value in data["k"].items()}
        assert (data["k"]["T"] + 1) % 1_000_000 == 0, "a candle ends one unit before the next begins"
    return cut


async def test_6_a_raw_path_may_list_several_streams_and_any_tail_is_taken(hall: Hall) -> None:
    """python-binance and unicorn list them, ccxt.pro opens /ws/0 and subscribes then."""
    tape = await Tape.begin(hall)
    room = tape.room
    several = await connect(room, f"/ws/{room.stream}@trade/{room.stream}@bookTicker")
    tail = await connect(room, "/ws/0")
    tail.text({"method": "SUBSCRIBE", "params": [f"{room.stream}@trade"], "id": 1})
    assert await tail.message() == {"result": None, "id": 1}
    await all_of(several)
    await tape.trade("100", "1")
    assert {message.get("e", "bookTicker") for message in await all_of(several)} == {"trade", "bookTicker"}
    assert [message["e"] for message in await all_of(tail)] == ["trade"]


async def test_6_unknown_streams_are_taken_silently_and_names_are_lower_case(hall: Hall) -> None:
    tape = await Tape.begin(hall)
    room = tape.room
    client = await connect(room, "/ws")
    wrong = [f"{room.symbol}@trade", f"{room.stream}@ticker_2h", f"{room.stream}@kline_7m", "!ticker_1w@arr",
             f"{room.stream}@depth7", "nosuchsymbol@trade"]  # fmt: skip
    client.text({"method": "SUBSCRIBE", "params": wrong, "id": 1})
    assert await client.message() == {"result": None, "id": 1}
    await happen(tape)
    assert await all_of(client) == []


async def test_6_arrays_of_all_markets_are_known_with_a_speed_too(hall: Hall) -> None:
    """As python-binance asks for them; combined, under the name that was asked for."""
    tape = await Tape.begin(hall)
    plain = ["!miniTicker@arr", "!ticker@arr"]
    names = [name + speed for name in plain for speed in ("", "@1000ms", "@3000ms")]
    client = await connect(tape.room, "/stream?streams=" + "/".join(names))
    await all_of(client)
    await happen(tape)
    heard = {message["stream"]: message["data"] for message in await all_of(client)}
    assert set(heard) == set(names)
    for name in names:
        assert heard[name] == heard[name.removesuffix("@1000ms").removesuffix("@3000ms")]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("depth", "depth@1000ms"), ("depth5", "depth5@1000ms"), ("kline_1m", "kline_1m@+00:00"),
        ("kline_1s@+08:00", "kline_1s@+8:00"),
    ],
)  # fmt: skip
async def test_6_two_names_of_one_stream_are_two_streams(hall: Hall, first: str, second: str) -> None:
    """Asked for in one request: both are told, each can be left, and nobody else notices."""
    tape = await Tape.begin(hall)
    room = tape.room
    names = [f"{room.stream}@{first}", f"{room.stream}@{second}"]
    client, other = await room.listen(first, second, combined=True), await room.listen(first)
    await client.take(), await other.take()
    await happen(tape)
    heard, theirs = await client.take(), await other.take()
    payloads = [[message["data"] for message in heard if message["stream"] == name] for name in names]
    assert payloads[0] == payloads[1] == theirs != []
    for name in names:
        client.client.text({"method": "UNSUBSCRIBE", "params": [name], "id": name[:36]})
        while (await client.client.message()).get("id") != name[:36]:
            pass
    await other.take()
    await happen(tape)
    assert await other.take() != []
    assert (await room.traders["alice"].balances())["BTC"][0] > 0, "signed reads are answered as before"
    again = await room.listen(first)
    await again.take()
    await happen(tape)
    assert await again.take() == await other.take() != []
