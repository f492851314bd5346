# SPDX-License-Identifier: Apache-2.0
"""`log.sqlite` as a file: how it is made, and what must be true of it before it is used.

Called by `store.py` only. It must never write to a database that exists: a damaged one is evidence.

    log       one row: record = identity[16] first[8] chain[16] BLAKE2b-128[16]; `first` is the oldest position held,
              `chain` the running hash before it
    batch     position (the key), log_time_ns, chain (the running hash at this position), entry (`batch.py`)
"""

import os
import sqlite3
from hashlib import blake2b
from pathlib import Path
from struct import Struct
from typing import Final, NamedTuple

from bidhall.log.batch import CHAIN_START
from bidhall.log.errors import Corrupt, Halted, LogFault
from bidhall.log.wal import Walk

APPLICATION: Final = int.from_bytes(b"bidh", "big")
VERSION: Final = 1
SCHEMA: Final = (
    "CREATE TABLE log (record BLOB NOT NULL) STRICT",
    "CREATE TABLE batch (position INTEGER PRIMARY KEY, log_time_ns INTEGER NOT NULL, "
    "chain BLOB NOT NULL, entry BLOB NOT NULL) STRICT",
)
_RECORD: Final = Struct("<16sQ16s")
_HEADER: Final = Struct(">16sH6B12I20sII")
_DAMAGE: Final = frozenset(
    {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_TOOBIG,
     sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_SCHEMA, sqlite3.SQLITE_CONSTRAINT}
)  # fmt: skip


class Meta(NamedTuple):
    """The row of table `log`."""

    identity: bytes
    first: int
    chain: bytes

    def encode(self) -> bytes:
        body = _RECORD.pack(*self)
        return body + blake2b(body, digest_size=16).digest()


def decode_meta(record: object, place: str) -> Meta:
    if not isinstance(record, bytes) or len(record) != _RECORD.size + 16:
        raise Corrupt(place, "table log does not hold its record")
    body = record[: _RECORD.size]
    if blake2b(body, digest_size=16).digest() != record[_RECORD.size :]:
        raise Corrupt(place, "the checksum of the record in table log does not fit it")
    return Meta(*_RECORD.unpack(body))


def fault_of(error: Exception, place: str) -> LogFault:
    """What SQLite said while reading: damage, or a machine that cannot go on."""
    if isinstance(error, LogFault):
        return error
    code = getattr(error, "sqlite_errorcode", None)
    if code is None or code & 0xFF in _DAMAGE or code == sqlite3.SQLITE_IOERR_SHORT_READ:
        return Corrupt(place, str(error))
    return Halted(f"{place}: {error}")


def connect_read_only(path: Path) -> sqlite3.Connection:
    """It can neither write nor, when it is closed, copy the `-wal` into the database and delete it."""
    name = f"{path.absolute().as_uri()}?mode=ro"
    connection = sqlite3.connect(name, uri=True, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA cell_size_check=ON")
    return connection


def sync_folder(folder: Path) -> None:
    """A new or renamed file is durable only when its folder is."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def create(path: Path, identity: bytes, page_bytes: int) -> None:
    """Make an empty log under another name, whole and synced, and only then give it its own."""
    making = path.with_name(path.name + ".new")
    for rest in path.parent.glob(making.name + "*"):
        rest.unlink()
    connection = sqlite3.connect(making, isolation_level=None)
    try:
        connection.execute(f"PRAGMA page_size={page_bytes}")
        connection.execute("PRAGMA auto_vacuum=NONE")
        connection.execute("PRAGMA synchronous=OFF")  # it is synced below, as a whole
        connection.execute("BEGIN")
        connection.execute(f"PRAGMA application_id={APPLICATION}")
        connection.execute(f"PRAGMA user_version={VERSION}")
        for statement in SCHEMA:
            connection.execute(statement)
        connection.execute("INSERT INTO log VALUES (?)", (Meta(identity, 1, CHAIN_START).encode(),))
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode=WAL")
    finally:
        connection.close()
    with making.open("rb") as file:
        os.fsync(file.fileno())
    making.rename(path)
    sync_folder(path.parent)


def check_file(path: Path) -> int:
    """The first hundred bytes, by which SQLite decides before it looks at the `-wal`. Gives the page size."""
    with path.open("rb") as file:
        header = file.read(_HEADER.size)
    if len(header) < _HEADER.size:
        raise Corrupt(f"{path} at {len(header)}", "the file ends inside its header")
    (magic, page, write, read, reserved, most, least, leaf, _, _, _, _, _, schema, _, root, text, version, vacuum,
     application, zeros, _, _) = _HEADER.unpack(header)  # fmt: skip
    for offset, fits in (
        (0, magic == b"SQLite format 3\0"),
        (16, page in (512, 1024, 2048, 4096, 8192, 16384, 32768)),
        (18, (write, read, reserved) == (2, 2, 0)),
        (21, (most, least, leaf) == (64, 32, 32)),
        (44, schema == 4),
        (52, (root, vacuum) == (0, 0)),
        (56, text == 1),
        (60, version == VERSION),
        (68, application == APPLICATION),
        (72, not zeros.strip(b"\0")),
    ):
        if not fits:
            raise Corrupt(f"{path} at {offset}", "the header of the database is not as this version writes it")
    return int(page)


def check_pages(path: Path, page_bytes: int, walk: Walk) -> None:
    """Every page of the database stands whole in one of the two files."""
    size = path.stat().st_size
    whole = size // page_bytes
    if walk.pages:
        lost = next((page for page in range(whole + 1, walk.pages + 1) if page not in walk.held), None)
        count = walk.pages
    else:
        with path.open("rb") as file:
            count = int.from_bytes(file.read(32)[28:32], "big")
        lost = whole + 1 if whole < count else None
    if lost is not None:
        raise Corrupt(f"{path} at {(lost - 1) * page_bytes}", f"the file is cut: page {lost} of {count} is in no file")


def check_trees(connection: sqlite3.Connection, path: Path) -> None:
    """Every page's place in the trees, in the chains of large rows or among the free ones; reads the whole file."""
    verdict = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != ("ok",):
        raise Corrupt(str(path), str(verdict[0] if verdict else "quick_check gave no answer"))


def check_tables(connection: sqlite3.Connection, path: Path) -> Meta:
    """The schema and the one row of table `log`."""
    place = str(path)
    found = tuple(row[0] for row in connection.execute("SELECT sql FROM sqlite_master ORDER BY rowid"))
    if found != SCHEMA:
        raise Corrupt(place, "the tables are not as this version makes them")
    records = connection.execute("SELECT record FROM log LIMIT 2").fetchall()
    if len(records) != 1:
        raise Corrupt(place, f"table log holds {len(records)} records")
    return decode_meta(records[0][0], place)
