# SPDX-License-Identifier: Apache-2.0
"""What there is to ask: every endpoint and WebSocket API method with its parameters, security and weight.

The door dispatches by `ENDPOINTS`, the WebSocket API by `WS_METHODS`; `requests.parse` reads the declarations. A
declaration must never do anything: checks across parameters see the parsed values and raise, nothing else.
"""

import copy
from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import Any, Final

from bidhall.protocol import errors
from bidhall.protocol.parameters import (
    CANCEL_REPLACE_MODES,
    CANCEL_RESTRICTIONS,
    INTERVALS,
    ORDER_TYPES,
    RATE_LIMIT_MODES,
    RESPONSE_TYPES,
    SELF_TRADE_PREVENTIONS,
    SIDES,
    SYMBOL_STATUSES,
    TICKER_TYPES,
    TIMES_IN_FORCE,
    Parameter,
    api_key,
    boolean,
    choice,
    client_id,
    decimal,
    integer,
    integer_32,
    limit,
    permissions,
    receive_window,
    signature,
    string,
    symbol,
    symbols,
    time,
    time_zone,
    timestamp,
    window_size,
)

Values = dict[str, Any]
Weight = Callable[[Values], int]
Check = Callable[[Values], None]

DAY_NS: Final = 86_400_000_000_000
DEFAULT_WINDOW_NS: Final = 5_000_000_000


class Security(IntEnum):
    """Who may call; all but NONE are signed."""

    NONE = 0
    TRADE = 1
    USER_DATA = 2
    USER_STREAM = 3


def _nothing(_values: Values) -> None:
    pass


class Endpoint:
    """A declared endpoint. `shapes` only speeds parsing up: see `requests.Shape`."""

    __slots__ = (
        "by_name", "check", "defaults", "free_on_success", "mandatory", "method", "parameters", "path", "rest",
        "security", "shapes", "signed", "weight",
    )  # fmt: skip

    def __init__(
        self,
        method: str,
        path: str,
        *parameters: Parameter,
        security: Security = Security.NONE,
        weight: int | Weight = 1,
        defaults: dict[str, Any] | None = None,
        check: Check = _nothing,
        free_on_success: bool = False,
        key_parameter: bool = False,
    ) -> None:
        signed = security is not Security.NONE
        extra = (receive_window(), timestamp(), signature()) if signed else ()
        key = (api_key(),) if signed and key_parameter else ()
        self.method = method
        self.path = path
        self.rest: Endpoint | None = None  # of a WebSocket API method: the endpoint that does the same
        self.security = security
        self.signed = signed
        self.defaults = tuple((defaults or {}).items())
        self.check = check
        self.weight: Weight = weight if callable(weight) else _constant(weight)
        self.free_on_success = free_on_success
        self.shapes: list[Any] = []
        self._take(*parameters, *key, *extra)

    def _take(self, *parameters: Parameter) -> None:
        self.parameters = parameters
        self.by_name = {parameter.name: parameter for parameter in parameters}
        self.mandatory = frozenset(parameter.name for parameter in parameters if parameter.mandatory)

    def in_session(self) -> "Endpoint":
        """The same on a connection that has logged on: it need not name its key, nor sign."""
        found = copy.copy(self)
        if self.signed:
            optional = ("apiKey", "signature")
            own = self.parameters
            found._take(*(one._replace(mandatory=False) if one.name in optional else one for one in own))
        return found


def _constant(weight: int) -> Weight:
    return lambda _values: weight


# Weights


def _depth_weight(values: Values) -> int:
    rows = values["limit"]
    return 5 if rows <= 100 else 25 if rows <= 500 else 50 if rows <= 1000 else 250


def _ticker_24h_weight(values: Values) -> int:
    if "symbol" in values:
        return 2
    count = len(values.get("symbols", ()))
    return 80 if count == 0 or count > 100 else 2 if count <= 20 else 40


def _rolling_weight(values: Values) -> int:
    return min(200, 4 * len(values.get("symbols", (None,))))


def _one_or_many(one: int, many: int) -> Weight:
    return lambda values: one if "symbol" in values else many


# Checks across parameters


def _not_together(*names: str) -> Check:
    def check(values: Values) -> None:
        if sum(name in values for name in names) > 1:
            raise errors.bad_combination()

    return check


