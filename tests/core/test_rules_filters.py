# SPDX-License-Identifier: Apache-2.0
"""RULES.md "Version 2", Checks of PLACE: the filters that version 2 adds, and their order, on twin and kernel."""

from typing import Any

import pytest

from tests.core.stage import ANN, BASE, BOB, BUY, CYD, MILLION, QUOTE, SECOND, SELL, Stage
from tests.model import commands
from tests.model.records import Mode, OrderType, TimeInForce

GTC = TimeInForce.GTC


def trade(stage: Stage, price: int) -> None:
    """One at this price, which then is the average."""
    stage.limit(BOB, SELL, 1, price, self_trade_prevention=Mode.NONE)
    stage.limit(BOB, BUY, 1, price, self_trade_prevention=Mode.NONE)


def answers(stage: Stage, side: int, *prices: int) -> list[str]:
    return [stage.limit(ANN, side, 1, price)[0].split()[-1] for price in prices]


# PERCENT_PRICE.


def test_a_price_lies_within_its_sides_multipliers_of_the_average(modern: Stage) -> None:
    stage = modern.open(
        bid_multiplier_up_e4=12_000,
        bid_multiplier_down_e4=5_000,
        ask_multiplier_up_e4=30_000,
        ask_multiplier_down_e4=9_000,
    )
    assert answers(stage, BUY, 1, 1000) == ["accepted"] * 2  # nothing has traded yet
    stage.do(commands.cancel_all(ANN, 1))
    trade(stage, 100)
    assert answers(stage, BUY, 49, 50, 120, 121) == ["PERCENT_PRICE", "accepted", "accepted", "PERCENT_PRICE"]
    stage.do(commands.cancel_all(ANN, 1))
    assert answers(stage, SELL, 89, 90, 300, 301) == ["PERCENT_PRICE", "accepted", "accepted", "PERCENT_PRICE"]


def test_a_multiplier_of_0_is_no_bound(modern: Stage) -> None:
    stage = modern.open(bid_multiplier_up_e4=12_000, ask_multiplier_down_e4=9_000)
    trade(stage, 100)
    assert answers(stage, BUY, 1, 121) == ["accepted", "PERCENT_PRICE"]
    assert answers(stage, SELL, 10_000, 89) == ["accepted", "PERCENT_PRICE"]


def test_the_average_is_of_minutes_or_the_last_price(modern: Stage) -> None:
    stage = modern.open(ask_multiplier_down_e4=10_000, average_minutes=1)
    trade(stage, 100)
    trade(stage, 200)
    assert answers(stage, SELL, 150, 149) == ["accepted", "PERCENT_PRICE"]
    stage.wait(120 * SECOND)
    assert answers(stage, SELL, 200, 199) == ["accepted", "PERCENT_PRICE"]


def test_orders_without_a_limit_price_have_no_percent_price(modern: Stage) -> None:
    stage = modern.open(bid_multiplier_up_e4=10_000, ask_multiplier_up_e4=10_000)
    trade(stage, 100)
    assert stage.stop(ANN, BUY, 1, 150) == ["#3 waits"]
    assert stage.stop(ANN, BUY, 1, 150, price=101) == ["refused PERCENT_PRICE"]
    stage.book("sell 100: 1@cyd")
    assert stage.market(ANN, BUY, 1)[0] == "#5 accepted"


def test_giant_prices_and_multipliers_do_not_wrap(modern: Stage) -> None:
    stage = modern.open(
        price_ticks_max=2**42,
        quantity_steps_max=2**20,
        bid_multiplier_up_e4=2**32 - 1,
        bid_multiplier_down_e4=10_000,
        ask_multiplier_down_e4=2**32 - 1,
    )
    stage.do(commands.deposit(BOB, QUOTE, 2**43), commands.deposit(ANN, QUOTE, 2**43))
    trade(stage, 2**42)
    assert answers(stage, BUY, 2**42 - 1, 2**42) == ["PERCENT_PRICE", "accepted"]
    stage.do(commands.cancel_all(ANN, 1))
    assert answers(stage, SELL, 2**42, 1) == ["PERCENT_PRICE", "PERCENT_PRICE"]


@pytest.mark.parametrize("side", ["bid", "ask"])
def test_a_markets_upper_multiplier_is_not_below_the_lower(modern: Stage, side: str) -> None:
    stage = modern.open()

    def market(name: bytes, up: int, down: int) -> str:
        bounds = {f"{side}_multiplier_up_e4": up, f"{side}_multiplier_down_e4": down}
        return stage.do(commands.market(name, BASE, QUOTE, **bounds))[0]

    assert market(b"A", 9_999, 10_000) == "refused MALFORMED"
    assert [market(b"A", 10_000, 10_000), market(b"B", 0, 10_000), market(b"C", 1, 0)] == ["market"] * 3


