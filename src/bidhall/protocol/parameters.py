# SPDX-License-Identifier: Apache-2.0
"""The kinds of parameters: what each one's text may be, and what it becomes.

`endpoints` declares every endpoint's parameters with these; `requests` runs the converters. A converter takes the
decoded, non-empty text and returns the value or raises the exact `ApiError`; it never looks at other parameters.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from bidhall.core.records import CancelRestriction, OrderType, SelfTradePrevention, Side, TimeInForce
from bidhall.protocol import errors
from bidhall.protocol.numbers import (
    INT64_MAX,
    SCALES,
    parse_decimal_e8,
    parse_integer,
)

Convert = Callable[[str], Any]

SYMBOL_PATTERN: Final = r"^[\w\-._&&[^a-z]]{1,50}$"
SYMBOLS_PATTERN: Final = r'^\[("[\w\-._&&[^a-z]]{1,50}"(,"[\w\-._&&[^a-z]]{1,50}"){0,}){0,1}\]$'
CLIENT_ID_PATTERN: Final = "^[a-zA-Z0-9-_]{1,36}$"
API_KEY_CHARACTERS_MAX: Final = 128

# From here on a number is a time in µs: 10^14 ms is the year 5138, 10^14 µs is 1973.
_MICROSECONDS_FROM: Final = 10**14
_MILLISECOND_NS: Final = 1_000_000
_MICROSECOND_NS: Final = 1_000
_MINUTE_NS: Final = 60_000_000_000
_HOUR_NS: Final = 60 * _MINUTE_NS

_is_symbol: Final = re.compile(r"(?:(?![a-z])[\w\-.]){1,50}").fullmatch
_is_client_id: Final = re.compile(r"[a-zA-Z0-9_\-]{1,36}", re.ASCII).fullmatch
_is_key: Final = re.compile(rf"[a-zA-Z0-9_\-]{{1,{API_KEY_CHARACTERS_MAX}}}", re.ASCII).fullmatch
_is_zone: Final = re.compile(r"([+\- ]?)([0-9]{1,2})(?::([0-5][0-9]))?", re.ASCII).fullmatch
_is_window: Final = re.compile(r"([0-9]{1,2})([mhd])", re.ASCII).fullmatch

SIDES: Final[Mapping[str, int]] = {"BUY": int(Side.BUY), "SELL": int(Side.SELL)}
ORDER_TYPES: Final[Mapping[str, int]] = {kind.name: int(kind) for kind in OrderType if kind}
TIMES_IN_FORCE: Final[Mapping[str, int]] = {kind.name: int(kind) for kind in TimeInForce if kind}
SELF_TRADE_PREVENTIONS: Final[Mapping[str, int]] = {kind.name: int(kind) for kind in SelfTradePrevention if kind}
CANCEL_RESTRICTIONS: Final[Mapping[str, int]] = {kind.name: int(kind) for kind in CancelRestriction if kind}
# Whether the new order is wanted though the cancel failed, and the cancel though there is no room for the new order.
CANCEL_REPLACE_MODES: Final[Mapping[str, bool]] = {"STOP_ON_FAILURE": False, "ALLOW_FAILURE": True}
RATE_LIMIT_MODES: Final[Mapping[str, bool]] = {"DO_NOTHING": False, "CANCEL_ONLY": True}
RESPONSE_TYPES: Final[Mapping[str, str]] = {"ACK": "ACK", "RESULT": "RESULT", "FULL": "FULL"}
TICKER_TYPES: Final[Mapping[str, str]] = {"FULL": "FULL", "MINI": "MINI"}
SYMBOL_STATUSES: Final[Mapping[str, str]] = {
    name: name for name in ("TRADING", "HALT", "BREAK", "END_OF_DAY", "CANCEL_ONLY")
}
INTERVALS: Final[Mapping[str, str]] = {
    name: name
    for name in (
        "1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M",
    )
}  # fmt: skip


class Parameter(NamedTuple):
    """One declared parameter. `pattern`: a regular expression, with one group, of texts that are surely good and need
    no decoding (not of all such texts); `quick`: what those become, None for what they are. No pattern: no quick way.
    """

    name: str
    convert: Convert
    mandatory: bool = False
    pattern: str = ""
    quick: Convert | None = None


def _same(text: str) -> str:
    return text


def string(name: str, *, mandatory: bool = False) -> Parameter:
    """Any text."""
    return Parameter(name, _same, mandatory)


def integer(name: str, *, mandatory: bool = False) -> Parameter:
    """A whole number >= 0 that fits 63 bits."""

    def convert(text: str) -> int:
        return parse_integer(name, text)

    return Parameter(name, convert, mandatory, "([0-9]{1,18})", int)


def integer_32(name: str, *, mandatory: bool = False) -> Parameter:
    """A whole number >= 0 that fits 31 bits."""

    def convert(text: str) -> int:
        value = parse_integer(name, text)
        if value >= 1 << 31:
            raise errors.overflow(name)
        return value

    return Parameter(name, convert, mandatory)


def decimal(name: str, *, mandatory: bool = False) -> Parameter:
    """A decimal number >= 0; its value is an int in 1e-8."""

    def convert(text: str) -> int:
        return parse_decimal_e8(name, text)

    return Parameter(name, convert, mandatory, r"([0-9]{1,20}(?:\.[0-9]{1,8})?)", _quick_decimal)


def _quick_decimal(text: str) -> int:
    whole, _, fraction = text.partition(".")
    return int(whole + fraction) * SCALES[len(fraction)]


def time(name: str) -> Parameter:
    """A time in ms or µs; its value is in ns, at most the largest a record can hold."""

    def convert(text: str) -> int:
        return min(_time_ns(parse_integer(name, text)), INT64_MAX)

    return Parameter(name, convert)


def _time_ns(value: int) -> int:
    return value * (_MILLISECOND_NS if value < _MICROSECONDS_FROM else _MICROSECOND_NS)


def limit(maximum: int) -> Parameter:
    """How many rows at most; more than the maximum means the maximum."""

    def convert(text: str) -> int:
        value = parse_integer("limit", text)
        if value == 0:
            raise errors.missing("limit")
        return min(value, maximum)

    return Parameter("limit", convert)


def choice(name: str, values: Mapping[str, Any], refusal: errors.ApiError, *, mandatory: bool = False) -> Parameter:
    """One of a few words, upper and lower case as they are written."""

    def convert(text: str) -> Any:
        value = values.get(text)
        if value is None:
            raise errors.ApiError(refusal.code, refusal.message)
        return value

    words = "|".join(re.escape(word) for word in values)
    same = all(word == value for word, value in values.items())
    return Parameter(name, convert, mandatory, f"({words})", None if same else values.__getitem__)


def boolean(name: str) -> Parameter:
    """true or false; in any case, because Python clients send True."""

    def convert(text: str) -> bool:
        word = text.lower()
        if word not in ("true", "false"):
            raise errors.invalid_data(name)
        return word == "true"

    return Parameter(name, convert)


def symbol(*, mandatory: bool = False) -> Parameter:
    """A market's name; whether there is such a market is for the registry to say."""

    def convert(text: str) -> str:
        if _is_symbol(text) is None:
            raise errors.illegal("symbol", SYMBOL_PATTERN)
        return text

    return Parameter("symbol", convert, mandatory, r"([A-Z0-9\-._]{1,50})")


