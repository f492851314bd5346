# SPDX-License-Identifier: Apache-2.0
"""The feeds behind the real door: real log, real replica, REST and WebSocket on one port."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.feeds.conftest import close_clients
from tests.feeds.door import Http, Venue, subscribe_parameters
from tests.feeds.probes import Book
from tests.feeds.raw import Closed, RawClient


@pytest.fixture(params=["memory", "sqlite"])
async def venue(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Venue]:
    made = await Venue(tmp_path / "folder" if request.param == "sqlite" else None).start()
    yield made
    await close_clients()
    await made.stop()


async def clients(venue: Venue) -> tuple[Http, Http]:
    return await Http(venue.port, "alice").open(), await Http(venue.port, "bob").open()


async def test_a_quiet_log_still_ends_its_spans(venue: Venue) -> None:
    alice, bob = await clients(venue)
    fast = await RawClient.connect(venue.port, "/ws/btcusdt@depth@100ms")
    slow = await RawClient.connect(venue.port, "/ws/btcusdt@depth")
    await alice.limit("BUY", 40_000, 0.01)
    event = await fast.message()
    assert event["b"] == [["40000.00000000", "0.01000000"]]
    assert (await slow.message())["u"] == event["u"]
    await fast.silence(0.3)
    alice.close(), bob.close()


async def test_an_acknowledged_order_is_in_the_snapshot_and_the_strictest_client_fits(venue: Venue) -> None:
    alice, bob = await clients(venue)
    for _ in range(5):
        client = await RawClient.connect(venue.port, "/ws/btcusdt@depth")
        await client_ready(client)
        placed = await alice.limit("BUY", 40_000, 0.01)
        snapshot = await bob.ask("GET", "/api/v3/depth", symbol="BTCUSDT")
        assert any(price == "40000.00000000" for price, _ in snapshot["bids"])
        await alice.limit("BUY", 39_999, 0.01)
        event = await client.message()
        while event["u"] <= snapshot["lastUpdateId"]:
            event = await client.message()
        assert event["U"] == snapshot["lastUpdateId"] + 1
        assert placed["status"] == "NEW"
        client.close()
        await alice.signed("DELETE", "/api/v3/openOrders", symbol="BTCUSDT")
    alice.close(), bob.close()


async def client_ready(client: RawClient) -> None:
    client.text({"method": "LIST_SUBSCRIPTIONS", "id": 1})
    while "result" not in await client.message():
        pass


async def trade_at_random(http: Http, rng: random.Random, count: int) -> None:
    for _ in range(count):
        if rng.random() < 0.05:
            await http.signed("DELETE", "/api/v3/openOrders", symbol="BTCUSDT")
        else:
            side = rng.choice(("BUY", "SELL"))
            price = 40_000 + rng.randrange(-10, 3) * (1 if side == "BUY" else -1)
            await http.limit(side, price, rng.randrange(1, 30) / 1000)
        if rng.random() < 0.2:
            await asyncio.sleep(rng.random() * 0.02)


@pytest.mark.parametrize("stream", ["btcusdt@depth@100ms", "btcusdt@depth"])
async def test_books_kept_by_the_procedure_under_load(venue: Venue, seed: int, stream: str) -> None:
    """Four clients that subscribe, snapshot and follow while two accounts trade; two as strict as python-binance."""
    rng = random.Random(seed)
    alice, bob = await clients(venue)
    load = [asyncio.create_task(trade_at_random(http, rng, 250)) for http in (alice, bob)]
    reader = await Http(venue.port, "alice").open()
    followers: list[tuple[RawClient, Book]] = []
    for number in range(4):
        await asyncio.sleep(0.1)
        client = await RawClient.connect(venue.port, "/ws/0")
        client.text({"method": "SUBSCRIBE", "params": [stream], "id": 1})
        assert await client.message() == {"result": None, "id": 1}
        book = Book(strict=number % 2 == 0)
        followers.append((client, book))
        snapshot = await reader.ask("GET", "/api/v3/depth", symbol="BTCUSDT", limit=5000)
        if number == 1:  # events first, then the snapshot
            book.event(await client.message())
            snapshot = await reader.ask("GET", "/api/v3/depth", symbol="BTCUSDT", limit=5000)
        assert book.snapshot(snapshot["lastUpdateId"], snapshot["bids"], snapshot["asks"])
    await asyncio.gather(*load)
    final = await reader.ask("GET", "/api/v3/depth", symbol="BTCUSDT", limit=5000)
    for client, book in followers:
        while book.last_id is None or book.last_id < final["lastUpdateId"]:
            book.event(await client.message())
        assert (book.bids, book.asks) == (dict(final["bids"]), dict(final["asks"]))
    for http in (alice, bob, reader):
        http.close()


async def test_user_data_agrees_with_rest_to_the_last_digit(venue: Venue) -> None:
    alice, bob = await clients(venue)
    client = await RawClient.connect(venue.port, "/ws-api/v3")
    client.text({"id": "u", "method": "userDataStream.subscribe.signature", "params": subscribe_parameters("alice")})
    answer = await client.message()
    assert (answer["status"], answer["result"]) == (200, {"subscriptionId": 0})
    before = {b["asset"]: b for b in (await alice.signed("GET", "/api/v3/account"))["balances"]}
    await bob.limit("SELL", 40_000, 0.3)
    await bob.limit("SELL", 40_010, 0.3)
    placed = await alice.limit("BUY", 40_010, 0.5)
    events: list[Any] = []
    while not events or events[-1]["e"] != "outboundAccountPosition":
        events.append((await client.message())["event"])
    reports = events[:-1]
    assert [e["X"] for e in reports] == ["NEW", "PARTIALLY_FILLED", "FILLED"]
    assert {e["i"] for e in reports} == {placed["orderId"]}
    assert [(e["t"], e["L"], e["l"], e["n"], e["N"]) for e in reports[1:]] == [
        (f["tradeId"], f["price"], f["qty"], f["commission"], f["commissionAsset"]) for f in placed["fills"]
    ]
    assert reports[-1]["z"] == placed["executedQty"]
    assert reports[-1]["Z"] == placed["cummulativeQuoteQty"]
    assert reports[-1]["c"] == placed["clientOrderId"]
    after = {b["asset"]: b for b in (await alice.signed("GET", "/api/v3/account"))["balances"]}
    assert {b["a"]: (b["f"], b["l"]) for b in events[-1]["B"]} == {
        name: (after[name]["free"], after[name]["locked"]) for name in ("BTC", "USDT")
    }
    assert before["BTC"]["free"] != after["BTC"]["free"]
    for http in (alice, bob):
        http.close()


async def test_a_cancel_shows_the_id_of_its_answer(venue: Venue) -> None:
    alice, bob = await clients(venue)
    client = await RawClient.connect(venue.port, "/ws-api/v3?returnRateLimits=false")
    client.text({"id": 1, "method": "userDataStream.subscribe.signature", "params": subscribe_parameters("alice")})
    await client.message()
    placed = await alice.limit("BUY", 40_000, 0.3, newClientOrderId="mine")
    canceled = await alice.signed("DELETE", "/api/v3/order", symbol="BTCUSDT", orderId=placed["orderId"])
    events = [(await client.message())["event"] for _ in range(4)]
    assert (events[2]["x"], events[2]["C"], events[2]["c"]) == ("CANCELED", "mine", canceled["clientOrderId"])
    alice.close(), bob.close()


async def test_weight_and_connections_are_counted(venue: Venue) -> None:
    client = await RawClient.connect(venue.port, "/ws-api/v3")
    counts = []
    for number in range(3):
        client.text({"id": number, "method": "ping"})
        (limit,) = (await client.message())["rateLimits"]
        assert (limit["rateLimitType"], limit["interval"], limit["intervalNum"]) == ("REQUEST_WEIGHT", "MINUTE", 1)
        counts.append(limit["count"])
    assert counts[0] >= 3, "connecting costs 2"
    assert counts[2] - counts[0] == 2
    assert venue.door.limits.connections == 1
    client.close()
    async with asyncio.timeout(5):
        while venue.door.limits.connections:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_the_door_stops_with_an_announcement(tmp_path: Path) -> None:
    venue = await Venue(tmp_path / "folder").start()
    client = await RawClient.connect(venue.port, "/stream?streams=btcusdt@trade")
    await client_ready(client)
    stopping = asyncio.create_task(venue.stop())
    assert (await client.message())["stream"] == "!serverShutdown"
    with pytest.raises(Closed) as closed:
        await client.message()
    assert closed.value.code == 1012
    client.close()
    await stopping


async def test_streams_and_user_data_go_on_after_a_restart(tmp_path: Path) -> None:
    venue = await Venue(tmp_path / "folder").start()
    alice, bob = await clients(venue)
    placed = await alice.limit("BUY", 40_000, 0.3, newClientOrderId="mine")
    await alice.limit("BUY", 39_000, 0.1)
    before = await bob.ask("GET", "/api/v3/depth", symbol="BTCUSDT")
    alice.close(), bob.close()
    await venue.stop()

    venue = await Venue(tmp_path / "folder").start()
    alice, bob = await clients(venue)
    depth = await RawClient.connect(venue.port, "/ws/btcusdt@depth@100ms")
    await client_ready(depth)
    user = await RawClient.connect(venue.port, "/ws-api/v3")
    user.text({"id": 1, "method": "userDataStream.subscribe.signature", "params": subscribe_parameters("alice")})
    assert (await user.message())["status"] == 200
    snapshot = await bob.ask("GET", "/api/v3/depth", symbol="BTCUSDT")
    assert snapshot == before
    await bob.limit("SELL", 40_000, 0.1)
    canceled = await alice.signed("DELETE", "/api/v3/order", symbol="BTCUSDT", orderId=placed["orderId"])
    book = Book(strict=True)
    book.snapshot(snapshot["lastUpdateId"], snapshot["bids"], snapshot["asks"])
    after = await bob.ask("GET", "/api/v3/depth", symbol="BTCUSDT")
    while book.last_id != after["lastUpdateId"]:
        book.event(await depth.message())
    assert (book.bids, book.asks) == (dict(after["bids"]), dict(after["asks"]))
    events = [(await user.message())["event"] for _ in range(4)]
    assert [(e["e"], e.get("x")) for e in events[::2]] == [
        ("executionReport", "TRADE"),
        ("executionReport", "CANCELED"),
    ]
    assert (events[0]["c"], events[0]["m"]) == ("mine", True)
    assert (events[2]["C"], events[2]["c"]) == ("mine", canceled["clientOrderId"])
    alice.close(), bob.close()
    await close_clients()
    await venue.stop()


@asynccontextmanager
async def running(venue: Venue) -> AsyncIterator[Venue]:
    await venue.start()
    try:
        yield venue
    finally:
        await close_clients()
        await venue.stop()


@pytest.mark.parametrize("stream", ["btcusdt@depth@100ms", "btcusdt@depth"])
async def test_stream_of_one_replica_snapshot_of_another(seed: int, stream: str) -> None:
    """Two servers on one log: orders go to both, books are kept from the stream of one and the snapshot of another."""
    async with running(Venue()) as first, running(Venue(log=first.log)) as second:
        rng = random.Random(seed)
        alice, bob = await Http(first.port, "alice").open(), await Http(second.port, "bob").open()
        load = [asyncio.create_task(trade_at_random(http, rng, 150)) for http in (alice, bob)]
        followers: list[tuple[RawClient, Book, Http]] = []
        for here, there in ((first, second), (second, first)):
            await asyncio.sleep(0.2)
            client = await RawClient.connect(here.port, f"/ws/{stream}")
            await client_ready(client)
            book, reader = Book(strict=True), await Http(there.port, "alice").open()
            followers.append((client, book, reader))
            snapshot = await reader.ask("GET", "/api/v3/depth", symbol="BTCUSDT", limit=5000)
            assert book.snapshot(snapshot["lastUpdateId"], snapshot["bids"], snapshot["asks"])
        await asyncio.gather(*load)
        for client, book, reader in followers:
            final = await reader.ask("GET", "/api/v3/depth", symbol="BTCUSDT", limit=5000)
            while book.last_id is None or book.last_id < final["lastUpdateId"]:
                book.event(await client.message())
            assert (book.bids, book.asks) == (dict(final["bids"]), dict(final["asks"]))
            reader.close()
        alice.close(), bob.close()


async def test_two_replicas_send_the_same_frames_over_their_sockets(seed: int) -> None:
    """Every stream of both servers, byte for byte in parsed form, from the same moment on."""
    names = [
        "btcusdt@trade", "btcusdt@aggTrade", "btcusdt@bookTicker", "btcusdt@depth@100ms", "btcusdt@depth",
        "btcusdt@depth5@100ms", "btcusdt@kline_1s", "btcusdt@miniTicker",
    ]  # fmt: skip
    async with running(Venue()) as first, running(Venue(log=first.log)) as second:
        alice, bob = await Http(first.port, "alice").open(), await Http(second.port, "bob").open()
        readers = [
            await RawClient.connect(venue.port, "/stream?streams=" + "/".join(names)) for venue in (first, second)
        ]
        for client in readers:
            await client_ready(client)
        rng = random.Random(seed)
        await asyncio.gather(trade_at_random(alice, rng, 100), trade_at_random(bob, rng, 100))
        await asyncio.sleep(2.5)  # every cadence ends
        told: list[dict[str, list[Any]]] = []
        for client in readers:
            told.append({name: [] for name in names})
            client.text({"method": "GET_PROPERTY", "params": ["combined"], "id": 9})
            while (message := await client.message()).get("id") != 9:
                told[-1][message["stream"]].append(message["data"])
        for name in names:
            ours, theirs = told[0][name], told[1][name]
            both = min(len(ours), len(theirs))
            assert both, name
            assert ours[-both:] == theirs[-both:] or ours[:both] == theirs[:both], name
        alice.close(), bob.close()
