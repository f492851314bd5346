# SPDX-License-Identifier: Apache-2.0
"""unicorn-binance-websocket-api over real sockets: streams, the user's own, orders and reads by its WebSocket API.

By the README's snippet. The library runs threads of its own; one manager serves the whole module.
"""

from __future__ import annotations

import itertools
import json
import queue
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.clients.pointing import point_python_binance, unicorn
from tests.serving import ServerProcess, key_secret, key_text

pytest.importorskip(
    "unicorn_binance_websocket_api", reason="pip install unicorn-binance-websocket-api (make .venv/installed-test)"
)
binance = pytest.importorskip("binance")
pytestmark = pytest.mark.filterwarnings("default")
SYMBOL = "BTCUSDT"
PATIENCE_S = 20


class Inbox:
    """What a stream's callback was given, in order."""

    def __init__(self) -> None:
        self.messages: queue.Queue[Any] = queue.Queue()

    def __call__(self, data: Any) -> None:
        self.messages.put(json.loads(data) if isinstance(data, str | bytes) else data)

    def until(self, good: Callable[[Any], bool]) -> Any:
        """The first message that is good."""
        deadline = time.monotonic() + PATIENCE_S
        passed: list[Any] = []
        while (left := deadline - time.monotonic()) > 0:
            try:
                passed.append(self.messages.get(timeout=left))
            except queue.Empty:
                break
            if good(passed[-1]):
                return passed[-1]
        raise AssertionError(f"not in {passed}")


@pytest.fixture(scope="module", name="manager")
def make_manager(server: ServerProcess) -> Iterator[Any]:
    manager = unicorn(f"{server.host}:{server.port}")
    yield manager
    manager.stop_manager()


