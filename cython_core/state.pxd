# SPDX-License-Identifier: Apache-2.0
# What the kernel keeps: every structure with the meaning of its fields. Only the kernel's own files read this; the
# records that cross its border are in `records.pxd`.
#
# Everything lives in arenas (see memory.pxi): arrays reserved at CONFIGURE for the limits the log states, so that no
# allocation happens while commands are applied. Things point at each other by 32-bit index; index 0 is nothing.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from bidhall.core.records cimport Event, OrderRecord, PositionRecord, TopRecord

cdef extern from *:
    """
    typedef __int128 bidhall_i128;
    typedef unsigned __int128 bidhall_u128;
    """
    ctypedef long long i128 "bidhall_i128"
    ctypedef unsigned long long u128 "bidhall_u128"

cdef enum:
    BID = 0          # queues of a market: resting buys, best (highest) first
    ASK = 1          # resting sells, best (lowest) first
    ABOVE = 2        # stops that wait for a price at or above theirs, lowest first
    BELOW = 3        # stops that wait for a price at or below theirs, highest first
    QUEUES = 4
    HEIGHT_MAX = 7   # digits of 6 bits: prices up to 2^42
    AVERAGE_SLOTS = 64

cdef enum:
    WRITERS_EARLY = 64       # room in the writer table until CONFIGURE sets it: a log's first hello comes before
    WRITERS_MOST = 1 << 16   # what CONFIGURE may set

cdef enum Follow:    # what becomes of the PLACE behind a REPLACE
    FOLLOW_ALONE = 0         # it goes its way, as one that stands alone
    FOLLOW_NOT_ATTEMPTED = 1

cdef enum Place:     # where an order is
    NOWHERE = 0      # being matched, or between its trigger queue and the book
    ON_BOOK = 1
    WAITING = 2      # for its trigger

cdef struct Balance:
    int64_t free
    int64_t locked

cdef struct Asset:
    uint8_t name[36]
    uint8_t decimals
    i128 deposited          # ever
    i128 withdrawn          # ever
    i128 fees               # collected
    Balance* balances       # by account

cdef struct Account:        # 32 bytes
    int32_t maker_rate_e8   # -1: the market's
    int32_t taker_rate_e8
    uint32_t trade_group
    uint32_t first_desk     # the account's desks, most lately used first
    uint8_t permissions
    uint8_t reserved[15]

# An account's open orders in one market. It exists while there is one.
cdef struct Desk:           # 32 bytes
    uint32_t account
    uint32_t market
    uint32_t first          # orders, oldest first
    uint32_t last
    uint32_t open_orders
    uint32_t waiting_orders # of them, stops that wait
    uint32_t next           # desk of the same account
    uint32_t prev

cdef struct Order:          # 64 bytes: what matching reads
    uint64_t order_id
    int64_t price_ticks     # 0: market kinds
    int64_t remaining_steps
    uint32_t next           # in its level's queue
    uint32_t prev
    uint32_t level
    uint32_t account
    uint32_t desk           # 0: not an open order (yet)
    uint32_t desk_next
    uint32_t desk_prev
    uint8_t type
    uint8_t side
    uint8_t time_in_force
    uint8_t self_trade_prevention
    uint8_t place
    uint8_t amends
    uint8_t triggered
    uint8_t has_client_id   # saves looking at the detail
    uint16_t market
    uint8_t extras          # ExtraFlag: whether it has an Extra, and for what
    uint8_t reserved

cdef struct Detail:         # 128 bytes: the rest of an order, same index; the first line is what trading changes
    int64_t quantity_steps
    int64_t executed_steps
    int64_t executed_quote_units
    int64_t updated_ns
    uint64_t sequence       # of the command that changed it last
    int64_t stop_price_ticks
    int64_t quote_quantity_units
    int64_t created_ns
    int64_t working_ns
    int64_t strategy_id
    uint8_t client_id[36]
    uint32_t strategy_type
    uint64_t reserved

cdef enum ExtraFlag:
    EXTRA_ICEBERG = 1
    EXTRA_PREVENTED = 2

cdef struct Extra:          # 32 bytes, same index as the order: of few orders, so that the others pay nothing for it
    int64_t iceberg_steps   # 0: no iceberg
    int64_t shown_steps     # of an iceberg on the book: what its level counts
    int64_t prevented_steps
    uint64_t prevented_match_id  # the last

cdef struct Level:          # 32 bytes: the orders at one price of one queue
    int64_t price_ticks
    int64_t quantity_steps  # sum of what remains of them; of icebergs what they show (the rest: State.hidden)
    uint32_t head           # oldest
    uint32_t tail
    uint32_t orders
    uint32_t span           # the market's depth span in which it was noted as changed (local, see touch_book)

# A digit of the price tree: 64 children, of which `bits` says which exist. In the last digit the children are levels.
cdef struct Node:           # 264 bytes
    uint64_t bits
    uint32_t child[64]

