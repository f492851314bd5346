# SPDX-License-Identifier: Apache-2.0
"""uvicorn, with no signals of its own, a sweep for the deadlines, and a stop that can be awaited.

Who calls it: `app.Door` makes one `Server` for the public port and one for the admin port. What may never happen here:
a signal handler (the process that owns the loop decides when to stop), a stop that waits without an end, or a second
worker (each would have its own book).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import uvicorn

from bidhall.api.connection import Caps, GuardedProtocol, bind

if TYPE_CHECKING:
    from bidhall.api.lane import Lane
    from bidhall.api.limits import Limits
    from bidhall.environment import Environment

logger = logging.getLogger("bidhall.api")

SWEEP_S: Final = 0.5
BACKLOG: Final = 4096


class Server(uvicorn.Server):
    """One listening port."""

    def __init__(
        self,
        app: Any,
        lane: Lane,
        limits: Limits,
        caps: Caps,
        environment: Environment,
        *,
        websocket: Any = None,
        drain_s: float = 10.0,
    ) -> None:
        self.environment = environment
        self.limits = limits
        self.port = 0
        self._listener: socket.socket | None = None
        self._task: Any = None
        self._sweep: Any = None
        config = uvicorn.Config(
            app,
            http=bind(lane, limits, caps),
            ws=websocket if websocket is not None else "none",
            ws_max_size=65_536,
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=int(caps.keep_alive_s),
            timeout_graceful_shutdown=max(1, int(drain_s)),
            backlog=BACKLOG,
        )
        super().__init__(config)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to whoever runs the loop: uvicorn would end the process with -15 instead of 0."""
        yield

    async def listen(self, host: str, port: int) -> None:
        """Bind (port 0: any) and serve; returns when connections are accepted."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
        except OSError:
            listener.close()
            raise
        listener.setblocking(False)
        self._listener = listener
        self.port = listener.getsockname()[1]
        started: asyncio.Future[None] = self.environment.create_future()
        self._started = started
        self._task = self.environment.create_task(self.serve(sockets=[listener]), f"server:{self.port}")
        self._task.add_done_callback(self._ended)
        await started
        self._sweep = self.environment.call_later(SWEEP_S, self._swept)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's; tells `listen` that it has happened."""
        await super().startup(sockets)
        if not self._started.done():
            self._started.set_result(None)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A server that cannot start says so to `listen`; one that dies later says so in the log."""
        error = None if task.cancelled() else task.exception()
        if not self._started.done():
            self._started.set_exception(error or OSError("the server did not start"))
        elif error is not None:
            logger.error("the server on port %d ended", self.port, exc_info=error)

    def _swept(self) -> None:
        """Every deadline of every HTTP connection, twice a second: no timer per request."""
        self._sweep = self.environment.call_later(SWEEP_S, self._swept)
        now = asyncio.get_running_loop().time()
        for connection in list(self.server_state.connections):
            if isinstance(connection, GuardedProtocol):
                connection.overdue(now)
        self.limits.sweep_sometimes(self.environment.wall_ns())

    async def stop(self) -> None:
        """Accept nothing more, answer what was admitted, close; returns when all connections are gone."""
        self.should_exit = True
        if self._task is not None:
            await asyncio.wait({self._task})
            self._task = None
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for connection in list(self.server_state.connections):
            if isinstance(connection, GuardedProtocol):
                connection.transport.abort()
