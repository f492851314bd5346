# SPDX-License-Identifier: Apache-2.0
"""One world: made from a seed, plagued, healed, and judged.

Called by the tests and by `python -m tests.sim`. Its life: a quiet beginning (the first task starts, accounts and
markets are made); the *safety phase*, in which everything may fail; *heal*; the *liveness phase*, in which every
request must get its answer and every task must catch up; the judgement over states, ledger and replays; and in some
worlds, at the very end, a failover that loses the log's tail. What it must never do: draw from anything but its seed.
"""

import asyncio
import gc
import logging
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

from bidhall.core.exchange import Exchange
from bidhall.log import LogFault, postgres, postgres_rows
from bidhall.replica import Replica
from bidhall.replica.snapshots import BadSnapshot, Loaded
from tests.model import ModelExchange, commands
from tests.model.histories import History
from tests.sim import disk
from tests.sim.clients import Client
from tests.sim.environment import NS
from tests.sim.loop import Owner, SimulatedLoop, Stuck
from tests.sim.options import Options, ServerFaults
from tests.sim.oracle import Oracle
from tests.sim.process import Process, may_end
from tests.sim.server import OnTheSpot, Server

MEMORY = Path("/dev/shm")
LIVENESS_SECONDS = 60.0
WRITERS_MAX = 64
POLL_GAP_SECONDS = 0.006
LOST_TAIL_SECONDS = 2.0


class Violation(AssertionError):
    """A promise was broken. The text says which, in which world, and how to see it again."""


