# SPDX-License-Identifier: Apache-2.0
# The first results of signed commands, kept as long as the kernel keeps their digests: a repeat is answered with them.

cdef struct First:           # of one command that carried a digest; ascending by sequence
    uint64_t sequence
    int64_t time_ns
    uint64_t event           # number of its first event in the ring
    uint64_t order           # number of its first done order in the ring
    uint32_t events
    uint32_t orders

cdef enum:
    DIGEST_OFFSET = 72       # within a command
    COMMAND_SIZE = 192


cdef inline bint has_digest(const uint8_t* command) noexcept nogil:
    cdef uint64_t words[2]
    if command[0] == COMMAND_CONFIGURE or command[0] == COMMAND_MARKET or command[0] == COMMAND_NOTE:
        return False         # they have other fields in its place
    memcpy(words, command + DIGEST_OFFSET, 16)
    return (words[0] | words[1]) != 0


cdef class Results:
    """What signed commands gave, by sequence: bounded by count and by age of kernel time."""
    cdef Ring firsts
    cdef Ring events
    cdef Ring orders
    cdef int64_t age_ns_max

    def __cinit__(self, *, uint64_t commands_max=1 << 18, uint64_t events_max=1 << 19, int64_t age_ns_max=62_000_000_000):
        commands_max = max(commands_max, <uint64_t>1)
        events_max = max(events_max, <uint64_t>1)
        ring_plan(&self.firsts, sizeof(First), commands_max, block_shift(commands_max, 12))
        ring_plan(&self.events, sizeof(Event), events_max, block_shift(events_max, 12))
        ring_plan(&self.orders, sizeof(OrderRecord), events_max, block_shift(events_max, 11))
        self.age_ns_max = age_ns_max

    def __dealloc__(self):
        self.clear()

    def clear(self):
        """Forgets everything."""
        ring_free(&self.firsts)
        ring_free(&self.events)
        ring_free(&self.orders)

    def __len__(self):
        return ring_count(&self.firsts)

    cdef void drop(self) noexcept:
        cdef First* first = <First*>ring_at(&self.firsts, self.firsts.tail)
        cdef uint32_t i
        for i in range(first.events):
            ring_drop(&self.events)
        for i in range(first.orders):
            ring_drop(&self.orders)
        ring_drop(&self.firsts)

    cdef int copy(self, Ring* ring, const uint8_t* records, uint32_t count) except -1:
        cdef uint32_t i
        cdef uint8_t* room
        for i in range(count):
            room = ring_push(ring)
            if room == NULL:
                raise MemoryError
            memcpy(room, records + <size_t>i * ring.size, ring.size)
        return 0

    cdef int add(
        self, uint64_t sequence, int64_t time_ns, const Event* events, uint32_t event_count,
        const OrderRecord* orders, uint32_t order_count,
    ) except -1:
        cdef First* first
        if event_count > self.events.limit // 4 or order_count > self.orders.limit // 4:
            return 0    # one sweep shall not push everybody else out; its repeat is answered from the order itself
        while ring_count(&self.firsts) and (
            ring_count(&self.firsts) >= self.firsts.limit
            or ring_count(&self.events) + event_count > self.events.limit
            or ring_count(&self.orders) + order_count > self.orders.limit
        ):
            self.drop()
        first = <First*>ring_push(&self.firsts)
        if first == NULL:
            raise MemoryError
        first.sequence = sequence
        first.time_ns = time_ns
        first.event = self.events.head
        first.order = self.orders.head
        first.events = event_count
        first.orders = order_count
        self.copy(&self.events, <const uint8_t*>events, event_count)
        self.copy(&self.orders, <const uint8_t*>orders, order_count)
        return 0

    def keep(self, commands, events, done, uint64_t first_sequence, int64_t time_ns):
        """Remembers what the commands of a batch that carry a digest gave."""
        cdef Records c = Records(commands, COMMAND_SIZE)
        cdef Records e = Records(events, sizeof(Event))
        cdef Records d = Records(done, sizeof(OrderRecord))
        cdef const Event* event = <const Event*>e.data
        cdef const OrderRecord* order = <const OrderRecord*>d.data
        cdef size_t i, at = 0, end, order_at = 0, order_end
        cdef uint64_t sequence, next_sequence
        while ring_count(&self.firsts) and (
            time_ns - (<First*>ring_at(&self.firsts, self.firsts.tail)).time_ns > self.age_ns_max
        ):
            self.drop()
        for i in range(c.count):
            if not has_digest(c.data + i * COMMAND_SIZE):
                continue
            sequence = first_sequence + i
            next_sequence = sequence + (2 if c.data[i * COMMAND_SIZE] == COMMAND_REPLACE else 1)  # with its PLACE
            at = first_event(event, at, e.count, sequence)
            end = first_event(event, at, e.count, next_sequence)
            order_at = first_order(order, order_at, d.count, sequence)
            order_end = first_order(order, order_at, d.count, next_sequence)
            if end > at and event[at].kind != EVENT_REPEATED:
                self.add(sequence, time_ns, event + at, end - at, order + order_at, order_end - order_at)

    def find(self, uint64_t sequence):
        """(time_ns, its EVENT records, its done ORDER records) of a command, or None."""
        cdef uint64_t low = self.firsts.tail, high = self.firsts.head, middle, i
        cdef First* first
        cdef bytearray events = bytearray(), orders = bytearray()
        while low < high:
            middle = (low + high) // 2
            if (<First*>ring_at(&self.firsts, middle)).sequence < sequence:
                low = middle + 1
            else:
                high = middle
        if low == self.firsts.head:
            return None
        first = <First*>ring_at(&self.firsts, low)
        if first.sequence != sequence:
            return None
        for i in range(first.events):
            events += (<char*>ring_at(&self.events, first.event + i))[:sizeof(Event)]
        for i in range(first.orders):
            orders += (<char*>ring_at(&self.orders, first.order + i))[:sizeof(OrderRecord)]
        return first.time_ns, bytes(events), bytes(orders)

    def cut(self):
        """This moment's state, for a thread that writes a snapshot."""
        cdef Cut cut = Cut()
        cut.add_bytes(b"BHFIRST\x01")
        cut.add_ring(&self.firsts, False)
        cut.add_ring(&self.events, False)
        cut.add_ring(&self.orders, False)
        return cut

    def snapshot(self):
        """The state as bytes."""
        return b"".join(self.cut().pieces())

    def load(self, data):
        """Takes the state that `snapshot` or a cut gave; what is more than fits now leaves, oldest first."""
        cdef Reader reader = Reader(data)
        self.clear()
        if reader.take(8)[:8] != b"BHFIRST\x01":
            raise ValueError("not a snapshot of results of version 1")
        reader.ring(&self.firsts)
        reader.ring(&self.events)
        reader.ring(&self.orders)
        while ring_count(&self.firsts) and (
            (<First*>ring_at(&self.firsts, self.firsts.tail)).event < self.events.tail
            or (<First*>ring_at(&self.firsts, self.firsts.tail)).order < self.orders.tail
        ):
            ring_drop(&self.firsts)
