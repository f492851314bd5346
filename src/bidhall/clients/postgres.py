# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL through asyncpg: connections with the settings that the log and the history rely on.

Called by the log and by sinks, which see `Connection` and `Trouble` and never asyncpg. A DSN may name several hosts;
the one that takes writes is found. What may never happen here: a statement that is tried again (whoever sent it knows
whether it may be), or a cancel request (cancelling a commit that waits for its standby makes an unreplicated row
visible).
"""

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, Protocol, TypeVar

Result = TypeVar("Result")
Connect = Callable[..., Awaitable["Connection"]]
CONNECT_SECONDS: Final = 5.0
STATEMENT_SECONDS_MAX: Final = 10.0  # then the socket is closed: a server that hangs is as good as gone
# Everything an append relies on, pinned in the session, so that no role's or database's default can take it away.
SESSION: Final = {
    "application_name": "bidhall",
    "synchronous_commit": "on",
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "standard_conforming_strings": "on",
    "timezone": "UTC",
}
UNIQUE_VIOLATION: Final = "23505"
READ_ONLY: Final = "25006"
LOCK_NOT_AVAILABLE: Final = "55P03"
UNDEFINED_TABLE: Final = "42P01"


class Trouble(Exception):
    """A statement or a connection failed. `state` is the SQLSTATE that the server gave; "" when it gave none."""

    def __init__(self, state: str, what: str) -> None:
        super().__init__(what)
        self.state = state


class Connection(Protocol):
    """One session. Everything here raises `Trouble`; after one without a state it is to be closed."""

    async def execute(self, query: str) -> str:
        """One simple-protocol Query message: it arrives whole or not at all."""

    async def fetch(self, query: str, *arguments: Any) -> list[Any]:
        """Rows (tuples), by a prepared statement."""

    async def listen(self, channel: str, wake: Callable[[], None]) -> None:
        """`wake` is called for every notification."""

    @property
    def is_closed(self) -> bool: ...

    @property
    def server(self) -> str:
        """The machine at the other end; a name may lead to another one after a failover."""

    def abort(self) -> None:
        """Close the socket, now: what is under way becomes unknown."""

    async def close(self) -> None: ...


class AsyncpgConnection:
    """See `Connection`."""

    def __init__(self, raw: Any, statement_seconds_max: float | None = STATEMENT_SECONDS_MAX) -> None:
        self._raw = raw
        self._seconds_max = statement_seconds_max
        transport = getattr(raw, "_transport", None)
        self._server = str(transport.get_extra_info("peername") if transport is not None else "")

    async def execute(self, query: str) -> str:
        return str(await self._limited(self._raw.execute(query)))

    async def fetch(self, query: str, *arguments: Any) -> list[Any]:
        return list(await self._limited(self._raw.fetch(query, *arguments)))

    async def listen(self, channel: str, wake: Callable[[], None]) -> None:
        await self._limited(self._raw.add_listener(channel, lambda *_: wake()))

    async def _limited(self, statement: Awaitable[Any]) -> Any:
        """Its end, or that of the connection: asyncpg's own time-outs send cancel requests."""
        timer = None
        if self._seconds_max is not None:
            timer = asyncio.get_running_loop().call_later(self._seconds_max, self.abort)
        try:
            return await statement
        except Exception as error:
            raise _trouble(error) from error
        finally:
            if timer is not None:
                timer.cancel()

    @property
    def server(self) -> str:
        return self._server

    @property
    def is_closed(self) -> bool:
        return bool(self._raw.is_closed())

    def abort(self) -> None:
        self._raw.terminate()

    async def close(self) -> None:
        try:
            await asyncio.wait_for(self._raw.close(), 1.0)
        except Exception:
            self._raw.terminate()
        await asyncio.sleep(0)  # the transport goes at the loop's next turn


def _trouble(error: Exception) -> Trouble:
    state = getattr(error, "sqlstate", None) or ""
    return Trouble(state, f"{type(error).__name__}: {error}")


async def connect(
    dsn: str, *, statement_seconds_max: float | None = STATEMENT_SECONDS_MAX, **settings: str
) -> Connection:
    """A session on the host of `dsn` that takes writes, with `SESSION` and `settings` pinned; raises `Trouble`."""
    dsns = each_host(dsn)
    if len(dsns) == 1:
        raw = await _connect(dsn, settings)
    else:
        raw = await _first([_connect(one, settings) for one in dsns])
    return AsyncpgConnection(raw, statement_seconds_max)


def each_host(dsn: str) -> list[str]:
    """The same DSN with one host each: asyncpg would let a host that hangs use up the time of all the others."""
    scheme, _, rest = dsn.partition("://")
    end = min((place for mark in "/?" if (place := rest.find(mark)) >= 0), default=len(rest))
    user, at, hosts = rest[:end].rpartition("@")
    return [f"{scheme}://{user}{at}{host}{rest[end:]}" for host in hosts.split(",")]


async def _first(attempts: list[Coroutine[Any, Any, Any]]) -> Any:
    """All at once; the first that succeeds, and the end of the others."""
    tasks = [asyncio.ensure_future(attempt) for attempt in attempts]
    waiting = set(tasks)
    try:
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if task.exception() is None:
                    tasks.remove(task)
                    return task.result()
        raise Trouble("", "; ".join(str(task.exception()) for task in tasks))
    finally:
        for task in tasks:
            task.cancel()
            task.add_done_callback(_end_spare)


def _end_spare(task: "asyncio.Future[Any]") -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().terminate()


async def _connect(dsn: str, settings: dict[str, str]) -> Any:
    import asyncpg  # type: ignore[import-untyped]

    try:
        raw = await asyncpg.connect(
            dsn, timeout=CONNECT_SECONDS, server_settings={**SESSION, **settings}, target_session_attrs="read-write"
        )
    except Exception as error:
        raise _trouble(error) from error
    _notice_dead_peers(raw)
    return raw


def _notice_dead_peers(raw: Any) -> None:
    """A peer that is gone without a word (a host that lost power) is noticed in seconds, not in hours."""
    transport = getattr(raw, "_transport", None)
    found = transport.get_extra_info("socket") if transport is not None else None
    if found is None or found.family not in (socket.AF_INET, socket.AF_INET6):
        return
    for option, value in (
        (socket.TCP_KEEPIDLE, 2),
        (socket.TCP_KEEPINTVL, 1),
        (socket.TCP_KEEPCNT, 3),
        (socket.TCP_USER_TIMEOUT, 5_000),
    ):
        found.setsockopt(socket.IPPROTO_TCP, option, value)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


class Blocking:
    """For code that may wait, in whatever thread: a loop in a thread of its own. A context manager."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="bidhall-postgres", daemon=True)

    def __enter__(self) -> "Blocking":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.run(asyncio.sleep(0))  # what was closed goes at the loop's next turn
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Its result, when it has one."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()
