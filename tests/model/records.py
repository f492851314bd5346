# SPDX-License-Identifier: Apache-2.0
"""The twin's own reading of the record layouts, written from the drawing in `cython_core/records.pxd`.

The twin and the generator of histories use it. It must never import anything of ours: a mistake in
`bidhall.core.records` has to show as a difference, not be shared.
"""

from struct import Struct
from typing import Final, NamedTuple

COMMAND_BYTES: Final = 192
COMMAND: Final = Struct("<8B2I5qQq16s36sI36sIq4BIq")
CONFIGURE: Final = Struct("<B7x6IQI148x")
ASSET: Final = Struct("<BB6x80x36s68x")
ACCOUNT: Final = Struct("<BB6xIiiI64x36s68x")
MARKET: Final = Struct("<6BHII8q36sIqqiiIIIIq4I8x")
NOTE: Final = Struct("<B5xBB184s")
EVENT: Final = Struct("<4BI3QIi6q2QqQ2I")
ORDER: Final = Struct("<QII8B12qII3Qqq4B36sqq")
TOP: Final = Struct("<QQII5q")
POSITION: Final = Struct("<QIIqq")


class CommandKind:
    """What a command asks for."""

    CONFIGURE, ASSET, MARKET, MARKET_STATE, ACCOUNT, ACCOUNT_CHANGE, DEPOSIT, WITHDRAW = range(1, 9)
    PLACE, CANCEL, CANCEL_ALL, AMEND, NOTE, MARK, RULES, KILL, REPLACE = range(9, 18)


class Side:
    """Of an order."""

    BUY, SELL = 1, 2


class OrderType:
    """Of an order."""

    LIMIT, MARKET, LIMIT_MAKER, STOP_LOSS, STOP_LOSS_LIMIT, TAKE_PROFIT, TAKE_PROFIT_LIMIT = range(1, 8)


class TimeInForce:
    """Of an order with a limit price."""

    NONE, GTC, IOC, FOK = range(4)


class Mode:
    """Self-trade prevention."""

    DEFAULT, NONE, EXPIRE_TAKER, EXPIRE_MAKER, EXPIRE_BOTH, DECREMENT, TRANSFER = range(7)


class Status:
    """Of an order after an event."""

    NEW, PARTIALLY_FILLED, FILLED, CANCELED, EXPIRED, EXPIRED_IN_MATCH = range(1, 7)


class State:
    """Of a market."""

    TRADING, HALT, BREAK, CANCEL_ONLY, POST_ONLY, AUCTION, END_OF_DAY = range(1, 8)


class Restriction:
    """When a cancel may succeed."""

    NONE, ONLY_NEW, ONLY_PARTIALLY_FILLED = range(3)


class Reason:
    """Why the rules took an order."""

    NONE, EXCHANGE_CANCELED, UNFILLED_IOC, UNFILLED_FOK, INSUFFICIENT_LIQUIDITY = 0, 2, 5, 6, 7


class EventKind:
    """What happened."""

    ACCEPTED, FILL, CANCELED, EXPIRED, REPLACED, TRIGGERED, PREVENTED, REJECTED, REPEATED, BALANCE = range(1, 11)
    ASSET, MARKET, MARKET_STATE, ACCOUNT, NOTED, MARKED, CONFIGURED, RULES, KILLED = range(11, 20)


class Flag:
    """Bits of an event's flags."""

    MAKER, BUY, WORKING, LAST = 1, 2, 4, 8


class CommandFlag:
    """Bits of a command's flags."""

    ALLOW_FAILURE = 1


class Permission:
    """Bits of an account's permissions."""

    TRADE, DEPOSIT, WITHDRAW = 1, 2, 4


class Reject:
    """Why a command was refused."""

    NONE, MALFORMED, UNKNOWN_ACCOUNT, ACCOUNT_CLOSED, UNKNOWN_MARKET, MARKET_CLOSED = range(6)
    SELF_TRADE_PREVENTION, PRICE_FILTER, LOT_SIZE, MARKET_LOT_SIZE, NOTIONAL = range(6, 11)
    MAX_NUM_ORDERS, MAX_NUM_ALGO_ORDERS, DUPLICATE_CLIENT_ID, WOULD_TRIGGER, WOULD_MATCH = range(11, 16)
    INSUFFICIENT_BALANCE, BOOK_FULL, UNKNOWN_ORDER, CANCEL_RESTRICTED = range(16, 20)
    AMEND_NO_CHANGE, AMEND_INCREASE, AMEND_LIMIT, DEADLINE, BUSY, UNKNOWN_ASSET = range(20, 26)
    SUPPLY, LIMIT, DUPLICATE_NAME, BAD_MARKET, NOT_CONFIGURED, RULES = range(26, 32)
    ICEBERG_PARTS, MAX_NUM_ICEBERG_ORDERS, MAX_POSITION, PERCENT_PRICE, NOT_ATTEMPTED = range(32, 37)


