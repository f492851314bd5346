# SPDX-License-Identifier: Apache-2.0
"""The answers about orders, made of what the real kernel did, judged by the SDK's strict models and by ccxt."""

from decimal import Decimal
from typing import Any

import numpy as np
import orjson
import pytest

from bidhall.core import records
from bidhall.core.records import CommandKind, EventKind
from bidhall.protocol import account_answers, endpoints, market_answers, order_answers, orders, words
from bidhall.protocol.errors import ApiError, from_reject
from bidhall.replica import prevention
from tests.protocol.clients import checked, exchange_of
from tests.protocol.places import LIMIT, MS, Applied, Place

ZERO = "0.00000000"
ACK = ["symbol", "orderId", "orderListId", "clientOrderId", "transactTime"]
RESULT = [
    *ACK, "price", "origQty", "executedQty", "origQuoteOrderQty", "cummulativeQuoteQty", "status", "timeInForce",
    "type", "side", "workingTime", "selfTradePreventionMode",
]  # fmt: skip


@pytest.fixture
def place() -> Place:
    return Place()


def parse_with_ccxt(place: Place, answer: dict[str, Any]) -> Any:
    info = orjson.loads(market_answers.exchange_info([place.market], place.time_ns, MS, []))
    exchange = exchange_of(info)
    return exchange.parse_order(answer, exchange.market("BTC/USDT"))


def test_ack_result_full_of_a_resting_order(place: Place) -> None:
    text = LIMIT + "side=BUY&quantity=0.5&price=100.25"
    ack = checked(
        place.place(text + "&newOrderRespType=ACK&newClientOrderId=a"),
        "new_order_response",
        without=(*RESULT[5:], "fills"),
    )
    assert list(ack) == ACK
    result = checked(place.place(text + "&newOrderRespType=RESULT"), "new_order_response", without=("fills",))
    assert list(result) == RESULT
    full = checked(place.place(text), "new_order_response")
    assert sorted(full) == sorted([*RESULT, "fills"])
    time = place.time_ns // MS
    assert full == {
        "symbol": "BTCUSDT", "orderId": 3, "orderListId": -1, "clientOrderId": full["clientOrderId"],
        "transactTime": time, "price": "100.25000000", "origQty": "0.50000000", "executedQty": ZERO,
        "origQuoteOrderQty": ZERO, "cummulativeQuoteQty": ZERO, "status": "NEW", "timeInForce": "GTC", "type": "LIMIT",
        "side": "BUY", "workingTime": time, "fills": [], "selfTradePreventionMode": "EXPIRE_MAKER",
    }  # fmt: skip
    order = parse_with_ccxt(place, full)
    assert (order["status"], order["type"], order["side"], order["price"], order["amount"]) == (
        "open",
        "limit",
        "buy",
        100.25,
        0.5,
    )
    micro = place.place(text + "&newOrderRespType=ACK", unit_ns=1_000)
    assert micro["transactTime"] == place.time_ns // 1_000


def test_a_taker_through_three_makers(place: Place) -> None:
    for price in ("100.00", "101.00", "102.00"):
        place.place(LIMIT + f"side=SELL&quantity=1&price={price}", account=2)
    full = checked(place.place(LIMIT + "side=BUY&quantity=2.5&price=105"), "new_order_response")
    assert full["status"] == "FILLED"
    assert (full["executedQty"], full["cummulativeQuoteQty"], full["price"]) == (
        "2.50000000",
        "252.00000000",
        "105.00000000",
    )
    assert [(fill["price"], fill["qty"]) for fill in full["fills"]] == [
        ("100.00000000", "1.00000000"), ("101.00000000", "1.00000000"), ("102.00000000", "0.50000000"),
    ]  # fmt: skip
    assert [fill["tradeId"] for fill in full["fills"]] == [1, 2, 3]
    assert {fill["commissionAsset"] for fill in full["fills"]} == {"BTC"}
    assert [fill["commission"] for fill in full["fills"]] == ["0.00100000", "0.00100000", "0.00050000"]
    order = parse_with_ccxt(place, full)
    assert (order["status"], order["filled"], order["cost"], len(order["trades"])) == ("closed", 2.5, 252.0, 3)
    assert order["fee"] == {"currency": "BTC", "cost": 0.0025}
    rest = checked(place.place(LIMIT + "side=SELL&quantity=1&price=102"), "new_order_response")
    assert (rest["status"], rest["executedQty"]) == ("NEW", ZERO)


