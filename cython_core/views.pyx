# SPDX-License-Identifier: Apache-2.0
"""What readers ask of the past: trades, candles, tickers, done orders and fills, drawn from the kernel's events.

A replica feeds it every batch of events and of done orders (`Views.apply`) and its handlers ask it; the rows it gives
are those that `bidhall.protocol` turns into answers. Everything is kept in C records in rings of a stated size, no
Python object a record. It must never touch the kernel's state, and a fault in here must never stop trading: the
replica closes the views (`close`) and goes on.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

from bidhall.core.records cimport (
    COMMAND_CONFIGURE, COMMAND_MARKET, COMMAND_NOTE, COMMAND_REPLACE, EVENT_FILL, EVENT_REPEATED, FLAG_BUY, FLAG_MAKER, TEXT_BYTES,
    Event, OrderRecord,
)

include "views_memory.pxi"
include "views_market.pxi"
include "views_orders.pxi"
include "views_snapshot.pxi"

cdef enum:
    MARKETS_MAX = 1 << 20

cdef int64_t NS = 1_000_000_000

INTERVALS = {
    "1s": 1, "1m": 60, "3m": 180, "5m": 300, "15m": 900, "30m": 1_800, "1h": 3_600, "2h": 7_200, "4h": 14_400,
    "6h": 21_600, "8h": 28_800, "12h": 43_200, "1d": 86_400, "3d": 259_200, "1w": 604_800, "1M": 0,
}


class ViewFault(Exception):
    """The events do not fit what the view has seen before, or there was no memory; it must be closed."""


class ViewClosed(Exception):
    """The view was closed after a fault; the text says which."""


include "views_records.pxi"
include "views_results.pxi"
include "views_queries.pxi"


cdef class Views(MarketViews):
    """Trades, candles and tickers by market; done orders and fills by account. Times are kernel time in ns."""
    cdef Orders orders

    def __cinit__(
        self,
        *,
        uint64_t trades_max=1 << 16,
        uint64_t done_bytes=98 << 20,
        uint64_t fills_max=983_040,
        uint64_t seed=0,
        candle_days=(1, 31, 731, 4_096),
    ):
        done_bytes = max(done_bytes, <uint64_t>sizeof(OrderRecord))
        if orders_plan(&self.orders, done_bytes // sizeof(OrderRecord), max(fills_max, <uint64_t>1), seed) != FINE:
            raise MemoryError

    def __dealloc__(self):
        orders_free(&self.orders)

    def apply(self, events, done, int64_t time_ns):
        """Takes the events of a batch and the orders it finished. Raises ViewFault; it must be closed then."""
        cdef Records e = Records(events, sizeof(Event))
        cdef Records d = Records(done, sizeof(OrderRecord))
        cdef const OrderRecord* order = <const OrderRecord*>d.data
        cdef size_t i
        cdef int status
        if self.closed:
            return
        status = self.take(<const Event*>e.data, e.count, time_ns)
        if status == FINE:
            for i in range(d.count):
                if i + FAR < d.count:
                    warm_done(&self.orders, order + i + FAR)
                    warm_done_root(&self.orders, order + i + NEAR)
                status = done_add(&self.orders, order + i)
                if status != FINE:
                    break
        if status == NO_MEMORY:
            raise MemoryError
        if status == LOST_TRADE:
            raise ViewFault("a trade id does not follow the one before it")
        if status == BROKEN_PAIR:
            raise ViewFault("a taker's fill is not followed by its maker's")

    cdef int take(self, const Event* event, size_t count, int64_t time_ns) except? -9:
        cdef Clock clock
        cdef MarketView* market = NULL
        cdef uint32_t last_market = 0
        cdef size_t i
        cdef int status
        clock_set(&clock, time_ns)
        for i in range(count):
            if i + FAR < count and event[i + FAR].kind == EVENT_FILL:
                warm_fill(&self.orders, event[i + FAR].account, event[i + FAR].market, event[i + FAR].order_id)
            if i + NEAR < count and event[i + NEAR].kind == EVENT_FILL:
                warm_fill_record(&self.orders, event + i + NEAR)
            if event[i].kind != EVENT_FILL:
                continue
            if not event[i].flags & FLAG_MAKER:
                if i + 1 >= count or event[i + 1].kind != EVENT_FILL or event[i + 1].trade_id != event[i].trade_id:
                    return BROKEN_PAIR
                if market == NULL or event[i].market != last_market:
                    last_market = event[i].market
                    market = self.market_made(last_market)
                status = market_trade(market, event + i, &clock, &self.limits)
                if status != FINE:
                    return status
            status = fill_add(&self.orders, event + i, time_ns)
            if status != FINE:
                return status
        return FINE

    # Accounts

    def done_order(self, uint64_t order_id):
        """The ORDER record of a done order, or b""."""
        cdef TableEntry* entry
        self.check_open()
        entry = find_done(&self.orders, order_id)
        if entry == NULL:
            return b""
        return (<char*>done_at(&self.orders, entry.value - 1))[:sizeof(OrderRecord)]

    def done_by_client(self, uint32_t account, uint32_t market, bytes client_id):
        """The ORDER record of the newest done order of that client id, or b""."""
        cdef uint8_t text[36]
        cdef TableEntry* entry
        self.check_open()
        if not 0 < len(client_id) <= TEXT_BYTES:
            return b""
        memset(text, 0, TEXT_BYTES)
        memcpy(text, <char*>client_id, len(client_id))
        if text[0] == 0:
            return b""
        entry = find_client(&self.orders, client_tag(self.orders.seed, account, market, text), account, market, text)
        if entry == NULL:
            return b""
        return (<char*>done_at(&self.orders, entry.value - 1))[:sizeof(OrderRecord)]

    def done_orders(
        self, uint32_t account, uint32_t market, int64_t limit, int64_t from_id=-1, int64_t start_ns=-1,
        int64_t end_ns=-1,
    ):
        """ORDER records of the account's done orders of a market, ascending by id; times are those of their making."""
        cdef Page page
        cdef TableEntry* entry
        cdef bytes answer
        cdef char* room
        cdef uint64_t i
        cdef bint oldest = from_id >= 0 or start_ns >= 0
        self.check_open()
        entry = find_done_desk(&self.orders, account, market)
        if entry == NULL or limit <= 0:
            return b""
        memset(&page, 0, sizeof(Page))
        page.from_id = <uint64_t>max(from_id, 0)
        page.start_ns = start_ns
        page.end_ns = end_ns
        page.room = min(<uint64_t>limit, ring_count(&self.orders.done))
        page.slots = <uint32_t*>malloc(page.room * sizeof(uint32_t))
        if page.slots == NULL:
            raise MemoryError
        try:
            if oldest:
                page_oldest(&self.orders, &page, entry.value)
            else:
                page_newest(&self.orders, &page, entry.value)
            answer = PyBytes_FromStringAndSize(NULL, page.count * sizeof(OrderRecord))
            room = answer
            for i in range(page.count):
                memcpy(
                    room + (i if oldest else page.count - 1 - i) * sizeof(OrderRecord),
                    done_at(&self.orders, page.slots[i]), sizeof(OrderRecord),
                )
        finally:
            free(page.slots)
        return answer

    cdef tuple fill_row(self, uint64_t number):
        cdef FillRecord* f = fill_at(&self.orders, number)
        return (
            f.order_id, f.trade_id, f.time_ns, f.price_ticks, f.quantity_steps, f.fee_units, (f.origin & FLAG_BUY) != 0,
            (f.origin & FLAG_MAKER) != 0,
        )

    cdef list fill_page(
        self, uint64_t newest, int chain, int64_t limit, int64_t from_id, int64_t start_ns, int64_t end_ns
    ):
        # Of the chain that ends in `newest`: the oldest from a lower bound, or without one the newest.
        cdef Orders* o = &self.orders
        cdef uint64_t oldest = newest, depth, count
        cdef uint32_t held
        cdef list rows = []
        if end_ns >= 0 and not newest_before(o, &newest, chain, <uint64_t>end_ns):
            return rows
        if from_id >= 0 and not reaches(o, newest, chain, BY_TRADE, <uint64_t>from_id):
            return rows
        if start_ns >= 0 and not reaches(o, newest, chain, BY_TIME, <uint64_t>start_ns):
            return rows
        if from_id >= 0 or start_ns >= 0:
            oldest = 0
            if from_id >= 0:
                oldest = oldest_from(o, newest, chain, BY_TRADE, <uint64_t>from_id)
            if start_ns >= 0:
                oldest = max(oldest, oldest_from(o, newest, chain, BY_TIME, <uint64_t>start_ns))
            depth = fill_at(o, oldest).chains[chain * LINKS + DEPTH]
            held = fill_at(o, newest).chains[chain * LINKS + DEPTH] - <uint32_t>depth + 1
            count = min(<uint64_t>limit, <uint64_t>held)
            newest = oldest_from(o, newest, chain, BY_DEPTH, <uint32_t>(depth + count - 1))
        else:
            count = <uint64_t>limit
        while True:
            rows.append(self.fill_row(newest))
            count -= 1
            if count == 0 or not step_back(o, &newest, chain):
                break
        rows.reverse()
        return rows

    def fills(
        self, uint32_t account, uint32_t market, int64_t limit, int64_t from_id=-1, uint64_t order_id=0,
        int64_t start_ns=-1, int64_t end_ns=-1,
    ):
        """An account's fills of a market, of one order if given: (order_id, trade_id, time_ns, price_ticks,
        quantity_steps, fee_units, is_buyer, is_maker)."""
        cdef Orders* o = &self.orders
        cdef TableEntry* entry
        cdef FillRecord* fill
        self.check_open()
        if limit <= 0:
            return []
        if order_id:
            entry = find_fill_order(o, tag_of(o.seed, order_id), order_id)
        else:
            entry = find_fill_desk(o, tag_of(o.seed, desk_key(account, market)), account, market)
        if entry == NULL:
            return []
        fill = fill_at(o, entry.value - 1)
        if fill.account != account or fill.market != market:
            return []
        return self.fill_page(
            ring_number(&o.fills, entry.value - 1), OF_ORDER if order_id else OF_DESK, limit, from_id, start_ns, end_ns
        )

    def fills_of_order(self, uint64_t order_id):
        """All fills of an order that are still held."""
        cdef Orders* o = &self.orders
        cdef TableEntry* entry
        self.check_open()
        entry = find_fill_order(o, tag_of(o.seed, order_id), order_id)
        if entry == NULL:
            return []
        return self.fill_page(ring_number(&o.fills, entry.value - 1), OF_ORDER, 0x7FFF_FFFF, -1, -1, -1)

    def left(self, uint32_t account, uint32_t market):
        """How far what has left memory reaches, of this account and market: no order with a higher id or made later, no
        fill of a higher trade id or later: (order_id, created_ns, trade_id, fill_ns). 0: nothing has."""
        cdef Left* left = left_of(&self.orders, account, market)
        self.check_open()
        return left.order_id, left.created_ns, left.trade_id, left.fill_ns

    @property
    def done_left(self):
        """Sequence of the newest command of whose done orders one has left: memory has those of all later ones."""
        return self.orders.done_left

    @property
    def fills_left(self):
        """The same of fills."""
        return self.orders.fills_left

    def counts(self):
        """How full it is: records held and their limits, and how many have left."""
        return {
            "done_orders": ring_count(&self.orders.done),
            "done_orders_max": self.orders.done.limit,
            "done_orders_left": self.orders.done.tail,
            "fills": ring_count(&self.orders.fills),
            "fills_max": self.orders.fills.limit,
            "fills_left": self.orders.fills.tail,
        }

    # Snapshots

    def cut(self):
        """This moment's state, for a thread that writes a snapshot; takes microseconds."""
        cdef Cut cut = Cut()
        cdef uint32_t sizes[7]
        cdef uint64_t fields[6]
        cdef uint32_t i
        cdef int base
        cdef MarketView* m
        self.check_open()
        sizes[:] = [
            sizeof(TradeRecord), sizeof(AggregateRecord), sizeof(Candle), sizeof(OrderRecord), sizeof(FillRecord),
            sizeof(Event), 0,
        ]
        for i in range(self.market_room):
            sizes[6] += self.markets[i] != NULL
        cut.add_bytes(b"BHVIEWS\x02" + (<char*>sizes)[:28])
        for i in range(self.market_room):
            m = self.markets[i]
            if m == NULL:
                continue
            fields[:] = [
                i, m.first_trade, m.aggregate_sequence, m.aggregate_order, <uint64_t>m.last_price,
                <uint64_t>m.last_quantity,
            ]
            cut.add_bytes((<char*>fields)[:48])
            cut.add_ring(&m.trades, False)
            cut.add_ring(&m.aggregates, False)
            for base in range(BASES):
                cut.add_ring(&m.candles[base], True)
        cut.add_ring(&self.orders.done, False)
        cut.add_ring(&self.orders.fills, False)
        cut.add_bytes(self.left_bytes())
        return cut

    cdef bytes left_bytes(self):
        cdef Orders* o = &self.orders
        cdef LeftEntry entry
        cdef uint64_t heads[3]
        cdef list entries = []
        cdef uint32_t i
        if o.done_left or o.fills_left:
            for i in range(<uint32_t>LEFT_SLOTS):
                if o.left[i].order_id or o.left[i].trade_id:
                    entry.slot = i
                    entry.left = o.left[i]
                    entries.append((<char*>&entry)[:sizeof(LeftEntry)])
        heads[:] = [o.done_left, o.fills_left, <uint64_t>len(entries)]
        return (<char*>heads)[:24] + b"".join(entries)

    def snapshot(self):
        """The state as bytes."""
        return b"".join(self.cut().pieces())

    @staticmethod
    def restore(data, **limits):
        """Views in the state that `snapshot` or a cut gave; what is more than fits now leaves, oldest first."""
        cdef Views views = Views(**limits)
        views.load(data)
        return views

    def clear(self):
        """As it was made, and open."""
        cdef Orders* o = &self.orders
        cdef uint64_t done_max = o.done.limit, fills_max = o.fills.limit, seed = o.seed
        self.forget_markets()
        orders_free(o)
        self.closed = ""
        if orders_plan(o, done_max, fills_max, seed) != FINE:
            raise MemoryError

    def load(self, data):
        """Takes the state that `snapshot` or a cut gave, in place of its own; ValueError when it is none."""
        cdef Reader reader = Reader(data)
        cdef uint32_t sizes[7]
        cdef uint64_t fields[6]
        cdef uint32_t i
        cdef uint64_t number
        cdef int base
        cdef MarketView* m
        self.clear()
        if reader.take(8)[:8] != b"BHVIEWS\x02":
            raise ValueError("not a snapshot of views of version 2")
        memcpy(sizes, reader.take(28), 28)
        if (
            sizes[0] != sizeof(TradeRecord) or sizes[1] != sizeof(AggregateRecord) or sizes[2] != sizeof(Candle)
            or sizes[3] != sizeof(OrderRecord) or sizes[4] != sizeof(FillRecord) or sizes[5] != sizeof(Event)
        ):
            raise ValueError("the snapshot of the views holds records of another layout")
        for i in range(sizes[6]):
            memcpy(fields, reader.take(48), 48)
            if fields[0] >= MARKETS_MAX:
                raise ValueError("the snapshot of the views holds an impossible market")
            m = self.market_made(<uint32_t>fields[0])
            m.first_trade = fields[1]
            m.aggregate_sequence = fields[2]
            m.aggregate_order = fields[3]
            m.last_price = <int64_t>fields[4]
            m.last_quantity = <int64_t>fields[5]
            reader.ring(&m.trades)
            reader.ring(&m.aggregates)
            for base in range(BASES):
                reader.ring(&m.candles[base])
        self.load_orders(reader)
        if reader.left:
            raise ValueError("the snapshot of the views is longer than it should be")
        for number in range(self.orders.done.tail, self.orders.done.head):
            done_index(&self.orders, <uint32_t>(number & self.orders.done.mask))
        for number in range(self.orders.fills.tail, self.orders.fills.head):
            fill_index(&self.orders, number, False)

    cdef int load_orders(self, Reader reader) except -1:
        cdef Orders* o = &self.orders
        cdef OrderRecord order
        cdef FillRecord fill
        cdef LeftEntry entry
        cdef uint64_t heads[3]
        cdef uint64_t number
        cdef const uint8_t* done
        cdef const uint8_t* fills
        cdef uint64_t done_tail, fills_tail
        done = reader.ring(&o.done, &done_tail)
        fills = reader.ring(&o.fills, &fills_tail)
        memcpy(heads, reader.take(24), 24)
        o.done_left = heads[0]
        o.fills_left = heads[1]
        for number in range(heads[2]):
            memcpy(&entry, reader.take(sizeof(LeftEntry)), sizeof(LeftEntry))
            if entry.slot >= <uint64_t>LEFT_SLOTS:
                raise ValueError("the snapshot of the views holds an impossible slot")
            o.left[entry.slot] = entry.left
        for number in range(o.done.tail - done_tail):    # what a smaller ring has no room for
            memcpy(&order, done + number * sizeof(OrderRecord), sizeof(OrderRecord))
            done_leaves(o, &order)
        for number in range(o.fills.tail - fills_tail):
            memcpy(&fill, fills + number * sizeof(FillRecord), sizeof(FillRecord))
            fill_leaves(o, &fill)
        return 0
