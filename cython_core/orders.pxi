# SPDX-License-Identifier: Apache-2.0
# Orders and how they are found: the pool, by order id, by client id, and by account and market (desks).
#
# Both tables are open addressed with Robin Hood placement: an entry sits no further from its home than those it passed,
# so a removal shifts back until the first entry that is at home. The order table's home is the order id itself: ids are
# dense, neighbours in time are neighbours in memory, and a run of consecutive ids is all at home.

cdef inline uint32_t new_order(State* s) noexcept nogil:
    cdef uint32_t slot = s.order_free
    if slot:
        s.order_free = s.orders[slot].next
        return slot
    slot = s.order_used
    s.order_used += 1
    return slot


cdef inline void drop_order(State* s, uint32_t slot) noexcept nogil:
    s.orders[slot].next = s.order_free
    s.order_free = slot


cdef inline uint32_t order_home(State* s, uint32_t slot) noexcept nogil:
    return <uint32_t>s.orders[slot].order_id & s.table_mask


cdef inline uint32_t find_order(State* s, uint64_t order_id) noexcept nogil:
    cdef uint32_t i = <uint32_t>order_id & s.table_mask
    cdef uint32_t slot = s.order_table[i]
    while slot:
        if s.orders[slot].order_id == order_id:
            return slot
        i = (i + 1) & s.table_mask
        slot = s.order_table[i]
    return 0


cdef void index_order(State* s, uint32_t slot) noexcept nogil:
    cdef uint32_t i = order_home(s, slot), distance = 0, theirs, other
    other = s.order_table[i]
    while other:
        theirs = (i - order_home(s, other)) & s.table_mask
        if theirs < distance:
            s.order_table[i] = slot
            slot = other
            distance = theirs
        i = (i + 1) & s.table_mask
        distance += 1
        other = s.order_table[i]
    s.order_table[i] = slot


cdef void unindex_order(State* s, uint32_t slot) noexcept nogil:
    cdef uint32_t i = order_home(s, slot), next, other
    while s.order_table[i] != slot:
        CHECK(s.order_table[i] != 0, "an open order is not in the order table")
        i = (i + 1) & s.table_mask
    while True:
        next = (i + 1) & s.table_mask
        other = s.order_table[next]
        if other == 0 or order_home(s, other) == next:
            break
        s.order_table[i] = other
        i = next
    s.order_table[i] = 0


cdef inline uint32_t client_home(State* s, uint32_t slot) noexcept nogil:
    cdef Order* o = &s.orders[slot]
    return <uint32_t>hash_text(s.seed, o.account, o.market, s.details[slot].client_id) & s.table_mask


cdef uint32_t find_client(State* s, uint32_t account, uint32_t market, const uint8_t* text) noexcept nogil:
    cdef uint32_t i = <uint32_t>hash_text(s.seed, account, market, text) & s.table_mask
    cdef uint32_t slot = s.client_table[i]
    while slot:
        if (s.orders[slot].account == account and s.orders[slot].market == market
                and memcmp(s.details[slot].client_id, text, 36) == 0):
            return slot
        i = (i + 1) & s.table_mask
        slot = s.client_table[i]
    return 0


cdef void index_client(State* s, uint32_t slot) noexcept nogil:
    cdef uint32_t i = client_home(s, slot), distance = 0, theirs, other
    other = s.client_table[i]
    while other:
        theirs = (i - client_home(s, other)) & s.table_mask
        if theirs < distance:
            s.client_table[i] = slot
            slot = other
            distance = theirs
        i = (i + 1) & s.table_mask
        distance += 1
        other = s.client_table[i]
    s.client_table[i] = slot


cdef void unindex_client(State* s, uint32_t slot) noexcept nogil:
    cdef uint32_t i = client_home(s, slot), next, other
    while s.client_table[i] != slot:
        CHECK(s.client_table[i] != 0, "an open order's client id is not in the client table")
        i = (i + 1) & s.table_mask
    while True:
        next = (i + 1) & s.table_mask
        other = s.client_table[next]
        if other == 0 or client_home(s, other) == next:
            break
        s.client_table[i] = other
        i = next
    s.client_table[i] = 0


cdef inline uint32_t find_desk(State* s, uint32_t account, uint32_t market) noexcept nogil:
    cdef uint32_t desk = s.accounts[account].first_desk
    while desk and s.desks[desk].market != market:
        desk = s.desks[desk].next
    return desk


cdef inline void chain_desk(State* s, uint32_t desk) noexcept nogil:
    cdef Account* a = &s.accounts[s.desks[desk].account]
    s.desks[desk].prev = 0
    s.desks[desk].next = a.first_desk
    if a.first_desk:
        s.desks[a.first_desk].prev = desk
    a.first_desk = desk


cdef inline void unchain_desk(State* s, uint32_t desk) noexcept nogil:
    cdef Desk* d = &s.desks[desk]
    if d.prev:
        s.desks[d.prev].next = d.next
    else:
        s.accounts[d.account].first_desk = d.next
    if d.next:
        s.desks[d.next].prev = d.prev


