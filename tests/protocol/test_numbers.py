# SPDX-License-Identifier: Apache-2.0
"""Decimal text and integers: the grammar, the limits, and the way there and back."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bidhall.protocol import numbers
from bidhall.protocol.errors import ApiError
from bidhall.protocol.markets import UNITS_MAX
from tests.protocol.places import market_of

NO_NUMBERS = [
    "abc", "-1", "+1", "1e5", "1E5", "1e-5", "NaN", "nan", "Infinity", "inf", "٣", "1٣", "１", "²", "½", "0x10",
    "1_000",
    "1,5", " 1", "1 ", "1.2.3", ".", "1.", ".5", "1..2", "--1", "0b1", "null", "None", "1\n", "1" * 21, "0." + "0" * 21,
    "true", "'1'", '"1"', "1;", "%31", "1/2", "९", "1.５",
]  # fmt: skip


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_what_is_no_decimal(text: str) -> None:
    with pytest.raises(ApiError) as caught:
        numbers.parse_decimal_e8("price", text)
    assert caught.value.code == -1100
    assert caught.value.message == (
        "Illegal characters found in parameter 'price'; legal range is '^([0-9]{1,20})(\\.[0-9]{1,20})?$'."
    )


@pytest.mark.parametrize("text", [*NO_NUMBERS, "1.5", "1.0"])
def test_what_is_no_integer(text: str) -> None:
    with pytest.raises(ApiError) as caught:
        numbers.parse_integer("limit", text)
    assert caught.value.code == -1100
    assert caught.value.message == "Illegal characters found in parameter 'limit'; legal range is '^[0-9]{1,20}$'."


def test_integers_that_fit_the_grammar_but_not_63_bits() -> None:
    assert numbers.parse_integer("orderId", str((1 << 63) - 1)) == (1 << 63) - 1
    for text in (str(1 << 63), "9" * 20):
        with pytest.raises(ApiError, match="overflowed") as caught:
            numbers.parse_integer("orderId", text)
        assert caught.value.code == -1108


@pytest.mark.parametrize("text", ["0.000000001", "1.123456789", "99999999999999999999.99999999999999999999"])
def test_too_precise(text: str) -> None:
    with pytest.raises(ApiError) as caught:
        numbers.parse_decimal_e8("price", text)
    assert (caught.value.code, caught.value.message) == (-1111, "Parameter 'price' has too much precision.")


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("1", 10**8), ("0.1", 10**7), ("0.00000001", 1), ("1.000000000000", 10**8), ("007.50", 750_000_000),
     ("99999999999999999999", 99999999999999999999 * 10**8), ("0.10000000000000000000", 10**7)],
)  # fmt: skip
def test_decimals(text: str, value: int) -> None:
    assert numbers.parse_decimal_e8("price", text) == value


@given(st.integers(0, 10**30))
def test_fixed_and_back(value: int) -> None:
    text = numbers.fixed(value)
    assert Fraction(text) * 10**8 == value
    assert len(text.partition(".")[2]) == 8
    if len(text) <= 29:
        assert numbers.parse_decimal_e8("x", text) == value
    assert numbers.fixed_signed(-value) == ("-" + text if value else text)


@given(st.integers(0, 10**20 - 1), st.integers(0, 20).flatmap(lambda n: st.text("0123456789", min_size=n, max_size=n)))
def test_every_decimal_of_the_grammar(whole: int, fraction: str) -> None:
    text = f"{whole}.{fraction}" if fraction else str(whole)
    exact = Fraction(text) * 10**8
    if exact.denominator == 1:
        assert numbers.parse_decimal_e8("x", text) == exact
    else:
        with pytest.raises(ApiError):
            numbers.parse_decimal_e8("x", text)


def whole_market(base_decimals: int, quote_decimals: int, tick_power: int, step_power: int) -> bool:
    """Whether tick x step is a whole number of the quote's units: only such markets exist."""
    return tick_power + step_power + quote_decimals - 8 - base_decimals >= 0 and step_power <= base_decimals


MARKETS = [
    (base, quote, 10**tick, 10**step)
    for base in range(9)
    for quote in range(9)
    for tick in range(0, 9, 2)
    for step in range(0, 9, 2)
    if whole_market(base, quote, tick, step)
]


@pytest.mark.parametrize("base", range(9))
def test_ticks_and_steps_and_back_in_every_market(base: int, seed: int) -> None:
    for shape in MARKETS:
        if shape[0] != base:
            continue
        market = market_of(*shape)
        for ticks in (1, 2, 9, 10, 99, 12_345, 10**8, (1 << 42) - 1, 1 << 42, seed % (1 << 42) + 1):
            text = market.price_text(ticks)
            assert market.price_ticks(numbers.parse_decimal_e8("price", text)) == ticks
        for steps in (1, 7, 10**6, seed, 1 << 53):
            text = market.quantity_text(steps)
            assert market.quantity_steps(numbers.parse_decimal_e8("quantity", text)) == steps
            # exactly what the kernel computes with
            units = market.quote_units_of(3, steps)
            assert Fraction(market.quote_text(units)) == 3 * Fraction(market.price_text(1)) * Fraction(text)
            if units <= UNITS_MAX:
                assert market.quote_units(numbers.parse_decimal_e8("x", market.quote_text(units))) == units


@given(st.sampled_from(MARKETS), st.integers(1, 1 << 42), st.integers(1, 1 << 53))
def test_any_price_and_quantity(shape: tuple[int, int, int, int], ticks: int, steps: int) -> None:
    market = market_of(*shape)
    assert market.price_ticks(numbers.parse_decimal_e8("price", market.price_text(ticks))) == ticks
    assert market.quantity_steps(numbers.parse_decimal_e8("quantity", market.quantity_text(steps))) == steps
    exact = Fraction(market.price_text(ticks)) * Fraction(market.quantity_text(steps))
    assert exact == Fraction(market.quote_text(market.quote_units_of(ticks, steps)))


def test_rounded_division() -> None:
    assert [numbers.rounded_division(n, 4) for n in (0, 1, 2, 3, 5, 6)] == [0, 0, 1, 1, 1, 2]
