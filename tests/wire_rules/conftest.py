# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the wire rules: one server process for all with a room for each test, or a hall.

pytest loads it for this folder. It must never share a market or an account between tests.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from tests.feeds.conftest import close_clients
from tests.serving import ServerProcess, serving
from tests.wire_rules.hall import SEED, Hall
from tests.wire_rules.room import Address, Room

Opener = Callable[..., Awaitable[Room]]


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], Any]]:
    """The loop that the server runs on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """`bidhall serve`, which must leave with 0."""
    folder: Path = tmp_path_factory.mktemp("rules") / "bidhall"
    with serving(folder, seed=SEED) as process:
        yield process


@pytest.fixture
async def open_room(server: ServerProcess) -> AsyncIterator[Opener]:
    """Makes rooms in the server process."""
    address = Address(server.port, server.admin_port, server.admin_key, lambda: time.time_ns() // 1_000_000)
    rooms: list[Room] = []

    async def opened(*names: str, **options: Any) -> Room:
        rooms.append(await Room.open(address, *names, **options))
        return rooms[-1]

    yield opened
    await close_clients()
    for room in rooms:
        await room.close()


@pytest.fixture
async def room(open_room: Opener) -> Room:
    """A market with alice and bob."""
    return await open_room("alice", "bob")


@pytest.fixture
async def hall() -> AsyncIterator[Hall]:
    """A server whose clock the test turns."""
    made = await Hall().start()
    yield made
    faults = made.door.faults()
    await close_clients()
    await made.stop()
    assert faults == 0, "a handler raised what it may not"
