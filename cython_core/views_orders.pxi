# SPDX-License-Identifier: Apache-2.0
# Of each account: orders that are done and fills, in two rings for all accounts together.
#
# Done orders are found by id, by client id (the newest that had it), and, for pages, by a treap over the order ids of
# each account and market: orders finish in another order than they came. Fills come in order, so each knows the one
# before it of the same account and market, and of the same order, and one further back such that any of a chain is found in
# O(log n) steps (jump pointers after Myers, "An applicative random-access stack", 1983). Nothing is rewritten.
#
# What leaves is found in the history from then on. So that an answer can be proved from memory alone, it is noted of
# each account and market how far what has left reaches (`Left`), and of each ring the command up to which anything has.

cdef struct FillRecord:      # 96 bytes
    uint64_t trade_id
    uint64_t order_id
    int64_t price_ticks
    int64_t quantity_steps
    int64_t fee_units
    int64_t time_ns
    uint32_t account
    uint32_t market
    uint64_t origin          # sequence of the command << 8 | EventFlag
    uint32_t chains[8]       # of the desk (account and market), then of the order: see the enums

cdef enum:                   # distances in records; 0: none
    PREVIOUS = 0             # the fill before it in the chain
    JUMP = 1                 # one further back
    SPAN = 2                 # how many fills of the chain the jump passes
    DEPTH = 3                # place in the chain, from 0
    LINKS = 4

cdef enum:              # chains of fills
    OF_DESK = 0
    OF_ORDER = 1

cdef struct Node:            # of a treap, at the slot of its order
    uint64_t order_id
    uint32_t left            # slot + 1
    uint32_t right

# What has left of the desks that share a slot (which one takes is a matter of its number alone, so it is the same after
# a restart). Desks that share one only make each other ask the history once too often.
cdef struct Left:
    uint64_t order_id        # the highest; 0: none
    int64_t created_ns       # of it, so none that has left was made later
    uint64_t trade_id        # of fills: the highest
    int64_t fill_ns          # the latest

cdef enum:
    LEFT_BITS = 16
    LEFT_SLOTS = 1 << LEFT_BITS

cdef struct Orders:
    uint64_t seed
    uint64_t done_left       # sequence of the newest done order that has left its ring; 0: none has
    uint64_t fills_left      # of the newest fill
    Left* left
    Ring done                # OrderRecord
    Ring fills               # FillRecord
    Node* nodes
    Table done_by_order
    Table done_by_client
    Table done_by_desk       # root of the treap
    Table fill_by_desk       # newest
    Table fill_by_order      # newest


cdef inline uint32_t tag_of(uint64_t seed, uint64_t key) noexcept nogil:
    return <uint32_t>(stir(key ^ seed, 0x9E3779B97F4A7C15ULL) >> 32)


cdef inline uint64_t desk_key(uint32_t account, uint32_t market) noexcept nogil:
    return (<uint64_t>account << 32) | market


cdef inline uint32_t client_tag(uint64_t seed, uint32_t account, uint32_t market, const uint8_t* text) noexcept nogil:
    # Keyed, so that nobody who chooses client ids can fill one place of the table.
    cdef uint64_t words[5]
    cdef uint64_t h = stir(desk_key(account, market) ^ seed, 0x9E3779B97F4A7C15ULL)
    words[4] = 0
    memcpy(words, text, TEXT_BYTES)
    h = stir(words[0] ^ h, words[1] ^ 0xC2B2AE3D27D4EB4FULL ^ seed) + h
    h = stir(words[2] ^ h, words[3] ^ 0x165667B19E3779F9ULL ^ seed) + h
    return <uint32_t>(stir(words[4] ^ h, 0xD6E8FEB86659FD93ULL ^ seed) >> 32)


cdef inline Left* left_of(const Orders* o, uint32_t account, uint32_t market) noexcept nogil:
    return o.left + (stir(desk_key(account, market) ^ 0xC2B2AE3D27D4EB4FULL, 0x9E3779B97F4A7C15ULL) >> (64 - LEFT_BITS))


cdef inline OrderRecord* done_at(const Orders* o, uint64_t number) noexcept nogil:
    return <OrderRecord*>ring_at(&o.done, number)


