# SPDX-License-Identifier: Apache-2.0
"""A real server with almost no memory: stopped, killed, its history deleted; whatever it did is answered afterwards.

The judge is a replica of the tests' own over a copy of the server's log, with room for everything in memory.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from bidhall.log import open_log
from tests.api.past_pair import MASTER, MovedEnvironment, Question, Questions, Side, Trading, ask
from tests.api.venue import ALICE, BOB, DOCUMENT, Client
from tests.api.wire import Wire
from tests.serving import ServerProcess

SMALL = {
    "BIDHALL_REPLICA__DONE_ORDERS_BYTES": str(25 * 224),
    "BIDHALL_REPLICA__FILLS_MAX": "30",
    "BIDHALL_REPLICA__TRADES_MAX": "10",
    "BIDHALL_REPLICA__SNAPSHOT_COMMANDS": "60",
    "BIDHALL_MASTER_KEY": MASTER,
}


class Clients:
    """A client of each account at a server process, made anew after each start."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self.of: dict[str, Client] = {}

    async def connect(self) -> dict[str, Client]:
        await self.close()
        venue: Any = self
        self.environment = MovedEnvironment()
        for key in ("", ALICE, BOB):
            self.of[key] = Client(venue, await Wire.open(self.server.port), key)
        return self.of

    async def close(self) -> None:
        for client in self.of.values():
            await client.close()
        self.of.clear()


async def all_found(clients: dict[str, Client], trading: Trading) -> None:
    """Every order that was ever answered."""
    for key, order_id, client_id in trading.orders:
        answer = await clients[key].ask("GET", "order", symbol="BTCUSDT", orderId=order_id)
        assert answer.status == 200, (order_id, answer)
        assert (answer.json["orderId"], answer.json["clientOrderId"]) == (order_id, client_id)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", [1])
async def test_everything_is_answered_after_every_kind_of_end(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    folder = tmp_path / "exchange"
    server = ServerProcess(folder, seed=DOCUMENT, environment=SMALL)
    made, trading = Clients(server), Trading(dice)
    server.start()
    try:
        first_ns = MovedEnvironment().wall_ns()
        for end in ("kill", "stop", "kill", "lost history", "kill"):
            clients = await made.connect()
            for _ in range(70):
                await trading.step(clients)
            await all_found(clients, trading)
            await made.close()
            if end == "stop":
                assert server.stop() == 0
            else:
                server.kill()
            if end == "lost history":
                for path in folder.glob("history.sqlite*"):
                    path.unlink()
            server.start()
            await all_found(await made.connect(), trading)  # at once after the start
        await made.close()
        server.kill()
        copy_log(folder, tmp_path / "copy")
        server.start()
        last_ns = MovedEnvironment().wall_ns()
        questions = [Questions(dice, trading, first_ns, last_ns).any() for _ in range(300)]
        await compare(await made.connect(), tmp_path / "copy", [bounded(question, last_ns) for question in questions])
        await made.close()
        assert server.stop() == 0
        assert "Traceback" not in server.log()
    finally:
        await made.close()
        server.kill()


def copy_log(folder: Path, to: Path) -> None:
    """The log alone: no snapshot, no history."""
    to.mkdir()
    for path in folder.glob("log*"):
        shutil.copy(path, to)


def bounded(question: Question, last_ns: int) -> Question:
    """Candles up to a moment that is the same for both."""
    key, path, parameters = question
    if path in ("klines", "uiKlines"):
        parameters = {"endTime": last_ns // 1_000_000 - 2_000, **parameters}
        parameters["endTime"] = min(parameters["endTime"], last_ns // 1_000_000 - 2_000)
        if parameters.get("startTime", 0) > parameters["endTime"]:
            del parameters["startTime"]
    return key, path, parameters


async def compare(clients: dict[str, Client], folder: Path, questions: list[Question]) -> None:
    """What the server says is what the whole of its log says."""
    environment = MovedEnvironment()
    log = open_log(f"sqlite:///{folder}", environment)
    judge = Side(log, environment, False)
    await judge.start()
    await judge.open()
    judges = {key: await judge.client(key) for key in clients}
    try:
        for question in questions:
            said, wanted = await ask(clients[question[0]], question), await ask(judges[question[0]], question)
            assert (said.status, said.body) == (wanted.status, wanted.body), question
        assert judge.door.faults() == 0
    finally:
        for client in judges.values():
            await client.close()
        await judge.stop()
        await log.close()
        environment.close()