cdef inline uint32_t desk_of(State* s, uint32_t account, uint32_t market) noexcept nogil:
    # The account's desk in a market, made if there is none, and moved to the front: the next order will want it again.
    cdef uint32_t desk = find_desk(s, account, market)
    if desk:
        if s.accounts[account].first_desk != desk:
            unchain_desk(s, desk)
            chain_desk(s, desk)
        return desk
    desk = s.desk_free
    if desk:
        s.desk_free = s.desks[desk].next
    else:
        desk = s.desk_used
        s.desk_used += 1
    memset(&s.desks[desk], 0, sizeof(Desk))
    s.desks[desk].account = account
    s.desks[desk].market = market
    chain_desk(s, desk)
    return desk


cdef void enlist(State* s, uint32_t slot) noexcept nogil:
    # Makes an order one of the open orders: found by its ids, counted, listed at its account.
    cdef Order* o = &s.orders[slot]
    cdef uint32_t index = desk_of(s, o.account, o.market)
    cdef Desk* desk = &s.desks[index]
    o.desk = index
    o.desk_next = 0
    o.desk_prev = desk.last
    if desk.last:
        s.orders[desk.last].desk_next = slot
    else:
        desk.first = slot
    desk.last = slot
    desk.open_orders += 1
    if o.place == WAITING:
        desk.waiting_orders += 1
    s.open_orders += 1
    index_order(s, slot)
    if o.has_client_id:
        index_client(s, slot)


cdef void delist(State* s, uint32_t slot) noexcept nogil:
    cdef Order* o = &s.orders[slot]
    cdef Desk* desk = &s.desks[o.desk]
    unindex_order(s, slot)
    if o.has_client_id:
        unindex_client(s, slot)
    if o.desk_prev:
        s.orders[o.desk_prev].desk_next = o.desk_next
    else:
        desk.first = o.desk_next
    if o.desk_next:
        s.orders[o.desk_next].desk_prev = o.desk_prev
    else:
        desk.last = o.desk_prev
    desk.open_orders -= 1
    s.open_orders -= 1
    if desk.open_orders == 0:
        unchain_desk(s, o.desk)
        desk.next = s.desk_free
        s.desk_free = o.desk
    o.desk = 0


cdef enum:
    MARKET_KINDS = 1 << TYPE_MARKET | 1 << TYPE_STOP_LOSS | 1 << TYPE_TAKE_PROFIT


cdef inline bint is_stop(uint8_t type) noexcept nogil:
    return type >= TYPE_STOP_LOSS


cdef inline bint is_market_kind(uint8_t type) noexcept nogil:
    # Takes at any price (a stop: once it is triggered).
    return (MARKET_KINDS >> type) & 1


cdef inline int trigger_queue(uint8_t type, uint8_t side) noexcept nogil:
    cdef bint is_loss = type == TYPE_STOP_LOSS or type == TYPE_STOP_LOSS_LIMIT
    return ABOVE if is_loss == (side == SIDE_BUY) else BELOW


cdef inline int64_t locked_by(State* s, Market* m, uint32_t slot) noexcept nogil:
    # What an open order holds of the asset it pays with, in that asset's units.
    cdef Order* o = &s.orders[slot]
    cdef int64_t price
    if o.place == NOWHERE:
        return 0
    if o.side == SIDE_SELL:
        return o.remaining_steps * m.step_units
    price = s.details[slot].stop_price_ticks if is_market_kind(o.type) else o.price_ticks
    return price * o.remaining_steps * m.quote_factor


cdef void fill_record(State* s, Market* m, uint32_t slot, OrderRecord* r) noexcept nogil:
    # An order as queries and reports show it; status, reason and flags are the caller's.
    cdef Order* o = &s.orders[slot]
    cdef Detail* d = &s.details[slot]
    memset(r, 0, sizeof(OrderRecord))
    r.order_id = o.order_id
    r.account = o.account
    r.market = o.market
    r.type = o.type
    r.side = o.side
    r.time_in_force = o.time_in_force
    r.self_trade_prevention = o.self_trade_prevention
    r.amends = o.amends
    r.price_ticks = o.price_ticks
    r.stop_price_ticks = d.stop_price_ticks
    r.quantity_steps = d.quantity_steps
    r.executed_steps = d.executed_steps
    r.executed_quote_units = d.executed_quote_units
    r.quote_quantity_units = d.quote_quantity_units
    r.created_ns = d.created_ns
    r.updated_ns = d.updated_ns
    r.working_ns = d.working_ns
    r.strategy_id = d.strategy_id
    r.strategy_type = d.strategy_type
    r.sequence = d.sequence
    memcpy(r.client_id, d.client_id, 36)
    r.locked_units = locked_by(s, m, slot)
    if unlikely(o.extras != 0):
        r.iceberg_steps = s.extras[slot].iceberg_steps
        r.prevented_steps = s.extras[slot].prevented_steps
        r.prevented_match_id = s.extras[slot].prevented_match_id
        r.shown_steps = s.extras[slot].shown_steps


cdef void fill_open_record(State* s, uint32_t slot, OrderRecord* r) noexcept nogil:
    fill_record(s, &s.markets[s.orders[slot].market], slot, r)
    r.status = STATUS_PARTIALLY_FILLED if s.details[slot].executed_steps else STATUS_NEW
    r.flags = FLAG_WORKING if s.orders[slot].place == ON_BOOK else 0
