# SPDX-License-Identifier: Apache-2.0
"""RULES.md "Matching", "Prices, money" and "The book's update id", one story a rule, on twin and kernel."""

import pytest

from tests.core.stage import ANN, BASE, BUY, CYD, DAN, MILLION, QUOTE, SELL, Stage
from tests.model import commands
from tests.model.records import EventKind, Flag, Mode, OrderType, Status, TimeInForce

IOC, FOK = TimeInForce.IOC, TimeInForce.FOK


def test_best_price_first_then_first_in_the_queue(stage: Stage) -> None:
    stage.book("""
        sell 102: 4@bob
        sell 101: 3@ann 2@bob
        buy  100: 5@cyd
    """)
    assert stage.limit(DAN, BUY, 6, 102) == [
        "#5 accepted",
        "#5 takes 3@101",
        "#2 gives 3@101, filled",
        "#5 takes 2@101",
        "#3 gives 2@101, filled",
        "#5 takes 1@102, filled",
        "#1 gives 1@102",
    ]
    assert stage.shows("""
        sell 102: 3@bob
        buy  100: 5@cyd
    """)


def test_a_partly_filled_order_keeps_its_place(stage: Stage) -> None:
    stage.book("sell 101: 3@ann 2@bob")
    stage.market(DAN, BUY, 1)
    assert stage.shows("sell 101: 2@ann 2@bob")
    assert stage.market(DAN, BUY, 2)[2] == "#1 gives 2@101, filled"


def test_a_trade_is_at_the_makers_price(stage: Stage) -> None:
    stage.book("buy 100: 5@cyd")
    assert stage.limit(DAN, SELL, 2, 90)[1:] == ["#2 takes 2@100, filled", "#1 gives 2@100"]
    assert stage.balance(DAN, QUOTE) == (MILLION + 200, 0)
    assert stage.balance(CYD, QUOTE) == (MILLION - 500, 300)
    assert stage.balance(CYD, BASE) == (MILLION + 2, 0)


def test_the_rest_of_a_limit_order_rests_behind_the_others_and_locks(stage: Stage) -> None:
    stage.book("buy 100: 4@ann")
    assert stage.limit(DAN, BUY, 7, 100) == ["#2 accepted"]
    assert stage.shows("buy 100: 4@ann 7@dan")
    assert stage.balance(DAN, QUOTE) == (MILLION - 700, 700)


def test_a_buyer_pays_less_than_its_limit_and_locks_only_the_rest(stage: Stage) -> None:
    stage.book("sell 90: 3@ann")
    stage.limit(DAN, BUY, 5, 100)
    assert stage.balance(DAN, QUOTE) == (MILLION - 270 - 200, 200)


def test_what_an_ioc_does_not_fill_expires(stage: Stage) -> None:
    stage.book("sell 101: 3@ann")
    assert stage.limit(DAN, BUY, 5, 101, time_in_force=IOC)[-1] == "#2 expired UNFILLED_IOC, 2 left"
    assert stage.drawn() == []
    assert stage.balance(DAN, QUOTE) == (MILLION - 303, 0)


def test_an_ioc_that_meets_nothing_expires_whole(stage: Stage) -> None:
    assert stage.limit(DAN, BUY, 5, 101, time_in_force=IOC) == ["#1 accepted", "#1 expired UNFILLED_IOC, 5 left"]


def test_a_fok_fills_wholly_or_not_at_all(stage: Stage) -> None:
    stage.book("""
        sell 102: 9@bob
        sell 101: 3@ann
    """)
    assert stage.limit(DAN, BUY, 4, 101, time_in_force=FOK) == ["#3 accepted", "#3 expired UNFILLED_FOK, 4 left"]
    assert stage.limit(DAN, BUY, 3, 101, time_in_force=FOK)[1] == "#4 takes 3@101, filled"
    assert stage.limit(DAN, BUY, 9, 102, time_in_force=FOK)[1] == "#5 takes 9@102, filled"


@pytest.mark.parametrize(
    ("mode", "filled"),
    [(Mode.NONE, True), (Mode.EXPIRE_MAKER, False), (Mode.EXPIRE_TAKER, False), (Mode.EXPIRE_BOTH, False)],
)
def test_a_fok_counts_what_its_self_trade_prevention_leaves(stage: Stage, mode: int, filled: bool) -> None:
    stage.book("""
        sell 102: 2@bob
        sell 101: 3@dan
    """)
    told = stage.limit(DAN, BUY, 4, 102, time_in_force=FOK, self_trade_prevention=mode)
    assert told[-1] == ("#1 gives 1@102" if filled else "#3 expired UNFILLED_FOK, 4 left")


def test_a_fok_fills_from_others_when_its_own_orders_may_go(stage: Stage) -> None:
    stage.book("""
        sell 102: 4@bob
        sell 101: 3@dan
    """)
    told = stage.limit(DAN, BUY, 4, 102, time_in_force=FOK, self_trade_prevention=Mode.EXPIRE_MAKER)
    assert told == ["#3 accepted", "#2 prevented 3@101", "#3 takes 4@102, filled", "#1 gives 4@102, filled"]