cdef struct Queue:          # one price-ordered queue of levels
    uint32_t root
    uint32_t best           # level that comes first
    uint32_t levels
    uint32_t leaf           # the nodes of the last digit, and of the one above it, used last; and the price digits
    uint32_t branch         # that lead to them
    int64_t leaf_key
    int64_t branch_key
    uint8_t highest_first
    uint8_t height

cdef struct AverageSlot:    # trades of one minute
    int64_t slot            # kernel time / 60 s
    i128 price_steps        # sum of price x quantity
    i128 steps              # sum of quantity

cdef struct Market:
    uint8_t name[36]
    uint8_t state
    uint8_t default_prevention
    uint8_t allowed_preventions
    uint8_t notional_flags
    uint8_t amends_max
    uint32_t base_asset
    uint32_t quote_asset
    int64_t tick_e8
    int64_t step_units
    int64_t quote_factor              # quote units of one tick x one step
    int64_t price_ticks_min
    int64_t price_ticks_max
    int64_t quantity_steps_min
    int64_t quantity_steps_max
    int64_t market_quantity_steps_min
    int64_t market_quantity_steps_max
    int64_t notional_units_min
    int64_t notional_units_max
    uint32_t market_step_steps
    int32_t maker_rate_e8
    int32_t taker_rate_e8
    uint32_t orders_max
    uint32_t algo_orders_max
    uint32_t iceberg_orders_max
    uint32_t iceberg_parts_max
    int64_t position_units_max
    uint32_t bid_multiplier_up_e4
    uint32_t bid_multiplier_down_e4
    uint32_t ask_multiplier_up_e4
    uint32_t ask_multiplier_down_e4
    int64_t average_minutes
    # what changes
    Queue queues[4]
    int64_t last_price_ticks          # 0: no trade yet
    uint64_t next_trade_id
    uint64_t next_prevented_match_id
    uint64_t update_id
    uint32_t icebergs                 # on the book
    AverageSlot average[64]           # by slot mod 64
    int64_t average_slot              # the slot the two sums stand at
    i128 average_price_steps          # sums over the last average_minutes slots
    i128 average_steps
    # of the command under way
    int64_t traded_low                # prices traded; low 0: none
    int64_t traded_high
    uint64_t touched_sequence         # the command that last took an update id
    # taps: local, never part of the state
    TopRecord top                     # as reported last
    int64_t* changes                  # a set: price x 2 + side of every level changed since the last drain
    uint32_t changes_count
    uint32_t changes_size
    uint32_t span                     # number of the open depth span
    uint64_t drained_update_id

cdef struct Remembered:     # the digest of a signed request, and its result
    uint8_t digest[16]
    uint64_t sequence
    uint64_t order_id
    int64_t expires_ns
    int32_t code

cdef struct WriterMark:
    uint8_t writer[16]
    uint64_t number         # highest applied
    uint64_t batch          # when it was heard last

cdef struct Touched:        # a watched account's balance that this command changed
    uint32_t account
    uint32_t asset

cdef struct Triggered:
    uint64_t order_id
    uint32_t slot

cdef struct State:
    # limits, from CONFIGURE
    bint configured
    uint32_t accounts_max
    uint32_t orders_max
    uint32_t assets_max
    uint32_t markets_max
    uint32_t digests_max
    uint32_t writers_max
    uint64_t seed
    uint32_t rules
    uint8_t follow          # Follow, between the two records of a REPLACE
    # counters
    int64_t time_ns
    int64_t minute          # kernel time / 60 s
    uint64_t sequence
    uint64_t batches
    uint64_t next_order_id
    uint64_t next_execution_id
    uint64_t event_hash[2]
    uint32_t asset_count
    uint32_t market_count
    uint32_t account_count
    uint32_t open_orders
    # arenas
    Asset* assets
    Market* markets
    Account* accounts
    Desk* desks
    Order* orders
    Detail* details
    Extra* extras
    Level* levels
    int64_t* hidden         # by level: what its icebergs do not show
    Node* nodes
    uint32_t desk_free      # heads of the free lists, and how far each arena has been used
    uint32_t desk_used
    uint32_t order_free
    uint32_t order_used
    uint32_t level_free
    uint32_t level_used
    uint32_t node_free
    uint32_t node_used
    uint32_t* order_table   # order id -> order
    uint32_t* client_table  # (account, market, client id) -> order
    uint32_t table_mask
    Remembered* remembered  # a ring in order of arrival
    uint64_t remembered_first
    uint64_t remembered_next
    uint32_t* digest_table  # digest -> place in the ring + 1
    uint32_t digest_mask
    WriterMark* writers
    uint32_t writer_count
    # output of the batch under way
    Event* events
    size_t events_count
    size_t events_size
    OrderRecord* done
    size_t done_count
    size_t done_size
    TopRecord* tops
    size_t tops_count
    size_t tops_size
    PositionRecord* positions
    size_t positions_count
    size_t positions_size
    # taps
    bint tap_done
    bint tap_tops
    bint tap_depth
    uint32_t watched_count
    uint8_t* watched        # by account
    Touched* touched
    size_t touched_count
    size_t touched_size
    Triggered* triggered
    size_t triggered_size
