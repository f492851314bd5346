# SPDX-License-Identifier: Apache-2.0
# Pages of orders and of fills: GET /allOrders, /openOrders, /myTrades. A row that is not plain is written by the
# general way (`protocol.order_answers`), in its place.

cdef enum:
    ORDER_ROW_BYTES = 900     # with the longest numbers; the symbol comes on top
    FILL_ROW_BYTES = 500

    # Places in an OrderRow; a test compares them with its fields.
    ORDER_ID = 0
    ORDER_TYPE = 3
    ORDER_SIDE = 4
    ORDER_TIME_IN_FORCE = 5
    ORDER_PREVENTION = 6
    ORDER_STATUS = 7
    ORDER_REASON = 8
    ORDER_PRICE = 11
    ORDER_STOP_PRICE = 12
    ORDER_QUANTITY = 13
    ORDER_EXECUTED = 14
    ORDER_EXECUTED_QUOTE = 15
    ORDER_QUOTE_QUANTITY = 16
    ORDER_ICEBERG = 17
    ORDER_CREATED = 19
    ORDER_UPDATED = 20
    ORDER_WORKING = 21
    ORDER_STRATEGY_ID = 22
    ORDER_STRATEGY_TYPE = 23
    ORDER_PREVENTED_MATCH = 27
    ORDER_CLIENT_ID = 34
    ORDER_FIELDS = 37
    FILL_FIELDS = 8

cdef tuple TYPE_WORDS = (
    b"NONE", b"LIMIT", b"MARKET", b"LIMIT_MAKER", b"STOP_LOSS", b"STOP_LOSS_LIMIT", b"TAKE_PROFIT",
    b"TAKE_PROFIT_LIMIT",
)
cdef tuple FORCE_WORDS = (b"GTC", b"GTC", b"IOC", b"FOK")
cdef tuple REASON_WORDS = (
    b"NONE", b"REJECTED", b"EXCHANGE_CANCELED", b"OCO_TRIGGER", b"OTO_PHASE_ONE_EXPIRED",
    b"UNFILLED_IOC_QUANTITY_EXPIRED", b"UNFILLED_FOK_ORDER_EXPIRED", b"INSUFFICIENT_LIQUIDITY",
    b"EXECUTION_RULE_PRICE_RANGE_EXCEEDED",
)
cdef tuple SIDE_WORDS = (b"NONE", b"BUY", b"SELL")


cdef class Page:
    """A JSON array that grows row by row."""

    cdef char* start
    cdef Py_ssize_t size
    cdef Py_ssize_t capacity

    def __cinit__(self):
        self.start = NULL
        self.size = self.capacity = 0

    def __dealloc__(self):
        free(self.start)

    cdef char* room(self, Py_ssize_t more) except NULL:
        # Where the next row goes; there is room for `more` bytes, and a comma.
        cdef char* moved
        if self.size + more + 2 > self.capacity:
            self.capacity = 2 * (self.size + more) + 4096
            moved = <char*>realloc(self.start, self.capacity)
            if moved == NULL:
                raise MemoryError
            self.start = moved
        self.start[self.size] = c',' if self.size else c'['
        return self.start + self.size + 1

    cdef void close_row(self, char* end) noexcept:
        self.size = end - self.start

    cdef bytes whole(self):
        self.room(2)
        if self.size == 0:
            return b"[]"
        self.start[self.size] = c']'
        return PyBytes_FromStringAndSize(self.start, self.size + 1)


cdef Py_ssize_t plain_id_bytes(bytes raw) noexcept:
    # Bytes of a client id in front of its padding; -1: not plain.
    cdef const uint8_t* at = <const uint8_t*>PyBytes_AS_STRING(raw)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(raw)
    while size and at[size - 1] == 0:
        size -= 1
    return size if all_of(at, size, NAME) else -1


