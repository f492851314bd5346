# SPDX-License-Identifier: Apache-2.0
# Arenas, checks and hashing: what every other file of the kernel stands on.
#
# An arena is address space reserved for as many records as the log's limits allow; the system gives it pages as they
# are first touched, all zero. So there is no allocation while commands run, an index is for ever, and an idle exchange
# is small. The buffers of events and taps are the exception: they grow, because one command can sweep a whole book.

cdef extern from *:
    """
    #include <stdio.h>
    #include <stdlib.h>
    #include <string.h>
    #include <stdint.h>
    #include <sys/mman.h>
    /* A broken invariant stops the process: being down is better than being wrong. `assert` would be compiled out. */
    static __attribute__((noinline, cold, noreturn)) void bidhall_fail(const char *what, int line) {
        fprintf(stderr, "bidhall: kernel check failed: %s (line %d)\\n", what, line);
        fflush(stderr);
        abort();
    }
    #define CHECK(condition, what) do { if (__builtin_expect(!(condition), 0)) bidhall_fail(what, __LINE__); } while (0)
    #define PREFETCH(address) __builtin_prefetch((const void *)(address), 1, 3)
    #define likely(x) __builtin_expect(!!(x), 1)
    #define unlikely(x) __builtin_expect(!!(x), 0)
    #ifdef BIDHALL_DEBUG
    #define DEBUG_BUILD 1
    #else
    #define DEBUG_BUILD 0
    #endif
    static void *bidhall_reserve(size_t bytes) {
        void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED) return NULL;
        if (bytes >= (8u << 20)) madvise(p, bytes, MADV_HUGEPAGE);
        return p;
    }
    static inline uint64_t bidhall_read64(const uint8_t *p) { uint64_t v; memcpy(&v, p, 8); return v; }
    static inline uint32_t bidhall_read32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return v; }
    static inline uint64_t bidhall_fold(uint64_t a, uint64_t b) {
        unsigned __int128 product = (unsigned __int128)a * b;
        return (uint64_t)product ^ (uint64_t)(product >> 64);
    }
    static inline uint64_t bidhall_turn(uint64_t x, int bits) { return (x << bits) | (x >> (64 - bits)); }
    """
    void CHECK(bint condition, const char* what) noexcept nogil
    void PREFETCH(const void* address) noexcept nogil
    bint likely(bint condition) noexcept nogil
    bint unlikely(bint condition) noexcept nogil
    const bint DEBUG_BUILD
    void* bidhall_reserve(size_t size) noexcept nogil
    uint64_t bidhall_read64(const uint8_t* p) noexcept nogil
    uint32_t bidhall_read32(const uint8_t* p) noexcept nogil
    uint64_t bidhall_fold(uint64_t a, uint64_t b) noexcept nogil
    uint64_t bidhall_turn(uint64_t x, int bits) noexcept nogil
    bint multiply_overflows "__builtin_mul_overflow"(int64_t a, int64_t b, int64_t* result) noexcept nogil
    int leading_zeros "__builtin_clzll"(uint64_t x) noexcept nogil
    int trailing_zeros "__builtin_ctzll"(uint64_t x) noexcept nogil

cdef enum:
    GROWTH_MIN = 4096

# Odd constants with as many ones as zeros, for the hashes below.
cdef uint64_t MIX_1 = 0x9E3779B97F4A7C15ULL
cdef uint64_t MIX_2 = 0xC2B2AE3D27D4EB4FULL
cdef uint64_t MIX_3 = 0x165667B19E3779F9ULL
cdef uint64_t MIX_4 = 0xD6E8FEB86659FD93ULL


cdef inline void* reserve(size_t count, size_t size) noexcept nogil:
    cdef void* arena = bidhall_reserve(count * size)
    CHECK(arena != NULL, "no address space for the limits of this log")
    return arena


cdef inline void* grown(void* buffer, size_t* capacity, size_t size) noexcept nogil:
    # A buffer twice as large, with what was in it.
    capacity[0] = GROWTH_MIN if capacity[0] == 0 else capacity[0] * 2
    buffer = realloc(buffer, capacity[0] * size)
    CHECK(buffer != NULL, "out of memory for the events of a batch")
    return buffer


cdef void hash_bytes(const uint8_t* data, size_t size, uint64_t seed, uint64_t* out) noexcept nogil:
    # 128 bits over `size` bytes: two lanes of multiply and fold, 32 bytes a step, each lane keeping its own past beside
    # the product, so that a product of zero forgets nothing. It tells replicas and damaged bytes apart; it is no seal
    # against somebody who chooses the bytes.
    cdef uint64_t a = seed ^ MIX_1, b = (<uint64_t>size * MIX_2) ^ seed
    cdef uint64_t x, y
    cdef uint8_t tail[32]
    while size >= 32:
        x = bidhall_read64(data)
        y = bidhall_read64(data + 8)
        a = bidhall_turn(a, 29) + bidhall_fold(x ^ a, y ^ MIX_3) + x
        x = bidhall_read64(data + 16)
        y = bidhall_read64(data + 24)
        b = bidhall_turn(b, 31) + bidhall_fold(x ^ b, y ^ MIX_4) + x
        data += 32
        size -= 32
    if size:
        memset(tail, 0, 32)
        memcpy(tail, data, size)
        hash_bytes_step(tail, &a, &b)
    out[0] = bidhall_fold(a ^ MIX_4, b ^ MIX_1) + a
    out[1] = bidhall_fold(b ^ MIX_2, bidhall_turn(a, 17) ^ MIX_3) + b


