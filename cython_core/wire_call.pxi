# SPDX-License-Identifier: Apache-2.0
# A plain request of the WebSocket API out of a read: the frames of a client, and the JSON of a signed call as a form.

cdef enum:
    WORD = 64              # in a JSON string, and the same in a form
    TEXT = 128             # in a JSON string that has no escapes
    PARAMETERS_MAX = 24
    ID_BYTES_MAX = 36
    FRAMES_MAX = 64


cdef void make_text_kinds() noexcept:
    cdef int byte
    for byte in range(0x20, 0x7F):
        if byte != c'"' and byte != c'\\':
            KINDS[byte] |= TEXT
            if byte != c' ' and byte != c'&' and byte != c'=' and byte != c'%' and byte != c'+':
                KINDS[byte] |= WORD


make_text_kinds()


def read_frames(bytes data, Py_ssize_t start, Py_ssize_t payload_bytes_max, bint plain):
    """The client's frames from `start` on, as (payloads, end, other_end): the unmasked payloads of whole text (or
    binary) messages of one frame each; where reading stopped; and the end of the whole frame there that is of another
    kind. other_end = end: there is no whole frame there yet; -1: one that no client may send, or that is too large.
    Not `plain`: every frame is of another kind."""
    cdef const uint8_t* at = <const uint8_t*>PyBytes_AS_STRING(data)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(data), head, length, i
    cdef list payloads = []
    cdef bytes payload
    cdef uint8_t* to
    cdef const uint8_t* mask
    cdef uint8_t first, second
    while True:
        if size - start < 2:
            return payloads, start, start
        first, second = at[start], at[start + 1]
        if not second & 0x80 or first & 0x70:
            return payloads, start, -1
        head = 6
        length = second & 0x7F
        if length == 126:
            head = 8
            if size - start < head:
                return payloads, start, start
            length = at[start + 2] << 8 | at[start + 3]
        elif length == 127:
            head = 14
            if size - start < head:
                return payloads, start, start
            if at[start + 2] or at[start + 3] or at[start + 4] or at[start + 5]:
                return payloads, start, -1
            length = 0
            for i in range(6, 10):
                length = length << 8 | at[start + i]
        if length > payload_bytes_max:
            return payloads, start, -1
        if size - start < head + length:
            return payloads, start, start
        if not plain or (first != 0x81 and first != 0x82) or len(payloads) == FRAMES_MAX:
            return payloads, start, start + head + length
        payload = PyBytes_FromStringAndSize(NULL, length)
        to = <uint8_t*>PyBytes_AS_STRING(payload)
        mask = at + start + head - 4
        unmask(to, at + start + head, length, mask)
        payloads.append(payload)
        start += head + length


cdef inline void unmask(uint8_t* to, const uint8_t* data, Py_ssize_t size, const uint8_t* mask) noexcept nogil:
    cdef Py_ssize_t i = 0
    cdef uint64_t wide, eight
    memcpy(&wide, mask, 4)
    memcpy(<uint8_t*>&wide + 4, mask, 4)
    while i + 8 <= size:
        memcpy(&eight, data + i, 8)
        eight ^= wide
        memcpy(to + i, &eight, 8)
        i += 8
    while i < size:
        to[i] = data[i] ^ mask[i & 3]
        i += 1


cdef struct Piece:
    const uint8_t* at
    Py_ssize_t size


cdef struct Pair:
    Piece name
    Piece value


cdef struct Scan:
    const uint8_t* at
    const uint8_t* end


cdef inline void skip_space(Scan* scan) noexcept nogil:
    while scan.at < scan.end and (
        scan.at[0] == c' ' or scan.at[0] == c'\n' or scan.at[0] == c'\r' or scan.at[0] == c'\t'
    ):
        scan.at += 1


cdef inline bint take_mark(Scan* scan, uint8_t mark) noexcept nogil:
    # This character, with the space around it.
    skip_space(scan)
    if scan.at == scan.end or scan.at[0] != mark:
        return False
    scan.at += 1
    skip_space(scan)
    return True


cdef inline bint take_string(Scan* scan, uint8_t kind, Piece* piece) noexcept nogil:
    # What stands between quotes, when it is one or more characters of this kind.
    if scan.at == scan.end or scan.at[0] != c'"':
        return False
    scan.at += 1
    piece.at = scan.at
    while scan.at < scan.end and KINDS[scan.at[0]] & kind:
        scan.at += 1
    piece.size = scan.at - piece.at
    if scan.at == scan.end or scan.at[0] != c'"' or piece.size == 0:
        return False
    scan.at += 1
    return True


cdef inline bint take_number(Scan* scan, bint whole, Piece* piece) noexcept nogil:
    # Digits without a sign or an exponent, as JSON has them.
    cdef const uint8_t* first
    piece.at = scan.at
    while scan.at < scan.end and scan.at[0] >= c'0' and scan.at[0] <= c'9':
        scan.at += 1
    piece.size = scan.at - piece.at
    if piece.size == 0 or (piece.at[0] == c'0' and piece.size > 1) or (whole and piece.size > 18):
        return False
    if not whole and scan.at < scan.end and scan.at[0] == c'.':
        scan.at += 1
        first = scan.at
        while scan.at < scan.end and scan.at[0] >= c'0' and scan.at[0] <= c'9':
            scan.at += 1
        if scan.at == first:
            return False
        piece.size = scan.at - piece.at
    # What follows a number is looked at by who called; a letter there is no mark that may follow.
    return True


