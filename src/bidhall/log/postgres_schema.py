# SPDX-License-Identifier: Apache-2.0
"""The tables of a log on PostgreSQL, how they are made, and what a server must be like to hold a log.

Called by `bidhall migrate` (which alone makes or changes tables) and by `postgres.PostgresLog` (which refuses to open
what is not as it must be). What may never happen here: a setting that is only warned about when it can lose a batch.

    log_identity   one row: who this log is, its schema version, the first position that is held and the chain before it
    log_position   the sequence that positions come from; cache 1, so that a crash skips little
    log_batch      position (primary key) · the server's clock when it was inserted · the entry's bytes
    log_chain      the running hash after every 512th position, as readers found it: a place to begin reading from
"""

from typing import Final

from bidhall.clients.postgres import UNDEFINED_TABLE, Connection, Trouble
from bidhall.log.errors import Halted

SCHEMA_VERSION: Final = 1
CHAIN_EVERY: Final = 512
CHANNEL: Final = "bidhall_log"
SERVER_VERSION_MIN: Final = 130_000
MIGRATION_LOCK: Final = 0x6269_6468  # "bidh": two migrations at once go one after the other

_STEPS: Final = {
    1: (
        "CREATE TABLE log_identity (identity bytea NOT NULL, schema_version int NOT NULL,"
        " first_position bigint NOT NULL, first_chain bytea NOT NULL,"
        " one boolean PRIMARY KEY DEFAULT true CHECK (one))",
        "CREATE SEQUENCE log_position AS bigint MINVALUE 1 CACHE 1",
        "CREATE TABLE log_batch (position bigint PRIMARY KEY, log_time_ns bigint NOT NULL, entry bytea NOT NULL)",
        # Entries are random to a compressor: do not spend the writer's time on it.
        "ALTER TABLE log_batch ALTER COLUMN entry SET STORAGE EXTERNAL",
        "CREATE TABLE log_chain (position bigint PRIMARY KEY, chain bytea NOT NULL)",
    )
}

# The server must keep what it acknowledges.
_REQUIRED: Final = {"fsync": "on", "full_page_writes": "on"}


async def migrate(connection: Connection, identity: bytes) -> int:
    """Bring the tables to `SCHEMA_VERSION`; the version they had (0: none). `identity`: of a log that is made now."""
    before = await version_of(connection)
    steps = [step for version in range(before + 1, SCHEMA_VERSION + 1) for step in _STEPS[version]]
    if not steps:
        return before
    if before == 0:
        steps.append(
            f"INSERT INTO log_identity (identity, schema_version, first_position, first_chain)"
            f" VALUES ('\\x{identity.hex()}', {SCHEMA_VERSION}, 1, '\\x{bytes(16).hex()}')"
        )
    else:
        steps.append(f"UPDATE log_identity SET schema_version = {SCHEMA_VERSION}")
    # One message, so one transaction: all of it or nothing, and nobody else at the same time.
    await connection.execute("; ".join((f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})", *steps)))
    return before


async def version_of(connection: Connection) -> int:
    """0: there are no tables."""
    try:
        rows = await connection.fetch("SELECT schema_version FROM log_identity")
    except Trouble as trouble:
        if trouble.state == UNDEFINED_TABLE:
            return 0
        raise
    return int(rows[0][0]) if rows else 0


async def check(connection: Connection) -> tuple[bytes, int, bytes]:
    """(identity, first position, chain before it); raises `Halted` with what a person has to mend."""
    version = await version_of(connection)
    if version != SCHEMA_VERSION:
        found = "no tables of a log" if version == 0 else f"tables of version {version}"
        raise Halted(f"the database has {found}, this build needs {SCHEMA_VERSION}: run `bidhall migrate` first")
    rows = await connection.fetch(
        "SELECT current_setting('server_version_num')::int, current_setting('fsync'),"
        " current_setting('full_page_writes'), pg_is_in_recovery(),"
        " (SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END FROM log_position),"
        " (SELECT coalesce(max(position), 0) FROM log_batch)"
    )
    number, fsync, full_pages, is_standby, last, highest = rows[0]
    if number < SERVER_VERSION_MIN:
        raise Halted(f"PostgreSQL {number // 10_000} is too old for a log: 13 or later")
    for name, value in (("fsync", fsync), ("full_page_writes", full_pages)):
        if value != _REQUIRED[name]:
            raise Halted(f"the database runs with {name}={value}: it may lose what it has acknowledged")
    if is_standby:
        raise Halted("the database is a standby: name the primary too, or promote it")
    if last < highest:
        raise Halted(f"the sequence log_position stands at {last}, behind position {highest}: restore it first")
    rows = await connection.fetch("SELECT identity, first_position, first_chain FROM log_identity")
    return bytes(rows[0][0]), int(rows[0][1]), bytes(rows[0][2])
