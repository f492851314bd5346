# SPDX-License-Identifier: Apache-2.0
"""The writer: hello, numbers, group commit, deadlines, limits, and what becomes of commands when a log fails."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from bidhall.environment import RealEnvironment
from bidhall.log import Batch, Entry, Foreign, Halted, MemoryLog, Overloaded, Refusal, Stopped, Unknown, Writer
from bidhall.log.writer import WriterLimits

from .conftest import LogMaker


def command(index: int) -> bytes:
    return index.to_bytes(4, "little") * 48


class Asker:
    """A waiter: remembers what it was told."""

    def __init__(self) -> None:
        self.refusals: list[Refusal] = []
        self.slots: list[tuple[int, int, int]] = []  # number of the batch, offset, count

    def refused(self, reason: Refusal) -> None:
        self.refusals.append(reason)


class Desk:
    """What a replica is to the writer: follows, tells it, and keeps what it has seen applied."""

    def __init__(self, writer: Writer, log: Any) -> None:
        self.writer, self.log = writer, log
        self.applied: list[Batch] = []
        self.numbers: dict[bytes, int] = {}
        self.paused = asyncio.Event()
        self.paused.set()

    async def follow(self) -> None:
        async for batches in self.log.follow(1):
            for batch in batches:
                await self.paused.wait()
                for slot in self.writer.delivered(batch):
                    slot.waiter.slots.append((batch.entry.number, slot.offset, slot.count))  # type: ignore[attr-defined]
                if batch.entry.number > self.numbers.get(batch.entry.writer, 0):
                    assert batch.entry.number == self.numbers.get(batch.entry.writer, 0) + 1
                    self.numbers[batch.entry.writer] = batch.entry.number
                    self.applied.append(batch)

    def commands(self) -> list[bytes]:
        """In the order in which a kernel would have seen them."""
        return [
            bytes(batch.entry.commands[at : at + 192])
            for batch in self.applied
            for at in range(0, len(batch.entry.commands), 192)
        ]


class FlakyLog(MemoryLog):
    """Answers `Unknown` when it is told to, with the batch there or without it; can be held up."""

    def __init__(self, environment: RealEnvironment) -> None:
        super().__init__(environment)
        self.answers: Iterator[str] = iter(())
        self.gate = asyncio.Event()
        self.gate.set()
        self.appended: list[Entry] = []

    async def append(self, entry: Entry) -> None:
        self.appended.append(entry)
        await self.gate.wait()
        answer = next(self.answers, "yes")
        if answer == "halt":
            raise Halted("the disk is gone")
        if answer == "bug":
            raise ZeroDivisionError("nobody thought of this")
        if answer != "lost":
            await super().append(entry)
        if answer != "yes":
            raise Unknown(answer)


@pytest.fixture
async def desk(environment: RealEnvironment) -> AsyncIterator[Callable[..., Any]]:
    """Gives a started writer's desk on a flaky log."""
    tasks: list[asyncio.Task[None]] = []

    async def make(log: Any = None, start: bool = True, **limits: Any) -> Desk:
        log = log or FlakyLog(environment)
        writer = Writer(log, environment, 1, 1, limits=WriterLimits(retry_seconds_min=0.001, **limits))
        made = Desk(writer, log)
        tasks.append(asyncio.create_task(made.follow()))
        if start:
            await writer.start()
            await log.barrier()
        return made

    yield make
    for task in tasks:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - the condition is of the thing under test, which knows no event
            await asyncio.sleep(0.001)


async def test_the_hello_is_number_one_and_empty(desk: Any) -> None:
    one = await desk()
    hello = one.applied[0].entry
    assert (hello.number, hello.count, hello.layout, hello.rules) == (1, 0, 1, 1)
    assert hello.writer == one.writer.id
    other = await desk(one.log)
    assert other.writer.id != one.writer.id
    assert other.applied[-1].entry.number == 1


