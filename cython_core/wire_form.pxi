# SPDX-License-Identifier: Apache-2.0
# The form of a plain order or cancel, and the command it becomes.

cdef enum:
    HAS_SYMBOL = 1
    HAS_SIDE = 2
    HAS_TYPE = 4
    HAS_PRICE = 8
    HAS_QUANTITY = 16
    HAS_QUOTE = 32
    HAS_TIF = 64
    HAS_CLIENT_ID = 128
    HAS_RESPONSE = 256
    HAS_WINDOW = 512
    HAS_TIMESTAMP = 1024
    HAS_ORDER_ID = 2048
    HAS_OTHER_ID = 4096

    RESPONSE_ACK = 1
    RESPONSE_RESULT = 2
    RESPONSE_FULL = 3

    ALWAYS = HAS_SYMBOL | HAS_TIMESTAMP
    MAY = HAS_CLIENT_ID | HAS_WINDOW
    PLACE_NEEDS = ALWAYS | HAS_SIDE | HAS_TYPE
    PLACE_MAY = MAY | HAS_RESPONSE

cdef int64_t MICROSECONDS_FROM = 100_000_000_000_000
cdef int64_t TIME_MS_MAX = 4_000_000_000_000  # far enough, and a sum of two such times fits
cdef int64_t DEFAULT_WINDOW_NS = 5_000_000_000
cdef int64_t WINDOW_MS_MAX = 60_000
cdef int64_t UNITS_MAX = <int64_t>1 << 62


cdef class MarketNumbers:
    """What the wire must know of a market; made from a `protocol.markets.Market`."""
    cdef readonly object market
    cdef readonly uint32_t id
    cdef int64_t tick_e8, price_ticks_min, price_ticks_max
    cdef int64_t step_e8, quantity_steps_min, quantity_steps_max
    cdef int64_t base_scale, quote_scale
    cdef int self_trade_prevention
    cdef bytes symbol, base, quote

    def __init__(self, market):
        self.market = market
        self.id = market.id
        self.tick_e8 = market.tick_e8
        self.price_ticks_min = market.price_ticks_min
        self.price_ticks_max = market.price_ticks_max
        self.step_e8 = market.step_e8
        self.quantity_steps_min = market.quantity_steps_min
        self.quantity_steps_max = market.quantity_steps_max
        self.base_scale = market.base_scale
        self.quote_scale = market.quote_scale
        self.self_trade_prevention = market.self_trade_prevention
        self.symbol = market.json.encode()
        self.base = market.base_json.encode()
        self.quote = market.quote_json.encode()


