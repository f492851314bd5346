# SPDX-License-Identifier: Apache-2.0
# Of each market: trades, aggregate trades and candles, from which every ticker window is summed.
#
# Four widths of candle are kept, none of them empty: seconds (a day), minutes (a month), hours (two years), days. All
# 16 intervals, in any time zone, and all windows are put together from the widest that fits when somebody asks. So a
# trade costs four updates, and no rolling sum can drift.

cdef enum:
    BASES = 4
    SECOND = 0
    MINUTE = 1
    HOUR = 2
    DAY = 3
    DAY_SECONDS = 86_400
    MONDAY = 4               # 1970-01-05, the first Monday, as a day since 1970

cdef int64_t BASE_SECONDS[4]
BASE_SECONDS[:] = [1, 60, 3_600, 86_400]

cdef struct TradeRecord:     # number + first_trade = trade id
    int64_t time_ns
    int64_t price_ticks
    int64_t quantity_steps
    uint64_t origin          # sequence of the command << 1 | the buyer is the maker

cdef struct AggregateRecord: # number + 1 = aggregate id
    int64_t time_ns
    int64_t price_ticks
    int64_t quantity_steps
    uint64_t first_trade
    uint64_t last_trade
    uint64_t origin          # as of a trade

cdef struct Candle:          # 128 bytes
    int64_t open_s           # when it opens, seconds
    int64_t open
    int64_t high
    int64_t low
    int64_t close
    int64_t previous         # price of the trade just before its first; 0: there was none
    uint64_t first_trade
    uint64_t last_trade
    wide volume
    wide quote
    wide taker_volume        # of it, bought by the taker
    wide taker_quote

cdef struct MarketView:
    uint64_t first_trade     # id of the first trade this view ever saw
    uint64_t aggregate_sequence  # command and order of the newest aggregate trade
    uint64_t aggregate_order
    int64_t last_price
    int64_t last_quantity
    Ring trades
    Ring aggregates
    Ring candles[4]

cdef struct Sums:            # of candles, in time order
    uint64_t candles
    int64_t open
    int64_t high
    int64_t low
    int64_t close
    int64_t previous
    uint64_t first_trade
    uint64_t last_trade
    wide volume
    wide quote
    wide taker_volume
    wide taker_quote

cdef struct Clock:           # the time of a batch, cut to the widths
    int64_t time_ns
    int64_t open_s[4]

cdef struct CandleLimits:
    uint64_t count[4]        # candles kept at most
    int64_t age_s[4]         # and none that is older than the newest by more

cdef struct Interval:
    int64_t seconds          # 0: a calendar month
    int64_t shift_days       # what the grid of weeks begins with


cdef void clock_set(Clock* clock, int64_t time_ns) noexcept nogil:
    cdef int64_t now_s = time_ns // 1_000_000_000
    cdef int base
    clock.time_ns = time_ns
    for base in range(BASES):
        clock.open_s[base] = now_s - now_s % BASE_SECONDS[base]


cdef void market_plan(MarketView* market, uint64_t trades_max, const CandleLimits* limits) noexcept nogil:
    cdef int base
    memset(market, 0, sizeof(MarketView))
    ring_plan(&market.trades, sizeof(TradeRecord), trades_max, block_shift(trades_max, 11))
    ring_plan(&market.aggregates, sizeof(AggregateRecord), trades_max, block_shift(trades_max, 10))
    for base in range(BASES):
        ring_plan(&market.candles[base], sizeof(Candle), limits.count[base], block_shift(limits.count[base], 9))


cdef void market_free(MarketView* market) noexcept nogil:
    cdef int base
    ring_free(&market.trades)
    ring_free(&market.aggregates)
    for base in range(BASES):
        ring_free(&market.candles[base])


cdef inline Candle* candle_at(const Ring* ring, uint64_t number) noexcept nogil:
    return <Candle*>ring_at(ring, number)


