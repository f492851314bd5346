# SPDX-License-Identifier: Apache-2.0
"""Depth streams against the real kernel: spans, marks, cadences, and books kept by the published procedure."""

from __future__ import annotations

import random
from typing import Any

import pytest

from bidhall.core import records as r
from tests.feeds.local import LocalReplica
from tests.feeds.probes import Book, Market
from tests.feeds.serving import ALICE, BOB, BTCUSDT, ETHUSDT, fund, limit

MS = 1_000_000
BUY, SELL = r.Side.BUY, r.Side.SELL


@pytest.fixture
def market() -> Market:
    replica = LocalReplica()
    fund(replica)
    return Market(replica)


def depth(market: Market, market_id: int = BTCUSDT, limit: int = 5000) -> tuple[int, list[Any], list[Any]]:
    """GET /depth: a mark when a span is open, then the book."""
    if market.streams.span_is_open(market_id):
        market.apply(r.mark(market_id))
    found = market.replica.registry.market_by_id[market_id]
    last_id, bids, asks = market.replica.exchange.depth(market_id, limit)
    text = [
        [[found.price_text(int(price)), found.quantity_text(int(quantity))] for price, quantity in side]
        for side in (bids, asks)
    ]
    return int(last_id), text[0], text[1]


def test_a_span_ends_with_the_first_batch_of_a_new_slot(market: Market) -> None:
    probe = market.join(["btcusdt@depth@100ms"])
    market.apply(limit(ALICE, BUY, 100, 10))
    market.apply(limit(ALICE, SELL, 200, 20), after_ns=99 * MS)
    assert probe.take() == []
    market.apply(limit(ALICE, SELL, 200, 1), after_ns=1 * MS)
    (event,) = probe.take()
    assert (event["e"], event["s"], event["U"], event["u"]) == ("depthUpdate", "BTCUSDT", 1, 3)
    assert event["b"] == [["1.00000000", "0.00010000"]]
    assert event["a"] == [["2.00000000", "0.00021000"]]
    assert event["E"] == market.replica.time_ns // MS


def test_an_empty_batch_ends_the_span_of_a_quiet_log(market: Market) -> None:
    probe = market.join(["btcusdt@depth@100ms"])
    market.apply(limit(ALICE, BUY, 100, 10), after_ns=30 * MS)
    assert market.replica.wanted[-1] % (100 * MS) == 0
    assert market.replica.wanted[-1] - market.replica.time_ns == 70 * MS
    market.apply(b"", after_ns=70 * MS)
    assert [event["u"] for event in probe.take()] == [1]
    asked = len(market.replica.wanted)
    market.apply(b"", after_ns=500 * MS)
    assert probe.take() == [], "quiet intervals send nothing"
    assert len(market.replica.wanted) == asked, "and ask nothing"


def test_nobody_listens_nobody_asks_for_the_time(market: Market) -> None:
    market.apply(limit(ALICE, BUY, 100, 10), after_ns=30 * MS)
    assert market.replica.wanted == []


def test_a_mark_ends_the_span_of_its_market_on_both_cadences(market: Market) -> None:
    fast, slow = market.join(["btcusdt@depth@100ms"]), market.join(["btcusdt@depth"])
    other = market.join(["ethusdt@depth@100ms"])
    market.apply(limit(ALICE, BUY, 100, 10) + limit(ALICE, BUY, 100, 10, market=ETHUSDT))
    assert market.streams.span_is_open(BTCUSDT)
    market.apply(r.mark(BTCUSDT))
    assert not market.streams.span_is_open(BTCUSDT)
    assert market.streams.span_is_open(ETHUSDT)
    assert [event["u"] for event in fast.take()] == [1]
    assert [event["u"] for event in slow.take()] == [1]
    assert other.take() == []


def test_the_span_ends_with_the_batch_that_holds_the_mark(market: Market) -> None:
    probe = market.join(["btcusdt@depth@100ms"])
    market.apply(limit(ALICE, BUY, 100, 10) + r.mark(BTCUSDT) + limit(ALICE, BUY, 101, 10))
    assert [(event["U"], event["u"]) for event in probe.take()] == [(1, 2)]
    assert int(market.replica.exchange.depth(BTCUSDT, 5)[0]) == 2


def test_the_slow_cadence_joins_the_spans_of_a_second(market: Market) -> None:
    slow = market.join(["btcusdt@depth"])
    for price in (100, 101, 100):
        market.apply(limit(ALICE, BUY, price, 10), after_ns=200 * MS)
    assert slow.take() == []
    assert market.replica.wanted[-1] % (1000 * MS) == 0
    market.apply(b"", after_ns=400 * MS)
    (event,) = slow.take()
    assert (event["U"], event["u"]) == (1, 3)
    assert event["b"] == [["1.01000000", "0.00010000"], ["1.00000000", "0.00020000"]], "high to low, absolute"


def test_a_fast_span_is_closed_for_the_slow_cadence_and_still_open(market: Market) -> None:
    market.join(["btcusdt@depth"])
    market.apply(limit(ALICE, BUY, 100, 10))
    market.apply(b"", after_ns=100 * MS)
    assert market.streams.span_is_open(BTCUSDT), "a snapshot here would lie inside the slow span"


def test_partial_depth_is_the_whole_top_when_it_changed(market: Market) -> None:
    probe = market.join(["btcusdt@depth5@100ms"], combined=True)
    for price in range(100, 110):
        market.apply(limit(ALICE, BUY, price, 10))
    market.apply(b"", after_ns=100 * MS)
    (message,) = probe.take()
    assert message["stream"] == "btcusdt@depth5@100ms"
    assert message["data"]["lastUpdateId"] == 10
    assert [level[0] for level in message["data"]["bids"]] == [f"1.0{cents}000000" for cents in (9, 8, 7, 6, 5)]
    assert message["data"]["asks"] == []
    market.apply(b"", after_ns=100 * MS)
    assert probe.take() == []


