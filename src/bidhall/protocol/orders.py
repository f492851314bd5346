# SPDX-License-Identifier: Apache-2.0
"""Parameters of trading requests to commands: which parameters each order type must and must not have.

The door calls `place`, `cancel`, `cancel_all` and `amend` with the parsed values once key, signature and market are
known, appends the command, and builds the answer from what these return (`order_answers`). It must never decide what
the kernel decides: balances, triggers and the book are not looked at here.
"""

from base64 import b64encode
from typing import Any, Final

from bidhall.core import records
from bidhall.core.records import MarketState, OrderType, Side, TimeInForce
from bidhall.protocol import errors
from bidhall.protocol.endpoints import ORDER_TEST
from bidhall.protocol.errors import ApiError
from bidhall.protocol.markets import MAX_TO_MARKET, MIN_TO_MARKET, MULTIPLIER_ONE, Market

CLIENT_ID_CHARACTERS: Final = 22
STRATEGY_TYPE_MIN: Final = 1_000_000

_LIMIT: Final = int(OrderType.LIMIT)
_MARKET: Final = int(OrderType.MARKET)
_STOP_LOSS: Final = int(OrderType.STOP_LOSS)
_TAKE_PROFIT: Final = int(OrderType.TAKE_PROFIT)

# The parameters that decide which kind of order it is; of these, what a type needs and what it refuses.
_NEEDS: Final[dict[int, tuple[str, ...]]] = {
    OrderType.LIMIT: ("timeInForce", "quantity", "price"),
    OrderType.MARKET: (),
    OrderType.LIMIT_MAKER: ("quantity", "price"),
    OrderType.STOP_LOSS: ("quantity",),
    OrderType.STOP_LOSS_LIMIT: ("timeInForce", "quantity", "price"),
    OrderType.TAKE_PROFIT: ("quantity",),
    OrderType.TAKE_PROFIT_LIMIT: ("timeInForce", "quantity", "price"),
}
_REFUSES: Final[dict[int, tuple[str, ...]]] = {
    OrderType.LIMIT: ("quoteOrderQty", "stopPrice", "trailingDelta"),
    OrderType.MARKET: ("timeInForce", "price", "stopPrice", "trailingDelta", "icebergQty"),
    OrderType.LIMIT_MAKER: ("timeInForce", "quoteOrderQty", "stopPrice", "trailingDelta"),
    OrderType.STOP_LOSS: ("timeInForce", "quoteOrderQty", "price", "icebergQty"),
    OrderType.STOP_LOSS_LIMIT: ("quoteOrderQty",),
    OrderType.TAKE_PROFIT: ("timeInForce", "quoteOrderQty", "price", "icebergQty"),
    OrderType.TAKE_PROFIT_LIMIT: ("quoteOrderQty",),
}
_STOPS: Final = frozenset(range(_STOP_LOSS, OrderType.TAKE_PROFIT_LIMIT + 1))
# What this version of the kernel does not do; exchangeInfo says so too.
_UNSUPPORTED: Final = frozenset({"trailingDelta", "pegPriceType", "pegOffsetValue", "pegOffsetType"})
_TAKES: Final = {
    kind: frozenset(parameter.name for parameter in ORDER_TEST.parameters) - _UNSUPPORTED - frozenset(refused)
    for kind, refused in _REFUSES.items()
}


class Placement:
    """A new order on its way: the command, and what its answer shows of the request."""

    __slots__ = (
        "account", "client_id", "command", "iceberg_steps", "market", "price_ticks", "quantity_steps",
        "quote_quantity_units", "response", "self_trade_prevention", "side", "stop_price_ticks", "strategy_id",
        "strategy_type", "time_in_force", "type",
    )  # fmt: skip

    account: int
    client_id: str
    command: bytes
    iceberg_steps: int
    market: Market
    price_ticks: int
    quantity_steps: int
    quote_quantity_units: int
    response: str
    self_trade_prevention: int
    side: int
    stop_price_ticks: int
    strategy_id: int
    strategy_type: int
    time_in_force: int
    type: int


class Cancellation:
    """A cancel (of one or of all) on its way: the command and the id of the cancel itself."""

    __slots__ = ("client_id", "command", "market")

    def __init__(self, market: Market, command: bytes, client_id: str) -> None:
        self.market = market
        self.command = command
        self.client_id = client_id


