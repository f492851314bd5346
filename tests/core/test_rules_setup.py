# SPDX-License-Identifier: Apache-2.0
"""RULES.md "Setting up": assets, accounts, markets, money in and out, on twin and kernel."""

import pytest

from tests.core.stage import ANN, BASE, BOB, BUY, MILLION, QUOTE, SELL, Stage
from tests.model import commands
from tests.model.records import OrderType, State

LIMITS = {
    "accounts_max": 2**26,
    "orders_max": 2**26,
    "assets_max": 2**12,
    "markets_max": 2**14,
    "digests_max": 2**26,
    "writers_max": 2**16,
}


@pytest.mark.parametrize("name", LIMITS)
def test_limits_have_limits(bare: Stage, name: str) -> None:
    raw = [commands.configure(**{name: value}) for value in (0, LIMITS[name] + 1, 2**32 - 1)]
    assert bare.do(*raw) == ["refused MALFORMED"] * 3
    assert bare.do(commands.mark(1)) == ["refused NOT_CONFIGURED"]


@pytest.mark.parametrize("version", [1, 2])
def test_limits_are_for_rules_version_1_or_2(bare: Stage, version: int) -> None:
    raw = [commands.configure(rules_version=number) for number in (0, 3, 2**32 - 1, version)]
    assert bare.do(*raw) == ["refused MALFORMED"] * 3 + ["configured"]
    assert bare.exchange.rules == version


def test_an_asset_has_a_new_name_and_at_most_8_decimals(bare: Stage) -> None:
    bare.do(commands.configure(assets_max=2))
    told = bare.do(
        commands.asset(b"A", 9),
        commands.asset(b"", 8),
        commands.asset(b"\0B", 8),
        commands.asset(b"A", 8),
        commands.asset(b"A", 0),
        commands.asset(b"A\0B", 0),
        commands.asset(b"C", 0),
        commands.asset(b"A", 0),
    )
    assert told == ["refused MALFORMED"] * 3 + ["asset", "refused DUPLICATE_NAME", "asset", "refused LIMIT"] + [
        "refused DUPLICATE_NAME"
    ]
    assert [event.asset for event in bare.events] == [0, 0, 0, 1, 0, 2, 0, 0]


def test_an_accounts_rates_are_from_minus_1_to_10_8(bare: Stage) -> None:
    bare.do(commands.configure(accounts_max=2))
    told = bare.do(
        commands.account(maker_rate_e8=-2),
        commands.account(taker_rate_e8=10**8 + 1),
        commands.account(maker_rate_e8=-1, taker_rate_e8=10**8),
        commands.account(b"same"),
        commands.account(b"same"),
        commands.account(maker_rate_e8=-2),
    )
    assert told == ["refused MALFORMED"] * 2 + ["account"] * 2 + ["refused LIMIT", "refused MALFORMED"]


def test_an_account_changes_whole(bare: Stage) -> None:
    bare.do(commands.configure(), commands.account())
    told = bare.do(
        commands.account_change(2),
        commands.account_change(2, maker_rate_e8=-2),
        commands.account_change(1, maker_rate_e8=-2),
        commands.account_change(1, permissions=2, maker_rate_e8=5, taker_rate_e8=6, trade_group=9),
    )
    assert told == ["refused UNKNOWN_ACCOUNT", "refused UNKNOWN_ACCOUNT", "refused MALFORMED", "account"]
    assert bare.exchange.dump()["accounts"] == [
        {"permissions": 2, "maker_rate_e8": 5, "taker_rate_e8": 6, "trade_group": 9, "balances": {}}
    ]


def market(bare: Stage, **fields: int) -> str:
    """What a market with these fields is answered; assets A and B have 2 and 4 decimals."""
    if not bare.exchange.dump()["assets"]:
        bare.do(commands.configure(markets_max=3), commands.asset(b"A", 2), commands.asset(b"B", 4))
    usual: dict[str, int] = {"tick_e8": 10**8, "step_units": 1}
    name = b"M%d" % len(bare.exchange.dump()["markets"])
    return bare.do(commands.market(name, 1, 2, **(usual | fields)))[0]


