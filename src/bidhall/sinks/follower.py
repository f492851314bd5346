# SPDX-License-Identifier: Apache-2.0
"""What feeds a sink inside an exchange's process: it listens to the replica, queues, and writes in a thread of its own.

Owned by whoever has the sink (`history/history.py`). Everything but the sink's own work happens on the loop. The queue
holds an unbroken run of batches up to the newest. When the sink stands before that run (the process was down, the queue
was full, the sink is new), a private kernel applies the log again up to it, slice by slice. A sink that fails is tried
again, later and later; one that is damaged is put aside and built again. What may never happen here: that trading waits
for a sink, or that a sink is given a gap.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from bidhall.environment import Environment, Handle, Worker
from bidhall.replica import Replica
from bidhall.replica.outcome import Applied
from bidhall.replica.retrace import Retrace
from bidhall.sinks.interface import Cursor, Facts, Sink, SinkDamaged, SinkFault, facts_of
from bidhall.sinks.settings import FollowerSettings

logger: Final = logging.getLogger("bidhall.sinks")

STOPPED, STARTING, CATCHING_UP, FOLLOWING, WAITING = "stopped", "starting", "catching up", "following", "waiting"


class Overflow(Protocol):
    """Where facts go that the sink cannot take and the queue cannot hold. Blocking; in the sink's thread."""

    @property
    def cursor(self) -> Cursor | None:
        """How far; None: it is empty."""

    def write(self, facts: list[Facts]) -> None:
        """Facts that follow those it has; raises when it is full or fails."""

    def remove(self) -> None:
        """Forget everything."""


class _Written(NamedTuple):
    cursor: Cursor
    rows: int