def test_a_seller_pays_in_quote(place: Place) -> None:
    place.place(LIMIT + "side=BUY&quantity=1&price=100", account=2)
    full = place.place("type=MARKET&side=SELL&quantity=0.5")
    assert full["fills"] == [
        {
            "price": "100.00000000",
            "qty": "0.50000000",
            "commission": "0.05000000",
            "commissionAsset": "USDT",
            "tradeId": 1,
        }
    ]
    assert (full["price"], full["timeInForce"], full["status"]) == (ZERO, "GTC", "FILLED")


def test_what_expires(place: Place) -> None:
    place.place(LIMIT + "side=SELL&quantity=1&price=100", account=2)
    ioc = checked(place.place("type=LIMIT&timeInForce=IOC&side=BUY&quantity=3&price=100"), "new_order_response")
    assert (ioc["status"], ioc["executedQty"], ioc["expiryReason"]) == (
        "EXPIRED",
        "1.00000000",
        "UNFILLED_IOC_QUANTITY_EXPIRED",
    )
    assert len(ioc["fills"]) == 1
    fok = checked(place.place("type=LIMIT&timeInForce=FOK&side=BUY&quantity=3&price=100"), "new_order_response")
    assert (fok["status"], fok["expiryReason"], fok["fills"]) == ("EXPIRED", "UNFILLED_FOK_ORDER_EXPIRED", [])
    market = checked(place.place("type=MARKET&side=BUY&quantity=1"), "new_order_response")
    assert (market["status"], market["expiryReason"], market["origQty"]) == (
        "EXPIRED",
        "INSUFFICIENT_LIQUIDITY",
        "1.00000000",
    )
    assert parse_with_ccxt(place, ioc)["status"] == "expired"


def test_market_by_quote(place: Place) -> None:
    place.place(LIMIT + "side=SELL&quantity=1&price=100", account=2)
    full = checked(place.place("type=MARKET&side=BUY&quoteOrderQty=50.0055"), "new_order_response")
    assert (full["status"], full["executedQty"], full["origQty"]) == ("FILLED", "0.50005000", "0.50005000")
    assert (full["origQuoteOrderQty"], full["cummulativeQuoteQty"]) == ("50.00550000", "50.00500000")


def test_stops_and_strategies(place: Place) -> None:
    place.place(LIMIT + "side=SELL&quantity=1&price=100", account=2)
    place.place(LIMIT + "side=BUY&quantity=0.5&price=100")
    text = "type=STOP_LOSS_LIMIT&timeInForce=GTC&side=BUY&quantity=1&price=120&stopPrice=110&newOrderRespType=FULL"
    stop = checked(place.place(text + "&strategyId=7&strategyType=1000001"), "new_order_response")
    assert (stop["status"], stop["stopPrice"], stop["workingTime"]) == ("NEW", "110.00000000", -1)
    assert (stop["strategyId"], stop["strategyType"], stop["fills"]) == (7, 1_000_001, [])
    row = place.order(stop["orderId"])
    found = checked(orjson.loads(order_answers.order(place.market, row, MS)), "get_order_response")
    assert (found["isWorking"], found["workingTime"], found["stopPrice"]) == (False, -1, "110.00000000")
    assert (found["strategyId"], found["strategyType"]) == (7, 1_000_001)
    order = parse_with_ccxt(place, found)
    assert (order["status"], order["triggerPrice"]) == ("open", 110)


def test_orders_that_a_taker_triggers_do_not_show_in_its_answer(place: Place) -> None:
    place.place(LIMIT + "side=SELL&quantity=1&price=100", account=2)
    place.place(LIMIT + "side=BUY&quantity=0.5&price=100", account=1)
    place.place("type=STOP_LOSS&side=SELL&quantity=0.25&stopPrice=90", account=2)
    place.place(LIMIT + "side=BUY&quantity=1&price=90", account=2)
    # sells into the 90 bid, leaves an order at 89 ... and the triggered stop sells after it
    place.place(LIMIT + "side=BUY&quantity=1&price=89", account=1)
    placement, applied = place.place_raw(LIMIT + "side=SELL&quantity=1.5&price=90", account=1)
    assert EventKind.TRIGGERED in {event.kind for event in applied.events}
    answer = orjson.loads(order_answers.placed(placement, applied.events, applied.time_ns, MS))
    assert (answer["status"], answer["executedQty"], len(answer["fills"])) == ("PARTIALLY_FILLED", "1.00000000", 1)


