# SPDX-License-Identifier: Apache-2.0
"""Answers, listeners, barriers, limits, and what stops a replica."""

import asyncio
from typing import Any

import pytest

from bidhall.core import records
from bidhall.core.exchange import Broken
from bidhall.core.records import COMMAND_BYTES, EventKind, OrderStatus, OrderType, Reject, Side, TimeInForce
from bidhall.core.views import ViewClosed
from bidhall.log import Entry, MemoryLog, Refusal, Unknown
from bidhall.replica import Applied, NotReady, Outcome, OutcomeKind, Overloaded, Replica, ReplicaSettings, replay
from bidhall.replica.replica import _pieces
from tests.replica.conftest import NS, SMALL, Flow, MakeReplica, MovedEnvironment, fill, run, same, world

BUY = records.place(1, 1, Side.BUY, OrderType.LIMIT, TimeInForce.GTC, 100, 4, client_id=b"mine")
SELL = records.place(2, 1, Side.SELL, OrderType.LIMIT, TimeInForce.GTC, 100, 10)


@pytest.fixture
async def replica(make: MakeReplica, environment: MovedEnvironment) -> Replica:
    """One on a memory log, with the world in it."""
    made = await make(MemoryLog(environment))
    await fill(made)
    return made


async def test_each_submission_gets_its_own_events(replica: Replica) -> None:
    outcomes: list[Outcome] = []
    first = replica.exchange.sequence + 1
    for command in (SELL, BUY + records.cancel(1, 1, 77), records.deposit(1, 2, 5)):
        replica.submit(command, outcomes.append)
    await replica.execute(records.mark(1))
    assert [outcome.kind for outcome in outcomes] == [OutcomeKind.DONE] * 3
    assert [outcome.first_sequence for outcome in outcomes] == [first, first + 1, first + 3]
    assert [[event.kind for event in outcome.events] for outcome in outcomes] == [
        [EventKind.ACCEPTED],
        [EventKind.ACCEPTED, EventKind.FILL, EventKind.FILL, EventKind.REJECTED],
        [EventKind.BALANCE],
    ]
    assert len({outcome.time_ns for outcome in outcomes}) == 1  # they were one batch
    assert list(outcomes[1].done) == [2]
    assert outcomes[1].done[2].status == OrderStatus.FILLED
    assert outcomes[1].events[-1].code == Reject.UNKNOWN_ORDER
    assert replica.log.head == 3  # hello, world, and all that came together


async def test_a_repeat_is_answered_with_the_first_result(replica: Replica) -> None:
    signed = records.withdraw(1, 2, 5, digest=b"w" * 16)
    first = await replica.execute(signed)
    again = await replica.execute(signed)
    assert again.events[0].kind == EventKind.REPEATED
    assert again.first_repeated == first
    both = await replica.execute(records.withdraw(1, 2, 6, digest=b"x" * 16) * 2)
    assert [event.kind for event in both.events] == [EventKind.BALANCE, EventKind.REPEATED]


async def test_listeners_and_views_have_it_before_the_answer(replica: Replica) -> None:
    seen: list[str] = []

    class Listener:
        def on_batch(self, applied: Applied) -> None:
            seen.append(f"listener {applied.count} {len(applied.rows)}")
            assert replica.views.counts()["fills"] == 2

    await replica.execute(SELL)
    replica.listeners.append(Listener())
    replica.submit(BUY, lambda outcome: seen.append(f"answer {len(outcome.events)}"))
    await replica.execute(records.mark(1))
    assert seen == ["listener 2 4", "answer 3"]


async def test_an_applied_batch_tells_all(replica: Replica) -> None:
    told: list[Applied] = []

    class Listener:
        def on_batch(self, applied: Applied) -> None:
            told.append(applied)

    replica.listeners.append(Listener())
    replica.exchange.watch(1, True)
    await replica.execute(SELL + BUY)
    await replica.execute(records.deposit(1, 2, 1))
    one, two = told
    assert (one.count, one.first_sequence) == (2, replica.exchange.sequence - 2)
    assert [row.kind for row in one.rows] == [1, 1, 2, 2]
    assert one.kinds == 1 << EventKind.ACCEPTED | 1 << EventKind.FILL
    assert [row.order_id for row in one.done_rows] == [2]
    assert [row.market for row in one.top_rows] == [1, 1]
    assert {row.account for row in one.position_rows} == {1}
    assert one.previous_time_ns <= one.time_ns <= two.previous_time_ns + 0 <= two.time_ns
    assert bytes(one.batch.entry.commands) == SELL + BUY
    assert two.done_rows == two.top_rows == []


