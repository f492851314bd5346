# SPDX-License-Identifier: Apache-2.0
# Arrays of events and orders as C sees them, and the part of them that a command caused.

@cython.final
@cython.freelist(8)
cdef class Records:
    """The memory of an array, or of anything bytes-like, as records of one size."""
    cdef const uint8_t* data
    cdef size_t count
    cdef Py_buffer view

    def __cinit__(self, source, size_t size):
        PyObject_GetBuffer(source, &self.view, PyBUF_SIMPLE)
        self.data = <const uint8_t*>self.view.buf
        self.count = <size_t>self.view.len // size

    def __dealloc__(self):
        PyBuffer_Release(&self.view)


cdef size_t first_event(const Event* events, size_t low, size_t count, uint64_t sequence) noexcept nogil:
    # The first event, from `low` on, of this command or a later one.
    cdef size_t high = count, middle
    while low < high:
        middle = (low + high) // 2
        if events[middle].sequence < sequence:
            low = middle + 1
        else:
            high = middle
    return low


cdef size_t first_order(const OrderRecord* orders, size_t low, size_t count, uint64_t sequence) noexcept nogil:
    cdef size_t high = count, middle
    while low < high:
        middle = (low + high) // 2
        if orders[middle].sequence < sequence:
            low = middle + 1
        else:
            high = middle
    return low


def events_of(events, uint64_t first, uint64_t last):
    """The EVENT records of the commands first..last (sequences) out of a batch's, as bytes."""
    cdef Records r = Records(events, sizeof(Event))
    cdef const Event* event = <const Event*>r.data
    cdef size_t begin = first_event(event, 0, r.count, first)
    cdef size_t end = first_event(event, begin, r.count, last + 1)
    return PyBytes_FromStringAndSize(<const char*>(event + begin), (end - begin) * sizeof(Event))


def orders_of(done, uint64_t first, uint64_t last):
    """The done ORDER records that the commands first..last (sequences) finished, as bytes."""
    cdef Records r = Records(done, sizeof(OrderRecord))
    cdef const OrderRecord* order = <const OrderRecord*>r.data
    cdef size_t begin = first_order(order, 0, r.count, first)
    cdef size_t end = first_order(order, begin, r.count, last + 1)
    return PyBytes_FromStringAndSize(<const char*>(order + begin), (end - begin) * sizeof(OrderRecord))


def event_kinds(events):
    """One bit (1 << kind) for each kind of event there is."""
    cdef Records r = Records(events, sizeof(Event))
    cdef const Event* event = <const Event*>r.data
    cdef size_t i
    cdef uint64_t kinds = 0
    for i in range(r.count):
        kinds |= 1ULL << (event[i].kind & 63)
    return kinds
