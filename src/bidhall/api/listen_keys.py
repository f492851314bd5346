# SPDX-License-Identifier: Apache-2.0
"""Listen keys, the older way to one's user data: a key made over REST is the name of a stream of bare events.

Binance took it away in 2026; binance-connector, cryptofeed and many bots know no other way. Who calls it: the lane
(`/api/v3/userDataStream`), the WebSocket API (userDataStream.start, ping, stop) and the channels of market streams,
for names that are listen keys. A listen key lives for an hour from when it was made or last kept alive, in this process
only. What may never happen here: more listen keys than API keys, or an event behind a key's end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from bidhall.api.user_data import Subscription
from bidhall.protocol import endpoints, user_events
from bidhall.protocol.endpoints import Security
from bidhall.protocol.errors import no_such_listen_key

if TYPE_CHECKING:
    from bidhall.api.lane import Lane, Request
    from bidhall.api.user_data import UserData
    from bidhall.environment import Environment
    from bidhall.replica import Replica
    from bidhall.replica.registry import Key

DONE: Final = b"{}"
WEIGHT: Final = 2

Deliver = Callable[[str, list[bytes]], None]


class ListenKey:
    """One listen key and who listens."""

    __slots__ = ("account", "key_text", "readers", "text", "timer")

    def __init__(self, text: str, key: Key) -> None:
        self.text = text
        self.key_text = key.text
        self.account = key.account
        self.timer: Any = None
        self.readers: dict[Subscription, Deliver] = {}


class ListenKeys:
    """All listen keys of this process: at most one for each API key."""

    def __init__(
        self, replica: Replica, environment: Environment, lane: Lane, user_data: UserData, life_s: float
    ) -> None:
        self.registry = replica.registry
        self.environment = environment
        self.access = lane.access
        self.user_data = user_data
        self.life_s = life_s
        self.by_text: dict[str, ListenKey] = {}
        self.by_key: dict[str, ListenKey] = {}
        lane.add(endpoints.LISTEN_KEY_POST, self.create, reads=False, weight=WEIGHT)
        lane.add(endpoints.LISTEN_KEY_PUT, self.keep_alive, reads=False, weight=WEIGHT)
        lane.add(endpoints.LISTEN_KEY_DELETE, self.close, reads=False, weight=WEIGHT)

    def stop(self) -> None:
        """No timer outlives the door."""
        for listen_key in self.by_text.values():
            listen_key.timer.cancel()

    # --- REST and the WebSocket API ------------------------------------------------------------------------------

    def create(self, request: Request) -> bytes:
        """POST /userDataStream: a new listen key, or the one that there is, with an hour before it."""
        key = self._key(request)
        listen_key = self.by_key.get(key.text)
        if listen_key is None:
            text, _ = self.registry.new_hmac_key(self.environment)
            listen_key = self.by_text[text] = self.by_key[key.text] = ListenKey(text, key)
        self._renew(listen_key)
        return b'{"listenKey":"%b"}' % listen_key.text.encode()

    def keep_alive(self, request: Request) -> bytes:
        """PUT /userDataStream: another hour"""
        self._renew(self._named(request))
        return DONE

    def close(self, request: Request) -> bytes:
        """DELETE /userDataStream: nothing more comes on its streams"""
        listen_key = self._named(request)
        self._forget(listen_key)
        for reader in listen_key.readers:
            self.user_data.unsubscribe(reader)
        return DONE

    def _key(self, request: Request) -> Key:
        key = self.access.find(request.key_text)
        self.access.permit(key, Security.USER_STREAM)
        return key

    def _named(self, request: Request) -> ListenKey:
        key = self._key(request)
        listen_key = self.by_text.get(request.values["listenKey"])
        if listen_key is None or listen_key.account != key.account:
            raise no_such_listen_key()
        return listen_key

    # --- streams -------------------------------------------------------------------------------------------------

    def subscribe(self, name: str, unit_ns: int, deliver: Deliver) -> Subscription | None:
        """Events from the next batch on, if the name is a listen key: `deliver(name, events)`."""
        listen_key = self.by_text.get(name)
        if listen_key is None:
            return None

        def events(_: Subscription, payloads: list[bytes]) -> None:
            deliver(name, payloads)

        reader = Subscription(listen_key.account, listen_key.key_text, 0, unit_ns, events, self._switched_off)
        listen_key.readers[reader] = deliver
        self.user_data.subscribe(reader)
        return reader

    def unsubscribe(self, name: str, reader: Subscription) -> None:
        """This reader has gone."""
        self.user_data.unsubscribe(reader)
        listen_key = self.by_text.get(name)
        if listen_key is not None:
            listen_key.readers.pop(reader, None)

    # --- life ----------------------------------------------------------------------------------------------------

    def _renew(self, listen_key: ListenKey) -> None:
        if listen_key.timer is not None:
            listen_key.timer.cancel()
        listen_key.timer = self.environment.call_later(self.life_s, self._expire, listen_key)

    def _forget(self, listen_key: ListenKey) -> None:
        listen_key.timer.cancel()
        del self.by_text[listen_key.text]
        del self.by_key[listen_key.key_text]

    def _expire(self, listen_key: ListenKey) -> None:
        self._forget(listen_key)
        now_ns = self.environment.wall_ns()
        for reader, deliver in listen_key.readers.items():
            self.user_data.unsubscribe(reader)
            deliver(listen_key.text, [user_events.listen_key_expired(listen_key.text, now_ns, reader.unit_ns)])

    def _switched_off(self, reader: Subscription) -> None:
        """The API key is no good any more, and so is its listen key."""
        listen_key = self.by_key.get(reader.key_text)
        if listen_key is not None:
            self._expire(listen_key)
