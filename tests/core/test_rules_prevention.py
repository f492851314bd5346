# SPDX-License-Identifier: Apache-2.0
"""RULES.md "Version 2", Self-trade prevention: trade groups, DECREMENT, TRANSFER, one story a rule, on both."""

import pytest

from tests.core.stage import ANN, BASE, BOB, BUY, CYD, DAN, MILLION, QUOTE, SELL, Stage
from tests.model import commands
from tests.model.records import Event, EventKind, Flag, Mode, Status, TimeInForce

IOC, FOK = TimeInForce.IOC, TimeInForce.FOK
NONE, EXPIRE_TAKER, EXPIRE_MAKER, EXPIRE_BOTH, DECREMENT, TRANSFER = range(1, 7)


@pytest.fixture
def stage(modern: Stage) -> Stage:
    """All modes are allowed."""
    return modern.open(self_trade_preventions=63)


def limit(stage: Stage, account: int, side: int, quantity: int, price: int, mode: int, **fields: int) -> list[str]:
    return stage.limit(account, side, quantity, price, self_trade_prevention=mode, **fields)


def prevented(stage: Stage) -> list[Event]:
    return [event for event in stage.events if event.kind == EventKind.PREVENTED]


# Own.


@pytest.mark.parametrize("mode", [EXPIRE_TAKER, EXPIRE_MAKER, EXPIRE_BOTH, DECREMENT, TRANSFER])
def test_another_account_of_the_trade_group_is_own(stage: Stage, mode: int) -> None:
    stage.group(ANN, DAN)
    stage.book("sell 100: 3@ann")
    told = limit(stage, DAN, BUY, 3, 100, mode)
    assert "prevented" in told[1]
    assert {event.other_account for event in prevented(stage)} <= {ANN, DAN}


def test_groups_are_looked_at_when_orders_meet(stage: Stage) -> None:
    stage.book("sell 100: 3@ann")
    stage.group(ANN, DAN)
    assert "prevented" in limit(stage, DAN, BUY, 1, 100, EXPIRE_TAKER)[1]
    stage.group(ANN, number=2)
    assert limit(stage, DAN, BUY, 1, 100, EXPIRE_TAKER)[1] == "#3 takes 1@100, filled"


def test_group_0_is_no_group_and_mode_none_trades(stage: Stage) -> None:
    stage.book("sell 100: 3@ann")
    assert limit(stage, DAN, BUY, 1, 100, EXPIRE_TAKER)[1] == "#2 takes 1@100, filled"
    stage.group(ANN, DAN)
    assert limit(stage, DAN, BUY, 1, 100, NONE)[1] == "#3 takes 1@100, filled"


@pytest.mark.parametrize("mode", [EXPIRE_TAKER, EXPIRE_BOTH, DECREMENT, TRANSFER])
def test_a_fok_stops_counting_at_its_groups_first_order(stage: Stage, mode: int) -> None:
    stage.group(ANN, DAN)
    stage.book("sell 100: 4@bob 3@ann 5@bob")
    assert limit(stage, DAN, BUY, 5, 100, mode, time_in_force=FOK)[-1] == "#4 expired UNFILLED_FOK, 5 left"
    assert limit(stage, DAN, BUY, 4, 100, mode, time_in_force=FOK)[1] == "#5 takes 4@100, filled"


def test_a_limit_maker_looks_at_nobodys_group(stage: Stage) -> None:
    stage.group(ANN, DAN)
    stage.book("sell 100: 3@ann")
    assert stage.do(commands.place(DAN, 1, BUY, 3, price_ticks=100, quantity_steps=1)) == ["refused WOULD_MATCH"]


# DECREMENT.


def test_decrement_takes_the_same_off_both_and_no_money_moves(stage: Stage) -> None:
    stage.book("sell 100: 5@dan")
    told = limit(stage, DAN, BUY, 3, 101, DECREMENT)
    assert told == ["#2 accepted", "#2 prevented 3@100", "#1 prevented 3@100, 2 left"]
    taker, maker = prevented(stage)
    assert (taker.status, maker.status) == (Status.EXPIRED_IN_MATCH, Status.NEW)
    assert (taker.flags, maker.flags) == (Flag.BUY | Flag.LAST, Flag.MAKER | Flag.WORKING)
    assert (taker.prevented_match_id, maker.prevented_match_id) == (1, 1)
    assert (taker.other_order_id, maker.other_order_id) == (1, 2)
    assert (taker.quote_units, maker.quote_units, taker.trade_id, taker.fee_units) == (0, 0, 0, 0)
    assert (taker.executed_steps, maker.executed_steps) == (0, 0)
    assert stage.shows("sell 100: 2@dan")
    assert stage.balance(DAN, BASE) == (MILLION - 2, 2)
    assert stage.balance(DAN, QUOTE) == (MILLION, 0)
    assert stage.exchange.dump()["markets"][0]["last_price_ticks"] == 0


