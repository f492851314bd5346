# SPDX-License-Identifier: Apache-2.0
"""RULES.md "CANCEL, CANCEL_ALL, AMEND", one story a rule, on twin and kernel."""

from typing import Any

import pytest

from tests.core.stage import ANN, BASE, BOB, BUY, DAN, MILLION, QUOTE, SELL, Stage
from tests.model import commands
from tests.model.records import Flag, OrderType, Restriction, State, Status

ONLY_NEW, ONLY_PARTIALLY_FILLED = Restriction.ONLY_NEW, Restriction.ONLY_PARTIALLY_FILLED


def test_a_cancel_returns_the_lock_and_says_what_was_left(stage: Stage) -> None:
    stage.book("sell 100: 5@ann 3@bob")
    stage.market(DAN, BUY, 2)
    assert stage.cancel(ANN, 1) == ["#1 canceled, 3 left"]
    (event,) = stage.events
    assert (event.status, event.flags) == (Status.CANCELED, Flag.LAST | Flag.WORKING)
    assert (event.price_ticks, event.quantity_steps, event.executed_steps, event.executed_quote_units) == (
        100,
        5,
        2,
        200,
    )
    assert stage.shows("sell 100: 3@bob")
    assert stage.balance(ANN, BASE) == (MILLION - 2, 0)


def test_a_cancel_names_the_order_by_id_by_client_id_or_by_both(stage: Stage) -> None:
    for name in (b"a", b"b", b"c"):
        stage.limit(ANN, BUY, 1, 100, client_id=name)
    assert stage.cancel(ANN) == ["refused MALFORMED"]
    assert stage.cancel(ANN, client_id=b"\0a") == ["refused MALFORMED"]
    assert stage.cancel(ANN, 1, client_id=b"b") == ["refused UNKNOWN_ORDER"]
    assert stage.cancel(ANN, 9, client_id=b"b") == ["refused UNKNOWN_ORDER"]
    assert stage.cancel(ANN, client_id=b"x") == ["refused UNKNOWN_ORDER"]
    assert stage.cancel(ANN, 1) == ["#1 canceled, 1 left"]
    assert stage.cancel(ANN, client_id=b"b") == ["#2 canceled, 1 left"]
    assert stage.cancel(ANN, 3, client_id=b"c") == ["#3 canceled, 1 left"]


@pytest.mark.parametrize("order_id", [2, 3, 4, 2**32 + 1, 2**63, 2**64 - 1])
def test_only_ones_own_open_orders_of_that_market_can_be_canceled(stage: Stage, order_id: int) -> None:
    stage.do(commands.market(b"SECOND", BASE, QUOTE))
    stage.book("buy 100: 1@ann 1@bob")
    stage.do(commands.place(ANN, 2, BUY, OrderType.LIMIT_MAKER, price_ticks=9, quantity_steps=1))
    assert stage.cancel(ANN, order_id) == ["refused UNKNOWN_ORDER"]


def test_a_filled_or_canceled_order_cannot_be_canceled(stage: Stage) -> None:
    stage.book("buy 100: 1@ann 1@ann")
    stage.cancel(ANN, 2)
    stage.market(BOB, SELL, 1)
    assert stage.cancel(ANN, 1) == stage.cancel(ANN, 2) == ["refused UNKNOWN_ORDER"]


@pytest.mark.parametrize("state", range(1, 8))
def test_only_a_halt_stops_cancels(stage: Stage, state: int) -> None:
    stage.book("buy 100: 1@ann 1@ann")
    stage.do(commands.market_state(1, state))
    halted = state == State.HALT
    assert stage.cancel(ANN, 1) == (["refused MARKET_CLOSED"] if halted else ["#1 canceled, 1 left"])
    told = stage.do(commands.cancel_all(ANN, 1))
    assert told[-1] == ("refused MARKET_CLOSED" if halted else "#2 canceled, 1 left")


def test_who_may_not_trade_may_cancel(stage: Stage) -> None:
    stage.book("buy 100: 1@ann 2@ann")
    stage.do(commands.account_change(ANN, permissions=0))
    assert stage.amend(ANN, 2, 1) == ["refused ACCOUNT_CLOSED"]
    assert stage.cancel(ANN, 1) == ["#1 canceled, 1 left"]
    assert stage.do(commands.cancel_all(ANN, 1)) == ["#2 canceled, 2 left"]


