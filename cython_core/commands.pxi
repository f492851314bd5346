# SPDX-License-Identifier: Apache-2.0
# What each trading command does: its checks in the order of RULES.md, then its effect. A handler returns a Reject code;
# when that is not 0 it has changed nothing. `execute` at the end is what every command goes through.

cdef uint32_t make_order(State* s, Market* m, const Command* c) noexcept nogil:
    cdef uint32_t slot = new_order(s)
    cdef Order* o = &s.orders[slot]
    cdef Detail* d = &s.details[slot]
    memset(o, 0, sizeof(Order))
    memset(d, 0, sizeof(Detail))
    o.order_id = s.next_order_id
    s.next_order_id += 1
    o.price_ticks = c.price_ticks
    o.remaining_steps = c.quantity_steps
    o.account = c.account
    o.market = <uint16_t>c.market
    o.has_client_id = not is_blank(c.client_id)
    o.type = c.type
    o.side = c.side
    o.time_in_force = c.time_in_force
    o.self_trade_prevention = c.self_trade_prevention if c.self_trade_prevention else m.default_prevention
    d.quantity_steps = c.quantity_steps
    d.stop_price_ticks = c.stop_price_ticks
    d.quote_quantity_units = c.quote_quantity_units
    d.created_ns = s.time_ns
    d.strategy_id = c.strategy_id
    d.strategy_type = c.strategy_type
    memcpy(d.client_id, c.client_id, 36)
    if not is_stop(c.type):
        d.working_ns = s.time_ns
    if unlikely(c.iceberg_steps != 0):
        extra_of(s, slot, EXTRA_ICEBERG).iceberg_steps = c.iceberg_steps
    return slot


cdef int do_place(State* s, const Command* c) noexcept nogil:
    cdef int code = check_place(s, c)
    cdef uint32_t slot
    cdef Market* m
    if code:
        return code
    m = &s.markets[c.market]
    slot = make_order(s, m, c)
    if is_stop(c.type):
        emit_order(s, slot, EVENT_ACCEPTED, STATUS_NEW, 0)
        wait_for_trigger(s, m, slot)
        return REJECT_NONE
    emit_order(s, slot, EVENT_ACCEPTED, STATUS_NEW, FLAG_WORKING)
    work(s, m, slot)
    if m.traded_low:
        run_triggers(s, m)
    return REJECT_NONE


cdef uint32_t target_of(State* s, const Command* c) noexcept nogil:
    # The open order that a cancel or amend means; 0: none.
    cdef uint32_t slot
    if c.order_id == 0:
        return find_client(s, c.account, c.market, c.client_id)
    slot = find_order(s, c.order_id)
    if slot == 0 or s.orders[slot].account != c.account or s.orders[slot].market != c.market:
        return 0
    if not is_blank(c.client_id) and memcmp(s.details[slot].client_id, c.client_id, 36) != 0:
        return 0
    return slot


cdef void take_off(State* s, Market* m, uint32_t slot) noexcept nogil:
    # An open order leaves its queue and gives back what it holds.
    cdef Order* o = &s.orders[slot]
    cdef int queue
    lock(s, m, slot, -1)
    if o.place == WAITING:
        queue = trigger_queue(o.type, o.side)
        s.desks[o.desk].waiting_orders -= 1
    else:
        queue = BID if o.side == SIDE_BUY else ASK
        touch_book(s, m, queue, &s.levels[o.level])
        if is_iceberg(s, slot):
            count_hidden(s, m, slot, -1)
    leave_queue(s, &m.queues[queue], slot)
    o.place = NOWHERE
    if is_iceberg(s, slot):
        s.extras[slot].shown_steps = 0


cdef void cancel_order(State* s, Market* m, uint32_t slot) noexcept nogil:
    cdef uint8_t flags = FLAG_LAST | FLAG_WORKING if s.orders[slot].place == ON_BOOK else FLAG_LAST
    take_off(s, m, slot)
    emit_order(s, slot, EVENT_CANCELED, STATUS_CANCELED, flags)
    retire(s, m, slot, STATUS_CANCELED, REASON_NONE)


cdef int check_cancel(State* s, const Command* c) noexcept nogil:
    if not is_account(s, c.account):
        return REJECT_UNKNOWN_ACCOUNT
    if not is_market(s, c.market):
        return REJECT_UNKNOWN_MARKET
    if s.markets[c.market].state == STATE_HALT:
        return REJECT_MARKET_CLOSED
    return REJECT_NONE


cdef inline bint is_cancel_sound(const Command* c) noexcept nogil:
    return (c.order_id != 0 or not is_blank(c.client_id)) and c.restriction <= RESTRICTION_ONLY_PARTIALLY_FILLED


