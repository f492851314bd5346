# SPDX-License-Identifier: Apache-2.0
"""The one door to time, randomness and threads.

The log, the replica and the handlers get an `Environment` and ask it, never the operating system, so that a simulator
can take its place and repeat a whole run from a seed. What must never happen here: anything that knows an exchange.
"""

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable, Coroutine
from queue import SimpleQueue
from typing import Any, Final, Protocol, TypeVar

Result = TypeVar("Result")
Done = Callable[[Any, BaseException | None], None]
_Job = tuple[Callable[[], Any], Done, Callable[[], None] | None, asyncio.AbstractEventLoop]


class Handle(Protocol):
    """A call that is due later."""

    def cancel(self) -> None: ...


class Worker(Protocol):
    """A thread of one's own: jobs run in it one at a time, in the order in which they were given."""

    def call(self, function: Callable[[], Any], done: Done, after: Callable[[], None] | None = None) -> None:
        """Run `function` in the thread, then `done(result, error)` on the loop, and `after` in the thread meanwhile."""

    async def run(self, function: Callable[..., Result], *args: Any) -> Result: ...

    def close(self) -> None:
        """Finish the jobs that were given and end the thread."""


class Environment(Protocol):
    """What the operating system is to the rest of bidhall."""

    def wall_ns(self) -> int: ...

    def monotonic(self) -> float: ...

    def random_bytes(self, count: int) -> bytes: ...

    async def run(self, function: Callable[..., Result], *args: Any, thread: str = "background") -> Result:
        """Run a blocking function in the thread of that name; each name is one thread, made at its first use."""

    def worker(self, name: str) -> Worker: ...

    async def sleep(self, seconds: float) -> None: ...

    def call_soon(self, function: Callable[..., object], *args: Any) -> Handle: ...

    def call_later(self, seconds: float, function: Callable[..., object], *args: Any) -> Handle: ...

    def create_task(self, coroutine: Coroutine[Any, Any, Result], name: str) -> "asyncio.Task[Result]": ...

    def create_future(self) -> "asyncio.Future[Any]": ...

    def close(self) -> None: ...


class RealWorker:
    """A Python thread that waits on a queue; the way back to the loop is one `call_soon_threadsafe` a job."""

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=f"bidhall-{name}", daemon=True)
        self._thread.start()

    def call(self, function: Callable[[], Any], done: Done, after: Callable[[], None] | None = None) -> None:
        self._jobs.put((function, done, after, asyncio.get_running_loop()))

    async def run(self, function: Callable[..., Result], *args: Any) -> Result:
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()

        def done(result: Result, error: BaseException | None) -> None:
            if future.cancelled():
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        self.call(lambda: function(*args), done)
        return await future

    def close(self) -> None:
        self._jobs.put(None)
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            function, done, after, loop = job
            result: Any = None
            error: BaseException | None = None
            try:
                result = function()
            except BaseException as caught:  # it belongs to the caller, whatever it is; this thread must live on
                error = caught
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(done, result, error)
            del result, error, done, function  # or they would live until the next job
            if after is not None:
                after()


class RealEnvironment:
    """The operating system."""

    def __init__(self) -> None:
        self._workers: Final[dict[str, RealWorker]] = {}
        self._own: Final[list[RealWorker]] = []

    def wall_ns(self) -> int:
        return time.time_ns()

    def monotonic(self) -> float:
        return time.monotonic()

    def random_bytes(self, count: int) -> bytes:
        return os.urandom(count)

    async def run(self, function: Callable[..., Result], *args: Any, thread: str = "background") -> Result:
        worker = self._workers.get(thread)
        if worker is None:
            worker = self._workers[thread] = RealWorker(thread)
        return await worker.run(function, *args)

    def worker(self, name: str) -> Worker:
        worker = RealWorker(name)
        self._own.append(worker)
        return worker

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def call_soon(self, function: Callable[..., object], *args: Any) -> Handle:
        return asyncio.get_running_loop().call_soon(function, *args)

    def call_later(self, seconds: float, function: Callable[..., object], *args: Any) -> Handle:
        return asyncio.get_running_loop().call_later(seconds, function, *args)

    def create_task(self, coroutine: Coroutine[Any, Any, Result], name: str) -> "asyncio.Task[Result]":
        return asyncio.get_running_loop().create_task(coroutine, name=name)

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.get_running_loop().create_future()

    def close(self) -> None:
        """End every thread, after what it was given."""
        for worker in (*self._workers.values(), *self._own):
            worker.close()
        self._workers.clear()
        self._own.clear()
