# SPDX-License-Identifier: Apache-2.0
"""The one writer of a process: it queues commands, sends one batch at a time, and knows which waiter stands where.

Called by the replica, on the loop. Group commit without a timer: what arrives while a batch is on its way forms the
next one. A batch counts as appended when the replica's own `follow` delivers it, never before; until then the very
same bytes are appended again after every `Unknown`, under the same number. What may never happen here: a second batch
on its way, a number that is used for other bytes, or a definite refusal for a command that was sent.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Final, NamedTuple, Protocol

from bidhall.environment import Environment, Handle
from bidhall.log.batch import COMMAND_BYTES, WRITER_BYTES, Batch, Entry
from bidhall.log.errors import Foreign, Halted, LogFault, Overloaded, Stopped, Unknown
from bidhall.log.interface import Log


class Refusal(Enum):
    """Why a command left the queue without having been sent: its fate is certain."""

    TIMED_OUT_QUEUED = "it waited too long for its turn"
    STOPPED = "the process is stopping"
    HALTED = "the log has halted"


class Waiter(Protocol):
    """Whoever gave commands and waits for what becomes of them."""

    def refused(self, reason: Refusal) -> None: ...


class Slot(NamedTuple):
    """Whose commands stand where in a batch; counted in commands."""

    offset: int
    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody needs here
    waiter: Waiter


@dataclass(frozen=True)
class WriterLimits:
    """Beyond the queue's limits `submit` raises `Overloaded`; beyond the seconds a queued command is refused."""

    batch_commands_max: int = 4096
    queue_commands_max: int = 65_536
    queue_waiters_max: int = 16_384
    queue_seconds_max: float = 5.0
    answer_seconds_max: float = 10.0  # a sent batch without an outcome: who waits for it is told that nobody knows
    retry_seconds_min: float = 0.01
    retry_seconds_max: float = 0.5


@dataclass(slots=True)
class _Queued:
    commands: bytes
    count: int
    waiter: Waiter
    since: float
    deadline: float


@dataclass(slots=True)
class _Flight:
    entry: Entry
    slots: list[Slot]
    since: float
    delay_seconds: float  # before the next attempt
    durable: bool = False
    attempt: "asyncio.Future[None] | None" = None
    watchers: list["asyncio.Future[None]"] = field(default_factory=list)