cdef inline FillRecord* fill_at(const Orders* o, uint64_t number) noexcept nogil:
    return <FillRecord*>ring_at(&o.fills, number)


cdef int orders_plan(Orders* o, uint64_t done_max, uint64_t fills_max, uint64_t seed) noexcept nogil:
    memset(o, 0, sizeof(Orders))
    o.seed = seed
    ring_plan(&o.done, sizeof(OrderRecord), done_max, block_shift(done_max, 16))
    ring_plan(&o.fills, sizeof(FillRecord), fills_max, block_shift(fills_max, 16))
    o.nodes = <Node*>pages((o.done.mask + 1) * sizeof(Node))
    o.left = <Left*>pages(LEFT_SLOTS * sizeof(Left))
    if (
        o.nodes == NULL or o.left == NULL
        or table_plan(&o.done_by_order, done_max) != FINE
        or table_plan(&o.done_by_client, done_max) != FINE
        or table_plan(&o.done_by_desk, done_max) != FINE
        or table_plan(&o.fill_by_desk, fills_max) != FINE
        or table_plan(&o.fill_by_order, fills_max) != FINE
    ):
        return NO_MEMORY
    return FINE


cdef void orders_free(Orders* o) noexcept nogil:
    if o.nodes != NULL:
        munmap(o.nodes, (o.done.mask + 1) * sizeof(Node))
        o.nodes = NULL
    if o.left != NULL:
        munmap(o.left, LEFT_SLOTS * sizeof(Left))
        o.left = NULL
    ring_free(&o.done)
    ring_free(&o.fills)
    table_free(&o.done_by_order)
    table_free(&o.done_by_client)
    table_free(&o.done_by_desk)
    table_free(&o.fill_by_desk)
    table_free(&o.fill_by_order)


# Finding. Each walks the places from the key's home on; a tag tells most strangers apart, the record the others.

cdef TableEntry* find_done(const Orders* o, uint64_t order_id) noexcept nogil:
    cdef uint32_t tag = tag_of(o.seed, order_id), i = tag >> o.done_by_order.shift
    cdef TableEntry* entry = &o.done_by_order.entries[i]
    while entry.value != 0:
        if entry.tag == tag and done_at(o, entry.value - 1).order_id == order_id:
            return entry
        i = (i + 1) & o.done_by_order.mask
        entry = &o.done_by_order.entries[i]
    return NULL


cdef TableEntry* find_client(
    const Orders* o, uint32_t tag, uint32_t account, uint32_t market, const uint8_t* text
) noexcept nogil:
    cdef uint32_t i = tag >> o.done_by_client.shift
    cdef TableEntry* entry = &o.done_by_client.entries[i]
    cdef OrderRecord* order
    while entry.value != 0:
        if entry.tag == tag:
            order = done_at(o, entry.value - 1)
            if order.account == account and order.market == market and memcmp(order.client_id, text, TEXT_BYTES) == 0:
                return entry
        i = (i + 1) & o.done_by_client.mask
        entry = &o.done_by_client.entries[i]
    return NULL


cdef TableEntry* find_done_desk(const Orders* o, uint32_t account, uint32_t market) noexcept nogil:
    cdef uint32_t tag = tag_of(o.seed, desk_key(account, market)), i = tag >> o.done_by_desk.shift
    cdef TableEntry* entry = &o.done_by_desk.entries[i]
    cdef OrderRecord* order
    while entry.value != 0:
        if entry.tag == tag:
            order = done_at(o, entry.value - 1)
            if order.account == account and order.market == market:
                return entry
        i = (i + 1) & o.done_by_desk.mask
        entry = &o.done_by_desk.entries[i]
    return NULL


cdef TableEntry* find_fill_desk(const Orders* o, uint32_t tag, uint32_t account, uint32_t market) noexcept nogil:
    cdef uint32_t i = tag >> o.fill_by_desk.shift
    cdef TableEntry* entry = &o.fill_by_desk.entries[i]
    cdef FillRecord* fill
    while entry.value != 0:
        if entry.tag == tag:
            fill = fill_at(o, entry.value - 1)
            if fill.account == account and fill.market == market:
                return entry
        i = (i + 1) & o.fill_by_desk.mask
        entry = &o.fill_by_desk.entries[i]
    return NULL


