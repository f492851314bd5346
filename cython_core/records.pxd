# SPDX-License-Identifier: Apache-2.0
# The records that cross the kernel's border: commands in, events out, and the two read-only records (orders, levels).
#
# Who uses it: every file of the kernel, `records.py` (the same layouts as numpy dtypes; a test compares the two), and
# any Cython code that wants to talk to the kernel without Python. What may never happen here: a field that changes its
# place or meaning. A layout that must change gets a new LAYOUT_VERSION, and old logs keep the old one.
#
# All integers are little endian. Units stand last in names:
#   _ticks   prices, in the market's tick          _steps   quantities, in the market's step
#   _units   money, in the asset's smallest unit   _ns      nanoseconds since 1970 (UTC), kernel time
# Identifiers of assets, markets, accounts and orders start at 1; 0 means "none".
#
#  Command, 192 bytes (three cache lines)
#  +0   kind type side tif | stp flags legs restriction | account          | market
#  +16  price_ticks                     | quantity_steps
#  +32  stop_price_ticks                | quote_quantity_units
#  +48  iceberg_steps                   | order_id
#  +64  deadline_ns                     | digest[16] ...
#  +80  ... digest                      | client_id[36] ...
#  +124 strategy_type                   | other_client_id[36] ...
#  +164 trailing_delta_bips             | strategy_id
#  +176 peg_price_type peg_offset_type peg_offset_value reserved | reserved2 | reserved3
#
#  Event, 128 bytes (two cache lines)
#  +0   kind status reason flags        | account
#  +8   sequence                        | order_id
#  +24  execution_id                    | market           | code
#  +40  price_ticks                     | quantity_steps
#  +56  quote_units                     | executed_steps
#  +72  executed_quote_units            | fee_units
#  +88  trade_id                        | other_order_id
#  +104 remaining_steps                 | prevented_match_id
#  +120 other_account                   | asset
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    LAYOUT_VERSION = 1
    RULES_VERSION = 2     # the newest these files know; RULES.md
    TEXT_BYTES = 36       # client ids and names: UTF-8, zero padded
    DIGEST_BYTES = 16
    NOTE_BYTES = 184      # payload of one NOTE record, from byte 8 on

cdef enum CommandKind:
    COMMAND_NONE = 0
    COMMAND_CONFIGURE = 1       # ConfigureCommand: limits; the first command of every log
    COMMAND_ASSET = 2           # AssetCommand: creates the next asset
    COMMAND_MARKET = 3          # MarketCommand: creates the next market
    COMMAND_MARKET_STATE = 4    # market, restriction = new MarketState
    COMMAND_ACCOUNT = 5         # AccountCommand: creates the next account
    COMMAND_ACCOUNT_CHANGE = 6  # AccountCommand with account set: changes permissions and rates
    COMMAND_DEPOSIT = 7         # account, market = asset id, quote_quantity_units > 0
    COMMAND_WITHDRAW = 8        # account, market = asset id, quote_quantity_units > 0
    COMMAND_PLACE = 9
    COMMAND_CANCEL = 10         # order_id, or client_id if order_id is 0 (both: the order's client id must be client_id);
                                # other_client_id = the id of the cancel itself; restriction = CancelRestriction
    COMMAND_CANCEL_ALL = 11     # account, market; other_client_id as above
    COMMAND_AMEND = 12          # target as CANCEL; quantity_steps = new quantity; other_client_id = new client id
    COMMAND_NOTE = 13           # opaque to the kernel: the registry's own entries; legs = records of the entry
    COMMAND_MARK = 14           # closes the open depth span of a market on every replica
    COMMAND_RULES = 15          # order_id = rules version to activate
    COMMAND_KILL = 16           # account, market (0: all): every open order leaves; restriction 1: and it may trade no more
    COMMAND_REPLACE = 17        # legs 2: a cancel (fields as CANCEL, flags = CommandFlag) and the PLACE that follows it

cdef enum Side:
    SIDE_NONE = 0
    SIDE_BUY = 1
    SIDE_SELL = 2

cdef enum OrderType:
    TYPE_NONE = 0
    TYPE_LIMIT = 1
    TYPE_MARKET = 2
    TYPE_LIMIT_MAKER = 3
    TYPE_STOP_LOSS = 4
    TYPE_STOP_LOSS_LIMIT = 5
    TYPE_TAKE_PROFIT = 6
    TYPE_TAKE_PROFIT_LIMIT = 7

cdef enum TimeInForce:
    TIF_NONE = 0       # MARKET and LIMIT_MAKER; the API shows GTC
    TIF_GTC = 1
    TIF_IOC = 2
    TIF_FOK = 3

