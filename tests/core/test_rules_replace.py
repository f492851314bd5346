# SPDX-License-Identifier: Apache-2.0
"""RULES.md "Version 2", REPLACE: a cancel and a placement as one, every outcome, on twin and kernel."""

import pytest

from tests.core.lockstep import UNKNOWN
from tests.core.stage import ANN, BASE, BOB, BUY, DAN, MILLION, QUOTE, SECOND, SELL, Stage
from tests.model import commands
from tests.model.records import COMMAND_BYTES, CommandFlag, OrderType, State, TimeInForce

ALLOW = CommandFlag.ALLOW_FAILURE
DIGEST = b"r" * 16
NOT_ATTEMPTED = "refused NOT_ATTEMPTED"


@pytest.fixture
def stage(modern: Stage) -> Stage:
    """ann buys 5 at 100; nobody sells."""
    stage = modern.open()
    stage.limit(ANN, BUY, 5, 100, client_id=b"old")
    return stage


def new(quantity: int = 7, price: int = 90, account: int = ANN, market: int = 1, **fields: int | bytes) -> bytes:
    fields = {"time_in_force": TimeInForce.GTC} | fields
    return commands.place(account, market, BUY, OrderType.LIMIT, quantity_steps=quantity, price_ticks=price, **fields)


def replace(stage: Stage, order_id: int = 1, place: bytes | None = None, **fields: int | bytes) -> list[str]:
    return stage.do(commands.replace(ANN, 1, place or new(), order_id, **fields))


def test_the_old_order_goes_and_the_new_one_comes(stage: Stage) -> None:
    assert replace(stage) == ["#1 canceled, 5 left", "#2 accepted"]
    assert [event.sequence for event in stage.events] == [stage.exchange.sequence - 1, stage.exchange.sequence]
    assert stage.shows("buy 90: 7@ann")
    assert stage.balance(ANN, QUOTE) == (MILLION - 630, 630)


def test_the_new_order_may_need_what_the_old_one_held_and_was_called(stage: Stage) -> None:
    stage.do(commands.withdraw(ANN, QUOTE, MILLION - 500))
    told = replace(stage, place=new(50, 10, client_id=b"old"), client_id=b"old")
    assert told == ["#1 canceled, 5 left", "#2 accepted"]


def test_the_old_order_may_be_named_by_its_client_id(stage: Stage) -> None:
    assert replace(stage, 0, client_id=b"old")[1] == "#2 accepted"


@pytest.mark.parametrize("flags", [0, ALLOW])
@pytest.mark.parametrize(
    ("place", "told"),
    [
        (new(price=0), "refused MALFORMED"),
        (new(self_trade_prevention=5), "refused SELF_TRADE_PREVENTION"),
        (new(price=2_000_000), "refused PRICE_FILTER"),
        (new(quantity=2_000_000), "refused LOT_SIZE"),
        (new(quantity=1, price=1), "refused NOTIONAL"),
    ],
)
def test_a_bad_new_order_spares_the_old_one(modern: Stage, flags: int, place: bytes, told: str) -> None:
    stage = modern.open(notional_units_min=50)
    stage.limit(ANN, BUY, 5, 100)
    assert replace(stage, place=place, flags=flags) == [told, NOT_ATTEMPTED]
    assert stage.shows("buy 100: 5@ann")
    assert {(event.account, event.market) for event in stage.events} == {(ANN, 1)}


@pytest.mark.parametrize("flags", [0, ALLOW])
def test_a_cancel_of_no_shape_is_malformed(stage: Stage, flags: int) -> None:
    assert replace(stage, 0, flags=flags) == ["refused MALFORMED", NOT_ATTEMPTED]
    assert replace(stage, 1, restriction=3, flags=flags) == ["refused MALFORMED", NOT_ATTEMPTED]
    # Before the filters of the new order, and behind the account, the market and its state.
    assert replace(stage, 0, place=new(price=2_000_000)) == ["refused MALFORMED", NOT_ATTEMPTED]
    stage.do(commands.market_state(1, State.BREAK))
    assert replace(stage, 0) == ["refused MARKET_CLOSED", NOT_ATTEMPTED]
    stage.do(commands.account_change(ANN, permissions=6))
    assert replace(stage, 0) == ["refused ACCOUNT_CLOSED", NOT_ATTEMPTED]


