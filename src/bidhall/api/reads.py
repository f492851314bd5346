# SPDX-License-Identifier: Apache-2.0
"""Reads are never stale: waiting until everything that was acknowledged, by any process, has been applied here.

Who calls it: the lane, before a signed read or a depth snapshot is answered and before something unknown is refused.
With a log that only this process writes (sqlite, memory) nothing can have been acknowledged that is not applied: reads
go on at once. Else all readers that arrive while one barrier runs share the *next* one, never the one in flight.

A barrier that fails is tried again for those who still wait. When the log cannot be reached, a reader is refused with
503 at its own deadline; public ones (no promise says that they are fresh) go on with what has been applied.
What may never happen here: a reader that is told twice, or never.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from bidhall.protocol.errors import ApiError, busy
from bidhall.replica import NotReady

if TYPE_CHECKING:
    from bidhall.environment import Environment
    from bidhall.replica import Replica

logger = logging.getLogger("bidhall.api")

BARRIER_S_MAX: Final = 10.0
PUBLIC_S_MAX: Final = 0.5
RETRY_S: Final = 0.05
LOOK_S: Final = 0.1  # how often deadlines are looked at while a barrier does not return
WAITING_MAX: Final = 100_000

Then = Callable[[ApiError | None], None]


class _Reader:
    """One who waits: until when, and whether it then goes on all the same."""

    __slots__ = ("deadline", "is_public", "then")

    def __init__(self, then: Then, deadline: float, is_public: bool) -> None:
        self.then = then
        self.deadline = deadline
        self.is_public = is_public


class Reads:
    """The readers of this process that wait for the log."""

    def __init__(self, replica: Replica, environment: Environment, *, seconds_max: float = BARRIER_S_MAX) -> None:
        self.replica = replica
        self.environment = environment
        self.at_once: bool = bool(getattr(replica.log, "exclusive", False))
        self.faults = 0  # readers that raised; tests assert that it stays 0
        self.refused = 0  # readers whose time was over
        self.is_stalled = False  # the last barrier failed, or has been running for too long
        self._seconds_max = seconds_max
        self._waiting: list[_Reader] = []  # for the next barrier
        self._passing: list[_Reader] = []  # for the one that runs
        self._task: Any = None

    def wait(self, then: Then, *, is_public: bool = False) -> None:
        """Call `then(None)` when this replica is fresh, or `then(error)` when that takes too long."""
        if self.at_once:
            then(None)
            return
        if is_public and self.is_stalled:
            then(None)
            if self._task is not None:
                return
            then = _nobody  # so that it is noticed when the log is there again
        if len(self._waiting) >= WAITING_MAX:
            then(busy())
            return
        seconds = min(PUBLIC_S_MAX, self._seconds_max) if is_public else self._seconds_max
        self._waiting.append(_Reader(then, self.environment.monotonic() + seconds, is_public))
        if self._task is None:
            self._task = self.environment.create_task(self._run(), "reads")

    async def _run(self) -> None:
        try:
            while self._waiting:
                self._passing, self._waiting = self._waiting, []
                if await self._pass_barrier():
                    self.is_stalled = False
                    passed, self._passing = self._passing, []
                    for reader in passed:
                        self._tell(reader, None)
                else:
                    self.is_stalled = True
                    self._waiting, self._passing = self._passing + self._waiting, []
                    self._expire()
                    await self.environment.sleep(RETRY_S)
        finally:
            self._task = None

    async def _pass_barrier(self) -> bool:
        """Whether one has been passed; deadlines are kept while it runs."""
        barrier: asyncio.Task[None] = self.environment.create_task(self.replica.barrier(), "reads-barrier")
        try:
            while not barrier.done() and (self._passing or self._waiting):
                await asyncio.wait([barrier], timeout=LOOK_S)
                if not barrier.done():
                    self._expire()
            return barrier.done() and self._is_good(barrier)
        finally:
            barrier.cancel()

    def _is_good(self, barrier: asyncio.Task[None]) -> bool:
        error = barrier.exception()
        if isinstance(error, NotReady):  # this replica is at its end: nothing will come of waiting
            waiting, self._passing, self._waiting = self._passing + self._waiting, [], []
            for reader in waiting:
                self._tell(reader, _unavailable())
        return error is None

    def _expire(self) -> None:
        """Those whose time is over leave, each with its answer."""
        now = self.environment.monotonic()
        late: list[_Reader] = []
        for readers in (self._passing, self._waiting):
            due = [reader for reader in readers if reader.deadline <= now]
            if due:
                late += due
                readers[:] = [reader for reader in readers if reader.deadline > now]
        if late:
            self.is_stalled = True
        for reader in late:
            if reader.is_public:
                self._tell(reader, None)
            else:
                self.refused += 1
                self._tell(reader, _unavailable())

    def _tell(self, reader: _Reader, error: ApiError | None) -> None:
        """One reader's bug is not the others' end."""
        try:
            reader.then(error)
        except Exception:
            self.faults += 1
            logger.exception("bug in what was to follow a read")

    async def stop(self) -> None:
        """Nobody waits for ever: the running barrier is given up."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        waiting, self._passing, self._waiting = self._passing + self._waiting, [], []
        for reader in waiting:
            self._tell(reader, busy())


def _nobody(_: ApiError | None) -> None:
    """Whoever asked has gone on."""


def _unavailable() -> ApiError:
    return ApiError(-1008, busy().message, 503)
