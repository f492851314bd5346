# SPDX-License-Identifier: Apache-2.0
"""The matching engine: one `Exchange` owns assets, accounts, markets, orders and time, and changes only by commands.

Called by the replica (which feeds it what the log has committed), by tests and by anyone who wants an exchange without
HTTP. It never reads a clock, a file or a random number: the same commands give the same events and the same state hash
on every machine, for ever. What a command does is written in RULES.md; what crosses the border in records.pxd; what is
kept in state.pxd. The files included below are one compiled unit, so that hot calls stay inside C; every function in
them is `noexcept nogil`, so that the compiler proves that no Python object is touched.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, qsort, realloc
from libc.string cimport memcmp, memcpy, memset
from posix.mman cimport munmap

from cpython.buffer cimport Py_buffer, PyBUF_SIMPLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.ref cimport Py_INCREF, Py_REFCNT
from cpython.tuple cimport PyTuple_New, PyTuple_SET_ITEM

from bidhall.core.records cimport *
from bidhall.core.state cimport *

import numpy as np

from bidhall.core import records

include "memory.pxi"
include "queues.pxi"
include "orders.pxi"
include "digests.pxi"
include "icebergs.pxi"
include "ledger.pxi"
include "prevention.pxi"
include "matching.pxi"
include "setup.pxi"
include "checks.pxi"
include "commands.pxi"
include "invariants.pxi"
include "snapshot.pxi"

cdef enum:
    LOOK_FAR = 18        # how many commands ahead each step looks
    LOOK_NEAR = 12
    LOOK_NEXT = 6


class Broken(Exception):
    """An invariant does not hold: the replica must stop."""


class UnknownCommand(Exception):
    """A batch holds a kind or shape of command that this build does not know; nothing of it was applied."""


class WriterGap(Exception):
    """A writer's batch number is more than one above its last; nothing was applied."""


# A command touches an account, two balances, an order, its neighbours and a level: all over memory, each a cache miss. With
# a batch in hand they are asked for ahead, in three steps, because each step reads what the one before it brought.

cdef inline void look_far(State* s, const Command* c) noexcept nogil:
    PREFETCH(&s.accounts[c.account])
    if c.kind == COMMAND_PLACE:
        PREFETCH(&s.assets[s.markets[c.market].base_asset].balances[c.account])
        PREFETCH(&s.assets[s.markets[c.market].quote_asset].balances[c.account])
    else:
        PREFETCH(&s.order_table[c.order_id & s.table_mask])


cdef inline void look_near(State* s, const Command* c) noexcept nogil:
    cdef uint32_t slot
    if c.kind == COMMAND_PLACE:
        PREFETCH(&s.desks[s.accounts[c.account].first_desk])
        return
    slot = s.order_table[c.order_id & s.table_mask]
    PREFETCH(&s.orders[slot])
    PREFETCH(&s.details[slot])
    if s.tap_done:
        PREFETCH(<const uint8_t*>&s.details[slot] + 64)


cdef inline void look_next(State* s, const Command* c) noexcept nogil:
    cdef Market* m = &s.markets[c.market]
    cdef Order* o
    cdef uint32_t level
    if c.kind == COMMAND_PLACE:
        level = m.queues[ASK if c.side == SIDE_BUY else BID].best
        if c.price_ticks and not (level and crosses(c.side, c.price_ticks, s.levels[level].price_ticks)):
            if c.price_ticks <= m.price_ticks_max:
                level = level_seen(s, &m.queues[BID if c.side == SIDE_BUY else ASK], c.price_ticks)
                PREFETCH(&s.orders[s.levels[level].tail])
            return
        PREFETCH(&s.orders[s.levels[level].head])
        PREFETCH(&s.details[s.levels[level].head])
        return
    o = &s.orders[s.order_table[c.order_id & s.table_mask]]
    PREFETCH(&s.levels[o.level])
    PREFETCH(&s.desks[o.desk])
    PREFETCH(&s.orders[o.next])
    PREFETCH(&s.orders[o.prev])
    PREFETCH(&s.assets[m.quote_asset if o.side == SIDE_BUY else m.base_asset].balances[c.account])


