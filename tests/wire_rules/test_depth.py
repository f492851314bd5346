# SPDX-License-Identifier: Apache-2.0
"""binance_api.md §11.1, rules 1 to 10: update ids, spans, snapshots, partial depth and best prices fit together."""

from __future__ import annotations

import asyncio
import random
import re
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from bidhall.core import records
from tests.feeds.probes import Book
from tests.feeds.raw import RawClient
from tests.wire_rules.conftest import Opener
from tests.wire_rules.dealing import dealers, under_load
from tests.wire_rules.hall import Hall
from tests.wire_rules.room import Room, is_answer

DIFFERENCES = ("depth", "depth@100ms")
NUMBER = re.compile(r"\d+\.\d{8}\Z").match


class Levels:
    """A book kept from differences, as texts."""

    def __init__(self) -> None:
        self.bids: dict[str, str] = {}
        self.asks: dict[str, str] = {}

    def apply(self, event: Any) -> None:
        """Absolute quantities; zero removes, whether it is there or not."""
        for side, changes in ((self.bids, event["b"]), (self.asks, event["a"])):
            assert len({price for price, _ in changes}) == len(changes), "each price at most once"
            for price, quantity in changes:
                if quantity == "0.00000000":
                    side.pop(price, None)
                else:
                    side[price] = quantity

    def sides(self) -> list[list[list[str]]]:
        """As a snapshot has them."""
        return [
            [list(pair) for pair in sorted(self.bids.items(), key=lambda pair: -Decimal(pair[0]))],
            [list(pair) for pair in sorted(self.asks.items(), key=lambda pair: Decimal(pair[0]))],
        ]


async def test_11_1_1_one_counter_of_a_symbol_for_all_streams_and_snapshots(hall: Hall) -> None:
    """U and u, bookTicker.u, partial depth and both snapshots count the same changes of the same book."""
    room, other = await hall.room("alice"), await hall.room("bob")
    alice, bob = room.traders["alice"], other.traders["bob"]
    fast = await room.listen("depth@100ms")
    slow, top = await room.listen("depth"), await room.listen("bookTicker")
    for count in range(1, 6):
        await alice.limit("BUY", "0.1", 90 + count)
        await bob.limit("BUY", "0.1", 80 + count)
        await bob.limit("BUY", "0.1", 70 + count)
        assert (await top.take())[-1]["u"] == count
        assert (await room.get("depth", limit=5))["lastUpdateId"] == count
        assert (await other.get("depth", limit=5))["lastUpdateId"] == 2 * count
        assert [(e["U"], e["u"]) for e in await fast.take()] == [(count, count)]
        assert [(e["U"], e["u"]) for e in await slow.take()] == [(count, count)], "a snapshot ends both spans"
    await hall.pass_time(1_000)
    partial = await room.listen("depth5@100ms")
    await alice.limit("SELL", "0.1", "110")
    await hall.pass_time(100)
    assert (await partial.take())[-1]["lastUpdateId"] == 6
    client = await RawClient.connect(room.address.port, "/ws-api/v3")
    client.text({"id": 1, "method": "depth", "params": {"symbol": room.symbol}})
    assert (await client.message())["result"]["lastUpdateId"] == 6


@pytest.mark.parametrize("kind", DIFFERENCES)
async def test_11_1_2_next_U_is_previous_u_plus_1(hall: Hall, seed: int, kind: str) -> None:  # noqa: N802
    """On both cadences, from the market's first change on, and up to the last one; quiet intervals send nothing."""
    room = await hall.room("alice", "bob")
    stream = await room.listen(kind)
    rng = random.Random(seed)
    dealing = dealers(list(room.traders.values()), seed)
    for _ in range(80):
        for dealer in dealing:
            await dealer.deal(rng.randrange(0, 4))
        await hall.pass_time(rng.choice((1, 40, 90, 250, 1100)))
        if rng.random() < 0.1:
            await room.get("depth")
    await hall.pass_time(1_000)
    events = await stream.take()
    assert events[0]["U"] == 1
    assert all(after["U"] == before["u"] + 1 for before, after in pairwise(events))
    assert all(event["U"] <= event["u"] for event in events)
    assert all(event["b"] or event["a"] for event in events), "ids do not move without a level"
    assert events[-1]["u"] == (await room.get("depth"))["lastUpdateId"]
    assert len(events) > 20
    for _ in range(15):
        await hall.pass_time(500)
    assert await stream.take() == [], "nothing changed"


