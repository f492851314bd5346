# SPDX-License-Identifier: Apache-2.0
# The HTTP answer to a plain placement that rests or fills.

cdef enum:
    HEAD_BYTES = 320
    BODY_BYTES = 900       # all of RESULT, with the longest numbers
    FILL_BYTES = 240

    # Places in an EventRow.
    AT_KIND = 0
    AT_STATUS = 1
    AT_FLAGS = 3
    AT_ORDER_ID = 6
    AT_PRICE = 10
    AT_QUANTITY = 11
    AT_EXECUTED = 13
    AT_EXECUTED_QUOTE = 14
    AT_FEE = 15
    AT_TRADE_ID = 16
    EVENT_FIELDS = 22

cdef tuple STATUS_WORDS = (
    b"NONE", b"NEW", b"PARTIALLY_FILLED", b"FILLED", b"CANCELED", b"EXPIRED", b"EXPIRED_IN_MATCH", b"REJECTED", b"PENDING_NEW",
)
cdef tuple MODE_WORDS = (b"DEFAULT", b"NONE", b"EXPIRE_TAKER", b"EXPIRE_MAKER", b"EXPIRE_BOTH", b"DECREMENT", b"TRANSFER")


cdef inline int64_t field(object row, Py_ssize_t place):
    return <object>PyTuple_GET_ITEM(row, place)


cdef inline char* put_bytes(char* to, bytes text) noexcept:
    return put(to, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))


cdef inline char* put_literal(char* to, const char* text) noexcept nogil:
    while text[0]:
        to[0] = text[0]
        to += 1
        text += 1
    return to


cdef bint is_plain_outcome(list events) except -1:
    # Only ACCEPTED and the two sides of fills, none of which was triggered or prevented by another's.
    cdef object row
    cdef Py_ssize_t i
    cdef int64_t kind
    for i in range(len(events)):
        row = events[i]
        if not PyTuple_Check(row) or PyTuple_GET_SIZE(row) != EVENT_FIELDS:
            return False
        kind = field(row, AT_KIND)
        if kind != (EVENT_ACCEPTED if i == 0 else EVENT_FILL):
            return False
    return len(events) > 0


def placed(Form form, list events, int64_t time_ns, int64_t unit_ns, int64_t weight, int64_t ten, int64_t day):
    """The HTTP answer of a placement made by `form.place`, kept alive; None: not plain, the general way writes it."""
    if not is_plain_outcome(events) or form.numbers is None:
        return None
    cdef object accepted = events[0], last = accepted, row
    cdef int64_t order_id = field(accepted, AT_ORDER_ID), time = time_ns // unit_ns
    cdef Py_ssize_t i, count = len(events)
    cdef char* buffer
    cdef char* body
    cdef char* end
    for i in range(1, count):
        row = events[i]
        if field(row, AT_ORDER_ID) == order_id:
            last = row
    if field(last, AT_STATUS) not in (STATUS_NEW, STATUS_PARTIALLY_FILLED, STATUS_FILLED):
        return None
    buffer = <char*>malloc(HEAD_BYTES + BODY_BYTES + form_bytes(form) + count * FILL_BYTES)
    if buffer == NULL:
        raise MemoryError
    try:
        body = buffer + HEAD_BYTES
        end = put_placed(body, form, events, last, order_id, time)
        if end == NULL:
            return None
        return with_head(body, end, weight, ten, day)
    finally:
        free(buffer)


cdef Py_ssize_t form_bytes(Form form) noexcept:
    # The texts that have no bound of their own; a fill names an asset.
    cdef MarketNumbers n = form.numbers
    return len(n.symbol) + 64


cdef bytes with_head(char* body, char* end, int64_t weight, int64_t ten, int64_t day):
    # The head is written in front of the body, in the room that was left for it.
    cdef char head[HEAD_BYTES]
    cdef char* to = put_literal(
        head, b"HTTP/1.1 200 OK\r\ncontent-type: application/json;charset=UTF-8\r\ncontent-length: "
    )
    cdef Py_ssize_t size
    to = put_integer(to, end - body)
    to = put_literal(to, b"\r\nx-mbx-used-weight: ")
    to = put_integer(to, weight)
    to = put_literal(to, b"\r\nx-mbx-used-weight-1m: ")
    to = put_integer(to, weight)
    to = put_literal(to, b"\r\nx-mbx-order-count-10s: ")
    to = put_integer(to, ten)
    to = put_literal(to, b"\r\nx-mbx-order-count-1d: ")
    to = put_integer(to, day)
    to = put_literal(to, b"\r\n\r\n")
    size = to - head
    memcpy(body - size, head, size)
    return PyBytes_FromStringAndSize(body - size, size + (end - body))


