# SPDX-License-Identifier: Apache-2.0
"""Cancel-replace: Binance's table of what can become of the two halves, line by line, made of what the kernel did."""

from typing import Any, NamedTuple

import orjson
import pytest

from bidhall.core import records
from bidhall.core.records import COMMAND_BYTES, COMMAND_STRUCT, CommandKind, CommandRow, EventKind, MarketState
from bidhall.protocol import endpoints, replacements
from bidhall.protocol.errors import ApiError, too_many_orders
from tests.protocol.clients import checked
from tests.protocol.places import LIMIT, MS, Place

PARTLY = (-2021, "Order cancel-replace partially failed.")
FAILED = (-2022, "Order cancel-replace failed.")
NO_ROOM = too_many_orders(1, "10 SECOND", 7)
UNKNOWN = {"code": -2011, "msg": "Unknown order sent."}
RESTRICTED = {"code": -2011, "msg": "Order was not canceled due to cancel restrictions."}
WOULD_TAKE = {"code": -2010, "msg": "Order would immediately match and take."}
NO_FUNDS = {"code": -2010, "msg": "Account has insufficient balance for requested action."}


class Result(NamedTuple):
    """An answer: 200 with its body, or a refusal."""

    status: int
    code: int
    message: str
    data: Any


@pytest.fixture
def place() -> Place:
    return Place(iceberg_parts_max=10)


def parsed(place: Place, text: str) -> replacements.Replacement:
    values = place.values(endpoints.CANCEL_REPLACE, "symbol=BTCUSDT&" + text)
    return replacements.replace(values, place.market, 1, 0, place.digest())


def replaced(place: Place, text: str, mode: str = "STOP_ON_FAILURE", *, room: bool = True, group: int = 0) -> Result:
    replacement = parsed(place, f"{text}&cancelReplaceMode={mode}")
    applied = place.apply(replacement.command if room else replacement.cancel)
    try:
        body = replacements.answer(replacement, applied.events, applied.done, applied.time_ns, MS, group, NO_ROOM)
    except ApiError as error:
        return refusal(error)
    return Result(200, 0, "", orjson.loads(body))


def refusal(error: ApiError) -> Result:
    shown = orjson.loads(error.body)
    assert (shown["code"], shown["msg"]) == (error.code, error.message)
    assert set(shown) <= {"code", "msg", "data"}
    assert error.retry_after_s == (7 if error.status == 429 else 0)
    return Result(error.status, error.code, error.message, shown.get("data"))


def resting(place: Place, text: str = "") -> int:
    order_id: int = place.place(LIMIT + f"side=BUY&quantity=1&price=100{text}")["orderId"]
    return order_id


NEW = LIMIT + "side=BUY&quantity=2&price=101"
MAKER = "type=LIMIT_MAKER&side=BUY&quantity=1&price=200"  # where somebody sells at 150
RICH = LIMIT + "side=BUY&quantity=9000&price=1000000"


def test_both_succeed(place: Place) -> None:
    old = resting(place, "&newClientOrderId=old")
    for mode in ("STOP_ON_FAILURE", "ALLOW_FAILURE"):
        result = replaced(
            place, f"{NEW}&cancelOrderId={old}&cancelNewClientOrderId=own&newClientOrderId=next{mode[0]}", mode
        )
        assert result[:3] == (200, 0, "")
        body = checked(result.data, "order_cancel_replace_response", without=("code", "msg", "data", "rateLimits"))
        assert list(body) == ["cancelResult", "newOrderResult", "cancelResponse", "newOrderResponse"]
        assert (body["cancelResult"], body["newOrderResult"]) == ("SUCCESS", "SUCCESS")
        cancel, new = body["cancelResponse"], body["newOrderResponse"]
        assert (cancel["orderId"], cancel["clientOrderId"], cancel["status"]) == (old, "own", "CANCELED")
        assert (new["clientOrderId"], new["status"], new["fills"]) == (f"next{mode[0]}", "NEW", [])
        assert cancel["transactTime"] == new["transactTime"]
        old = new["orderId"]
    assert [row["order_id"] for row in place.exchange.open_orders(1, 1)] == [old]


def test_own_ids_are_made_where_none_is_given(place: Place) -> None:
    result = replaced(place, f"{NEW}&cancelOrderId={resting(place)}").data
    ids = {result["cancelResponse"]["clientOrderId"], result["newOrderResponse"]["clientOrderId"]}
    assert len(ids) == 2
    assert {len(one) for one in ids} == {22}


