# SPDX-License-Identifier: Apache-2.0
"""Those who trade: commands from the twin's generator, signed, sent to any task, sent again until their fate is known.

Made by `world`. A client keeps a ledger of what it was told and gives every answer to the oracle, the late ones too.
What it must never do: change the bytes of a command that it sends again, or look at a replica other than by asking.
"""

import asyncio
from collections.abc import Coroutine
from random import Random
from typing import TYPE_CHECKING, Any

from bidhall.core.records import COMMAND_BYTES, CommandKind, EventKind
from bidhall.log import LogFault
from bidhall.replica import NotReady, Outcome, OutcomeKind, Overloaded
from tests.model import commands
from tests.sim.environment import NS, START_NS

if TYPE_CHECKING:
    from tests.sim.process import Process
    from tests.sim.world import World

GROUPS = (CommandKind.NOTE, CommandKind.REPLACE)
UNSIGNED = (CommandKind.CONFIGURE, CommandKind.MARKET, CommandKind.NOTE)
LEGS_AT = 6
ANSWER_SECONDS = (0.03, 0.3, 3.0)
CALM_SECONDS = 15.0
WANTS_TIME = 0.2  # of those who read
GIVE_UP_SECONDS = 1.0  # of a read


def split(raw: bytes) -> list[bytes]:
    """Into commands, however many records each has."""
    parts, at = [], 0
    while at < len(raw):
        count = max(raw[at + LEGS_AT], 1) if raw[at] in GROUPS else 1
        parts.append(raw[at : at + count * COMMAND_BYTES])
        at += count * COMMAND_BYTES
    return parts


class Order:
    """Something that a client wants done once, and what it was told of it."""

    def __init__(self, raw: bytes, digest: bytes) -> None:
        self.raw = raw
        self.digest = digest
        self.effects: set[int] = set()  # sequences at which it was told that it was done
        self.is_known = False
        self.is_done = False
        self.attempts = 0
        self.refusals = 0


