# SPDX-License-Identifier: Apache-2.0
"""Depth streams: differences of the book in spans of update ids, and the top levels.

Who calls it: `Streams` after every batch; GET /depth asks whether a span is open. A *span* is a run of update ids with
the levels that changed in it, as of its last id. It ends with the first batch of a new 100 ms slot of log time, and
with every batch that holds a mark of its market; the slow cadence joins the spans of a second, and ends with a mark as
well, so that a snapshot taken at a mark lies on a border of both. What may never happen here: a gap between two spans
of one market, or a border that depends on anything but the log. This is the only caller of `drain_depth`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from bidhall.api.fanout import Keeping
from bidhall.api.sources import MarketSource, Table
from bidhall.core.records import EventKind
from bidhall.protocol import events

if TYPE_CHECKING:
    from bidhall.protocol.markets import Market
    from bidhall.replica import Applied, Replica

SLOT_NS: Final = 100_000_000
SECOND_NS: Final = 1_000_000_000
LEVELS_MAX: Final = 20

MARKED_BIT: Final = 1 << EventKind.MARKED
# Kinds of events behind which a level may have changed.
BOOK_BITS: Final = sum(
    1 << kind
    for kind in (
        EventKind.ACCEPTED,
        EventKind.FILL,
        EventKind.CANCELED,
        EventKind.EXPIRED,
        EventKind.REPLACED,
        EventKind.TRIGGERED,
        EventKind.PREVENTED,
    )
)

Levels = list[list[int]]  # price_ticks, quantity_steps; quantity 0: the level is gone


class Span(NamedTuple):
    """What changed from one update id to another."""

    first_id: int
    last_id: int
    bids: Levels
    asks: Levels
    time_ns: int  # kernel time of the batch that ended it


def join_spans(spans: Sequence[Span]) -> Span:
    """One span of several that follow each other: the newest quantity of a level counts."""
    if len(spans) == 1:
        return spans[0]
    bids: dict[int, int] = {}
    asks: dict[int, int] = {}
    for span in spans:
        bids |= {price: quantity for price, quantity in span.bids}  # noqa: C416 - pairs are lists, not tuples
        asks |= {price: quantity for price, quantity in span.asks}  # noqa: C416
    return Span(
        spans[0].first_id,
        spans[-1].last_id,
        [[price, bids[price]] for price in sorted(bids, reverse=True)],
        [[price, asks[price]] for price in sorted(asks)],
        spans[-1].time_ns,
    )


class DepthSource(MarketSource):
    """The differences of one market at one cadence."""

    __slots__ = ()

    def __init__(self, table: Table, key: tuple[Any, ...], market: Market) -> None:
        super().__init__(table, key, market, Keeping.MERGED)

    def merge(self, spans: list[Any], unit_ns: int) -> bytes:
        """What a slow reader gets instead of the frames it missed."""
        return self.encode(join_spans(spans), unit_ns)

    def encode(self, span: Span, unit_ns: int) -> bytes:
        """The payload of one span."""
        assert self.market is not None
        return events.depth_update(
            self.market, span.first_id, span.last_id, span.bids, span.asks, span.time_ns, unit_ns
        )

    def send(self, span: Span) -> None:
        """To every stream of this market and cadence."""
        self.emit(lambda unit_ns: self.encode(span, unit_ns), span)


class OpenSpan:
    """The spans of one market since the slow cadence's last border."""

    __slots__ = ("market", "parts")

    def __init__(self, market: Market) -> None:
        self.market = market
        self.parts: list[Span] = []