async def test_a_listener_that_raises_is_dropped(replica: Replica, caplog: pytest.LogCaptureFixture) -> None:
    class Bad:
        def on_batch(self, applied: Applied) -> None:
            raise RuntimeError("torn")

    replica.listeners.append(Bad())
    assert (await replica.execute(SELL)).kind is OutcomeKind.DONE
    assert replica.listeners == []
    assert "torn" in caplog.text
    replica.submit(BUY, lambda outcome: 1 / 0)  # whoever waits may fail as well
    assert (await replica.execute(SELL)).kind is OutcomeKind.DONE


async def test_a_fault_in_a_view_closes_it_and_not_trading(replica: Replica, caplog: pytest.LogCaptureFixture) -> None:
    await replica.execute(SELL + BUY)
    half = records.EVENT_STRUCT.pack(*[2] + [0] * 21)
    with pytest.raises(Exception, match="followed"):
        replica.views.apply(half, b"", 5)
    replica.views.close("ViewFault: torn")
    assert (await replica.execute(BUY + SELL)).kind is OutcomeKind.DONE
    with pytest.raises(ViewClosed, match="torn"):
        replica.views.trades(1)
    assert await replica.snapshot() is None
    assert not replica.failed.done()


async def test_a_view_that_raises_is_closed(make: MakeReplica, environment: MovedEnvironment) -> None:
    log = MemoryLog(environment)
    ahead, behind = await make(log), await make(log)
    await fill(ahead)
    await behind.barrier()
    behind.views.apply(fills(77), b"", 5)  # now the next trade does not follow
    await ahead.execute(SELL + BUY)
    await behind.barrier()
    assert "trade id" in behind.views.closed
    assert behind.exchange.event_hash == ahead.exchange.event_hash
    assert ahead.views.closed == ""


def fills(trade_id: int) -> bytes:
    names = records.EventRow._fields
    rows = [{"kind": EventKind.FILL, "market": 1, "trade_id": trade_id, "flags": flags} for flags in (0, 1)]
    return b"".join(records.EVENT_STRUCT.pack(*[row.get(name, 0) for name in names]) for row in rows)


async def test_a_kernel_fault_stops_the_replica(replica: Replica, environment: MovedEnvironment) -> None:
    outcomes: list[Outcome] = []
    entry = Entry.make(b"x" * 16, 9, environment.wall_ns(), 1, 1, b"")  # a number that skips some
    await replica.log.append(entry)
    with pytest.raises(Exception, match="batch 9 after 0"):
        await replica.failed
    with pytest.raises(NotReady):
        replica.submit(BUY, outcomes.append)
    with pytest.raises(NotReady):
        await replica.barrier()


async def test_an_unknown_layout_stops_the_replica(replica: Replica, environment: MovedEnvironment) -> None:
    await replica.log.append(Entry.make(b"x" * 16, 1, environment.wall_ns(), 2, 1, BUY))
    with pytest.raises(Exception, match="layout 2"):
        await replica.failed
    assert replica.exchange.open_order_count == 0


async def test_an_unknown_command_stops_the_replica(replica: Replica, environment: MovedEnvironment) -> None:
    await replica.log.append(Entry.make(b"x" * 16, 1, environment.wall_ns(), 1, 1, BUY + b"\xee" * 192))
    with pytest.raises(Exception, match="kind"):
        await replica.failed
    assert replica.exchange.open_order_count == 0


async def test_what_is_in_flight_at_a_fault_is_unknown(make: MakeReplica, environment: MovedEnvironment) -> None:
    log = HeldLog(environment)
    replica = await make(log, stop_seconds=0.1)
    await fill(replica)
    log.held = environment.create_future()
    sent, queued = [], []
    replica.submit(BUY, sent.append)
    await environment.sleep(0.01)
    replica.submit(SELL, queued.append)
    replica.fail(Broken("the money does not add up"))
    await environment.sleep(0.01)
    assert [outcome.kind for outcome in sent] == [OutcomeKind.UNKNOWN]
    assert [outcome.kind for outcome in queued] == [OutcomeKind.REFUSED]
    log.held.set_result(None)


class HeldLog(MemoryLog):
    """A memory log whose appends can be held up, or can fail as unknown a few times."""

    held: "asyncio.Future[None] | None" = None
    unknown = 0
    swallowed = 0

    async def append(self, entry: Entry) -> None:
        if self.held is not None:
            await self.held
        if self.unknown:
            self.unknown -= 1
            if self.swallowed:
                self.swallowed -= 1
                await super().append(entry)
            raise Unknown("the answer was lost")
        await super().append(entry)


