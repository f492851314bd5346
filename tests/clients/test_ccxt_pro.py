# SPDX-License-Identifier: Apache-2.0
"""ccxt.pro over a real socket: every stream it watches, the user's own events, orders by WebSocket, by the README's
snippet.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio

from tests.clients.pointing import ccxt_options

ccxt = pytest.importorskip("ccxt.pro")
pytestmark = pytest.mark.filterwarnings("default")
SYMBOL = "BTC/USDT"
PATIENCE_S = 20


@pytest_asyncio.fixture(name="alice")
async def make_alice(address: str) -> AsyncIterator[Any]:
    exchange = ccxt.binance(ccxt_options(address, "alice"))
    await exchange.load_markets()
    yield exchange
    await leave(exchange)


@pytest_asyncio.fixture(name="bob")
async def make_bob(address: str) -> AsyncIterator[Any]:
    exchange = ccxt.binance(ccxt_options(address, "bob"))
    await exchange.load_markets()
    yield exchange
    await leave(exchange)


async def in_time(awaitable: Awaitable[Any]) -> Any:
    return await asyncio.wait_for(awaitable, PATIENCE_S)


async def until(good: Callable[[], bool]) -> None:
    """Waits for what the library keeps to be good: it applies events whether or not someone watches just then."""
    async with asyncio.timeout(PATIENCE_S):
        while not good():  # noqa: ASYNC110 - the library has no event for it
            await asyncio.sleep(0.01)


async def watching(exchange: Any, *streams: Awaitable[Any]) -> list[asyncio.Future[Any]]:
    """The streams as futures, each subscribed: what happens from now on must reach them."""
    futures = [asyncio.ensure_future(stream) for stream in streams]
    seen, quiet = -1, 0
    async with asyncio.timeout(PATIENCE_S):
        while seen <= 0 or quiet < 20:
            now = sum(len(client.subscriptions) for client in exchange.clients.values())
            seen, quiet = now, quiet + 1 if now == seen else 0
            await asyncio.sleep(0.02)
    return futures


async def leave(exchange: Any) -> None:
    """What a test left in the book is taken out again, so that the next one begins with an empty one."""
    if await exchange.fetch_open_orders(SYMBOL):
        await exchange.cancel_all_orders(SYMBOL)
    await exchange.close()


async def test_local_book_follows_orders(alice: Any) -> None:
    first = await alice.create_order(SYMBOL, "limit", "buy", 0.01, 40_000)
    book = await in_time(alice.watch_order_book(SYMBOL))
    assert book["bids"][0] == [40_000, 0.01]
    second = await alice.create_order(SYMBOL, "limit", "buy", 0.02, 41_000)
    assert (await in_time(alice.watch_order_book(SYMBOL)))["bids"][0] == [41_000, 0.02]
    await alice.edit_order(second["id"], SYMBOL, "limit", "buy", 0.03, 39_000)
    await until(lambda: list(alice.orderbooks[SYMBOL]["bids"]) == [[40_000, 0.01], [39_000, 0.03]])
    await alice.cancel_order(first["id"], SYMBOL)
    await alice.cancel_all_orders(SYMBOL)
    await until(lambda: not alice.orderbooks[SYMBOL]["bids"])


async def test_own_orders_balances_and_trades(alice: Any, bob: Any) -> None:
    orders, balances, trades, mine = await watching(
        alice,
        alice.watch_orders(SYMBOL), alice.watch_balance(), alice.watch_trades(SYMBOL), alice.watch_my_trades(SYMBOL),
    )  # fmt: skip
    await bob.create_order(SYMBOL, "limit", "sell", 0.01, 50_000)
    placed = await alice.create_order(SYMBOL, "limit", "buy", 0.01, 50_000)
    assert (await in_time(orders))[-1]["id"] == placed["id"]
    await until(lambda: alice.orders[-1]["status"] == "closed")
    assert (alice.orders[-1]["filled"], alice.orders[-1]["average"]) == (0.01, 50_000)
    assert (await in_time(balances))["BTC"]["total"] > 0
    assert (await in_time(trades))[-1]["price"] == 50_000
    own = (await in_time(mine))[-1]
    assert (own["order"], own["takerOrMaker"], own["amount"]) == (placed["id"], "taker", 0.01)


async def test_own_cancel_and_edit(alice: Any) -> None:
    """On CANCELED the client id in the event is the cancel's: ccxt must still find the order."""
    (orders,) = await watching(alice, alice.watch_orders(SYMBOL))
    placed = await alice.create_order(SYMBOL, "limit", "buy", 0.01, 40_000)
    assert (await in_time(orders))[-1]["id"] == placed["id"]
    edited = await alice.edit_order(placed["id"], SYMBOL, "limit", "buy", 0.02, 40_500)

    def settled() -> bool:
        states = {order["id"]: (order["status"], order["clientOrderId"]) for order in alice.orders}
        return states.get(edited["id"]) == ("open", edited["clientOrderId"]) and states[placed["id"]] == (
            "canceled", placed["clientOrderId"],
        )  # fmt: skip

    await until(settled)
    await alice.cancel_order(edited["id"], SYMBOL)


