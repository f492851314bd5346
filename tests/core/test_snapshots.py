# SPDX-License-Identifier: Apache-2.0
"""Snapshots of the kernel: exact, canonical, and refused when anything in them is wrong."""

import pytest

from bidhall.core import Broken, Exchange
from tests.core.lockstep import run_history
from tests.core.stage import ANN, BOB, BUY, DAN, SELL, Stage
from tests.model import commands
from tests.model.records import TimeInForce


@pytest.fixture
def busy() -> Stage:
    """Something of everything: a book, stops, locks, trades, digests, writers."""
    stage = Stage(Exchange()).open(maker_rate_e8=10**6)
    stage.exchange.apply(b"", 0, 0, b"w" * 16, 1)
    stage.time_ns = 10**18
    stage.book("""
        sell 103: 4@ann 2@bob
        sell 102: 1@cyd
        buy  100: 5@ann 5@dan
    """)
    stage.stop(DAN, BUY, 3, 120, client_id=b"stop")
    stage.stop(DAN, SELL, 3, 50, price=49, time_in_force=TimeInForce.FOK)
    stage.market(BOB, BUY, 3)
    stage.do(commands.mark(1, digest=b"d" * 16))
    return stage


def test_an_empty_exchange_has_a_snapshot_too() -> None:
    exchange = Exchange()
    restored = Exchange.restore(exchange.snapshot())
    assert restored.dump() == exchange.dump()
    assert restored.state_hash() == exchange.state_hash()
    assert not restored.configured


def test_writers_before_the_limits_are_in_the_snapshot() -> None:
    exchange = Exchange()
    exchange.apply(b"", 5, 5, b"w" * 16, 1)
    restored = Exchange.restore(exchange.snapshot())
    assert restored.dump()["writers"] == {(b"w" * 16).hex(): 1}
    assert restored.apply(b"", 5, 5, b"w" * 16, 1) is None
    for subject in (exchange, restored):
        subject.apply(commands.configure(writers_max=1), 5, 5, b"w" * 16, 2)
        subject.apply(b"", 5, 5, b"v" * 16, 1)
    assert restored.snapshot() == exchange.snapshot()


def test_more_writers_than_allowed_survive_a_snapshot() -> None:
    exchange = Exchange()
    for i in range(5):
        exchange.apply(b"", 5, 5, bytes([i]) * 16, 1)
    exchange.apply(commands.configure(writers_max=2))
    restored = Exchange.restore(exchange.snapshot())
    assert restored.dump() == exchange.dump()
    assert len(restored.dump()["writers"]) == 5


def test_a_restored_exchange_is_the_same_in_every_answer(busy: Stage) -> None:
    old: Exchange = busy.exchange
    new = Exchange.restore(old.snapshot())
    assert new.dump() == old.dump()
    assert new.snapshot() == old.snapshot()
    assert (new.time_ns, new.sequence, new.rules, new.open_order_count) == (
        old.time_ns,
        old.sequence,
        old.rules,
        old.open_order_count,
    )
    assert new.market(1) == old.market(1)
    for account in range(1, 5):
        assert new.account(account) == old.account(account)
        assert new.balances(account) == old.balances(account)
        assert new.open_orders(account).tobytes() == old.open_orders(account).tobytes()
    for queue in range(1, 5):
        assert new.book(1, queue).tobytes() == old.book(1, queue).tobytes()
    assert new.find(DAN, 1, b"stop") == old.find(DAN, 1, b"stop") > 0
    assert new.top(1) == old.top(1)
    assert new.average_price(1) == old.average_price(1) > 0
    assert new.writer_number(b"w" * 16) == 1


def test_a_snapshot_does_not_depend_on_where_orders_lie_in_memory(busy: Stage) -> None:
    """Orders placed and canceled before leave holes; a restored exchange has none."""
    old: Exchange = busy.exchange
    for _ in range(30):
        busy.limit(ANN, BUY, 1, 90)
    for order_id in range(busy.events[0].order_id - 29, busy.events[0].order_id, 2):
        busy.cancel(ANN, order_id)
    new = Exchange.restore(old.snapshot())
    for price in (91, 92, 93):
        raw = commands.place(
            ANN, 1, BUY, 1, price_ticks=price, quantity_steps=1, time_in_force=TimeInForce.GTC, client_id=b"%d" % price
        )
        assert new.apply(raw).tobytes() == old.apply(raw).tobytes()
    assert new.snapshot() == old.snapshot()


def test_every_flipped_byte_is_noticed(busy: Stage) -> None:
    image = busy.exchange.snapshot()
    for offset in range(len(image)):
        damaged = bytearray(image)
        damaged[offset] ^= 1 << offset % 8
        with pytest.raises(Broken):
            Exchange.restore(bytes(damaged))


def test_every_cut_is_noticed(busy: Stage) -> None:
    image = busy.exchange.snapshot()
    for size in range(0, len(image), 7):
        with pytest.raises(Broken):
            Exchange.restore(image[:size])
    with pytest.raises(Broken):
        Exchange.restore(image + b"\0")


def test_the_hash_is_of_all_state() -> None:
    """Things that a dump hardly shows: the order of the writers, the seed, the limits."""

    def made(*writers: bytes, **limits: int) -> bytes:
        exchange = Exchange()
        exchange.apply(commands.configure(**limits))
        for number, writer in enumerate(writers):
            exchange.apply(b"", 0, 0, writer, 1 if writer not in writers[:number] else 2)
        found: bytes = exchange.state_hash()
        return found

    one, two = b"1" * 16, b"2" * 16
    hashes = [
        made(),
        made(seed=8),
        made(orders_max=255),
        made(accounts_max=15),
        made(digests_max=63),
        made(writers_max=7),
        made(one),
        made(one, two),
        made(two, one),
        made(one, two, one),
    ]
    assert len(set(hashes)) == len(hashes)


def test_a_long_history_comes_back_whole() -> None:
    lockstep = run_history(77, 4_000)
    restored = Exchange.restore(lockstep.subject.snapshot())
    assert restored.dump() == lockstep.twin.dump()