def test_response_types(place: Place) -> None:
    for wanted, fields in (("ACK", 5), ("RESULT", 16), ("FULL", 17)):
        result = replaced(place, f"{NEW}&cancelOrderId={resting(place)}&newOrderRespType={wanted}")
        assert len(result.data["newOrderResponse"]) == fields
    by_default = replaced(place, f"type=LIMIT_MAKER&side=BUY&quantity=1&price=90&cancelOrderId={resting(place)}")
    assert len(by_default.data["newOrderResponse"]) == 5


def test_stop_on_failure_when_there_is_nothing_to_cancel(place: Place) -> None:
    result = replaced(place, NEW + "&cancelOrderId=77")
    assert result == (400, *FAILED, {
        "cancelResult": "FAILURE", "newOrderResult": "NOT_ATTEMPTED", "cancelResponse": UNKNOWN,
        "newOrderResponse": None,
    })  # fmt: skip
    assert not len(place.exchange.open_orders(1, 1))


def test_the_new_order_fails_after_the_cancel(place: Place) -> None:
    place.place(LIMIT + "side=SELL&quantity=1&price=150", account=2)
    for mode in ("STOP_ON_FAILURE", "ALLOW_FAILURE"):
        old = resting(place)
        result = replaced(place, f"{MAKER}&cancelOrderId={old}", mode)
        assert result[:3] == (409, *PARTLY)
        assert (result.data["cancelResult"], result.data["newOrderResult"]) == ("SUCCESS", "FAILURE")
        assert result.data["cancelResponse"]["orderId"] == old
        assert result.data["newOrderResponse"] == WOULD_TAKE
    result = replaced(place, f"{RICH}&cancelOrderId={resting(place)}")
    assert result.data["newOrderResponse"] == NO_FUNDS


def test_allow_failure_places_without_a_cancel(place: Place) -> None:
    result = replaced(place, NEW + "&cancelOrigClientOrderId=nobody", "ALLOW_FAILURE")
    assert result[:3] == (409, *PARTLY)
    assert (result.data["cancelResult"], result.data["newOrderResult"]) == ("FAILURE", "SUCCESS")
    assert result.data["cancelResponse"] == UNKNOWN
    assert result.data["newOrderResponse"]["status"] == "NEW"


def test_allow_failure_and_both_fail(place: Place) -> None:
    place.place(LIMIT + "side=SELL&quantity=1&price=150", account=2)
    result = replaced(place, MAKER + "&cancelOrderId=77", "ALLOW_FAILURE")
    assert result == (400, *FAILED, {
        "cancelResult": "FAILURE", "newOrderResult": "FAILURE", "cancelResponse": UNKNOWN,
        "newOrderResponse": WOULD_TAKE,
    })  # fmt: skip


def test_cancel_restrictions(place: Place) -> None:
    old = resting(place)
    refused = replaced(place, f"{NEW}&cancelOrderId={old}&cancelRestrictions=ONLY_PARTIALLY_FILLED")
    assert (refused.status, refused.data["cancelResponse"]) == (400, RESTRICTED)
    allowed = replaced(place, f"{NEW}&cancelOrderId={old}&cancelRestrictions=ONLY_NEW")
    assert allowed.status == 200


@pytest.mark.parametrize(
    ("mode", "target", "status", "results"),
    [
        ("STOP_ON_FAILURE", True, 429, ("SUCCESS", "FAILURE")),
        ("STOP_ON_FAILURE", False, 429, ("FAILURE", "NOT_ATTEMPTED")),
        ("ALLOW_FAILURE", True, 409, ("SUCCESS", "FAILURE")),
        ("ALLOW_FAILURE", False, 400, ("FAILURE", "FAILURE")),
    ],
)
def test_cancel_only_when_the_order_count_is_used_up(
    place: Place, mode: str, target: bool, status: int, results: tuple[str, str]
) -> None:
    old = resting(place) if target else 77
    text = f"{NEW}&cancelOrderId={old}&orderRateLimitExceededMode=CANCEL_ONLY"
    assert parsed(place, f"{text}&cancelReplaceMode={mode}").cancel_only
    result = replaced(place, text, mode, room=False)
    assert result[:3] == (status, *(PARTLY if target else FAILED))
    assert (result.data["cancelResult"], result.data["newOrderResult"]) == results
    full = {"code": -1015, "msg": "Too many new orders; current limit is 1 orders per 10 SECOND."}
    assert result.data["newOrderResponse"] == (None if results[1] == "NOT_ATTEMPTED" else full)
    assert not len(place.exchange.open_orders(1, 1))


