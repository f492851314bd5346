# SPDX-License-Identifier: Apache-2.0
"""A PostgreSQL server as `bidhall.log.postgres` sees it: sessions, one sequence, a primary key, commits that take time.

What of the real one is here, because the log's correctness rests on it: a position is taken at once and never given
back; its row is seen by others at its commit only, and commits run in parallel; an insert under a key that another
transaction holds waits for that one's end; a statement that arrived goes on when its client is gone; an answer may be
lost on its way back, and a message may arrive long after its sender gave up; a crash takes every session and skips up
to 32 positions; a failover to a synchronous standby keeps all that was ever visible; one to an asynchronous standby
does not. Made by `world`; the sessions are `bidhall.clients.postgres.Connection`s. It must never know a statement
that the log does not send: an unknown one is an error of the simulator.
"""

import asyncio
import re
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from random import Random
from typing import Any

from bidhall.clients.postgres import LOCK_NOT_AVAILABLE, UNIQUE_VIOLATION, Trouble
from tests.sim.environment import Clock
from tests.sim.loop import OWNER, Owner, SimulatedLoop
from tests.sim.options import ServerFaults

_APPEND = re.compile(r"INSERT INTO log_batch .* VALUES \(nextval\('log_position'\), .*, '\\x([0-9a-f]+)'\)", re.DOTALL)
_CLOSE = re.compile(
    r"INSERT INTO log_batch .* SELECT g, .*, '\\x([0-9a-f]+)' FROM generate_series\((\d+), (\d+)\) AS g"
    r" ON CONFLICT DO NOTHING"
)
_TRIM = re.compile(
    r"UPDATE log_identity SET first_position = (\d+), first_chain = '\\x([0-9a-f]+)' WHERE first_position < (\d+);"
    r" DELETE FROM log_batch WHERE position < \1; DELETE FROM log_chain WHERE position < \1"
)
_CHAINS = re.compile(r"\((\d+), '\\x([0-9a-f]+)'\)")
LOCK_SECONDS = 0.2
SKIPPED_MAX = 32
Row = tuple[int, bytes]


