# SPDX-License-Identifier: Apache-2.0
"""Orders from the request to the answer, over real sockets: place, test, cancel, cancel all, amend, and the reads after
each. What the kernel decides is tested with the kernel; here it is what the client sees.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.api.venue import ALICE, CAROL, Client, Venue


def only(body: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: body.get(name) for name in names}


async def test_a_limit_order_rests_and_is_found_everywhere(venue: Venue, alice: Client) -> None:
    answer = await alice.place(newClientOrderId="mine-1")
    assert answer.status == 200
    body = answer.json
    assert list(body) == [
        "symbol", "orderId", "orderListId", "clientOrderId", "transactTime", "price", "origQty", "executedQty",
        "origQuoteOrderQty", "cummulativeQuoteQty", "status", "timeInForce", "type", "side", "workingTime", "fills",
        "selfTradePreventionMode",
    ]  # fmt: skip
    assert only(body, "symbol", "clientOrderId", "price", "origQty", "executedQty", "status", "timeInForce",
    "fills") == {
        "symbol": "BTCUSDT", "clientOrderId": "mine-1", "price": "20000.00000000", "origQty": "0.01000000",
        "executedQty": "0.00000000", "status": "NEW", "timeInForce": "GTC", "fills": [],
    }  # fmt: skip
    assert answer.headers["x-mbx-order-count-10s"] == "1"
    assert answer.headers["x-mbx-order-count-1d"] == "1"
    assert answer.headers["content-type"] == "application/json;charset=UTF-8"
    order_id = body["orderId"]
    for parameters in ({"orderId": order_id}, {"origClientOrderId": "mine-1"}):
        found = (await alice.ask("GET", "order", symbol="BTCUSDT", **parameters)).json
        assert only(found, "orderId", "status", "isWorking", "workingTime") == {
            "orderId": order_id, "status": "NEW", "isWorking": True, "workingTime": body["transactTime"],
        }  # fmt: skip
    for path, parameters in (
        ("openOrders", {}),
        ("openOrders", {"symbol": "BTCUSDT"}),
        ("allOrders", {"symbol": "BTCUSDT"}),
    ):
        rows = (await alice.ask("GET", path, **parameters)).json
        assert [row["orderId"] for row in rows] == [order_id]
    depth = (await alice.get("depth", symbol="BTCUSDT")).json
    assert depth["bids"] == [["20000.00000000", "0.01000000"]]
    account = (await alice.ask("GET", "account")).json
    (usdt,) = [row for row in account["balances"] if row["asset"] == "USDT"]
    assert (usdt["free"], usdt["locked"]) == ("9999800.00000000", "200.00000000")


async def test_a_trade_is_the_same_for_everybody_who_asks(venue: Venue, alice: Client, bob: Client) -> None:
    resting = (await alice.place(quantity="0.03")).json
    taken = (await bob.place(side="SELL", type="MARKET", timeInForce=None, price=None, quantity="0.01")).json
    assert only(taken, "status", "executedQty", "cummulativeQuoteQty", "type", "timeInForce", "price") == {
        "status": "FILLED", "executedQty": "0.01000000", "cummulativeQuoteQty": "200.00000000", "type": "MARKET",
        "timeInForce": "GTC", "price": "0.00000000",
    }  # fmt: skip
    (fill,) = taken["fills"]
    assert fill == {
        "price": "20000.00000000", "qty": "0.01000000", "commission": "0.20000000", "commissionAsset": "USDT",
        "tradeId": 1,
    }  # fmt: skip
    (his,) = (await bob.ask("GET", "myTrades", symbol="BTCUSDT")).json
    (hers,) = (await alice.ask("GET", "myTrades", symbol="BTCUSDT", orderId=resting["orderId"])).json
    assert only(his, "id", "price", "qty", "quoteQty", "commission", "commissionAsset", "isBuyer", "isMaker") == {
        "id": 1, "price": "20000.00000000", "qty": "0.01000000", "quoteQty": "200.00000000", "commission": "0.20000000",
        "commissionAsset": "USDT", "isBuyer": False, "isMaker": False,
    }  # fmt: skip
    assert only(hers, "commission", "commissionAsset", "isBuyer", "isMaker") == {
        "commission": "0.00001000", "commissionAsset": "BTC", "isBuyer": True, "isMaker": True,
    }  # fmt: skip
    (trade,) = (await alice.get("trades", symbol="BTCUSDT")).json
    assert only(trade, "id", "price", "qty", "quoteQty", "isBuyerMaker") == {
        "id": 1, "price": "20000.00000000", "qty": "0.01000000", "quoteQty": "200.00000000", "isBuyerMaker": True,
    }  # fmt: skip
    assert (await alice.get("historicalTrades", symbol="BTCUSDT", fromId=1)).json == [trade]
    (whole,) = (await alice.get("aggTrades", symbol="BTCUSDT")).json
    assert only(whole, "a", "p", "q", "f", "l", "m") == {
        "a": 1, "p": "20000.00000000", "q": "0.01000000", "f": 1, "l": 1, "m": True,
    }  # fmt: skip
    assert (await alice.get("ticker/price", symbol="BTCUSDT")).json == {"symbol": "BTCUSDT", "price": "20000.00000000"}
    book = (await alice.get("ticker/bookTicker", symbol="BTCUSDT")).json
    assert (book["bidQty"], book["askPrice"]) == ("0.02000000", "0.00000000")
    day = (await alice.get("ticker/24hr", symbol="BTCUSDT")).json
    assert only(day, "lastPrice", "lastQty", "volume", "count", "firstId", "lastId") == {
        "lastPrice": "20000.00000000", "lastQty": "0.01000000", "volume": "0.01000000", "count": 1, "firstId": 1,
        "lastId": 1,
    }  # fmt: skip
    candle = (await alice.get("klines", symbol="BTCUSDT", interval="1m")).json[-1]
    assert (candle[1], candle[4], candle[5], candle[8]) == ("20000.00000000", "20000.00000000", "0.01000000", 1)
    assert (await alice.get("avgPrice", symbol="BTCUSDT")).json["price"] == "20000.00000000"
    found = (await alice.ask("GET", "order", symbol="BTCUSDT", orderId=resting["orderId"])).json
    assert (found["status"], found["executedQty"]) == ("PARTIALLY_FILLED", "0.01000000")


async def test_a_cancel_answers_with_both_ids_and_the_order_is_found_afterwards(venue: Venue, alice: Client) -> None:
    order = (await alice.place(newClientOrderId="mine")).json
    answer = await alice.ask(
        "DELETE", "order", symbol="BTCUSDT", origClientOrderId="mine", newClientOrderId="the-cancel"
    )
    assert only(answer.json, "origClientOrderId", "clientOrderId", "orderId", "status") == {
        "origClientOrderId": "mine", "clientOrderId": "the-cancel", "orderId": order["orderId"], "status": "CANCELED",
    }  # fmt: skip
    again = await alice.ask("DELETE", "order", symbol="BTCUSDT", orderId=order["orderId"])
    assert (again.status, again.json) == (400, {"code": -2011, "msg": "Unknown order sent."})
    found = (await alice.ask("GET", "order", symbol="BTCUSDT", orderId=order["orderId"])).json
    assert (found["status"], found["clientOrderId"]) == ("CANCELED", "mine")
    assert [row["status"] for row in (await alice.ask("GET", "allOrders", symbol="BTCUSDT")).json] == ["CANCELED"]
    assert (await alice.ask("GET", "openOrders")).json == []


async def test_cancel_all_cancels_one_market_only(venue: Venue, alice: Client) -> None:
    ids = [(await alice.place(price=str(20000 + n))).json["orderId"] for n in range(3)]
    other = (await alice.place(symbol="ETHUSDT", price="1000", quantity="0.1")).json["orderId"]
    answer = await alice.ask("DELETE", "openOrders", symbol="BTCUSDT")
    assert [row["orderId"] for row in answer.json] == ids
    assert {row["status"] for row in answer.json} == {"CANCELED"}
    assert [row["orderId"] for row in (await alice.ask("GET", "openOrders")).json] == [other]
    none = await alice.ask("DELETE", "openOrders", symbol="BTCUSDT")
    assert (none.status, none.json["code"], none.json["msg"]) == (400, -2011, "Unknown order sent.")


async def test_amend_lowers_the_quantity_and_keeps_the_place(venue: Venue, alice: Client, bob: Client) -> None:
    first = (await alice.place(quantity="0.05")).json
    await bob.place(quantity="0.05")
    answer = await alice.ask(
        "PUT", "order/amend/keepPriority", symbol="BTCUSDT", orderId=first["orderId"], newQty="0.02"
    )
    assert answer.status == 200, answer.body
    amended = answer.json["amendedOrder"]
    assert only(amended, "orderId", "qty", "status") == {
        "orderId": first["orderId"],
        "qty": "0.02000000",
        "status": "NEW",
    }
    sold = (await bob.place(side="SELL", quantity="0.02", timeInForce="IOC")).json
    assert sold["status"] == "FILLED"
    assert (await alice.ask("GET", "order", symbol="BTCUSDT", orderId=first["orderId"])).json["status"] == "FILLED"
    same = await bob.ask("PUT", "order/amend/keepPriority", symbol="BTCUSDT", orderId=999_999, newQty="0.02")
    assert same.json["code"] in (-2011, -2013, -2038)


@pytest.mark.parametrize(
    ("parameters", "code", "message"),
    [
        ({"price": "0.001"}, -1013, "Filter failure: PRICE_FILTER"),
        ({"price": "0"}, -1013, "Filter failure: PRICE_FILTER"),
        ({"price": "1000000.01"}, -1013, "Filter failure: PRICE_FILTER"),
        ({"quantity": "0.000001"}, -1013, "Filter failure: LOT_SIZE"),
        ({"quantity": "0.123456789"}, -1111, "Parameter 'quantity' has too much precision."),
        ({"quantity": "9000.1"}, -1013, "Filter failure: LOT_SIZE"),
        ({"quantity": "0.0001", "price": "1"}, -1013, "Filter failure: NOTIONAL"),
        ({"symbol": "NOSUCH"}, -1121, "Invalid symbol."),
        ({"symbol": "ETHBTC", "price": "1", "quantity": "1"}, -2010, "Market is closed."),
        ({"quantity": "8000", "price": "900000"}, -2010, "Account has insufficient balance for requested action."),
        ({"type": "STOP_LOSS_LIMIT"}, -1102,
        "Param 'stopPrice' or 'trailingDelta' must be sent, but both were empty/null!"),
        ({"type": "MARKET", "timeInForce": None, "price": None, "quoteOrderQty": "10"}, -1128, None),
        ({"timeInForce": None}, -1102, "Mandatory parameter 'timeInForce' was not sent, was empty/null, or malformed."),
        ({"type": "MARKET"}, -1106, "Parameter 'timeInForce' sent when not required."),
        ({"side": "HOLD"}, -1117, "Invalid side."),
        ({"type": "HUNCH"}, -1116, "Invalid orderType."),
        ({"timeInForce": "NOW"}, -1115, "Invalid timeInForce."),
        ({"newClientOrderId": "a b"}, -1100, None),
        ({"newClientOrderId": "x" * 37}, -1100, None),
        ({"strategyType": "5"}, -1134, "strategyType was less than 1000000."),
        ({"icebergQty": "0.011"}, -2010, "IcebergQty exceeds QTY."),
        ({"icebergQty": "0.000001"}, -1013, "Filter failure: LOT_SIZE"),
        ({"icebergQty": "0.0001", "quantity": "0.01001"}, -1013, "Filter failure: ICEBERG_PARTS"),
        ({"icebergQty": "0.005", "timeInForce": "IOC"}, -1014, "Unsupported order combination."),
        ({"type": "MARKET", "timeInForce": None, "price": None, "icebergQty": "0.001"}, -1106,
        "Parameter 'icebergQty' sent when not required."),
    ],
)  # fmt: skip
async def test_orders_that_are_refused(
    venue: Venue, alice: Client, parameters: dict[str, Any], code: int, message: str | None
) -> None:
    for path in ("order", "order/test"):
        if path == "order/test" and code == -2010 and "insufficient" in (message or ""):
            continue  # the test does not look at balances: it never reaches the engine
        order = {
            "symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01",
            "price": "20000",
            **parameters,
        }  # fmt: skip
        answer = await alice.ask("POST", path, **{name: value for name, value in order.items() if value is not None})
        assert (answer.status, answer.json["code"]) == (400, code), (path, answer.body)
        assert message is None or answer.json["msg"] == message
        assert "x-mbx-order-count-10s" not in answer.headers
    assert (await alice.ask("GET", "openOrders")).json == []
    assert venue.replica.exchange.open_order_count == 0


async def test_order_test_says_nothing_and_does_nothing(venue: Venue, alice: Client) -> None:
    order = {
        "symbol": "BTCUSDT",
        "side": "BUY",
        "type": "LIMIT",
        "timeInForce": "GTC",
        "quantity": "0.01",
        "price": "2",
    }
    before = venue.replica.exchange.sequence
    assert (await alice.ask("POST", "order/test", **{**order, "price": "20000"})).json == {}
    rates = (await alice.ask("POST", "order/test", **{**order, "price": "20000"}, computeCommissionRates="true")).json
    assert rates["standardCommissionForOrder"] == {"maker": "0.00100000", "taker": "0.00100000"}
    assert venue.replica.exchange.sequence == before


async def test_a_taker_that_cannot_be_filled_expires_with_status_200(venue: Venue, alice: Client, bob: Client) -> None:
    fok = await alice.place(timeInForce="FOK")
    assert (fok.status, fok.json["status"], fok.json["expiryReason"]) == (
        200, "EXPIRED", "UNFILLED_FOK_ORDER_EXPIRED",
    )  # fmt: skip
    await bob.place(side="SELL", quantity="0.004")
    ioc = (await alice.place(timeInForce="IOC")).json
    assert only(ioc, "status", "executedQty", "expiryReason") == {
        "status": "EXPIRED", "executedQty": "0.00400000", "expiryReason": "UNFILLED_IOC_QUANTITY_EXPIRED",
    }  # fmt: skip
    market = (await alice.place(type="MARKET", timeInForce=None, price=None, quantity="0.01")).json
    assert (market["status"], market["fills"]) == ("EXPIRED", [])


async def test_response_types(venue: Venue, alice: Client) -> None:
    ack = (await alice.place(newOrderRespType="ACK")).json
    assert list(ack) == ["symbol", "orderId", "orderListId", "clientOrderId", "transactTime"]
    result = (await alice.place(newOrderRespType="RESULT")).json
    assert "fills" not in result
    assert result["status"] == "NEW"
    maker = (await alice.place(type="LIMIT_MAKER", timeInForce=None)).json
    assert "status" not in maker
    stop = (await alice.place(type="STOP_LOSS_LIMIT", stopPrice="30000", price="30000", newOrderRespType="RESULT")).json
    assert (stop["status"], stop["stopPrice"], stop["workingTime"]) == ("NEW", "30000.00000000", -1)


async def test_the_same_signed_request_twice_is_one_order_and_one_answer(venue: Venue, alice: Client) -> None:
    form = alice.signed(
        {
            "symbol": "BTCUSDT",
            "side": "BUY",
            "type": "LIMIT",
            "timeInForce": "GTC",
            "quantity": "0.01",
            "price": "20000",
        }
    )
    answers = [await alice.raw("POST", "order", "", form) for _ in range(3)]
    assert {answer.body for answer in answers} == {answers[0].body}
    assert venue.replica.exchange.open_order_count == 1
    assert answers[2].headers["x-mbx-order-count-1d"] == "1"
    cancel = alice.signed({"symbol": "BTCUSDT", "orderId": answers[0].json["orderId"]})
    gone = [await alice.raw("DELETE", "order", cancel) for _ in range(2)]
    assert gone[0].status == 200
    assert gone[0].body == gone[1].body
    late = alice.signed({"symbol": "BTCUSDT", "side": "SELL", "type": "LIMIT_MAKER", "quantity": "5", "price": "1"})
    await alice.place()
    refused = [await alice.raw("POST", "order", "", late) for _ in range(2)]
    assert [answer.json["msg"] for answer in refused] == ["Order would immediately match and take."] * 2


async def test_parameters_in_query_and_body_query_wins(venue: Venue, alice: Client) -> None:
    query = f"symbol=BTCUSDT&side=BUY&type=LIMIT&price=19000&timestamp={alice.now_ms()}"
    body = "timeInForce=GTC&quantity=0.01&price=20000"
    signature = alice.seal(query + body).rpartition("=")[2]
    answer = await alice.raw("POST", "order", query, f"{body}&signature={signature}")
    assert answer.json["price"] == "19000.00000000"
    only_query = await alice.raw("POST", "order", alice.signed({
        "symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01", "price": "18000",
    }), "", "Content-Type: application/json")  # fmt: skip
    assert only_query.json["price"] == "18000.00000000"
    deleted = await alice.raw(
        "DELETE", "order", "", alice.signed({"symbol": "BTCUSDT", "orderId": answer.json["orderId"]})
    )
    assert deleted.json["status"] == "CANCELED"


async def test_a_pipelined_place_read_and_cancel_see_each_other(venue: Venue, alice: Client) -> None:
    key = f"X-MBX-APIKEY: {ALICE}"
    from tests.api.wire import get, request

    place = request("POST", "/api/v3/order", alice.signed({
        "symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01", "price": "20000",
        "newClientOrderId": "piped",
    }).encode(), key)  # fmt: skip
    read = get("/api/v3/order?" + alice.signed({"symbol": "BTCUSDT", "origClientOrderId": "piped"}), key)
    cancel = request(
        "DELETE", "/api/v3/order?" + alice.signed({"symbol": "BTCUSDT", "origClientOrderId": "piped"}), b"", key
    )
    later = get(
        "/api/v3/order?" + alice.signed({"symbol": "BTCUSDT", "origClientOrderId": "piped", "recvWindow": 4000}), key
    )
    await alice.wire.send(place + read + cancel + later)
    answers = [await alice.wire.answer() for _ in range(4)]
    assert [answer.status for answer in answers] == [200] * 4
    assert [answer.json["status"] for answer in answers] == ["NEW", "NEW", "CANCELED", "CANCELED"]


async def test_microseconds_when_asked_for(venue: Venue, alice: Client) -> None:
    header = "X-MBX-TIME-UNIT: MICROSECOND"
    assert (await alice.raw("GET", "time", "", "", header)).json["serverTime"] > 10**15
    form = alice.signed(
        {
            "symbol": "BTCUSDT",
            "side": "BUY",
            "type": "LIMIT",
            "timeInForce": "GTC",
            "quantity": "0.01",
            "price": "20000",
        },
        timestamp=alice.now_ms() * 1000,
    )
    answer = await alice.raw("POST", "order", "", form, header)
    assert answer.json["transactTime"] > 10**15
    bad = await alice.raw("GET", "time", "", "", "x-mbx-time-unit: FORTNIGHT")
    assert (bad.status, bad.json["code"]) == (400, -1194)


async def test_many_clients_at_once_are_all_answered_and_conserved(venue: Venue, alice: Client, bob: Client) -> None:
    clients = [await venue.client(key) for key in (alice.key, bob.key) for _ in range(8)]

    async def trade(client: Client, number: int) -> list[int]:
        statuses = []
        for n in range(20):
            side = "BUY" if (number + n) % 2 else "SELL"
            answer = await client.place(
                side=side, quantity="0.001", price=f"{20000 + n % 3}", newClientOrderId=f"{number}-{n}"
            )
            statuses.append(answer.status)
        return statuses

    results = await asyncio.gather(*(trade(client, number) for number, client in enumerate(clients)))
    for client in clients:
        await client.close()
    assert {status for statuses in results for status in statuses} <= {200, 400}
    venue.replica.exchange.audit()
    trades = (await alice.get("trades", symbol="BTCUSDT", limit=1000)).json
    assert [trade["id"] for trade in trades] == list(range(1, len(trades) + 1))


async def test_ed25519_keys_trade_too(venue: Venue) -> None:
    carol = await venue.client(CAROL)
    answers = [await carol.place(quantity="0.001", price=str(19000 + n)) for n in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 200]
    assert len((await carol.ask("GET", "openOrders", symbol="BTCUSDT")).json) == 3
    form = carol.signed({"symbol": "BTCUSDT", "orderId": answers[0].json["orderId"]})
    spoiled = form.replace("orderId=", "orderId=0")
    refused = await carol.raw("DELETE", "order", spoiled)
    assert (refused.status, refused.json["code"]) == (400, -1022)
    assert (await carol.raw("DELETE", "order", form)).json["status"] == "CANCELED"
    await carol.close()
