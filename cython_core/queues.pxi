# SPDX-License-Identifier: Apache-2.0
# Price-ordered queues: the two sides of a book, and the two queues of waiting stops.
#
# A price is a number of at most 42 bits, read as digits of 6 bits. A node of the tree stands for one digit and has a
# bit for each of its 64 children; the children of the last digit are levels. So a price is found in as many steps as
# it has digits (three for a share at 33,000 ticks, four or five for a coin), whatever the size of the book, and the
# next price beyond an emptied one by counting zeros in a handful of words. The last digit's node used last is kept at
# hand: orders come near each other. Within a level orders stand in a list, oldest first.

cdef inline uint32_t new_node(State* s) noexcept nogil:
    cdef uint32_t index = s.node_free
    if index:
        s.node_free = s.nodes[index].child[0]
        s.nodes[index].child[0] = 0
        return index
    index = s.node_used
    s.node_used += 1
    return index


cdef inline void drop_node(State* s, uint32_t index) noexcept nogil:
    # It is empty, so all its children are 0 already; the free list borrows the first.
    s.nodes[index].child[0] = s.node_free
    s.node_free = index


cdef inline uint32_t new_level(State* s) noexcept nogil:
    cdef uint32_t index = s.level_free
    if index:
        s.level_free = s.levels[index].head
        return index
    index = s.level_used
    s.level_used += 1
    return index


cdef void open_queue(State* s, Queue* q, int64_t price_max, bint highest_first) noexcept nogil:
    memset(q, 0, sizeof(Queue))
    q.height = 1
    while price_max >> (6 * q.height):
        q.height += 1
    q.root = new_node(s)
    q.highest_first = highest_first
    q.leaf_key = q.branch_key = -1


cdef uint32_t leaf_at(State* s, Queue* q, int64_t price, bint make) noexcept nogil:
    # The node of the price's last digit; 0 if it does not exist and must not be made.
    cdef uint32_t node = q.root, child
    cdef int shift = 6 * (q.height - 1)
    cdef int digit
    if q.leaf_key == price >> 6:
        return q.leaf
    if q.branch_key == price >> 12:
        node = q.branch
        shift = 6
    while shift > 0:
        if shift == 6:
            q.branch = node
            q.branch_key = price >> 12
        digit = (price >> shift) & 63
        child = s.nodes[node].child[digit]
        if child == 0:
            if not make:
                return 0
            child = new_node(s)
            s.nodes[node].child[digit] = child
            s.nodes[node].bits |= <uint64_t>1 << digit
        node = child
        shift -= 6
    q.leaf = node
    q.leaf_key = price >> 6
    return node


cdef inline uint32_t level_at(State* s, Queue* q, int64_t price) noexcept nogil:
    cdef uint32_t leaf = leaf_at(s, q, price, False)
    return s.nodes[leaf].child[price & 63] if leaf else 0


cdef inline uint32_t level_seen(State* s, Queue* q, int64_t price) noexcept nogil:
    # As level_at, for looking ahead: it leaves the node at hand alone.
    cdef uint32_t node = q.root
    cdef int shift = 6 * (q.height - 1)
    if q.branch_key == price >> 12:
        node = q.branch
        shift = 6
    while shift >= 0 and node:
        node = s.nodes[node].child[(price >> shift) & 63]
        shift -= 6
    return node


cdef inline bint is_better(const Queue* q, int64_t price, int64_t than) noexcept nogil:
    return price > than if q.highest_first else price < than


cdef uint32_t open_level(State* s, Queue* q, int64_t price) noexcept nogil:
    # The level at a price, made if it does not exist.
    cdef uint32_t leaf = leaf_at(s, q, price, True)
    cdef int digit = price & 63
    cdef uint32_t index = s.nodes[leaf].child[digit]
    if index:
        return index
    index = new_level(s)
    memset(&s.levels[index], 0, sizeof(Level))
    s.levels[index].price_ticks = price
    s.nodes[leaf].child[digit] = index
    s.nodes[leaf].bits |= <uint64_t>1 << digit
    q.levels += 1
    if q.best == 0 or is_better(q, price, s.levels[q.best].price_ticks):
        q.best = index
    return index


cdef inline int first_digit(uint64_t bits, bint highest) noexcept nogil:
    return 63 - leading_zeros(bits) if highest else trailing_zeros(bits)


cdef inline uint64_t beyond(int digit, bint highest_first) noexcept nogil:
    # The children that come after `digit` in the queue's order.
    if highest_first:
        return (<uint64_t>1 << digit) - 1
    return 0 if digit == 63 else ~<uint64_t>0 << (digit + 1)