class Amendment:
    """An amend on its way. `previous_client_id` is the order's old id where the request named it, else empty."""

    __slots__ = ("client_id", "command", "market", "previous_client_id")

    def __init__(self, market: Market, command: bytes, client_id: str, previous_client_id: str) -> None:
        self.market = market
        self.command = command
        self.client_id = client_id
        self.previous_client_id = previous_client_id


def automatic_client_id(random: bytes) -> str:
    """22 letters and digits made from 16 bytes: those of the request's digest, so that its repeat gets the same id."""
    return b64encode(random[:16], b"aZ")[:CLIENT_ID_CHARACTERS].decode("ascii")


def place(values: dict[str, Any], market: Market, account: int, deadline_ns: int, digest: bytes) -> Placement:
    """POST /order: the placement, or what is wrong with the parameters of this order type."""
    order_type: int = values["type"]
    names = values.keys()
    for name in _NEEDS[order_type]:
        if name not in names:
            raise errors.missing(name)
    if not names <= _TAKES[order_type]:
        _refuse_parameters(order_type, values)

    get = values.get
    placement = Placement()
    placement.market = market
    placement.account = account
    placement.type = order_type
    placement.side = side = values["side"]
    placement.time_in_force = time_in_force = get("timeInForce", 0)
    placement.price_ticks = price_ticks = market.price_ticks(values["price"]) if "price" in names else 0
    placement.quantity_steps = quantity = market.quantity_steps(values["quantity"]) if "quantity" in names else 0
    placement.quote_quantity_units = quote = _quote_quantity(values, market) if order_type == _MARKET else 0
    placement.stop_price_ticks = stop = _stop_price(values, market) if order_type in _STOPS else 0
    placement.iceberg_steps = iceberg = _iceberg(placement, values["icebergQty"]) if "icebergQty" in names else 0
    placement.self_trade_prevention = mode = get("selfTradePreventionMode", 0)
    placement.strategy_id = strategy_id = get("strategyId", 0)
    placement.strategy_type = strategy_type = get("strategyType", 0)
    if strategy_type < STRATEGY_TYPE_MIN and "strategyType" in names:
        raise errors.bad_strategy_type()
    placement.response = get("newOrderRespType") or ("FULL" if order_type <= _MARKET else "ACK")
    placement.client_id = client_id = get("newClientOrderId") or automatic_client_id(digest)
    placement.command = records.place(
        account, market.id, side, order_type, time_in_force, price_ticks, quantity, stop, quote, mode,
        client_id.encode("ascii"), deadline_ns, digest, strategy_id, strategy_type, iceberg,
    )  # fmt: skip
    return placement


def _iceberg(placement: Placement, shown_e8: int) -> int:
    """How much an iceberg shows; an iceberg of 0 is none."""
    if not shown_e8:
        return 0
    if not placement.market.takes_icebergs:
        raise errors.icebergs_not_supported()
    if placement.time_in_force not in (TimeInForce.NONE, TimeInForce.GTC):
        raise errors.unsupported_combination()
    steps = placement.market.quantity_steps(shown_e8, "icebergQty")
    if steps > placement.quantity_steps:
        raise errors.iceberg_exceeds_quantity()
    return steps


def _quote_quantity(values: dict[str, Any], market: Market) -> int:
    if "quoteOrderQty" in values:
        if "quantity" in values:
            raise errors.bad_combination()
        return market.quote_units(values["quoteOrderQty"])
    if "quantity" not in values:
        raise errors.one_of("quantity", "quoteOrderQty")
    return 0


def _stop_price(values: dict[str, Any], market: Market) -> int:
    if "stopPrice" not in values:
        raise errors.one_of("stopPrice", "trailingDelta")
    return market.price_ticks(values["stopPrice"])


def _refuse_parameters(order_type: int, values: dict[str, Any]) -> None:
    """Raises for the first parameter this type refuses, then for what this version lacks."""
    for name in _REFUSES[order_type]:
        if name in values:
            raise errors.not_required(name)
    if "trailingDelta" in values:
        raise errors.new_order_rejected("Trailing stop orders are not supported for this symbol.")
    if "pegPriceType" in values or "pegOffsetType" in values or "pegOffsetValue" in values:
        if order_type in (_MARKET, _STOP_LOSS, _TAKE_PROFIT):
            raise errors.new_order_rejected("This order type may not use pegged price.")
        raise errors.new_order_rejected("Pegged orders are not supported for this symbol.")


