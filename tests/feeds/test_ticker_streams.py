# SPDX-License-Identifier: Apache-2.0
"""Streams made from the views, against the real kernel and the real views."""

from __future__ import annotations

import random
from typing import Any

import pytest

from bidhall.core import records as r
from tests.feeds.local import START_NS, LocalReplica
from tests.feeds.probes import Market
from tests.feeds.serving import ALICE, BOB, BTCUSDT, ETHUSDT, fund, limit
from tests.feeds.test_depth import random_commands

MS = 1_000_000
SECOND = 1_000 * MS
BUY, SELL = r.Side.BUY, r.Side.SELL


@pytest.fixture
def market() -> Market:
    replica = LocalReplica()
    fund(replica)
    return Market(replica)


def trade(market: Market, price: int, quantity: int = 1, market_id: int = BTCUSDT, after_ns: int = 0) -> None:
    market.apply(
        limit(ALICE, SELL, price, quantity, market=market_id) + limit(BOB, BUY, price, quantity, market=market_id),
        after_ns,
    )


def test_aggregate_trades_join_the_fills_of_one_taker_at_one_price(market: Market) -> None:
    market.apply(limit(ALICE, SELL, 100, 5) * 3 + limit(ALICE, SELL, 101, 5))
    market.apply(limit(BOB, BUY, 100, 1))
    probe = market.join(["btcusdt@aggTrade"])
    market.apply(limit(BOB, BUY, 101, 16))
    first, second = probe.take()
    now = market.replica.time_ns // MS
    assert first == {
        "e": "aggTrade", "E": now, "s": "BTCUSDT", "a": 2, "p": "1.00000000", "q": "0.00014000", "f": 2, "l": 4,
        "T": now, "m": False, "M": True,
    }  # fmt: skip
    assert (second["a"], second["p"], second["q"], second["f"], second["l"]) == (3, "1.01000000", "0.00002000", 5, 5)


def test_a_candle_is_told_while_it_changes_and_closes_once(market: Market) -> None:
    probe = market.join(["btcusdt@kline_1m"])
    trade(market, 100)
    trade(market, 105, after_ns=SECOND)
    assert probe.take() == [], "most candles are told every other second"
    market.apply(b"", after_ns=SECOND)
    (event,) = probe.take()
    assert event["e"] == "kline"
    candle = event["k"]
    assert (candle["o"], candle["c"], candle["n"], candle["x"]) == ("1.00000000", "1.05000000", 2, False)
    assert (candle["i"], candle["s"], candle["T"] - candle["t"]) == ("1m", "BTCUSDT", 59_999)
    market.apply(b"", after_ns=6 * SECOND)
    assert probe.take() == [], "nothing changed"
    wanted = market.replica.wanted[-1]
    assert wanted == candle["T"] * MS + MS, "the replica is asked for the end of the candle"
    market.apply(b"", after_ns=wanted - market.replica.time_ns)
    (event,) = probe.take()
    assert (event["k"]["x"], event["k"]["t"]) == (True, candle["t"])
    market.apply(b"", after_ns=60 * SECOND)
    (event,) = probe.take()
    assert (event["k"]["x"], event["k"]["n"], event["k"]["f"], event["k"]["o"]) == (True, 0, -1, "1.05000000")


