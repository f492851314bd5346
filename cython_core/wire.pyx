# SPDX-License-Identifier: Apache-2.0
"""The plain case of the door, compiled: an HTTP request out of a read, an order out of its form, the answer out of its
events, pages of orders and fills.

The door (`bidhall.api`) asks here first and follows the general way (httptools, `bidhall.protocol`) whenever this says
None. It understands only what is plain: whole requests with ordinary headers, forms without percent-encoding, LIMIT,
MARKET and LIMIT_MAKER orders, cancels. It must never accept what the general way refuses, nor read or write anything
otherwise than that way does; tests compare the two, byte by byte. No I/O, no clock, no state.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.tuple cimport PyTuple_Check, PyTuple_GET_ITEM, PyTuple_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeASCII
from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memchr, memcmp, memcpy, memset

from bidhall.core.records cimport (
    COMMAND_CANCEL, COMMAND_PLACE, EVENT_ACCEPTED, EVENT_FILL, FLAG_WORKING, RESTRICTION_NONE, STATUS_EXPIRED, STATUS_FILLED,
    STATUS_NEW, STATUS_PARTIALLY_FILLED, TIF_FOK, TIF_GTC, TIF_IOC, TIF_NONE, TYPE_LIMIT, TYPE_LIMIT_MAKER,
    TYPE_MARKET, Command,
)

include "wire_text.pxi"
include "wire_sign.pxi"
include "wire_http.pxi"
include "wire_form.pxi"
include "wire_answer.pxi"
include "wire_pages.pxi"
include "wire_call.pxi"