async def test_overload_and_deadlines(make: MakeReplica, environment: MovedEnvironment) -> None:
    log = HeldLog(environment)
    replica = await make(log, queue_commands_max=8, queue_seconds_max=0.2)
    await fill_by_pieces(replica)
    log.held = environment.create_future()
    outcomes: list[Outcome] = []
    replica.submit(BUY, outcomes.append)
    await environment.sleep(0.01)  # that one is on its way, and cannot be called back
    assert replica.age_seconds() > 0
    for _ in range(8):
        replica.submit(SELL, outcomes.append)
    with pytest.raises(Overloaded):
        replica.submit(SELL, outcomes.append)
    waiting = environment.create_task(replica.execute(SELL), "waits for room")
    await environment.sleep(0.3)
    assert [outcome.kind for outcome in outcomes] == [OutcomeKind.REFUSED] * 8
    assert outcomes[0].refusal is Refusal.TIMED_OUT_QUEUED
    log.held.set_result(None)
    log.held = None
    assert (await waiting).kind is OutcomeKind.REFUSED or waiting.done()
    await replica.barrier()
    assert outcomes[-1].kind is OutcomeKind.DONE
    assert replica.exchange.open_order_count == 1
    assert replica.age_seconds() == 0


async def fill_by_pieces(replica: Replica) -> None:
    setup = world()
    for at in range(0, len(setup), COMMAND_BYTES):
        await replica.execute(setup[at : at + COMMAND_BYTES])


async def test_an_append_with_a_lost_answer_is_applied_once(make: MakeReplica, environment: MovedEnvironment) -> None:
    log = HeldLog(environment)
    replica = await make(log)
    await fill(replica)
    log.unknown, log.swallowed = 3, 2  # twice it is written and nobody says so, once it is not
    outcome = await replica.execute(records.deposit(1, 1, 5))
    assert outcome.kind is OutcomeKind.DONE
    free = replica.exchange.balance(1, 1)[0]
    await replica.execute(records.mark(1))
    assert replica.exchange.balance(1, 1)[0] == free == (1 << 50) + 5


async def test_replicas_that_share_a_log_agree(make: MakeReplica, environment: MovedEnvironment, seed: int) -> None:
    log = MemoryLog(environment)
    replicas = [await make(log) for _ in range(3)]
    await fill(replicas[0])
    flows = [Flow(seed + index) for index in range(3)]
    await asyncio.gather(*[run(replica, flow, 60) for replica, flow in zip(replicas, flows, strict=True)])
    for replica in replicas:
        await replica.barrier()
        same(replica, replicas[0])
        replica.exchange.audit()
    assert replay(log).state_hash == replicas[0].exchange.state_hash()


async def test_a_barrier_waits_for_what_was_acknowledged_elsewhere(
    make: MakeReplica, environment: MovedEnvironment
) -> None:
    log = MemoryLog(environment)
    here, there = await make(log), await make(log)
    await fill(here)
    for _ in range(20):
        await here.execute(records.deposit(1, 1, 1))
        await there.barrier()
        assert there.exchange.balance(1, 1) == here.exchange.balance(1, 1)
    called: list[int] = []
    there.read(lambda: called.append(there.position))
    await environment.sleep(0.01)
    assert called == [here.position]


