# SPDX-License-Identifier: Apache-2.0
# The whole state as bytes, in one canonical order, and back. The state hash is the hash of these bytes, so what the
# snapshot forgets the hash forgets too, and a test that compares hashes compares snapshots. No slot number, free list or
# table goes in: assets, accounts and markets by id, orders by queue, price and place, digests and writers in their order.
#
#  +0   magic "BHKERNEL"
#  +8   layout u32             | rules u32
#  +16  bytes of the body u64  | hash of the body 16 bytes
#  +40  body: Limits, Counters, assets with balances, accounts, markets with orders, digests, writers

cdef packed struct SnapshotHead:
    uint8_t magic[8]
    uint32_t layout
    uint32_t rules
    uint64_t size
    uint64_t hash[2]

cdef packed struct Counters:
    int64_t time_ns
    uint64_t sequence
    uint64_t batches
    uint64_t next_order_id
    uint64_t next_execution_id
    uint64_t event_hash[2]
    uint32_t asset_count
    uint32_t account_count
    uint32_t market_count
    uint32_t configured

cdef packed struct AssetImage:
    uint8_t name[36]
    uint32_t decimals
    i128 deposited
    i128 withdrawn
    i128 fees
    uint64_t balances        # BalanceImages that follow

cdef packed struct BalanceImage:
    uint32_t account
    uint32_t reserved
    Balance balance

cdef packed struct MarketImage:
    MarketCommand command    # as it was created, state as it is
    int64_t last_price_ticks
    uint64_t next_trade_id
    uint64_t next_prevented_match_id
    uint64_t update_id
    int64_t average_slot
    i128 average_price_steps
    i128 average_steps
    AverageSlot average[64]
    uint64_t orders[4]       # OrderImages that follow, by queue

cdef packed struct OrderImage:
    Order order
    Detail detail
    Extra extra              # all 0 where the order has none


cdef struct Sink:
    uint8_t* data
    size_t size
    size_t capacity


cdef void put(Sink* sink, const void* data, size_t size) noexcept nogil:
    while sink.size + size > sink.capacity:
        sink.data = <uint8_t*>grown(sink.data, &sink.capacity, 1)
    memcpy(sink.data + sink.size, data, size)
    sink.size += size


cdef void describe_market(Market* m, MarketCommand* c) noexcept nogil:
    memset(c, 0, sizeof(MarketCommand))
    c.kind = COMMAND_MARKET
    c.state = m.state
    c.self_trade_prevention = m.default_prevention
    c.self_trade_preventions = m.allowed_preventions
    c.notional_flags = m.notional_flags
    c.amends_max = m.amends_max
    c.average_minutes = <uint16_t>m.average_minutes
    c.base_asset = m.base_asset
    c.quote_asset = m.quote_asset
    c.tick_e8 = m.tick_e8
    c.step_units = m.step_units
    c.price_ticks_min = m.price_ticks_min
    c.price_ticks_max = m.price_ticks_max
    c.quantity_steps_min = m.quantity_steps_min
    c.quantity_steps_max = m.quantity_steps_max
    c.market_quantity_steps_min = m.market_quantity_steps_min
    c.market_quantity_steps_max = m.market_quantity_steps_max
    memcpy(c.name, m.name, 36)
    c.market_step_steps = m.market_step_steps
    c.notional_units_min = m.notional_units_min
    c.notional_units_max = m.notional_units_max
    c.maker_rate_e8 = m.maker_rate_e8
    c.taker_rate_e8 = m.taker_rate_e8
    c.orders_max = m.orders_max
    c.algo_orders_max = m.algo_orders_max
    c.iceberg_orders_max = m.iceberg_orders_max
    c.iceberg_parts_max = m.iceberg_parts_max
    c.position_units_max = m.position_units_max
    c.bid_multiplier_up_e4 = m.bid_multiplier_up_e4
    c.bid_multiplier_down_e4 = m.bid_multiplier_down_e4
    c.ask_multiplier_up_e4 = m.ask_multiplier_up_e4
    c.ask_multiplier_down_e4 = m.ask_multiplier_down_e4


cdef void describe_limits(State* s, ConfigureCommand* c) noexcept nogil:
    memset(c, 0, sizeof(ConfigureCommand))
    c.kind = COMMAND_CONFIGURE
    c.accounts_max = s.accounts_max
    c.orders_max = s.orders_max
    c.assets_max = s.assets_max
    c.markets_max = s.markets_max
    c.digests_max = s.digests_max
    c.writers_max = s.writers_max
    c.seed = s.seed
    c.rules_version = s.rules