cdef TableEntry* find_fill_order(const Orders* o, uint32_t tag, uint64_t order_id) noexcept nogil:
    cdef uint32_t i = tag >> o.fill_by_order.shift
    cdef TableEntry* entry = &o.fill_by_order.entries[i]
    while entry.value != 0:
        if entry.tag == tag and fill_at(o, entry.value - 1).order_id == order_id:
            return entry
        i = (i + 1) & o.fill_by_order.mask
        entry = &o.fill_by_order.entries[i]
    return NULL


# The treap of a desk: by order id from left to right; a node's weight, mixed from its slot, is never below its children's.

cdef inline uint64_t weight(const Orders* o, uint32_t node) noexcept nogil:
    return stir(node ^ o.seed, 0xD6E8FEB86659FD93ULL)


cdef void treap_insert(Orders* o, uint32_t* root, uint32_t node) noexcept nogil:
    cdef Node* nodes = o.nodes - 1    # nodes are named slot + 1
    cdef uint64_t order_id = nodes[node].order_id, own = weight(o, node)
    cdef uint32_t* link = root
    cdef uint32_t* left = &nodes[node].left
    cdef uint32_t* right = &nodes[node].right
    cdef uint32_t at
    while link[0] != 0 and weight(o, link[0]) >= own:
        link = &nodes[link[0]].right if nodes[link[0]].order_id < order_id else &nodes[link[0]].left
    at = link[0]
    link[0] = node
    while at != 0:
        if nodes[at].order_id < order_id:
            left[0] = at
            left = &nodes[at].right
            at = left[0]
        else:
            right[0] = at
            right = &nodes[at].left
            at = right[0]
    left[0] = 0
    right[0] = 0


cdef void treap_remove(Orders* o, uint32_t* root, uint32_t node) noexcept nogil:
    cdef Node* nodes = o.nodes - 1
    cdef uint64_t order_id = nodes[node].order_id
    cdef uint32_t* link = root
    cdef uint32_t left = nodes[node].left, right = nodes[node].right
    while link[0] != node:
        if link[0] == 0:
            return
        link = &nodes[link[0]].right if nodes[link[0]].order_id < order_id else &nodes[link[0]].left
    while left != 0 and right != 0:
        if weight(o, left) >= weight(o, right):
            link[0] = left
            link = &nodes[left].right
            left = link[0]
        else:
            link[0] = right
            link = &nodes[right].left
            right = link[0]
    link[0] = left if left != 0 else right


# Asking ahead. Every index is all over memory; who comes next is known, so its places are asked for in two steps: the
# entries of the tables, and then the records that they name. On leaving, the same for whoever leaves soon.

cdef enum:
    FAR = 6                  # records ahead
    NEAR = 3


cdef inline void warm_entry(const Table* table, uint32_t tag) noexcept nogil:
    prefetch(&table.entries[tag >> table.shift])


cdef inline uint32_t warm_value(const Table* table, uint32_t tag) noexcept nogil:
    # The slot (+ 1) that is probably meant.
    cdef TableEntry* entry = &table.entries[tag >> table.shift]
    return entry.value if entry.tag == tag else 0


cdef inline void warm_fill(const Orders* o, uint32_t account, uint32_t market, uint64_t order_id) noexcept nogil:
    warm_entry(&o.fill_by_desk, tag_of(o.seed, desk_key(account, market)))
    warm_entry(&o.fill_by_order, tag_of(o.seed, order_id))


cdef inline void warm_fill_record(const Orders* o, const Event* event) noexcept nogil:
    cdef uint32_t found = warm_value(&o.fill_by_desk, tag_of(o.seed, desk_key(event.account, event.market)))
    if found:
        prefetch(fill_at(o, found - 1))
        prefetch(<uint8_t*>fill_at(o, found - 1) + 64)
    found = warm_value(&o.fill_by_order, tag_of(o.seed, event.order_id))
    if found:
        prefetch(fill_at(o, found - 1))
        prefetch(<uint8_t*>fill_at(o, found - 1) + 64)


