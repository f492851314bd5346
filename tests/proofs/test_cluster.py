# SPDX-License-Identifier: Apache-2.0
"""Three tasks, one log, faults for ten minutes at 500 orders a second: `make proof cluster`.

CLUSTER_SECONDS gives another time, CLUSTER_RATE another rate. The short forms that run with the other
tests are tests/cluster/test_tasks.py and test_stalls.py.
"""

import asyncio
import os
import random
import time
from collections.abc import Iterator

import pytest

from tests import postgres
from tests.chaos.traders import NAMES
from tests.cluster.loading import Town, judge_everywhere
from tests.cluster.steady import Steady
from tests.cluster.town import MISSING_HAPROXY, Cluster, has_haproxy
from tests.serving import seed_document

SECONDS = float(os.environ.get("CLUSTER_SECONDS", "600"))
RATE = float(os.environ.get("CLUSTER_RATE", "500"))
CALM_P99_MS_MAX = 100.0
WARM_SECONDS = 3.0
FAILOVER_SECONDS = min(SECONDS, 60.0)

pytestmark = [
    pytest.mark.proof,
    pytest.mark.timeout(SECONDS * 3 + 300),
    pytest.mark.skipif(postgres.binaries() is None, reason=postgres.MISSING),
    pytest.mark.skipif(not has_haproxy(), reason=MISSING_HAPROXY),
]


@pytest.fixture
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    made = Cluster(tmp_path_factory.mktemp("cluster"), 3, seed=seed_document(NAMES), standby=True)
    try:
        made.start()
        yield Town(made)
    finally:
        made.kill()


async def warm(town: Town, seed: int) -> None:
    """What a process does for the first time is slow: before the clock runs."""
    await Steady(town, seed, RATE / 5, WARM_SECONDS).run()


async def kill_at_random(town: Town, steady: Steady, source: random.Random, until: float) -> None:
    """One task at a time, kill -9; it comes back after a moment."""
    while time.monotonic() < until:
        await asyncio.sleep(source.uniform(3.0, 6.0))
        number = source.randrange(len(town.cluster.tasks))
        steady.kills.append(time.monotonic())
        town.cluster.tasks[number].kill()
        await asyncio.sleep(source.uniform(0.0, 1.0))
        await asyncio.to_thread(town.cluster.restart, number)


async def test_tasks_are_killed_at_random(town: Town, seed: int) -> None:
    await warm(town, seed)
    steady = Steady(town, seed, RATE, SECONDS)
    until = time.monotonic() + SECONDS - 6
    killing = asyncio.create_task(kill_at_random(town, steady, random.Random(seed), until))
    await steady.run()
    await killing
    report = steady.report()
    print(report)
    await judge_everywhere(town)
    assert report["kills"] >= 1
    assert report["calm_requests"] > 100
    assert report["calm_ms"]["p99"] <= CALM_P99_MS_MAX
    assert town.cluster.stop() == [0, 0, 0]


async def test_the_primary_is_killed_and_its_standby_takes_over(town: Town, seed: int) -> None:
    await warm(town, seed)
    steady = Steady(town, seed, RATE, FAILOVER_SECONDS)
    running = asyncio.create_task(steady.run())
    await asyncio.sleep(FAILOVER_SECONDS / 2)
    steady.kills.append(time.monotonic())
    await asyncio.to_thread(town.cluster.fail_over)
    after = time.monotonic()
    await running
    report = steady.report()
    print(f"promoted after {after - steady.kills[0]:.2f} s; the gap: {report['gap_s']} s")
    print(report)
    assert any(known > after for known in town.acknowledged)
    await judge_everywhere(town)
    assert town.cluster.stop() == [0, 0, 0]
