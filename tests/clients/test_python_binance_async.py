# SPDX-License-Identifier: Apache-2.0
"""python-binance (asyncio) over a real socket: its sockets, depth cache and WebSocket API, by the README's snippet."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
import pytest_asyncio
import websockets

from tests.clients.pointing import point_python_binance
from tests.serving import key_secret, key_text

binance = pytest.importorskip("binance")
pytestmark = pytest.mark.filterwarnings("default")
SYMBOL = "BTCUSDT"
PATIENCE_S = 20


@pytest.fixture(autouse=True)
def point_at_us(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from binance.ws.reconnecting_websocket import ReconnectingWebsocket

    point_python_binance(address, monkeypatch.setattr)
    monkeypatch.setattr(ReconnectingWebsocket, "TIMEOUT", 1)  # how often its read loop looks whether it shall end


async def leave(client: Any) -> None:
    """What a test left in the book is taken out again, so that the next one begins with an empty one."""
    if await client.get_open_orders(symbol=SYMBOL):
        await client.cancel_all_open_orders(symbol=SYMBOL)
    await client.close_connection()


@pytest_asyncio.fixture(name="alice")
async def make_alice(point_at_us: None) -> AsyncIterator[Any]:
    client = await binance.AsyncClient.create(key_text("alice"), key_secret("alice"))
    yield client
    await leave(client)


@pytest_asyncio.fixture(name="bob")
async def make_bob(point_at_us: None) -> AsyncIterator[Any]:
    client = await binance.AsyncClient.create(key_text("bob"), key_secret("bob"))
    yield client
    await leave(client)


async def trade(alice: Any, bob: Any, price: str = "50000", quantity: str = "0.01") -> Any:
    """Bob rests, alice takes: the answer to her order."""
    await bob.order_limit_sell(symbol=SYMBOL, quantity=quantity, price=price)
    return await alice.order_limit_buy(symbol=SYMBOL, quantity=quantity, price=price)


async def test_orders_by_rest(alice: Any, bob: Any) -> None:
    placed = await alice.order_limit_buy(symbol=SYMBOL, quantity="0.01", price="40000")
    assert (await alice.get_order(symbol=SYMBOL, orderId=placed["orderId"]))["status"] == "NEW"
    assert (await alice.cancel_order(symbol=SYMBOL, orderId=placed["orderId"]))["status"] == "CANCELED"
    bought = await trade(alice, bob)
    assert bought["status"] == "FILLED"
    assert (await alice.get_my_trades(symbol=SYMBOL))[-1]["orderId"] == bought["orderId"]
    prices = [str(40_000 + number) for number in range(20)]
    many = await asyncio.gather(*(alice.order_limit_buy(symbol=SYMBOL, quantity="0.01", price=one) for one in prices))
    assert len({order["orderId"] for order in many}) == 20
    assert len(await alice.cancel_all_open_orders(symbol=SYMBOL)) == 20


async def test_user_stream_reports_the_order(alice: Any, bob: Any) -> None:
    async with binance.BinanceSocketManager(alice).user_socket() as stream:
        placed = await alice.order_limit_buy(symbol=SYMBOL, quantity="0.02", price="39000.00")
        await bob.order_limit_sell(symbol=SYMBOL, quantity="0.01", price="39000.00")
        await alice.cancel_order(symbol=SYMBOL, orderId=placed["orderId"])
        events: list[dict[str, Any]] = []
        while len(events) < 6:
            received = await asyncio.wait_for(stream.recv(), PATIENCE_S)
            events.append(received.get("event", received))
    kinds = [(event["e"], event.get("x"), event.get("X")) for event in events]
    assert kinds == [
        ("executionReport", "NEW", "NEW"), ("outboundAccountPosition", None, None),
        ("executionReport", "TRADE", "PARTIALLY_FILLED"), ("outboundAccountPosition", None, None),
        ("executionReport", "CANCELED", "CANCELED"), ("outboundAccountPosition", None, None),
    ]  # fmt: skip
    assert {event["i"] for event in events[::2]} == {placed["orderId"]}
    assert (events[4]["C"], events[4]["z"]) == (placed["clientOrderId"], "0.01000000")


@pytest_asyncio.fixture(name="opened")
async def make_opened() -> AsyncIterator[list[Any]]:
    """Sockets that are closed at the end, together: each takes the library up to a second."""
    sockets: list[Any] = []
    yield sockets
    await asyncio.gather(*(socket.__aexit__(None, None, None) for socket in sockets))


async def test_every_market_socket(opened: list[Any], alice: Any, bob: Any) -> None:
    manager = binance.BinanceSocketManager(bob)
    sockets = {
        "trade": manager.trade_socket(SYMBOL), "aggTrade": manager.aggtrade_socket(SYMBOL),
        "depthUpdate": manager.depth_socket(SYMBOL, interval=100), "depth5": manager.depth_socket(SYMBOL, depth="5"),
        "kline": manager.kline_socket(SYMBOL, interval="1m"),
        "24hrMiniTicker": manager.symbol_miniticker_socket(SYMBOL),
        "24hrTicker": manager.symbol_ticker_socket(SYMBOL), "bookTicker": manager.symbol_book_ticker_socket(SYMBOL),
        "!miniTicker": manager.miniticker_socket(), "!ticker": manager.ticker_socket(),
        "combined": manager.multiplex_socket(["btcusdt@trade", "ethusdt@trade"]),
    }  # fmt: skip
    opened.extend(sockets.values())
    await asyncio.gather(*(socket.__aenter__() for socket in opened))
    bought = await trade(alice, bob)
    await bob.order_limit_sell(symbol=SYMBOL, quantity="0.03", price="51000")

    async def first(name: str) -> Any:
        """The first message that knows of the trade; some begin with the state before it."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    message = await sockets[name].recv()
                    if name in ("depthUpdate", "depth5", "bookTicker") or b'"50000' in orjson.dumps(message):
                        return message
        except TimeoutError:
            return f"nothing came on {name}"

    seen = dict(zip(sockets, await asyncio.gather(*map(first, sockets)), strict=True))
    assert (seen["trade"]["p"], seen["trade"]["t"]) == ("50000.00000000", bought["fills"][0]["tradeId"])
    assert seen["aggTrade"]["l"] == seen["trade"]["t"]
    assert seen["depthUpdate"]["e"] == "depthUpdate"
    assert seen["depth5"].keys() == {"lastUpdateId", "bids", "asks"}
    assert seen["kline"]["k"]["h"] == "50000.00000000"
    for name in ("24hrMiniTicker", "24hrTicker"):
        assert (seen[name]["e"], seen[name]["h"]) == (name, "50000.00000000")
    assert seen["bookTicker"].keys() == {"u", "s", "b", "B", "a", "A"}
    for name in ("!miniTicker", "!ticker"):
        assert [one["h"] for one in seen[name] if one["s"] == SYMBOL] == ["50000.00000000"]
    assert (seen["combined"]["stream"], seen["combined"]["data"]["t"]) == ("btcusdt@trade", seen["trade"]["t"])


