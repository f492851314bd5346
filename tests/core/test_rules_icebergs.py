# SPDX-License-Identifier: Apache-2.0
"""RULES.md "Version 2", Icebergs and their shape, one story a rule, on twin and kernel."""

import pytest

from tests.core.stage import ANN, BASE, BOB, BUY, CYD, DAN, MILLION, QUOTE, SELL, Stage
from tests.model import commands
from tests.model.records import Flag, Mode, OrderType, Side, Status, TimeInForce

GTC, IOC, FOK = TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK


@pytest.fixture
def stage(modern: Stage) -> Stage:
    return modern.open()


def update_id(stage: Stage) -> int:
    found: int = stage.exchange.dump()["markets"][0]["update_id"]
    return found


@pytest.mark.parametrize("side", [Side.BUY, Side.SELL])
@pytest.mark.parametrize("kind", range(1, 8))
@pytest.mark.parametrize("time_in_force", range(4))
def test_only_what_may_rest_may_be_an_iceberg(stage: Stage, side: int, kind: int, time_in_force: int) -> None:
    limited = kind in (OrderType.LIMIT, OrderType.LIMIT_MAKER, OrderType.STOP_LOSS_LIMIT, OrderType.TAKE_PROFIT_LIMIT)
    fields = {
        "quantity_steps": 5,
        "price_ticks": 100 if limited else 0,
        "stop_price_ticks": 100 if kind >= OrderType.STOP_LOSS else 0,
        "time_in_force": time_in_force,
    }
    told = [stage.do(commands.place(ANN, 1, side, kind, iceberg_steps=steps, **fields))[0] for steps in (2, 5, 6, -1)]
    wanted = TimeInForce.NONE if kind == OrderType.LIMIT_MAKER else GTC
    may = ["#1", "#2"] if limited and time_in_force == wanted else ["refused"] * 2
    assert [text.split()[0] for text in told] == [*may, "refused", "refused"]
    assert [text for text in told if text.startswith("refused")] == ["refused MALFORMED"] * (4 - may.count("#1") * 2)


def test_an_iceberg_shows_a_part_and_locks_everything(stage: Stage) -> None:
    stage.book("sell 100: 3/10@ann 4@bob")
    assert stage.shows("sell 100: 3/10@ann 4@bob")
    assert stage.balance(ANN, BASE) == (MILLION - 10, 10)
    (first, _) = stage.exchange.dump()["markets"][0]["asks"]
    assert (first["iceberg_steps"], first["shown_steps"], first["quantity_steps"]) == (3, 3, 10)
    assert stage.levels() == ([], [(100, 7)])


def test_a_used_up_part_is_followed_by_the_next_behind_the_others(stage: Stage) -> None:
    stage.book("sell 100: 3/10@ann 4@bob")
    assert stage.limit(DAN, BUY, 2, 100) == ["#3 accepted", "#3 takes 2@100, filled", "#1 gives 2@100"]
    assert stage.shows("sell 100: 1/8@ann 4@bob")
    assert stage.limit(DAN, BUY, 2, 100)[1:] == [
        "#4 takes 1@100",
        "#1 gives 1@100",
        "#4 takes 1@100, filled",
        "#2 gives 1@100",
    ]
    assert stage.shows("sell 100: 3@bob 3/7@ann")


def test_one_order_may_take_many_parts(stage: Stage) -> None:
    stage.book("sell 100: 3/7@ann")
    told = stage.market(DAN, BUY, 9)
    assert told == [
        "#2 accepted",
        "#2 takes 3@100",
        "#1 gives 3@100",
        "#2 takes 3@100",
        "#1 gives 3@100",
        "#2 takes 1@100",
        "#1 gives 1@100, filled",
        "#2 expired INSUFFICIENT_LIQUIDITY, 2 left",
    ]
    makers = [event for event in stage.events if event.order_id == 1]
    assert [event.remaining_steps for event in makers] == [4, 1, 0]
    assert [event.flags for event in makers] == [Flag.MAKER | Flag.WORKING] * 2 + [Flag.MAKER | Flag.LAST]


def test_a_last_part_may_be_smaller(stage: Stage) -> None:
    stage.book("buy 100: 4/5@ann")
    stage.market(DAN, SELL, 4)
    assert stage.shows("buy 100: 1/1@ann")


def test_an_iceberg_takes_with_all_that_it_has(stage: Stage) -> None:
    stage.book("sell 100: 6@bob")
    told = stage.limit(ANN, BUY, 10, 100, iceberg_steps=3)
    assert told == ["#2 accepted", "#2 takes 6@100", "#1 gives 6@100, filled"]
    assert stage.shows("buy 100: 3/4@ann")
    assert stage.balance(ANN, QUOTE) == (MILLION - 1000, 400)


def test_a_rest_smaller_than_the_part_is_shown_whole(stage: Stage) -> None:
    stage.book("sell 100: 8@bob")
    stage.limit(ANN, BUY, 10, 100, iceberg_steps=3)
    assert stage.shows("buy 100: 2/2@ann")


def test_an_iceberg_that_shows_everything_is_one_all_the_same(modern: Stage) -> None:
    stage = modern.open(iceberg_orders_max=1)
    stage.book("sell 100: 5/5@ann")
    assert stage.limit(ANN, SELL, 5, 100, iceberg_steps=1) == ["refused MAX_NUM_ICEBERG_ORDERS"]


