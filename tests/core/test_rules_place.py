# SPDX-License-Identifier: Apache-2.0
"""RULES.md "PLACE": its checks one by one and in their order, and the funds it needs, on twin and kernel."""

import itertools
from typing import Any

import pytest

from tests.core.stage import ANN, BASE, BOB, BUY, CYD, DAN, MILLION, QUOTE, SECOND, SELL, Stage
from tests.model import commands
from tests.model.records import EventKind, Flag, Mode, OrderType, State, Status, TimeInForce

GTC, IOC, FOK = TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK
SHAPES = {
    OrderType.LIMIT: {"price_ticks": 100, "quantity_steps": 5, "time_in_force": GTC},
    OrderType.MARKET: {"quantity_steps": 5},
    OrderType.LIMIT_MAKER: {"price_ticks": 100, "quantity_steps": 5},
    OrderType.STOP_LOSS: {"stop_price_ticks": 100, "quantity_steps": 5},
    OrderType.STOP_LOSS_LIMIT: {"price_ticks": 100, "stop_price_ticks": 100, "quantity_steps": 5, "time_in_force": GTC},
    OrderType.TAKE_PROFIT: {"stop_price_ticks": 100, "quantity_steps": 5},
    OrderType.TAKE_PROFIT_LIMIT: {
        "price_ticks": 100,
        "stop_price_ticks": 100,
        "quantity_steps": 5,
        "time_in_force": GTC,
    },
}
NUMBERS = ("price_ticks", "quantity_steps", "quote_quantity_units", "stop_price_ticks")


def ask(stage: Stage, side: int, kind: int, account: int = ANN, market: int = 1, **fields: int | bytes) -> list[str]:
    return stage.do(commands.place(account, market, side, kind, **fields))


@pytest.mark.parametrize("kind", SHAPES)
def test_each_type_has_its_shape(stage: Stage, kind: int) -> None:
    """Every combination of present and absent numbers and times in force: one is good (two for MARKET)."""
    good = []
    for present in itertools.product((0, 100), repeat=4):
        for time_in_force in range(5):
            fields = dict(zip(NUMBERS, present, strict=True))
            told = ask(stage, BUY, kind, time_in_force=time_in_force, **fields)
            if told[0] == "refused MALFORMED":
                continue
            names = {name for name, value in fields.items() if value}
            good.append((names, time_in_force))
    wanted = SHAPES[kind]
    names = {name for name in wanted if name in NUMBERS}
    times = (GTC, IOC, FOK) if "time_in_force" in wanted else (TimeInForce.NONE,)
    expected = [(names, time_in_force) for time_in_force in times]
    if kind == OrderType.MARKET:
        expected.append(({"quote_quantity_units"}, TimeInForce.NONE))
    assert sorted(good, key=str) == sorted(expected, key=str)


@pytest.mark.parametrize(
    "wrong",
    [
        {"side": 0},
        {"side": 3},
        {"type": 0},
        {"type": 8},
        {"iceberg_steps": 6},
        {"iceberg_steps": -1},
        {"trailing_delta_bips": 1},
        {"peg_price_type": 1},
        {"peg_offset_type": 1},
        {"peg_offset_value": 1},
        {"price_ticks": -100},
        {"quantity_steps": -5},
        {"quote_quantity_units": -1},
        {"stop_price_ticks": -1},
        {"self_trade_prevention": 7},
        {"self_trade_prevention": 255},
        {"time_in_force": 4},
    ],
    ids=str,
)
def test_what_no_version_has_is_malformed(stage: Stage, wrong: dict[str, int]) -> None:
    fields: dict[str, Any] = {"account": ANN, "market": 1, "side": BUY, "type": OrderType.LIMIT}
    fields |= SHAPES[OrderType.LIMIT] | wrong
    assert stage.do(commands.place(**fields)) == ["refused MALFORMED"]


def test_what_place_does_not_use_is_not_looked_at(stage: Stage) -> None:
    told = ask(
        stage,
        BUY,
        OrderType.LIMIT,
        **SHAPES[OrderType.LIMIT],
        flags=255,
        legs=255,
        restriction=255,
        order_id=2**64 - 1,
        other_client_id=b"x",
        strategy_id=-1,
        strategy_type=2**32 - 1,
    )
    assert told == ["#1 accepted"]


