# SPDX-License-Identifier: Apache-2.0
"""Memory stays flat at 500 orders a second: `make proof flat` (an hour; BIDHALL_FLAT_SECONDS for another time).

A real server, the load generator's mix (70 % orders, 30 % signed reads, so 715 requests a second and a bit more for the
pauses between its minutes), and pages of old orders and fills, which only the history has. Every ten seconds the
server's memory, open files and the history's lag are written down; after the warm-up the medians of four quarters are
compared.

What fills, by default, and when at this rate: done orders 458,752 (40 minutes), fills 983,040 (hours), trades 65,536 a
market (an hour), first results 62 s, digests 61 s, candles of seconds a day (128 bytes a second and market, 0.5 MB an
hour: the only thing that still grows here). So the rings are made smaller here, such that all of them are full within
the warm-up; everything else is as a server has it by default.
"""

import asyncio
import os
import re
import statistics
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import uvloop

from benchmarks import load_plan
from benchmarks.load import open_loop
from benchmarks.wire import HttpConnection, plain_request, signed_request
from tests.serving import ServerProcess, serving

SECONDS = float(os.environ.get("BIDHALL_FLAT_SECONDS", "3600"))
ORDERS_PER_SECOND = float(os.environ.get("BIDHALL_FLAT_RATE", "500"))
ORDER_SHARE = 1 - load_plan.READ_SHARE
MINUTE_S = min(60.0, SECONDS / 4)
PAUSE_SHARE = 1.08  # the generator signs a minute's requests before it sends them
SAMPLE_S = min(10.0, SECONDS / 60)
WARM_UP_S = min(600.0, SECONDS * 0.4)
PAGES_PER_SECOND = 5
GROWTH_MB_MAX = 8.0
LAG_SECONDS_MAX = 30.0
# Full within a few minutes at this rate: 32,768 done orders, 4,096 fills, 2,048 trades.
RINGS = {
    "BIDHALL_REPLICA__DONE_ORDERS_BYTES": str(min(32_768, int(ORDERS_PER_SECOND * WARM_UP_S * 0.2)) * 224),
    "BIDHALL_REPLICA__FILLS_MAX": str(min(4_096, int(ORDERS_PER_SECOND * WARM_UP_S * 0.02))),
    "BIDHALL_REPLICA__TRADES_MAX": str(min(2_048, int(ORDERS_PER_SECOND * WARM_UP_S * 0.01))),
    "BIDHALL_REPLICA__SNAPSHOT_COMMANDS": str(int(ORDERS_PER_SECOND * 300)),
}


class Sample(NamedTuple):
    """The server at a moment."""

    at_s: float
    resident_mb: float
    files: int
    lag_s: float
    rows: float
    sequence: float


class Sampler(threading.Thread):
    """Writes a sample down every few seconds."""

    def __init__(self, server: ServerProcess) -> None:
        super().__init__(name="sampler", daemon=True)
        self.server, self.samples = server, list[Sample]()
        self._over = threading.Event()
        self._begun = time.monotonic()

    def run(self) -> None:
        while not self._over.wait(SAMPLE_S):
            self.samples.append(self.sample())
            one = self.samples[-1]
            print(
                f"{one.at_s:6.0f} s  {one.resident_mb:7.1f} MB  {one.files} files, history {one.lag_s:.2f} s behind, "
                f"{one.rows:,.0f} rows",
                file=sys.stderr, flush=True,
            )  # fmt: skip

    def sample(self) -> Sample:
        """Now."""
        with urllib.request.urlopen(f"{self.server.url}/metrics", timeout=10) as answer:
            metrics = answer.read().decode()
        found = re.findall(r"^bidhall_(\w+) ([\d.e+-]+)$", metrics, re.MULTILINE)
        values = {name: float(value) for name, value in found}
        return Sample(
            time.monotonic() - self._begun,
            self.server.resident_bytes() / 1e6,
            len(list(Path(f"/proc/{self.server.pid}/fd").iterdir())),
            values["history_lag_seconds"],
            values["history_rows_total"],
            values["sequence"],
        )

    def stop(self) -> None:
        """No more."""
        self._over.set()
        self.join()


def cancel_all() -> Iterator[bytes]:
    """What a minute leaves open is cancelled, for the next one uses the same client ids."""
    now_ms = time.time_ns() // 1_000_000
    holders = load_plan.keys()
    for key in holders:
        yield signed_request("DELETE", "/api/v3/openOrders", key, f"symbol={load_plan.SYMBOL}", now_ms)


async def sweep(server: ServerProcess) -> None:
    connection = await HttpConnection.open(server.host, server.port)
    for request in cancel_all():
        answer = await connection.ask(request)
        assert answer.status == 200 or b"-2011" in answer.body, answer
    connection.close()