def test_a_restriction_asks_whether_the_order_has_traded(stage: Stage) -> None:
    stage.book("sell 100: 5@ann 5@ann")
    stage.market(DAN, BUY, 1)
    stage.stop(ANN, SELL, 1, 50)
    assert stage.cancel(ANN, 1, restriction=ONLY_NEW) == ["refused CANCEL_RESTRICTED"]
    assert stage.cancel(ANN, 2, restriction=ONLY_PARTIALLY_FILLED) == ["refused CANCEL_RESTRICTED"]
    assert stage.cancel(ANN, 4, restriction=ONLY_PARTIALLY_FILLED) == ["refused CANCEL_RESTRICTED"]
    assert stage.cancel(ANN, 1, restriction=3) == ["refused MALFORMED"]
    assert stage.cancel(ANN, 9, restriction=3) == ["refused MALFORMED"]
    assert stage.cancel(ANN, 1, restriction=ONLY_PARTIALLY_FILLED) == ["#1 canceled, 4 left"]
    assert stage.cancel(ANN, 2, restriction=ONLY_NEW) == ["#2 canceled, 5 left"]
    assert stage.cancel(ANN, 4, restriction=ONLY_NEW) == ["#4 canceled, 1 left"]


def test_cancel_all_takes_all_in_the_order_they_were_placed(stage: Stage) -> None:
    stage.limit(ANN, SELL, 1, 120)
    stage.stop(ANN, SELL, 2, 50)
    stage.limit(BOB, SELL, 1, 110)
    stage.limit(ANN, BUY, 3, 100)
    stage.limit(ANN, SELL, 4, 110)
    told = stage.do(commands.cancel_all(ANN, 1))
    assert told == ["#1 canceled, 1 left", "#2 canceled, 2 left", "#4 canceled, 3 left", "#5 canceled, 4 left"]
    assert stage.shows("sell 110: 1@bob")
    assert stage.do(commands.cancel_all(ANN, 1)) == ["refused UNKNOWN_ORDER"]
    assert stage.balance(ANN, BASE) == stage.balance(ANN, QUOTE) == (MILLION, 0)


def test_cancel_all_sorts_by_id_and_not_by_when_they_came_on_the_book(stage: Stage) -> None:
    stage.stop(ANN, BUY, 1, 100, price=90)
    stage.limit(ANN, BUY, 1, 80)
    stage.limit(BOB, SELL, 1, 100)
    stage.limit(DAN, BUY, 1, 100)  # triggers #1
    assert stage.shows("""
        buy 90: 1@ann
        buy 80: 1@ann
    """)
    assert stage.do(commands.cancel_all(ANN, 1)) == ["#1 canceled, 1 left", "#2 canceled, 1 left"]


def test_cancel_all_is_one_command_and_its_first_event_its_result(stage: Stage) -> None:
    stage.book("buy 100: 1@ann 1@ann")
    raw = commands.cancel_all(ANN, 1, digest=b"d" * 16)
    stage.do(raw)
    sequence = stage.events[0].sequence
    assert {event.sequence for event in stage.events} == {sequence}
    assert stage.do(raw) == [f"repeats {sequence}: #1 NONE"]


def test_an_amend_lowers_the_quantity_and_keeps_the_place(stage: Stage) -> None:
    stage.book("buy 100: 5@ann 5@bob")
    assert stage.amend(ANN, 1, 3) == ["#1 replaced, 3 of 3 left"]
    (event,) = stage.events
    assert (event.status, event.flags, event.price_ticks) == (Status.NEW, Flag.BUY | Flag.WORKING, 100)
    assert stage.shows("buy 100: 3@ann 5@bob")
    assert stage.balance(ANN, QUOTE) == (MILLION - 300, 300)
    stage.market(DAN, SELL, 1)
    assert stage.amend(ANN, 1, 2) == ["#1 replaced, 1 of 2 left"]
    assert stage.events[0].status == Status.PARTIALLY_FILLED


def test_an_amend_to_what_was_executed_ends_the_order(stage: Stage) -> None:
    stage.book("buy 100: 5@ann 5@bob")
    stage.market(DAN, SELL, 3)
    assert stage.amend(ANN, 1, 2, other_client_id=b"new") == ["#1 expired NONE, 0 left"]
    (event,) = stage.events
    assert (event.status, event.flags) == (Status.EXPIRED, Flag.BUY | Flag.LAST)
    assert (event.quantity_steps, event.executed_steps) == (2, 3)
    assert stage.shows("buy 100: 5@bob")
    assert stage.balance(ANN, QUOTE) == (MILLION - 300, 0)


