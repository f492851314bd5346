# SPDX-License-Identifier: Apache-2.0
"""The replica: applies the log's batches, in order, to kernel, registry and views, and hands the answers out.

The doors submit commands and are called back; listeners (streams, demo) see every batch. Order within a batch: kernel,
registry, first results, views, listeners, and only then the answers, so that whoever has an answer finds it in every
view and stream. A fault in a view or a listener closes that one; anything else that breaks a promise (the kernel
raises, an audit fails, the log is corrupt or another one) ends in `failed`, which the process awaits in order to exit.
What may never happen here: an effect that the log has not committed, an answer for other bytes than were submitted, or
going on after a fault.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from bidhall.core.exchange import Exchange
from bidhall.core.records import COMMAND_BYTES, LAYOUT_VERSION, RULES_VERSION, CommandKind, EventKind, OrderRow
from bidhall.core.views import Results, Views, event_kinds, events_of, orders_of
from bidhall.environment import Environment
from bidhall.log import (
    Batch,
    Corrupt,
    Log,
    Overloaded,
    Slot,
    Stopped,
    Unknown,
    Writer,
    WriterLimits,
    chain_next,
)  # fmt: skip
from bidhall.replica import amendments, prevention, reading, recovery
from bidhall.replica.clockwork import Clockwork
from bidhall.replica.errors import Fault, NotReady, Refused
from bidhall.replica.guard import Guard
from bidhall.replica.keys import MasterKey, master_key
from bidhall.replica.outcome import Applied, Listener, Outcome, OutcomeKind, Pending, Records, event_rows, order_rows
from bidhall.replica.recovery import Mark, State
from bidhall.replica.registry import INTERESTING, Registry
from bidhall.replica.settings import ReplicaSettings

logger: Final = logging.getLogger("bidhall.replica")

OVERLOADED_WAIT_SECONDS: Final = 0.01
REJOIN_SECONDS: Final = 0.05
LEGS_AT: Final = 6
GROUPS: Final = frozenset({CommandKind.NOTE, CommandKind.REPLACE})  # commands of several records
PREVENTED: Final = 1 << EventKind.PREVENTED


class Replica:
    """See above. `start`, then everything else, then `stop`; the log is the caller's to close."""

    def __init__(
        self,
        log: Log,
        environment: Environment,
        *,
        folder: Path | None,
        settings: ReplicaSettings | None = None,
    ) -> None:
        self.log: Final = log
        self.environment: Final = environment
        self.folder: Final = folder
        self.settings: Final = settings or ReplicaSettings()
        self.listeners: list[Listener] = []
        self.ready = False
        self.failed: asyncio.Future[None]
        seed = int.from_bytes(environment.random_bytes(8), "little")
        bounds = self.settings
        self.state: Final = State(
            Exchange(),
            Registry(MasterKey(environment.random_bytes(32)), environment),
            Views(
                trades_max=bounds.trades_max, done_bytes=bounds.done_orders_bytes, fills_max=bounds.fills_max, seed=seed
            ),
            Results(
                commands_max=bounds.results_commands_max,
                events_max=bounds.results_events_max,
                age_ns_max=int(bounds.results_seconds * 1e9),
            ),
        )
        self.exchange = self.state.exchange
        self.registry: Final = self.state.registry
        self.views: Final = self.state.views
        self.guard: Final = Guard(self)
        self._marks: deque[Mark] = deque(maxlen=bounds.compare_batches)
        self._barriers: list[tuple[int, asyncio.Future[None]]] = []
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        self._caught_up: asyncio.Future[None]
        self._clockwork: Final = Clockwork(environment, lambda: self.exchange.time_ns, lambda: self._writer.nudge())
        self._writer: Writer

    # --- life ----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Opens the log, recovers, proves that the log takes our writes, and catches up. Raises what forbids it."""
        environment = self.environment
        self.failed = environment.create_future()
        self.failed.add_done_callback(lambda future: future.exception())  # it may be that nobody waits for it
        self._caught_up = environment.create_future()
        self._caught_up.add_done_callback(lambda future: future.cancelled() or future.exception())
        await self.log.open()
        master = master_key(self.folder, environment, self.settings.master_key)
        self.registry.use(master)
        path = await environment.run(recovery.recover, self.state, self.guard.store, self.log)
        self.exchange = self.state.exchange
        self.guard.recovered(path is not None)
        await self._join()
        self._task = environment.create_task(self._follow(), "replica-follow")
        try:
            await self._caught_up
            self._check_master(master)
        except BaseException:
            await self._halt()
            raise
        self.guard.start()

    async def stop(self) -> None:
        """What was taken is finished, as far as the log lets it; then a snapshot."""
        self._stopping = True
        self.ready = False
        self._clockwork.stop()
        if self._task is None:
            return
        self._unknown(await self._writer.stop(0.0 if self.failed.done() else self.settings.stop_seconds))
        await self._halt()
        if not self.failed.done():
            await self.guard.last_snapshot()

    async def _halt(self) -> None:
        """Nothing is applied any more."""
        self.ready = False
        self._clockwork.stop()
        await self.guard.stop()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        self._release_barriers(NotReady("the replica has stopped"))

    async def _join(self) -> None:
        """A new writer, its hello durable, and the log compared with what has been applied."""
        limits = WriterLimits(
            batch_commands_max=self.settings.batch_commands_max,
            queue_commands_max=self.settings.queue_commands_max,
            queue_waiters_max=self.settings.queue_waiters_max,
            queue_seconds_max=self.settings.queue_seconds_max,
            answer_seconds_max=self.settings.answer_seconds_max,
        )
        self._writer = Writer(
            self.log,
            self.environment,
            LAYOUT_VERSION,
            RULES_VERSION,
            limits=limits,
            on_halted=self.fail,
            on_unknown=self._unknown,
        )
        await self._writer.start()
        await self._compare()

    async def _compare(self) -> None:
        count = self.settings.compare_batches
        marks, state = list(self._marks), self.state
        await self.environment.run(recovery.compare, self.log, marks, state.position, state.chain, count)

    def _check_master(self, master: MasterKey) -> None:
        """A new master key for a log that holds secrets opens none of them: that is a mistake, not a start."""
        sealed = sum(key.kind == "hmac" for key in self.registry.keys.values())
        if sealed and self.registry.unopened >= sealed:
            if master.made_at is not None:
                master.made_at.unlink(missing_ok=True)
            raise Refused("the master key opens none of the API secrets in this log: put the right master.key back")

    # --- following -----------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        try:
            while True:
                try:
                    await self._apply_all()
                    raise Fault("the log has ended")
                except Unknown as fault:  # the connection is gone; what is read next may come from another machine
                    logger.warning("the log is not reachable: %s", fault)
                    await self._rejoin()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            if not (self._stopping and isinstance(error, Fault)):
                self.fail(error)

    async def _rejoin(self) -> None:
        """The log takes our writes, and still holds what was applied. An unreachable log ends no process."""
        while True:
            await self.environment.sleep(REJOIN_SECONDS)
            try:
                await self._writer.hello()
                await self._compare()
                return
            except Unknown as fault:
                logger.warning("the log is still not reachable: %s", fault)

    async def _apply_all(self) -> None:
        clock, slice_seconds = self.environment.monotonic, self.settings.apply_slice_seconds
        follower = self.log.follow(self.state.position + 1)
        try:
            begun = clock()
            async for batches in follower:
                for batch in batches:
                    self._apply(batch)
                    if clock() - begun > slice_seconds:
                        await self.environment.sleep(0)
                        begun = clock()
        finally:
            await follower.aclose()

    def _apply(self, batch: Batch) -> None:
        """One batch, all the way."""
        state, exchange, entry = self.state, self.exchange, batch.entry
        self._check_place(batch)
        slots = self._writer.delivered(batch)
        before_ns, first_sequence = exchange.time_ns, exchange.sequence + 1
        amended = amendments.look(exchange, entry.commands)
        events = exchange.apply(entry.commands, batch.log_time_ns, entry.writer_time_ns, entry.writer, entry.number)
        state.position, state.chain = batch.position, batch.chain
        self._marks.append(Mark(batch.position, entry.writer, entry.number, entry.checksum))
        if events is not None:
            self._spread(batch, before_ns, first_sequence, events, slots, amended)
        if self._barriers:
            self._pass_barriers()
        if not self.ready and entry.writer == self._writer.id and not self._stopping:
            self.ready = True
            if not self._caught_up.done():
                self._caught_up.set_result(None)

    def _check_place(self, batch: Batch) -> None:
        state, entry = self.state, batch.entry
        if batch.position != state.position + 1:
            raise Corrupt(f"position {batch.position}", f"it was delivered after {state.position}")
        if chain_next(state.chain, batch.position, batch.log_time_ns, entry.checksum) != batch.chain:
            raise Corrupt(f"position {batch.position}", "the chain does not go on from what was applied before it")
        if entry.layout != LAYOUT_VERSION:
            raise Fault(f"position {batch.position} has layout {entry.layout}; this build knows {LAYOUT_VERSION}")

    def _spread(
        self,
        batch: Batch,
        before_ns: int,
        first_sequence: int,
        events: Records,
        slots: list[Slot],
        amended: amendments.Targets | None,
    ) -> None:
        """What the kernel did, to everybody who keeps it or waits for it."""
        exchange, commands = self.exchange, batch.entry.commands
        done, time_ns, kinds = exchange.done(), exchange.time_ns, 0
        changes = amendments.rows(amended, commands, events, first_sequence, time_ns) if amended is not None else ()
        if batch.entry.count:
            kinds = event_kinds(events)
            if kinds & INTERESTING:
                self.registry.apply(commands, events, first_sequence)
            self._keep(commands, events, done, first_sequence, time_ns)
            self.guard.applied(batch.entry.count)
        if self.listeners:
            times_ns = (before_ns, time_ns)
            tops, positions = exchange.tops(), exchange.positions()
            prevented = prevention.rows(exchange, events, done, time_ns) if kinds & PREVENTED else ()
            self._tell(
                Applied(batch, times_ns, first_sequence, kinds, events, done, tops, positions, changes, prevented)
            )
        for slot in slots:
            self._answer(slot, first_sequence, time_ns, events, done, changes)

    def _keep(self, commands: memoryview, events: Records, done: Records, first_sequence: int, time_ns: int) -> None:
        """First results and views. What fails here is closed; trading goes on."""
        try:
            self.state.results.keep(commands, events, done, first_sequence, time_ns)
            self.views.apply(events, done, time_ns)
        except Exception as error:
            logger.critical("the views are closed: %s", error, exc_info=error)
            self.views.close(f"{type(error).__name__}: {error}")

    def _tell(self, applied: Applied) -> None:
        for listener in list(self.listeners):
            try:
                listener.on_batch(applied)
            except Exception as error:
                logger.critical("a listener is dropped: %r", listener, exc_info=error)
                if listener in self.listeners:
                    self.listeners.remove(listener)

    # --- answers -------------------------------------------------------------------------------------------------

    def _answer(
        self,
        slot: Slot,
        first_sequence: int,
        time_ns: int,
        events: Records,
        done: Records,
        changes: Sequence[amendments.Amendment],
    ) -> None:
        first = first_sequence + slot.offset
        last = first + slot.count - 1
        rows = event_rows(events_of(events, first, last))
        outcome = Outcome(OutcomeKind.DONE, time_ns, first, rows, amendments=changes)
        if len(done) and (data := orders_of(done, first, last)):
            outcome.done = {order.order_id: order for order in order_rows(data)}
        if rows and rows[0].kind == EventKind.REPEATED:
            outcome.first_repeated = self._first_result(rows[0].trade_id)
        self._give(slot, outcome)

    def _first_result(self, sequence: int) -> Outcome | None:
        found = self.state.results.find(sequence)
        if found is None:
            return None
        time_ns, events, done = found
        finished = {order.order_id: order for order in order_rows(done)}
        return Outcome(OutcomeKind.DONE, time_ns, sequence, event_rows(events), finished)

    def _give(self, slot: Slot, outcome: Outcome) -> None:
        try:
            slot.waiter.on_result(outcome)  # type: ignore[attr-defined]
        except Exception as error:
            logger.critical("whoever waited for an answer failed with it", exc_info=error)

    def _unknown(self, slots: list[Slot]) -> None:
        for slot in slots:
            self._give(slot, Outcome(OutcomeKind.UNKNOWN))

    def fail(self, error: BaseException) -> None:
        """For good: nothing is applied or taken from now on, and who awaits `failed` ends the process."""
        if self.failed.done() or self._stopping:
            return
        logger.critical("the replica stops: %s", error, exc_info=error)
        self.failed.set_exception(error)
        if not self._caught_up.done():
            self._caught_up.set_exception(error)
        if self._task is not None:
            self._task.cancel()
        self._clockwork.stop()
        self._release_barriers(error)
        self.environment.create_task(self._abandon(), "replica-abandon")

    async def _abandon(self) -> None:
        self._unknown(await self._writer.stop(0.0))

    # --- for the doors -------------------------------------------------------------------------------------------

    @property
    def position(self) -> int:
        """Of the last applied batch."""
        return self.state.position

    @property
    def time_ns(self) -> int:
        """Kernel time."""
        return self.exchange.time_ns

    def submit(self, commands: bytes, on_result: Callable[[Outcome], None], deadline: float | None = None) -> None:
        """Hand commands to the log; `on_result` is called once, on the loop. Raises Overloaded or NotReady.

        `deadline`, on the environment's monotonic clock: when they must have been sent, or else are REFUSED.
        """
        if not self.ready or self.failed.done():
            raise NotReady("the replica is not ready")
        try:
            self._writer.submit(commands, Pending(on_result), deadline)
        except Stopped as error:
            raise NotReady(str(error)) from None

    async def execute(self, commands: bytes) -> Outcome:
        """Submit and wait, however many commands there are: pieces of a batch each, one behind the other."""
        merged: Outcome | None = None
        for piece in _pieces(commands, self.settings.batch_commands_max):
            outcome = await self._execute(piece)
            if merged is None:
                merged = outcome
            else:
                merged.kind, merged.time_ns, merged.refusal = outcome.kind, outcome.time_ns, outcome.refusal
                merged.events += outcome.events
                merged.done |= outcome.done
            if outcome.kind is not OutcomeKind.DONE:
                break
        if merged is None:
            raise ValueError("there are no commands to execute")
        return merged

    async def _execute(self, commands: bytes) -> Outcome:
        future: asyncio.Future[Outcome] = self.environment.create_future()

        def done(outcome: Outcome) -> None:
            if not future.done():
                future.set_result(outcome)

        while True:
            try:
                self.submit(commands, done)
                return await future
            except Overloaded:
                await self.environment.sleep(OVERLOADED_WAIT_SECONDS)

    def age_seconds(self) -> float:
        """How long the oldest command has waited that is not answered."""
        return self._writer.age_seconds()

    def want_time(self, time_ns: int) -> None:
        """Kernel time shall reach this soon after the clock does, also when nobody trades."""
        if self.ready:
            self._clockwork.want(time_ns)

    async def barrier(self) -> None:
        """Returns when everything that was acknowledged before the call, by anyone, has been applied here."""
        target = await self.log.barrier()
        if self.failed.done():
            raise NotReady("the replica has failed")
        if self.state.position < target:
            future: asyncio.Future[None] = self.environment.create_future()
            self._barriers.append((target, future))
            await future

    def read(self, callback: Callable[[], None]) -> None:
        """`barrier` for callers that cannot wait: at once when only this process writes the log."""
        if self.log.exclusive:
            callback()
        else:
            self.environment.create_task(self._read(callback), "replica-read")

    async def _read(self, callback: Callable[[], None]) -> None:
        await self.barrier()
        callback()

    async def snapshot(self) -> Path | None:
        """Write one now; None when this replica keeps none."""
        return await self.guard.snapshot()

    def order(self, account: int, market: int, order_id: int = 0, client_id: bytes = b"") -> OrderRow | None:
        """An open or done order of the account in the market, by id, or the newest by client id."""
        return reading.order(self.exchange, self.views, account, market, order_id, client_id)

    def open_orders(self, account: int, market: int = 0) -> list[OrderRow]:
        """Ascending by id; market 0: of all markets."""
        return reading.open_orders(self.exchange, account, market)

    def all_orders(
        self, account: int, market: int, limit: int, from_id: int = -1, start_ns: int = -1, end_ns: int = -1
    ) -> list[OrderRow]:
        """Open and done together, ascending by id: from a lower bound the oldest, else the newest."""
        return reading.all_orders(self.exchange, self.views, account, market, limit, from_id, start_ns, end_ns)

    # --- barriers ------------------------------------------------------------------------------------------------

    def _pass_barriers(self) -> None:
        still = []
        for target, future in self._barriers:
            if target > self.state.position:
                still.append((target, future))
            elif not future.done():
                future.set_result(None)
        self._barriers = still

    def _release_barriers(self, error: BaseException) -> None:
        barriers, self._barriers = self._barriers, []
        for _, future in barriers:
            if not future.done():
                future.set_exception(NotReady(str(error)))


def _pieces(commands: bytes, count_max: int) -> list[bytes]:
    """Cut into batches between commands, never between the records of one."""
    size_max = count_max * COMMAND_BYTES
    pieces: list[bytes] = []
    begin = end = 0
    while end < len(commands):
        legs = max(commands[end + LEGS_AT], 1) if commands[end] in GROUPS else 1
        step = legs * COMMAND_BYTES
        if end > begin and end + step - begin > size_max:
            pieces.append(commands[begin:end])
            begin = end
        end += step
    if end > begin:
        pieces.append(commands[begin:end])
    return pieces
