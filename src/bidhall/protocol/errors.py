# SPDX-License-Identifier: Apache-2.0
"""What the API says when it refuses: Binance's codes, exact texts and HTTP statuses.

Clients match on these texts, so each one is written once, here. Everything that refuses raises `ApiError`; the door
sends its `body` with its `status`. It must never carry anything of the server's inside (no trace, no path, no key).
"""

from typing import Final

from bidhall.core.records import CommandKind, Reject

_ESCAPES: Final = str.maketrans(
    {'"': '\\"', "\\": "\\\\", **{chr(code): f"\\u{code:04x}" for code in range(32)}, chr(127): "\\u007f"}
)


class ApiError(Exception):
    """A refusal: Binance's code and text, the HTTP status, for 418 and 429 when to come back, and what else its body
    holds (`data`, finished JSON)."""

    __slots__ = ("code", "data", "message", "retry_after_s", "status")

    def __init__(self, code: int, message: str, status: int = 400, retry_after_s: int = 0, data: bytes = b"") -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.status = status
        self.retry_after_s = retry_after_s
        self.data = data

    @property
    def body(self) -> bytes:
        """The JSON that the client gets."""
        text = self.message.translate(_ESCAPES).encode("utf-8", "replace")
        if self.data:
            return b'{"code":%d,"msg":"%b","data":%b}' % (self.code, text, self.data)
        return b'{"code":%d,"msg":"%b"}' % (self.code, text)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ApiError):
            return NotImplemented
        return (self.code, self.message, self.status, self.data) == (
            other.code,
            other.message,
            other.status,
            other.data,
        )

    def __hash__(self) -> int:
        return hash((self.code, self.message, self.status))


# Parameters