def test_the_checks_come_in_their_order(exchange: Any) -> None:
    """An order with every fault, one of them mended after the other."""
    stage = Stage(exchange).open(
        price_ticks_max=1000,
        quantity_steps_max=50,
        market_quantity_steps_max=50,
        notional_units_min=200,
        orders_max=2,
        algo_orders_max=1,
        self_trade_preventions=0b0111,
        state=State.BREAK,
    )
    stage.do(commands.account_change(ANN, permissions=6))
    fields: dict[str, Any] = {
        "account": 9,
        "market": 9,
        "side": 0,
        "type": OrderType.STOP_LOSS_LIMIT,
        "time_in_force": GTC,
        "self_trade_prevention": Mode.EXPIRE_BOTH,
        "price_ticks": 1001,
        "stop_price_ticks": 1001,
        "quantity_steps": 51,
        "client_id": b"mine",
    }

    def answer(**mended: Any) -> str:
        fields.update(mended)
        return stage.do(commands.place(**fields))[0]

    assert answer() == "refused UNKNOWN_ACCOUNT"
    assert answer(account=ANN) == "refused ACCOUNT_CLOSED"
    stage.do(commands.account_change(ANN))
    assert answer() == "refused UNKNOWN_MARKET"
    assert answer(market=1) == "refused MARKET_CLOSED"
    stage.do(commands.market_state(1, State.TRADING))
    stage.stop(ANN, BUY, 3, 120, client_id=b"mine")
    stage.limit(ANN, BUY, 3, 90)
    stage.book("sell 100: 5@bob")
    stage.market(CYD, BUY, 5)  # the last price is 100
    assert answer() == "refused MALFORMED"
    assert answer(side=BUY) == "refused SELF_TRADE_PREVENTION"
    assert answer(self_trade_prevention=Mode.DEFAULT) == "refused PRICE_FILTER"
    assert answer(price_ticks=1) == "refused PRICE_FILTER"
    assert answer(stop_price_ticks=100) == "refused LOT_SIZE"
    assert answer(quantity_steps=50) == "refused NOTIONAL"
    assert answer(price_ticks=1000) == "refused MAX_NUM_ORDERS"
    stage.cancel(ANN, 2)
    assert answer() == "refused MAX_NUM_ALGO_ORDERS"
    stage.cancel(ANN, 1)
    stage.limit(ANN, BUY, 3, 90, client_id=b"mine")
    assert answer() == "refused DUPLICATE_CLIENT_ID"
    assert answer(client_id=b"other") == "refused WOULD_TRIGGER"
    stage.do(commands.withdraw(ANN, QUOTE, MILLION - 270 - 49_999))
    assert answer(stop_price_ticks=101) == "refused INSUFFICIENT_BALANCE"
    stage.do(commands.deposit(ANN, QUOTE, 1))
    assert answer() == "#6 waits"


@pytest.mark.parametrize("state", range(2, 8))
def test_only_an_open_market_takes_orders(stage: Stage, state: int) -> None:
    stage.do(commands.market_state(1, state))
    assert stage.limit(ANN, BUY, 1, 100) == ["refused MARKET_CLOSED"]
    stage.do(commands.market_state(1, State.TRADING))
    assert stage.limit(ANN, BUY, 1, 100) == ["#1 accepted"]


@pytest.mark.parametrize("mode", range(7))
def test_a_mode_must_be_allowed(exchange: Any, mode: int) -> None:
    stage = Stage(exchange).open(self_trade_preventions=0b0101, self_trade_prevention=Mode.EXPIRE_MAKER)
    told = stage.limit(ANN, BUY, 1, 100, self_trade_prevention=mode)
    allowed = mode in (Mode.DEFAULT, Mode.NONE, Mode.EXPIRE_MAKER)
    assert told == (["#1 accepted"] if allowed else ["refused SELF_TRADE_PREVENTION"])
    if allowed:
        shown = stage.exchange.dump()["markets"][0]["bids"][0]["self_trade_prevention"]
        assert shown == (mode or Mode.EXPIRE_MAKER)


