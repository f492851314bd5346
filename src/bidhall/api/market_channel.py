# SPDX-License-Identifier: Apache-2.0
"""A connection of market streams: its names, its envelope, and the control methods.

Who calls it: the connection hands over whole messages; requests are answered in order. A subscription begins when the
replica has applied everything that was acknowledged before it came, and the answer is written before it begins. Names
that mean nothing now are kept (production accepts them silently) and looked up again when the registry changes; a name
may be a listen key, whose stream is the account's own events. What
may never happen here: a data frame before the answer to its SUBSCRIBE, or a message that raises.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from bidhall.api.fanout import Stream
from bidhall.api.frames import text_frame
from bidhall.protocol import events
from bidhall.protocol.streams import Control, ControlError, parse_control, parse_name, result

if TYPE_CHECKING:
    from bidhall.api.feed import FeedProtocol
    from bidhall.api.listen_keys import ListenKeys
    from bidhall.api.streams import Streams
    from bidhall.api.target import Target
    from bidhall.api.user_data import Subscription
    from bidhall.protocol.errors import ApiError

WAITING_MAX: Final = 100  # messages that wait behind a subscription


class MarketChannel:
    """One connection's view of the market streams."""

    def __init__(self, connection: FeedProtocol, streams: Streams, listen_keys: ListenKeys, target: Target) -> None:
        self.connection = connection
        self.streams = streams
        self.listen_keys = listen_keys
        self.target = target
        self.combined = target.combined
        self.names: dict[str, Stream | None] = {}
        self.user_data: dict[str, Subscription] = {}  # by listen key
        self._version = -1
        self._waiting: deque[str] = deque()
        self._busy = False

    # --- the connection's side -----------------------------------------------------------------------------------

    def opened(self) -> None:
        """Subscribe to the streams of the URL; anything that is no stream name is just a path tail."""
        names = [name for name in dict.fromkeys(self.target.names) if self._is_stream(name)]
        if names:
            del names[self.connection.settings.streams_max :]
            self._after_read(lambda: self._subscribe(names))

    def message(self, data: bytes) -> None:
        """One control message."""
        text = data.decode()
        if self._busy:
            if len(self._waiting) >= WAITING_MAX:
                self.connection.close(1008, "Too many requests")
            else:
                self._waiting.append(text)
            return
        self._handle(text)

    def shutdown_frame(self) -> bytes:
        """The event that announces a planned stop."""
        payload = events.server_shutdown(self.connection.environment.wall_ns(), self.target.unit_ns)
        if self.combined:
            payload = b'{"stream":"!serverShutdown","data":' + payload + b"}"
        return text_frame(payload)

    def _is_stream(self, name: str) -> bool:
        return parse_name(name) is not None or name in self.listen_keys.by_text

    def closed(self) -> None:
        """Nothing is served any more."""
        for name, reader in self.user_data.items():
            self.listen_keys.unsubscribe(name, reader)
        self.user_data.clear()
        self.names.clear()
        self._waiting.clear()

    # --- control -------------------------------------------------------------------------------------------------

    def _handle(self, text: str) -> None:
        try:
            self._perform(parse_control(text))
        except ControlError as error:
            self.connection.push(text_frame(error.body))

    def _perform(self, control: Control) -> None:
        if control.method == "SUBSCRIBE":
            names = list(dict.fromkeys(control.params))
            self._check_room(names, control)
            self._after_read(lambda: self._subscribe(names, control))
        elif control.method == "UNSUBSCRIBE":
            for name in control.params:
                self.names.pop(name, None)
                reader = self.user_data.pop(name, None)
                if reader is not None:
                    self.listen_keys.unsubscribe(name, reader)
            self._regroup(())
            self._answer(control, None)
        elif control.method == "LIST_SUBSCRIPTIONS":
            self._answer(control, list(self.names))
        elif control.method == "SET_PROPERTY":
            self.combined = control.params[1]
            self._regroup(())
            self._answer(control, None)
        else:
            self._answer(control, self.combined)

    def _check_room(self, names: list[str], control: Control) -> None:
        settings = self.connection.settings
        if any(len(name.encode()) > settings.stream_name_bytes_max for name in names):
            raise ControlError(2, "Invalid request: stream name too long", control.id, known=True)
        if len(self.names.keys() | set(names)) > settings.streams_max:
            text = f"Invalid request: too many streams, at most {settings.streams_max}"
            raise ControlError(2, text, control.id, known=True)

    def _answer(self, control: Control, value: object) -> None:
        self.connection.push(text_frame(result(control.id, value)))

    # --- subscriptions -------------------------------------------------------------------------------------------

    def _after_read(self, call: Callable[[], None]) -> None:
        """Go on when the replica is fresh; what the client sends meanwhile waits."""
        self._busy = True
        self.connection.feeds.reads.wait(lambda error: self._fresh(call, error))

    def _fresh(self, call: Callable[[], None], error: ApiError | None) -> None:
        self._busy = False
        if not self.connection.open:
            return
        if error is not None:
            self.connection.close(1013, "Try again later")
            return
        call()
        while self._waiting and not self._busy and self.connection.open:
            self._handle(self._waiting.popleft())

    def _subscribe(self, names: list[str], control: Control | None = None) -> None:
        new = [name for name in names if name not in self.names]
        for name in new:
            self.names[name] = None
        self.streams.hub.flush()  # frames of the streams until now stand before the answer
        if control is not None:
            self._answer(control, None)
        self._regroup(new)
        for name in new:
            self._listen(name)

    def _regroup(self, new: Iterable[str]) -> None:
        """Find what is not found yet, and join the group of all that is."""
        if self._version != self.streams.version or new:
            self._version = self.streams.version
            for name, stream in self.names.items():
                if stream is None:
                    self.names[name] = self.streams.find(name, self.target.unit_ns)
        streams = [stream for stream in self.names.values() if stream is not None]
        self.streams.hub.join(self.connection, streams, self.combined)
        self.streams.readers_changed()
        for name in new:
            self._send_first(self.names[name])

    def _send_first(self, stream: Stream | None) -> None:
        payload = None if stream is None else self.streams.first_payload(stream)
        if stream is not None and payload is not None:
            self.connection.push(stream.frame(payload, self.combined))

    def _listen(self, name: str) -> None:
        reader = self.listen_keys.subscribe(name, self.target.unit_ns, self._events)
        if reader is not None:
            self.user_data[name] = reader

    def _events(self, name: str, payloads: list[bytes]) -> None:
        """Of one batch, in one write: bare, or with the listen key as the name of their stream."""
        if self.combined:
            payloads = [events.combined(name, payload) for payload in payloads]
        self.connection.push(b"".join([text_frame(payload) for payload in payloads]))

    def look_again(self) -> None:
        """There are new markets: names that meant nothing may mean something now."""
        if any(stream is None for stream in self.names.values()):
            self._regroup(())
