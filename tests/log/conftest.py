# SPDX-License-Identifier: Apache-2.0
"""What the log's tests share: an environment, entries, and a log of each kind."""

import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bidhall.clients.postgres import connect
from bidhall.environment import RealEnvironment
from bidhall.log import Batch, Entry, Log, open_log
from bidhall.log.postgres_schema import migrate
from tests import kafka, postgres

WRITER = b"0123456789abcdef"
LogMaker = Callable[..., Awaitable[Log]]


def entry(number: int = 1, commands: int = 1, *, writer: bytes = WRITER, seed: int = 0) -> Entry:
    """One with commands that nobody looks into."""
    data = random.Random(1000 * seed + number).randbytes(192 * commands)
    return Entry.make(writer, number, 1_000_000 + number, 1, 1, data)


async def take(log: Log, position: int, last: int) -> list[Batch]:
    """What `follow` gives from `position` up to `last`."""
    batches: list[Batch] = []
    following = log.follow(position)
    async for some in following:
        assert some
        batches += some
        if batches[-1].position >= last:
            break
    await following.aclose()
    return batches


@pytest.fixture
def environment() -> Iterator[RealEnvironment]:
    real = RealEnvironment()
    yield real
    real.close()


@pytest.fixture(params=["memory", "sqlite", "postgres", "kafka"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def database_server() -> Iterator[postgres.Server]:
    """One PostgreSQL server for the tests of this process."""
    if postgres.binaries() is None:
        pytest.skip(postgres.MISSING)
    server = postgres.Server.make()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def broker() -> Iterator[kafka.Broker]:
    """One Kafka broker for the tests of this process."""
    if kafka.binary() is None:
        pytest.skip(kafka.MISSING)
    server = kafka.Broker.make()
    yield server
    server.kill()


async def new_log_url(server: postgres.Server) -> str:
    """Of an empty log in a database of its own."""
    url = server.dsn(server.new_database())
    connection = await connect(url)
    await migrate(connection, os.urandom(16))
    await connection.close()
    return url


@pytest.fixture
async def make_log(
    kind: str, tmp_path: Path, environment: RealEnvironment, request: pytest.FixtureRequest
) -> AsyncIterator[LogMaker]:
    """Gives an open log of the kind under test; what is open at the end is closed."""
    made: list[Log] = []
    url = "memory:" if kind == "memory" else f"sqlite:///{tmp_path}/log"
    if kind == "postgres":
        url = await new_log_url(request.getfixturevalue("database_server"))
    elif kind == "kafka":
        url = request.getfixturevalue("broker").new_log_url()

    async def make(**options: Any) -> Log:
        log = open_log(url, environment, **(options if kind == "sqlite" else {}))
        await log.open()
        made.append(log)
        return log

    yield make
    for log in made:
        await log.close()