async def test_kernel_time_passes_when_somebody_wants_it(replica: Replica, environment: MovedEnvironment) -> None:
    await replica.execute(records.mark(1))
    head = replica.log.head
    target = environment.wall_ns() + NS // 20
    for _ in range(100):
        replica.want_time(target)
    replica.want_time(target + NS // 20)
    await environment.sleep(0.25)
    assert replica.time_ns >= target + NS // 20
    assert head + 2 <= replica.log.head <= head + 4
    replica.want_time(1)  # long gone
    await environment.sleep(0.03)
    assert replica.log.head <= head + 4


async def test_a_long_submission_is_cut_between_commands(make: MakeReplica, environment: MovedEnvironment) -> None:
    replica = await make(MemoryLog(environment), batch_commands_max=10)
    outcome = await replica.execute(world(20))
    assert [event.kind for event in outcome.events][:4] == [
        EventKind.CONFIGURED, EventKind.ASSET, EventKind.ASSET, EventKind.MARKET,
    ]  # fmt: skip
    assert len(outcome.events) == 64
    assert replica.log.head == 1 + 7
    with pytest.raises(ValueError, match="no commands"):
        await replica.execute(b"")
    with pytest.raises(ValueError, match="commands"):
        replica.submit(BUY * 11, lambda outcome: None)


def test_a_note_is_never_cut() -> None:
    note = records.notes(b"x" * 184 * 4)
    pieces = _pieces(BUY * 3 + note + BUY + note + note, 5)
    assert [len(piece) // COMMAND_BYTES for piece in pieces] == [3, 5, 4, 4]
    assert b"".join(pieces) == BUY * 3 + note + BUY + note + note


async def test_the_audit_stops_a_broken_replica(make: MakeReplica, environment: MovedEnvironment) -> None:
    replica = await make(MemoryLog(environment), audit_seconds=0.01)
    await fill(replica)
    await environment.sleep(0.1)
    assert replica.guard.audits > 0
    audits = replica.guard.audits
    await environment.sleep(0.1)
    assert replica.guard.audits == audits  # nothing has changed
    replica.exchange = Miscounting(replica.exchange)  # type: ignore[assignment]
    await replica.execute(BUY)
    with pytest.raises(Broken):
        await asyncio.wait_for(replica.failed, 1)


class Miscounting:
    """An exchange whose audit fails."""

    def __init__(self, exchange: Any) -> None:
        self._exchange = exchange

    def __getattr__(self, name: str) -> Any:
        return getattr(self._exchange, name)

    def audit(self) -> None:
        raise Broken("one unit is missing")


async def test_nothing_is_taken_before_and_after(environment: MovedEnvironment) -> None:
    log = MemoryLog(environment)
    replica = Replica(log, environment, folder=None, settings=ReplicaSettings(**SMALL))
    with pytest.raises((NotReady, AttributeError)):
        replica.submit(BUY, lambda outcome: None)
    await replica.start()
    await replica.stop()
    await replica.stop()
    with pytest.raises(NotReady):
        replica.submit(BUY, lambda outcome: None)


async def test_a_stop_finishes_what_was_taken(make: MakeReplica, environment: MovedEnvironment) -> None:
    replica = await make(MemoryLog(environment))
    await fill(replica)
    outcomes: list[Outcome] = []
    for _ in range(50):
        replica.submit(BUY, outcomes.append)
    await replica.stop()
    assert [outcome.kind for outcome in outcomes] == [OutcomeKind.DONE] * 50


async def test_orders_open_and_done(replica: Replica) -> None:
    await replica.execute(SELL + BUY + BUY)  # 1 rests with 6 and then 2, 2 and 3 are done
    other = records.place(1, 1, Side.BUY, OrderType.LIMIT, TimeInForce.GTC, 90, 1, client_id=b"mine")
    await replica.execute(other)
    rest, third, newest = (replica.order(2, 1, 1), replica.order(1, 1, 3), replica.order(1, 1, client_id=b"mine"))
    assert rest is not None
    assert (rest.status, rest.executed_steps) == (OrderStatus.PARTIALLY_FILLED, 8)
    assert third is not None
    assert third.status == OrderStatus.FILLED
    assert newest is not None
    assert (newest.order_id, newest.status) == (4, OrderStatus.NEW)
    await replica.execute(records.cancel(1, 1, 4))
    newest = replica.order(1, 1, client_id=b"mine")
    assert newest is not None
    assert (newest.order_id, newest.status) == (4, OrderStatus.CANCELED)
    assert replica.order(2, 1, 3) is replica.order(1, 2, 3) is replica.order(1, 1, 99) is replica.order(1, 1) is None
    assert replica.order(1, 1, client_id=b"none") is None
    assert [row.order_id for row in replica.open_orders(2)] == [1]


async def test_all_orders_are_open_and_done_together(
    replica: Replica, environment: MovedEnvironment, seed: int
) -> None:
    flow, every = Flow(seed), {}
    for _ in range(60):
        environment.ahead_ns += NS
        for outcome in await run(replica, flow, 1):
            every |= {event.order_id: outcome.time_ns for event in outcome.events if event.kind == EventKind.ACCEPTED}
    for account in range(1, 5):
        rows = replica.all_orders(account, 1, 1000)
        ids = [row.order_id for row in rows]
        assert ids == [i for i in every if (row := replica.order(account, 1, i)) and row.account == account]
        assert {row.order_id for row in replica.open_orders(account, 1)} <= set(ids)
        assert all(row.created_ns == every[row.order_id] for row in rows)
        middle, limit = rows[len(rows) // 2], 3
        assert replica.all_orders(account, 1, limit) == rows[-limit:]
        assert replica.all_orders(account, 1, limit, middle.order_id) == rows[len(rows) // 2 :][:limit]
        later = [row for row in rows if row.created_ns >= middle.created_ns]
        assert replica.all_orders(account, 1, limit, -1, middle.created_ns) == later[:limit]
        until = [row for row in rows if row.created_ns <= middle.created_ns]
        assert replica.all_orders(account, 1, limit, -1, -1, middle.created_ns) == until[-limit:]
        assert replica.all_orders(account, 1, 0) == []
