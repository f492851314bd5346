# SPDX-License-Identifier: Apache-2.0
# Self-trade prevention: what happens when a taker meets an order of its own account or trade group. RULES.md,
# "Matching" and "Self-trade prevention", is the text. Matching calls `meet`; money moves in TRANSFER only.

cdef enum Met:
    MET_ON = 0           # matching goes on
    MET_TAKER_GONE = 1   # the taker has left, events and record are made
    MET_NO_MORE = 2      # matching ends, the taker still has its rest


cdef inline bint is_own(State* s, const Order* o, uint32_t group, const Order* mo) noexcept nogil:
    # `group` is the taker's trade group, 0 where groups do not count.
    return mo.account == o.account or (group != 0 and s.accounts[mo.account].trade_group == group)


cdef inline uint32_t group_of(State* s, uint32_t account) noexcept nogil:
    return s.accounts[account].trade_group if s.rules >= 2 else 0


cdef void note_prevented(State* s, uint32_t slot, int64_t quantity, uint64_t match_id) noexcept nogil:
    cdef Extra* x = extra_of(s, slot, EXTRA_PREVENTED)
    x.prevented_steps += quantity
    x.prevented_match_id = match_id


cdef void remove_maker(State* s, Market* m, int side, uint32_t slot, uint8_t status) noexcept nogil:
    # It has nothing left, or nothing that it may keep.
    if is_iceberg(s, slot):
        count_hidden(s, m, slot, -1)
    leave_queue(s, &m.queues[side], slot)
    s.orders[slot].place = NOWHERE
    if is_iceberg(s, slot):
        s.extras[slot].shown_steps = 0
    retire(s, m, slot, status, REASON_NONE)


cdef Event* emit_prevented(State* s, uint32_t slot, uint8_t status, uint8_t flags, int64_t price, int64_t quantity,
                           uint64_t match_id, uint64_t other_id, uint32_t other_account) noexcept nogil:
    cdef Event* e = emit_order(s, slot, EVENT_PREVENTED, status, flags)
    e.price_ticks = price
    e.quantity_steps = quantity
    e.prevented_match_id = match_id
    e.other_order_id = other_id
    e.other_account = other_account
    return e


cdef void expire_taker(State* s, Market* m, uint32_t taker, uint32_t maker, uint64_t match_id) noexcept nogil:
    cdef Order* mo = &s.orders[maker]
    cdef int64_t rest = s.orders[taker].remaining_steps
    s.orders[taker].remaining_steps = 0
    note_prevented(s, taker, rest, match_id)
    emit_prevented(s, taker, STATUS_EXPIRED_IN_MATCH, FLAG_LAST, mo.price_ticks, rest, match_id, mo.order_id, mo.account)
    retire(s, m, taker, STATUS_EXPIRED_IN_MATCH, REASON_NONE)


cdef void expire_maker(State* s, Market* m, int side, uint64_t taker_id, uint32_t taker_account, uint32_t maker,
                       uint64_t match_id) noexcept nogil:
    cdef Order* mo = &s.orders[maker]
    cdef int64_t rest = mo.remaining_steps
    touch_book(s, m, side, &s.levels[mo.level])
    lock(s, m, maker, -1)
    s.levels[mo.level].quantity_steps -= shown(s, maker)
    if is_iceberg(s, maker):
        s.hidden[mo.level] -= rest - s.extras[maker].shown_steps
        s.extras[maker].shown_steps = 0
    mo.remaining_steps = 0
    note_prevented(s, maker, rest, match_id)
    emit_prevented(s, maker, STATUS_EXPIRED_IN_MATCH, FLAG_LAST | FLAG_MAKER, mo.price_ticks, rest, match_id, taker_id,
                   taker_account)
    remove_maker(s, m, side, maker, STATUS_EXPIRED_IN_MATCH)


cdef Met expire_either(State* s, Market* m, int side, uint32_t taker, uint32_t maker) noexcept nogil:
    cdef uint8_t mode = s.orders[taker].self_trade_prevention
    cdef uint64_t match_id = m.next_prevented_match_id
    cdef uint64_t taker_id = s.orders[taker].order_id
    cdef uint32_t account = s.orders[taker].account
    m.next_prevented_match_id += 1
    if mode != STP_EXPIRE_MAKER:
        expire_taker(s, m, taker, maker, match_id)
    if mode != STP_EXPIRE_TAKER:
        expire_maker(s, m, side, taker_id, account, maker, match_id)
    return MET_ON if mode == STP_EXPIRE_MAKER else MET_TAKER_GONE