def test_price_filter_bounds_price_and_stop_price(exchange: Any) -> None:
    stage = Stage(exchange).open(price_ticks_min=10, price_ticks_max=20)
    assert [stage.limit(ANN, BUY, 1, price)[0] for price in (9, 10, 20, 21)] == [
        "refused PRICE_FILTER",
        "#1 accepted",
        "#2 accepted",
        "refused PRICE_FILTER",
    ]
    assert [stage.stop(ANN, BUY, 1, price)[0] for price in (9, 10, 20, 21)] == [
        "refused PRICE_FILTER",
        "#3 waits",
        "#4 waits",
        "refused PRICE_FILTER",
    ]


def test_lot_size_bounds_every_quantity_and_market_lot_size_those_of_market_orders(exchange: Any) -> None:
    stage = Stage(exchange).open(
        quantity_steps_min=2,
        quantity_steps_max=100,
        market_quantity_steps_min=6,
        market_quantity_steps_max=200,
        market_step_steps=3,
    )
    assert [stage.limit(ANN, BUY, quantity, 10)[0] for quantity in (1, 2, 100, 101)] == [
        "refused LOT_SIZE",
        "#1 accepted",
        "#2 accepted",
        "refused LOT_SIZE",
    ]
    assert [stage.market(ANN, BUY, quantity)[0] for quantity in (1, 3, 7, 9, 101)] == [
        "refused LOT_SIZE",
        "refused MARKET_LOT_SIZE",
        "refused MARKET_LOT_SIZE",
        "#3 accepted",
        "refused LOT_SIZE",
    ]
    assert stage.market(ANN, BUY, quote=7)[0] == "#4 accepted"
    assert stage.stop(ANN, BUY, 7, 100)[0] == "#5 waits"  # no type MARKET


def test_notional_bounds_limits_and_stops_whatever_the_flags_say(exchange: Any) -> None:
    stage = Stage(exchange).open(notional_units_min=100, notional_units_max=200, notional_flags=0)
    assert [stage.limit(ANN, BUY, quantity, 10)[0] for quantity in (9, 10, 20, 21)] == [
        "refused NOTIONAL",
        "#1 accepted",
        "#2 accepted",
        "refused NOTIONAL",
    ]
    assert [stage.stop(ANN, BUY, quantity, 10)[0] for quantity in (9, 20, 21)] == [
        "refused NOTIONAL",
        "#3 waits",
        "refused NOTIONAL",
    ]
    # A stop limit is measured by its limit price.
    assert [stage.stop(ANN, BUY, quantity, 99, price=10)[0] for quantity in (9, 20)] == ["refused NOTIONAL", "#4 waits"]


@pytest.mark.parametrize("flags", range(4))
def test_notional_of_a_market_order_asks_the_flags(exchange: Any, flags: int) -> None:
    stage = Stage(exchange).open(notional_units_min=100, notional_units_max=200, notional_flags=flags)
    assert stage.market(ANN, BUY, 1) == ["#1 accepted", "#1 expired INSUFFICIENT_LIQUIDITY, 1 left"]  # no price yet
    low = ["refused NOTIONAL"] if flags & 1 else ["accepted"]
    high = ["refused NOTIONAL"] if flags & 2 else ["accepted"]

    def accepted(told: list[str]) -> list[str]:
        return [told[0] if told[0].startswith("refused") else "accepted"]

    assert accepted(stage.market(ANN, BUY, quote=99)) == low  # a quote quantity needs no average
    assert accepted(stage.market(ANN, BUY, quote=201)) == high
    stage.book("sell 10: 10@bob")
    stage.limit(CYD, BUY, 10, 10)
    assert accepted(stage.market(ANN, BUY, 9)) == low
    assert accepted(stage.market(ANN, BUY, 10)) == accepted(stage.market(ANN, BUY, 20)) == ["accepted"]
    assert accepted(stage.market(ANN, BUY, 21)) == high


