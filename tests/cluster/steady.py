# SPDX-License-Identifier: Apache-2.0
"""A steady stream of orders at a cluster: open loop, and the very same bytes again until each outcome is known.

Used by the proofs. Latency counts from the moment a request was meant to be sent to its definite answer, over all
retries. It must never wait for an answer before it sends the next request, nor forget one that was sent.
"""

import asyncio
import json
import math
import random
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks.wire import Answer, HttpConnection
from tests.chaos.traders import NAMES, Request, Trader
from tests.cluster.loading import Town, reach

CONNECTIONS = 32
AGAIN_SECONDS = 0.02
LATER_SECONDS = 0.2
CALM_SECONDS = 2.0  # after a kill nothing is asked of latency for so long


@dataclass(slots=True)
class Timing:
    """When one request was due, and when its outcome was known."""

    due: float
    known: float
    tries: int


class Steady:
    """See above."""

    def __init__(self, town: Town, seed: int, rate: float, seconds: float) -> None:
        self._town, self._rate, self._seconds = town, rate, seconds
        self._random = random.Random(seed)
        town.rounds += 1
        self._traders = [Trader(name, town.rounds, random.Random(f"{seed}-{name}"), town.ledger) for name in NAMES]
        self._idle: list[HttpConnection] = []
        self._open: set[HttpConnection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._unknown = 0
        self._settled: asyncio.Future[None] | None = None
        self.timings: list[Timing] = []
        self.retries: Counter[str] = Counter()
        self.kills: list[float] = []  # monotonic

    async def run(self, patience_seconds: float = 60.0) -> None:
        """Returns when every request that was sent has its outcome."""
        for _ in range(CONNECTIONS):
            await self._connect()
        begin = due = time.monotonic()
        while (due := due + self._random.expovariate(self._rate)) < begin + self._seconds:
            if (wait := due - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            request = self._random.choice(self._traders)._draw()
            self._town.ledger.requests.append(request)
            self._unknown += 1
            self._send(request, Timing(due, 0.0, 0))
        if self._unknown:
            self._settled = asyncio.get_running_loop().create_future()
            await asyncio.wait_for(self._settled, patience_seconds)
        for task in self._opening:
            task.cancel()
        for connection in self._open:
            connection.close()
        await asyncio.sleep(0.01)

    def _send(self, request: Request, timing: Timing) -> None:
        timing.tries += 1
        while self._idle:
            connection = self._idle.pop()
            if not connection.closed:
                break
        else:
            usable = [connection for connection in self._open if not connection.closed]
            if not usable:
                self._again(request, timing, AGAIN_SECONDS, "no connection")
                return
            connection = min(usable, key=lambda each: each.pending)
        connection.send(request.wire, partial(self._answered, request, timing, connection))

    def _answered(self, request: Request, timing: Timing, connection: HttpConnection, answer: Answer) -> None:
        if connection.closed:
            self._replace(connection)
        elif not connection.pending:
            self._idle.append(connection)
        if answer.status == 0 or answer.body.startswith(b"<"):
            self._again(request, timing, AGAIN_SECONDS, f"connection ({answer.status})")
            return
        request.answer = answer
        if not request.is_known:
            code = json.loads(answer.body).get("code")
            self._again(request, timing, LATER_SECONDS if request.is_refused else AGAIN_SECONDS, f"code {code}")
            return
        timing.known = time.monotonic()
        self.timings.append(timing)
        self._town.acknowledged.append(timing.known)
        self._unknown -= 1
        if self._settled is not None and not self._unknown and not self._settled.done():
            self._settled.set_result(None)

    def _again(self, request: Request, timing: Timing, seconds: float, why: str) -> None:
        self.retries[why] += 1
        asyncio.get_running_loop().call_later(seconds, self._send, request, timing)

    def _replace(self, connection: HttpConnection) -> None:
        if connection in self._open:
            self._open.discard(connection)
            task = asyncio.get_running_loop().create_task(self._connect())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _connect(self) -> None:
        connection = await reach(self._town.cluster)
        self._open.add(connection)
        self._idle.append(connection)

    def report(self) -> dict[str, Any]:
        """The numbers: of all requests, and of what lay outside the two seconds after each kill."""
        whole = sorted(timing.known - timing.due for timing in self.timings)
        calm = sorted(seconds for timing in self.timings if (seconds := self._outside(timing)) is not None)
        return {
            "requests": len(whole),
            "per_s": round(len(whole) / self._seconds),
            "kills": len(self.kills),
            "retries": dict(self.retries),
            "ms": _milliseconds(whole),
            "calm_requests": len(calm),
            "calm_ms": _milliseconds(calm),
            "gap_s": round(self._town.gap_seconds(), 2),
        }

    def _outside(self, timing: Timing) -> float | None:
        """Its latency without the parts that lay in the time after a kill; None: all of it lay there."""
        seconds, inside = timing.known - timing.due, 0.0
        for kill in self.kills:
            inside += max(0.0, min(timing.known, kill + CALM_SECONDS) - max(timing.due, kill))
        return None if inside >= seconds else seconds - inside


def _milliseconds(seconds: list[float]) -> dict[str, float]:
    if not seconds:
        return {}
    return {
        name: round(seconds[min(len(seconds) - 1, math.ceil(len(seconds) * share) - 1)] * 1e3, 1)
        for name, share in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999), ("max", 1.0))
    }
