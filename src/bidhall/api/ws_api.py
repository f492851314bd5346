# SPDX-License-Identifier: Apache-2.0
"""The WebSocket API: requests with an id, answers as they finish, user data subscriptions.

Who calls it: a connection of `/ws-api/v3` hands over whole messages; other rooms may add methods to `WsApi.methods`.
A signature is over the parameters as the client wrote them (raw number tokens), without and then with percent-encoding.
A subscription begins when the replica has applied everything that was acknowledged before it came, and its answer is
written before its first event. What may never happen here: a message that raises, an answer without its request's id,
or a request that is kept for ever.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import orjson

from bidhall.api.frames import text_frame
from bidhall.api.user_data import Subscription
from bidhall.protocol import errors, events, signatures, user_events, ws_api
from bidhall.protocol.endpoints import WS_METHODS, Endpoint, Security
from bidhall.protocol.errors import ApiError
from bidhall.protocol.requests import Request

if TYPE_CHECKING:
    from bidhall.api.feed import FeedProtocol, Feeds
    from bidhall.api.target import Target
    from bidhall.protocol.ws_api import WsRequest
    from bidhall.replica.registry import Key

logger = logging.getLogger("bidhall.feed")

CONNECT_WEIGHT: Final = 2
SUBSCRIPTION_IDS_MAX: Final = 65_535


class Call:
    """One request on its way to its answer."""

    __slots__ = ("answered", "channel", "endpoint", "key", "raw", "request", "show_limits")

    def __init__(self, channel: ApiChannel, raw: WsRequest, show_limits: bool) -> None:
        self.channel = channel
        self.raw = raw
        self.show_limits = show_limits
        self.endpoint: Endpoint
        self.request: Request
        self.key: Key | None = None
        self.answered = False

    def answer(self, result: bytes) -> None:
        """The request succeeded; `result` is finished JSON."""
        self._send(lambda limits: ws_api.answer(self.raw.id, 200, result, limits))

    def refuse(self, error: ApiError) -> None:
        """The request failed."""
        self._send(lambda limits: self._refusal(error, limits))

    def _refusal(self, error: ApiError, limits: bytes | None) -> bytes:
        answer = ws_api.error(self.raw.id, error, limits)
        if not error.retry_after_s:
            return answer
        now_ms = self.channel.api.environment.wall_ns() // 1_000_000
        data = b',"data":{"serverTime":%d,"retryAfter":%d}}' % (now_ms, now_ms + error.retry_after_s * 1_000)
        return answer.replace(error.body, error.body[:-1] + data, 1)

    def _send(self, encode: Callable[[bytes | None], bytes]) -> None:
        if not self.answered:
            self.answered = True
            self.channel.open_calls -= 1
            self.channel.send(encode(self.channel.rate_limits() if self.show_limits else None))


class Method:
    """A method: how its parameters are declared, and what performs it (at once, or later)."""

    __slots__ = ("endpoint", "perform")

    def __init__(self, endpoint: Endpoint, perform: Callable[[Call], None]) -> None:
        self.endpoint = endpoint
        self.perform = perform


class ApiChannel:
    """One connection of the WebSocket API."""

    def __init__(self, connection: FeedProtocol, api: WsApi, target: Target) -> None:
        self.connection = connection
        self.api = api
        self.target = target
        self.connected_ns = api.environment.wall_ns()
        self.subscriptions: dict[int, Subscription] = {}
        self.next_number = 0
        self.open_calls = 0
        self.charged = False

    def opened(self) -> None:
        """Nothing is sent before the first request."""

    def message(self, text: str) -> None:
        """One request."""
        self.api.handle(self, text)

    def send(self, payload: bytes) -> None:
        """One message to the client."""
        self.connection.push(text_frame(payload))

    def shutdown_frame(self) -> bytes:
        """The event that announces a planned stop."""
        event = events.server_shutdown(self.api.environment.wall_ns(), self.target.unit_ns)
        return text_frame(b'{"event":%b}' % event)

    def closed(self) -> None:
        """The connection is gone: so are its subscriptions."""
        for subscription in self.subscriptions.values():
            self.api.user_data.unsubscribe(subscription)
        self.subscriptions.clear()

    def rate_limits(self) -> bytes:
        """The array that stands in every answer."""
        gate, peer = self.connection.gate, self.connection.peer
        if gate is None or peer is None:
            return b"[]"
        return orjson.dumps(gate.limits.rate_limits_used(peer, self.api.environment.wall_ns()))

    def deliver(self, subscription: Subscription, payloads: list[bytes]) -> None:
        """Events of one batch, in one write."""
        number = subscription.number
        self.connection.push(b"".join([text_frame(user_events.user_envelope(number, event)) for event in payloads]))

    def end(self, subscription: Subscription) -> None:
        """A subscription is over: say so."""
        if self.subscriptions.pop(subscription.number, None) is not None:
            self.api.user_data.unsubscribe(subscription)
            event = user_events.stream_terminated(self.api.environment.wall_ns(), self.target.unit_ns)
            self.send(user_events.user_envelope(subscription.number, event))


class WsApi:
    """The methods, and what they share."""

    def __init__(self, feeds: Feeds) -> None:
        self.feeds = feeds
        self.environment = feeds.environment
        self.replica = feeds.replica
        self.user_data = feeds.user_data
        own: dict[str, Callable[[Call], None]] = {
            "ping": self._ping,
            "time": self._time,
            "session.status": self._status,
            "session.subscriptions": self._subscriptions,
            "userDataStream.subscribe.signature": self._subscribe,
            "userDataStream.unsubscribe": self._unsubscribe,
        }
        self.methods = {name: Method(WS_METHODS[name], perform) for name, perform in own.items()}

    # --- from message to method ----------------------------------------------------------------------------------

    def handle(self, channel: ApiChannel, text: str) -> None:
        """Answer one message, now or later."""
        try:
            raw = ws_api.parse(text)
        except ws_api.WsError as error:
            limits = channel.rate_limits() if channel.target.rate_limits else None
            channel.send(ws_api.error(error.id, error.error, limits))
            return
        call = Call(channel, raw, _show_limits(raw, channel.target.rate_limits))
        channel.open_calls += 1
        try:
            if channel.open_calls > self.feeds.settings.requests_open_max:
                raise errors.busy()
            self._start(call)
        except ApiError as error:
            call.refuse(error)

    def _start(self, call: Call) -> None:
        method = self.methods.get(call.raw.method)
        if method is None:
            raise errors.unsupported()
        call.endpoint = method.endpoint
        call.request = ws_api.request(method.endpoint, call.raw)
        self._charge(call)
        if method.endpoint.signed:
            self._authenticate(call, method)
        else:
            method.perform(call)

    def _charge(self, call: Call) -> None:
        gate, peer = call.channel.connection.gate, call.channel.connection.peer
        if gate is None or peer is None:
            return
        weight = call.endpoint.weight(call.request.values)
        if not call.channel.charged:
            call.channel.charged = True
            weight += CONNECT_WEIGHT
        gate.limits.charge(peer, weight, self.environment.wall_ns())

    # --- signatures ----------------------------------------------------------------------------------------------

    def _authenticate(self, call: Call, method: Method) -> None:
        signatures.check_key_format(call.request.api_key or None)
        key = self.replica.registry.keys.get(call.request.api_key)
        if key is None:  # it may be newer than this replica
            self._after_read(call, lambda: self._verify(call, method, self.feeds.access.find(call.request.api_key)))
        else:
            self._verify(call, method, self.feeds.access.find(call.request.api_key))

    def _verify(self, call: Call, method: Method, key: Key) -> None:
        signatures.check_time(call.request, self.environment.wall_ns())
        plain, encoded = ws_api.payloads(call.raw)
        signature = call.request.signature

        def checked(good: bool | ApiError, last: bool) -> None:
            if good is True or isinstance(good, ApiError) or last:
                self._guard(call, lambda: self._verified(call, method, key, good))
            else:
                self._guard(call, lambda: access.verify(key, encoded, signature, lambda again: checked(again, True)))

        access = self.feeds.access
        access.verify(key, plain, signature, lambda good: checked(good, encoded == plain))

    def _verified(self, call: Call, method: Method, key: Key, good: bool | ApiError) -> None:
        security = method.endpoint.security
        self.feeds.access.accept(key, security, good)
        call.key = key
        # Reads are never stale, and neither are the permissions of the key.
        self._after_read(call, lambda: self._accepted(call, method, key, security))

    def _accepted(self, call: Call, method: Method, key: Key, security: Security) -> None:
        self.feeds.access.accept(key, security, True)
        method.perform(call)

    def _after_read(self, call: Call, go_on: Callable[[], None]) -> None:
        self.feeds.reads.wait(lambda error: self._guard(call, go_on, error))

    def _guard(self, call: Call, go_on: Callable[[], None], error: ApiError | None = None) -> None:
        if not call.channel.connection.open:
            return
        try:
            if error is not None:
                raise error
            go_on()
        except ApiError as refusal:
            call.refuse(refusal)
        except Exception:
            logger.exception("a request could not be handled")
            self.feeds.faults += 1
            call.refuse(errors.internal())

    # --- methods -------------------------------------------------------------------------------------------------

    def _ping(self, call: Call) -> None:
        call.answer(b"{}")

    def _time(self, call: Call) -> None:
        call.answer(b'{"serverTime":%d}' % (self.environment.wall_ns() // call.channel.target.unit_ns))

    def _status(self, call: Call) -> None:
        channel = call.channel
        unit_ns = channel.target.unit_ns
        status = {
            "apiKey": None,
            "authorizedSince": None,
            "connectedSince": channel.connected_ns // unit_ns,
            "returnRateLimits": channel.target.rate_limits,
            "serverTime": self.environment.wall_ns() // unit_ns,
            "userDataStream": bool(channel.subscriptions),
        }
        call.answer(orjson.dumps(status))

    def _subscriptions(self, call: Call) -> None:
        call.answer(orjson.dumps([{"subscriptionId": number} for number in call.channel.subscriptions]))

    def _subscribe(self, call: Call) -> None:
        channel = call.channel
        assert call.key is not None
        account = call.key.account
        if any(subscription.account == account for subscription in channel.subscriptions.values()):
            raise errors.subscription_active()
        number = channel.next_number
        if number > SUBSCRIPTION_IDS_MAX or len(channel.subscriptions) >= self.feeds.settings.subscriptions_max:
            raise errors.too_many_subscription_ids()
        channel.next_number += 1
        subscription = Subscription(
            account, call.key.text, number, channel.target.unit_ns, channel.deliver, channel.end
        )
        channel.subscriptions[number] = subscription
        call.answer(b'{"subscriptionId":%d}' % number)
        self.user_data.subscribe(subscription)

    def _unsubscribe(self, call: Call) -> None:
        channel = call.channel
        number: Any = call.request.values.get("subscriptionId")
        if number is None:
            ending = list(channel.subscriptions.values())
        elif number in channel.subscriptions:
            ending = [channel.subscriptions[number]]
        else:
            raise errors.subscription_inactive()
        call.answer(b"{}")
        for subscription in ending:
            channel.end(subscription)


def _show_limits(raw: WsRequest, otherwise: bool) -> bool:
    wish = raw.parameters.get("returnRateLimits")
    return otherwise if wish is None else str(wish).lower() != "false"