def test_a_fok_fills_from_what_comes_before_its_first_own_order(stage: Stage) -> None:
    stage.book("sell 101: 4@bob 3@dan 5@ann")
    refused = stage.limit(DAN, BUY, 5, 101, time_in_force=FOK, self_trade_prevention=Mode.EXPIRE_TAKER)
    assert refused[-1] == "#4 expired UNFILLED_FOK, 5 left"
    filled = stage.limit(DAN, BUY, 4, 101, time_in_force=FOK, self_trade_prevention=Mode.EXPIRE_BOTH)
    assert filled[1] == "#5 takes 4@101, filled"


def test_self_trade_none_trades_with_itself(stage: Stage) -> None:
    stage.book("sell 101: 4@dan")
    told = stage.limit(DAN, BUY, 4, 101, self_trade_prevention=Mode.NONE)
    assert told[1:] == ["#2 takes 4@101, filled", "#1 gives 4@101, filled"]
    assert stage.balance(DAN, BASE) == stage.balance(DAN, QUOTE) == (MILLION, 0)


def test_self_trade_expire_maker_takes_the_maker_and_goes_on(stage: Stage) -> None:
    stage.book("sell 101: 4@dan 3@bob")
    told = stage.limit(DAN, BUY, 5, 101, self_trade_prevention=Mode.EXPIRE_MAKER)
    assert told == ["#3 accepted", "#1 prevented 4@101", "#3 takes 3@101", "#2 gives 3@101, filled"]
    prevented = stage.last(EventKind.PREVENTED)
    assert (prevented.status, prevented.remaining_steps) == (Status.EXPIRED_IN_MATCH, 0)
    assert prevented.flags == Flag.MAKER | Flag.LAST
    assert (prevented.other_order_id, prevented.other_account, prevented.prevented_match_id) == (3, DAN, 1)
    assert stage.shows("buy 101: 2@dan")
    assert stage.balance(DAN, BASE) == (MILLION + 3, 0)


def test_self_trade_expire_taker_ends_the_taker(stage: Stage) -> None:
    stage.book("sell 101: 1@bob 4@dan 3@bob")
    told = stage.limit(DAN, BUY, 5, 101, self_trade_prevention=Mode.EXPIRE_TAKER)
    assert told == ["#4 accepted", "#4 takes 1@101", "#1 gives 1@101, filled", "#4 prevented 4@101"]
    assert stage.shows("sell 101: 4@dan 3@bob")
    assert stage.last(EventKind.PREVENTED).flags == Flag.BUY | Flag.LAST


def test_self_trade_expire_both_ends_both_under_one_number(stage: Stage) -> None:
    stage.book("sell 101: 4@dan 3@bob")
    told = stage.limit(DAN, BUY, 5, 101, self_trade_prevention=Mode.EXPIRE_BOTH)
    assert told == ["#3 accepted", "#3 prevented 5@101", "#1 prevented 4@101"]
    assert [event.prevented_match_id for event in stage.events] == [0, 1, 1]
    assert stage.shows("sell 101: 3@bob")


def test_self_trade_default_is_the_markets(exchange: object) -> None:
    stage = Stage(exchange).open(self_trade_prevention=Mode.EXPIRE_TAKER)
    stage.book("sell 101: 4@dan")
    assert stage.limit(DAN, BUY, 5, 101)[1] == "#2 prevented 5@101"


def test_it_is_the_takers_mode_that_counts(stage: Stage) -> None:
    stage.limit(DAN, SELL, 4, 101, self_trade_prevention=Mode.EXPIRE_TAKER)
    assert stage.limit(DAN, BUY, 4, 101, self_trade_prevention=Mode.NONE)[1] == "#2 takes 4@101, filled"


def test_a_market_order_takes_until_the_book_is_empty(stage: Stage) -> None:
    stage.book("""
        sell 105: 2@bob
        sell 101: 3@ann
    """)
    assert stage.market(DAN, BUY, 9)[-1] == "#3 expired INSUFFICIENT_LIQUIDITY, 4 left"
    assert stage.market(DAN, BUY, 9) == ["#4 accepted", "#4 expired INSUFFICIENT_LIQUIDITY, 9 left"]


def test_an_order_by_quote_quantity_spends_whole_steps(stage: Stage) -> None:
    stage.book("""
        sell 105: 9@bob
        sell 100: 3@ann
    """)
    told = stage.market(DAN, BUY, quote=515)
    assert told[-2:] == ["#3 takes 2@105, filled", "#1 gives 2@105"]
    assert stage.balance(DAN, QUOTE) == (MILLION - 510, 0)
    fill = stage.events[-2]
    assert (fill.quantity_steps, fill.executed_steps, fill.remaining_steps, fill.status) == (2, 5, 0, Status.FILLED)


