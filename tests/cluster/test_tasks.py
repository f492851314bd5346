# SPDX-License-Identifier: Apache-2.0
"""Equal tasks over one log on PostgreSQL: any task answers any request, any may die, nothing acknowledged is lost.

One cluster for the whole file; the test that kills the primary stands last.
"""

import asyncio
import json
import random
from collections.abc import Iterator

import pytest

from benchmarks.wire import HttpConnection
from tests import postgres
from tests.chaos.traders import NAMES, SYMBOL, sign
from tests.cluster.loading import Town, judge_everywhere, limit_buy, load
from tests.cluster.town import MISSING_HAPROXY, Cluster, has_haproxy
from tests.serving import seed_document

pytestmark = [
    pytest.mark.skipif(postgres.binaries() is None, reason=postgres.MISSING),
    pytest.mark.skipif(not has_haproxy(), reason=MISSING_HAPROXY),
]


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    made = Cluster(tmp_path_factory.mktemp("tasks"), 3, seed=seed_document(NAMES), standby=True)
    try:
        made.start()
        yield Town(made)
    finally:
        made.kill()


async def test_what_one_task_acknowledged_every_task_shows(town: Town) -> None:
    """An order placed at one is in the very next answer of another: signed reads and depth are never stale."""
    connections = [await HttpConnection.open(task.host, task.port) for task in town.cluster.tasks]
    for number in range(60):
        here, there = connections[number % 3], connections[(number + 1) % 3]
        price = 40_000 + number
        request = limit_buy("ann", f"seen-{number}", price)
        town.ledger.requests.append(request)
        request.answer = await here.ask(request.wire)
        assert request.is_done, request
        read = await there.ask(sign("ann", "GET", "order", f"symbol={SYMBOL}&origClientOrderId=seen-{number}"))
        assert read.status == 200, (number, read)
        depth = await there.ask(f"GET /api/v3/depth?symbol={SYMBOL}&limit=5 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert json.loads(depth.body)["bids"][0][0] == f"{price}.00000000"
    for connection in connections:
        connection.close()


async def test_tasks_die_under_load_and_nothing_is_lost(town: Town, seed: int) -> None:
    cluster = town.cluster
    source, before = random.Random(seed), len(town.ledger.placed())
    loading = asyncio.create_task(load(town, seed, 5))
    for number in source.sample(range(3), 3):
        await asyncio.sleep(source.uniform(0.2, 0.6))
        cluster.tasks[number].kill()
        await asyncio.to_thread(cluster.restart, number)
    await loading
    assert len(town.ledger.placed()) > before + 50
    await judge_everywhere(town)


async def test_the_primary_dies_under_load_and_nothing_is_lost(town: Town, seed: int) -> None:
    loading = asyncio.create_task(load(town, seed, 5))
    await asyncio.sleep(1.5)
    await asyncio.to_thread(town.cluster.fail_over)
    before = len(town.ledger.placed())
    await loading
    print(f"the gap: {town.gap_seconds():.2f} s")
    assert len(town.ledger.placed()) > before
    await judge_everywhere(town)
    assert town.cluster.stop() == [0, 0, 0]