async def test_what_comes_in_together_goes_together_and_the_next_batch_forms_meanwhile(desk: Any) -> None:
    one = await desk()
    askers = [Asker() for _ in range(6)]
    one.log.gate.clear()
    for index in range(3):
        one.writer.submit(command(index) * (index + 1), askers[index])
    await asyncio.sleep(0.01)
    for index in range(3, 6):
        one.writer.submit(command(index), askers[index])
        await asyncio.sleep(0.002)
    assert len(one.log.appended) == 2, "one batch in flight"
    assert one.writer.queued == 3
    one.log.gate.set()
    await until(lambda: askers[-1].slots)
    assert [asker.slots for asker in askers] == [
        [(2, 0, 1)],
        [(2, 1, 2)],
        [(2, 3, 3)],
        [(3, 0, 1)],
        [(3, 1, 1)],
        [(3, 2, 1)],
    ]
    assert one.commands() == [command(index) for index in (0, 1, 1, 2, 2, 2, 3, 4, 5)]


async def test_a_batch_counts_only_when_it_is_delivered(desk: Any) -> None:
    one = await desk()
    one.paused.clear()
    first, second = Asker(), Asker()
    one.writer.submit(command(1), first)
    await until(lambda: one.log.head == 2)
    one.writer.submit(command(2), second)
    await asyncio.sleep(0.02)
    assert len(one.log.appended) == 2
    assert not first.slots
    assert one.writer.age_seconds() >= 0.02
    one.paused.set()
    await until(lambda: second.slots)
    assert one.writer.age_seconds() == 0


async def test_after_unknown_the_same_bytes_go_again_under_the_same_number(desk: Any) -> None:
    seed = 5
    one, draw = await desk(), random.Random(seed)
    one.log.answers = iter([draw.choice(["yes", "lost", "kept"]) for _ in range(400)])
    askers = [Asker() for _ in range(120)]
    for index, asker in enumerate(askers):
        one.writer.submit(command(index), asker)
        if index % 3 == 0:
            await asyncio.sleep(0.0005)
    await until(lambda: askers[-1].slots)
    assert one.commands() == [command(index) for index in range(120)], f"seed {seed}: once each, in order"
    assert all(len(asker.slots) == 1 for asker in askers)
    bytes_of: dict[int, set[bytes]] = {}
    for sent in one.log.appended:
        bytes_of.setdefault(sent.number, set()).add(sent.raw)
    assert all(len(variants) == 1 for variants in bytes_of.values())
    assert len(one.log.appended) > len(bytes_of), "something was sent again"


async def test_a_queued_command_leaves_at_its_deadline_and_a_sent_one_does_not(desk: Any, environment: Any) -> None:
    one = await desk(queue_seconds_max=0.05)
    sent, early, late = Asker(), Asker(), Asker()
    one.log.gate.clear()
    one.writer.submit(command(1), sent)
    await asyncio.sleep(0.005)
    one.writer.submit(command(2), late)
    one.writer.submit(command(3), early, environment.monotonic() + 0.01)
    began = environment.monotonic()
    await until(lambda: early.refusals)
    assert environment.monotonic() - began < 0.04
    assert not late.refusals
    await until(lambda: late.refusals)
    assert early.refusals == late.refusals == [Refusal.TIMED_OUT_QUEUED]
    assert (sent.refusals, one.writer.queued) == ([], 0)
    one.log.gate.set()
    await until(lambda: sent.slots)
    assert one.commands() == [command(1)]


async def test_a_deadline_that_has_passed_is_refused_when_its_turn_comes(desk: Any, environment: Any) -> None:
    one = await desk()
    asker, other = Asker(), Asker()
    one.writer.submit(command(1), asker, environment.monotonic() - 1)
    one.writer.submit(command(2), other)
    await until(lambda: other.slots)
    assert asker.refusals == [Refusal.TIMED_OUT_QUEUED]
    assert one.commands() == [command(2)]


