# SPDX-License-Identifier: Apache-2.0
# What each command does: its checks in the order of RULES.md, then its effect. A handler returns a Reject code; when
# that is not 0 it has changed nothing.

cdef inline bint is_account(State* s, uint32_t account) noexcept nogil:
    return 0 < account <= s.account_count


cdef inline bint is_market(State* s, uint32_t market) noexcept nogil:
    return 0 < market <= s.market_count


cdef inline bint is_asset(State* s, uint32_t asset) noexcept nogil:
    return 0 < asset <= s.asset_count


cdef inline bint is_within(int64_t low, int64_t value, int64_t high) noexcept nogil:
    return low <= value <= high


cdef inline bint is_rate(int32_t rate_e8, int32_t low) noexcept nogil:
    return low <= rate_e8 <= RATE_ONE


cdef int do_configure(State* s, const ConfigureCommand* c) noexcept nogil:
    if s.configured or c.rules_version != RULES_VERSION:
        return REJECT_MALFORMED
    if (not is_within(1, c.accounts_max, 1 << 26) or not is_within(1, c.orders_max, 1 << 26)
            or not is_within(1, c.assets_max, 1 << 12) or not is_within(1, c.markets_max, 1 << 14)
            or not is_within(1, c.digests_max, 1 << 26) or not is_within(1, c.writers_max, WRITERS_MOST)):
        return REJECT_MALFORMED
    s.accounts_max = c.accounts_max
    s.orders_max = c.orders_max
    s.assets_max = c.assets_max
    s.markets_max = c.markets_max
    s.digests_max = c.digests_max
    s.writers_max = c.writers_max
    s.seed = c.seed
    s.rules = c.rules_version
    reserve_arenas(s)
    s.configured = True
    emit(s, EVENT_CONFIGURED)
    return REJECT_NONE


cdef int do_asset(State* s, const AssetCommand* c) noexcept nogil:
    cdef uint32_t i
    cdef Asset* a
    if c.decimals > 8 or is_blank(c.name):
        return REJECT_MALFORMED
    for i in range(1, s.asset_count + 1):
        if memcmp(s.assets[i].name, c.name, 36) == 0:
            return REJECT_DUPLICATE_NAME
    if s.asset_count == s.assets_max:
        return REJECT_LIMIT
    s.asset_count += 1
    a = &s.assets[s.asset_count]
    memcpy(a.name, c.name, 36)
    a.decimals = c.decimals
    a.balances = <Balance*>reserve(<size_t>s.accounts_max + 1, sizeof(Balance))
    emit(s, EVENT_ASSET).asset = s.asset_count
    return REJECT_NONE


cdef void set_account(State* s, uint32_t account, const AccountCommand* c) noexcept nogil:
    cdef Account* a = &s.accounts[account]
    a.maker_rate_e8 = c.maker_rate_e8
    a.taker_rate_e8 = c.taker_rate_e8
    a.trade_group = c.trade_group
    a.permissions = c.permissions
    emit(s, EVENT_ACCOUNT).account = account


cdef int do_account(State* s, const AccountCommand* c) noexcept nogil:
    if not is_rate(c.maker_rate_e8, -1) or not is_rate(c.taker_rate_e8, -1):
        return REJECT_MALFORMED
    if s.account_count == s.accounts_max:
        return REJECT_LIMIT
    s.account_count += 1
    set_account(s, s.account_count, c)
    return REJECT_NONE


cdef int do_account_change(State* s, const AccountCommand* c) noexcept nogil:
    if not is_account(s, c.account):
        return REJECT_UNKNOWN_ACCOUNT
    if not is_rate(c.maker_rate_e8, -1) or not is_rate(c.taker_rate_e8, -1):
        return REJECT_MALFORMED
    set_account(s, c.account, c)
    return REJECT_NONE


cdef bint are_market_numbers_sound(const MarketCommand* c) noexcept nogil:
    cdef int64_t price_limit = <int64_t>1 << (6 * HEIGHT_MAX)
    return (c.tick_e8 > 0 and c.step_units > 0
            and 1 <= c.price_ticks_min <= c.price_ticks_max <= price_limit
            and 1 <= c.quantity_steps_min <= c.quantity_steps_max
            and 1 <= c.market_quantity_steps_min <= c.market_quantity_steps_max
            and c.notional_units_min >= 0 and c.notional_units_max >= 0 and c.average_minutes <= 60
            and is_rate(c.maker_rate_e8, 0) and is_rate(c.taker_rate_e8, 0)
            and STATE_TRADING <= c.state <= STATE_END_OF_DAY
            and STP_NONE <= c.self_trade_prevention <= STP_EXPIRE_BOTH
            and c.self_trade_preventions < 16
            and c.self_trade_preventions >> (c.self_trade_prevention - 1) & 1)


