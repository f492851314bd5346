# SPDX-License-Identifier: Apache-2.0
"""Gates of recovery: replay of a log, and how long a snapshot holds the loop.

`pytest benchmarks/test_replay.py`. The log is a real sqlite log with the flow of engine.md §2c in batches of 1,000.
"""

import asyncio
import gc
import itertools
import os
import time
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from benchmarks import flow
from benchmarks.conftest import state
from bidhall.core.records import COMMAND_BYTES, LAYOUT_VERSION, RULES_VERSION
from bidhall.environment import RealEnvironment
from bidhall.log import Entry, open_log
from bidhall.replica import Replica, replay

ACCOUNTS = 1_000
SNAPSHOT_ACCOUNTS = 1_000_000
BATCH = 1_000
REPLAY_TARGET_NS = 1e9 / 3e6  # 3 M commands a second
REPLAY_GATE_RATIO = 0.6  # of the plain reference's cost of the same commands
PAUSE_TARGET_MS, PAUSE_GATE_MS = 2.0, 100.0


def _batches(accounts: int, shared_flow: flow.Flow) -> list[bytes]:
    preload, commands = (records.tobytes() for records in shared_flow.commands(accounts))
    stream = flow.setup(accounts) + preload + commands
    return [stream[i : i + BATCH * COMMAND_BYTES] for i in range(0, len(stream), BATCH * COMMAND_BYTES)]


async def _write_log(folder: Path, batches: list[bytes]) -> None:
    environment = RealEnvironment()
    log = open_log(f"sqlite:///{folder}", environment)
    await log.open()
    writer = os.urandom(16)
    try:
        for number, commands in enumerate([b"", *batches], start=1):
            await log.append(Entry.make(writer, number, time.time_ns(), LAYOUT_VERSION, RULES_VERSION, commands))
    finally:
        await log.close()
        environment.close()


async def _replayed(folder: Path) -> tuple[int, int, bytes]:
    """(CPU ns, commands, state hash): everything from the log, with its checksums and positions checked."""
    environment = RealEnvironment()
    log = open_log(f"sqlite:///{folder}", environment)
    await log.open()
    try:
        begin = time.process_time_ns()
        result = replay(log)
        return time.process_time_ns() - begin, result.commands, result.state_hash
    finally:
        await log.close()
        environment.close()


def test_replay(benchmark: Any, shared_flow: flow.Flow, reference_ns: float, tmp_path: Path) -> None:
    """From the log to the state hash, checksums and chain checked."""
    batches = _batches(ACCOUNTS, shared_flow)
    asyncio.run(_write_log(tmp_path / "log", batches))
    results = []

    def run() -> None:
        results.append(asyncio.run(_replayed(tmp_path / "log")))

    benchmark.pedantic(run, rounds=3)
    commands = sum(len(batch) for batch in batches) // COMMAND_BYTES
    assert {result[1] for result in results} == {commands}
    assert len({result[2] for result in results}) == 1
    cost_ns = median(result[0] for result in results) / commands
    ratio = cost_ns / reference_ns
    state(
        benchmark, REPLAY_TARGET_NS, cost_ns, "ns a command", ratio=round(ratio, 3), reference_ns=round(reference_ns),
        commands_per_cpu_s=round(1e9 / cost_ns),
    )
    assert ratio <= REPLAY_GATE_RATIO


async def _longest_pauses_ms(folder: Path) -> list[float]:
    """The gaps between turns of the loop while snapshots are taken, longest of each."""
    environment = RealEnvironment()
    log = open_log(f"sqlite:///{folder}", environment)
    replica = Replica(log, environment, folder=folder)
    await replica.start()  # from the log, as a process that was restarted
    longest = []
    try:
        assert replica.exchange.account_count == SNAPSHOT_ACCOUNTS
        for _ in range(3):
            taking = asyncio.ensure_future(replica.snapshot())
            turns = []
            while not taking.done():
                turns.append(time.perf_counter_ns())
                await asyncio.sleep(0)
            turns.append(time.perf_counter_ns())
            await taking
            longest.append(max(b - a for a, b in itertools.pairwise(turns)) / 1e6)
    finally:
        await replica.stop()
        await log.close()
        environment.close()
    return longest


def _resident_mb() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") // 10**6


@pytest.mark.slow
def test_snapshot_pause(benchmark: Any, tmp_path: Path) -> None:
    """A snapshot of a million funded accounts must not hold the loop."""
    pauses: list[float] = []
    stream = flow.setup(SNAPSHOT_ACCOUNTS)
    size = BATCH * COMMAND_BYTES
    asyncio.run(_write_log(tmp_path, [stream[i : i + size] for i in range(0, len(stream), size)]))
    del stream
    gc.collect()

    def run() -> None:
        pauses.extend(asyncio.run(_longest_pauses_ms(tmp_path)))

    benchmark.pedantic(run, rounds=1)
    pause_ms = median(pauses)
    state(
        benchmark, PAUSE_TARGET_MS, pause_ms, "ms the loop was held", all_ms=[round(each, 2) for each in pauses],
        resident_mb=_resident_mb(),
    )
    assert pause_ms <= PAUSE_GATE_MS
