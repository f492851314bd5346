# SPDX-License-Identifier: Apache-2.0
# The half of `Views` that knows markets: what it keeps of them, and every answer about trades, candles and tickers.

cdef Interval interval_named(str name) except *:
    cdef Interval interval
    interval.seconds = INTERVALS[name]
    interval.shift_days = MONDAY if interval.seconds == 604_800 else 0
    return interval


def interval_bounds(str interval, int64_t time_ns, int64_t offset_s=0):
    """(open_time_ns, end_time_ns) of the candle that holds time_ns; the end is the next one's open."""
    cdef Interval found = interval_named(interval)
    cdef int64_t open_s = interval_open(&found, time_ns // NS, offset_s)
    return open_s * NS, interval_step(&found, open_s, offset_s, 1) * NS


cdef class MarketViews:
    """Trades, candles and tickers by market. Times are kernel time in ns."""
    cdef MarketView** markets
    cdef uint32_t market_room    # of the array; ids are below
    cdef uint64_t trades_max
    cdef CandleLimits limits
    cdef readonly str closed     # why it was closed, or ""

    def __cinit__(self, *, uint64_t trades_max=1 << 16, candle_days=(1, 31, 731, 4_096), **_):
        cdef int base
        self.closed = ""
        self.trades_max = max(trades_max, <uint64_t>1)
        for base in range(BASES):
            self.limits.age_s[base] = <int64_t>candle_days[base] * DAY_SECONDS + 2 * BASE_SECONDS[min(base + 1, DAY)]
            self.limits.count[base] = self.limits.age_s[base] // BASE_SECONDS[base] + 1

    def __dealloc__(self):
        self.forget_markets()

    cdef void forget_markets(self) noexcept:
        cdef uint32_t i
        for i in range(self.market_room):
            if self.markets[i] != NULL:
                market_free(self.markets[i])
                free(self.markets[i])
        free(self.markets)
        self.markets = NULL
        self.market_room = 0

    cdef MarketView* market_made(self, uint32_t market) except NULL:
        # The market's view, made at its first trade.
        cdef MarketView** more
        cdef uint32_t room = self.market_room
        if market >= MARKETS_MAX:
            raise ViewFault(f"market {market} is beyond what a view holds")
        if market >= room:
            room = <uint32_t>power_of_two(market + 1)
            more = <MarketView**>realloc(self.markets, room * sizeof(MarketView*))
            if more == NULL:
                raise MemoryError
            memset(more + self.market_room, 0, (room - self.market_room) * sizeof(MarketView*))
            self.markets = more
            self.market_room = room
        if self.markets[market] == NULL:
            self.markets[market] = <MarketView*>malloc(sizeof(MarketView))
            if self.markets[market] == NULL:
                raise MemoryError
            market_plan(self.markets[market], self.trades_max, &self.limits)
        return self.markets[market]

    cdef MarketView* market(self, int64_t market) except? NULL:
        if self.closed:
            raise ViewClosed(self.closed)
        if market < 0 or market >= self.market_room:
            return NULL
        return self.markets[market]

    cdef int check_open(self) except -1:
        if self.closed:
            raise ViewClosed(self.closed)
        return 0

    def close(self, str reason):
        """No more: every question raises ViewClosed from now on, and `apply` does nothing."""
        self.closed = reason or "closed"

    cdef list trade_rows(self, const MarketView* market, uint64_t low, uint64_t high):
        cdef TradeRecord* t
        cdef list rows = []
        cdef uint64_t number
        for number in range(low, high):
            t = <TradeRecord*>ring_at(&market.trades, number)
            rows.append(
                (market.first_trade + number, t.time_ns, t.price_ticks, t.quantity_steps, (t.origin & 1) != 0)
            )
        return rows

    def trades(self, int64_t market, int64_t limit=500):
        """The newest trades, oldest first: (trade_id, time_ns, price_ticks, quantity_steps, buyer_is_maker)."""
        cdef MarketView* m = self.market(market)
        if m == NULL or limit <= 0:
            return []
        return self.trade_rows(m, m.trades.head - min(<uint64_t>limit, ring_count(&m.trades)), m.trades.head)

    def trades_from(self, int64_t market, int64_t trade_id, int64_t limit=500):
        """The oldest trades from this id on."""
        cdef MarketView* m = self.market(market)
        cdef uint64_t low
        if m == NULL or limit <= 0:
            return []
        low = m.trades.tail
        if trade_id > 0 and <uint64_t>trade_id > m.first_trade + low:
            low = min(<uint64_t>trade_id - m.first_trade, m.trades.head)
        return self.trade_rows(m, low, low + min(<uint64_t>limit, m.trades.head - low))

    def last_trade(self, int64_t market):
        """The newest trade, or None."""
        cdef list rows = self.trades(market, 1)
        return rows[0] if rows else None

    def last_ids(self, int64_t market):
        """(id of the newest trade, of the newest aggregate trade); 0 where there is none."""
        cdef MarketView* m = self.market(market)
        if m == NULL or m.trades.head == 0:
            return 0, 0
        return m.first_trade + m.trades.head - 1, m.aggregates.head

    def agg_trades(
        self, int64_t market, int64_t limit=500, int64_t from_id=-1, int64_t start_ns=-1, int64_t end_ns=-1
    ):
        """Aggregate trades: (agg_id, first_id, last_id, time_ns, price_ticks, quantity_steps, buyer_is_maker)."""
        cdef MarketView* m = self.market(market)
        cdef AggregateRecord* a
        cdef uint64_t low, high, number
        cdef list rows = []
        if m == NULL or limit <= 0:
            return rows
        low = m.aggregates.tail
        high = m.aggregates.head
        if from_id > 0:
            low = max(low, <uint64_t>from_id - 1)
        if start_ns >= 0:
            low = max(low, first_by_time(&m.aggregates, start_ns))
        if end_ns >= 0:
            high = first_by_time(&m.aggregates, end_ns + 1)
        if low >= high:
            return rows
        if from_id >= 0 or start_ns >= 0:
            high = low + min(<uint64_t>limit, high - low)
        else:
            low = high - min(<uint64_t>limit, high - low)
        for number in range(low, high):
            a = <AggregateRecord*>ring_at(&m.aggregates, number)
            rows.append((
                number + 1, a.first_trade, a.last_trade, a.time_ns, a.price_ticks, a.quantity_steps,
                (a.origin & 1) != 0,
            ))
        return rows

    def trades_left(self, int64_t market):
        """What has left: (id of the oldest trade held, sequence up to which a command's trades may be gone, then both of
        the aggregate trades, and the time of the oldest one held). Sequence 0: nothing has left."""
        cdef MarketView* m = self.market(market)
        cdef const TradeRecord* trade
        cdef const AggregateRecord* aggregate
        if m == NULL or m.trades.head == 0:
            return 1, 0, 1, 0, 0
        trade = <TradeRecord*>ring_at(&m.trades, m.trades.tail)
        aggregate = <AggregateRecord*>ring_at(&m.aggregates, m.aggregates.tail)
        return (
            m.first_trade + m.trades.tail, trade.origin >> 1 if m.trades.tail else 0,
            m.aggregates.tail + 1, aggregate.origin >> 1 if m.aggregates.tail else 0, aggregate.time_ns,
        )

    cdef int64_t earliest(self, const Ring* ring, const Interval* interval, int64_t offset_s):
        # The open of the oldest candle of which nothing has left the ring.
        cdef int64_t oldest_s = candle_at(ring, ring.tail).open_s
        cdef int64_t open_s = interval_open(interval, oldest_s, offset_s)
        if ring.tail > 0 and open_s < oldest_s:
            return interval_step(interval, open_s, offset_s, 1)
        return open_s

    cdef list candle_rows(
        self, const MarketView* market, const Interval* interval, int64_t offset_s, int64_t open_s, int64_t last_s,
        int64_t limit,
    ):
        # From the candle that opens at open_s, which is not before the earliest, to the one that opens at last_s.
        cdef const Ring* ring = &market.candles[interval_base(interval, offset_s)]
        cdef uint64_t number = first_by_time(ring, open_s)
        cdef int64_t end_s, close = market.last_price
        cdef Sums sums
        cdef list rows = []
        if number > ring.tail:
            close = candle_at(ring, number - 1).close
        elif number < ring.head:
            close = candle_at(ring, number).previous
        while open_s <= last_s and limit > 0:
            end_s = interval_step(interval, open_s, offset_s, 1)
            memset(&sums, 0, sizeof(Sums))
            number = sum_until(&sums, ring, number, end_s)
            if sums.candles == 0:
                rows.append((open_s * NS, end_s * NS, close, close, close, close, 0, 0, 0, 0, 0, -1, -1))
            else:
                close = sums.close
                rows.append((
                    open_s * NS, end_s * NS, sums.open, sums.high, sums.low, close, wide_int(sums.volume),
                    wide_int(sums.quote), sums.last_trade - sums.first_trade + 1, wide_int(sums.taker_volume),
                    wide_int(sums.taker_quote), sums.first_trade, sums.last_trade,
                ))
            open_s = end_s
            limit -= 1
        return rows

    def klines(
        self, int64_t market, str interval, int64_t limit, int64_t time_ns, int64_t start_ns=-1, int64_t end_ns=-1,
        int64_t offset_s=0,
    ):
        """Candles without holes from the first trade to the one that holds time_ns: (open_time_ns, end_time_ns, open,
        high, low, close, volume_steps, quote_units, count, taker_steps, taker_quote_units, first_id, last_id)."""
        cdef MarketView* m = self.market(market)
        cdef Interval found = interval_named(interval)
        cdef const Ring* ring
        cdef int64_t first_s, last_s, from_s
        if m == NULL or limit <= 0:
            return []
        ring = &m.candles[interval_base(&found, offset_s)]
        if ring_count(ring) == 0:
            return []
        first_s = self.earliest(ring, &found, offset_s)
        last_s = interval_open(&found, time_ns // NS, offset_s)
        if end_ns >= 0:
            last_s = min(last_s, interval_open(&found, end_ns // NS, offset_s))
        if start_ns >= 0:
            from_s = start_ns // NS + (1 if start_ns % NS else 0)
            if from_s > last_s:
                return []
            if interval_open(&found, from_s, offset_s) < from_s:
                from_s = interval_step(&found, interval_open(&found, from_s, offset_s), offset_s, 1)
            first_s = max(first_s, from_s)
        else:
            first_s = max(first_s, interval_step(&found, last_s, offset_s, 1 - limit))
        return self.candle_rows(m, &found, offset_s, first_s, last_s, limit)

    def klines_left(
        self, int64_t market, str interval, int64_t limit, int64_t time_ns, int64_t start_ns=-1, int64_t end_ns=-1,
        int64_t offset_s=0,
    ):
        """Where the candles that `klines` gives for this question may lack some at their beginning: (open_time_ns of the
        first one asked for, open_time_ns from which on memory has all). None: they lack none."""
        cdef MarketView* m = self.market(market)
        cdef Interval found = interval_named(interval)
        cdef const Ring* ring
        cdef int64_t first_s, last_s, earliest_s
        if m == NULL or limit <= 0:
            return None
        ring = &m.candles[interval_base(&found, offset_s)]
        if ring.tail == 0 or ring_count(ring) == 0:
            return None
        earliest_s = self.earliest(ring, &found, offset_s)
        last_s = interval_open(&found, time_ns // NS, offset_s)
        if end_ns >= 0:
            last_s = min(last_s, interval_open(&found, end_ns // NS, offset_s))
        if start_ns >= 0:
            first_s = start_ns // NS + (1 if start_ns % NS else 0)
            if first_s > last_s:
                return None
            if interval_open(&found, first_s, offset_s) < first_s:
                first_s = interval_step(&found, interval_open(&found, first_s, offset_s), offset_s, 1)
        else:
            first_s = interval_step(&found, last_s, offset_s, 1 - limit)
        if first_s >= earliest_s or first_s > last_s:
            return None
        return max(first_s, 0) * NS, earliest_s * NS

    def candle(self, int64_t market, str interval, int64_t time_ns, int64_t offset_s=0):
        """The one candle that holds time_ns, as a row of `klines`; None before the first trade."""
        cdef MarketView* m = self.market(market)
        cdef Interval found = interval_named(interval)
        cdef const Ring* ring
        cdef int64_t open_s
        if m == NULL:
            return None
        ring = &m.candles[interval_base(&found, offset_s)]
        open_s = interval_open(&found, time_ns // NS, offset_s)
        if ring_count(ring) == 0 or open_s < self.earliest(ring, &found, offset_s):
            return None
        return self.candle_rows(m, &found, offset_s, open_s, open_s, 1)[0]

    cdef tuple window(self, int64_t market, int64_t begin_s, int64_t open_ns, int64_t close_ns):
        cdef MarketView* m = self.market(market)
        cdef Sums sums
        if m == NULL:
            return open_ns, close_ns, 0, 0, 0, 0, 0, 0, 0, -1, -1, 0, 0
        sum_window(&sums, m, max(begin_s, 0))
        if sums.candles == 0:
            return (
                open_ns, close_ns, m.last_price, m.last_price, m.last_price, m.last_price, m.last_quantity, 0, 0, -1, -1,
                0, m.last_price,
            )
        return (
            open_ns, close_ns, sums.open, sums.high, sums.low, sums.close, m.last_quantity, wide_int(sums.volume),
            wide_int(sums.quote), sums.first_trade, sums.last_trade, sums.last_trade - sums.first_trade + 1,
            sums.previous,
        )

    def ticker(self, int64_t market, int64_t time_ns, int64_t seconds=86_400):
        """The window of so many seconds up to now, by steps of a second: (open_time_ns, close_time_ns, open, high, low,
        last, last_steps, volume_steps, quote_units, first_id, last_id, count, previous_close_ticks)."""
        cdef int64_t end_s = time_ns // NS + (1 if time_ns % NS else 0)
        return self.window(market, end_s - seconds, time_ns - seconds * NS, time_ns)

    def statistics(self, int64_t market, int64_t begin_ns, int64_t time_ns):
        """A row of `ticker` for the window from begin_ns, a whole second, up to now."""
        return self.window(market, begin_ns // NS + (1 if begin_ns % NS else 0), begin_ns, time_ns)