def test_an_amend_of_a_waiting_stop_shrinks_its_lock(stage: Stage) -> None:
    stage.stop(ANN, BUY, 5, 100)
    stage.stop(ANN, SELL, 5, 100, price=90)
    assert stage.amend(ANN, 1, 2) == ["#1 replaced, 2 of 2 left"]
    assert stage.events[0].flags == Flag.BUY
    assert stage.amend(ANN, 2, 1) == ["#2 replaced, 1 of 1 left"]
    assert stage.balance(ANN, QUOTE) == (MILLION - 200, 200)
    assert stage.balance(ANN, BASE) == (MILLION - 1, 1)


def test_the_checks_of_an_amend_come_in_their_order(exchange: Any) -> None:
    stage = Stage(exchange).open(amends_max=1, quantity_steps_min=2, notional_units_min=300)
    stage.limit(ANN, BUY, 9, 100, client_id=b"mine")
    stage.limit(ANN, BUY, 9, 100, client_id=b"other")
    stage.do(commands.account_change(ANN, permissions=6), commands.market_state(1, State.BREAK))
    amended = {"account": 9, "market": 9, "order_id": 0, "quantity_steps": 0, "other_client_id": b"other"}

    def answer(**mended: Any) -> str:
        amended.update(mended)
        return stage.do(commands.amend(**amended))[0]

    assert answer() == "refused UNKNOWN_ACCOUNT"
    assert answer(account=ANN) == "refused ACCOUNT_CLOSED"
    stage.do(commands.account_change(ANN))
    assert answer() == "refused UNKNOWN_MARKET"
    assert answer(market=1) == "refused MARKET_CLOSED"
    stage.do(commands.market_state(1, State.TRADING))
    assert answer() == "refused MALFORMED"
    assert answer(order_id=7) == "refused MALFORMED"
    assert answer(quantity_steps=9) == "refused UNKNOWN_ORDER"
    assert answer(order_id=1) == "refused AMEND_NO_CHANGE"
    assert answer(quantity_steps=10) == "refused AMEND_INCREASE"
    assert answer(quantity_steps=1) == "refused LOT_SIZE"
    assert answer(quantity_steps=2) == "refused NOTIONAL"
    assert answer(quantity_steps=3) == "refused DUPLICATE_CLIENT_ID"
    assert answer(other_client_id=b"mine") == "#1 replaced, 3 of 3 left"  # its own is no other's
    assert answer(quantity_steps=4) == "refused AMEND_INCREASE"
    assert answer(quantity_steps=1) == "refused AMEND_LIMIT"


def test_an_amend_below_what_was_executed_asks_no_filter(exchange: Any) -> None:
    stage = Stage(exchange).open(quantity_steps_min=5)
    stage.limit(ANN, BUY, 9, 100)
    stage.limit(BOB, SELL, 5, 100)
    assert stage.amend(ANN, 1, 4) == ["#1 expired NONE, 0 left"]


def test_no_amends_are_allowed_when_their_number_is_0(exchange: Any) -> None:
    stage = Stage(exchange).open(amends_max=0)
    stage.limit(ANN, BUY, 9, 100)
    assert stage.amend(ANN, 1, 8) == ["refused AMEND_LIMIT"]


def test_an_amend_may_give_a_new_client_id(stage: Stage) -> None:
    stage.limit(ANN, BUY, 9, 100, client_id=b"old")
    stage.limit(ANN, BUY, 9, 100)
    stage.amend(ANN, 0, 8, client_id=b"old", other_client_id=b"new")
    assert stage.cancel(ANN, client_id=b"old") == ["refused UNKNOWN_ORDER"]
    assert stage.limit(ANN, BUY, 1, 100, client_id=b"old") == ["#3 accepted"]
    stage.amend(ANN, 2, 7, other_client_id=b"third")
    stage.amend(ANN, 2, 6)  # keeps it
    assert stage.cancel(ANN, client_id=b"new") == ["#1 canceled, 8 left"]
    assert stage.cancel(ANN, client_id=b"third") == ["#2 canceled, 6 left"]


def test_an_amended_order_shows_its_amends(stage: Stage) -> None:
    stage.limit(ANN, BUY, 9, 100)
    for quantity in (8, 7):
        stage.amend(ANN, 1, quantity)
    assert stage.exchange.dump()["markets"][0]["bids"][0]["amends"] == 2
