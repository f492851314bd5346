# SPDX-License-Identifier: Apache-2.0
"""binance-connector 3.x against a server: run by test_connector.py as a program of its own, in its own environment.

    .venv-tools/binance-connector/bin/python tests/clients/connector_script.py ADDRESS

Its package is called `binance`, as python-binance's is, so the two never share an environment. It imports nothing of
ours (keys come by the environment variable KEYS, as JSON), prints one JSON line for each check, and leaves with 0 when
all of them held.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from binance.error import ClientError
from binance.spot import Spot
from binance.websocket.spot.websocket_api import SpotWebsocketAPIClient
from binance.websocket.spot.websocket_stream import SpotWebsocketStreamClient

ADDRESS = sys.argv[1]
KEYS: dict[str, list[str]] = json.loads(os.environ["KEYS"])
SYMBOL = "BTCUSDT"
PATIENCE_S = 20
LIMIT = {"symbol": SYMBOL, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC"}


def client(name: str) -> Spot:
    key, secret = KEYS[name]
    return Spot(api_key=key, api_secret=secret, base_url=f"http://{ADDRESS}")


class Inbox:
    """What a socket's callback was given, in order."""

    def __init__(self) -> None:
        self.messages: queue.Queue[Any] = queue.Queue()

    def __call__(self, _socket: Any, text: str) -> None:
        self.messages.put(json.loads(text))

    def until(self, good: Callable[[Any], bool]) -> Any:
        deadline, passed = time.monotonic() + PATIENCE_S, []
        while (left := deadline - time.monotonic()) > 0:
            try:
                passed.append(self.messages.get(timeout=left))
            except queue.Empty:
                break
            if good(passed[-1]):
                return passed[-1]
        raise AssertionError(f"not in {passed}")


def refused(call: Callable[[], Any]) -> tuple[int, int, str]:
    """Status, code and text."""
    try:
        answer = call()
    except ClientError as error:
        return error.status_code, error.error_code, error.error_message
    raise AssertionError(f"not refused: {answer}")


def leave(*clients: Spot) -> None:
    for one in clients:
        if one.get_open_orders(symbol=SYMBOL):
            one.cancel_open_orders(symbol=SYMBOL)


def trade(alice: Spot, bob: Spot) -> int:
    bob.new_order(**{**LIMIT, "side": "SELL"}, quantity="0.01", price="50000")
    return int(alice.new_order(**LIMIT, quantity="0.01", price="50000")["fills"][0]["tradeId"])


def check_orders(alice: Spot, bob: Spot) -> None:
    placed = alice.new_order(**LIMIT, quantity="0.02", price="40000")
    assert placed["status"] == "NEW"
    assert alice.get_order(SYMBOL, orderId=placed["orderId"])["origQty"] == "0.02000000"
    assert [order["orderId"] for order in alice.get_open_orders(symbol=SYMBOL)] == [placed["orderId"]]
    sold = bob.new_order(symbol=SYMBOL, side="SELL", type="MARKET", quantity="0.01")
    assert (sold["status"], sold["fills"][0]["price"]) == ("FILLED", "40000.00000000")
    replaced = alice.cancel_and_replace(
        symbol=SYMBOL, side="BUY", type="LIMIT", cancelReplaceMode="STOP_ON_FAILURE", timeInForce="GTC",
        quantity="0.03", price="41000", cancelOrderId=placed["orderId"],
    )  # fmt: skip
    assert (replaced["cancelResult"], replaced["newOrderResult"]) == ("SUCCESS", "SUCCESS")
    gone = alice.cancel_order(SYMBOL, orderId=replaced["newOrderResponse"]["orderId"])
    assert gone["status"] == "CANCELED"
    bob.new_order(**{**LIMIT, "side": "SELL"}, quantity="1", price="50000", icebergQty="0.1")
    assert alice.depth(SYMBOL)["asks"] == [["50000.00000000", "0.10000000"]]
    spent = alice.new_order(symbol=SYMBOL, side="BUY", type="MARKET", quoteOrderQty="10000")
    assert (spent["status"], spent["executedQty"]) == ("FILLED", "0.20000000")
    stop = alice.new_order(
        symbol=SYMBOL, side="SELL", type="STOP_LOSS_LIMIT", timeInForce="GTC", quantity="0.01", price="44000",
        stopPrice="45000",
    )  # fmt: skip
    assert not alice.get_order(SYMBOL, orderId=stop["orderId"])["isWorking"]
    assert len(alice.cancel_open_orders(SYMBOL)) == 1
    assert alice.new_order_test(**LIMIT, quantity="0.01", price="40000") == {}