def test_a_waiting_iceberg_shows_nothing_until_it_rests(stage: Stage) -> None:
    stage.stop(ANN, BUY, 6, 105, price=100, iceberg_steps=2)
    (waiting,) = stage.exchange.dump()["markets"][0]["above"]
    assert (waiting["iceberg_steps"], waiting["shown_steps"]) == (2, 0)
    stage.book("sell 105: 1@bob")
    assert "#1 triggered" in stage.market(CYD, BUY, 1)
    assert stage.shows("buy 100: 2/6@ann")


def test_a_fok_counts_what_is_hidden(stage: Stage) -> None:
    stage.book("sell 100: 1/5@ann 2@bob")
    assert stage.limit(DAN, BUY, 8, 100, time_in_force=FOK)[-1] == "#3 expired UNFILLED_FOK, 8 left"
    assert stage.limit(DAN, BUY, 7, 100, time_in_force=FOK)[-1] == "#1 gives 1@100, filled"


@pytest.mark.parametrize("mode", [Mode.EXPIRE_TAKER, Mode.EXPIRE_BOTH])
def test_before_its_own_order_a_fok_counts_only_what_that_level_shows(stage: Stage, mode: int) -> None:
    """What ann hides at 100 comes behind dan's own order; what she hides at 99 comes before it."""
    stage.book("""
        sell 100: 1/5@ann 2@bob 3@dan 4@bob
        sell  99: 2/6@ann
    """)
    order = {"time_in_force": FOK, "self_trade_prevention": mode}
    assert stage.limit(DAN, BUY, 10, 100, **order)[-1] == "#6 expired UNFILLED_FOK, 10 left"
    assert stage.limit(DAN, BUY, 9, 100, **order)[-1] == "#2 gives 2@100, filled"


def test_a_fok_that_steps_over_its_own_orders_counts_everything_else(stage: Stage) -> None:
    stage.book("sell 100: 1/5@ann 2/9@dan 4@bob")
    order = {"time_in_force": FOK, "self_trade_prevention": Mode.EXPIRE_MAKER}
    assert stage.limit(DAN, BUY, 10, 100, **order)[-1] == "#4 expired UNFILLED_FOK, 10 left"
    told = stage.limit(DAN, BUY, 9, 100, **order)
    assert "#2 prevented 9@100" in told
    assert told[-1] == "#1 gives 1@100, filled"


def test_funds_of_market_orders_count_what_is_hidden(stage: Stage) -> None:
    stage.book("""
        sell 200: 9@bob
        sell 100: 1/5@ann
    """)
    stage.do(commands.withdraw(DAN, QUOTE, MILLION - 699))
    assert stage.market(DAN, BUY, 6) == ["refused INSUFFICIENT_BALANCE"]
    stage.do(commands.deposit(DAN, QUOTE, 1))
    assert stage.market(DAN, BUY, 6)[-1] == "#1 gives 1@200"


def test_a_prevented_iceberg_loses_all_that_remains(stage: Stage) -> None:
    stage.book("sell 100: 2/9@dan")
    told = stage.limit(DAN, BUY, 3, 100, self_trade_prevention=Mode.EXPIRE_MAKER)
    assert told == ["#2 accepted", "#1 prevented 9@100"]
    assert stage.balance(DAN, BASE) == (MILLION, 0)


def test_an_amend_leaves_place_and_part_while_they_fit(stage: Stage) -> None:
    stage.book("sell 100: 3/10@ann 4@bob")
    stage.market(DAN, BUY, 1)
    before = update_id(stage)
    assert stage.amend(ANN, 1, 6) == ["#1 replaced, 5 of 6 left"]
    assert stage.shows("sell 100: 2/5@ann 4@bob")
    assert update_id(stage) == before  # nobody sees it
    assert stage.balance(ANN, BASE) == (MILLION - 6, 5)
    assert stage.amend(ANN, 1, 2) == ["#1 replaced, 1 of 2 left"]
    assert stage.shows("sell 100: 1/1@ann 4@bob")
    assert update_id(stage) == before + 1


def test_an_amended_iceberg_goes_on_with_its_own_parts(stage: Stage) -> None:
    stage.book("sell 100: 4/20@ann")
    stage.amend(ANN, 1, 6)
    stage.market(DAN, BUY, 4)
    assert stage.shows("sell 100: 2/2@ann")


def test_a_trade_is_a_visible_change_even_when_the_next_part_undoes_it(stage: Stage) -> None:
    stage.book("sell 100: 3/9@ann")
    before = update_id(stage)
    stage.market(DAN, BUY, 3)
    assert stage.shows("sell 100: 3/6@ann")
    assert update_id(stage) == before + 1


def test_a_cancel_returns_what_was_hidden_too(stage: Stage) -> None:
    stage.book("buy 100: 3/10@ann")
    assert stage.balance(ANN, QUOTE) == (MILLION - 1000, 1000)
    assert stage.cancel(ANN, 1) == ["#1 canceled, 10 left"]
    assert stage.balance(ANN, QUOTE) == (MILLION, 0)


def test_done_icebergs_show_nothing(stage: Stage) -> None:
    stage.book("buy 100: 3/5@ann")
    stage.market(BOB, SELL, 5)
    rows = stage.done()
    assert [(row["order_id"], row["iceberg_steps"], row["shown_steps"], row["status"]) for row in rows] == [
        (1, 3, 0, Status.FILLED),
        (2, 0, 0, Status.FILLED),
    ]


def test_depth_shows_what_icebergs_show(stage: Stage) -> None:
    stage.book("""
        sell 101: 1/7@ann
        sell 100: 3/10@ann 4@bob
        buy   99: 2/2@cyd
    """)
    assert stage.levels() == ([(99, 2)], [(100, 7), (101, 1)])
    stage.market(DAN, BUY, 8)
    assert stage.levels() == ([(99, 2)], [(100, 2), (101, 1)])