def test_an_iceberg(place: Place) -> None:
    text = LIMIT + "side=BUY&quantity=1&price=100&icebergQty=0.25"
    answer = checked(place.place(text), "new_order_response")
    assert (answer["icebergQty"], answer["origQty"]) == ("0.25000000", "1.00000000")
    row = place.order(answer["orderId"])
    shown = checked(orjson.loads(order_answers.order(place.market, row, MS)), "get_order_response")
    assert shown["icebergQty"] == "0.25000000"
    bought = place.place(LIMIT + "side=SELL&quantity=0.75&price=100&newOrderRespType=FULL", account=2)
    assert [fill["qty"] for fill in bought["fills"]] == ["0.25000000"] * 3
    applied = place.apply(records.cancel(1, 1, answer["orderId"]))
    gone = orjson.loads(order_answers.canceled(place.market, applied.done[answer["orderId"]], "c", applied.time_ns, MS))
    assert (gone["icebergQty"], gone["executedQty"]) == ("0.25000000", "0.75000000")
    plain = place.place(LIMIT + "side=BUY&quantity=1&price=100")
    assert "icebergQty" not in plain


def test_decrement_takes_from_both() -> None:
    """Scenario G of Binance's page about self-trade prevention, with the maker on the book afterwards."""
    place = Place(self_trade_preventions=0b111111)
    maker = place.place(LIMIT + "side=BUY&quantity=6&price=3&newOrderRespType=RESULT")
    placement, applied = place.place_raw(LIMIT + "side=SELL&quantity=2&price=3&selfTradePreventionMode=DECREMENT")
    answer = orjson.loads(order_answers.placed(placement, applied.events, applied.time_ns, MS))
    checked(answer, "new_order_response")
    assert (answer["status"], answer["executedQty"], answer["preventedQuantity"]) == (
        "EXPIRED_IN_MATCH", ZERO, "2.00000000",
    )  # fmt: skip
    assert answer["preventedMatches"] == [
        {
            "preventedMatchId": 1, "makerSymbol": "BTCUSDT", "makerOrderId": maker["orderId"], "price": "3.00000000",
            "takerPreventedQuantity": "2.00000000", "makerPreventedQuantity": "2.00000000",
        }
    ]  # fmt: skip
    assert "tradeGroupId" not in answer
    shown = checked(
        orjson.loads(order_answers.order(place.market, place.order(maker["orderId"]), MS)), "get_order_response"
    )
    assert (shown["status"], shown["preventedMatchId"], shown["preventedQuantity"], shown["origQty"]) == (
        "NEW", 1, "2.00000000", "6.00000000",
    )  # fmt: skip
    amendment = orders.amend(
        place.values(endpoints.AMEND, f"symbol=BTCUSDT&orderId={maker['orderId']}&newQty=5"), place.market, 1, 0,
        place.digest(),
    )  # fmt: skip
    applied = place.apply(amendment.command)
    row = place.order(maker["orderId"])
    amended = orjson.loads(order_answers.amended(place.market, applied.events[0], row, amendment, applied.time_ns, MS))
    assert (amended["amendedOrder"]["qty"], amended["amendedOrder"]["preventedQty"]) == ("5.00000000", "2.00000000")


def test_a_taker_by_quote_is_decremented() -> None:
    """Its quantity is what came of it: executed and prevented."""
    place = Place(self_trade_preventions=0b111111)
    place.place(LIMIT + "side=SELL&quantity=1&price=100")
    place.place(LIMIT + "side=SELL&quantity=5&price=100", account=2)
    placement, applied = place.place_raw("type=MARKET&side=BUY&quoteOrderQty=300&selfTradePreventionMode=DECREMENT")
    answer = orjson.loads(order_answers.placed(placement, applied.events, applied.time_ns, MS, 9))
    assert (answer["origQty"], answer["executedQty"], answer["preventedQuantity"], answer["status"]) == (
        "3.00000000", "2.00000000", "1.00000000", "FILLED",
    )  # fmt: skip
    assert (answer["tradeGroupId"], answer["cummulativeQuoteQty"]) == (9, "200.00000000")