def check_reads(alice: Spot, bob: Spot) -> None:
    number = trade(alice, bob)
    assert alice.ping() == {}
    assert alice.time()["serverTime"] > 0
    assert [market["symbol"] for market in alice.exchange_info()["symbols"]] == ["BTCUSDT", "ETHUSDT"]
    assert alice.exchange_info(symbols=["BTCUSDT", "ETHUSDT"])["symbols"][0]["symbol"] == SYMBOL
    assert alice.trades(SYMBOL)[-1]["id"] == number
    assert alice.historical_trades(SYMBOL, fromId=number)[0]["id"] == number
    assert alice.agg_trades(SYMBOL)[-1]["l"] == number
    assert alice.klines(SYMBOL, "1m")[-1][4] == "50000.00000000"
    assert alice.ui_klines(SYMBOL, "1h")[-1][4] == "50000.00000000"
    assert float(alice.avg_price(SYMBOL)["price"]) > 0
    assert alice.ticker_24hr(SYMBOL)["lastPrice"] == "50000.00000000"
    assert [one["symbol"] for one in alice.ticker_price(symbols=["BTCUSDT", "ETHUSDT"])] == ["BTCUSDT", "ETHUSDT"]
    assert alice.book_ticker(SYMBOL)["symbol"] == SYMBOL
    assert alice.rolling_window_ticker(SYMBOL)["lastPrice"] == "50000.00000000"
    assert alice.trading_day_ticker(SYMBOL)["lastPrice"] == "50000.00000000"
    assert {one["asset"] for one in alice.account()["balances"]} == {"BTC", "ETH", "USDT"}
    assert alice.my_trades(SYMBOL)[-1]["id"] == number
    assert alice.get_orders(SYMBOL)[-1]["status"] == "FILLED"
    assert alice.get_order_rate_limit()
    assert alice.query_commission_rates(SYMBOL)["symbol"] == SYMBOL
    assert alice.query_prevented_matches(SYMBOL, preventedMatchId=1) == []


def check_refusals(alice: Spot, _bob: Spot) -> None:
    def order(**change: Any) -> Callable[[], Any]:
        return lambda: alice.new_order(**{**LIMIT, "quantity": "0.01", "price": "40000", **change})

    assert refused(order(quantity="5000")) == (400, -2010, "Account has insufficient balance for requested action.")
    assert refused(order(symbol="NOPE")) == (400, -1121, "Invalid symbol.")
    assert refused(order(quantity="0.0001")) == (400, -1013, "Filter failure: NOTIONAL")
    assert refused(lambda: alice.cancel_order(SYMBOL, orderId=999_999_999)) == (400, -2011, "Unknown order sent.")
    assert refused(lambda: alice.get_order(SYMBOL, orderId=999_999_999)) == (400, -2013, "Order does not exist.")
    stranger = Spot(api_key=KEYS["alice"][0], api_secret="wrong", base_url=f"http://{ADDRESS}")
    assert refused(stranger.account)[:2] == (400, -1022)


