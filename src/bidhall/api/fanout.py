# SPDX-License-Identifier: Apache-2.0
"""From one frame to many sockets: streams, groups of subscribers, and the tick that writes.

Who calls it: the market streams emit payloads, the channels move their connections between groups. How it works: a
payload is framed once per stream and envelope; connections with the same set of streams form a *group*; a group joins
the frames of a tick, and each of its connections gets them in one `transport.write` (the system call is what a frame
costs). A connection whose socket is full becomes *slow* and keeps, instead of bytes: nothing but the place in the
span history (depth, merged when it reads again), or the newest frame (state streams); streams that can be neither are
written on until the byte budget ends and the connection is closed. What may never happen here: waiting for a reader,
memory that grows with a reader that does not read, or a frame before the answer that subscribed to it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from enum import Enum
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Protocol

from bidhall.api.frames import text_frame
from bidhall.protocol.markets import json_text

if TYPE_CHECKING:
    from bidhall.environment import Environment

FLUSH_SHARE: Final = 2.0  # a tick that took d seconds is followed by FLUSH_SHARE * d seconds for everything else


class Keeping(Enum):
    """What a slow reader misses of a stream."""

    NOTHING = 0  # every frame counts (trades): written until the budget ends
    OLDER = 1  # only the newest frame counts (book ticker, partial depth, tickers)
    MERGED = 2  # frames that follow each other become one (depth)


class Source(Protocol):
    """What emits into streams: one kind of news of one market."""

    keeping: Keeping

    def attach(self, stream: Stream) -> None: ...
    def detach(self, stream: Stream) -> None: ...
    def merge(self, spans: list[Any], unit_ns: int) -> bytes: ...


class Subscriber(Protocol):
    """What the fan-out needs of a connection."""

    write: Callable[[bytes], None]
    group: Group | None
    kept: dict[Stream, Any]

    def push(self, frame: bytes) -> None: ...
    def fall_behind(self) -> None: ...


class Stream:
    """One named stream in one time unit, with the groups that listen to it."""

    __slots__ = ("envelope", "groups", "hub", "keeping", "name", "source", "spans", "spans_first", "unit_ns", "waiting")

    def __init__(self, hub: Hub, name: str, unit_ns: int, source: Source) -> None:
        self.hub = hub
        self.name = name
        self.unit_ns = unit_ns
        self.source = source
        self.keeping = source.keeping
        self.envelope = b'{"stream":"%b","data":' % json_text(name).encode()
        self.groups: tuple[dict[Group, None], dict[Group, None]] = ({}, {})  # raw, combined
        # MERGED only: the spans that some slow reader has not seen.
        self.spans: deque[Any] = deque()
        self.spans_first = 0  # number of spans[0], counted from the start of the stream
        self.waiting = 0  # connections that are slow now

    def emit(self, payload: bytes, span: Any = None) -> None:
        """Send one payload to everybody; `span` is what a MERGED stream is merged from."""
        if self.waiting and span is not None:
            self._keep_span(span)
        raw, combined = self.groups
        if raw:
            frame = text_frame(payload)
            for group in raw:
                group.add(self, frame)
        if combined:
            frame = text_frame(self.envelope + payload + b"}")
            for group in combined:
                group.add(self, frame)

    def frame(self, payload: bytes, combined: bool) -> bytes:
        """The payload as one connection gets it."""
        return text_frame(self.envelope + payload + b"}" if combined else payload)

    def enter(self, group: Group) -> None:
        """One more group; the first one starts the stream."""
        raw, combined = self.groups
        if not raw and not combined:
            self.hub.streams[self.name, self.unit_ns] = self
            self.source.attach(self)
        self.groups[group.combined][group] = None

    def leave(self, group: Group) -> None:
        """One group less; the last one ends the stream."""
        raw, combined = self.groups
        del self.groups[group.combined][group]
        if not raw and not combined:
            del self.hub.streams[self.name, self.unit_ns]
            self.source.detach(self)

    def _keep_span(self, span: Any) -> None:
        self.spans.append(span)
        if len(self.spans) > self.hub.slow_spans_max:
            self.spans.popleft()
            self.spans_first += 1

    def missed(self, number: int) -> list[Any] | None:
        """The spans from this number on; None when the oldest of them is gone."""
        if number < self.spans_first:
            return None
        return list(islice(self.spans, number - self.spans_first, None))

    def stop_waiting(self) -> None:
        """One slow connection less; the last one takes the history with it."""
        self.waiting -= 1
        if not self.waiting:
            self.spans_first += len(self.spans)
            self.spans.clear()


class Group:
    """The connections with one set of streams and one envelope."""

    __slots__ = ("combined", "fast", "hub", "key", "pending", "slow", "streams")

    def __init__(self, hub: Hub, key: tuple[bool, frozenset[Stream]]) -> None:
        self.hub = hub
        self.key = key
        self.combined, self.streams = key
        self.pending: list[bytes] = []
        self.fast: dict[Subscriber, Callable[[bytes], None]] = {}
        self.slow: dict[Subscriber, None] = {}
        for stream in self.streams:
            stream.enter(self)

    def add(self, stream: Stream, frame: bytes) -> None:
        """One frame for this tick."""
        if self.fast:
            if not self.pending:
                self.hub.mark(self)
            self.pending.append(frame)
        if self.slow:
            for subscriber in tuple(self.slow):
                keep(subscriber, stream, frame)

    def flush(self) -> None:
        """Write what the tick gathered."""
        pending = self.pending
        blob = pending[0] if len(pending) == 1 else b"".join(pending)
        self.pending = []
        for write in tuple(self.fast.values()):
            write(blob)

    def leave(self, subscriber: Subscriber) -> None:
        """The connection is gone or moves on; what it kept as a slow reader is dropped."""
        if self.slow.pop(subscriber, self) is None:
            self._stop_keeping(subscriber)
        self.fast.pop(subscriber, None)
        subscriber.group = None
        if not self.fast and not self.slow:
            for stream in self.streams:
                stream.leave(self)
            del self.hub.groups[self.key]

    def make_slow(self, subscriber: Subscriber) -> None:
        """From now on frames are kept for it, not written."""
        del self.fast[subscriber]
        self.slow[subscriber] = None
        for stream in self.streams:
            if stream.keeping is Keeping.MERGED:
                stream.waiting += 1

    def make_fast(self, subscriber: Subscriber) -> None:
        """It reads again: what was kept is written as one blob. A history that is over closes the connection."""
        frames: list[bytes] = []
        for stream, kept in subscriber.kept.items():
            if stream.keeping is not Keeping.MERGED:
                frames.append(kept)
                continue
            spans = stream.missed(kept)
            if not spans:
                subscriber.fall_behind()
                return
            frames.append(stream.frame(stream.source.merge(spans, stream.unit_ns), self.combined))
        del self.slow[subscriber]
        self._stop_keeping(subscriber)
        self.fast[subscriber] = subscriber.write
        if frames:
            subscriber.push(b"".join(frames))

    def _stop_keeping(self, subscriber: Subscriber) -> None:
        subscriber.kept.clear()
        for stream in self.streams:
            if stream.keeping is Keeping.MERGED:
                stream.stop_waiting()


def keep(subscriber: Subscriber, stream: Stream, frame: bytes) -> None:
    """One frame that a slow reader does not get now."""
    if stream.keeping is Keeping.NOTHING:
        subscriber.push(frame)
    elif stream.keeping is Keeping.OLDER:
        subscriber.kept[stream] = frame
    else:
        # The span of this frame is already the newest of the history.
        number = subscriber.kept.setdefault(stream, stream.spans_first + len(stream.spans) - 1)
        if number < stream.spans_first:
            subscriber.fall_behind()


class Hub:
    """All streams and groups of the process, and their tick."""

    def __init__(self, environment: Environment, slow_spans_max: int, flush_interval_s_max: float) -> None:
        self.environment = environment
        self.slow_spans_max = slow_spans_max
        self.flush_interval_s_max = flush_interval_s_max
        self.streams: dict[tuple[str, int], Stream] = {}
        self.groups: dict[tuple[bool, frozenset[Stream]], Group] = {}
        self.frames_written = 0
        self._dirty: list[Group] = []
        self._newly_slow: list[Subscriber] = []
        self._scheduled = False
        self._flushing = False
        self._not_before = 0.0

    def join(self, subscriber: Subscriber, streams: Iterable[Stream], combined: bool) -> None:
        """Move a connection to the group of these streams; frames of its old group are written first."""
        self.flush()
        slow = False
        if subscriber.group is not None:
            slow = subscriber in subscriber.group.slow
            if slow:  # what was kept for it belongs before the change; the budget still counts
                subscriber.group.make_fast(subscriber)
            subscriber.group.leave(subscriber)
        key = (combined, frozenset(streams))
        if not key[1]:
            return
        group = self.groups.get(key)
        if group is None:
            group = self.groups[key] = Group(self, key)
        subscriber.group = group
        group.fast[subscriber] = subscriber.write
        if slow:
            group.make_slow(subscriber)

    def leave(self, subscriber: Subscriber) -> None:
        """The connection is gone."""
        if subscriber.group is not None:
            subscriber.group.leave(subscriber)

    def mark(self, group: Group) -> None:
        """The group has something to write: a tick is due."""
        self._dirty.append(group)
        if not self._scheduled:
            self._scheduled = True
            wait_s = self._not_before - self.environment.monotonic()
            if wait_s <= 0.0:
                self.environment.call_soon(self._tick)
            else:
                self.environment.call_later(wait_s, self._tick)

    def flush(self) -> None:
        """Write now whatever the tick would write."""
        if not self._dirty or self._flushing:
            return
        self._flushing = True
        dirty, self._dirty = self._dirty, []
        for group in dirty:
            self.frames_written += len(group.pending) * len(group.fast)
            group.flush()
        self._flushing = False
        newly_slow, self._newly_slow = self._newly_slow, []
        for subscriber in newly_slow:
            self.slow_down(subscriber)

    def _tick(self) -> None:
        self._scheduled = False
        begin = self.environment.monotonic()
        self.flush()
        # The writes themselves are done by the loop behind this call; what comes next on the loop sees their end.
        self.environment.call_soon(self._pace, begin)

    def _pace(self, begin: float) -> None:
        end = self.environment.monotonic()
        self._not_before = end + min((end - begin) * FLUSH_SHARE, self.flush_interval_s_max)

    def slow_down(self, subscriber: Subscriber) -> None:
        """The socket of this connection is full. What its group has gathered already still goes to it."""
        if self._flushing:
            self._newly_slow.append(subscriber)
            return
        self.flush()
        group = subscriber.group
        if group is not None and subscriber in group.fast:
            group.make_slow(subscriber)

    def speed_up(self, subscriber: Subscriber) -> None:
        """The socket of this connection has room again."""
        self.flush()
        group = subscriber.group
        if group is not None and subscriber in group.slow:
            group.make_fast(subscriber)
