# SPDX-License-Identifier: Apache-2.0
"""A private kernel that applies the log again, for a sink that is behind: batch by batch, what it did.

Blocking; called by followers from their threads, and by the command line on a stopped folder. It begins at the newest
snapshot that is not past where it is wanted, or at the log's start; what it gives is what the replica's listeners were
given when the same batches were new. It must never touch the replica's own kernel.
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol

import numpy as np

from bidhall.core.exchange import Exchange
from bidhall.core.records import EVENT, LAYOUT_VERSION, ORDER, POSITION, TOP, EventKind
from bidhall.core.views import event_kinds
from bidhall.log import CHAIN_START, Batch, chain_next
from bidhall.replica import amendments, prevention
from bidhall.replica.errors import Fault, Refused
from bidhall.replica.outcome import Applied
from bidhall.replica.snapshots import BadSnapshot, Loaded, Store

logger: Final = logging.getLogger("bidhall.replica")

PREVENTED: Final = 1 << EventKind.PREVENTED
NOTHING: Final = np.zeros(0, EVENT)
NONE_DONE: Final = np.zeros(0, ORDER)
NO_TOPS: Final = np.zeros(0, TOP)
NO_POSITIONS: Final = np.zeros(0, POSITION)


class ReadLog(Protocol):
    """What of a log is needed to apply it again; see `bidhall.log.Log`."""

    @property
    def identity(self) -> bytes: ...

    @property
    def head(self) -> int: ...

    @property
    def first(self) -> int: ...

    def read(self, first: int, last: int | None = None) -> Iterator[Batch]: ...

    def holds(self, position: int, chain: bytes) -> bool: ...


class Retrace:
    """See above."""

    def __init__(self, log: ReadLog, snapshots: Path | None, after: int, chain: bytes) -> None:
        """`after`: the last position that is not wanted, with the running hash that stands there."""
        self._log: Final = log
        self._after: Final = after
        self._chain: Final = chain
        self._exchange = Exchange()
        self._position, self._at = 0, CHAIN_START
        self._begin(snapshots)
        self._exchange.tap(True, False, False)

    @property
    def begun_at(self) -> int:
        """The position that the kernel was at first."""
        return self._position

    def _begin(self, snapshots: Path | None) -> None:
        store = Store(snapshots, 0) if snapshots is not None and snapshots.is_dir() else None
        for path in store.paths() if store is not None else ():
            if self._load(path):
                return
        if self._log.first != 1:
            raise Refused(
                f"the log begins at position {self._log.first}, and no snapshot stands between there and "
                f"{self._after}: what was before it cannot be told again"
            )

    def _load(self, path: Path) -> bool:
        try:
            if int(path.name.partition("-")[0]) > self._after:
                return False
            snapshot = Loaded(path)
        except (BadSnapshot, OSError, ValueError) as error:
            logger.warning("a snapshot is passed over: %s", error)
            return False
        try:
            header = snapshot.header
            if header.log != self._log.identity or header.layout != LAYOUT_VERSION or header.position > self._after:
                return False
            if not self._log.holds(header.position, header.chain):
                return False
            with snapshot.section("kernel") as data:
                self._exchange = Exchange.restore(data)
            self._position, self._at = header.position, header.chain
            return True
        except Exception as error:  # whatever is wrong with it, an older one or the log's start will do
            logger.warning("a snapshot is passed over: %s: %s", path, error)
            return False
        finally:
            snapshot.close()

    def batches(self) -> Iterator[tuple[Applied, int]]:
        """All that the log holds now, from the first that is wanted; with the kernel's sequence after each."""
        for batch in self._log.read(self._position + 1):
            if chain_next(self._at, batch.position, batch.log_time_ns, batch.entry.checksum) != batch.chain:
                raise Fault(f"position {batch.position}: the chain does not go on from what was applied before it")
            if batch.entry.layout != LAYOUT_VERSION:
                raise Fault(f"position {batch.position} has layout {batch.entry.layout}; this build knows another")
            applied = self._apply(batch)
            self._position, self._at = batch.position, batch.chain
            if batch.position == self._after and batch.chain != self._chain:
                raise Fault(f"the log has another history up to position {batch.position}")
            if applied is not None:
                yield applied, self._exchange.sequence

    def _apply(self, batch: Batch) -> Applied | None:
        """None: it is before what is wanted."""
        exchange, entry = self._exchange, batch.entry
        before_ns, first_sequence = exchange.time_ns, exchange.sequence + 1
        wanted = batch.position > self._after
        targets = amendments.look(exchange, entry.commands) if wanted else None
        events = exchange.apply(entry.commands, batch.log_time_ns, entry.writer_time_ns, entry.writer, entry.number)
        if not wanted:
            return None
        time_ns = exchange.time_ns
        if events is None:  # a repeat: the kernel had it before and did nothing
            return Applied(batch, (before_ns, time_ns), first_sequence, 0, NOTHING, NONE_DONE, NO_TOPS, NO_POSITIONS)
        done, kinds = exchange.done(), event_kinds(events) if entry.count else 0
        applied = Applied(batch, (before_ns, time_ns), first_sequence, kinds, events, done, NO_TOPS, NO_POSITIONS)
        if targets is not None:
            applied.amendments = amendments.rows(targets, entry.commands, events, first_sequence, time_ns)
        if kinds & PREVENTED:
            applied.prevented = prevention.rows(exchange, events, done, time_ns)
        return applied
