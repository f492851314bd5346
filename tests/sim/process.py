# SPDX-License-Identifier: Apache-2.0
"""One task of the exchange: a real replica on a real log, started again by its supervisor whenever it ends.

Made by `world`. A start is a new process: another writer, another kernel, the same folder (mostly). A kill takes it
between two callbacks, with whatever its threads had not done. What it must never do: carry anything from one process
start to the next but the folder and the machine's clock.
"""

import asyncio
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from bidhall.clients.postgres import Trouble
from bidhall.log import Halted, Unknown
from bidhall.log.postgres import PostgresLog
from bidhall.replica import Applied, NotReady, Replica, ReplicaSettings
from tests.sim import disk
from tests.sim.environment import Clock, SimulatedEnvironment
from tests.sim.loop import Owner
from tests.sim.server import connector

if TYPE_CHECKING:
    from tests.sim.world import World

MASTER_KEY = "5a" * 32
BOUNDS: dict[str, Any] = {
    "master_key": MASTER_KEY,
    "done_orders_bytes": 224 * 4096,
    "fills_max": 4096,
    "trades_max": 4096,
    "results_commands_max": 4096,
    "results_events_max": 8192,
}


class Watch:
    """A replica's listener: tells the oracle of every batch."""

    def __init__(self, process: "Process") -> None:
        self._process = process

    def on_batch(self, applied: Applied) -> None:
        process, world = self._process, self._process.world
        if not world.has_lost_tail:  # from then on there are two histories; `world` looks at who is left
            world.oracle.check_batch(process.told_name, applied)
            world.note_applied(process)


class Process:
    """See above; `name` stands for the machine, `starts` counts the processes on it."""

    def __init__(self, world: "World", name: str, folder: Path) -> None:
        self.world = world
        self.name = name
        self.folder = folder
        self.clock = Clock(world.loop)
        self.starts = 0
        self.owner = Owner(name)
        self.replica: Replica | None = None
        self.environment: SimulatedEnvironment | None = None
        self.is_running = False
        self.is_stopping = False
        self.unanswered = 0  # submissions that this process took
        self.owners: list[Owner] = []
        self.graves: list[Any] = []  # of the dead, so that nothing is collected while the world turns

    @property
    def told_name(self) -> str:
        return f"{self.name}.{self.starts}"

    @property
    def is_ready(self) -> bool:
        replica = self.replica
        return self.is_running and replica is not None and replica.ready and not replica.failed.done()

    # -- life

    def start(self) -> None:
        if self.is_running:
            return
        world = self.world
        self.starts += 1
        self.is_running, self.is_stopping, self.unanswered = True, False, 0
        owner = self.owner = Owner(self.told_name)
        self.owners.append(owner)
        random = Random(world.random.getrandbits(64))
        environment = SimulatedEnvironment(world.loop, random, self.clock, world.options.job_seconds)
        environment.on_snapshot = self._on_snapshot
        log = world.make_log(
            "postgresql://simulated",
            environment,
            connect=connector(world.server),
            hole_seconds=world.options.hole_seconds,
            append_seconds_max=world.options.append_seconds_max,
        )
        settings = ReplicaSettings(**(BOUNDS | world.options.settings))
        replica = world.make_replica(log, environment, folder=self.folder, settings=settings)
        replica.listeners.append(Watch(self))
        self.replica, self.environment = replica, environment
        self.graves.append((replica, log, environment))
        world.tell(f"{self.told_name} starts")
        world.loop.spawn(owner, self._live(replica, log), f"live-{self.told_name}")

    async def _live(self, replica: Replica, log: PostgresLog) -> None:
        """As the command line does it."""
        error: BaseException | None = None
        try:
            await replica.start()
            self.world.tell(f"{self.told_name} is ready at {replica.position}")
            await asyncio.wait([replica.failed])
            error = replica.failed.exception()
        except Exception as caught:
            error = caught
        if self.is_stopping:
            return  # `stop` does the rest
        self.world.judge_end(self, error)
        await log.close()
        self.ended()

    def ended(self) -> None:
        """The process is gone by itself; the supervisor starts it again."""
        self.world.loop.kill(self.owner)
        self._gone()

    def _gone(self) -> None:
        world = self.world
        self.is_running = False
        world.server.cut([session for session in world.server.sessions if session.owner is self.owner])
        seconds = 1.0 if world.has_lost_tail else 0.02 + world.random.random() * 0.3
        world.loop.call_outside(seconds, self.start)

    def stop(self) -> None:
        """SIGTERM."""
        if self.is_ready and not self.is_stopping:
            self.is_stopping = True
            self.world.tell(f"{self.told_name} is asked to stop")
            self.world.loop.spawn(self.owner, self._stop(), f"stop-{self.told_name}")

    async def _stop(self) -> None:
        assert self.replica is not None
        await self.replica.stop()
        if self.unanswered:
            self.world.accuse(f"{self.told_name} stopped and left {self.unanswered} requests without an answer")
        await self.replica.log.close()
        self.world.count("stopped in order")
        self.ended()

    def kill_soon(self, steps: int) -> None:
        """kill -9 after so many callbacks more."""
        if self.is_running and self.owner.steps_left < 0:
            self.owner.steps_left = steps
            self.owner.on_last_step = self.kill

    def _on_snapshot(self) -> None:
        """A snapshot is about to be written: a good moment to be killed."""
        world = self.world
        if not world.is_calm and world.random.random() < world.options.kills_of_writers:
            self.kill_soon(world.random.randint(1, 12))

    def kill(self) -> None:
        """kill -9, now: between two of its callbacks."""
        world, environment = self.world, self.environment
        if not self.is_running:
            return
        world.loop.kill(self.owner)
        world.count("killed")
        world.tell(f"{self.told_name} is killed")
        if environment is not None and environment.writing is not None:
            world.count("killed with a snapshot on its way")
            world.tell("  " + disk.killed_while_writing(self.folder, environment.writing, world.random))
        if world.random.random() < world.options.damage:
            world.count("snapshot damaged")
            world.tell("  " + disk.damage(self.folder, world.random))
        self._gone()


def may_end(error: BaseException | None) -> bool:
    """Whether a process may give up like this while the server is not as it should be: its supervisor tries again."""
    return isinstance(error, Unknown | Halted | Trouble | NotReady)