cdef inline void hash_bytes_step(const uint8_t* data, uint64_t* a, uint64_t* b) noexcept nogil:
    cdef uint64_t x = bidhall_read64(data), y = bidhall_read64(data + 8)
    a[0] = bidhall_turn(a[0], 29) + bidhall_fold(x ^ a[0], y ^ MIX_3) + x
    x = bidhall_read64(data + 16)
    y = bidhall_read64(data + 24)
    b[0] = bidhall_turn(b[0], 31) + bidhall_fold(x ^ b[0], y ^ MIX_4) + x


cdef inline uint64_t hash_text(uint64_t seed, uint32_t account, uint32_t market, const uint8_t* text) noexcept nogil:
    # Of a client id (36 bytes) within an account and market; keyed, so that nobody outside can fill one slot.
    cdef uint64_t h = bidhall_fold(seed ^ MIX_1, ((<uint64_t>account << 32) | market) ^ MIX_2)
    h ^= bidhall_fold(bidhall_read64(text) ^ seed, bidhall_read64(text + 8) ^ MIX_3)
    h ^= bidhall_fold(bidhall_read64(text + 16) ^ h, bidhall_read64(text + 24) ^ MIX_4)
    return bidhall_fold(h ^ bidhall_read32(text + 32), seed ^ MIX_2)


cdef inline bint is_blank(const uint8_t* text) noexcept nogil:
    return text[0] == 0


cdef uint32_t table_size(uint32_t entries) noexcept nogil:
    # A power of two, at least twice the entries.
    cdef uint32_t size = 1024
    while size < 2 * <uint64_t>entries:
        size *= 2
    return size


cdef void reserve_arenas(State* s) noexcept nogil:
    cdef uint32_t table = table_size(s.orders_max)
    s.assets = <Asset*>reserve(s.assets_max + 1, sizeof(Asset))
    s.markets = <Market*>reserve(s.markets_max + 1, sizeof(Market))
    s.accounts = <Account*>reserve(s.accounts_max + 1, sizeof(Account))
    s.watched = <uint8_t*>reserve(s.accounts_max + 1, 1)
    s.orders = <Order*>reserve(s.orders_max + 16, sizeof(Order))
    s.details = <Detail*>reserve(s.orders_max + 16, sizeof(Detail))
    s.extras = <Extra*>reserve(s.orders_max + 16, sizeof(Extra))
    s.desks = <Desk*>reserve(s.orders_max + 16, sizeof(Desk))
    s.levels = <Level*>reserve(s.orders_max + 16, sizeof(Level))
    s.hidden = <int64_t*>reserve(s.orders_max + 16, sizeof(int64_t))
    # Every level has at most one node a digit to itself, and every queue of a market has its root.
    s.nodes = <Node*>reserve(<size_t>s.orders_max * HEIGHT_MAX + <size_t>s.markets_max * QUEUES + 16, sizeof(Node))
    s.order_table = <uint32_t*>reserve(table, 4)
    s.client_table = <uint32_t*>reserve(table, 4)
    s.table_mask = table - 1
    table = table_size(s.digests_max)
    s.digest_table = <uint32_t*>reserve(table, 4)
    s.digest_mask = table - 1
    s.remembered = <Remembered*>reserve(s.digests_max + 1, sizeof(Remembered))
    s.order_used = s.desk_used = s.level_used = s.node_used = 1


cdef void release_arenas(State* s) noexcept nogil:
    cdef uint32_t i
    cdef uint32_t table = s.table_mask + 1
    free(s.tops)
    free(s.positions)
    free(s.touched)
    free(s.triggered)
    munmap(s.writers, <size_t>WRITERS_MOST * sizeof(WriterMark))
    if not s.configured:
        return
    for i in range(1, s.asset_count + 1):
        munmap(s.assets[i].balances, (<size_t>s.accounts_max + 1) * sizeof(Balance))
    for i in range(1, s.market_count + 1):
        free(s.markets[i].changes)
    munmap(s.assets, (<size_t>s.assets_max + 1) * sizeof(Asset))
    munmap(s.markets, (<size_t>s.markets_max + 1) * sizeof(Market))
    munmap(s.accounts, (<size_t>s.accounts_max + 1) * sizeof(Account))
    munmap(s.watched, <size_t>s.accounts_max + 1)
    munmap(s.orders, (<size_t>s.orders_max + 16) * sizeof(Order))
    munmap(s.details, (<size_t>s.orders_max + 16) * sizeof(Detail))
    munmap(s.extras, (<size_t>s.orders_max + 16) * sizeof(Extra))
    munmap(s.hidden, (<size_t>s.orders_max + 16) * sizeof(int64_t))
    munmap(s.desks, (<size_t>s.orders_max + 16) * sizeof(Desk))
    munmap(s.levels, (<size_t>s.orders_max + 16) * sizeof(Level))
    munmap(s.nodes, (<size_t>s.orders_max * HEIGHT_MAX + <size_t>s.markets_max * QUEUES + 16) * sizeof(Node))
    munmap(s.order_table, <size_t>table * 4)
    munmap(s.client_table, <size_t>table * 4)
    munmap(s.digest_table, (<size_t>s.digest_mask + 1) * 4)
    munmap(s.remembered, (<size_t>s.digests_max + 1) * sizeof(Remembered))