cdef char* put_placed(char* to, Form form, list events, object last, int64_t order_id, int64_t time) except? NULL:
    cdef MarketNumbers n = form.numbers
    cdef int64_t price = 0, quantity = 0, quote_quantity = 0, executed = 0, executed_quote = 0
    cdef int64_t steps = form.quantity_steps
    if len(events) > 1 and form.quote_units:
        steps = field(last, AT_EXECUTED)
    if not (
        product(form.price_ticks, n.tick_e8, &price)
        and product(steps, n.step_e8, &quantity)
        and product(form.quote_units, n.quote_scale, &quote_quantity)
        and product(field(last, AT_EXECUTED), n.step_e8, &executed)
        and product(field(last, AT_EXECUTED_QUOTE), n.quote_scale, &executed_quote)
    ):
        return NULL
    to = put_literal(to, b'{"symbol":"')
    to = put_bytes(to, n.symbol)
    to = put_literal(to, b'","orderId":')
    to = put_integer(to, order_id)
    to = put_literal(to, b',"orderListId":-1,"clientOrderId":"')
    to = put(to, form.client_id, form.client_id_size)
    to = put_literal(to, b'","transactTime":')
    to = put_integer(to, time)
    if form.response == RESPONSE_ACK:
        return put_literal(to, b'}')
    to = put_literal(to, b',"price":"')
    to = put_e8(to, price)
    to = put_literal(to, b'","origQty":"')
    to = put_e8(to, quantity)
    to = put_literal(to, b'","executedQty":"')
    to = put_e8(to, executed)
    to = put_literal(to, b'","origQuoteOrderQty":"')
    to = put_e8(to, quote_quantity)
    to = put_literal(to, b'","cummulativeQuoteQty":"')
    to = put_e8(to, executed_quote)
    to = put_literal(to, b'","status":"')
    to = put_bytes(to, <bytes>STATUS_WORDS[field(last, AT_STATUS)])
    to = put_literal(to, b'","timeInForce":"')
    to = put_literal(
        to, b"IOC" if form.time_in_force == TIF_IOC else b"FOK" if form.time_in_force == TIF_FOK else b"GTC"
    )
    to = put_literal(to, b'","type":"')
    to = put_literal(
        to, b"LIMIT" if form.type == TYPE_LIMIT else b"MARKET" if form.type == TYPE_MARKET else b"LIMIT_MAKER"
    )
    to = put_literal(to, b'","side":"')
    to = put_literal(to, b"BUY" if form.side == 1 else b"SELL")
    to = put_literal(to, b'","workingTime":')
    to = put_integer(to, time if field(events[0], AT_FLAGS) & FLAG_WORKING else -1)
    if form.response == RESPONSE_FULL:
        to = put_fills(to, form, events, order_id)
        if to == NULL:
            return NULL
    to = put_literal(to, b',"selfTradePreventionMode":"')
    to = put_bytes(to, <bytes>MODE_WORDS[n.self_trade_prevention])
    return put_literal(to, b'"}')


cdef char* put_fills(char* to, Form form, list events, int64_t order_id) except? NULL:
    cdef MarketNumbers n = form.numbers
    cdef int64_t scale = n.base_scale if form.side == 1 else n.quote_scale
    cdef bytes asset = n.base if form.side == 1 else n.quote
    cdef int64_t price = 0, quantity = 0, fee = 0
    cdef Py_ssize_t i
    cdef bint is_first = True
    cdef object row
    if len(asset) > 64:
        return NULL
    to = put_literal(to, b',"fills":[')
    for i in range(1, len(events)):
        row = events[i]
        if field(row, AT_ORDER_ID) != order_id:
            continue
        if not (
            product(field(row, AT_PRICE), n.tick_e8, &price)
            and product(field(row, AT_QUANTITY), n.step_e8, &quantity)
            and product(field(row, AT_FEE), scale, &fee)
        ):
            return NULL
        to = put_literal(to, b'{"price":"' if is_first else b',{"price":"')
        is_first = False
        to = put_e8(to, price)
        to = put_literal(to, b'","qty":"')
        to = put_e8(to, quantity)
        to = put_literal(to, b'","commission":"')
        to = put_e8(to, fee)
        to = put_literal(to, b'","commissionAsset":"')
        to = put_bytes(to, asset)
        to = put_literal(to, b'","tradeId":')
        to = put_integer(to, field(row, AT_TRADE_ID))
        to = put_literal(to, b'}')
    return put_literal(to, b']')
