# SPDX-License-Identifier: Apache-2.0
"""Ten million orders of history answer pages in 10 ms while 500 orders a second go on: `make proof history`.

BIDHALL_BENCH_ORDERS for another number. Nothing is made up: the orders go through a replica into a log on disk, the
history is built from it in the background (which measures bulk writing), and then a real server on that folder is asked
for pages of 500 anywhere in the past, by id and by time, over one connection, while the load generator runs in a
process of its own. About fifteen minutes and 8 GB of disk. With PROOF_FOLDER the filled exchange is kept there,
and a second run begins with asking.
"""

import asyncio
import json
import multiprocessing
import os
import random
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from benchmarks import load_plan, past, timing
from benchmarks.load import open_loop
from benchmarks.wire import HttpConnection, plain_request, signed_request
from bidhall.environment import RealEnvironment
from bidhall.log import open_log
from bidhall.replica import Replica, ReplicaSettings
from bidhall.sinks import History
from tests.serving import ServerProcess

ORDERS = int(os.environ.get("BIDHALL_BENCH_ORDERS", "10000000"))
CHUNK = 200_000
LOAD_S = min(120.0, max(20.0, ORDERS / 100_000))
LOAD_RATE = 500 / (1 - load_plan.READ_SHARE)
PAGES_PER_SECOND = 20
PAGE_MS = 10.0
BULK_ROWS_PER_S = 20_000


async def fill(folder: Path) -> dict[str, float]:
    """Orders into the log, and the history built from it; what both took."""
    environment = RealEnvironment()
    log = open_log(f"sqlite:///{folder}", environment)
    replica = Replica(log, environment, folder=folder, settings=ReplicaSettings(audit_seconds=0.0))
    history = History(replica, environment, folder)
    history.attach()
    await replica.start()
    history.start()
    trading, begun = past.Trading(1, len(load_plan.ACCOUNTS)), time.monotonic()
    for done in range(0, ORDERS, CHUNK):
        outcome = await replica.execute(trading.commands(CHUNK))
        assert len(outcome.done) == CHUNK
        print(f"{done + CHUNK:,} orders after {time.monotonic() - begun:.0f} s, {history.status()}", flush=True)
    filled = time.monotonic() - begun
    reached = asyncio.Event()
    history.reach(replica.position, lambda done: reached.set(), 3_600.0)
    await reached.wait()
    assert history.cursor.position == replica.position
    took = {"log_s": filled, "history_s": time.monotonic() - begun, "rows": float(history.follower.rows)}
    took |= {"first_ns": float(replica.time_ns - filled * 1e9), "last_ns": float(replica.time_ns)}
    await history.flush()
    await replica.stop()
    await history.stop()
    await log.close()
    environment.close()
    return took


def generate(folder: Path, port: int, output: Any) -> None:
    """In a process of its own: the load."""
    server = ServerProcess(folder)
    server.port = port
    output.put(uvloop.run(open_loop(server, 1, LOAD_RATE, LOAD_S)))


def questions(source: random.Random, took: dict[str, float]) -> Iterator[tuple[str, bytes]]:
    """Pages anywhere in the past, and single orders."""
    keys, symbol = load_plan.keys(), f"symbol={load_plan.SYMBOL}"
    while True:
        at_ms = int((took["first_ns"] + source.random() * 0.9 * (took["last_ns"] - took["first_ns"])) / 1e6)
        for name, path, parameters in (
            ("allOrders by id", "allOrders", f"orderId={source.randrange(1, ORDERS * 9 // 10)}&limit=500"),
            ("allOrders by time", "allOrders", f"startTime={at_ms}&limit=500"),
            ("myTrades by id", "myTrades", f"fromId={source.randrange(1, ORDERS // 4 * 9 // 10)}&limit=500"),
            ("myTrades by time", "myTrades", f"startTime={at_ms}&limit=500"),
        ):
            key, now_ms = source.choice(keys), time.time_ns() // 1_000_000
            yield name, signed_request("GET", f"/api/v3/{path}", key, f"{symbol}&{parameters}", now_ms)