class Transaction:
    """One statement that writes. Whoever waits for its keys is in `waiting`."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.rows: dict[int, Row] = {}
        self.waiting: list[Callable[[], None]] = []
        self.ended = False
        self.committing = False


class Server:
    """See above."""

    def __init__(self, loop: SimulatedLoop, random: Random, faults: ServerFaults) -> None:
        self.loop, self.random, self.faults = loop, random, faults
        self.clock = Clock(loop)
        self.identity = random.randbytes(16)
        self.rows: dict[int, Row] = {}
        self.chains: dict[int, bytes] = {}
        self.first, self.first_chain = 1, bytes(16)
        self.sequence = 0
        self.head = 0  # the last position of the visible rows without a gap
        self.keys: dict[int, Transaction] = {}  # held by transactions that have not ended
        self.sessions: list[Session] = []
        self.is_up = True
        self.epoch = 0  # how often it has crashed
        self.stalled_until = 0.0
        self.reached: dict[str, int] = {}
        self.dirty_reads = self.conflicts_pass = False  # canaries'
        self.on_trim: Callable[[], None] = lambda: None

    def count(self, what: str) -> None:
        self.reached[what] = self.reached.get(what, 0) + 1

    # -- time on the way

    def network_seconds(self) -> float:
        faults = self.faults
        seconds = self.random.expovariate(1.0) * faults.network_seconds
        if self.random.random() < faults.slow_message:
            seconds += self.random.random() * 0.3
        return seconds

    def commit_seconds(self) -> float:
        faults = self.faults
        seconds = faults.commit_seconds * (0.5 + self.random.random())
        if self.random.random() < faults.slow_commit:
            self.count("slow commit")
            seconds += self.random.choice((0.03, 0.1, 0.5))
        return seconds

    def after(self, seconds: float, function: Callable[..., None], *args: Any) -> None:
        """On the server: it happens whoever dies meanwhile; a stalled server does it later."""
        at = max(self.loop.now, self.stalled_until) + seconds
        self.loop.call_outside(at - self.loop.now, function, *args)

    # -- sessions

    async def connect(self, owner: Owner, settings: dict[str, str]) -> "Session":
        session = Session(self, owner)
        await session.ask(self._welcome, session)
        return session

    def _welcome(self, session: "Session", answer: "Answer") -> None:
        self.sessions.append(session)
        answer.give(None)

    def forget(self, session: "Session") -> None:
        if session in self.sessions:
            self.sessions.remove(session)

    def cut(self, sessions: "Iterable[Session]") -> None:
        for session in list(sessions):
            session.lose("the connection was cut")

    # -- appending

    def append(self, raw: bytes, answer: "Answer") -> None:
        """The statement has arrived."""
        faults, random = self.faults, self.random
        self.sequence += 1
        position = self.sequence
        if random.random() < faults.backend_dies_early:
            self.count("position taken and never used")
            answer.cut("the backend died")
            return
        gap = random.random() * 0.05 if random.random() < faults.slow_insert else 0.0
        self.after(gap, self._insert, Transaction(self.epoch), position, raw, answer)

    def _insert(self, transaction: Transaction, position: int, raw: bytes, answer: "Answer") -> None:
        if transaction.epoch != self.epoch:
            return
        holder = self.keys.get(position)
        if holder is not None:
            self.count("append waits for whoever closes its hole")
            holder.waiting.append(lambda: self._insert(transaction, position, raw, answer))
            return
        if position in self.rows:
            self.count("append finds its position closed")
            if self.conflicts_pass:
                answer.give("INSERT 0 0")
            else:
                answer.fail(UNIQUE_VIOLATION, "duplicate key")
            return
        self._hold(transaction, position, raw)
        if self.random.random() < self.faults.backend_dies_late:
            self.count("insert rolled back")
            self.after(self.commit_seconds(), self._end, transaction, False, answer, None)
            return
        transaction.committing = True
        self.after(self.commit_seconds(), self._end, transaction, True, answer, "INSERT 0 1")

    def _hold(self, transaction: Transaction, position: int, raw: bytes) -> None:
        transaction.rows[position] = (self.clock.now_ns() // 1000 * 1000, raw)
        self.keys[position] = transaction

    def _end(self, transaction: Transaction, is_commit: bool, answer: "Answer", tag: str | None) -> None:
        if transaction.ended:
            return
        transaction.ended = True
        for position, row in transaction.rows.items():
            del self.keys[position]
            if is_commit:
                self.rows[position] = row
        while self.head + 1 in self.rows:
            self.head += 1
        for waiting in transaction.waiting:
            waiting()
        if tag is None:
            answer.cut("the backend died")
        elif tag == LOCK_NOT_AVAILABLE:
            answer.fail(tag, "lock timeout")
        else:
            answer.give(tag)

    # -- closing holes

    def close_holes(self, low: int, high: int, raw: bytes, answer: "Answer") -> None:
        self._close_on(Transaction(self.epoch), low, high, raw, answer)

    def _close_on(self, transaction: Transaction, position: int, high: int, raw: bytes, answer: "Answer") -> None:
        """From `position` on, ascending; where another transaction holds the key, wait for its end."""
        if transaction.epoch != self.epoch:
            return
        while position <= high and not transaction.ended:
            holder = self.keys.get(position)
            if holder is not None:
                self.count("closer waits for a commit")
                self._wait_for(holder, transaction, position, high, raw, answer)
                return
            if position not in self.rows:
                self._hold(transaction, position, raw)
            position += 1
        if not transaction.ended:
            self.count("holes closed")
            transaction.committing = True
            tag = f"INSERT 0 {len(transaction.rows)}"
            self.after(self.commit_seconds(), self._end, transaction, True, answer, tag)

    def _wait_for(
        self, holder: Transaction, transaction: Transaction, position: int, high: int, raw: bytes, answer: "Answer"
    ) -> None:
        waits = [True]

        def freed() -> None:
            if waits.pop() and not transaction.ended:
                waits.append(False)
                self._close_on(transaction, position, high, raw, answer)
            else:
                waits.append(False)

        def expired() -> None:
            if waits[0] and not transaction.ended and transaction.epoch == self.epoch:
                waits[0] = False
                self.count("lock timeout")
                self._end(transaction, False, answer, LOCK_NOT_AVAILABLE)

        holder.waiting.append(freed)
        self.after(LOCK_SECONDS, expired)

    # -- reading

    def rows_after(self, position: int, limit: int) -> list[tuple[int, int, bytes]]:
        seen = self.rows
        if self.dirty_reads:
            seen = dict(seen)
            for holder in self.keys.values():
                seen.update(holder.rows)
        wanted = sorted(found for found in seen if found > position)[:limit]
        return [(found, *seen[found]) for found in wanted]

    def select(self, query: str, arguments: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """Every question that the log asks."""
        if query.startswith("SELECT position, log_time_ns, entry FROM log_batch"):
            return self.rows_after(arguments[0], arguments[1])
        if query.startswith("SELECT position, chain FROM log_chain"):
            known = self.chains | {self.first - 1: self.first_chain}
            kept = [position for position in known if position <= arguments[0]]
            return [(max(kept), known[max(kept)])] if kept else []
        if query.startswith("SELECT coalesce(max(position), 0) FROM log_chain"):
            return [(max(self.chains, default=0),)]
        if query.startswith("SELECT greatest($1::bigint, first_position - 1)"):
            return [(max(arguments[0], self.first - 1),)]
        if query.startswith("SELECT schema_version"):
            return [(1,)]
        if query.startswith("SELECT identity, first_position, first_chain"):
            return [(self.identity, self.first, self.first_chain)]
        if query.startswith("SELECT identity FROM"):
            return [(self.identity,)]
        if query.startswith("SELECT current_setting('server_version_num')"):
            return [(160_000, "on", "on", False, self.sequence, max(self.rows, default=0))]
        if query.startswith("SELECT pg_terminate_backend"):
            return []
        raise AssertionError(f"the simulated server does not know {query!r}")

    def run(self, query: str, answer: "Answer") -> None:
        """Every statement that the log sends."""
        if query.startswith("NOTIFY "):
            for session in self.sessions:
                session.notify()
            answer.give("NOTIFY")
        elif query.startswith("INSERT INTO log_chain"):
            for position, chain in _CHAINS.findall(query):
                self.chains.setdefault(int(position), bytes.fromhex(chain))
            answer.give("INSERT")
        elif found := _TRIM.fullmatch(query):
            self.trim(int(found[1]), bytes.fromhex(found[2]))
            answer.give("DELETE")
        elif found := _APPEND.fullmatch(query):
            self.append(bytes.fromhex(found[1]), answer)
        elif found := _CLOSE.fullmatch(query):
            self.close_holes(int(found[2]), int(found[3]), bytes.fromhex(found[1]), answer)
        else:
            raise AssertionError(f"the simulated server does not know {query!r}")

    def trim(self, before: int, chain: bytes) -> None:
        self.on_trim()
        self.count("trimmed")
        if before > self.first:
            self.first, self.first_chain = before, chain
        for table in (self.rows, self.chains):
            for position in [position for position in table if position < before]:
                del table[position]

    # -- disasters

    def crash(self, lost_from: int = 0) -> int:
        """All sessions end. What was being committed is there or not; `lost_from`: rows from there on are not either.

        How many visible rows were lost.
        """
        self.is_up = False
        self.epoch += 1
        open_ones = list(dict.fromkeys(self.keys.values()))
        sessions, self.sessions = self.sessions, []
        for session in sessions:
            session.lose("the server is gone")
        for transaction in open_ones:
            survives = transaction.committing and not lost_from and self.random.random() < 0.5
            self.count("commit survives its server" if survives else "commit dies with its server")
            self._end(transaction, survives, Answer.nobodys(self), None)
        lost = [position for position in self.rows if lost_from and position >= lost_from]
        for position in lost:
            del self.rows[position]
        self.chains = {position: chain for position, chain in self.chains.items() if position not in lost}
        if lost:
            self.sequence = max(self.rows, default=0)
            self.head = min(self.head, lost_from - 1)
        self.sequence += self.random.randint(0, SKIPPED_MAX)
        return len(lost)

    def start(self) -> None:
        self.is_up = True


class Answer:
    """What becomes of one message, on its way back to whoever sent it."""

    def __init__(self, session: "Session", future: "asyncio.Future[Any]") -> None:
        self._session = session
        self._future = future

    @classmethod
    def nobodys(cls, server: Server) -> "Answer":
        return cls(Session(server, server.loop.outside), server.loop.create_future())

    def give(self, result: Any) -> None:
        server = self._session.server
        if server.random.random() < server.faults.cut_after:
            server.count("answer lost")
            self.cut("the connection was cut")
        else:
            server.after(server.network_seconds(), self._set, result, None)

    def fail(self, state: str, what: str) -> None:
        self._session.server.after(self._session.server.network_seconds(), self._set, None, Trouble(state, what))

    def cut(self, why: str) -> None:
        self._session.server.after(self._session.server.network_seconds(), self._session.lose, why)

    def _set(self, result: Any, trouble: Trouble | None) -> None:
        if self._future.done() or self._session.is_closed:
            return
        if trouble is None:
            self._future.set_result(result)
        else:
            self._future.set_exception(trouble)


class Session:
    """A connection; `bidhall.clients.postgres.Connection`."""

    def __init__(self, server: Server, owner: Owner) -> None:
        self.server = server
        self.owner = owner
        self._closed = False
        self._wake: Callable[[], None] | None = None
        self._asked: list[asyncio.Future[Any]] = []
        self._epoch = server.epoch

    async def execute(self, query: str) -> str:
        return str(await self.ask(self.server.run, query, is_append="nextval" in query))

    async def fetch(self, query: str, *arguments: Any) -> list[Any]:
        result: list[Any] = await self.ask(self._select, query, arguments)
        return result

    def _select(self, query: str, arguments: tuple[Any, ...], answer: Answer) -> None:
        answer.give(self.server.select(query, arguments))

    async def listen(self, channel: str, wake: Callable[[], None]) -> None:
        await self.fetch("SELECT identity FROM log_identity")
        self._wake = wake

    @property
    def is_closed(self) -> bool:
        return self._closed

    def abort(self) -> None:
        self._closed = True
        self.server.forget(self)
        for future in self._asked:
            if not future.done():
                future.set_exception(Trouble("", "the connection was closed in the middle of an operation"))
        self._asked = []

    async def close(self) -> None:
        self.abort()

    def lose(self, why: str) -> None:
        """The network or the server ends it."""
        asked, self._asked = self._asked, []
        self._closed = True
        self.server.forget(self)
        for future in asked:
            if not future.done():
                future.set_exception(Trouble("", why))

    def notify(self) -> None:
        """In the process that listens, some time later."""
        if self._wake is None or self.server.random.random() < self.server.faults.notify_lost:
            return
        context = self.owner.context
        self.server.loop.call_later(self.server.network_seconds(), self._woken, context=context)

    def _woken(self) -> None:
        if self._wake is not None and not self._closed:
            self._wake()

    async def ask(self, function: Callable[..., None], *args: Any, is_append: bool = False) -> Any:
        """Send a message and wait for what comes back."""
        if self._closed:
            raise Trouble("", "the connection is closed")
        server, faults = self.server, self.server.faults
        future = server.loop.create_future()
        answer = Answer(self, future)
        self._asked = [*(other for other in self._asked if not other.done()), future]
        chance = server.random.random()
        if chance < faults.cut_before:
            server.count("message lost")
            answer.cut("the connection was cut")
        elif is_append and chance < faults.cut_before + faults.late_append:
            server.count("append arrives after its sender gave up")
            answer.cut("the connection was cut")
            server.after(0.05 + server.random.random() * faults.late_seconds_max, self._arrive, function, args, answer)
        else:
            server.after(server.network_seconds(), self._arrive, function, args, answer)
        try:
            return await future
        finally:
            with suppress(ValueError):
                self._asked.remove(future)

    def _arrive(self, function: Callable[..., None], args: tuple[Any, ...], answer: Answer) -> None:
        if not self.server.is_up or self._epoch != self.server.epoch:
            answer.cut("the server is gone")
            return
        function(*args, answer)


class ImmediateConnection:
    """For blocking reads: every answer is there at once, or the connection fails."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.is_closed = False

    async def execute(self, query: str) -> str:
        raise AssertionError(f"nothing is written by who reads: {query!r}")

    async def fetch(self, query: str, *arguments: Any) -> list[Any]:
        server = self._server
        if not server.is_up or server.random.random() < server.faults.cut_before:
            raise Trouble("", "the connection was cut")
        return server.select(query, arguments)

    async def listen(self, channel: str, wake: Callable[[], None]) -> None:
        raise AssertionError("who reads does not listen")

    def abort(self) -> None:
        self.is_closed = True

    async def close(self) -> None:
        self.is_closed = True


class OnTheSpot:
    """Takes the place of `bidhall.clients.postgres.Blocking`: runs a coroutine that never has to wait."""

    depth = 0

    def __enter__(self) -> "OnTheSpot":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        OnTheSpot.depth += 1
        try:
            coroutine.send(None)
        except StopIteration as end:
            return end.value
        finally:
            OnTheSpot.depth -= 1
        raise AssertionError("a blocking read had to wait")


def connector(server: Server) -> Callable[..., Any]:
    """What `PostgresLog` is given as `connect`."""

    async def connect(dsn: str, **settings: str) -> Any:
        if OnTheSpot.depth:
            if not server.is_up:
                raise Trouble("", "connection refused")
            return ImmediateConnection(server)
        return await server.connect(OWNER.get(), settings)

    return connect
