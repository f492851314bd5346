# SPDX-License-Identifier: Apache-2.0
"""RULES.md "Version 2", KILL, one story a rule, on twin and kernel."""

import pytest

from tests.core.stage import ANN, BASE, BOB, BUY, MILLION, QUOTE, SELL, Stage
from tests.model import commands
from tests.model.records import EventKind, Flag, OrderType, Reason, Status

DIGEST = b"k" * 16


@pytest.fixture
def stage(modern: Stage) -> Stage:
    """Two markets; ann has orders in both, one of them waits, and bob has one."""
    stage = modern.open()
    stage.do(commands.market(b"SECOND", BASE, QUOTE))
    place(stage, ANN, 2, 7)
    place(stage, ANN, 1, 3)
    place(stage, BOB, 1, 4)
    stage.stop(ANN, BUY, 2, 150)
    place(stage, ANN, 2, 1)
    return stage


def place(stage: Stage, account: int, market: int, quantity: int) -> None:
    raw = commands.place(account, market, BUY, OrderType.LIMIT_MAKER, price_ticks=100, quantity_steps=quantity)
    assert stage.do(raw)[0].endswith("accepted")


def left(order_id: int, quantity: int) -> str:
    return f"#{order_id} expired EXCHANGE_CANCELED, {quantity} left"


def test_every_order_of_the_account_leaves_in_the_order_of_ids(stage: Stage) -> None:
    assert stage.do(commands.kill(ANN)) == ["killed 4", left(1, 7), left(2, 3), left(4, 2), left(5, 1)]
    assert stage.balance(ANN, QUOTE) == (MILLION, 0)
    assert stage.shows("buy 100: 4@bob")
    killed, *expired = stage.events
    assert (killed.account, killed.market, killed.quantity_steps, killed.execution_id) == (ANN, 0, 4, 0)
    assert [event.market for event in expired] == [2, 1, 1, 2]
    assert {(event.status, event.reason, event.flags) for event in expired} == {
        (Status.EXPIRED, Reason.EXCHANGE_CANCELED, Flag.BUY | Flag.LAST)
    }
    assert [(row["order_id"], row["reason"]) for row in stage.done()] == [(i, 2) for i in (1, 2, 4, 5)]


def test_a_market_may_be_named(stage: Stage) -> None:
    assert stage.do(commands.kill(ANN, 2)) == ["killed 2", left(1, 7), left(5, 1)]
    assert stage.events[0].market == 2
    assert stage.waiting() == [4]


def test_tops_tell_of_every_market_in_the_order_of_ids(stage: Stage) -> None:
    stage.do(commands.kill(ANN))
    assert [(top[2], top[4], top[5]) for top in stage.tops()] == [(1, 100, 4), (2, 0, 0)]


def test_who_has_no_orders_is_killed_all_the_same(stage: Stage) -> None:
    assert stage.do(commands.kill(3), commands.kill(BOB, 2)) == ["killed 0", "killed 0"]


def test_an_account_that_is_closed_may_trade_no_more(stage: Stage) -> None:
    stage.do(commands.account_change(BOB, permissions=0xF7))
    assert stage.do(commands.kill(BOB, 2, restriction=1)) == ["killed 0"]
    assert stage.limit(BOB, BUY, 1, 90) == ["refused ACCOUNT_CLOSED"]
    assert stage.exchange.dump()["accounts"][BOB - 1]["permissions"] == 0xF6
    assert stage.do(commands.kill(BOB, restriction=1)) == ["killed 1", left(3, 4)]
    assert stage.limit(ANN, BUY, 1, 90)[0].endswith("accepted")


def test_the_checks_of_a_kill_come_in_their_order(stage: Stage) -> None:
    told = stage.do(
        commands.kill(9, 9, restriction=2),
        commands.kill(0),
        commands.kill(ANN, 9, restriction=2),
        commands.kill(ANN, restriction=2),
        commands.kill(ANN, 1, restriction=255),
    )
    assert told == ["refused UNKNOWN_ACCOUNT"] * 2 + ["refused UNKNOWN_MARKET"] + ["refused MALFORMED"] * 2


@pytest.mark.parametrize("state", range(2, 8))
def test_any_market_state_will_do(stage: Stage, state: int) -> None:
    stage.do(commands.market_state(1, state), commands.market_state(2, state))
    assert stage.do(commands.kill(ANN))[0] == "killed 4"


def test_a_kill_is_remembered_by_its_digest(stage: Stage) -> None:
    assert stage.do(commands.kill(ANN, 2, digest=DIGEST))[0] == "killed 2"
    first = stage.events[0].sequence
    assert stage.do(commands.kill(ANN, 2, digest=DIGEST)) == [f"repeats {first}: #0 NONE"]
    assert (stage.events[0].account, stage.events[0].market) == (ANN, 2)


def test_icebergs_and_partly_filled_orders_leave_with_all_they_have(stage: Stage) -> None:
    stage.limit(BOB, SELL, 9, 140, iceberg_steps=2)
    stage.market(ANN, BUY, 1)
    assert stage.do(commands.kill(BOB)) == ["killed 2", left(3, 4), left(6, 8)]
    (expired,) = [event for event in stage.events if event.order_id == 6]
    assert (expired.executed_steps, expired.quantity_steps, expired.kind) == (1, 9, EventKind.EXPIRED)
