# SPDX-License-Identifier: Apache-2.0
"""The history of a real server that is killed, or whose file is deleted, spoilt or locked, under load.

The judge is the log: what the file holds at the end is compared, row by row, with what the log alone gives; and the
clients' ledger: every order that they were told of is in it once.
"""

import asyncio
import json
import random
import sqlite3
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bidhall.environment import RealEnvironment
from bidhall.log import open_log
from bidhall.sinks.history.store import content_hash
from bidhall.sinks.offline import rebuild
from tests.chaos.traders import NAMES, Ledger, Load
from tests.serving import ServerProcess, seed_document

ROUNDS = 6
SOON = {"BIDHALL_HISTORY__FOLLOWER__BACKOFF_SECONDS_MAX": "0.2", "BIDHALL_REPLICA__SNAPSHOT_COMMANDS": "400"}


@pytest.fixture
def server(tmp_path: Path) -> Any:
    one = ServerProcess(tmp_path / "bidhall", seed=seed_document(NAMES), environment=SOON)
    yield one
    one.kill()


@asynccontextmanager
async def trading(server: ServerProcess, number: int, seed: int, ledger: Ledger) -> AsyncIterator[Load]:
    """Under load, until the server is killed or stopped."""
    load = Load(number, seed, ledger)
    load.start(server)
    yield load
    await load.finish()


def status(server: ServerProcess) -> dict[str, Any]:
    """What the operator sees."""
    address = f"http://{server.host}:{server.admin_port}/admin/state"
    request = urllib.request.Request(address, headers={"X-Admin-Key": server.admin_key})
    with urllib.request.urlopen(request, timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)["history"]
    return found


def metrics(server: ServerProcess) -> str:
    """What Prometheus reads."""
    with urllib.request.urlopen(f"{server.url}/metrics", timeout=10) as answer:
        text: str = answer.read().decode()
    return text


async def until(server: ServerProcess, **wanted: Any) -> dict[str, Any]:
    """Waits until the history says so of itself."""
    end = time.monotonic() + 30
    while True:
        found = await asyncio.to_thread(status, server)
        if all(check(found[name]) if callable(check) else found[name] == check for name, check in wanted.items()):
            return found
        assert time.monotonic() < end, found
        await asyncio.sleep(0.02)


async def judge(server: ServerProcess, ledger: Ledger, beside: Path) -> None:
    """The server has stopped: the file is what the log says, and has every finished order that somebody was told of."""
    path = server.folder / "history.sqlite"
    environment = RealEnvironment()
    log = open_log(f"sqlite:///{server.folder}", environment)
    await log.open()
    rebuild(log, beside)
    assert content_hash(path) == content_hash(beside)
    await log.close()
    environment.close()
    connection = sqlite3.connect(path)
    held = [row[0] for row in connection.execute("SELECT client_id FROM orders")]
    connection.close()
    assert len(held) == len(set(held))
    finished = {request.body["origClientOrderId"] for request in ledger.canceled()}
    finished |= {one.client_id for one in ledger.placed() if one.body["status"] in ("FILLED", "EXPIRED")}
    assert len(finished) > 20
    assert finished <= set(held)


@pytest.mark.slow
async def test_killed_again_and_again(server: ServerProcess, tmp_path: Path, seed: int) -> None:
    source, ledger = random.Random(seed), Ledger()
    server.start()
    for number in range(ROUNDS):
        async with trading(server, number, seed, ledger) as load:
            await load.answers(source.randrange(50, 600))
            server.kill()
        server.start()
    found = await until(server, state="following", lag_batches=0)
    assert found["rebuilds_total"] == 0
    assert server.stop() == 0
    await judge(server, ledger, tmp_path / "again")


async def test_deleted_while_it_was_down(server: ServerProcess, tmp_path: Path, seed: int) -> None:
    ledger = Ledger()
    server.start()
    async with trading(server, 0, seed, ledger) as load:
        await load.answers(600)
        assert server.stop() == 0
    (server.folder / "history.sqlite").unlink()
    server.start()
    async with trading(server, 1, seed, ledger) as load:
        await load.answers(300)
        await until(server, state="following", position=lambda position: position > 50)
        assert server.stop() == 0
    await judge(server, ledger, tmp_path / "again")


async def test_spoilt_while_it_was_down(server: ServerProcess, tmp_path: Path, seed: int) -> None:
    ledger = Ledger()
    server.start()
    async with trading(server, 0, seed, ledger) as load:
        await load.answers(300)
        assert server.stop() == 0  # after a kill the -wal may hold every page, and all would be well
    (server.folder / "history.sqlite").write_bytes(b"spoilt" * 5_000)
    server.start()
    async with trading(server, 1, seed, ledger) as load:
        await load.answers(300)
        found = await until(server, state="following", rebuilds_total=1)
        assert found["last_error"] == ""
        assert server.stop() == 0
    assert (server.folder / "history.sqlite.aside").exists()
    await judge(server, ledger, tmp_path / "again")


async def test_locked_by_somebody(server: ServerProcess, tmp_path: Path, seed: int) -> None:
    """From before the start; the server starts and trades, says what is wrong, and writes when it may."""
    ledger = Ledger()
    server.start()
    async with trading(server, 0, seed, ledger) as load:
        await load.answers(200)
        assert server.stop() == 0
    stranger = sqlite3.connect(server.folder / "history.sqlite", isolation_level=None)
    stranger.execute("PRAGMA locking_mode=EXCLUSIVE")
    stranger.execute("BEGIN EXCLUSIVE")
    stranger.execute("UPDATE meta SET position = position")
    server.start()
    async with trading(server, 1, seed, ledger) as load:
        await load.answers(400)
        found = await until(server, retries_total=lambda count: count > 2)
        assert "locked" in found["last_error"]
        assert "bidhall_history_failing 1" in await asyncio.to_thread(metrics, server)
        stranger.rollback()
        stranger.close()
        await until(server, state="following", last_error="")
        assert server.stop() == 0
    await judge(server, ledger, tmp_path / "again")
