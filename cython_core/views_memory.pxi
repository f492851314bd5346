# SPDX-License-Identifier: Apache-2.0
# What the views are kept in: rings of records in blocks, hash tables over them, and wide sums.
#
# A ring numbers its records for ever (0, 1, 2 …) and holds the newest of them, `limit` at most, in blocks that are
# allocated when first written and freed when the last of their records has left. A record never moves and, but for the
# newest candle of a ring, never changes. So a snapshot only has to hold on to the blocks (they count their holders):
# a thread writes them to disk while the loop goes on, and nothing is copied meanwhile.

cdef extern from *:
    """
    #include <stdlib.h>
    #include <string.h>
    #include <sys/mman.h>
    typedef __int128 bidhall_wide;
    static inline uint64_t bidhall_wide_low(bidhall_wide v) { return (uint64_t)v; }
    static inline int64_t bidhall_wide_high(bidhall_wide v) { return (int64_t)(v >> 64); }
    static inline uint64_t bidhall_stir(uint64_t a, uint64_t b) {
        unsigned __int128 product = (unsigned __int128)a * b;
        return (uint64_t)product ^ (uint64_t)(product >> 64);
    }
    /* Pages come, all zero, when they are first touched: a table that nobody fills costs nothing. Large ones, where the
       system has them, make random access cheaper, and the fork that writes a snapshot. */
    #define BIDHALL_LARGE ((size_t)2 << 20)
    static void *bidhall_pages(size_t bytes) {
        size_t slack = bytes >= BIDHALL_LARGE ? BIDHALL_LARGE : 0, before;
        size_t whole = (bytes + 4095) / 4096 * 4096;
        char *p = (char *)mmap(NULL, whole + slack, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == (char *)MAP_FAILED) return NULL;
        if (!slack) return p;
        before = (BIDHALL_LARGE - (size_t)p % BIDHALL_LARGE) % BIDHALL_LARGE;
        if (before) munmap(p, before);
        if (before < slack) munmap(p + before + whole, slack - before);
    #ifdef MADV_HUGEPAGE
        (void)madvise(p + before, whole, MADV_HUGEPAGE);
    #endif
        return p + before;
    }
    #define BIDHALL_PREFETCH(address) __builtin_prefetch((const void *)(address), 1, 3)
    #define BIDHALL_RARE(x) __builtin_expect(!!(x), 0)
    """
    ctypedef long long wide "bidhall_wide"
    uint64_t wide_low "bidhall_wide_low"(wide v) noexcept nogil
    int64_t wide_high "bidhall_wide_high"(wide v) noexcept nogil
    uint64_t stir "bidhall_stir"(uint64_t a, uint64_t b) noexcept nogil
    void* pages "bidhall_pages"(size_t size) noexcept nogil
    void prefetch "BIDHALL_PREFETCH"(const void* address) noexcept nogil
    bint rare "BIDHALL_RARE"(bint condition) noexcept nogil
    int munmap(void* address, size_t size) noexcept nogil

cdef enum:               # what a C function of the views answers
    FINE = 0
    NO_MEMORY = -1       # the view closes
    LOST_TRADE = -2      # trade ids of a market must grow by one: events were lost or came twice
    BROKEN_PAIR = -3     # a taker's fill must be followed by its maker's

cdef enum:
    LARGE_BYTES = 1 << 20    # a larger block gets pages of its own

cdef struct Block:       # `items` records follow it
    int64_t holders      # the ring, and every snapshot being written; changed under the GIL only
    size_t mapped        # bytes, when it has pages of its own; 0: from malloc
    uint8_t data[16]     # records may hold wide sums, which must lie at multiples of 16 bytes

cdef struct Ring:
    Block** blocks
    uint64_t head        # number of the next record
    uint64_t tail        # number of the oldest record held
    uint64_t limit       # records held at most
    uint64_t mask        # of a record's number: its slot
    uint32_t size        # bytes of a record
    uint32_t shift       # a block holds 1 << shift records
    uint32_t block_count
    Block* spare         # the block that left last: a full ring needs one for every one that leaves

cdef struct TableEntry:
    uint32_t tag         # upper bits: home of the entry; the others tell most strangers apart
    uint32_t value       # slot + 1; 0: empty

# Open addressing, linear probing, never more than half full. It holds slots only; the keys are in the records.
cdef struct Table:
    TableEntry* entries
    uint32_t mask
    uint32_t shift       # tag >> shift = home
    uint32_t used


cdef uint64_t power_of_two(uint64_t at_least) noexcept nogil:
    cdef uint64_t size = 1
    while size < at_least:
        size *= 2
    return size


cdef uint32_t block_shift(uint64_t limit, uint32_t most) noexcept nogil:
    # Blocks of 2^most records, smaller ones for a small ring: what has left is freed a block at a time.
    while most > 4 and (4ULL << most) > limit:
        most -= 1
    return most


cdef void ring_plan(Ring* ring, uint32_t size, uint64_t limit, uint32_t shift) noexcept nogil:
    # Allocates nothing: a market that never trades costs its description.
    memset(ring, 0, sizeof(Ring))
    ring.size = size
    ring.limit = limit
    ring.shift = shift
    ring.mask = power_of_two(limit + (1 << shift)) - 1
    ring.block_count = <uint32_t>((ring.mask + 1) >> shift)


cdef inline uint8_t* ring_at(const Ring* ring, uint64_t number) noexcept nogil:
    # Of a record's number or slot.
    cdef uint64_t slot = number & ring.mask
    cdef Block* block = ring.blocks[slot >> ring.shift]
    return block.data + (slot & ((1ULL << ring.shift) - 1)) * ring.size