def symbols(maximum: int = 1_000) -> Parameter:
    """A JSON array of market names without spaces; its value is a list of str."""

    def convert(text: str) -> list[str]:
        names = _json_names(text, _is_symbol)
        if names is None:
            raise errors.illegal("symbols", SYMBOLS_PATTERN)
        if not names:
            raise errors.empty("symbols")
        if len(names) > maximum:
            raise errors.invalid_data("symbols")
        if len(set(names)) != len(names):
            raise errors.duplicate_symbols()
        return names

    return Parameter("symbols", convert)


def _json_names(text: str, is_name: Callable[[str], object]) -> list[str] | None:
    if len(text) < 2 or text[0] != "[" or text[-1] != "]":
        return None
    if text == "[]":
        return []
    names = []
    for item in text[1:-1].split(","):
        if len(item) < 3 or item[0] != '"' or item[-1] != '"' or is_name(item[1:-1]) is None:
            return None
        names.append(item[1:-1])
    return names


def permissions() -> Parameter:
    """One permission, or a JSON array of them; its value is a list of str."""

    def convert(text: str) -> list[str]:
        names = _json_names(text, _is_symbol) if text.startswith("[") else [text] if _is_symbol(text) else None
        if not names:
            raise errors.invalid_data("permissions")
        return names

    return Parameter("permissions", convert)


