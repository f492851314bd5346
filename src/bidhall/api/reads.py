# SPDX-License-Identifier: Apache-2.0
"""Reads are never stale: waiting until everything that was acknowledged, by any process, has been applied here.

Who calls it: the lane, before a signed read or a depth snapshot is answered and before something unknown is refused.
With a log that only this process writes (sqlite, memory) nothing can have been acknowledged that is not applied: reads
go on at once. Else all readers that arrive while one barrier runs share the *next* one, never the one in flight.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from bidhall.protocol.errors import ApiError, busy

if TYPE_CHECKING:
    from bidhall.environment import Environment
    from bidhall.replica import Replica

BARRIER_S_MAX: Final = 10.0
WAITING_MAX: Final = 100_000

Then = Callable[[ApiError | None], None]


class Reads:
    """The readers of this process that wait for the log."""

    def __init__(self, replica: Replica, environment: Environment) -> None:
        self.replica = replica
        self.environment = environment
        self.at_once: bool = bool(getattr(replica.log, "exclusive", False))
        self._waiting: list[Then] = []
        self._task: Any = None

    def wait(self, then: Then) -> None:
        """Call `then(None)` when this replica is fresh, or `then(error)` when that takes too long."""
        if self.at_once:
            then(None)
            return
        if len(self._waiting) >= WAITING_MAX:
            then(busy())
            return
        self._waiting.append(then)
        if self._task is None:
            self._task = self.environment.create_task(self._run(), "reads")

    async def _run(self) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            error: ApiError | None = None
            try:
                await self._barrier()
            except Exception:
                error = ApiError(-1008, busy().message, 503)
            for then in waiting:
                then(error)
        self._task = None

    async def _barrier(self) -> None:
        await asyncio.wait_for(self.replica.barrier(), BARRIER_S_MAX)

    async def stop(self) -> None:
        """Nobody waits for ever: the running barrier is given up."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        waiting, self._waiting = self._waiting, []
        for then in waiting:
            then(busy())
