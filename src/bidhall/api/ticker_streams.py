# SPDX-License-Identifier: Apache-2.0
"""Streams made from the views: aggregate trades, candles, tickers, average prices.

Who calls it: `Streams` after every batch, behind depth. Candles and tickers go out with the first batch of a new second
of log time (most candles: of a new pair of seconds), from what the views say then; a candle closes with the first batch
behind its end. Nothing here depends on when somebody subscribed, so that every replica sends the same frames. What may
never happen here: a candle that closes twice or never, or a fault of a view that stops the other streams.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from bidhall.api.fanout import Keeping, Stream
from bidhall.api.sources import MarketSource, Table
from bidhall.core.records import EventKind
from bidhall.core.views import ViewClosed, interval_bounds
from bidhall.protocol import events

if TYPE_CHECKING:
    from bidhall.protocol.markets import Market
    from bidhall.protocol.streams import StreamName
    from bidhall.replica import Applied, Replica

SECOND_NS: Final = 1_000_000_000
PAIR_NS: Final = 2 * SECOND_NS
MINUTE_NS: Final = 60 * SECOND_NS
AGGREGATES_MAX: Final = 1_000  # of one look into the view
CLOSED_MAX: Final = 100  # closed candles told after a silence; behind a longer one only the last

WINDOWS_NS: Final = {"1h": 60 * MINUTE_NS, "4h": 240 * MINUTE_NS, "1d": 1_440 * MINUTE_NS}

OFFSETS_MINUTES: Final = (0, 480)  # UTC, and the one other zone that the streams know

FILL_BIT: Final = 1 << EventKind.FILL


class AggregateSource(MarketSource):
    """The aggregate trades of one market; it knows what it has sent."""

    __slots__ = ("last_id", "views")

    def __init__(self, table: Table, market: Market, views: Any) -> None:
        super().__init__(table, (market.id,), market, Keeping.NOTHING)
        self.views = views
        self.last_id = 0

    def attach(self, stream: Stream) -> None:
        """The first listener hears what comes, not what was."""
        if not self.streams:
            self.last_id = self.views.last_ids(self.key[0])[1]
        super().attach(stream)


class TickerStreams:
    """All streams that the views feed."""

    def __init__(self, replica: Replica) -> None:
        self.replica = replica
        self.aggregates: Table = {}  # (market id,)
        self.candles: Table = {}  # (market id, interval, offset in seconds)
        self.minis: Table = {}  # (market id,)
        self.tickers: Table = {}
        self.averages: Table = {}
        self.all_minis: Table = {}  # ()
        self.all_tickers: Table = {}
        self.rolling: Table = {}  # (market id, window)
        self.all_rolling: Table = {}  # (window,)
        self._time_ns = 0  # kernel time of the batch that began this second
        # The last trade of each market when this second, and this pair of seconds, began: kept for all markets,
        # whoever listens. (Not their times: kernel time may stand still.)
        self.next_time_ns = 0  # when the log must have moved on for the readers of these streams; 0: it need not
        self._second_ids: dict[int, int] = {}
        self._pair_ids: dict[int, int] = {}

    def start(self) -> None:
        """Begin at the replica's time."""
        self._time_ns = self.replica.time_ns
        try:
            self._second_ids = self._pair_ids = self._trade_ids()
        except ViewClosed:
            return

    def source(self, parsed: StreamName, market: Market | None) -> MarketSource | None:
        """What feeds a stream of this name."""
        if parsed.kind == "ticker" and parsed.interval:
            return self._rolling_source(parsed.interval, market)
        if market is None:
            table = {"miniTicker": self.all_minis, "ticker": self.all_tickers}.get(parsed.kind)
            return None if table is None else table.get(()) or MarketSource(table, (), None, Keeping.OLDER)
        if parsed.kind == "aggTrade":
            return self.aggregates.get((market.id,)) or AggregateSource(self.aggregates, market, self.replica.views)
        if parsed.kind == "kline":
            if parsed.offset_minutes not in OFFSETS_MINUTES:
                return None
            key = (market.id, parsed.interval, parsed.offset_minutes * 60)
            return self.candles.get(key) or MarketSource(self.candles, key, market, Keeping.NOTHING)
        tables = {"miniTicker": self.minis, "ticker": self.tickers, "avgPrice": self.averages}
        table = tables.get(parsed.kind)
        if table is None:
            return None
        return table.get((market.id,)) or MarketSource(table, (market.id,), market, Keeping.OLDER)

    def _rolling_source(self, window: str, market: Market | None) -> MarketSource:
        table, key = (self.all_rolling, (window,)) if market is None else (self.rolling, (market.id, window))
        return table.get(key) or MarketSource(table, key, market, Keeping.OLDER)

    def on_batch(self, applied: Applied, changed: set[int]) -> None:
        """Send what this batch means; `changed` are the markets whose book has changed in the second that ended."""
        try:
            if self.aggregates and applied.kinds & FILL_BIT:
                self._send_aggregates(applied.time_ns)
            if applied.time_ns // SECOND_NS != self._time_ns // SECOND_NS:
                self._end_second(applied.time_ns, changed)
                self.plan()
            elif applied.kinds & FILL_BIT and self._has_readers():
                second_ns = (applied.time_ns // SECOND_NS + 1) * SECOND_NS
                self.next_time_ns = min(self.next_time_ns or second_ns, second_ns)
        except ViewClosed:
            return  # that view is closed, and so are its streams

    def plan(self) -> None:
        """Work out `next_time_ns`: once a second, and when somebody subscribes."""
        try:
            self.next_time_ns = self._next_time_ns() if self._has_readers() else 0
        except ViewClosed:
            self.next_time_ns = 0

    def _has_readers(self) -> bool:
        return any((self.candles, self.averages, *self._ticker_tables()))

    def _ticker_tables(self) -> tuple[Table, ...]:
        return self.minis, self.tickers, self.rolling, self.all_minis, self.all_tickers, self.all_rolling

    # --- what ends with a second ---------------------------------------------------------------------------------

    def _end_second(self, time_ns: int, changed: set[int]) -> None:
        before_ns, self._time_ns = self._time_ns, time_ns
        pair_ends = time_ns // PAIR_NS != before_ns // PAIR_NS
        self._send_tickers(time_ns, changed)
        self._send_rolling(time_ns)
        self._send_averages(time_ns, time_ns // MINUTE_NS != before_ns // MINUTE_NS)
        for source in self.candles.values():
            self._close_candles(source, time_ns, before_ns)
            if source.key[1] == "1s" or pair_ends:
                self._send_candle(source, time_ns)
        self._second_ids = self._trade_ids()
        if pair_ends:
            self._pair_ids = self._second_ids

    def _trade_ids(self) -> dict[int, int]:
        last_ids = self.replica.views.last_ids
        return {market_id: last_ids(market_id)[0] for market_id in self.replica.registry.market_by_id}

    def _traded(self, market_id: int, since: dict[int, int]) -> bool:
        return bool(self.replica.views.last_ids(market_id)[0] != since.get(market_id, 0))

    def _close_candles(self, source: MarketSource, time_ns: int, before_ns: int) -> None:
        _, interval, offset_s = source.key
        begin_ns, end_ns = interval_bounds(interval, before_ns, offset_s)
        now_ns, _ = interval_bounds(interval, time_ns, offset_s)
        closed: list[int] = []
        while begin_ns < now_ns:
            if len(closed) == CLOSED_MAX:  # a long silence: go on at its end
                closed = []
                begin_ns, end_ns = interval_bounds(interval, now_ns - 1, offset_s)
            closed.append(begin_ns)
            begin_ns, end_ns = interval_bounds(interval, end_ns, offset_s)
        for closed_ns in closed:
            self._send_one_candle(source, closed_ns, time_ns, closed=True)

    def _send_candle(self, source: MarketSource, time_ns: int) -> None:
        if self._traded(source.key[0], self._second_ids if source.key[1] == "1s" else self._pair_ids):
            self._send_one_candle(source, time_ns, time_ns, closed=False)

    def _send_one_candle(self, source: MarketSource, within_ns: int, time_ns: int, *, closed: bool) -> None:
        market, (market_id, interval, offset_s) = source.market, source.key
        candle = self.replica.views.candle(market_id, interval, within_ns, offset_s)
        # Trades before an open candle began were told with the one that closed.
        if candle is not None and market is not None and (closed or candle[8]):
            source.emit(lambda unit_ns: events.kline(market, interval, candle, closed, time_ns, unit_ns))

    def _send_tickers(self, time_ns: int, changed: set[int]) -> None:
        if not (self.minis or self.tickers or self.all_minis or self.all_tickers):
            return
        markets = self.replica.registry.market_by_id
        everybody = markets if self.all_minis or self.all_tickers else {key[0] for key in (*self.minis, *self.tickers)}
        minis: list[Callable[[int], bytes]] = []
        tickers: list[Callable[[int], bytes]] = []
        for market_id in everybody:
            traded = self._traded(market_id, self._second_ids)
            if not traded and market_id not in changed:
                continue
            row = self.replica.views.ticker(market_id, time_ns)
            if traded:
                mini = _mini(markets[market_id], row, time_ns)
                minis.append(mini)
                self._emit(self.minis, (market_id,), mini)
            full = _full(markets[market_id], row, self.replica.exchange.top(market_id), time_ns)
            tickers.append(full)
            self._emit(self.tickers, (market_id,), full)
        self._emit_all(self.all_minis, minis)
        self._emit_all(self.all_tickers, tickers)

    def _emit(self, table: Table, key: tuple[Any, ...], encode: Callable[[int], bytes]) -> None:
        source = table.get(key)
        if source is not None:
            source.emit(encode)

    def _emit_all(self, table: Table, encoders: list[Callable[[int], bytes]], key: tuple[Any, ...] = ()) -> None:
        if table and encoders:
            self._emit(table, key, lambda unit_ns: b"[" + b",".join([encode(unit_ns) for encode in encoders]) + b"]")

    def _send_rolling(self, time_ns: int) -> None:
        """The windows of the markets that have traded, each made once for its own stream and the one of all."""
        wanted: dict[str, set[int]] = {}
        for market_id, window in self.rolling:
            wanted.setdefault(window, set()).add(market_id)
        for (window,) in self.all_rolling:
            wanted[window] = set(self.replica.registry.market_by_id)
        for window in sorted(wanted):
            everybody: list[Callable[[int], bytes]] = []
            for market_id in sorted(wanted[window]):
                if self._traded(market_id, self._second_ids):
                    one = self._rolling(market_id, window, time_ns)
                    everybody.append(one)
                    self._emit(self.rolling, (market_id, window), one)
            self._emit_all(self.all_rolling, everybody, (window,))

    def _rolling(self, market_id: int, window: str, time_ns: int) -> Callable[[int], bytes]:
        begin_ns = time_ns - WINDOWS_NS[window]
        row = self.replica.views.statistics(market_id, max(begin_ns - begin_ns % MINUTE_NS, 0), time_ns)
        market = self.replica.registry.market_by_id[market_id]
        return lambda unit_ns: events.rolling_ticker(market, window, row, time_ns, unit_ns)

    def _send_averages(self, time_ns: int, minute_ends: bool) -> None:
        for source in self.averages.values():
            market = source.market
            last = self.replica.views.last_trade(source.key[0])
            if market is not None and last is not None and (minute_ends or self._traded(market.id, self._second_ids)):
                self._emit(self.averages, source.key, _average(market, self.replica, last[1], time_ns))

    # --- trades --------------------------------------------------------------------------------------------------

    def _send_aggregates(self, time_ns: int) -> None:
        for source in self.aggregates.values():
            if isinstance(source, AggregateSource):
                found = self._new_aggregates(source)
                while found:
                    self._send_some(source, found, time_ns)
                    source.last_id = found[-1][0]
                    found = self._new_aggregates(source)

    def _new_aggregates(self, source: AggregateSource) -> list[Any]:
        market_id = source.key[0]
        if self.replica.views.last_ids(market_id)[1] <= source.last_id:
            return []
        return list(self.replica.views.agg_trades(market_id, AGGREGATES_MAX, source.last_id + 1))

    def _send_some(self, source: AggregateSource, found: list[Any], time_ns: int) -> None:
        market = source.market
        assert market is not None
        for row in found:
            source.emit(lambda unit_ns, row=row: events.agg_trade(market, row, time_ns, unit_ns))  # type: ignore[misc]

    # --- the clock -----------------------------------------------------------------------------------------------

    def _next_time_ns(self) -> int:
        now_ns = self.replica.time_ns
        times: list[int] = []
        for market_id, interval, offset_s in self.candles:
            if self.replica.views.last_trade(market_id) is not None:
                times.append(interval_bounds(interval, now_ns, offset_s)[1])
                if interval != "1s" and self._traded(market_id, self._pair_ids):
                    times.append((now_ns // PAIR_NS + 1) * PAIR_NS)
        waiting = {key[0] for table in (self.minis, self.tickers, self.rolling, self.averages) for key in table}
        if self.all_minis or self.all_tickers or self.all_rolling:
            waiting.update(self.replica.registry.market_by_id)
        if any(self._traded(market_id, self._second_ids) for market_id in waiting):
            times.append((now_ns // SECOND_NS + 1) * SECOND_NS)
        return min(times, default=0)


def _mini(market: Market, row: Any, time_ns: int) -> Callable[[int], bytes]:
    return lambda unit_ns: events.mini_ticker(market, row, time_ns, unit_ns)


def _full(market: Market, row: Any, top: Any, time_ns: int) -> Callable[[int], bytes]:
    return lambda unit_ns: events.ticker(market, row, top, time_ns, unit_ns)


def _average(market: Market, replica: Replica, traded_ns: int, time_ns: int) -> Callable[[int], bytes]:
    price = replica.exchange.average_price(market.id)
    return lambda unit_ns: events.average_price(market, price, traded_ns, time_ns, unit_ns)