def test_a_decremented_taker_goes_on_and_rests(stage: Stage) -> None:
    stage.book("""
        sell 101: 4@bob
        sell 100: 2@dan
    """)
    told = limit(stage, DAN, BUY, 9, 101, DECREMENT)
    assert told == [
        "#3 accepted",
        "#3 prevented 2@100, 7 left",
        "#2 prevented 2@100",
        "#3 takes 4@101",
        "#1 gives 4@101, filled",
    ]
    assert prevented(stage)[0].flags == Flag.BUY | Flag.WORKING
    assert stage.shows("buy 101: 3@dan")
    (order,) = stage.exchange.dump()["markets"][0]["bids"]
    assert (order["prevented_steps"], order["executed_steps"], order["quantity_steps"]) == (2, 4, 9)
    assert stage.balance(DAN, QUOTE) == (MILLION - 404 - 303, 303)


def test_a_partly_filled_order_stays_partly_filled(stage: Stage) -> None:
    stage.book("sell 100: 5@dan")
    stage.market(BOB, BUY, 1)
    limit(stage, DAN, BUY, 1, 100, DECREMENT)
    assert prevented(stage)[1].status == Status.PARTIALLY_FILLED


def test_an_order_is_filled_when_its_last_quantity_went_by_a_trade(stage: Stage) -> None:
    stage.book("sell 100: 2@dan 3@bob")
    limit(stage, DAN, BUY, 5, 100, DECREMENT)
    row = stage.done()[-1]
    assert (row["order_id"], row["status"], row["executed_steps"], row["prevented_steps"]) == (3, Status.FILLED, 3, 2)


def test_each_meeting_has_its_own_number(stage: Stage) -> None:
    stage.book("sell 100: 1@dan 1@dan 1@dan")
    limit(stage, DAN, BUY, 2, 100, DECREMENT)
    assert [event.prevented_match_id for event in prevented(stage)] == [1, 1, 2, 2]
    assert [row["prevented_match_id"] for row in stage.done()] == [1, 2, 2]
    assert stage.exchange.dump()["markets"][0]["next_prevented_match_id"] == 3


def test_an_own_iceberg_is_decremented_part_by_part(stage: Stage) -> None:
    stage.book("sell 100: 2/7@dan 1@bob")
    told = limit(stage, DAN, BUY, 6, 100, DECREMENT)
    assert told == [
        "#3 accepted",
        "#3 prevented 2@100, 4 left",
        "#1 prevented 2@100, 5 left",
        "#3 takes 1@100",
        "#2 gives 1@100, filled",
        "#3 prevented 2@100, 1 left",
        "#1 prevented 2@100, 3 left",
        "#3 prevented 1@100",
        "#1 prevented 1@100, 2 left",
    ]
    assert stage.shows("sell 100: 1/2@dan")


def test_a_taker_by_quote_quantity_loses_quote_at_the_makers_price(stage: Stage) -> None:
    """515 - 3 x 100 leave 215: 2 more at 105, and 5 that buy nothing."""
    stage.book("""
        sell 105: 9@bob
        sell 100: 3@dan
    """)
    told = stage.market(DAN, BUY, quote=515, self_trade_prevention=DECREMENT)
    assert told == [
        "#3 accepted",
        "#3 prevented 3@100, 0 left",
        "#2 prevented 3@100",
        "#3 takes 2@105, filled",
        "#1 gives 2@105",
    ]
    assert prevented(stage)[0].flags == Flag.BUY  # nothing to work for
    row = stage.done()[-1]
    assert (row["quantity_steps"], row["executed_steps"], row["prevented_steps"]) == (5, 2, 3)
    assert stage.balance(DAN, QUOTE) == (MILLION - 210, 0)


def test_a_taker_by_quote_quantity_ends_when_its_rest_buys_no_step(stage: Stage) -> None:
    stage.book("sell 100: 9@dan")
    told = stage.market(DAN, BUY, quote=350, self_trade_prevention=DECREMENT)
    assert told == ["#2 accepted", "#2 prevented 3@100", "#1 prevented 3@100, 6 left"]
    assert prevented(stage)[0].status == Status.EXPIRED_IN_MATCH


def test_a_taker_by_quote_quantity_that_buys_no_step_of_an_own_order_expires(stage: Stage) -> None:
    stage.book("sell 100: 9@dan")
    told = stage.market(DAN, BUY, quote=99, self_trade_prevention=DECREMENT)
    assert told == ["#2 accepted", "#2 expired INSUFFICIENT_LIQUIDITY, 0 left"]
    assert stage.exchange.dump()["markets"][0]["next_prevented_match_id"] == 1


