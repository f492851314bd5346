# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the feeds' tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import uvloop

from tests.feeds.raw import RawClient
from tests.feeds.serving import Served


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], Any]]:
    """The loop that the server runs on."""
    return {"uvloop": uvloop.new_event_loop}


async def close_clients() -> None:
    """Warnings are errors, a socket left open among them."""
    clients, RawClient.opened[:] = RawClient.opened[:], []
    for client in clients:
        client.writer.transport.abort()
    if clients:
        await asyncio.sleep(0.01)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    """The feeds of a local replica on a port."""
    served = Served()
    await served.start()
    yield served
    await close_clients()
    await served.stop()


@pytest.fixture(autouse=True)
async def _no_client_stays() -> AsyncIterator[None]:
    """For tests that make their own server."""
    yield
    await close_clients()
