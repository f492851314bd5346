# SPDX-License-Identifier: Apache-2.0
"""RULES.md "Triggers": which orders wait, when they start, and in which order, on twin and kernel."""

from typing import Any

import pytest

from tests.core.stage import ANN, BASE, BOB, BUY, CYD, DAN, MILLION, QUOTE, SELL, Stage
from tests.model import commands
from tests.model.records import EventKind, Flag, Mode, Status, TimeInForce

IOC, FOK = TimeInForce.IOC, TimeInForce.FOK


def trade(stage: Stage, price: int, quantity: int = 1) -> list[str]:
    """Bob sells to cyd at a price; what follows after the two fills."""
    stage.limit(BOB, SELL, quantity, price)
    return stage.limit(CYD, BUY, quantity, price)[3:]


@pytest.mark.parametrize(
    ("side", "profit", "quiet", "loud"),
    [(BUY, False, 109, 110), (SELL, False, 111, 110), (BUY, True, 111, 110), (SELL, True, 109, 110)],
    ids=["stop loss buy", "stop loss sell", "take profit buy", "take profit sell"],
)
def test_a_stop_triggers_at_its_price(stage: Stage, side: int, profit: bool, quiet: int, loud: int) -> None:
    stage.stop(DAN, side, 5, 110, profit=profit)
    assert trade(stage, quiet) == []
    assert trade(stage, loud) == ["#1 triggered", "#1 expired INSUFFICIENT_LIQUIDITY, 5 left"]


def test_a_waiting_stop_is_not_on_the_book(stage: Stage) -> None:
    assert stage.stop(DAN, BUY, 5, 110, price=120) == ["#1 waits"]
    assert stage.drawn() == []
    assert stage.waiting() == [1]
    assert stage.events[0].flags == Flag.BUY
    assert stage.market(ANN, SELL, 5)[-1] == "#2 expired INSUFFICIENT_LIQUIDITY, 5 left"
    assert stage.exchange.dump()["markets"][0]["update_id"] == 0


def test_a_triggered_stop_limit_takes_and_then_rests(stage: Stage) -> None:
    stage.stop(DAN, BUY, 5, 110, price=112)
    assert stage.balance(DAN, QUOTE) == (MILLION - 560, 560)
    stage.book("sell 111: 2@ann")
    stage.time_ns = 9
    assert trade(stage, 110) == ["#1 triggered", "#1 takes 2@111", "#2 gives 2@111, filled"]
    assert stage.shows("buy 112: 3@dan")
    assert stage.balance(DAN, QUOTE) == (MILLION - 222 - 336, 336)
    triggered = stage.last(EventKind.TRIGGERED)
    assert (triggered.status, triggered.flags) == (Status.NEW, Flag.BUY | Flag.WORKING)
    (order,) = stage.exchange.dump()["markets"][0]["bids"]
    assert (order["created_ns"], order["working_ns"]) == (0, 9)


def test_a_triggered_stop_market_takes_what_there_is(stage: Stage) -> None:
    stage.stop(DAN, SELL, 5, 110)
    stage.book("buy 100: 3@ann")
    assert trade(stage, 110) == [
        "#1 triggered",
        "#1 takes 3@100",
        "#2 gives 3@100, filled",
        "#1 expired INSUFFICIENT_LIQUIDITY, 2 left",
    ]
    assert stage.balance(DAN, BASE) == (MILLION - 3, 0)


def test_triggered_time_in_force_holds(stage: Stage) -> None:
    stage.stop(DAN, BUY, 5, 110, price=112, time_in_force=IOC)
    stage.stop(DAN, BUY, 5, 110, price=112, time_in_force=FOK)
    stage.book("sell 111: 4@ann")
    assert trade(stage, 110) == [
        "#1 triggered",
        "#1 takes 4@111",
        "#3 gives 4@111, filled",
        "#1 expired UNFILLED_IOC, 1 left",
        "#2 triggered",
        "#2 expired UNFILLED_FOK, 5 left",
    ]


def test_stops_of_one_round_start_in_order_id_order(stage: Stage) -> None:
    """Whatever their prices, sides and kinds; they enter after the command that triggers them."""
    stage.stop(ANN, BUY, 1, 107)
    stage.stop(ANN, SELL, 1, 110)
    stage.stop(ANN, BUY, 1, 105)
    stage.stop(ANN, SELL, 1, 109, profit=True)
    assert stage.waiting() == [3, 1, 4, 2]
    assert [line for line in trade(stage, 110) if "triggered" in line] == [f"#{i} triggered" for i in (1, 2, 3, 4)]