def test_a_maximum_of_0_is_none(exchange: Any) -> None:
    stage = Stage(exchange).open(notional_units_min=0, notional_units_max=0)
    assert stage.limit(ANN, BUY, 1000, 1000) == ["#1 accepted"]


def trade(stage: Stage, quantity: int, price: int) -> None:
    stage.limit(BOB, SELL, quantity, price)
    assert stage.limit(CYD, BUY, quantity, price)[1].endswith("filled")


def test_the_average_price_is_of_the_last_minutes_trades(exchange: Any) -> None:
    """floor((10 x 4 + 25 x 1) / 5) = 13: 13 x 76 < 1000 <= 13 x 77."""
    stage = Stage(exchange).open(average_minutes=2, notional_units_min=1000, notional_flags=1)

    def bound(quantity: int) -> bool:
        refused = stage.market(ANN, SELL, quantity)[0] == "refused NOTIONAL"
        accepted = stage.market(ANN, SELL, quantity + 1)[0] != "refused NOTIONAL"
        return refused and accepted

    stage.wait(30 * SECOND)
    assert stage.market(ANN, SELL, 1)[0] != "refused NOTIONAL"
    trade(stage, 100, 10)
    assert bound(99)
    stage.wait(60 * SECOND)  # the next minute
    trade(stage, 40, 25)
    assert bound((1000 - 1) // ((100 * 10 + 40 * 25) // 140))
    stage.wait(60 * SECOND)  # the first trade's minute is too old now
    assert bound(39)
    stage.wait(60 * SECOND)  # no trade in the window: the last price
    assert stage.exchange.dump()["markets"][0]["average"] == []
    assert bound(39)


def test_no_minutes_mean_the_last_price(exchange: Any) -> None:
    stage = Stage(exchange).open(average_minutes=0, notional_units_min=1000, notional_flags=1)
    trade(stage, 100, 10)
    trade(stage, 40, 25)
    assert stage.market(ANN, SELL, 39)[0] == "refused NOTIONAL"
    assert stage.market(ANN, SELL, 40)[0] != "refused NOTIONAL"


def test_max_num_orders_counts_the_accounts_open_orders_of_the_market(exchange: Any) -> None:
    stage = Stage(exchange).open(orders_max=2)
    stage.limit(ANN, BUY, 1, 90)
    stage.stop(ANN, BUY, 1, 150)
    assert stage.limit(ANN, BUY, 1, 90) == ["refused MAX_NUM_ORDERS"]
    assert stage.market(ANN, BUY, 1) == ["refused MAX_NUM_ORDERS"]  # whatever the type
    assert stage.limit(BOB, BUY, 1, 90) == ["#3 accepted"]
    stage.cancel(ANN, 1)
    assert stage.limit(ANN, BUY, 1, 90) == ["#4 accepted"]


def test_max_num_algo_orders_counts_untriggered_stops(exchange: Any) -> None:
    stage = Stage(exchange).open(algo_orders_max=1)
    stage.stop(ANN, BUY, 1, 120, price=90)
    assert stage.stop(ANN, BUY, 1, 150) == ["refused MAX_NUM_ALGO_ORDERS"]
    assert stage.limit(ANN, BUY, 1, 80) == ["#2 accepted"]
    trade(stage, 1, 130)  # triggers #1, which rests at 90
    assert stage.shows("""
        buy 90: 1@ann
        buy 80: 1@ann
    """)
    assert stage.stop(ANN, BUY, 1, 150) == ["#5 waits"]


def test_a_client_id_is_free_again_when_its_order_is_done(stage: Stage) -> None:
    assert stage.limit(ANN, BUY, 1, 90, client_id=b"x") == ["#1 accepted"]
    assert stage.limit(ANN, BUY, 1, 90, client_id=b"x") == ["refused DUPLICATE_CLIENT_ID"]
    assert stage.limit(ANN, BUY, 1, 90, client_id=b"x\0y") == ["#2 accepted"]
    assert stage.limit(BOB, BUY, 1, 90, client_id=b"x")[0].endswith("accepted")
    stage.cancel(ANN, 1)
    assert stage.limit(ANN, BUY, 1, 90, client_id=b"x")[0].endswith("accepted")


def test_a_client_id_that_starts_with_a_zero_byte_is_none(stage: Stage) -> None:
    assert stage.limit(ANN, BUY, 1, 90, client_id=b"\0x") == ["#1 accepted"]
    assert stage.limit(ANN, BUY, 1, 90, client_id=b"\0x") == ["#2 accepted"]


def test_client_ids_are_per_market(stage: Stage) -> None:
    stage.do(commands.market(b"SECOND", BASE, QUOTE))
    raw = [
        commands.place(ANN, market, BUY, OrderType.LIMIT_MAKER, price_ticks=9, quantity_steps=1, client_id=b"x")
        for market in (1, 2)
    ]
    assert stage.do(*raw) == ["#1 accepted", "#2 accepted"]


@pytest.mark.parametrize(
    ("side", "profit", "stop", "told"),
    [
        (BUY, False, 100, "refused WOULD_TRIGGER"),
        (BUY, False, 101, "#3 waits"),
        (SELL, False, 100, "refused WOULD_TRIGGER"),
        (SELL, False, 99, "#3 waits"),
        (BUY, True, 100, "refused WOULD_TRIGGER"),
        (BUY, True, 99, "#3 waits"),
        (SELL, True, 100, "refused WOULD_TRIGGER"),
        (SELL, True, 101, "#3 waits"),
    ],
)
def test_a_stop_whose_condition_holds_already_would_trigger(
    stage: Stage, side: int, profit: bool, stop: int, told: str
) -> None:
    trade(stage, 1, 100)
    assert stage.stop(ANN, side, 1, stop, profit=profit) == [told]


def test_without_a_last_price_any_stop_waits(stage: Stage) -> None:
    assert [stage.stop(ANN, side, 1, 100, profit=profit)[0] for side in (BUY, SELL) for profit in (False, True)] == [
        f"#{i} waits" for i in (1, 2, 3, 4)
    ]


def test_a_refusal_takes_no_order_id_and_changes_nothing(stage: Stage) -> None:
    before = stage.exchange.dump()
    stage.limit(ANN, BUY, 1, 2_000_000)
    after = stage.exchange.dump()
    assert after.pop("sequence") == before.pop("sequence") + 1
    assert after == before


def test_accepted_shows_the_order_as_it_came(stage: Stage) -> None:
    stage.limit(DAN, SELL, 5, 100)
    accepted = stage.last(EventKind.ACCEPTED)
    assert (accepted.account, accepted.market, accepted.status) == (DAN, 1, Status.NEW)
    assert (accepted.price_ticks, accepted.quantity_steps, accepted.remaining_steps) == (100, 5, 5)
    assert accepted.flags == Flag.WORKING
    stage.stop(DAN, BUY, 5, 100)
    accepted = stage.last(EventKind.ACCEPTED)
    assert (accepted.price_ticks, accepted.flags) == (0, Flag.BUY)


def test_an_open_order_shows_all_its_fields(stage: Stage) -> None:
    stage.time_ns = 77
    stage.limit(DAN, SELL, 5, 100, client_id=b"mine", strategy_id=-9, strategy_type=3)
    stage.time_ns = 78
    stage.market(ANN, BUY, 2)
    (order,) = stage.exchange.dump()["markets"][0]["asks"]
    assert {name: value for name, value in order.items() if value} == {
        "order_id": 1,
        "account": DAN,
        "market": 1,
        "type": OrderType.LIMIT,
        "side": SELL,
        "time_in_force": GTC,
        "self_trade_prevention": Mode.EXPIRE_MAKER,
        "status": Status.PARTIALLY_FILLED,
        "flags": Flag.WORKING,
        "price_ticks": 100,
        "quantity_steps": 5,
        "executed_steps": 2,
        "executed_quote_units": 200,
        "created_ns": 77,
        "updated_ns": 78,
        "working_ns": 77,
        "strategy_id": -9,
        "strategy_type": 3,
        "sequence": stage.exchange.dump()["sequence"],
        "client_id": b"mine",
        "locked_units": 3,
    }