cdef void put_asset(State* s, Asset* a, Sink* sink) noexcept nogil:
    cdef AssetImage image
    cdef BalanceImage line
    cdef uint32_t account
    cdef size_t head = sink.size
    memset(&image, 0, sizeof(AssetImage))
    memcpy(image.name, a.name, 36)
    image.decimals = a.decimals
    image.deposited = a.deposited
    image.withdrawn = a.withdrawn
    image.fees = a.fees
    put(sink, &image, sizeof(AssetImage))
    line.reserved = 0
    for account in range(1, s.account_count + 1):
        if a.balances[account].free or a.balances[account].locked:
            line.account = account
            line.balance = a.balances[account]
            put(sink, &line, sizeof(BalanceImage))
            image.balances += 1
    memcpy(sink.data + head, &image, sizeof(AssetImage))


cdef uint64_t put_queue(State* s, Queue* q, Sink* sink) noexcept nogil:
    cdef uint32_t index = q.best, slot
    cdef uint64_t count = 0
    cdef OrderImage image
    while index:
        slot = s.levels[index].head
        while slot:
            image.order = s.orders[slot]
            image.detail = s.details[slot]
            if image.order.extras:
                image.extra = s.extras[slot]
            else:
                memset(&image.extra, 0, sizeof(Extra))
            image.order.next = image.order.prev = image.order.level = 0
            image.order.desk = image.order.desk_next = image.order.desk_prev = 0
            put(sink, &image, sizeof(OrderImage))
            count += 1
            slot = s.orders[slot].next
        index = level_after(s, q, s.levels[index].price_ticks)
    return count


cdef void put_market(State* s, Market* m, Sink* sink) noexcept nogil:
    cdef MarketImage image
    cdef int i
    cdef size_t head = sink.size
    roll_average(s, m)
    memset(&image, 0, sizeof(MarketImage))
    describe_market(m, &image.command)
    image.last_price_ticks = m.last_price_ticks
    image.next_trade_id = m.next_trade_id
    image.next_prevented_match_id = m.next_prevented_match_id
    image.update_id = m.update_id
    image.average_slot = m.average_slot
    image.average_price_steps = m.average_price_steps
    image.average_steps = m.average_steps
    memcpy(image.average, m.average, sizeof(image.average))
    put(sink, &image, sizeof(MarketImage))
    for i in range(QUEUES):
        image.orders[i] = put_queue(s, &m.queues[i], sink)
    memcpy(sink.data + head, &image, sizeof(MarketImage))


cdef void put_state(State* s, Sink* sink) noexcept nogil:
    # The body.
    cdef ConfigureCommand limits
    cdef Counters counters
    cdef Account account
    cdef uint32_t i
    cdef uint64_t n, count
    describe_limits(s, &limits)
    put(sink, &limits, sizeof(limits))
    counters.time_ns = s.time_ns
    counters.sequence = s.sequence
    counters.batches = s.batches
    counters.next_order_id = s.next_order_id
    counters.next_execution_id = s.next_execution_id
    memcpy(counters.event_hash, s.event_hash, 16)
    counters.asset_count = s.asset_count
    counters.account_count = s.account_count
    counters.market_count = s.market_count
    counters.configured = s.configured
    put(sink, &counters, sizeof(counters))
    for i in range(1, s.asset_count + 1):
        put_asset(s, &s.assets[i], sink)
    for i in range(1, s.account_count + 1):
        account = s.accounts[i]
        account.first_desk = 0
        put(sink, &account, sizeof(Account))
    for i in range(1, s.market_count + 1):
        put_market(s, &s.markets[i], sink)
    count = s.remembered_next - s.remembered_first
    put(sink, &count, 8)
    for n in range(s.remembered_first, s.remembered_next):
        put(sink, &s.remembered[n % s.digests_max], sizeof(Remembered))
    count = s.writer_count
    put(sink, &count, 8)
    put(sink, s.writers, s.writer_count * sizeof(WriterMark))


cdef struct Source:
    const uint8_t* data
    size_t left


cdef bint take(Source* source, void* into, size_t size) noexcept nogil:
    if source.left < size:
        return False
    memcpy(into, source.data, size)
    source.data += size
    source.left -= size
    return True


cdef bint take_asset(State* s, uint32_t index, Source* source) noexcept nogil:
    cdef AssetImage image
    cdef BalanceImage line
    cdef Asset* a = &s.assets[index]
    cdef uint64_t i
    if not take(source, &image, sizeof(image)):
        return False
    memcpy(a.name, image.name, 36)
    a.decimals = <uint8_t>image.decimals
    a.deposited = image.deposited
    a.withdrawn = image.withdrawn
    a.fees = image.fees
    a.balances = <Balance*>reserve(<size_t>s.accounts_max + 1, sizeof(Balance))
    for i in range(image.balances):
        if not take(source, &line, sizeof(line)) or line.account > s.account_count:
            return False
        a.balances[line.account] = line.balance
    return True


