# SPDX-License-Identifier: Apache-2.0
"""The numbers that stand in the kernel's records: kinds, types, states, reasons, refusals.

The same as in `records.pxd` (a test compares the two). `records` gives them on, so that whoever uses records finds them
there. What may never happen here: a number that changes its meaning, or is used for another thing.
"""

from enum import IntEnum, IntFlag


class CommandKind(IntEnum):
    """What a command asks for."""

    NONE = 0
    CONFIGURE = 1
    ASSET = 2
    MARKET = 3
    MARKET_STATE = 4
    ACCOUNT = 5
    ACCOUNT_CHANGE = 6
    DEPOSIT = 7
    WITHDRAW = 8
    PLACE = 9
    CANCEL = 10
    CANCEL_ALL = 11
    AMEND = 12
    NOTE = 13
    MARK = 14
    RULES = 15
    KILL = 16
    REPLACE = 17


class Side(IntEnum):
    """Of an order."""

    NONE = 0
    BUY = 1
    SELL = 2


class OrderType(IntEnum):
    """Of an order."""

    NONE = 0
    LIMIT = 1
    MARKET = 2
    LIMIT_MAKER = 3
    STOP_LOSS = 4
    STOP_LOSS_LIMIT = 5
    TAKE_PROFIT = 6
    TAKE_PROFIT_LIMIT = 7


class TimeInForce(IntEnum):
    """NONE for MARKET and LIMIT_MAKER; the API shows GTC."""

    NONE = 0
    GTC = 1
    IOC = 2
    FOK = 3


class SelfTradePrevention(IntEnum):
    """DEFAULT takes the market's."""

    DEFAULT = 0
    NONE = 1
    EXPIRE_TAKER = 2
    EXPIRE_MAKER = 3
    EXPIRE_BOTH = 4
    DECREMENT = 5
    TRANSFER = 6


class OrderStatus(IntEnum):
    """Of an order, after an event."""

    NONE = 0
    NEW = 1
    PARTIALLY_FILLED = 2
    FILLED = 3
    CANCELED = 4
    EXPIRED = 5
    EXPIRED_IN_MATCH = 6
    REJECTED = 7
    PENDING_NEW = 8


class MarketState(IntEnum):
    """Of a market."""

    NONE = 0
    TRADING = 1
    HALT = 2
    BREAK = 3
    CANCEL_ONLY = 4
    POST_ONLY = 5
    AUCTION = 6
    END_OF_DAY = 7


class CancelRestriction(IntEnum):
    """When a cancel may succeed."""

    NONE = 0
    ONLY_NEW = 1
    ONLY_PARTIALLY_FILLED = 2


class ExpiryReason(IntEnum):
    """Why the rules took an order."""

    NONE = 0
    REJECTED = 1
    EXCHANGE_CANCELED = 2
    OCO_TRIGGER = 3
    OTO_PHASE_ONE_EXPIRED = 4
    UNFILLED_IOC_QUANTITY_EXPIRED = 5
    UNFILLED_FOK_ORDER_EXPIRED = 6
    INSUFFICIENT_LIQUIDITY = 7
    EXECUTION_RULE_PRICE_RANGE_EXCEEDED = 8


class EventKind(IntEnum):
    """What happened."""

    NONE = 0
    ACCEPTED = 1
    FILL = 2
    CANCELED = 3
    EXPIRED = 4
    REPLACED = 5
    TRIGGERED = 6
    PREVENTED = 7
    REJECTED = 8
    REPEATED = 9
    BALANCE = 10
    ASSET = 11
    MARKET = 12
    MARKET_STATE = 13
    ACCOUNT = 14
    NOTED = 15
    MARKED = 16
    CONFIGURED = 17
    RULES = 18
    KILLED = 19


class EventFlag(IntFlag):
    """Bits of Event.flags."""

    MAKER = 1
    BUY = 2
    WORKING = 4
    LAST = 8


class CommandFlag(IntFlag):
    """Of a REPLACE: the new order is wanted whatever becomes of the cancel."""

    NONE = 0
    ALLOW_FAILURE = 1


class Reject(IntEnum):
    """Why a command was refused."""

    NONE = 0
    MALFORMED = 1
    UNKNOWN_ACCOUNT = 2
    ACCOUNT_CLOSED = 3
    UNKNOWN_MARKET = 4
    MARKET_CLOSED = 5
    SELF_TRADE_PREVENTION = 6
    PRICE_FILTER = 7
    LOT_SIZE = 8
    MARKET_LOT_SIZE = 9
    NOTIONAL = 10
    MAX_NUM_ORDERS = 11
    MAX_NUM_ALGO_ORDERS = 12
    DUPLICATE_CLIENT_ID = 13
    WOULD_TRIGGER = 14
    WOULD_MATCH = 15
    INSUFFICIENT_BALANCE = 16
    BOOK_FULL = 17
    UNKNOWN_ORDER = 18
    CANCEL_RESTRICTED = 19
    AMEND_NO_CHANGE = 20
    AMEND_INCREASE = 21
    AMEND_LIMIT = 22
    DEADLINE = 23
    BUSY = 24
    UNKNOWN_ASSET = 25
    SUPPLY = 26
    LIMIT = 27
    DUPLICATE_NAME = 28
    BAD_MARKET = 29
    NOT_CONFIGURED = 30
    RULES = 31
    ICEBERG_PARTS = 32
    MAX_NUM_ICEBERG_ORDERS = 33
    MAX_POSITION = 34
    PERCENT_PRICE = 35
    NOT_ATTEMPTED = 36
