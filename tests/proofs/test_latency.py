# SPDX-License-Identifier: Apache-2.0
"""Four tasks on one log whose every commit is held open for 6 ms, 500 requests a second: `make proof latency`.

The line between the primary and its synchronous standby is that long, so the commits are PostgreSQL's own. Clients are
connected to the tasks directly, a quarter to each. LATENCY_SECONDS and LATENCY_RATE give another time and another rate.
"""

import asyncio
import gc
import os
import random
import time
from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks import load_plan, timing
from benchmarks.histogram import Histogram
from benchmarks.load import LEAD_MS, OpenLoop
from benchmarks.load_plan import Kind
from benchmarks.wire import HttpConnection, plain_request
from bidhall.clients.postgres import connect
from tests import postgres
from tests.cluster.town import Cluster

SECONDS = float(os.environ.get("LATENCY_SECONDS", "60"))
RATE = float(os.environ.get("LATENCY_RATE", "500"))
TASKS, CONNECTIONS = 4, 32
COMMIT_SECONDS, SPIKE_SECONDS, SPIKE_SHARE = 0.006, 0.06, 0.005
P99_MS_MAX, SPIKES_P99_MS_MAX = 25.0, 100.0

pytestmark = [
    pytest.mark.proof,
    pytest.mark.timeout(SECONDS * 3 + 300),
    pytest.mark.skipif(postgres.binaries() is None, reason=postgres.MISSING),
]


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(
        tmp_path_factory.mktemp("latency"), TASKS, seed=load_plan.seed(), commit_seconds=COMMIT_SECONDS, balanced=False
    )
    try:
        made.start()
        yield made
    finally:
        made.kill()


async def commit_ms(cluster: Cluster) -> list[float]:
    """What commits take that nobody else is in the way of, sorted."""
    connection = await connect(cluster.primary.dsn("postgres"))
    await connection.execute("CREATE TABLE IF NOT EXISTS held (at float8)")
    took = []
    for number in range(100):
        began = time.perf_counter()
        await connection.execute(f"INSERT INTO held VALUES ({number})")
        took.append((time.perf_counter() - began) * 1e3)
    await connection.close()
    return sorted(took)


async def warm(host: str, port: int) -> HttpConnection:
    connection = await HttpConnection.open(host, port)
    assert (await connection.ask(plain_request("/api/v3/ping"))).status == 200
    return connection


async def measure(cluster: Cluster, seed: int) -> dict[str, Any]:
    """One open-loop run over all tasks."""
    connections = [
        await warm(cluster.tasks[number % TASKS].host, cluster.tasks[number % TASKS].port)
        for number in range(CONNECTIONS)
    ]
    random.Random(seed).shuffle(connections)
    start_ms = time.time_ns() // 1_000_000 + LEAD_MS + round(RATE * SECONDS * 0.05)
    planned = load_plan.plan(seed, RATE, SECONDS, start_ms)
    start_ns = time.monotonic_ns() + (start_ms * 1_000_000 - time.time_ns())
    gc.collect()
    gc.freeze()
    gc.disable()
    loop = OpenLoop(planned, connections, start_ns)
    cpu_s = [task.cpu_s() for task in cluster.tasks]
    await loop.run(start_ms / 1e3 - time.time() + SECONDS + 15)
    cpu_s = [task.cpu_s() - before for task, before in zip(cluster.tasks, cpu_s, strict=True)]
    gc.enable()
    gc.unfreeze()
    for connection in connections:
        connection.close()
    await asyncio.sleep(0.01)
    whole, orders, reads = Histogram(), Histogram(), Histogram()
    for kind, histogram in loop.latency.items():
        whole.add(histogram)
        (reads if kind.startswith("read") else orders).add(histogram)
    # Every task applies every order, and answers a quarter of the requests.
    return {
        "machine": timing.machine(),
        "requests": len(planned),
        "errors": dict(loop.errors),
        "all_ms": whole.milliseconds(),
        "orders_ms": orders.milliseconds(),
        "reads_ms": reads.milliseconds(),
        "lateness_ms": loop.lateness.milliseconds(),
        "cpu_us_per_request_of_each_task": [round(used / len(planned) * 1e6, 1) for used in cpu_s],
        "worst_ms_by_second": [round(loop.worst_ns[second] / 1e6) for second in sorted(loop.worst_ns)],
        "kinds": len([kind for kind in Kind if loop.latency[kind].count]),
    }


async def test_with_commits_of_6_ms(cluster: Cluster, seed: int) -> None:
    commits = await commit_ms(cluster)
    print(f"a commit takes {commits[50]:.1f} ms (p90 {commits[90]:.1f})")
    assert commits[50] >= COMMIT_SECONDS * 1e3
    result = await measure(cluster, seed)
    print(result)
    assert not result["errors"]
    assert result["all_ms"]["p99"] <= P99_MS_MAX


async def test_with_a_few_commits_of_60_ms(cluster: Cluster, seed: int) -> None:
    source, count = random.Random(seed), 0

    def spike() -> float:
        nonlocal count
        if source.random() >= SPIKE_SHARE:
            return 0.0
        count += 1
        return SPIKE_SECONDS - COMMIT_SECONDS

    cluster.hold_commits(spike)
    result = await measure(cluster, seed + 1)
    cluster.hold_commits(None)
    print(f"{count} commits of 60 ms", result)
    assert count >= 1
    assert not result["errors"]
    assert result["all_ms"]["p99"] <= SPIKES_P99_MS_MAX
