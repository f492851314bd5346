# SPDX-License-Identifier: Apache-2.0
"""What everybody may read: exchangeInfo, depth, trades, candles, average price, tickers.

Called by the public reads of the door with rows of the views and of the kernel, in ticks, steps and units. It must
never show a number that contradicts another one of the same answer: clients check tickers for that.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import orjson

from bidhall.protocol.markets import Market
from bidhall.protocol.numbers import E8, INT64_MAX, ZERO, fixed, fixed_signed, rounded_division

Trade = tuple[int, int, int, int, bool]
AggTrade = tuple[int, int, int, int, int, int, bool]
Candle = tuple[int, int, int, int, int, int, int, int, int, int, int, int, int]
Ticker = tuple[int, int, int, int, int, int, int, int, int, int, int, int, int]
Top = tuple[int, int, int, int, int]
# Pairs of price in ticks and quantity in steps, best first: an int64 array (n, 2) or a sequence of pairs.
Levels = Any

_PERCENT_DECIMALS: Final = 1_000
# From so many levels on numpy splits the numbers, if they fit its integers; below, its calls cost more than they save.
_MANY_LEVELS: Final = 16
_LEVEL: Final = b'["%d.%08d","%d.%08d"],'


def exchange_info(
    markets: Iterable[Market],
    time_ns: int,
    unit_ns: int,
    rate_limits: list[dict[str, Any]],
    *,
    show_permission_sets: bool = True,
) -> bytes:
    """GET /exchangeInfo."""
    return orjson.dumps(
        {
            "timezone": "UTC",
            "serverTime": time_ns // unit_ns,
            "rateLimits": rate_limits,
            "exchangeFilters": [],
            "symbols": [market.exchange_info(show_permission_sets) for market in markets],
        }
    )


def depth(market: Market, update_id: int, bids: Levels, asks: Levels) -> bytes:
    """GET /depth, and the payload of the partial depth streams."""
    return (
        f'{{"lastUpdateId":{update_id},"bids":[{levels_text(market, bids)}],"asks":[{levels_text(market, asks)}]}}'
    ).encode()


def levels_text(market: Market, levels: Levels) -> str:
    """Levels without their outer brackets."""
    tick_e8, step_e8 = market.tick_e8, market.step_e8
    pairs = levels
    if isinstance(levels, np.ndarray):
        if len(levels) >= _MANY_LEVELS:
            price, quantity = levels.max(axis=0).tolist()
            if price * tick_e8 <= INT64_MAX and quantity * step_e8 <= INT64_MAX:
                numbers = np.stack(np.divmod(levels * (tick_e8, step_e8), E8), axis=2)
                return (_LEVEL * len(levels) % tuple(numbers.ravel().tolist()))[:-1].decode("ascii")
        pairs = levels.tolist()
    return ",".join([f'["{fixed(price * tick_e8)}","{fixed(quantity * step_e8)}"]' for price, quantity in pairs])


def trades(market: Market, rows: Iterable[Trade], unit_ns: int) -> bytes:
    """GET /trades, GET /historicalTrades."""
    tick_e8, step_e8, quote_scale = market.tick_e8, market.step_e8, market.quote_scale
    texts = [
        f'{{"id":{trade_id},"price":"{fixed(price * tick_e8)}","qty":"{fixed(quantity * step_e8)}",'
        f'"quoteQty":"{fixed(market.quote_units_of(price, quantity) * quote_scale)}","time":{time_ns // unit_ns},'
        f'"isBuyerMaker":{"true" if buyer_is_maker else "false"},"isBestMatch":true}}'
        for trade_id, time_ns, price, quantity, buyer_is_maker in rows
    ]
    return f"[{','.join(texts)}]".encode()


def agg_trades(market: Market, rows: Iterable[AggTrade], unit_ns: int) -> bytes:
    """GET /aggTrades."""
    tick_e8, step_e8 = market.tick_e8, market.step_e8
    texts = [
        f'{{"a":{agg_id},"p":"{fixed(price * tick_e8)}","q":"{fixed(quantity * step_e8)}","f":{first_id},'
        f'"l":{last_id},"T":{time_ns // unit_ns},"m":{"true" if buyer_is_maker else "false"},"M":true}}'
        for agg_id, first_id, last_id, time_ns, price, quantity, buyer_is_maker in rows
    ]
    return f"[{','.join(texts)}]".encode()


def klines(market: Market, rows: Iterable[Candle], unit_ns: int) -> bytes:
    """GET /klines, GET /uiKlines: arrays of twelve."""
    tick_e8, step_e8, quote_scale = market.tick_e8, market.step_e8, market.quote_scale
    texts = [
        f'[{begin // unit_ns},"{fixed(opened * tick_e8)}","{fixed(high * tick_e8)}","{fixed(low * tick_e8)}",'
        f'"{fixed(close * tick_e8)}","{fixed(volume * step_e8)}",{end // unit_ns - 1},"{fixed(quote * quote_scale)}",'
        f'{count},"{fixed(taker_steps * step_e8)}","{fixed(taker_quote * quote_scale)}","0"]'
        for begin, end, opened, high, low, close, volume, quote, count, taker_steps, taker_quote, _, _ in rows
    ]
    return f"[{','.join(texts)}]".encode()


def average_price(market: Market, price_ticks: int, time_ns: int, unit_ns: int) -> bytes:
    """GET /avgPrice. closeTime is when it was computed; 0 before the first trade."""
    return (
        f'{{"mins":{market.row.average_minutes},"price":"{market.price_text(price_ticks)}",'
        f'"closeTime":{time_ns // unit_ns if price_ticks else 0}}}'
    ).encode()


class TickerTexts:
    """A ticker row as the texts that REST answers and streams share. Everything follows from the row, exactly."""

    __slots__ = (
        "change", "close_time", "count", "first_id", "high", "last", "last_id", "last_quantity", "low", "open",
        "open_time", "percent", "previous_close", "quote", "volume", "weighted",
    )  # fmt: skip

    def __init__(self, market: Market, row: Ticker, unit_ns: int) -> None:
        (
            open_time_ns, close_time_ns, opened, high, low, last, last_steps, volume_steps, quote_units,
            self.first_id, self.last_id, self.count, previous,
        ) = row  # fmt: skip
        tick_e8 = market.tick_e8
        self.open_time = open_time_ns // unit_ns
        self.close_time = close_time_ns // unit_ns
        self.open = fixed(opened * tick_e8)
        self.high = fixed(high * tick_e8)
        self.low = fixed(low * tick_e8)
        self.last = fixed(last * tick_e8)
        self.last_quantity = fixed(last_steps * market.step_e8)
        self.previous_close = fixed(previous * tick_e8)
        self.volume = fixed(volume_steps * market.step_e8)
        self.quote = fixed(quote_units * market.quote_scale)
        self.change = fixed_signed((last - opened) * tick_e8)
        self.percent = _percent(last - opened, opened)
        self.weighted = _weighted_average(market, volume_steps, quote_units)


def _percent(change: int, opened: int) -> str:
    """Three decimals, half up by amount, so that a fall and a rise of the same size read the same."""
    thousandths = rounded_division(abs(change) * 100 * _PERCENT_DECIMALS, opened) if opened else 0
    sign = "-" if change < 0 and thousandths else ""
    return f"{sign}{thousandths // _PERCENT_DECIMALS}.{thousandths % _PERCENT_DECIMALS:03d}"


def _weighted_average(market: Market, volume_steps: int, quote_units: int) -> str:
    """quoteVolume / volume in 1e-8: between low and high, because rounding keeps order and both are whole there."""
    if not volume_steps:
        return ZERO
    dividend = quote_units * market.quote_scale * E8
    return fixed(rounded_division(dividend, volume_steps * market.step_e8))


def ticker_24h(market: Market, row: Ticker, top: Top, unit_ns: int, *, mini: bool = False) -> bytes:
    """GET /ticker/24hr of one market."""
    texts = TickerTexts(market, row, unit_ns)
    if mini:
        return _mini(market, texts)
    _, bid, bid_steps, ask, ask_steps = top
    tick_e8, step_e8 = market.tick_e8, market.step_e8
    return (
        f'{{"symbol":"{market.json}","priceChange":"{texts.change}","priceChangePercent":"{texts.percent}",'
        f'"weightedAvgPrice":"{texts.weighted}","prevClosePrice":"{texts.previous_close}",'
        f'"lastPrice":"{texts.last}","lastQty":"{texts.last_quantity}","bidPrice":"{fixed(bid * tick_e8)}",'
        f'"bidQty":"{fixed(bid_steps * step_e8)}","askPrice":"{fixed(ask * tick_e8)}",'
        f'"askQty":"{fixed(ask_steps * step_e8)}",{_window(texts)}}}'
    ).encode()


def rolling_ticker(market: Market, row: Ticker, unit_ns: int, *, mini: bool = False) -> bytes:
    """GET /ticker of one market."""
    texts = TickerTexts(market, row, unit_ns)
    if mini:
        return _mini(market, texts)
    return (
        f'{{"symbol":"{market.json}","priceChange":"{texts.change}","priceChangePercent":"{texts.percent}",'
        f'"weightedAvgPrice":"{texts.weighted}","openPrice":"{texts.open}","highPrice":"{texts.high}",'
        f'"lowPrice":"{texts.low}","lastPrice":"{texts.last}",{_sums(texts)}}}'
    ).encode()


def _mini(market: Market, texts: TickerTexts) -> bytes:
    return (
        f'{{"symbol":"{market.json}","openPrice":"{texts.open}","highPrice":"{texts.high}","lowPrice":"{texts.low}",'
        f'"lastPrice":"{texts.last}",{_sums(texts)}}}'
    ).encode()


def _window(texts: TickerTexts) -> str:
    return f'"openPrice":"{texts.open}","highPrice":"{texts.high}","lowPrice":"{texts.low}",{_sums(texts)}'


def _sums(texts: TickerTexts) -> str:
    return (
        f'"volume":"{texts.volume}","quoteVolume":"{texts.quote}","openTime":{texts.open_time},'
        f'"closeTime":{texts.close_time},"firstId":{texts.first_id},"lastId":{texts.last_id},"count":{texts.count}'
    )


def ticker_price(market: Market, price_ticks: int) -> bytes:
    """GET /ticker/price of one market."""
    return f'{{"symbol":"{market.json}","price":"{market.price_text(price_ticks)}"}}'.encode()


def ticker_book(market: Market, top: Sequence[int]) -> bytes:
    """GET /ticker/bookTicker of one market."""
    _, bid, bid_steps, ask, ask_steps = top
    return (
        f'{{"symbol":"{market.json}","bidPrice":"{market.price_text(bid)}","bidQty":"{market.quantity_text(bid_steps)}",'
        f'"askPrice":"{market.price_text(ask)}","askQty":"{market.quantity_text(ask_steps)}"}}'
    ).encode()