async def test_11_1_2_a_trade_that_changes_no_level_needs_no_id_and_leaves_no_gap(hall: Hall) -> None:
    """An order that is refused, expires unfilled, or waits for its trigger changes no level."""
    room = await hall.room("alice", "bob")
    alice, bob = room.traders["alice"], room.traders["bob"]
    await alice.limit("SELL", "1", "100")
    await bob.limit("BUY", "0.1", "100")
    before = (await room.get("depth"))["lastUpdateId"]
    stream = await room.listen("depth@100ms")
    await bob.limit("BUY", "1", "99", timeInForce="IOC")
    await bob.limit("BUY", "5", "100", timeInForce="FOK")
    await bob.place("BUY", "STOP_LOSS_LIMIT", timeInForce="GTC", quantity="1", price="130", stopPrice="120")
    await bob.refused("POST", "order", side="BUY", type="LIMIT_MAKER", quantity="1", price="100")
    await hall.pass_time(200)
    assert await stream.take() == []
    assert (await room.get("depth"))["lastUpdateId"] == before
    await bob.limit("BUY", "0.1", "100")
    await hall.pass_time(200)
    (event,) = await stream.take()
    assert event["U"] == before + 1
    assert event["a"] == [["100.00000000", "0.80000000"]]


async def test_11_1_2_an_iceberg_shows_its_visible_part_and_every_refill(hall: Hall) -> None:
    """Depth, best price and snapshot count what is shown; a slice that is used up is shown anew in the same step."""
    room = await hall.room("alice", "bob")
    alice, bob = room.traders["alice"], room.traders["bob"]
    stream, top = await room.listen("depth@100ms"), await room.listen("bookTicker")
    await alice.limit("SELL", "1", "100", icebergQty="0.3")
    await bob.limit("SELL", "0.1", "100")
    assert (await room.get("depth"))["asks"] == [["100.00000000", "0.40000000"]]
    assert (await top.take())[-1]["A"] == "0.40000000"
    await bob.limit("BUY", "0.2", "100")
    assert (await room.get("depth"))["asks"] == [["100.00000000", "0.20000000"]]
    await alice.limit("BUY", "0.15", "100", selfTradePreventionMode="NONE")
    assert (await room.get("depth"))["asks"] == [["100.00000000", "0.35000000"]], "0.05 of bob's, 0.3 shown anew"
    assert (await top.take())[-1]["A"] == "0.35000000"
    levels = Levels()
    for event in await stream.take():
        levels.apply(event)
    assert levels.sides()[1] == [["100.00000000", "0.35000000"]]
    trades = await room.listen("trade")
    await alice.limit("BUY", "0.65", "100", selfTradePreventionMode="NONE")
    assert [t["q"] for t in await trades.take()] == ["0.05000000", "0.30000000", "0.30000000"], "bob's, then anew"
    assert (await room.get("depth"))["asks"] == [["100.00000000", "0.10000000"]], "what is left of it"


