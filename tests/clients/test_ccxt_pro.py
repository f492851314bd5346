# SPDX-License-Identifier: Apache-2.0
"""ccxt.pro over a real socket: books, trades and the user's own orders by WebSocket, by the README's snippet."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest
import pytest_asyncio

from tests.serving import key_secret, key_text

ccxt = pytest.importorskip("ccxt.pro")
pytestmark = pytest.mark.filterwarnings("default")
SYMBOL = "BTC/USDT"
PATIENCE_S = 20


def client(address: str, name: str) -> Any:
    """The snippet."""
    base = f"http://{address}/api/v3"
    return ccxt.binance(
        {
            "apiKey": key_text(name),
            "secret": key_secret(name),
            "urls": {
                "api": {
                    "public": base,
                    "private": base,
                    "ws": {
                        "spot": f"ws://{address}/ws",
                        "margin": f"ws://{address}/ws",
                        "ws-api": {"spot": f"ws://{address}/ws-api/v3"},
                    },
                }
            },
            "options": {
                "defaultType": "spot", "fetchMarkets": {"types": ["spot"]},
                "fetchCurrencies": False, "fetchMargins": False,
            },
        }
    )


@pytest_asyncio.fixture(name="alice")
async def make_alice(address: str) -> AsyncIterator[Any]:
    exchange = client(address, "alice")
    yield exchange
    await exchange.close()


@pytest_asyncio.fixture(name="bob")
async def make_bob(address: str) -> AsyncIterator[Any]:
    exchange = client(address, "bob")
    yield exchange
    await exchange.close()


async def in_time(awaitable: Awaitable[Any]) -> Any:
    return await asyncio.wait_for(awaitable, PATIENCE_S)


async def test_local_book_follows_orders(alice: Any) -> None:
    await alice.load_markets()
    first = await alice.create_order(SYMBOL, "limit", "buy", 0.01, 40_000)
    book = await in_time(alice.watch_order_book(SYMBOL))
    assert book["bids"][0] == [40_000, 0.01]
    second = await alice.create_order(SYMBOL, "limit", "buy", 0.02, 41_000)
    while book["bids"][0] != [41_000, 0.02]:
        book = await in_time(alice.watch_order_book(SYMBOL))
    await alice.cancel_order(first["id"], SYMBOL)
    await alice.cancel_order(second["id"], SYMBOL)
    while book["bids"]:
        book = await in_time(alice.watch_order_book(SYMBOL))


async def test_own_orders_balances_and_trades(alice: Any, bob: Any) -> None:
    await alice.load_markets()
    orders = asyncio.ensure_future(alice.watch_orders(SYMBOL))
    balances = asyncio.ensure_future(alice.watch_balance())
    trades = asyncio.ensure_future(alice.watch_trades(SYMBOL))
    await asyncio.sleep(1.0)  # the three subscriptions are under way; what follows must reach them
    await bob.create_order(SYMBOL, "limit", "sell", 0.01, 50_000)
    placed = await alice.create_order(SYMBOL, "limit", "buy", 0.01, 50_000)
    seen = await in_time(orders)
    while seen[-1]["status"] != "closed":
        seen = await in_time(alice.watch_orders(SYMBOL))
    assert seen[-1]["id"] == placed["id"]
    assert seen[-1]["filled"] == 0.01
    assert (await in_time(balances))["BTC"]["total"] > 0
    assert (await in_time(trades))[-1]["price"] == 50_000


async def test_best_bid_and_ask(alice: Any) -> None:
    await alice.load_markets()
    best = asyncio.ensure_future(alice.watch_bids_asks([SYMBOL]))
    await asyncio.sleep(0.5)
    placed = await alice.create_order(SYMBOL, "limit", "buy", 0.01, 42_000)
    assert (await in_time(best))[SYMBOL]["bid"] == 42_000
    await alice.cancel_order(placed["id"], SYMBOL)