cdef void give_back(State* s, Market* m, uint32_t maker, int64_t base, int64_t quote) noexcept nogil:
    # The maker's lock for what is prevented returns to free.
    cdef bint buys = s.orders[maker].side == SIDE_BUY
    cdef Balance* b = balance_of(s, m.quote_asset if buys else m.base_asset, s.orders[maker].account)
    b.locked -= quote if buys else base
    b.free += quote if buys else base


cdef void transfer(State* s, Market* m, const Order* o, const Order* mo, int64_t base, int64_t quote) noexcept nogil:
    # As the money of a trade, without fees.
    cdef bint buys = o.side == SIDE_BUY
    cdef uint32_t pays = m.quote_asset if buys else m.base_asset
    cdef uint32_t gets = m.base_asset if buys else m.quote_asset
    cdef int64_t paid = quote if buys else base
    cdef int64_t got = base if buys else quote
    balance_of(s, pays, o.account).free -= paid
    balance_of(s, gets, o.account).free += got
    balance_of(s, gets, mo.account).locked -= got
    balance_of(s, pays, mo.account).free += paid


cdef Met decrement(State* s, Market* m, int side, uint32_t taker, uint32_t maker, int64_t* quote_rest) noexcept nogil:
    # DECREMENT, and TRANSFER: both orders lose the quantity of their meeting. `quote_rest` of a taker by quote quantity.
    cdef Order* o = &s.orders[taker]
    cdef Order* mo = &s.orders[maker]
    cdef bint buys = o.side == SIDE_BUY
    cdef bint by_quote = s.details[taker].quote_quantity_units != 0
    cdef bint transfers = (o.self_trade_prevention == STP_TRANSFER and mo.self_trade_prevention == STP_TRANSFER
                           and o.account != mo.account)
    cdef int64_t price = mo.price_ticks
    cdef int64_t unit = price * m.quote_factor
    cdef int64_t quantity = smaller(quote_rest[0] // unit if by_quote else o.remaining_steps, shown(s, maker))
    cdef int64_t free = s.assets[m.quote_asset if buys else m.base_asset].balances[o.account].free
    cdef bint is_short = transfers and (unit if buys else m.step_units) * quantity > free
    cdef bint taker_done, maker_done
    cdef uint64_t match_id = m.next_prevented_match_id
    cdef uint64_t maker_id = mo.order_id
    cdef uint32_t maker_account = mo.account
    cdef int64_t quote, transferred
    if is_short:
        quantity = free // (unit if buys else m.step_units)
    if quantity == 0:
        return MET_NO_MORE
    quote = unit * quantity
    transferred = quote if transfers else 0
    m.next_prevented_match_id += 1
    touch_book(s, m, side, &s.levels[mo.level])
    if transfers:
        transfer(s, m, o, mo, quantity * m.step_units, quote)
    else:
        give_back(s, m, maker, quantity * m.step_units, quote)
    if by_quote:
        quote_rest[0] -= quote
        s.details[taker].quantity_steps += quantity
        taker_done = quote_rest[0] // unit == 0
    else:
        o.remaining_steps -= quantity
        taker_done = o.remaining_steps == 0
    shorten(s, maker, quantity)
    maker_done = mo.remaining_steps == 0
    note_prevented(s, taker, quantity, match_id)
    note_prevented(s, maker, quantity, match_id)
    emit_prevented(s, taker, STATUS_EXPIRED_IN_MATCH if taker_done else live_status(s, taker),
                   fill_flags(s, taker, taker_done), price, quantity, match_id, maker_id,
                   maker_account).quote_units = transferred
    emit_prevented(s, maker, STATUS_EXPIRED_IN_MATCH if maker_done else live_status(s, maker),
                   FLAG_MAKER | (FLAG_LAST if maker_done else FLAG_WORKING), price, quantity, match_id, o.order_id,
                   o.account).quote_units = transferred
    if maker_done:
        remove_maker(s, m, side, maker, STATUS_EXPIRED_IN_MATCH)
    if taker_done:
        retire(s, m, taker, STATUS_EXPIRED_IN_MATCH, REASON_NONE)
        return MET_TAKER_GONE
    return MET_NO_MORE if is_short else MET_ON


cdef Met meet(State* s, Market* m, int side, uint32_t taker, uint32_t maker, int64_t* quote_rest) noexcept nogil:
    # The taker has met an order of its own.
    if s.orders[taker].self_trade_prevention >= STP_DECREMENT:
        return decrement(s, m, side, taker, maker, quote_rest)
    return expire_either(s, m, side, taker, maker)
