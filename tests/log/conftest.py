# SPDX-License-Identifier: Apache-2.0
"""What the log's tests share: an environment, entries, and a log of each kind."""

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bidhall.environment import RealEnvironment
from bidhall.log import Entry, Log, open_log

WRITER = b"0123456789abcdef"
LogMaker = Callable[..., Awaitable[Log]]


def entry(number: int = 1, commands: int = 1, *, writer: bytes = WRITER, seed: int = 0) -> Entry:
    """One with commands that nobody looks into."""
    data = random.Random(1000 * seed + number).randbytes(192 * commands)
    return Entry.make(writer, number, 1_000_000 + number, 1, 1, data)


@pytest.fixture
def environment() -> Iterator[RealEnvironment]:
    real = RealEnvironment()
    yield real
    real.close()


@pytest.fixture(params=["memory", "sqlite"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def make_log(kind: str, tmp_path: Path, environment: RealEnvironment) -> AsyncIterator[LogMaker]:
    """Gives an open log of the kind under test; what is open at the end is closed."""
    made: list[Log] = []

    async def make(**options: Any) -> Log:
        if kind == "memory":
            options = {}
        log = open_log("memory:" if kind == "memory" else f"sqlite:///{tmp_path}/log", environment, **options)
        await log.open()
        made.append(log)
        return log

    yield make
    for log in made:
        await log.close()