async def test_public_streams(alice: Any, bob: Any) -> None:
    best, one, many, candles, trades, books = await watching(
        alice,
        alice.watch_bids_asks([SYMBOL]), alice.watch_ticker(SYMBOL), alice.watch_tickers([SYMBOL, "ETH/USDT"]),
        alice.watch_ohlcv(SYMBOL, "1m"), alice.watch_trades_for_symbols([SYMBOL, "ETH/USDT"]),
        alice.watch_order_book_for_symbols([SYMBOL, "ETH/USDT"]),
    )  # fmt: skip
    await bob.create_order(SYMBOL, "limit", "sell", 0.05, 51_000)
    await alice.create_order(SYMBOL, "limit", "buy", 0.02, 51_000)
    assert (await in_time(trades))[-1]["amount"] == 0.02
    assert (await in_time(one))["symbol"] == SYMBOL  # the first ticker and candle may be those before the trade
    assert (await in_time(many)).keys() <= {SYMBOL, "ETH/USDT"}
    assert (await in_time(candles))[-1][5] > 0
    assert (await in_time(best)).keys() == {SYMBOL}
    await until(lambda: alice.tickers[SYMBOL]["last"] == 51_000)
    await until(lambda: alice.ohlcvs[SYMBOL]["1m"][-1][4] == 51_000)
    await until(lambda: alice.bidsasks[SYMBOL]["ask"] == 51_000)
    assert (await in_time(books))["symbol"] in (SYMBOL, "ETH/USDT")
    await until(lambda: list(alice.orderbooks[SYMBOL]["asks"]) == [[51_000, 0.03]])


async def test_subscriptions_end(alice: Any, bob: Any) -> None:
    await bob.create_order(SYMBOL, "limit", "sell", 0.05, 51_000)
    await in_time(alice.watch_order_book(SYMBOL))
    await in_time(alice.un_watch_order_book(SYMBOL))
    assert SYMBOL not in alice.orderbooks
    book = await in_time(alice.watch_order_book(SYMBOL))
    assert list(book["asks"]) == [[51_000, 0.05]]


async def test_orders_by_websocket(alice: Any, bob: Any) -> None:
    placed = await in_time(alice.create_order_ws(SYMBOL, "limit", "buy", 0.01, 40_000))
    assert (placed["status"], placed["price"]) == ("open", 40_000)
    fetched = await in_time(alice.fetch_order_ws(placed["id"], SYMBOL))
    assert (fetched["id"], fetched["status"]) == (placed["id"], "open")
    assert [order["id"] for order in await in_time(alice.fetch_open_orders_ws(SYMBOL))] == [placed["id"]]
    gone = await in_time(alice.cancel_order_ws(placed["id"], SYMBOL))
    assert (gone["id"], gone["status"]) == (placed["id"], "canceled")
    await bob.create_order(SYMBOL, "limit", "sell", 0.05, 51_000)
    bought = await in_time(alice.create_order_ws(SYMBOL, "market", "buy", 0.02))
    assert (bought["status"], bought["average"], bought["filled"]) == ("closed", 51_000, 0.02)
    trades = await in_time(alice.fetch_my_trades_ws(SYMBOL))
    assert (trades[-1]["order"], trades[-1]["price"]) == (bought["id"], 51_000)
    assert bought["id"] in [order["id"] for order in await in_time(alice.fetch_orders_ws(SYMBOL))]
    assert bought["id"] in [order["id"] for order in await in_time(alice.fetch_closed_orders_ws(SYMBOL))]


async def test_edit_and_cancel_all_by_websocket(alice: Any) -> None:
    placed = await in_time(alice.create_order_ws(SYMBOL, "limit", "buy", 0.01, 40_000))
    edited = await in_time(alice.edit_order_ws(placed["id"], SYMBOL, "limit", "buy", 0.02, 41_000))
    assert edited["id"] != placed["id"]
    assert (edited["price"], edited["amount"], edited["status"]) == (41_000, 0.02, "open")
    another = await in_time(alice.create_order_ws(SYMBOL, "limit", "buy", 0.01, 40_000))
    gone = await in_time(alice.cancel_all_orders_ws(SYMBOL))
    assert {order["id"] for order in gone} == {edited["id"], another["id"]}
    assert await in_time(alice.fetch_open_orders_ws(SYMBOL)) == []


async def test_reads_by_websocket(alice: Any, bob: Any) -> None:
    await bob.create_order(SYMBOL, "limit", "sell", 0.05, 51_000)
    await alice.create_order(SYMBOL, "limit", "buy", 0.02, 51_000)
    candles = await in_time(alice.fetch_ohlcv_ws(SYMBOL, "1m"))
    assert candles[-1][4] == 51_000
    assert (await in_time(alice.fetch_trades_ws(SYMBOL)))[-1]["price"] == 51_000
    by_socket, by_request = await in_time(alice.fetch_balance_ws()), await alice.fetch_balance()
    assert by_socket["info"]["balances"] == by_request["info"]["balances"]  # of spot's, ccxt parses no more than this


async def test_refusals_by_websocket_are_the_same_exceptions(alice: Any) -> None:
    with pytest.raises(ccxt.InsufficientFunds):
        await in_time(alice.create_order_ws(SYMBOL, "limit", "buy", 5_000, 50_000))
    with pytest.raises(ccxt.OrderNotFound):
        await in_time(alice.cancel_order_ws("999999999", SYMBOL))
    with pytest.raises(ccxt.OrderNotFound):
        await in_time(alice.fetch_order_ws("999999999", SYMBOL))
