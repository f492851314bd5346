# SPDX-License-Identifier: Apache-2.0
"""The WebSocket half of the door: one `FeedProtocol` per socket, and `Feeds`, which owns all of them.

Who calls it: uvicorn constructs `Feeds.protocol` when a request asks for an upgrade (its contract for `ws=` classes:
`protocol(config=, server_state=, app_state=)`, then `connection_made`, then the head of the request as data); the door
starts and stops `Feeds`. websockets' sans-I/O `ServerProtocol` does the handshake, masks, fragments, sizes and control
frames; data frames go out already framed (`frames.py`), past it. What may never happen here: waiting for a client, a
buffer that grows past its budget, a traceback for bytes that a client chose, or a frame behind our close frame.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from bidhall.api.fanout import Group, Hub, Stream
from bidhall.api.feed_settings import FeedSettings
from bidhall.api.limits import Peer
from bidhall.api.listen_keys import ListenKeys
from bidhall.api.market_channel import MarketChannel
from bidhall.api.streams import Streams
from bidhall.api.target import Target, TargetError, parse_target
from bidhall.api.user_data import UserData
from bidhall.api.ws_api import ApiChannel, WsApi
from bidhall.core.wire import read_frames

if TYPE_CHECKING:
    from bidhall.api.lane import Lane
    from bidhall.environment import Environment
    from bidhall.replica import Replica

__all__ = ["FeedProtocol", "FeedSettings", "Feeds"]

logger = logging.getLogger("bidhall.feed")
wire_logger = logging.getLogger("bidhall.feed.wire")
wire_logger.setLevel(logging.WARNING)  # the library tells every closed connection at INFO

REST_BYTES_MAX = 16_384

GOING_AWAY = 1001
UNSUPPORTED_TEXT = 1007
POLICY = 1008
INTERNAL = 1011
RESTART = 1012


class Timer(Protocol):
    """What `environment.call_later` returns."""

    def cancel(self) -> None: ...


class Channel(Protocol):
    """What a connection is used for: market streams or the WebSocket API."""

    def opened(self) -> None: ...
    def message(self, data: bytes) -> None: ...  # raises UnicodeDecodeError when it is no text
    def shutdown_frame(self) -> bytes: ...
    def closed(self) -> None: ...


class FeedProtocol(asyncio.Protocol):
    """One WebSocket connection."""

    feeds: ClassVar[Feeds]

    def __init__(
        self,
        config: Any,
        server_state: Any,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.server_connections: set[Any] = server_state.connections
        self.settings = self.feeds.settings
        self.environment = self.feeds.environment
        self.hub = self.feeds.hub
        self.wire = ServerProtocol(max_size=self.settings.message_bytes_max, logger=wire_logger)
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self.channel: Channel | None = None
        # Set by the door at the upgrade.
        self.peer: Peer | None = None
        self.on_lost: Callable[[], None] | None = None
        # As the fan-out sees it.
        self.write: Callable[[bytes], None] = _nowhere
        self.group: Group | None = None
        self.kept: dict[Stream, Any] = {}

        self.open = False  # after the handshake, until our close frame
        self._greeted = False
        self._ended = False
        self._paused = False
        self._falling = False
        self._parts: list[bytes] = []  # of a message in several frames
        self._rest = b""  # the beginning of a frame
        self._odd = False  # websockets reads everything from here on
        self._pings: dict[bytes, float] = {}
        self._timer: Timer | None = None
        self._opened_s = 0.0
        self._rate_second = 0
        self._rate_count = 0

    # --- asyncio -------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is ours from here."""
        self.transport = cast(asyncio.Transport, transport)
        self.write = self.transport.write
        self.server_connections.add(self)

    def data_received(self, data: bytes) -> None:
        """First the head of the upgrade request, then frames."""
        if self._ended:
            return
        if not self._greeted:
            self._greeted = True
            self._handshake(data)
            return
        if self._odd:
            self._receive(data)
        else:
            self._plain_frames(self._rest + data if self._rest else data)

    def _plain_frames(self, data: bytes) -> None:
        """Whole messages in one frame are read here; websockets gets every other frame, whole, so that it always stands
        at the start of one."""
        end = 0
        size_max = self.settings.message_bytes_max
        while True:
            # While a message in pieces is on its way, any frame may be a mistake.
            payloads, end, other_end = read_frames(data, end, size_max, self.open and not self._parts)
            for payload in payloads:
                if self.open and self._within_rate():
                    self._message(payload)
            if other_end <= end:
                break
            self._receive(data[end:other_end])
            end = other_end
        self._rest = data[end:]
        # A frame that no client may send, or a large one that drips: both for websockets, which keeps its bytes.
        if other_end < 0 or len(self._rest) > REST_BYTES_MAX:
            self._odd = True
            rest, self._rest = self._rest, b""
            self._receive(rest)

    def _receive(self, data: bytes) -> None:
        self.wire.receive_data(data)
        frames = self.wire.events_received()
        if self.wire.state is OPEN:
            self._send_wire()  # pongs; what ends the connection comes behind the answers
        for frame in frames:
            if isinstance(frame, Frame):
                self._frame(frame)
        self._send_wire()

    def eof_received(self) -> None:
        """The client will send no more: the transport closes itself."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The end, whoever wanted it."""
        self._ended = True
        self._leave()
        self._set_timer(None)
        self.server_connections.discard(self)
        self.feeds.connections.discard(self)
        on_lost, self.on_lost = self.on_lost, None
        if on_lost is not None:
            on_lost()

    def pause_writing(self) -> None:
        """The socket is full: from now on frames are kept, not written."""
        self._paused = True
        if self.open:
            self.hub.slow_down(self)

    def resume_writing(self) -> None:
        """The client reads again."""
        self._paused = False
        if self.open:
            self.hub.speed_up(self)

    # --- for the channels and the fan-out ------------------------------------------------------------------------

    def push(self, frame: bytes) -> None:
        """Write a finished frame now. A reader that is behind by more than its budget is closed instead."""
        if not self.open or self._falling:
            return
        self.write(frame)
        if self._paused and self.transport.get_write_buffer_size() > self.settings.budget_bytes_max:
            self.fall_behind()

    def fall_behind(self) -> None:
        """Close this reader soon: it cannot be served, and the tick that found out is still running."""
        if self.open and not self._falling:
            self._falling = True
            self.feeds.slow_closed += 1
            self.environment.call_soon(self.close, POLICY, "Too slow")

    def close(self, code: int, reason: str = "") -> None:
        """Our close frame, then at most `close_timeout_s` for the client's."""
        if not self.open:
            return
        self._leave()
        self.wire.send_close(code, reason)
        self._send_wire()
        if not self._ended:
            self._set_timer(self.settings.close_timeout_s, self.transport.abort)

    def shutdown(self) -> None:
        """A planned stop (uvicorn calls this): tell the client, then close; it has `drain_s` to go."""
        if self.open and self.channel is not None:
            self.push(self.channel.shutdown_frame())
            self.close(RESTART, "Server shutdown")
            self._set_timer(self.settings.drain_s, self.transport.abort)
        elif self._timer is None:
            self.transport.close()

    # --- handshake -----------------------------------------------------------------------------------------------

    def _handshake(self, head: bytes) -> None:
        # websockets limits the request line to 8 KiB, which a list of streams can pass; the door has limited the head.
        line, _, rest = head.partition(b"\r\n")
        method, _, tail = line.partition(b" ")
        self.wire.receive_data(method + b" / HTTP/1.1\r\n" + rest)
        requests = self.wire.events_received()
        if not requests:
            self._refuse(HTTPStatus.BAD_REQUEST, "Invalid HTTP request.\n")
            return
        response = self.wire.accept(cast(Request, requests[0]))
        if response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
            try:
                target = parse_target(tail.rpartition(b" ")[0])
                self.channel = self._make_channel(target)
            except TargetError as error:
                response = self.wire.reject(error.status, error.text)
            if len(self.feeds.connections) >= self.settings.connections_max or self.feeds.stopping:
                response = self.wire.reject(HTTPStatus.SERVICE_UNAVAILABLE, "Too many connections.\n")
        self.wire.send_response(response)
        self._send_wire()
        if response.status_code == HTTPStatus.SWITCHING_PROTOCOLS and self.channel is not None:
            self.open = True
            self.feeds.connections.add(self)
            self._opened_s = self.environment.monotonic()
            self._set_timer(self._next_tick_s(), self._tick)
            self.channel.opened()

    def _make_channel(self, target: Target) -> Channel:
        if target.is_api:
            return ApiChannel(self, self.feeds.ws_api, target)
        return MarketChannel(self, self.feeds.streams, self.feeds.listen_keys, target)

    def _refuse(self, status: HTTPStatus, text: str) -> None:
        body = text.encode()
        self.write(
            b"HTTP/1.1 %d %b\r\ncontent-type: text/plain\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
            % (status, status.phrase.encode(), len(body), body)
        )
        self._end()

    # --- what comes in -------------------------------------------------------------------------------------------

    def _frame(self, frame: Frame) -> None:
        if not self.open or not self._within_rate():
            return
        opcode = frame.opcode
        if opcode is Opcode.TEXT or opcode is Opcode.BINARY or opcode is Opcode.CONT:
            self._parts.append(bytes(frame.data))
            if frame.fin:
                parts, self._parts = self._parts, []
                self._message(parts[0] if len(parts) == 1 else b"".join(parts))
        elif opcode is Opcode.PONG:
            self._pong(bytes(frame.data))

    def _message(self, data: bytes) -> None:
        # Binary messages are read as text: some clients send the bytes of their JSON encoder as they are.
        if self.channel is None:
            return
        try:
            self.channel.message(data)
        except UnicodeDecodeError:
            self.close(UNSUPPORTED_TEXT, "Invalid UTF-8")
        except Exception:
            logger.exception("a message could not be handled")
            self.feeds.faults += 1
            self.close(INTERNAL, "Internal error")

    def _within_rate(self) -> bool:
        second = int(self.environment.monotonic())
        if second != self._rate_second:
            self._rate_second = second
            self._rate_count = 0
        self._rate_count += 1
        if self._rate_count > self.settings.messages_per_second_max:
            self.close(POLICY, "Too many messages")
            return False
        return True

    # --- pings and life ------------------------------------------------------------------------------------------

    def _next_tick_s(self) -> float:
        now = self.environment.monotonic()
        wait_s = min(self.settings.ping_interval_s, self._opened_s + self.settings.life_s - now)
        for sent_s in self._pings.values():
            wait_s = min(wait_s, sent_s + self.settings.pong_timeout_s - now)
            break  # the oldest
        return max(wait_s, 0.001)

    def _tick(self) -> None:
        now = self.environment.monotonic()
        oldest_s = next(iter(self._pings.values()), now)
        if now - oldest_s >= self.settings.pong_timeout_s:
            self.close(POLICY, "Pong timeout")
        elif now - self._opened_s >= self.settings.life_s:
            if self.channel is not None:
                self.push(self.channel.shutdown_frame())
            self.close(GOING_AWAY, "Connection lifetime reached")
        else:
            self._ping(now)
            self._set_timer(self._next_tick_s(), self._tick)

    def _ping(self, now: float) -> None:
        payload = str(self.environment.wall_ns() // 1_000_000).encode()
        self._pings.setdefault(payload, now)
        self.wire.send_ping(payload)
        self._send_wire()

    def _pong(self, payload: bytes) -> None:
        if payload in self._pings:  # anything else is unsolicited: allowed, and proves nothing
            for sent in list(self._pings):
                del self._pings[sent]
                if sent == payload:
                    break

    def _set_timer(self, delay_s: float | None, call: Callable[[], None] | None = None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if delay_s is not None and call is not None:
            self._timer = self.environment.call_later(delay_s, call)

    # --- what goes out -------------------------------------------------------------------------------------------

    def _send_wire(self) -> None:
        writes = self.wire.data_to_send()
        if not writes:
            return
        self.write(b"".join(writes))
        if self.open and self.wire.state is not OPEN:
            self._leave()
        if writes[-1] == b"":  # the sentinel for "no more from us"
            self._end()
        elif self._paused and self.transport.get_write_buffer_size() > self.settings.budget_bytes_max:
            self.fall_behind()

    def _leave(self) -> None:
        # Nothing may follow our close frame, so the streams end before it is written.
        if self.open:
            self.open = False
            self.hub.leave(self)
            if self.channel is not None:
                self.channel.closed()

    def _end(self) -> None:
        # Closing at once with unread input would reset the connection, and the client would not see why.
        if self._ended:
            return
        self._ended = True
        if self.transport.is_closing():
            return
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self._set_timer(self.settings.close_timeout_s, self.transport.abort)
        else:
            self.transport.close()


def _nowhere(_: bytes) -> None:
    """Before a connection has a transport."""


class Feeds:
    """All WebSocket connections of a process and what feeds them."""

    def __init__(
        self, replica: Replica, environment: Environment, lane: Lane, settings: FeedSettings | None = None
    ) -> None:
        self.replica = replica
        self.environment = environment
        self.lane = lane  # the routes of REST, which the WebSocket API serves too, and what stands before them
        self.reads = lane.reads
        self.settings = settings or FeedSettings()
        self.connections: set[FeedProtocol] = set()
        self.slow_closed = 0
        self.faults = 0  # 0 unless there is a bug
        self.stopping = False
        self.hub = Hub(environment, self.settings.slow_spans_max, self.settings.flush_interval_s_max)
        self.streams = Streams(replica, self.hub)
        self.user_data = UserData(replica)
        self.listen_keys = ListenKeys(replica, environment, lane, self.user_data, self.settings.listen_key_s)
        self.ws_api = WsApi(self)
        self.protocol: type[FeedProtocol] = type("BoundFeedProtocol", (FeedProtocol,), {"feeds": self})

    def start(self) -> None:
        """Follow the replica from now on; the lane has all its routes."""
        self.ws_api.start()
        self.streams.start()
        self.replica.listeners.append(self)

    def on_batch(self, applied: Any) -> None:
        """Called by the replica after every batch: user data first, its readers wait for their own orders."""
        try:
            self.user_data.on_batch(applied)
            self.ws_api.keys_may_have_changed()
        except Exception:
            self._fault(ApiChannel)
        version = self.streams.version
        try:
            self.streams.on_batch(applied)
        except Exception:
            self._fault(MarketChannel)
        if version != self.streams.version:
            for connection in list(self.connections):
                if isinstance(connection.channel, MarketChannel):
                    connection.channel.look_again()

    def _fault(self, kind: type[ApiChannel] | type[MarketChannel]) -> None:
        # A reader may have missed something: it must not believe that it has not. Trading and the others go on.
        logger.exception("a feed failed; its connections are closed")
        self.faults += 1
        for connection in list(self.connections):
            if isinstance(connection.channel, kind):
                connection.close(INTERNAL, "Internal error")

    async def stop(self) -> None:
        """Tell every client, close, and wait until they are gone or `drain_s` has passed."""
        self.stopping = True
        self.listen_keys.stop()
        for connection in list(self.connections):
            connection.shutdown()
        ends_s = self.environment.monotonic() + self.settings.drain_s + 0.5
        while self.connections and self.environment.monotonic() < ends_s:
            await self.environment.sleep(0.02)
        if self in self.replica.listeners:
            self.replica.listeners.remove(self)
