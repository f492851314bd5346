# SPDX-License-Identifier: Apache-2.0
"""The history on SQLite: one file, its cursor in the same transaction as its rows.

A follower drives it from one thread (`Sink`); the reader has connections of its own. WAL with synchronous=NORMAL: after
a power cut the file may lack its last transactions, whole ones, and the cursor says which; the log has them. What may
never happen here: rows without their cursor, or a fault that is not told as `SinkFault` (try again) or `SinkDamaged`
(build again from the log). The same class without any durability is the spill.
"""

import logging
import os
import sqlite3
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from bidhall.sinks.history import schema
from bidhall.sinks.history.deriver import Deriver, LastTrade, MarketUnits, Row
from bidhall.sinks.interface import Cursor, Facts, SinkDamaged, SinkFault

logger: Final = logging.getLogger("bidhall.sinks")

BUSY_SECONDS: Final = 0.2
CHECKPOINT_PAGES: Final = 2_000  # 16 MB of -wal, then they go into the database
ASIDE: Final = ".aside"
COMPANIONS: Final = ("", "-wal", "-shm")
_MOVE: Final = (
    "UPDATE meta SET position = ?, sequence = ?, time_ns = ?, chain = ? WHERE position = ? AND chain = ?"
)
SORT_ROWS: Final = 64  # from so many on, rows go in by key: neighbours share pages

_DAMAGE: Final = frozenset(
    {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_FORMAT,
     sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_SCHEMA, sqlite3.SQLITE_CONSTRAINT}
)  # fmt: skip


def told(error: Exception, path: Path) -> SinkFault | SinkDamaged:
    """What SQLite said: damage, or something that may pass."""
    if isinstance(error, SinkFault | SinkDamaged):
        return error
    code = getattr(error, "sqlite_errorcode", None)
    damaged = isinstance(error, sqlite3.Error) and (
        (code is None and not isinstance(error, sqlite3.OperationalError))
        or (code is not None and (code & 0xFF in _DAMAGE or code == sqlite3.SQLITE_IOERR_SHORT_READ))
    )
    return SinkDamaged(f"{path}: {error}") if damaged else SinkFault(f"{path}: {error}")


