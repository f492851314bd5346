# SPDX-License-Identifier: Apache-2.0
"""Worlds with one planted bug each, of the kind that real exchanges have had. The simulator must catch every one.

`test_sim.py` and `python -m tests.sim --canary NAME` use them. A bug sits where it would sit in the product: in the
replica, the writer, the log, the kernel's door, or (the comparison is symmetric) in the twin. They must never be
imported by anything else.
"""

from dataclasses import replace
from typing import Any

from bidhall.core import exchange as core
from bidhall.log import Refusal, Slot, Writer, postgres_rows
from bidhall.log.batch import Batch, Entry, chain_next
from bidhall.log.postgres import PostgresLog
from bidhall.replica import Outcome, OutcomeKind, Replica, recovery
from bidhall.replica import replica as replica_module
from bidhall.replica.guard import Guard
from bidhall.replica.snapshots import Header, Section
from tests.core.canaries import FeesRoundUp, FifoIsBroken
from tests.model import ModelExchange
from tests.model.records import CommandKind
from tests.sim.world import World

DIGEST = slice(72, 88)
RECORD = 192
UNSIGNED = (CommandKind.CONFIGURE, CommandKind.MARKET, CommandKind.NOTE)


class Kernel:
    """The real kernel behind a door that can be bent."""

    def __init__(self, inner: core.Exchange | None = None) -> None:
        self.inner = inner or core.Exchange()
        self.restored = {digest for digest, *_ in inner.dump()["digests"]} if inner is not None else set()

    @classmethod
    def restore(cls, data: Any) -> "Kernel":
        return cls(core.Exchange.restore(data))

    def apply(self, commands: Any, log_ns: int, writer_ns: int, writer: bytes | None, number: int) -> Any:
        return self.inner.apply(commands, log_ns, writer_ns, writer, number)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def bent(kernel: type[Kernel]) -> tuple[tuple[Any, str, Any], ...]:
    """It takes the kernel's place in replicas."""
    return (replica_module, "Exchange", kernel), (recovery, "Exchange", kernel)


class Repeating(Kernel):
    def apply(self, commands: Any, log_ns: int, writer_ns: int, writer: bytes | None, number: int) -> Any:
        if writer is not None and 0 < number <= self.inner.writer_number(writer):
            return self.inner.apply(commands, log_ns, writer_ns)
        return self.inner.apply(commands, log_ns, writer_ns, writer, number)


class OneClock(Kernel):
    def apply(self, commands: Any, log_ns: int, writer_ns: int, writer: bytes | None, number: int) -> Any:
        latest = max(log_ns, writer_ns)
        return self.inner.apply(commands, latest, latest, writer, number)


class Forgetful(Kernel):
    """What was signed before the restart is not known any more."""

    def apply(self, commands: Any, log_ns: int, writer_ns: int, writer: bytes | None, number: int) -> Any:
        commands = bytearray(commands)
        for at in range(0, len(commands), RECORD):
            digest = slice(at + DIGEST.start, at + DIGEST.stop)
            if commands[at] not in UNSIGNED and commands[digest].hex() in self.restored:
                commands[digest] = bytes(byte ^ 0x5A for byte in commands[digest])
        return self.inner.apply(bytes(commands), log_ns, writer_ns, writer, number)


class AcknowledgesBeforeCommit(World):
    """A reader sees what is being committed."""

    def prepare(self) -> None:
        self.server.dirty_reads = True


class AcknowledgingReplica(Replica):
    def submit(self, commands: bytes, on_result: Any, deadline: float | None = None) -> None:
        super().submit(commands, lambda outcome: None, deadline)
        on_result(Outcome(OutcomeKind.DONE, self.exchange.time_ns, self.exchange.sequence + 1))


class AcknowledgesWhenSent(World):
    """An answer is given when the command has been handed over."""

    make_replica = AcknowledgingReplica


class BreaksFifo(World):
    """A new order goes before the others of its price."""

    make_twin = FifoIsBroken


class RoundsFeesUp(World):
    """A fee of a fraction is a whole unit."""

    make_twin = FeesRoundUp


class ForgetsAtOnce(ModelExchange):
    def forget_digests(self) -> None:
        self.digests.clear()


class ClosesTheWindow(World):
    """A digest is forgotten before its window is over."""

    make_twin = ForgetsAtOnce


class ForgetsAtRestart(World):
    """Digests do not come back with the snapshot."""

    planted = bent(Forgetful)


class AppliesRepeats(World):
    """A writer's batch that stands in the log twice is applied twice."""

    planted = bent(Repeating)