def test_transfer_within_a_trade_group() -> None:
    """Scenario H: base and quote move between the two accounts, and nothing trades."""
    place = Place(self_trade_preventions=0b111111)
    for account in (1, 2):
        place.apply(records.account_change(account, trade_group=4))
    text = "&price=20&selfTradePreventionMode=TRANSFER"
    maker = place.place(LIMIT + "side=BUY&quantity=0.6" + text)
    placement, applied = place.place_raw(LIMIT + "side=SELL&quantity=0.3" + text, account=2)
    answer = orjson.loads(order_answers.placed(placement, applied.events, applied.time_ns, MS, 4))
    checked(answer, "new_order_response")
    assert (answer["tradeGroupId"], answer["preventedQuantity"], answer["fills"], answer["status"]) == (
        4, "0.30000000", [], "EXPIRED_IN_MATCH",
    )  # fmt: skip
    moved = {(row.account, row.asset): row.free_units + row.locked_units for row in applied.positions}
    rich = {1: 1_000 * 10**8, 2: 100_000_000 * 10**8}
    assert moved[1, 1] - rich[1] == -(moved[2, 1] - rich[1]) == 3 * 10**7
    assert moved[2, 2] - rich[2] == -(moved[1, 2] - rich[2]) == 6 * 10**8
    found = prevention.rows(
        place.exchange, np.array(applied.events, records.EVENT), place.exchange.done(), applied.time_ns
    )
    assert orjson.loads(account_answers.prevented_matches(place.market, found, MS)) == checked(
        [
            {
                "symbol": "BTCUSDT", "preventedMatchId": 1, "takerOrderId": answer["orderId"], "makerSymbol": "BTCUSDT",
                "makerOrderId": maker["orderId"], "tradeGroupId": 4, "selfTradePreventionMode": "TRANSFER",
                "price": "20.00000000", "takerPreventedQuantity": "0.30000000", "makerPreventedQuantity": "0.30000000",
                "transactTime": applied.time_ns // MS,
            }
        ],
        "my_prevented_matches_response_inner",
    )  # fmt: skip


@pytest.mark.parametrize("mode", ["EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH"])
def test_self_trade_prevention(place: Place, mode: str) -> None:
    maker = place.place(LIMIT + "side=SELL&quantity=1&price=100")
    placement, applied = place.place_raw(LIMIT + f"side=BUY&quantity=3&price=100&selfTradePreventionMode={mode}")
    answer = orjson.loads(order_answers.placed(placement, applied.events, applied.time_ns, MS))
    checked(answer, "new_order_response")
    match: dict[str, Any] = {
        "preventedMatchId": 1, "makerSymbol": "BTCUSDT", "makerOrderId": maker["orderId"], "price": "100.00000000",
    }  # fmt: skip
    if mode != "EXPIRE_MAKER":
        match["takerPreventedQuantity"] = "3.00000000"
        assert (answer["status"], answer["preventedQuantity"], answer["preventedMatchId"]) == (
            "EXPIRED_IN_MATCH",
            "3.00000000",
            1,
        )
    else:
        assert answer["status"] == "NEW"
        assert "preventedQuantity" not in answer
    if mode != "EXPIRE_TAKER":
        match["makerPreventedQuantity"] = "1.00000000"
        gone = orjson.loads(order_answers.order(place.market, applied.done[maker["orderId"]], MS))
        checked(gone, "get_order_response")
        assert (gone["status"], gone["preventedMatchId"], gone["preventedQuantity"]) == (
            "EXPIRED_IN_MATCH",
            1,
            "1.00000000",
        )
    assert answer["preventedMatches"] == [match]
    assert "tradeGroupId" not in answer
    assert answer["selfTradePreventionMode"] == mode


