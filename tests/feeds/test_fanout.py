# SPDX-License-Identifier: Apache-2.0
"""Readers that do not read: merged, replaced by the newest, or closed; and the others do not notice."""

from __future__ import annotations

import asyncio
import random
import socket
from typing import Any

import pytest

from bidhall.api.feed import FeedSettings
from bidhall.core import records as r
from tests.feeds.local import LocalReplica
from tests.feeds.probes import Book, Market
from tests.feeds.raw import RawClient
from tests.feeds.serving import ALICE, BOB, BTCUSDT, Served, fund, limit
from tests.feeds.test_depth import depth, random_commands

MS = 1_000_000
BUY, SELL = r.Side.BUY, r.Side.SELL


@pytest.fixture
def market() -> Market:
    replica = LocalReplica()
    fund(replica)
    return Market(replica, slow_spans_max=50)


def test_a_slow_reader_of_depth_gets_one_event_that_joins_what_it_missed(market: Market) -> None:
    slow, other = market.join(["btcusdt@depth@100ms"]), market.join(["btcusdt@depth@100ms"])
    market.apply(limit(ALICE, BUY, 100, 10))
    market.apply(b"", after_ns=100 * MS)
    market.hub.slow_down(slow)
    for price in (100, 101, 102):
        market.apply(limit(ALICE, BUY, price, 10))
        market.apply(b"", after_ns=100 * MS)
    assert [event["u"] for event in slow.take()] == [1]
    market.hub.speed_up(slow)
    (event,) = slow.take()
    assert (event["U"], event["u"]) == (2, 4)
    assert event["b"] == [["1.02000000", "0.00010000"], ["1.01000000", "0.00010000"], ["1.00000000", "0.00020000"]]
    assert [event["u"] for event in other.take()] == [1, 2, 3, 4]
    (stream,) = market.hub.streams.values()
    assert not stream.spans
    assert not stream.waiting


def test_a_slow_reader_of_state_gets_the_newest(market: Market) -> None:
    slow = market.join(["btcusdt@bookTicker", "btcusdt@depth5@100ms"], combined=True)
    market.hub.slow_down(slow)
    for price in (100, 101, 102):
        market.apply(limit(ALICE, BUY, price, 10), after_ns=100 * MS)
    assert slow.take() == []
    market.hub.speed_up(slow)
    assert sorted(message["stream"] for message in slow.take()) == ["btcusdt@bookTicker", "btcusdt@depth5@100ms"]


def test_a_reader_that_is_behind_the_history_is_closed(market: Market) -> None:
    slow = market.join(["btcusdt@depth@100ms"])
    market.hub.slow_down(slow)
    for _ in range(52):
        market.apply(limit(ALICE, BUY, 100, 1), after_ns=100 * MS)
    assert slow.fallen


def test_trades_are_never_dropped_but_written_on(market: Market) -> None:
    slow = market.join(["btcusdt@trade"])
    market.apply(limit(ALICE, SELL, 100, 10))
    market.hub.slow_down(slow)
    for _ in range(3):
        market.apply(limit(BOB, BUY, 100, 1))
    assert [event["t"] for event in slow.take()] == [1, 2, 3]


def test_a_slow_reader_that_changes_its_streams_keeps_its_place(market: Market) -> None:
    slow = market.join(["btcusdt@depth@100ms"])
    market.hub.slow_down(slow)
    market.apply(limit(ALICE, BUY, 100, 10))
    market.apply(b"", after_ns=100 * MS)
    streams = [market.streams.find(name, MS) for name in ("btcusdt@depth@100ms", "btcusdt@trade")]
    market.hub.join(slow, [stream for stream in streams if stream], False)
    assert [event["u"] for event in slow.take()] == [1]
    market.apply(limit(ALICE, BUY, 101, 10))
    market.apply(b"", after_ns=100 * MS)
    market.hub.speed_up(slow)
    assert [(event["U"], event["u"]) for event in slow.take()] == [(2, 2)]


