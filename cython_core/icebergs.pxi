# SPDX-License-Identifier: Apache-2.0
# Icebergs on the book, and the few orders that need more than an Order and a Detail.
#
# An iceberg shows a part of itself. Its level counts that part; what it hides is summed beside the levels (State.hidden),
# and only while its market has icebergs is that sum looked at, so that other markets pay nothing.

cdef inline Extra* extra_of(State* s, uint32_t slot, uint8_t flag) noexcept nogil:
    # An order's Extra, for writing; clean when it is its first use.
    if s.orders[slot].extras == 0:
        memset(&s.extras[slot], 0, sizeof(Extra))
    s.orders[slot].extras |= flag
    return &s.extras[slot]


cdef inline bint is_iceberg(State* s, uint32_t slot) noexcept nogil:
    return unlikely(s.orders[slot].extras & EXTRA_ICEBERG)


cdef inline int64_t smaller(int64_t a, int64_t b) noexcept nogil:
    return a if a < b else b


cdef void surface(State* s, uint32_t slot) noexcept nogil:
    # Before an iceberg joins the book: it shows its part.
    cdef Extra* x = &s.extras[slot]
    x.shown_steps = smaller(x.iceberg_steps, s.orders[slot].remaining_steps)


cdef void count_hidden(State* s, Market* m, uint32_t slot, int sign) noexcept nogil:
    # An iceberg has joined its level, or is about to leave it.
    m.icebergs += sign
    s.hidden[s.orders[slot].level] += sign * (s.orders[slot].remaining_steps - s.extras[slot].shown_steps)


cdef void refill(State* s, uint32_t slot) noexcept nogil:
    # What it showed is used up: it shows anew, at the end of its level's queue.
    cdef Order* o = &s.orders[slot]
    cdef Level* level = &s.levels[o.level]
    cdef uint32_t index = o.level
    surface(s, slot)
    s.hidden[index] -= s.extras[slot].shown_steps
    level.quantity_steps += s.extras[slot].shown_steps
    if level.tail == slot:
        return
    s.orders[o.next].prev = o.prev
    if o.prev:
        s.orders[o.prev].next = o.next
    else:
        level.head = o.next
    o.next = 0
    o.prev = level.tail
    s.orders[level.tail].next = slot
    level.tail = slot


cdef inline void shorten(State* s, uint32_t slot, int64_t quantity) noexcept nogil:
    # A resting order gives up a quantity in a match: it, its level, and what it shows if it is an iceberg.
    cdef Order* o = &s.orders[slot]
    o.remaining_steps -= quantity
    s.levels[o.level].quantity_steps -= quantity
    if is_iceberg(s, slot):
        s.extras[slot].shown_steps -= quantity
        if s.extras[slot].shown_steps == 0 and o.remaining_steps:
            refill(s, slot)
