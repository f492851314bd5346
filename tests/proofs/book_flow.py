# SPDX-License-Identifier: Apache-2.0
"""A seeded stream of real orders that changes a book two thousand times a second, as a program of its own.

    python -m tests.proofs.book_flow HOST PORT --seed N [--rate 2400]     commands on standard input, JSON lines out

`fill N` places N orders around the price; `run SECONDS` places, cancels, amends and trades at the rate; each waits
until all is answered and prints what came of it. Signed requests on keep-alive connections, sent when they are due and
never later than the answers allow (a window), so that a slow machine lowers the rate and nothing else. Started by
books.py; it must never cancel what was not acknowledged, nor hide a refusal that its own knowledge does not explain.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import uvloop

from benchmarks.wire import Answer, HttpConnection, Key, signed_request
from tests.serving import key_secret, key_text

SYMBOL = "BTCUSDT"
ACCOUNTS = tuple(f"maker{number}" for number in range(6))
CONNECTIONS, WINDOW = 24, 8
TICK_S = 0.004
START_CENTRE_TICKS = 5_000_000  # 50000.00
OPEN_LOW, OPEN_HIGH = 6_500, 7_500  # orders on the book, where it hovers
# What may be refused: to cancel or amend an order that was filled or expired meanwhile, or to amend what has no rest.
EXPECTED = {-2011, -2038}


class Resting(NamedTuple):
    """An order that was acknowledged as open."""

    account: int
    client_id: str
    quantity_steps: int


class Step(NamedTuple):
    """A request, and what its acknowledgement means for what is open."""

    method: str
    path: str
    account: int
    parameters: str
    opens: Resting | None = None


class Flow:
    """Draws the next request; the same seed and answers give the same stream."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.centre_ticks = START_CENTRE_TICKS
        self.open: list[Resting] = []
        self.number = 0

    def next(self) -> Step:
        """A place, cancel, amend or market order, such that the book neither empties nor grows."""
        draw = self.random.random()
        if self.number % 40 == 0:
            self.centre_ticks += self.random.randint(-30, 30)
        if draw < 0.04:
            return self._take()
        if draw < 0.08 and self.open:
            return self._amend()
        more = len(self.open) < OPEN_LOW or (len(self.open) < OPEN_HIGH and self.random.random() < 0.5)
        return self.place() if more else self._cancel()

    def place(self) -> Step:
        """A third of them near the touch, some of these crossing it; the others up to 60 USDT away."""
        side = self.random.choice(("BUY", "SELL"))
        near = self.random.random() < 0.33
        away_ticks = self.random.randint(-2, 60) if near else self.random.randint(60, 6_000)
        price_ticks = self.centre_ticks - away_ticks if side == "BUY" else self.centre_ticks + away_ticks
        quantity_steps = self.random.randint(50, 9_000)
        self.number += 1
        order = Resting(self.random.randrange(len(ACCOUNTS)), f"flow-{self.number}", quantity_steps)
        parameters = (
            f"symbol={SYMBOL}&side={side}&type=LIMIT&timeInForce=GTC&quantity={steps(quantity_steps)}"
            f"&price={price_ticks // 100}.{price_ticks % 100:02d}&newClientOrderId={order.client_id}"
        )
        return Step("POST", "/api/v3/order", order.account, parameters, order)

    def _taken_out(self) -> Resting:
        """One of the open ones, at random; it is no longer known as open."""
        place = self.random.randrange(len(self.open))
        self.open[place], self.open[-1] = self.open[-1], self.open[place]
        return self.open.pop()

    def _cancel(self) -> Step:
        order = self._taken_out()
        parameters = f"symbol={SYMBOL}&origClientOrderId={order.client_id}"
        return Step("DELETE", "/api/v3/order", order.account, parameters)

    def _amend(self) -> Step:
        """Its client id goes with it unless it is named."""
        order = self._taken_out()
        less = order._replace(quantity_steps=max(1, order.quantity_steps * 2 // 3))
        parameters = (
            f"symbol={SYMBOL}&origClientOrderId={order.client_id}&newClientOrderId={order.client_id}"
            f"&newQty={steps(less.quantity_steps)}"
        )
        return Step("PUT", "/api/v3/order/amend/keepPriority", order.account, parameters, less)

    def _take(self) -> Step:
        self.number += 1
        side, size = self.random.choice(("BUY", "SELL")), steps(self.random.randint(100, 12_000))
        account = self.random.randrange(len(ACCOUNTS))
        return Step(
            "POST", "/api/v3/order", account, f"symbol={SYMBOL}&side={side}&type=MARKET&quantity={size}"
            f"&newClientOrderId=take-{self.number}",
        )  # fmt: skip


def steps(count: int) -> str:
    """A quantity in steps of 0.00001 as text."""
    return f"{count // 100_000}.{count % 100_000:05d}"


class Sender:
    """Sends steps over the connections and keeps the account of the answers."""

    def __init__(self, flow: Flow, connections: list[HttpConnection]) -> None:
        self.flow, self.connections = flow, connections
        self.keys = [Key(key_text(name), key_secret(name)) for name in ACCOUNTS]
        self.pending = 0
        self.counts: Counter[str] = Counter()
        self.turn = 0
        self.idle = asyncio.Event()

    def room(self) -> int:
        """How many more may be sent now."""
        return CONNECTIONS * WINDOW - self.pending

    def send(self, step: Step) -> None:
        """One request; its answer is counted, and what it opened is known from then on."""
        now_ms = time.time_ns() // 1_000_000
        request = signed_request(step.method, step.path, self.keys[step.account], step.parameters, now_ms)
        self.turn = (self.turn + 1) % CONNECTIONS
        self.pending += 1
        self.connections[self.turn].send(request, lambda answer: self._answered(step, answer))

    def _answered(self, step: Step, answer: Answer) -> None:
        self.pending -= 1
        if not self.pending:
            self.idle.set()
        if answer.status == 200:
            self.counts["done"] += 1
            if step.opens is not None and (step.method == "PUT" or b'"status":"FILLED"' not in answer.body):
                self.flow.open.append(step.opens)
            return
        code = json.loads(answer.body)["code"] if answer.status else 0
        self.counts["refused" if code in EXPECTED else "failed"] += 1
        if code not in EXPECTED:
            print(json.dumps({"unexpected": f"{step}: {answer}"}), file=sys.stderr, flush=True)

    async def quiet(self) -> None:
        """Until everything is answered."""
        while self.pending:
            self.idle.clear()
            await self.idle.wait()

    async def burst(self, make: Callable[[], Step], count: int) -> None:
        """`count` requests as fast as the window lets them."""
        while count:
            for _ in range(min(count, self.room())):
                self.send(make())
                count -= 1
            await asyncio.sleep(TICK_S)
        await self.quiet()

    async def steady(self, rate: float, seconds: float) -> None:
        """At the rate. What the window held back is sent when there is room, but no more than a second's worth."""
        begun, sent = time.monotonic(), 0.0
        while (elapsed := time.monotonic() - begun) < seconds:
            sent = max(sent, elapsed * rate - rate)
            count = min(int(elapsed * rate - sent), self.room())
            for _ in range(count):
                self.send(self.flow.next())
            sent += count
            await asyncio.sleep(TICK_S)
        await self.quiet()


async def obey(arguments: argparse.Namespace) -> None:
    """Reads commands until the end of the input."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    connections = [await HttpConnection.open(arguments.host, arguments.port) for _ in range(CONNECTIONS)]
    flow = Flow(arguments.seed)
    sender = Sender(flow, connections)
    while line := (await reader.readline()).split():
        sender.counts.clear()
        begun = time.monotonic()
        if line[0] == b"fill":
            await sender.burst(flow.place, int(line[1]))
        else:
            await sender.steady(arguments.rate, float(line[1]))
        result = {
            **{name: sender.counts[name] for name in ("done", "refused", "failed")},
            "open": len(flow.open), "seconds": time.monotonic() - begun, "cpu_s": time.process_time(),
        }  # fmt: skip
        print(json.dumps(result), flush=True)
    for connection in connections:
        connection.close()


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser()
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--rate", type=float, default=2_400.0)
    uvloop.run(obey(parser.parse_args()))


if __name__ == "__main__":
    main()
