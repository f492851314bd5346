# SPDX-License-Identifier: Apache-2.0
# How views leave for a snapshot file and come back.
#
# A cut is what the views were at one moment, taken in microseconds: it holds on to the blocks of every ring and copies
# only what may still change, the newest candle of each ring. A thread then turns it into bytes (`pieces`) while the
# loop goes on. The bytes are the same for the same state. Layout, little endian, records as they lie in memory:
#
#   views    "BHVIEWS" version | sizes of the six records u32 | markets u32 | per market: id u64, 5 fields u64 and six
#            rings | done | fills | done_left u64 | fills_left u64 | slots u64 | of each slot of `left` in use: LeftEntry
#            (version 1 had no sequences in its fills and trades, and nothing behind the rings)
#   results  "BHFIRST" version | firsts | events | done
#   ring     tail u64 | head u64 | (head - tail) records

cdef struct LeftEntry:
    uint64_t slot
    Left left

cdef struct Segment:
    Block* block             # NULL: bytes of the cut's own
    const uint8_t* data
    size_t size

cdef enum:
    PIECE_BYTES = 1 << 20


cdef class Cut:
    """State at one moment, to be turned into bytes by any one thread, once."""
    cdef Segment* segments
    cdef size_t segment_count
    cdef size_t segment_room
    cdef list small          # keeps the own bytes alive

    def __cinit__(self):
        self.small = []

    def __dealloc__(self):
        cdef size_t i
        for i in range(self.segment_count):
            block_release(self.segments[i].block)
        free(self.segments)

    cdef int add(self, Block* block, const uint8_t* data, size_t size) except -1:
        cdef Segment* more
        if size == 0:
            return 0
        if self.segment_count == self.segment_room:
            more = <Segment*>realloc(self.segments, (2 * self.segment_room + 256) * sizeof(Segment))
            if more == NULL:
                raise MemoryError
            self.segments = more
            self.segment_room = 2 * self.segment_room + 256
        if block != NULL:
            block.holders += 1
        self.segments[self.segment_count] = Segment(block, data, size)
        self.segment_count += 1
        return 0

    cdef int add_bytes(self, bytes data) except -1:
        self.small.append(data)
        return self.add(NULL, <const uint8_t*><const char*>data, len(data))

    cdef int add_ring(self, const Ring* ring, bint newest_changes) except -1:
        cdef uint64_t number = ring.tail, count, end = ring.head
        cdef uint64_t heads[2]
        heads[0] = ring.tail
        heads[1] = ring.head
        self.add_bytes((<char*>heads)[:16])
        if newest_changes and end > number:
            end -= 1
        while number < end:
            count = (1ULL << ring.shift) - (number & ((1ULL << ring.shift) - 1))
            count = min(count, end - number)
            self.add(ring.blocks[(number & ring.mask) >> ring.shift], ring_at(ring, number), count * ring.size)
            number += count
        if end < ring.head:
            self.add_bytes((<char*>ring_at(ring, end))[:ring.size])
        return 0

    @property
    def size(self):
        """How many bytes there will be."""
        cdef size_t i, size = 0
        for i in range(self.segment_count):
            size += self.segments[i].size
        return size

    def pieces(self):
        """The bytes, in pieces of a megabyte at most; copies without the GIL."""
        cdef size_t at = 0, offset = 0, filled, take
        cdef bytes piece
        cdef char* room
        while at < self.segment_count:
            piece = PyBytes_FromStringAndSize(NULL, PIECE_BYTES)
            room = piece
            filled = 0
            with nogil:
                while at < self.segment_count and filled < PIECE_BYTES:
                    take = min(self.segments[at].size - offset, PIECE_BYTES - filled)
                    memcpy(room + filled, self.segments[at].data + offset, take)
                    filled += take
                    offset += take
                    if offset == self.segments[at].size:
                        at += 1
                        offset = 0
            yield piece if filled == PIECE_BYTES else piece[:filled]


cdef class Reader:
    """Walks through snapshot bytes; refuses what is too short."""
    cdef const uint8_t* data
    cdef size_t left
    cdef Py_buffer view

    def __cinit__(self, source):
        PyObject_GetBuffer(source, &self.view, PyBUF_SIMPLE)
        self.data = <const uint8_t*>self.view.buf
        self.left = <size_t>self.view.len

    def __dealloc__(self):
        PyBuffer_Release(&self.view)

    cdef const uint8_t* take(self, size_t size) except NULL:
        cdef const uint8_t* at = self.data
        if size > self.left:
            raise ValueError("the snapshot of the views ends too early")
        self.data += size
        self.left -= size
        return at

    cdef const uint8_t* ring(self, Ring* ring, uint64_t* first=NULL) except NULL:
        # Fills a ring; where its records begin in the bytes (`first`: the number of the first of them).
        cdef uint64_t heads[2]
        cdef uint64_t tail, head
        cdef const uint8_t* data
        memcpy(heads, self.take(16), 16)     # nothing in these bytes is aligned
        tail = heads[0]
        head = heads[1]
        if head < tail or (head - tail) > self.left // ring.size:
            raise ValueError("the snapshot of the views holds an impossible ring")
        ring_free(ring)
        if first != NULL:
            first[0] = tail
        data = self.take((head - tail) * ring.size)
        if ring_fill(ring, tail, head, data) != FINE:
            raise MemoryError
        return data