async def old_pages(server: ServerProcess, seconds: float, report: dict[str, Any]) -> None:
    """Orders and fills from the very beginning, which have left memory long since."""
    keys, number, end = load_plan.keys(), 0, time.monotonic() + seconds
    connection = await HttpConnection.open(server.host, server.port)
    assert (await connection.ask(plain_request("/api/v3/ping"))).status == 200
    while time.monotonic() < end:
        path, parameters = (("/api/v3/allOrders", "orderId=1"), ("/api/v3/myTrades", "fromId=0"))[number % 2]
        query = f"symbol={load_plan.SYMBOL}&{parameters}&limit=500"
        request = signed_request("GET", path, keys[number % len(keys)], query, time.time_ns() // 1_000_000)
        begun = time.monotonic()
        answer = await connection.ask(request)
        report["pages_ms"].append((time.monotonic() - begun) * 1e3)
        if answer.status != 200:
            report["errors"][f"page: {answer.status} {answer.body[:100]!r}"] = 1
        number += 1
        await asyncio.sleep(1 / PAGES_PER_SECOND)
    connection.close()


async def minute(server: ServerProcess, number: int, seconds: float, report: dict[str, Any]) -> None:
    """A minute of load, with pages of the past beside it."""
    pages = asyncio.create_task(old_pages(server, seconds, report))
    result = await open_loop(server, number, ORDERS_PER_SECOND / ORDER_SHARE * PAUSE_SHARE, seconds)
    await pages
    await sweep(server)
    report["requests"] += result["requests"]
    report["errors"] |= result["errors"]
    report["p99_ms"].append(result["latency_ms"]["all"]["p99"])


def load(server: ServerProcess) -> dict[str, Any]:
    """Minute after minute, until the time is over."""
    report: dict[str, Any] = {"requests": 0, "errors": {}, "p99_ms": [], "pages_ms": []}
    begun, number = time.monotonic(), 0
    while (left := SECONDS - (time.monotonic() - begun)) > MINUTE_S / 4:
        number += 1
        uvloop.run(minute(server, number, min(MINUTE_S, left), report))
    report["seconds"] = time.monotonic() - begun
    return report


def quarters(samples: list[Sample]) -> list[float]:
    """The median memory of each quarter of the time after the warm-up."""
    late = [sample.resident_mb for sample in samples if sample.at_s > WARM_UP_S]
    size = len(late) // 4
    assert size >= 2, f"{len(late)} samples after the warm-up are too few"
    return [statistics.median(late[number * size : (number + 1) * size]) for number in range(4)]


@pytest.mark.proof
@pytest.mark.timeout(SECONDS + 900)
def test_flat(tmp_path: Path) -> None:
    with serving(tmp_path / "bidhall", seed=load_plan.seed(), environment=RINGS) as server:
        sampler = Sampler(server)
        sampler.start()
        try:
            report = load(server)
        finally:
            sampler.stop()
        time.sleep(2.0)
        last = sampler.sample()
    samples = sampler.samples
    medians = quarters(samples)
    late = [sample for sample in samples if sample.at_s > WARM_UP_S]
    growth_mb, files = medians[-1] - medians[0], {sample.files for sample in late}
    lag_s = max(sample.lag_s for sample in samples)
    pages_ms = sorted(report["pages_ms"])
    orders_per_s = report["requests"] * ORDER_SHARE / report["seconds"]
    print(
        f"\n{report['requests']:,} requests in {report['seconds']:,.0f} s, {orders_per_s:.0f} orders/s; "
        f"p99 of the minutes {statistics.median(report['p99_ms']):.1f} ms (median), {max(report['p99_ms']):.1f} ms "
        f"(worst)\nmemory after {WARM_UP_S:.0f} s of warm-up, medians of four quarters: "
        f"{', '.join(f'{median:.1f}' for median in medians)} MB; growth {growth_mb:+.2f} MB (at most {GROWTH_MB_MAX})"
        f"\nopen files {min(files)}..{max(files)}; history at most {lag_s:.2f} s behind, {last.rows:,.0f} rows; "
        f"{len(pages_ms):,} pages of the past, p50 {pages_ms[len(pages_ms) // 2]:.1f} ms, "
        f"p99 {pages_ms[int(len(pages_ms) * 0.99)]:.1f} ms\nerrors: {report['errors'] or 'none'}"
    )
    assert report["errors"] == {}
    assert orders_per_s >= 0.95 * ORDERS_PER_SECOND
    assert growth_mb <= GROWTH_MB_MAX
    assert max(files) - min(files) <= 40, "connections of the generator come and go; nothing else does"
    assert lag_s < LAG_SECONDS_MAX
    assert last.lag_s == 0.0
