# SPDX-License-Identifier: Apache-2.0
"""The SQLite log without the loop: recovery, commits, reading, checkpoints. Everything here blocks.

`sqlite.py` calls `commit`, `trim_some`, `finish_checkpoint` and `write_head` from one thread, `checkpoint` and
`sync_head` from another; `read` and `holds` open a connection of their own in whichever thread calls them. What may
never happen here: a second attempt after a failed write or sync, and any look at the files that bypasses SQLite while
SQLite has them open (closing such a descriptor would drop SQLite's locks).

At open, in this order: the lock; our walk over the `-wal`; the header and the pages of the database; then SQLite,
read-only, so that a refusal leaves the files as they are; the record of the head; and only then a connection that
writes. Its first act copies the `-wal` into the database and syncs it: what a killed process left in the page cache,
or a failed sync marked as clean, is written again before anybody sees it.
"""

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from bidhall.log.batch import Batch, Entry, chain_next
from bidhall.log.database import (
    Meta,
    check_file,
    check_pages,
    check_tables,
    check_trees,
    connect_read_only,
    create,
    fault_of,
    sync_folder,
)
from bidhall.log.errors import Corrupt, Halted, Locked, LogFault, Trimmed
from bidhall.log.head import HeadFile, create_head, read_head
from bidhall.log.wal import walk

PAGE_BYTES: Final = 4096
WAL_BYTES: Final = 8 << 20
CHECK_BYTES_MAX: Final = 256 << 20
TAIL_BATCHES: Final = 1000
TAIL_BYTES: Final = 32 << 20
CHUNK_BYTES: Final = 4 << 20
TRIM_BATCHES: Final = 64
_BUSY_SECONDS: Final = 5.0
_INSERT: Final = "INSERT INTO batch VALUES (?, ?, ?, ?)"
_SELECT: Final = (
    "SELECT position, log_time_ns, chain, entry FROM batch WHERE position BETWEEN ? AND ? ORDER BY position"
)

Connect = Callable[..., sqlite3.Connection]