cdef int candle_open(Ring* ring, int64_t open_s, int64_t age_s, const Event* taker, int64_t previous) noexcept nogil:
    cdef Candle* candle
    while ring_count(ring) and open_s - candle_at(ring, ring.tail).open_s > age_s:
        ring_drop(ring)
    candle = <Candle*>ring_append(ring)
    if candle == NULL:
        return NO_MEMORY
    memset(candle, 0, sizeof(Candle))
    candle.open_s = open_s
    candle.open = candle.high = candle.low = taker.price_ticks
    candle.previous = previous
    candle.first_trade = taker.trade_id
    return FINE


cdef inline int candle_trade(
    Ring* ring, int64_t open_s, int64_t age_s, const Event* taker, int64_t previous
) noexcept nogil:
    cdef Candle* candle
    if ring.head == ring.tail or candle_at(ring, ring.head - 1).open_s != open_s:
        if candle_open(ring, open_s, age_s, taker, previous) != FINE:
            return NO_MEMORY
    candle = candle_at(ring, ring.head - 1)
    if taker.price_ticks > candle.high:
        candle.high = taker.price_ticks
    if taker.price_ticks < candle.low:
        candle.low = taker.price_ticks
    candle.close = taker.price_ticks
    candle.last_trade = taker.trade_id
    candle.volume += taker.quantity_steps
    candle.quote += taker.quote_units
    if taker.flags & FLAG_BUY:
        candle.taker_volume += taker.quantity_steps
        candle.taker_quote += taker.quote_units
    return FINE


cdef int market_trade(MarketView* market, const Event* taker, const Clock* clock, const CandleLimits* limits) noexcept nogil:
    # One trade, told by its taker's fill.
    cdef TradeRecord* trade
    cdef AggregateRecord* aggregate
    cdef int base
    cdef uint64_t buyer_is_maker = 0 if taker.flags & FLAG_BUY else 1
    if market.trades.head == 0:
        market.first_trade = taker.trade_id
    elif rare(taker.trade_id != market.first_trade + market.trades.head):
        return LOST_TRADE
    trade = <TradeRecord*>ring_append(&market.trades)
    if trade == NULL:
        return NO_MEMORY
    trade.time_ns = clock.time_ns
    trade.price_ticks = taker.price_ticks
    trade.quantity_steps = taker.quantity_steps
    trade.origin = taker.sequence << 1 | buyer_is_maker
    aggregate = NULL
    if (
        market.aggregates.head != 0
        and market.aggregate_sequence == taker.sequence and market.aggregate_order == taker.order_id
    ):
        aggregate = <AggregateRecord*>ring_at(&market.aggregates, market.aggregates.head - 1)
        if aggregate.price_ticks != taker.price_ticks:
            aggregate = NULL
    if aggregate == NULL:
        aggregate = <AggregateRecord*>ring_append(&market.aggregates)
        if aggregate == NULL:
            return NO_MEMORY
        aggregate.time_ns = clock.time_ns
        aggregate.price_ticks = taker.price_ticks
        aggregate.quantity_steps = 0
        aggregate.first_trade = taker.trade_id
        aggregate.origin = trade.origin
        market.aggregate_sequence = taker.sequence
        market.aggregate_order = taker.order_id
    aggregate.quantity_steps += taker.quantity_steps
    aggregate.last_trade = taker.trade_id
    for base in range(BASES):
        if candle_trade(
            &market.candles[base], clock.open_s[base], limits.age_s[base], taker, market.last_price
        ) != FINE:
            return NO_MEMORY
    market.last_price = taker.price_ticks
    market.last_quantity = taker.quantity_steps
    return FINE


cdef uint64_t first_by_time(const Ring* ring, int64_t time_ns) noexcept nogil:
    # The number of the first record whose time (its first field) is at least this; head if there is none.
    cdef uint64_t low = ring.tail, high = ring.head, middle
    while low < high:
        middle = (low + high) // 2
        if (<int64_t*>ring_at(ring, middle))[0] < time_ns:
            low = middle + 1
        else:
            high = middle
    return low


cdef inline void sum_candle(Sums* sums, const Candle* candle) noexcept nogil:
    if sums.candles == 0:
        sums.open = candle.open
        sums.high = candle.high
        sums.low = candle.low
        sums.previous = candle.previous
        sums.first_trade = candle.first_trade
    sums.high = max(sums.high, candle.high)
    sums.low = min(sums.low, candle.low)
    sums.close = candle.close
    sums.last_trade = candle.last_trade
    sums.volume += candle.volume
    sums.quote += candle.quote
    sums.taker_volume += candle.taker_volume
    sums.taker_quote += candle.taker_quote
    sums.candles += 1