class HistoryStore:
    """See above."""

    def __init__(
        self,
        path: Path,
        log: Callable[[], bytes],
        *,
        durable: bool = True,
        cache_bytes: int = 16 << 20,
        name: str = "history",
        tables: frozenset[str] = frozenset(schema.TABLES),
    ) -> None:
        """`log`: gives the identity of the log that it tells of, once that is open; `tables`: which are written."""
        self.name = name
        self.path: Final = path
        self._log: Final = log
        self._durable: Final = durable
        self._cache_bytes: Final = cache_bytes
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        self._cursor = Cursor()
        self._deriver: Final = Deriver(self, tables)
        self._insertions: Final = {table: schema.insertion(table) for table in schema.TABLES}

    @property
    def cursor(self) -> Cursor:
        """Of what is written."""
        return self._cursor

    # --- life -------------------------------------------------------------------------------------------------------

    def start(self, holds: Callable[[int, bytes], bool], begin: Cursor | None = None) -> Cursor:
        """See `Sink`. `begin`: where an empty one begins; the log's start unless it is a spill."""
        self.close()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = connection = self._connect()
            empty = self._look(connection)
            self._prepare(connection)
            if empty:
                self._create(connection, begin or Cursor())
            self._cursor = self._check(connection, holds)
            self._inode = self.path.stat().st_ino
        except (sqlite3.Error, OSError, SinkDamaged) as error:
            self.close()
            raise told(error, self.path) from error
        return self._cursor

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(
            self.path, isolation_level=None, check_same_thread=False, timeout=BUSY_SECONDS, cached_statements=64
        )

    def _look(self, connection: sqlite3.Connection) -> bool:
        """Whether it is empty; before anything is written, so that what is not ours stays as it is."""
        application, version = (
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
        )
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
            return True
        if (application, version) != (schema.APPLICATION, schema.VERSION):
            raise SinkDamaged(f"{self.path}: no history of version {schema.VERSION}")
        return False

    def _prepare(self, connection: sqlite3.Connection) -> None:
        for pragma in (
            f"page_size={schema.PAGE_BYTES}",
            "journal_mode=WAL",
            f"synchronous={'NORMAL' if self._durable else 'OFF'}",
            f"cache_size={-(self._cache_bytes >> 10)}",
            f"wal_autocheckpoint={CHECKPOINT_PAGES}",
            f"journal_size_limit={4 * CHECKPOINT_PAGES * schema.PAGE_BYTES}",
            "temp_store=MEMORY",
            "cell_size_check=ON",
        ):
            connection.execute(f"PRAGMA {pragma}")

    def _create(self, connection: sqlite3.Connection, begin: Cursor) -> None:
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.execute(f"PRAGMA application_id={schema.APPLICATION}")
            connection.execute(f"PRAGMA user_version={schema.VERSION}")
            for statement in schema.statements():
                connection.execute(statement)
            connection.executemany("INSERT INTO causes (name, cause) VALUES (?, ?)", schema.CAUSES.items())
            connection.execute("INSERT INTO meta VALUES (?, ?, ?, ?, ?)", (self._log(), *begin))
            connection.execute("COMMIT")
        except BaseException:
            connection.rollback()
            raise

    def _check(self, connection: sqlite3.Connection, holds: Callable[[int, bytes], bool]) -> Cursor:
        log, cursor = read_meta(connection)
        if log != self._log():
            raise SinkDamaged(f"{self.path}: the history of another log, {log.hex()}")
        if cursor.position and not holds(cursor.position, cursor.chain):
            raise SinkDamaged(f"{self.path}: the log has another history up to position {cursor.position}")
        return cursor

    def close(self) -> None:
        """Whatever happens on the way, nothing is held after it."""
        self._deriver.forget()
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except sqlite3.Error as error:
                logger.warning("%s was not closed properly: %s", self.path, error)

    def put_aside(self, reason: str) -> None:
        """See `Sink`. Only the last one that was put aside is kept."""
        self.close()
        logger.error("%s is put aside as %s%s: %s", self.path, self.path.name, ASIDE, reason)
        try:
            for companion in COMPANIONS:
                old = self.path.with_name(self.path.name + companion)
                if old.exists():
                    os.replace(old, self.path.with_name(self.path.name + ASIDE + companion))
                else:
                    self.path.with_name(self.path.name + ASIDE + companion).unlink(missing_ok=True)
        except OSError as error:
            raise told(error, self.path) from error

    def remove(self) -> None:
        """Close it and delete its files."""
        self.close()
        for companion in COMPANIONS:
            self.path.with_name(self.path.name + companion).unlink(missing_ok=True)

    # --- writing ----------------------------------------------------------------------------------------------------

    def write(self, facts: Sequence[Facts]) -> int:
        """See `Sink`."""
        facts = [fact for fact in facts if fact.cursor.position > self._cursor.position]
        if not facts:
            return 0
        if facts[0].previous > self._cursor.position:
            raise ValueError(f"position {facts[0].previous} was told before, and not written: {self._cursor.position}")
        connection = self._usable()
        try:
            self._check_place()
            connection.execute("BEGIN IMMEDIATE")
            moved = connection.execute(_MOVE, (*facts[-1].cursor, self._cursor.position, self._cursor.chain))
            if moved.rowcount != 1:
                raise SinkFault(f"{self.path}: somebody else has written it since position {self._cursor.position}")
            count = self._insert(connection, facts)
            connection.execute("COMMIT")
        except BaseException as error:
            self._undo(connection)
            if isinstance(error, sqlite3.Error | OSError):
                raise told(error, self.path) from error
            raise
        self._cursor = facts[-1].cursor
        return count

    def _insert(self, connection: sqlite3.Connection, facts: Sequence[Facts]) -> int:
        count = 0
        for table, rows in self._deriver.rows(facts).items():
            if len(rows) >= SORT_ROWS:
                rows.sort(key=_KEY[table])
            connection.executemany(self._insertions[table], rows)
            count += len(rows)
        return count

    def _check_place(self) -> None:
        """Somebody who deletes the file gets a new one; without this, rows would go to a file without a name."""
        if not self.path.exists() or self.path.stat().st_ino != self._inode:
            raise SinkDamaged(f"{self.path}: it was deleted or replaced")

    def _undo(self, connection: sqlite3.Connection) -> None:
        self._deriver.forget()
        try:
            connection.rollback()
        except sqlite3.Error as error:
            logger.warning("%s: a failed write was not rolled back: %s", self.path, error)
            self.close()

    def _usable(self) -> sqlite3.Connection:
        if self._connection is None:
            raise SinkFault(f"{self.path}: not open")
        return self._connection

    # --- what the deriver asks --------------------------------------------------------------------------------------

    def candle(self, market: int, seconds: int) -> Row | None:
        """The newest of that width."""
        found = self._usable().execute(
            "SELECT * FROM candles WHERE market = ? AND seconds = ? ORDER BY open_s DESC LIMIT 1", (market, seconds)
        )
        row: Row | None = found.fetchone()
        return row

    def last_trade(self, market: int) -> LastTrade:
        """The newest of a market."""
        row = self._usable().execute(
            "SELECT trade_id, price_ticks, aggregate_id FROM trades WHERE market = ? ORDER BY trade_id DESC LIMIT 1",
            (market,),
        ).fetchone()  # fmt: skip
        return LastTrade(*row) if row is not None else LastTrade()

    def market_units(self) -> dict[int, MarketUnits]:
        """Of all markets."""
        rows = self._usable().execute("SELECT market, base_asset, quote_asset, step_units FROM markets")
        return {market: MarketUnits(*units) for market, *units in rows}


def _key_of(table: str) -> Callable[[Row], Any]:
    names = [name for name, _ in schema.TABLES[table]]
    places = [names.index(name) for name in schema.KEYS[table]]
    return lambda row: [row[place] for place in places]


_KEY: Final = {table: _key_of(table) for table in schema.TABLES}


def read_meta(connection: sqlite3.Connection) -> tuple[bytes, Cursor]:
    """The log's identity, and how far the history is."""
    row = connection.execute("SELECT log, position, sequence, time_ns, chain FROM meta").fetchone()
    if row is None:
        raise SinkDamaged("table meta is empty")
    return row[0], Cursor(*row[1:])


def content_hash(path: Path) -> tuple[Cursor, bytes]:
    """How far a history is, and the hash of all that stands in it: two that were built from one log have the same."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
    try:
        connection.execute("BEGIN")
        log, cursor = read_meta(connection)
        running = blake2b(log, digest_size=32)
        for table, columns in schema.TABLES.items():
            running.update(repr((table, columns)).encode())
            order = ", ".join(schema.KEYS[table])
            for row in connection.execute(f"SELECT * FROM {table} ORDER BY {order}"):
                running.update(repr(row).encode())
        return cursor, running.digest()
    finally:
        connection.close()