cdef enum SelfTradePrevention:
    STP_DEFAULT = 0        # take the market's default
    STP_NONE = 1
    STP_EXPIRE_TAKER = 2
    STP_EXPIRE_MAKER = 3
    STP_EXPIRE_BOTH = 4
    STP_DECREMENT = 5
    STP_TRANSFER = 6

cdef enum OrderStatus:
    STATUS_NONE = 0
    STATUS_NEW = 1
    STATUS_PARTIALLY_FILLED = 2
    STATUS_FILLED = 3
    STATUS_CANCELED = 4
    STATUS_EXPIRED = 5
    STATUS_EXPIRED_IN_MATCH = 6
    STATUS_REJECTED = 7
    STATUS_PENDING_NEW = 8

cdef enum MarketState:
    STATE_NONE = 0
    STATE_TRADING = 1
    STATE_HALT = 2            # nothing is accepted, no cancels either
    STATE_BREAK = 3           # cancels only, shown as BREAK
    STATE_CANCEL_ONLY = 4
    STATE_POST_ONLY = 5       # shown as BREAK
    STATE_AUCTION = 6         # shown as BREAK
    STATE_END_OF_DAY = 7

cdef enum CancelRestriction:
    RESTRICTION_NONE = 0
    RESTRICTION_ONLY_NEW = 1
    RESTRICTION_ONLY_PARTIALLY_FILLED = 2

cdef enum ExpiryReason:
    REASON_NONE = 0
    REASON_REJECTED = 1
    REASON_EXCHANGE_CANCELED = 2
    REASON_OCO_TRIGGER = 3
    REASON_OTO_PHASE_ONE_EXPIRED = 4
    REASON_UNFILLED_IOC_QUANTITY_EXPIRED = 5
    REASON_UNFILLED_FOK_ORDER_EXPIRED = 6
    REASON_INSUFFICIENT_LIQUIDITY = 7
    REASON_EXECUTION_RULE_PRICE_RANGE_EXCEEDED = 8

cdef enum EventKind:
    EVENT_NONE = 0
    EVENT_ACCEPTED = 1       # an order entered (x=NEW); FLAG_WORKING unless it waits for its trigger
    EVENT_FILL = 2           # one side of a trade (x=TRADE); the taker's comes first, the maker's directly after it
    EVENT_CANCELED = 3       # by its owner (x=CANCELED)
    EVENT_EXPIRED = 4        # by the rules (x=EXPIRED); reason says which
    EVENT_REPLACED = 5       # amended (x=REPLACED)
    EVENT_TRIGGERED = 6      # a stop order became active (x=NEW again, now working)
    EVENT_PREVENTED = 7      # self-trade prevention took this order's rest, or a part of it (x=TRADE_PREVENTION)
    EVENT_REJECTED = 8       # the command was refused, nothing changed; code says why
    EVENT_REPEATED = 9       # the digest was seen before: trade_id = sequence of the first, order_id and code = its result
    EVENT_BALANCE = 10       # deposit or withdrawal: asset, quantity_steps = signed units, executed_steps = free after,
                             # executed_quote_units = locked after
    EVENT_ASSET = 11         # asset = new id
    EVENT_MARKET = 12        # market = new id
    EVENT_MARKET_STATE = 13  # market, status = MarketState
    EVENT_ACCOUNT = 14       # account = new or changed id
    EVENT_NOTED = 15
    EVENT_MARKED = 16        # market
    EVENT_CONFIGURED = 17
    EVENT_RULES = 18         # order_id = version now active
    EVENT_KILLED = 19        # account, market (0: all), quantity_steps = orders that leave

cdef enum EventFlag:
    FLAG_MAKER = 1           # this side was resting
    FLAG_BUY = 2             # this order buys
    FLAG_WORKING = 4         # the order is on the book, or active as a taker
    FLAG_LAST = 8            # the order is finished with this event

cdef enum CommandFlag:
    COMMAND_FLAG_NONE = 0
    COMMAND_FLAG_ALLOW_FAILURE = 1   # REPLACE: place even if there was nothing to cancel

