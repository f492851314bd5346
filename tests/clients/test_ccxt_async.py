# SPDX-License-Identifier: Apache-2.0
"""ccxt.async_support over a real socket: what bots do at once, many requests in flight on several connections."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.clients.pointing import ccxt_options

ccxt = pytest.importorskip("ccxt.async_support")
pytestmark = pytest.mark.filterwarnings("default")
SYMBOL = "BTC/USDT"


async def leave(exchange: Any) -> None:
    """What a test left in the book is taken out again, so that the next one begins with an empty one."""
    if await exchange.fetch_open_orders(SYMBOL):
        await exchange.cancel_all_orders(SYMBOL)
    await exchange.close()


@pytest_asyncio.fixture(name="alice")
async def make_alice(address: str) -> AsyncIterator[Any]:
    exchange = ccxt.binance({**ccxt_options(address, "alice"), "enableRateLimit": False})
    await exchange.load_markets()
    yield exchange
    await leave(exchange)


@pytest_asyncio.fixture(name="bob")
async def make_bob(address: str) -> AsyncIterator[Any]:
    exchange = ccxt.binance({**ccxt_options(address, "bob"), "enableRateLimit": False})
    await exchange.load_markets()
    yield exchange
    await leave(exchange)


async def test_place_edit_fill_and_cancel(alice: Any, bob: Any) -> None:
    placed = await alice.create_order(SYMBOL, "limit", "buy", 0.01, 40_000)
    edited = await alice.edit_order(placed["id"], SYMBOL, "limit", "buy", 0.02, 41_000)
    sold = await bob.create_order(SYMBOL, "limit", "sell", 0.01, 41_000)
    assert (sold["status"], sold["average"]) == ("closed", 41_000)
    seen = await alice.fetch_order(edited["id"], SYMBOL)
    assert (seen["status"], seen["filled"]) == ("open", 0.01)
    trade = (await alice.fetch_my_trades(SYMBOL))[-1]
    assert (trade["order"], trade["takerOrMaker"]) == (edited["id"], "maker")
    assert (await alice.cancel_order(edited["id"], SYMBOL))["status"] == "canceled"


async def test_many_orders_at_once(alice: Any, bob: Any) -> None:
    before = await alice.fetch_balance()
    prices = [40_000 + number for number in range(40)]
    placed = await asyncio.gather(*(alice.create_order(SYMBOL, "limit", "buy", 0.01, price) for price in prices))
    assert sorted(order["price"] for order in placed) == prices
    resting = await bob.fetch_order_book(SYMBOL)
    assert resting["bids"] == [[price, 0.01] for price in reversed(prices)]
    held = await alice.fetch_balance()
    assert held["USDT"]["used"] - before["USDT"]["used"] == pytest.approx(sum(prices) * 0.01)
    sales = await asyncio.gather(*(bob.create_order(SYMBOL, "market", "sell", 0.01) for _ in range(20)))
    assert sorted(sale["average"] for sale in sales) == prices[20:]
    gone = await asyncio.gather(*(alice.cancel_order(order["id"], SYMBOL) for order in placed), return_exceptions=True)
    assert sum(isinstance(answer, ccxt.OrderNotFound) for answer in gone) == 20
    assert sum(isinstance(answer, dict) and answer["status"] == "canceled" for answer in gone) == 20
    assert (await alice.fetch_balance())["USDT"]["used"] == before["USDT"]["used"]


async def test_refusals_become_the_right_exceptions(alice: Any) -> None:
    with pytest.raises(ccxt.InsufficientFunds):
        await alice.create_order(SYMBOL, "limit", "buy", 5_000, 50_000)
    with pytest.raises(ccxt.OrderNotFound):
        await alice.cancel_order("999999999", SYMBOL)
    with pytest.raises(ccxt.BadSymbol):
        await alice.public_get_depth({"symbol": "NOPE"})


async def test_market_data(alice: Any, bob: Any) -> None:
    await bob.create_order(SYMBOL, "limit", "sell", 0.01, 50_000)
    await alice.create_order(SYMBOL, "market", "buy", 0.01)
    await bob.create_order(SYMBOL, "limit", "sell", 0.3, 50_500)
    book, ticker, candles, trades = await asyncio.gather(
        alice.fetch_order_book(SYMBOL),
        alice.fetch_ticker(SYMBOL),
        alice.fetch_ohlcv(SYMBOL),
        alice.fetch_trades(SYMBOL),
    )
    assert book["asks"] == [[50_500, 0.3]]
    assert ticker["last"] == candles[-1][4] == trades[-1]["price"] == 50_000
