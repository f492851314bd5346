# SPDX-License-Identifier: Apache-2.0
"""Tickers: 24 h, rolling windows, the trading day, last price, best bid and ask; of one market, of some, or of all.

Who calls it: the lane. The windows are computed by the views at kernel time; nothing is cached, so nothing is stale.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bidhall.protocol import endpoints, market_answers
from bidhall.protocol.errors import invalid_symbol, status_mismatch

if TYPE_CHECKING:
    from collections.abc import Callable

    from bidhall.api.access import Gate
    from bidhall.api.lane import Lane, Request
    from bidhall.protocol.markets import Market

MINUTE_NS: Final = 60_000_000_000
DAY_NS: Final = 86_400_000_000_000


class Tickers:
    """The handlers of /ticker/…"""

    def __init__(self, gate: Gate, lane: Lane) -> None:
        self.replica = gate.replica
        self.registry = gate.replica.registry
        lane.add(endpoints.TICKER_24H, self.day)
        lane.add(endpoints.TICKER_PRICE, self.price)
        lane.add(endpoints.TICKER_BOOK, self.book)
        lane.add(endpoints.TICKER, self.rolling)
        lane.add(endpoints.TRADING_DAY, self.trading_day)

    def day(self, request: Request) -> bytes:
        """GET /ticker/24hr"""
        time_ns = self.replica.time_ns
        mini = request.values.get("type") == "MINI"
        views, exchange = self.replica.views, self.replica.exchange

        def one(market: Market) -> bytes:
            row = views.ticker(market.id, time_ns)
            return market_answers.ticker_24h(market, row, exchange.top(market.id), request.unit_ns, mini=mini)

        return self.each(request, one)

    def rolling(self, request: Request) -> bytes:
        """GET /ticker: a window that opens at a whole minute"""
        time_ns = self.replica.time_ns
        begin_ns = time_ns - request.values["windowSize"]
        begin_ns = max(begin_ns - begin_ns % MINUTE_NS, 0)
        mini = request.values.get("type") == "MINI"
        views = self.replica.views

        def one(market: Market) -> bytes:
            row = views.statistics(market.id, begin_ns, time_ns)
            return market_answers.rolling_ticker(market, row, request.unit_ns, mini=mini)

        return self.each(request, one)

    def trading_day(self, request: Request) -> bytes:
        """GET /ticker/tradingDay: from midnight of a time zone to the next one"""
        time_ns = self.replica.time_ns
        zone_ns = request.values.get("timeZone", 0) * MINUTE_NS
        begin_ns = max(time_ns - (time_ns + zone_ns) % DAY_NS, 0)
        mini = request.values.get("type") == "MINI"
        views = self.replica.views

        def one(market: Market) -> bytes:
            _, _, *rest = views.statistics(market.id, begin_ns, time_ns)
            row = (begin_ns, begin_ns + DAY_NS - 1, *rest)
            return market_answers.rolling_ticker(market, row, request.unit_ns, mini=mini)

        return self.each(request, one)

    def price(self, request: Request) -> bytes:
        """GET /ticker/price"""
        exchange = self.replica.exchange
        return self.each(request, lambda market: market_answers.ticker_price(market, exchange.last_price(market.id)))

    def book(self, request: Request) -> bytes:
        """GET /ticker/bookTicker"""
        exchange = self.replica.exchange
        return self.each(request, lambda market: market_answers.ticker_book(market, exchange.top(market.id)))

    def each(self, request: Request, one: Callable[[Market], bytes]) -> bytes:
        """An object for `symbol`, an array for `symbols` and for none of both."""
        values = request.values
        markets: dict[str, Market] = self.registry.markets
        status = values.get("symbolStatus")
        if "symbol" in values:
            market = markets.get(values["symbol"])
            if market is None:
                raise invalid_symbol()
            if status is not None and market.status != status:
                raise status_mismatch()
            return one(market)
        chosen = _some(markets, values["symbols"]) if "symbols" in values else list(markets.values())
        return b"[" + b",".join([one(market) for market in chosen if status is None or market.status == status]) + b"]"


def _some(markets: dict[str, Any], names: list[str]) -> list[Market]:
    found = [markets.get(name) for name in names]
    if None in found:
        raise invalid_symbol()
    return [market for market in found if market is not None]