cdef inline uint64_t ring_number(const Ring* ring, uint32_t slot) noexcept nogil:
    # The number of the record that is in a slot now.
    return ring.head - 1 - ((ring.head - 1 - slot) & ring.mask)


cdef inline uint64_t ring_count(const Ring* ring) noexcept nogil:
    return ring.head - ring.tail


cdef void block_release(Block* block) noexcept nogil:
    if block == NULL:
        return
    block.holders -= 1
    if block.holders == 0:
        if block.mapped:
            munmap(block, block.mapped)
        else:
            free(block)


cdef int ring_new_block(Ring* ring, uint64_t number) noexcept nogil:
    cdef Block* block
    cdef size_t size
    cdef uint64_t place = (number & ring.mask) >> ring.shift
    if ring.blocks == NULL:
        ring.blocks = <Block**>calloc(ring.block_count, sizeof(Block*))
        if ring.blocks == NULL:
            return NO_MEMORY
    block = ring.spare
    ring.spare = NULL
    if block == NULL:
        size = 2 * sizeof(int64_t) + (<size_t>ring.size << ring.shift)
        block = <Block*>(pages(size) if size > LARGE_BYTES else malloc(size))
        if block == NULL:
            return NO_MEMORY
        block.mapped = size if size > LARGE_BYTES else 0
    block.holders = 1
    ring.blocks[place] = block
    return FINE


cdef inline uint8_t* ring_push(Ring* ring) noexcept nogil:
    # Room for the next record (NULL: no memory). The caller has made room by ring_drop when the ring was full.
    cdef uint64_t number = ring.head
    if rare((number & ((1ULL << ring.shift) - 1)) == 0 or ring.blocks == NULL):
        if ring_new_block(ring, number) != FINE:
            return NULL
    ring.head = number + 1
    return ring_at(ring, number)


cdef inline void ring_drop(Ring* ring) noexcept nogil:
    # The oldest record leaves.
    cdef uint64_t place
    ring.tail += 1
    if rare((ring.tail & ((1ULL << ring.shift) - 1)) == 0):
        place = ((ring.tail - 1) & ring.mask) >> ring.shift
        if ring.spare == NULL and ring.blocks[place].holders == 1:
            ring.spare = ring.blocks[place]
        else:
            block_release(ring.blocks[place])
        ring.blocks[place] = NULL


cdef inline uint8_t* ring_append(Ring* ring) noexcept nogil:
    # For rings that nothing points into.
    if ring.head - ring.tail >= ring.limit:
        ring_drop(ring)
    return ring_push(ring)


cdef void ring_free(Ring* ring) noexcept nogil:
    cdef uint32_t i
    if ring.blocks != NULL:
        for i in range(ring.block_count):
            block_release(ring.blocks[i])
        free(ring.blocks)
        ring.blocks = NULL
    block_release(ring.spare)
    ring.spare = NULL
    ring.head = ring.tail = 0


cdef int ring_fill(Ring* ring, uint64_t tail, uint64_t head, const uint8_t* data) noexcept nogil:
    # What a snapshot held: the newest records of it that the ring has room for.
    cdef uint64_t number, count, first = tail
    if head - tail > ring.limit:
        first = head - ring.limit
    ring.tail = number = first
    ring.head = head
    while number < head:
        if ring_new_block(ring, number) != FINE:
            return NO_MEMORY
        count = (1ULL << ring.shift) - (number & ((1ULL << ring.shift) - 1))
        count = min(count, head - number)
        memcpy(ring_at(ring, number), data + (number - tail) * ring.size, count * ring.size)
        number += count
    return FINE


cdef int table_plan(Table* table, uint64_t limit) noexcept nogil:
    cdef uint64_t size = power_of_two(max(2 * limit, <uint64_t>1024))
    table.entries = <TableEntry*>pages(size * sizeof(TableEntry))
    table.mask = <uint32_t>(size - 1)
    table.shift = 32
    table.used = 0
    while size > 1:
        size >>= 1
        table.shift -= 1
    return FINE if table.entries != NULL else NO_MEMORY


cdef void table_free(Table* table) noexcept nogil:
    if table.entries != NULL:
        munmap(table.entries, (<size_t>table.mask + 1) * sizeof(TableEntry))
        table.entries = NULL


cdef inline void table_add(Table* table, uint32_t tag, uint32_t slot) noexcept nogil:
    # A key that is not there yet.
    cdef uint32_t i = tag >> table.shift
    while table.entries[i].value != 0:
        i = (i + 1) & table.mask
    table.entries[i].tag = tag
    table.entries[i].value = slot + 1
    table.used += 1


cdef inline TableEntry* table_entry(Table* table, uint32_t tag, uint32_t slot) noexcept nogil:
    # The entry that holds this very slot, or NULL.
    cdef uint32_t i = tag >> table.shift
    while table.entries[i].value != 0:
        if table.entries[i].value == slot + 1:
            return &table.entries[i]
        i = (i + 1) & table.mask
    return NULL


cdef inline void table_remove(Table* table, TableEntry* entry) noexcept nogil:
    # Entries behind the gap move up when that brings them no further than their home.
    cdef uint32_t gap = <uint32_t>(entry - table.entries)
    cdef uint32_t i = gap, home
    while True:
        i = (i + 1) & table.mask
        if table.entries[i].value == 0:
            break
        home = table.entries[i].tag >> table.shift
        if ((i - home) & table.mask) >= ((i - gap) & table.mask):
            table.entries[gap] = table.entries[i]
            gap = i
    table.entries[gap].value = 0
    table.used -= 1


cdef inline object wide_int(wide value):
    cdef int64_t high = wide_high(value)
    cdef uint64_t low = wide_low(value)
    if high == 0:
        return low
    return (<object>high << 64) | low
