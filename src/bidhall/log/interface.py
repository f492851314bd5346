# SPDX-License-Identifier: Apache-2.0
"""What every log is: the one thing that fixes the order of commands and makes them durable.

Implemented by `memory.py` and `sqlite.py` (PostgreSQL and Kafka implement the same); used by the writer and the
replica. The contract's tests (`tests/log/test_contract.py`) run over every implementation.
"""

from collections.abc import AsyncGenerator, Awaitable, Iterator
from typing import Protocol

from bidhall.log.batch import Batch, Entry


class Log(Protocol):
    """Positions count from 1 without a gap. Everything here raises a `LogFault` or nothing of the log's own."""

    @property
    def exclusive(self) -> bool:
        """Nobody but this process, with its one replica, can append: what was acknowledged has been applied here."""

    @property
    def identity(self) -> bytes:
        """16 random bytes, made with the log."""

    @property
    def head(self) -> int:
        """The last committed position that is known here; 0: the log is empty."""

    @property
    def first(self) -> int:
        """The oldest position that is still held."""

    async def open(self) -> None:
        """Recovers; raises `Corrupt` with the place, `Locked`, or `Halted`."""

    async def close(self) -> None:
        """What was given to `append` is finished first; followers come to their end."""

    def append(self, entry: Entry) -> Awaitable[None]:
        """Done when it is durable. Fails with `Unknown` (give it again) or `Halted` (for good). Never cancel it.

        A function that gives a future, where it can: the writer then needs no task for a batch.
        """

    def follow(self, position: int) -> AsyncGenerator[list[Batch], None]:
        """Every committed batch from `position` on, in order, once, for ever: lists of all that is there. Close it."""

    def read(self, first: int, last: int | None = None) -> Iterator[Batch]:
        """Blocking, for replay: what is committed now, checked; raises `Corrupt` with the place."""

    def holds(self, position: int, chain: bytes) -> bool:
        """Blocking: whether the history of this log up to `position` is the one whose running hash is `chain`."""

    async def barrier(self) -> int:
        """A position behind everything that was acknowledged before the call, once every follower has been given it."""

    async def trim(self, before: int) -> None:
        """Drop the positions below `before`, in small steps."""
