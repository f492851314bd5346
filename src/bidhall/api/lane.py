# SPDX-License-Identifier: Apache-2.0
"""The fast lane: every /api/v3 and sapi request from its bytes to the bytes of its answer, without a task.

Who calls it: the guarded protocol (`connection.py`) serves each whole request here. What a handler may do: return the
JSON body, raise `ApiError`, or keep the request and call `finish`/`fail` later, on the loop, once. What may never
happen here: an await, a task per request, a change that is half done when a handler fails (handlers change nothing but
through `replica.submit`), or an exception that leaves this file (it is a bug: logged, counted, answered with -1000).
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from bidhall.core.views import ViewClosed
from bidhall.core.wire import Form, read_form
from bidhall.protocol import endpoints
from bidhall.protocol.endpoints import Endpoint, Security
from bidhall.protocol.errors import ApiError, internal
from bidhall.protocol.requests import Request as Parsed
from bidhall.protocol.requests import parse, time_unit_ns
from bidhall.protocol.signatures import check_time

if TYPE_CHECKING:
    from bidhall.api.access import Access
    from bidhall.api.connection import GuardedProtocol
    from bidhall.api.limits import Limits, OrderCount, Peer
    from bidhall.api.reads import Reads
    from bidhall.environment import Environment
    from bidhall.replica.registry import Key

logger = logging.getLogger("bidhall.api")

# Where a turn of a connection stands (see connection.py).
FRESH: Final = 0  # being served
WAITING: Final = 1  # kept by its handler
HELD: Final = 2  # not served yet
DONE: Final = 3  # its answer is in `data`

# An unknown key, symbol or order is only refused by a replica that has seen all that was acknowledged before.
UNKNOWN_CODES: Final = frozenset({-2015, -1121, -2013})

VIEW_CLOSED: Final = "Internal error; unable to process your request. Please try again."

REASONS: Final = {
    200: b"OK",
    400: b"Bad Request",
    401: b"Unauthorized",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    409: b"Conflict",
    410: b"Gone",
    413: b"Content Too Large",
    418: b"I'm a teapot",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
}
GOOD: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json;charset=UTF-8\r\ncontent-length: %d\r\n"
    b"x-mbx-used-weight: %d\r\nx-mbx-used-weight-1m: %d\r\n\r\n%b"
)
GOOD_MORE: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json;charset=UTF-8\r\ncontent-length: %d\r\n"
    b"x-mbx-used-weight: %d\r\nx-mbx-used-weight-1m: %d\r\n%b\r\n%b"
)
CLOSE: Final = b"connection: close\r\n"


def answer_bytes(status: int, body: bytes, more: bytes = b"", keep_alive: bool = True) -> bytes:
    """A whole HTTP answer of any status; `more` are finished header lines."""
    return b"HTTP/1.1 %d %b\r\ncontent-type: application/json;charset=UTF-8\r\ncontent-length: %d\r\n%b%b\r\n%b" % (
        status,
        REASONS.get(status, b"Error"),
        len(body),
        more,
        b"" if keep_alive else CLOSE,
        body,
    )


Handler = Callable[["Request"], bytes | None]
NOT_PLAIN: Final = b"?"  # a quick handler's word for "the general way, please"


class Route:
    """One endpoint and what serves it."""

    __slots__ = (
        "endpoint",
        "failed",
        "free_on_success",
        "handler",
        "is_public",
        "method",
        "name",
        "parallel",
        "path",
        "quick",
        "reads",
        "security",
        "served",
        "signed",
        "weight",
    )

    def __init__(self, endpoint: Endpoint, handler: Handler, *, reads: bool, weight: int | None) -> None:
        self.endpoint = endpoint
        self.handler = handler
        self.method = endpoint.method.encode()
        self.path = endpoint.path.encode()
        self.name = self.method + b" " + self.path
        self.reads = reads  # it shows state: waits for its turn on a pipelined connection, and for the barrier
        self.parallel = not reads
        self.quick: Handler | None = None  # answers plain requests; NOT_PLAIN for the others
        self.weight = weight  # None: depends on the parameters
        self.security = endpoint.security
        self.signed = endpoint.signed
        self.free_on_success = endpoint.free_on_success
        # No promise says that it is fresh: it goes on when the log cannot be reached. A depth snapshot is fresh.
        self.is_public = not endpoint.signed and endpoint is not endpoints.DEPTH
        self.served = 0
        self.failed = 0


class Request:
    """One request as a handler sees it, whichever way it came: what is asked, by whom, and where the answer goes.

    `HttpRequest` is one of HTTP, `ws_api.Call` one of the WebSocket API. A handler may look at nothing else of them.
    """

    __slots__ = (
        "account", "admitted", "count", "data", "deadline_ns", "fresh", "key", "key_text", "more", "now_ns", "parsed",
        "peer", "route", "unit_ns", "values", "weighed",
    )  # fmt: skip

    route: Route
    peer: Peer
    key_text: str
    unit_ns: int
    data: bytes | None
    fresh: bool  # the barrier has been passed
    admitted: bool  # key, signature, time and permission were looked at, and are good
    weighed: bool
    more: bytes  # further header lines of a good answer
    account: int
    # Not there before they are known.
    parsed: Parsed
    values: dict[str, Any]
    key: Key
    now_ns: int
    deadline_ns: int
    count: OrderCount

    def form(self) -> Form | None:
        """The parameters of a plain signed request; None: the general way, please."""
        raise NotImplementedError

    def finish(self, body: bytes) -> None:
        """The good answer of a request that was kept."""
        raise NotImplementedError

    def fail(self, error: ApiError) -> None:
        """The refusal of a request that was kept."""
        raise NotImplementedError

    def deliver(self, data: bytes) -> None:
        """The finished bytes of a whole HTTP answer, of a request that was kept; once."""
        raise NotImplementedError


class HttpRequest(Request):
    """One request on the fast lane, from its bytes to its answer; also its turn on the connection."""

    __slots__ = ("body", "connection", "keep_alive", "parallel", "query", "state", "unit")

    def __init__(
        self,
        connection: GuardedProtocol,
        route: Route,
        query: bytes,
        body: bytes,
        key_text: str,
        unit: bytes,
        keep_alive: bool,
    ) -> None:
        self.connection = connection
        self.route = route
        self.query = query
        self.body = body
        self.key_text = key_text
        self.unit = unit
        self.unit_ns = 1_000_000
        self.keep_alive = keep_alive
        self.parallel = route.parallel
        self.peer = connection.peer  # type: ignore[assignment]
        self.state = FRESH
        self.data = None
        self.fresh = False
        self.admitted = False
        self.weighed = False
        self.more = b""
        self.account = 0

    def form(self) -> Form | None:
        """The parameters of a plain signed request; None: the general way, please."""
        if self.unit or (self.query and self.body):
            return None
        return read_form(self.body or self.query)

    def finish(self, body: bytes) -> None:
        """The good answer of a request that was kept."""
        self.deliver(self.connection.lane.good(self, body))

    def fail(self, error: ApiError) -> None:
        """The refusal of a request that was kept."""
        self.deliver(self.connection.lane.refused(self, error))

    def deliver(self, data: bytes) -> None:
        """Hand the finished bytes to the connection; once."""
        self.data = data
        if self.state == WAITING:
            connection = self.connection
            turns = connection.turns
            if len(turns) == 1 and turns[0] is self:
                turns.popleft()
                connection.write_answer(data, self.keep_alive)
            else:
                self.state = DONE
                connection.advance()


class Lane:
    """The routes of the fast lane and the way through it."""

    def __init__(self, environment: Environment, limits: Limits, access: Access, reads: Reads) -> None:
        self.environment = environment
        self.limits = limits
        self.access = access
        self.reads = reads
        self.routes: dict[tuple[bytes, bytes], Route] = {}
        self.plain_routes: dict[bytes, Route] = {}  # the same by b"GET /path", for bidhall.core.wire
        self.faults = 0  # exceptions that were bugs; tests assert that it stays 0
        self.wall_ns = environment.wall_ns
        self.at_once = reads.at_once
        self.weight_max = limits.weight_max
        self.raw_max = limits.raw_max

    def add(self, endpoint: Endpoint, handler: Handler, *, reads: bool = True, weight: int | None = None) -> Route:
        """Serve this endpoint by this handler."""
        route = Route(endpoint, handler, reads=reads, weight=weight)
        self.routes[route.method, route.path] = route
        self.plain_routes[route.name] = route
        return route

    # --- the way in ----------------------------------------------------------------------------------------------

    def serve(self, request: HttpRequest) -> bytes | None:
        """The whole answer, or None: the handler keeps the request."""
        route = request.route
        route.served += 1
        now_ns = request.now_ns = self.wall_ns()
        try:
            weight = route.weight
            peer = request.peer
            peer.raw += 1
            if weight:
                peer.used += weight
            if now_ns >= peer.look_ns or peer.used > self.weight_max or peer.raw > self.raw_max:
                self.limits.judge(peer, weight or 0, now_ns)
            if route.quick is not None:
                data = route.quick(request)
                if data is not NOT_PLAIN:
                    return data
            return self._general(request)
        except ApiError as error:
            return self._unknown(request, error)
        except Exception:
            return self._fault(request)

    def _general(self, request: HttpRequest) -> bytes | None:
        """Parse, ask who it is, and call the handler. Runs again from the start when it had to wait for the barrier."""
        route = request.route
        if request.unit:
            request.unit_ns = time_unit_ns(request.unit)
        request.parsed = parsed = parse(route.endpoint, request.query, request.body)
        request.values = parsed.values
        if route.weight is None and not request.weighed:
            request.weighed = True
            self.limits.weigh(request.peer, route.endpoint.weight(parsed.values), request.now_ns)
        if route.signed and not request.admitted and not self._admitted(request):
            return request.data
        if route.reads and not request.fresh and not self.at_once:
            return self._wait(request)
        body = route.handler(request)
        return request.data if body is None else self.good(request, body)

    def _admitted(self, request: HttpRequest) -> bool:
        """Who asks, and may they; False: it will be known later, and `_verified` goes on then."""
        access = self.access
        parsed = request.parsed
        request.key = key = access.find(request.key_text)
        request.account = key.account
        check_time(parsed, request.now_ns)
        if key.kind != "hmac":
            access.verify_later(key, parsed, lambda good: self._verified(request, good))
            return False
        access.verify_hmac(key, parsed)
        access.permit(key, request.route.security)
        request.admitted = True
        return True

    # --- the ways back in ----------------------------------------------------------------------------------------

    def _verified(self, request: HttpRequest, good: bool | ApiError) -> None:
        """An Ed25519 signature was checked off the loop."""
        try:
            self.access.accept(request.key, request.route.security, good)
        except ApiError as error:
            request.deliver(self.refused(request, error))
            return
        request.admitted = True
        self._go_on(request)

    def _wait(self, request: HttpRequest) -> bytes | None:
        """Go on when everything that was acknowledged before now has been applied here."""
        request.fresh = True
        self.reads.wait(lambda error: self._fresh(request, error), is_public=request.route.is_public)
        return request.data

    def _fresh(self, request: HttpRequest, error: ApiError | None) -> None:
        if error is not None:
            request.deliver(self.refused(request, error))
        else:
            self._go_on(request)

    def _go_on(self, request: HttpRequest) -> None:
        try:
            data = self._general(request)
        except ApiError as error:
            data = self._unknown(request, error)
        except Exception:
            data = self._fault(request)
        if data is not None:
            request.deliver(data)

    def _unknown(self, request: HttpRequest, error: ApiError) -> bytes | None:
        if error.code in UNKNOWN_CODES and not request.fresh and not self.at_once:
            return self._wait(request)
        return self.refused(request, error)

    # --- the way out ---------------------------------------------------------------------------------------------

    def good(self, request: HttpRequest, body: bytes) -> bytes:
        """The bytes of a good answer."""
        used = request.peer.used
        if request.keep_alive and not request.more:
            return GOOD % (len(body), used, used, body)
        more = request.more if request.keep_alive else request.more + CLOSE
        return GOOD_MORE % (len(body), used, used, more, body)

    def refused(self, request: HttpRequest, error: ApiError) -> bytes:
        """The bytes of a refusal; what is free when it succeeds costs its weight when it fails."""
        route = request.route
        route.failed += 1
        peer = request.peer
        if route.free_on_success and error.code != -1003:
            self.limits.add(peer, 1, request.now_ns)
        more = b"x-mbx-used-weight: %d\r\nx-mbx-used-weight-1m: %d\r\n" % (peer.used, peer.used)
        if error.retry_after_s:
            more += b"retry-after: %d\r\n" % error.retry_after_s
        return answer_bytes(error.status, error.body, more, request.keep_alive)

    def _fault(self, request: HttpRequest) -> bytes:
        return self.refused(request, self.excuse(request.route))

    def excuse(self, route: Route) -> ApiError:
        """What to say for a handler that raised what it may not: a bug of ours, and never a half-done change."""
        if isinstance(sys.exception(), ViewClosed):
            # A view that had a fault is closed, trading goes on: what needs it cannot be answered here.
            return ApiError(-1001, VIEW_CLOSED, 503)
        self.faults += 1
        logger.exception("bug in the handler of %s %s", route.endpoint.method, route.endpoint.path)
        return internal()


__all__ = ["Handler", "HttpRequest", "Lane", "Request", "Route", "Security", "answer_bytes"]