class Depth:
    """The depth streams of all markets."""

    def __init__(self, replica: Replica) -> None:
        self.replica = replica
        self.fast: Table = {}  # (market id,)
        self.slow: Table = {}
        self.partial_fast: Table = {}  # (market id, levels)
        self.partial_slow: Table = {}
        self._spans: dict[int, OpenSpan] = {}
        self._with_parts: set[int] = set()  # markets whose slow span holds something
        self._changed_fast: set[int] = set()  # markets with a span that ended since the last slot
        self._changed_slow: set[int] = set()  # ... and since the last second
        self.changed: set[int] = set()  # markets whose book changed in the second that ended last
        self._slot = 0
        self._maybe_open = True  # some level may have changed since the last slot ended

    def start(self) -> None:
        """Begin at the replica's time; what changed before it is no stream's business."""
        self._slot = self.replica.time_ns // SLOT_NS

    def learn(self, market: Market, *, fresh: bool) -> None:
        """A market that exists: from the beginning of its ids (fresh), or from where its book stands now."""
        if market.id in self._spans:
            return
        if not fresh:
            self.replica.exchange.drain_depth(market.id)
        self._spans[market.id] = OpenSpan(market)

    def span_is_open(self, market_id: int) -> bool:
        """Whether the book has changed since the last border of either cadence."""
        if market_id in self._with_parts:
            return True
        drained_id, current_id = self.replica.exchange.update_ids(market_id)
        return bool(drained_id != current_id)

    def on_batch(self, applied: Applied) -> None:
        """End the spans that this batch ends."""
        if applied.kinds & BOOK_BITS:
            self._maybe_open = True
        slot = applied.time_ns // SLOT_NS
        if slot != self._slot:
            second_ends = slot * SLOT_NS // SECOND_NS != self._slot * SLOT_NS // SECOND_NS
            self._slot = slot
            self._end_slot(applied.time_ns, second_ends)
        if applied.kinds & MARKED_BIT:
            for market_id in sorted({row.market for row in applied.rows if row.kind == EventKind.MARKED}):
                span = self._spans.get(market_id)
                if span is not None:
                    self._end_span(span, applied.time_ns)
                    self._end_second(span)

    def partial(self, source: MarketSource) -> bytes:
        """The top levels as they are now."""
        assert source.market is not None
        update_id, bids, asks = self.replica.exchange.depth(source.market.id, source.key[1])
        return events.partial_depth(source.market, int(update_id), bids.tolist(), asks.tolist())

    def _end_slot(self, time_ns: int, second_ends: bool) -> None:
        if self._maybe_open:
            self._maybe_open = False
            for span in self._spans.values():
                self._end_span(span, time_ns)
        if second_ends:
            for market_id in sorted(self._with_parts):
                self._end_second(self._spans[market_id])
        self._send_partial(self.partial_fast, self._changed_fast)
        self._changed_fast.clear()
        if second_ends:
            self._send_partial(self.partial_slow, self._changed_slow)
            self.changed, self._changed_slow = self._changed_slow, set()

    def _end_span(self, open_span: OpenSpan, time_ns: int) -> None:
        market_id = open_span.market.id
        drained = self.replica.exchange.drain_depth(market_id)
        if drained is None:
            return
        first_id, last_id, bids, asks = drained
        span = Span(int(first_id), int(last_id), bids.tolist(), asks.tolist(), time_ns)
        open_span.parts.append(span)
        self._with_parts.add(market_id)
        self._changed_fast.add(market_id)
        self._changed_slow.add(market_id)
        source = self.fast.get((market_id,))
        if isinstance(source, DepthSource):
            source.send(span)

    def _end_second(self, open_span: OpenSpan) -> None:
        market_id = open_span.market.id
        self._with_parts.discard(market_id)
        if not open_span.parts:
            return
        parts, open_span.parts = open_span.parts, []
        source = self.slow.get((market_id,))
        if isinstance(source, DepthSource):
            source.send(join_spans(parts))

    def _send_partial(self, table: Table, changed: set[int]) -> None:
        for source in table.values():
            if source.key[0] in changed:
                payload = self.partial(source)
                source.emit(lambda _, payload=payload: payload)  # type: ignore[misc]

    def next_time_ns(self) -> int:
        """When the log must have moved on for the readers of these streams; 0: it need not. Only a replica with
        readers asks; the others end their spans with the batch that comes of it."""
        if (self._maybe_open or self._changed_fast) and (self.fast or self.partial_fast):
            return (self._slot + 1) * SLOT_NS
        if (self._maybe_open or self._changed_slow or self._with_parts) and (self.slow or self.partial_slow):
            return (self._slot * SLOT_NS // SECOND_NS + 1) * SECOND_NS
        return 0