async def test_depth_cache_matches_the_book(bob: Any) -> None:
    await bob.order_limit_buy(symbol=SYMBOL, quantity="0.01", price="38000.00")
    async with binance.DepthCacheManager(bob, SYMBOL, ws_interval=100) as cache:
        second = await bob.order_limit_buy(symbol=SYMBOL, quantity="0.02", price="38500.00")
        bids = (await asyncio.wait_for(cache.recv(), PATIENCE_S)).get_bids()
        assert bids == [[38_500.0, 0.02], [38_000.0, 0.01]]
        await bob.cancel_order(symbol=SYMBOL, orderId=second["orderId"])
        await bob.order_limit_sell(symbol=SYMBOL, quantity="0.03", price="39000.00")
        seen = cache.get_depth_cache()
        while (seen.get_bids(), seen.get_asks()) != ([[38_000.0, 0.01]], [[39_000.0, 0.03]]):
            seen = await asyncio.wait_for(cache.recv(), PATIENCE_S)


async def test_orders_by_websocket(alice: Any, bob: Any) -> None:
    """JSON floats, signed as Python prints them."""
    placed = await alice.ws_order_limit_buy(symbol=SYMBOL, quantity=0.01, price=40_000.5)
    assert (placed["status"], placed["price"]) == ("NEW", "40000.50000000")
    assert (await alice.ws_get_order(symbol=SYMBOL, orderId=placed["orderId"]))["status"] == "NEW"
    assert [one["orderId"] for one in await alice.ws_get_open_orders(symbol=SYMBOL)] == [placed["orderId"]]
    replaced = await alice.ws_cancel_and_replace_order(
        symbol=SYMBOL, side="BUY", type="LIMIT", timeInForce="GTC", quantity=0.02, price=41_000,
        cancelReplaceMode="STOP_ON_FAILURE", cancelOrderId=placed["orderId"],
    )  # fmt: skip
    new = replaced["newOrderResponse"]
    assert (new["status"], new["origQty"]) == ("NEW", "0.02000000")
    gone = await alice.ws_cancel_order(symbol=SYMBOL, orderId=new["orderId"])
    assert (gone["status"], gone["origClientOrderId"]) == ("CANCELED", new["clientOrderId"])
    await alice.ws_create_test_order(
        symbol=SYMBOL, side="BUY", type="LIMIT", timeInForce="GTC", quantity=0.01, price=40_000
    )
    await bob.order_limit_sell(symbol=SYMBOL, quantity="0.03", price="50000")
    bought = await alice.ws_order_market_buy(symbol=SYMBOL, quantity=0.01)
    assert [(fill["price"], fill["qty"]) for fill in bought["fills"]] == [("50000.00000000", "0.01000000")]
    await alice.ws_order_limit_buy(symbol=SYMBOL, quantity=0.01, price=39_000)
    await alice.ws_order_limit_buy(symbol=SYMBOL, quantity=0.01, price=38_000)
    assert len(await alice.ws_cancel_all_open_orders(symbol=SYMBOL)) == 2


