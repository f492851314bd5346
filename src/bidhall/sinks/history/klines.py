# SPDX-License-Identifier: Apache-2.0
"""Candles of all 16 intervals in any time zone, put together from the four widths that the history keeps.

Called by the reader with its connection, inside its transaction; the rows are those of `Views.klines`, without holes.
The calendar is the views' own (`interval_bounds`), so that both cut time at the same places.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from bidhall.core.views import INTERVALS, interval_bounds
from bidhall.sinks.history.schema import BASES_SECONDS

if TYPE_CHECKING:
    from bidhall.core.views import Candle

if TYPE_CHECKING:
    from bidhall.core.views import Candle

NS: Final = 1_000_000_000

_COLUMNS: Final = (
    "open_s, open_ticks, high_ticks, low_ticks, close_ticks, previous_ticks, first_trade_id, last_trade_id, "
    "volume_steps, quote_units, taker_steps, taker_quote_units"
)
_BETWEEN: Final = (
    f"SELECT {_COLUMNS} FROM candles WHERE market = ? AND seconds = ? AND open_s >= ? AND open_s < ? ORDER BY open_s"
)
_FIRST: Final = f"SELECT {_COLUMNS} FROM candles WHERE market = ? AND seconds = ? ORDER BY open_s LIMIT 1"
_CLOSE_BEFORE: Final = (
    "SELECT close_ticks FROM candles WHERE market = ? AND seconds = ? AND open_s < ? ORDER BY open_s DESC LIMIT 1"
)


class Window(NamedTuple):
    """What is asked for; times are opens of candles, in seconds, both included."""

    first_s: int
    last_s: int


def base_seconds(interval: str, offset_s: int) -> int:
    """The widest kept candle that the interval's grid is made of (1M counts as days)."""
    seconds = INTERVALS[interval]
    return max(base for base in BASES_SECONDS if seconds % base == 0 and offset_s % base == 0)


def klines(
    connection: sqlite3.Connection, market: int, interval: str, limit: int, time_ns: int, start_ns: int, end_ns: int,
    offset_s: int,
) -> list[Candle]:  # fmt: skip
    """See `Views.klines`; `time_ns` is how far the history is."""
    base = base_seconds(interval, offset_s)
    oldest = connection.execute(_FIRST, (market, base)).fetchone()
    if oldest is None or limit <= 0:
        return []
    window = _window(interval, limit, time_ns, start_ns, end_ns, offset_s, oldest[0])
    if window.first_s > window.last_s:
        return []
    opens = list(_opens(interval, window, offset_s, limit))
    rows = connection.execute(_BETWEEN, (market, base, opens[0][0], opens[-1][1]))
    before = connection.execute(_CLOSE_BEFORE, (market, base, opens[0][0])).fetchone()
    return list(_candles(opens, rows, before[0] if before is not None else oldest[5]))


def _window(
    interval: str, limit: int, time_ns: int, start_ns: int, end_ns: int, offset_s: int, oldest_s: int
) -> Window:
    first_s = _open(interval, oldest_s, offset_s)
    last_s = _open(interval, time_ns // NS, offset_s)
    if end_ns >= 0:
        last_s = min(last_s, _open(interval, end_ns // NS, offset_s))
    if start_ns < 0:
        return Window(max(first_s, _back(interval, last_s, offset_s, limit - 1)), last_s)
    from_s = -(-start_ns // NS)
    if from_s > last_s:
        return Window(1, 0)
    if (open_s := _open(interval, from_s, offset_s)) < from_s:
        from_s = interval_bounds(interval, open_s * NS, offset_s)[1] // NS
    return Window(max(first_s, from_s), last_s)


def _open(interval: str, at_s: int, offset_s: int) -> int:
    return interval_bounds(interval, at_s * NS, offset_s)[0] // NS


def _back(interval: str, open_s: int, offset_s: int, steps: int) -> int:
    """The open of the candle so many further back."""
    if seconds := INTERVALS[interval]:
        return open_s - steps * seconds
    for _ in range(steps):
        open_s = _open(interval, open_s - 1, offset_s)
    return open_s


def _opens(interval: str, window: Window, offset_s: int, limit: int) -> Iterator[tuple[int, int]]:
    """(open, end) of each candle, in seconds."""
    open_s = window.first_s
    while open_s <= window.last_s and limit > 0:
        end_s = interval_bounds(interval, open_s * NS, offset_s)[1] // NS
        yield open_s, end_s
        open_s, limit = end_s, limit - 1


def _candles(opens: list[tuple[int, int]], rows: sqlite3.Cursor, close: int) -> Iterator[Candle]:
    """One candle for each open; where nothing traded it stands at the last price."""
    row = rows.fetchone()
    for open_s, end_s in opens:
        parts = []
        while row is not None and row[0] < end_s:
            parts.append(row)
            row = rows.fetchone()
        if not parts:
            yield open_s * NS, end_s * NS, close, close, close, close, 0, 0, 0, 0, 0, -1, -1
            continue
        close, first_id, last_id = parts[-1][4], parts[0][6], parts[-1][7]
        volume, quote, taker, taker_quote = (sum(int(part[place]) for part in parts) for place in range(8, 12))
        high, low = max(part[2] for part in parts), min(part[3] for part in parts)
        yield (
            open_s * NS, end_s * NS, parts[0][1], high, low, close, volume, quote, last_id - first_id + 1, taker,
            taker_quote, first_id, last_id,
        )  # fmt: skip