# Why a command was refused. The protocol turns each into Binance's code and text.
cdef enum Reject:
    REJECT_NONE = 0
    REJECT_MALFORMED = 1                # fields that do not fit together; the door should have refused it
    REJECT_UNKNOWN_ACCOUNT = 2
    REJECT_ACCOUNT_CLOSED = 3           # may not place or cancel
    REJECT_UNKNOWN_MARKET = 4
    REJECT_MARKET_CLOSED = 5
    REJECT_SELF_TRADE_PREVENTION = 6    # mode not allowed in this market
    REJECT_PRICE_FILTER = 7
    REJECT_LOT_SIZE = 8
    REJECT_MARKET_LOT_SIZE = 9
    REJECT_NOTIONAL = 10
    REJECT_MAX_NUM_ORDERS = 11
    REJECT_MAX_NUM_ALGO_ORDERS = 12
    REJECT_DUPLICATE_CLIENT_ID = 13     # among the account's open orders of the market
    REJECT_WOULD_TRIGGER = 14
    REJECT_WOULD_MATCH = 15
    REJECT_INSUFFICIENT_BALANCE = 16
    REJECT_BOOK_FULL = 17
    REJECT_UNKNOWN_ORDER = 18
    REJECT_CANCEL_RESTRICTED = 19
    REJECT_AMEND_NO_CHANGE = 20
    REJECT_AMEND_INCREASE = 21
    REJECT_AMEND_LIMIT = 22             # MAX_NUM_ORDER_AMENDS
    REJECT_DEADLINE = 23                # kernel time is past the request's window
    REJECT_BUSY = 24                    # the digest window is full
    REJECT_UNKNOWN_ASSET = 25
    REJECT_SUPPLY = 26                  # the asset's total would pass 2^62 units
    REJECT_LIMIT = 27                   # no room for another asset, market or account
    REJECT_DUPLICATE_NAME = 28          # asset or market of that name exists
    REJECT_BAD_MARKET = 29              # tick x step is no whole number of quote units, or price x quantity may pass 2^62
    REJECT_NOT_CONFIGURED = 30
    REJECT_RULES = 31
    REJECT_ICEBERG_PARTS = 32
    REJECT_MAX_NUM_ICEBERG_ORDERS = 33
    REJECT_MAX_POSITION = 34
    REJECT_PERCENT_PRICE = 35
    REJECT_NOT_ATTEMPTED = 36           # the PLACE behind a REPLACE that failed

cdef packed struct Command:
    uint8_t kind
    uint8_t type                  # OrderType
    uint8_t side                  # Side
    uint8_t time_in_force         # TimeInForce
    uint8_t self_trade_prevention # SelfTradePrevention
    uint8_t flags                 # CommandFlag
    uint8_t legs                  # records of an atomic group, this one included; 0 and 1: alone
    uint8_t restriction           # CancelRestriction, or MarketState for COMMAND_MARKET_STATE
    uint32_t account
    uint32_t market
    int64_t price_ticks
    int64_t quantity_steps
    int64_t stop_price_ticks
    int64_t quote_quantity_units
    int64_t iceberg_steps
    uint64_t order_id
    int64_t deadline_ns           # refused when kernel time is later; 0: none
    uint8_t digest[16]            # of the signed request; all zero: none
    uint8_t client_id[36]
    uint32_t strategy_type
    uint8_t other_client_id[36]
    uint32_t trailing_delta_bips
    int64_t strategy_id
    uint8_t peg_price_type
    uint8_t peg_offset_type
    uint8_t peg_offset_value
    uint8_t reserved
    uint32_t reserved2
    int64_t reserved3

cdef packed struct ConfigureCommand:  # overlays Command
    uint8_t kind
    uint8_t reserved[7]
    uint32_t accounts_max
    uint32_t orders_max           # open orders, stops included
    uint32_t assets_max
    uint32_t markets_max
    uint32_t digests_max
    uint32_t writers_max
    uint64_t seed                 # of the hash tables, so that nobody outside can aim at a slot
    uint32_t rules_version
    uint8_t rest[148]

cdef packed struct AssetCommand:      # overlays Command
    uint8_t kind
    uint8_t decimals              # 0..8: one unit is 10^-decimals
    uint8_t reserved[6]
    uint8_t rest[80]
    uint8_t name[36]              # at 88, as client_id
    uint8_t rest2[68]

cdef packed struct AccountCommand:    # overlays Command
    uint8_t kind
    uint8_t permissions           # bit 0: may trade, bit 1: may deposit, bit 2: may withdraw
    uint8_t reserved[6]
    uint32_t account              # 0 for COMMAND_ACCOUNT
    int32_t maker_rate_e8         # fee rate in 1e-8; -1: the market's
    int32_t taker_rate_e8
    uint32_t trade_group          # 0: none
    uint8_t rest[64]
    uint8_t name[36]              # at 88
    uint8_t rest2[68]

