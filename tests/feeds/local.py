# SPDX-License-Identifier: Apache-2.0
"""A replica without a log: the real kernel, a small registry, and a clock that the test turns.

Used by the tests of the feeds: batches are applied when the test says so, at the log time that the test says, so that
slots, spans and marks are exact. It keeps the contract of `bidhall.replica` that the feeds use, and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from bidhall.core import Exchange
from bidhall.core import records as r
from bidhall.core.views import Views
from bidhall.protocol.markets import Asset, Market

START_NS = 1_700_000_000_000_000_000  # a whole second


@dataclass
class Applied:
    """As `bidhall.replica.Applied`."""

    batch: Any
    time_ns: int
    first_sequence: int
    events: Any
    done: Any
    tops: Any
    positions: Any
    kinds: int = 0
    rows: list[Any] = field(default_factory=list)
    top_rows: list[Any] = field(default_factory=list)
    done_rows: list[Any] = field(default_factory=list)
    position_rows: list[Any] = field(default_factory=list)


@dataclass
class Key:
    """As `bidhall.replica.registry.Key`."""

    text: str
    account: int
    kind: str
    secret: bytes = b""
    public_key: bytes = b""
    permissions: int = 7
    enabled: bool = True
    label: str = ""


class LocalReplica:
    """The kernel and what stands around it, applied by hand."""

    def __init__(self) -> None:
        self.exchange = Exchange()
        self.views = Views()
        self.registry = SimpleNamespace(markets={}, market_by_id={}, assets={}, keys={}, version=0)
        self.log = SimpleNamespace(exclusive=True)
        self.listeners: list[Any] = []
        self.time_ns = START_NS
        self.ready = True
        self.wanted: list[int] = []
        self.apply(
            r.configure(
                accounts_max=1000, orders_max=100_000, assets_max=10, markets_max=10, digests_max=1000, writers_max=10
            )
        )

    def apply(self, commands: bytes = b"", after_ns: int = 0) -> Applied:
        """One batch, `after_ns` later than the last one."""
        self.time_ns += after_ns
        events = self.exchange.apply(commands, self.time_ns, self.time_ns)
        count = len(commands) // r.COMMAND_BYTES
        entry = SimpleNamespace(commands=memoryview(commands))
        applied = Applied(
            batch=SimpleNamespace(entry=entry, position=0, log_time_ns=self.time_ns),
            time_ns=self.exchange.time_ns,
            first_sequence=self.exchange.sequence - count + 1,
            events=events,
            done=self.exchange.done(),
            tops=self.exchange.tops(),
            positions=self.exchange.positions(),
        )
        applied.rows = [r.EventRow._make(values) for values in events.tolist()]
        applied.top_rows = [r.TopRow._make(values) for values in applied.tops.tolist()]
        applied.done_rows = [r.OrderRow._make(values) for values in applied.done.tolist()]
        applied.position_rows = [r.PositionRow._make(values) for values in applied.positions.tolist()]
        for row in applied.rows:
            applied.kinds |= 1 << row.kind
        self.views.apply(events, applied.done, applied.time_ns)
        self._register(applied, commands)
        for listener in list(self.listeners):
            listener.on_batch(applied)
        return applied

    def _register(self, applied: Applied, commands: bytes) -> None:
        for row in applied.rows:
            command = commands[(row.sequence - applied.first_sequence) * r.COMMAND_BYTES :][: r.COMMAND_BYTES]
            if row.kind == r.EventKind.ASSET:
                name = command[88:124].rstrip(b"\0").decode()
                self.registry.assets[row.asset] = Asset(row.asset, name, command[1])
                self.registry.version += 1
            elif row.kind == r.EventKind.MARKET:
                market = Market.from_command(row.market, command, self.registry.assets)
                self.registry.markets[market.symbol] = market
                self.registry.market_by_id[market.id] = market
                self.registry.version += 1

    def want_time(self, time_ns: int) -> None:
        """Noted; the test decides when the time comes."""
        self.wanted.append(time_ns)

    async def barrier(self) -> None:
        """Nothing is ever behind."""

    def open_orders(self, account: int, market: int = 0) -> list[Any]:
        """The account's open orders as rows."""
        return [r.OrderRow._make(values) for values in self.exchange.open_orders(account, market).tolist()]

    def add_key(self, key: Key) -> None:
        """An API key, as a registry note would make it."""
        self.registry.keys[key.text] = key
        self.registry.version += 1
