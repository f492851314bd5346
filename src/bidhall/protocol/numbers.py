# SPDX-License-Identifier: Apache-2.0
"""Decimal text to exact integers and back, by the strict grammar of the Binance API.

Called by the parameter parsers and by every answer and event builder. It must never see a float: a number is text on
the wire and an integer inside. `e8` means units of 10^-8, the precision the wire shows everywhere.
"""

from typing import Final

from bidhall.protocol import errors

E8: Final = 100_000_000
DECIMALS_MAX: Final = 8
DIGITS_MAX: Final = 20
INT64_MAX: Final = (1 << 63) - 1
ZERO: Final = "0.00000000"

INTEGER_PATTERN: Final = "^[0-9]{1,20}$"
DECIMAL_PATTERN: Final = r"^([0-9]{1,20})(\.[0-9]{1,20})?$"

# What a decimal of fewer digits must be multiplied by to become e8, by its number of decimals.
SCALES: Final = (100_000_000, 10_000_000, 1_000_000, 100_000, 10_000, 1_000, 100, 10, 1)


def is_digits(text: str) -> bool:
    """ASCII digits only, 1 to 20 of them (`str.isdigit` alone would let the digits of every script in)."""
    return text.isdigit() and text.isascii() and len(text) <= DIGITS_MAX


def parse_integer(name: str, text: str) -> int:
    """A whole number of the wire: -1100 when it is none, -1108 when it does not fit 63 bits."""
    if not is_digits(text):
        raise errors.illegal(name, INTEGER_PATTERN)
    value = int(text)
    if value > INT64_MAX:
        raise errors.overflow(name)
    return value


def parse_decimal_e8(name: str, text: str) -> int:
    """A decimal number of the wire in 1e-8: -1100 when it is none, -1111 when it needs more than 8 decimals.

    Zeros at the end are no precision: clients print with a fixed number of decimals.
    """
    whole, point, fraction = text.partition(".")
    if not is_digits(whole):
        raise errors.illegal(name, DECIMAL_PATTERN)
    if not point:
        return int(whole) * E8
    if not is_digits(fraction):
        raise errors.illegal(name, DECIMAL_PATTERN)
    decimals = len(fraction)
    if decimals > DECIMALS_MAX:
        fraction = fraction.rstrip("0")
        decimals = len(fraction)
        if decimals > DECIMALS_MAX:
            raise errors.too_precise(name)
    return int(whole + fraction) * SCALES[decimals]


def fixed(value_e8: int) -> str:
    """A number >= 0 in 1e-8 as text with 8 decimals."""
    if value_e8 >= E8:
        digits = str(value_e8)
        return f"{digits[:-8]}.{digits[-8:]}"
    # Most numbers of an answer are zero, and the rest of the small ones are cheapest cut from a larger one.
    return "0." + str(value_e8 + E8)[1:] if value_e8 else ZERO


def fixed_signed(value_e8: int) -> str:
    """The same for a number that may be negative."""
    return fixed(value_e8) if value_e8 >= 0 else "-" + fixed(-value_e8)


def scale_of(decimals: int) -> int:
    """What units of an asset with that many decimals (0..8) are worth in 1e-8."""
    return SCALES[decimals]


def rounded_division(dividend: int, divisor: int) -> int:
    """The quotient rounded half up; divisor > 0. For statistics shown to people, never for money that moves."""
    return (2 * dividend + divisor) // (2 * divisor)