def test_readers_that_come_and_go_slow_never_lose_a_span(market: Market, seed: int) -> None:
    rng = random.Random(seed)
    market.hub.slow_spans_max = 10_000
    clients: list[tuple[Any, Book]] = []
    paused: set[int] = set()
    for step in range(400):
        if step % 40 == 0:
            probe, book = market.join([rng.choice(("btcusdt@depth@100ms", "btcusdt@depth"))]), Book()
            market.apply(random_commands(rng, 3), after_ns=1100 * MS)
            for event in probe.take():
                book.event(event)
            book.snapshot(*depth(market))
            clients.append((probe, book))
        market.apply(random_commands(rng, rng.randrange(0, 4)), after_ns=rng.choice((0, 20, 60, 130)) * MS)
        index = rng.randrange(len(clients))
        if index in paused:
            paused.discard(index)
            market.hub.speed_up(clients[index][0])
        else:
            paused.add(index)
            market.hub.slow_down(clients[index][0])
        if rng.random() < 0.1:
            name = rng.choice(("btcusdt@trade", "btcusdt@bookTicker"))
            probe = clients[index][0]
            names = {stream.name for stream in probe.group.streams} ^ {name}
            market.hub.join(probe, [s for s in (market.streams.find(n, MS) for n in sorted(names)) if s], False)
        for probe, book in clients:
            for event in probe.take():
                if event.get("e") == "depthUpdate":
                    book.event(event)
    for index in paused:
        market.hub.speed_up(clients[index][0])
    last_id, bids, asks = depth(market)
    for probe, book in clients:
        for event in probe.take():
            if event.get("e") == "depthUpdate":
                book.event(event)
        assert (book.last_id, book.bids, book.asks) == (last_id, dict(bids), dict(asks))
        market.hub.leave(probe)
    assert not market.hub.groups
    assert not market.hub.streams


async def test_a_socket_that_is_not_read_gets_joined_depth_and_the_others_all_of_it(seed: int) -> None:
    """Over sockets: one client stops reading while the book churns, then reads on with a whole book."""
    rng = random.Random(seed)
    served = Served(FeedSettings(budget_bytes_max=4_000_000))
    await served.start()
    lazy = await RawClient.connect(served.port, "/ws/btcusdt@depth@100ms", small=True)
    lazy.writer.transport.pause_reading()  # type: ignore[attr-defined]
    (connection,) = served.feeds.connections
    connection.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
    eager = await RawClient.connect(served.port, "/ws/btcusdt@depth@100ms")
    await asyncio.sleep(0.05)
    book = Book()
    frames = after = 0
    for _ in range(4000):
        commands = b"".join(
            limit(rng.choice((ALICE, BOB)), side, 1000 + side * 100 + rng.randrange(90), rng.randrange(1, 9))
            for side in (BUY, SELL)
            for _ in range(40)
        )
        commands += r.cancel_all(ALICE, BTCUSDT) if rng.random() < 0.3 else b""
        served.replica.apply(commands, after_ns=100 * MS)
        assert (await eager.message())["e"] == "depthUpdate"
        frames += 1
        after += connection._paused
        if after > 200:
            break
    assert after, "the lazy socket filled up"
    assert connection.transport.get_write_buffer_size() < 400_000, "nothing piles up for it"
    lazy.writer.transport.resume_reading()  # type: ignore[attr-defined]
    received = 0
    while book.last_id is None or book.last_id < served.replica.exchange.update_ids(BTCUSDT)[0]:
        event = await lazy.message()
        received += 1
        if not book.buffer:
            book.snapshot(event["U"] - 1, [], [])
        book.event(event)
    assert received <= frames - 199, "what came while it was not read is one event"
    _last_id, bids, asks = served.replica.exchange.depth(BTCUSDT, 5000)
    market = served.replica.registry.market_by_id[BTCUSDT]
    assert book.bids == {market.price_text(int(p)): market.quantity_text(int(q)) for p, q in bids}
    assert book.asks == {market.price_text(int(p)): market.quantity_text(int(q)) for p, q in asks}
    await served.stop()


async def test_a_socket_that_does_not_read_its_trades_is_closed() -> None:
    served = Served(FeedSettings(budget_bytes_max=100_000, close_timeout_s=0.2))
    await served.start()
    client = await RawClient.connect(served.port, "/ws/btcusdt@trade", small=True)
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    served.replica.apply(limit(ALICE, SELL, 100, 10**8))
    async with asyncio.timeout(20):
        while served.feeds.connections:
            served.replica.apply(limit(BOB, BUY, 100, 1) * 400, after_ns=MS)
            await asyncio.sleep(0)
            for connection in served.feeds.connections:
                assert connection.transport.get_write_buffer_size() < 400_000
            if served.feeds.slow_closed:
                await asyncio.sleep(0.05)
    assert served.feeds.slow_closed == 1
    await served.stop()