def test_what_triggered_orders_trade_triggers_the_next_round(stage: Stage) -> None:
    stage.book("sell 115: 1@ann")
    stage.stop(DAN, BUY, 1, 112)
    stage.stop(DAN, BUY, 1, 110)
    told = trade(stage, 110)
    assert told == [
        "#3 triggered",
        "#3 takes 1@115, filled",
        "#1 gives 1@115, filled",
        "#2 triggered",
        "#2 expired INSUFFICIENT_LIQUIDITY, 1 left",
    ]
    assert len({event.sequence for event in stage.events}) == 1


def test_a_round_looks_at_the_trades_of_the_round_before_only(stage: Stage) -> None:
    """Trades at 110; the round's own trade is at 100: a stop below 105 that came in between waits."""
    stage.book("buy 100: 2@ann")
    stage.stop(DAN, SELL, 1, 101)  # below: triggered by the 100 of the second round
    stage.stop(DAN, SELL, 1, 110, profit=True)  # above: triggered by 110
    told = trade(stage, 110)
    assert told == [
        "#3 triggered",
        "#3 takes 1@100, filled",
        "#1 gives 1@100",
        "#2 triggered",
        "#2 takes 1@100, filled",
        "#1 gives 1@100, filled",
    ]


def test_the_range_of_a_command_triggers_both_ends(stage: Stage) -> None:
    stage.book("""
        sell 120: 1@ann
        sell 100: 1@ann
    """)
    stage.stop(BOB, SELL, 1, 100)  # below
    stage.stop(BOB, BUY, 1, 120)  # above
    stage.stop(BOB, BUY, 1, 121)
    told = stage.market(DAN, BUY, 2)
    assert [line for line in told if "triggered" in line] == ["#3 triggered", "#4 triggered"]
    assert stage.waiting() == [5]


def test_the_lock_returns_when_it_is_its_turn(stage: Stage) -> None:
    """Two stops of one account: the first may use what it locked itself, not what the second still holds."""
    stage.do(commands.withdraw(DAN, QUOTE, MILLION - 400))
    stage.stop(DAN, BUY, 2, 100)
    stage.stop(DAN, BUY, 2, 100)
    stage.book("sell 110: 9@ann")
    assert stage.balance(DAN, QUOTE) == (0, 400)
    assert trade(stage, 100) == [
        "#1 triggered",
        "#1 takes 1@110",
        "#3 gives 1@110",
        "#1 expired INSUFFICIENT_LIQUIDITY, 1 left",
        "#2 triggered",
        "#2 takes 2@110, filled",
        "#3 gives 2@110",
    ]
    assert stage.balance(DAN, QUOTE) == (70, 0)


def test_a_triggered_market_order_that_can_pay_nothing_expires(stage: Stage) -> None:
    stage.do(commands.withdraw(DAN, QUOTE, MILLION - 100))
    stage.stop(DAN, BUY, 1, 100)
    stage.book("sell 110: 9@ann")
    assert trade(stage, 100) == ["#1 triggered", "#1 expired INSUFFICIENT_LIQUIDITY, 1 left"]
    assert stage.balance(DAN, QUOTE) == (100, 0)


def test_self_trade_prevention_frees_money_that_a_triggered_order_may_use(stage: Stage) -> None:
    stage.do(commands.withdraw(DAN, BASE, MILLION - 5))
    stage.limit(DAN, BUY, 1, 90)
    stage.stop(DAN, SELL, 3, 100, self_trade_prevention=Mode.EXPIRE_MAKER)
    stage.book("buy 89: 5@ann")
    assert trade(stage, 100)[:2] == ["#2 triggered", "#1 prevented 1@90"]
    assert stage.balance(DAN, QUOTE) == (MILLION + 3 * 89, 0)


def test_a_canceled_stop_does_not_trigger(stage: Stage) -> None:
    stage.stop(DAN, BUY, 1, 100)
    assert stage.cancel(DAN, 1) == ["#1 canceled, 1 left"]
    assert stage.events[0].flags == Flag.BUY | Flag.LAST
    assert trade(stage, 100) == []


def test_a_fill_of_a_resting_triggered_order_is_as_any(stage: Stage) -> None:
    stage.stop(DAN, BUY, 5, 100, price=95)
    trade(stage, 100)
    assert stage.market(ANN, SELL, 5)[1:] == ["#4 takes 5@95, filled", "#1 gives 5@95, filled"]


def test_triggers_are_of_their_market(exchange: Any) -> None:
    stage = Stage(exchange).open()
    stage.do(commands.market(b"SECOND", BASE, QUOTE))
    stage.do(commands.place(DAN, 2, BUY, 4, stop_price_ticks=100, quantity_steps=1))
    assert trade(stage, 100) == []
