# SPDX-License-Identifier: Apache-2.0
"""RULES.md "Batches and time" and "Before any command", one story a rule, on twin and kernel."""

from typing import Any

import pytest

import bidhall.core
from tests.core.stage import ANN, BASE, BUY, QUOTE, SECOND, Stage
from tests.model import UnknownCommand, WriterGap, commands
from tests.model.records import OrderType, Reject, TimeInForce

UNKNOWN = (UnknownCommand, bidhall.core.UnknownCommand)
GAP = (WriterGap, bidhall.core.WriterGap)
ONE, TWO, THREE = b"1" * 16, b"2" * 16, b"3" * 16
DIGEST, OTHER = b"d" * 16, b"e" * 16
TIME_MAX = 2**63 - 1


def test_a_writers_batch_is_applied_once(bare: Stage) -> None:
    assert bare.apply(commands.configure(), 5, 5, ONE, 1) is not None
    assert bare.apply(b"", 9, 9, ONE, 2) == []
    before = bare.exchange.dump()
    assert bare.apply(commands.asset(b"A"), 99, 99, ONE, 2) is None
    assert bare.apply(b"", 99, 99, ONE, 1) is None
    assert bare.apply(b"", 99, 99, ONE, 0) is None
    assert bare.exchange.dump() == before


def test_a_gap_in_a_writers_numbers_raises_and_changes_nothing(bare: Stage) -> None:
    bare.do(commands.configure())
    before = bare.exchange.dump()
    assert bare.apply(b"", 7, 7, ONE, 0) is None  # below every first number: a repeat, for whoever
    for number in (2, 3):
        with pytest.raises(GAP):
            bare.apply(b"", 7, 7, ONE, number)
    assert bare.exchange.dump() == before
    bare.apply(b"", 7, 7, ONE, 1)
    with pytest.raises(GAP):
        bare.apply(b"", 7, 7, ONE, 3)


def test_a_full_writer_table_forgets_the_longest_silent(bare: Stage) -> None:
    bare.do(commands.configure(writers_max=2))
    for writer, number in ((ONE, 1), (TWO, 1), (ONE, 2), (THREE, 1)):
        bare.apply(b"", 0, 0, writer, number)
    assert bare.exchange.dump()["writers"] == {ONE.hex(): 2, THREE.hex(): 1}
    assert bare.apply(b"", 0, 0, TWO, 1) == []  # forgotten, so it is new
    assert bare.exchange.dump()["writers"] == {THREE.hex(): 1, TWO.hex(): 1}


def test_a_repeat_does_not_count_as_being_heard(bare: Stage) -> None:
    bare.do(commands.configure(writers_max=2))
    bare.apply(b"", 0, 0, ONE, 1)
    bare.apply(b"", 0, 0, TWO, 1)
    assert bare.apply(b"", 0, 0, ONE, 1) is None
    bare.apply(b"", 0, 0, THREE, 1)
    assert bare.exchange.dump()["writers"] == {TWO.hex(): 1, THREE.hex(): 1}


def test_writers_may_come_before_the_limits(bare: Stage) -> None:
    """The first entry of a log is a hello; CONFIGURE comes after it."""
    names = [bytes([i]) * 16 for i in range(1, 66)]
    for name in names:
        bare.apply(b"", 0, 0, name, 1)
    assert len(bare.exchange.dump()["writers"]) == 64
    bare.apply(commands.configure(writers_max=2), 0, 0, names[-1], 2)
    assert len(bare.exchange.dump()["writers"]) == 64
    bare.apply(b"", 0, 0, ONE, 1)
    assert len(bare.exchange.dump()["writers"]) == 64


def test_without_a_writer_a_batch_is_applied_as_it_is(bare: Stage) -> None:
    assert bare.do(commands.configure()) == ["configured"]
    assert bare.exchange.dump()["writers"] == {}


def test_time_is_the_earlier_of_two_stamps_and_never_goes_back(bare: Stage) -> None:
    for log, writer, kernel in ((5, 9, 5), (9, 7, 7), (3, 3, 7), (-1, 100, 7), (2**62, 8, 8)):
        bare.apply(b"", log, writer)
        assert bare.exchange.dump()["time_ns"] == kernel


