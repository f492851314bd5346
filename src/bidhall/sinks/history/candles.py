# SPDX-License-Identifier: Apache-2.0
"""Candles for the history: trades folded into seconds, those into minutes, hours and days.

Called by the deriver, which feeds every trade once, in order. Rows hold whole candles, never increments: writing one
twice changes nothing. Only the newest candle of a width can still grow, because kernel time never goes back.
"""

from collections.abc import Callable
from typing import Any, Final

from bidhall.sinks.history.schema import BASES_SECONDS, wide

Row = tuple[Any, ...]


class Candle:
    """What a stretch of time traded."""

    __slots__ = (
        "close", "first_trade", "high", "last_trade", "low", "open", "open_s", "previous", "quote", "taker_quote",
        "taker_volume", "volume",
    )  # fmt: skip

    def __init__(self, open_s: int, price: int, previous: int, trade_id: int) -> None:
        self.open_s = open_s
        self.open = self.high = self.low = self.close = price
        self.previous = previous
        self.first_trade = self.last_trade = trade_id
        self.volume = self.quote = self.taker_volume = self.taker_quote = 0

    def add(self, part: "Candle") -> None:
        """What came after it."""
        self.high = max(self.high, part.high)
        self.low = min(self.low, part.low)
        self.close, self.last_trade = part.close, part.last_trade
        self.volume += part.volume
        self.quote += part.quote
        self.taker_volume += part.taker_volume
        self.taker_quote += part.taker_quote

    def row(self, market: int, seconds: int) -> Row:
        """As the table has it."""
        return (
            market, seconds, self.open_s, self.open, self.high, self.low, self.close, self.previous, self.first_trade,
            self.last_trade, wide(self.volume), wide(self.quote), wide(self.taker_volume), wide(self.taker_quote),
        )  # fmt: skip

    @classmethod
    def of(cls, row: Row) -> "Candle":
        """From the table."""
        candle = cls(row[2], row[3], row[7], row[8])
        candle.high, candle.low, candle.close, candle.last_trade = row[4], row[5], row[6], row[9]
        candle.volume, candle.quote, candle.taker_volume, candle.taker_quote = (int(value) for value in row[10:14])
        return candle


class Candles:
    """The newest candle of every width of every market, and the rows that a write changes."""

    def __init__(self, load: Callable[[int, int], Row | None]) -> None:
        """`load(market, seconds)`: the newest row there is."""
        self._load: Final = load
        self._newest: Final[dict[tuple[int, int], Candle | None]] = {}
        self._parts: Final[dict[tuple[int, int], Candle]] = {}  # by market and second: what this write adds

    def forget(self) -> None:
        """The table may hold something else than was thought."""
        self._newest.clear()
        self._parts.clear()

    def trade(
        self, market: int, time_ns: int, price: int, steps: int, quote: int, trade_id: int, previous: int, buys: bool
    ) -> None:
        """The next trade of the market; `buys`: the taker does; `previous`: the price of the trade before it."""
        second = time_ns // 1_000_000_000
        part = self._parts.get((market, second))
        if part is None:
            part = self._parts[market, second] = Candle(second, price, previous, trade_id)
        elif price > part.high:
            part.high = price
        elif price < part.low:
            part.low = price
        part.close, part.last_trade = price, trade_id
        part.volume += steps
        part.quote += quote
        if buys:
            part.taker_volume += steps
            part.taker_quote += quote

    def rows(self) -> list[Row]:
        """Those that changed since the last call, of every width."""
        changed: dict[tuple[int, int, int], Candle] = {}
        for (market, _), part in self._parts.items():
            for seconds in BASES_SECONDS:
                candle = self._grown(market, seconds, part)
                changed[market, seconds, candle.open_s] = candle
        self._parts.clear()
        return [candle.row(market, seconds) for (market, seconds, _), candle in changed.items()]

    def _grown(self, market: int, seconds: int, part: Candle) -> Candle:
        open_s = part.open_s - part.open_s % seconds
        key = (market, seconds)
        if key not in self._newest:
            row = self._load(market, seconds)
            self._newest[key] = Candle.of(row) if row is not None else None
        candle = self._newest[key]
        if candle is None or candle.open_s != open_s:
            candle = self._newest[key] = Candle(open_s, part.open, part.previous, part.first_trade)
        candle.add(part)
        return candle
