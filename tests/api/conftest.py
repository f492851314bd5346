# SPDX-License-Identifier: Apache-2.0
"""The tests of the door run on the loop that it is served on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import uvloop

from tests.api.venue import ALICE, BOB, Client, Venue


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], Any]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def venue() -> AsyncIterator[Venue]:
    made = await Venue().start()
    yield made
    calm = made.calm()
    await made.stop()
    assert calm, "a handler raised what it may not"


@pytest.fixture
async def alice(venue: Venue) -> AsyncIterator[Client]:
    client = await venue.client(ALICE)
    yield client
    await client.close()


@pytest.fixture
async def bob(venue: Venue) -> AsyncIterator[Client]:
    client = await venue.client(BOB)
    yield client
    await client.close()


@pytest.fixture
async def anyone(venue: Venue) -> AsyncIterator[Client]:
    client = await venue.client()
    yield client
    await client.close()