def cancel(place: Place, text: str) -> tuple[orders.Cancellation, Applied]:
    sent = place.values(endpoints.ORDER_DELETE, "symbol=BTCUSDT&" + text)
    cancellation = orders.cancel(sent, place.market, 1, 0, place.digest())
    applied = place.apply(cancellation.command)
    if applied.events[0].kind == EventKind.REJECTED:
        raise from_reject(applied.events[0].code, CommandKind.CANCEL)
    return cancellation, applied


def test_cancel(place: Place) -> None:
    place.place(LIMIT + "side=BUY&quantity=1&price=100", account=2)
    placed = place.place(LIMIT + "side=SELL&quantity=3&price=100&newClientOrderId=mine")
    cancellation, applied = cancel(place, "origClientOrderId=mine&newClientOrderId=theCancel")
    order = applied.done[placed["orderId"]]
    answer = orjson.loads(order_answers.canceled(place.market, order, cancellation.client_id, applied.time_ns, MS))
    checked(answer, "delete_order_response")
    assert answer == {
        "symbol": "BTCUSDT", "origClientOrderId": "mine", "orderId": placed["orderId"], "orderListId": -1,
        "clientOrderId": "theCancel", "transactTime": place.time_ns // MS, "price": "100.00000000",
        "origQty": "3.00000000", "executedQty": "1.00000000", "origQuoteOrderQty": ZERO,
        "cummulativeQuoteQty": "100.00000000", "status": "CANCELED", "timeInForce": "GTC", "type": "LIMIT",
        "side": "SELL", "selfTradePreventionMode": "EXPIRE_MAKER",
    }  # fmt: skip
    parsed = parse_with_ccxt(place, answer)
    assert (parsed["status"], parsed["filled"], parsed["clientOrderId"]) == ("canceled", 1.0, "theCancel")
    gone = checked(orjson.loads(order_answers.order(place.market, order, MS)), "get_order_response")
    assert (gone["status"], gone["clientOrderId"], gone["isWorking"]) == ("CANCELED", "mine", True)
    with pytest.raises(ApiError, match="Unknown order sent") as caught:
        cancel(place, "orderId=" + str(placed["orderId"]))
    assert caught.value.code == -2011


def test_cancel_all(place: Place) -> None:
    for price in ("100", "101"):
        place.place(LIMIT + f"side=SELL&quantity=1&price={price}")
    place.place("type=TAKE_PROFIT&side=SELL&quantity=1&stopPrice=120")
    sent = place.values(endpoints.OPEN_ORDERS_DELETE, "symbol=BTCUSDT")
    cancellation = orders.cancel_all(sent, place.market, 1, 0, place.digest())
    applied = place.apply(cancellation.command)
    rows = [applied.done[event.order_id] for event in applied.events]
    answer = orjson.loads(order_answers.canceled_all(place.market, rows, cancellation.client_id, applied.time_ns, MS))
    checked(
        answer,
        "delete_open_orders_response_inner",
        without=(
            "contingencyType",
            "listStatusType",
            "listOrderStatus",
            "listClientOrderId",
            "transactionTime",
            "orders",
            "orderReports",
        ),
    )
    assert [one["type"] for one in answer] == ["LIMIT", "LIMIT", "TAKE_PROFIT"]
    assert answer[2]["stopPrice"] == "120.00000000"
    assert {one["clientOrderId"] for one in answer} == {cancellation.client_id}


def test_amend(place: Place) -> None:
    placed = place.place(LIMIT + "side=SELL&quantity=3&price=100&newClientOrderId=old")
    place.place(LIMIT + "side=BUY&quantity=1&price=100", account=2)
    sent = place.values(endpoints.AMEND, "symbol=BTCUSDT&origClientOrderId=old&newQty=2&newClientOrderId=new")
    amendment = orders.amend(sent, place.market, 1, 0, place.digest())
    applied = place.apply(amendment.command)
    event = applied.events[0]
    row = place.order(placed["orderId"])
    answer = orjson.loads(order_answers.amended(place.market, event, row, amendment, applied.time_ns, MS))
    checked(answer, "order_amend_keep_priority_response", without=("listStatus",))
    checked(answer["amendedOrder"], "order_amend_keep_priority_response_amended_order")
    assert answer["amendedOrder"] == {
        "symbol": "BTCUSDT", "orderId": placed["orderId"], "orderListId": -1, "origClientOrderId": "old",
        "clientOrderId": "new", "price": "100.00000000", "qty": "2.00000000", "executedQty": "1.00000000",
        "preventedQty": ZERO, "quoteOrderQty": ZERO, "cumulativeQuoteQty": "100.00000000",
        "status": "PARTIALLY_FILLED", "timeInForce": "GTC", "type": "LIMIT", "side": "SELL",
        "workingTime": placed["workingTime"], "selfTradePreventionMode": "EXPIRE_MAKER",
    }  # fmt: skip
    assert answer["executionId"] == event.execution_id


