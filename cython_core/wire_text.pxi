# SPDX-License-Identifier: Apache-2.0
# Bytes: which ones may stand where, numbers out of text and back.

cdef enum:
    TOKEN = 1      # in the name of a header
    VISIBLE = 2    # in a request target
    VALUE = 4      # in the value of a header
    NAME = 8       # in a client id
    SYMBOL = 16    # in a symbol
    HEX = 32

cdef uint8_t KINDS[256]


cdef void allow(const char* characters, uint8_t kind) noexcept:
    cdef Py_ssize_t i = 0
    while characters[i]:
        KINDS[<uint8_t>characters[i]] |= kind
        i += 1


cdef void make_kinds() noexcept:
    cdef int byte
    memset(KINDS, 0, sizeof(KINDS))
    allow(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", TOKEN | NAME | SYMBOL)
    allow(b"abcdefghijklmnopqrstuvwxyz-_", TOKEN | NAME)
    allow(b"!#$%&'*+.^`|~", TOKEN)
    allow(b"0123456789abcdefABCDEF", HEX)
    for byte in range(0x21, 0x7F):
        KINDS[byte] |= VISIBLE | VALUE
    KINDS[0x20] |= VALUE
    KINDS[0x09] |= VALUE
    KINDS[<int>b"#"] &= ~VISIBLE & 0xFF


make_kinds()


cdef inline bint all_of(const uint8_t* at, Py_ssize_t size, uint8_t kind) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(size):
        if not KINDS[at[i]] & kind:
            return False
    return True


cdef inline bint is_word(const uint8_t* at, Py_ssize_t size, const char* lower, Py_ssize_t length) noexcept nogil:
    # A header's name or value in any case; it holds token characters only, so that bit 5 is the case of a letter.
    cdef Py_ssize_t i
    if size != length:
        return False
    for i in range(size):
        if at[i] | 0x20 != <uint8_t>lower[i]:
            return False
    return True


cdef inline bint read_integer(const uint8_t* at, Py_ssize_t size, int64_t* value) noexcept nogil:
    # 1 to 18 digits.
    cdef int64_t number = 0
    cdef Py_ssize_t i
    if size < 1 or size > 18:
        return False
    for i in range(size):
        if at[i] < c'0' or at[i] > c'9':
            return False
        number = number * 10 + (at[i] - c'0')
    value[0] = number
    return True


cdef inline bint read_e8(const uint8_t* at, Py_ssize_t size, int64_t* value) noexcept nogil:
    # 1 to 10 digits, and if there is a point, 1 to 8 more: never more than 63 bits in 1e-8.
    cdef int64_t number = 0
    cdef Py_ssize_t i = 0, decimals = 0
    while i < size and at[i] >= c'0' and at[i] <= c'9':
        number = number * 10 + (at[i] - c'0')
        i += 1
        if i > 10:
            return False
    if i == 0:
        return False
    if i < size:
        if at[i] != c'.':
            return False
        i += 1
        while i < size and at[i] >= c'0' and at[i] <= c'9':
            if decimals == 8:
                return False
            number = number * 10 + (at[i] - c'0')
            decimals += 1
            i += 1
        if decimals == 0 or i < size:
            return False
    while decimals < 8:
        number *= 10
        decimals += 1
    value[0] = number
    return True


cdef inline bint product(int64_t one, int64_t other, int64_t* value) noexcept nogil:
    # one x other, both >= 0, if it fits.
    if one < 0 or other < 0 or (other and one > INT64_MAX // other):
        return False
    value[0] = one * other
    return True


cdef inline char* put(char* to, const char* text, Py_ssize_t size) noexcept nogil:
    memcpy(to, text, size)
    return to + size


cdef inline char* put_integer(char* to, int64_t value) noexcept nogil:
    cdef char digits[20]
    cdef int i = 20
    if value < 0:
        to[0] = c'-'
        to += 1
        value = -value
    while True:
        i -= 1
        digits[i] = <char>(c'0' + value % 10)
        value = value // 10
        if value == 0:
            break
    return put(to, &digits[i], 20 - i)


cdef inline char* put_e8(char* to, int64_t value) noexcept nogil:
    # Eight decimals, always.
    cdef int64_t whole = value // 100_000_000
    cdef int64_t fraction = value - whole * 100_000_000
    cdef int i
    to = put_integer(to, whole)
    to[0] = c'.'
    for i in range(8, 0, -1):
        to[i] = <char>(c'0' + fraction % 10)
        fraction = fraction // 10
    return to + 9
