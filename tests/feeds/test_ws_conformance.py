# SPDX-License-Identifier: Apache-2.0
"""Every method of the WebSocket API against the REST endpoint that does the same: results, errors, statuses, weights.

`ws_methods.json` lists the methods of Binance's own documents (2026) with their parameters and result fields; every one
of P0, P1 and P2 is walked here, but those of order lists, which this version does not have.
"""

from __future__ import annotations

import hmac
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.feeds.door import Http, Venue
from tests.feeds.raw import RawClient
from tests.serving import key_secret, key_text

METHODS = {one["method"]: one for one in json.loads(Path(__file__).with_name("ws_methods.json").read_text("utf-8"))}
WANTED = [name for name, one in METHODS.items() if one["need"] in ("P0", "P1", "P2") and "rderList" not in name]
# What is there only for orders of some kinds, or only at times.
CONDITIONAL = {
    "trailingDelta", "trailingTime", "icebergQty", "strategyId", "strategyType", "stopPrice", "preventedMatchId",
    "preventedQuantity", "makerPreventedQuantity", "sors",
}  # fmt: skip
CLOCKS = {"serverTime", "closeTime", "openTime", "updateTime", "transactTime", "workingTime"}
NAMES = {"orderId", "clientOrderId", "origClientOrderId", "tradeId", "executionId", "time", "count"}

# WebSocket API method -> REST method, path, parameters (ORDER: the id of an order that is there).
READS: dict[str, tuple[str, dict[str, Any]]] = {
    "ping": ("ping", {}),
    "time": ("time", {}),
    "exchangeInfo": ("exchangeInfo", {"symbols": '["BTCUSDT","ETHUSDT"]'}),
    "depth": ("depth", {"symbol": "BTCUSDT", "limit": 5}),
    "trades.recent": ("trades", {"symbol": "BTCUSDT", "limit": 3}),
    "trades.historical": ("historicalTrades", {"symbol": "BTCUSDT", "fromId": 1}),
    "trades.aggregate": ("aggTrades", {"symbol": "BTCUSDT", "fromId": 0}),
    "klines": ("klines", {"symbol": "BTCUSDT", "interval": "1M", "limit": 1}),
    "uiKlines": ("uiKlines", {"symbol": "BTCUSDT", "interval": "1M", "timeZone": "8"}),
    "avgPrice": ("avgPrice", {"symbol": "BTCUSDT"}),
    "ticker.24hr": ("ticker/24hr", {"symbol": "BTCUSDT"}),
    "ticker.tradingDay": ("ticker/tradingDay", {"symbol": "BTCUSDT", "timeZone": "-3:30"}),
    "ticker": ("ticker", {"symbol": "BTCUSDT", "windowSize": "2h"}),
    "ticker.price": ("ticker/price", {}),
    "ticker.book": ("ticker/bookTicker", {"symbol": "BTCUSDT"}),
    "account.status": ("account", {"omitZeroBalances": "true"}),
    "account.commission": ("account/commission", {"symbol": "BTCUSDT"}),
    "account.rateLimits.orders": ("rateLimit/order", {}),
    "order.status": ("order", {"symbol": "BTCUSDT", "orderId": "ORDER"}),
    "openOrders.status": ("openOrders", {"symbol": "BTCUSDT"}),
    "allOrders": ("allOrders", {"symbol": "BTCUSDT", "limit": 4}),
    "myTrades": ("myTrades", {"symbol": "BTCUSDT"}),
    "myPreventedMatches": ("myPreventedMatches", {"symbol": "BTCUSDT", "orderId": "PREVENTED"}),
    "order.amendments": ("order/amendments", {"symbol": "BTCUSDT", "orderId": "AMENDED"}),
    "myFilters": ("myFilters", {"symbol": "BTCUSDT"}),
}
LIMIT = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.1", "price": "100"}
COMMANDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "order.place": ("POST", "order", LIMIT),
    "order.test": ("POST", "order/test", LIMIT | {"computeCommissionRates": "true"}),
    "order.cancel": ("DELETE", "order", {"symbol": "BTCUSDT", "orderId": "FRESH"}),
    "order.cancelReplace": (
        "POST", "order/cancelReplace",
        LIMIT | {"cancelReplaceMode": "STOP_ON_FAILURE", "cancelOrderId": "FRESH", "price": "99"},
    ),
    "order.amend.keepPriority": (
        "PUT", "order/amend/keepPriority", {"symbol": "BTCUSDT", "orderId": "FRESH", "newQty": "0.06"},
    ),
    "openOrders.cancelAll": ("DELETE", "openOrders", {"symbol": "ETHUSDT", "orderId": "FRESH_ETH"}),
}  # fmt: skip
OF_THE_CONNECTION = {
    "session.logon", "session.status", "session.logout", "session.subscriptions", "userDataStream.subscribe",
    "userDataStream.subscribe.signature", "userDataStream.unsubscribe", "userDataStream.start", "userDataStream.ping",
    "userDataStream.stop",
}  # fmt: skip