cdef inline bint is_trading(State* s, const Command* c) noexcept nogil:
    return (COMMAND_PLACE <= c.kind <= COMMAND_AMEND and c.account <= s.account_count
            and c.market <= s.market_count and c.market != 0)


cdef void run_batch(State* s, const Command* commands, size_t count) noexcept nogil:
    cdef size_t i
    cdef i128* held
    for i in range(count):
        if likely(s.configured):
            if i + LOOK_FAR < count and is_trading(s, &commands[i + LOOK_FAR]):
                look_far(s, &commands[i + LOOK_FAR])
            if i + LOOK_NEAR < count and is_trading(s, &commands[i + LOOK_NEAR]):
                look_near(s, &commands[i + LOOK_NEAR])
            if i + LOOK_NEXT < count and is_trading(s, &commands[i + LOOK_NEXT]):
                look_next(s, &commands[i + LOOK_NEXT])
        execute(s, &commands[i])
        if DEBUG_BUILD and s.configured:
            held = <i128*>calloc(s.assets_max + 1, sizeof(i128))
            CHECK(audit_state(s, held) == NULL, "the audit after a command")
            free(held)


cdef void advance_time(State* s, int64_t log_time_ns, int64_t writer_time_ns) noexcept nogil:
    # No single clock can push time forward, and nothing pushes it back.
    cdef int64_t now = log_time_ns if log_time_ns < writer_time_ns else writer_time_ns
    if now > s.time_ns:
        s.time_ns = now
        s.minute = now // MINUTE_NS
        if s.configured:
            forget_digests(s)


cdef void hash_events(State* s) noexcept nogil:
    # The running hash over all events: the last one and the batch's size seed the next.
    if s.events_count:
        hash_bytes(<const uint8_t*>s.events, s.events_count * sizeof(Event),
                   s.event_hash[0] ^ bidhall_turn(s.event_hash[1], 32), s.event_hash)


cdef bytes text_of(const uint8_t* raw):
    cdef size_t size = 36
    while size and raw[size - 1] == 0:
        size -= 1
    return (<const char*>raw)[:size]


cdef object big(i128 value):
    # A Python integer of a non-negative 128-bit sum.
    return (int(<uint64_t>(value >> 64)) << 64) | int(<uint64_t>value)


cdef object array_of(const void* data, size_t count, size_t size, object dtype):
    return np.frombuffer(PyBytes_FromStringAndSize(<const char*>data, count * size), dtype=dtype)


cdef class Pages:
    """Memory that events are written into and that the array handed out keeps alive. Used again when nobody holds it."""

    cdef void* data
    cdef Py_ssize_t size
    cdef size_t capacity    # in records

    def __getbuffer__(self, Py_buffer* view, int flags):
        PyBuffer_FillInfo(view, self, self.data, self.size, 1, flags)

    def __dealloc__(self):
        free(self.data)


cdef object EVENT = records.EVENT
cdef object ORDER = records.ORDER
cdef object TOP = records.TOP
cdef object POSITION = records.POSITION
cdef object NO_EVENTS = np.zeros(0, EVENT)
cdef object NO_ORDERS = np.zeros(0, ORDER)


def checksum(data, uint64_t seed=0):
    """128 bits over any buffer, as 16 bytes; it finds damage and differences, it is no seal against forgery."""
    cdef Py_buffer view
    cdef uint64_t out[2]
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        with nogil:
            hash_bytes(<const uint8_t*>view.buf, view.len, seed, out)
    finally:
        PyBuffer_Release(&view)
    return PyBytes_FromStringAndSize(<const char*>out, 16)


