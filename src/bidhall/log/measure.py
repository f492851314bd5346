# SPDX-License-Identifier: Apache-2.0
"""What a log takes from `submit` to "delivered": for `benchmarks/` and for whoever chooses a disk.

A number of waiters, each of which submits its commands again as soon as they have come back: one waiter measures a
single commit, many measure group commit. It must never be pointed at a log that is in use: it appends to it.
"""

from dataclasses import dataclass
from resource import RUSAGE_SELF, getrusage

from bidhall.environment import Environment
from bidhall.log.batch import COMMAND_BYTES
from bidhall.log.interface import Log
from bidhall.log.writer import Refusal, Writer


@dataclass(frozen=True)
class Measured:
    """Of all submits; CPU time is the whole process's."""

    submits: int
    commands: int
    batches: int
    seconds: float
    cpu_seconds: float
    p50_us: float
    p99_us: float
    max_us: float


class _Waiter:
    """Submits, notes how long it took, submits again."""

    def __init__(self, writer: Writer, environment: Environment, commands: bytes, times: list[float]) -> None:
        self._writer, self._commands, self._times = writer, commands, times
        self._monotonic = environment.monotonic
        self._began = 0.0

    def submit(self) -> None:
        self._began = self._monotonic()
        self._writer.submit(self._commands, self)

    def done(self) -> None:
        self._times.append(self._monotonic() - self._began)

    def refused(self, reason: Refusal) -> None:
        raise RuntimeError(reason.value)


def _cpu_seconds() -> float:
    usage = getrusage(RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def measure_commits(
    log: Log, environment: Environment, *, submits: int, waiters: int = 1, commands: int = 1
) -> Measured:
    """`submits` in all, by `waiters` at once, each of `commands` commands. The log is open and is left open."""
    writer = Writer(log, environment, 1, 1)
    following = log.follow(log.head + 1)
    times: list[float] = []
    payload = environment.random_bytes(commands * COMMAND_BYTES)
    cohort = [_Waiter(writer, environment, payload, times) for _ in range(waiters)]
    await writer.start()
    await log.barrier()  # a log that many share learns of its own commits by reading
    first, began, cpu = log.head, environment.monotonic(), _cpu_seconds()
    for waiter in cohort:
        waiter.submit()
    left = submits - waiters
    async for batches in following:
        for batch in batches:
            for slot in writer.delivered(batch):
                assert isinstance(slot.waiter, _Waiter)
                slot.waiter.done()
                if left > 0:
                    left -= 1
                    slot.waiter.submit()
        if len(times) == submits:
            break
    seconds, cpu = environment.monotonic() - began, _cpu_seconds() - cpu
    await following.aclose()
    times.sort()
    p50_us, p99_us = (1e6 * times[int(len(times) * share)] for share in (0.5, 0.99))
    return Measured(submits, submits * commands, log.head - first, seconds, cpu, p50_us, p99_us, 1e6 * times[-1])
