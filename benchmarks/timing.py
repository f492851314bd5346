# SPDX-License-Identifier: Apache-2.0
"""How the benchmarks measure: CPU time of this thread, the median of several runs, percentiles.

Used by every gate. It must never report wall time as cost: the machines are shared.
"""

import gc
import math
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median


def cpu_ns(work: Callable[[], object]) -> int:
    """CPU time one call takes in this thread, with the garbage collector held."""
    gc.collect()
    gc.disable()
    try:
        begin = time.thread_time_ns()
        work()
        return time.thread_time_ns() - begin
    finally:
        gc.enable()


def median_cpu_ns(prepare: Callable[[], Callable[[], object]], runs: int = 3) -> float:
    """Median CPU time of `runs` runs; `prepare` (not timed) makes the work of each run."""
    return median(cpu_ns(prepare()) for _ in range(runs))


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value below which `share` of the ascending values lie (nearest rank)."""
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]


def machine() -> str:
    """One line that says where numbers come from."""
    name = platform.processor() or platform.machine()
    try:
        info = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next((line.split(":", 1)[1].strip() for line in info if line.startswith("model name")), name)
        cores = sum(line.startswith("processor") for line in info)
    except OSError:
        cores = 0
    return f"{name}, {cores} cores, Python {platform.python_version()}, Linux {platform.release()}"
