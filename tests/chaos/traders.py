# SPDX-License-Identifier: Apache-2.0
"""Traders that load a server until it dies, and remember everything they were told: the ledger outside the server.

Used by the tests of tests/chaos. The ledger is the judge: it must never ask the server what it should believe, and
never forget an answer.
"""

import asyncio
import json
import random
import time
from dataclasses import dataclass, field
from typing import Any

from benchmarks.wire import Answer, HttpConnection, Key, signed_request
from tests.serving import ServerProcess, key_secret, key_text

SYMBOL = "BTCUSDT"
NAMES = ("ann", "ben", "cid", "dot")
WINDOW = 8
RECEIVE_WINDOW_MS = 60_000


@dataclass
class Request:
    """One signed request and what came back; `answer` None or status 0: nobody knows (yet)."""

    name: str
    method: str
    client_id: str
    wire: bytes
    answer: Answer | None = None

    @property
    def is_known(self) -> bool:
        """Whether a definite answer came that a repeat must give again."""
        return self.answer is not None and self.answer.status in (200, 400)

    @property
    def is_refused(self) -> bool:
        """Whether it was said that nothing happened (-1007 says that nobody knows)."""
        return self.answer is not None and self.answer.status not in (0, 200) and self.body["code"] != -1007

    @property
    def is_done(self) -> bool:
        """Whether it was acknowledged."""
        return self.answer is not None and self.answer.status == 200

    @property
    def body(self) -> dict[str, Any]:
        """The answer's."""
        assert self.answer is not None
        found: dict[str, Any] = json.loads(self.answer.body)
        return found


@dataclass
class Ledger:
    """All requests of all traders, in the order they were sent."""

    requests: list[Request] = field(default_factory=list)

    def placed(self) -> list[Request]:
        """Acknowledged placements."""
        return [request for request in self.requests if request.method == "POST" and request.is_done]

    def canceled(self) -> list[Request]:
        """Acknowledged cancels."""
        return [request for request in self.requests if request.method == "DELETE" and request.is_done]

    def unsettled(self) -> list[Request]:
        """Never answered, or turned away for the moment: to be sent again."""
        return [request for request in self.requests if not request.is_known]


def key_of(name: str) -> Key:
    """A trader's key."""
    return Key(key_text(name), key_secret(name))


def sign(name: str, method: str, path: str, parameters: str, *, window_ms: int | None = None) -> bytes:
    """A request of a trader, valid for a minute, or for `window_ms`."""
    window = f"recvWindow={window_ms or RECEIVE_WINDOW_MS}"
    whole = f"{parameters}&{window}" if parameters else window
    return signed_request(method, f"/api/v3/{path}", key_of(name), whole, time.time_ns() // 1_000_000)


class Trader:
    """One account on one connection, with a few requests in flight all the time."""

    def __init__(self, name: str, round_number: int, source: random.Random, ledger: Ledger) -> None:
        self._name, self._round, self._random, self._ledger = name, round_number, source, ledger
        self._number = 0
        self._ids: list[str] = []
        self._answered = asyncio.Event()
        self.answers = 0

    async def trade(self, server: ServerProcess) -> None:
        """Until the connection is gone."""
        connection = await HttpConnection.open(server.host, server.port)
        while not connection.closed:
            while connection.pending < WINDOW and not connection.closed:
                self._send(connection)
            self._answered.clear()
            await self._answered.wait()

    def _send(self, connection: HttpConnection) -> None:
        request = self._draw()
        self._ledger.requests.append(request)

        def on_answer(answer: Answer) -> None:
            request.answer = answer
            self.answers += 1
            self._answered.set()

        connection.send(request.wire, on_answer)

    def _draw(self) -> Request:
        if self._ids and self._random.random() < 0.25:
            client_id = self._random.choice(self._ids[-40:])
            wire = sign(self._name, "DELETE", "order", f"symbol={SYMBOL}&origClientOrderId={client_id}")
            return Request(self._name, "DELETE", client_id, wire)
        self._number += 1
        client_id = f"{self._name}-{self._round}-{self._number}"
        self._ids.append(client_id)
        side = self._random.choice(("BUY", "SELL"))
        time_in_force = "IOC" if self._random.random() < 0.1 else "GTC"
        price = 50_000 + self._random.randrange(-50, 51) / 100
        quantity = self._random.randrange(100, 2_000) / 100_000
        parameters = (
            f"symbol={SYMBOL}&side={side}&type=LIMIT&timeInForce={time_in_force}&quantity={quantity:.5f}"
            f"&price={price:.2f}&newClientOrderId={client_id}&newOrderRespType=FULL"
        )
        return Request(self._name, "POST", client_id, sign(self._name, "POST", "order", parameters))


class Load:
    """All traders at once, as tasks."""

    def __init__(self, round_number: int, seed: int, ledger: Ledger) -> None:
        self._traders = [
            Trader(name, round_number, random.Random(f"{seed}-{round_number}-{name}"), ledger) for name in NAMES
        ]
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, server: ServerProcess) -> None:
        """Begins."""
        self._tasks = [asyncio.create_task(trader.trade(server)) for trader in self._traders]

    async def answers(self, count: int, patience_s: float = 30.0) -> None:
        """Waits until that many answers came (or everybody's connection is gone)."""
        deadline = time.monotonic() + patience_s
        while sum(trader.answers for trader in self._traders) < count and not all(task.done() for task in self._tasks):
            if time.monotonic() > deadline:
                raise AssertionError("the server does not answer")
            await asyncio.sleep(0.002)

    async def finish(self, patience_s: float = 30.0) -> None:
        """Waits until all connections are gone; a trader's fault is raised here."""
        await asyncio.wait_for(asyncio.gather(*self._tasks), patience_s)