def test_trades_and_tops_come_with_their_batch(market: Market) -> None:
    probe = market.join(["btcusdt@trade", "btcusdt@bookTicker"])
    market.apply(limit(ALICE, SELL, 100, 10) + limit(ALICE, SELL, 101, 10))
    assert probe.take() == [
        {"u": 1, "s": "BTCUSDT", "b": "0.00000000", "B": "0.00000000", "a": "1.00000000", "A": "0.00010000"}
    ]
    market.apply(limit(BOB, BUY, 101, 15))
    time_ms = market.replica.time_ns // MS
    trades = [message for message in probe.messages if message.get("e") == "trade"]
    trade = {"e": "trade", "E": time_ms, "s": "BTCUSDT", "T": time_ms, "m": False, "M": True}
    assert trades == [
        trade | {"t": 1, "p": "1.00000000", "q": "0.00010000"},
        trade | {"t": 2, "p": "1.01000000", "q": "0.00005000"},
    ]
    (top,) = [message for message in probe.messages if "e" not in message]
    assert (top["u"], top["a"], top["A"]) == (3, "1.01000000", "0.00005000")


def test_frames_of_a_tick_are_joined_into_one_write(market: Market) -> None:
    probes = [market.join(["btcusdt@trade", "btcusdt@bookTicker"]) for _ in range(3)]
    market.apply(limit(ALICE, SELL, 100, 10))
    before = probes[0].writes
    market.apply(limit(BOB, BUY, 100, 1) + limit(BOB, BUY, 100, 1) + limit(BOB, BUY, 100, 1))
    assert [probe.writes - before for probe in probes] == [1, 1, 1]
    assert len(probes[0].take()) == 7


def test_microseconds(market: Market) -> None:
    probe = market.join(["btcusdt@trade"], unit_ns=1_000)
    market.apply(limit(ALICE, SELL, 100, 10))
    market.apply(limit(BOB, BUY, 100, 1), after_ns=1_001_000)
    assert probe.take()[0]["E"] == market.replica.time_ns // 1_000


def random_commands(rng: random.Random, count: int) -> bytes:
    commands = []
    for _ in range(count):
        account = rng.choice((ALICE, BOB))
        if rng.random() < 0.25:
            commands.append(r.cancel(account, BTCUSDT, order_id=rng.randrange(1, 400)))
        elif rng.random() < 0.1:
            side = rng.choice((BUY, SELL))
            commands.append(r.place(account, BTCUSDT, side, r.OrderType.MARKET, quantity_steps=rng.randrange(1, 30)))
        else:
            side = rng.choice((BUY, SELL))
            price = 1000 + rng.randrange(-12, 3) * (1 if side == BUY else -1)
            commands.append(limit(account, side, price, rng.randrange(1, 20)))
    return b"".join(commands)


@pytest.mark.parametrize("name", ["btcusdt@depth@100ms", "btcusdt@depth"])
@pytest.mark.parametrize("strict", [False, True])
def test_books_kept_by_the_procedure_equal_the_servers(market: Market, seed: int, name: str, strict: bool) -> None:
    """Random load, clients that join and snapshot at random moments, every event in contiguous spans."""
    rng = random.Random(seed)
    clients: list[tuple[Any, Book]] = []
    for step in range(600):
        if step < 500 and rng.random() < 0.05:
            clients.append((market.join([name]), Book(strict=strict)))
        market.apply(random_commands(rng, rng.randrange(0, 4)), after_ns=rng.choice((0, 3, 20, 60, 130)) * MS)
        for probe, book in clients:
            for event in probe.take():
                book.event(event)
            if book.last_id is None and rng.random() < 0.2:
                limit_levels = 5000
                book.snapshot(*depth(market, limit=limit_levels))
                for event in probe.take():
                    book.event(event)
    last_id, bids, asks = depth(market)
    kept = 0
    for probe, book in clients:
        for event in probe.take():
            book.event(event)
        if book.last_id is not None:
            kept += 1
            assert book.last_id == last_id
            assert (book.bids, book.asks) == (dict(bids), dict(asks))
    assert kept > 10


def test_two_replicas_send_the_same_frames(seed: int) -> None:
    """The same log through two replicas, with readers on different streams at different times."""
    rng = random.Random(seed)
    markets = []
    for _ in range(2):
        replica = LocalReplica()
        fund(replica)
        markets.append(Market(replica))
    names = ["btcusdt@depth@100ms", "btcusdt@depth", "btcusdt@depth10@100ms", "btcusdt@trade", "btcusdt@bookTicker"]
    first = markets[0].join(names, combined=True)
    markets[1].join(["ethusdt@trade"])
    second = None
    for step in range(300):
        commands = random_commands(rng, rng.randrange(0, 4))
        if rng.random() < 0.1:
            commands += r.mark(BTCUSDT)
        after_ns = rng.choice((0, 3, 20, 60, 130)) * MS
        for market in markets:
            market.apply(commands, after_ns)
        if step == 100:
            first.take()
            second = markets[1].join(names, combined=True)
    assert second is not None
    ours, theirs = first.take(), second.take()
    assert len(theirs) > 100
    by_stream = [
        {name: [m["data"] for m in messages if m["stream"] == name] for name in names} for messages in (ours, theirs)
    ]
    for name in names:
        one, other = by_stream[0][name], by_stream[1][name]
        assert one == other, name
