# SPDX-License-Identifier: Apache-2.0
# Setting up: limits, assets, accounts, markets and their states, deposits and withdrawals. A handler returns a Reject
# code; when that is not 0 it has changed nothing.

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
    if s.configured or not is_within(1, c.rules_version, RULES_VERSION):
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


cdef inline bint is_multiplier_pair(uint32_t up_e4, uint32_t down_e4) noexcept nogil:
    return up_e4 == 0 or up_e4 >= down_e4


cdef bint are_market_numbers_sound(State* s, const MarketCommand* c) noexcept nogil:
    cdef int64_t price_limit = <int64_t>1 << (6 * HEIGHT_MAX)
    return (c.tick_e8 > 0 and c.step_units > 0
            and 1 <= c.price_ticks_min <= c.price_ticks_max <= price_limit
            and 1 <= c.quantity_steps_min <= c.quantity_steps_max
            and 1 <= c.market_quantity_steps_min <= c.market_quantity_steps_max
            and c.notional_units_min >= 0 and c.notional_units_max >= 0 and c.average_minutes <= 60
            and is_rate(c.maker_rate_e8, 0) and is_rate(c.taker_rate_e8, 0)
            and STATE_TRADING <= c.state <= STATE_END_OF_DAY
            and STP_NONE <= c.self_trade_prevention <= (STP_TRANSFER if s.rules >= 2 else STP_EXPIRE_BOTH)
            and c.self_trade_preventions < (64 if s.rules >= 2 else 16)
            and c.self_trade_preventions >> (c.self_trade_prevention - 1) & 1
            and (s.rules < 2 or (is_multiplier_pair(c.bid_multiplier_up_e4, c.bid_multiplier_down_e4)
                                 and is_multiplier_pair(c.ask_multiplier_up_e4, c.ask_multiplier_down_e4))))


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
    m.bid_multiplier_up_e4 = c.bid_multiplier_up_e4
    m.bid_multiplier_down_e4 = c.bid_multiplier_down_e4
    m.ask_multiplier_up_e4 = c.ask_multiplier_up_e4
    m.ask_multiplier_down_e4 = c.ask_multiplier_down_e4


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
    if not are_market_numbers_sound(s, c):
        return REJECT_MALFORMED
    factor = quote_factor_of(s, c)
    if factor == 0:
        return REJECT_BAD_MARKET
    if s.market_count == s.markets_max:
        return REJECT_LIMIT
    s.market_count += 1
    m = &s.markets[s.market_count]
    set_market(m, c, factor)
    if s.rules < 2:
        m.bid_multiplier_up_e4 = m.bid_multiplier_down_e4 = m.ask_multiplier_up_e4 = m.ask_multiplier_down_e4 = 0
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