cdef int do_cancel(State* s, const Command* c) noexcept nogil:
    cdef int code = check_cancel(s, c)
    if code:
        return code
    if not is_cancel_sound(c):
        return REJECT_MALFORMED
    return cancel_target(s, c)


cdef int cancel_target(State* s, const Command* c) noexcept nogil:
    cdef uint32_t slot = target_of(s, c)
    cdef bint has_executed
    if slot == 0:
        return REJECT_UNKNOWN_ORDER
    has_executed = s.details[slot].executed_steps != 0
    if (c.restriction == RESTRICTION_ONLY_NEW and has_executed
            or c.restriction == RESTRICTION_ONLY_PARTIALLY_FILLED and not has_executed):
        return REJECT_CANCEL_RESTRICTED
    cancel_order(s, &s.markets[c.market], slot)
    return REJECT_NONE


cdef int do_cancel_all(State* s, const Command* c) noexcept nogil:
    cdef int code = check_cancel(s, c)
    cdef uint32_t desk, slot, next
    if code:
        return code
    desk = find_desk(s, c.account, c.market)
    if desk == 0:
        return REJECT_UNKNOWN_ORDER
    slot = s.desks[desk].first
    while slot:
        next = s.orders[slot].desk_next
        cancel_order(s, &s.markets[c.market], slot)
        slot = next
    return REJECT_NONE


cdef int do_replace(State* s, const Command* c) noexcept nogil:
    # c[1] is the PLACE. Its turn comes next; here it is said whether it has one.
    cdef int code
    if s.rules < 2:
        return REJECT_RULES
    code = check_terms(s, &c[1], is_cancel_sound(c))
    if code:
        return code
    code = cancel_target(s, c)
    if code == REJECT_NONE or c.flags & COMMAND_FLAG_ALLOW_FAILURE:
        s.follow = FOLLOW_ALONE
    return code


cdef size_t take_open_orders(State* s, uint32_t account, uint32_t market) noexcept nogil:
    # An account's open orders by order id, into s.triggered; market 0: of all markets.
    cdef uint32_t desk = s.accounts[account].first_desk, slot
    cdef size_t count = 0
    while desk:
        slot = s.desks[desk].first if market == 0 or s.desks[desk].market == market else 0
        while slot:
            if count == s.triggered_size:
                s.triggered = <Triggered*>grown(s.triggered, &s.triggered_size, sizeof(Triggered))
            s.triggered[count].slot = slot
            s.triggered[count].order_id = s.orders[slot].order_id
            count += 1
            slot = s.orders[slot].desk_next
        desk = s.desks[desk].next
    if count:
        qsort(s.triggered, count, sizeof(Triggered), compare_triggered)
    return count


cdef int do_kill(State* s, const Command* c) noexcept nogil:
    cdef size_t count, i
    cdef Event* e
    cdef Market* m
    if s.rules < 2:
        return REJECT_RULES
    if not is_account(s, c.account):
        return REJECT_UNKNOWN_ACCOUNT
    if c.market != 0 and not is_market(s, c.market):
        return REJECT_UNKNOWN_MARKET
    if c.restriction > 1:
        return REJECT_MALFORMED
    if c.restriction:
        s.accounts[c.account].permissions &= ~<uint8_t>PERMIT_TRADE
    count = take_open_orders(s, c.account, c.market)
    e = emit(s, EVENT_KILLED)
    e.account = c.account
    e.market = c.market
    e.quantity_steps = count
    for i in range(count):
        m = &s.markets[s.orders[s.triggered[i].slot].market]
        take_off(s, m, s.triggered[i].slot)
        expire(s, m, s.triggered[i].slot, REASON_EXCHANGE_CANCELED)
    return REJECT_NONE


cdef inline int64_t taken_of(State* s, uint32_t slot) noexcept nogil:
    # Of an order's quantity, what it no longer has: executed and prevented.
    return s.details[slot].quantity_steps - s.orders[slot].remaining_steps


cdef int check_amend(State* s, const Command* c, uint32_t slot) noexcept nogil:
    cdef Market* m = &s.markets[c.market]
    cdef Detail* d = &s.details[slot]
    cdef Order* o = &s.orders[slot]
    cdef uint32_t other
    if c.quantity_steps == d.quantity_steps:
        return REJECT_AMEND_NO_CHANGE
    if c.quantity_steps > d.quantity_steps:
        return REJECT_AMEND_INCREASE
    if o.amends >= m.amends_max:
        return REJECT_AMEND_LIMIT
    if c.quantity_steps > taken_of(s, slot):
        if not is_within(m.quantity_steps_min, c.quantity_steps, m.quantity_steps_max):
            return REJECT_LOT_SIZE
        if not is_notional_allowed(s, m, o.type, o.price_ticks, d.stop_price_ticks, c.quantity_steps, 0):
            return REJECT_NOTIONAL
    if not is_blank(c.other_client_id):
        other = find_client(s, c.account, c.market, c.other_client_id)
        if other and other != slot:
            return REJECT_DUPLICATE_CLIENT_ID
    return REJECT_NONE