cdef class Exchange:
    """A whole exchange in memory. Nothing but CONFIGURE is accepted first; then commands, batch by batch."""

    cdef State state
    cdef Pages event_pages
    cdef Pages spare_event_pages
    cdef Pages done_pages
    cdef Pages spare_done_pages
    cdef Pages single_pages

    def __cinit__(self):
        memset(&self.state, 0, sizeof(State))
        self.event_pages = Pages()
        self.spare_event_pages = Pages()
        self.done_pages = Pages()
        self.spare_done_pages = Pages()
        self.single_pages = Pages()
        self.state.next_order_id = 1
        self.state.next_execution_id = 1
        self.state.writers_max = WRITERS_EARLY
        self.state.writers = <WriterMark*>reserve(WRITERS_MOST, sizeof(WriterMark))
        self.state.tap_done = True
        self.state.tap_tops = True
        self.state.tap_depth = True

    def __dealloc__(self):
        release_arenas(&self.state)

    # Commands

    def apply(self, commands, int64_t log_time_ns=0, int64_t writer_time_ns=0, bytes writer=None, uint64_t number=0):
        """Applies one batch (n x 192 bytes) and returns its events (numpy, dtype EVENT).

        None: this writer's batch was applied before. Raises UnknownCommand or WriterGap before anything is applied.
        Times are nanoseconds; writer is 16 bytes, its batches are numbered from 1.
        """
        cdef State* s = &self.state
        cdef Py_buffer view
        cdef WriterMark* mark = NULL
        PyObject_GetBuffer(commands, &view, PyBUF_SIMPLE)
        try:
            check_batch(&view)
            if writer is not None:
                if len(writer) != 16:
                    raise ValueError("a writer's id is 16 bytes")
                mark = find_writer(s, writer)
                if number <= (0 if mark == NULL else mark.number):
                    return None
                if number != (1 if mark == NULL else mark.number + 1):
                    raise WriterGap(f"batch {number} after {0 if mark == NULL else mark.number}")
                if mark == NULL:
                    mark = admit_writer(s, writer)
            self.begin()
            s.batches += 1
            if mark != NULL:
                mark.number = number
                mark.batch = s.batches
            with nogil:
                advance_time(s, log_time_ns, writer_time_ns)
                run_batch(s, <const Command*>view.buf, view.len // sizeof(Command))
                hash_events(s)
            self.finish()
        finally:
            PyBuffer_Release(&view)
        return np.frombuffer(self.event_pages, EVENT) if s.events_count else NO_EVENTS

    cdef void begin(self):
        # Each batch writes to the pages that nobody holds an array on; the caller usually still holds the last one.
        cdef Pages pages
        pages = self.spare_event_pages if Py_REFCNT(self.spare_event_pages) == 1 else Pages()
        self.spare_event_pages = self.event_pages
        self.event_pages = pages
        self.state.events = <Event*>pages.data
        self.state.events_size = pages.capacity
        pages = self.spare_done_pages if Py_REFCNT(self.spare_done_pages) == 1 else Pages()
        self.spare_done_pages = self.done_pages
        self.done_pages = pages
        self.state.done = <OrderRecord*>pages.data
        self.state.done_size = pages.capacity
        self.state.events_count = 0
        self.state.done_count = 0
        self.state.tops_count = 0
        self.state.positions_count = 0

    cdef void finish(self):
        # The buffers may have grown and moved: the pages own them again.
        self.event_pages.data = self.state.events
        self.event_pages.capacity = self.state.events_size
        self.event_pages.size = self.state.events_count * sizeof(Event)
        self.done_pages.data = self.state.done
        self.done_pages.capacity = self.state.done_size
        self.done_pages.size = self.state.done_count * sizeof(OrderRecord)
        self.state.events = NULL
        self.state.done = NULL

    cdef int64_t run_one(self, const Command* c):
        # One command, its events in memory of its own and no taps: its order id, or -Reject.
        cdef State* s = &self.state
        cdef bint tap_done = s.tap_done, tap_tops = s.tap_tops
        cdef Event* e
        s.events = <Event*>self.single_pages.data
        s.events_size = self.single_pages.capacity
        s.events_count = s.done_count = s.tops_count = s.positions_count = 0
        s.tap_done = s.tap_tops = False
        s.batches += 1
        execute(s, c)
        hash_events(s)
        s.tap_done = tap_done
        s.tap_tops = tap_tops
        self.single_pages.data = s.events
        self.single_pages.capacity = s.events_size
        s.events = NULL
        e = <Event*>self.single_pages.data
        return -e.code if e.kind == EVENT_REJECTED else <int64_t>e.order_id

    cdef tuple fills_of_one(self):
        # The taker's fills among the events of run_one.
        cdef Event* events = <Event*>self.single_pages.data
        cdef size_t i, count = self.state.events_count
        cdef Py_ssize_t fills = 0
        cdef tuple result
        cdef object fill
        for i in range(1, count):
            fills += events[i].kind == EVENT_FILL and not events[i].flags & FLAG_MAKER
        if fills == 0:
            return ()
        result = PyTuple_New(fills)
        fills = 0
        for i in range(1, count):
            if events[i].kind == EVENT_FILL and not events[i].flags & FLAG_MAKER:
                fill = (events[i].other_order_id, events[i].price_ticks, events[i].quantity_steps)
                Py_INCREF(fill)
                PyTuple_SET_ITEM(result, fills, fill)
                fills += 1
        return result

    def place(self, uint32_t account, uint32_t market, uint8_t side, uint8_t type, uint8_t time_in_force=0,
              int64_t price_ticks=0, int64_t quantity_steps=0, int64_t stop_price_ticks=0,
              int64_t quote_quantity_units=0):
        """One order, now: (order id, fills), each fill (maker's order id, price_ticks, quantity_steps); or (-Reject, ()).

        The fills are the order's own as a taker and those of the stops it set off. The taps are not filled.
        """
        cdef Command c
        memset(&c, 0, sizeof(Command))
        c.kind = COMMAND_PLACE
        c.account = account
        c.market = market
        c.side = side
        c.type = type
        c.time_in_force = time_in_force
        c.price_ticks = price_ticks
        c.quantity_steps = quantity_steps
        c.stop_price_ticks = stop_price_ticks
        c.quote_quantity_units = quote_quantity_units
        return self.run_one(&c), self.fills_of_one()

    def cancel(self, uint32_t account, uint32_t market, uint64_t order_id):
        """Cancels an order, now: its id, or -Reject."""
        cdef Command c
        memset(&c, 0, sizeof(Command))
        c.kind = COMMAND_CANCEL
        c.account = account
        c.market = market
        c.order_id = order_id
        return self.run_one(&c)

    # Taps of the last batch

    def done(self):
        """Orders that left in the last batch, as they left (dtype ORDER)."""
        return np.frombuffer(self.done_pages, ORDER) if self.state.done_count else NO_ORDERS

    def tops(self):
        """Best prices after each command of the last batch that changed them (dtype TOP)."""
        return array_of(self.state.tops, self.state.tops_count, sizeof(TopRecord), TOP)

    def positions(self):
        """Balances after each command of the last batch, of watched accounts, where touched (dtype POSITION)."""
        return array_of(self.state.positions, self.state.positions_count, sizeof(PositionRecord), POSITION)

    def watch(self, uint32_t account, bint on):
        """Turns the positions tap of an account on or off."""
        if not is_account(&self.state, account):
            raise KeyError(account)
        if bool(self.state.watched[account]) != on:
            self.state.watched[account] = on
            self.state.watched_count += 1 if on else -1

    def tap(self, bint done=True, bint tops=True, bint depth=True):
        """Which taps are filled. They cost time and are no part of the state."""
        self.state.tap_done = done
        self.state.tap_tops = tops
        self.state.tap_depth = depth

    # State

    @property
    def time_ns(self):
        """Kernel time."""
        return self.state.time_ns

    @property
    def sequence(self):
        """Of the last command."""
        return self.state.sequence

    @property
    def rules(self):
        """Version of the rules in force; 0 before CONFIGURE."""
        return self.state.rules

    @property
    def configured(self):
        """Whether CONFIGURE has been applied."""
        return bool(self.state.configured)

    @property
    def event_hash(self):
        """Running hash over all events so far, 16 bytes."""
        return PyBytes_FromStringAndSize(<const char*>self.state.event_hash, 16)

    @property
    def asset_count(self):
        return self.state.asset_count

    @property
    def market_count(self):
        return self.state.market_count

    @property
    def account_count(self):
        return self.state.account_count

    @property
    def open_order_count(self):
        return self.state.open_orders

    def snapshot(self):
        """The whole state as bytes; equal states give equal bytes."""
        cdef Sink sink
        cdef SnapshotHead head
        cdef uint64_t out[2]
        memset(&sink, 0, sizeof(Sink))
        memset(&head, 0, sizeof(SnapshotHead))
        with nogil:
            put(&sink, &head, sizeof(head))
            put_state(&self.state, &sink)
            memcpy(head.magic, b"BHKERNEL", 8)
            head.layout = LAYOUT_VERSION
            head.rules = RULES_VERSION
            head.size = sink.size - sizeof(head)
            hash_bytes(sink.data + sizeof(head), head.size, 0, out)
            memcpy(head.hash, out, 16)
            memcpy(sink.data, &head, sizeof(head))
        try:
            return PyBytes_FromStringAndSize(<const char*>sink.data, sink.size)
        finally:
            free(sink.data)

    def state_hash(self):
        """Hash over all state, 16 bytes."""
        cdef Sink sink
        cdef uint64_t out[2]
        memset(&sink, 0, sizeof(Sink))
        with nogil:
            put_state(&self.state, &sink)
            hash_bytes(sink.data, sink.size, 0, out)
            free(sink.data)
        return PyBytes_FromStringAndSize(<const char*>out, 16)

    @staticmethod
    def restore(data):
        """The exchange that snapshot() gave these bytes. Raises Broken when they are damaged or of another version."""
        cdef Exchange exchange = Exchange()
        cdef Py_buffer view
        cdef Source source
        cdef SnapshotHead head
        cdef uint64_t out[2]
        cdef bint is_whole
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            source.data = <const uint8_t*>view.buf
            source.left = view.len
            if not take(&source, &head, sizeof(head)) or memcmp(head.magic, b"BHKERNEL", 8) != 0:
                raise Broken("these bytes are no snapshot of a kernel")
            if head.layout != LAYOUT_VERSION or head.rules != RULES_VERSION:
                raise Broken(f"snapshot of layout {head.layout}, rules {head.rules}: this build knows others")
            if head.size != source.left:
                raise Broken("the snapshot is cut short")
            with nogil:
                hash_bytes(source.data, source.left, 0, out)
            if memcmp(out, head.hash, 16) != 0:
                raise Broken("the snapshot is damaged")
            with nogil:
                is_whole = take_state(&exchange.state, &source)
            if not is_whole:
                raise Broken("the snapshot contradicts itself")
        finally:
            PyBuffer_Release(&view)
        return exchange

    def audit(self):
        """Checks conservation, locks, books and indexes; raises Broken with what is wrong."""
        cdef const char* wrong
        cdef i128* held = <i128*>calloc(self.state.assets_max + 1, sizeof(i128))
        with nogil:
            wrong = audit_state(&self.state, held)
            free(held)
        if wrong != NULL:
            raise Broken(wrong.decode())

    def writer_number(self, bytes writer):
        """Highest batch number applied of a writer; 0 if it is not known."""
        cdef WriterMark* mark = find_writer(&self.state, writer)
        return 0 if mark == NULL else mark.number

    # Queries

    cdef Market* market_at(self, uint32_t market) except NULL:
        if not is_market(&self.state, market):
            raise KeyError(market)
        return &self.state.markets[market]

    def asset(self, uint32_t asset):
        """An asset's fields."""
        if not is_asset(&self.state, asset):
            raise KeyError(asset)
        cdef Asset* a = &self.state.assets[asset]
        return {"name": text_of(a.name), "decimals": a.decimals, "deposited": big(a.deposited),
                "withdrawn": big(a.withdrawn), "fees": big(a.fees)}

    def totals(self, uint32_t asset):
        """(deposited, withdrawn, fees) of an asset in units, ever."""
        fields = self.asset(asset)
        return fields["deposited"], fields["withdrawn"], fields["fees"]

    def account(self, uint32_t account):
        """An account's fields."""
        if not is_account(&self.state, account):
            raise KeyError(account)
        cdef Account* a = &self.state.accounts[account]
        return {"permissions": a.permissions, "maker_rate_e8": a.maker_rate_e8, "taker_rate_e8": a.taker_rate_e8,
                "trade_group": a.trade_group}

    def market(self, uint32_t market):
        """A market's fields by the names of MarketCommand, and what the kernel derived from them."""
        cdef MarketCommand c
        cdef Market* m = self.market_at(market)
        describe_market(m, &c)
        row = np.frombuffer(PyBytes_FromStringAndSize(<const char*>&c, sizeof(c)), dtype=records.MARKET)[0]
        fields = {name: row[name].item() for name, code in records.MARKET_FIELDS if code[0] != "V" and name != "kind"}
        fields["quote_factor"] = m.quote_factor
        fields["last_price_ticks"] = m.last_price_ticks
        fields["next_trade_id"] = m.next_trade_id
        fields["update_id"] = m.update_id
        return fields

    def balance(self, uint32_t account, uint32_t asset):
        """(free, locked) in units."""
        if not is_account(&self.state, account) or not is_asset(&self.state, asset):
            raise KeyError((account, asset))
        cdef Balance* b = &self.state.assets[asset].balances[account]
        return b.free, b.locked

    def balances(self, uint32_t account):
        """[(asset, free, locked)] of the assets of which it has any."""
        if not is_account(&self.state, account):
            raise KeyError(account)
        cdef uint32_t i
        cdef Balance* b
        cdef list rows = []
        for i in range(1, self.state.asset_count + 1):
            b = &self.state.assets[i].balances[account]
            if b.free or b.locked:
                rows.append((i, b.free, b.locked))
        return rows

    def order(self, uint64_t order_id):
        """An open order (dtype ORDER, length 1), or an empty array."""
        cdef OrderRecord r
        cdef uint32_t slot = find_order(&self.state, order_id) if self.state.configured else 0
        if slot == 0:
            return np.zeros(0, ORDER)
        fill_open_record(&self.state, slot, &r)
        return array_of(&r, 1, sizeof(OrderRecord), ORDER)

    def find(self, uint32_t account, uint32_t market, bytes client_id):
        """Order id of the open order that carries a client id; 0 if none."""
        cdef uint8_t text[36]
        cdef uint32_t slot
        if not self.state.configured or not client_id or len(client_id) > 36:
            return 0
        memset(text, 0, 36)
        memcpy(text, <const char*>client_id, len(client_id))
        slot = find_client(&self.state, account, market, text)
        return self.state.orders[slot].order_id if slot else 0

    def open_orders(self, uint32_t account, uint32_t market=0):
        """An account's open orders (dtype ORDER) by order id; market 0: of all markets."""
        cdef State* s = &self.state
        cdef uint32_t desk, slot
        cdef OrderRecord r
        cdef Sink sink
        if not is_account(s, account):
            raise KeyError(account)
        memset(&sink, 0, sizeof(Sink))
        desk = s.accounts[account].first_desk
        while desk:
            if market == 0 or s.desks[desk].market == market:
                slot = s.desks[desk].first
                while slot:
                    fill_open_record(s, slot, &r)
                    put(&sink, &r, sizeof(r))
                    slot = s.orders[slot].desk_next
            desk = s.desks[desk].next
        rows = array_of(sink.data, sink.size // sizeof(r), sizeof(r), ORDER)
        free(sink.data)
        return rows[np.argsort(rows["order_id"])] if market == 0 else rows

    def book(self, uint32_t market, int queue):
        """A queue of a market, best first, then in queue order: 1 bids, 2 asks, 3 stops above, 4 stops below."""
        cdef State* s = &self.state
        cdef Market* m = self.market_at(market)
        cdef uint32_t index, slot
        cdef OrderRecord r
        cdef Sink sink
        if not 1 <= queue <= QUEUES:
            raise KeyError(queue)
        memset(&sink, 0, sizeof(Sink))
        index = m.queues[queue - 1].best
        while index:
            slot = s.levels[index].head
            while slot:
                fill_open_record(s, slot, &r)
                put(&sink, &r, sizeof(r))
                slot = s.orders[slot].next
            index = level_after(s, &m.queues[queue - 1], s.levels[index].price_ticks)
        rows = array_of(sink.data, sink.size // sizeof(r), sizeof(r), ORDER)
        free(sink.data)
        return rows

    cdef object side_of(self, Market* m, int side, uint32_t limit):
        # Price and quantity of the first levels.
        cdef State* s = &self.state
        cdef uint32_t index = m.queues[side].best, count = 0
        cdef int64_t pair[2]
        cdef Sink sink
        memset(&sink, 0, sizeof(Sink))
        while index and count < limit:
            pair[0] = s.levels[index].price_ticks
            pair[1] = s.levels[index].quantity_steps
            put(&sink, pair, 16)
            count += 1
            index = level_after(s, &m.queues[side], pair[0])
        rows = array_of(sink.data, count * 2, 8, np.int64).reshape(count, 2)
        free(sink.data)
        return rows

    def depth(self, uint32_t market, uint32_t limit):
        """(update id, bids, asks): int64 arrays (n, 2) of price_ticks, quantity_steps, best first."""
        cdef Market* m = self.market_at(market)
        return m.update_id, self.side_of(m, BID, limit), self.side_of(m, ASK, limit)

    def drain_depth(self, uint32_t market):
        """Levels changed since the last drain: (first id, last id, bids, asks), absolute, 0 = gone; None if none."""
        cdef State* s = &self.state
        cdef Market* m = self.market_at(market)
        cdef uint64_t first = m.drained_update_id + 1
        cdef int64_t pair[2]
        cdef uint32_t i, index
        cdef Sink sides[2]
        if m.drained_update_id == m.update_id:
            return None
        memset(sides, 0, sizeof(sides))
        sort_changes(m)
        for i in range(m.changes_count):
            pair[0] = m.changes[i] >> 1
            index = level_at(s, &m.queues[m.changes[i] & 1], pair[0])
            pair[1] = s.levels[index].quantity_steps if index else 0
            put(&sides[m.changes[i] & 1], pair, 16)
        forget_changes(m)
        m.drained_update_id = m.update_id
        bids = array_of(sides[BID].data, sides[BID].size // 8, 8, np.int64).reshape(-1, 2)[::-1]
        asks = array_of(sides[ASK].data, sides[ASK].size // 8, 8, np.int64).reshape(-1, 2)
        free(sides[BID].data)
        free(sides[ASK].data)
        return first, m.update_id, bids, asks

    def update_ids(self, uint32_t market):
        """(last drained, current) update id of a market: they differ while a depth span is open."""
        cdef Market* m = self.market_at(market)
        return m.drained_update_id, m.update_id

    def top(self, uint32_t market):
        """(update id, bid price, bid quantity, ask price, ask quantity); zeros for an empty side."""
        cdef Market* m = self.market_at(market)
        cdef uint32_t bid = m.queues[BID].best, ask = m.queues[ASK].best
        return (m.update_id,
                self.state.levels[bid].price_ticks if bid else 0, self.state.levels[bid].quantity_steps if bid else 0,
                self.state.levels[ask].price_ticks if ask else 0, self.state.levels[ask].quantity_steps if ask else 0)

    def last_price(self, uint32_t market):
        """Of the last trade, in ticks; 0 before the first."""
        return self.market_at(market).last_price_ticks

    def average_price(self, uint32_t market):
        """Of the last average_minutes, in ticks (see RULES.md); 0 before the first trade."""
        return average_price(&self.state, self.market_at(market))

    def dump(self):
        """The canonical state as plain Python objects, for comparison with the plain twin."""
        cdef State* s = &self.state
        cdef uint32_t i
        cdef uint64_t n
        cdef Remembered* r
        digests = []
        for n in range(s.remembered_first, s.remembered_next):
            r = &s.remembered[n % s.digests_max]
            digests.append((r.digest[:16].hex(), r.sequence, r.code, r.order_id, r.expires_ns))
        return {
            "time_ns": s.time_ns, "sequence": s.sequence, "next_order_id": s.next_order_id,
            "next_execution_id": s.next_execution_id,
            "assets": [self.asset(i) for i in range(1, s.asset_count + 1)],
            "accounts": [self.account(i) | {"balances": {a: (f, k) for a, f, k in self.balances(i)}}
                         for i in range(1, s.account_count + 1)],
            "markets": [self.dump_market(i) for i in range(1, s.market_count + 1)],
            "digests": digests,
            "writers": {s.writers[i].writer[:16].hex(): s.writers[i].number for i in range(s.writer_count)},
        }

    def dump_market(self, uint32_t market):
        """One market of dump()."""
        cdef State* s = &self.state
        cdef Market* m = self.market_at(market)
        cdef AverageSlot* a
        cdef int64_t slot
        roll_average(s, m)
        average = []
        for slot in range(m.average_slot + 1 - m.average_minutes, m.average_slot + 1):
            a = &m.average[slot & (AVERAGE_SLOTS - 1)]
            if a.slot == slot and a.steps:
                average.append((slot, big(a.price_steps), big(a.steps)))
        names = [name for name in ORDER.names if name not in ("rest", "reserved")]
        queues = [[dict(zip(names, (row[name].item() for name in names))) for row in self.book(market, q + 1)]
                  for q in range(QUEUES)]
        return {"name": text_of(m.name), "state": m.state, "last_price_ticks": m.last_price_ticks,
                "next_trade_id": m.next_trade_id, "next_prevented_match_id": m.next_prevented_match_id,
                "update_id": m.update_id, "average": average,
                "bids": queues[0], "asks": queues[1], "above": queues[2], "below": queues[3]}


cdef bint is_pair(const Command* c) noexcept nogil:
    # A REPLACE and the PLACE that belongs to it.
    return (c.legs == 2 and c[1].kind == COMMAND_PLACE and c[1].account == c.account and c[1].market == c.market
            and c[1].legs <= 1 and c[1].deadline_ns == 0
            and bidhall_read64(c[1].digest) == 0 and bidhall_read64(&c[1].digest[8]) == 0)


cdef int check_batch(Py_buffer* view) except -1:
    # Known kinds and whole records, before anything is applied.
    cdef const Command* c = <const Command*>view.buf
    cdef size_t i, size = view.len
    if size % sizeof(Command):
        raise UnknownCommand(f"a batch of {view.len} bytes is no whole number of commands")
    for i in range(size // sizeof(Command)):
        if not COMMAND_CONFIGURE <= c[i].kind <= COMMAND_REPLACE:
            raise UnknownCommand(f"command {i} of a batch has kind {c[i].kind}")
        if c[i].kind == COMMAND_REPLACE and (i + 1 == size // sizeof(Command) or not is_pair(&c[i])):
            raise UnknownCommand(f"command {i} of a batch replaces an order, and what follows is not its PLACE")
    return 0
