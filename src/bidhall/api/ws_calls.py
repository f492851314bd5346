# SPDX-License-Identifier: Apache-2.0
"""One request of the WebSocket API on its way to its answer.

Who calls it: `ws_api.WsApi` makes a `Call` for every request that names a method; handlers see it as `lane.Request` and
answer it as they answer HTTP. What may never happen here: two answers to one request, an answer without its request's
id, or an answer to somebody who is gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bidhall.api.frames import text_frame
from bidhall.api.lane import Request, Route
from bidhall.core.wire import Form, read_form
from bidhall.protocol import ws_api
from bidhall.protocol.endpoints import Endpoint
from bidhall.protocol.errors import ApiError

if TYPE_CHECKING:
    from bidhall.api.limits import OrderCount
    from bidhall.api.ws_api import ApiChannel
    from bidhall.protocol.ws_api import WsRequest

HEAD_END: Final = b"\r\n\r\n"
KEY_BYTES: Final = len("apiKey=&")  # what stands around the key, first of what is signed


class Method:
    """A method: how its parameters are declared, with and without a session, and the route that serves it."""

    __slots__ = ("endpoint", "in_session", "route")

    def __init__(self, endpoint: Endpoint, route: Route) -> None:
        self.endpoint = endpoint
        self.in_session = endpoint.in_session()
        self.route = route


class Call(Request):
    """A request with an id."""

    __slots__ = ("answered", "channel", "id_text", "message", "method", "raw", "show_limits", "signed_form")

    def __init__(self, channel: ApiChannel, method: Method, id_text: bytes, now_ns: int) -> None:
        self.route = method.route
        self.peer = channel.peer
        self.key_text = ""
        self.unit_ns = channel.unit_ns
        self.data = None
        self.fresh = False
        self.admitted = False
        self.weighed = False
        self.more = b""
        self.account = 0
        self.channel = channel
        self.method = method
        self.id_text = id_text
        self.now_ns = now_ns
        self.raw: WsRequest | None = None  # not read yet while the short way is tried: then `message` is all of it
        self.message = b""
        self.signed_form = b""
        self.show_limits = channel.shows_limits
        self.answered = False

    def form(self) -> Form | None:
        """The parameters, as the form of a plain signed request has them; it begins with the key."""
        return read_form(self.signed_form, len(self.key_text) + KEY_BYTES) if self.signed_form else None

    def finish(self, body: bytes) -> None:
        """The request succeeded; `body` is its result."""
        if not self.answered:
            self._send(ws_api.answer(self.id_text, body, self._limits()))

    def fail(self, error: ApiError) -> None:
        """The request failed; what is free when it succeeds costs its weight now."""
        if self.answered:
            return
        route = self.route
        route.failed += 1
        if route.free_on_success and error.code != -1003:
            self.channel.limits.add(self.peer, 1, self.now_ns)
        self._send(ws_api.error(self.id_text, error, self._limits(), self.channel.api.environment.wall_ns()))

    def deliver(self, data: bytes) -> None:
        """The short way of orders writes a whole HTTP answer: its body is the result."""
        self.finish(data[data.index(HEAD_END) + 4 :])

    def _limits(self) -> bytes | None:
        if not self.show_limits:
            return None
        # Who places an order is told of the order limits too.
        count: OrderCount | None = getattr(self, "count", None)
        return self.channel.rate_limits(self.now_ns, count)

    def _send(self, payload: bytes) -> None:
        self.answered = True
        self.channel.open_calls -= 1
        self.channel.connection.push(text_frame(payload))


def shows_limits(raw: WsRequest, otherwise: bool) -> bool:
    """Whether the answer is to hold `rateLimits`: as the request says, else as the connection's URL says."""
    wish = raw.parameters.get("returnRateLimits")
    return otherwise if wish is None else str(wish).lower() != "false"