class BelievesOneClock(World):
    """Kernel time is the latest that anybody says."""

    planted = bent(OneClock)


class SkippingCursor(postgres_rows.Cursor):
    """Takes what is there, holes or not."""

    __slots__ = ()

    def take(self, rows: list[Any]) -> list[Batch]:
        batches = []
        for position, log_time_ns, raw in rows:
            entry = Entry.decode(bytes(raw), f"position {position}")
            self.position += 1
            self.chain = chain_next(self.chain, self.position, log_time_ns, entry.checksum)
            batches.append(Batch(self.position, log_time_ns, entry, self.chain))
        self.position = self.highest = rows[-1][0] if rows else self.position
        return batches


class CredulousReplica(Replica):
    def _check_place(self, batch: Batch) -> None:
        pass


class SkipsHoles(World):
    """A position that is still being committed is passed over, and nobody checks."""

    make_replica = CredulousReplica
    planted = ((postgres_rows, "Cursor", SkippingCursor),)


class StaleLog(PostgresLog):
    async def barrier(self) -> int:
        return self.head


class ReadsWithoutBarrier(World):
    """A signed read shows what this task happens to know."""

    make_log = StaleLog


class LateReplica(Replica):
    """Keeps the kernel as it was one batch ago."""

    def _apply(self, batch: Batch) -> None:
        exchange = self.exchange
        before = exchange.snapshot(), exchange.sequence, exchange.event_hash
        super()._apply(batch)
        self.before = before


class LateGuard(Guard):
    def _header(self) -> Header:
        _, sequence, event_hash = self.replica.before  # type: ignore[attr-defined]
        return replace(super()._header(), sequence=sequence, event_hash=event_hash)

    def _sections(self) -> list[Section]:
        kernel = self.replica.before[0]  # type: ignore[attr-defined]
        return [("kernel", len(kernel), (kernel,)), *super()._sections()[1:]]


class MisplacesSnapshots(World):
    """A snapshot names the position after the one that its kernel is at."""

    make_replica = LateReplica
    planted = ((replica_module, "Guard", LateGuard),)


def compares_nothing(*_: Any) -> None:
    pass


class OverlooksALostTail(World):
    """After a connection was lost the log is not compared with what was applied."""

    make_replica = CredulousReplica
    planted = ((recovery, "compare", compares_nothing), (recovery, "_check", compares_nothing))

    def prepare(self) -> None:
        self.options.lost_tail = True


class HastyWriter(Writer):
    """Refuses what is past its deadline, sent or not."""

    def _expire(self) -> None:
        super()._expire()
        flight = self._flight
        if flight is not None:
            slots, flight.slots = flight.slots, []
            for slot in slots:
                slot.waiter.refused(Refusal.TIMED_OUT_QUEUED)


class RefusesWhatWasSent(World):
    """A command whose batch is on its way is answered as if it had never been sent."""

    planted = ((replica_module, "Writer", HastyWriter),)


class MixingReplica(Replica):
    def _answer(self, slot: Slot, *rest: Any) -> None:
        super()._answer(slot._replace(offset=0), *rest)


class MixesAnswers(World):
    """Everybody in a batch is given the first one's answer."""

    make_replica = MixingReplica


class SwallowingReplica(Replica):
    def _answer(self, slot: Slot, *rest: Any) -> None:
        if slot.offset == 0:
            super()._answer(slot, *rest)


class SwallowsAnswers(World):
    """Only the first of a batch is told."""

    make_replica = SwallowingReplica


class StoppingReplica(Replica):
    def _unknown(self, slots: list[Slot]) -> None:
        pass


class StopsWithoutAWord(World):
    """Requests whose fate is not known at a stop get no answer."""

    make_replica = StoppingReplica


class InsertsOnConflict(World):
    """An append whose position was closed passes for done."""

    def prepare(self) -> None:
        self.server.conflicts_pass = True
        self.options.server.slow_insert, self.options.hole_seconds = 0.2, 0.003


CANARIES: dict[str, type[World]] = {
    canary.__name__: canary
    for canary in (
        AcknowledgesBeforeCommit,
        AcknowledgesWhenSent,
        AppliesRepeats,
        BelievesOneClock,
        BreaksFifo,
        ClosesTheWindow,
        ForgetsAtRestart,
        InsertsOnConflict,
        MisplacesSnapshots,
        MixesAnswers,
        OverlooksALostTail,
        ReadsWithoutBarrier,
        RefusesWhatWasSent,
        RoundsFeesUp,
        SkipsHoles,
        StopsWithoutAWord,
        SwallowsAnswers,
    )
}