def client_id(name: str) -> Parameter:
    """An id that the client chose."""

    def convert(text: str) -> str:
        if _is_client_id(text) is None:
            raise errors.illegal(name, CLIENT_ID_PATTERN)
        return text

    return Parameter(name, convert, pattern=r"([a-zA-Z0-9_\-]{1,36})")


def time_zone() -> Parameter:
    """-12:00 to +14:00, as hours or hours and minutes; its value is the offset in minutes."""

    def convert(text: str) -> int:
        match = _is_zone(text)  # a plus sign that was not percent-encoded arrives as a space
        if match is None:
            raise errors.invalid_data("timeZone")
        minutes = int(match[2]) * 60 + int(match[3] or 0)
        offset = -minutes if match[1] == "-" else minutes
        if not -12 * 60 <= offset <= 14 * 60:
            raise errors.invalid_data("timeZone")
        return offset

    return Parameter("timeZone", convert)


_WINDOW_UNITS: Final = {"m": (_MINUTE_NS, 59), "h": (_HOUR_NS, 23), "d": (24 * _HOUR_NS, 7)}


def window_size() -> Parameter:
    """1m to 59m, 1h to 23h, 1d to 7d; its value is in ns."""

    def convert(text: str) -> int:
        match = _is_window(text)
        unit_ns, most = _WINDOW_UNITS[match[2]] if match is not None else (0, 0)
        if match is None or not 1 <= int(match[1]) <= most:
            raise errors.invalid_data("windowSize")
        return int(match[1]) * unit_ns

    return Parameter("windowSize", convert)


# Of signed requests

WINDOW_MS_MAX: Final = 60_000


def timestamp() -> Parameter:
    """When the client made the request, in ms or µs; its value is in ns and may pass 63 bits."""

    def convert(text: str) -> int:
        return _time_ns(parse_integer("timestamp", text))

    return Parameter("timestamp", convert, True, "([0-9]{13})", _milliseconds)


def _milliseconds(text: str) -> int:
    return int(text) * _MILLISECOND_NS


def receive_window() -> Parameter:
    """For how long the request is good, in ms with up to 3 decimals, at most a minute; its value is in ns."""

    def convert(text: str) -> int:
        value_e8 = parse_decimal_e8("recvWindow", text)
        if value_e8 > WINDOW_MS_MAX * 100_000_000:
            raise errors.greater_than("recvWindow", str(WINDOW_MS_MAX))
        if value_e8 % 100_000:
            raise errors.too_precise("recvWindow")
        return value_e8 // 100

    return Parameter("recvWindow", convert, pattern="([0-9]{1,4}|[1-5][0-9]{4}|60000)", quick=_milliseconds)


def signature() -> Parameter:
    """Hex or base64; what it must be is for `signatures` to say."""
    return Parameter("signature", _same, True, "([0-9a-fA-F]{64})")


def api_key() -> Parameter:
    """The key, where it is no header (WebSocket API)."""

    def convert(text: str) -> str:
        return check_key_format(text)

    return Parameter("apiKey", convert, True)


def check_key_format(text: str | None) -> str:
    """The key text if it could be one, else -2014."""
    if not text or _is_key(text) is None:
        raise errors.bad_key_format()
    return text