class Command(NamedTuple):
    """The common layout of a command."""

    kind: int
    type: int
    side: int
    time_in_force: int
    self_trade_prevention: int
    flags: int
    legs: int
    restriction: int
    account: int
    market: int
    price_ticks: int
    quantity_steps: int
    stop_price_ticks: int
    quote_quantity_units: int
    iceberg_steps: int
    order_id: int
    deadline_ns: int
    digest: bytes
    client_id: bytes
    strategy_type: int
    other_client_id: bytes
    trailing_delta_bips: int
    strategy_id: int
    peg_price_type: int
    peg_offset_type: int
    peg_offset_value: int
    reserved: int
    reserved2: int
    reserved3: int


class ConfigureCommand(NamedTuple):
    """The limits of a log."""

    kind: int
    accounts_max: int
    orders_max: int
    assets_max: int
    markets_max: int
    digests_max: int
    writers_max: int
    seed: int
    rules_version: int


class MarketCommand(NamedTuple):
    """A market and its filters."""

    kind: int
    state: int
    self_trade_prevention: int
    self_trade_preventions: int
    notional_flags: int
    amends_max: int
    average_minutes: int
    base_asset: int
    quote_asset: int
    tick_e8: int
    step_units: int
    price_ticks_min: int
    price_ticks_max: int
    quantity_steps_min: int
    quantity_steps_max: int
    market_quantity_steps_min: int
    market_quantity_steps_max: int
    name: bytes
    market_step_steps: int
    notional_units_min: int
    notional_units_max: int
    maker_rate_e8: int
    taker_rate_e8: int
    orders_max: int
    algo_orders_max: int
    iceberg_orders_max: int
    iceberg_parts_max: int
    position_units_max: int
    bid_multiplier_up_e4: int
    bid_multiplier_down_e4: int
    ask_multiplier_up_e4: int
    ask_multiplier_down_e4: int


class AccountCommand(NamedTuple):
    """An account, new or changed."""

    kind: int
    permissions: int
    account: int
    maker_rate_e8: int
    taker_rate_e8: int
    trade_group: int
    name: bytes


class AssetCommand(NamedTuple):
    """A new asset."""

    kind: int
    decimals: int
    name: bytes


class Event(NamedTuple):
    """One thing that happened."""

    kind: int
    status: int = 0
    reason: int = 0
    flags: int = 0
    account: int = 0
    sequence: int = 0
    order_id: int = 0
    execution_id: int = 0
    market: int = 0
    code: int = 0
    price_ticks: int = 0
    quantity_steps: int = 0
    quote_units: int = 0
    executed_steps: int = 0
    executed_quote_units: int = 0
    fee_units: int = 0
    trade_id: int = 0
    other_order_id: int = 0
    remaining_steps: int = 0
    prevented_match_id: int = 0
    other_account: int = 0
    asset: int = 0


class Top(NamedTuple):
    """The best of a book after a command that changed it."""

    sequence: int
    update_id: int
    market: int
    reserved: int
    bid_price_ticks: int
    bid_quantity_steps: int
    ask_price_ticks: int
    ask_quantity_steps: int
    reserved2: int = 0


class Position(NamedTuple):
    """A watched account's balance after a command."""

    sequence: int
    account: int
    asset: int
    free_units: int
    locked_units: int


class OrderRecord(NamedTuple):
    """An order as queries and reports show it, without what is reserved."""

    order_id: int
    account: int
    market: int
    type: int
    side: int
    time_in_force: int
    self_trade_prevention: int
    status: int
    reason: int
    flags: int
    amends: int
    price_ticks: int
    stop_price_ticks: int
    quantity_steps: int
    executed_steps: int
    executed_quote_units: int
    quote_quantity_units: int
    iceberg_steps: int
    prevented_steps: int
    created_ns: int
    updated_ns: int
    working_ns: int
    strategy_id: int
    strategy_type: int
    trailing_delta_bips: int
    order_list_id: int
    sequence: int
    prevented_match_id: int
    trailing_ns: int
    pegged_price_ticks: int
    peg_price_type: int
    peg_offset_type: int
    peg_offset_value: int
    client_id: bytes
    locked_units: int
    shown_steps: int


ORDER_FIELDS: Final = OrderRecord._fields