cdef inline void warm_done(const Orders* o, const OrderRecord* order) noexcept nogil:
    warm_entry(&o.done_by_order, tag_of(o.seed, order.order_id))
    warm_entry(&o.done_by_client, client_tag(o.seed, order.account, order.market, order.client_id))
    warm_entry(&o.done_by_desk, tag_of(o.seed, desk_key(order.account, order.market)))


cdef inline void warm_done_root(const Orders* o, const OrderRecord* order) noexcept nogil:
    cdef uint32_t found = warm_value(&o.done_by_desk, tag_of(o.seed, desk_key(order.account, order.market)))
    if found:
        prefetch(&o.nodes[found - 1])
        prefetch(done_at(o, found - 1))


cdef inline void done_leaves(Orders* o, const OrderRecord* order) noexcept nogil:
    cdef Left* left = left_of(o, order.account, order.market)
    o.done_left = order.sequence
    if order.order_id > left.order_id:
        left.order_id = order.order_id
    if order.created_ns > left.created_ns:
        left.created_ns = order.created_ns


cdef inline void fill_leaves(Orders* o, const FillRecord* fill) noexcept nogil:
    cdef Left* left = left_of(o, fill.account, fill.market)
    o.fills_left = fill.origin >> 8
    if fill.trade_id > left.trade_id:
        left.trade_id = fill.trade_id
    if fill.time_ns > left.fill_ns:
        left.fill_ns = fill.time_ns


cdef void done_drop(Orders* o) noexcept nogil:
    # The oldest done order leaves the ring and every index.
    cdef uint32_t slot = <uint32_t>(o.done.tail & o.done.mask), root
    cdef OrderRecord* order = done_at(o, slot)
    cdef TableEntry* entry = table_entry(&o.done_by_order, tag_of(o.seed, order.order_id), slot)
    if o.done.head - o.done.tail > FAR:
        warm_done(o, done_at(o, o.done.tail + NEAR))
        prefetch(left_of(o, done_at(o, o.done.tail + NEAR).account, done_at(o, o.done.tail + NEAR).market))
        prefetch(done_at(o, o.done.tail + FAR))
        prefetch(done_at(o, o.done.tail + FAR).client_id)
    if entry != NULL:
        table_remove(&o.done_by_order, entry)
    if order.client_id[0] != 0:
        entry = table_entry(&o.done_by_client, client_tag(o.seed, order.account, order.market, order.client_id), slot)
        if entry != NULL:
            table_remove(&o.done_by_client, entry)
    entry = find_done_desk(o, order.account, order.market)
    if entry != NULL:
        root = entry.value
        treap_remove(o, &root, slot + 1)
        if root == 0:
            table_remove(&o.done_by_desk, entry)
        else:
            entry.value = root
    done_leaves(o, order)
    ring_drop(&o.done)


cdef void done_index(Orders* o, uint32_t slot) noexcept nogil:
    cdef OrderRecord* order = done_at(o, slot)
    cdef uint32_t tag, root
    cdef TableEntry* entry
    table_add(&o.done_by_order, tag_of(o.seed, order.order_id), slot)
    if order.client_id[0] != 0:
        tag = client_tag(o.seed, order.account, order.market, order.client_id)
        entry = find_client(o, tag, order.account, order.market, order.client_id)
        if entry != NULL:
            entry.value = slot + 1
        else:
            table_add(&o.done_by_client, tag, slot)
    o.nodes[slot].order_id = order.order_id
    entry = find_done_desk(o, order.account, order.market)
    if entry == NULL:
        o.nodes[slot].left = o.nodes[slot].right = 0
        table_add(&o.done_by_desk, tag_of(o.seed, desk_key(order.account, order.market)), slot)
    else:
        root = entry.value
        treap_insert(o, &root, slot + 1)
        entry.value = root