def test_queries(place: Place) -> None:
    for price in ("100", "101", "102"):
        place.place(LIMIT + f"side=SELL&quantity=1&price={price}")
    rows = [place.order(order_id) for order_id in (1, 2, 3)]
    answer = orjson.loads(order_answers.orders([(place.market, row) for row in rows], MS))
    checked(answer, "get_open_orders_response_inner")
    checked(answer, "all_orders_response_inner")
    assert [one["orderId"] for one in answer] == [1, 2, 3]
    assert all(one["time"] == one["updateTime"] == one["workingTime"] for one in answer)
    assert order_answers.orders([], MS) == b"[]"
    assert [one["status"] for one in (parse_with_ccxt(place, each) for each in answer)] == ["open"] * 3


def test_order_test_answers() -> None:
    assert order_answers.order_test(None) == b"{}"
    answer = orjson.loads(order_answers.order_test((100_000, 200_000)))
    checked(answer, "order_test_response")
    assert answer["standardCommissionForOrder"] == {"maker": "0.00100000", "taker": "0.00200000"}


REJECTS = [
    (LIMIT + "side=SELL&quantity=8000&price=100", -2010, "Account has insufficient balance for requested action."),
    (LIMIT + "side=BUY&quantity=0.01&price=100", -1013, "Filter failure: NOTIONAL"),
    ("type=LIMIT_MAKER&side=BUY&quantity=1&price=100", -2010, "Order would immediately match and take."),
    (LIMIT + "side=SELL&quantity=1&price=200&newClientOrderId=same", -2010, "Duplicate order sent."),
    ("type=STOP_LOSS&side=BUY&quantity=1&stopPrice=90", -2010, "Order would trigger immediately."),
    (
        LIMIT + "side=BUY&quantity=1&price=100&selfTradePreventionMode=DECREMENT",
        -1013,
        "This symbol does not allow the specified self-trade prevention mode.",
    ),
]


@pytest.mark.parametrize(("text", "code", "message"), REJECTS)
def test_what_the_kernel_refuses(place: Place, text: str, code: int, message: str) -> None:
    place.place(LIMIT + "side=SELL&quantity=1&price=100", account=2)
    place.place(LIMIT + "side=BUY&quantity=0.5&price=100&newClientOrderId=x")
    place.place(LIMIT + "side=SELL&quantity=1&price=201&newClientOrderId=same")
    with pytest.raises(ApiError) as caught:
        place.place(text)
    assert (caught.value.code, caught.value.message, caught.value.status) == (code, message, 400)


def test_fills_add_up(place: Place) -> None:
    """Sums of the fills are the totals, to the last digit."""
    for number in range(20):
        place.place(LIMIT + f"side=SELL&quantity={1 + number * 0.12345:.5f}&price={100 + number * 0.37:.2f}", account=2)
    full = place.place("type=MARKET&side=BUY&quantity=20.12345")
    assert sum(Decimal(fill["qty"]) for fill in full["fills"]) == Decimal(full["executedQty"])
    spent = sum(Decimal(fill["qty"]) * Decimal(fill["price"]) for fill in full["fills"])
    assert spent == Decimal(full["cummulativeQuoteQty"])


def test_client_ids_of_other_doors_cannot_break_the_json() -> None:
    assert words.client_id_text(b"plain-1_2".ljust(36, b"\0")) == "plain-1_2"
    for raw in (b'a"b', b"a\\b", b"a\nb", b"\xff\xfe", b"\x7f", b"\x00" * 36):
        text = words.client_id_text(raw)
        assert orjson.loads(f'"{text}"') == text
