# SPDX-License-Identifier: Apache-2.0
"""Kills, stops and doubles of the real server under load; a client ledger outside the server is the judge.

Promises 1, 2, 5 and 9 of the README: acknowledged means durable, exactly once, money is conserved. pytest runs it; a
failure prints its seed.
"""

import random
import subprocess
import time
from pathlib import Path

import pytest

from tests.chaos.judging import Judge
from tests.chaos.traders import NAMES, Ledger, Load
from tests.serving import ServerProcess, seed_document

ROUNDS = 20
ANSWERS_PER_ROUND = (40, 260)
STOP_PATIENCE_S = 20


def new_server(folder: Path, **options: object) -> ServerProcess:
    return ServerProcess(folder, seed=seed_document(NAMES), **options)  # type: ignore[arg-type]


@pytest.mark.slow
async def test_kill_under_load(tmp_path: Path, seed: int) -> None:
    """Twenty times: load, kill -9, start again on the same folder, judge, retry."""
    source = random.Random(seed)
    ledger = Ledger()
    server = new_server(tmp_path / "bidhall")
    lost = 0
    try:
        server.start()
        for number in range(ROUNDS):
            load = Load(number, seed, ledger)
            load.start(server)
            await load.answers(source.randrange(*ANSWERS_PER_ROUND))
            server.kill()
            await load.finish()
            server.start()
            judge = await Judge.at(server)
            lost += await judge.retry(ledger)
            await judge.check(ledger)
            judge.close()
        assert server.stop() == 0
    finally:
        server.kill()
    assert len(ledger.placed()) > ROUNDS * 10
    assert ledger.canceled()
    print(f"{len(ledger.requests)} requests, {len(ledger.placed())} orders acknowledged, {lost} lost and retried")


async def test_terminate_under_load(tmp_path: Path, seed: int) -> None:
    """SIGTERM: what was admitted is finished, the exit code is 0 within 20 s, nothing acknowledged is lost."""
    ledger = Ledger()
    server = new_server(tmp_path / "bidhall")
    try:
        server.start()
        load = Load(0, seed, ledger)
        load.start(server)
        await load.answers(200)
        begin = time.monotonic()
        server.terminate()
        await load.finish()
        assert server.wait(STOP_PATIENCE_S) == 0, server.log()
        assert time.monotonic() - begin < STOP_PATIENCE_S
        server.start()
        judge = await Judge.at(server)
        await judge.check(ledger)
        await judge.retry(ledger)
        await judge.check(ledger)
        judge.close()
        assert server.stop() == 0
    finally:
        server.kill()


def test_second_process_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    server = new_server(tmp_path / "bidhall")
    server.start()
    try:
        second = subprocess.run(
            server.command, env=server.environment, capture_output=True, text=True, timeout=30, check=False
        )
        assert second.returncode not in (0, None)
        assert "Traceback" not in second.stderr
        assert 1 <= len(second.stderr.strip().splitlines()) <= 3, second.stderr
        assert server.is_running()
        assert server.stop() == 0
    finally:
        server.kill()