cdef int done_add(Orders* o, const OrderRecord* order) noexcept nogil:
    cdef uint64_t number = o.done.head
    cdef uint8_t* room
    if ring_count(&o.done) >= o.done.limit:
        done_drop(o)
    room = ring_push(&o.done)
    if room == NULL:
        return NO_MEMORY
    memcpy(room, order, sizeof(OrderRecord))
    done_index(o, <uint32_t>(number & o.done.mask))
    return FINE


cdef inline bint fill_held(const Orders* o, uint64_t number, uint32_t distance) noexcept nogil:
    # Is the fill so far before `number` still there?
    return distance != 0 and number - o.fills.tail >= distance


cdef void fill_link(Orders* o, uint32_t* links, int chain, uint64_t number, uint64_t previous) noexcept nogil:
    # Joins fill `number` to its chain behind `previous`.
    cdef uint32_t* before = &fill_at(o, previous).chains[chain * LINKS]
    cdef uint32_t* jumped
    cdef uint64_t target
    links[PREVIOUS] = links[JUMP] = <uint32_t>(number - previous)
    links[SPAN] = 1
    links[DEPTH] = before[DEPTH] + 1
    if not fill_held(o, previous, before[JUMP]):
        return
    target = previous - before[JUMP]
    jumped = &fill_at(o, target).chains[chain * LINKS]
    if jumped[SPAN] == before[SPAN] and fill_held(o, target, jumped[JUMP]):
        links[JUMP] = <uint32_t>(number - (target - jumped[JUMP]))
        links[SPAN] = 2 * before[SPAN] + 1


cdef void fill_drop(Orders* o) noexcept nogil:
    cdef uint32_t slot = <uint32_t>(o.fills.tail & o.fills.mask)
    cdef FillRecord* fill = fill_at(o, slot)
    cdef TableEntry* entry = table_entry(&o.fill_by_desk, tag_of(o.seed, desk_key(fill.account, fill.market)), slot)
    cdef FillRecord* soon
    if o.fills.head - o.fills.tail > 2 * FAR:
        soon = fill_at(o, o.fills.tail + FAR)
        warm_fill(o, soon.account, soon.market, soon.order_id)
        prefetch(left_of(o, soon.account, soon.market))
        prefetch(fill_at(o, o.fills.tail + 2 * FAR))
        prefetch(<uint8_t*>fill_at(o, o.fills.tail + 2 * FAR) + 64)
    if entry != NULL:     # it was the newest of its chain, so the only one left
        table_remove(&o.fill_by_desk, entry)
    entry = table_entry(&o.fill_by_order, tag_of(o.seed, fill.order_id), slot)
    if entry != NULL:
        table_remove(&o.fill_by_order, entry)
    fill_leaves(o, fill)
    ring_drop(&o.fills)


cdef void fill_index(Orders* o, uint64_t number, bint link) noexcept nogil:
    # Makes a fill the newest of its desk and of its order; `link`: and chains it to the ones before (a restored one is).
    cdef uint32_t slot = <uint32_t>(number & o.fills.mask)
    cdef FillRecord* fill = fill_at(o, slot)
    cdef uint32_t tag = tag_of(o.seed, desk_key(fill.account, fill.market))
    cdef TableEntry* entry = find_fill_desk(o, tag, fill.account, fill.market)
    if entry == NULL:
        table_add(&o.fill_by_desk, tag, slot)
    else:
        if link:
            fill_link(o, fill.chains, OF_DESK, number, ring_number(&o.fills, entry.value - 1))
        entry.value = slot + 1
    tag = tag_of(o.seed, fill.order_id)
    entry = find_fill_order(o, tag, fill.order_id)
    if entry == NULL:
        table_add(&o.fill_by_order, tag, slot)
    else:
        if link:
            fill_link(o, fill.chains + LINKS, OF_ORDER, number, ring_number(&o.fills, entry.value - 1))
        entry.value = slot + 1