cdef int64_t quote_factor_of(State* s, const MarketCommand* c) noexcept nogil:
    # Quote units of one tick x one step; 0 if that is not whole, or the largest order would pass 2^62 units.
    cdef i128 scale = 1, factor = <i128>c.tick_e8 * c.step_units
    cdef int i
    for i in range(s.assets[c.quote_asset].decimals):
        if factor >> 100:
            return 0
        factor *= 10
    for i in range(8 + s.assets[c.base_asset].decimals):
        scale *= 10
    if factor % scale != 0:
        return 0
    factor = factor // scale
    if factor == 0 or factor > UNITS_MAX:
        return 0
    if <i128>c.quantity_steps_max * c.step_units > UNITS_MAX:
        return 0
    if <i128>c.price_ticks_max * c.quantity_steps_max > UNITS_MAX // factor:
        return 0
    return <int64_t>factor


cdef void set_market(Market* m, const MarketCommand* c, int64_t factor) noexcept nogil:
    memcpy(m.name, c.name, 36)
    m.state = c.state
    m.default_prevention = c.self_trade_prevention
    m.allowed_preventions = c.self_trade_preventions
    m.notional_flags = c.notional_flags
    m.amends_max = c.amends_max
    m.base_asset = c.base_asset
    m.quote_asset = c.quote_asset
    m.tick_e8 = c.tick_e8
    m.step_units = c.step_units
    m.quote_factor = factor
    m.price_ticks_min = c.price_ticks_min
    m.price_ticks_max = c.price_ticks_max
    m.quantity_steps_min = c.quantity_steps_min
    m.quantity_steps_max = c.quantity_steps_max
    m.market_quantity_steps_min = c.market_quantity_steps_min
    m.market_quantity_steps_max = c.market_quantity_steps_max
    m.market_step_steps = c.market_step_steps
    m.notional_units_min = c.notional_units_min
    m.notional_units_max = c.notional_units_max
    m.maker_rate_e8 = c.maker_rate_e8
    m.taker_rate_e8 = c.taker_rate_e8
    m.orders_max = c.orders_max
    m.algo_orders_max = c.algo_orders_max
    m.iceberg_orders_max = c.iceberg_orders_max
    m.iceberg_parts_max = c.iceberg_parts_max
    m.position_units_max = c.position_units_max
    m.average_minutes = c.average_minutes


cdef int do_market(State* s, const MarketCommand* c) noexcept nogil:
    cdef uint32_t i
    cdef int64_t factor
    cdef Market* m
    if is_blank(c.name):
        return REJECT_MALFORMED
    if not is_asset(s, c.base_asset) or not is_asset(s, c.quote_asset):
        return REJECT_UNKNOWN_ASSET
    if c.base_asset == c.quote_asset:
        return REJECT_MALFORMED
    for i in range(1, s.market_count + 1):
        if memcmp(s.markets[i].name, c.name, 36) == 0:
            return REJECT_DUPLICATE_NAME
    if not are_market_numbers_sound(c):
        return REJECT_MALFORMED
    factor = quote_factor_of(s, c)
    if factor == 0:
        return REJECT_BAD_MARKET
    if s.market_count == s.markets_max:
        return REJECT_LIMIT
    s.market_count += 1
    m = &s.markets[s.market_count]
    set_market(m, c, factor)
    open_market(s, m)
    emit_state(s, EVENT_MARKET, s.market_count)
    return REJECT_NONE


cdef void open_market(State* s, Market* m) noexcept nogil:
    cdef int i
    for i in range(QUEUES):
        open_queue(s, &m.queues[i], m.price_ticks_max, i == BID or i == BELOW)
    m.next_trade_id = 1
    m.next_prevented_match_id = 1
    m.average_slot = s.minute
    m.span = 1


cdef void emit_state(State* s, uint8_t kind, uint32_t market) noexcept nogil:
    cdef Event* e = emit(s, kind)
    e.market = market
    e.status = s.markets[market].state