async def test_reads_by_websocket_are_those_by_rest(alice: Any, bob: Any) -> None:
    await trade(alice, bob)
    await bob.order_limit_sell(symbol=SYMBOL, quantity="0.03", price="51000")
    assert await alice.ws_get_account() == await alice.get_account()
    assert await alice.ws_get_all_orders(symbol=SYMBOL) == await alice.get_all_orders(symbol=SYMBOL)
    assert await alice.ws_get_my_trades(symbol=SYMBOL) == await alice.get_my_trades(symbol=SYMBOL)
    assert await alice.ws_get_recent_trades(symbol=SYMBOL) == await alice.get_recent_trades(symbol=SYMBOL)
    assert await alice.ws_get_aggregate_trades(symbol=SYMBOL) == await alice.get_aggregate_trades(symbol=SYMBOL)
    assert await alice.ws_get_historical_trades(symbol=SYMBOL) == await alice.get_historical_trades(symbol=SYMBOL)
    assert await alice.ws_get_order_book(symbol=SYMBOL) == await alice.get_order_book(symbol=SYMBOL)
    candle = {"symbol": SYMBOL, "interval": "1h"}
    assert await alice.ws_get_klines(**candle) == await alice.get_klines(**candle)
    assert await alice.ws_get_avg_price(symbol=SYMBOL) == await alice.get_avg_price(symbol=SYMBOL)
    assert await alice.ws_get_symbol_ticker(symbol=SYMBOL) == await alice.get_symbol_ticker(symbol=SYMBOL)
    assert await alice.ws_get_orderbook_ticker(symbol=SYMBOL) == await alice.get_orderbook_ticker(symbol=SYMBOL)
    assert (await alice.ws_get_ticker(symbol=SYMBOL))["count"] == (await alice.get_ticker(symbol=SYMBOL))["count"]
    assert (await alice.ws_get_exchange_info())["symbols"] == (await alice.get_exchange_info())["symbols"]
    assert (await alice.ws_get_commission_rates(symbol=SYMBOL))["symbol"] == SYMBOL
    assert await alice.ws_get_account_rate_limits_orders()
    assert await alice.ws_ping() == {}
    assert (await alice.ws_get_time())["serverTime"] > 0


async def test_refusals_by_websocket_carry_the_codes(alice: Any) -> None:
    from binance.exceptions import BinanceAPIException

    with pytest.raises(BinanceAPIException) as caught:
        await alice.ws_order_limit_buy(symbol=SYMBOL, quantity=5_000, price=50_000)
    assert caught.value.code == -2010
    assert caught.value.message == "Account has insufficient balance for requested action."
    with pytest.raises(BinanceAPIException) as caught:
        await alice.ws_cancel_order(symbol=SYMBOL, orderId=999_999_999)
    assert caught.value.code == -2011
    with pytest.raises(BinanceAPIException) as caught:
        await alice.ws_order_limit_buy(symbol=SYMBOL, quantity=0.01, price=-1)
    assert caught.value.code == -1100


async def test_the_old_listen_key_still_works(alice: Any) -> None:
    """Retired on the real exchange, still what older bots do."""
    key = await alice.stream_get_listen_key()
    assert len(key) >= 60
    await alice.stream_keepalive(key)
    async with websockets.connect(f"{binance.BinanceSocketManager.STREAM_URL}ws/{key}") as socket:
        placed = await alice.order_limit_buy(symbol=SYMBOL, quantity="0.01", price="39000.00")
        event = orjson.loads(await asyncio.wait_for(socket.recv(), PATIENCE_S))
        assert (event["e"], event["i"]) == ("executionReport", placed["orderId"])
    await alice.stream_close(key)
