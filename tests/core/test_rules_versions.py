# SPDX-License-Identifier: Apache-2.0
"""RULES.md: which version holds. Version 1 is as it was, and version 2 begins in the middle of a history."""

import hashlib
from typing import Any

import pytest

from tests.core.conftest import EXCHANGES
from tests.core.lockstep import outputs
from tests.core.stage import ANN, BASE, BOB, BUY, CYD, DAN, QUOTE, SELL, Stage
from tests.model import ModelExchange, UnknownCommand, WriterGap, commands
from tests.model.histories import History
from tests.model.records import ORDER, CommandFlag, Mode, OrderType, TimeInForce

GTC = TimeInForce.GTC
COMMANDS = 1_500
# What the twin of commit d9affbf, which knew version 1 only, answered to these histories.
ANSWERS_OF_VERSION_1 = {
    700: "3c307c905ad94b7f",
    701: "714a359d66354b24",
    702: "e3d0f2e7517aabc0",
    703: "66144cc41d84aa42",
    704: "e8e8121ccd44ead8",
    705: "577000e6db4b14d3",
    706: "c7f7520d31db9c51",
    707: "d5d84518dc2c81d5",
    708: "d98b26479c953dc9",
    709: "b4b425a926ac35fe",
    710: "599fb8fa8cef2810",
    711: "8924987698308bcb",
}


@pytest.fixture(params=EXCHANGES)
def old(request: pytest.FixtureRequest) -> Stage:
    """A stage of version 1 that nobody has opened."""
    return Stage(EXCHANGES[request.param]())


def answers(seed: int, exchange: Any) -> str:
    """A digest of all that an exchange says to one history of version 1, with every account watched."""
    twin = ModelExchange()
    history, digest = History(seed, twin, plan="1"), hashlib.sha256()
    while twin.sequence < COMMANDS:
        batch = history.batch()
        try:
            ours = twin.apply(*batch.arguments())
        except (UnknownCommand, WriterGap) as refused:
            digest.update(type(refused).__name__.encode())
            continue
        if ours is None:
            digest.update(b"repeat")
            continue
        events = ours if exchange is None else exchange.apply(*batch.arguments())
        if not twin.watched and twin.accounts:
            for account in twin.accounts:
                twin.watch(account, True)
                if exchange is not None:
                    exchange.watch(account, True)
        said = outputs(twin if exchange is None else exchange, events)
        assert not any(row[-1] for row in ORDER.iter_unpack(said["done"])), "shown_steps had no name then"
        digest.update(b"".join(said[name] for name in ("events", "done", "tops", "positions")))
    return digest.hexdigest()[:16]


@pytest.mark.parametrize("seed", ANSWERS_OF_VERSION_1)
@pytest.mark.parametrize("kind", EXCHANGES)
def test_version_1_answers_what_it_always_has(kind: str, seed: int) -> None:
    exchange = None if kind == "twin" else EXCHANGES[kind]()
    assert answers(seed, exchange) == ANSWERS_OF_VERSION_1[seed]


def place(account: int, side: int, quantity: int, **fields: int) -> bytes:
    usual = {"price_ticks": 100, "time_in_force": GTC, "quantity_steps": quantity}
    return commands.place(account, 1, side, OrderType.LIMIT, **usual | fields)


def test_version_1_knows_neither_kill_nor_replace(old: Stage) -> None:
    old.open()
    old.limit(ANN, BUY, 5, 100)
    told = old.do(
        commands.kill(ANN, restriction=9),
        commands.replace(ANN, 1, place(ANN, BUY, 1), 1, flags=CommandFlag.ALLOW_FAILURE),
        commands.kill(99),
        commands.kill(ANN, digest=b"d" * 16),
        commands.kill(ANN, digest=b"d" * 16),
    )
    assert told == [
        "refused RULES",
        "refused RULES",
        "refused NOT_ATTEMPTED",
        "refused RULES",
        "refused RULES",
        f"repeats {old.events[4].sequence}: #0 RULES",
    ]
    assert {(event.account, event.market) for event in old.events[1:3]} == {(ANN, 1)}
    assert old.shows("buy 100: 5@ann")


def test_version_1_has_no_icebergs(old: Stage) -> None:
    old.open()
    assert old.limit(ANN, BUY, 5, 100, iceberg_steps=5) == ["refused MALFORMED"]
    old.do(commands.rules(2))
    assert old.limit(ANN, BUY, 5, 100, iceberg_steps=5) == ["#1 accepted"]


def test_a_market_of_version_1_has_modes_up_to_expire_both(old: Stage) -> None:
    old.open()
    more = commands.market(b"MORE", BASE, QUOTE, self_trade_preventions=63, self_trade_prevention=Mode.TRANSFER)
    assert old.do(more, commands.rules(2), more) == ["refused MALFORMED", "rules", "market"]


def test_a_trade_group_counts_from_version_2_on(old: Stage) -> None:
    old.open()
    old.group(ANN, DAN)
    old.book("sell 100: 2@ann")
    assert old.limit(DAN, BUY, 1, 100)[1] == "#2 takes 1@100, filled"
    old.do(commands.rules(2))
    assert old.limit(DAN, BUY, 1, 100)[1] == "#1 prevented 1@100"


def test_multipliers_given_under_version_1_count_for_nothing(old: Stage) -> None:
    """Not even wrong ones, and not after version 2 has begun."""
    old.open(bid_multiplier_up_e4=1, bid_multiplier_down_e4=2)
    old.book("sell 100: 1@ann")
    old.limit(BOB, BUY, 1, 100)
    assert old.limit(CYD, BUY, 1, 900) == ["#3 accepted"]
    old.do(commands.rules(2))
    assert old.limit(CYD, BUY, 1, 900) == ["#4 accepted"]


def test_other_limits_of_a_market_come_into_force_with_version_2(old: Stage) -> None:
    old.open(position_units_max=1, iceberg_parts_max=2, iceberg_orders_max=1)
    assert old.limit(ANN, BUY, 1, 100) == ["#1 accepted"]
    old.do(commands.rules(2))
    assert old.limit(ANN, BUY, 1, 100) == ["refused MAX_POSITION"]
    assert old.limit(ANN, SELL, 9, 200, iceberg_steps=3) == ["refused ICEBERG_PARTS"]
    assert old.limit(ANN, SELL, 9, 200, iceberg_steps=5) == ["#2 accepted"]
    assert old.limit(ANN, SELL, 9, 200, iceberg_steps=5) == ["refused MAX_NUM_ICEBERG_ORDERS"]


def test_orders_stay_where_they_are_when_the_version_changes(old: Stage) -> None:
    old.open()
    old.book("""
        sell 101: 3@ann 4@bob
        buy  100: 5@cyd
    """)
    old.stop(DAN, BUY, 2, 101)
    before = old.exchange.dump()
    assert old.do(commands.rules(2)) == ["rules"]
    after = old.exchange.dump()
    assert after.pop("sequence") == before.pop("sequence") + 1
    assert after == before
    told = old.do(commands.replace(CYD, 1, place(CYD, BUY, 1, price_ticks=101), 3))
    assert told[-3:] == ["#4 triggered", "#4 takes 2@101, filled", "#1 gives 2@101, filled"]


def test_the_version_may_change_within_a_batch(old: Stage) -> None:
    old.open()
    old.limit(ANN, BUY, 5, 100)
    assert old.do(commands.kill(ANN), commands.rules(2), commands.kill(ANN)) == [
        "refused RULES",
        "rules",
        "killed 1",
        "#1 expired EXCHANGE_CANCELED, 5 left",
    ]