@pytest.mark.parametrize("kind", DIFFERENCES)
async def test_11_1_3_levels_are_absolute_zero_removes_state_as_of_u(hall: Hall, seed: int, kind: str) -> None:
    """The book of the stream alone equals the snapshot of the same id, again and again."""
    room = await hall.room("alice", "bob")
    stream = await room.listen(kind)
    rng = random.Random(seed)
    dealing = dealers(list(room.traders.values()), seed)
    levels, compared, removed = Levels(), 0, 0
    for _ in range(30):
        for _ in range(rng.randrange(1, 5)):  # several spans of the fast cadence in one of the slow one
            for dealer in dealing:
                await dealer.deal(rng.randrange(1, 3))
            await hall.pass_time(rng.choice((0, 60, 110, 250)))
        snapshot = await room.get("depth", limit=5000)
        events = await stream.take()
        for event in events:
            levels.apply(event)
            removed += sum(quantity == "0.00000000" for _, quantity in event["b"] + event["a"])
        if events:
            assert events[-1]["u"] == snapshot["lastUpdateId"]
            compared += 1
        assert levels.sides() == [snapshot["bids"], snapshot["asks"]]
    assert compared > 15
    assert removed > 10


@pytest.mark.parametrize("kind", DIFFERENCES)
async def test_11_1_4_the_difference_behind_a_snapshot_begins_at_its_id_plus_1(
    open_room: Opener, seed: int, kind: str
) -> None:
    """Even python-binance's strict check holds, while two accounts trade and others take snapshots."""
    room = await open_room("alice", "bob", "carol")
    async with under_load([room.traders["alice"], room.traders["bob"]], seed, 150) as running:
        taken = 0
        while running() or taken < 2:
            stream = await room.listen(kind)
            await stir(room, seed - taken)
            first = await stream.next()
            assert first["e"] == "depthUpdate"
            snapshot = await room.get("depth", limit=1000)
            book = Book(strict=True)
            book.event(first)
            last = snapshot["lastUpdateId"]
            assert book.snapshot(last, snapshot["bids"], snapshot["asks"])
            await stir(room, seed + taken)
            while book.last_id == last:
                book.event(await stream.next())
            taken += 1
            stream.client.close()
    assert taken >= 2


async def stir(room: Room, number: int) -> None:
    """One more change of the book, so that something comes when the load has ended."""
    await room.traders["carol"].limit("BUY", "0.1", f"{50 + number % 900 / 100:.2f}")


async def test_11_1_4_a_snapshot_and_its_id_are_one(open_room: Opener, seed: int) -> None:
    """Snapshots taken in the middle of trading, each laid over the stream at its id, are what the stream says."""
    room = await open_room("alice", "bob", "carol")
    stream = await room.listen("depth@100ms")
    async with under_load([room.traders["alice"], room.traders["bob"]], seed, 120) as running:
        snapshots = {}
        while running() or len(snapshots) < 6:
            await stir(room, len(snapshots))
            snapshot = await room.get("depth", limit=5000)
            snapshots[snapshot["lastUpdateId"]] = [snapshot["bids"], snapshot["asks"]]
            await asyncio.sleep(0.003)
    await room.get("depth")
    levels, compared = Levels(), 0
    for event in await stream.take():
        levels.apply(event)
        if event["u"] in snapshots:
            assert levels.sides() == snapshots.pop(event["u"])
            compared += 1
    assert compared >= 5
    assert not [number for number in snapshots if number], "every snapshot fell on the end of a span"


async def test_11_1_5_a_snapshot_asked_for_after_the_answer_is_not_older_than_the_first_event(
    open_room: Opener, seed: int
) -> None:
    """The first snapshot of the official procedure always does: its id is at least the first U - 1."""
    room = await open_room("alice", "bob", "carol")
    async with under_load([room.traders["alice"], room.traders["bob"]], seed, 150) as running:
        tries = 0
        while running() or tries < 6:
            for kind in DIFFERENCES:
                client = await RawClient.connect(room.address.port, "/ws")
                client.text({"method": "SUBSCRIBE", "params": [f"{room.stream}@{kind}"], "id": 1})
                assert is_answer(await client.message(), 1)
                snapshot = await room.get("depth", limit=1000)
                await stir(room, tries)
                first = await client.message()
                assert snapshot["lastUpdateId"] >= first["U"] - 1
                tries += 1
                client.close()
    assert tries >= 6


