# SPDX-License-Identifier: Apache-2.0
"""The WebSocket API's methods that are about the connection itself: logging on, status, user data subscriptions.

Who calls it: `ws_api.WsApi`, as it calls the handlers of everything else. A subscription begins when the replica has
applied all that was acknowledged before it came, and its answer is written before its first event. What may never
happen here: a session of a key that is not Ed25519, or an event of an account behind the end of its subscription.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import orjson

from bidhall.api.lane import Route
from bidhall.api.user_data import Subscription
from bidhall.api.ws_calls import Call, Method
from bidhall.protocol import endpoints, errors
from bidhall.protocol.endpoints import Endpoint

if TYPE_CHECKING:
    from bidhall.api.ws_api import WsApi
    from bidhall.replica.registry import Key

SUBSCRIPTION_IDS_MAX: Final = 65_535
WEIGHT: Final = 2
DONE: Final = b"{}"


class Session:
    """A connection that has logged on."""

    __slots__ = ("key", "since_ns")

    def __init__(self, key: Key, since_ns: int) -> None:
        self.key = key
        self.since_ns = since_ns


class SessionMethods:
    """The handlers of session.* and userDataStream.*"""

    def __init__(self, api: WsApi) -> None:
        self.api = api
        self.environment = api.environment
        self.user_data = api.user_data
        self.subscriptions_max = api.feeds.settings.subscriptions_max
        self.methods: dict[str, Method] = {}
        self._add(endpoints.SESSION_LOGON, self.logon)
        self._add(endpoints.SESSION_STATUS, self.status, reads=False)
        self._add(endpoints.SESSION_LOGOUT, self.logout, reads=False)
        self._add(endpoints.SUBSCRIPTIONS, self.subscriptions, reads=False)
        self._add(endpoints.SUBSCRIBE, self.subscribe_session)
        self._add(endpoints.SUBSCRIBE_SIGNATURE, self.subscribe)
        self._add(endpoints.UNSUBSCRIBE, self.unsubscribe, reads=False)

    def _add(self, endpoint: Endpoint, handler: Callable[[Any], bytes | None], *, reads: bool = True) -> None:
        self.methods[endpoint.path] = Method(endpoint, Route(endpoint, handler, reads=reads, weight=WEIGHT))

    # --- session -------------------------------------------------------------------------------------------------

    def logon(self, call: Call) -> bytes:
        """session.logon: from here on requests need not name their key nor sign; again with another key changes it."""
        key, channel = call.key, call.channel
        if key.kind != "ed25519":
            raise errors.kind_of_key_not_supported(key.kind)
        if channel.session is not None and channel.session.key.text != key.text:
            self.api.end_session(channel)
        self.api.begin_session(channel, Session(key, self.environment.wall_ns()))
        return self.status(call)

    def status(self, call: Call) -> bytes:
        """session.status"""
        channel = call.channel
        session, unit_ns = channel.session, channel.unit_ns
        is_subscribed = bool(channel.subscriptions)
        return orjson.dumps(
            {
                "apiKey": None if session is None else session.key.text,
                "authorizedSince": None if session is None else session.since_ns // unit_ns,
                "connectedSince": channel.connected_ns // unit_ns,
                "returnRateLimits": channel.shows_limits,
                "serverTime": self.environment.wall_ns() // unit_ns,
                "userDataStream": None if session is None and not is_subscribed else is_subscribed,
            }
        )

    def logout(self, call: Call) -> bytes | None:
        """session.logout: the connection stays, and so do subscriptions that came by a signature."""
        channel = call.channel
        ending = channel.subscription_of_session
        self.api.forget_session(channel)
        call.finish(self.status(call))
        if ending is not None:
            channel.end(ending)
        return None

    # --- user data -----------------------------------------------------------------------------------------------

    def subscriptions(self, call: Call) -> bytes:
        """session.subscriptions"""
        return orjson.dumps([{"subscriptionId": number} for number in call.channel.subscriptions])

    def subscribe(self, call: Call) -> None:
        """userDataStream.subscribe.signature"""
        self._begin(call, call.key)

    def subscribe_session(self, call: Call) -> None:
        """userDataStream.subscribe: of the key that has logged on"""
        session = call.channel.session
        if session is None:
            raise errors.bad_key()
        call.channel.subscription_of_session = self._begin(call, session.key)

    def _begin(self, call: Call, key: Key) -> Subscription:
        channel = call.channel
        account = key.account
        if any(subscription.account == account for subscription in channel.subscriptions.values()):
            raise errors.subscription_active()
        number = channel.next_number
        if number > SUBSCRIPTION_IDS_MAX or len(channel.subscriptions) >= self.subscriptions_max:
            raise errors.too_many_subscription_ids()
        channel.next_number += 1
        subscription = Subscription(account, key.text, number, channel.unit_ns, channel.deliver, channel.end)
        channel.subscriptions[number] = subscription
        call.finish(b'{"subscriptionId":%d}' % number)
        self.user_data.subscribe(subscription)
        return subscription

    def unsubscribe(self, call: Call) -> None:
        """userDataStream.unsubscribe: of one, or of all"""
        channel = call.channel
        number: int | None = call.values.get("subscriptionId")
        if number is None:
            ending = list(channel.subscriptions.values())
        elif number in channel.subscriptions:
            ending = [channel.subscriptions[number]]
        else:
            raise errors.subscription_inactive()
        call.finish(DONE)
        for subscription in ending:
            channel.end(subscription)
