# SPDX-License-Identifier: Apache-2.0
# Money: balances, fees, and the events, taps and records that tell of it.
#
# Nothing here can overflow: a deposit is refused that would lift an asset's supply above 2^62 units, a market is refused
# whose largest price x largest quantity passes 2^62, and no other command makes money. So every balance, sum and product
# below is under 2^62; only lifetime totals need 128 bits.

cdef enum:
    CHANGES_MIN = 256
    RATE_ONE = 100000000         # 10^8: a fee rate of 100 %
    PERMIT_TRADE = 1
    PERMIT_DEPOSIT = 2
    PERMIT_WITHDRAW = 4

cdef int64_t UNITS_MAX = <int64_t>1 << 62
cdef int64_t DIGEST_KEPT_NS = 61000000000  # of a digest that came without a deadline
cdef int64_t TIME_MAX = 0x7FFFFFFFFFFFFFFF
cdef int64_t MINUTE_NS = 60000000000


cdef inline Balance* balance_of(State* s, uint32_t asset, uint32_t account) noexcept nogil:
    # For writing: a watched account's change is noted for the positions tap.
    if unlikely(s.watched_count != 0) and s.watched[account]:
        note_touched(s, account, asset)
    return &s.assets[asset].balances[account]


cdef void note_touched(State* s, uint32_t account, uint32_t asset) noexcept nogil:
    cdef size_t i
    for i in range(s.touched_count):
        if s.touched[i].account == account and s.touched[i].asset == asset:
            return
    if s.touched_count == s.touched_size:
        s.touched = <Touched*>grown(s.touched, &s.touched_size, sizeof(Touched))
    s.touched[s.touched_count].account = account
    s.touched[s.touched_count].asset = asset
    s.touched_count += 1


cdef void report_positions(State* s) noexcept nogil:
    cdef size_t i
    cdef PositionRecord* p
    cdef Balance* b
    for i in range(s.touched_count):
        if s.positions_count == s.positions_size:
            s.positions = <PositionRecord*>grown(s.positions, &s.positions_size, sizeof(PositionRecord))
        p = &s.positions[s.positions_count]
        s.positions_count += 1
        b = &s.assets[s.touched[i].asset].balances[s.touched[i].account]
        p.sequence = s.sequence
        p.account = s.touched[i].account
        p.asset = s.touched[i].asset
        p.free_units = b.free
        p.locked_units = b.locked
    s.touched_count = 0