cdef inline bint is_text(Piece* piece, const char* text, Py_ssize_t size) noexcept nogil:
    return piece.size == size and memcmp(piece.at, text, size) == 0


cdef inline int compare(Piece* one, Piece* other) noexcept nogil:
    cdef Py_ssize_t size = one.size if one.size < other.size else other.size
    cdef int order = memcmp(one.at, other.at, size)
    if order == 0:
        return -1 if one.size < other.size else 1 if one.size > other.size else 0
    return order


cdef int take_parameters(Scan* scan, Pair* pairs) noexcept nogil:
    # The object of parameters, sorted by name; how many there are, or -1.
    cdef int count = 0, i, order
    cdef Pair pair
    if not take_mark(scan, c'{'):
        return -1
    while True:
        if count == PARAMETERS_MAX or not take_string(scan, WORD, &pair.name) or not take_mark(scan, c':'):
            return -1
        if not take_string(scan, WORD, &pair.value):
            if scan.at == scan.end or scan.at[0] < c'0' or scan.at[0] > c'9':
                return -1
            if not take_number(scan, False, &pair.value):
                return -1
        i = count
        while i > 0:
            order = compare(&pairs[i - 1].name, &pair.name)
            if order == 0:
                return -1
            if order < 0:
                break
            pairs[i] = pairs[i - 1]
            i -= 1
        pairs[i] = pair
        count += 1
        if take_mark(scan, c','):
            continue
        return count if take_mark(scan, c'}') else -1


cdef bint take_call(Scan* scan, Piece* number, Piece* method, Pair* pairs, int* count) noexcept nogil:
    # {"id", "method", "params"}, each once, in any order. `number` is the id as it stands there.
    cdef Piece name
    cdef const uint8_t* before
    cdef int had = 0, bit
    if not take_mark(scan, c'{'):
        return False
    while True:
        if not take_string(scan, WORD, &name) or not take_mark(scan, c':'):
            return False
        if is_text(&name, b"id", 2):
            bit = 1
            before = scan.at
            if take_string(scan, TEXT, number):
                if number.size > ID_BYTES_MAX:
                    return False
            elif scan.at != before or not take_number(scan, True, number):
                return False
            number.at = before
            number.size = scan.at - before
        elif is_text(&name, b"method", 6):
            bit = 2
            if not take_string(scan, WORD, method):
                return False
        elif is_text(&name, b"params", 6):
            bit = 4
            count[0] = take_parameters(scan, pairs)
            if count[0] < 0:
                return False
        else:
            return False
        if had & bit:
            return False
        had |= bit
        if take_mark(scan, c','):
            continue
        return take_mark(scan, c'}') and scan.at == scan.end and had == 7


def read_call(bytes data):
    """A plain signed call: (its id as JSON, its method, its key, what it signed as a form with the signature behind
    it, which begins with the key); None: not plain, the general way reads it."""
    cdef Scan scan
    cdef Piece number, method
    cdef Pair[PARAMETERS_MAX] pairs
    cdef int count = 0, i, signature = -1
    cdef Py_ssize_t size = 0
    cdef bytes form
    cdef char* to
    number.at = method.at = scan.at = <const uint8_t*>PyBytes_AS_STRING(data)
    number.size = method.size = 0
    scan.end = scan.at + PyBytes_GET_SIZE(data)
    if not take_call(&scan, &number, &method, pairs, &count):
        return None
    if count < 2 or not is_text(&pairs[0].name, b"apiKey", 6) or not all_of(pairs[0].value.at, pairs[0].value.size, NAME):
        return None
    for i in range(count):
        size += pairs[i].name.size + pairs[i].value.size + 2
        if is_text(&pairs[i].name, b"signature", 9):
            signature = i
    if signature < 0:
        return None
    form = PyBytes_FromStringAndSize(NULL, size - 1)
    to = PyBytes_AS_STRING(form)
    for i in range(count):
        if i != signature:
            to = put_pair(to, &pairs[i])
            to[0] = c'&'
            to += 1
    put_pair(to, &pairs[signature])
    return (
        PyBytes_FromStringAndSize(<const char*>number.at, number.size),
        PyUnicode_DecodeASCII(<const char*>method.at, method.size, NULL),
        PyUnicode_DecodeASCII(<const char*>pairs[0].value.at, pairs[0].value.size, NULL),
        form,
    )


cdef inline char* put_pair(char* to, Pair* pair) noexcept nogil:
    to = put(to, <const char*>pair.name.at, pair.name.size)
    to[0] = c'='
    return put(to + 1, <const char*>pair.value.at, pair.value.size)
