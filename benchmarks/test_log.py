# SPDX-License-Identifier: Apache-2.0
"""Gate of the log: group commit of the sqlite log, beside the bare write-and-sync of the same disk in the same run.

`pytest benchmarks/test_log.py`. Waiting is what is measured here, so this is wall time; the gates are ratios to the
disk's own floor, which moves with the machine.
"""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import timing
from benchmarks.conftest import state
from bidhall.core.records import COMMAND_BYTES, LAYOUT_VERSION, RULES_VERSION
from bidhall.environment import RealEnvironment
from bidhall.log import Entry, Log, open_log

APPENDS = 300
TARGET_P50_MS = 0.5
GATE_RATIO = 8.0  # median append against a bare write and fdatasync of as many bytes
RECORDS_TARGET_PER_S = 1_000_000  # at 1,000 commands a batch


def _floor_ns(folder: Path, size: int) -> list[float]:
    """Bare writes and syncs into a file that was written before, on the same disk: nothing durable is cheaper."""
    payload, costs = os.urandom(size), []
    descriptor = os.open(folder / "floor", os.O_CREAT | os.O_WRONLY)
    try:
        os.write(descriptor, bytes(size * APPENDS))
        os.fsync(descriptor)
        for number in range(APPENDS):
            begin = time.perf_counter_ns()
            os.pwrite(descriptor, payload, number * size)
            os.fdatasync(descriptor)
            costs.append(float(time.perf_counter_ns() - begin))
    finally:
        os.close(descriptor)
    return sorted(costs)


async def _appends_ns(log: Log, writer: bytes, first: int, commands: bytes) -> list[float]:
    costs = []
    for number in range(first, first + APPENDS):
        begin = time.perf_counter_ns()
        await log.append(Entry.make(writer, number, time.time_ns(), LAYOUT_VERSION, RULES_VERSION, commands))
        costs.append(float(time.perf_counter_ns() - begin))
    return sorted(costs)


async def _measure(folder: Path, commands: bytes) -> list[float]:
    environment = RealEnvironment()
    log = open_log(f"sqlite:///{folder / 'log'}", environment)
    await log.open()
    writer = os.urandom(16)
    try:
        await log.append(Entry.make(writer, 1, time.time_ns(), LAYOUT_VERSION, RULES_VERSION, b""))
        return await _appends_ns(log, writer, 2, commands)
    finally:
        await log.close()
        environment.close()


@pytest.mark.parametrize("count", [1, 100, 1_000])
def test_group_commit(benchmark: Any, tmp_path: Path, count: int) -> None:
    """One append after the other, as the writer does; `count` commands in each."""
    commands = os.urandom(count * COMMAND_BYTES)
    results: list[list[float]] = []

    def setup() -> tuple[tuple[Path], dict[str, Any]]:
        folder = tmp_path / str(len(results))
        folder.mkdir()
        return (folder,), {}

    run: Callable[[Path], None] = lambda folder: results.append(asyncio.run(_measure(folder, commands)))  # noqa: E731
    benchmark.pedantic(run, setup=setup, rounds=3)
    costs_ns = sorted(results, key=lambda ordered: timing.percentile(ordered, 0.5))[1]
    floor_ns = _floor_ns(tmp_path, len(commands))
    p50_ms, p99_ms = (timing.percentile(costs_ns, share) / 1e6 for share in (0.5, 0.99))
    floor_ms = timing.percentile(floor_ns, 0.5) / 1e6
    per_s = count * len(costs_ns) / (sum(costs_ns) / 1e9)
    state(
        benchmark, TARGET_P50_MS, p50_ms, "ms an append (p50)", p99_ms=round(p99_ms, 3),
        floor_p50_ms=round(floor_ms, 3), floor_p99_ms=round(timing.percentile(floor_ns, 0.99) / 1e6, 3),
        ratio=round(p50_ms / floor_ms, 2), commands_per_s=round(per_s), commands_target_per_s=RECORDS_TARGET_PER_S,
    )
    assert p50_ms <= max(TARGET_P50_MS, GATE_RATIO * floor_ms)
    assert p99_ms <= 100