cdef inline int64_t fee_of(int64_t received, int32_t rate_e8) noexcept nogil:
    # Rounded down. The product fits 64 bits for all but giants.
    cdef int64_t product
    if rate_e8 == 0:
        return 0
    if likely(not multiply_overflows(received, <int64_t>rate_e8, &product)):
        return <int64_t>(<uint64_t>product // RATE_ONE)
    return <int64_t>(<i128>received * rate_e8 // RATE_ONE)


cdef inline Event* emit(State* s, uint8_t kind) noexcept nogil:
    cdef Event* e
    if unlikely(s.events_count == s.events_size):
        s.events = <Event*>grown(s.events, &s.events_size, sizeof(Event))
    e = &s.events[s.events_count]
    s.events_count += 1
    memset(e, 0, sizeof(Event))
    e.kind = kind
    e.sequence = s.sequence
    return e


cdef inline Event* emit_order(
    State* s, uint32_t slot, uint8_t kind, uint8_t status, uint8_t flags
) noexcept nogil:
    # An event of an order: who it is and how it stands. The caller adds what is special to the kind.
    cdef Order* o = &s.orders[slot]
    cdef Detail* d = &s.details[slot]
    cdef Event* e = emit(s, kind)
    e.status = status
    e.flags = flags | FLAG_BUY if o.side == SIDE_BUY else flags
    e.account = o.account
    e.order_id = o.order_id
    e.execution_id = s.next_execution_id
    s.next_execution_id += 1
    e.market = o.market
    e.price_ticks = o.price_ticks
    e.quantity_steps = d.quantity_steps
    e.executed_steps = d.executed_steps
    e.executed_quote_units = d.executed_quote_units
    e.remaining_steps = o.remaining_steps
    d.updated_ns = s.time_ns
    d.sequence = s.sequence
    return e


cdef inline uint8_t live_status(State* s, uint32_t slot) noexcept nogil:
    return STATUS_PARTIALLY_FILLED if s.details[slot].executed_steps else STATUS_NEW


cdef inline void touch_book(State* s, Market* m, int side, Level* level) noexcept nogil:
    # A visible level is about to change or has: the command's update id, and the level for the next depth drain. A level
    # is noted once a span; one that was closed and opened again comes here again and is in the set already.
    if m.touched_sequence != s.sequence:
        m.touched_sequence = s.sequence
        m.update_id += 1
    if level.span == m.span or not s.tap_depth:
        return
    level.span = m.span
    if unlikely(m.changes_count * 2 >= m.changes_size):
        make_room_for_changes(m)
    note_change(m, level.price_ticks * 2 + side)


cdef int compare_changes(const void* a, const void* b) noexcept nogil:
    cdef int64_t x = (<const int64_t*>a)[0], y = (<const int64_t*>b)[0]
    return (x > y) - (x < y)


cdef inline void note_change(Market* m, int64_t change) noexcept nogil:
    # Into the set of changed levels: open addressed, 0 is a free place.
    cdef uint32_t mask = m.changes_size - 1
    cdef uint32_t i = <uint32_t>((<uint64_t>change * MIX_1) >> 32) & mask
    while m.changes[i]:
        if m.changes[i] == change:
            return
        i = (i + 1) & mask
    m.changes[i] = change
    m.changes_count += 1


cdef void make_room_for_changes(Market* m) noexcept nogil:
    # A set twice as large.
    cdef uint32_t i, old_size = m.changes_size
    cdef int64_t* old = m.changes
    m.changes_size = old_size * 2 if old_size else CHANGES_MIN
    m.changes = <int64_t*>calloc(m.changes_size, sizeof(int64_t))
    CHECK(m.changes != NULL, "out of memory for the levels changed since the last drain")
    m.changes_count = 0
    for i in range(old_size):
        if old[i]:
            note_change(m, old[i])
    free(old)


cdef void sort_changes(Market* m) noexcept nogil:
    # The set as a list at its front, by price, bids before asks at a price. Only forget_changes may follow.
    cdef uint32_t i, kept = 0
    for i in range(m.changes_size):
        if m.changes[i]:
            m.changes[kept] = m.changes[i]
            kept += 1
    if kept:
        qsort(m.changes, kept, sizeof(int64_t), compare_changes)


cdef void forget_changes(Market* m) noexcept nogil:
    if m.changes_size:
        memset(m.changes, 0, m.changes_size * sizeof(int64_t))
    m.changes_count = 0
    m.span += 1


cdef void report_top(State* s, Market* m, uint32_t market) noexcept nogil:
    # The best of the book, when this command changed it.
    cdef Level* bid = &s.levels[m.queues[BID].best]
    cdef Level* ask = &s.levels[m.queues[ASK].best]
    cdef TopRecord* t
    cdef int64_t bid_price = bid.price_ticks if m.queues[BID].best else 0
    cdef int64_t bid_quantity = bid.quantity_steps if m.queues[BID].best else 0
    cdef int64_t ask_price = ask.price_ticks if m.queues[ASK].best else 0
    cdef int64_t ask_quantity = ask.quantity_steps if m.queues[ASK].best else 0
    if (m.top.bid_price_ticks == bid_price and m.top.bid_quantity_steps == bid_quantity
            and m.top.ask_price_ticks == ask_price and m.top.ask_quantity_steps == ask_quantity):
        return
    m.top.sequence = s.sequence
    m.top.update_id = m.update_id
    m.top.market = market
    m.top.bid_price_ticks = bid_price
    m.top.bid_quantity_steps = bid_quantity
    m.top.ask_price_ticks = ask_price
    m.top.ask_quantity_steps = ask_quantity
    if s.tops_count == s.tops_size:
        s.tops = <TopRecord*>grown(s.tops, &s.tops_size, sizeof(TopRecord))
    s.tops[s.tops_count] = m.top
    s.tops_count += 1


cdef inline void retire(
    State* s, Market* m, uint32_t slot, uint8_t status, uint8_t reason
) noexcept nogil:
    # An order has ended: it is in no queue and holds nothing any more. Its last record goes to the done tap.
    cdef OrderRecord* r
    if s.tap_done:
        if unlikely(s.done_count == s.done_size):
            s.done = <OrderRecord*>grown(s.done, &s.done_size, sizeof(OrderRecord))
        r = &s.done[s.done_count]
        s.done_count += 1
        fill_record(s, m, slot, r)
        r.status = status
        r.reason = reason
    if s.orders[slot].desk:
        delist(s, slot)
    drop_order(s, slot)


cdef void roll_average(State* s, Market* m) noexcept nogil:
    # Moves the two sums to the present minute: slots that have left the window are taken off.
    cdef int64_t slot
    cdef AverageSlot* old
    if m.average_slot == s.minute or m.average_minutes == 0:
        return
    if s.minute - m.average_slot >= m.average_minutes:
        memset(m.average, 0, sizeof(AverageSlot) * AVERAGE_SLOTS)
        m.average_price_steps = 0
        m.average_steps = 0
    else:
        for slot in range(m.average_slot + 1 - m.average_minutes, s.minute + 1 - m.average_minutes):
            old = &m.average[slot & (AVERAGE_SLOTS - 1)]
            if old.slot == slot:
                m.average_price_steps -= old.price_steps
                m.average_steps -= old.steps
                memset(old, 0, sizeof(AverageSlot))
    m.average_slot = s.minute


cdef inline void note_trade(State* s, Market* m, int64_t price, int64_t quantity) noexcept nogil:
    cdef AverageSlot* now
    m.last_price_ticks = price
    if m.traded_low == 0:
        m.traded_low = m.traded_high = price
    elif price < m.traded_low:
        m.traded_low = price
    elif price > m.traded_high:
        m.traded_high = price
    if m.average_minutes == 0:
        return
    roll_average(s, m)
    now = &m.average[s.minute & (AVERAGE_SLOTS - 1)]
    now.slot = s.minute
    now.price_steps += <i128>price * quantity
    now.steps += quantity
    m.average_price_steps += <i128>price * quantity
    m.average_steps += quantity


cdef int64_t average_price(State* s, Market* m) noexcept nogil:
    roll_average(s, m)
    if m.average_minutes == 0 or m.average_steps == 0:
        return m.last_price_ticks
    return <int64_t>(m.average_price_steps // m.average_steps)


cdef inline void lock(State* s, Market* m, uint32_t slot, int64_t sign) noexcept nogil:
    # Moves what an open order holds between free and locked; sign -1 gives it back.
    cdef int64_t units = locked_by(s, m, slot) * sign
    cdef uint32_t asset = m.quote_asset if s.orders[slot].side == SIDE_BUY else m.base_asset
    cdef Balance* b = balance_of(s, asset, s.orders[slot].account)
    b.free -= units
    b.locked += units
