# SPDX-License-Identifier: Apache-2.0
"""Sinks of a stopped exchange: how far they are, and building one again from the log.

Called by the command line, which has opened (and so locked) the log, and by tests. Blocking. What may never happen
here: a sink that is written while a server runs on the folder; the log's lock forbids it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from bidhall.replica.retrace import ReadLog, Retrace
from bidhall.sinks.history.store import HistoryStore
from bidhall.sinks.interface import Cursor, Facts, SinkDamaged, SinkFault, facts_of

WRITE_BYTES: Final = 4 << 20

Progress = Callable[[int, int], None]


class Standing(NamedTuple):
    """How a sink stands to its log."""

    name: str
    path: Path
    cursor: Cursor
    head: int
    trouble: str

    @property
    def lag(self) -> int:
        """Positions that it is behind."""
        return self.head - self.cursor.position


def standing(log: ReadLog, path: Path) -> Standing:
    """Of the history at `path`."""
    if not path.exists():
        return Standing("history", path, Cursor(), log.head, "not there")
    store = HistoryStore(path, lambda: log.identity)
    try:
        cursor = store.start(log.holds)
    except (SinkDamaged, SinkFault) as damage:
        return Standing("history", path, Cursor(), log.head, str(damage))
    finally:
        store.close()
    return Standing("history", path, cursor, log.head, "")


def catch_up(store: HistoryStore, log: ReadLog, snapshots: Path | None, progress: Progress | None = None) -> int:
    """Bring a started store up to the log's head; the number of rows."""
    rows = size = 0
    facts: list[Facts] = []
    previous = store.cursor.position
    retrace = Retrace(log, snapshots, store.cursor.position, store.cursor.chain)
    for applied, sequence in retrace.batches():
        fact = facts_of(applied, previous, sequence)
        previous, size = fact.cursor.position, size + fact.size
        facts.append(fact)
        if size > WRITE_BYTES:
            rows += store.write(facts)
            facts, size = [], 0
            if progress is not None:
                progress(previous, log.head)
    return rows + store.write(facts)


def rebuild(log: ReadLog, path: Path, snapshots: Path | None = None, progress: Progress | None = None) -> int:
    """Build the history at `path` from the log alone; the number of rows. What was there is put aside.

    It is built beside the old one and takes its place when it is whole.
    """
    making = path.with_name(path.name + ".new")
    store = HistoryStore(making, lambda: log.identity)
    store.remove()
    store.start(log.holds)
    try:
        rows = catch_up(store, log, snapshots, progress)
    finally:
        store.close()
    old = HistoryStore(path, lambda: log.identity)
    old.put_aside("it was built again")
    making.rename(path)
    return rows