def test_a_market_of_version_2_has_modes_up_to_transfer(modern: Stage) -> None:
    stage = modern.open()

    def market(name: bytes, allowed: int, default: int) -> str:
        modes = {"self_trade_preventions": allowed, "self_trade_prevention": default}
        return stage.do(commands.market(name, BASE, QUOTE, **modes))[0]

    assert market(b"A", 64, 1) == market(b"A", 63, 7) == market(b"A", 31, 6) == market(b"A", 63, 0)
    assert stage.events[0].code == 1
    assert [market(b"A", 63, 6), market(b"B", 16, 5)] == ["market"] * 2


# Icebergs.


def test_lot_size_bounds_what_an_iceberg_shows(modern: Stage) -> None:
    stage = modern.open(quantity_steps_min=3)
    assert stage.limit(ANN, BUY, 9, 100, iceberg_steps=2) == ["refused LOT_SIZE"]
    assert stage.limit(ANN, BUY, 9, 100, iceberg_steps=3) == ["#1 accepted"]


def test_iceberg_parts_bounds_the_parts_rounded_up(modern: Stage) -> None:
    stage = modern.open(iceberg_parts_max=3)
    assert stage.limit(ANN, BUY, 10, 100, iceberg_steps=3) == ["refused ICEBERG_PARTS"]
    assert stage.limit(ANN, BUY, 9, 100, iceberg_steps=3) == ["#1 accepted"]
    assert stage.limit(ANN, BUY, 10, 100) == ["#2 accepted"]


@pytest.mark.parametrize("most", [0, 10_001, 2**32 - 1])
def test_an_iceberg_never_has_more_than_10_000_parts(modern: Stage, most: int) -> None:
    stage = modern.open(iceberg_parts_max=most)
    assert stage.limit(ANN, BUY, 20_001, 1, iceberg_steps=2) == ["refused ICEBERG_PARTS"]
    assert stage.limit(ANN, BUY, 20_000, 1, iceberg_steps=2) == ["#1 accepted"]


def test_max_num_iceberg_orders_counts_open_ones_waiting_ones_too(modern: Stage) -> None:
    stage = modern.open(iceberg_orders_max=2)
    stage.limit(ANN, BUY, 9, 100, iceberg_steps=3)
    stage.stop(ANN, BUY, 9, 110, price=100, iceberg_steps=3)
    assert stage.limit(ANN, BUY, 9, 100, iceberg_steps=3) == ["refused MAX_NUM_ICEBERG_ORDERS"]
    assert stage.stop(ANN, BUY, 9, 110, price=100, iceberg_steps=9) == ["refused MAX_NUM_ICEBERG_ORDERS"]
    assert stage.limit(ANN, BUY, 9, 100) == ["#3 accepted"]
    assert stage.limit(BOB, BUY, 9, 100, iceberg_steps=3) == ["#4 accepted"]
    stage.cancel(ANN, 2)
    assert stage.limit(ANN, BUY, 9, 100, iceberg_steps=3) == ["#5 accepted"]


# MAX_POSITION.


def test_max_position_counts_what_an_account_has_and_may_come_to_have(modern: Stage) -> None:
    stage = modern.open(position_units_max=MILLION + 20)
    stage.limit(ANN, SELL, 50, 500)  # locked is held all the same
    stage.limit(ANN, BUY, 6, 90)
    stage.stop(ANN, BUY, 4, 120)
    assert stage.limit(ANN, BUY, 11, 90) == ["refused MAX_POSITION"]
    assert stage.limit(ANN, BUY, 10, 90) == ["#4 accepted"]
    assert stage.limit(ANN, SELL, 1000, 600) == ["#5 accepted"]
    assert stage.limit(BOB, BUY, 20, 90) == ["#6 accepted"]
    stage.cancel(ANN, 2)
    assert stage.limit(ANN, BUY, 7, 90) == ["refused MAX_POSITION"]
    assert stage.limit(ANN, BUY, 6, 90) == ["#7 accepted"]


def test_max_position_counts_what_remains(modern: Stage) -> None:
    stage = modern.open(position_units_max=MILLION + 10, self_trade_preventions=63)
    stage.limit(ANN, BUY, 10, 90)
    stage.limit(CYD, SELL, 4, 90)
    assert stage.limit(ANN, BUY, 1, 90) == ["refused MAX_POSITION"]  # 4 bought, 6 to come
    stage.limit(ANN, SELL, 3, 90, self_trade_prevention=Mode.DECREMENT)
    assert stage.limit(ANN, BUY, 4, 90) == ["refused MAX_POSITION"]
    assert stage.limit(ANN, BUY, 3, 90) == ["#4 accepted"]


