# SPDX-License-Identifier: Apache-2.0
"""`memory:`, a list. For tests and for the exchange embedded in a program; nothing outlives the process."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Iterator
from typing import Final

from bidhall.environment import Environment
from bidhall.log.batch import CHAIN_START, Batch, Entry, chain_next
from bidhall.log.errors import Halted, Trimmed
from bidhall.log.tail import Tail

_CHUNK_BATCHES: Final = 1024


class MemoryLog:
    """See above. Several replicas in one process may share one."""

    exclusive: Final = False

    def __init__(self, environment: Environment) -> None:
        self.identity = environment.random_bytes(16)
        self.first = 1
        self._environment = environment
        self._batches: list[Batch] = []
        self._first_chain = CHAIN_START  # of the position before the first
        self._closed = False
        self._tail = Tail(environment, 0, self._load)

    @property
    def head(self) -> int:
        return self._tail.head

    async def open(self) -> None:
        """Nothing is to be recovered; a log that was closed goes on."""
        if self._closed:
            self._closed = False
            self._tail = Tail(self._environment, self._tail.head, self._load)

    async def close(self) -> None:
        self._closed = True
        self._tail.close()

    def append(self, entry: Entry) -> Awaitable[None]:
        future: asyncio.Future[None] = self._environment.create_future()
        if self._closed:
            future.set_exception(Halted("the log is closed"))
            return future
        position, now = self._tail.head + 1, self._environment.wall_ns()
        before = self._batches[-1].chain if self._batches else self._first_chain
        batch = Batch(position, now, entry, chain_next(before, position, now, entry.checksum))
        self._batches.append(batch)
        self._tail.extend([batch])
        future.set_result(None)
        return future

    def follow(self, position: int) -> AsyncGenerator[list[Batch], None]:
        return self._tail.follow(position)

    def read(self, first: int, last: int | None = None) -> Iterator[Batch]:
        if first < self.first:
            raise Trimmed(f"positions before {self.first} are no longer held")
        end = self._tail.head if last is None else min(last, self._tail.head)
        return iter(self._batches[first - self.first : max(end, first - 1) - self.first + 1])

    def holds(self, position: int, chain: bytes) -> bool:
        if position == self.first - 1:
            return chain == self._first_chain
        inside = self.first <= position <= self._tail.head
        return inside and self._batches[position - self.first].chain == chain

    async def barrier(self) -> int:
        return await self._tail.barrier()

    async def trim(self, before: int) -> None:
        before = min(before, self._tail.head + 1)
        if before <= self.first:
            return
        self._first_chain = self._batches[before - self.first - 1].chain
        del self._batches[: before - self.first]
        self.first = before

    async def _load(self, position: int) -> list[Batch]:
        return list(self.read(position, position + _CHUNK_BATCHES - 1))