cdef packed struct MarketCommand:     # overlays Command
    uint8_t kind
    uint8_t state                     # MarketState to start in
    uint8_t self_trade_prevention     # the default mode
    uint8_t self_trade_preventions    # allowed modes, bit (mode - 1)
    uint8_t notional_flags            # bit 0: minimum applies to MARKET, bit 1: maximum applies to MARKET; bit 2, not
                                      # looked at here: the API shows the multipliers as PERCENT_PRICE, not ..._BY_SIDE
    uint8_t amends_max                # MAX_NUM_ORDER_AMENDS
    uint16_t average_minutes          # 0..60, of the average price; 0: the last price
    uint32_t base_asset
    uint32_t quote_asset
    int64_t tick_e8                   # tick size in 1e-8 of the price
    int64_t step_units                # step size in the base asset's smallest unit
    int64_t price_ticks_min
    int64_t price_ticks_max           # <= 2^42
    int64_t quantity_steps_min
    int64_t quantity_steps_max
    int64_t market_quantity_steps_min # MARKET_LOT_SIZE
    int64_t market_quantity_steps_max
    uint8_t name[36]                  # at 80 (not at 88: the one exception)
    uint32_t market_step_steps        # MARKET_LOT_SIZE stepSize in steps; 0: as LOT_SIZE
    int64_t notional_units_min
    int64_t notional_units_max        # 0: none
    int32_t maker_rate_e8             # 0..10^8
    int32_t taker_rate_e8
    uint32_t orders_max               # MAX_NUM_ORDERS of an account in this market; 0: none
    uint32_t algo_orders_max          # MAX_NUM_ALGO_ORDERS; 0: none
    uint32_t iceberg_orders_max       # MAX_NUM_ICEBERG_ORDERS; 0: none
    uint32_t iceberg_parts_max        # ICEBERG_PARTS; 0: 10,000
    int64_t position_units_max        # MAX_POSITION; 0: none
    uint32_t bid_multiplier_up_e4     # PERCENT_PRICE_BY_SIDE, in 1e-4 of the average price; 0: no bound
    uint32_t bid_multiplier_down_e4
    uint32_t ask_multiplier_up_e4
    uint32_t ask_multiplier_down_e4
    uint8_t rest[8]

cdef packed struct Event:
    uint8_t kind
    uint8_t status               # OrderStatus after the event
    uint8_t reason               # ExpiryReason
    uint8_t flags                # EventFlag
    uint32_t account
    uint64_t sequence            # of the command that caused it
    uint64_t order_id
    uint64_t execution_id        # grows by one with every event that has an order; 0 for the others
    uint32_t market
    int32_t code                 # Reject
    int64_t price_ticks          # FILL: the trade's; else the order's
    int64_t quantity_steps       # FILL: the trade's; else the order's
    int64_t quote_units          # FILL: price x quantity; PREVENTED: what was transferred
    int64_t executed_steps       # cumulative, of this order
    int64_t executed_quote_units # cumulative, of this order
    int64_t fee_units            # FILL: taken from what this side received
    uint64_t trade_id            # FILL: of the market, +1 each, from 1
    uint64_t other_order_id      # FILL, PREVENTED: the other side's
    int64_t remaining_steps      # quantity - executed - prevented, of an iceberg with what it hides
    uint64_t prevented_match_id
    uint32_t other_account
    uint32_t asset               # FILL: the fee's asset; BALANCE, ASSET: the asset

cdef packed struct OrderRecord:  # 224 bytes: an order as queries, replies and reports show it
    uint64_t order_id
    uint32_t account
    uint32_t market
    uint8_t type
    uint8_t side
    uint8_t time_in_force
    uint8_t self_trade_prevention
    uint8_t status
    uint8_t reason
    uint8_t flags                # FLAG_WORKING
    uint8_t amends
    int64_t price_ticks
    int64_t stop_price_ticks
    int64_t quantity_steps
    int64_t executed_steps
    int64_t executed_quote_units
    int64_t quote_quantity_units
    int64_t iceberg_steps
    int64_t prevented_steps
    int64_t created_ns
    int64_t updated_ns
    int64_t working_ns           # 0: not yet
    int64_t strategy_id
    uint32_t strategy_type
    uint32_t trailing_delta_bips
    uint64_t order_list_id
    uint64_t sequence            # of the command that changed it last
    uint64_t prevented_match_id
    int64_t trailing_ns
    int64_t pegged_price_ticks
    uint8_t peg_price_type
    uint8_t peg_offset_type
    uint8_t peg_offset_value
    uint8_t reserved
    uint8_t client_id[36]
    int64_t locked_units         # what it holds of the asset it pays with
    int64_t shown_steps          # of an iceberg on the book: what its level shows; else 0

cdef packed struct TopRecord:    # 64 bytes: the best of a book after a command that changed it
    uint64_t sequence
    uint64_t update_id
    uint32_t market
    uint32_t reserved
    int64_t bid_price_ticks      # 0: that side is empty
    int64_t bid_quantity_steps
    int64_t ask_price_ticks
    int64_t ask_quantity_steps
    int64_t reserved2

cdef packed struct PositionRecord:  # 32 bytes: a watched account's balance after a command
    uint64_t sequence
    uint32_t account
    uint32_t asset
    int64_t free_units
    int64_t locked_units