@pytest.mark.parametrize("kind", [*DIFFERENCES, "depth5@100ms", "bookTicker", "trade", "aggTrade", "kline_1s"])
async def test_11_1_6_the_answer_to_subscribe_precedes_the_first_frame(
    open_room: Opener, seed: int, kind: str
) -> None:
    """Subscribed in the middle of trading; and frames do come."""
    room = await open_room("alice", "bob", "carol", "dave")
    async with under_load([room.traders["alice"], room.traders["bob"]], seed, 60):
        for _ in range(2 if kind in ("depth", "kline_1s") else 8):
            client = await RawClient.connect(room.address.port, "/ws")
            client.text({"method": "SUBSCRIBE", "params": [f"{room.stream}@{kind}"], "id": 7})
            assert await client.message() == {"result": None, "id": 7}
            await room.traders["carol"].limit("SELL", "0.1", "85")
            await room.traders["dave"].limit("BUY", "0.1", "115")
            assert "id" not in await client.message()
            client.close()


async def test_11_1_7_bids_fall_asks_rise_numbers_have_their_decimals(hall: Hall, seed: int) -> None:
    """In snapshots and in partial depth."""
    room = await hall.room("alice", "bob")
    partial = await room.listen("depth20@100ms")
    dealing = dealers(list(room.traders.values()), seed)
    for dealer in dealing:
        await dealer.deal(40)
    for number, dealer in enumerate(dealing):
        for away in range(12):
            await dealer.trader.limit("BUY", f"0.{away + 1}", f"{80 - away * 0.37 - number:.2f}")
            await dealer.trader.limit("SELL", f"0.{away + 1}", f"{120 + away * 0.37 + number:.2f}")
    await hall.pass_time(200)
    for book in (await room.get("depth", limit=5000), (await partial.take())[-1]):
        bids = [Decimal(price) for price, _ in book["bids"]]
        asks = [Decimal(price) for price, _ in book["asks"]]
        assert bids == sorted(set(bids), reverse=True)
        assert asks == sorted(set(asks))
        assert len(bids) >= 20
        assert len(asks) >= 20
        assert bids[0] < asks[0]
        assert all(NUMBER(number) for level in book["bids"] + book["asks"] for number in level)
        assert all(Decimal(quantity) > 0 for _, quantity in book["bids"] + book["asks"])


async def test_11_1_8_limit_gives_exactly_that_many_levels_and_5000_at_most(hall: Hall) -> None:
    room = await hall.room("alice", funds={"BTC": "100", "USDT": "1000000"})
    account, market = room.traders["alice"].account, hall.replica.registry.markets[room.symbol].id
    orders = [
        records.place(
            account, market, records.Side.BUY, records.OrderType.LIMIT, records.TimeInForce.GTC,
            price_ticks=10_000 + number, quantity_steps=10, client_id=b"",
        )
        for number in range(5_200)
    ]  # fmt: skip
    await hall.replica.execute(b"".join(orders))
    whole = (await room.get("depth", limit=5000))["bids"]
    assert len(whole) == 5_000
    assert whole[0] == ["151.99000000", "0.01000000"]
    for limit in (1, 5, 10, 20, 50, 100, 500, 1000):
        assert (await room.get("depth", limit=limit))["bids"] == whole[:limit]
    assert len((await room.get("depth"))["bids"]) == 100
    assert len((await room.get("depth", limit=9999))["bids"]) == 5_000