def test_an_order_by_quote_quantity_is_done_when_its_rest_buys_no_step_at_the_last_price(stage: Stage) -> None:
    """It does not look at the next price, where a seller would still get something."""
    stage.book("buy 100: 1@ann 9@ann")
    stage.book("buy 10: 9@bob")
    assert stage.market(DAN, SELL, quote=120)[1:] == ["#4 takes 1@100, filled", "#1 gives 1@100, filled"]


def test_an_order_by_quote_quantity_expires_when_the_book_runs_out(stage: Stage) -> None:
    stage.book("sell 100: 3@ann")
    told = stage.market(DAN, BUY, quote=450)
    assert told == [
        "#2 accepted",
        "#2 takes 3@100",
        "#1 gives 3@100, filled",
        "#2 expired INSUFFICIENT_LIQUIDITY, 0 left",
    ]
    expired = stage.events[-1]
    assert (expired.quantity_steps, expired.executed_steps, expired.executed_quote_units) == (3, 3, 300)


def test_an_order_by_quote_quantity_that_fills_nothing_expires(stage: Stage) -> None:
    stage.book("sell 100: 3@ann")
    assert stage.market(DAN, BUY, quote=99)[-1] == "#2 expired INSUFFICIENT_LIQUIDITY, 0 left"
    assert stage.events[0].quantity_steps == stage.events[0].remaining_steps == 0


def test_fees_come_out_of_what_is_received_and_round_down(exchange: object) -> None:
    stage = Stage(exchange).open(maker_rate_e8=1_000_000, taker_rate_e8=1_999_999)  # 1 % and just under 2 %
    stage.book("sell 333: 150@ann")
    stage.market(DAN, BUY, 150)
    taker, maker = stage.events[-2:]
    assert (taker.fee_units, taker.asset) == (2, BASE)
    assert (maker.fee_units, maker.asset) == (499, QUOTE)
    assert stage.balance(DAN, BASE) == (MILLION + 148, 0)
    assert stage.balance(ANN, QUOTE) == (MILLION + 150 * 333 - 499, 0)
    assert [asset["fees"] for asset in stage.exchange.dump()["assets"]] == [2, 499]


def test_an_account_may_have_its_own_rates(exchange: object) -> None:
    stage = Stage(exchange).open(maker_rate_e8=1_000_000, taker_rate_e8=1_000_000)
    stage.do(commands.account_change(ANN, maker_rate_e8=0), commands.account_change(DAN, taker_rate_e8=10**8))
    stage.book("sell 100: 50@ann")
    stage.market(DAN, BUY, 50)
    assert [event.fee_units for event in stage.events[1:]] == [50, 0]
    assert [event.asset for event in stage.events[1:]] == [BASE, QUOTE]


def test_numbers_of_trades_and_executions_have_no_gaps(stage: Stage) -> None:
    stage.book("sell 100: 1@ann 1@bob 1@cyd")
    stage.market(DAN, BUY, 3)
    assert [event.trade_id for event in stage.events] == [0, 1, 1, 2, 2, 3, 3]
    assert [event.execution_id for event in stage.events] == list(range(4, 11))
    assert {event.sequence for event in stage.events} == {stage.exchange.sequence}


def test_working_says_whether_an_order_is_or_may_come_on_the_book(stage: Stage) -> None:
    stage.book("sell 100: 5@ann")
    stage.limit(DAN, BUY, 2, 100)
    assert [event.flags for event in stage.events] == [
        Flag.BUY | Flag.WORKING,
        Flag.BUY | Flag.LAST,
        Flag.MAKER | Flag.WORKING,
    ]
    stage.limit(DAN, BUY, 9, 100)
    assert stage.events[1].flags == Flag.BUY | Flag.WORKING
    stage.cancel(DAN, 3)
    stage.book("sell 100: 1@ann")
    stage.market(DAN, BUY, 2)
    assert stage.events[1].flags == Flag.BUY  # a market order has nothing to work for


def test_the_update_id_grows_once_a_command_that_changes_levels(stage: Stage) -> None:
    def update_id() -> int:
        found: int = stage.exchange.dump()["markets"][0]["update_id"]
        return found

    assert update_id() == 0
    stage.book("sell 101: 1@ann 1@bob")
    assert update_id() == 2
    stage.limit(DAN, BUY, 5, 101)  # two levels change
    assert update_id() == 3
    stage.stop(DAN, SELL, 1, 50)  # nothing visible
    stage.limit(DAN, BUY, 5, 99, time_in_force=IOC)
    stage.limit(DAN, BUY, 0, 99)
    assert update_id() == 3
    stage.amend(DAN, 3, 4)
    assert update_id() == 4
    stage.cancel(DAN, 3)
    assert update_id() == 5


def test_a_limit_maker_only_ever_rests(stage: Stage) -> None:
    stage.book("sell 101: 1@dan")
    raw = [
        commands.place(DAN, 1, BUY, OrderType.LIMIT_MAKER, quantity_steps=2, price_ticks=price) for price in (101, 100)
    ]
    assert stage.do(*raw) == ["refused WOULD_MATCH", "#2 accepted"]
    assert stage.shows("""
        sell 101: 1@dan
        buy  100: 2@dan
    """)