def check_filters(placement: Placement, average_price_ticks: int) -> None:
    """POST /order/test: what the kernel would refuse without looking at the account or the book. Same order, texts."""
    market = placement.market
    row = market.row
    if market.state != MarketState.TRADING:
        raise errors.new_order_rejected("Market is closed.")
    mode = placement.self_trade_prevention
    if mode and not row.self_trade_preventions >> (mode - 1) & 1:
        raise errors.self_trade_prevention_not_allowed()
    _check_percent_price(placement, average_price_ticks)
    quantity, iceberg = placement.quantity_steps, placement.iceberg_steps
    if iceberg and row.iceberg_parts_max and -(-quantity // iceberg) > row.iceberg_parts_max:
        raise errors.filter_failure("ICEBERG_PARTS")
    if placement.type == _MARKET and quantity:
        in_bounds = row.market_quantity_steps_min <= quantity <= row.market_quantity_steps_max
        if not in_bounds or (row.market_step_steps > 1 and quantity % row.market_step_steps):
            raise errors.filter_failure("MARKET_LOT_SIZE")
    _check_notional(placement, average_price_ticks)


def _check_percent_price(placement: Placement, average_price_ticks: int) -> None:
    market, price = placement.market, placement.price_ticks * MULTIPLIER_ONE
    if not price or not average_price_ticks or not market.takes_icebergs:
        return
    up, down = market.multipliers_e4(placement.side == Side.BUY)
    if (up and price > average_price_ticks * up) or (down and price < average_price_ticks * down):
        raise errors.filter_failure(market.percent_price_filter)


def _check_notional(placement: Placement, average_price_ticks: int) -> None:
    market = placement.market
    row = market.row
    flags = MIN_TO_MARKET | MAX_TO_MARKET
    units = placement.quote_quantity_units
    if placement.type == _MARKET:
        # Without an average price nothing can be said of a quantity.
        flags = row.notional_flags if units or average_price_ticks else 0
        units = units or market.quote_units_of(average_price_ticks, placement.quantity_steps)
    else:
        units = market.quote_units_of(placement.price_ticks or placement.stop_price_ticks, placement.quantity_steps)
    if flags & MIN_TO_MARKET and units < row.notional_units_min:
        raise errors.filter_failure("NOTIONAL")
    if flags & MAX_TO_MARKET and row.notional_units_max and units > row.notional_units_max:
        raise errors.filter_failure("NOTIONAL")


def cancel(values: dict[str, Any], market: Market, account: int, deadline_ns: int, digest: bytes) -> Cancellation:
    """DELETE /order."""
    order_id, client_id = target(values, errors.unknown_order())
    own_id = values.get("newClientOrderId") or automatic_client_id(digest)
    restriction = values.get("cancelRestrictions", 0)
    command = records.cancel(
        account, market.id, order_id, client_id.encode("ascii"), own_id.encode("ascii"), restriction, deadline_ns,
        digest,
    )  # fmt: skip
    return Cancellation(market, command, own_id)


def cancel_all(values: dict[str, Any], market: Market, account: int, deadline_ns: int, digest: bytes) -> Cancellation:
    """DELETE /openOrders."""
    own_id = values.get("newClientOrderId") or automatic_client_id(digest)
    command = records.cancel_all(account, market.id, own_id.encode("ascii"), deadline_ns, digest)
    return Cancellation(market, command, own_id)


def amend(values: dict[str, Any], market: Market, account: int, deadline_ns: int, digest: bytes) -> Amendment:
    """PUT /order/amend/keepPriority."""
    order_id, client_id = target(values, ApiError(-2038, "Unknown order sent."))
    new_id = values.get("newClientOrderId") or automatic_client_id(digest)
    quantity = market.quantity_steps_to_amend(values["newQty"])
    command = records.amend(
        account, market.id, order_id, client_id.encode("ascii"), quantity, new_id.encode("ascii"), deadline_ns, digest
    )
    return Amendment(market, command, new_id, client_id)


def target(
    values: dict[str, Any], unknown: ApiError, id_name: str = "orderId", client_id_name: str = "origClientOrderId"
) -> tuple[int, str]:
    """The order that a cancel or an amend means. No order has the id 0, which is the kernel's word for none."""
    order_id = values.get(id_name)
    if order_id == 0:
        raise unknown
    return order_id or 0, values.get(client_id_name, "")
