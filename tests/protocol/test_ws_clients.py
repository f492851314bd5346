# SPDX-License-Identifier: Apache-2.0
"""WebSocket answers and events in the eyes of their readers: the SDK's WS-API models, ccxt.pro's parsers."""

from typing import Any

import ccxt.pro
import orjson
import pytest

from bidhall.protocol import account_answers, events, market_answers, order_answers, user_events, ws_api
from tests.protocol.clients import checked
from tests.protocol.places import ASSETS, LIMIT, MS, Place

LIMITS = orjson.dumps(
    [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000, "count": 7}]
)
API = "websocket_api"


def answer(result: bytes) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(ws_api.answer(b'"one"', result, LIMITS))
    return found


def test_answers_of_the_ws_api() -> None:
    place = Place()
    placement, applied = place.place_raw(LIMIT + "side=BUY&quantity=1&price=100")
    placed = order_answers.placed(placement, applied.events, applied.time_ns, MS)
    order = order_answers.order(place.market, place.order(1), MS)
    account = account_answers.account(
        1, place.exchange.account(1), place.exchange.balances(1), ASSETS, place.time_ns, MS
    )  # fmt: skip
    depth = market_answers.depth(place.market, *place.exchange.depth(1, 10))
    for result, module in (
        (b"{}", "ping_response"),
        (b'{"serverTime":1700000000000}', "time_response"),
        (placed, "order_place_response"),
        (order, "order_status_response"),
        (account, "account_status_response"),
        (depth, "depth_response"),
    ):
        checked(answer(result), module, API)
    # the SDK's model of this answer knows no rateLimits, though Binance sends them
    bare = orjson.loads(ws_api.answer(b'"one"', b'{"subscriptionId":0}'))
    checked(bare, "user_data_stream_subscribe_signature_response", API)
    checked(orjson.loads(placed), "order_place_response_result", API, without=("fills",))
    checked(orjson.loads(order), "order_status_response_result", API)
    checked(orjson.loads(account), "account_status_response_result", API)


@pytest.fixture
def exchange() -> Any:
    info = orjson.loads(market_answers.exchange_info([Place().market], 0, MS, []))
    exchange = ccxt.pro.binance({"options": {"defaultType": "spot"}})
    exchange.options |= {"crossMarginPairsData": [], "isolatedMarginPairsData": []}
    exchange.set_markets([exchange.parse_market(symbol) for symbol in info["symbols"]])
    return exchange


def test_ccxt_pro_reads_the_events(exchange: Any) -> None:
    place = Place()
    market = exchange.market("BTC/USDT")
    place.place(LIMIT + "side=SELL&quantity=1&price=100", account=2)
    _, applied = place.place_raw(LIMIT + "side=BUY&quantity=0.5&price=100&newClientOrderId=mine")
    fill = applied.events[1]
    order = applied.done[fill.order_id]
    raw = user_events.execution_report(place.market, fill, order, "mine", "", applied.time_ns, MS)
    parsed = exchange.parse_ws_order(orjson.loads(raw), market)
    assert (parsed["id"], parsed["clientOrderId"], parsed["status"], parsed["filled"], parsed["cost"]) == (
        str(fill.order_id), "mine", "closed", 0.5, 50.0,
    )  # fmt: skip
    trade = exchange.parse_ws_trade(orjson.loads(raw), market)
    assert (trade["id"], trade["price"], trade["amount"], trade["fee"]) == (
        "1", 100.0, 0.5, {"cost": 0.0005, "currency": "BTC"},
    )  # fmt: skip
    row = (1, applied.time_ns, 10_000, 50_000, False)
    public = exchange.parse_ws_trade(orjson.loads(events.trade(place.market, row, applied.time_ns, MS)), market)
    assert (public["id"], public["side"], public["price"], public["timestamp"]) == (
        "1",
        "buy",
        100.0,
        applied.time_ns // MS,
    )
    ticker = (0, applied.time_ns, 9_000, 11_000, 8_000, 10_000, 50_000, 50_000, 5_000_000_000, 1, 1, 1, 9_000)
    mini = orjson.loads(events.mini_ticker(place.market, ticker, applied.time_ns, MS))
    found = exchange.parse_ws_ticker(mini, "spot")
    assert (found["symbol"], found["last"], found["high"], found["baseVolume"]) == ("BTC/USDT", 100.0, 110.0, 0.5)
