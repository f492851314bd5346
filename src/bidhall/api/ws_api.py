# SPDX-License-Identifier: Apache-2.0
"""The WebSocket API: requests with an id, served by the handlers of REST, answered as they finish.

Who calls it: a connection of `/ws-api/v3` hands over whole messages. A method goes the way of the lane: weight,
parameters, key and signature, the barrier where it shows state, then the handler of the REST endpoint that does the
same. A signature is over the parameters as the client wrote them (raw number tokens), without and then with
percent-encoding; a connection that has logged on need not sign. What may never happen here: a message that raises, an
answer without its request's id, or a request that is kept for ever.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from bidhall.api.frames import text_frame
from bidhall.api.lane import NOT_PLAIN, UNKNOWN_CODES
from bidhall.api.limits import OrderCount, Peer
from bidhall.api.user_data import Subscription
from bidhall.api.ws_calls import Call, Method, shows_limits
from bidhall.api.ws_session import Session, SessionMethods
from bidhall.core.wire import read_call
from bidhall.protocol import errors, events, user_events, ws_api
from bidhall.protocol.endpoints import WS_METHODS
from bidhall.protocol.errors import ApiError
from bidhall.protocol.signatures import check_time

if TYPE_CHECKING:
    from bidhall.api.feed import FeedProtocol, Feeds
    from bidhall.api.target import Target
    from bidhall.protocol.ws_api import RequestId
    from bidhall.replica.registry import Key

logger = logging.getLogger("bidhall.feed")

CONNECT_WEIGHT: Final = 2
WEIGHT_LIMIT: Final = b'{"rateLimitType":"REQUEST_WEIGHT","interval":"MINUTE","intervalNum":1,"limit":%d,"count":%d}'
ORDER_LIMITS: Final = (
    b'{"rateLimitType":"ORDERS","interval":"SECOND","intervalNum":10,"limit":%d,"count":%d},'
    b'{"rateLimitType":"ORDERS","interval":"DAY","intervalNum":1,"limit":%d,"count":%d},'
)


class ApiChannel:
    """One connection of the WebSocket API."""

    def __init__(self, connection: FeedProtocol, api: WsApi, target: Target) -> None:
        self.connection = connection
        self.api = api
        self.limits = api.limits
        self.peer: Peer = connection.peer or Peer("")
        self.unit_ns: int = target.unit_ns
        self.shows_limits: bool = target.rate_limits
        self.connected_ns = api.environment.wall_ns()
        self.session: Session | None = None
        self.subscriptions: dict[int, Subscription] = {}
        self.subscription_of_session: Subscription | None = None
        self.next_number = 0
        self.open_calls = 0
        self.is_charged = False

    def opened(self) -> None:
        """Nothing is sent before the first request."""

    def message(self, data: bytes) -> None:
        """One request."""
        self.api.handle(self, data)

    def send(self, payload: bytes) -> None:
        """One message to the client."""
        self.connection.push(text_frame(payload))

    def refuse(self, request_id: RequestId, error: ApiError, shows: bool) -> None:
        """The answer to what is no request of any method, or to no request at all."""
        now_ns = self.api.environment.wall_ns()
        limits = self.rate_limits(now_ns, None) if shows else None
        self.send(ws_api.error(ws_api.id_text(request_id), error, limits, now_ns))

    def shutdown_frame(self) -> bytes:
        """The event that announces a planned stop."""
        event = events.server_shutdown(self.api.environment.wall_ns(), self.unit_ns)
        return text_frame(b'{"event":%b}' % event)

    def closed(self) -> None:
        """The connection is gone: so are its session and its subscriptions."""
        self.api.forget_session(self)
        for subscription in self.subscriptions.values():
            self.api.user_data.unsubscribe(subscription)
        self.subscriptions.clear()

    def rate_limits(self, now_ns: int, count: OrderCount | None) -> bytes:
        """The array that stands in every answer."""
        limits = self.limits
        used = WEIGHT_LIMIT % (limits.weight_max, limits.used(self.peer, now_ns))
        if count is None:
            return b"[%b]" % used
        return b"[%b%b]" % (ORDER_LIMITS % (limits.ten_max, count.ten, limits.day_max, count.day), used)

    def deliver(self, subscription: Subscription, payloads: list[bytes]) -> None:
        """Events of one batch, in one write."""
        number = subscription.number
        self.connection.push(b"".join([text_frame(user_events.user_envelope(number, event)) for event in payloads]))

    def end(self, subscription: Subscription) -> None:
        """A subscription is over: say so."""
        if self.subscriptions.pop(subscription.number, None) is None:
            return
        if subscription is self.subscription_of_session:
            self.subscription_of_session = None
        self.api.user_data.unsubscribe(subscription)
        event = user_events.stream_terminated(self.api.environment.wall_ns(), self.unit_ns)
        self.send(user_events.user_envelope(subscription.number, event))


class WsApi:
    """The methods, and the way through them."""

    def __init__(self, feeds: Feeds) -> None:
        lane = feeds.lane
        self.feeds = feeds
        self.lane = lane
        self.environment = feeds.environment
        self.registry = feeds.replica.registry
        self.user_data = feeds.user_data
        self.limits = lane.limits
        self.access = lane.access
        self.reads = lane.reads
        self.at_once = lane.at_once
        self.calls_max = feeds.settings.requests_open_max
        self.methods: dict[str, Method] = SessionMethods(self).methods
        self._logged_on: set[ApiChannel] = set()
        self._version = -1

    def start(self) -> None:
        """The lane has all its routes: each one that has a method's name is served here too."""
        for name, endpoint in WS_METHODS.items():
            rest = endpoint.rest
            route = None if rest is None else self.lane.routes.get((rest.method.encode(), rest.path.encode()))
            if route is not None:
                self.methods[name] = Method(endpoint, route)

    # --- the way in ----------------------------------------------------------------------------------------------

    def handle(self, channel: ApiChannel, data: bytes) -> None:
        """Answer one message, now or later."""
        plain = read_call(data)
        if plain is not None:
            id_text, name, key_text, form = plain
            method = self.methods.get(name)
            if method is not None and method.route.quick is not None:
                call = Call(channel, method, id_text, self.environment.wall_ns())
                call.key_text = key_text
                call.signed_form = form
                call.message = data
                self._serve(call)
                return
        text = data.decode()
        try:
            raw = ws_api.parse(text)
        except ws_api.WsError as error:
            self._refuse(channel, error.id, error.error, channel.shows_limits)
            return
        method = self.methods.get(raw.method)
        if method is None:
            self._refuse(channel, raw.id, errors.unsupported(), shows_limits(raw, channel.shows_limits))
            return
        call = Call(channel, method, ws_api.id_text(raw.id), self.environment.wall_ns())
        call.raw = raw
        call.show_limits = shows_limits(raw, channel.shows_limits)
        self._serve(call)

    def _refuse(self, channel: ApiChannel, request_id: RequestId, error: ApiError, shows: bool) -> None:
        """What is no request of any method costs as much as the cheapest one."""
        try:
            self.limits.charge(channel.peer, 1, self.environment.wall_ns())
        except ApiError as limited:
            error = limited
        channel.refuse(request_id, error, shows)

    def _serve(self, call: Call) -> None:
        channel, route = call.channel, call.route
        channel.open_calls += 1
        route.served += 1
        try:
            self._charge(call, route.weight or 0)
            if channel.open_calls > self.calls_max:
                raise errors.busy()
            if call.raw is None and route.quick is not None and route.quick(call) is not NOT_PLAIN:
                return
            self._general(call)
        except ApiError as error:
            self._unknown(call, error)
        except Exception:
            self._fault(call)

    def _charge(self, call: Call, weight: int) -> None:
        channel = call.channel
        if not channel.is_charged:
            channel.is_charged = True
            weight += CONNECT_WEIGHT
        self.limits.charge(call.peer, weight, call.now_ns)

    def _general(self, call: Call) -> None:
        """Parameters, key, barrier, handler. Runs again from the start when it had to wait for the barrier."""
        route = call.route
        if not call.admitted:
            self._read(call)
            if route.weight is None and not call.weighed:
                call.weighed = True
                self.limits.weigh(call.peer, call.method.endpoint.weight(call.values), call.now_ns)
            if route.signed:
                self._authenticate(call)
                return
        if route.reads and not call.fresh and not self.at_once:
            self._wait(call)
            return
        body = route.handler(call)
        if body is not None:
            call.finish(body)

    def _read(self, call: Call) -> None:
        raw = call.raw
        if raw is None:  # the short way did not take it
            raw = call.raw = ws_api.parse(call.message)
            call.show_limits = shows_limits(raw, call.show_limits)
        names_a_key = call.channel.session is None or "apiKey" in raw.parameters
        call.parsed = ws_api.request(call.method.endpoint if names_a_key else call.method.in_session, raw)
        call.values = call.parsed.values
        call.key_text = call.values.get("apiKey", "")  # where one is named and nothing is signed

    # --- who asks ------------------------------------------------------------------------------------------------

    def _authenticate(self, call: Call) -> None:
        parsed, session = call.parsed, call.channel.session
        text = parsed.api_key if parsed.api_key or session is None else session.key.text
        call.key_text = text
        call.key = key = self.access.find(text)
        call.account = key.account
        check_time(parsed, call.now_ns)
        if parsed.signature:
            self._verify(call, key)
            return
        # Nothing is signed in a session. A repeat of a request is told from another one by its id.
        parsed.payload = b"%b\n%b" % (parsed.payload, call.id_text)
        self.access.permit(key, call.route.security)
        call.admitted = True
        self._general(call)

    def _verify(self, call: Call, key: Key) -> None:
        parsed = call.parsed

        def checked(good: bool | ApiError) -> None:
            if good is False and call.raw is not None:
                encoded = ws_api.encoded_payload(call.raw)
                if encoded != parsed.payload:
                    self.access.verify(key, encoded, parsed.signature, lambda good: self._verified(call, good))
                    return
            self._verified(call, good)

        self.access.verify(key, parsed.payload, parsed.signature, checked)

    def _verified(self, call: Call, good: bool | ApiError) -> None:
        try:
            self.access.accept(call.key, call.route.security, good)
        except ApiError as error:
            call.fail(error)
            return
        call.admitted = True
        self._go_on(call)

    # --- waiting, and what goes wrong ----------------------------------------------------------------------------

    def _wait(self, call: Call) -> None:
        """Go on when everything that was acknowledged before now has been applied here."""
        call.fresh = True
        self.reads.wait(
            lambda error: self._go_on(call) if error is None else call.fail(error), is_public=call.route.is_public
        )

    def _go_on(self, call: Call) -> None:
        if not call.channel.connection.open:
            return
        try:
            self._general(call)
        except ApiError as error:
            self._unknown(call, error)
        except Exception:
            self._fault(call)

    def _unknown(self, call: Call, error: ApiError) -> None:
        if error.code in UNKNOWN_CODES and not call.fresh and not self.at_once:
            call.admitted = False
            self._wait(call)
        else:
            call.fail(error)

    def _fault(self, call: Call) -> None:
        call.fail(self.lane.excuse(call.route))

    # --- sessions ------------------------------------------------------------------------------------------------

    def begin_session(self, channel: ApiChannel, session: Session) -> None:
        """This connection acts for this key."""
        channel.session = session
        self._logged_on.add(channel)

    def forget_session(self, channel: ApiChannel) -> None:
        """It acts for nobody any more."""
        channel.session = None
        self._logged_on.discard(channel)

    def end_session(self, channel: ApiChannel) -> None:
        """The same, with the end of the subscription that came by it."""
        self.forget_session(channel)
        if channel.subscription_of_session is not None:
            channel.end(channel.subscription_of_session)

    def keys_may_have_changed(self) -> None:
        """Called after every batch: a session whose key was switched off is told so, and is over."""
        if self.registry.version == self._version:
            return
        self._version = self.registry.version
        for channel in list(self._logged_on):
            session = channel.session
            key = None if session is None else self.registry.keys.get(session.key.text)
            if session is not None and (key is None or not key.enabled or key.account != session.key.account):
                channel.refuse(None, errors.bad_key(), channel.shows_limits)
                self.end_session(channel)