def _either(first: str, second: str, *, both: bool) -> Check:
    def check(values: Values) -> None:
        if first in values:
            if second in values and not both:
                raise errors.bad_combination()
        elif second not in values:
            raise errors.one_of(first, second)

    return check


def _within_a_day(values: Values) -> None:
    if "startTime" in values and "endTime" in values and values["endTime"] - values["startTime"] > DAY_NS:
        raise errors.too_big_interval(24)


def _from_id_alone(values: Values) -> None:
    if "fromId" in values and ("startTime" in values or "endTime" in values):
        raise errors.bad_combination()


_MY_TRADES_COMBINATIONS: Final = frozenset(
    frozenset(names)
    for names in (
        (), ("orderId",), ("startTime",), ("endTime",), ("fromId",), ("startTime", "endTime"), ("orderId", "fromId"),
    )
)  # fmt: skip


_MY_TRADES_CHOICES: Final = frozenset({"orderId", "startTime", "endTime", "fromId"})


def _my_trades_combination(values: Values) -> None:
    if values.keys() & _MY_TRADES_CHOICES not in _MY_TRADES_COMBINATIONS:
        raise errors.bad_combination()
    _within_a_day(values)


def _prevented_combination(values: Values) -> None:
    by_order = "orderId" in values
    if ("preventedMatchId" in values) == by_order:
        raise errors.bad_combination() if by_order else errors.one_of("preventedMatchId", "orderId")
    if "fromPreventedMatchId" in values and not by_order:
        raise errors.bad_combination()


# Declarations. Parameters stand in the order of Binance's tables: the first one that is wrong decides the error.

_SYMBOL: Final = symbol(mandatory=True)
_STATUS: Final = choice("symbolStatus", SYMBOL_STATUSES, errors.invalid_symbol_status())
_TICKER_TYPE: Final = choice("type", TICKER_TYPES, errors.invalid_ticker_type())
_INTERVAL: Final = choice("interval", INTERVALS, errors.invalid_interval(), mandatory=True)
_TIMES: Final = (time("startTime"), time("endTime"))
_ONE_OR_MANY: Final = _not_together("symbol", "symbols")
_TARGET: Final = (integer("orderId"), client_id("origClientOrderId"))
_ONE_TARGET: Final = _either("origClientOrderId", "orderId", both=True)
_KLINES: Final = (_SYMBOL, _INTERVAL, *_TIMES, time_zone(), limit(1000))

_ORDER: Final = (
    _SYMBOL,
    choice("side", SIDES, errors.invalid_side(), mandatory=True),
    choice("type", ORDER_TYPES, errors.invalid_order_type(), mandatory=True),
    choice("timeInForce", TIMES_IN_FORCE, errors.invalid_time_in_force()),
    decimal("quantity"),
    decimal("quoteOrderQty"),
    decimal("price"),
    client_id("newClientOrderId"),
    integer("strategyId"),
    integer_32("strategyType"),
    decimal("stopPrice"),
    integer("trailingDelta"),
    decimal("icebergQty"),
    choice("newOrderRespType", RESPONSE_TYPES, errors.invalid_data("newOrderRespType")),
    choice("selfTradePreventionMode", SELF_TRADE_PREVENTIONS, errors.invalid_data("selfTradePreventionMode")),
    choice("pegPriceType", {"PRIMARY_PEG": 1, "MARKET_PEG": 2}, errors.invalid_peg_price_type()),
    integer("pegOffsetValue"),
    choice("pegOffsetType", {"PRICE_LEVEL": 1}, errors.invalid_peg_offset_type()),
)
_RESTRICTIONS: Final = choice("cancelRestrictions", CANCEL_RESTRICTIONS, errors.invalid_cancel_restrictions())
_CANCEL_AND_PLACE: Final = (
    *_ORDER[:3],
    choice("cancelReplaceMode", CANCEL_REPLACE_MODES, errors.invalid_data("cancelReplaceMode"), mandatory=True),
    *_ORDER[3:7],
    client_id("cancelNewClientOrderId"),
    client_id("cancelOrigClientOrderId"),
    integer("cancelOrderId"),
    *_ORDER[7:15],
    _RESTRICTIONS,
    choice("orderRateLimitExceededMode", RATE_LIMIT_MODES, errors.invalid_data("orderRateLimitExceededMode")),
    *_ORDER[15:],
)


def _test_weight(values: Values) -> int:
    return 20 if values.get("computeCommissionRates") else 1


