# SPDX-License-Identifier: Apache-2.0
"""Where done orders and fills wait on disk while the history cannot be written: a second store, without durability.

Filled by the follower when its queue fills up, read by the reader beside the history, removed when the history has
passed it, at every start and at the stop. It is bounded; when it is full it is given up, and what was in it is in the
log, and in the history once that has caught up.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from bidhall.sinks.history.reader import Reader, Spill
from bidhall.sinks.history.store import HistoryStore
from bidhall.sinks.interface import Cursor, Facts, SinkFault

# Trades and candles are not spilt: their numbering begins with the first trade there ever was.
ACCOUNT_TABLES: Final = frozenset({"orders", "fills", "prevented", "amendments"})


class SpillStore:
    """See `follower.Overflow`."""

    def __init__(self, path: Path, log: Callable[[], bytes], bytes_max: int, reader: Reader) -> None:
        self._store: Final = HistoryStore(path, log, durable=False, name="spill", tables=ACCOUNT_TABLES)
        self._bytes_max: Final = bytes_max
        self._reader: Final = reader
        self._cursor: Cursor | None = None

    @property
    def cursor(self) -> Cursor | None:
        """How far; None: it is empty."""
        return self._cursor

    def write(self, facts: list[Facts]) -> None:
        """Facts that follow those it has; raises when it is full or fails."""
        if self._cursor is None:
            begin = Cursor(facts[0].previous)
            self._store.start(lambda position, chain: True, begin)
            self._reader.spill = Spill(self._store.path, begin)
        elif self._store.path.stat().st_size > self._bytes_max:
            raise SinkFault(f"the spill holds {self._bytes_max} bytes: it is full")
        self._store.write(facts)
        self._cursor = facts[-1].cursor

    def remove(self) -> None:
        """Forget everything."""
        self._reader.spill = None
        self._cursor = None
        self._store.remove()