class Writer:
    """See above. `start` first."""

    def __init__(
        self,
        log: Log,
        environment: Environment,
        layout: int,
        rules: int,
        *,
        limits: WriterLimits | None = None,
        on_halted: Callable[[LogFault], None] | None = None,
        on_unknown: Callable[[list[Slot]], None] | None = None,
    ) -> None:
        self.id = environment.random_bytes(WRITER_BYTES)
        self.number = 0  # the highest that was sent
        self.failed: LogFault | None = None
        self.limits: Final = limits or WriterLimits()
        self._log = log
        self._environment = environment
        self._layout = layout
        self._rules = rules
        self._on_halted = on_halted
        self._on_unknown = on_unknown
        self._overdue: Handle | None = None  # looks whether the batch on its way has been for too long
        self._queue: deque[_Queued] = deque()
        self._queued_commands = 0
        self._flight: _Flight | None = None
        self._delivered = 0  # the highest number that came back
        self._scheduled = False
        self._stopping = False
        self._timer: Handle | None = None
        self._timer_at = 0.0
        self._idle: asyncio.Future[None] | None = None

    # -- what the replica calls

    async def start(self) -> None:
        """The hello: number 1, empty, announces layout and rules. Returns when it is durable; `follow` delivers it."""
        await self.hello()

    async def hello(self) -> None:
        """Proof that the log takes our writes now: after it, what `follow` gives is from the log that is in force.

        An empty batch; or, when one is on its way, that one (again, if it was durable before: the kernel drops a
        repeat).
        """
        flight = self._flight
        if flight is not None and flight.durable:
            await self._log.append(flight.entry)
            return
        if flight is None:
            flight = self._send([], self._environment.monotonic())
        future: asyncio.Future[None] = self._environment.create_future()
        flight.watchers.append(future)
        await future

    def submit(self, commands: bytes, waiter: Waiter, deadline: float | None = None) -> None:
        """Queue whole records, which stay together. `deadline`: when (monotonic clock) they must have been sent."""
        if self._stopping or self.failed is not None:
            raise Stopped(str(self.failed or "the process is stopping"))
        count, rest = divmod(len(commands), COMMAND_BYTES)
        limits = self.limits
        if rest or not 0 < count <= limits.batch_commands_max:
            raise ValueError(f"{len(commands)} bytes are not 1 to {limits.batch_commands_max} commands")
        if self._queued_commands + count > limits.queue_commands_max or len(self._queue) >= limits.queue_waiters_max:
            raise Overloaded(f"{self._queued_commands} commands wait already")
        now = self._environment.monotonic()
        latest = now + limits.queue_seconds_max
        deadline = latest if deadline is None else min(deadline, latest)
        self._queue.append(_Queued(commands, count, waiter, now, deadline))
        self._queued_commands += count
        if self._flight is None:
            self._schedule()
        if self._timer is None or deadline < self._timer_at:
            self._arm(deadline, now)

    def nudge(self) -> None:
        """Append an empty batch, for its time stamps, unless another one is on its way or about to be."""
        if self._flight is None and not self._scheduled and self.failed is None and not self._stopping:
            self._send([], self._environment.monotonic())

    def delivered(self, batch: Batch) -> list[Slot]:
        """To be called for every batch that `follow` gives, before it is applied: whose commands it holds."""
        entry = batch.entry
        if entry.writer != self.id or entry.number <= self._delivered:
            return []
        flight = self._flight
        if flight is None or entry.number != flight.entry.number or entry.checksum != flight.entry.checksum:
            raise Foreign(f"position {batch.position} holds a number {entry.number} of ours that we did not send")
        self._delivered = entry.number
        self._flight = None
        if self._queue:
            self._schedule()
        elif self._idle is not None and not self._idle.done():
            self._idle.set_result(None)
        return flight.slots

    def age_seconds(self) -> float:
        """How long the oldest has waited that was neither delivered nor refused; 0 when there is none."""
        if self._flight is not None:
            return self._environment.monotonic() - self._flight.since
        return self._environment.monotonic() - self._queue[0].since if self._queue else 0.0

    @property
    def queued(self) -> int:
        """Commands that wait to be sent."""
        return self._queued_commands

    async def stop(self, seconds: float = 10.0) -> list[Slot]:
        """Take no more, send what was taken, and wait until it is delivered; what is left then: as `abandon`."""
        self._stopping = True
        if (self._flight is not None or self._queue) and self.failed is None:
            self._idle = self._environment.create_future()
            giving_up = self._environment.call_later(seconds, self._give_up)
            await self._idle
            giving_up.cancel()
        self._refuse_all(Refusal.STOPPED)
        for timer in (self._timer, self._overdue):
            if timer is not None:
                timer.cancel()
        self._timer = self._overdue = None
        return self.abandon()

    def abandon(self) -> list[Slot]:
        """Those whose commands were sent and did not come back: nobody knows, and they must be told so."""
        slots = [] if self._flight is None else self._flight.slots
        if self._flight is not None:
            self._flight.slots = []
        return slots

    # -- sending

    def _schedule(self) -> None:
        """At the end of this turn of the loop, so that requests which came in together go together."""
        if not self._scheduled:
            self._scheduled = True
            self._environment.call_soon(self._send_queued)

    def _send_queued(self) -> None:
        self._scheduled = False
        if self._flight is not None or self.failed is not None:
            return
        now = self._environment.monotonic()
        taken, count = [], 0
        while self._queue and count + self._queue[0].count <= self.limits.batch_commands_max:
            queued = self._queue.popleft()
            self._queued_commands -= queued.count
            if queued.deadline <= now:
                queued.waiter.refused(Refusal.TIMED_OUT_QUEUED)
                continue
            taken.append(queued)
            count += queued.count
        if taken:
            self._send(taken, now)
        elif self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    def _send(self, taken: list[_Queued], now: float) -> _Flight:
        slots, offset = [], 0
        for queued in taken:
            slots.append(Slot(offset, queued.count, queued.waiter))
            offset += queued.count
        self.number += 1
        commands = taken[0].commands if len(taken) == 1 else b"".join([queued.commands for queued in taken])
        entry = Entry.make(self.id, self.number, self._environment.wall_ns(), self._layout, self._rules, commands)
        since = taken[0].since if taken else now
        flight = self._flight = _Flight(entry, slots, since, self.limits.retry_seconds_min)
        if self._overdue is None and slots and self._on_unknown is not None:
            self._overdue = self._environment.call_later(self.limits.answer_seconds_max, self._look_overdue)
        self._attempt(flight)
        return flight

    def _attempt(self, flight: _Flight) -> None:
        if self._flight is not flight or self.failed is not None:
            self._durable(flight)  # it came back while it was thought lost
            return
        flight.attempt = asyncio.ensure_future(self._log.append(flight.entry))
        flight.attempt.add_done_callback(partial(self._attempted, flight))

    def _attempted(self, flight: _Flight, attempt: "asyncio.Future[None]") -> None:
        if attempt.cancelled():
            return  # the loop is being torn down
        error = attempt.exception()
        if error is None:
            self._durable(flight)
        elif isinstance(error, Unknown):
            self._environment.call_later(flight.delay_seconds, self._attempt, flight)
            flight.delay_seconds = min(2 * flight.delay_seconds, self.limits.retry_seconds_max)
        elif isinstance(error, LogFault):
            self._fail(error, flight)
        else:  # a log that fails in an unforeseen way is not to be tried again
            self._fail(Halted(f"{type(error).__name__}: {error}"), flight)

    def _durable(self, flight: _Flight) -> None:
        flight.durable = True
        for watcher in flight.watchers:
            if not watcher.done():
                watcher.set_result(None)

    def _look_overdue(self) -> None:
        """Who waits for a sent batch is told in time that nobody knows; the batch goes on."""
        self._overdue = None
        flight = self._flight
        if flight is None or self._on_unknown is None:
            return
        left = flight.since + self.limits.answer_seconds_max - self._environment.monotonic()
        if left > 0:
            self._overdue = self._environment.call_later(left, self._look_overdue)
            return
        slots, flight.slots = flight.slots, []
        self._on_unknown(slots)

    # -- leaving the queue

    def _arm(self, deadline: float, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = self._environment.call_later(max(deadline - now, 0.0), self._expire)

    def _expire(self) -> None:
        """Those past their deadline leave, wherever they stand. Sending does not move the timer: it looks again."""
        self._timer = None
        now = self._environment.monotonic()
        late = [queued for queued in self._queue if queued.deadline <= now]
        if late:
            self._queue = deque(queued for queued in self._queue if queued.deadline > now)
            self._queued_commands -= sum(queued.count for queued in late)
        if self._queue:
            self._arm(min(queued.deadline for queued in self._queue), now)
        for queued in late:
            queued.waiter.refused(Refusal.TIMED_OUT_QUEUED)

    def _refuse_all(self, reason: Refusal) -> None:
        queue, self._queue, self._queued_commands = self._queue, deque(), 0
        for queued in queue:
            queued.waiter.refused(reason)

    def _give_up(self) -> None:
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    def _fail(self, fault: LogFault, flight: _Flight) -> None:
        """The log is gone for good: the queue is refused, what was sent stays unknown."""
        if self.failed is not None:
            return
        self.failed = fault
        for watcher in flight.watchers:
            if not watcher.done():
                watcher.set_exception(fault)
        self._refuse_all(Refusal.HALTED)
        self._give_up()
        if self._on_halted is not None:
            self._on_halted(fault)