def _market(method: str, name: str, *parameters: Parameter, **options: Any) -> Endpoint:
    return Endpoint(method, "/api/v3/" + name, *parameters, **options)


def _user(method: str, name: str, *parameters: Parameter, **options: Any) -> Endpoint:
    return Endpoint(method, "/api/v3/" + name, *parameters, security=Security.USER_DATA, **options)


def _trade(method: str, name: str, *parameters: Parameter, **options: Any) -> Endpoint:
    return Endpoint(method, "/api/v3/" + name, *parameters, security=Security.TRADE, **options)


PING: Final = _market("GET", "ping")
TIME: Final = _market("GET", "time")
EXCHANGE_INFO: Final = _market(
    "GET", "exchangeInfo", symbol(), symbols(), permissions(), boolean("showPermissionSets"), _STATUS,
    weight=20, check=_not_together("symbol", "symbols", "permissions", "symbolStatus"),
)  # fmt: skip
DEPTH: Final = _market("GET", "depth", _SYMBOL, limit(5000), _STATUS, weight=_depth_weight, defaults={"limit": 100})
TRADES: Final = _market("GET", "trades", _SYMBOL, limit(1000), weight=25, defaults={"limit": 500})
HISTORICAL_TRADES: Final = _market(
    "GET", "historicalTrades", _SYMBOL, limit(1000), integer("fromId"), weight=25, defaults={"limit": 500}
)
AGG_TRADES: Final = _market(
    "GET", "aggTrades", _SYMBOL, integer("fromId"), *_TIMES, limit(1000),
    weight=4, defaults={"limit": 500}, check=_from_id_alone,
)  # fmt: skip
KLINES: Final = _market("GET", "klines", *_KLINES, weight=2, defaults={"limit": 500})
UI_KLINES: Final = _market("GET", "uiKlines", *_KLINES, weight=2, defaults={"limit": 500})
AVG_PRICE: Final = _market("GET", "avgPrice", _SYMBOL, weight=2)
TICKER_24H: Final = _market(
    "GET", "ticker/24hr", symbol(), symbols(), _TICKER_TYPE, _STATUS, weight=_ticker_24h_weight, check=_ONE_OR_MANY
)
TICKER_PRICE: Final = _market(
    "GET", "ticker/price", symbol(), symbols(), _STATUS, weight=_one_or_many(2, 4), check=_ONE_OR_MANY
)
TICKER_BOOK: Final = _market(
    "GET", "ticker/bookTicker", symbol(), symbols(), _STATUS, weight=_one_or_many(2, 4), check=_ONE_OR_MANY
)
TRADING_DAY: Final = _market(
    "GET", "ticker/tradingDay", symbol(), symbols(100), time_zone(), _TICKER_TYPE, _STATUS,
    weight=_rolling_weight, check=_either("symbol", "symbols", both=False),
)  # fmt: skip
TICKER: Final = _market(
    "GET", "ticker", symbol(), symbols(100), window_size(), _TICKER_TYPE, _STATUS,
    weight=_rolling_weight, defaults={"windowSize": DAY_NS}, check=_either("symbol", "symbols", both=False),
)  # fmt: skip

ACCOUNT: Final = _user("GET", "account", boolean("omitZeroBalances"), weight=20)
COMMISSION: Final = _user("GET", "account/commission", _SYMBOL, weight=20)
ORDER_RATE: Final = _user("GET", "rateLimit/order", weight=40)
ORDER_GET: Final = _user("GET", "order", _SYMBOL, *_TARGET, weight=4, check=_ONE_TARGET)
OPEN_ORDERS_GET: Final = _user("GET", "openOrders", symbol(), weight=_one_or_many(6, 80))
ALL_ORDERS: Final = _user(
    "GET", "allOrders", _SYMBOL, integer("orderId"), *_TIMES, limit(1000),
    weight=20, defaults={"limit": 500}, check=_within_a_day,
)  # fmt: skip
MY_TRADES: Final = _user(
    "GET", "myTrades", _SYMBOL, integer("orderId"), *_TIMES, integer("fromId"), limit(1000),
    weight=lambda values: 5 if "orderId" in values else 20, defaults={"limit": 500}, check=_my_trades_combination,
)  # fmt: skip
MY_PREVENTED_MATCHES: Final = _user(
    "GET", "myPreventedMatches", _SYMBOL, integer("preventedMatchId"), integer("orderId"),
    integer("fromPreventedMatchId"), limit(1000),
    weight=lambda values: 20 if "orderId" in values else 2, defaults={"limit": 500}, check=_prevented_combination,
)  # fmt: skip
AMENDMENTS: Final = _user(
    "GET", "order/amendments", _SYMBOL, integer("orderId", mandatory=True), integer("fromExecutionId"), limit(1000),
    weight=4, defaults={"limit": 500},
)  # fmt: skip
MY_FILTERS: Final = _user("GET", "myFilters", _SYMBOL, weight=40)

