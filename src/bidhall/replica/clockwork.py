# SPDX-License-Identifier: Apache-2.0
"""Kernel time moves only with the log. Here is who appends an empty batch when somebody waits for time to pass.

Owned by the replica. It must never append anything while the log moves by itself.
"""

import heapq
from collections.abc import Callable
from typing import Final

from bidhall.environment import Environment, Handle

WANTED_MAX: Final = 4_096
AGAIN_SECONDS: Final = 0.01  # a batch that was on its way already may carry an older stamp


class Clockwork:
    """The moments that are waited for, the earliest first."""

    def __init__(self, environment: Environment, kernel_ns: Callable[[], int], nudge: Callable[[], None]) -> None:
        self._environment = environment
        self._kernel_ns = kernel_ns
        self._nudge = nudge
        self._wanted: list[int] = []
        self._known: set[int] = set()
        self._timer: Handle | None = None
        self._timer_ns = 0

    def want(self, time_ns: int) -> None:
        """Kernel time shall reach this soon after the clock does."""
        if time_ns <= self._kernel_ns() or time_ns in self._known or len(self._wanted) >= WANTED_MAX:
            return
        heapq.heappush(self._wanted, time_ns)
        self._known.add(time_ns)
        if self._timer is None or time_ns < self._timer_ns:
            self._arm(0.0)

    def stop(self) -> None:
        self._wanted.clear()
        self._known.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, seconds_min: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_ns = self._wanted[0]
        seconds = max((self._timer_ns - self._environment.wall_ns()) / 1e9, seconds_min)
        self._timer = self._environment.call_later(seconds, self._due)

    def _due(self) -> None:
        self._timer = None
        kernel_ns, wall_ns = self._kernel_ns(), self._environment.wall_ns()
        while self._wanted and self._wanted[0] <= kernel_ns:
            self._known.discard(heapq.heappop(self._wanted))
        if not self._wanted:
            return
        if self._wanted[0] <= wall_ns:
            self._nudge()
            self._arm(AGAIN_SECONDS)
        else:
            self._arm(0.0)
