# SPDX-License-Identifier: Apache-2.0
# The audit: everything that must hold between commands, checked the plain way. Production calls it now and then, the
# debug build after every command. It reads and changes nothing.

cdef const char* audit_market(State* s, Market* m, i128* locked_base, i128* locked_quote, uint64_t* orders) noexcept nogil:
    # NULL, or what is wrong. Sums what the market's orders hold.
    cdef int i
    cdef Queue* q
    cdef Level* level
    cdef uint32_t index, slot, count, levels
    cdef int64_t quantity, hidden, held, prevented
    cdef uint32_t last, icebergs = 0
    for i in range(QUEUES):
        q = &m.queues[i]
        index = q.best
        levels = 0
        while index:
            level = &s.levels[index]
            levels += 1
            slot = level.head
            count = 0
            quantity = hidden = 0
            last = 0
            while slot:
                if s.orders[slot].remaining_steps <= 0:
                    return b"an open order has nothing left"
                if s.orders[slot].level != index or s.orders[slot].prev != last:
                    return b"a queue's links are broken"
                if s.orders[slot].place != (ON_BOOK if i < ABOVE else WAITING):
                    return b"an order is not where its queue is"
                if find_order(s, s.orders[slot].order_id) != slot:
                    return b"an open order is not found by its id"
                if s.orders[slot].has_client_id:
                    if find_client(s, s.orders[slot].account, s.orders[slot].market,
                                   s.details[slot].client_id) != slot:
                        return b"an open order is not found by its client id"
                held = locked_by(s, m, slot)
                if s.orders[slot].side == SIDE_BUY:
                    locked_quote[0] += held
                else:
                    locked_base[0] += held
                count += 1
                quantity += shown(s, slot)
                hidden += s.orders[slot].remaining_steps - shown(s, slot) if i < ABOVE else 0
                icebergs += i < ABOVE and is_iceberg(s, slot)
                if is_iceberg(s, slot) and (s.extras[slot].shown_steps <= 0) != (i >= ABOVE):
                    return b"an iceberg shows nothing on the book, or something off it"
                if is_iceberg(s, slot) and s.extras[slot].shown_steps > smaller(s.extras[slot].iceberg_steps,
                                                                               s.orders[slot].remaining_steps):
                    return b"an iceberg shows more than it may"
                prevented = s.extras[slot].prevented_steps if s.orders[slot].extras else 0
                if (s.details[slot].quantity_steps - s.details[slot].executed_steps - prevented
                        != s.orders[slot].remaining_steps):
                    return b"an order's quantity is not what it has executed, prevented and left"
                last = slot
                slot = s.orders[slot].next
            orders[0] += count
            if count != level.orders or quantity != level.quantity_steps or last != level.tail or count == 0:
                return b"a level's sums are wrong"
            if i < ABOVE and hidden != s.hidden[index]:
                return b"what a level's icebergs hide is wrong"
            index = level_after(s, q, level.price_ticks)
            if index and is_better(q, s.levels[index].price_ticks, level.price_ticks):
                return b"levels are out of order"
        if levels != q.levels:
            return b"a queue's count of levels is wrong"
    if icebergs != m.icebergs:
        return b"a market's count of icebergs is wrong"
    if m.queues[BID].best and m.queues[ASK].best:
        if s.levels[m.queues[BID].best].price_ticks >= s.levels[m.queues[ASK].best].price_ticks:
            return b"the book is crossed"
    return NULL


cdef const char* audit_state(State* s, i128* held) noexcept nogil:
    # `held` is scratch: one sum for each asset.
    cdef uint32_t i, account
    cdef uint64_t orders = 0
    cdef const char* wrong
    cdef Asset* a
    cdef i128 free_sum, locked_sum
    for i in range(1, s.market_count + 1):
        wrong = audit_market(s, &s.markets[i], &held[s.markets[i].base_asset], &held[s.markets[i].quote_asset], &orders)
        if wrong != NULL:
            return wrong
    if orders != s.open_orders:
        return b"the count of open orders is wrong"
    for i in range(1, s.asset_count + 1):
        a = &s.assets[i]
        free_sum = locked_sum = 0
        for account in range(1, s.account_count + 1):
            if a.balances[account].free < 0 or a.balances[account].locked < 0:
                return b"a balance is negative"
            free_sum += a.balances[account].free
            locked_sum += a.balances[account].locked
        if locked_sum != held[i]:
            return b"what is locked is not what the orders hold"
        if free_sum + locked_sum + a.fees != a.deposited - a.withdrawn:
            return b"money is not conserved"
    return NULL