def test_account_and_market_are_looked_at_first(stage: Stage) -> None:
    unknown = [
        commands.replace(9, 9, new(account=9, market=9), 1),
        commands.replace(ANN, 9, new(market=9), 1),
    ]
    assert stage.do(*unknown) == ["refused UNKNOWN_ACCOUNT", NOT_ATTEMPTED, "refused UNKNOWN_MARKET", NOT_ATTEMPTED]
    assert [(event.account, event.market) for event in stage.events] == [(9, 9)] * 2 + [(ANN, 9)] * 2


def test_without_the_old_order_the_new_one_is_not_attempted(stage: Stage) -> None:
    assert replace(stage, 7) == ["refused UNKNOWN_ORDER", NOT_ATTEMPTED]
    assert replace(stage, 1, client_id=b"other") == ["refused UNKNOWN_ORDER", NOT_ATTEMPTED]
    assert replace(stage, 1, restriction=2) == ["refused CANCEL_RESTRICTED", NOT_ATTEMPTED]
    assert stage.shows("buy 100: 5@ann")


def test_unless_it_is_wanted_all_the_same(stage: Stage) -> None:
    assert replace(stage, 7, flags=ALLOW) == ["refused UNKNOWN_ORDER", "#2 accepted"]
    assert replace(stage, 1, restriction=2, flags=ALLOW) == ["refused CANCEL_RESTRICTED", "#3 accepted"]
    assert stage.shows("""
        buy 100: 5@ann
        buy 90: 7@ann 7@ann
    """)


@pytest.mark.parametrize("flags", [0, ALLOW])
def test_a_new_order_may_fail_when_the_old_one_is_gone(stage: Stage, flags: int) -> None:
    told = replace(stage, place=new(100, 20_000), flags=flags)
    assert told == ["#1 canceled, 5 left", "refused INSUFFICIENT_BALANCE"]
    assert stage.drawn() == []


def test_both_may_fail(stage: Stage) -> None:
    told = replace(stage, 7, place=new(client_id=b"old"), flags=ALLOW)
    assert told == ["refused UNKNOWN_ORDER", "refused DUPLICATE_CLIENT_ID"]


def test_other_bits_of_the_flags_say_nothing(stage: Stage) -> None:
    assert replace(stage, 7, flags=0xFE) == ["refused UNKNOWN_ORDER", NOT_ATTEMPTED]


def test_the_limits_of_the_account_are_looked_at_after_the_cancel(modern: Stage) -> None:
    stage = modern.open(orders_max=1)
    stage.limit(ANN, BUY, 5, 100)
    assert replace(stage)[1] == "#2 accepted"
    assert replace(stage, 9, flags=ALLOW) == ["refused UNKNOWN_ORDER", "refused MAX_NUM_ORDERS"]


def test_the_new_order_trades_and_triggers_as_any(stage: Stage) -> None:
    stage.stop(BOB, BUY, 1, 101)
    stage.book("sell 101: 4@dan")
    assert replace(stage, place=new(2, 101)) == [
        "#1 canceled, 5 left",
        "#4 accepted",
        "#4 takes 2@101, filled",
        "#3 gives 2@101",
        "#2 triggered",
        "#2 takes 1@101, filled",
        "#3 gives 1@101",
    ]


def test_a_deadline_is_judged_once(stage: Stage) -> None:
    stage.wait(SECOND)
    assert replace(stage, deadline_ns=1) == ["refused DEADLINE", NOT_ATTEMPTED]
    assert replace(stage, deadline_ns=SECOND)[1] == "#2 accepted"


