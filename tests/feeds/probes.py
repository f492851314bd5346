# SPDX-License-Identifier: Apache-2.0
"""Subscribers without sockets, and clients that keep a book by the published procedure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from bidhall.api.fanout import Group, Hub, Stream
from bidhall.api.streams import Streams
from tests.feeds.local import LocalReplica


class Clock:
    """An environment whose calls run when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[Callable[[], None]] = []

    def monotonic(self) -> float:
        return self.now

    def call_soon(self, function: Callable[..., Any], *args: Any) -> None:
        self.calls.append(lambda: function(*args))

    def call_later(self, _seconds: float, function: Callable[..., Any], *args: Any) -> None:
        self.calls.append(lambda: function(*args))

    def run(self) -> None:
        """Everything that is due, and what comes of it."""
        while self.calls:
            self.calls.pop(0)()


def unframe(data: bytes) -> list[bytes]:
    """The payloads of server frames."""
    payloads = []
    at = 0
    while at < len(data):
        assert data[at] == 0x81
        size = data[at + 1]
        at += 2
        if size >= 126:
            width = 2 if size == 126 else 8
            size = int.from_bytes(data[at : at + width], "big")
            at += width
        payloads.append(data[at : at + size])
        at += size
    return payloads


class Probe:
    """A subscriber that notes what it is sent."""

    def __init__(self) -> None:
        self.group: Group | None = None
        self.kept: dict[Stream, Any] = {}
        self.messages: list[Any] = []
        self.writes = 0
        self.fallen = False

    def write(self, data: bytes) -> None:
        self.writes += 1
        self.messages.extend(json.loads(payload) for payload in unframe(data))

    def push(self, frame: bytes) -> None:
        self.write(frame)

    def fall_behind(self) -> None:
        self.fallen = True

    def take(self) -> list[Any]:
        messages, self.messages = self.messages, []
        return messages


class Market:
    """Streams of a local replica, in process."""

    def __init__(self, replica: LocalReplica, slow_spans_max: int = 600) -> None:
        self.replica = replica
        self.clock = Clock()
        self.hub = Hub(self.clock, slow_spans_max, 0.0)  # type: ignore[arg-type]
        self.streams = Streams(replica, self.hub)  # type: ignore[arg-type]
        self.streams.start()
        replica.listeners.append(self.streams)

    def join(self, names: Iterable[str], *, combined: bool = False, unit_ns: int = 1_000_000) -> Probe:
        """A new subscriber of these streams."""
        probe = Probe()
        found = [self.streams.find(name, unit_ns) for name in names]
        assert None not in found
        self.hub.join(probe, [stream for stream in found if stream], combined)
        self.streams.readers_changed()
        return probe

    def apply(self, commands: bytes = b"", after_ns: int = 0) -> Any:
        """One batch, and the tick behind it."""
        applied = self.replica.apply(commands, after_ns)
        self.clock.run()
        return applied


class Book:
    """A local book by the official procedure of 2025-11-12; `strict` is what python-binance demands."""

    def __init__(self, *, strict: bool = False) -> None:
        self.strict = strict
        self.buffer: list[Any] = []
        self.last_id: int | None = None
        self.bids: dict[str, str] = {}
        self.asks: dict[str, str] = {}
        self.first_applied = False

    def event(self, event: Any) -> None:
        """One diff event, before or after the snapshot."""
        if self.buffer:
            assert event["U"] == self.buffer[-1]["u"] + 1, "next U is the last u + 1"
        self.buffer.append(event)
        if self.last_id is not None:
            self._apply(event)

    def snapshot(self, last_id: int, bids: Iterable[Any], asks: Iterable[Any]) -> bool:
        """A snapshot asked for after the first event; False: it is older than that event, ask again."""
        if self.buffer and last_id < self.buffer[0]["U"] - 1:
            return False
        self.last_id = last_id
        self.bids = dict(bids)
        self.asks = dict(asks)
        for event in self.buffer:
            self._apply(event)
        return True

    def _apply(self, event: Any) -> None:
        assert self.last_id is not None
        if event["u"] <= self.last_id:
            return
        if self.strict or self.first_applied:
            assert event["U"] == self.last_id + 1, (event["U"], self.last_id)
        else:
            assert event["U"] <= self.last_id + 1 <= event["u"]
        self.first_applied = True
        for side, changes in ((self.bids, event["b"]), (self.asks, event["a"])):
            assert len({price for price, _ in changes}) == len(changes), "each price at most once"
            for price, quantity in changes:
                if float(quantity) == 0:
                    side.pop(price, None)
                else:
                    side[price] = quantity
        self.last_id = event["u"]
