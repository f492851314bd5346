# SPDX-License-Identifier: Apache-2.0
# One plain HTTP/1.1 request out of a read.
#
# Plain: GET, POST, PUT or DELETE; a target of visible ASCII that begins with "/"; CRLF line ends, no folded line; no header
# that changes how a message is read (Transfer-Encoding, Upgrade, Expect, Connection but keep-alive); at most one
# Content-Length, X-MBX-APIKEY; nothing else of ours. The rest is httptools' business, from the first byte on.

cdef struct Head:
    Py_ssize_t path_end      # of "METHOD /path"
    Py_ssize_t query_start
    Py_ssize_t query_end
    Py_ssize_t key_start
    Py_ssize_t key_end
    Py_ssize_t body_start
    int64_t body_size


cdef inline Py_ssize_t method_size(const uint8_t* at, Py_ssize_t left) noexcept nogil:
    # Of "GET " and so on; 0: another.
    if left < 16:
        return 0
    if memcmp(at, b"GET ", 4) == 0 or memcmp(at, b"PUT ", 4) == 0:
        return 4
    if memcmp(at, b"POST ", 5) == 0:
        return 5
    if memcmp(at, b"DELETE ", 7) == 0:
        return 7
    return 0


cdef bint read_line(const uint8_t* data, Py_ssize_t i, Py_ssize_t end, Head* head) noexcept nogil:
    # The request line from behind the method on; body_start is where the headers begin.
    cdef Py_ssize_t start = i
    head.query_start = 0
    if data[i] != c'/':
        return False
    while i < end and KINDS[data[i]] & VISIBLE:
        if data[i] == c'?' and not head.query_start:
            head.path_end = i
            head.query_start = i + 1
        i += 1
    if i == start or end - i < 11 or memcmp(data + i, b" HTTP/1.1\r\n", 11) != 0:
        return False
    if not head.query_start:
        head.path_end = head.query_start = i
    head.query_end = i
    head.body_start = i + 11
    return True


cdef bint read_headers(const uint8_t* data, Py_ssize_t end, Head* head) noexcept nogil:
    # The header lines from body_start on; body_start is where the body begins when it returns.
    cdef Py_ssize_t i = head.body_start, name, size, value
    head.key_start = head.key_end = 0
    head.body_size = -1
    while True:
        if end - i < 2:
            return False
        if data[i] == c'\r':
            if data[i + 1] != c'\n':
                return False
            head.body_start = i + 2
            if head.body_size < 0:
                head.body_size = 0
            return True
        name = i
        while i < end and KINDS[data[i]] & TOKEN:
            i += 1
        size = i - name
        if size == 0 or i >= end or data[i] != c':':
            return False
        i += 1
        while i < end and data[i] == c' ':
            i += 1
        value = i
        while i < end and KINDS[data[i]] & VALUE:
            i += 1
        if end - i < 2 or data[i] != c'\r' or data[i + 1] != c'\n':
            return False
        if not read_header(data, name, size, value, i, head):
            return False
        i += 2


cdef inline bint read_header(
    const uint8_t* data, Py_ssize_t name, Py_ssize_t size, Py_ssize_t value, Py_ssize_t end, Head* head
) noexcept nogil:
    # False: a header that makes the request less than plain.
    cdef const uint8_t* at = data + name
    if size == 10:
        return not is_word(at, size, b"connection", 10) or is_word(data + value, end - value, b"keep-alive", 10)
    if size == 12 and is_word(at, size, b"x-mbx-apikey", 12):
        if head.key_end or value == end or not all_of(data + value, end - value, NAME):
            return False
        head.key_start = value
        head.key_end = end
        return True
    if size == 14 and is_word(at, size, b"content-length", 14):
        return head.body_size < 0 and end - value < 8 and read_integer(data + value, end - value, &head.body_size)
    return not (
        (size == 6 and is_word(at, size, b"expect", 6))
        or (size == 7 and is_word(at, size, b"upgrade", 7))
        or (size == 15 and is_word(at, size, b"x-mbx-time-unit", 15))
        or (size == 16 and is_word(at, size, b"proxy-connection", 16))
        or (size == 17 and is_word(at, size, b"transfer-encoding", 17))
    )


def read_request(bytes data, Py_ssize_t start, Py_ssize_t head_bytes_max, Py_ssize_t body_bytes_max, dict routes):
    """The request that begins at `start`: (route, query, body, key, end), or where it will end when its body is not
    all there yet, or None: not plain, not whole, or none of `routes` (by b"POST /path")."""
    cdef const uint8_t* bytes_ = <const uint8_t*>PyBytes_AS_STRING(data)
    cdef Py_ssize_t end = PyBytes_GET_SIZE(data), size, body_end
    cdef const char* text = <const char*>bytes_
    cdef Head head
    size = method_size(bytes_ + start, end - start)
    if size == 0 or not read_line(bytes_, start + size, end, &head):
        return None
    route = routes.get(PyBytes_FromStringAndSize(text + start, head.path_end - start))
    if route is None or not read_headers(bytes_, end, &head):
        return None
    if head.body_start - start > head_bytes_max or head.body_size > body_bytes_max:
        return None
    body_end = head.body_start + <Py_ssize_t>head.body_size
    if body_end > end:
        return body_end
    return (
        route,
        PyBytes_FromStringAndSize(text + head.query_start, head.query_end - head.query_start),
        PyBytes_FromStringAndSize(text + head.body_start, <Py_ssize_t>head.body_size),
        PyUnicode_DecodeASCII(text + head.key_start, head.key_end - head.key_start, NULL),
        body_end,
    )
