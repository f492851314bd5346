# SPDX-License-Identifier: Apache-2.0
# What makes a command apply once: the digests of signed requests for their window, and the highest batch number of each
# writer. Both are bounded by numbers in the log.

cdef inline uint32_t digest_home(State* s, const uint8_t* digest) noexcept nogil:
    return <uint32_t>bidhall_fold(bidhall_read64(digest) ^ s.seed, bidhall_read64(digest + 8) ^ MIX_1) & s.digest_mask


cdef inline Remembered* remembered_at(State* s, uint32_t entry) noexcept nogil:
    return &s.remembered[entry - 1]


cdef Remembered* find_digest(State* s, const uint8_t* digest) noexcept nogil:
    cdef uint32_t i = digest_home(s, digest)
    while s.digest_table[i]:
        if memcmp(remembered_at(s, s.digest_table[i]).digest, digest, 16) == 0:
            return remembered_at(s, s.digest_table[i])
        i = (i + 1) & s.digest_mask
    return NULL


cdef void index_digest(State* s, uint32_t entry) noexcept nogil:
    cdef uint32_t i = digest_home(s, remembered_at(s, entry).digest), distance = 0, theirs, other
    while s.digest_table[i]:
        other = s.digest_table[i]
        theirs = (i - digest_home(s, remembered_at(s, other).digest)) & s.digest_mask
        if theirs < distance:
            s.digest_table[i] = entry
            entry = other
            distance = theirs
        i = (i + 1) & s.digest_mask
        distance += 1
    s.digest_table[i] = entry


cdef void unindex_digest(State* s, uint32_t entry) noexcept nogil:
    cdef uint32_t i = digest_home(s, remembered_at(s, entry).digest), next, other
    while s.digest_table[i] != entry:
        CHECK(s.digest_table[i] != 0, "a remembered digest is not in its table")
        i = (i + 1) & s.digest_mask
    while True:
        next = (i + 1) & s.digest_mask
        other = s.digest_table[next]
        if other == 0 or digest_home(s, remembered_at(s, other).digest) == next:
            break
        s.digest_table[i] = other
        i = next
    s.digest_table[i] = 0


cdef void forget_digests(State* s) noexcept nogil:
    # Oldest first, as long as their time is over.
    cdef uint32_t place
    while s.remembered_first < s.remembered_next:
        place = <uint32_t>(s.remembered_first % s.digests_max)
        if s.remembered[place].expires_ns >= s.time_ns:
            return
        unindex_digest(s, place + 1)
        s.remembered_first += 1


cdef void remember_digest(State* s, const Command* c, int code, uint64_t order_id) noexcept nogil:
    cdef uint32_t place = <uint32_t>(s.remembered_next % s.digests_max)
    cdef Remembered* r = &s.remembered[place]
    memcpy(r.digest, c.digest, 16)
    r.sequence = s.sequence
    r.order_id = order_id
    r.code = code
    r.expires_ns = c.deadline_ns if c.deadline_ns else min(s.time_ns, TIME_MAX - DIGEST_KEPT_NS) + DIGEST_KEPT_NS
    s.remembered_next += 1
    index_digest(s, place + 1)


cdef WriterMark* find_writer(State* s, const uint8_t* writer) noexcept nogil:
    cdef uint32_t i
    for i in range(s.writer_count):
        if memcmp(s.writers[i].writer, writer, 16) == 0:
            return &s.writers[i]
    return NULL


cdef WriterMark* admit_writer(State* s, const uint8_t* writer) noexcept nogil:
    # A new writer's place; when all are taken, that of the writer that has been silent the longest.
    cdef uint32_t i, oldest = 0
    if s.writer_count < s.writers_max:
        oldest = s.writer_count
        s.writer_count += 1
    else:
        for i in range(s.writer_count):
            if s.writers[i].batch < s.writers[oldest].batch:
                oldest = i
    memcpy(s.writers[oldest].writer, writer, 16)
    s.writers[oldest].number = 0
    return &s.writers[oldest]