def test_what_an_ioc_has_left_after_a_decrement_expires(stage: Stage) -> None:
    stage.book("sell 100: 2@dan")
    told = limit(stage, DAN, BUY, 5, 100, DECREMENT, time_in_force=IOC)
    assert told[-1] == "#2 expired UNFILLED_IOC, 3 left"


def test_an_amend_compares_with_what_is_executed_and_prevented(stage: Stage) -> None:
    stage.book("sell 100: 9@dan")
    limit(stage, DAN, BUY, 2, 100, DECREMENT)
    stage.market(BOB, BUY, 1)
    assert stage.amend(DAN, 1, 4) == ["#1 replaced, 1 of 4 left"]
    assert stage.shows("sell 100: 1@dan")
    assert stage.amend(DAN, 1, 3) == ["#1 expired NONE, 0 left"]
    assert stage.balance(DAN, BASE) == (MILLION - 1, 0)


def test_who_is_prevented_wholly_counts_as_new_for_a_cancel(stage: Stage) -> None:
    stage.book("sell 100: 9@dan")
    limit(stage, DAN, BUY, 2, 100, DECREMENT)
    assert stage.cancel(DAN, 1, restriction=2) == ["refused CANCEL_RESTRICTED"]
    assert stage.cancel(DAN, 1, restriction=1) == ["#1 canceled, 7 left"]


def test_a_decrement_triggers_nothing(stage: Stage) -> None:
    stage.stop(CYD, BUY, 1, 100)
    stage.book("sell 100: 9@dan")
    limit(stage, DAN, BUY, 2, 100, DECREMENT)
    assert stage.waiting() == [1]


def test_the_book_changes_where_a_decrement_took_from(stage: Stage) -> None:
    stage.book("sell 100: 9@dan")
    before = stage.exchange.dump()["markets"][0]["update_id"]
    limit(stage, DAN, BUY, 2, 100, DECREMENT)
    assert stage.exchange.dump()["markets"][0]["update_id"] == before + 1
    assert stage.levels() == ([], [(100, 7)])


# TRANSFER.


def transfer(stage: Stage, maker: int, maker_mode: int) -> list[str]:
    limit(stage, maker, SELL, 5, 100, maker_mode)
    return limit(stage, DAN, BUY, 3, 100, TRANSFER)


def test_a_transfer_moves_base_and_quote_without_fees_or_a_trade(modern: Stage) -> None:
    stage = modern.open(self_trade_preventions=63, maker_rate_e8=10**7, taker_rate_e8=10**7)
    stage.group(ANN, DAN)
    assert transfer(stage, ANN, TRANSFER) == [
        "#2 accepted",
        "#2 prevented 3@100 for 300",
        "#1 prevented 3@100 for 300, 2 left",
    ]
    assert stage.balance(DAN, BASE) == (MILLION + 3, 0)
    assert stage.balance(DAN, QUOTE) == (MILLION - 300, 0)
    assert stage.balance(ANN, BASE) == (MILLION - 5, 2)
    assert stage.balance(ANN, QUOTE) == (MILLION + 300, 0)
    market = stage.exchange.dump()["markets"][0]
    assert (market["last_price_ticks"], market["next_trade_id"], market["average"]) == (0, 1, [])
    (maker,) = market["asks"]
    assert (maker["executed_steps"], maker["executed_quote_units"], maker["prevented_steps"]) == (0, 0, 3)
    assert [asset["fees"] for asset in stage.exchange.dump()["assets"]] == [0, 0]


def test_a_buying_maker_pays_a_transfer_from_its_lock(stage: Stage) -> None:
    stage.group(ANN, DAN)
    limit(stage, ANN, BUY, 5, 100, TRANSFER)
    limit(stage, DAN, SELL, 3, 90, TRANSFER)
    assert stage.balance(ANN, QUOTE) == (MILLION - 500, 200)
    assert stage.balance(ANN, BASE) == (MILLION + 3, 0)
    assert stage.balance(DAN, QUOTE) == (MILLION + 300, 0)


@pytest.mark.parametrize("mode", [NONE, EXPIRE_TAKER, EXPIRE_MAKER, EXPIRE_BOTH, DECREMENT])
def test_without_the_makers_mode_a_transfer_is_a_decrement(stage: Stage, mode: int) -> None:
    stage.group(ANN, DAN)
    assert transfer(stage, ANN, mode)[1:] == ["#2 prevented 3@100", "#1 prevented 3@100, 2 left"]
    assert stage.balance(ANN, QUOTE) == (MILLION, 0)


