# SPDX-License-Identifier: Apache-2.0
"""The edges of the integers: every field of every command at its extremes, and sums near the top of 64 bits."""

import itertools
from typing import Any

import pytest

from tests.core.lockstep import Lockstep
from tests.core.stage import ANN, BASE, BOB, BUY, CYD, QUOTE, SELL, Stage
from tests.model import commands
from tests.model.features import GROUP_OFFSETS
from tests.model.features import MARKET_PLACES as MORE_MARKET_PLACES
from tests.model.histories import EDGES, MARKET_PLACES, PLACES, Batch
from tests.model.records import EventKind, Mode, OrderType, TimeInForce

GTC, IOC = TimeInForce.GTC, TimeInForce.IOC
TOP = 2**62
NONE = {"self_trade_prevention": Mode.NONE}


def world(version: int, **market: int) -> Lockstep:
    """A market, two accounts with money, an order each way and a stop each way."""
    lockstep = Lockstep()
    raw = [commands.configure(rules_version=version), commands.asset(b"A", 0), commands.asset(b"B", 0)]
    for account in (ANN, BOB):
        raw += [commands.account(), commands.deposit(account, 1, TOP // 4), commands.deposit(account, 2, TOP // 4)]
    raw.append(commands.market(b"M", 1, 2, **market))
    raw.append(limit(ANN, BUY, 5, 10))
    raw.append(limit(BOB, SELL, 5, 12))
    raw.append(commands.place(ANN, 1, BUY, OrderType.STOP_LOSS, quantity_steps=5, stop_price_ticks=20))
    raw.append(commands.place(BOB, 1, SELL, OrderType.STOP_LOSS, quantity_steps=5, stop_price_ticks=5))
    feed(lockstep, *raw)
    return lockstep


def limit(account: int, side: int, quantity: int, price: int) -> bytes:
    return commands.place(
        account, 1, side, OrderType.LIMIT, quantity_steps=quantity, price_ticks=price, time_in_force=GTC
    )


def feed(lockstep: Lockstep, *raw: bytes) -> bool:
    """One batch to both; whether it was a batch at all: the edge of a group's field is none."""
    is_whole = lockstep.apply(Batch(b"".join(raw), 10**18, 10**18, None, 0)) is not None
    lockstep.audit()
    return is_whole


USUAL = {
    "place limit": limit(ANN, BUY, 3, 9),
    "place market": commands.place(ANN, 1, BUY, OrderType.MARKET, quantity_steps=2),
    "place market by quote": commands.place(BOB, 1, SELL, OrderType.MARKET, quote_quantity_units=25),
    "place stop limit": commands.place(
        BOB, 1, BUY, OrderType.STOP_LOSS_LIMIT, quantity_steps=2, price_ticks=13, stop_price_ticks=14, time_in_force=GTC
    ),
    "place take profit": commands.place(BOB, 1, SELL, OrderType.TAKE_PROFIT, quantity_steps=2, stop_price_ticks=14),
    "place iceberg": commands.place(
        ANN, 1, BUY, OrderType.LIMIT, quantity_steps=6, price_ticks=9, time_in_force=GTC, iceberg_steps=2
    ),
    "replace": commands.replace(ANN, 1, limit(ANN, BUY, 3, 9), 1),
    "kill": commands.kill(ANN, 1),
    "cancel": commands.cancel(ANN, 1, 1),
    "cancel all": commands.cancel_all(BOB, 1),
    "amend": commands.amend(ANN, 1, 1, 3),
    "deposit": commands.deposit(ANN, 1, 7),
    "withdraw": commands.withdraw(ANN, 1, 7),
    "market state": commands.market_state(1, 2),
    "mark": commands.mark(1),
    "rules": commands.rules(1),
    "note": commands.note(b"text"),
    "asset": commands.asset(b"C", 3),
    "account": commands.account(),
    "account change": commands.account_change(1),
    "configure": commands.configure(),
}


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("name", USUAL)
def test_every_field_at_every_edge(name: str, version: int) -> None:
    raw = USUAL[name]
    lockstep = world(version, self_trade_preventions=63 if version == 2 else 15)
    for (offset, size), edge in itertools.product(PLACES, EDGES):
        value = (edge & ((1 << 8 * size) - 1)).to_bytes(size, "little")
        is_whole = feed(lockstep, raw[:offset] + value + raw[offset + size :])
        assert is_whole or (name == "replace" and offset in GROUP_OFFSETS)
        if lockstep.twin.open_order_count < 3:
            feed(lockstep, commands.market_state(1, 1), limit(ANN, BUY, 5, 10), limit(BOB, SELL, 5, 12))
    lockstep.compare_dumps()


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("place", [*MARKET_PLACES, *MORE_MARKET_PLACES], ids=str)
def test_every_field_of_a_market_at_every_edge(place: tuple[int, int], version: int) -> None:
    """And pairs of them with the quantity bound, so that products meet their limits."""
    offset, size = place
    lockstep = world(version)
    for number, edge in enumerate(EDGES):
        value = (edge & ((1 << 8 * size) - 1)).to_bytes(size, "little")
        for most in (1, 2**20, 2**62):
            raw = commands.market(
                b"X%d-%d" % (number, most), 1, 2, quantity_steps_max=most, market_quantity_steps_max=most
            )
            feed(lockstep, raw[:offset] + value + raw[offset + size :])
    lockstep.compare_dumps()


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("edge", EDGES)
def test_edges_in_all_numbers_at_once(edge: int, version: int) -> None:
    lockstep = world(version, price_ticks_max=2**42, quantity_steps_max=2**20, market_quantity_steps_max=2**20)
    for kind, side, order_type in itertools.product((9, 10, 12), (1, 2), range(1, 8)):
        fields: dict[str, Any] = dict.fromkeys(
            (
                "price_ticks",
                "quantity_steps",
                "stop_price_ticks",
                "quote_quantity_units",
                "iceberg_steps",
                "strategy_id",
            ),
            edge,
        )
        for absent in (*fields, ""):
            raw = commands.common(
                kind,
                account=ANN,
                market=1,
                side=side,
                type=order_type,
                time_in_force=GTC,
                order_id=edge % 2**64,
                **{name: value for name, value in fields.items() if name != absent},
            )
            feed(lockstep, raw)
    lockstep.compare_dumps()


def giant(exchange: Any, **fields: int) -> Stage:
    """A market whose prices and quantities go to the very top: one tick times one step is one unit."""
    stage = Stage(exchange)
    stage.do(commands.configure(), commands.asset(b"A", 0), commands.asset(b"B", 0))
    for account in (ANN, BOB, CYD):
        stage.do(commands.account())
        for asset in (BASE, QUOTE):
            stage.do(commands.deposit(account, asset, TOP // 4))
    usual = {"price_ticks_max": 1, "quantity_steps_max": TOP, "market_quantity_steps_max": TOP}
    assert stage.do(commands.market(b"M", BASE, QUOTE, **(usual | fields))) == ["market"]
    return stage


def test_the_largest_trade_there_is(exchange: Any) -> None:
    stage = Stage(exchange)
    stage.do(
        commands.configure(), commands.asset(b"A", 0), commands.asset(b"B", 0), commands.account(), commands.account()
    )
    stage.do(commands.deposit(1, BASE, TOP), commands.deposit(2, QUOTE, TOP))
    stage.do(
        commands.market(
            b"M",
            BASE,
            QUOTE,
            price_ticks_max=1,
            quantity_steps_max=TOP,
            market_quantity_steps_max=TOP,
            maker_rate_e8=10**8 - 1,
            taker_rate_e8=10**8,
        )
    )
    assert stage.limit(1, SELL, TOP, 1) == ["#1 accepted"]
    assert stage.balance(1, BASE) == (0, TOP)
    assert stage.limit(2, BUY, TOP, 1)[1:] == [f"#2 takes {TOP}@1, filled", f"#1 gives {TOP}@1, filled"]
    assert [event.fee_units for event in stage.events[1:]] == [TOP, TOP * (10**8 - 1) // 10**8]
    assert stage.balance(2, BASE) == (0, 0)


def test_the_highest_price_there_is(exchange: Any) -> None:
    stage = giant(exchange, price_ticks_max=2**42, quantity_steps_max=2**20)
    assert stage.limit(ANN, SELL, 2**18, 2**42) == ["#1 accepted"]
    assert stage.limit(BOB, BUY, 2**18, 2**42)[1] == f"#2 takes {2**18}@{2**42}, filled"
    assert stage.balance(BOB, QUOTE) == (0, 0)
    assert stage.limit(CYD, BUY, 2**18 + 1, 2**42) == ["refused INSUFFICIENT_BALANCE"]
    assert stage.limit(CYD, BUY, 2**20, 2**42) == ["refused INSUFFICIENT_BALANCE"]
    assert stage.limit(CYD, BUY, 1, 2**42 + 1) == ["refused PRICE_FILTER"]


def test_sums_of_an_average_pass_64_bits(exchange: Any) -> None:
    """2^59 steps at price 2, traded with oneself 40 times in one minute: 40 x 2^60 > 2^65."""
    stage = giant(exchange, price_ticks_max=4, quantity_steps_max=2**60, notional_flags=1)
    for _ in range(40):
        stage.limit(ANN, SELL, 2**59, 2, **NONE)
        assert stage.limit(ANN, BUY, 2**59, 2, **NONE)[1].endswith("filled")
    ((_, price_steps, steps),) = stage.exchange.dump()["markets"][0]["average"]
    assert (price_steps, steps) == (40 * 2**60, 40 * 2**59)
    if hasattr(stage.exchange, "average_price"):
        assert stage.exchange.average_price(1) == 2


def test_a_quote_quantity_at_the_top(exchange: Any) -> None:
    stage = giant(exchange)
    stage.limit(ANN, BUY, 2**59, 1)
    assert stage.market(BOB, BUY, quote=2**63 - 1) == ["refused INSUFFICIENT_BALANCE"]
    told = stage.market(BOB, SELL, quote=2**63 - 1)  # all there is
    assert told == [
        "#2 accepted",
        f"#2 takes {2**59}@1",
        f"#1 gives {2**59}@1, filled",
        "#2 expired INSUFFICIENT_LIQUIDITY, 0 left",
    ]


def test_a_market_quantity_beyond_the_book(exchange: Any) -> None:
    stage = giant(exchange)
    stage.limit(ANN, SELL, 2**59, 1)
    told = stage.market(BOB, BUY, TOP)
    assert told[-1] == f"#2 expired INSUFFICIENT_LIQUIDITY, {TOP - 2**59} left"


def test_levels_as_large_as_the_supply(exchange: Any) -> None:
    stage = giant(exchange)
    for account in (ANN, BOB, CYD):
        assert stage.limit(account, SELL, TOP // 4, 1)[0].endswith("accepted")
    stage.do(commands.account(), commands.deposit(4, QUOTE, TOP // 4))
    assert stage.market(4, BUY, quote=TOP // 4)[-1].endswith("filled")


def test_fees_of_a_whole_trade_leave_nothing(exchange: Any) -> None:
    stage = giant(exchange, maker_rate_e8=10**8, taker_rate_e8=10**8)
    stage.limit(ANN, SELL, 1000, 1)
    stage.limit(BOB, BUY, 1000, 1)
    assert [event.fee_units for event in stage.events if event.kind == EventKind.FILL] == [1000, 1000]
    assert stage.balance(BOB, BASE) == (TOP // 4, 0)


@pytest.mark.parametrize("stamp", [0, 1, -1, 2**62, 2**63 - 1, -(2**63)])
def test_stamps_at_the_edges(exchange: Any, stamp: int) -> None:
    stage = giant(exchange)
    stage.limit(ANN, SELL, 10, 1)
    raw = [
        commands.place(
            BOB, 1, BUY, OrderType.LIMIT, quantity_steps=1, price_ticks=1, time_in_force=IOC, digest=b"%16d" % i
        )
        for i in (1, 2)
    ]
    assert stage.apply(raw[0], stamp, stamp)
    assert stage.apply(raw[1], 2**63 - 1, stamp)
    assert stage.exchange.dump()["time_ns"] == max(0, stamp)
    assert stage.exchange.dump()["markets"][0]["average"] == [(max(0, stamp) // (60 * 10**9), 2, 2)]