cdef int fill_add(Orders* o, const Event* event, int64_t time_ns) noexcept nogil:
    cdef uint64_t number = o.fills.head
    cdef FillRecord* fill
    if ring_count(&o.fills) >= o.fills.limit:
        fill_drop(o)
    fill = <FillRecord*>ring_push(&o.fills)
    if fill == NULL:
        return NO_MEMORY
    memset(fill, 0, sizeof(FillRecord))
    fill.trade_id = event.trade_id
    fill.order_id = event.order_id
    fill.price_ticks = event.price_ticks
    fill.quantity_steps = event.quantity_steps
    fill.fee_units = event.fee_units
    fill.time_ns = time_ns
    fill.account = event.account
    fill.market = event.market
    fill.origin = event.sequence << 8 | event.flags
    fill_index(o, number, True)
    return FINE


cdef enum:                   # of a fill, growing along its chain
    BY_TRADE = 0
    BY_TIME = 1
    BY_DEPTH = 2


cdef inline bint reaches(const Orders* o, uint64_t number, int chain, int key, uint64_t least) noexcept nogil:
    # Is the fill's key at least this?
    cdef FillRecord* fill = fill_at(o, number)
    if key == BY_TRADE:
        return fill.trade_id >= least
    if key == BY_TIME:
        return <uint64_t>fill.time_ns >= least
    return <int32_t>(fill.chains[chain * LINKS + DEPTH] - <uint32_t>least) >= 0   # depths may have wrapped


cdef uint64_t oldest_from(const Orders* o, uint64_t number, int chain, int key, uint64_t least) noexcept nogil:
    # The oldest fill at or before `number` in its chain whose key is at least `least`; `number` itself must have that.
    cdef uint32_t* links
    while True:
        links = &fill_at(o, number).chains[chain * LINKS]
        if fill_held(o, number, links[JUMP]) and reaches(o, number - links[JUMP], chain, key, least):
            number -= links[JUMP]
        elif fill_held(o, number, links[PREVIOUS]) and reaches(o, number - links[PREVIOUS], chain, key, least):
            number -= links[PREVIOUS]
        else:
            return number


cdef bint step_back(const Orders* o, uint64_t* number, int chain) noexcept nogil:
    cdef uint32_t distance = fill_at(o, number[0]).chains[chain * LINKS + PREVIOUS]
    if not fill_held(o, number[0], distance):
        return False
    number[0] -= distance
    return True


cdef bint newest_before(const Orders* o, uint64_t* number, int chain, uint64_t most_ns) noexcept nogil:
    # Moves to the newest fill of the chain whose time is at most most_ns.
    if not reaches(o, number[0], chain, BY_TIME, most_ns + 1):
        return True
    number[0] = oldest_from(o, number[0], chain, BY_TIME, most_ns + 1)
    return step_back(o, number, chain)


cdef struct Page:            # what to collect of a desk's done orders, and what was
    uint64_t from_id
    int64_t start_ns
    int64_t end_ns
    uint64_t room
    uint64_t count
    uint32_t* slots


cdef inline bint page_begun(const Orders* o, const Page* page, uint32_t node) noexcept nogil:
    return o.nodes[node - 1].order_id >= page.from_id and (
        page.start_ns < 0 or done_at(o, node - 1).created_ns >= page.start_ns
    )


cdef inline bint page_open(const Orders* o, const Page* page, uint32_t node) noexcept nogil:
    return page.end_ns < 0 or done_at(o, node - 1).created_ns <= page.end_ns


cdef void page_oldest(const Orders* o, Page* page, uint32_t node) noexcept nogil:
    # In the order of ids, which is also that of their making.
    cdef bint begun
    if node == 0 or page.count == page.room:
        return
    begun = page_begun(o, page, node)
    if begun:
        page_oldest(o, page, o.nodes[node - 1].left)
    if page.count < page.room and page_open(o, page, node):
        if begun:
            page.slots[page.count] = node - 1
            page.count += 1
        page_oldest(o, page, o.nodes[node - 1].right)


cdef void page_newest(const Orders* o, Page* page, uint32_t node) noexcept nogil:
    # From the newest down.
    cdef bint open
    if node == 0 or page.count == page.room:
        return
    open = page_open(o, page, node)
    if open:
        page_newest(o, page, o.nodes[node - 1].right)
    if page.count < page.room and page_begun(o, page, node):
        if open:
            page.slots[page.count] = node - 1
            page.count += 1
        page_newest(o, page, o.nodes[node - 1].left)
