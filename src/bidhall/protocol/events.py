# SPDX-License-Identifier: Apache-2.0
"""What the market streams say: one payload for each event, finished JSON.

Called by the feeds once per event and time unit; the same bytes go to every subscriber. All times come from the log, so
that every replica sends the same bytes. It must never merge or leave out: what a payload covers is the caller's to say.
"""

from typing import Final

from bidhall.core.records import TopRow
from bidhall.protocol.market_answers import (
    AggTrade,
    Candle,
    Levels,
    Ticker,
    TickerTexts,
    Top,
    Trade,
    depth,
    levels_text,
)
from bidhall.protocol.markets import Market, json_text
from bidhall.protocol.numbers import fixed

SHUTDOWN_STREAM: Final = "!serverShutdown"

# The top levels of a book as a stream sends them: what GET /depth answers, with no event type and no symbol.
partial_depth = depth


def depth_update(
    market: Market, first_id: int, last_id: int, bids: Levels, asks: Levels, time_ns: int, unit_ns: int
) -> bytes:
    """Levels changed in the span of update ids first..last; a quantity of 0 removes the level."""
    return (
        f'{{"e":"depthUpdate","E":{time_ns // unit_ns},"s":"{market.json}","U":{first_id},"u":{last_id},'
        f'"b":[{levels_text(market, bids)}],"a":[{levels_text(market, asks)}]}}'
    ).encode()


def trade(market: Market, row: Trade, time_ns: int, unit_ns: int) -> bytes:
    """One trade."""
    trade_id, trade_time_ns, price, quantity, buyer_is_maker = row
    return (
        f'{{"e":"trade","E":{time_ns // unit_ns},"s":"{market.json}","t":{trade_id},'
        f'"p":"{fixed(price * market.tick_e8)}","q":"{fixed(quantity * market.step_e8)}",'
        f'"T":{trade_time_ns // unit_ns},"m":{"true" if buyer_is_maker else "false"},"M":true}}'
    ).encode()


def agg_trade(market: Market, row: AggTrade, time_ns: int, unit_ns: int) -> bytes:
    """The fills of one taker at one price."""
    agg_id, first_id, last_id, trade_time_ns, price, quantity, buyer_is_maker = row
    return (
        f'{{"e":"aggTrade","E":{time_ns // unit_ns},"s":"{market.json}","a":{agg_id},'
        f'"p":"{fixed(price * market.tick_e8)}","q":"{fixed(quantity * market.step_e8)}","f":{first_id},'
        f'"l":{last_id},"T":{trade_time_ns // unit_ns},"m":{"true" if buyer_is_maker else "false"},"M":true}}'
    ).encode()


def book_ticker(market: Market, top: TopRow) -> bytes:
    """The best of the book; it has no time."""
    tick_e8, step_e8 = market.tick_e8, market.step_e8
    return (
        f'{{"u":{top.update_id},"s":"{market.json}","b":"{fixed(top.bid_price_ticks * tick_e8)}",'
        f'"B":"{fixed(top.bid_quantity_steps * step_e8)}","a":"{fixed(top.ask_price_ticks * tick_e8)}",'
        f'"A":"{fixed(top.ask_quantity_steps * step_e8)}"}}'
    ).encode()


def kline(market: Market, interval: str, row: Candle, closed: bool, time_ns: int, unit_ns: int) -> bytes:
    """A candle as it stands; `closed` when its time is over."""
    begin, end, opened, high, low, close, volume, quote, count, taker, taker_quote, first_id, last_id = row
    tick_e8, step_e8, quote_scale = market.tick_e8, market.step_e8, market.quote_scale
    return (
        f'{{"e":"kline","E":{time_ns // unit_ns},"s":"{market.json}","k":{{"t":{begin // unit_ns},'
        f'"T":{end // unit_ns - 1},"s":"{market.json}","i":"{interval}","f":{first_id},"L":{last_id},'
        f'"o":"{fixed(opened * tick_e8)}","c":"{fixed(close * tick_e8)}","h":"{fixed(high * tick_e8)}",'
        f'"l":"{fixed(low * tick_e8)}","v":"{fixed(volume * step_e8)}","n":{count},'
        f'"x":{"true" if closed else "false"},"q":"{fixed(quote * quote_scale)}","V":"{fixed(taker * step_e8)}",'
        f'"Q":"{fixed(taker_quote * quote_scale)}","B":"0"}}}}'
    ).encode()


