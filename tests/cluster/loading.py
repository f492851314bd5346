# SPDX-License-Identifier: Apache-2.0
"""Clients of a cluster that never give up, and the judgement over every task: what the tests of this folder share.

The ledger of tests/chaos is kept for as long as a cluster lives, over all tests that use it. It must never forget a
request that was sent.
"""

import asyncio
import random
import time
from dataclasses import dataclass, field
from itertools import pairwise

from benchmarks.wire import Answer, HttpConnection
from tests.chaos.judging import Judge
from tests.chaos.traders import NAMES, SYMBOL, Ledger, Request, Trader, sign
from tests.cluster.town import Cluster

AGAIN_SECONDS = 0.02
LATER_SECONDS = 0.2  # after a definite "not now"
PATIENCE_SECONDS = 15.0


@dataclass
class Town:
    """A cluster and all that was ever sent to it."""

    cluster: Cluster
    ledger: Ledger = field(default_factory=Ledger)
    rounds: int = 0
    acknowledged: list[float] = field(default_factory=list)  # when, monotonic

    def gap_seconds(self) -> float:
        """The longest time without an acknowledgement."""
        return max((later - earlier for earlier, later in pairwise(self.acknowledged)), default=0.0)


class Persistent(Trader):
    """Sends the very same bytes again when the connection is lost or the outcome is not known."""

    async def trade_for(self, town: Town, deadline: float) -> None:
        """One request after the other, each until its outcome is known."""
        connection: HttpConnection | None = None
        while time.monotonic() < deadline:
            request = self._draw()
            self._ledger.requests.append(request)
            while not request.is_known:
                if connection is None or connection.closed:
                    connection = await reach(town.cluster)
                request.answer = await ask(connection, request)
                if not request.is_known:
                    await asyncio.sleep(LATER_SECONDS if request.is_refused else AGAIN_SECONDS)
            self.answers += 1
            town.acknowledged.append(time.monotonic())
        if connection is not None:
            connection.close()


async def reach(cluster: Cluster) -> HttpConnection:
    """A connection through haproxy, as soon as there is one."""
    while True:
        try:
            return await HttpConnection.open(cluster.host, cluster.port)
        except OSError:
            await asyncio.sleep(AGAIN_SECONDS)


async def ask(connection: HttpConnection, request: Request) -> Answer | None:
    """Its answer; None when the connection was lost, or the task behind haproxy (which says so in HTML)."""
    try:
        answer = await asyncio.wait_for(connection.ask(request.wire), PATIENCE_SECONDS)
    except (OSError, TimeoutError):
        connection.close()
        return None
    return None if answer.body.startswith(b"<") else answer


async def load(town: Town, seed: int, seconds: float) -> None:
    """All traders until then."""
    town.rounds += 1
    town.acknowledged = []
    traders = [Persistent(name, town.rounds, random.Random(f"{seed}-{name}"), town.ledger) for name in NAMES]
    deadline = time.monotonic() + seconds
    await asyncio.gather(*(trader.trade_for(town, deadline) for trader in traders))


def limit_buy(name: str, client_id: str, price: int, *, window_ms: int | None = None) -> Request:
    """A small order far below the market."""
    parameters = (
        f"symbol={SYMBOL}&side=BUY&type=LIMIT&timeInForce=GTC&quantity=0.001&price={price}&newClientOrderId={client_id}"
        "&newOrderRespType=FULL"
    )
    return Request(name, "POST", client_id, sign(name, "POST", "order", parameters, window_ms=window_ms))


async def judge_everywhere(town: Town) -> None:
    """Every task that runs says the same, and it is what the clients were told."""
    for task in town.cluster.tasks:
        if task.is_running():
            judge = await Judge.at(task)
            await judge.check(town.ledger)
            await judge.retry(town.ledger)
            judge.close()