@pytest.mark.parametrize(
    "fields",
    [
        {"tick_e8": 0},
        {"tick_e8": -1},
        {"step_units": 0},
        {"price_ticks_min": 0},
        {"price_ticks_min": 2, "price_ticks_max": 1},
        {"price_ticks_max": 2**42 + 1, "quantity_steps_max": 1},
        {"quantity_steps_min": 0},
        {"quantity_steps_min": 2, "quantity_steps_max": 1},
        {"market_quantity_steps_min": 0},
        {"market_quantity_steps_min": 2, "market_quantity_steps_max": 1},
        {"notional_units_min": -1},
        {"notional_units_max": -1},
        {"average_minutes": 61},
        {"maker_rate_e8": -1},
        {"taker_rate_e8": 10**8 + 1},
        {"state": 0},
        {"state": 8},
        {"self_trade_prevention": 0},
        {"self_trade_prevention": 5},
        {"self_trade_prevention": 255},
        {"self_trade_prevention": 1, "self_trade_preventions": 0b1110},
        {"self_trade_preventions": 0b11111},
        {"self_trade_preventions": 0},
    ],
    ids=str,
)
def test_a_markets_numbers_must_fit(bare: Stage, fields: dict[str, int]) -> None:
    assert market(bare, **fields) == "refused MALFORMED"


def test_a_market_has_a_new_name_and_two_known_assets(bare: Stage) -> None:
    assert market(bare) == "market"
    told = bare.do(
        commands.market(b"", 1, 9),
        commands.market(b"M0", 1, 9),
        commands.market(b"M0", 9, 1),
        commands.market(b"M0", 0, 1),
        commands.market(b"M0", 1, 1),
        commands.market(b"M0", 1, 2, tick_e8=0),
        commands.market(b"M1", 1, 2, tick_e8=0),
    )
    assert told == ["refused MALFORMED"] + ["refused UNKNOWN_ASSET"] * 3 + ["refused MALFORMED"] + [
        "refused DUPLICATE_NAME",
        "refused MALFORMED",
    ]


def test_markets_have_a_limit_that_is_checked_last(bare: Stage) -> None:
    assert [market(bare) for _ in range(4)] == ["market"] * 3 + ["refused LIMIT"]
    assert market(bare, tick_e8=3, step_units=1) == "refused BAD_MARKET"