def illegal(name: str, pattern: str) -> ApiError:
    """Characters or a length that the parameter's pattern does not allow."""
    return ApiError(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{pattern}'.")


def illegal_somewhere() -> ApiError:
    """Bytes that are no text at all."""
    return ApiError(-1100, "Illegal characters found in a parameter.")


def duplicate() -> ApiError:
    """A parameter sent twice in the same part of the request."""
    return ApiError(-1101, "Duplicate values for a parameter detected.")


def too_many_parameters() -> ApiError:
    """More parameters than any request can need; nothing was read."""
    return ApiError(-1101, "Too many parameters sent for this endpoint.")


def missing(name: str) -> ApiError:
    """A mandatory parameter that is not there."""
    return ApiError(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def one_of(first: str, second: str) -> ApiError:
    """Neither of two parameters of which one is needed."""
    return ApiError(-1102, f"Param '{first}' or '{second}' must be sent, but both were empty/null!")


def greater_than(name: str, maximum: str) -> ApiError:
    """A value above its maximum."""
    return ApiError(-1102, f"'{name}' contains unexpected value. Cannot be greater than {maximum}.")


def unread(read: int, sent: int) -> ApiError:
    """Parameters that the endpoint does not know."""
    return ApiError(-1104, f"Not all sent parameters were read; read '{read}' parameter(s) but was sent '{sent}'.")


def empty(name: str) -> ApiError:
    """A parameter without a value."""
    return ApiError(-1105, f"Parameter '{name}' was empty.")


def not_required(name: str) -> ApiError:
    """A parameter that this kind of request must not have."""
    return ApiError(-1106, f"Parameter '{name}' sent when not required.")


def overflow(name: str) -> ApiError:
    """A number that does not fit."""
    return ApiError(-1108, f"Parameter '{name}' overflowed.")


def too_precise(name: str) -> ApiError:
    """More decimals than the asset has."""
    return ApiError(-1111, f"Parameter '{name}' has too much precision.")


def invalid_time_in_force() -> ApiError:
    """Not one of GTC, IOC, FOK."""
    return ApiError(-1115, "Invalid timeInForce.")


def invalid_order_type() -> ApiError:
    """Not an order type."""
    return ApiError(-1116, "Invalid orderType.")


def invalid_side() -> ApiError:
    """Neither BUY nor SELL."""
    return ApiError(-1117, "Invalid side.")


def invalid_interval() -> ApiError:
    """Not one of the 16 intervals."""
    return ApiError(-1120, "Invalid interval.")


def invalid_symbol() -> ApiError:
    """No such market."""
    return ApiError(-1121, "Invalid symbol.")


def invalid_symbol_status() -> ApiError:
    """Not a status of a symbol."""
    return ApiError(-1122, "Invalid symbolStatus.")


def too_big_interval(hours: int) -> ApiError:
    """startTime and endTime are too far apart."""
    return ApiError(-1127, f"More than {hours} hours between startTime and endTime.")


def bad_combination() -> ApiError:
    """Optional parameters that do not go together."""
    return ApiError(-1128, "Combination of optional parameters invalid.")


def invalid_data(name: str) -> ApiError:
    """A value that the parameter does not have."""
    return ApiError(-1130, f"Data sent for parameter '{name}' is not valid.")


def bad_strategy_type() -> ApiError:
    """strategyType is reserved below 1000000."""
    return ApiError(-1134, "strategyType was less than 1000000.")


def invalid_json() -> ApiError:
    """A frame that is no JSON object."""
    return ApiError(-1135, "Invalid JSON Request")


def invalid_json_parameter(name: str) -> ApiError:
    """JSON inside a parameter that cannot be read."""
    return ApiError(-1135, f"JSON sent for parameter '{name}' is not valid")


def invalid_ticker_type() -> ApiError:
    """Neither FULL nor MINI."""
    return ApiError(-1139, "Invalid ticker type.")


def invalid_cancel_restrictions() -> ApiError:
    """Not a cancel restriction."""
    return ApiError(-1145, "cancelRestrictions has to be either ONLY_NEW or ONLY_PARTIALLY_FILLED.")


def duplicate_symbols() -> ApiError:
    """A symbol twice in a list."""
    return ApiError(-1151, "Symbol is present multiple times in the list.")


def invalid_time_unit() -> ApiError:
    """A time unit other than the two."""
    return ApiError(-1194, "Invalid value for time unit; expected either MICROSECOND or MILLISECOND.")


def invalid_peg_price_type() -> ApiError:
    """Not a peg price type."""
    return ApiError(-1210, "Invalid pegPriceType.")


def invalid_peg_offset_type() -> ApiError:
    """Not a peg offset type."""
    return ApiError(-1211, "Invalid pegOffsetType.")


def status_mismatch() -> ApiError:
    """The one symbol asked for is in another state."""
    return ApiError(-1220, "The symbol's status does not match the requested symbolStatus.")


# Keys, signatures, time


def outside_window() -> ApiError:
    """Too late."""
    return ApiError(-1021, "Timestamp for this request is outside of the recvWindow.")


def ahead_of_time() -> ApiError:
    """The client's clock is in the future."""
    return ApiError(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")


def bad_signature() -> ApiError:
    """The signature does not belong to these bytes and this key."""
    return ApiError(-1022, "Signature for this request is not valid.")


def bad_key_format() -> ApiError:
    """No key, or nothing that could be one."""
    return ApiError(-2014, "API-key format invalid.", 401)


def bad_key() -> ApiError:
    """An unknown or disabled key, or one without this permission."""
    return ApiError(-2015, "Invalid API-key, IP, or permissions for action.", 401)


# Orders


def filter_failure(name: str) -> ApiError:
    """A filter of the market says no."""
    return ApiError(-1013, f"Filter failure: {name}")


def icebergs_not_supported() -> ApiError:
    """This market takes no icebergs."""
    return new_order_rejected("Iceberg orders are not supported for this symbol.")


def iceberg_exceeds_quantity() -> ApiError:
    """It would show more than there is."""
    return new_order_rejected("IcebergQty exceeds QTY.")


def cancel_replace_not_supported() -> ApiError:
    """This market takes no cancel-replace."""
    return new_order_rejected("Order cancel-replace is not supported for this symbol.")


class CancelReplaceError(ApiError):
    """Not both halves of a cancel-replace were done: `data` says what became of each, `order_result` of the order."""

    __slots__ = ("order_result",)

    def __init__(self, code: int, message: str, status: int, data: bytes, order_result: str) -> None:
        super().__init__(code, message, status, 0, data)
        self.order_result = order_result


def cancel_replace_partly_failed(status: int, data: bytes, order_result: str) -> CancelReplaceError:
    """One of the two was done, the other was not."""
    return CancelReplaceError(-2021, "Order cancel-replace partially failed.", status, data, order_result)


def cancel_replace_failed(status: int, data: bytes, order_result: str) -> CancelReplaceError:
    """Neither was done."""
    return CancelReplaceError(-2022, "Order cancel-replace failed.", status, data, order_result)


def self_trade_prevention_not_allowed() -> ApiError:
    """A mode that the market does not have."""
    return ApiError(-1013, "This symbol does not allow the specified self-trade prevention mode.")


def unsupported_combination() -> ApiError:
    """Order fields that do not fit together."""
    return ApiError(-1014, "Unsupported order combination.")


def new_order_rejected(message: str) -> ApiError:
    """The engine's no to a new order."""
    return ApiError(-2010, message)


def unknown_order() -> ApiError:
    """A cancel of an order that is not open."""
    return ApiError(-2011, "Unknown order sent.")


def no_such_order() -> ApiError:
    """A query for an order that never was."""
    return ApiError(-2013, "Order does not exist.")


def wrong_client_id() -> ApiError:
    """The order exists, but its client id is another."""
    return ApiError(-2039, "Client order ID is not correct for this order ID.")


# The server


def internal() -> ApiError:
    """A fault of ours; what became of the request is not known."""
    return ApiError(-1000, "An unknown error occurred while processing the request.", 500)


def too_much_weight(limit: int, interval: str, retry_after_s: int = 1) -> ApiError:
    """The request weight of this address is used up, e.g. limit 6000, interval "1 MINUTE"."""
    return ApiError(
        -1003,
        f"Too much request weight used; current limit is {limit} request weight per {interval}. "
        "Please use WebSocket Streams for live updates to avoid polling the API.",
        429,
        retry_after_s,
    )


def banned(until_ms: int, retry_after_s: int = 120) -> ApiError:
    """It went on after 429."""
    return ApiError(
        -1003,
        f"Way too much request weight used; IP banned until {until_ms}. "
        "Please use WebSocket Streams for live updates to avoid bans.",
        418,
        retry_after_s,
    )


def unknown_outcome() -> ApiError:
    """The command was sent to the log and nobody knows yet what became of it."""
    return ApiError(
        -1007, "Timeout waiting for response from backend server. Send status unknown; execution status unknown.", 504
    )


def busy() -> ApiError:
    """Refused before anything happened, for lack of room: a definite no, hence no 5xx."""
    return ApiError(
        -1008,
        "Server is currently overloaded with other requests. Please try again in a few minutes.",
        429,
        1,
    )


def too_many_orders(limit: int, interval: str, retry_after_s: int = 1) -> ApiError:
    """The order count of this account is used up."""
    return ApiError(-1015, f"Too many new orders; current limit is {limit} orders per {interval}.", 429, retry_after_s)


def shutting_down() -> ApiError:
    """The process stops; another one will answer."""
    return ApiError(-1016, "This service is no longer available.", 503)


def unsupported() -> ApiError:
    """Something that this exchange does not do."""
    return ApiError(-1020, "This operation is not supported.")


def not_found() -> ApiError:
    """No endpoint at that path."""
    return ApiError(-1020, "This operation is not supported.", 404)


def method_not_allowed() -> ApiError:
    """The path exists, the method does not."""
    return ApiError(-1020, "This operation is not supported.", 405)


def too_many_connections(limit: int) -> ApiError:
    """Every place is taken."""
    return ApiError(-1034, f"Too many concurrent connections; current limit is '{limit}'.", 429, 1)


# User data streams


def subscription_active() -> ApiError:
    """This account is subscribed on this connection already."""
    return ApiError(-2035, "User Data Stream subscription already active.")


def subscription_inactive() -> ApiError:
    """There is no such subscription."""
    return ApiError(-2036, "User Data Stream subscription not active.")


def too_many_subscription_ids() -> ApiError:
    """The connection has handed out all its ids."""
    return ApiError(-2042, "Maximum subscription ID reached for this connection.")


def no_such_listen_key() -> ApiError:
    """A listen key that is over, or never was."""
    return ApiError(-1125, "This listenKey does not exist.")


def kind_of_key_not_supported(kind: str) -> ApiError:
    """Only Ed25519 keys can log a connection on."""
    return ApiError(-4056, f"{'HMAC_SHA256' if kind == 'hmac' else kind.upper()} API key is not supported.")


# What the kernel refuses

_ENGINE_CODES: Final[dict[int, int]] = {
    CommandKind.PLACE: -2010,
    CommandKind.CANCEL: -2011,
    CommandKind.CANCEL_ALL: -2011,
    CommandKind.AMEND: -2038,
    CommandKind.REPLACE: -2010,
}
_ENGINE_TEXTS: Final[dict[int, str]] = {
    Reject.ACCOUNT_CLOSED: "This account may not place or cancel orders.",
    Reject.MARKET_CLOSED: "Market is closed.",
    Reject.DUPLICATE_CLIENT_ID: "Duplicate order sent.",
    Reject.WOULD_TRIGGER: "Order would trigger immediately.",
    Reject.WOULD_MATCH: "Order would immediately match and take.",
    Reject.INSUFFICIENT_BALANCE: "Account has insufficient balance for requested action.",
    Reject.UNKNOWN_ORDER: "Unknown order sent.",
    Reject.CANCEL_RESTRICTED: "Order was not canceled due to cancel restrictions.",
    Reject.AMEND_NO_CHANGE: "The requested action would change no state; rejecting",
    Reject.AMEND_INCREASE: "Order amend (quantity increase) is not supported.",
    Reject.AMEND_LIMIT: "Filter failure: MAX_NUM_ORDER_AMENDS",
}
_REJECTS: Final[dict[int, ApiError]] = {
    Reject.MALFORMED: unsupported_combination(),
    Reject.UNKNOWN_ACCOUNT: bad_key(),
    Reject.UNKNOWN_MARKET: invalid_symbol(),
    Reject.SELF_TRADE_PREVENTION: self_trade_prevention_not_allowed(),
    Reject.PRICE_FILTER: filter_failure("PRICE_FILTER"),
    Reject.LOT_SIZE: filter_failure("LOT_SIZE"),
    Reject.MARKET_LOT_SIZE: filter_failure("MARKET_LOT_SIZE"),
    Reject.NOTIONAL: filter_failure("NOTIONAL"),
    Reject.MAX_NUM_ORDERS: filter_failure("MAX_NUM_ORDERS"),
    Reject.MAX_NUM_ALGO_ORDERS: filter_failure("MAX_NUM_ALGO_ORDERS"),
    Reject.ICEBERG_PARTS: filter_failure("ICEBERG_PARTS"),
    Reject.MAX_NUM_ICEBERG_ORDERS: filter_failure("MAX_NUM_ICEBERG_ORDERS"),
    Reject.MAX_POSITION: filter_failure("MAX_POSITION"),
    Reject.PERCENT_PRICE: filter_failure("PERCENT_PRICE_BY_SIDE"),
    Reject.BOOK_FULL: busy(),
    Reject.DEADLINE: outside_window(),
    Reject.BUSY: busy(),
    # The rest answers commands that only operators send; the door of the API never does.
    Reject.UNKNOWN_ASSET: invalid_data("asset"),
    Reject.SUPPLY: overflow("amount"),
    Reject.LIMIT: busy(),
    Reject.DUPLICATE_NAME: invalid_data("name"),
    Reject.BAD_MARKET: invalid_data("symbol"),
    Reject.NOT_CONFIGURED: shutting_down(),
    Reject.RULES: unsupported(),
    Reject.NOT_ATTEMPTED: unsupported(),  # it never answers alone: what the cancel before it said does
}


def from_reject(code: int, command_kind: int, percent_price: str = "") -> ApiError:
    """The kernel's Reject as Binance says it; the same reason has another code for a place, a cancel and an amend.
    `percent_price`: that filter's name in this market."""
    text = _ENGINE_TEXTS.get(code)
    if text is not None:
        return ApiError(_ENGINE_CODES.get(command_kind, -2010), text)
    if code == Reject.PERCENT_PRICE and percent_price:
        return filter_failure(percent_price)
    known = _REJECTS.get(code)
    return internal() if known is None else ApiError(known.code, known.message, known.status, known.retry_after_s)
