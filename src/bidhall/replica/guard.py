# SPDX-License-Identifier: Apache-2.0
"""What runs beside the batches: snapshots every so many commands and at the stop, and the audit of the money.

Owned by the replica. A snapshot is written by a forked child, which holds the loop for the fork only, or by a thread
from bytes taken on the loop. What may never happen here: a snapshot of a state that is not wholly applied, or an audit
that fails without stopping the replica.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bidhall.core.records import LAYOUT_VERSION
from bidhall.environment import Handle
from bidhall.replica.snapshots import Header, Section, Store, in_child

if TYPE_CHECKING:
    from bidhall.replica.replica import Replica

logger: Final = logging.getLogger("bidhall.replica")

FOLDER: Final = "snapshots"
QUIET_SECONDS: Final = 0.005  # a due snapshot waits for a moment in which nothing is on its way
QUIET_TRIES: Final = 400


class Guard:
    """See above."""

    def __init__(self, replica: "Replica") -> None:
        self.replica = replica
        self.settings = replica.settings
        folder = replica.folder
        self.store = None if folder is None else Store(folder / FOLDER, self.settings.snapshots_kept)
        self.hold_seconds = 0.0  # how long the last snapshot held the loop
        self.audit_seconds = 0.0  # how long the last audit took
        self.audits = 0
        # Where each sink that follows stands (-1: not known yet): a snapshot from which it can catch up is kept.
        self.followers: list[Callable[[], int]] = []
        self._commands = 0  # applied since the last snapshot
        self._has_snapshot = False
        self._due: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()
        self._timer: Handle | None = None
        self._audited_sequence = -1

    def recovered(self, from_snapshot: bool) -> None:
        self._has_snapshot = from_snapshot

    def start(self) -> None:
        """The replica is ready."""
        if self.settings.audit_seconds > 0:
            self._timer = self.replica.environment.call_later(self.settings.audit_seconds, self._audit_in_time)

    async def stop(self) -> None:
        """No more audits; a snapshot that is being written is waited for."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._due is not None:
            await self._due

    # --- snapshots -----------------------------------------------------------------------------------------------

    def applied(self, count: int) -> None:
        """So many commands more."""
        self._commands += count
        if self._commands >= self.settings.snapshot_commands and self.store is not None and self.replica.ready:
            self._commands = 0
            if self._due is None or self._due.done():
                self._due = self.replica.environment.create_task(self._snapshot_due(), "replica-snapshot")

    async def _snapshot_due(self) -> None:
        for _ in range(QUIET_TRIES):
            if self.replica.age_seconds() == 0.0:
                break
            await self.replica.environment.sleep(QUIET_SECONDS)
        try:
            await self.snapshot()
        except Exception as error:
            logger.error("no snapshot was written: %s", error, exc_info=error)

    async def snapshot(self) -> Path | None:
        """Write one of this moment. None: there is no folder for it, or the views are closed and a start from it would
        not have them."""
        store = self.store
        if store is None or self.replica.views.closed:
            return None
        async with self._lock:
            clock = self.replica.environment.monotonic
            begun, self._commands = clock(), 0
            header = self._header()
            if self.settings.snapshot_fork:
                path = await self._fork(store, header, begun)
                if path is not None:
                    return path
            sections = self._sections()
            self.hold_seconds = clock() - begun
            retained = self._retained()
            path = await self.replica.environment.run(store.write, header, sections, retained, thread="snapshot")
            return self._written(path)

    async def last_snapshot(self) -> None:
        """At the stop; not when the newest one says the same."""
        store = self.store
        if store is None or self.replica.views.closed or (self._has_snapshot and self._commands == 0):
            return
        path = await self.replica.environment.run(
            store.write, self._header(), self._sections(), self._retained(), thread="snapshot"
        )
        self._written(path)

    async def _fork(self, store: Store, header: Header, begun: float) -> Path | None:
        job = in_child(
            self.replica.environment,
            lambda: store.write(header, self._sections(), self._retained()),
            self.settings.snapshot_seconds_max,
            lambda: self._held(begun),
        )
        if not await job:
            logger.error("the child that was to write a snapshot failed; a thread does it")
            return None
        return self._written(store.folder / header.name)

    def _held(self, begun: float) -> None:
        self.hold_seconds = self.replica.environment.monotonic() - begun

    def _written(self, path: Path) -> Path:
        self._has_snapshot = True
        logger.info("snapshot %s; the loop was held for %.1f ms", path.name, self.hold_seconds * 1e3)
        return path

    def _retained(self) -> int | None:
        """The position of the follower that is furthest behind; None: there is none."""
        return min((stands() for stands in self.followers), default=None)

    def _header(self) -> Header:
        state, exchange = self.replica.state, self.replica.exchange
        return Header(
            self.replica.log.identity, state.position, state.chain, LAYOUT_VERSION, exchange.sequence,
            exchange.event_hash,
        )  # fmt: skip

    def _sections(self) -> list[Section]:
        state = self.replica.state
        kernel, registry = self.replica.exchange.snapshot(), state.registry.snapshot()
        views, results = state.views.cut(), state.results.cut()
        return [
            ("kernel", len(kernel), (kernel,)),
            ("registry", len(registry), (registry,)),
            ("views", views.size, views.pieces()),
            ("results", results.size, results.pieces()),
        ]

    # --- audit ---------------------------------------------------------------------------------------------------

    def _audit_in_time(self) -> None:
        replica = self.replica
        self._timer = replica.environment.call_later(self.settings.audit_seconds, self._audit_in_time)
        idle = self._audited_sequence == replica.exchange.sequence
        if self.audit_seconds > self.settings.audit_hold_seconds_max and not self._quiet():
            return
        if not idle:
            self.audit()

    def _quiet(self) -> bool:
        return self.replica.age_seconds() == 0.0

    def audit(self) -> None:
        """The kernel's own check of conservation and of the books; a failure stops the replica."""
        replica = self.replica
        begun = replica.environment.monotonic()
        self._audited_sequence = replica.exchange.sequence
        try:
            replica.exchange.audit()
        except Exception as error:
            replica.fail(error)
            return
        self.audits += 1
        self.audit_seconds = replica.environment.monotonic() - begun