@pytest.mark.parametrize(
    ("fields", "answer"),
    [
        # A tick of 1 is 10^4 quote units, a step is 1/100 base: 100 units a tick and step.
        ({"price_ticks_max": 2**42, "quantity_steps_max": 2**20 // 100}, "market"),
        ({"price_ticks_max": 2**42, "quantity_steps_max": 2**20 // 100 + 1}, "refused BAD_MARKET"),
        ({"tick_e8": 10**6}, "market"),
        ({"tick_e8": 10**5}, "refused BAD_MARKET"),
        ({"tick_e8": 10**5, "step_units": 10}, "market"),
        ({"tick_e8": 10**6 + 1}, "refused BAD_MARKET"),
        ({"tick_e8": 2**63 - 1, "step_units": 2**63 - 1}, "refused BAD_MARKET"),
        ({"tick_e8": 2**62, "step_units": 2**62}, "refused BAD_MARKET"),
        # 2^71 x ... is a multiple of 2^64: a product that wraps would look small.
        (
            {"tick_e8": 10**6 * 2**40, "step_units": 2**24, "price_ticks_max": 1, "quantity_steps_max": 1},
            "refused BAD_MARKET",
        ),
        ({"tick_e8": 10**6, "step_units": 2**62, "price_ticks_max": 1, "quantity_steps_max": 1}, "market"),
        ({"tick_e8": 10**6, "step_units": 2**62, "price_ticks_max": 2, "quantity_steps_max": 1}, "refused BAD_MARKET"),
        ({"tick_e8": 10**6, "step_units": 2**61, "price_ticks_max": 1, "quantity_steps_max": 2}, "market"),
        ({"tick_e8": 10**6, "step_units": 2**62, "price_ticks_max": 1, "quantity_steps_max": 2}, "refused BAD_MARKET"),
        ({"tick_e8": 10**6, "price_ticks_max": 1, "quantity_steps_max": 2**62}, "market"),
        ({"tick_e8": 10**6, "price_ticks_max": 1, "quantity_steps_max": 2**63 - 1}, "refused BAD_MARKET"),
        ({"tick_e8": 10**6, "price_ticks_max": 4, "quantity_steps_max": 2**62}, "refused BAD_MARKET"),
        ({"tick_e8": 10**6, "price_ticks_max": 2**42, "quantity_steps_max": 2**20}, "market"),
        ({"tick_e8": 10**6, "price_ticks_max": 2**42, "quantity_steps_max": 2**20 + 1}, "refused BAD_MARKET"),
        ({"tick_e8": 10**6, "price_ticks_max": 2**42, "quantity_steps_max": 2**63 - 1}, "refused BAD_MARKET"),
    ],
)
def test_a_trade_in_a_market_is_whole_and_fits(bare: Stage, fields: dict[str, int], answer: str) -> None:
    assert market(bare, **({"market_quantity_steps_max": 1} | fields)) == answer


def test_a_state_must_exist_and_resting_orders_stay(stage: Stage) -> None:
    stage.book("buy 100: 2@ann")
    told = stage.do(
        commands.market_state(2, 1),
        commands.market_state(1, 0),
        commands.market_state(1, 8),
        commands.market_state(1, 2),
    )
    assert told == ["refused UNKNOWN_MARKET", "refused MALFORMED", "refused MALFORMED", "market_state"]
    assert (stage.events[-1].market, stage.events[-1].status) == (1, State.HALT)
    assert stage.shows("buy 100: 2@ann")


def test_a_market_may_start_closed(exchange: object) -> None:
    stage = Stage(exchange).open(state=State.BREAK)
    assert stage.events[-1].status == State.BREAK
    assert stage.limit(ANN, BUY, 1, 100) == ["refused MARKET_CLOSED"]


def test_a_deposit_is_checked_in_its_order(stage: Stage) -> None:
    stage.do(commands.account_change(BOB, permissions=1))
    told = stage.do(
        commands.deposit(9, 9, 0),
        commands.deposit(BOB, 9, 0),
        commands.deposit(BOB, BASE, 0),
        commands.deposit(BOB, BASE, -5),
        commands.deposit(BOB, BASE, 2**62),
        commands.deposit(ANN, BASE, 2**62),
        commands.deposit(ANN, BASE, 2**62 - 4 * MILLION + 1),
        commands.deposit(ANN, BASE, 2**62 - 4 * MILLION),
        commands.deposit(ANN, BASE, 1),
    )
    assert told == [
        "refused UNKNOWN_ACCOUNT",
        "refused UNKNOWN_ASSET",
        "refused MALFORMED",
        "refused MALFORMED",
        "refused ACCOUNT_CLOSED",
        "refused SUPPLY",
        "refused SUPPLY",
        f"balance +{2**62 - 4 * MILLION}: {2**62 - 3 * MILLION} free, 0 locked",
        "refused SUPPLY",
    ]


def test_a_withdrawal_takes_from_free_only(stage: Stage) -> None:
    stage.book("buy 100: 5@ann")
    told = stage.do(
        commands.withdraw(9, QUOTE, 1),
        commands.withdraw(ANN, 9, 1),
        commands.withdraw(ANN, QUOTE, 0),
        commands.withdraw(ANN, QUOTE, MILLION - 499),
        commands.withdraw(ANN, QUOTE, MILLION - 500),
        commands.account_change(ANN, permissions=3),
        commands.withdraw(ANN, BASE, 1),
    )
    assert told == [
        "refused UNKNOWN_ACCOUNT",
        "refused UNKNOWN_ASSET",
        "refused MALFORMED",
        "refused INSUFFICIENT_BALANCE",
        f"balance {500 - MILLION}: 0 free, 500 locked",
        "account",
        "refused ACCOUNT_CLOSED",
    ]


def test_what_was_withdrawn_may_come_again(bare: Stage) -> None:
    bare.do(commands.configure(), commands.asset(b"A"), commands.account())
    for _ in range(3):
        told = bare.do(commands.deposit(1, 1, 2**62), commands.withdraw(1, 1, 2**62))
        assert told[1] == f"balance {-(2**62)}: 0 free, 0 locked"
    asset = bare.exchange.dump()["assets"][0]
    assert (asset["deposited"], asset["withdrawn"]) == (3 * 2**62, 3 * 2**62)


def test_rules_go_up_and_never_down(stage: Stage) -> None:
    begun = stage.rules
    asked = [begun, 0, 3, 2**63, 2, 2, 1]
    told = stage.do(*[commands.rules(version) for version in asked])
    assert told == ["rules"] + ["refused RULES"] * 3 + ["rules"] * 2 + ["refused RULES"]
    assert [event.order_id for event in stage.events] == [begun, 0, 0, 0, 2, 2, 0]
    assert stage.exchange.rules == 2


def test_a_mark_needs_a_market(stage: Stage) -> None:
    assert stage.do(commands.mark(1), commands.mark(0), commands.mark(2)) == ["marked"] + ["refused UNKNOWN_MARKET"] * 2


def test_the_account_is_checked_before_the_market(stage: Stage) -> None:
    told = stage.do(
        commands.place(9, 9, SELL, OrderType.MARKET),
        commands.cancel(9, 9, 1),
        commands.cancel_all(9, 9),
        commands.amend(9, 9, 1, 1),
        commands.cancel(ANN, 9, 1),
    )
    assert told == ["refused UNKNOWN_ACCOUNT"] * 4 + ["refused UNKNOWN_MARKET"]