def check_market_streams(alice: Spot, bob: Spot) -> None:
    inbox = Inbox()
    streams = SpotWebsocketStreamClient(stream_url=f"ws://{ADDRESS}", on_message=inbox)
    streams.trade(symbol=SYMBOL, id=1)
    streams.kline(symbol=SYMBOL, interval="1m", id=2)
    streams.diff_book_depth(symbol=SYMBOL, speed=100, id=3)
    streams.subscribe(stream=["btcusdt@bookTicker", "btcusdt@aggTrade"], id=4)
    for number in (1, 2, 3, 4):
        assert inbox.until(lambda message, number=number: message.get("id") == number)["result"] is None
    number = trade(alice, bob)
    wanted = {"trade", "kline", "depthUpdate", "aggTrade"}
    seen: dict[str, Any] = {}

    def all_there(message: Any) -> bool:
        seen[message.get("e", "bookTicker")] = message
        return wanted <= seen.keys()

    inbox.until(all_there)
    assert seen["trade"]["t"] == number
    streams.stop()


def check_user_data_by_listen_key(alice: Spot, _bob: Spot) -> None:
    """This library's only way to its own events; retired on the real exchange."""
    inbox = Inbox()
    key = alice.new_listen_key()["listenKey"]
    alice.renew_listen_key(key)
    streams = SpotWebsocketStreamClient(stream_url=f"ws://{ADDRESS}", on_message=inbox)
    streams.user_data(listen_key=key, id=1)
    inbox.until(lambda message: message.get("id") == 1)
    placed = alice.new_order(**LIMIT, quantity="0.01", price="40000")
    report = inbox.until(lambda message: message.get("e") == "executionReport")
    assert (report["i"], report["x"]) == (placed["orderId"], "NEW")
    assert inbox.until(lambda message: message.get("e") == "outboundAccountPosition")["B"][0]["a"] == "USDT"
    streams.stop()
    alice.close_listen_key(key)


def check_websocket_api(alice: Spot, bob: Spot) -> None:
    inbox = Inbox()
    key, secret = KEYS["alice"]
    api = SpotWebsocketAPIClient(
        stream_url=f"ws://{ADDRESS}/ws-api/v3", api_key=key, api_secret=secret, on_message=inbox
    )
    numbers = iter(range(1, 1000))

    def call(method: str, **arguments: Any) -> Any:
        request_id = f"call-{next(numbers)}"
        getattr(api, method)(id=request_id, **arguments)
        answer = inbox.until(lambda message: message.get("id") == request_id)
        return answer.get("result", answer.get("error"))

    placed = call("new_order", **LIMIT, quantity=0.01, price=40_000, newOrderRespType="RESULT")
    assert (placed["status"], placed["price"]) == ("NEW", "40000.00000000")
    assert call("get_order", symbol=SYMBOL, orderId=placed["orderId"])["status"] == "NEW"
    assert [order["orderId"] for order in call("get_open_orders", symbol=SYMBOL)] == [placed["orderId"]]
    replaced = call(
        "cancel_replace_order", symbol=SYMBOL, cancelReplaceMode="STOP_ON_FAILURE", side="BUY", type="LIMIT",
        timeInForce="GTC", quantity=0.02, price=41_000, cancelOrderId=placed["orderId"],
    )  # fmt: skip
    new = replaced["newOrderResponse"]["orderId"]
    assert call("cancel_order", symbol=SYMBOL, orderId=new)["status"] == "CANCELED"
    refusal = call("cancel_order", symbol=SYMBOL, orderId=new)
    assert refusal == {"code": -2011, "msg": "Unknown order sent."}
    number = trade(alice, bob)
    assert call("recent_trades", symbol=SYMBOL)[-1]["id"] == number
    assert call("my_trades", symbol=SYMBOL)[-1]["id"] == number
    assert call("account")["canTrade"]
    assert call("order_book", symbol=SYMBOL)["lastUpdateId"] > 0
    assert call("server_time")["serverTime"] > 0
    assert call("ping_connectivity") == {}
    api.stop()


CHECKS = (
    check_orders, check_reads, check_refusals, check_market_streams, check_user_data_by_listen_key, check_websocket_api,
)  # fmt: skip


def main() -> int:
    failed = 0
    alice, bob = client("alice"), client("bob")
    for check in CHECKS:
        found = ""
        try:
            check(alice, bob)
        except Exception:
            failed, found = failed + 1, traceback.format_exc()
        leave(alice, bob)
        print(json.dumps({"check": check.__name__, "fault": found}), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
