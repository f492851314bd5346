# SPDX-License-Identifier: Apache-2.0
"""Market streams: which names exist, and what every applied batch means for trades and best prices.

Who calls it: `Feeds` after every batch; channels look streams up by name. Everything is made from the batch and the
state behind it, never from a clock of this process, so that every replica sends the same frames (depth: `depth.py`;
candles and tickers: `tickers.py`). What may never happen here: work for a stream that nobody reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bidhall.api.depth import Depth, DepthSource
from bidhall.api.fanout import Hub, Keeping, Stream
from bidhall.api.sources import MarketSource, Table
from bidhall.api.ticker_streams import TickerStreams
from bidhall.core.records import EventFlag, EventKind, EventRow
from bidhall.protocol import events
from bidhall.protocol.streams import StreamName, parse_name

if TYPE_CHECKING:
    from bidhall.protocol.markets import Market
    from bidhall.replica import Applied, Replica

FILL_BIT: Final = 1 << EventKind.FILL
MAKER: Final = int(EventFlag.MAKER)  # plain: an enum's own operators cost more than the rest of the line
BUY: Final = int(EventFlag.BUY)


class Streams:
    """All market streams of this process."""

    def __init__(self, replica: Replica, hub: Hub) -> None:
        self.replica = replica
        self.hub = hub
        self.depth = Depth(replica)
        self.tickers = TickerStreams(replica)
        self.trades: Table = {}  # (market id,)
        self.tops: Table = {}
        self.all_tops: Table = {}  # ()
        self.version = -1  # of the registry; connections look again for names they did not find
        self._by_name: dict[str, Market] = {}
        # One source for all names of a stream, also before its first listener has come: depth and depth@1000ms in one
        # request would get one each, and their places in the table are the same. As many as markets have streams.
        self._sources: dict[StreamName, MarketSource] = {}
        self._wanted_ns = 0

    def start(self) -> None:
        """Take the replica's time and markets as they are."""
        self.depth.start()
        self.tickers.start()
        self._learn(fresh=False)

    def span_is_open(self, market_id: int) -> bool:
        """Whether GET /depth needs a mark before it answers."""
        return self.depth.span_is_open(market_id)

    def on_batch(self, applied: Applied) -> None:
        """Send what this batch means."""
        if self.replica.registry.version != self.version:
            self._learn(fresh=True)
        if self.trades and applied.kinds & FILL_BIT:
            self._send_trades(applied)
        if self.tops or self.all_tops:
            self._send_tops(applied)
        self.depth.on_batch(applied)
        self.tickers.on_batch(applied, self.depth.changed)
        self._want_time()

    def readers_changed(self) -> None:
        """Somebody has subscribed or left: other moments may be waited for."""
        self.tickers.plan()
        self._want_time()

    def _want_time(self) -> None:
        """Ask the replica for the next moment at which something must be sent though the log is quiet."""
        time_ns = self.depth.next_time_ns()
        if not time_ns or 0 < self.tickers.next_time_ns < time_ns:
            time_ns = self.tickers.next_time_ns
        if time_ns and time_ns != self._wanted_ns:
            self._wanted_ns = time_ns
            self.replica.want_time(time_ns)

    # --- names ---------------------------------------------------------------------------------------------------

    def find(self, name: str, unit_ns: int) -> Stream | None:
        """The stream of this name; None when there is none now (its market may come later)."""
        stream = self.hub.streams.get((name, unit_ns))
        if stream is not None:
            return stream
        parsed = parse_name(name)
        source = None if parsed is None else self._sources.get(parsed) or self._source(parsed)
        if parsed is None or source is None:
            return None
        self._sources[parsed] = source
        return Stream(self.hub, name, unit_ns, source)

    def first_payload(self, stream: Stream) -> bytes | None:
        """What a new reader gets at once: the top levels, which a quiet book would not send for long."""
        source = stream.source
        if not isinstance(source, MarketSource):
            return None
        is_partial = source.table is self.depth.partial_fast or source.table is self.depth.partial_slow
        return self.depth.partial(source) if is_partial else None

    def _source(self, parsed: StreamName) -> MarketSource | None:
        market = self._by_name.get(parsed.symbol)
        if market is None:
            return self._source_of_all(parsed) if not parsed.symbol else None
        fast = parsed.speed_ms == 100
        if parsed.kind == "depth" and not parsed.levels:
            table = self.depth.fast if fast else self.depth.slow
            return table.get((market.id,)) or DepthSource(table, (market.id,), market)
        if parsed.kind == "depth":
            table = self.depth.partial_fast if fast else self.depth.partial_slow
            return _source(table, (market.id, parsed.levels), market, Keeping.OLDER)
        if parsed.kind == "trade":
            return _source(self.trades, (market.id,), market, Keeping.NOTHING)
        if parsed.kind == "bookTicker":
            return _source(self.tops, (market.id,), market, Keeping.OLDER)
        return self.tickers.source(parsed, market)

    def _source_of_all(self, parsed: StreamName) -> MarketSource | None:
        if parsed.kind == "bookTicker":
            return _source(self.all_tops, (), None, Keeping.NOTHING)
        return self.tickers.source(parsed, None)

    def _learn(self, *, fresh: bool) -> None:
        self.version = self.replica.registry.version
        for market in self.replica.registry.markets.values():
            self._by_name[market.lower] = market
            self.depth.learn(market, fresh=fresh)

    # --- what a batch means --------------------------------------------------------------------------------------

    def _send_trades(self, applied: Applied) -> None:
        for row in applied.rows:
            if row.kind == EventKind.FILL and not row.flags & MAKER:
                source = self.trades.get((row.market,))
                if source is not None:
                    self._send_trade(source, row, applied.time_ns)

    def _send_trade(self, source: MarketSource, taker: EventRow, time_ns: int) -> None:
        market = source.market
        assert market is not None
        buyer_is_maker = not taker.flags & BUY
        trade = (taker.trade_id, time_ns, taker.price_ticks, taker.quantity_steps, buyer_is_maker)
        source.emit(lambda unit_ns: events.trade(market, trade, time_ns, unit_ns))

    def _send_tops(self, applied: Applied) -> None:
        for row in applied.top_rows:
            sources = [found for found in (self.tops.get((row.market,)), self.all_tops.get(())) if found is not None]
            if sources:
                payload = events.book_ticker(self.replica.registry.market_by_id[row.market], row)
                for source in sources:
                    source.emit(lambda _, payload=payload: payload)  # type: ignore[misc]


def _source(table: Table, key: tuple[int, ...], market: Market | None, keeping: Keeping) -> MarketSource:
    return table.get(key) or MarketSource(table, key, market, keeping)
