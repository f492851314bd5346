# SPDX-License-Identifier: Apache-2.0
# What a new order must pass, check by check in the order of RULES.md. Each check returns a Reject code and changes
# nothing.

cdef enum:
    ICEBERG_PARTS_MOST = 10000


cdef bint is_iceberg_sound(State* s, const Command* c) noexcept nogil:
    if s.rules < 2 or not 0 < c.iceberg_steps <= c.quantity_steps or is_market_kind(c.type):
        return False
    return c.type == TYPE_LIMIT_MAKER or c.time_in_force == TIF_GTC


cdef bint is_place_sound(State* s, const Command* c) noexcept nogil:
    # The table of RULES.md: which fields each type wants.
    if not TYPE_LIMIT <= c.type <= TYPE_TAKE_PROFIT_LIMIT or (c.side != SIDE_BUY and c.side != SIDE_SELL):
        return False
    if (c.price_ticks | c.quantity_steps | c.stop_price_ticks | c.quote_quantity_units) < 0:
        return False
    if (c.trailing_delta_bips | c.peg_price_type | c.peg_offset_type | c.peg_offset_value) != 0:
        return False
    if c.iceberg_steps and not is_iceberg_sound(s, c):
        return False
    if c.self_trade_prevention > STP_TRANSFER:
        return False
    if (c.price_ticks == 0) != is_market_kind(c.type) or (c.stop_price_ticks != 0) != is_stop(c.type):
        return False
    if c.type == TYPE_MARKET:
        if (c.quantity_steps > 0) == (c.quote_quantity_units > 0):
            return False
    elif c.quantity_steps == 0 or c.quote_quantity_units:
        return False
    if c.price_ticks == 0 or c.type == TYPE_LIMIT_MAKER:
        return c.time_in_force == TIF_NONE
    return TIF_GTC <= c.time_in_force <= TIF_FOK


cdef bint is_notional_allowed(State* s, Market* m, uint8_t type, int64_t price, int64_t stop, int64_t quantity,
                              int64_t quote) noexcept nogil:
    # The NOTIONAL filter. Price, stop and quantity are within their filters, so no product passes 2^62.
    cdef int64_t notional
    cdef bint check_min = True, check_max = True
    if m.notional_units_min == 0 and m.notional_units_max == 0:
        return True
    if type == TYPE_MARKET:
        check_min = m.notional_flags & 1
        check_max = (m.notional_flags >> 1) & 1
        if not check_min and not check_max:
            return True
        if quote:
            notional = quote
        else:
            price = average_price(s, m)
            if price == 0:
                return True
            notional = price * quantity * m.quote_factor
    else:
        notional = (stop if is_market_kind(type) else price) * quantity * m.quote_factor
    if check_min and notional < m.notional_units_min:
        return False
    return not (check_max and m.notional_units_max and notional > m.notional_units_max)


cdef inline int64_t parts_max(const Market* m) noexcept nogil:
    # A taker meets every part of an iceberg anew: without a bound of our own one command could go on for ever.
    return m.iceberg_parts_max if 0 < m.iceberg_parts_max < ICEBERG_PARTS_MOST else ICEBERG_PARTS_MOST


cdef bint is_near_average(State* s, Market* m, const Command* c) noexcept nogil:
    # The PERCENT_PRICE filter of the order's side. 0: no bound.
    cdef uint32_t up_e4 = m.bid_multiplier_up_e4 if c.side == SIDE_BUY else m.ask_multiplier_up_e4
    cdef uint32_t down_e4 = m.bid_multiplier_down_e4 if c.side == SIDE_BUY else m.ask_multiplier_down_e4
    cdef int64_t average
    cdef i128 price_e4
    if (up_e4 | down_e4) == 0:
        return True
    average = average_price(s, m)
    if average == 0:
        return True
    price_e4 = <i128>c.price_ticks * 10000
    if up_e4 and price_e4 > <i128>average * up_e4:
        return False
    return not (down_e4 and price_e4 < <i128>average * down_e4)