def test_every_method_that_is_wanted_is_tried_here_or_has_tests_of_its_own() -> None:
    assert set(WANTED) == READS.keys() | COMMANDS.keys() | OF_THE_CONNECTION


class Both:
    """One account on both APIs of one exchange, with a little history."""

    def __init__(self, venue: Venue) -> None:
        self.venue = venue
        self.http: Http
        self.socket: RawClient
        self.numbers: dict[str, int] = {}
        self.asked = 0

    async def open(self) -> Both:
        self.http = await Http(self.venue.port, "alice").open()
        self.socket = await RawClient.connect(self.venue.port, "/ws-api/v3")
        bob = await Http(self.venue.port, "bob").open()
        await bob.limit("SELL", 20_000, 0.01)
        await bob.limit("SELL", 20_001, 0.01)
        await self.http.limit("BUY", 20_001, 0.015)
        self.numbers["ORDER"] = (await self.http.limit("BUY", 19_000, 0.02, icebergQty="0.01"))["orderId"]
        self.numbers["AMENDED"] = (await self.http.limit("BUY", 18_000, 0.02))["orderId"]
        await self.rest("PUT", "order/amend/keepPriority", symbol="BTCUSDT", orderId="AMENDED", newQty="0.01")
        await self.http.limit("SELL", 30_000, 0.01)
        taker = await self.http.limit("BUY", 30_000, 0.02, selfTradePreventionMode="EXPIRE_TAKER")
        self.numbers["PREVENTED"] = taker["orderId"]
        bob.close()
        return self

    def close(self) -> None:
        self.http.close()
        self.socket.close()

    async def fresh(self) -> None:
        """Orders that the next command may change."""
        self.numbers["FRESH"] = (await self.http.limit("BUY", 90, 0.1))["orderId"]
        order = LIMIT | {"symbol": "ETHUSDT"}
        self.numbers["FRESH_ETH"] = (await self.http.signed("POST", "/api/v3/order", **order))["orderId"]

    def real(self, parameters: dict[str, Any]) -> dict[str, Any]:
        return {name: self.numbers.get(str(value), value) for name, value in parameters.items()}

    async def rest(self, method: str, path: str, is_signed: bool = True, **parameters: Any) -> Any:
        ask = self.http.signed if is_signed else self.http.ask
        return await ask(method, f"/api/v3/{path}", **self.real(parameters))

    async def ws(self, method: str, **parameters: Any) -> Any:
        """As text, as clients send it; signed where the method asks for that."""
        parameters = self.real(parameters)
        if METHODS[method]["security"] != "NONE":
            parameters |= {"apiKey": key_text("alice"), "timestamp": int(time.time() * 1000)}
            payload = "&".join(
                f"{name}={text(parameters[name])}" for name in sorted(parameters) if parameters[name] is not None
            )
            parameters["signature"] = hmac.digest(key_secret("alice").encode(), payload.encode(), "sha256").hex()
        self.asked += 1
        self.socket.text({"id": self.asked, "method": method, "params": parameters})
        answer = await self.socket.message()
        assert answer["id"] == self.asked
        return answer


