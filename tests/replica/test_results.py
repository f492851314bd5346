# SPDX-License-Identifier: Apache-2.0
"""The window of first results against a plain dictionary."""

import random
from typing import Any

import pytest

from bidhall.core import records
from bidhall.core.records import CommandKind, EventKind, EventRow, OrderRow
from bidhall.core.views import Results, events_of, orders_of

NS = 1_000_000_000


def event(sequence: int, kind: int) -> bytes:
    values = dict.fromkeys(EventRow._fields, 0) | {"sequence": sequence, "kind": kind, "order_id": sequence * 7}
    return records.EVENT_STRUCT.pack(*values.values())


def order(sequence: int, order_id: int) -> bytes:
    values = dict.fromkeys(OrderRow._fields, 0) | {"client_id": b""}
    return records.ORDER_STRUCT.pack(*(values | {"sequence": sequence, "order_id": order_id}).values())


def batch(dice: random.Random, first: int) -> tuple[bytes, bytes, bytes, dict[int, Any]]:
    """Commands, events, done, and what of them is to be found."""
    commands = events = done = b""
    kept = {}
    for sequence in range(first, first + dice.randrange(6)):
        signed = dice.random() < 0.6
        commands += records.deposit(1, 1, 1, digest=dice.randbytes(16) if signed else records.NO_DIGEST)
        repeated = dice.random() < 0.1
        own = b"".join(event(sequence, EventKind.REPEATED if repeated else 1) for _ in range(dice.randrange(1, 5)))
        finished = b"".join(order(sequence, dice.randrange(1000)) for _ in range(dice.randrange(3)))
        events, done = events + own, done + finished
        if signed and not repeated:
            kept[sequence] = (own, finished)
    return commands, events, done, kept


@pytest.mark.parametrize("seed", range(5))
def test_it_is_a_bounded_dictionary(seed: int) -> None:
    dice, results = random.Random(seed), Results(commands_max=50, events_max=100, age_ns_max=10 * NS)
    every: dict[int, tuple[int, bytes, bytes]] = {}
    first, now = 1, 0
    for _ in range(300):
        now += dice.choice([0, 1, NS])
        commands, events, done, kept = batch(dice, first)
        results.keep(commands, events, done, first, now)
        every |= {sequence: (now, *value) for sequence, value in kept.items()}
        first += len(commands) // records.COMMAND_BYTES
        if dice.random() < 0.1:
            again = Results(commands_max=50, events_max=100, age_ns_max=10 * NS)
            again.load(results.snapshot())
            assert again.snapshot() == results.snapshot()
            results = again
        held = list(every)[len(every) - len(results) :]
        for sequence in range(max(first - 80, 1), first + 1):
            assert results.find(sequence) == (every[sequence] if sequence in held else None)
        assert len(results) <= 50
        assert sum(len(every[sequence][1]) for sequence in held) <= 100 * records.EVENT_BYTES
        assert all(now - every[sequence][0] <= 10 * NS for sequence in held)


def test_what_has_room_is_kept() -> None:
    results = Results(commands_max=1000, events_max=1000, age_ns_max=10 * NS)
    signed = records.deposit(1, 1, 1, digest=b"d" * 16)
    for sequence in range(1, 900):
        results.keep(signed, event(sequence, 1), b"", sequence, 5)
    assert len(results) == 899
    results.keep(signed, event(900, 1), b"", 900, 5 + 10 * NS)
    assert len(results) == 900
    results.keep(signed, event(901, 1), b"", 901, 6 + 10 * NS)
    assert [results.find(sequence) is None for sequence in (1, 899, 900, 901)] == [True, True, False, False]


def test_one_sweep_does_not_push_everybody_out() -> None:
    results = Results(commands_max=100, events_max=100)
    signed = records.deposit(1, 1, 1, digest=b"d" * 16)
    results.keep(signed, event(1, 1), b"", 1, 0)
    results.keep(signed, event(2, 2) * 60, b"", 2, 0)
    assert results.find(2) is None
    assert results.find(1) is not None


def test_kinds_without_a_digest() -> None:
    results = Results()
    for kind in (CommandKind.CONFIGURE, CommandKind.MARKET, CommandKind.NOTE):
        results.keep(bytes([kind]) + b"\xff" * 191, event(1, 1), b"", 1, 0)
    assert len(results) == 0


def test_a_torn_snapshot_is_refused() -> None:
    data = Results().snapshot()
    for bad in (b"", data[:8], data[:-1], b"x" * len(data)):
        with pytest.raises(ValueError, match="snapshot"):
            Results().load(bad)


def test_events_of_a_command() -> None:
    events = event(5, 1) + event(5, 2) + event(7, 1) + event(9, 1)
    done = order(5, 1) + order(9, 2)
    assert events_of(events, 5, 5) == events[:256]
    assert events_of(events, 6, 6) == b""
    assert events_of(events, 5, 7) == events[:384]
    assert events_of(events, 9, 99) == events[384:]
    assert orders_of(done, 5, 8) == done[:224]
    assert orders_of(done, 1, 99) == done