cdef int check_filters(State* s, Market* m, const Command* c) noexcept nogil:
    if c.price_ticks and not is_within(m.price_ticks_min, c.price_ticks, m.price_ticks_max):
        return REJECT_PRICE_FILTER
    if c.stop_price_ticks and not is_within(m.price_ticks_min, c.stop_price_ticks, m.price_ticks_max):
        return REJECT_PRICE_FILTER
    if c.price_ticks and not is_near_average(s, m, c):
        return REJECT_PERCENT_PRICE
    if c.quantity_steps:
        if not is_within(m.quantity_steps_min, c.quantity_steps, m.quantity_steps_max):
            return REJECT_LOT_SIZE
        if unlikely(c.iceberg_steps != 0):
            if not is_within(m.quantity_steps_min, c.iceberg_steps, m.quantity_steps_max):
                return REJECT_LOT_SIZE
            if (c.quantity_steps - 1) // c.iceberg_steps >= parts_max(m):
                return REJECT_ICEBERG_PARTS
        if c.type == TYPE_MARKET:
            if not is_within(m.market_quantity_steps_min, c.quantity_steps, m.market_quantity_steps_max):
                return REJECT_MARKET_LOT_SIZE
            if m.market_step_steps > 1 and c.quantity_steps % m.market_step_steps:
                return REJECT_MARKET_LOT_SIZE
    if not is_notional_allowed(s, m, c.type, c.price_ticks, c.stop_price_ticks, c.quantity_steps,
                               c.quote_quantity_units):
        return REJECT_NOTIONAL
    return REJECT_NONE


cdef bint would_trigger(Market* m, const Command* c) noexcept nogil:
    if m.last_price_ticks == 0:
        return False
    if trigger_queue(c.type, c.side) == ABOVE:
        return m.last_price_ticks >= c.stop_price_ticks
    return m.last_price_ticks <= c.stop_price_ticks


cdef i128 cost_of_taking(State* s, Market* m, int side, int64_t quantity) noexcept nogil:
    # Quote units to take a quantity from the book as it stands.
    cdef Queue* q = &m.queues[side]
    cdef uint32_t index = q.best
    cdef int64_t part
    cdef i128 cost = 0
    while index and quantity:
        part = standing(s, m, index)
        if part > quantity:
            part = quantity
        cost += <i128>s.levels[index].price_ticks * part * m.quote_factor
        quantity -= part
        index = level_after(s, q, s.levels[index].price_ticks)
    return cost


cdef i128 base_for_quote(State* s, Market* m, int side, int64_t quote) noexcept nogil:
    # Base units that a quote quantity is worth in the book as it stands.
    cdef Queue* q = &m.queues[side]
    cdef uint32_t index = q.best
    cdef int64_t part, unit
    cdef i128 steps = 0
    while index:
        unit = s.levels[index].price_ticks * m.quote_factor
        part = quote // unit
        if part == 0:
            break
        part = smaller(part, standing(s, m, index))
        steps += part
        quote -= part * unit
        index = level_after(s, q, s.levels[index].price_ticks)
    return steps * m.step_units


cdef i128 funds_needed(State* s, Market* m, const Command* c) noexcept nogil:
    if c.side == SIDE_SELL:
        if c.quantity_steps:
            return <i128>c.quantity_steps * m.step_units
        return base_for_quote(s, m, BID, c.quote_quantity_units)
    if c.quote_quantity_units:
        return c.quote_quantity_units
    if c.type == TYPE_MARKET:
        return cost_of_taking(s, m, ASK, c.quantity_steps)
    return <i128>(c.stop_price_ticks if is_market_kind(c.type) else c.price_ticks) * c.quantity_steps * m.quote_factor


cdef bint may_rest(const Command* c) noexcept nogil:
    if is_stop(c.type) or c.type == TYPE_LIMIT_MAKER:
        return True
    return c.type == TYPE_LIMIT and c.time_in_force == TIF_GTC