def test_max_position_of_a_quote_quantity_asks_the_book(modern: Stage) -> None:
    """100 buys 2 @ 20 and 3 of the 5 @ 20 that hide, or 1 @ 60 less one step of rest."""
    stage = modern.open(position_units_max=MILLION + 5)
    stage.book("""
        sell 60: 9@bob
        sell 20: 1/4@bob
    """)
    assert stage.market(ANN, BUY, quote=200) == ["refused MAX_POSITION"]  # 4 @ 20, and 2 @ 60
    assert stage.market(ANN, BUY, quote=199)[0] == "#3 accepted"


def test_max_position_speaks_of_units_not_of_steps(modern: Stage) -> None:
    stage = modern.open(step_units=10, position_units_max=MILLION + 50)
    assert stage.limit(ANN, BUY, 6, 1) == ["refused MAX_POSITION"]
    assert stage.limit(ANN, BUY, 5, 1) == ["#1 accepted"]


def test_sums_of_a_position_pass_64_bits(modern: Stage) -> None:
    """Each order would buy 2^62 units, and 63 of them came before there was a bound."""
    modern.rules = 1
    fields = {"tick_e8": 5**8, "step_units": 2**20, "price_ticks_max": 1, "quantity_steps_max": 2**42}
    stage = modern.open(position_units_max=2**63 - 1, **fields)
    stage.do(commands.deposit(ANN, QUOTE, 2**61))
    for _ in range(63):
        assert stage.limit(ANN, BUY, 2**42, 1)[0].endswith("accepted")
    stage.do(commands.rules(2))
    assert stage.limit(ANN, BUY, 2**42, 1) == ["refused MAX_POSITION"]
    assert stage.limit(ANN, BUY, 1, 1) == ["refused MAX_POSITION"]
    stage.do(commands.kill(ANN))
    assert stage.limit(ANN, BUY, 2**42, 1)[0].endswith("accepted")
    assert stage.limit(ANN, BUY, 2**42, 1) == ["refused MAX_POSITION"]


def test_the_filters_come_in_their_order(modern: Stage) -> None:
    stage = modern.open(
        price_ticks_max=1000,
        quantity_steps_max=50,
        market_quantity_steps_max=50,
        iceberg_parts_max=2,
        notional_units_min=3000,
        orders_max=2,
        algo_orders_max=1,
        iceberg_orders_max=1,
        position_units_max=MILLION + 100,
        bid_multiplier_up_e4=20_000,
    )
    stage.do(commands.deposit(ANN, BASE, 41))
    stage.stop(ANN, BUY, 30, 150, price=100, iceberg_steps=15)
    stage.limit(ANN, SELL, 30, 900)
    stage.limit(BOB, SELL, 30, 100)
    stage.limit(CYD, BUY, 30, 100)
    fields: dict[str, Any] = {
        "account": ANN,
        "market": 1,
        "side": BUY,
        "type": OrderType.STOP_LOSS_LIMIT,
        "time_in_force": GTC,
        "price_ticks": 1001,
        "stop_price_ticks": 120,
        "quantity_steps": 51,
        "iceberg_steps": 10,
        "client_id": b"x",
    }

    def answer(**mended: Any) -> str:
        fields.update(mended)
        return stage.do(commands.place(**fields))[0]

    assert answer() == "refused PRICE_FILTER"
    assert answer(price_ticks=1000) == "refused PERCENT_PRICE"
    assert answer(price_ticks=101) == "refused LOT_SIZE"
    assert answer(quantity_steps=29) == "refused ICEBERG_PARTS"
    assert answer(iceberg_steps=15) == "refused NOTIONAL"
    assert answer(quantity_steps=30) == "refused MAX_NUM_ORDERS"
    stage.cancel(ANN, 2)
    assert answer() == "refused MAX_NUM_ALGO_ORDERS"
    stage.cancel(ANN, 1)
    stage.limit(ANN, BUY, 30, 100, iceberg_steps=30, client_id=b"x")
    assert answer() == "refused MAX_NUM_ICEBERG_ORDERS"
    assert answer(iceberg_steps=0) == "refused MAX_POSITION"
    stage.do(commands.withdraw(ANN, BASE, 1))
    assert answer() == "refused DUPLICATE_CLIENT_ID"
    assert answer(client_id=b"y", stop_price_ticks=100) == "refused WOULD_TRIGGER"
    assert answer(stop_price_ticks=101) == "#6 waits"