cdef bint take_orders(State* s, Market* m, uint32_t market, int queue, uint64_t count, Source* source,
                      size_t* taken) noexcept nogil:
    cdef OrderImage image
    cdef uint32_t slot
    cdef uint64_t i
    for i in range(count):
        if not take(source, &image, sizeof(image)):
            return False
        slot = new_order(s)
        s.orders[slot] = image.order
        s.details[slot] = image.detail
        if image.order.extras:
            s.extras[slot] = image.extra
        join_queue(s, &m.queues[queue], slot, image.detail.stop_price_ticks if queue >= ABOVE else image.order.price_ticks)
        if queue < ABOVE and is_iceberg(s, slot):
            count_hidden(s, m, slot, 1)
        if taken[0] == s.triggered_size:
            s.triggered = <Triggered*>grown(s.triggered, &s.triggered_size, sizeof(Triggered))
        s.triggered[taken[0]].slot = slot
        s.triggered[taken[0]].order_id = image.order.order_id
        taken[0] += 1
    return True


cdef bint take_market(State* s, uint32_t index, Source* source) noexcept nogil:
    cdef MarketImage image
    cdef Market* m = &s.markets[index]
    cdef int i
    cdef size_t n, taken = 0
    if not take(source, &image, sizeof(image)):
        return False
    set_market(m, &image.command, quote_factor_of(s, &image.command))
    open_market(s, m)
    m.last_price_ticks = image.last_price_ticks
    m.next_trade_id = image.next_trade_id
    m.next_prevented_match_id = image.next_prevented_match_id
    m.update_id = m.drained_update_id = image.update_id
    m.average_slot = image.average_slot
    m.average_price_steps = image.average_price_steps
    m.average_steps = image.average_steps
    memcpy(m.average, image.average, sizeof(image.average))
    for i in range(QUEUES):
        if not take_orders(s, m, index, i, image.orders[i], source, &taken):
            return False
    # Accounts list their orders oldest first; the queues gave them by price.
    if taken == 0:
        return True
    qsort(s.triggered, taken, sizeof(Triggered), compare_triggered)
    for n in range(taken):
        enlist(s, s.triggered[n].slot)
    return True


cdef bint take_digests(State* s, Source* source) noexcept nogil:
    cdef uint64_t count, i
    if not take(source, &count, 8) or count > s.digests_max:
        return False
    for i in range(count):
        if not take(source, &s.remembered[i], sizeof(Remembered)):
            return False
        index_digest(s, <uint32_t>i + 1)
    s.remembered_next = count
    return True


cdef bint take_writers(State* s, Source* source) noexcept nogil:
    # The last part. There may be more of them than CONFIGURE allows, when they came before it.
    cdef uint64_t count
    if not take(source, &count, 8) or count > WRITERS_MOST:
        return False
    s.writer_count = <uint32_t>count
    return take(source, s.writers, count * sizeof(WriterMark)) and source.left == 0


cdef bint take_state(State* s, Source* source) noexcept nogil:
    cdef ConfigureCommand limits
    cdef Counters counters
    cdef uint32_t i
    cdef uint64_t count
    if not take(source, &limits, sizeof(limits)) or not take(source, &counters, sizeof(counters)):
        return False
    if counters.configured and do_configure(s, &limits) != REJECT_NONE:
        return False
    s.events_count = 0
    s.time_ns = counters.time_ns
    s.minute = s.time_ns // MINUTE_NS
    s.sequence = counters.sequence
    s.batches = counters.batches
    s.next_order_id = counters.next_order_id
    s.next_execution_id = counters.next_execution_id
    memcpy(s.event_hash, counters.event_hash, 16)
    s.account_count = counters.account_count
    if not s.configured:
        return take(source, &count, 8) and count == 0 and take_writers(s, source)
    if (s.account_count > s.accounts_max or counters.asset_count > s.assets_max
            or counters.market_count > s.markets_max):
        return False
    for i in range(1, counters.asset_count + 1):
        s.asset_count = i
        if not take_asset(s, i, source):
            return False
    for i in range(1, s.account_count + 1):
        if not take(source, &s.accounts[i], sizeof(Account)):
            return False
    for i in range(1, counters.market_count + 1):
        s.market_count = i
        if not take_market(s, i, source):
            return False
        report_top(s, &s.markets[i], i)  # so that the next report tells of a change and not of the restore
    s.tops_count = 0
    return take_digests(s, source) and take_writers(s, source)
