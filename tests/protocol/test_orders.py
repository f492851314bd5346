# SPDX-License-Identifier: Apache-2.0
"""POST /order, DELETE, PUT: which parameters each type must and must not have, and the command that comes of it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bidhall.core.records import COMMAND_STRUCT, CommandKind, CommandRow, MarketState, Reject
from bidhall.protocol import endpoints, orders
from bidhall.protocol.errors import ApiError
from tests.protocol.places import Place, a_market

TEXTS = {
    "timeInForce": "GTC", "quantity": "0.5", "quoteOrderQty": "100", "price": "100.25", "stopPrice": "99.50",
    "trailingDelta": "10", "icebergQty": "0.1",
}  # fmt: skip
NEEDS = {
    "LIMIT": {"timeInForce", "quantity", "price"},
    "MARKET": {"quantity"},
    "LIMIT_MAKER": {"quantity", "price"},
    "STOP_LOSS": {"quantity", "stopPrice"},
    "STOP_LOSS_LIMIT": {"timeInForce", "quantity", "price", "stopPrice"},
    "TAKE_PROFIT": {"quantity", "stopPrice"},
    "TAKE_PROFIT_LIMIT": {"timeInForce", "quantity", "price", "stopPrice"},
}
REFUSES = {
    "LIMIT": {"quoteOrderQty", "stopPrice", "trailingDelta"},
    "MARKET": {"timeInForce", "price", "stopPrice", "trailingDelta", "icebergQty"},
    "LIMIT_MAKER": {"timeInForce", "quoteOrderQty", "stopPrice", "trailingDelta"},
    "STOP_LOSS": {"timeInForce", "quoteOrderQty", "price", "icebergQty"},
    "STOP_LOSS_LIMIT": {"quoteOrderQty"},
    "TAKE_PROFIT": {"timeInForce", "quoteOrderQty", "price", "icebergQty"},
    "TAKE_PROFIT_LIMIT": {"quoteOrderQty"},
}
DIGEST = bytes(range(16))
# A kernel that nobody applies anything to: for its market and its parsers.
PLACE = Place()


def values(text: str, endpoint: endpoints.Endpoint = endpoints.ORDER_POST) -> dict[str, Any]:
    return PLACE.values(endpoint, "symbol=BTCUSDT&" + text)


def row(command: bytes) -> CommandRow:
    return CommandRow._make(COMMAND_STRUCT.unpack(command))


def query(order_type: str, names: set[str], **texts: str) -> str:
    sent = {name: TEXTS[name] for name in sorted(names)} | texts
    return "&".join([f"side=BUY&type={order_type}", *(f"{name}={text}" for name, text in sent.items())])


def placed(text: str) -> orders.Placement:
    return orders.place(values(text), PLACE.market, 7, 123, DIGEST)


def refused(text: str) -> tuple[int, str]:
    with pytest.raises(ApiError) as caught:
        placed(text)
    assert caught.value.status == 400
    return caught.value.code, caught.value.message


@pytest.mark.parametrize("order_type", NEEDS)
def test_the_mandatory_parameters_of_a_type(order_type: str) -> None:
    needs = NEEDS[order_type]
    placement = placed(query(order_type, needs))
    command = row(placement.command)
    assert command.kind == CommandKind.PLACE
    assert (command.account, command.market, command.deadline_ns, command.digest) == (7, 1, 123, DIGEST)
    assert command.price_ticks == (10_025 if "price" in needs else 0)
    assert command.stop_price_ticks == (9_950 if "stopPrice" in needs else 0)
    assert command.quantity_steps == 50_000
    assert command.time_in_force == (1 if "timeInForce" in needs else 0)
    for name in sorted(needs):
        code, message = refused(query(order_type, needs - {name}))
        assert code == -1102
        if name == "stopPrice":
            assert message == "Param 'stopPrice' or 'trailingDelta' must be sent, but both were empty/null!"
        elif order_type == "MARKET":
            assert message == "Param 'quantity' or 'quoteOrderQty' must be sent, but both were empty/null!"
        else:
            assert message == f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."


@pytest.mark.parametrize(("order_type", "name"), [(kind, name) for kind in REFUSES for name in sorted(REFUSES[kind])])
def test_parameters_a_type_refuses(order_type: str, name: str) -> None:
    text = query(order_type, NEEDS[order_type] | {name})
    assert refused(text) == (-1106, f"Parameter '{name}' sent when not required.")


@pytest.mark.parametrize("order_type", ["LIMIT", "LIMIT_MAKER", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT"])
def test_icebergs(order_type: str) -> None:
    names = NEEDS[order_type] | {"icebergQty"}
    placement = placed(query(order_type, names))
    assert placement.iceberg_steps == row(placement.command).iceberg_steps == 10_000
    assert row(placed(query(order_type, names, icebergQty="0")).command).iceberg_steps == 0
    assert row(placed(query(order_type, names, icebergQty="0.5")).command).iceberg_steps == 50_000
    assert refused(query(order_type, names, icebergQty="0.50001")) == (-2010, "IcebergQty exceeds QTY.")
    lot = (-1013, "Filter failure: LOT_SIZE")
    assert refused(query(order_type, names, icebergQty="0.000001")) == lot
    assert refused(query(order_type, names, icebergQty="9999")) == lot
    precise = (-1111, "Parameter 'icebergQty' has too much precision.")
    assert refused(query(order_type, names, icebergQty="0.000000001")) == precise
    if "timeInForce" in names:
        for kind in ("IOC", "FOK"):
            combination = (-1014, "Unsupported order combination.")
            assert refused(query(order_type, names, timeInForce=kind)) == combination


def test_icebergs_under_the_first_rules() -> None:
    """A log that still runs by version 1 says so, before anything is logged."""
    market = a_market()
    market.rules_version = 1
    with pytest.raises(ApiError) as caught:
        orders.place(values(query("LIMIT", NEEDS["LIMIT"] | {"icebergQty"})), market, 1, 0, DIGEST)
    assert (caught.value.code, caught.value.message) == (-2010, "Iceberg orders are not supported for this symbol.")
    info = market.exchange_info()
    assert (info["icebergAllowed"], info["cancelReplaceAllowed"]) == (False, False)
    assert "ICEBERG_PARTS" not in [one["filterType"] for one in info["filters"]]


def test_market_by_quote() -> None:
    placement = placed(query("MARKET", {"quoteOrderQty"}, quoteOrderQty="100.12345678"))
    command = row(placement.command)
    assert (command.quote_quantity_units, command.quantity_steps) == (10_012_345_678, 0)
    both = query("MARKET", {"quantity", "quoteOrderQty"})
    assert refused(both) == (-1128, "Combination of optional parameters invalid.")
    assert refused(query("MARKET", {"quoteOrderQty"}, quoteOrderQty="0")) == (-1013, "Filter failure: NOTIONAL")
    huge = query("MARKET", {"quoteOrderQty"}, quoteOrderQty="99999999999999999999")
    assert refused(huge) == (-1108, "Parameter 'quoteOrderQty' overflowed.")


@pytest.mark.parametrize("order_type", ["LIMIT", "LIMIT_MAKER", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT"])
def test_what_this_version_lacks_is_refused_clearly(order_type: str) -> None:
    needs = NEEDS[order_type]
    for peg in ("pegPriceType=PRIMARY_PEG", "pegOffsetValue=1", "pegOffsetType=PRICE_LEVEL"):
        pegged = query(order_type, needs) + "&" + peg
        assert refused(pegged) == (-2010, "Pegged orders are not supported for this symbol.")
    if "stopPrice" in needs:
        trailing = (-2010, "Trailing stop orders are not supported for this symbol.")
        assert refused(query(order_type, needs | {"trailingDelta"})) == trailing
        assert refused(query(order_type, needs - {"stopPrice"} | {"trailingDelta"})) == trailing


@pytest.mark.parametrize("order_type", ["MARKET", "STOP_LOSS", "TAKE_PROFIT"])
def test_types_that_cannot_be_pegged(order_type: str) -> None:
    text = query(order_type, NEEDS[order_type]) + "&pegPriceType=MARKET_PEG"
    assert refused(text) == (-2010, "This order type may not use pegged price.")


FILTERS = [
    ({"price": "0"}, -1013, "Filter failure: PRICE_FILTER"),
    ({"price": "0.001"}, -1013, "Filter failure: PRICE_FILTER"),
    ({"price": "100.005"}, -1013, "Filter failure: PRICE_FILTER"),
    ({"price": "1000000.01"}, -1013, "Filter failure: PRICE_FILTER"),
    ({"price": "99999999999999999999"}, -1013, "Filter failure: PRICE_FILTER"),
    ({"quantity": "0"}, -1013, "Filter failure: LOT_SIZE"),
    ({"quantity": "0.000001"}, -1013, "Filter failure: LOT_SIZE"),
    ({"quantity": "0.000015"}, -1013, "Filter failure: LOT_SIZE"),
    ({"quantity": "9000.00001"}, -1013, "Filter failure: LOT_SIZE"),
    ({"quantity": "99999999999999999999"}, -1013, "Filter failure: LOT_SIZE"),
]


@pytest.mark.parametrize(("texts", "code", "message"), FILTERS)
def test_filters_that_the_door_checks(texts: dict[str, str], code: int, message: str) -> None:
    assert refused(query("LIMIT", NEEDS["LIMIT"], **texts)) == (code, message)


def test_stop_prices_are_filtered_too() -> None:
    for text in ("0", "0.005", "1000000.01"):
        stop = query("STOP_LOSS", NEEDS["STOP_LOSS"], stopPrice=text)
        assert refused(stop) == (-1013, "Filter failure: PRICE_FILTER")


def test_precision_is_the_assets() -> None:
    from tests.protocol.places import market_of

    market = market_of(2, 3, 10**5, 1)
    sent = PLACE.values(endpoints.ORDER_POST, "symbol=BTCUSDT&side=BUY&type=MARKET&quantity=0.001")
    with pytest.raises(ApiError) as caught:
        orders.place(sent, market, 1, 0, DIGEST)
    assert (caught.value.code, caught.value.message) == (-1111, "Parameter 'quantity' has too much precision.")
    sent = PLACE.values(endpoints.ORDER_POST, "symbol=BTCUSDT&side=BUY&type=MARKET&quoteOrderQty=0.0001")
    with pytest.raises(ApiError) as caught:
        orders.place(sent, market, 1, 0, DIGEST)
    assert (caught.value.code, caught.value.message) == (-1111, "Parameter 'quoteOrderQty' has too much precision.")


@pytest.mark.parametrize(
    ("order_type", "response"),
    [("LIMIT", "FULL"), ("MARKET", "FULL"), ("LIMIT_MAKER", "ACK"), ("STOP_LOSS", "ACK"), ("TAKE_PROFIT_LIMIT", "ACK")],
)
def test_response_types(order_type: str, response: str) -> None:
    text = query(order_type, NEEDS[order_type])
    assert placed(text).response == response
    for wish in ("ACK", "RESULT", "FULL"):
        assert placed(f"{text}&newOrderRespType={wish}").response == wish


def test_client_ids() -> None:
    text = query("LIMIT", NEEDS["LIMIT"])
    placement = placed(text + "&newClientOrderId=my-order_1")
    assert placement.client_id == "my-order_1"
    assert row(placement.command).client_id == b"my-order_1".ljust(36, b"\0")
    first, again = placed(text), placed(text)
    assert first.client_id == again.client_id, "the repeat of a request must be answered with the same id"
    assert len(first.client_id) == 22
    assert first.client_id.isalnum()


@given(st.binary(min_size=16, max_size=16))
def test_automatic_client_ids(random: bytes) -> None:
    text = orders.automatic_client_id(random)
    assert len(text) == 22
    assert text.isalnum()
    assert text.isascii()


def test_strategies() -> None:
    text = query("LIMIT", NEEDS["LIMIT"])
    command = row(placed(text + "&strategyId=12&strategyType=1000000").command)
    assert (command.strategy_id, command.strategy_type) == (12, 1_000_000)
    for low in ("0", "999999"):
        assert refused(f"{text}&strategyType={low}") == (-1134, "strategyType was less than 1000000.")


def test_self_trade_prevention_modes_reach_the_command() -> None:
    text = query("LIMIT", NEEDS["LIMIT"])
    assert row(placed(text).command).self_trade_prevention == 0
    for number, mode in enumerate(
        ("NONE", "EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH", "DECREMENT", "TRANSFER"), start=1
    ):
        assert row(placed(f"{text}&selfTradePreventionMode={mode}").command).self_trade_prevention == number


def checked(text: str, average: int = 0, **changes: Any) -> tuple[int, str] | None:
    market = a_market(**changes)
    placement = orders.place(values(text), market, 1, 0, DIGEST)
    try:
        orders.check_filters(placement, average)
    except ApiError as error:
        return error.code, error.message
    return None


def test_order_test_checks_what_the_kernel_would() -> None:
    notional = (-1013, "Filter failure: NOTIONAL")
    lot = (-1013, "Filter failure: MARKET_LOT_SIZE")
    limit = "side=BUY&type=LIMIT&timeInForce=GTC&"
    assert checked(limit + "quantity=1&price=5") is None
    assert checked(limit + "quantity=1&price=4.99") == notional
    assert checked(limit + "quantity=1&price=5.01", notional_units_max=5 * 10**8) == notional
    assert checked("side=BUY&type=STOP_LOSS&quantity=1&stopPrice=4.99") == notional
    assert checked("side=BUY&type=MARKET&quantity=1", 0) is None
    assert checked("side=BUY&type=MARKET&quantity=1", 499) == notional
    assert checked("side=BUY&type=MARKET&quantity=1", 499, notional_flags=0) is None
    assert checked("side=BUY&type=MARKET&quoteOrderQty=4.99") == notional
    assert checked("side=BUY&type=MARKET&quoteOrderQty=4.99", 0, notional_flags=2) is None
    assert (
        checked("side=BUY&type=MARKET&quoteOrderQty=6", 0, notional_flags=2, notional_units_max=5 * 10**8) == notional
    )
    assert checked("side=BUY&type=MARKET&quantity=1", 0, market_quantity_steps_min=100_001) == lot
    assert checked("side=BUY&type=MARKET&quantity=1", 0, market_quantity_steps_max=99_999) == lot
    assert checked("side=BUY&type=MARKET&quantity=1.00001", 0, market_step_steps=10) == lot
    parts = (-1013, "Filter failure: ICEBERG_PARTS")
    assert checked(limit + "quantity=1&price=5&icebergQty=0.1", iceberg_parts_max=10) is None
    assert checked(limit + "quantity=1.00001&price=5&icebergQty=0.1", iceberg_parts_max=10) == parts
    closed = (-2010, "Market is closed.")
    assert checked(limit + "quantity=1&price=5", state=MarketState.BREAK) == closed
    mode = (-1013, "This symbol does not allow the specified self-trade prevention mode.")
    assert checked(limit + "quantity=1&price=5&selfTradePreventionMode=TRANSFER") == mode


def test_order_test_checks_the_distance_to_the_average_price() -> None:
    limit = "type=LIMIT&timeInForce=GTC&quantity=1&"
    by_side = {
        "bid_multiplier_up_e4": 12_000, "bid_multiplier_down_e4": 5_000, "ask_multiplier_up_e4": 20_000,
        "ask_multiplier_down_e4": 9_000,
    }  # fmt: skip
    wrong = (-1013, "Filter failure: PERCENT_PRICE_BY_SIDE")
    for side, least, most in (("BUY", "50.00", "120.00"), ("SELL", "90.00", "200.00")):
        for price in (least, most):
            assert checked(f"side={side}&{limit}price={price}", 10_000, **by_side) is None
        for price in (f"{float(least) - 0.01:.2f}", f"{float(most) + 0.01:.2f}"):
            assert checked(f"side={side}&{limit}price={price}", 10_000, **by_side) == wrong
            assert checked(f"side={side}&{limit}price={price}", 0, **by_side) is None, "there is no average yet"
    both = {name: 11_000 if "up" in name else 0 for name in by_side} | {"notional_flags": 7}
    assert checked(f"side=BUY&{limit}price=110.01", 10_000, **both) == (-1013, "Filter failure: PERCENT_PRICE")
    assert checked(f"side=BUY&{limit}price=10", 10_000, **both) is None, "no bound below"


def test_cancel() -> None:
    sent = values(
        "orderId=5&origClientOrderId=abc&newClientOrderId=own&cancelRestrictions=ONLY_NEW", endpoints.ORDER_DELETE
    )
    cancellation = orders.cancel(sent, PLACE.market, 3, 99, DIGEST)
    command = row(cancellation.command)
    assert (command.kind, command.account, command.order_id, command.restriction) == (CommandKind.CANCEL, 3, 5, 1)
    assert command.client_id.rstrip(b"\0") == b"abc"
    assert command.other_client_id.rstrip(b"\0") == b"own"
    assert (command.deadline_ns, command.digest, cancellation.client_id) == (99, DIGEST, "own")
    by_id = orders.cancel(values("orderId=5", endpoints.ORDER_DELETE), PLACE.market, 3, 0, DIGEST)
    assert len(by_id.client_id) == 22
    with pytest.raises(ApiError) as caught:
        orders.cancel(values("orderId=0", endpoints.ORDER_DELETE), PLACE.market, 3, 0, DIGEST)
    assert (caught.value.code, caught.value.message) == (-2011, "Unknown order sent.")
    command = row(orders.cancel_all(values("", endpoints.OPEN_ORDERS_DELETE), PLACE.market, 3, 7, DIGEST).command)
    assert (command.kind, command.account, command.market, command.deadline_ns) == (CommandKind.CANCEL_ALL, 3, 1, 7)


def test_amend() -> None:
    sent = values("origClientOrderId=abc&newQty=0.5&newClientOrderId=new", endpoints.AMEND)
    amendment = orders.amend(sent, PLACE.market, 3, 99, DIGEST)
    command = row(amendment.command)
    assert (command.kind, command.quantity_steps, command.order_id) == (CommandKind.AMEND, 50_000, 0)
    assert (amendment.previous_client_id, amendment.client_id) == ("abc", "new")
    # below the filter's minimum it may still end the order: the kernel knows
    small = a_market(quantity_steps_min=1_000)
    orders.amend(values("orderId=1&newQty=0.00001", endpoints.AMEND), small, 3, 0, DIGEST)
    for text, code in (("0", -1013), ("0.000001", -1013), ("9999", -1013)):
        with pytest.raises(ApiError) as caught:
            orders.amend(values(f"orderId=1&newQty={text}", endpoints.AMEND), PLACE.market, 3, 0, DIGEST)
        assert caught.value.code == code
    with pytest.raises(ApiError) as caught:
        orders.amend(values("orderId=0&newQty=1", endpoints.AMEND), PLACE.market, 3, 0, DIGEST)
    assert (caught.value.code, caught.value.message) == (-2038, "Unknown order sent.")


ORDERS = st.fixed_dictionaries(
    {"side": st.sampled_from(["BUY", "SELL"]), "type": st.sampled_from(sorted(NEEDS))},
    optional={
        **{name: st.sampled_from([text, "0", "1", "0.00001", "99999999999999999999"]) for name, text in TEXTS.items()},
        "timeInForce": st.sampled_from(["GTC", "IOC", "FOK"]),
        "trailingDelta": st.integers(0, (1 << 63) - 1).map(str),
        "newClientOrderId": st.text("abcXYZ019-_", min_size=1, max_size=36),
        "strategyId": st.integers(0, (1 << 63) - 1).map(str),
        "strategyType": st.integers(0, (1 << 31) - 1).map(str),
        "newOrderRespType": st.sampled_from(["ACK", "RESULT", "FULL"]),
        "selfTradePreventionMode": st.sampled_from(["NONE", "EXPIRE_BOTH", "TRANSFER"]),
        "pegPriceType": st.sampled_from(["PRIMARY_PEG", "MARKET_PEG"]),
    },
)


@given(ORDERS)
def test_any_combination_gives_a_command_the_kernel_does_not_call_malformed_or_a_refusal(sent: dict[str, str]) -> None:
    text = "&".join(f"{name}={value}" for name, value in sent.items())
    try:
        placement = orders.place(values(text), PLACE.market, 1, 0, bytes(16))
    except ApiError as error:
        refusal = error
    else:
        code = PLACE.apply(placement.command).events[0].code
        assert code not in (Reject.MALFORMED, Reject.PRICE_FILTER, Reject.LOT_SIZE), "the door should have known"
        return
    assert refusal.status == 400
    assert refusal.code in (-1013, -1014, -1102, -1106, -1108, -1111, -1128, -1134, -2010)