def mini_ticker(market: Market, row: Ticker, time_ns: int, unit_ns: int) -> bytes:
    """The last 24 hours, in short."""
    texts = TickerTexts(market, row, unit_ns)
    return (
        f'{{"e":"24hrMiniTicker","E":{time_ns // unit_ns},"s":"{market.json}","c":"{texts.last}","o":"{texts.open}",'
        f'"h":"{texts.high}","l":"{texts.low}","v":"{texts.volume}","q":"{texts.quote}"}}'
    ).encode()


def ticker(market: Market, row: Ticker, top: Top, time_ns: int, unit_ns: int) -> bytes:
    """The last 24 hours, in full."""
    texts = TickerTexts(market, row, unit_ns)
    _, bid, bid_steps, ask, ask_steps = top
    tick_e8, step_e8 = market.tick_e8, market.step_e8
    return (
        f'{{"e":"24hrTicker","E":{time_ns // unit_ns},"s":"{market.json}","p":"{texts.change}","P":"{texts.percent}",'
        f'"w":"{texts.weighted}","x":"{texts.previous_close}","c":"{texts.last}","Q":"{texts.last_quantity}",'
        f'"b":"{fixed(bid * tick_e8)}","B":"{fixed(bid_steps * step_e8)}","a":"{fixed(ask * tick_e8)}",'
        f'"A":"{fixed(ask_steps * step_e8)}","o":"{texts.open}","h":"{texts.high}","l":"{texts.low}",'
        f'"v":"{texts.volume}","q":"{texts.quote}","O":{texts.open_time},"C":{texts.close_time},'
        f'"F":{texts.first_id},"L":{texts.last_id},"n":{texts.count}}}'
    ).encode()


def rolling_ticker(market: Market, window: str, row: Ticker, time_ns: int, unit_ns: int) -> bytes:
    """The last hour, four hours or day, from a whole minute on."""
    texts = TickerTexts(market, row, unit_ns)
    return (
        f'{{"e":"{window}Ticker","E":{time_ns // unit_ns},"s":"{market.json}","p":"{texts.change}",'
        f'"P":"{texts.percent}","o":"{texts.open}","h":"{texts.high}","l":"{texts.low}","c":"{texts.last}",'
        f'"w":"{texts.weighted}","v":"{texts.volume}","q":"{texts.quote}","O":{texts.open_time},'
        f'"C":{texts.close_time},"F":{texts.first_id},"L":{texts.last_id},"n":{texts.count}}}'
    ).encode()


def average_price(market: Market, price_ticks: int, trade_time_ns: int, time_ns: int, unit_ns: int) -> bytes:
    """The average price and when the last trade was."""
    minutes = market.row.average_minutes
    return (
        f'{{"e":"avgPrice","E":{time_ns // unit_ns},"s":"{market.json}","i":"{minutes}m",'
        f'"w":"{fixed(price_ticks * market.tick_e8)}","T":{trade_time_ns // unit_ns}}}'
    ).encode()


def server_shutdown(time_ns: int, unit_ns: int) -> bytes:
    """This process is about to stop."""
    return b'{"e":"serverShutdown","E":%d}' % (time_ns // unit_ns)


def combined(stream: str, data: bytes) -> bytes:
    """A payload with the name of its stream around it."""
    return b'{"stream":"%b","data":%b}' % (json_text(stream).encode(), data)