cdef int check_terms(State* s, const Command* c, bint is_target_sound) noexcept nogil:
    # PLACE's checks up to NOTIONAL: what does not depend on the account's other orders or on the book.
    # `is_target_sound`: false where the cancel of a REPLACE is malformed.
    cdef Market* m
    cdef uint8_t mode = c.self_trade_prevention
    if not is_account(s, c.account):
        return REJECT_UNKNOWN_ACCOUNT
    if not s.accounts[c.account].permissions & PERMIT_TRADE:
        return REJECT_ACCOUNT_CLOSED
    if not is_market(s, c.market):
        return REJECT_UNKNOWN_MARKET
    m = &s.markets[c.market]
    if m.state != STATE_TRADING:
        return REJECT_MARKET_CLOSED
    if not is_target_sound or not is_place_sound(s, c):
        return REJECT_MALFORMED
    if mode != STP_DEFAULT and not (m.allowed_preventions >> (mode - 1)) & 1:
        return REJECT_SELF_TRADE_PREVENTION
    return check_filters(s, m, c)


cdef uint32_t icebergs_of(State* s, uint32_t desk) noexcept nogil:
    cdef uint32_t slot = s.desks[desk].first, count = 0
    while slot:
        count += is_iceberg(s, slot)
        slot = s.orders[slot].desk_next
    return count


cdef bint is_position_allowed(State* s, Market* m, const Command* c, uint32_t desk) noexcept nogil:
    # The MAX_POSITION filter: what the account has, what its open buys may bring, and this one.
    cdef Balance* b = &s.assets[m.base_asset].balances[c.account]
    cdef i128 steps = c.quantity_steps
    cdef i128 units = <i128>b.free + b.locked
    cdef uint32_t slot = s.desks[desk].first if desk else 0
    if c.quote_quantity_units:
        units += base_for_quote(s, m, ASK, c.quote_quantity_units)
    while slot:
        if s.orders[slot].side == SIDE_BUY:
            steps += s.orders[slot].remaining_steps
        slot = s.orders[slot].desk_next
    return units + steps * m.step_units <= m.position_units_max


cdef int check_counts(State* s, Market* m, const Command* c) noexcept nogil:
    # The filters that look at the account's other orders, and its client ids.
    cdef uint32_t desk = find_desk(s, c.account, c.market)
    if desk:
        if m.orders_max and s.desks[desk].open_orders >= m.orders_max:
            return REJECT_MAX_NUM_ORDERS
        if is_stop(c.type) and m.algo_orders_max and s.desks[desk].waiting_orders >= m.algo_orders_max:
            return REJECT_MAX_NUM_ALGO_ORDERS
        if unlikely(c.iceberg_steps and m.iceberg_orders_max) and icebergs_of(s, desk) >= m.iceberg_orders_max:
            return REJECT_MAX_NUM_ICEBERG_ORDERS
    if unlikely(m.position_units_max != 0) and s.rules >= 2 and c.side == SIDE_BUY:
        if not is_position_allowed(s, m, c, desk):
            return REJECT_MAX_POSITION
    if desk and not is_blank(c.client_id) and find_client(s, c.account, c.market, c.client_id):
        return REJECT_DUPLICATE_CLIENT_ID
    return REJECT_NONE


cdef int check_place(State* s, const Command* c) noexcept nogil:
    cdef Market* m
    cdef uint32_t best
    cdef int code = check_terms(s, c, True)
    if code:
        return code
    m = &s.markets[c.market]
    code = check_counts(s, m, c)
    if code:
        return code
    if is_stop(c.type) and would_trigger(m, c):
        return REJECT_WOULD_TRIGGER
    if c.type == TYPE_LIMIT_MAKER:
        best = m.queues[ASK if c.side == SIDE_BUY else BID].best
        if best and crosses(c.side, c.price_ticks, s.levels[best].price_ticks):
            return REJECT_WOULD_MATCH
    if s.assets[m.quote_asset if c.side == SIDE_BUY else m.base_asset].balances[c.account].free < funds_needed(s, m, c):
        return REJECT_INSUFFICIENT_BALANCE
    if s.open_orders >= s.orders_max and may_rest(c):
        return REJECT_BOOK_FULL
    return REJECT_NONE