@pytest.mark.parametrize("kind", [0, 18, 19, 255])
def test_an_unknown_kind_raises_before_anything_is_applied(bare: Stage, kind: int) -> None:
    before = bare.exchange.dump()
    with pytest.raises(UNKNOWN):
        bare.apply(commands.configure() + bytes([kind]) + bytes(191), 9, 9, ONE, 1)
    assert bare.exchange.dump() == before


def test_a_cut_record_raises_before_anything_is_applied(bare: Stage) -> None:
    before = bare.exchange.dump()
    with pytest.raises(UNKNOWN):
        bare.apply(commands.configure() + bytes(191), 9, 9)
    assert bare.exchange.dump() == before


def test_every_command_takes_a_sequence_refused_or_not(bare: Stage) -> None:
    bare.do(commands.mark(1), commands.configure(), commands.mark(1), commands.note(b"a", 2), commands.note(b"b", 2))
    assert [event.sequence for event in bare.events] == [1, 2, 3, 4, 5]
    bare.do()
    assert bare.exchange.dump()["sequence"] == 5


def test_only_configure_is_accepted_first(bare: Stage) -> None:
    raw = [commands.mark(1), commands.asset(b"A"), commands.note(), commands.rules(1), commands.deposit(1, 1, 1)]
    assert bare.do(*raw) == ["refused NOT_CONFIGURED"] * 5
    assert bare.do(commands.configure(), commands.configure()) == ["configured", "refused MALFORMED"]


def test_a_refusal_names_whom_the_command_names(bare: Stage) -> None:
    raw = [
        commands.place(7, 8, BUY, OrderType.MARKET),
        commands.cancel(7, 8, 1),
        commands.cancel_all(7, 8),
        commands.amend(7, 8, 1, 1),
        commands.market_state(8, 1, account=7),
        commands.mark(8, account=7),
        commands.deposit(7, 8, 1),
        commands.withdraw(7, 8, 1),
        commands.account_change(7),
        commands.asset(b"A"),
        commands.rules(1, account=7, market=8),
        commands.kill(7, 8),
        commands.replace(7, 8, commands.place(7, 8, BUY, OrderType.MARKET)),
    ]
    bare.do(*raw)
    named = [(event.account, event.market, event.asset) for event in bare.events]
    expected = [(7, 8, 0)] * 4 + [(0, 8, 0)] * 2 + [(7, 0, 8)] * 2 + [(7, 0, 0)] + [(0, 0, 0)] * 2 + [(7, 8, 0)] * 3
    assert named == expected
    assert {event.code for event in bare.events} == {Reject.NOT_CONFIGURED}


def test_a_deadline_is_the_last_good_moment(stage: Stage) -> None:
    stage.time_ns = 100
    raw = [commands.deposit(ANN, BASE, 1, deadline_ns=deadline) for deadline in (101, 100, 99, -1, 0)]
    told = stage.do(*raw)
    assert [line.split(":")[0] for line in told] == ["balance +1"] * 2 + ["refused DEADLINE"] * 2 + ["balance +1"]


def test_the_same_digest_is_answered_with_the_first_result(stage: Stage) -> None:
    place = commands.place(
        ANN, 1, BUY, OrderType.LIMIT, time_in_force=TimeInForce.GTC, quantity_steps=1, price_ticks=9, digest=DIGEST
    )
    assert stage.do(place) == ["#1 accepted"]
    first = stage.events[0].sequence
    assert stage.do(place, place) == [f"repeats {first}: #1 NONE"] * 2
    assert (stage.events[0].account, stage.events[0].market) == (ANN, 1)
    assert stage.shows("buy 9: 1@ann")
    # A different command under the same digest is a repeat all the same.
    assert stage.do(commands.mark(1, digest=DIGEST)) == [f"repeats {first}: #1 NONE"]


def test_refusals_are_remembered_too_but_not_a_missed_deadline(stage: Stage) -> None:
    stage.time_ns = 100
    refused = commands.withdraw(ANN, BASE, 2**40, digest=DIGEST)
    late = commands.mark(1, digest=OTHER, deadline_ns=99)
    assert stage.do(refused, late) == ["refused INSUFFICIENT_BALANCE", "refused DEADLINE"]
    sequence = stage.events[0].sequence
    stage.do(commands.deposit(ANN, BASE, 2**40))
    assert stage.do(refused) == [f"repeats {sequence}: #0 INSUFFICIENT_BALANCE"]
    assert stage.do(commands.mark(1, digest=OTHER)) == ["marked"]