async def test_11_1_9_partial_depth_is_the_whole_top_at_its_cadence_when_it_changed(hall: Hall) -> None:
    room = await hall.room("alice")
    alice = room.traders["alice"]
    await hall.pass_time(1_000 - hall.now_ms() % 1_000)
    fast, slow = await room.listen("depth5@100ms"), await room.listen("depth5")
    for number in range(7):
        await alice.limit("BUY", "0.1", 90 + number)
        await hall.pass_time(100)
    empty, *updates = await fast.take()
    assert (empty["bids"], empty["asks"]) == ([], []), "a new reader gets the top as it is"
    assert [set(update) for update in updates] == [{"lastUpdateId", "bids", "asks"}] * 7, "no symbol, no event type"
    assert [len(update["bids"]) for update in updates] == [1, 2, 3, 4, 5, 5, 5]
    assert updates[-1]["bids"][0] == ["96.00000000", "0.10000000"]
    assert await slow.take() == [empty]
    await hall.pass_time(300)
    assert await slow.take() == [updates[-1]]
    for _ in range(20):
        await hall.pass_time(100)
    assert await fast.take() == await slow.take() == []
    combined = await room.listen("depth10@100ms", "depth20", combined=True)
    heard = await combined.take()
    assert [message["stream"] for message in heard] == combined.names, "only the wrapper tells the symbol"
    assert [len(message["data"]["bids"]) for message in heard] == [7, 7]


async def test_11_1_10_book_ticker_on_every_change_of_the_best_never_crossed(hall: Hall, seed: int) -> None:
    """Recomputed from the snapshot behind every single request."""
    room = await hall.room("alice", "bob")
    stream = await room.listen("bookTicker")
    dealing = dealers(list(room.traders.values()), seed)
    best, last_id, told = ("0.00000000",) * 4, 0, 0
    empty_sides = 0
    for number in range(150):
        await dealing[number % 2].one()
        snapshot = await room.get("depth", limit=5)
        bid, ask = (*snapshot["bids"], ["0.00000000"] * 2)[0], (*snapshot["asks"], ["0.00000000"] * 2)[0]
        events = await stream.take()
        now = (*bid, *ask)
        assert bool(events) == (now != best), "told when the best has changed, and only then"
        for event in events:
            told += 1
            assert event["u"] > last_id
            last_id = event["u"]
            assert set(event) == {"u", "s", "b", "B", "a", "A"}
            bids, asks = Decimal(event["b"]), Decimal(event["a"])
            assert not bids or not asks or bids < asks, "never a state from the middle of a match"
            empty_sides += not bids or not asks
        if events:
            assert tuple(events[-1][key] for key in "bBaA") == now
            assert last_id <= snapshot["lastUpdateId"]
        best = now
    assert told > 30
    assert empty_sides, "an empty side is zero"


async def test_11_1_10_one_request_that_takes_many_levels_is_one_change(hall: Hall) -> None:
    room = await hall.room("alice", "bob")
    alice, bob = room.traders["alice"], room.traders["bob"]
    for price in range(100, 110):
        await alice.limit("SELL", "0.1", price)
    await alice.limit("BUY", "0.1", "90")
    stream = await room.listen("bookTicker")
    await bob.limit("BUY", "2", "105")
    (event,) = await stream.take()
    assert [event[key] for key in "bBaA"] == ["105.00000000", "1.40000000", "106.00000000", "0.10000000"]


async def test_11_1_a_kept_book_equals_the_servers_through_thousands_of_changes(open_room: Opener, seed: int) -> None:
    """The official procedure as a client runs it, against a server process under load, on both cadences."""
    room = await open_room("alice", "bob", "carol")
    books = [(await room.listen(kind), Book()) for kind in DIFFERENCES]
    async with under_load(list(room.traders.values()), seed, 120):
        await asyncio.sleep(0.1)
        for stream, book in books:
            book.event(await stream.next())
            snapshot = await room.get("depth", limit=1000)
            assert book.snapshot(snapshot["lastUpdateId"], snapshot["bids"], snapshot["asks"])
    end = await room.get("depth", limit=5000)
    for stream, book in books:
        for event in await stream.take():
            book.event(event)
        assert book.last_id == end["lastUpdateId"]
        assert book.bids == dict(end["bids"])
        assert book.asks == dict(end["asks"])
