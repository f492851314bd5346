# SPDX-License-Identifier: Apache-2.0
"""Pages of orders and fills: both ways write the same bytes, and what is not plain goes the general way."""

import random
from typing import Any

import pytest

from bidhall.core.records import ORDER_STRUCT, OrderRow
from bidhall.protocol import account_answers, order_answers

from .places import a_market

MARKET = a_market()
PLAIN_IDS = (b"", b"a", b"x-TKT5PX2F-1_b", b"Z" * 36)
ODD_IDS = (b'quote"', b"back\\slash", b"space here", "ü".encode(), b"\x01", b"a\0b")
UNITS_NS = (1_000_000, 1_000)


def order(draw: random.Random, **fields: Any) -> OrderRow:
    """One as the kernel or the history gives it; plain unless `fields` say otherwise."""
    blank = OrderRow._make(ORDER_STRUCT.unpack(bytes(ORDER_STRUCT.size)))
    size = draw.choice((10, 10**6, 2**31, 2**40))
    return blank._replace(
        **{
            "order_id": draw.randrange(1, 2**63), "type": draw.randrange(1, 8), "side": draw.randrange(1, 3),
            "time_in_force": draw.randrange(4), "self_trade_prevention": draw.randrange(7),
            "status": draw.randrange(1, 9), "price_ticks": draw.randrange(size), "quantity_steps": draw.randrange(size),
            "executed_steps": draw.randrange(size), "executed_quote_units": draw.randrange(size),
            "stop_price_ticks": draw.choice((0, draw.randrange(size))), "iceberg_steps": draw.choice((0, 5)),
            "quote_quantity_units": draw.choice((0, draw.randrange(size))), "created_ns": draw.randrange(2**62),
            "updated_ns": draw.randrange(2**62), "working_ns": draw.choice((0, draw.randrange(2**62))),
            "client_id": draw.choice(PLAIN_IDS).ljust(36, b"\0"), **fields,
        }
    )


def odd(draw: random.Random) -> OrderRow:
    """One that the compiled way must pass on."""
    return order(
        draw,
        **draw.choice(
            (
                {"strategy_id": 7},
                {"strategy_type": 1_000_000},
                {"prevented_match_id": 3, "prevented_steps": 2},
                {"status": 5, "reason": draw.randrange(1, 9)},
                {"client_id": draw.choice(ODD_IDS).ljust(36, b"\0")},
                {"price_ticks": 2**62},
            )
        ),
    )


@pytest.mark.parametrize("unit_ns", UNITS_NS)
def test_orders_are_written_the_same_both_ways(unit_ns: int, seed: int) -> None:
    draw = random.Random(seed)
    for _ in range(300):
        rows = [odd(draw) if draw.random() < 0.15 else order(draw) for _ in range(draw.randrange(30))]
        general = order_answers.orders(((MARKET, row) for row in rows), unit_ns)
        assert order_answers.page(MARKET, rows, unit_ns) == general, f"seed {seed}"


@pytest.mark.parametrize("unit_ns", UNITS_NS)
def test_fills_are_written_the_same_both_ways(unit_ns: int, seed: int) -> None:
    draw = random.Random(seed)
    for _ in range(300):
        size = draw.choice((10, 10**5, 2**30))
        fills = [
            (
                draw.randrange(1, 2**63), draw.randrange(1, 2**62), draw.randrange(2**62), draw.randrange(size),
                draw.randrange(size), draw.randrange(2**40), draw.random() < 0.5, draw.random() < 0.5,
            )
            for _ in range(draw.randrange(30))
        ]  # fmt: skip
        general = "[" + ",".join(account_answers.fill_text(MARKET, fill, unit_ns) for fill in fills) + "]"
        assert account_answers.my_trades(MARKET, fills, {}, unit_ns) == general.encode(), f"seed {seed}"


def test_a_large_page_is_whole() -> None:
    draw = random.Random(5)
    rows = [order(draw) for _ in range(1_000)]
    assert order_answers.page(MARKET, rows, 1_000) == order_answers.orders(((MARKET, row) for row in rows), 1_000)


def test_every_field_has_its_place(seed: int) -> None:
    """A record whose fields all differ: one that moved would be seen."""
    draw = random.Random(seed)
    assert OrderRow._fields.index("client_id") == 34
    assert len(OrderRow._fields) == 37
    row = order(draw)
    for name in OrderRow._fields:
        value = getattr(row, name)
        if isinstance(value, int) and name not in ("account", "market"):
            changed = row._replace(**{name: 1 if value == 0 else value - 1})
            assert order_answers.page(MARKET, [changed], 1_000) == order_answers.orders([(MARKET, changed)], 1_000)