def test_a_digest_is_forgotten_61_s_after_it_came(stage: Stage) -> None:
    mark = commands.mark(1, digest=DIGEST)
    stage.do(mark)
    stage.wait(61 * SECOND)
    assert stage.do(mark)[0].startswith("repeats")
    stage.wait(1)
    assert stage.do(mark) == ["marked"]


def test_a_digest_is_forgotten_once_its_deadline_has_passed(stage: Stage) -> None:
    stage.do(commands.mark(1, digest=DIGEST, deadline_ns=5 * SECOND))
    stage.wait(5 * SECOND)
    assert [line[:7] for line in stage.do(commands.mark(1, digest=DIGEST))] == ["repeats"]
    stage.wait(1)
    assert stage.do(commands.mark(1, digest=DIGEST)) == ["marked"]


def test_a_digest_behind_a_longer_lived_one_waits_for_it(stage: Stage) -> None:
    stage.do(commands.mark(1, digest=DIGEST, deadline_ns=100 * SECOND), commands.mark(1, digest=OTHER))
    stage.wait(70 * SECOND)
    assert stage.do(commands.mark(1, digest=OTHER))[0].startswith("repeats")
    stage.wait(31 * SECOND)
    assert stage.exchange.dump()["digests"] == []


def test_a_digest_at_the_end_of_time_is_kept(stage: Stage) -> None:
    stage.time_ns = TIME_MAX - SECOND
    stage.do(commands.mark(1, digest=DIGEST))
    assert stage.exchange.dump()["digests"][-1][-1] == TIME_MAX
    stage.wait(SECOND)
    assert stage.do(commands.mark(1, digest=DIGEST))[0].startswith("repeats")


def test_a_full_memory_of_digests_is_busy(bare: Stage) -> None:
    bare.do(commands.configure(digests_max=2), commands.asset(b"A"), commands.account())
    raw = [commands.deposit(1, 1, 1, digest=bytes([i]) * 16) for i in (1, 2, 3)]
    assert bare.do(*raw)[2] == "refused BUSY"
    assert bare.do(raw[2], raw[0]) == ["refused BUSY", "repeats 4: #0 NONE"]
    assert bare.do(commands.deposit(1, 1, 1)) == ["balance +1: 3 free, 0 locked"]  # no digest, no room needed
    bare.wait(61 * SECOND + 1)
    assert bare.do(raw[2]) == ["balance +1: 4 free, 0 locked"]


def test_the_dump_shows_digests_in_the_order_they_came(stage: Stage) -> None:
    stage.do(commands.mark(1, digest=OTHER, deadline_ns=7), commands.mark(9, digest=DIGEST))
    first = stage.events[0].sequence
    assert stage.exchange.dump()["digests"] == [
        (OTHER.hex(), first, 0, 0, 7),
        (DIGEST.hex(), first + 1, Reject.UNKNOWN_MARKET, 0, 61 * SECOND),
    ]


def test_deadline_and_digest_are_read_for_accounts_and_assets_but_not_for_notes(stage: Stage) -> None:
    stage.time_ns = 50
    raw = [commands.signed(raw, DIGEST, 60) for raw in (commands.account(), commands.asset(b"X"))]
    assert [line.split()[0] for line in stage.do(*raw)] == ["account", "repeats"]
    assert stage.do(commands.signed(commands.account(), OTHER, 49)) == ["refused DEADLINE"]
    note = commands.signed(commands.note(b"text"), DIGEST, 1)
    assert stage.do(note, note) == ["noted", "noted"]


def test_the_taps_tell_of_the_last_batch_only(stage: Stage) -> None:
    stage.exchange.watch(ANN, True)
    stage.limit(ANN, BUY, 2, 100)
    stage.cancel(ANN, 1)

    def rows(tap: Any) -> int:
        return len(tap() if callable(tap) else tap)

    assert [rows(getattr(stage.exchange, tap)) for tap in ("done", "tops", "positions")] == [1, 1, 1]
    stage.do()
    assert [rows(getattr(stage.exchange, tap)) for tap in ("done", "tops", "positions")] == [0, 0, 0]
    assert stage.balance(ANN, QUOTE)[1] == 0
