# SPDX-License-Identifier: Apache-2.0
"""Every short history of a small world: all sequences of three out of 29 actions, and of four out of the first 14,
from the same first book (of four out of all 29 by `make proof NAME=every_short_history`: half a million of them).

A tree is walked: each node is kernel and twin restored from the parent and given one action more. What a refused
action leads to is what its parent leads to (a refusal changes nothing but the sequence, which is compared), so nothing
is walked below it; that is what makes all of them affordable.
"""

import pickle
from collections.abc import Iterator

import pytest

import bidhall.core
from tests.core.lockstep import Difference, Lockstep, tell_command
from tests.core.stage import ANN, BOB, BUY, SELL
from tests.model import commands
from tests.model.histories import Batch
from tests.model.records import EventKind, Mode, OrderType, TimeInForce

GTC, IOC, FOK = TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK
LIMIT, MARKET, MAKER = OrderType.LIMIT, OrderType.MARKET, OrderType.LIMIT_MAKER
CORE = 14  # of the actions: the ones that depth 4 has in CI
TIME_NS = 10**18


def order(account: int, side: int, kind: int, quantity: int = 0, price: int = 0, **fields: int | bytes) -> bytes:
    return commands.place(account, 1, side, kind, quantity_steps=quantity, price_ticks=price, **fields)


ACTIONS = [
    order(ANN, BUY, LIMIT, 1, 101, time_in_force=GTC),
    order(BOB, BUY, LIMIT, 2, 100, time_in_force=GTC, client_id=b"x"),
    order(ANN, SELL, LIMIT, 1, 101, time_in_force=GTC),
    order(BOB, SELL, LIMIT, 2, 102, time_in_force=GTC, client_id=b"x"),
    order(ANN, BUY, LIMIT, 2, 102, time_in_force=IOC),
    order(ANN, SELL, MARKET, 2),
    order(BOB, SELL, LIMIT, 3, 101, time_in_force=GTC, iceberg_steps=1),
    order(BOB, SELL, OrderType.STOP_LOSS_LIMIT, 1, 100, stop_price_ticks=101, time_in_force=GTC),
    order(ANN, BUY, OrderType.STOP_LOSS, 1, stop_price_ticks=101),
    order(BOB, SELL, LIMIT, 1, 101, time_in_force=GTC, self_trade_prevention=Mode.EXPIRE_BOTH),
    order(ANN, BUY, LIMIT, 2, 102, time_in_force=FOK, self_trade_prevention=Mode.EXPIRE_TAKER),
    commands.cancel(ANN, 1, 2),
    commands.amend(ANN, 1, 1, 1, other_client_id=b"y"),
    order(BOB, BUY, LIMIT, 2, 102, time_in_force=GTC, self_trade_prevention=Mode.DECREMENT),
    order(BOB, SELL, LIMIT, 2, 100, time_in_force=FOK),
    order(BOB, BUY, MARKET, 1),
    commands.cancel_all(BOB, 1),
    order(ANN, BUY, MARKET, quote_quantity_units=203),
    order(BOB, SELL, MARKET, quote_quantity_units=150),
    order(ANN, BUY, MAKER, 1, 101),
    order(BOB, SELL, OrderType.TAKE_PROFIT, 2, stop_price_ticks=102),
    order(ANN, BUY, OrderType.TAKE_PROFIT_LIMIT, 1, 101, stop_price_ticks=100, time_in_force=FOK),
    order(BOB, BUY, LIMIT, 2, 102, time_in_force=IOC, self_trade_prevention=Mode.NONE),
    commands.cancel(BOB, 1, client_id=b"x"),
    commands.amend(BOB, 1, 2, 1),
    commands.withdraw(ANN, 2, 700),
    order(ANN, BUY, LIMIT, 3, 101, time_in_force=GTC, iceberg_steps=2, self_trade_prevention=Mode.TRANSFER),
    order(BOB, SELL, MARKET, quote_quantity_units=250, self_trade_prevention=Mode.TRANSFER),
    commands.replace(BOB, 1, order(BOB, BUY, LIMIT, 1, 101, time_in_force=GTC, client_id=b"x"), client_id=b"x"),
    commands.kill(BOB),
    commands.account_change(ANN, trade_group=1),  # BOB's
]


def first_world() -> Lockstep:
    """Two accounts with little money, and one order each way so that the first action already meets something."""
    raw = [commands.configure(orders_max=4, rules_version=2), commands.asset(b"A", 0), commands.asset(b"B", 0)]
    for account, group in ((ANN, 0), (BOB, 1)):
        raw += [commands.account(trade_group=group), commands.deposit(account, 1, 5), commands.deposit(account, 2, 900)]
    fields = {"maker_rate_e8": 10**7, "taker_rate_e8": 10**7 + 1, "algo_orders_max": 2, "self_trade_preventions": 63}
    raw.append(commands.market(b"M", 1, 2, **fields))
    raw.append(order(ANN, SELL, LIMIT, 2, 102, time_in_force=GTC))
    raw.append(order(BOB, BUY, LIMIT, 2, 99, time_in_force=GTC))
    lockstep = Lockstep()
    assert lockstep.apply(Batch(b"".join(raw), TIME_NS, TIME_NS, None, 0)) is not None
    lockstep.compare_dumps()
    return lockstep


def walk(start: Lockstep, actions: int, depth: int, path: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    """All histories that go on from here with the first so many actions; yields each one after it was compared."""
    kernel_image, twin_image = start.subject.snapshot(), pickle.dumps(start.twin, -1)
    fresh = None
    for number, action in enumerate(ACTIONS[:actions]):
        if fresh is None:
            fresh = Lockstep(bidhall.core.Exchange.restore(kernel_image), pickle.loads(twin_image))
        here = (*path, number)
        try:
            events = fresh.apply(Batch(action, TIME_NS, TIME_NS, None, 0))
            assert events
            if events[0].kind == EventKind.REJECTED:
                yield here
                continue  # it goes on from the same state: nothing to restore
            fresh.subject.audit()
            if depth > 1:
                fresh.compare_dumps()
                yield here
                yield from walk(fresh, actions, depth - 1, here)
            else:
                yield here
        except Difference as difference:
            told = "\n".join(f"  {tell_command(ACTIONS[i])}" for i in here)
            raise Difference(f"{difference}\nhistory {here}:\n{told}") from None
        fresh = None


def count_histories(actions: int, depth: int) -> int:
    return sum(1 for _ in walk(first_world(), actions, depth))


def test_every_history_of_three_actions() -> None:
    assert count_histories(len(ACTIONS), 3) > 10_000


@pytest.mark.slow
def test_every_history_of_four_of_the_core_actions() -> None:
    assert count_histories(CORE, 4) > 20_000


@pytest.mark.proof
@pytest.mark.timeout(3600)
def test_every_short_history() -> None:
    assert count_histories(len(ACTIONS), 4) > 400_000


def test_most_first_actions_are_accepted() -> None:
    """Or the tree would be cut short."""
    start = first_world()
    accepted = 0
    for action in ACTIONS:
        lockstep = Lockstep(
            bidhall.core.Exchange.restore(start.subject.snapshot()), pickle.loads(pickle.dumps(start.twin, -1))
        )
        events = lockstep.apply(Batch(action, TIME_NS, TIME_NS, None, 0))
        accepted += bool(events and events[0].kind != EventKind.REJECTED)
    assert accepted >= 22
