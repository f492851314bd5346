# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the gates: the shared flow, the plain reference's cost on it, and how a gate is stated.

pytest loads it for `pytest benchmarks/`. A gate asserts ratios (they survive a change of machine) and stores absolute
numbers and the design's target beside them in `extra_info`. It must never hide a missed target.
"""

import os
from collections.abc import Callable
from typing import Any

import pytest

from benchmarks import data, flow, timing
from benchmarks.plain import PlainBook

FLOW_SEED = 7


@pytest.fixture(scope="session")
def shared_flow() -> flow.Flow:
    """The flow of engine.md §2c; BIDHALL_BENCH_COMMANDS makes it shorter for a quick look."""
    return flow.generate(FLOW_SEED, commands=int(os.environ.get("BIDHALL_BENCH_COMMANDS", flow.COMMANDS)))


@pytest.fixture(scope="session")
def reference_ns(shared_flow: flow.Flow) -> float:
    """CPU time of the plain Python reference per command of the flow."""
    preload, steps = shared_flow.steps[: shared_flow.resting], shared_flow.steps[shared_flow.resting :]
    trades = []

    def prepare() -> Callable[[], object]:
        book = PlainBook()
        flow.play_plain(preload, book)
        return lambda: trades.append(len(flow.play_plain(steps, book)))

    cost_ns = timing.median_cpu_ns(prepare) / len(steps)
    assert set(trades) == {shared_flow.trades}
    return cost_ns


@pytest.fixture
def foreign_data() -> None:
    """Skips, with a sentence, where the order flow of others is not at hand."""
    try:
        data.folder()
    except data.DataMissing as missing:
        pytest.skip(str(missing))


def state(benchmark: Any, target: float, value: float, unit: str, **more: Any) -> None:
    """Writes a result where pytest-benchmark stores it, and says it."""
    benchmark.extra_info.update(
        {"machine": timing.machine(), "unit": unit, "value": value, "target": target, "met": value <= target, **more}
    )
    numbers = ", ".join(f"{name} {number}" for name, number in more.items())
    verdict = "met" if value <= target else f"missed by {value / target:.2f}x"
    print(f"\n  {benchmark.name}: {value:.4g} {unit} (target {target:g}: {verdict}) {numbers}")