cdef int do_market_state(State* s, const Command* c) noexcept nogil:
    if not is_market(s, c.market):
        return REJECT_UNKNOWN_MARKET
    if not STATE_TRADING <= c.restriction <= STATE_END_OF_DAY:
        return REJECT_MALFORMED
    s.markets[c.market].state = c.restriction
    emit_state(s, EVENT_MARKET_STATE, c.market)
    return REJECT_NONE


cdef int do_transfer(State* s, const Command* c, bint is_deposit) noexcept nogil:
    cdef Asset* a
    cdef Balance* b
    cdef Event* e
    cdef int64_t units = c.quote_quantity_units
    if not is_account(s, c.account):
        return REJECT_UNKNOWN_ACCOUNT
    if not is_asset(s, c.market):
        return REJECT_UNKNOWN_ASSET
    if units <= 0:
        return REJECT_MALFORMED
    if not s.accounts[c.account].permissions & (PERMIT_DEPOSIT if is_deposit else PERMIT_WITHDRAW):
        return REJECT_ACCOUNT_CLOSED
    a = &s.assets[c.market]
    if is_deposit:
        if a.deposited - a.withdrawn + units > UNITS_MAX:
            return REJECT_SUPPLY
        a.deposited += units
    else:
        if a.balances[c.account].free < units:
            return REJECT_INSUFFICIENT_BALANCE
        a.withdrawn += units
        units = -units
    b = balance_of(s, c.market, c.account)
    b.free += units
    e = emit(s, EVENT_BALANCE)
    e.account = c.account
    e.asset = c.market
    e.quantity_steps = units
    e.executed_steps = b.free
    e.executed_quote_units = b.locked
    return REJECT_NONE


cdef bint is_place_sound(const Command* c) noexcept nogil:
    # The table of RULES.md: which fields each type wants.
    if not TYPE_LIMIT <= c.type <= TYPE_TAKE_PROFIT_LIMIT or (c.side != SIDE_BUY and c.side != SIDE_SELL):
        return False
    if (c.price_ticks | c.quantity_steps | c.stop_price_ticks | c.quote_quantity_units) < 0:
        return False
    if (c.iceberg_steps | c.trailing_delta_bips | c.peg_price_type | c.peg_offset_type | c.peg_offset_value) != 0:
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


cdef int check_filters(State* s, Market* m, const Command* c) noexcept nogil:
    if c.price_ticks and not is_within(m.price_ticks_min, c.price_ticks, m.price_ticks_max):
        return REJECT_PRICE_FILTER
    if c.stop_price_ticks and not is_within(m.price_ticks_min, c.stop_price_ticks, m.price_ticks_max):
        return REJECT_PRICE_FILTER
    if c.quantity_steps:
        if not is_within(m.quantity_steps_min, c.quantity_steps, m.quantity_steps_max):
            return REJECT_LOT_SIZE
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
        part = s.levels[index].quantity_steps
        if part > quantity:
            part = quantity
        cost += <i128>s.levels[index].price_ticks * part * m.quote_factor
        quantity -= part
        index = level_after(s, q, s.levels[index].price_ticks)
    return cost


cdef i128 base_for_quote(State* s, Market* m, int64_t quote) noexcept nogil:
    # Base units that receiving a quote quantity from the book as it stands would take.
    cdef Queue* q = &m.queues[BID]
    cdef uint32_t index = q.best
    cdef int64_t part, unit
    cdef i128 steps = 0
    while index:
        unit = s.levels[index].price_ticks * m.quote_factor
        part = quote // unit
        if part == 0:
            break
        if part > s.levels[index].quantity_steps:
            part = s.levels[index].quantity_steps
        steps += part
        quote -= part * unit
        index = level_after(s, q, s.levels[index].price_ticks)
    return steps * m.step_units


cdef i128 funds_needed(State* s, Market* m, const Command* c) noexcept nogil:
    if c.side == SIDE_SELL:
        if c.quantity_steps:
            return <i128>c.quantity_steps * m.step_units
        return base_for_quote(s, m, c.quote_quantity_units)
    if c.quote_quantity_units:
        return c.quote_quantity_units
    if c.type == TYPE_MARKET:
        return cost_of_taking(s, m, ASK, c.quantity_steps)
    return <i128>(c.stop_price_ticks if is_market_kind(c.type) else c.price_ticks) * c.quantity_steps * m.quote_factor