async def ask(server: ServerProcess, took: dict[str, float], seconds: float) -> dict[str, list[float]]:
    """Milliseconds of every question, by its kind."""
    connection = await HttpConnection.open(server.host, server.port)
    assert (await connection.ask(plain_request("/api/v3/ping"))).status == 200
    spent: dict[str, list[float]] = defaultdict(list)
    end = time.monotonic() + seconds
    for name, request in questions(random.Random(5), took):
        begun = time.monotonic()
        answer = await connection.ask(request)
        spent[name].append((time.monotonic() - begun) * 1e3)
        assert answer.status == 200, answer
        assert answer.body.count(b'"symbol"') > 400, f"{name}: {answer.body[:200]!r}"
        await asyncio.sleep(1 / PAGES_PER_SECOND)
        if time.monotonic() > end:
            break
    connection.close()
    return spent


def size_mb(folder: Path, name: str) -> float:
    return sum(file.stat().st_size for file in folder.glob(f"{name}*")) / 1e6


def filled(folder: Path) -> dict[str, float]:
    """What filling took, now or in the run that kept the folder."""
    notes = folder.parent / "filled.json"
    if not notes.exists():
        server = ServerProcess(folder, seed=load_plan.seed())
        server.start()
        assert server.stop() == 0
        notes.write_text(json.dumps(uvloop.run(fill(folder))), encoding="utf-8")
    took: dict[str, float] = json.loads(notes.read_text(encoding="utf-8"))
    return took


@pytest.mark.proof
@pytest.mark.timeout(7_200)
def test_history(tmp_path: Path) -> None:
    folder = Path(os.environ.get("PROOF_FOLDER", tmp_path)) / "bidhall"
    took = filled(folder)
    rows_per_s = took["rows"] / took["history_s"]
    print(
        f"{ORDERS:,} orders in {took['log_s']:.0f} s into the log; history after {took['history_s']:.0f} s, "
        f"{took['rows']:,.0f} rows, {rows_per_s:,.0f} rows/s; log {size_mb(folder, 'log.sqlite'):,.0f} MB, history "
        f"{size_mb(folder, 'history.sqlite'):,.0f} MB"
    )
    server = ServerProcess(folder)
    begun = time.monotonic()
    server.start(timeout_s=120)
    try:
        print(f"ready after {time.monotonic() - begun:.1f} s")
        quiet = uvloop.run(ask(server, took, LOAD_S / 2))
        output = multiprocessing.get_context("spawn").Queue()
        load = multiprocessing.get_context("spawn").Process(target=generate, args=(folder, server.port, output))
        load.start()
        time.sleep(LOAD_S * 0.1 + 2)
        busy = uvloop.run(ask(server, took, LOAD_S * 0.8))
        result = output.get(timeout=LOAD_S + 60)
        load.join()
        resident_mb = server.resident_bytes() / 1e6
        assert server.stop() == 0
    finally:
        server.kill()
    for title, spent in (("quiet", quiet), ("under load", busy)):
        for name, times in spent.items():
            ordered = sorted(times)
            print(
                f"{title:10}  {name:18} {len(ordered):5} pages: p50 {timing.percentile(ordered, 0.5):.1f} ms, "
                f"p99 {timing.percentile(ordered, 0.99):.1f} ms, max {ordered[-1]:.1f} ms"
            )
    print(f"load: {result['requests']:,} requests, p99 {result['latency_ms']['all']['p99']} ms, {result['errors']}; "
          f"server {resident_mb:.0f} MB")  # fmt: skip
    assert result["errors"] == {}
    assert rows_per_s >= BULK_ROWS_PER_S
    for name, times in busy.items():
        assert timing.percentile(sorted(times), 0.99) <= PAGE_MS, name
