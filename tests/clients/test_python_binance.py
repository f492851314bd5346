# SPDX-License-Identifier: Apache-2.0
"""python-binance (blocking) over a real socket: every kind of order, reads, refusals, its WebSocket API calls and its
threaded sockets; by the README's snippet.
"""

import queue
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.clients.pointing import point_python_binance, private_pem
from tests.serving import key_secret, key_text

binance = pytest.importorskip("binance")
pytestmark = pytest.mark.filterwarnings("default")
SYMBOL = "BTCUSDT"


@pytest.fixture(autouse=True)
def point_at_us(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from binance.ws.reconnecting_websocket import ReconnectingWebsocket

    point_python_binance(address, monkeypatch.setattr)
    monkeypatch.setattr(ReconnectingWebsocket, "TIMEOUT", 1)  # how often its read loop looks whether it shall end


def leave(client: Any) -> None:
    """What a test left in the book is taken out again, so that the next one begins with an empty one."""
    if client.get_open_orders(symbol=SYMBOL):
        client.cancel_all_open_orders(symbol=SYMBOL)
    client.close_connection()


@pytest.fixture(name="alice")
def make_alice() -> Iterator[Any]:
    client = binance.Client(key_text("alice"), key_secret("alice"))
    yield client
    leave(client)


@pytest.fixture(name="bob")
def make_bob() -> Iterator[Any]:
    client = binance.Client(key_text("bob"), key_secret("bob"))
    yield client
    leave(client)


def refusal(call: Callable[[], Any]) -> tuple[int, int, str]:
    """Code, HTTP status and text of what is refused."""
    from binance.exceptions import BinanceAPIException

    with pytest.raises(BinanceAPIException) as caught:
        call()
    return caught.value.code, caught.value.status_code, caught.value.message


def test_place_query_and_cancel(alice: Any) -> None:
    placed = alice.order_limit_buy(symbol=SYMBOL, quantity="0.01", price="40000.00")
    assert placed["status"] == "NEW"
    assert placed["fills"] == []
    seen = alice.get_order(symbol=SYMBOL, orderId=placed["orderId"])
    assert (seen["price"], seen["origQty"], seen["status"]) == ("40000.00000000", "0.01000000", "NEW")
    assert [order["orderId"] for order in alice.get_open_orders(symbol=SYMBOL)] == [placed["orderId"]]
    assert alice.get_asset_balance("USDT")["locked"] == "400.00000000"
    gone = alice.cancel_order(symbol=SYMBOL, orderId=placed["orderId"])
    assert (gone["status"], gone["origClientOrderId"]) == ("CANCELED", placed["clientOrderId"])
    assert alice.get_open_orders(symbol=SYMBOL) == []


def test_two_accounts_trade(alice: Any, bob: Any) -> None:
    bob.order_limit_sell(symbol=SYMBOL, quantity="0.5", price="50000")
    bought = alice.order_market_buy(symbol=SYMBOL, quantity="0.2")
    assert bought["status"] == "FILLED"
    assert [(fill["price"], fill["qty"]) for fill in bought["fills"]] == [("50000.00000000", "0.20000000")]
    assert bought["cummulativeQuoteQty"] == "10000.00000000"
    mine = alice.get_my_trades(symbol=SYMBOL)[-1]
    assert (mine["qty"], mine["isMaker"], mine["commissionAsset"]) == ("0.20000000", False, "BTC")
    assert bob.get_my_trades(symbol=SYMBOL)[-1]["isMaker"]
    assert alice.get_order_book(symbol=SYMBOL)["asks"] == [["50000.00000000", "0.30000000"]]
    assert alice.get_all_orders(symbol=SYMBOL)[-1]["status"] == "FILLED"
    assert len(bob.cancel_all_open_orders(symbol=SYMBOL)) == 1


def test_every_kind_of_order(alice: Any, bob: Any) -> None:
    bob.order_limit_sell(symbol=SYMBOL, quantity="1", price="50000")
    by_quote = alice.order_market_buy(symbol=SYMBOL, quoteOrderQty="500")
    assert (by_quote["status"], by_quote["executedQty"]) == ("FILLED", "0.01000000")
    maker = alice.create_order(symbol=SYMBOL, side="BUY", type="LIMIT_MAKER", quantity="0.01", price="49000")
    stops = [
        alice.create_order(symbol=SYMBOL, side="BUY", type="STOP_LOSS", quantity="0.01", stopPrice="51000"),
        alice.create_order(
            symbol=SYMBOL, side="BUY", type="STOP_LOSS_LIMIT", timeInForce="GTC", quantity="0.01", stopPrice="51000",
            price="51100",
        ),
        alice.create_order(symbol=SYMBOL, side="BUY", type="TAKE_PROFIT", quantity="0.01", stopPrice="45000"),
        alice.create_order(
            symbol=SYMBOL, side="BUY", type="TAKE_PROFIT_LIMIT", timeInForce="GTC", quantity="0.01", stopPrice="45000",
            price="44900",
        ),
    ]  # fmt: skip
    berg = alice.order_limit_buy(symbol=SYMBOL, quantity="1", price="48000", icebergQty="0.1")
    bids = alice.get_order_book(symbol=SYMBOL)["bids"]
    assert bids == [["49000.00000000", "0.01000000"], ["48000.00000000", "0.10000000"]]
    open_orders = alice.get_open_orders(symbol=SYMBOL)
    assert [order["orderId"] for order in open_orders] == [one["orderId"] for one in (maker, *stops, berg)]
    assert [order["isWorking"] for order in open_orders] == [True, False, False, False, False, True]
    assert len(alice.cancel_all_open_orders(symbol=SYMBOL)) == 6
    for kind, executed in (("FOK", "0.00000000"), ("IOC", "0.99000000")):
        ended = alice.order_limit_buy(symbol=SYMBOL, quantity="2", price="50000", timeInForce=kind)
        assert (ended["status"], ended["executedQty"]) == ("EXPIRED", executed)


def test_a_stop_triggers(alice: Any, bob: Any) -> None:
    bob.order_limit_sell(symbol=SYMBOL, quantity="0.01", price="50000")
    alice.order_market_buy(symbol=SYMBOL, quantity="0.01")
    stop = alice.create_order(
        symbol=SYMBOL, side="SELL", type="STOP_LOSS_LIMIT", timeInForce="GTC", quantity="0.01", stopPrice="45000",
        price="44000",
    )  # fmt: skip
    bob.order_limit_buy(symbol=SYMBOL, quantity="0.02", price="45000")
    alice.order_market_sell(symbol=SYMBOL, quantity="0.01")
    done = alice.get_order(symbol=SYMBOL, orderId=stop["orderId"])
    assert (done["status"], done["isWorking"], done["cummulativeQuoteQty"]) == ("FILLED", True, "450.00000000")


def test_cancel_replace_and_amend(alice: Any) -> None:
    placed = alice.order_limit_buy(symbol=SYMBOL, quantity="0.02", price="40000")
    replaced = alice.cancel_replace_order(
        symbol=SYMBOL, side="BUY", type="LIMIT", timeInForce="GTC", quantity="0.03", price="41000",
        cancelReplaceMode="STOP_ON_FAILURE", cancelOrderId=placed["orderId"],
    )  # fmt: skip
    assert (replaced["cancelResult"], replaced["newOrderResult"]) == ("SUCCESS", "SUCCESS")
    assert replaced["cancelResponse"]["orderId"] == placed["orderId"]
    new = replaced["newOrderResponse"]
    assert (new["status"], new["price"]) == ("NEW", "41000.00000000")
    code, status, _ = refusal(
        lambda: alice.cancel_replace_order(
            symbol=SYMBOL, side="BUY", type="LIMIT", timeInForce="GTC", quantity="0.03", price="41000",
            cancelReplaceMode="STOP_ON_FAILURE", cancelOrderId=placed["orderId"],
        )
    )  # fmt: skip
    assert (code, status) == (-2022, 400)
    code, status, _ = refusal(
        lambda: alice.cancel_replace_order(
            symbol=SYMBOL, side="BUY", type="LIMIT", timeInForce="GTC", quantity="8000", price="41000",
            cancelReplaceMode="ALLOW_FAILURE", cancelOrderId=new["orderId"],
        )
    )  # fmt: skip
    assert (code, status) == (-2021, 409)
    assert alice.get_open_orders(symbol=SYMBOL) == []


def test_order_test_and_account_reads(alice: Any) -> None:
    order = {"symbol": SYMBOL, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "1", "price": "40000"}
    assert alice.create_test_order(**order) == {}
    rates = alice.create_test_order(**order, computeCommissionRates=True)
    assert rates["standardCommissionForOrder"].keys() == {"maker", "taker"}
    account = alice.get_account()
    assert account["canTrade"]
    assert {balance["asset"] for balance in account["balances"]} == {"BTC", "ETH", "USDT"}
    assert alice.get_current_order_count()
    assert alice.get_open_orders() == []


def test_market_data(alice: Any, bob: Any) -> None:
    bob.order_limit_sell(symbol=SYMBOL, quantity="0.5", price="50000")
    alice.order_market_buy(symbol=SYMBOL, quantity="0.2")
    assert alice.get_symbol_info(SYMBOL)["filters"][0]["filterType"] == "PRICE_FILTER"
    assert abs(alice.get_server_time()["serverTime"] - alice.get_server_time()["serverTime"]) < 1_000
    last = alice.get_recent_trades(symbol=SYMBOL)[-1]
    assert (last["price"], last["isBuyerMaker"]) == ("50000.00000000", False)
    assert alice.get_historical_trades(symbol=SYMBOL, fromId=last["id"])[0] == last
    assert alice.get_aggregate_trades(symbol=SYMBOL)[-1]["l"] == last["id"]
    assert next(alice.aggregate_trade_iter(symbol=SYMBOL, start_str="1 hour ago UTC"))["p"]
    assert alice.get_klines(symbol=SYMBOL, interval="1m")[-1][4] == "50000.00000000"
    assert alice.get_ui_klines(symbol=SYMBOL, interval="1m")[-1][4] == "50000.00000000"
    assert alice.get_historical_klines(SYMBOL, "1m", "1 hour ago UTC")[-1][4] == "50000.00000000"
    ticker = alice.get_ticker(symbol=SYMBOL)
    assert ticker["lastPrice"] == "50000.00000000"
    assert float(ticker["lowPrice"]) <= float(alice.get_avg_price(symbol=SYMBOL)["price"]) <= float(ticker["highPrice"])
    assert [ticker["symbol"] for ticker in alice.get_all_tickers()] == ["BTCUSDT", "ETHUSDT"]
    assert alice.get_orderbook_ticker(symbol=SYMBOL)["askQty"] == "0.30000000"
    assert alice.get_symbol_ticker(symbol=SYMBOL)["price"] == "50000.00000000"


def test_refusals_carry_the_codes(alice: Any) -> None:
    def order(**change: Any) -> Callable[[], Any]:
        return lambda: alice.order_limit_buy(**{"symbol": SYMBOL, "quantity": "0.01", "price": "40000", **change})

    assert refusal(order(quantity="5000")) == (-2010, 400, "Account has insufficient balance for requested action.")
    assert refusal(order(symbol="NOPE")) == (-1121, 400, "Invalid symbol.")
    assert refusal(order(quantity="0.0001")) == (-1013, 400, "Filter failure: NOTIONAL")
    assert refusal(order(price="40000.001")) == (-1013, 400, "Filter failure: PRICE_FILTER")
    unknown = {"symbol": SYMBOL, "orderId": 999_999_999}
    assert refusal(lambda: alice.cancel_order(**unknown)) == (-2011, 400, "Unknown order sent.")
    assert refusal(lambda: alice.get_order(**unknown)) == (-2013, 400, "Order does not exist.")
    stranger = binance.Client(key_text("alice"), "wrong")
    assert refusal(stranger.get_account)[:2] == (-1022, 400)
    stranger.close_connection()


@pytest.mark.parametrize("name", ["carol", "erin"])
def test_accounts_with_ed25519_and_rsa_keys_trade(name: str) -> None:
    signer = binance.Client(key_text(name), private_key=private_pem(name))
    placed = signer.order_limit_buy(symbol=SYMBOL, quantity="0.01", price="40000")
    assert signer.cancel_order(symbol=SYMBOL, orderId=placed["orderId"])["status"] == "CANCELED"
    signer.close_connection()


def test_websocket_calls_of_the_blocking_client(alice: Any) -> None:
    placed = alice.ws_order_limit_buy(symbol=SYMBOL, quantity=0.01, price=40000)
    assert (placed["status"], placed["price"]) == ("NEW", "40000.00000000")
    assert alice.ws_get_order(symbol=SYMBOL, orderId=placed["orderId"])["status"] == "NEW"
    assert alice.ws_cancel_order(symbol=SYMBOL, orderId=placed["orderId"])["status"] == "CANCELED"


def test_threaded_sockets(alice: Any, bob: Any) -> None:
    """A thread of its own for the sockets, callbacks into a queue: how most scripts of its users look."""
    seen: queue.Queue[tuple[str, Any]] = queue.Queue()
    manager = binance.ThreadedWebsocketManager(key_text("alice"), key_secret("alice"))
    manager.start()
    names = [
        manager.start_trade_socket(callback=lambda event: seen.put(("trade", event)), symbol=SYMBOL),
        manager.start_depth_socket(callback=lambda event: seen.put(("depth", event)), symbol=SYMBOL),
        manager.start_user_socket(callback=lambda event: seen.put(("user", event))),
    ]
    found: dict[str, Any] = {}
    try:
        for _ in range(10):  # a trade each turn, until each socket has told of one
            bob.order_limit_sell(symbol=SYMBOL, quantity="0.01", price="50000")
            alice.order_market_buy(symbol=SYMBOL, quantity="0.01")
            while len(found) < 3:
                try:
                    name, event = seen.get(timeout=1.5)
                except queue.Empty:
                    break
                found[name] = event.get("event", event)
        assert found["trade"]["p"] == "50000.00000000"
        assert found["depth"]["e"] == "depthUpdate"
        assert found["user"]["e"] in ("executionReport", "outboundAccountPosition")
    finally:
        for name in names:  # first these: with its client gone, the user socket of the library never ends
            manager.stop_socket(name)
        while manager._socket_running:
            time.sleep(0.02)
        manager.stop()
        manager.join(20)
    assert not manager.is_alive()
