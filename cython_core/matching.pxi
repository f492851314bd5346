# SPDX-License-Identifier: Apache-2.0
# Matching: an order against the other side of its book, and the stops that its trades set off. What happens when it meets
# its own is in prevention.pxi. RULES.md, "Matching" and "Triggers", is the text; this is its only implementation here.

cdef enum Matched:       # how an order came out of the book
    MATCHED_OPEN = 0     # something remains
    MATCHED_FILLED = 1
    MATCHED_PREVENTED = 2  # its rest was taken off by self-trade prevention, events and record are made


cdef inline bint crosses(uint8_t side, int64_t limit, int64_t price) noexcept nogil:
    return limit == 0 or (price <= limit if side == SIDE_BUY else price >= limit)


cdef inline void settle(
    State* s, Market* m, uint32_t taker, uint32_t maker, bint taker_buys, int64_t base, int64_t quote,
    int64_t* taker_fee, int64_t* maker_fee
) noexcept nogil:
    # Money of one trade: the taker pays from free, the maker from its lock, both receive to free less the fee.
    cdef uint32_t pays = m.quote_asset if taker_buys else m.base_asset
    cdef uint32_t gets = m.base_asset if taker_buys else m.quote_asset
    cdef int64_t paid = quote if taker_buys else base
    cdef int64_t got = base if taker_buys else quote
    cdef int32_t rate = s.accounts[taker].taker_rate_e8
    taker_fee[0] = fee_of(got, m.taker_rate_e8 if rate < 0 else rate)
    rate = s.accounts[maker].maker_rate_e8
    maker_fee[0] = fee_of(paid, m.maker_rate_e8 if rate < 0 else rate)
    balance_of(s, pays, taker).free -= paid
    balance_of(s, gets, taker).free += got - taker_fee[0]
    balance_of(s, gets, maker).locked -= got
    balance_of(s, pays, maker).free += paid - maker_fee[0]
    s.assets[gets].fees += taker_fee[0]
    s.assets[pays].fees += maker_fee[0]


cdef inline uint8_t fill_flags(State* s, uint32_t slot, bint finished) noexcept nogil:
    if finished:
        return FLAG_LAST
    return 0 if is_market_kind(s.orders[slot].type) else FLAG_WORKING