cdef char* put_order(char* to, object row, MarketNumbers n, int64_t unit_ns) except? NULL:
    # NULL: not plain.
    cdef int64_t price = 0, stop = 0, quantity = 0, executed = 0, executed_quote = 0, quote_quantity = 0, iceberg = 0
    cdef int64_t kind = field(row, ORDER_TYPE), side = field(row, ORDER_SIDE), force = field(row, ORDER_TIME_IN_FORCE)
    cdef int64_t status = field(row, ORDER_STATUS), mode = field(row, ORDER_PREVENTION)
    cdef int64_t working = field(row, ORDER_WORKING), reason = field(row, ORDER_REASON)
    cdef bytes client_id = <object>PyTuple_GET_ITEM(row, ORDER_CLIENT_ID)
    cdef Py_ssize_t id_bytes = plain_id_bytes(client_id)
    if (
        id_bytes < 0 or field(row, ORDER_STRATEGY_ID) or field(row, ORDER_STRATEGY_TYPE)
        or field(row, ORDER_PREVENTED_MATCH) or not 0 <= reason < 9
        or not 0 <= kind < 8 or not 0 <= side < 3 or not 0 <= force < 4 or not 0 <= status < 9 or not 0 <= mode < 7
    ):
        return NULL
    if not (
        product(field(row, ORDER_PRICE), n.tick_e8, &price)
        and product(field(row, ORDER_STOP_PRICE), n.tick_e8, &stop)
        and product(field(row, ORDER_QUANTITY), n.step_e8, &quantity)
        and product(field(row, ORDER_EXECUTED), n.step_e8, &executed)
        and product(field(row, ORDER_EXECUTED_QUOTE), n.quote_scale, &executed_quote)
        and product(field(row, ORDER_QUOTE_QUANTITY), n.quote_scale, &quote_quantity)
        and product(field(row, ORDER_ICEBERG), n.step_e8, &iceberg)
    ):
        return NULL
    to = put_literal(to, b'{"symbol":"')
    to = put_bytes(to, n.symbol)
    to = put_literal(to, b'","orderId":')
    to = put_integer(to, field(row, ORDER_ID))
    to = put_literal(to, b',"orderListId":-1,"clientOrderId":"')
    to = put(to, PyBytes_AS_STRING(client_id), id_bytes)
    to = put_literal(to, b'","price":"')
    to = put_e8(to, price)
    to = put_literal(to, b'","origQty":"')
    to = put_e8(to, quantity)
    to = put_literal(to, b'","executedQty":"')
    to = put_e8(to, executed)
    to = put_literal(to, b'","cummulativeQuoteQty":"')
    to = put_e8(to, executed_quote)
    to = put_literal(to, b'","status":"')
    to = put_bytes(to, <bytes>STATUS_WORDS[status])
    to = put_literal(to, b'","timeInForce":"')
    to = put_bytes(to, <bytes>FORCE_WORDS[force])
    to = put_literal(to, b'","type":"')
    to = put_bytes(to, <bytes>TYPE_WORDS[kind])
    to = put_literal(to, b'","side":"')
    to = put_bytes(to, <bytes>SIDE_WORDS[side])
    to = put_literal(to, b'","stopPrice":"')
    to = put_e8(to, stop)
    to = put_literal(to, b'","icebergQty":"')
    to = put_e8(to, iceberg)
    to = put_literal(to, b'","time":')
    to = put_integer(to, field(row, ORDER_CREATED) // unit_ns)
    to = put_literal(to, b',"updateTime":')
    to = put_integer(to, field(row, ORDER_UPDATED) // unit_ns)
    to = put_literal(to, b',"isWorking":true,"workingTime":' if working else b',"isWorking":false,"workingTime":')
    to = put_integer(to, working // unit_ns if working else -1)
    to = put_literal(to, b',"origQuoteOrderQty":"')
    to = put_e8(to, quote_quantity)
    to = put_literal(to, b'","selfTradePreventionMode":"')
    to = put_bytes(to, <bytes>MODE_WORDS[mode if mode else n.self_trade_prevention])
    if status == STATUS_EXPIRED and reason:
        to = put_literal(to, b'","expiryReason":"')
        to = put_bytes(to, <bytes>REASON_WORDS[reason])
    return put_literal(to, b'"}')


def orders(rows, MarketNumbers numbers, int64_t unit_ns, general):
    """A JSON array of OrderRows of one market; `general(row)` writes (as str) what is not plain."""
    cdef Page page = Page()
    cdef Py_ssize_t most = ORDER_ROW_BYTES + PyBytes_GET_SIZE(numbers.symbol)
    cdef char* to
    cdef char* end
    cdef bytes text
    for row in rows:
        to = page.room(most)
        end = put_order(to, row, numbers, unit_ns) if PyTuple_GET_SIZE(row) == ORDER_FIELDS else NULL
        if end == NULL:
            text = general(row).encode()
            to = page.room(PyBytes_GET_SIZE(text))
            end = put_bytes(to, text)
        page.close_row(end)
    return page.whole()


cdef char* put_fill(char* to, object row, MarketNumbers n, int64_t factor, int64_t unit_ns) except? NULL:
    # A fill: order id, trade id, time, price, quantity, fee, is the buyer, is the maker. NULL: not plain.
    cdef int64_t price = 0, quantity = 0, quote = 0, fee = 0
    cdef bint buys = <object>PyTuple_GET_ITEM(row, 6), makes = <object>PyTuple_GET_ITEM(row, 7)
    if not (
        product(field(row, 3), field(row, 4), &quote)
        and product(quote, factor, &quote)
        and product(quote, n.quote_scale, &quote)
        and product(field(row, 3), n.tick_e8, &price)
        and product(field(row, 4), n.step_e8, &quantity)
        and product(field(row, 5), n.base_scale if buys else n.quote_scale, &fee)
    ):
        return NULL
    to = put_literal(to, b'{"symbol":"')
    to = put_bytes(to, n.symbol)
    to = put_literal(to, b'","id":')
    to = put_integer(to, field(row, 1))
    to = put_literal(to, b',"orderId":')
    to = put_integer(to, field(row, 0))
    to = put_literal(to, b',"orderListId":-1,"price":"')
    to = put_e8(to, price)
    to = put_literal(to, b'","qty":"')
    to = put_e8(to, quantity)
    to = put_literal(to, b'","quoteQty":"')
    to = put_e8(to, quote)
    to = put_literal(to, b'","commission":"')
    to = put_e8(to, fee)
    to = put_literal(to, b'","commissionAsset":"')
    to = put_bytes(to, n.base if buys else n.quote)
    to = put_literal(to, b'","time":')
    to = put_integer(to, field(row, 2) // unit_ns)
    to = put_literal(to, b',"isBuyer":true,"isMaker":' if buys else b',"isBuyer":false,"isMaker":')
    to = put_literal(to, b'true,"isBestMatch":true}' if makes else b'false,"isBestMatch":true}')
    return to


def fills(rows, MarketNumbers numbers, int64_t quote_units_per_tick_step, int64_t unit_ns, general):
    """A JSON array of fills of one market; `general(row)` writes (as str) what is not plain."""
    cdef Page page = Page()
    cdef Py_ssize_t most
    cdef char* to
    cdef char* end
    cdef bytes text
    most = FILL_ROW_BYTES + PyBytes_GET_SIZE(numbers.symbol) + len(numbers.base) + len(numbers.quote)
    for row in rows:
        to = page.room(most)
        end = NULL
        if PyTuple_GET_SIZE(row) == FILL_FIELDS:
            end = put_fill(to, row, numbers, quote_units_per_tick_step, unit_ns)
        if end == NULL:
            text = general(row).encode()
            to = page.room(PyBytes_GET_SIZE(text))
            end = put_bytes(to, text)
        page.close_row(end)
    return page.whole()