cdef void rename_order(State* s, uint32_t slot, const uint8_t* client_id) noexcept nogil:
    cdef uint8_t* text = s.details[slot].client_id
    if memcmp(text, client_id, 36) == 0:
        return
    if s.orders[slot].has_client_id:
        unindex_client(s, slot)
    memcpy(text, client_id, 36)
    s.orders[slot].has_client_id = 1
    index_client(s, slot)


cdef void shrink_order(State* s, Market* m, uint32_t slot, int64_t quantity) noexcept nogil:
    # To a new quantity above what is taken; lock, level and order shrink by the same.
    cdef Order* o = &s.orders[slot]
    cdef int64_t less = s.details[slot].quantity_steps - quantity
    cdef int64_t before = shown(s, slot)
    lock(s, m, slot, -1)
    if is_iceberg(s, slot) and o.place == ON_BOOK:
        count_hidden(s, m, slot, -1)
        o.remaining_steps -= less
        s.extras[slot].shown_steps = smaller(before, o.remaining_steps)
        count_hidden(s, m, slot, 1)
    else:
        o.remaining_steps -= less
    s.levels[o.level].quantity_steps -= before - shown(s, slot)
    s.details[slot].quantity_steps = quantity
    lock(s, m, slot, 1)
    if o.place == ON_BOOK and shown(s, slot) != before:
        touch_book(s, m, BID if o.side == SIDE_BUY else ASK, &s.levels[o.level])


cdef int do_amend(State* s, const Command* c) noexcept nogil:
    cdef uint32_t slot
    cdef int code
    cdef Market* m
    if not is_account(s, c.account):
        return REJECT_UNKNOWN_ACCOUNT
    if not s.accounts[c.account].permissions & PERMIT_TRADE:
        return REJECT_ACCOUNT_CLOSED
    if not is_market(s, c.market):
        return REJECT_UNKNOWN_MARKET
    m = &s.markets[c.market]
    if m.state != STATE_TRADING:
        return REJECT_MARKET_CLOSED
    if c.order_id == 0 and is_blank(c.client_id) or c.quantity_steps <= 0:
        return REJECT_MALFORMED
    slot = target_of(s, c)
    if slot == 0:
        return REJECT_UNKNOWN_ORDER
    code = check_amend(s, c, slot)
    if code:
        return code
    if not is_blank(c.other_client_id):
        rename_order(s, slot, c.other_client_id)
    s.orders[slot].amends += 1
    if c.quantity_steps > taken_of(s, slot):
        shrink_order(s, m, slot, c.quantity_steps)
        emit_order(s, slot, EVENT_REPLACED, live_status(s, slot),
                   FLAG_WORKING if s.orders[slot].place == ON_BOOK else 0)
        return REJECT_NONE
    take_off(s, m, slot)
    s.details[slot].quantity_steps = c.quantity_steps
    s.orders[slot].remaining_steps = 0
    expire(s, m, slot, REASON_NONE)
    return REJECT_NONE


cdef int do_mark(State* s, const Command* c) noexcept nogil:
    if not is_market(s, c.market):
        return REJECT_UNKNOWN_MARKET
    emit(s, EVENT_MARKED).market = c.market
    return REJECT_NONE


cdef int do_rules(State* s, const Command* c) noexcept nogil:
    if not is_within(s.rules, c.order_id, RULES_VERSION):
        return REJECT_RULES
    s.rules = <uint32_t>c.order_id
    emit(s, EVENT_RULES).order_id = c.order_id
    return REJECT_NONE


