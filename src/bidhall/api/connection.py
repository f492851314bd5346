# SPDX-License-Identifier: Apache-2.0
"""From the bytes of one HTTP connection to its requests: the plain ones past the parser, the others through it, both
under the same caps and deadlines; cold ones on to Starlette, upgrades on to the WebSocket half.

Who calls it: uvicorn's server makes one `GuardedProtocol` per accepted socket; `server.py` binds it to its lane and its
limits. What may never happen here: a request that is served before it is whole, or one that is read in two ways: plain
requests are cut out only where the parser holds nothing, and by rules stricter than its own (`bidhall.core.wire`).

uvicorn's httptools protocol is no stable interface: the version is pinned and tests/api/test_server.py is the contract.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import httptools

from bidhall.api.lane import WAITING, HttpRequest, Lane, Route
from bidhall.api.turns import BODY, HEAD, IDLE, TURNS_MAX, Caps, Cold, Turn, Turns
from bidhall.core.wire import read_request
from bidhall.protocol.errors import ApiError

if TYPE_CHECKING:
    import asyncio

    from uvicorn._types import ASGI3Application
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

    from bidhall.api.limits import Limits

HEADERS_MAX: Final = 100
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Refusal(Exception):
    """Raised inside a parser callback to stop the parser; `_general` answers with the error."""

    def __init__(self, error: ApiError) -> None:
        super().__init__(error.message)
        self.error = error


class GuardedProtocol(Turns):
    """uvicorn's protocol with a guard before it and a fast lane beside it."""

    __slots__ = (
        "body", "body_bytes_max", "caught_app", "head_bytes", "head_bytes_max", "key", "last_body_bytes", "loose_bytes",
        "need_bytes", "pieces", "pieces_bytes", "plain", "route", "routes", "target_query", "unit", "upgrading",
        "whole",
    )  # fmt: skip


    # httptools calls what it finds under this name at the start of a message; there is nothing to do then.
    on_message_begin = None  # type: ignore[assignment]

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        # uvicorn lets a request follow one that said "Connection: close"; nothing here wants that.
        self.parser = httptools.HttpRequestParser(self)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A new connection."""
        self.plain = True  # the parser is between two requests: what comes may go past it
        self.pieces: list[bytes] = []  # of a plain request whose body is not all here
        self.pieces_bytes = self.need_bytes = 0
        self.head_bytes_max = self.bound_caps.head_bytes_max
        self.body_bytes_max = self.bound_caps.body_bytes_max
        self.routes = self.bound_lane.plain_routes
        self.whole = 0  # requests that the parser has seen the end of
        self.head_bytes = self.loose_bytes = self.last_body_bytes = 0
        self.body = self.url = self.target_query = self.key = self.unit = b""
        self.headers = []
        self.route: Route | None = None
        self.upgrading = False
        super().connection_made(transport)

    # --- the plain way -------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """One plain request, as most reads hold exactly one, or whatever else it is."""
        if self.plain and not self.turns:
            found = read_request(data, 0, self.head_bytes_max, self.body_bytes_max, self.routes)
            if (
                type(found) is tuple
                and found[4] == len(data)
                and not (self.pieces or self.write_paused or self.no_more)
            ):
                request = HttpRequest(self, found[0], found[1], found[2], found[3], b"", True)
                answer = self.lane.serve(request)
                if answer is not None:
                    self.write_answer(answer, True)
                else:
                    request.state = WAITING
                    self.turns.append(request)
                self.served = True
                self.since = self.loop.time()
                return
        if self.no_more:
            self.drain(data)
            return
        rest = self._plain(data) if self.plain else data
        if rest is not None:
            self._general(rest)

    def _plain(self, data: bytes) -> bytes | None:
        """Serve the requests that `bidhall.core.wire` understands; return the bytes from the first other one on."""
        if self.pieces:
            self.pieces.append(data)
            self.pieces_bytes += len(data)
            if self.pieces_bytes < self.need_bytes:
                return None
            data = b"".join(self.pieces)
            self.pieces.clear()
            self.stage = IDLE
        start, size = 0, len(data)
        while start < size:
            found = read_request(data, start, self.head_bytes_max, self.body_bytes_max, self.routes)
            if found is None:
                return data[start:] if start else data
            if len(self.turns) >= TURNS_MAX:
                self.keep_for_later(data[start:])
                return None
            if type(found) is not tuple:
                self._await_body(data[start:], found - start)  # type: ignore[operator]
                return None
            route, query, body, key, start = found
            self.arrive(HttpRequest(self, route, query, body, key, b"", True))
            if self.no_more:
                return None
        self.served = True
        self.since = self.loop.time()
        return None

    def _await_body(self, data: bytes, need_bytes: int) -> None:
        """The head is whole and plain, the body is not all here: its deadline runs."""
        self.pieces.append(data)
        self.pieces_bytes = len(data)
        self.need_bytes = need_bytes
        self.stage = BODY
        self.since = self.loop.time()

    # --- the general way -----------------------------------------------------------------------------------------

    def _general(self, data: bytes) -> None:
        """Feed the parser; whatever is wrong with the bytes ends the connection with a stated answer."""
        whole, stage, plain = self.whole, self.stage, self.plain
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgraded(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError as error:
            refusal = error.__context__
            self.refuse(refusal.error if isinstance(refusal, Refusal) else _not_http())
            return
        if self.whole == whole:
            self.plain = False
            self._incomplete(data)
        else:
            self.plain = self.whole == whole + 1 and self._is_clean(data, stage, plain)

    def _is_clean(self, data: bytes, stage: int, was_plain: bool) -> bool:
        """Whether the one request that ended in this read ended with its last byte: then the parser holds nothing."""
        body_bytes = self.last_body_bytes
        if not body_bytes:
            return data.endswith(b"\r\n\r\n")
        if stage == BODY:
            return body_bytes == len(data)
        return was_plain and data.find(b"\r\n\r\n") + 4 + body_bytes == len(data)

    def _incomplete(self, data: bytes) -> None:
        """No request ended in this read: its deadline runs, and its bytes are counted."""
        if self.stage == IDLE:
            # Not even a target: half a method, or empty lines. From here on it is a request that drips.
            self._begin()
        self.loose_bytes += len(data)
        if self.stage == HEAD:
            if self.loose_bytes > self.head_bytes_max:
                self.refuse(_head_too_large())
        elif self.loose_bytes > self.head_bytes_max + 8 * self.body_bytes_max:
            self.refuse(_body_too_large())

    def _begin(self) -> None:
        self.stage = HEAD
        self.since = self.loop.time()
        self.loose_bytes = self.head_bytes = 0

    def on_url(self, url: bytes) -> None:
        """The request target, or a piece of it: the request starts here."""
        if self.stage == IDLE:
            self._begin()
        self.url += url
        self.head_bytes += len(url)
        if self.head_bytes > self.head_bytes_max:
            raise Refusal(_head_too_large())

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header line; a trailer is counted and forgotten."""
        self.head_bytes += len(name) + len(value) + 4
        if self.head_bytes > self.head_bytes_max or len(self.headers) >= HEADERS_MAX:
            raise Refusal(_head_too_large())
        if self.stage == HEAD:
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head is whole: what it asks for is known."""
        self.stage = BODY
        self.last_body_bytes = 0
        for name, value in self.headers:
            if name == b"x-mbx-apikey":
                # Two different keys in one request: neither is believed.
                self.key = value if not self.key or self.key == value else b"?"
            elif name == b"x-mbx-time-unit":
                self.unit = value
            elif name == b"content-length" and (len(value) > 9 or int(value) > self.body_bytes_max):
                raise Refusal(_body_too_large())
            elif name == b"expect" and value.lower() == b"100-continue" and not self.turns:
                self.transport.write(CONTINUE)
        target = self.url if self.url[:1] == b"/" else _origin_form(self.url)
        path, _, self.target_query = target.partition(b"?")
        self.route = self.lane.routes.get((self.parser.get_method(), path))
        self.upgrading = self.parser.should_upgrade()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self.last_body_bytes = len(body)
        self.body = self.body + body if self.body else body
        if len(self.body) > self.body_bytes_max:
            raise Refusal(_body_too_large())

    def on_message_complete(self) -> None:
        """The request is whole."""
        self.stage = IDLE
        self.whole += 1
        if self.upgrading or self.no_more:
            return
        self.served = True
        keep_alive = self.parser.should_keep_alive()
        if not keep_alive:
            self.no_more = True
        if self.route is None:
            turn: Turn = self._cold()
        else:
            key = self.key.decode("latin-1")
            turn = HttpRequest(self, self.route, self.target_query, self.body, key, self.unit, keep_alive)
        self.body = self.url = self.key = self.unit = b""
        self.headers = []
        self.arrive(turn)

    def _cold(self) -> Cold:
        """Let uvicorn build its scope and cycle; `_start_asgi_task` catches the cycle before its task is made."""
        url, headers = self.url, self.headers
        super().on_message_begin()
        self.url = url
        self.scope["headers"] = headers
        self.cycle = None  # type: ignore[assignment]
        super().on_headers_complete()
        cycle = self.cycle
        cycle.body = bytearray(self.body)
        cycle.more_body = False
        cycle.message_event.set()
        return Cold(cycle, self.caught_app)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self.caught_app = app

    # --- upgrade -------------------------------------------------------------------------------------------------

    def _upgraded(self, rest: bytes) -> None:
        """The parser stopped behind the head of a request that asks for another protocol."""
        headers, self.headers = self.headers, []
        upgrade = b"".join(value.strip().lower() for name, value in headers if name == b"upgrade")
        if upgrade != b"websocket" or self.ws_protocol_class is None:
            self._replay(headers, rest)
        elif self.turns or self.no_more:
            self.refuse(_not_http())
        else:
            self._hand_over(headers, rest)

    def _replay(self, headers: list[tuple[bytes, bytes]], rest: bytes) -> None:
        """Any other upgrade (h2c) is ignored, as HTTP allows: the same request again, without asking for it."""
        method, url = self.parser.get_method(), self.url
        if method == b"CONNECT":
            self.refuse(_not_http())
            return
        self.url = self.body = self.key = self.unit = b""
        self.parser = httptools.HttpRequestParser(self)
        lines = [method, b" ", url, b" HTTP/1.1\r\n"]
        for name, value in headers:
            if name not in (b"upgrade", b"connection", b"http2-settings"):
                lines += [name, b": ", value, b"\r\n"]
        lines += [b"\r\n", rest]
        self.plain = False
        self._general(b"".join(lines))

    def _hand_over(self, headers: list[tuple[bytes, bytes]], rest: bytes) -> None:
        lines = [self.parser.get_method(), b" ", self.url, b" HTTP/1.1\r\n"]
        for name, value in headers:
            lines += [name, b": ", value, b"\r\n"]
        lines.append(b"\r\n")
        self.connections.discard(self)
        peer, self.peer = self.peer, None
        self.lost = True
        protocol: Any = self.ws_protocol_class(  # type: ignore[call-arg, misc]
            config=self.config, server_state=self.server_state, app_state=self.app_state
        )
        protocol.peer = peer
        protocol.on_lost = lambda: self.limits.leave(peer) if peer is not None else None
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        protocol.data_received(b"".join(lines))
        if rest:
            protocol.data_received(rest)


def _origin_form(target: bytes) -> bytes:
    """`GET http://host/path?query` is served as `GET /path?query`."""
    try:
        parsed = httptools.parse_url(target)
    except httptools.HttpParserInvalidURLError:
        return target
    return (parsed.path or b"/") + (b"?" + parsed.query if parsed.query else b"")


def _not_http() -> ApiError:
    return ApiError(-1000, "Invalid HTTP request received.", 400)


def _head_too_large() -> ApiError:
    return ApiError(-1000, "Request header is too large.", 431)


def _body_too_large() -> ApiError:
    return ApiError(-1000, "Request body is too large.", 413)


def bind(lane: Lane, limits: Limits, caps: Caps) -> type[GuardedProtocol]:
    """The protocol class of one server."""
    return type(
        "BoundProtocol",
        (GuardedProtocol,),
        {"__slots__": (), "bound_lane": lane, "limits": limits, "bound_caps": caps},
    )


__all__ = ["Caps", "GuardedProtocol", "bind"]