class Follower:
    """See above. `attach` before the replica starts, `start` after, `stop` after the replica."""

    def __init__(
        self,
        sink: Sink,
        replica: Replica,
        environment: Environment,
        settings: FollowerSettings,
        *,
        snapshots: Path | None = None,
        overflow: Overflow | None = None,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """`snapshots`: where a private kernel may begin; `on_change`: called in the thread when the sink was put aside
        or is about to be opened."""
        self.sink: Final = sink
        self.cursor = Cursor()
        self.state = STOPPED
        self.last_error = ""
        self.rows = self.writes = self.retries = self.rebuilds = self.spilled = 0
        self._replica, self._environment, self._settings = replica, environment, settings
        self._snapshots: Final = snapshots
        self._overflow: Final = overflow
        self._on_change: Final = on_change
        self._queue: deque[Facts] = deque()
        self.queue_bytes = 0
        self._told = -1  # position of the newest batch that we were told of
        self.known = False  # whether the cursor is the sink's own
        self._open = False
        self._job = ""
        self._spoilt = ""  # why the sink must be put aside
        self._failures = 0
        self._retrace: Iterator[tuple[Applied, int]] | None = None
        self._retraced = 0  # position of the last batch it gave
        self._held: list[Facts] = []  # taken out for a write that is under way
        self._busy = False
        self._timer: Handle | None = None
        self._waiters: list[tuple[int, Callable[[bool], None], Handle]] = []
        self._idle: list[Callable[[], None]] = []
        self._worker: Worker | None = None

    # --- life -------------------------------------------------------------------------------------------------------

    def attach(self) -> None:
        """Listen; what comes is queued."""
        self._replica.listeners.append(self)

    def start(self) -> None:
        """The replica is ready: begin to write."""
        self._worker = self._environment.worker(f"{self.sink.name}-write")
        self.state = STARTING
        self._kick()

    async def flush(self, seconds: float) -> bool:
        """Wait until all that is known now is written; not for a sink that is far behind or fails."""
        if self.state not in (FOLLOWING, STARTING):
            return False
        future = self._environment.create_future()
        self.reach(self.target, lambda reached: None if future.done() else future.set_result(reached), seconds)
        return bool(await future)

    async def stop(self) -> None:
        """What is written stays; the rest is caught up with at the next start."""
        if self in self._replica.listeners:
            self._replica.listeners.remove(self)
        self.state = STOPPED
        self._cancel_timer()
        for _, callback, timer in self._waiters:
            timer.cancel()
            callback(False)
        self._waiters.clear()
        if self._worker is None:
            return
        if self._busy:
            future = self._environment.create_future()
            self._idle.append(lambda: future.set_result(None))
            await future
        await self._worker.run(self._close)
        self._worker.close()
        self._worker = None

    # --- what others ask --------------------------------------------------------------------------------------------

    @property
    def target(self) -> int:
        """The position that the sink should have."""
        return self._told if self._told >= 0 else self._replica.position

    def retained(self) -> int:
        """Snapshots at or before this position are still of use; -1: not known yet."""
        return self.cursor.position if self.known else -1

    def distrust(self, reason: str) -> None:
        """A reader found the sink damaged."""
        if not self._spoilt and self._open:
            self._spoilt = reason
            self._kick()

    def reach(self, position: int, callback: Callable[[bool], None], seconds: float) -> None:
        """Call back when the sink has this position, or it took too long; what waits is written at once."""
        position = min(position, self.target)
        if self.cursor.position >= position and self.known:
            self._environment.call_soon(callback, True)
            return
        if self.state == STOPPED:
            self._environment.call_soon(callback, False)
            return
        timer = self._environment.call_later(seconds, self._give_up, position, callback)
        self._waiters.append((position, callback, timer))
        if self.state == FOLLOWING:
            self._kick()

    def _give_up(self, position: int, callback: Callable[[bool], None]) -> None:
        self._waiters = [waiter for waiter in self._waiters if waiter[1] is not callback]
        callback(self.cursor.position >= position)

    # --- the queue --------------------------------------------------------------------------------------------------

    def on_batch(self, applied: Applied) -> None:
        """The replica, on the loop: copy what it did, and go on."""
        position = applied.batch.position
        previous = self._told if self._told >= 0 else position - 1
        self._told = position
        if position <= self.cursor.position:
            return
        facts = facts_of(applied, previous, applied.first_sequence + applied.count - 1)
        self._queue.append(facts)
        self.queue_bytes += facts.size
        if self.queue_bytes > self._settings.queue_bytes_max:
            self._drop_queue()
        if self._busy or self._worker is None:
            return
        if self._must_spill:
            self._run_spill()
        elif self._timer is None:
            self._schedule(self._settings.interval_seconds)

    def _drop_queue(self) -> None:
        """It is full: the log has all of it, and the sink will get it from there."""
        logger.warning("sink %s: %d bytes wait; it will catch up from the log", self.sink.name, self.queue_bytes)
        self._queue.clear()
        self.queue_bytes = 0

    @property
    def _behind(self) -> bool:
        """What is to be written next stands in the log only."""
        if self._queue:
            return self._queue[0].previous > self.cursor.position
        return self.cursor.position < self.target

    def _take(self) -> list[Facts]:
        taken, size = [], 0
        while self._queue and size < self._settings.write_bytes_max:
            facts = self._queue.popleft()
            taken.append(facts)
            size += facts.size
        self.queue_bytes -= size
        self._held = taken
        return taken

    def _put_back(self) -> None:
        self._queue.extendleft(reversed(self._held))
        self.queue_bytes += sum(facts.size for facts in self._held)
        self._held = []

    # --- the thread's jobs ------------------------------------------------------------------------------------------

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _kick(self) -> None:
        """Give the thread its next job, if there is one."""
        self._cancel_timer()
        if not self._busy and self._worker is not None and self.state != STOPPED:
            self._next()

    def _next(self) -> None:
        if self._spoilt:
            self._open = False  # whoever finds damage from now on has found the old one's
            self._run("renew", self._renew)
        elif self._must_spill:
            self._run_spill()
        elif not self._open:
            self._run("open", self._start_sink)
        elif self._behind:
            if self.state != CATCHING_UP:
                logger.info("sink %s: catching up from position %d", self.sink.name, self.cursor.position)
            self.state = CATCHING_UP
            self._run("catch up", self._catch_up)
        else:
            self.state, self._retrace = FOLLOWING, None
            if self._queue:
                taken = self._take()
                self._run("write", lambda: self._write(taken))

    def _run(self, name: str, job: Callable[[], _Written]) -> None:
        assert self._worker is not None
        self._busy, self._job = True, name
        self._worker.call(job, self._worked)

    def _run_spill(self) -> None:
        taken = self._take()
        self._run("spill", lambda: self._spill(taken))

    @property
    def _must_spill(self) -> bool:
        """The queue is half full and the sink is not taking it."""
        if self._overflow is None or self.queue_bytes < self._settings.queue_bytes_max // 2:
            return False
        return not self._open or self._behind or self._failures > 0

    def _start_sink(self) -> _Written:
        if not self.known and self._overflow is not None:
            self._overflow.remove()  # of an earlier process
        self._on_change()
        return _Written(self.sink.start(self._replica.log.holds), 0)

    def _renew(self) -> _Written:
        """The sink is damaged: another takes its place."""
        self._retrace = None
        self.sink.put_aside(self._spoilt)
        self._spoilt = ""
        self.rebuilds += 1
        return self._start_sink()

    def _write(self, facts: list[Facts]) -> _Written:
        count = self.sink.write(facts)
        cursor, overflow = facts[-1].cursor, self._overflow
        if overflow is not None and overflow.cursor is not None and overflow.cursor.position <= cursor.position:
            overflow.remove()
        return _Written(cursor, count)

    def _catch_up(self) -> _Written:
        """One slice of the log, through the private kernel."""
        settings, clock = self._settings, self._environment.monotonic
        if self._retrace is None:
            retrace = Retrace(self._replica.log, self._snapshots, self.cursor.position, self.cursor.chain)
            self._retrace, self._retraced = retrace.batches(), self.cursor.position
        begun, size = clock(), 0
        facts: list[Facts] = []
        for applied, sequence in self._retrace:
            fact = facts_of(applied, self._retraced, sequence)
            self._retraced = fact.cursor.position
            facts.append(fact)
            size += fact.size
            if size > settings.write_bytes_max or clock() - begun > settings.slice_seconds:
                break
        else:
            self._retrace = None
        return self._write(facts) if facts else _Written(self.cursor, 0)

    def _spill(self, facts: list[Facts]) -> _Written:
        assert self._overflow is not None
        try:
            self._overflow.write(facts)
            self.spilled += len(facts)
        except Exception as error:  # then they are in the log only, until the sink has caught up
            logger.warning("what sink %s cannot take cannot be kept either: %s", self.sink.name, error)
            self._overflow.remove()
        return _Written(self.cursor, 0)

    def _close(self) -> None:
        self._retrace = None
        self.sink.close()
        if self._overflow is not None:
            self._overflow.remove()

    # --- and what came of them --------------------------------------------------------------------------------------

    def _worked(self, written: _Written | None, error: BaseException | None) -> None:
        self._busy = False
        if error is not None:
            self._failed(error)
        elif written is not None:
            self._succeeded(written)
        for idle in self._idle:
            idle()
        self._idle.clear()

    def _succeeded(self, written: _Written) -> None:
        self._held = []
        if self._job == "spill":
            if self._timer is None:
                self._schedule(0.0)
            return
        self._open = self.known = True
        self.cursor = written.cursor
        self.rows += written.rows
        self.writes += written.rows > 0
        if self._failures and (written.rows or self.cursor.position >= self.target):
            logger.info("sink %s works again", self.sink.name)
            self._failures, self.last_error = 0, ""
        while self._queue and self._queue[0].cursor.position <= self.cursor.position:
            self.queue_bytes -= self._queue.popleft().size
        self._release()
        if self._behind or self.queue_bytes > self._settings.write_bytes_max or self._waiters or self._spoilt:
            self._schedule(0.0)
        else:
            self.state = FOLLOWING
            if self._queue:
                self._schedule(self._settings.interval_seconds)

    def _release(self) -> None:
        """Who waited for what is written now."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if waiter[0] > self.cursor.position:
                self._waiters.append(waiter)
            else:
                waiter[2].cancel()
                waiter[1](True)

    def _failed(self, error: BaseException) -> None:
        self._put_back()
        self._retrace = None  # it has gone on past what was not written
        self._open = False
        self._failures += 1
        self.retries += 1
        text = f"{type(error).__name__}: {error}"
        if text != self.last_error:
            expected = isinstance(error, SinkFault | SinkDamaged)
            logger.error("sink %s cannot be written: %s", self.sink.name, text, exc_info=None if expected else error)
        self.last_error = text
        if isinstance(error, SinkDamaged):
            self._spoilt = str(error)
        if self.state != STOPPED:
            self.state = WAITING
            settings = self._settings
            pause = settings.backoff_seconds_min * 2 ** min(self._failures - 1, 16)
            self._schedule(min(pause, settings.backoff_seconds_max))

    def _schedule(self, seconds: float) -> None:
        self._cancel_timer()
        if self.state != STOPPED:
            self._timer = self._environment.call_later(seconds, self._kick)
