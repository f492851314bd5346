# SPDX-License-Identifier: Apache-2.0
"""`bidhall migrate`: the tables of a log in a database, made or brought up to date.

The command line calls it, and a rollout as a task of its own before any server of the new version starts. It must
never touch what is in the tables.
"""

import asyncio
import sys

import click

from bidhall.clients.postgres import Trouble, connect
from bidhall.environment import RealEnvironment
from bidhall.log.postgres_schema import SCHEMA_VERSION, migrate


def run(url: str) -> int:
    """The exit code."""
    if not url.startswith(("postgresql://", "postgres://")):
        print("bidhall: only a log in a database has tables: --log postgresql://…", file=sys.stderr)
        return 1
    try:
        before = asyncio.run(_migrate(url))
    except Trouble as trouble:
        print(f"bidhall: the database refused: {trouble}", file=sys.stderr)
        return 1
    if before == SCHEMA_VERSION:
        click.echo(f"the log's tables are of version {SCHEMA_VERSION} already")
    else:
        click.echo(f"the log's tables are of version {SCHEMA_VERSION} now (before: {before or 'none'})")
    return 0


async def _migrate(url: str) -> int:
    environment = RealEnvironment()
    connection = await connect(url, statement_seconds_max=None)  # it may have to wait for another migration
    try:
        return await migrate(connection, environment.random_bytes(16))
    finally:
        await connection.close()
        environment.close()