@pytest.fixture(name="rest")
def make_rest(address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Clients by REST, for the other sides."""
    point_python_binance(address, monkeypatch.setattr)
    made: list[Any] = []

    def rest(name: str) -> Any:
        made.append(binance.Client(key_text(name), key_secret(name)))
        return made[-1]

    yield rest
    for client in made:
        if client.get_open_orders(symbol=SYMBOL):
            client.cancel_all_open_orders(symbol=SYMBOL)
        client.close_connection()


@pytest.fixture(name="bob")
def make_bob(rest: Callable[[str], Any]) -> Any:
    return rest("bob")


@pytest.fixture(name="trade")
def make_trade(rest: Callable[[str], Any], bob: Any) -> Callable[[], int]:
    """A trade at 50000 between bob and dave; the trade's number."""
    dave = rest("dave")

    def trade() -> int:
        dave.order_limit_sell(symbol=SYMBOL, quantity="0.01", price="50000")
        return int(bob.order_limit_buy(symbol=SYMBOL, quantity="0.01", price="50000")["fills"][0]["tradeId"])

    return trade


def running(manager: Any, stream: str) -> None:
    """Connected and subscribed."""
    assert manager.wait_till_stream_has_started(stream, timeout=PATIENCE_S)
    time.sleep(0.5)  # the library sends its SUBSCRIBE after it says that the stream has started


def test_market_streams(manager: Any, bob: Any, trade: Callable[[], int]) -> None:
    inbox = Inbox()
    channels = ["trade", "aggTrade", "depth@100ms", "kline_1m", "bookTicker", "miniTicker", "ticker", "depth5"]
    stream = manager.create_stream(channels, ["btcusdt", "ethusdt"], process_stream_data=inbox)
    running(manager, stream)
    number = trade()
    bob.order_limit_sell(symbol=SYMBOL, quantity="0.02", price="51000")
    wanted = {f"btcusdt@{channel}" for channel in channels}
    seen: dict[str, Any] = {}

    def all_there(message: Any) -> bool:
        if "stream" in message:
            seen[message["stream"]] = message["data"]
        return wanted <= seen.keys() and seen["btcusdt@ticker"]["n"] > 0 and "k" in seen["btcusdt@kline_1m"]

    inbox.until(all_there)
    assert seen["btcusdt@trade"]["t"] == number
    assert seen["btcusdt@kline_1m"]["k"]["c"] == "50000.00000000"
    assert seen["btcusdt@ticker"]["c"] == seen["btcusdt@miniTicker"]["c"] == "50000.00000000"
    assert manager.unsubscribe_from_stream(stream, markets="ethusdt")
    assert manager.subscribe_to_stream(stream, channels="avgPrice")
    time.sleep(0.5)
    trade()
    inbox.until(lambda message: message.get("stream") == "btcusdt@avgPrice")
    manager.stop_stream(stream)


def test_streams_of_all_markets(manager: Any, trade: Callable[[], int]) -> None:
    inbox = Inbox()
    stream = manager.create_stream(["arr"], ["!miniTicker"], process_stream_data=inbox)
    running(manager, stream)
    trade()
    message = inbox.until(lambda message: isinstance(message, list))  # it opens /ws/!miniTicker@arr: no wrapper
    assert [(one["s"], one["c"]) for one in message] == [(SYMBOL, "50000.00000000")]
    manager.stop_stream(stream)


def test_user_data(manager: Any, bob: Any) -> None:
    inbox = Inbox()
    stream = manager.create_stream(
        ["arr"], ["!userData"], api_key=key_text("bob"), api_secret=key_secret("bob"), process_stream_data=inbox
    )
    running(manager, stream)
    placed = bob.order_limit_buy(symbol=SYMBOL, quantity="0.01", price="40000")
    bob.cancel_order(symbol=SYMBOL, orderId=placed["orderId"])

    def event(message: Any) -> Any:
        return message.get("event", message)

    report = event(inbox.until(lambda message: event(message).get("e") == "executionReport"))
    assert (report["i"], report["x"], report["X"]) == (placed["orderId"], "NEW", "NEW")
    position = event(inbox.until(lambda message: event(message).get("e") == "outboundAccountPosition"))
    assert [balance["a"] for balance in position["B"]] == ["USDT"]
    ended = event(inbox.until(lambda message: event(message).get("x") == "CANCELED"))
    assert (ended["i"], ended["C"]) == (placed["orderId"], placed["clientOrderId"])
    manager.stop_stream(stream)


@pytest.fixture(name="spot")
def make_spot(manager: Any) -> Iterator[Callable[..., Any]]:
    """Calls a method of `manager.api.spot` as alice: the answer's result, or its error.

    By the stream's callback and a request id, never by the library's `return_response`: that one begins to wait after
    it has sent, and waits for ever when the answer is faster.
    """
    inbox, numbers = Inbox(), itertools.count(1)
    stream = manager.create_stream(
        api=True, api_key=key_text("alice"), api_secret=key_secret("alice"), process_stream_data=inbox
    )
    running(manager, stream)

    def call(method: str, **arguments: Any) -> Any:
        request_id = f"unicorn-{next(numbers)}"
        assert getattr(manager.api.spot, method)(stream_id=stream, request_id=request_id, **arguments)
        answer = inbox.until(lambda message: message.get("id") == request_id)
        return answer["error"] if "error" in answer else answer["result"]

    yield call
    manager.stop_stream(stream)


ORDER: dict[str, Any] = {"symbol": SYMBOL, "side": "BUY", "order_type": "LIMIT", "time_in_force": "GTC"}


def test_orders_by_websocket(spot: Callable[..., Any], bob: Any) -> None:
    placed = spot("create_order", **ORDER, quantity=0.01, price=40_000.0, new_order_resp_type="FULL")
    assert (placed["status"], placed["price"]) == ("NEW", "40000.00000000")
    assert spot("get_order", symbol=SYMBOL, order_id=placed["orderId"])["status"] == "NEW"
    assert [order["orderId"] for order in spot("get_open_orders", symbol=SYMBOL)] == [placed["orderId"]]
    replaced = spot(
        "cancel_and_replace_order", **ORDER, quantity=0.02, price=41_000.0, cancel_order_id=placed["orderId"]
    )
    # The library writes "NewClientOrderId" there; a parameter that does not exist is refused, and nothing is cancelled.
    assert replaced["code"] == -1104
    assert spot("cancel_order", symbol=SYMBOL, order_id=placed["orderId"])["status"] == "CANCELED"
    bob.order_limit_sell(symbol=SYMBOL, quantity="0.05", price="50000")
    bought = spot("create_order", symbol=SYMBOL, side="BUY", order_type="MARKET", quantity=0.01)
    assert (bought["status"], bought["executedQty"]) == ("FILLED", "0.01000000")
    for price in (38_000.0, 39_000.0):
        spot("create_order", **ORDER, quantity=0.01, price=price)
    assert len(spot("cancel_open_orders", symbol=SYMBOL)) == 2
    assert spot("create_test_order", **ORDER, quantity=0.01, price=40_000.0) == {}


def test_reads_by_websocket(spot: Callable[..., Any], bob: Any, trade: Callable[[], int]) -> None:
    number = trade()
    bob.order_limit_sell(symbol=SYMBOL, quantity="0.02", price="51000")
    assert spot("ping") == {}
    assert spot("get_server_time")["serverTime"] > 0
    assert [market["symbol"] for market in spot("get_exchange_info", symbols=["BTCUSDT", "ETHUSDT"])["symbols"]] == [
        "BTCUSDT", "ETHUSDT",
    ]  # fmt: skip
    assert spot("get_order_book", symbol=SYMBOL, limit=5)["asks"] == [["51000.00000000", "0.02000000"]]
    assert spot("get_recent_trades", symbol=SYMBOL, limit=1)[0]["id"] == number
    assert spot("get_historical_trades", symbol=SYMBOL, from_id=number)[0]["id"] == number
    assert spot("get_aggregate_trades", symbol=SYMBOL)[-1]["l"] == number
    assert spot("get_klines", symbol=SYMBOL, interval="1m")[-1][4] == "50000.00000000"
    assert spot("get_ui_klines", symbol=SYMBOL, interval="1h")[-1][4] == "50000.00000000"
    assert spot("get_current_average_price", symbol=SYMBOL)["mins"] >= 1
    assert {balance["asset"] for balance in spot("get_account_status")["balances"]} == {"BTC", "ETH", "USDT"}
    assert spot("get_unfilled_order_count")


def test_refusals_by_websocket(spot: Callable[..., Any]) -> None:
    refused = spot("create_order", **ORDER, quantity=5_000.0, price=50_000.0)
    assert refused == {"code": -2010, "msg": "Account has insufficient balance for requested action."}
    assert spot("cancel_order", symbol=SYMBOL, order_id=999_999_999) == {"code": -2011, "msg": "Unknown order sent."}
    assert spot("get_order", symbol=SYMBOL, order_id=999_999_999) == {"code": -2013, "msg": "Order does not exist."}
    assert spot("create_order", **{**ORDER, "side": "BOTH"}, quantity=1.0, price=1.0)["code"] == -1117
