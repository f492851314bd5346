# SPDX-License-Identifier: Apache-2.0
"""The turns of one HTTP connection: every request has one, and they are answered in the order they came.

Who calls it: `connection.GuardedProtocol` is this class with a parser in front; the lane delivers the answers of
requests that it kept. Commands may run while others before them wait for the log; what shows state is served when all
before it is answered, and nothing is served behind it until then. What may never happen here: an answer out of order,
a task or a timer per request, or memory that a silent, dripping or unread socket can make grow.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, ClassVar, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from bidhall.api.lane import DONE, FRESH, HELD, WAITING, HttpRequest, Lane, answer_bytes
from bidhall.protocol.errors import ApiError, too_many_connections

if TYPE_CHECKING:
    import asyncio

    from uvicorn._types import ASGI3Application

    from bidhall.api.limits import Limits, Peer

# What the bytes that come next belong to.
IDLE: Final = 0
HEAD: Final = 1
BODY: Final = 2

TURNS_MAX: Final = 1024  # requests of one connection that may run at once; more wait unserved
LINGER_S: Final = 2.0  # how long a refused sender may go on sending before the socket is closed
LINGER_BYTES_MAX: Final = 4_194_304


class Cold:
    """The turn of a request that Starlette answers."""

    __slots__ = ("app", "cycle", "data", "keep_alive", "parallel", "state")

    def __init__(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self.cycle = cycle
        self.app = app
        self.data: bytes | None = b""
        self.keep_alive = True  # the cycle closes the transport itself when it must
        self.parallel = False
        self.state = HELD


class Last:
    """The turn that ends a connection: a refusal of the protocol's own."""

    __slots__ = ("data", "keep_alive", "parallel", "state")

    def __init__(self, data: bytes) -> None:
        self.data: bytes | None = data
        self.keep_alive = False
        self.parallel = False
        self.state = DONE


Turn = HttpRequest | Cold | Last


class Caps:
    """The numbers of one server, as its connections read them."""

    def __init__(
        self,
        request_deadline_s: float = 5.0,
        keep_alive_s: float = 75.0,
        head_bytes_max: int = 16_384,
        body_bytes_max: int = 65_536,
        write_bytes_max: int = 4_194_304,
        write_deadline_s: float = 20.0,
        pipeline_max: int = 64,
    ) -> None:
        self.request_deadline_s = request_deadline_s
        self.keep_alive_s = keep_alive_s
        self.head_bytes_max = head_bytes_max
        self.body_bytes_max = body_bytes_max
        self.write_bytes_max = write_bytes_max
        self.write_deadline_s = write_deadline_s
        self.pipeline_max = pipeline_max