cdef class Form:
    """A plain form. What of it is an order or a cancel is said by `place` and `cancel`."""
    cdef uint32_t given
    cdef readonly str symbol
    cdef readonly int64_t timestamp_ns
    cdef readonly int64_t window_ns
    cdef bytes raw
    cdef Py_ssize_t payload_size   # what was signed: so much of raw, up to the signature
    cdef uint8_t code[32]          # its HMAC, once `is_signed_by` has said yes
    cdef bint is_verified
    cdef uint8_t type, side, time_in_force, response
    cdef int64_t price_e8, quantity_e8, quote_e8, order_id
    cdef char client_id[36]
    cdef Py_ssize_t client_id_size
    cdef char other_id[36]
    cdef Py_ssize_t other_id_size
    # Set by `place`
    cdef readonly MarketNumbers numbers
    cdef int64_t price_ticks, quantity_steps, quote_units

    def is_signed_by(self, Signer signer):
        """Whether the signature is this key's."""
        cdef const uint8_t* at = <const uint8_t*>PyBytes_AS_STRING(self.raw)
        signer.mac(at, self.payload_size, self.code)
        self.is_verified = is_hex_of(at + self.payload_size + 11, self.code)
        return self.is_verified

    @property
    def own_id(self):
        """The client id of the order, or of the cancel itself: as sent, or made from the digest."""
        return PyUnicode_DecodeASCII(self.client_id, self.client_id_size, NULL)

    def request(self):
        """What the general way calls this order: keyword values of a Placement."""
        return {
            "client_id": self.own_id, "iceberg_steps": 0, "market": self.numbers.market, "price_ticks": self.price_ticks,
            "quantity_steps": self.quantity_steps, "quote_quantity_units": self.quote_units,
            "response": ("", "ACK", "RESULT", "FULL")[self.response], "self_trade_prevention": 0, "side": self.side,
            "stop_price_ticks": 0, "strategy_id": 0, "strategy_type": 0, "time_in_force": self.time_in_force,
            "type": self.type,
        }

    def place(self, uint32_t account, MarketNumbers numbers, bytes route):
        """The PLACE command; None when this is no plain order, or not one that this market's filters take."""
        cdef Command c
        if not self.is_verified or not self.is_order() or not self.measure(numbers):
            return None
        self.start(&c, COMMAND_PLACE, account, numbers, route)
        c.type = self.type
        c.side = self.side
        c.time_in_force = self.time_in_force
        c.price_ticks = self.price_ticks
        c.quantity_steps = self.quantity_steps
        c.quote_quantity_units = self.quote_units
        memcpy(c.client_id, self.client_id, self.client_id_size)
        return PyBytes_FromStringAndSize(<const char*>&c, sizeof(c))

    def cancel(self, uint32_t account, MarketNumbers numbers, bytes route):
        """The CANCEL command; None when this is no plain cancel."""
        cdef Command c
        cdef uint32_t rest = self.given & ~<uint32_t>(MAY | HAS_ORDER_ID | HAS_OTHER_ID)
        if rest != ALWAYS or not self.given & <uint32_t>(HAS_ORDER_ID | HAS_OTHER_ID):
            return None
        if (self.given & HAS_ORDER_ID and self.order_id == 0) or not self.is_verified:
            return None
        self.start(&c, COMMAND_CANCEL, account, numbers, route)
        c.restriction = RESTRICTION_NONE
        c.order_id = <uint64_t>self.order_id
        memcpy(c.client_id, self.other_id, self.other_id_size)
        memcpy(c.other_client_id, self.client_id, self.client_id_size)
        return PyBytes_FromStringAndSize(<const char*>&c, sizeof(c))

    cdef void start(self, Command* c, uint8_t kind, uint32_t account, MarketNumbers numbers, bytes route) noexcept:
        memset(c, 0, sizeof(Command))
        make_digest(self.code, PyBytes_AS_STRING(route), PyBytes_GET_SIZE(route), c.digest)
        if not self.given & HAS_CLIENT_ID:
            self.client_id_size = make_id(self.client_id, c.digest)
        c.kind = kind
        c.legs = 1
        c.account = account
        c.market = numbers.id
        c.deadline_ns = self.timestamp_ns + self.window_ns

    cdef bint is_order(self) noexcept:
        # The parameters that the type needs, and no others.
        cdef uint32_t rest = self.given & ~<uint32_t>PLACE_MAY
        if self.type == TYPE_LIMIT:
            return rest == PLACE_NEEDS | HAS_TIF | HAS_QUANTITY | HAS_PRICE
        if self.type == TYPE_LIMIT_MAKER:
            return rest == PLACE_NEEDS | HAS_QUANTITY | HAS_PRICE
        if self.type == TYPE_MARKET:
            return rest == PLACE_NEEDS | HAS_QUANTITY or rest == PLACE_NEEDS | HAS_QUOTE
        return False

    cdef bint measure(self, MarketNumbers n) noexcept:
        # Texts as ticks, steps and units; False when a filter of the door has something to say.
        self.price_ticks = self.quantity_steps = self.quote_units = 0
        if self.given & HAS_PRICE:
            self.price_ticks = self.price_e8 // n.tick_e8
            if self.price_e8 % n.tick_e8 or not n.price_ticks_min <= self.price_ticks <= n.price_ticks_max:
                return False
        if self.given & HAS_QUANTITY:
            self.quantity_steps = self.quantity_e8 // n.step_e8
            if self.quantity_e8 % n.step_e8 or not n.quantity_steps_min <= self.quantity_steps <= n.quantity_steps_max:
                return False
            if self.quantity_steps <= 0:
                return False
        if self.given & HAS_QUOTE:
            self.quote_units = self.quote_e8 // n.quote_scale
            if self.quote_e8 % n.quote_scale or not 0 < self.quote_units <= UNITS_MAX:
                return False
        if not self.given & HAS_RESPONSE:
            self.response = RESPONSE_FULL if self.type <= TYPE_MARKET else RESPONSE_ACK
        self.numbers = n
        return True

    cdef bint read(self, const uint8_t* at, Py_ssize_t size) noexcept:
        # Every parameter up to the signature.
        cdef Py_ssize_t start = 0, equals, end
        cdef const uint8_t* found
        while start < size:
            found = <const uint8_t*>memchr(at + start, c'=', size - start)
            if found == NULL:
                return False
            equals = found - at
            found = <const uint8_t*>memchr(at + equals, c'&', size - equals)
            end = size if found == NULL else found - at
            if end == equals + 1 or not self.take(at + start, equals - start, at + equals + 1, end - equals - 1):
                return False
            start = end + 1
        return start == size + 1

    cdef bint take(self, const uint8_t* name, Py_ssize_t size, const uint8_t* at, Py_ssize_t length) noexcept:
        # One parameter; False when it is not known here, came before, or is not plain.
        cdef uint32_t bit = 0
        cdef bint good = False
        cdef int64_t number = 0
        if size == 4 and memcmp(name, b"side", 4) == 0:
            bit, good = HAS_SIDE, self.take_side(at, length)
        elif size == 4 and memcmp(name, b"type", 4) == 0:
            bit, good = HAS_TYPE, self.take_type(at, length)
        elif size == 5 and memcmp(name, b"price", 5) == 0:
            bit, good = HAS_PRICE, read_e8(at, length, &self.price_e8)
        elif size == 6 and memcmp(name, b"symbol", 6) == 0:
            bit, good = HAS_SYMBOL, length <= 20 and all_of(at, length, SYMBOL)
            if good:
                self.symbol = PyUnicode_DecodeASCII(<const char*>at, length, NULL)
        elif size == 7 and memcmp(name, b"orderId", 7) == 0:
            bit, good = HAS_ORDER_ID, read_integer(at, length, &self.order_id)
        elif size == 8 and memcmp(name, b"quantity", 8) == 0:
            bit, good = HAS_QUANTITY, read_e8(at, length, &self.quantity_e8)
        elif size == 9 and memcmp(name, b"timestamp", 9) == 0:
            bit, good = HAS_TIMESTAMP, length <= 16 and read_integer(at, length, &number)
            if number < MICROSECONDS_FROM:
                self.timestamp_ns = number * 1_000_000
                good = good and number <= TIME_MS_MAX
            else:
                self.timestamp_ns = number * 1_000
                good = good and number <= TIME_MS_MAX * 1_000
        elif size == 10 and memcmp(name, b"recvWindow", 10) == 0:
            bit, good = HAS_WINDOW, read_integer(at, length, &number) and number <= WINDOW_MS_MAX
            self.window_ns = number * 1_000_000
        elif size == 11 and memcmp(name, b"timeInForce", 11) == 0:
            bit, good = HAS_TIF, self.take_time_in_force(at, length)
        elif size == 13 and memcmp(name, b"quoteOrderQty", 13) == 0:
            bit, good = HAS_QUOTE, read_e8(at, length, &self.quote_e8)
        elif size == 16 and memcmp(name, b"newClientOrderId", 16) == 0:
            bit, good = HAS_CLIENT_ID, length <= 36 and all_of(at, length, NAME)
            if good:
                memcpy(self.client_id, at, length)
                self.client_id_size = length
        elif size == 16 and memcmp(name, b"newOrderRespType", 16) == 0:
            bit, good = HAS_RESPONSE, self.take_response(at, length)
        elif size == 17 and memcmp(name, b"origClientOrderId", 17) == 0:
            bit, good = HAS_OTHER_ID, length <= 36 and all_of(at, length, NAME)
            if good:
                memcpy(self.other_id, at, length)
                self.other_id_size = length
        if not good or self.given & bit:
            return False
        self.given |= bit
        return True

    cdef bint take_side(self, const uint8_t* at, Py_ssize_t length) noexcept:
        if length == 3 and memcmp(at, b"BUY", 3) == 0:
            self.side = 1
        elif length == 4 and memcmp(at, b"SELL", 4) == 0:
            self.side = 2
        else:
            return False
        return True

    cdef bint take_type(self, const uint8_t* at, Py_ssize_t length) noexcept:
        if length == 5 and memcmp(at, b"LIMIT", 5) == 0:
            self.type = TYPE_LIMIT
        elif length == 6 and memcmp(at, b"MARKET", 6) == 0:
            self.type = TYPE_MARKET
        elif length == 11 and memcmp(at, b"LIMIT_MAKER", 11) == 0:
            self.type = TYPE_LIMIT_MAKER
        else:
            return False
        return True

    cdef bint take_time_in_force(self, const uint8_t* at, Py_ssize_t length) noexcept:
        if length != 3:
            return False
        if memcmp(at, b"GTC", 3) == 0:
            self.time_in_force = TIF_GTC
        elif memcmp(at, b"IOC", 3) == 0:
            self.time_in_force = TIF_IOC
        elif memcmp(at, b"FOK", 3) == 0:
            self.time_in_force = TIF_FOK
        else:
            return False
        return True

    cdef bint take_response(self, const uint8_t* at, Py_ssize_t length) noexcept:
        if length == 3 and memcmp(at, b"ACK", 3) == 0:
            self.response = RESPONSE_ACK
        elif length == 6 and memcmp(at, b"RESULT", 6) == 0:
            self.response = RESPONSE_RESULT
        elif length == 4 and memcmp(at, b"FULL", 4) == 0:
            self.response = RESPONSE_FULL
        else:
            return False
        return True