ORDER_POST: Final = _trade("POST", "order", *_ORDER, free_on_success=True)
ORDER_TEST: Final = _trade("POST", "order/test", *_ORDER, boolean("computeCommissionRates"), weight=_test_weight)
ORDER_DELETE: Final = _trade(
    "DELETE", "order", _SYMBOL, *_TARGET, client_id("newClientOrderId"), _RESTRICTIONS,
    check=_ONE_TARGET, free_on_success=True,
)  # fmt: skip
OPEN_ORDERS_DELETE: Final = _trade("DELETE", "openOrders", _SYMBOL, free_on_success=True)
CANCEL_REPLACE: Final = _trade(
    "POST", "order/cancelReplace", *_CANCEL_AND_PLACE,
    check=_either("cancelOrigClientOrderId", "cancelOrderId", both=True), free_on_success=True,
)  # fmt: skip
AMEND: Final = _trade(
    "PUT", "order/amend/keepPriority", _SYMBOL, *_TARGET, client_id("newClientOrderId"),
    decimal("newQty", mandatory=True), weight=4, check=_ONE_TARGET,
)  # fmt: skip

# Legacy user data streams: the key header alone, nothing is signed.
_LISTEN_KEY: Final = string("listenKey", mandatory=True)
LISTEN_KEY_POST: Final = _market("POST", "userDataStream", weight=2)
LISTEN_KEY_PUT: Final = _market("PUT", "userDataStream", _LISTEN_KEY, weight=2)
LISTEN_KEY_DELETE: Final = _market("DELETE", "userDataStream", _LISTEN_KEY, weight=2)


def _sapi(method: str, path: str, *parameters: Parameter, security: Security = Security.USER_DATA) -> Endpoint:
    return Endpoint(method, "/sapi/" + path, *parameters, security=security)


# Stubs of binance_api.md §2.4: just enough that ccxt and python-binance start with their defaults. ccxt signs them even
# where no signature is needed.
_SIGNED_BY_HABIT: Final = (string("recvWindow"), string("timestamp"), string("signature"))
SAPI_SYSTEM_STATUS: Final = _sapi("GET", "v1/system/status", *_SIGNED_BY_HABIT, security=Security.NONE)
SAPI_COINS: Final = _sapi("GET", "v1/capital/config/getall")
SAPI_MARGIN_PAIRS: Final = _sapi("GET", "v1/margin/allPairs", symbol(), *_SIGNED_BY_HABIT, security=Security.NONE)
SAPI_ISOLATED_PAIRS: Final = _sapi("GET", "v1/margin/isolated/allPairs", symbol())
SAPI_TRADE_FEE: Final = _sapi("GET", "v1/asset/tradeFee", symbol())
SAPI_USER_ASSETS: Final = _sapi("POST", "v3/asset/getUserAsset", string("asset"), boolean("needBtcValuation"))
SAPI_DELIST_SCHEDULE: Final = _sapi("GET", "v1/spot/delist-schedule", *_SIGNED_BY_HABIT, security=Security.NONE)


def _by_route(endpoints: Iterable[Endpoint]) -> dict[tuple[bytes, bytes], Endpoint]:
    return {(endpoint.method.encode(), endpoint.path.encode()): endpoint for endpoint in endpoints}


ENDPOINTS: Final = _by_route((
    PING, TIME, EXCHANGE_INFO, DEPTH, TRADES, HISTORICAL_TRADES, AGG_TRADES, KLINES, UI_KLINES, AVG_PRICE, TICKER_24H,
    TICKER_PRICE, TICKER_BOOK, TICKER, TRADING_DAY, LISTEN_KEY_POST, LISTEN_KEY_PUT, LISTEN_KEY_DELETE, ACCOUNT,
    COMMISSION, ORDER_RATE, ORDER_GET, OPEN_ORDERS_GET, ALL_ORDERS, MY_TRADES, ORDER_POST, ORDER_TEST, ORDER_DELETE,
    OPEN_ORDERS_DELETE, CANCEL_REPLACE, AMEND, MY_PREVENTED_MATCHES, AMENDMENTS, MY_FILTERS, SAPI_SYSTEM_STATUS,
    SAPI_COINS, SAPI_MARGIN_PAIRS, SAPI_ISOLATED_PAIRS, SAPI_TRADE_FEE, SAPI_USER_ASSETS, SAPI_DELIST_SCHEDULE,
))  # fmt: skip