def text(value: Any) -> str:
    return json.dumps(value).strip('"')


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def both() -> AsyncIterator[Both]:
    venue = await Venue().start()
    pair = await Both(venue).open()
    RawClient.opened.clear()  # what closes clients behind every test must leave these two
    yield pair
    pair.close()
    assert venue.door.faults() == 0
    await venue.stop()


def without(value: Any, names: set[str]) -> Any:
    if isinstance(value, dict):
        return {name: without(item, names) for name, item in value.items() if name not in names}
    if isinstance(value, list):
        return [without(item, names) for item in value]
    return value


def check_fields(method: str, result: Any) -> None:
    """Binance's fields are there, in an object or in each one of an array."""
    is_array = METHODS[method]["kind"].startswith("array")
    assert isinstance(result, list) == is_array or not METHODS[method]["fields"] or method.startswith("ticker")
    fields = set(METHODS[method]["fields"]) - CONDITIONAL
    for one in result if isinstance(result, list) else [result]:
        if fields:
            assert fields <= one.keys(), (method, fields - one.keys())


@pytest.mark.parametrize("method", READS)
@pytest.mark.asyncio(loop_scope="module")
async def test_a_read_gives_what_rest_gives(both: Both, method: str) -> None:
    path, parameters = READS[method]
    is_signed = METHODS[method]["security"] != "NONE"
    rest = await both.rest("GET", path, is_signed, **parameters)
    answer = await both.ws(method, **parameters)
    assert answer["status"] == 200, answer
    assert without(answer["result"], CLOCKS) == without(rest, CLOCKS)
    assert answer["result"] != []
    check_fields(method, answer["result"])
    assert [one["rateLimitType"] for one in answer["rateLimits"]] == ["REQUEST_WEIGHT"]


@pytest.mark.parametrize("method", READS)
@pytest.mark.asyncio(loop_scope="module")
async def test_numbers_words_lists_and_nulls_are_taken_as_json_has_them(both: Both, method: str) -> None:
    _, parameters = READS[method]
    typed = {name: json.loads(value) if str(value)[:1] in "[t" else value for name, value in parameters.items()}
    typed = {name: int(value) if str(value).isdigit() else value for name, value in both.real(typed).items()}
    plain = await both.ws(method, **parameters)
    answer = await both.ws(method, **typed)
    assert without(answer["result"], CLOCKS) == without(plain["result"], CLOCKS)
    nulls = await both.ws(method, **{"fromId": None, "limit": None, "symbolStatus": None} | parameters)
    assert without(nulls["result"], CLOCKS) == without(plain["result"], CLOCKS)


@pytest.mark.parametrize("method", COMMANDS)
@pytest.mark.asyncio(loop_scope="module")
async def test_a_command_gives_what_rest_gives(both: Both, method: str) -> None:
    rest_method, path, parameters = COMMANDS[method]
    if method == "openOrders.cancelAll":
        parameters = {"symbol": "ETHUSDT"}
    await both.rest("DELETE", "openOrders", symbol="ETHUSDT")
    await both.fresh()
    rest = await both.rest(rest_method, path, **parameters)
    await both.rest("DELETE", "openOrders", symbol="ETHUSDT")
    await both.fresh()
    answer = await both.ws(method, **parameters)
    assert answer["status"] == 200, answer
    volatile = CLOCKS | NAMES
    assert without(answer["result"], volatile) == without(rest, volatile)
    check_fields(method, answer["result"])
    limits = [one["rateLimitType"] for one in answer["rateLimits"]]
    counted = method in ("order.place", "order.cancelReplace")
    assert limits == (["ORDERS", "ORDERS", "REQUEST_WEIGHT"] if counted else ["REQUEST_WEIGHT"])


