# SPDX-License-Identifier: Apache-2.0
"""`sqlite:///folder`: the embedded log on the event loop.

Commits run in one thread, checkpoints in another; the way back to the loop is one call a commit. What arrives while a
commit runs forms the next one. A failed write or sync is fatal: everybody who waits gets `Halted`, and nothing is ever
tried again (the process ends; recovery at the next start finds out what the disk has).
"""

import asyncio
import logging
import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Iterator
from pathlib import Path
from typing import Any, Final

from bidhall.environment import Environment, Handle, Worker
from bidhall.log.batch import Batch, Entry
from bidhall.log.errors import Halted, LogFault
from bidhall.log.store import CHECK_BYTES_MAX, PAGE_BYTES, WAL_BYTES, Connect, Store
from bidhall.log.tail import Tail

HEAD_SYNC_SECONDS: Final = 1.0
_logger: Final = logging.getLogger("bidhall.log")


class SqliteLog:
    """See above."""

    exclusive: Final = True

    def __init__(
        self,
        folder: Path,
        environment: Environment,
        *,
        page_bytes: int = PAGE_BYTES,
        wal_bytes: int = WAL_BYTES,
        check_bytes_max: int = CHECK_BYTES_MAX,
        head_sync_seconds: float = HEAD_SYNC_SECONDS,
        connect: Connect = sqlite3.connect,
    ) -> None:
        self._environment = environment
        self._store = Store(
            folder, page_bytes=page_bytes, wal_bytes=wal_bytes, check_bytes_max=check_bytes_max, connect=connect
        )  # fmt: skip
        self._head_sync_seconds = head_sync_seconds
        self._tail = Tail(environment, 0, self._load)
        self._waiting: list[tuple[Entry, asyncio.Future[None]]] = []
        self._sent: list[tuple[Entry, asyncio.Future[None]]] = []
        self._fault: LogFault | None = None
        self._open = False
        self._checkpointing = False
        self._head_timer: Handle | None = None
        self._check: asyncio.Task[None] | None = None
        self._committer: Worker
        self._checkpointer: Worker

    @property
    def identity(self) -> bytes:
        return self._store.identity

    @property
    def head(self) -> int:
        return self._tail.head

    @property
    def first(self) -> int:
        return self._store.first

    @property
    def recovered(self) -> str | None:
        """What the last open had to drop, in a sentence."""
        return self._store.recovered

    async def open(self) -> None:
        self._committer = self._environment.worker("log-commit")
        self._checkpointer = self._environment.worker("log-checkpoint")
        try:
            await self._committer.run(self._store.open, self._environment.random_bytes)
        except BaseException:
            self._committer.close()
            self._checkpointer.close()
            raise
        if self._store.recovered is not None:
            _logger.warning("%s", self._store.recovered)
        self._tail = Tail(self._environment, self._store.head, self._load)
        self._fault, self._open = None, True
        if self._store.unchecked:
            self._check = self._environment.create_task(self._check_trees(), "log-check")

    async def close(self) -> None:
        if not self._open:
            return
        while self._sent and self._fault is None:
            await asyncio.wait([future for _, future in self._sent])
        self._open = False
        if self._head_timer is not None:
            self._head_timer.cancel()
        self._tail.close()
        if self._check is not None:
            self._store.stop_check()
            await self._check
        await self._checkpointer.run(lambda: None)  # a checkpoint that is under way ends first
        await self._committer.run(self._store.close)
        self._committer.close()
        self._checkpointer.close()

    def append(self, entry: Entry) -> Awaitable[None]:
        future: asyncio.Future[None] = self._environment.create_future()
        if self._fault is not None or not self._open:
            future.set_exception(self._fault or Halted("the log is not open"))
            return future
        self._waiting.append((entry, future))
        if not self._sent:
            self._commit()
        return future

    def follow(self, position: int) -> AsyncGenerator[list[Batch], None]:
        return self._tail.follow(position)

    def read(self, first: int, last: int | None = None) -> Iterator[Batch]:
        return self._store.read(first, last)

    def holds(self, position: int, chain: bytes) -> bool:
        return self._store.holds(position, chain)

    async def barrier(self) -> int:
        return await self._tail.barrier()

    async def trim(self, before: int) -> None:
        if self._fault is not None or not self._open:
            raise self._fault or Halted("the log is not open")
        try:
            while await self._committer.run(self._store.trim_some, before):
                pass  # commits that wait go in between
        except LogFault as fault:
            self._halt(fault)
            raise

    async def _load(self, position: int) -> list[Batch]:
        return await self._environment.run(self._store.chunk, position, thread="log-read")

    async def _check_trees(self) -> None:
        try:
            await self._environment.run(self._store.check, thread="log-check")
        except LogFault as fault:
            self._halt(fault)

    def _commit(self) -> None:
        self._sent, self._waiting = self._waiting, []
        store, wall_ns = self._store, self._environment.wall_ns
        entries = [entry for entry, _ in self._sent]
        self._committer.call(lambda: store.commit(entries, wall_ns()), self._committed, store.write_head)

    def _committed(self, batches: list[Batch], error: BaseException | None) -> None:
        sent, self._sent = self._sent, []
        if error is not None:
            self._halt(error, sent)
            return
        self._tail.extend(batches)
        for _, future in sent:
            if not future.done():
                future.set_result(None)
        if self._waiting:
            self._commit()
        if self._head_timer is None:
            self._head_timer = self._environment.call_later(self._head_sync_seconds, self._sync_head)
        if self._store.checkpoint_due and not self._checkpointing:
            self._checkpointing = True
            self._checkpointer.call(self._store.checkpoint, self._checkpointed)

    def _checkpointed(self, _: Any, error: BaseException | None) -> None:
        if error is not None:
            self._halt(error)
        elif self._open:
            self._committer.call(self._store.finish_checkpoint, self._finished)

    def _finished(self, _: Any, error: BaseException | None) -> None:
        self._checkpointing = False
        if error is not None:
            self._halt(error)

    def _sync_head(self) -> None:
        self._head_timer = None
        if self._open:
            self._checkpointer.call(self._store.sync_head, self._head_synced)

    def _head_synced(self, _: Any, error: BaseException | None) -> None:
        if error is not None:
            self._halt(error)

    def _halt(self, error: BaseException, sent: list[tuple[Entry, asyncio.Future[None]]] | None = None) -> None:
        """For good. Nobody who waits is told that the batch is durable."""
        if self._fault is None:
            self._fault = error if isinstance(error, LogFault) else Halted(str(error))
            _logger.critical("the log has halted: %s", self._fault)
        waiting, self._waiting = [*(sent or ()), *self._waiting], []
        for _, future in waiting:
            if not future.done():
                future.set_exception(self._fault)
        self._tail.fail(self._fault)