def _as_method(name: str, endpoint: Endpoint) -> Endpoint:
    """The same declaration as a WebSocket API method, where the key is a parameter and not a header."""
    own = [one for one in endpoint.parameters if one.name not in ("recvWindow", "timestamp", "signature")]
    found = Endpoint(
        "WS", name, *own, security=endpoint.security, weight=endpoint.weight, defaults=dict(endpoint.defaults),
        check=endpoint.check, free_on_success=endpoint.free_on_success, key_parameter=True,
    )  # fmt: skip
    found.rest = endpoint
    return found


def _of_session(name: str, *parameters: Parameter, security: Security = Security.NONE) -> Endpoint:
    return Endpoint("WS", name, *parameters, security=security, weight=2, key_parameter=True)


def _of_listen_key(name: str, endpoint: Endpoint) -> Endpoint:
    found = _of_session(name, *endpoint.parameters, api_key())
    found.rest = endpoint
    return found


SESSION_LOGON: Final = _of_session("session.logon", security=Security.USER_STREAM)
SESSION_STATUS: Final = _of_session("session.status")
SESSION_LOGOUT: Final = _of_session("session.logout")
SUBSCRIPTIONS: Final = _of_session("session.subscriptions")
SUBSCRIBE: Final = _of_session("userDataStream.subscribe")
SUBSCRIBE_SIGNATURE: Final = _of_session("userDataStream.subscribe.signature", security=Security.USER_STREAM)
UNSUBSCRIBE: Final = _of_session("userDataStream.unsubscribe", integer("subscriptionId"))
LISTEN_START: Final = _of_listen_key("userDataStream.start", LISTEN_KEY_POST)
LISTEN_PING: Final = _of_listen_key("userDataStream.ping", LISTEN_KEY_PUT)
LISTEN_STOP: Final = _of_listen_key("userDataStream.stop", LISTEN_KEY_DELETE)

WS_METHODS: Final[dict[str, Endpoint]] = {
    endpoint.path: endpoint
    for endpoint in (
        SESSION_LOGON, SESSION_STATUS, SESSION_LOGOUT, SUBSCRIPTIONS, SUBSCRIBE, SUBSCRIBE_SIGNATURE, UNSUBSCRIBE,
        LISTEN_START, LISTEN_PING, LISTEN_STOP,
    )
} | {
    name: _as_method(name, endpoint)
    for name, endpoint in (
        ("ping", PING), ("time", TIME), ("exchangeInfo", EXCHANGE_INFO), ("depth", DEPTH), ("trades.recent", TRADES),
        ("trades.historical", HISTORICAL_TRADES), ("trades.aggregate", AGG_TRADES), ("klines", KLINES),
        ("uiKlines", UI_KLINES), ("avgPrice", AVG_PRICE), ("ticker.24hr", TICKER_24H), ("ticker", TICKER),
        ("ticker.tradingDay", TRADING_DAY), ("ticker.price", TICKER_PRICE), ("ticker.book", TICKER_BOOK),
        ("order.place", ORDER_POST),
        ("order.test", ORDER_TEST), ("order.cancel", ORDER_DELETE), ("order.amend.keepPriority", AMEND),
        ("order.cancelReplace", CANCEL_REPLACE), ("order.amendments", AMENDMENTS),
        ("myPreventedMatches", MY_PREVENTED_MATCHES), ("myFilters", MY_FILTERS),
        ("order.status", ORDER_GET), ("openOrders.cancelAll", OPEN_ORDERS_DELETE),
        ("openOrders.status", OPEN_ORDERS_GET), ("allOrders", ALL_ORDERS), ("myTrades", MY_TRADES),
        ("account.status", ACCOUNT), ("account.commission", COMMISSION), ("account.rateLimits.orders", ORDER_RATE),
    )
}  # fmt: skip