def test_within_one_account_a_transfer_is_a_decrement(stage: Stage) -> None:
    assert transfer(stage, DAN, TRANSFER)[1:] == ["#2 prevented 3@100", "#1 prevented 3@100, 2 left"]
    assert stage.balance(DAN, QUOTE) == (MILLION, 0)


def test_a_decrementing_taker_transfers_nothing(stage: Stage) -> None:
    stage.group(ANN, DAN)
    limit(stage, ANN, SELL, 5, 100, TRANSFER)
    assert limit(stage, DAN, BUY, 3, 100, DECREMENT)[1] == "#2 prevented 3@100"


def trigger_with(stage: Stage, free: int, mode: int) -> list[str]:
    """dan's market order triggers at 100 with the 500 it had locked and little else; ann sells at 200."""
    stage.group(ANN, DAN)
    stage.stop(DAN, BUY, 5, 100, self_trade_prevention=mode)
    stage.do(commands.withdraw(DAN, QUOTE, MILLION - 500 - free))
    limit(stage, ANN, SELL, 9, 200, mode)
    limit(stage, BOB, SELL, 1, 100, NONE)
    return stage.market(CYD, BUY, 1)[3:]


def test_a_transfer_is_cut_by_free_money_and_ends_the_matching(stage: Stage) -> None:
    assert trigger_with(stage, 0, TRANSFER) == [
        "#1 triggered",
        "#1 prevented 2@200 for 400, 3 left",
        "#2 prevented 2@200 for 400, 7 left",
        "#1 expired INSUFFICIENT_LIQUIDITY, 3 left",
    ]
    assert stage.balance(DAN, QUOTE) == (100, 0)
    assert prevented(stage)[0].flags == Flag.BUY


def test_free_money_that_buys_no_step_transfers_nothing(stage: Stage) -> None:
    stage.limit(DAN, BUY, 4, 99)  # 396 of the 500 are locked elsewhere
    stage.group(ANN, DAN)
    stage.stop(DAN, BUY, 1, 100, self_trade_prevention=TRANSFER)
    stage.do(commands.withdraw(DAN, QUOTE, MILLION - 496))
    limit(stage, ANN, SELL, 9, 200, TRANSFER)
    limit(stage, BOB, SELL, 1, 100, NONE)
    assert stage.market(CYD, BUY, 1)[3:] == ["#2 triggered", "#2 expired INSUFFICIENT_LIQUIDITY, 1 left"]
    assert stage.exchange.dump()["markets"][0]["next_prevented_match_id"] == 1


def test_a_decrement_needs_no_money(stage: Stage) -> None:
    assert trigger_with(stage, 0, DECREMENT)[1] == "#1 prevented 5@200"


def test_positions_of_a_transfer_are_told_as_of_a_trade(stage: Stage) -> None:
    stage.group(ANN, DAN)
    for account in (ANN, DAN):
        stage.exchange.watch(account, True)
    limit(stage, ANN, SELL, 5, 100, TRANSFER)
    limit(stage, DAN, BUY, 5, 100, TRANSFER)
    told = [(row[1], row[2]) for row in stage.positions()]
    assert told == [(DAN, QUOTE), (DAN, BASE), (ANN, BASE), (ANN, QUOTE)]


def test_a_decrement_moves_only_the_makers_lock(stage: Stage) -> None:
    stage.exchange.watch(DAN, True)
    stage.book("sell 100: 5@dan")
    limit(stage, DAN, BUY, 5, 100, DECREMENT)
    assert [(row[1], row[2], row[3], row[4]) for row in stage.positions()] == [(DAN, BASE, MILLION, 0)]


@pytest.mark.parametrize("mode", [EXPIRE_TAKER, EXPIRE_MAKER, EXPIRE_BOTH])
def test_expiring_still_takes_all_at_once(stage: Stage, mode: int) -> None:
    stage.book("sell 100: 5@dan")
    limit(stage, DAN, BUY, 3, 100, mode)
    assert {event.status for event in prevented(stage)} == {Status.EXPIRED_IN_MATCH}
    assert {event.quantity_steps for event in prevented(stage)} <= {3, 5}
    assert all(event.flags & Flag.LAST for event in prevented(stage))


@pytest.mark.parametrize("mode", [Mode.DECREMENT, Mode.TRANSFER])
def test_the_default_mode_of_a_market_may_be_any(modern: Stage, mode: int) -> None:
    stage = modern.open(self_trade_preventions=63, self_trade_prevention=mode)
    stage.book("sell 100: 5@dan")
    assert stage.limit(DAN, BUY, 3, 100)[1:] == ["#2 prevented 3@100", "#1 prevented 3@100, 2 left"]
