# SPDX-License-Identifier: Apache-2.0
"""Sources: one kind of news of one market, and the streams (names and time units) that carry it.

Who calls it: the market streams make sources and emit through them; the fan-out attaches a stream when its first
subscriber comes and detaches it with the last. A table holds only sources that somebody listens to, so that a batch
costs nothing for the others. What may never happen here: a payload made for a table without listeners.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bidhall.api.fanout import Keeping, Stream
from bidhall.protocol.markets import Market

Table = dict[tuple[Any, ...], "MarketSource"]


class MarketSource:
    """The news of one kind; `key` is its place in the table of that kind."""

    __slots__ = ("keeping", "key", "market", "streams", "table")

    def __init__(self, table: Table, key: tuple[Any, ...], market: Market | None, keeping: Keeping) -> None:
        self.table = table
        self.key = key
        self.market = market
        self.keeping = keeping
        self.streams: list[Stream] = []

    def attach(self, stream: Stream) -> None:
        """A stream has a listener now."""
        self.streams.append(stream)
        self.table[self.key] = self

    def detach(self, stream: Stream) -> None:
        """A stream has lost its last listener."""
        self.streams.remove(stream)
        if not self.streams:
            del self.table[self.key]

    def merge(self, spans: list[Any], unit_ns: int) -> bytes:
        """One payload of several that follow each other (depth only)."""
        raise NotImplementedError

    def emit(self, encode: Callable[[int], bytes], span: Any = None) -> None:
        """Encode once per time unit and send."""
        for stream in self.streams:
            stream.emit(encode(stream.unit_ns), span)
