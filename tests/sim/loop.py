# SPDX-License-Identifier: Apache-2.0
"""An asyncio event loop without sockets, threads or waiting: its clock jumps to the next timer.

Made by `world`. Every callback belongs to a process, by the context in which it was made; within a process callbacks
run in the order in which they were made, as asyncio promises, and between processes chance decides. A process that was
killed runs nothing any more: what is due for it is held back, so that a kill falls between any two of its callbacks,
which is at any of its awaits. What may never happen here: an order that depends on anything but the seed.
"""

import asyncio
import heapq
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from random import Random
from typing import Any

STEPS_MAX = 400_000  # of one world; one that needs more runs in circles


class Stuck(Exception):
    """Nothing is ready, nothing is due, and what was waited for has not come."""


class Owner:
    """A process as the loop knows it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_dead = False
        self.ready: deque[asyncio.Handle] = deque()
        self.held: list[asyncio.Handle] = []  # what came due after it was killed
        self.steps_left = -1  # until it is killed; -1: not decided
        self.on_last_step: Callable[[], None] = lambda: None
        self.context = copy_context()
        self.context.run(OWNER.set, self)


OWNER: ContextVar[Owner] = ContextVar("OWNER")


class SimulatedLoop(asyncio.AbstractEventLoop):
    """See above."""

    def __init__(self, random: Random) -> None:
        self.now = 0.0
        self.steps = 0
        self.errors: list[str] = []
        self.outside = Owner("outside")  # whoever drives the world: server, clients, chance
        self._random = random.random
        self._running: list[Owner] = []  # those with something ready
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._timer_count = 0

    # -- what asyncio needs

    def time(self) -> float:
        return self.now

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_soon(  # type: ignore[override]
        self, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._add(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]  # there are no threads

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._timer_count += 1
        heapq.heappush(self._timers, (when, self._timer_count, handle))
        return handle

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None) -> "asyncio.Task[Any]":
        return asyncio.Task(coro, loop=self, name=name, context=context)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.errors.append(f"{context.get('message')}: {context.get('exception')!r}")

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.call_exception_handler(context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass  # it is passed over when it comes due

    # -- what the world calls

    def spawn(self, owner: Owner, coroutine: Coroutine[Any, Any, Any], name: str) -> "asyncio.Task[Any]":
        """A task of that process."""
        return self.create_task(coroutine, name=name, context=owner.context.copy())

    def call_outside(self, delay: float, callback: Any, *args: Any) -> asyncio.TimerHandle:
        """Whoever calls this: it happens even if he dies."""
        return self.call_later(delay, callback, *args, context=self.outside.context)

    def kill(self, owner: Owner) -> None:
        owner.is_dead = True
        owner.held += owner.ready
        owner.ready.clear()
        if owner in self._running:
            self._running.remove(owner)

    def run_until(self, future: "asyncio.Future[Any]", seconds_max: float) -> None:
        """Until the future is done, or raises `Stuck`."""
        end = self.now + seconds_max
        before = events._get_running_loop()
        events._set_running_loop(self)
        try:
            while not future.done():
                self._step(end)
        finally:
            events._set_running_loop(before)

    def bury(self) -> None:
        """At the end: every task ends, those of the dead too, so that nothing is left to the garbage collector."""
        before = events._get_running_loop()
        events._set_running_loop(self)
        try:
            for _ in range(3):
                for task in sorted(asyncio.all_tasks(self), key=lambda task: task.get_name()):
                    task.cancel()
                self._drain()
        finally:
            events._set_running_loop(before)
        self._timers.clear()

    def revive(self, owner: Owner) -> None:
        """For `bury` only."""
        owner.is_dead, owner.steps_left = False, -1
        held, owner.held = owner.held, []
        for handle in held:
            self._add(handle)

    # -- turning

    def _add(self, handle: asyncio.Handle) -> None:
        owner = handle._context.get(OWNER, self.outside)  # type: ignore[attr-defined]
        if owner.is_dead:
            owner.held.append(handle)
            return
        if not owner.ready:
            self._running.append(owner)
        owner.ready.append(handle)

    def _step(self, end: float) -> None:
        running = self._running
        if not running and not self._turn_on(end):
            return
        count = len(running)
        index = int(self._random() * count) if count > 1 else 0
        owner = running[index]
        handle = owner.ready.popleft()
        if not owner.ready:
            running[index] = running[-1]
            running.pop()
        if handle._cancelled:
            return
        self.steps += 1
        if self.steps > STEPS_MAX:
            raise Stuck(f"more than {STEPS_MAX} callbacks")
        handle._run()
        if owner.steps_left > 0:
            owner.steps_left -= 1
            if owner.steps_left == 0:
                owner.on_last_step()

    def _turn_on(self, end: float) -> bool:
        """The clock goes to the next timer; whether there is something to run now."""
        timers = self._timers
        while timers and timers[0][2]._cancelled:
            heapq.heappop(timers)
        if not timers:
            raise Stuck("nothing is ready and nothing is due")
        when = timers[0][0]
        if when > end:
            raise Stuck(f"it took longer than until {end:.3f} s")
        self.now = max(self.now, when)
        while timers and timers[0][0] <= self.now:
            handle = heapq.heappop(timers)[2]
            if not handle._cancelled:
                self._add(handle)
        return bool(self._running)

    def _drain(self) -> None:
        for _ in range(STEPS_MAX):
            if not self._running:
                return
            self._step(self.now)