cdef uint64_t sum_until(Sums* sums, const Ring* ring, uint64_t number, int64_t end_s) noexcept nogil:
    # Adds the candles from `number` on that open before end_s; returns the first that does not.
    while number < ring.head and candle_at(ring, number).open_s < end_s:
        sum_candle(sums, candle_at(ring, number))
        number += 1
    return number


cdef void sum_window(Sums* sums, const MarketView* market, int64_t begin_s) noexcept nogil:
    # Everything from begin_s on: seconds up to the next minute, minutes up to the next hour and so on.
    cdef int64_t at_s = begin_s, next_s
    cdef int base
    memset(sums, 0, sizeof(Sums))
    for base in range(BASES - 1):
        next_s = at_s + (-at_s) % BASE_SECONDS[base + 1]
        if next_s < at_s:   # C's remainder of a negative number is negative
            next_s += BASE_SECONDS[base + 1]
        sum_until(sums, &market.candles[base], first_by_time(&market.candles[base], at_s), next_s)
        at_s = next_s
    sum_until(sums, &market.candles[DAY], first_by_time(&market.candles[DAY], at_s), 0x7FFF_FFFF_FFFF_FFFF)


# The calendar, by Howard Hinnant's two formulas: days since 1970 to and from the first of a month.

cdef int64_t month_of(int64_t day) noexcept nogil:
    # Months since year 0, January = 0.
    cdef int64_t z = day + 719_468
    cdef int64_t era = z // 146_097
    cdef int64_t day_of_era = z - era * 146_097
    cdef int64_t year_of_era = (
        day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096
    ) // 365
    cdef int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    cdef int64_t march_month = (5 * day_of_year + 2) // 153
    cdef int64_t month = march_month + 2 if march_month < 10 else march_month - 10
    return (year_of_era + era * 400 + (1 if month < 2 else 0)) * 12 + month


cdef int64_t first_day_of(int64_t month) noexcept nogil:
    cdef int64_t year = month // 12
    cdef int64_t m = month % 12
    cdef int64_t era, year_of_era, day_of_year
    if m < 2:
        year -= 1
    era = year // 400
    year_of_era = year - era * 400
    day_of_year = (153 * (m - 2 if m > 1 else m + 10) + 2) // 5
    return era * 146_097 + year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year - 719_468


cdef inline int64_t floored(int64_t value, int64_t unit) noexcept nogil:
    # value cut to a multiple of unit, also below zero (C divides towards zero).
    cdef int64_t rest = value % unit
    return value - rest - (unit if rest < 0 else 0)


cdef int64_t interval_open(const Interval* interval, int64_t at_s, int64_t offset_s) noexcept nogil:
    # When the candle that holds at_s opens; offset_s: how far the wall clock of its time zone is ahead of UTC.
    cdef int64_t local = at_s + offset_s
    cdef int64_t shift = interval.shift_days * DAY_SECONDS
    if interval.seconds == 0:
        return first_day_of(month_of(floored(local, DAY_SECONDS) // DAY_SECONDS)) * DAY_SECONDS - offset_s
    return floored(local - shift, interval.seconds) + shift - offset_s


cdef int64_t interval_step(const Interval* interval, int64_t open_s, int64_t offset_s, int64_t steps) noexcept nogil:
    # The open of the candle so many further on.
    if interval.seconds == 0:
        return first_day_of(month_of((open_s + offset_s) // DAY_SECONDS) + steps) * DAY_SECONDS - offset_s
    return open_s + steps * interval.seconds


cdef int interval_base(const Interval* interval, int64_t offset_s) noexcept nogil:
    # The widest kept candle that the interval's grid is made of.
    cdef int base = DAY
    while base > SECOND:
        if interval.seconds % BASE_SECONDS[base] == 0 and offset_s % BASE_SECONDS[base] == 0:
            return base
        base -= 1
    return SECOND
