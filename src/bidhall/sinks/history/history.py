# SPDX-License-Identifier: Apache-2.0
"""The history of an embedded exchange: its store with a follower, its reader with a thread, and what the doors ask.

Made by the command line (and by tests) beside a replica: `attach` before the replica starts, `start` after it, `flush`
before the replica stops, `stop` after. A history that fails never stops trading: the doors are told
`HistoryUnavailable`, the operator sees `status`, and it goes on by itself when it can.
"""

import logging
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from bidhall.environment import Environment, Worker
from bidhall.replica import Replica
from bidhall.replica.guard import FOLDER as SNAPSHOTS
from bidhall.sinks.follower import STOPPED, Follower
from bidhall.sinks.history.reader import HistoryUnavailable, Reader
from bidhall.sinks.history.spill import SpillStore
from bidhall.sinks.history.store import HistoryStore
from bidhall.sinks.interface import Cursor, SinkDamaged
from bidhall.sinks.settings import HistorySettings

logger: Final = logging.getLogger("bidhall.sinks")

Result = TypeVar("Result")

FILE: Final = "history.sqlite"
SPILL_FILE: Final = "spill.sqlite"
NS: Final = 1_000_000_000


class History:
    """See above."""

    def __init__(
        self, replica: Replica, environment: Environment, folder: Path | None, settings: HistorySettings | None = None
    ) -> None:
        """`folder`: the exchange's; None: all of it is temporary."""
        self.settings: Final = settings or HistorySettings()
        self._replica, self._environment = replica, environment
        self._temporary = None if folder is not None else tempfile.TemporaryDirectory(prefix="bidhall-history-")
        own = folder if self._temporary is None else Path(self._temporary.name)
        assert own is not None
        self.path: Final = Path(self.settings.path) if self.settings.path else own / FILE
        self._reader: Final = Reader(self.path, cache_bytes=self.settings.reader_cache_bytes)
        self._reading: Worker | None = None
        self._waiting = 0
        self.reads = self.reads_failed = 0
        identity: Callable[[], bytes] = lambda: replica.log.identity  # noqa: E731
        durable, cache_bytes = self._temporary is None, self.settings.writer_cache_bytes
        spill = self.path.with_name(SPILL_FILE)
        self.follower: Final = Follower(
            HistoryStore(self.path, identity, durable=durable, cache_bytes=cache_bytes),
            replica,
            environment,
            self.settings.follower,
            snapshots=None if folder is None else folder / SNAPSHOTS,
            overflow=SpillStore(spill, identity, self.settings.spill_bytes_max, self._reader),
            on_change=self._changed,
        )

    def _changed(self) -> None:
        """In the writer's thread: another file may stand under the name."""
        self._reader.generation += 1

    # --- life -------------------------------------------------------------------------------------------------------

    def attach(self) -> None:
        """Before the replica starts: what it applies on its way is told to us too."""
        self.follower.attach()
        self._replica.guard.followers.append(self.follower.retained)

    def start(self) -> None:
        """The replica is ready."""
        self._reading = self._environment.worker("history-read")
        self.follower.start()

    async def flush(self) -> bool:
        """What is known now is in the file, or it took too long; at the stop, so that a snapshot has it before it."""
        return await self.follower.flush(self.settings.stop_seconds)

    async def stop(self) -> None:
        """After the replica. What is not written is caught up with at the next start."""
        if self._reading is not None:  # first: the last to close is the one that tidies up, and a reader cannot
            reading, self._reading = self._reading, None
            await reading.run(self._reader.close)
            reading.close()
        await self.follower.stop()
        if self._temporary is not None:
            self._temporary.cleanup()

    # --- reading ----------------------------------------------------------------------------------------------------

    @property
    def cursor(self) -> Cursor:
        """Newest committed, as the loop knows it."""
        return self.follower.cursor

    def ask(
        self, question: Callable[[Reader], Result], done: Callable[[Result | None, BaseException | None], None]
    ) -> None:
        """Run a question in the reader's thread, then `done(answer, error)` on the loop."""
        if self._reading is None or self._waiting >= self.settings.reads_waiting_max:
            why = "the history is not open" if self._reading is None else "too many wait for the history"
            self._environment.call_soon(done, None, HistoryUnavailable(why))
            return

        generation = self._reader.generation

        def answered(answer: Result | None, error: BaseException | None) -> None:
            self._waiting -= 1
            done(answer, self._explained(error, generation))

        self._waiting += 1
        self.reads += 1
        self._reading.call(lambda: question(self._reader), answered)

    async def read(self, question: Callable[[Reader], Result]) -> Result:
        """`ask` for who can wait."""
        future = self._environment.create_future()

        def done(answer: Result | None, error: BaseException | None) -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(answer)

        self.ask(question, done)
        result: Result = await future
        return result

    def reach(self, position: int, callback: Callable[[bool], None], seconds: float = 1.0) -> None:
        """Call back when the history has this position (what waits is written at once), or when it takes too long."""
        self.follower.reach(position, callback, seconds)

    def _explained(self, error: BaseException | None, generation: int) -> BaseException | None:
        """A reader that finds damage has the history built again, unless it is another by now."""
        if error is None:
            return None
        self.reads_failed += 1
        if isinstance(error, SinkDamaged):
            if generation == self._reader.generation:
                self.follower.distrust(str(error))
            return HistoryUnavailable(str(error))
        return error

    # --- for operators ----------------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """What ops and metrics show."""
        follower = self.follower
        return {
            "state": follower.state,
            "position": follower.cursor.position,
            "lag_batches": max(follower.target - follower.cursor.position, 0),
            "lag_seconds": self._lag_ns() / NS,
            "queue_bytes": follower.queue_bytes,
            "spilled_batches": follower.spilled,
            "rows_total": follower.rows,
            "writes_total": follower.writes,
            "retries_total": follower.retries,
            "rebuilds_total": follower.rebuilds,
            "reads_total": self.reads,
            "reads_failed_total": self.reads_failed,
            "last_error": follower.last_error,
        }

    def _lag_ns(self) -> int:
        follower = self.follower
        if follower.state == STOPPED or follower.cursor.position >= follower.target:
            return 0
        return max(self._replica.time_ns - follower.cursor.time_ns, 0) if follower.cursor.time_ns else 0