async def test_the_queue_is_bounded_in_commands_and_in_waiters(desk: Any) -> None:
    one = await desk(batch_commands_max=4, queue_commands_max=8, queue_waiters_max=3)
    one.log.gate.clear()
    askers = [Asker() for _ in range(5)]
    one.writer.submit(command(0), askers[0])
    await asyncio.sleep(0.005)  # sent: not in the queue any more
    one.writer.submit(command(1) * 4, askers[1])
    one.writer.submit(command(2) * 3, askers[2])
    with pytest.raises(Overloaded):
        one.writer.submit(command(3) * 2, Asker())
    one.writer.submit(command(3), askers[3])
    with pytest.raises(Overloaded):
        one.writer.submit(command(4), Asker())
    one.log.gate.set()
    await until(lambda: askers[3].slots)
    assert [asker.slots[0][0] for asker in askers[:4]] == [2, 3, 4, 4], "no batch above four commands, none split"
    one.writer.submit(command(5), askers[4])
    await until(lambda: askers[4].slots)


@pytest.mark.parametrize("length", [0, 1, 191, 193, 5 * 192])
async def test_what_is_no_number_of_commands_is_a_bug_of_the_caller(desk: Any, length: int) -> None:
    one = await desk(batch_commands_max=4)
    with pytest.raises(ValueError, match="commands"):
        one.writer.submit(bytes(length), Asker())


async def test_a_halted_log_refuses_the_queue_and_leaves_the_sent_unknown(
    environment: RealEnvironment, desk: Any
) -> None:
    one = await desk()
    told: list[Any] = []
    one.writer._on_halted = told.append
    one.log.gate.clear()
    sent, queued = Asker(), Asker()
    one.writer.submit(command(1), sent)
    await asyncio.sleep(0.005)
    one.writer.submit(command(2), queued)
    one.log.answers = iter(["halt"])
    one.log.gate.set()
    await until(lambda: queued.refusals)
    assert queued.refusals == [Refusal.HALTED]
    assert isinstance(one.writer.failed, Halted)
    assert told == [one.writer.failed]
    assert [slot.waiter for slot in one.writer.abandon()] == [sent]
    assert one.writer.abandon() == []
    with pytest.raises(Stopped):
        one.writer.submit(command(3), Asker())
    assert len(one.log.appended) == 2, "nothing is tried again"


async def test_a_bug_in_a_log_halts_too(desk: Any) -> None:
    one = await desk()
    one.log.answers = iter(["bug"])
    one.writer.submit(command(1), Asker())
    await until(lambda: one.writer.failed)
    assert "nobody thought of this" in str(one.writer.failed)


async def test_a_hello_that_cannot_be_written_is_an_error_of_start(desk: Any) -> None:
    one = await desk(start=False)
    one.log.answers = iter(["halt"])
    with pytest.raises(Halted):
        await one.writer.start()


async def test_the_hello_of_a_reconnect(desk: Any) -> None:
    one = await desk()
    await one.writer.hello()
    await until(lambda: one.numbers[one.writer.id] == 2)
    one.paused.clear()
    one.writer.submit(command(1), asker := Asker())
    await until(lambda: one.log.head == 3)
    await one.writer.hello()  # the batch on its way was durable already: the same bytes again, which the kernel drops
    assert [sent.number for sent in one.log.appended] == [1, 2, 3, 3]
    one.paused.set()
    await until(lambda: asker.slots)
    assert one.commands() == [command(1)]


async def test_nudge_appends_an_empty_batch_only_when_nothing_is_on_its_way(desk: Any) -> None:
    one = await desk()
    one.log.gate.clear()
    one.writer.nudge()
    one.writer.nudge()
    one.log.gate.set()
    await until(lambda: one.numbers[one.writer.id] == 2)
    assert one.applied[-1].entry.count == 0
    one.writer.submit(command(1), asker := Asker())
    one.writer.nudge()
    await until(lambda: asker.slots)
    assert [sent.count for sent in one.log.appended] == [0, 0, 1]


