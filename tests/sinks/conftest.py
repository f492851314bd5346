# SPDX-License-Identifier: Apache-2.0
"""An exchange with a history in the test's own process, on a log of its own, which a test can stop and start again."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from bidhall.environment import RealEnvironment
from bidhall.log import Log, open_log
from bidhall.replica import Replica, ReplicaSettings
from bidhall.sinks import FollowerSettings, History, HistorySettings
from bidhall.sinks.history.store import content_hash
from bidhall.sinks.offline import rebuild
from tests.replica.conftest import Flow, fill, run

QUICK = {"interval_seconds": 0.01, "backoff_seconds_min": 0.02, "backoff_seconds_max": 0.1}


class Place:
    """Log, replica and history in one folder (or in memory), with trading from a seed."""

    def __init__(self, folder: Path | None, seed: int, follower: dict[str, Any], replica: dict[str, Any]) -> None:
        self.folder = folder
        self.flow = Flow(seed)
        self._follower = FollowerSettings(**{**QUICK, **follower})
        self._replica = ReplicaSettings(snapshot_fork=False, audit_seconds=0.0, master_key="5a" * 32, **replica)
        self.environment: RealEnvironment
        self.log: Log
        self.replica: Replica
        self.history: History
        self.running = False

    async def start(self, on_history: Callable[[History], None] = lambda history: None) -> None:
        """Everything, in the order of `bidhall serve`."""
        self.environment = RealEnvironment()
        url = "memory:" if self.folder is None else f"sqlite:///{self.folder}"
        self.log = open_log(url, self.environment)
        self.replica = Replica(self.log, self.environment, folder=self.folder, settings=self._replica)
        settings = HistorySettings(follower=self._follower, stop_seconds=10.0)
        self.history = History(self.replica, self.environment, self.folder, settings)
        on_history(self.history)
        self.history.attach()
        await self.replica.start()
        self.history.start()
        self.running = True
        if self.replica.exchange.account_count == 0:
            await fill(self.replica)

    async def trade(self, batches: int, most: int = 5) -> None:
        await run(self.replica, self.flow, batches, most)

    async def stop(self, *, flush: bool = True) -> None:
        if not self.running:
            return
        self.running = False
        if flush:
            await self.history.flush()
        await self.replica.stop()
        if flush:
            await self.history.flush()
        await self.history.stop()
        await self.log.close()
        self.environment.close()

    async def until(self, condition: Callable[[], bool], seconds: float = 20.0) -> None:
        """Waits; the failure shows what the history says of itself."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise AssertionError(f"it did not come to that: {self.history.status()}")
            await asyncio.sleep(0.005)

    async def caught_up(self) -> None:
        """The history has everything."""
        await self.until(lambda: self.history.cursor.position == self.replica.position)

    @property
    def path(self) -> Path:
        return self.history.path

    def same_as_rebuilt(self, beside: Path) -> None:
        """What the file holds is what the log alone gives, row by row; the log must be open."""
        rebuild(self.log, beside)
        assert content_hash(self.path) == content_hash(beside)


@pytest.fixture
async def place(tmp_path: Path, seed: int) -> AsyncIterator[Callable[..., Place]]:
    """`place(memory=False, replica={…}, **follower settings)`; what still runs at the end is stopped."""
    made: list[Place] = []

    def make(*, memory: bool = False, replica: dict[str, Any] | None = None, **follower: Any) -> Place:
        made.append(Place(None if memory else tmp_path / "bidhall", seed, follower, replica or {}))
        return made[-1]

    yield make
    for one in made:
        await one.stop(flush=False)
