# SPDX-License-Identifier: Apache-2.0
"""`postgresql://…`: the log that many tasks share, on the event loop.

A position comes from a sequence and the batch is inserted under it as primary key, so that commits of many tasks run in
parallel. That leaves two things to be told apart: a position whose commit is still on its way, and one that will never
come (its writer died, or a crash skipped it). A reader applies the contiguous prefix and closes what stays open for too
long with an empty batch; the primary key decides who was first, and makes the one wait who must.

    append     one simple-protocol Query message, so that a connection cut at any byte leaves it whole or absent.
               23505: a reader closed our position: once more, under another. Everything else is unknown.
    follow     a poll behind every wake-up (own append, NOTIFY, barrier) and every few milliseconds
    barrier    a poll that was sent after the barrier was asked for. What is acknowledged has been delivered by its own
               task, so there is no gap before it
    NOTIFY     is sent afterwards, outside, by a session that does not wait for its commit: inside it would hold a lock
               across the commit, and all tasks would commit one after the other

After a lost connection of the reader, an append that is unknown, or one that became durable on another server than the
one that is read (a replaced primary that lives on answers polls with its old end for ever), followers get `Unknown`;
the replica then proves by a hello that what it reads is the log in force, and follows again. What may never happen
here: ON CONFLICT in an append, a cancelled append, a read from a standby, or two chains for one position.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any, Final

from bidhall.clients import postgres
from bidhall.clients.postgres import Blocking, Connect, Connection, Trouble
from bidhall.environment import Environment, Handle
from bidhall.log import postgres_rows, postgres_schema
from bidhall.log.batch import HOLE, Batch, Entry
from bidhall.log.errors import Halted, LogFault, Unknown
from bidhall.log.postgres_rows import Cursor
from bidhall.log.postgres_schema import CHANNEL
from bidhall.log.tail import Tail

POLL_GAP_SECONDS: Final = 0.001  # while something earlier is on its way
POLL_BUSY_SECONDS: Final = 0.005
POLL_IDLE_SECONDS: Final = 0.05  # NOTIFY and barriers wake the reader as well
BUSY_SECONDS: Final = 1.0
HOLE_SECONDS: Final = 0.01
LOCK_SECONDS: Final = 0.2
APPEND_SECONDS_MAX: Final = 10.0
POLL_SECONDS_MAX: Final = 5.0  # a server that hung for so long may have been replaced meanwhile: join anew
WRITERS_MAX: Final = 4
TRIM_BATCHES: Final = 1_000

_NOW: Final = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint * 1000"
_CLOSE: Final = (
    f"INSERT INTO log_batch (position, log_time_ns, entry) SELECT g, {_NOW}, '\\x{HOLE.raw.hex()}'"
    " FROM generate_series({low}, {high}) AS g ON CONFLICT DO NOTHING"
)
# A transaction that wrote and now waits for its client will never end by itself. One that waits for its standby will.
_END_BLOCKERS: Final = (
    "SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a WHERE a.pid <> pg_backend_pid()"
    " AND a.datname = current_database() AND a.state LIKE 'idle in transaction%' AND a.wait_event = 'ClientRead'"
    " AND a.state_change < clock_timestamp() - interval '200 milliseconds' AND EXISTS (SELECT FROM pg_locks l WHERE"
    " l.pid = a.pid AND l.relation = 'log_batch'::regclass AND l.mode = 'RowExclusiveLock')"
)
_logger: Final = logging.getLogger("bidhall.log")


class PostgresLog:
    """See above."""

    exclusive: Final = False

    def __init__(
        self,
        dsn: str,
        environment: Environment,
        *,
        connect: Connect = postgres.connect,
        hole_seconds: float = HOLE_SECONDS,
        append_seconds_max: float = APPEND_SECONDS_MAX,
    ) -> None:
        self.identity = b""
        self.first = 1
        self.holes_closed = 0  # by this process
        self.blockers_ended = 0
        self.appends = 0
        self.appends_unknown = 0
        self.append_seconds = 0.0  # of all that are known
        self.append_seconds_max = 0.0  # since it was asked for last
        self.poll_seconds_max = 0.0
        self.losses = 0  # connections of the reader that were lost
        self._dsn = dsn
        self._environment = environment
        self._connect_raw = connect
        self._hole_seconds = hole_seconds
        self._append_limit_seconds = append_seconds_max
        self._tail = Tail(environment, 0, self._load)
        self._cursor = Cursor(0, bytes(16))
        self._open = False
        self._halted: LogFault | None = None
        self._writers: list[Connection] = []  # idle ones
        self._inserting: set[Connection] = set()
        self._writing = asyncio.Semaphore(WRITERS_MAX)
        self._reader: Connection | None = None
        self._reading: asyncio.Task[None] | None = None
        self._resuming = asyncio.Lock()
        self._asked: list[asyncio.Future[None]] = []
        self._woken: asyncio.Future[None] | None = None
        self._wake_due = False
        self._busy_until = 0.0
        self._hole_since: float | None = None
        self._closing_holes: asyncio.Task[None] | None = None
        self._aside: asyncio.Task[None] | None = None  # what need not be waited for: NOTIFY, chains
        self._aside_connection: Connection | None = None
        self._notify_due = False
        self._chains: list[str] = []

    # --- life ----------------------------------------------------------------------------------------------------

    @property
    def head(self) -> int:
        return self._tail.head

    async def open(self) -> None:
        try:
            connection = await self._connect()
        except Trouble as trouble:
            raise Halted(f"the database cannot be reached: {trouble}") from trouble
        try:
            self.identity, self.first, _ = await postgres_schema.check(connection)
            self._open, self._halted = True, None
            await self._begin_reading(connection)
        except BaseException as error:
            self._open = False
            connection.abort()
            raise (Halted(str(error)) if isinstance(error, Trouble) else error) from error

    async def close(self) -> None:
        if not self._open:
            return
        for _ in range(WRITERS_MAX):  # what was given to `append` is finished first
            await self._writing.acquire()
        with_tail = self._reading is not None and not self._reading.done()
        if with_tail:
            await self._last_poll()
        self._open = False
        self._tail.close()
        for task in (self._reading, self._closing_holes, self._aside):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        for connection in (*self._writers, self._reader, self._aside_connection):
            if connection is not None:
                await connection.close()
        self._writers = []
        for _ in range(WRITERS_MAX):
            self._writing.release()
        await self._environment.sleep(0)  # what was aborted goes at the loop's next turn

    async def _last_poll(self) -> None:
        future = self._ask()
        await asyncio.wait([future], timeout=1.0)
        if future.done():
            future.exception()

    async def _connect(self, **settings: str) -> Connection:
        connection = await self._connect_raw(self._dsn, **settings)
        if not self.identity:
            return connection
        try:
            rows = await connection.fetch("SELECT identity FROM log_identity")
        except BaseException:  # a cancelled task too leaves nothing open
            connection.abort()
            raise
        if not rows or bytes(rows[0][0]) != self.identity:
            connection.abort()
            raise self._halt(Halted("the database that answers now holds another log"))
        return connection

    def status(self) -> dict[str, float]:
        """For metrics; the longest times are those since it was asked last."""
        found: dict[str, float] = {
            "head": self._tail.head,
            "lag_batches": max(self._cursor.highest - self._cursor.position, 0),
            "reading": int(self._reading is not None and not self._reading.done()),
            "appends": self.appends,
            "appends_unknown": self.appends_unknown,
            "append_seconds": self.append_seconds,
            "append_seconds_max": self.append_seconds_max,
            "poll_seconds_max": self.poll_seconds_max,
            "holes_closed": self.holes_closed,
            "blockers_ended": self.blockers_ended,
            "losses": self.losses,
        }
        self.append_seconds_max = self.poll_seconds_max = 0.0
        return found

    def _halt(self, fault: LogFault) -> LogFault:
        """For good: another log, or another history."""
        if self._halted is None:
            self._halted = fault
            _logger.critical("the log has halted: %s", fault)
            self._tail.fail(fault)
        return self._halted

    # --- appending -----------------------------------------------------------------------------------------------

    async def append(self, entry: Entry) -> None:
        async with self._writing:
            if self._halted is not None or not self._open:
                raise self._halted or Halted("the log is not open")
            began = self._environment.monotonic()
            try:
                await self._insert(
                    f"INSERT INTO log_batch (position, log_time_ns, entry)"
                    f" VALUES (nextval('log_position'), {_NOW}, '\\x{entry.raw.hex()}')"
                )
            except Unknown:
                self.appends_unknown += 1
                self._distrust(None)
                raise
            self._count(self._environment.monotonic() - began)
        self._wake()
        self._notify()

    def _count(self, seconds: float) -> None:
        self.appends += 1
        self.append_seconds += seconds
        self.append_seconds_max = max(self.append_seconds_max, seconds)

    async def _insert(self, statement: str) -> None:
        while True:
            connection = await self._idle_writer()
            deadline = self._environment.call_later(self._append_limit_seconds, connection.abort)
            self._inserting.add(connection)
            try:
                await connection.execute(statement)
            except Trouble as trouble:
                if trouble.state == postgres.UNIQUE_VIOLATION:
                    self._writers.append(connection)
                    continue
                connection.abort()
                raise Unknown(f"an append has no known outcome: {trouble}") from trouble
            except BaseException:
                connection.abort()
                raise
            finally:
                deadline.cancel()
                self._inserting.discard(connection)
            self._writers.append(connection)
            self._distrust(connection)
            return

    def _distrust(self, writer: Connection | None) -> None:
        """Read where appends become durable. A primary that has been replaced may still answer polls, for ever."""
        reader = self._reader
        if reader is not None and (writer is None or writer.server != reader.server):
            reader.abort()

    async def _idle_writer(self) -> Connection:
        while self._writers:
            connection = self._writers.pop()
            if not connection.is_closed:
                return connection
        try:
            return await self._connect()
        except Trouble as trouble:
            raise Unknown(f"the database cannot be reached: {trouble}") from trouble

    # --- following -----------------------------------------------------------------------------------------------

    async def follow(self, position: int) -> AsyncGenerator[list[Batch], None]:
        await self._resume()
        async with aclosing(self._tail.follow(position)) as following:
            async for batches in following:
                yield batches

    async def barrier(self) -> int:
        if self._halted is not None:
            raise self._halted
        if self._reading is None or self._reading.done():
            raise Unknown("the log is not read at the moment")
        await self._ask()
        return await self._tail.barrier()

    def _ask(self) -> "asyncio.Future[None]":
        """Done by the next poll, never by the one that is under way."""
        future: asyncio.Future[None] = self._environment.create_future()
        self._asked.append(future)
        self._wake()
        return future

    async def _resume(self) -> None:
        """Reads again, if reading had ended with its connection."""
        async with self._resuming:
            if self._halted is not None:
                raise self._halted
            if not self._open or (self._reading is not None and not self._reading.done()):
                return
            try:
                await self._begin_reading(await self._connect())
            except Trouble as trouble:
                raise Unknown(f"the database cannot be reached: {trouble}") from trouble

    async def _begin_reading(self, connection: Connection) -> None:
        try:
            await connection.listen(CHANNEL, self._wake)
            self._cursor = await postgres_rows.last_cursor(connection)
        except BaseException:
            connection.abort()
            raise
        self._reader = connection
        self._tail = Tail(self._environment, self._cursor.position, self._load)
        self._hole_since = None
        self._reading = self._environment.create_task(self._read_on(connection), "log-read")

    async def _read_on(self, connection: Connection) -> None:
        try:
            while True:
                asked = len(self._asked)  # those who ask while the poll is under way wait for the next
                self._wake_due = False
                self._polled(await self._poll(connection), asked)
                if self._cursor.position >= self._cursor.highest or self._hole_since is not None:
                    await self._pause()
        except asyncio.CancelledError:
            raise
        except Trouble as trouble:
            self._lost(Unknown(f"the log cannot be read: {trouble}"))
        except LogFault as fault:
            self._lost(self._halt(fault))
        finally:
            connection.abort()

    async def _poll(self, connection: Connection) -> list[Batch]:
        limit = self._environment.call_later(POLL_SECONDS_MAX, self._give_up, connection)
        began = self._environment.monotonic()
        try:
            batches = await postgres_rows.poll(connection, self._cursor)
        finally:
            limit.cancel()
        self.poll_seconds_max = max(self.poll_seconds_max, self._environment.monotonic() - began)
        return batches

    def _give_up(self, reader: Connection) -> None:
        """The server hangs: what waits for it shall look for one that does not."""
        for connection in (reader, *self._inserting):
            connection.abort()

    def _polled(self, batches: list[Batch], asked: int) -> None:
        now = self._environment.monotonic()
        if batches:
            self._tail.extend(batches)
            self._busy_until = now + BUSY_SECONDS
            self._hole_since = None
            if statement := postgres_rows.chain_rows(batches):
                self._chains.append(statement)
                self._go_aside()
        for future in self._asked[:asked]:
            if not future.done():
                future.set_result(None)
        del self._asked[:asked]
        if self._cursor.highest == self._cursor.position:
            self._hole_since = None
        elif self._hole_since is None:
            self._hole_since = now
        elif now - self._hole_since >= self._hole_seconds and self._closing_holes is None:
            self._closing_holes = self._environment.create_task(self._close_holes(), "log-holes")

    async def _pause(self) -> None:
        if self._wake_due:
            return
        if self._hole_since is not None:
            seconds = POLL_GAP_SECONDS
        else:
            seconds = POLL_BUSY_SECONDS if self._environment.monotonic() < self._busy_until else POLL_IDLE_SECONDS
        woken = self._woken = self._environment.create_future()
        timer: Handle = self._environment.call_later(seconds, self._wake)
        try:
            await woken
        finally:
            timer.cancel()
            self._woken = None

    def _wake(self) -> None:
        self._wake_due = True
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    def _lost(self, fault: LogFault) -> None:
        """Followers get what was read, and then the fault."""
        self.losses += 1
        asked, self._asked = self._asked, []
        for future in asked:
            if not future.done():
                future.set_exception(fault)
        self._tail.fail(fault)

    # --- holes ---------------------------------------------------------------------------------------------------

    async def _close_holes(self) -> None:
        """All that are missing up to the highest position seen; whoever is at a position already keeps it."""
        low, high = self._cursor.position + 1, self._cursor.highest - 1
        connection: Connection | None = None
        try:
            connection = await self._connect(lock_timeout=f"{int(LOCK_SECONDS * 1000)}ms")
            status = await connection.execute(_CLOSE.format(low=low, high=high))
            closed = int(status.rpartition(" ")[2])
            self.holes_closed += closed
            if closed:
                _logger.warning("closed %d positions from %d on that their writers never used", closed, low)
        except Trouble as trouble:
            if connection is not None and trouble.state == postgres.LOCK_NOT_AVAILABLE:
                await self._end_blockers(connection)
            else:
                _logger.warning("holes behind position %d could not be closed: %s", low - 1, trouble)
                await self._environment.sleep(LOCK_SECONDS)
        except LogFault:
            pass  # it has halted, and said so
        finally:
            self._closing_holes = None
            self._wake()
            if connection is not None:
                await connection.close()

    async def _end_blockers(self, connection: Connection) -> None:
        try:
            ended = len(await connection.fetch(_END_BLOCKERS))
        except Trouble as trouble:
            _logger.warning("who holds a position back cannot be told: %s", trouble)
            return
        if ended:
            self.blockers_ended += ended
            _logger.warning("ended %d sessions that held a position and waited for their clients", ended)

    # --- what need not be waited for -----------------------------------------------------------------------------

    def _notify(self) -> None:
        self._notify_due = True
        self._go_aside()

    def _go_aside(self) -> None:
        if self._aside is None and self._open:
            self._aside = self._environment.create_task(self._run_aside(), "log-aside")

    async def _run_aside(self) -> None:
        try:
            while self._notify_due or self._chains:
                if self._aside_connection is None or self._aside_connection.is_closed:
                    self._aside_connection = await self._connect(synchronous_commit="off")
                if self._notify_due:
                    self._notify_due = False
                    await self._aside_connection.execute(f"NOTIFY {CHANNEL}")
                if self._chains:
                    statements, self._chains = self._chains, []
                    await self._aside_connection.execute("; ".join(statements))
        except Trouble as trouble:
            _logger.warning("other tasks were not woken, they poll: %s", trouble)
            self._notify_due, self._chains = False, []
            if self._aside_connection is not None:
                self._aside_connection.abort()
        except LogFault:
            pass  # it has halted, and said so
        finally:
            self._aside = None

    # --- older batches -------------------------------------------------------------------------------------------

    async def _load(self, position: int) -> list[Batch]:
        """For a follower that is further behind than the tail remembers."""
        if self._reading is None or self._reading.done():
            raise Unknown("the log is not read at the moment")
        try:
            connection = await self._connect()
            try:
                async for batches in postgres_rows.read(connection, position, self._tail.head):
                    return batches
            finally:
                await connection.close()
        except Trouble as trouble:
            raise Unknown(f"the log cannot be read: {trouble}") from trouble
        raise Unknown(f"position {position} was there and is not")

    def read(self, first: int, last: int | None = None) -> Iterator[Batch]:
        with Blocking() as blocking:
            connection = self._blocking_connection(blocking)
            chunks: AsyncIterator[list[Batch]] = postgres_rows.read(connection, first, last)
            try:
                while True:
                    yield from blocking.run(_next(chunks))
            except StopAsyncIteration:
                return
            except Trouble as trouble:
                raise Unknown(f"the log cannot be read: {trouble}") from trouble
            finally:
                blocking.run(_close(chunks, connection))

    def holds(self, position: int, chain: bytes) -> bool:
        with Blocking() as blocking:
            connection = self._blocking_connection(blocking)
            try:
                return blocking.run(postgres_rows.cursor_at(connection, position)).chain == chain
            except LogFault:
                return False
            except Trouble as trouble:
                raise Unknown(f"the log cannot be read: {trouble}") from trouble
            finally:
                blocking.run(connection.close())

    def _blocking_connection(self, blocking: Blocking) -> Connection:
        async def connect() -> Connection:
            return await self._connect()

        try:
            return blocking.run(connect())
        except Trouble as trouble:
            raise Unknown(f"the database cannot be reached: {trouble}") from trouble

    async def trim(self, before: int) -> None:
        before = min(before, self._tail.head + 1)
        try:
            connection = await self._connect()
            try:
                while self.first < before:
                    await self._trim_some(connection, min(self.first + TRIM_BATCHES, before))
            finally:
                await connection.close()
        except Trouble as trouble:
            raise Unknown(f"the log was not trimmed: {trouble}") from trouble

    async def _trim_some(self, connection: Connection, before: int) -> None:
        """One transaction, so that the first position and the chain before it always fit what is held."""
        cursor = await postgres_rows.cursor_at(connection, before - 1)
        await connection.execute(
            f"UPDATE log_identity SET first_position = {before}, first_chain = '\\x{cursor.chain.hex()}'"
            f" WHERE first_position < {before};"
            f" DELETE FROM log_batch WHERE position < {before}; DELETE FROM log_chain WHERE position < {before}"
        )
        self.first = before


async def _next(chunks: AsyncIterator[list[Batch]]) -> list[Batch]:
    return await anext(chunks)


async def _close(chunks: Any, connection: Connection) -> None:
    await chunks.aclose()
    await connection.close()