def test_a_repeat_repeats_the_cancel_and_attempts_nothing(stage: Stage) -> None:
    assert replace(stage, digest=DIGEST) == ["#1 canceled, 5 left", "#2 accepted"]
    first = stage.events[0].sequence
    assert replace(stage, digest=DIGEST) == [f"repeats {first}: #1 NONE", NOT_ATTEMPTED]
    assert replace(stage, 9, digest=b"s" * 16, flags=ALLOW)[1] == "#3 accepted"
    assert replace(stage, 9, digest=b"s" * 16, flags=ALLOW) == [f"repeats {first + 4}: #0 UNKNOWN_ORDER", NOT_ATTEMPTED]


def test_a_full_memory_is_busy_for_both(bare: Stage) -> None:
    bare.do(commands.configure(rules_version=2, digests_max=1))
    raw = commands.replace(ANN, 1, new(), 1, digest=DIGEST)
    told = bare.do(commands.mark(1, digest=b"m" * 16), raw)
    assert told == ["refused UNKNOWN_MARKET", "refused BUSY", NOT_ATTEMPTED]


def test_each_record_has_its_own_sequence_update_and_top(stage: Stage) -> None:
    before = stage.exchange.dump()["markets"][0]["update_id"]
    replace(stage)
    sequence = stage.exchange.sequence
    assert [(top[0], top[1], top[4], top[5]) for top in stage.tops()] == [
        (sequence - 1, before + 1, 0, 0),
        (sequence, before + 2, 90, 7),
    ]


FIRST = commands.replace(ANN, 1, b"", 1)
MALFORMED = {
    "nothing follows": FIRST,
    "another kind follows": FIRST + commands.cancel(ANN, 1, 1),
    "another group follows": FIRST + FIRST + new(),
    "another account": FIRST + new(account=BOB),
    "another market": FIRST + new(market=2),
    "the second has legs": FIRST + new(legs=2),
    "the second has a deadline": FIRST + new(deadline_ns=1),
    "the second has a digest": FIRST + new(digest=bytes(15) + b"\1"),
    **{f"{legs} legs": commands.replace(ANN, 1, new(), 1, legs=legs) for legs in (0, 1, 3, 255)},
}


@pytest.mark.parametrize("wrong", MALFORMED)
@pytest.mark.parametrize("number", [0, 1])
def test_a_malformed_group_raises_before_anything_is_applied(stage: Stage, wrong: str, number: int) -> None:
    before = stage.exchange.dump()
    with pytest.raises(UNKNOWN):
        stage.apply(commands.cancel(ANN, 1, 1) + MALFORMED[wrong], 9, 9, b"w" * 16 if number else None, number)
    assert stage.exchange.dump() == before


@pytest.mark.parametrize("wrong", MALFORMED)
def test_version_1_raises_on_a_malformed_group_too(bare: Stage, wrong: str) -> None:
    stage = bare.open()
    with pytest.raises(UNKNOWN):
        stage.apply(MALFORMED[wrong], 9, 9)


def test_a_placement_behind_a_group_is_its_own(stage: Stage) -> None:
    told = stage.do(commands.replace(ANN, 1, new(price=0), 1) + new(2, 80, legs=1) + new(1, 70, account=DAN))
    assert told == ["refused MALFORMED", NOT_ATTEMPTED, "#2 accepted", "#3 accepted"]


def test_a_second_record_has_0_or_1_legs(stage: Stage) -> None:
    for legs in (0, 1):
        assert replace(stage, 9, place=new(legs=legs), flags=ALLOW)[1].endswith("accepted")


def test_an_iceberg_may_replace_and_be_replaced(stage: Stage) -> None:
    assert replace(stage, place=new(9, 90, iceberg_steps=2)) == ["#1 canceled, 5 left", "#2 accepted"]
    assert stage.shows("buy 90: 2/9@ann")
    assert replace(stage, 2) == ["#2 canceled, 9 left", "#3 accepted"]
    assert stage.balance(ANN, BASE) == (MILLION, 0)


def test_a_group_is_two_records(stage: Stage) -> None:
    assert len(commands.replace(ANN, 1, new(), 1)) == 2 * COMMAND_BYTES
    assert stage.limit(BOB, SELL, 1, 100)[1] == "#2 takes 1@100, filled"