async def test_stop_sends_what_was_taken(desk: Any) -> None:
    one = await desk()
    one.log.gate.clear()
    askers = [Asker() for _ in range(3)]
    for index, asker in enumerate(askers):
        one.writer.submit(command(index), asker)
        await asyncio.sleep(0.002)
    stopping = asyncio.create_task(one.writer.stop())
    await asyncio.sleep(0.005)
    with pytest.raises(Stopped):
        one.writer.submit(command(9), Asker())
    one.log.gate.set()
    assert await stopping == []
    assert [len(asker.slots) for asker in askers] == [1, 1, 1]
    assert await one.writer.stop() == []


async def test_stop_gives_up_in_time_and_says_what_is_unknown(desk: Any) -> None:
    one = await desk()
    one.log.gate.clear()
    sent, queued = Asker(), Asker()
    one.writer.submit(command(1), sent)
    await asyncio.sleep(0.005)
    one.writer.submit(command(2), queued)
    assert [slot.waiter for slot in await one.writer.stop(0.02)] == [sent]
    assert (sent.refusals, queued.refusals) == ([], [Refusal.STOPPED])
    one.log.gate.set()


async def test_bytes_under_our_number_that_are_not_ours_are_a_fault(desk: Any, environment: RealEnvironment) -> None:
    one = await desk(start=False)
    stranger = Entry.make(one.writer.id, 1, 5, 1, 1, b"")
    with pytest.raises(Foreign):
        one.writer.delivered(Batch(1, 0, stranger, bytes(16)))
    await one.writer.start()
    await one.log.barrier()
    assert one.writer.delivered(Batch(2, 0, stranger, bytes(16))) == [], "number 1 came back already: a repeat"
    with pytest.raises(Foreign):
        one.writer.delivered(Batch(2, 0, Entry.make(one.writer.id, 7, 5, 1, 1, b""), bytes(16)))


async def test_writers_on_every_log(make_log: LogMaker, desk: Any) -> None:
    """Two processes' writers on one log; both desks see one order."""
    log = await make_log()
    one, other = await desk(log), await desk(log)
    askers = [Asker() for _ in range(200)]
    for index, asker in enumerate(askers):
        (one, other)[index % 2].writer.submit(command(index), asker)
        if index % 7 == 0:
            await asyncio.sleep(0)
    await until(lambda: all(asker.slots for asker in askers))
    await log.barrier()
    assert one.commands() == other.commands()
    assert sorted(one.commands()) == sorted(command(index) for index in range(200))


async def test_who_waits_too_long_for_a_sent_batch_is_told_that_nobody_knows(environment: RealEnvironment) -> None:
    """Once; the batch goes on under its number, and later ones have all their time."""
    log = FlakyLog(environment)
    told: list[Any] = []
    limits = WriterLimits(answer_seconds_max=0.1, retry_seconds_min=0.001)
    writer = Writer(log, environment, 1, 1, limits=limits, on_unknown=told.extend)
    one = Desk(writer, log)
    following = asyncio.create_task(one.follow())
    await writer.start()
    await log.barrier()
    log.gate.clear()
    sent, next_one = Asker(), Asker()
    began = environment.monotonic()
    writer.submit(command(1), sent)
    await asyncio.sleep(0.05)
    writer.submit(command(2), next_one)
    await until(lambda: told)
    assert 0.09 < environment.monotonic() - began < 0.5
    assert [slot.waiter for slot in told] == [sent]
    await asyncio.sleep(0.15)
    assert len(told) == 1
    log.gate.set()
    await until(lambda: next_one.slots)
    assert (sent.slots, sent.refusals) == ([], [])
    assert one.commands() == [command(1), command(2)]
    assert len(told) == 1
    assert await writer.stop() == []
    following.cancel()
    await asyncio.wait([following])
