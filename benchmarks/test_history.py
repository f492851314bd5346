# SPDX-License-Identifier: Apache-2.0
"""Gates of the history: rows a second in bulk, CPU at 500 orders a second, pages out of many orders under writes.

200,000 orders here (BIDHALL_BENCH_ORDERS for another number); ten million over a running server in `make proof
history`. CPU time of the thread, because the machines are shared; pages in wall time as well, beside it.
"""

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import past, timing
from benchmarks.conftest import state
from bidhall.core.records import LAYOUT_VERSION, RULES_VERSION
from bidhall.environment import RealEnvironment
from bidhall.log import Batch, Entry, MemoryLog, chain_next
from bidhall.replica.retrace import Retrace
from bidhall.sinks import Reader
from bidhall.sinks.history.store import HistoryStore
from bidhall.sinks.interface import CHAIN_START, Facts, facts_of
from bidhall.sinks.offline import catch_up

ORDERS = int(os.environ.get("BIDHALL_BENCH_ORDERS", "200000"))
ACCOUNTS = 20
BATCH = 4_000
BULK_ROWS_PER_S = 20_000
LIVE_SHARE = 0.05
LIVE_ORDERS_PER_S, LIVE_INTERVAL_S, LIVE_S = 500, 0.2, 20
PAGE_MS = 10.0
NS = 1_000_000_000


class Filled(MemoryLog):
    """A log of so many orders, a second of time for every so many of them."""

    def put(self, commands: bytes, time_ns: int) -> None:
        """The next batch."""
        position = self.head + 1
        before = self._batches[-1].chain if self._batches else CHAIN_START
        entry = Entry.make(bytes(16), position, time_ns, LAYOUT_VERSION, RULES_VERSION, commands)
        chain = chain_next(before, position, time_ns, entry.checksum)
        self._batches.append(Batch(position, time_ns, entry, chain))
        self._tail.extend(self._batches[-1:])


def filled(orders: int, batch: int, seconds_per_batch: float) -> Filled:
    """A log in memory."""
    log, trading = Filled(RealEnvironment()), past.Trading(1, ACCOUNTS)
    time_ns = 1_700_000_000 * NS
    log.put(past.world(ACCOUNTS), time_ns)
    for _ in range(orders // batch):
        time_ns += round(seconds_per_batch * NS)
        log.put(trading.commands(batch), time_ns)
    return log


@pytest.fixture(scope="module")
def bulk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[HistoryStore, Filled, dict[str, float]]]:
    """A store that was filled in bulk, as catching up does it, and what that took."""
    log = filled(ORDERS, BATCH, BATCH / LIVE_ORDERS_PER_S)
    store = HistoryStore(tmp_path_factory.mktemp("history") / "history.sqlite", lambda: log.identity)
    store.start(log.holds)
    begun, cpu = time.perf_counter(), time.thread_time()
    rows = catch_up(store, log, None)
    took = {"rows": rows, "seconds": time.perf_counter() - begun, "cpu_seconds": time.thread_time() - cpu}
    yield store, log, took
    store.close()


def test_rows_in_bulk(benchmark: Any, bulk: tuple[HistoryStore, Filled, dict[str, float]]) -> None:
    """From the log through a private kernel into the tables."""
    store, _, took = benchmark.pedantic(lambda: bulk, rounds=1)
    per_second, per_cpu = took["rows"] / took["seconds"], took["rows"] / took["cpu_seconds"]
    size = store.path.stat().st_size + store.path.with_name(store.path.name + "-wal").stat().st_size
    state(
        benchmark, 1e6 / BULK_ROWS_PER_S, 1e6 / per_cpu, "us CPU a row", rows_per_s=round(per_second),
        rows_per_cpu_s=round(per_cpu), rows=took["rows"], bytes_per_order=round(size / ORDERS),
    )  # fmt: skip
    assert took["rows"] > 2 * ORDERS
    assert per_cpu >= BULK_ROWS_PER_S


def small_writes(log: Filled, after: Any) -> list[list[Facts]]:
    """What the follower gives the store at 500 orders a second: a batch an order or two, some of them a write."""
    trading, time_ns = past.Trading(2, ACCOUNTS), log._batches[-1].log_time_ns
    begin = log.head
    for _ in range(LIVE_ORDERS_PER_S * LIVE_S // 4):
        time_ns += 4 * NS // LIVE_ORDERS_PER_S
        log.put(trading.commands(4), time_ns)
    facts, previous = [], begin
    for applied, sequence in Retrace(log, None, begin, after.chain).batches():
        facts.append(facts_of(applied, previous, sequence))
        previous = applied.batch.position
    size = round(LIVE_ORDERS_PER_S * LIVE_INTERVAL_S / 4)
    return [facts[at : at + size] for at in range(0, len(facts), size)]


def test_cpu_while_trading_goes_on(
    benchmark: Any, bulk: tuple[HistoryStore, Filled, dict[str, float]]
) -> None:
    """The share of a core that writing 500 orders a second takes, checkpoints of the file with it."""
    store, log, _ = bulk
    writes = small_writes(log, store.cursor)

    def write_all() -> float:
        begun = time.thread_time()
        for facts in writes:
            store.write(facts)
        return time.thread_time() - begun

    cpu_s = benchmark.pedantic(write_all, rounds=1)
    share = cpu_s / LIVE_S
    state(benchmark, LIVE_SHARE * 100, share * 100, "% of a core", writes=len(writes))
    assert share < LIVE_SHARE


def test_pages(benchmark: Any, bulk: tuple[HistoryStore, Filled, dict[str, float]]) -> None:
    """Pages of 500, anywhere in the past, by id and by time, cold connection and all."""
    store, log, _ = bulk
    source, path = random.Random(3), Path(store.path)
    first_ns, last_ns = log._batches[1].log_time_ns, log._batches[-1].log_time_ns
    trades = ORDERS // 4

    def ask(reader: Reader, number: int) -> int:
        account, kind = source.randrange(1, ACCOUNTS + 1), number % 4
        if kind == 0:
            return len(reader.orders(account, 1, 500, from_id=source.randrange(1, ORDERS * 3 // 4))[1])
        if kind == 1:
            return len(reader.fills(account, 1, 500, from_id=source.randrange(1, trades // 2))[1])
        start_ns = source.randrange(first_ns, (first_ns + last_ns) // 2)
        if kind == 2:
            return len(reader.orders(account, 1, 500, start_ns=start_ns, end_ns=start_ns + 86_400 * NS)[1])
        return len(reader.fills(account, 1, 500, start_ns=start_ns, end_ns=start_ns + 86_400 * NS)[1])

    def pages() -> tuple[list[float], list[float]]:
        reader = Reader(path)
        wall, cpu = [], []
        for number in range(400):
            begun, used = time.perf_counter(), time.thread_time()
            assert ask(reader, number) > 100
            wall.append((time.perf_counter() - begun) * 1e3)
            cpu.append((time.thread_time() - used) * 1e3)
        reader.close()
        return sorted(wall), sorted(cpu)

    wall, cpu = benchmark.pedantic(pages, rounds=1)
    state(
        benchmark, PAGE_MS, timing.percentile(cpu, 0.99), "ms CPU a page (p99)",
        p50_ms=round(timing.percentile(wall, 0.5), 2), p99_ms=round(timing.percentile(wall, 0.99), 2), orders=ORDERS,
    )  # fmt: skip
    assert timing.percentile(cpu, 0.99) <= PAGE_MS