@pytest.mark.parametrize("method", ["order.place", "order.cancel", "openOrders.cancelAll", "order.cancelReplace"])
@pytest.mark.asyncio(loop_scope="module")
async def test_orders_cost_weight_only_when_they_fail(both: Both, method: str) -> None:
    _, _, parameters = COMMANDS[method]
    if method == "openOrders.cancelAll":
        parameters = {"symbol": "ETHUSDT"}
    await both.fresh()
    before = (await both.ws("ping"))["rateLimits"][-1]["count"]
    good = (await both.ws(method, **parameters))["rateLimits"][-1]["count"]
    bad = await both.ws(method, **parameters | {"symbol": "NONE"})
    if before < good or good < bad["rateLimits"][-1]["count"] - 1:
        pytest.skip("the minute ended meanwhile")
    assert (good, bad["rateLimits"][-1]["count"]) == (before, before + 1)
    assert (bad["status"], bad["error"]["code"]) == (400, -1121)


REFUSED: list[tuple[str, str, str, dict[str, Any]]] = [
    ("order.place", "POST", "order", LIMIT | {"symbol": "NONE"}),
    ("order.place", "POST", "order", LIMIT | {"price": "100.001"}),
    ("order.place", "POST", "order", LIMIT | {"quantity": "0"}),
    ("order.place", "POST", "order", LIMIT | {"quantity": "1000000"}),
    ("order.place", "POST", "order", LIMIT | {"quantity": "0.00001"}),
    ("order.place", "POST", "order", LIMIT | {"side": "buy"}),
    ("order.place", "POST", "order", LIMIT | {"foo": "bar"}),
    ("order.place", "POST", "order", LIMIT | {"price": "1000000", "quantity": "1000"}),
    ("order.cancel", "DELETE", "order", {"symbol": "BTCUSDT", "orderId": "987654"}),
    ("order.cancel", "DELETE", "order", {"symbol": "BTCUSDT"}),
    ("order.status", "GET", "order", {"symbol": "BTCUSDT", "orderId": "987654"}),
    ("openOrders.cancelAll", "DELETE", "openOrders", {"symbol": "ETHUSDT"}),
    ("order.cancelReplace", "POST", "order/cancelReplace",
     LIMIT | {"cancelReplaceMode": "STOP_ON_FAILURE", "cancelOrderId": "987654"}),
    ("order.cancelReplace", "POST", "order/cancelReplace",
     LIMIT | {"cancelReplaceMode": "ALLOW_FAILURE", "cancelOrderId": "987654"}),
    ("order.cancelReplace", "POST", "order/cancelReplace",
     LIMIT | {"cancelReplaceMode": "STOP_ON_FAILURE", "cancelOrderId": "FRESH", "quantity": "900", "price": "900000"}),
    ("order.amend.keepPriority", "PUT", "order/amend/keepPriority",
     {"symbol": "BTCUSDT", "orderId": "ORDER", "newQty": "5"}),
    ("myTrades", "GET", "myTrades", {"symbol": "BTCUSDT", "fromId": "1", "startTime": "5"}),
    ("allOrders", "GET", "allOrders", {"symbol": "BTCUSDT", "limit": "x"}),
    ("klines", "GET", "klines", {"symbol": "BTCUSDT", "interval": "7m"}),
    ("depth", "GET", "depth", {"symbol": "BTCUSDT", "symbolStatus": "HALT"}),
    ("ticker", "GET", "ticker", {}),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(REFUSED)))
@pytest.mark.asyncio(loop_scope="module")
async def test_a_refusal_is_that_of_rest(both: Both, number: int) -> None:
    method, rest_method, path, parameters = REFUSED[number]
    await both.fresh()
    await both.rest("DELETE", "openOrders", symbol="ETHUSDT")
    is_signed = METHODS[method]["security"] != "NONE"
    rest = await both.rest(rest_method, path, is_signed, **parameters)
    status = both.http.status
    if method == "order.cancelReplace" and rest["code"] == -2021:
        await both.rest("DELETE", "openOrders", symbol="BTCUSDT")
        await both.fresh()
    answer = await both.ws(method, **parameters)
    if rest["code"] == -1104:  # the key is a parameter here
        rest["msg"] = rest["msg"].replace("'9'", "'10'").replace("'8'", "'9'")
    volatile = CLOCKS | NAMES
    assert without(answer["error"], volatile) == without(rest, volatile)
    assert answer["status"] == status
    assert "result" not in answer