cdef uint32_t level_after(State* s, Queue* q, int64_t price) noexcept nogil:
    # The first level behind a price; 0: none. The price itself need not have a level.
    cdef uint32_t path[8]
    cdef int depth = 0, digit
    cdef int shift = 6 * (q.height - 1)
    cdef uint32_t child
    cdef uint64_t bits
    path[0] = q.root
    while shift > 0:
        child = s.nodes[path[depth]].child[(price >> shift) & 63]
        if child == 0:
            break
        depth += 1
        path[depth] = child
        shift -= 6
    while True:
        bits = s.nodes[path[depth]].bits & beyond((price >> shift) & 63, q.highest_first)
        if bits:
            break
        if depth == 0:
            return 0
        depth -= 1
        shift += 6
    child = s.nodes[path[depth]].child[first_digit(bits, q.highest_first)]
    while shift > 0:
        shift -= 6
        digit = first_digit(s.nodes[child].bits, q.highest_first)
        child = s.nodes[child].child[digit]
    return child


cdef void prune(State* s, Queue* q, int64_t price) noexcept nogil:
    # Takes out the nodes above a price whose last digit's node has become empty.
    cdef uint32_t path[8]
    cdef int depth = 0, digit
    cdef int shift = 6 * (q.height - 1)
    path[0] = q.root
    while shift > 0:
        path[depth + 1] = s.nodes[path[depth]].child[(price >> shift) & 63]
        depth += 1
        shift -= 6
    q.leaf_key = q.branch_key = -1
    while depth > 0 and s.nodes[path[depth]].bits == 0:
        drop_node(s, path[depth])
        depth -= 1
        shift += 6
        digit = (price >> shift) & 63
        s.nodes[path[depth]].child[digit] = 0
        s.nodes[path[depth]].bits &= ~(<uint64_t>1 << digit)


cdef void close_level(State* s, Queue* q, uint32_t index) noexcept nogil:
    cdef int64_t price = s.levels[index].price_ticks
    cdef uint32_t leaf = leaf_at(s, q, price, False)
    cdef int digit = price & 63
    cdef uint64_t bits
    s.nodes[leaf].child[digit] = 0
    s.nodes[leaf].bits &= ~(<uint64_t>1 << digit)
    q.levels -= 1
    if q.best == index:
        bits = s.nodes[leaf].bits & beyond(digit, q.highest_first)
        if bits:
            q.best = s.nodes[leaf].child[first_digit(bits, q.highest_first)]
        else:
            q.best = level_after(s, q, price) if q.levels else 0
    if s.nodes[leaf].bits == 0 and q.height > 1:
        prune(s, q, price)
    s.levels[index].head = s.level_free
    s.level_free = index


cdef inline int64_t shown(State* s, uint32_t slot) noexcept nogil:
    # What an order adds to its level: all that remains, of an iceberg what it shows.
    if unlikely(s.orders[slot].extras & EXTRA_ICEBERG):
        return s.extras[slot].shown_steps
    return s.orders[slot].remaining_steps


cdef inline int64_t standing(State* s, const Market* m, uint32_t index) noexcept nogil:
    # All that there is at a level of the book, shown and hidden.
    return s.levels[index].quantity_steps + (s.hidden[index] if unlikely(m.icebergs != 0) else 0)


cdef inline void join_queue(State* s, Queue* q, uint32_t slot, int64_t price) noexcept nogil:
    # Puts an order at the end of its price.
    cdef uint32_t index = open_level(s, q, price)
    cdef Level* level = &s.levels[index]
    cdef Order* o = &s.orders[slot]
    o.level = index
    o.next = 0
    o.prev = level.tail
    if level.tail:
        s.orders[level.tail].next = slot
    else:
        level.head = slot
    level.tail = slot
    level.orders += 1
    level.quantity_steps += shown(s, slot)


cdef inline void leave_queue(State* s, Queue* q, uint32_t slot) noexcept nogil:
    cdef Order* o = &s.orders[slot]
    cdef uint32_t index = o.level
    cdef Level* level = &s.levels[index]
    level.quantity_steps -= shown(s, slot)
    level.orders -= 1
    if level.orders == 0:
        close_level(s, q, index)
        return
    if o.prev:
        s.orders[o.prev].next = o.next
    else:
        level.head = o.next
    if o.next:
        s.orders[o.next].prev = o.prev
    else:
        level.tail = o.prev