cdef Matched match(State* s, Market* m, uint32_t slot) noexcept nogil:
    cdef Order* o = &s.orders[slot]
    cdef Detail* d = &s.details[slot]
    cdef bint buys = o.side == SIDE_BUY
    cdef bint by_quote = d.quote_quantity_units != 0
    cdef int side = ASK if buys else BID
    cdef Queue* q = &m.queues[side]
    cdef int64_t quote_rest = d.quote_quantity_units
    cdef int64_t price, unit, quantity, quote, taker_fee, maker_fee
    cdef Balance* purse = &s.assets[m.quote_asset if buys else m.base_asset].balances[o.account]
    cdef Level* level
    cdef Order* mo
    cdef Detail* md
    cdef uint32_t maker
    cdef bint taker_done, maker_done, is_short = False
    cdef uint32_t group = group_of(s, o.account)
    cdef Met met
    cdef Event* e
    while by_quote or o.remaining_steps:
        if q.best == 0:
            break
        level = &s.levels[q.best]
        price = level.price_ticks
        if not crosses(o.side, o.price_ticks, price):
            break
        maker = level.head
        mo = &s.orders[maker]
        if mo.next:
            PREFETCH(&s.orders[mo.next])
        if o.self_trade_prevention != STP_NONE and is_own(s, o, group, mo):
            met = meet(s, m, side, slot, maker, &quote_rest)
            if met == MET_TAKER_GONE:
                return MATCHED_PREVENTED
            if met == MET_NO_MORE:
                break
            continue
        unit = price * m.quote_factor
        quantity = smaller(quote_rest // unit if by_quote else o.remaining_steps, shown(s, maker))
        quote = unit * quantity
        if unlikely((quote if buys else quantity * m.step_units) > purse.free):
            quantity = purse.free // (unit if buys else m.step_units)
            quote = unit * quantity
            is_short = True
        if quantity == 0:
            break
        settle(s, m, o.account, mo.account, buys, quantity * m.step_units, quote, &taker_fee, &maker_fee)
        note_trade(s, m, price, quantity)
        if by_quote:
            quote_rest -= quote
            d.quantity_steps += quantity
            taker_done = quote_rest // unit == 0
        else:
            o.remaining_steps -= quantity
            taker_done = o.remaining_steps == 0
        d.executed_steps += quantity
        d.executed_quote_units += quote
        shorten(s, maker, quantity)
        maker_done = mo.remaining_steps == 0
        md = &s.details[maker]
        md.executed_steps += quantity
        md.executed_quote_units += quote
        e = emit_order(s, slot, EVENT_FILL, STATUS_FILLED if taker_done else STATUS_PARTIALLY_FILLED,
                       fill_flags(s, slot, taker_done))
        fill_trade(e, m, mo, price, quantity, quote, taker_fee, m.base_asset if buys else m.quote_asset)
        e = emit_order(s, maker, EVENT_FILL, STATUS_FILLED if maker_done else STATUS_PARTIALLY_FILLED,
                       FLAG_MAKER | (FLAG_LAST if maker_done else FLAG_WORKING))
        fill_trade(e, m, o, price, quantity, quote, maker_fee, m.quote_asset if buys else m.base_asset)
        m.next_trade_id += 1
        touch_book(s, m, side, level)
        if maker_done:
            remove_maker(s, m, side, maker, STATUS_FILLED)
        if taker_done:
            return MATCHED_FILLED
        if is_short:
            break
    return MATCHED_OPEN


cdef inline void fill_trade(Event* e, Market* m, const Order* other, int64_t price, int64_t quantity, int64_t quote,
                            int64_t fee, uint32_t asset) noexcept nogil:
    e.price_ticks = price
    e.quantity_steps = quantity
    e.quote_units = quote
    e.fee_units = fee
    e.asset = asset
    e.trade_id = m.next_trade_id
    e.other_order_id = other.order_id
    e.other_account = other.account


cdef bint is_fillable(State* s, Market* m, uint32_t slot) noexcept nogil:
    # Can a FOK be filled wholly? Level by level where no order of its own can stand in its way.
    cdef Order* o = &s.orders[slot]
    cdef Queue* q = &m.queues[ASK if o.side == SIDE_BUY else BID]
    cdef int64_t wanted = o.remaining_steps
    cdef uint32_t index = q.best
    cdef uint32_t group = group_of(s, o.account)
    cdef bint plain = (o.self_trade_prevention == STP_NONE
                       or (group == 0 and s.accounts[o.account].first_desk == 0))
    cdef bint is_blocked = False
    while index and not is_blocked and crosses(o.side, o.price_ticks, s.levels[index].price_ticks):
        if plain:
            wanted -= standing(s, m, index)
        else:
            wanted -= takeable(s, o, group, index, &is_blocked)
        if wanted <= 0:
            return True
        index = level_after(s, q, s.levels[index].price_ticks)
    return False


cdef int64_t takeable(State* s, const Order* o, uint32_t group, uint32_t index, bint* is_blocked) noexcept nogil:
    # What a FOK could take at a level that may hold orders of its own; blocked: nothing beyond the first of them.
    cdef uint32_t at = s.levels[index].head
    cdef int64_t first_round = 0, all_others = 0
    while at:
        if not is_own(s, o, group, &s.orders[at]):
            first_round += shown(s, at)
            all_others += s.orders[at].remaining_steps
        elif o.self_trade_prevention != STP_EXPIRE_MAKER:
            is_blocked[0] = True
            return first_round
        at = s.orders[at].next
    return all_others


cdef void expire(State* s, Market* m, uint32_t slot, uint8_t reason) noexcept nogil:
    emit_order(s, slot, EVENT_EXPIRED, STATUS_EXPIRED, FLAG_LAST).reason = reason
    retire(s, m, slot, STATUS_EXPIRED, reason)


cdef void rest(State* s, Market* m, uint32_t slot) noexcept nogil:
    cdef Order* o = &s.orders[slot]
    cdef int side = BID if o.side == SIDE_BUY else ASK
    o.place = ON_BOOK
    lock(s, m, slot, 1)
    if is_iceberg(s, slot):
        surface(s, slot)
    join_queue(s, &m.queues[side], slot, o.price_ticks)
    if is_iceberg(s, slot):
        count_hidden(s, m, slot, 1)
    touch_book(s, m, side, &s.levels[o.level])
    if o.desk == 0:
        enlist(s, slot)


cdef void work(State* s, Market* m, uint32_t slot) noexcept nogil:
    # An order that is active: match it, and see to what remains.
    cdef Order* o = &s.orders[slot]
    cdef Matched matched
    if o.time_in_force == TIF_FOK and not is_fillable(s, m, slot):
        expire(s, m, slot, REASON_UNFILLED_FOK_ORDER_EXPIRED)
        return
    matched = match(s, m, slot)
    if matched == MATCHED_PREVENTED:
        return
    if matched == MATCHED_FILLED:
        retire(s, m, slot, STATUS_FILLED, REASON_NONE)
    elif is_market_kind(o.type):
        expire(s, m, slot, REASON_INSUFFICIENT_LIQUIDITY)
    elif o.time_in_force == TIF_IOC:
        expire(s, m, slot, REASON_UNFILLED_IOC_QUANTITY_EXPIRED)
    elif o.time_in_force == TIF_FOK:
        expire(s, m, slot, REASON_UNFILLED_FOK_ORDER_EXPIRED)
    else:
        rest(s, m, slot)


cdef void wait_for_trigger(State* s, Market* m, uint32_t slot) noexcept nogil:
    cdef Order* o = &s.orders[slot]
    o.place = WAITING
    lock(s, m, slot, 1)
    join_queue(s, &m.queues[trigger_queue(o.type, o.side)], slot, s.details[slot].stop_price_ticks)
    enlist(s, slot)


cdef int compare_triggered(const void* a, const void* b) noexcept nogil:
    cdef uint64_t x = (<const Triggered*>a).order_id, y = (<const Triggered*>b).order_id
    return (x > y) - (x < y)


cdef size_t take_triggered(State* s, Queue* q, int64_t low, int64_t high, size_t count) noexcept nogil:
    # Moves the waiting orders whose condition holds to s.triggered, behind the `count` that are there.
    cdef uint32_t slot
    cdef int64_t stop
    while q.best:
        stop = s.levels[q.best].price_ticks
        if stop < low if q.highest_first else stop > high:
            break
        slot = s.levels[q.best].head
        leave_queue(s, q, slot)
        s.desks[s.orders[slot].desk].waiting_orders -= 1
        if count == s.triggered_size:
            s.triggered = <Triggered*>grown(s.triggered, &s.triggered_size, sizeof(Triggered))
        s.triggered[count].slot = slot
        s.triggered[count].order_id = s.orders[slot].order_id
        count += 1
    return count


cdef void activate(State* s, Market* m, uint32_t slot) noexcept nogil:
    lock(s, m, slot, -1)
    s.orders[slot].place = NOWHERE
    s.orders[slot].triggered = 1
    s.details[slot].working_ns = s.time_ns
    emit_order(s, slot, EVENT_TRIGGERED, STATUS_NEW, FLAG_WORKING)
    work(s, m, slot)


cdef void run_triggers(State* s, Market* m) noexcept nogil:
    # Round by round, until a round has no trade.
    cdef int64_t low, high
    cdef size_t count, i
    while m.traded_low:
        low = m.traded_low
        high = m.traded_high
        m.traded_low = m.traded_high = 0
        if m.queues[ABOVE].best == 0 and m.queues[BELOW].best == 0:
            return
        count = take_triggered(s, &m.queues[ABOVE], low, high, 0)
        count = take_triggered(s, &m.queues[BELOW], low, high, count)
        if count == 0:
            return
        qsort(s.triggered, count, sizeof(Triggered), compare_triggered)
        for i in range(count):
            activate(s, m, s.triggered[i].slot)
