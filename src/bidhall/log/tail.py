# SPDX-License-Identifier: Apache-2.0
"""The newest batches in memory, and those who follow them.

Every log that learns of its own commits in this process owns one (sqlite and memory; later the readers of the others).
It lives on the loop. It must never hold more than its budget: a follower that is further behind is given what the log
loads for it.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from itertools import islice
from typing import Final

from bidhall.environment import Environment
from bidhall.log.batch import Batch
from bidhall.log.errors import LogFault

Load = Callable[[int], Awaitable[list[Batch]]]
BUDGET_BYTES: Final = 8 << 20
BUDGET_BATCHES: Final = 8192
_BATCH_OVERHEAD_BYTES: Final = 500


class _Follower:
    """One who follows: the position it has been given up to, and what it waits on when there is no more."""

    __slots__ = ("given", "waiting")

    def __init__(self, given: int) -> None:
        self.given = given
        self.waiting: asyncio.Future[None] | None = None


class Tail:
    """See above. `head` is the last position that is committed and known here."""

    def __init__(self, environment: Environment, head: int, load: Load) -> None:
        self.head = head
        self._environment = environment
        self._load = load
        self._recent: deque[Batch] = deque()
        self._bytes = 0
        self._followers: set[_Follower] = set()
        self._barriers: list[tuple[int, asyncio.Future[None]]] = []
        self._fault: LogFault | None = None
        self._closed = False

    def extend(self, batches: Sequence[Batch]) -> None:
        """They are committed, and follow on `head`."""
        for batch in batches:
            self._recent.append(batch)
            self._bytes += len(batch.entry.raw) + _BATCH_OVERHEAD_BYTES
        self.head = batches[-1].position
        while self._bytes > BUDGET_BYTES or len(self._recent) > BUDGET_BATCHES:
            self._bytes -= len(self._recent.popleft().entry.raw) + _BATCH_OVERHEAD_BYTES
        self._wake()

    def fail(self, fault: LogFault) -> None:
        """Followers get what was committed and then the fault."""
        self._fault = self._fault or fault
        self._end()

    def close(self) -> None:
        """Followers get what was committed and then their end."""
        self._closed = True
        self._end()

    async def follow(self, position: int) -> AsyncGenerator[list[Batch], None]:
        follower = _Follower(position - 1)
        self._followers.add(follower)
        try:
            while True:
                if follower.given < self.head:
                    batches = self._since(follower.given)
                    if not batches and self._closed:
                        return
                    batches = batches or await self._load(follower.given + 1)
                    follower.given = batches[-1].position
                    self._pass_barriers()
                    yield batches
                elif self._fault is not None:
                    raise self._fault
                elif self._closed:
                    return
                else:
                    follower.waiting = self._environment.create_future()
                    await follower.waiting
        finally:
            self._followers.discard(follower)
            self._pass_barriers()

    async def barrier(self) -> int:
        """Returns the head as it was at the call, when every follower has been given all up to it."""
        target = self.head
        if self._fault is not None:
            raise self._fault
        if not self._passed(target):
            future: asyncio.Future[None] = self._environment.create_future()
            self._barriers.append((target, future))
            await future
        return target

    def _since(self, given: int) -> list[Batch]:
        """What is in memory behind `given`, or nothing when some of it is not."""
        recent = self._recent
        if not recent or recent[0].position > given + 1:
            return []
        missing = recent[-1].position - given
        if missing == 1:
            return [recent[-1]]
        return list(islice(recent, len(recent) - missing, None))

    def _passed(self, target: int) -> bool:
        return all(follower.given >= target for follower in self._followers)

    def _pass_barriers(self) -> None:
        if not self._barriers:
            return
        still = []
        for target, future in self._barriers:
            if future.done():
                continue
            if self._passed(target):
                future.set_result(None)
            else:
                still.append((target, future))
        self._barriers = still

    def _wake(self) -> None:
        for follower in self._followers:
            waiting = follower.waiting
            if waiting is not None:
                follower.waiting = None
                if not waiting.done():
                    waiting.set_result(None)

    def _end(self) -> None:
        self._wake()
        if self._fault is None:
            return
        for _, future in self._barriers:
            if not future.done():
                future.set_exception(self._fault)
        self._barriers = []
