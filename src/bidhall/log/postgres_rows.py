# SPDX-License-Identifier: Apache-2.0
"""Reading a log on PostgreSQL: rows into batches, and the chain at any position.

Called by `postgres.PostgresLog`, on the loop and (for replay) in other threads. A reader applies the contiguous prefix:
what stands behind a missing position is not there yet. What may never happen here: a batch whose chain was not computed
from the batches before it.
"""

from collections.abc import AsyncIterator
from typing import Any, Final

from bidhall.clients.postgres import Connection
from bidhall.log.batch import Batch, Entry, chain_next
from bidhall.log.errors import Corrupt, Trimmed
from bidhall.log.postgres_schema import CHAIN_EVERY

CHUNK: Final = 512
CHUNK_BYTES: Final = 8 << 20
_AFTER: Final = "SELECT position, log_time_ns, entry FROM log_batch WHERE position > $1 ORDER BY position LIMIT $2"


class Cursor:
    """Where a reader stands: `position` is the last that it has read, `chain` the running hash there."""

    __slots__ = ("chain", "highest", "position")

    def __init__(self, position: int, chain: bytes) -> None:
        self.position = position
        self.chain = chain
        self.highest = position  # the highest position that was seen; above `position` there is a hole

    def take(self, rows: list[Any]) -> list[Batch]:
        """The batches that follow without a gap."""
        batches = []
        for position, log_time_ns, raw in rows:
            if position != self.position + 1:
                break
            entry = Entry.decode(bytes(raw), f"position {position}")
            self.chain = chain_next(self.chain, position, log_time_ns, entry.checksum)
            self.position = position
            batches.append(Batch(position, log_time_ns, entry, self.chain))
        self.highest = max(self.highest, rows[-1][0] if rows else 0, self.position)
        return batches


async def poll(connection: Connection, cursor: Cursor) -> list[Batch]:
    """What has been committed behind the cursor, up to the first gap; the cursor moves on."""
    return cursor.take(await connection.fetch(_AFTER, cursor.position, CHUNK))


async def cursor_at(connection: Connection, position: int) -> Cursor:
    """Behind `position`, which must be held or be the one before the first. Raises `Trimmed`, `Corrupt`."""
    rows = await connection.fetch(
        "SELECT position, chain FROM log_chain WHERE position <= $1"
        " UNION ALL SELECT first_position - 1, first_chain FROM log_identity WHERE first_position - 1 <= $1"
        " ORDER BY position DESC LIMIT 1",
        position,
    )
    if not rows:
        raise Trimmed(f"position {position} is no longer held")
    cursor = Cursor(int(rows[0][0]), bytes(rows[0][1]))
    while cursor.position < position:
        limit = min(CHUNK, position - cursor.position)
        before = cursor.position
        cursor.take(await connection.fetch(_AFTER, before, limit))
        if cursor.position == before:
            raise Corrupt(f"position {before + 1}", f"it is missing, and {position} was asked for")
    return cursor


async def read(connection: Connection, first: int, last: int | None) -> AsyncIterator[list[Batch]]:
    """From `first` to `last`, or to the first gap; in chunks."""
    cursor = await cursor_at(connection, first - 1)
    while last is None or cursor.position < last:
        limit = CHUNK if last is None else min(CHUNK, last - cursor.position)
        batches = cursor.take(await connection.fetch(_AFTER, cursor.position, limit))
        if not batches:
            return
        yield batches


async def last_cursor(connection: Connection) -> Cursor:
    """At the end of what is committed without a gap."""
    rows = await connection.fetch("SELECT coalesce(max(position), 0) FROM log_chain")
    rows = await connection.fetch("SELECT greatest($1::bigint, first_position - 1) FROM log_identity", rows[0][0])
    cursor = await cursor_at(connection, int(rows[0][0]))
    while await poll(connection, cursor):
        pass
    return cursor


def chain_rows(batches: list[Batch]) -> str:
    """The statement that keeps the chain of those batches of which it is kept; "" for none."""
    kept = [batch for batch in batches if batch.position % CHAIN_EVERY == 0]
    if not kept:
        return ""
    values = ", ".join(f"({batch.position}, '\\x{batch.chain.hex()}')" for batch in kept)
    return f"INSERT INTO log_chain (position, chain) VALUES {values} ON CONFLICT DO NOTHING"
