# SPDX-License-Identifier: Apache-2.0
"""What the operating system is to one simulated process: a clock that may be wrong, chance by seed, threads that are
none.

Made by `process` for every start. A job of a thread runs whole, at one moment of its own, some time after it was given;
jobs of one thread run in the order in which they were given. It must never let a job of a killed process run, but for
what `disk` makes of it.
"""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from random import Random
from typing import Any, TypeVar

from tests.sim.loop import SimulatedLoop

Result = TypeVar("Result")
NS = 1_000_000_000
START_NS = 1_700_000_000 * NS


class Clock:
    """A machine's wall clock: the true time and how far it is off."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop
        self.off_ns = 0
        self.drift = 0.0

    def now_ns(self) -> int:
        return START_NS + int(self._loop.now * (1.0 + self.drift) * NS) + self.off_ns


class Thread:
    """A thread and a worker in one."""

    def __init__(self, environment: "SimulatedEnvironment", name: str) -> None:
        self._environment = environment
        self._name = name
        self._free_at = 0.0

    def call(
        self,
        function: Callable[[], Any],
        done: Callable[[Any, BaseException | None], None],
        after: Callable[[], None] | None = None,
    ) -> None:
        loop, delay = self._environment.loop, self._environment.job_seconds
        begin = max(self._free_at, loop.now) + delay()
        self._free_at = begin + delay()
        job = partial(self._work, function, done, after)
        if self._name == "snapshot":
            self._environment.writing = function
            self._environment.on_snapshot()
        loop.call_at(begin, job)

    def _work(self, function: Callable[[], Any], done: Any, after: Callable[[], None] | None) -> None:
        result, error = None, None
        self._environment.writing = None
        try:
            result = function()
        except Exception as caught:
            error = caught
        self._environment.loop.call_at(self._free_at, done, result, error)
        if after is not None:
            after()

    async def run(self, function: Callable[..., Result], *args: Any) -> Result:
        future: asyncio.Future[Result] = self._environment.create_future()

        def done(result: Result, error: BaseException | None) -> None:
            if future.cancelled():
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        self.call(partial(function, *args), done)
        return await future

    def close(self) -> None:
        pass


class SimulatedEnvironment:
    """See above; `bidhall.environment.Environment`."""

    def __init__(self, loop: SimulatedLoop, random: Random, clock: Clock, job_seconds_typical: float) -> None:
        self.loop = loop
        self.clock = clock
        self.writing: Callable[[], Any] | None = None  # a snapshot that was given to its thread and has not begun
        self.on_snapshot: Callable[[], None] = lambda: None
        self._random = random
        self._job_seconds = job_seconds_typical
        self._threads: dict[str, Thread] = {}
        self._monotonic_off = random.random() * 1e5

    def job_seconds(self) -> float:
        return self._random.expovariate(1.0) * self._job_seconds

    def wall_ns(self) -> int:
        return self.clock.now_ns()

    def monotonic(self) -> float:
        return self.loop.now + self._monotonic_off

    def random_bytes(self, count: int) -> bytes:
        return self._random.randbytes(count)

    async def run(self, function: Callable[..., Result], *args: Any, thread: str = "background") -> Result:
        if thread not in self._threads:
            self._threads[thread] = Thread(self, thread)
        return await self._threads[thread].run(function, *args)

    def worker(self, name: str) -> Thread:
        return Thread(self, name)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def call_soon(self, function: Callable[..., object], *args: Any) -> asyncio.Handle:
        return self.loop.call_soon(function, *args)

    def call_later(self, seconds: float, function: Callable[..., object], *args: Any) -> asyncio.Handle:
        return self.loop.call_later(seconds, function, *args)

    def create_task(self, coroutine: Coroutine[Any, Any, Result], name: str) -> "asyncio.Task[Result]":
        return self.loop.create_task(coroutine, name=name)

    def create_future(self) -> "asyncio.Future[Any]":
        return self.loop.create_future()

    def close(self) -> None:
        pass