def test_filters_refuse_before_anything_is_cancelled(place: Place) -> None:
    old = resting(place)
    for text, message in (
        ("type=LIMIT&timeInForce=GTC&side=BUY&quantity=1&price=4.99", "Filter failure: NOTIONAL"),
        ("type=LIMIT&timeInForce=GTC&side=BUY&quantity=1.1&price=100&icebergQty=0.1", "Filter failure: ICEBERG_PARTS"),
        (NEW + "&selfTradePreventionMode=TRANSFER",
         "This symbol does not allow the specified self-trade prevention mode."),
    ):  # fmt: skip
        for mode in ("STOP_ON_FAILURE", "ALLOW_FAILURE"):
            assert replaced(place, f"{text}&cancelOrderId={old}", mode) == (400, -1013, message, None)
    assert [row["order_id"] for row in place.exchange.open_orders(1, 1)] == [old]
    place.apply(records.market_state(1, MarketState.CANCEL_ONLY))
    assert replaced(place, f"{NEW}&cancelOrderId={old}") == (400, -2010, "Market is closed.", None)
    place.apply(records.account_change(1, permissions=6))
    closed = (400, -2010, "This account may not place or cancel orders.", None)
    assert replaced(place, f"{NEW}&cancelOrderId={old}") == closed


def test_wrong_parameters_are_plain_refusals(place: Place) -> None:
    for text, code, message in (
        (NEW, -1102,
         "Param 'cancelOrigClientOrderId' or 'cancelOrderId' must be sent, but both were empty/null!"),
        (NEW + "&cancelOrderId=0", -2011, "Unknown order sent."),
        ("type=LIMIT&side=BUY&price=1&cancelOrderId=1", -1102,
         "Mandatory parameter 'timeInForce' was not sent, was empty/null, or malformed."),
        (NEW + "&cancelOrderId=1&stopPrice=1", -1106, "Parameter 'stopPrice' sent when not required."),
    ):  # fmt: skip
        with pytest.raises(ApiError) as caught:
            parsed(place, text + "&cancelReplaceMode=STOP_ON_FAILURE")
        assert (caught.value.code, caught.value.message) == (code, message)
    place.market.rules_version = 1
    with pytest.raises(ApiError) as caught:
        parsed(place, NEW + "&cancelOrderId=1&cancelReplaceMode=STOP_ON_FAILURE")
    assert caught.value.message == "Order cancel-replace is not supported for this symbol."


def test_the_commands(place: Place) -> None:
    text = f"{NEW}&cancelOrderId=5&cancelOrigClientOrderId=abc&cancelNewClientOrderId=own&cancelRestrictions=ONLY_NEW"
    replacement = parsed(place, text + "&cancelReplaceMode=ALLOW_FAILURE")
    digest = place.count.to_bytes(16, "big")
    first, second = (
        CommandRow._make(COMMAND_STRUCT.unpack_from(replacement.command, at)) for at in (0, COMMAND_BYTES)
    )
    alone = CommandRow._make(COMMAND_STRUCT.unpack(replacement.cancel))
    assert (first.kind, first.legs, first.flags, second.kind) == (CommandKind.REPLACE, 2, 1, CommandKind.PLACE)
    for cancel in (first, alone):
        assert (cancel.account, cancel.market, cancel.order_id, cancel.restriction) == (1, 1, 5, 1)
        assert (records.text(cancel.client_id), records.text(cancel.other_client_id)) == (b"abc", b"own")
        assert cancel.digest == digest
    assert (alone.kind, alone.legs, second.digest, second.deadline_ns) == (CommandKind.CANCEL, 1, bytes(16), 0)
    assert not replacement.cancel_only


def test_a_taker_shows_its_trades_and_what_was_prevented(place: Place) -> None:
    place.place(LIMIT + "side=SELL&quantity=0.5&price=101", account=2)
    own = place.place(LIMIT + "side=SELL&quantity=0.5&price=101")["orderId"]
    result = replaced(place, f"{NEW}&cancelOrderId={resting(place)}", group=3)
    new = result.data["newOrderResponse"]
    assert (len(new["fills"]), new["status"], new["executedQty"]) == (1, "PARTIALLY_FILLED", "0.50000000")
    assert [match["makerOrderId"] for match in new["preventedMatches"]] == [own]
    assert new["tradeGroupId"] == 3


def test_a_refused_first_half_is_remembered_with_both(place: Place) -> None:
    """The kernel's own answer to the same bytes names the first; the second record is not attempted again."""
    replacement = parsed(place, NEW + "&cancelOrderId=77&cancelReplaceMode=ALLOW_FAILURE")
    first = place.apply(replacement.command)
    again = place.apply(replacement.command)
    assert [event.kind for event in first.events] == [EventKind.REJECTED, EventKind.ACCEPTED]
    assert [event.kind for event in again.events] == [EventKind.REPEATED, EventKind.REJECTED]
    assert again.events[0].trade_id == first.events[0].sequence
    assert again.events[0].code == records.Reject.UNKNOWN_ORDER