class Client:
    """See above."""

    def __init__(self, world: "World", name: str) -> None:
        self.world = world
        self.name = name
        self.random = Random(world.random.getrandbits(64))
        self.orders: list[Order] = []
        self._accepted: tuple[int, int, int] | None = None  # account, market, order id of one that was acknowledged

    async def run(self) -> None:
        world, random = self.world, self.random
        while world.take_turn():
            await asyncio.sleep(random.expovariate(1.0) * world.options.think_seconds)
            if random.random() < world.options.read:
                await self.read()
                continue
            for raw in split(world.next_commands())[:20]:
                await self.submit(self.signed(raw))

    def signed(self, raw: bytes) -> Order:
        digest = self.random.randbytes(16)
        if raw[0] in UNSIGNED:
            return Order(raw, b"")
        window_ns = self.random.choice((NS // 5, 5 * NS, 60 * NS))
        deadline_ns = START_NS + int(self.world.loop.now * NS) + window_ns
        return Order(commands.signed(raw[:COMMAND_BYTES], digest, deadline_ns) + raw[COMMAND_BYTES:], digest)

    # -- commands

    async def submit(self, order: Order) -> None:
        """Until its fate is known; one without a digest is sent once."""
        self.orders.append(order)
        while not order.is_known:
            process = await self._ready_process()
            await self._attempt(order, process)
            if not order.digest and order.attempts:
                return
        if order.digest and self.random.random() < self.world.options.resend:
            self.world.count("answered, and sent once more")
            await self._attempt(order, await self._ready_process())

    async def ask(self, process: "Process", raw: bytes) -> bool:
        """Once, at this task; whether it was done."""
        order = Order(raw, b"")
        await self._attempt(order, process)
        return order.is_done

    async def _ready_process(self) -> "Process":
        while True:
            ready = [process for process in self.world.processes if process.is_ready]
            if ready:
                return self.random.choice(ready)
            await asyncio.sleep(0.03)

    async def _attempt(self, order: Order, process: "Process") -> None:
        """One request. No answer in time, or a connection that ended: it may have happened or not."""
        loop = self.world.loop
        answered: asyncio.Future[None] = loop.create_future()
        who = process.told_name

        was_calm, outcomes = self.world.is_calm, []

        def on_result(outcome: Outcome) -> None:
            outcomes.append(outcome)
            if len(outcomes) > 1:
                self.world.accuse(f"{who} answered one request {len(outcomes)} times")
            process.unanswered -= 1
            self._answered(order, who, outcome)
            settle()

        def settle() -> None:
            if not answered.done():
                answered.set_result(None)

        def arrive() -> None:
            replica = process.replica
            if replica is None or not process.is_ready:
                settle()
                return
            deadline = replica.environment.monotonic() + self.random.choice((0.02, 0.5, 5.0))
            order.attempts += 1
            process.unanswered += 1
            try:
                replica.submit(order.raw, on_result, deadline)
            except (NotReady, Overloaded):
                order.attempts -= 1
                process.unanswered -= 1
                settle()

        loop.call_later(self.random.random() * 0.001, arrive, context=process.owner.context)
        await asyncio.wait([answered], timeout=CALM_SECONDS if was_calm else self.random.choice(ANSWER_SECONDS))
        if not answered.done():
            self.world.count("no answer in time")
            if was_calm and process.is_ready and process.told_name == who:
                self.world.accuse(f"{who} did not answer a request in {CALM_SECONDS:.0f} s, and nothing was wrong")

    def _answered(self, order: Order, who: str, outcome: Outcome) -> None:
        world = self.world
        if outcome.kind is OutcomeKind.REFUSED:
            order.refusals += 1
            if order.refusals == order.attempts:  # every one of them was refused: it is nowhere
                order.is_known = True
            return
        if outcome.kind is OutcomeKind.UNKNOWN:
            world.count("answered: unknown")
            return
        order.is_known = order.is_done = True
        effect = world.oracle.check_answer(who, order.raw, outcome)
        if effect:
            order.effects.add(effect)
            if len(order.effects) > 1:
                world.accuse(f"{self.name} was told that one request was done at sequences {sorted(order.effects)}")
        world.note_acknowledged(outcome.first_sequence + len(order.raw) // COMMAND_BYTES - 1)
        first = outcome.events[0] if outcome.events else None
        if first is not None and first.kind == EventKind.REPEATED:
            world.count("repeat answered with the first result")
        if first is not None and first.kind == EventKind.ACCEPTED:
            self._accepted = first.account, first.market, first.order_id

    # -- reads

    async def read(self) -> None:
        """A signed read, at any task: it sees what anybody was told before it began (promise 8)."""
        process = await self._ready_process()
        loop, replica, world = self.world.loop, process.replica, self.world
        assert replica is not None
        acknowledged, mine, who = world.acknowledged, self._accepted, process.told_name

        async def behind_the_barrier() -> None:
            if self.random.random() < WANTS_TIME:
                replica.want_time(replica.time_ns + self.random.randrange(NS // 10))
            await replica.barrier()
            if replica.failed.done():
                return
            world.count("read")
            if replica.exchange.sequence < acknowledged:
                world.accuse(f"{who} read at sequence {replica.exchange.sequence}; {acknowledged} was acknowledged")
            elif mine is not None and replica.order(*mine) is None:
                world.accuse(f"{who} does not know order {mine[2]}, which was acknowledged")
            world.check_read(who, replica)

        await self._ask(loop.spawn(process.owner, self._quiet(behind_the_barrier()), f"read-{self.name}"))

    async def _quiet(self, question: Coroutine[Any, Any, None]) -> None:
        try:
            await question
        except (NotReady, LogFault):
            self.world.count("read refused")

    async def _ask(self, task: "asyncio.Task[None]") -> None:
        await asyncio.wait([task], timeout=GIVE_UP_SECONDS)
        if task.done() and task.exception() is not None:
            raise task.exception() or AssertionError