def test_candles_of_a_second_close_every_second(market: Market) -> None:
    probe = market.join(["btcusdt@kline_1s"])
    trade(market, 100)
    for _ in range(5):
        market.apply(b"", after_ns=market.replica.wanted[-1] - market.replica.time_ns)
    closed = [event["k"] for event in probe.take() if event["k"]["x"]]
    assert [candle["n"] for candle in closed] == [1, 0, 0, 0, 0]
    assert [candle["t"] - START_NS // MS for candle in closed] == [0, 1000, 2000, 3000, 4000]


def test_candles_of_another_time_zone(market: Market) -> None:
    probe = market.join(["btcusdt@kline_1d@+08:00"])
    trade(market, 100, after_ns=SECOND)
    market.apply(b"", after_ns=SECOND)
    (event,) = probe.take()
    assert event["k"]["t"] % 86_400_000 == 16 * 3_600_000


def test_no_candle_before_the_first_trade(market: Market) -> None:
    probe = market.join(["btcusdt@kline_1s", "btcusdt@miniTicker"])
    market.apply(limit(ALICE, SELL, 100, 5))
    for _ in range(3):
        market.apply(b"", after_ns=SECOND)
    assert probe.take() == []


def test_tickers_of_markets_that_changed(market: Market) -> None:
    mini, full = market.join(["btcusdt@miniTicker"]), market.join(["btcusdt@ticker"])
    minis, fulls = market.join(["!miniTicker@arr"]), market.join(["!ticker@arr"])
    trade(market, 100, 3)
    trade(market, 110, 1)
    assert market.replica.wanted[-1] == START_NS + SECOND
    market.apply(b"", after_ns=SECOND)
    (event,) = mini.take()
    assert event == {
        "e": "24hrMiniTicker", "E": market.replica.time_ns // MS, "s": "BTCUSDT", "c": "1.10000000", "o": "1.00000000",
        "h": "1.10000000", "l": "1.00000000", "v": "0.00004000", "q": "0.00004100",
    }  # fmt: skip
    (whole,) = full.take()
    assert (whole["e"], whole["p"], whole["P"], whole["n"], whole["F"], whole["L"]) == (
        "24hrTicker",
        "0.10000000",
        "10.000",
        2,
        1,
        2,
    )
    assert minis.take() == [[event]]
    assert [one["s"] for one in fulls.take()[0]] == ["BTCUSDT"]
    market.apply(limit(ALICE, SELL, 200, 1), after_ns=100 * MS)
    market.apply(b"", after_ns=SECOND)
    assert mini.take() == [], "no trade"
    assert full.take()[0]["a"] == "2.00000000", "but the book changed"
    trade(market, 50, market_id=ETHUSDT, after_ns=SECOND)
    market.apply(b"", after_ns=SECOND)
    assert mini.take() == full.take() == []
    assert [one["s"] for one in minis.take()[-1]] == ["ETHUSDT"]


def test_book_tickers_of_all_markets(market: Market) -> None:
    probe = market.join(["!bookTicker"], combined=True)
    market.apply(limit(ALICE, SELL, 100, 5) + limit(ALICE, SELL, 100, 5, market=ETHUSDT))
    assert [(m["stream"], m["data"]["s"]) for m in probe.take()] == [
        ("!bookTicker", "BTCUSDT"),
        ("!bookTicker", "ETHUSDT"),
    ]


def test_average_price(market: Market) -> None:
    probe = market.join(["btcusdt@avgPrice"])
    trade(market, 100)
    trade(market, 102)
    market.apply(b"", after_ns=SECOND)
    (event,) = probe.take()
    assert (event["e"], event["i"], event["w"]) == ("avgPrice", "5m", "1.01000000")
    assert event["T"] == START_NS // MS


def test_a_closed_view_ends_its_streams_and_no_others(market: Market) -> None:
    probe = market.join(["btcusdt@kline_1s", "btcusdt@aggTrade", "btcusdt@trade", "btcusdt@ticker"])
    market.replica.views.close("a test")
    market.replica.views = Silent(market.replica.views)
    trade(market, 100)
    market.apply(b"", after_ns=2 * SECOND)
    assert [event["e"] for event in probe.take()] == ["trade"]


class Silent:
    """Closed views whose `apply` the replica does not call any more."""

    def __init__(self, views: Any) -> None:
        self._views = views

    def apply(self, *_: Any) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        return getattr(self._views, name)


def test_two_replicas_tell_the_same(seed: int) -> None:
    """The same log; the second replica's readers come later."""
    rng = random.Random(seed)
    markets = []
    for _ in range(2):
        replica = LocalReplica()
        fund(replica)
        markets.append(Market(replica))
    names = [
        "btcusdt@aggTrade", "btcusdt@kline_1s", "btcusdt@kline_1m", "btcusdt@kline_3m", "btcusdt@miniTicker",
        "btcusdt@ticker", "!miniTicker@arr", "!ticker@arr", "btcusdt@avgPrice",
    ]  # fmt: skip
    first = markets[0].join(names, combined=True)
    second = None
    for step in range(300):
        commands = random_commands(rng, rng.randrange(0, 4))
        after_ns = rng.choice((3, 300, 900, 2600)) * MS
        for market in markets:
            market.apply(commands, after_ns)
        if step == 100:
            first.take()
            second = markets[1].join(names, combined=True)
    assert second is not None
    ours, theirs = first.take(), second.take()
    for name in names:
        assert [m["data"] for m in ours if m["stream"] == name] == [m["data"] for m in theirs if m["stream"] == name]
        assert any(m["stream"] == name for m in ours), name
    assert len(ours) > 300


def test_candles_that_close_are_the_candles_of_the_views(market: Market, seed: int) -> None:
    rng = random.Random(seed)
    probe = market.join(["btcusdt@kline_1s", "btcusdt@kline_1m"], combined=True)
    begin_ns = market.replica.time_ns
    for _ in range(400):
        market.apply(random_commands(rng, rng.randrange(0, 3)), after_ns=rng.choice((3, 200, 500, 800)) * MS)
    for interval in ("1s", "1m"):
        closed = [m["data"]["k"] for m in probe.messages if m["stream"].endswith(interval) and m["data"]["k"]["x"]]
        rows = market.replica.views.klines(
            BTCUSDT, interval, 1000, market.replica.time_ns, start_ns=begin_ns - 60 * SECOND
        )
        expected = [(row[0] // MS, row[1] // MS - 1, row[8], row[11], row[12]) for row in rows][:-1]
        assert [(k["t"], k["T"], k["n"], k["f"], k["L"]) for k in closed][-len(expected) :] == expected[-len(closed) :]
        assert len(closed) >= 2
