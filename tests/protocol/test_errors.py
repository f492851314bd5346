# SPDX-License-Identifier: Apache-2.0
"""The errors: every reason of the kernel has Binance's words, and no text can break the JSON."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bidhall.core.records import CommandKind, Reject
from bidhall.protocol import errors
from bidhall.protocol.errors import ApiError

PLACE, CANCEL, AMEND = CommandKind.PLACE, CommandKind.CANCEL, CommandKind.AMEND
REPLACE = CommandKind.REPLACE
TABLE = [
    (Reject.MALFORMED, PLACE, -1014, "Unsupported order combination.", 400),
    (Reject.UNKNOWN_ACCOUNT, PLACE, -2015, "Invalid API-key, IP, or permissions for action.", 401),
    (Reject.ACCOUNT_CLOSED, PLACE, -2010, "This account may not place or cancel orders.", 400),
    (Reject.UNKNOWN_MARKET, PLACE, -1121, "Invalid symbol.", 400),
    (Reject.MARKET_CLOSED, PLACE, -2010, "Market is closed.", 400),
    (Reject.MARKET_CLOSED, CANCEL, -2011, "Market is closed.", 400),
    (Reject.MARKET_CLOSED, AMEND, -2038, "Market is closed.", 400),
    (Reject.PRICE_FILTER, PLACE, -1013, "Filter failure: PRICE_FILTER", 400),
    (Reject.LOT_SIZE, PLACE, -1013, "Filter failure: LOT_SIZE", 400),
    (Reject.LOT_SIZE, AMEND, -1013, "Filter failure: LOT_SIZE", 400),
    (Reject.MARKET_LOT_SIZE, PLACE, -1013, "Filter failure: MARKET_LOT_SIZE", 400),
    (Reject.NOTIONAL, PLACE, -1013, "Filter failure: NOTIONAL", 400),
    (Reject.MAX_NUM_ORDERS, PLACE, -1013, "Filter failure: MAX_NUM_ORDERS", 400),
    (Reject.MAX_NUM_ALGO_ORDERS, PLACE, -1013, "Filter failure: MAX_NUM_ALGO_ORDERS", 400),
    (Reject.ICEBERG_PARTS, PLACE, -1013, "Filter failure: ICEBERG_PARTS", 400),
    (Reject.MAX_NUM_ICEBERG_ORDERS, PLACE, -1013, "Filter failure: MAX_NUM_ICEBERG_ORDERS", 400),
    (Reject.MAX_POSITION, PLACE, -1013, "Filter failure: MAX_POSITION", 400),
    (Reject.PERCENT_PRICE, PLACE, -1013, "Filter failure: PERCENT_PRICE_BY_SIDE", 400),
    (Reject.MARKET_CLOSED, REPLACE, -2010, "Market is closed.", 400),
    (Reject.ACCOUNT_CLOSED, REPLACE, -2010, "This account may not place or cancel orders.", 400),
    (Reject.DUPLICATE_CLIENT_ID, PLACE, -2010, "Duplicate order sent.", 400),
    (Reject.WOULD_TRIGGER, PLACE, -2010, "Order would trigger immediately.", 400),
    (Reject.WOULD_MATCH, PLACE, -2010, "Order would immediately match and take.", 400),
    (Reject.INSUFFICIENT_BALANCE, PLACE, -2010, "Account has insufficient balance for requested action.", 400),
    (Reject.UNKNOWN_ORDER, CANCEL, -2011, "Unknown order sent.", 400),
    (Reject.UNKNOWN_ORDER, CommandKind.CANCEL_ALL, -2011, "Unknown order sent.", 400),
    (Reject.UNKNOWN_ORDER, AMEND, -2038, "Unknown order sent.", 400),
    (Reject.CANCEL_RESTRICTED, CANCEL, -2011, "Order was not canceled due to cancel restrictions.", 400),
    (Reject.AMEND_NO_CHANGE, AMEND, -2038, "The requested action would change no state; rejecting", 400),
    (Reject.AMEND_INCREASE, AMEND, -2038, "Order amend (quantity increase) is not supported.", 400),
    (Reject.AMEND_LIMIT, AMEND, -2038, "Filter failure: MAX_NUM_ORDER_AMENDS", 400),
    (Reject.DEADLINE, PLACE, -1021, "Timestamp for this request is outside of the recvWindow.", 400),
    (
        Reject.BUSY, PLACE, -1008,
        "Server is currently overloaded with other requests. Please try again in a few minutes.", 429,
    ),
    (
        Reject.BOOK_FULL, PLACE, -1008,
        "Server is currently overloaded with other requests. Please try again in a few minutes.", 429,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("reject", "kind", "code", "message", "status"), TABLE)
def test_rejects(reject: Reject, kind: CommandKind, code: int, message: str, status: int) -> None:
    error = errors.from_reject(reject, kind)
    assert (error.code, error.message, error.status) == (code, message, status)
    assert orjson.loads(error.body) == {"code": code, "msg": message}


@pytest.mark.parametrize("kind", list(CommandKind))
@pytest.mark.parametrize("reject", [reject for reject in Reject if reject])
def test_every_reject_is_a_clean_refusal(reject: Reject, kind: CommandKind) -> None:
    """A definite no is never a 5xx (its outcome would be unknown), but for a kernel that is not set up."""
    error = errors.from_reject(int(reject), int(kind))
    assert error.status < 500 or reject is Reject.NOT_CONFIGURED
    assert errors.from_reject(reject, kind) is not error, (
        "each refusal is an object of its own: tracebacks stick to them"
    )


def test_unknown_reasons_are_our_fault() -> None:
    assert errors.from_reject(12_345, PLACE).status == 500


def test_percent_price_has_the_name_of_the_market_s_filter() -> None:
    assert errors.from_reject(Reject.PERCENT_PRICE, PLACE, "PERCENT_PRICE").message == "Filter failure: PERCENT_PRICE"


def test_a_refusal_may_hold_data() -> None:
    error = ApiError(-2021, 'a "text"', 409, 0, b'{"x":[1]}')
    assert orjson.loads(error.body) == {"code": -2021, "msg": 'a "text"', "data": {"x": [1]}}
    assert error != ApiError(-2021, 'a "text"', 409)


@given(st.integers(-9999, -1), st.text(st.characters(exclude_categories=[])))
def test_bodies_are_json(code: int, message: str) -> None:
    body = orjson.loads(ApiError(code, message).body)
    assert body["code"] == code
    assert body["msg"] == message.encode("utf-8", "replace").decode()


STATUSES = [
    (errors.unknown_outcome(), -1007, 504, 0), (errors.busy(), -1008, 429, 1),
    (errors.too_much_weight(6000, "1 MINUTE", 7), -1003, 429, 7), (errors.banned(123, 120), -1003, 418, 120),
    (errors.too_many_orders(100, "10 SECOND", 3), -1015, 429, 3), (errors.bad_signature(), -1022, 400, 0),
    (errors.bad_key_format(), -2014, 401, 0), (errors.bad_key(), -2015, 401, 0), (errors.internal(), -1000, 500, 0),
    (errors.shutting_down(), -1016, 503, 0), (errors.not_found(), -1020, 404, 0), (errors.no_such_order(), -2013,
    400, 0),
]  # fmt: skip


@pytest.mark.parametrize(("error", "code", "status", "retry"), STATUSES)
def test_statuses(error: ApiError, code: int, status: int, retry: int) -> None:
    assert (error.code, error.status, error.retry_after_s) == (code, status, retry)


def test_texts_with_values() -> None:
    assert errors.too_much_weight(6000, "1 MINUTE").message == (
        "Too much request weight used; current limit is 6000 request weight per 1 MINUTE. "
        "Please use WebSocket Streams for live updates to avoid polling the API."
    )
    assert errors.banned(1_700_000_000_000).message == (
        "Way too much request weight used; IP banned until 1700000000000. "
        "Please use WebSocket Streams for live updates to avoid bans."
    )
    assert (
        errors.too_many_orders(100, "10 SECOND").message
        == "Too many new orders; current limit is 100 orders per 10 SECOND."
    )
    assert errors.wrong_client_id().message == "Client order ID is not correct for this order ID."
    assert errors.invalid_symbol() == ApiError(-1121, "Invalid symbol.")
    assert errors.invalid_symbol() != errors.status_mismatch()
    assert len({errors.invalid_symbol(), errors.invalid_symbol()}) == 1