cdef Py_ssize_t make_id(char* to, const uint8_t* digest) noexcept nogil:
    # 22 letters and digits: base64 of 16 bytes with a and Z for the two signs, less its padding.
    cdef const char* letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789aZ"
    cdef uint32_t bits = 0
    cdef int held = 0, i, n = 0
    for i in range(16):
        bits = (bits << 8) | digest[i]
        held += 8
        while held >= 6:
            held -= 6
            to[n] = letters[(bits >> held) & 63]
            n += 1
    to[n] = letters[(bits << (6 - held)) & 63]
    return n + 1


def read_form(bytes raw, Py_ssize_t skip=0):
    """The Form of a signed request's query or body whose last parameter is an HMAC signature; None: not plain.
    `skip`: so many bytes at its start are signed, but are no parameter of the form (the key, in the WebSocket API)."""
    cdef const uint8_t* at = <const uint8_t*>PyBytes_AS_STRING(raw)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(raw) - 75  # "&signature=" and 64 digits
    cdef Form form
    if size <= 0 or memcmp(at + size, b"&signature=", 11) != 0 or not all_of(at + size + 11, 64, HEX):
        return None
    form = Form.__new__(Form)
    form.window_ns = DEFAULT_WINDOW_NS
    if not 0 <= skip < size or not form.read(at + skip, size - skip) or form.given & <uint32_t>ALWAYS != ALWAYS:
        return None
    form.raw = raw
    form.payload_size = size
    return form