class Store:
    """One folder. `open` first; after any `Halted` it is of no more use."""

    identity: bytes
    first: int
    head: int
    chain: bytes

    def __init__(
        self,
        folder: Path,
        *,
        page_bytes: int = PAGE_BYTES,
        wal_bytes: int = WAL_BYTES,
        check_bytes_max: int = CHECK_BYTES_MAX,
        connect: Connect = sqlite3.connect,
    ) -> None:
        self.folder = folder
        self.path = folder / "log.sqlite"
        self.wal_path = folder / "log.sqlite-wal"
        self.head_path = folder / "log.head"
        self.lock_path = folder / "log.lock"
        self.recovered: str | None = None  # a sentence about what the last open dropped
        self.unchecked = False  # the database is large: its trees are still to be checked, by `check`
        self._new_page_bytes = page_bytes
        self._wal_bytes = wal_bytes
        self._check_bytes_max = check_bytes_max
        self._connect = connect
        self._page_bytes = page_bytes
        self._frames = 0
        self._first_chain = b""
        self._lock: int | None = None
        self._writer: sqlite3.Connection | None = None
        self._checkpointer: sqlite3.Connection | None = None
        self._keeper: sqlite3.Connection | None = None  # while it is open, closing another one copies and syncs nothing
        self._head_file: HeadFile | None = None
        self._check_connection: sqlite3.Connection | None = None
        self._broken: LogFault | None = None

    # -- recovery

    def open(self, random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        """Recover, or make a new log in a folder that has none."""
        with self._told():
            if not self.folder.exists():
                self.folder.mkdir(mode=0o700, parents=True)
                sync_folder(self.folder.parent)
            self._take_lock()
            if not self.path.exists():
                self._create(random_bytes(16))
            self._judge()
            self._open_for_writing()

    def open_to_read(self) -> None:
        """Everything that `open` checks and nothing that it writes but the lock: for whoever judges a folder."""
        with self._told():
            if not self.folder.is_dir() or not (self.path.exists() or read_head(self.head_path)):
                raise LogFault(f"{self.folder}: there is no log here")
            self._take_lock()
            if not self.path.exists():
                raise Corrupt(str(self.path), "the database is gone, but its log.head is here")
            self._judge()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """A failure closes everything and is told in this room's words."""
        try:
            yield
        except BaseException as error:
            self._close_files()
            if isinstance(error, sqlite3.Error | OverflowError | MemoryError | UnicodeError):
                raise fault_of(error, str(self.path)) from error
            if isinstance(error, OSError):
                raise Halted(f"{self.folder}: {error}") from error
            raise

    def _judge(self) -> None:
        if (journal := self.path.with_name("log.sqlite-journal")).exists():
            raise Corrupt(str(journal), "a rollback journal, which bidhall never makes; SQLite would apply it")
        self._page_bytes = check_file(self.path)
        found = walk(self.wal_path, self._page_bytes)
        check_pages(self.path, self._page_bytes, found)
        if found.torn is not None:
            self.recovered = f"{self.wal_path} at {found.torn}: dropped a transaction that was not written to its end"
        self._verify()

    def _take_lock(self) -> None:
        self._lock = os.open(self.lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(self._lock, 32).decode("ascii", "replace").strip() or "unknown"
            raise Locked(f"{self.folder}: process {owner} has this log open") from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, b"%d\n" % os.getpid(), 0)

    def _create(self, identity: bytes) -> None:
        if self.wal_path.exists():
            raise Corrupt(str(self.path), "the database is gone, but its -wal is here")
        head = read_head(self.head_path)
        if head is not None and head.position:
            raise Corrupt(str(self.path), f"the database is gone; log.head knows of {head.position} batches")
        create_head(self.head_path, identity)
        create(self.path, identity, self._new_page_bytes)

    def _verify(self) -> None:
        """Everything that can be checked without reading the whole log, by a connection that cannot change it."""
        connection = connect_read_only(self.path)
        try:
            self.identity, self.first, self._first_chain = check_tables(connection, self.path)
            self.unchecked = self.path.stat().st_size > self._check_bytes_max
            if not self.unchecked:
                check_trees(connection, self.path)
            low, high = connection.execute("SELECT min(position), max(position) FROM batch").fetchone()
            self.head = self.first - 1 if high is None else high
            if low is not None and low != self.first:
                raise Corrupt(str(self.path), f"the first position is {low}, and should be {self.first}")
            self.chain = self._first_chain
            for batch in self._read(connection, self._tail_start(connection), self.head):
                self.chain = batch.chain
            self._compare_head(connection)
        finally:
            connection.close()

    def _tail_start(self, connection: sqlite3.Connection) -> int:
        """Of the newest batches, as many as are read again at every start."""
        rows = connection.execute(
            "SELECT position, length(entry) FROM batch ORDER BY position DESC LIMIT ?", (TAIL_BATCHES,)
        )
        start, size = self.head + 1, 0
        for position, length in rows:
            size += length
            if size > TAIL_BYTES and start <= self.head:
                break
            start = position
        return start

    def _compare_head(self, connection: sqlite3.Connection) -> None:
        known = read_head(self.head_path)
        if known is None:
            return
        if known.identity != self.identity:
            raise Corrupt(str(self.head_path), "it belongs to another log")
        if known.position > self.head:
            raise Corrupt(
                str(self.wal_path if self.wal_path.exists() else self.path),
                f"position {known.position} was acknowledged, but the log ends at {self.head}: what was behind is lost "
                f"(to go on without it, remove {self.head_path})",
            )
        if known.position >= self.first - 1 and self._chain_at(connection, known.position) != known.chain:
            what = f"the history up to position {known.position} is another one than was acknowledged"
            raise Corrupt(str(self.head_path), what)

    def _open_for_writing(self) -> None:
        options: dict[str, Any] = {"timeout": _BUSY_SECONDS, "isolation_level": None, "check_same_thread": False}
        self._writer = self._connect(self.path, **options)
        self._checkpointer = self._connect(self.path, **options)
        for connection in (self._writer, self._checkpointer):
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA wal_autocheckpoint=0")
            connection.execute("PRAGMA cell_size_check=ON")
        busy, _, _ = self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise Locked(f"{self.path}: another process reads or writes the database")
        self._keeper = connect_read_only(self.path)
        self._keeper.execute("SELECT count(*) FROM log").fetchone()
        self._fill_wal()
        self._head_file = HeadFile(self.head_path, self.identity)
        self._head_file.write_both(self.head, self.chain)
        sync_folder(self.folder)

    def _fill_wal(self) -> None:
        """With zeros, so that commits do not change its length: syncs are a third cheaper. SQLite goes by the salts."""
        if not self._wal_bytes:
            return
        descriptor = os.open(self.wal_path, os.O_WRONLY)
        try:
            zeros = bytes(min(self._wal_bytes, 1 << 20))
            for offset in range(0, self._wal_bytes, len(zeros)):
                os.pwrite(descriptor, zeros, offset)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    # -- commits; the committing thread

    def commit(self, entries: Sequence[Entry], log_time_ns: int) -> list[Batch]:
        """Durable when it returns. Any failure is the end: what the disk has is then unknown."""
        writer = self._usable()
        batches, position, chain = [], self.head, self.chain
        for entry in entries:
            position += 1
            chain = chain_next(chain, position, log_time_ns, entry.checksum)
            batches.append(Batch(position, log_time_ns, entry, chain))
            self._frames += 1 + len(entry.raw) // self._page_bytes
        try:
            if len(batches) == 1:
                writer.execute(_INSERT, (position, log_time_ns, chain, entries[0].raw))
            else:
                writer.execute("BEGIN IMMEDIATE")
                writer.executemany(_INSERT, [(*batch[:2], batch.chain, batch.entry.raw) for batch in batches])
                writer.execute("COMMIT")
        except BaseException as error:
            raise self._halt(error) from error
        self.head, self.chain = position, chain
        return batches

    def trim_some(self, before: int) -> bool:
        """Drop one small range below `before`; True when there is more."""
        writer = self._usable()
        end = min(before, self.head + 1, self.first + TRIM_BATCHES)
        if end <= self.first:
            return False
        try:
            chain = self._chain_at(writer, end - 1)
            writer.execute("BEGIN IMMEDIATE")
            writer.execute("DELETE FROM batch WHERE position < ?", (end,))
            writer.execute("UPDATE log SET record = ?", (Meta(self.identity, end, chain).encode(),))
            writer.execute("COMMIT")
        except BaseException as error:
            raise self._halt(error) from error
        self.first, self._first_chain = end, chain
        self._frames += TRIM_BATCHES
        return end < min(before, self.head + 1)

    def write_head(self) -> None:
        """After a commit, when its waiters have been told."""
        if self._broken is None and self._head_file is not None:
            try:
                self._head_file.write(self.head, self.chain)
            except OSError as error:
                self._halt(error)

    @property
    def checkpoint_due(self) -> bool:
        return self._frames * self._page_bytes > max(self._wal_bytes, 1 << 20) * 3 // 4

    def finish_checkpoint(self) -> None:
        """Copy what `checkpoint` left, so that the next commit starts the `-wal` over.

        First the record of the head must be durable: what only the database holds is then known to it.
        """
        writer = self._usable()
        try:
            self.write_head()
            self.sync_head()
            _, frames, copied = writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except BaseException as error:
            raise self._halt(error) from error
        self._frames = 0 if frames == copied else self._frames * 7 // 8  # a reader held it back: again soon

    # -- the checkpointing thread

    def checkpoint(self) -> None:
        """Copy into the database what is in the `-wal`, while commits go on."""
        self._usable()
        assert self._checkpointer is not None
        try:
            self._checkpointer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except BaseException as error:
            raise self._halt(error) from error

    def sync_head(self) -> None:
        if self._broken is None and self._head_file is not None:
            try:
                self._head_file.sync()
            except OSError as error:
                raise self._halt(error) from error

    # -- reading; any thread

    def read(self, first: int, last: int | None = None) -> Iterator[Batch]:
        """What was committed when it began, at most up to `last`, checked."""
        head = self.head
        try:
            connection = connect_read_only(self.path)
        except sqlite3.Error as error:
            raise fault_of(error, str(self.path)) from error
        try:
            yield from self._read(connection, first, head if last is None else min(last, head))
        except sqlite3.Error as error:
            raise fault_of(error, str(self.path)) from error
        finally:
            connection.close()

    def chunk(self, first: int) -> list[Batch]:
        """From `first` on, some megabytes."""
        batches, size = [], 0
        for batch in self.read(first):
            batches.append(batch)
            size += len(batch.entry.raw)
            if size > CHUNK_BYTES:
                break
        return batches

    def holds(self, position: int, chain: bytes) -> bool:
        connection = connect_read_only(self.path)
        try:
            return self.first - 1 <= position <= self.head and self._chain_at(connection, position) == chain
        except Trimmed:
            return False
        except sqlite3.Error as error:
            raise fault_of(error, str(self.path)) from error
        finally:
            connection.close()

    def check(self) -> None:
        """The trees of a large database, while it is in use. Returns early after `stop_check`."""
        self._check_connection = connection = connect_read_only(self.path)
        try:
            check_trees(connection, self.path)
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_INTERRUPT:
                raise fault_of(error, str(self.path)) from error
        finally:
            self._check_connection = None
            connection.close()

    def stop_check(self) -> None:
        if (connection := self._check_connection) is not None:
            with contextlib.suppress(sqlite3.ProgrammingError):  # it has just come to its end
                connection.interrupt()

    def _read(self, connection: sqlite3.Connection, first: int, last: int) -> Iterator[Batch]:
        if first > last:
            return
        if first < self.first:
            raise Trimmed(f"{self.path}: positions before {self.first} are no longer held")
        chain = self._chain_at(connection, first - 1)
        while first <= last:
            for row in self._rows(connection, first, last):
                if row[0] != first:
                    raise self._missing(connection, first)
                batch = self._checked(row, first, chain)
                yield batch
                chain, first = batch.chain, first + 1

    def _rows(self, connection: sqlite3.Connection, first: int, last: int) -> list[tuple[object, ...]]:
        """Some megabytes. The transaction ends before they are handed on: a slow reader must not hold the `-wal` up."""
        rows: list[tuple[object, ...]] = []
        size = 0
        cursor = connection.execute(_SELECT, (first, last))
        try:
            for row in cursor:
                rows.append(row)
                size += len(row[3]) if isinstance(row[3], bytes) else 0
                if size > CHUNK_BYTES:
                    break
        except (sqlite3.Error, OverflowError, MemoryError, UnicodeError) as error:
            raise fault_of(error, self._place(first + len(rows))) from error
        finally:
            cursor.close()
        if not rows:
            raise self._missing(connection, first)
        return rows

    def _checked(self, row: tuple[object, ...], position: int, before: bytes) -> Batch:
        _, log_time_ns, chain, raw = row
        if not isinstance(raw, bytes) or not isinstance(chain, bytes) or not isinstance(log_time_ns, int):
            raise Corrupt(self._place(position), "the row does not hold what it should")
        try:
            entry = Entry.decode(raw)
        except Corrupt as error:
            raise Corrupt(self._place(position), error.what) from None
        if chain_next(before, position, log_time_ns, entry.checksum) != chain:
            what = "the chain does not go on here: log time, chain or the batch before is another one"
            raise Corrupt(self._place(position), what)
        return Batch(position, log_time_ns, entry, chain)

    def _chain_at(self, connection: sqlite3.Connection, position: int) -> bytes:
        if position == self.first - 1:
            return self._first_chain
        row = connection.execute("SELECT chain FROM batch WHERE position = ?", (position,)).fetchone()
        if row is None or not isinstance(row[0], bytes):
            raise self._missing(connection, position)
        return row[0]

    def _missing(self, connection: sqlite3.Connection, position: int) -> LogFault:
        """Why a row is not there: it was trimmed meanwhile, or it is lost."""
        if position < check_tables(connection, self.path).first:
            return Trimmed(f"{self.path}: position {position} is no longer held")
        return Corrupt(self._place(position), "the batch is missing")

    def _place(self, position: int) -> str:
        return f"{self.path}, position {position}"

    # -- the end

    def close(self) -> None:
        """The `-wal` is copied into the database and removed. Not after a failure: then the files stay as they are."""
        if self._broken is None and self._writer is not None:
            try:
                self.write_head()
                self.sync_head()
                self._close_keeper()
                self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            except (sqlite3.Error, LogFault) as error:
                self._halt(error)
        self._close_files()

    def _close_files(self) -> None:
        for connection in (self._checkpointer, self._writer):
            if connection is not None:
                connection.close()
        self._checkpointer = self._writer = None
        self._close_keeper()
        if self._head_file is not None:
            self._head_file.close()
            self._head_file = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _close_keeper(self) -> None:
        if self._keeper is not None:
            self._keeper.close()
            self._keeper = None

    def _usable(self) -> sqlite3.Connection:
        if self._broken is not None:
            raise self._broken
        if self._writer is None:
            raise Halted(f"{self.path}: the log is not open")
        return self._writer

    def _halt(self, error: BaseException) -> LogFault:
        if self._broken is None:
            self._broken = error if isinstance(error, Halted) else Halted(f"{self.path}: {error}")
        return self._broken