cdef bint may_rest(const Command* c) noexcept nogil:
    if is_stop(c.type) or c.type == TYPE_LIMIT_MAKER:
        return True
    return c.type == TYPE_LIMIT and c.time_in_force == TIF_GTC


cdef int check_place(State* s, const Command* c) noexcept nogil:
    cdef Market* m
    cdef uint8_t mode = c.self_trade_prevention
    cdef uint32_t desk, best
    cdef int code
    if not is_account(s, c.account):
        return REJECT_UNKNOWN_ACCOUNT
    if not s.accounts[c.account].permissions & PERMIT_TRADE:
        return REJECT_ACCOUNT_CLOSED
    if not is_market(s, c.market):
        return REJECT_UNKNOWN_MARKET
    m = &s.markets[c.market]
    if m.state != STATE_TRADING:
        return REJECT_MARKET_CLOSED
    if not is_place_sound(c):
        return REJECT_MALFORMED
    if mode != STP_DEFAULT and not (m.allowed_preventions >> (mode - 1)) & 1:
        return REJECT_SELF_TRADE_PREVENTION
    code = check_filters(s, m, c)
    if code:
        return code
    desk = find_desk(s, c.account, c.market)
    if desk:
        if m.orders_max and s.desks[desk].open_orders >= m.orders_max:
            return REJECT_MAX_NUM_ORDERS
        if is_stop(c.type) and m.algo_orders_max and s.desks[desk].waiting_orders >= m.algo_orders_max:
            return REJECT_MAX_NUM_ALGO_ORDERS
        if not is_blank(c.client_id) and find_client(s, c.account, c.market, c.client_id):
            return REJECT_DUPLICATE_CLIENT_ID
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
    leave_queue(s, &m.queues[queue], slot)
    o.place = NOWHERE


cdef void cancel_order(State* s, Market* m, uint32_t slot) noexcept nogil:
    cdef uint8_t flags = FLAG_LAST | FLAG_WORKING if s.orders[slot].place == ON_BOOK else FLAG_LAST
    take_off(s, m, slot)
    emit_order(s, slot, EVENT_CANCELED, STATUS_CANCELED, flags)
    retire(s, m, slot, STATUS_CANCELED, REASON_NONE, 0, 0)


cdef int check_cancel(State* s, const Command* c) noexcept nogil:
    if not is_account(s, c.account):
        return REJECT_UNKNOWN_ACCOUNT
    if not is_market(s, c.market):
        return REJECT_UNKNOWN_MARKET
    if s.markets[c.market].state == STATE_HALT:
        return REJECT_MARKET_CLOSED
    return REJECT_NONE


cdef int do_cancel(State* s, const Command* c) noexcept nogil:
    cdef int code = check_cancel(s, c)
    cdef uint32_t slot
    cdef bint has_executed
    if code:
        return code
    if c.order_id == 0 and is_blank(c.client_id) or c.restriction > RESTRICTION_ONLY_PARTIALLY_FILLED:
        return REJECT_MALFORMED
    slot = target_of(s, c)
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
    if c.quantity_steps > d.executed_steps:
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
    # To a new quantity above what is executed; lock, level and order shrink by the same.
    cdef Order* o = &s.orders[slot]
    cdef int64_t less = s.details[slot].quantity_steps - quantity
    lock(s, m, slot, -1)
    s.levels[o.level].quantity_steps -= less
    o.remaining_steps -= less
    s.details[slot].quantity_steps = quantity
    lock(s, m, slot, 1)
    if o.place == ON_BOOK:
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
    if c.quantity_steps > s.details[slot].executed_steps:
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
    if c.order_id != RULES_VERSION:
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
    if k == COMMAND_PLACE or k == COMMAND_CANCEL or k == COMMAND_CANCEL_ALL or k == COMMAND_AMEND:
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


cdef void report_touched_book(State* s, const Command* c) noexcept nogil:
    # Commands that can change a book name one market, and change no other.
    if COMMAND_PLACE <= c.kind <= COMMAND_AMEND and is_market(s, c.market):
        if s.tap_tops and s.markets[c.market].touched_sequence == s.sequence:
            report_top(s, &s.markets[c.market], c.market)


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
        report_touched_book(s, c)
        if s.touched_count:
            report_positions(s)
    if is_digested:
        remember_digest(s, c, code, s.events[first].order_id)
