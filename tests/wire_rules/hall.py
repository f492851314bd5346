# SPDX-License-Identifier: Apache-2.0
"""A server in the test's own loop whose clock the test turns: seconds, days and months pass when it says so.

Used by the tests that need time to pass, or a batch to be held back. Log, replica and both doors are the real ones on
sockets; only the wall clock is not. It must never change what the server does.
"""

from __future__ import annotations

import asyncio
from typing import Any

from bidhall import seed
from bidhall.api.app import Door, DoorSettings
from bidhall.api.feed import FeedSettings
from bidhall.core.records import mark
from bidhall.documents import SeedDocument, convert
from bidhall.environment import RealEnvironment
from bidhall.log.memory import MemoryLog
from bidhall.replica import Replica, ReplicaSettings
from tests.wire_rules.room import Address, Room

START_MS = 1_700_000_000_000  # 14 November 2023, 22:13:20 UTC, a Tuesday
NO_MARKET = 9_999
ADMIN_KEY = "admin key of the hall"
SEED = {
    "limits": {"accounts": 1000, "open_orders": 20_000, "assets": 16, "markets": 256, "digests": 65_536, "writers": 64},
    "assets": [{"name": "BTC"}, {"name": "USDT"}, {"name": "ETH"}],
}


class TurnedEnvironment(RealEnvironment):
    """The wall clock stands still until it is turned. What waits for it waits for the test."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ns = START_MS * 1_000_000

    def wall_ns(self) -> int:
        return self.now_ns


class HeldLog(MemoryLog):
    """A log that can keep its appends waiting, as a slow disk would."""

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self.gate: asyncio.Event | None = None

    def append(self, entry: Any) -> Any:
        if self.gate is None:
            return super().append(entry)
        return self._later(self.gate, entry)

    async def _later(self, gate: asyncio.Event, entry: Any) -> None:
        await gate.wait()
        await super().append(entry)


class Hall:
    """The server."""

    def __init__(self) -> None:
        self.environment = TurnedEnvironment()
        self.log = HeldLog(self.environment)
        self.replica: Any = None
        self.door: Any = None
        self.rooms: list[Room] = []

    async def start(self) -> Hall:
        settings = ReplicaSettings(master_key="11" * 32)
        self.replica = Replica(self.log, self.environment, folder=None, settings=settings)
        await self.replica.start()
        await seed.apply(convert(SEED, SeedDocument), self.replica)
        self.door = Door(
            self.replica, self.environment, DoorSettings(port=0, admin_port=0, admin_key=ADMIN_KEY, drain_s=1.0),
            FeedSettings(drain_s=0.05),
        )  # fmt: skip
        await self.door.start()
        return self

    async def stop(self) -> None:
        for room in self.rooms:
            await room.close()
        await self.door.stop()
        await self.replica.stop()
        await self.log.close()
        self.environment.close()

    async def room(self, *names: str, **options: Any) -> Room:
        """A room in this server."""
        address = Address(self.door.port, self.door.admin_port, ADMIN_KEY, self.now_ms)
        room = await Room.open(address, *names, **options)
        self.rooms.append(room)
        return room

    def now_ms(self) -> int:
        """The server's time."""
        return self.environment.now_ns // 1_000_000

    def turn(self, ms: int) -> None:
        """The clock goes on; the log does not know yet."""
        self.environment.now_ns += ms * 1_000_000

    async def pass_time(self, ms: int) -> None:
        """The clock goes on, and with it the log: a mark of no market moves time and nothing else."""
        self.turn(ms)
        await self.replica.execute(mark(NO_MARKET))

    async def reach(self, time_ms: int) -> None:
        """Time passes up to this."""
        await self.pass_time(time_ms - self.now_ms())