cdef int dispatch(State* s, const Command* c) noexcept nogil:
    if c.kind == COMMAND_PLACE:
        return do_place(s, c)
    if c.kind == COMMAND_CANCEL:
        return do_cancel(s, c)
    if c.kind == COMMAND_CANCEL_ALL:
        return do_cancel_all(s, c)
    if c.kind == COMMAND_AMEND:
        return do_amend(s, c)
    if c.kind == COMMAND_DEPOSIT or c.kind == COMMAND_WITHDRAW:
        return do_transfer(s, c, c.kind == COMMAND_DEPOSIT)
    if c.kind == COMMAND_ACCOUNT:
        return do_account(s, <const AccountCommand*>c)
    if c.kind == COMMAND_ACCOUNT_CHANGE:
        return do_account_change(s, <const AccountCommand*>c)
    if c.kind == COMMAND_MARK:
        return do_mark(s, c)
    if c.kind == COMMAND_MARKET_STATE:
        return do_market_state(s, c)
    if c.kind == COMMAND_ASSET:
        return do_asset(s, <const AssetCommand*>c)
    if c.kind == COMMAND_MARKET:
        return do_market(s, <const MarketCommand*>c)
    if c.kind == COMMAND_REPLACE:
        return do_replace(s, c)
    if c.kind == COMMAND_KILL:
        return do_kill(s, c)
    if c.kind == COMMAND_RULES:
        return do_rules(s, c)
    emit(s, EVENT_NOTED)
    return REJECT_NONE


cdef inline bint is_signed(const Command* c) noexcept nogil:
    # Kinds whose deadline and digest fields are deadline and digest.
    return c.kind != COMMAND_CONFIGURE and c.kind != COMMAND_MARKET and c.kind != COMMAND_NOTE


cdef Event* emit_result(State* s, const Command* c, uint8_t kind, int code) noexcept nogil:
    # REJECTED or REPEATED: whom it concerns, as far as this kind of command names it.
    cdef Event* e = emit(s, kind)
    cdef uint8_t k = c.kind
    e.code = code
    if COMMAND_PLACE <= k <= COMMAND_AMEND or k == COMMAND_KILL or k == COMMAND_REPLACE:
        e.account = c.account
        e.market = c.market
    elif k == COMMAND_MARKET_STATE or k == COMMAND_MARK:
        e.market = c.market
    elif k == COMMAND_DEPOSIT or k == COMMAND_WITHDRAW:
        e.account = c.account
        e.asset = c.market
    elif k == COMMAND_ACCOUNT_CHANGE:
        e.account = c.account
    return e


cdef void report_touched_books(State* s, const Command* c) noexcept nogil:
    # Commands that can change a book name one market and change no other; but KILL may change all.
    cdef uint32_t market
    if COMMAND_PLACE <= c.kind <= COMMAND_AMEND or c.kind == COMMAND_REPLACE:
        if is_market(s, c.market) and s.tap_tops and s.markets[c.market].touched_sequence == s.sequence:
            report_top(s, &s.markets[c.market], c.market)
    elif c.kind == COMMAND_KILL and s.tap_tops:
        for market in range(1, s.market_count + 1):
            if s.markets[market].touched_sequence == s.sequence:
                report_top(s, &s.markets[market], market)


cdef void execute(State* s, const Command* c) noexcept nogil:
    cdef int code
    cdef size_t first = s.events_count
    cdef Remembered* known
    cdef Event* e
    cdef bint is_digested = False
    s.sequence += 1
    if unlikely(not s.configured and c.kind != COMMAND_CONFIGURE):
        emit_result(s, c, EVENT_REJECTED, REJECT_NOT_CONFIGURED)
        return
    if c.kind == COMMAND_CONFIGURE:
        code = do_configure(s, <const ConfigureCommand*>c)
        if code:
            emit_result(s, c, EVENT_REJECTED, code)
        return
    if unlikely(s.follow == FOLLOW_NOT_ATTEMPTED):
        s.follow = FOLLOW_ALONE
        emit_result(s, c, EVENT_REJECTED, REJECT_NOT_ATTEMPTED)
        return
    if unlikely(c.kind == COMMAND_REPLACE):
        s.follow = FOLLOW_NOT_ATTEMPTED  # unless do_replace says otherwise
    if is_signed(c):
        if unlikely(c.deadline_ns != 0 and s.time_ns > c.deadline_ns):
            emit_result(s, c, EVENT_REJECTED, REJECT_DEADLINE)
            return
        is_digested = bidhall_read64(c.digest) != 0 or bidhall_read64(&c.digest[8]) != 0
        if is_digested:
            known = find_digest(s, c.digest)
            if known != NULL:
                e = emit_result(s, c, EVENT_REPEATED, known.code)
                e.order_id = known.order_id
                e.trade_id = known.sequence
                return
            if s.remembered_next - s.remembered_first == s.digests_max:
                emit_result(s, c, EVENT_REJECTED, REJECT_BUSY)
                return
    code = dispatch(s, c)
    if code:
        emit_result(s, c, EVENT_REJECTED, code)
    else:
        report_touched_books(s, c)
        if s.touched_count:
            report_positions(s)
    if is_digested:
        remember_digest(s, c, code, s.events[first].order_id)
