# SPDX-License-Identifier: Apache-2.0
"""A replica over a log in memory, for tests of what runs on one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bidhall.environment import RealEnvironment
from bidhall.log import MemoryLog, open_log
from bidhall.replica import Replica


@asynccontextmanager
async def replica_over(log: MemoryLog | None = None) -> AsyncIterator[Replica]:
    """A started replica; with the log of an earlier one it recovers from that."""
    environment = RealEnvironment()
    replica = Replica(log or open_log("memory:", environment), environment, folder=None)
    await replica.start()
    try:
        yield replica
    finally:
        await replica.stop()
        environment.close()