class Turns(HttpToolsProtocol):
    """uvicorn's protocol with turns. Its attributes are slots: more than thirty in a dict would be slow to find."""

    __slots__ = (
        "backlog", "caps", "drained_bytes", "held", "lane", "lingering", "lost", "no_more", "peer", "read_paused",
        "served",
        "since", "stage", "turns", "write_left", "write_paused", "write_since",
    )  # fmt: skip

    bound_lane: ClassVar[Lane]
    bound_caps: ClassVar[Caps]
    limits: ClassVar[Limits]

    # --- life of the connection ----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection and start the clock of its first request."""
        super().connection_made(transport)
        self.lane = self.bound_lane
        self.caps = self.bound_caps
        self.turns: deque[Turn] = deque()
        self.held = 0  # how many turns at the end of the queue are not served yet
        self.backlog = b""  # bytes behind the last turn that there was room for
        self.stage = IDLE
        self.since = self.loop.time()  # start of the current request, or of the connection
        self.served = False
        self.no_more = False  # what arrives from now on is ignored
        self.lingering = False
        self.lost = False
        self.read_paused = False
        self.write_paused = False
        self.write_since = 0.0
        self.write_left = 0
        self.drained_bytes = 0
        self.peer: Peer | None = self.limits.join(self.client[0] if self.client else "")
        if self.peer is None:
            self.refuse(too_many_connections(self.limits.settings.connections_per_ip_max))

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the waiting turns: what was submitted stays submitted, its answer has nobody to go to."""
        self.lost = True
        if self.peer is not None:
            self.limits.leave(self.peer)
            self.peer = None
        for turn in self.turns:
            if type(turn) is Cold:
                turn.cycle.disconnected = True
                turn.cycle.message_event.set()
        self.turns.clear()
        self.held = 0
        self.backlog = b""
        super().connection_lost(exc)

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """The client has said all it will say; it may still listen, so the turns it is owed are answered."""
        self.no_more = True
        self.stage = IDLE
        return bool(self.turns) and not self.lingering

    def shutdown(self) -> None:
        """The server stops: nothing new is admitted, what was admitted is answered, then the socket closes."""
        self.no_more = True
        self.backlog = b""
        if not self.turns:
            self.transport.close()
            return
        last = self.turns[-1]
        last.keep_alive = False
        if type(last) is Cold:
            last.cycle.keep_alive = False

    def overdue(self, now: float) -> None:
        """Called by the server's sweep about twice a second: every deadline of this connection."""
        if self.write_paused:
            self._watch_reader(now)
            return
        age = now - self.since
        if self.lingering:
            if age > LINGER_S:
                self.transport.abort()
        elif self.stage != IDLE and not self.no_more:
            if age > self.caps.request_deadline_s and not self.read_paused:
                self.refuse(ApiError(-1000, "Request was not received in time.", 408))
        elif not self.turns and age > (self.caps.keep_alive_s if self.served else self.caps.request_deadline_s):
            self.transport.close()

    def _watch_reader(self, now: float) -> None:
        left = self.transport.get_write_buffer_size()
        if left < self.write_left:
            self.write_since = now
        elif now - self.write_since > self.caps.write_deadline_s:
            self.transport.abort()
        self.write_left = left

    # --- turns ---------------------------------------------------------------------------------------------------

    def arrive(self, turn: Turn) -> None:
        """A request is whole: serve it now, or when its turn comes."""
        turns = self.turns
        if not turns and not self.write_paused and type(turn) is HttpRequest:
            data = self.lane.serve(turn)
            if data is not None:
                self.write_answer(data, turn.keep_alive)
            else:
                turn.state = WAITING
                turns.append(turn)
            return
        turns.append(turn)
        # Only the head may be one that shows state; behind it nothing may change that state.
        alone = len(turns) > 1 and not (turn.parallel and turns[0].parallel)
        if self.held or self.write_paused or alone or len(turns) > TURNS_MAX:
            turn.state = HELD
            self.held += 1
        else:
            self._run(turn)
        if len(turns) > self.caps.pipeline_max:
            self._pause_reading()

    def _run(self, turn: Turn) -> None:
        """Serve a turn that is in the queue."""
        if type(turn) is HttpRequest:
            turn.state = FRESH
            turn.data = self.lane.serve(turn)
            turn.state = WAITING if turn.data is None else DONE
        elif type(turn) is Cold:
            turn.state = WAITING
            super()._start_asgi_task(turn.cycle, turn.app)

    def advance(self) -> None:
        """Write what is done at the head of the queue, serve what may be served now."""
        turns = self.turns
        while turns:
            turn = turns[0]
            if turn.state == DONE:
                turns.popleft()
                if turn.data:
                    self.write_answer(turn.data, turn.keep_alive, linger=type(turn) is Last)
                continue
            if not self.held or self.write_paused:
                break
            index = len(turns) - self.held
            turn = turns[index]
            if index and (not turn.parallel or not turns[0].parallel or index >= TURNS_MAX):
                break
            self.held -= 1
            self._run(turn)
        if self.write_paused or self.lost:
            return
        if self.backlog and len(turns) <= self.caps.pipeline_max // 2:
            rest, self.backlog = self.backlog, b""
            self.data_received(rest)
        elif not turns and self.no_more and not self.lingering:
            if not self.transport.is_closing():
                self.transport.close()
        elif self.read_paused and not self.backlog and len(turns) <= self.caps.pipeline_max // 2:
            self._resume_reading()

    def on_response_complete(self) -> None:
        """Starlette has answered the turn at the head."""
        self.server_state.total_requests += 1
        if self.lost or not self.turns or self.transport.is_closing():
            return
        self.turns[0].state = DONE
        self.advance()

    def write_answer(self, data: bytes, keep_alive: bool, linger: bool = False) -> None:
        """One answer, in one write."""
        transport = self.transport
        if transport.is_closing():
            return
        transport.write(data)
        self.server_state.total_requests += 1
        if self.write_paused and transport.get_write_buffer_size() > self.caps.write_bytes_max:
            transport.abort()
        elif not keep_alive:
            self.no_more = True
            self.turns.clear()
            self.held = 0
            if linger:
                self._linger()
            else:
                transport.close()
        elif self.no_more and not self.turns:
            transport.close()

    # --- endings -------------------------------------------------------------------------------------------------

    def refuse(self, error: ApiError) -> None:
        """Answer with this error behind the turns that are owed, then end the connection."""
        if self.no_more:
            return
        self.no_more = True
        self.stage = IDLE
        self.turns.append(Last(answer_bytes(error.status, error.body, keep_alive=False)))
        self.advance()

    def _linger(self) -> None:
        """Close our half and read on a little: a close with unread bytes would reset the answer away."""
        if self.lingering or self.transport.is_closing():
            return
        self.lingering = True
        self.since = self.loop.time()
        self._resume_reading()
        self.transport.write_eof()

    def drain(self, data: bytes) -> None:
        """Bytes that nobody wants any more."""
        self.drained_bytes += len(data)
        if self.drained_bytes > LINGER_BYTES_MAX:
            self.transport.abort()

    # --- pressure ------------------------------------------------------------------------------------------------

    def _pause_reading(self) -> None:
        if not self.read_paused and not self.transport.is_closing():
            self.read_paused = True
            self.transport.pause_reading()

    def _resume_reading(self) -> None:
        if self.read_paused and not self.transport.is_closing():
            self.read_paused = False
            self.since = self.loop.time()
            self.transport.resume_reading()

    def keep_for_later(self, rest: bytes) -> None:
        """There are as many turns as there may be: these bytes are looked at when there is room again."""
        self.backlog = rest
        self._pause_reading()

    def pause_writing(self) -> None:
        """The client does not read what it asked for: it may not ask for more."""
        super().pause_writing()
        self.write_paused = True
        self.write_since = self.loop.time()
        self.write_left = self.transport.get_write_buffer_size()
        self._pause_reading()

    def resume_writing(self) -> None:
        """The client has read."""
        super().resume_writing()
        self.write_paused = False
        self.advance()