class World:
    """See above. A canary gives other classes to `make_log`, `make_replica` and `make_twin`."""

    make_log: Any = postgres.PostgresLog
    make_replica: Any = Replica
    make_twin: Any = ModelExchange
    has_trims = False  # `python -m tests.sim --trims`: see there
    planted: tuple[tuple[Any, str, Any], ...] = ()  # a canary's: what is replaced while the world turns

    def __init__(self, seed: int, story: list[str] | None = None) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.options = Options(self.random)
        self.story = story
        self.reached: Counter[str] = Counter()
        self.accusations: list[str] = []
        self.loop = SimulatedLoop(Random(self.random.getrandbits(64)))  # type: ignore[abstract]
        self._faults = self.options.server
        self.server = Server(self.loop, Random(self.random.getrandbits(64)), ServerFaults())
        self.oracle = Oracle(self.server, self.accuse, self.make_twin())
        self.history = History(seed, self.oracle.twin)
        self.history.options.limits["writers_max"] = WRITERS_MAX
        self.folder = Path(tempfile.mkdtemp(prefix="bidhall-sim-", dir=MEMORY if MEMORY.is_dir() else None))
        self.processes = [Process(self, f"task{i}", self.folder / str(i)) for i in range(self.options.replicas)]
        self.clients = [Client(self, f"client{i}") for i in range(self.options.clients)]
        self.acknowledged = 0  # the highest sequence that anybody was told of
        self.has_lost_tail = False
        self.server.on_trim = self.oracle.catch_up
        self._turns = self.options.submits
        self.is_calm = True
        self._ended: asyncio.Future[None] = self.loop.create_future()
        self.prepare()

    def prepare(self) -> None:
        """A canary's: whatever else its bug needs."""

    # -- what the others tell

    def tell(self, what: str) -> None:
        if self.story is not None:
            self.story.append(f"{self.loop.now:9.4f}  {what.replace(str(self.folder), '…')}")

    def count(self, what: str) -> None:
        self.reached[what] += 1

    def accuse(self, what: str) -> None:
        self.accusations.append(what)
        self.tell(f"ACCUSED: {what}")
        if not self._ended.done():
            self._ended.set_result(None)

    def note_applied(self, process: Process) -> None:
        replica = process.replica
        assert replica is not None
        if self.has_lost_tail:
            return
        told = self.oracle.told[replica.position - 1] if replica.position <= self.oracle.position else None
        if told is None or told.chain != replica.state.chain:
            self.accuse(f"{process.told_name} is at position {replica.position} with another chain than the log's")

    def note_acknowledged(self, sequence: int) -> None:
        self.acknowledged = max(self.acknowledged, sequence)

    def check_read(self, who: str, replica: Replica) -> None:
        """What a read shows is what the rules say, at the sequence at which it is shown."""
        self.oracle.catch_up()
        twin = self.oracle.twin
        if replica.exchange.sequence != twin.sequence or not twin.accounts:
            return
        account = 1 + self.random.randrange(len(twin.accounts))
        shown = {asset: (free, locked) for asset, free, locked in replica.exchange.balances(account)}
        for asset in twin.assets:
            balance = twin.balance(account, asset)
            if shown.get(asset, (0, 0)) != (balance.free_units, balance.locked_units):
                self.accuse(f"{who} shows {shown.get(asset)} of asset {asset} to account {account}, not {balance}")

    def judge_end(self, process: Process, error: BaseException | None) -> None:
        """A process has ended by itself: only a server that cannot be reached is a reason, or a lost tail."""
        self.tell(f"{process.told_name} ends: {type(error).__name__}: {error}")
        self.count(f"ended by {type(error).__name__}")
        if not self.has_lost_tail and not may_end(error):
            self.accuse(f"{process.told_name} stopped without a reason: {type(error).__name__}: {error}")

    def take_turn(self) -> bool:
        self._turns -= 1
        return self._turns >= 0

    def next_commands(self) -> bytes:
        self.oracle.catch_up()
        self.history.now_ns = self.oracle.twin.time_ns
        self.history.targets_left = self.oracle.twin.open_order_count
        activation = self.history.activation()
        if activation:
            return b"".join(activation)
        repairs = self.history.repairs() if self.random.random() < 0.2 else []
        return b"".join([*repairs, self.history.command()])

    # -- phases

    def run(self) -> None:
        """Raises `Violation`."""
        gc_was_on = gc.isenabled()
        gc.disable()
        try:
            with self._patched():
                self._turn_on(self._begin(), 30.0, "the beginning")
                self.is_calm = False
                self._turn_on(self._safety(), self.options.seconds_max + 60.0, "the safety phase")
                self._heal()
                self._turn_on(self._liveness(), LIVENESS_SECONDS, "the liveness phase")
                self._judge()
                if self.options.lost_tail:
                    self._turn_on(self._lose_tail(), 60.0, "the lost tail")
                    self._judge_lost_tail()
        finally:
            self._close()
            if gc_was_on:
                gc.enable()

    def _turn_on(self, coroutine: Any, seconds_max: float, phase: str) -> None:
        self.tell(f"--- {phase}")
        task = self.loop.spawn(self.loop.outside, coroutine, phase)
        task.add_done_callback(lambda _: None if self._ended.done() else self._ended.set_result(None))
        try:
            self.loop.run_until(self._ended, seconds_max)
        except Stuck as stuck:
            self.accuse(f"{phase} does not end: {stuck}")
        if task.done() and not task.cancelled() and task.exception() is not None and not self.accusations:
            raise task.exception() or AssertionError
        self._conclude()
        self._ended = self.loop.create_future()

    def _conclude(self) -> None:
        if self.accusations:
            again = f"python -m tests.sim {self.seed}"
            raise Violation(f"seed {self.seed}: {self.accusations[0]}\n  again: {again}\n  {self.options.told()}")

    async def _begin(self) -> None:
        """One task, no faults: the world is made."""
        first = self.processes[0]
        first.start()
        await self._until_ready(first)
        assert first.replica is not None
        opening = self.history.opening()
        done = self.loop.spawn(first.owner, first.replica.execute(opening), "opening")
        await asyncio.wait([done])
        self.oracle.catch_up()
        for process in self.processes[1:]:
            process.start()

    async def _until_ready(self, process: Process) -> None:
        await self._until(lambda: process.is_ready)

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():  # noqa: ASYNC110, time passes when everybody sleeps
            await asyncio.sleep(0.02)

    async def _safety(self) -> None:
        self.server.faults = self._faults
        clients = [self.loop.spawn(self.loop.outside, client.run(), client.name) for client in self.clients]
        self._client_tasks = clients
        chaos = self.loop.spawn(self.loop.outside, self._chaos(), "chaos")
        await asyncio.wait(clients, timeout=self.options.seconds_max)
        chaos.cancel()
        with suppress(asyncio.CancelledError):
            await chaos

    def _heal(self) -> None:
        self.tell("--- heal")
        self.is_calm = True
        self.server.faults.heal()
        self.server.start()
        self.server.stalled_until = self.loop.now
        for process in self.processes:
            process.owner.steps_left = -1

    async def _liveness(self) -> None:
        """Everybody gets his answer, asks once more, and all tasks stand at the same place."""
        self._turns = max(self._turns, 0) + len(self.clients)
        await asyncio.wait(self._client_tasks)
        more = [self.loop.spawn(self.loop.outside, client.run(), client.name) for client in self.clients]
        await asyncio.wait(more)
        for task in (*self._client_tasks, *more):
            if task.exception() is not None:
                raise task.exception() or AssertionError
        for process in self.processes:
            await self._until_done(process)
        await self._until(self._is_level)

    async def _until_done(self, process: Process) -> None:
        """Every task does something new for whoever asks it now."""
        asker = Client(self, "the last to ask")
        while not await asker.ask(process, commands.mark(1)):  # noqa: ASYNC110
            await asyncio.sleep(0.02)

    def _is_level(self) -> bool:
        ready = all(process.is_ready for process in self.processes)
        done = not self.server.keys and self.server.head == max(self.server.rows, default=0)
        return ready and done and all(self._position(process) == self.server.head for process in self.processes)

    def _position(self, process: Process) -> int:
        return process.replica.position if process.replica is not None else 0

    # -- chaos

    async def _chaos(self) -> None:
        options, random = self.options, self.random
        rates = {
            self._kill: options.kills,
            self._stop: options.stops,
            self._cut: options.cuts,
            self._failover: options.failovers,
            self._stall: options.stalls,
            self._step_clock: options.clock_steps,
            self._trim: options.trims if self.has_trims else 0.0,
        }
        total = sum(rates.values())
        if not total:
            return
        while True:
            await asyncio.sleep(random.expovariate(total))
            random.choices(list(rates), list(rates.values()))[0]()

    def _kill(self) -> None:
        self.random.choice(self.processes).kill_soon(1 + int(self.random.expovariate(0.02)))

    def _stop(self) -> None:
        self.random.choice(self.processes).stop()

    def _cut(self) -> None:
        process = self.random.choice(self.processes)
        self.tell(f"{process.told_name} loses its connections")
        self.count("connections cut")
        self.server.cut([session for session in self.server.sessions if session.owner is process.owner])

    def _failover(self) -> None:
        if not self.server.is_up:
            return
        self.server.crash()
        self.count("failover")
        self.tell(f"the server fails over at {self.server.head}, the sequence at {self.server.sequence}")
        self.loop.call_outside(self.random.choice((0.05, 0.3, 1.5)), self.server.start)

    def _stall(self) -> None:
        self.server.stalled_until = self.loop.now + self.random.choice((0.02, 0.3, 3.0 * self.random.random()))
        self.count("stall")
        self.tell(f"the server stalls until {self.server.stalled_until:.3f}")

    def _trim(self) -> None:
        """Some task trims the log behind the oldest snapshot of all."""
        kept = [[int(path.name[:16]) for path in disk.names(process.folder)] for process in self.processes]
        before = min(min(positions, default=0) for positions in kept) + 1
        process = self.random.choice(self.processes)
        if before > self.server.first and process.is_ready and process.replica is not None:
            self.tell(f"{process.told_name} trims before {before}")
            self.loop.spawn(process.owner, self._trimmed(process.replica, before), "trim")

    async def _trimmed(self, replica: Replica, before: int) -> None:
        with suppress(LogFault):
            await replica.log.trim(before)

    def _step_clock(self) -> None:
        clock = self.random.choice([self.server.clock, *(process.clock for process in self.processes)])
        clock.off_ns = self.random.choice((0, 1, -1, 10, -10, 4000, -4000)) * self.random.randrange(NS)
        clock.drift = self.random.choice((0.0, 0.0, 1e-4, -1e-4))
        self.count("clock stepped")

    # -- judgement

    def _judge(self) -> None:
        oracle = self.oracle
        oracle.catch_up()
        kernel = oracle.replay("a replay from the start", Exchange(), 0)
        event_hash, state_hash = kernel.event_hash, kernel.state_hash()
        oracle.check_state("a replay from the start", kernel)
        for process in self.processes:
            assert process.replica is not None
            exchange = process.replica.exchange
            if exchange.event_hash != event_hash or exchange.state_hash() != state_hash:
                oracle.check_state(process.told_name, exchange)
                self.accuse(f"{process.told_name} has other hashes than a replay from the start")
            exchange.audit()
            if process.unanswered:
                self.accuse(f"{process.told_name} never answered {process.unanswered} requests")
            self._replay_from_snapshot(process, event_hash, state_hash)
        found = oracle.check_ledger()
        for client in self.clients:
            for order in client.orders:
                self._judge_order(client, order, found)
        for error in self.loop.errors:
            self.tell(f"loop: {error}")
        self._conclude()

    def _judge_order(self, client: Client, order: Any, found: dict[bytes, list[int]]) -> None:
        if not order.digest:
            return
        if order.effects and sorted(order.effects) != found.get(order.digest):
            self.accuse(f"{client.name} was told of {order.effects}, the log has {found.get(order.digest)}")
        if order.attempts == order.refusals and order.digest in found:
            self.accuse(f"{client.name} was told that a request was never sent, and the log has it")
        if not order.is_known:
            self.accuse(f"{client.name} never learned what became of a request")

    def _replay_from_snapshot(self, process: Process, event_hash: bytes, state_hash: bytes) -> None:
        for path in disk.names(process.folder):
            try:
                snapshot = Loaded(path)
            except BadSnapshot:
                continue
            with snapshot.section("kernel") as data:
                kernel = Exchange.restore(data)
            position = snapshot.header.position
            snapshot.close()
            self.oracle.replay(f"a replay from {path.name} of {process.name}", kernel, position)
            self.count("replayed from a snapshot")
            if kernel.event_hash != event_hash or kernel.state_hash() != state_hash:
                self.accuse(f"{process.name}: from snapshot {path.name} the log comes to another state")
            return

    # -- a lost tail

    async def _lose_tail(self) -> None:
        """The standby that took over had not everything: whoever applied what it lacks must stop.

        Where there are several tasks, one is away meanwhile and has applied nothing of what is lost.
        """
        lost_from = max(self.server.head - self.random.randint(0, 5), 2)
        if len(self.processes) > 1:
            away = self.processes[-1]
            away.kill()
            away.is_running = True  # nobody starts it again yet
            lost_from = self.server.head + 1
            while self.server.head < lost_from + self.random.randint(0, 3):
                await Client(self, "somebody").ask(self.processes[0], commands.mark(1))
            away.is_running = False
            self.loop.call_outside(0.5, away.start)
        self.has_lost_tail = True
        self.server.crash(lost_from)
        self.tell(f"the server loses its tail; it is at {self.server.head}, the sequence at {self.server.sequence}")
        await asyncio.sleep(self.random.choice((0.05, 0.3)))
        self.server.start()
        await asyncio.sleep(LOST_TAIL_SECONDS)

    def _judge_lost_tail(self) -> None:
        after = Oracle(self.server, lambda _: None, self.make_twin())
        after.catch_up()
        if after.poisoned:
            self.count("lost tail: the log holds a writer's number that follows on a lost one")
            self.tell(f"after the lost tail: {after.poisoned}")
        for process in self.processes:
            replica = process.replica
            if not process.is_running or replica is None or not replica.ready or replica.failed.done():
                self.count("lost tail: a task stopped")
                continue
            told = after.told[replica.position - 1] if 0 < replica.position <= after.position else None
            if told is None or told.chain != replica.state.chain:
                self.accuse(
                    f"{process.told_name} goes on at {replica.position} though the log has lost what it applied"
                )
            else:
                self.count("lost tail: a task goes on")
        self._conclude()

    # -- what is around

    @contextmanager
    def _patched(self) -> Iterator[None]:
        """Rhythms of the log by seed, its blocking reads on the spot, and no lines from its logger."""
        patched: list[tuple[Any, str, Any]] = [
            (postgres, "Blocking", OnTheSpot),
            (postgres, "POLL_BUSY_SECONDS", self.options.poll_busy_seconds),
            (postgres, "POLL_GAP_SECONDS", POLL_GAP_SECONDS),
            (postgres, "BUSY_SECONDS", 0.03),
            (postgres_rows, "CHAIN_EVERY", self.options.chain_every),
            *self.planted,
        ]
        before = [(where, name, getattr(where, name)) for where, name, _ in patched]
        for where, name, value in patched:
            setattr(where, name, value)
        logger, handler = logging.getLogger("bidhall"), Teller(self)
        level, propagate = logger.level, logger.propagate
        logger.addHandler(handler)
        logger.propagate = False
        logger.setLevel(logging.INFO if self.story is not None else logging.CRITICAL)
        try:
            yield
        finally:
            for where, name, value in before:
                setattr(where, name, value)
            logger.removeHandler(handler)
            logger.propagate = propagate
            logger.setLevel(level)

    def _close(self) -> None:
        """Nothing is left: no task, no file."""
        self.story = None
        self.server.crash()
        owners: list[Owner] = [owner for process in self.processes for owner in process.owners]
        for owner in owners:
            self.loop.revive(owner)
        for process in self.processes:
            process.is_running = True  # nobody starts it again
        self.loop.bury()
        self.reached.update(self.server.reached)
        shutil.rmtree(self.folder, ignore_errors=True)


class Teller(logging.Handler):
    """Log lines become part of the story."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        if self._world.story is not None:
            self._world.tell(f"    {record.levelname.lower()}: {record.getMessage()}")
