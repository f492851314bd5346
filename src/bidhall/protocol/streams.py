# SPDX-License-Identifier: Apache-2.0
"""The control frames of the market streams (SUBSCRIBE and its kin) and the names of streams.

Called by the feeds for each frame a client sends and each name it asks for. It must never raise anything but
`ControlError`: whatever bytes come, the answer is one of Binance's error objects.
"""

import re
from typing import Any, Final, NamedTuple

import orjson

from bidhall.protocol.parameters import INTERVALS

METHODS: Final = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
ID_CHARACTERS_MAX: Final = 36
SLOW_MS: Final = 1_000
FAST_MS: Final = 100
_INT64_MIN: Final = -(1 << 63)
_INT64_MAX: Final = (1 << 63) - 1
_VARIANTS: Final = ", ".join(f"`{name}`" for name in METHODS)

RequestId = int | str | None


class ControlError(Exception):
    """A control frame that cannot be done: code 0 to 3, Binance's text, the id where it was read."""

    def __init__(self, code: int, message: str, request_id: RequestId = None, *, known: bool = False) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.request_id = request_id
        self.known = known

    @property
    def body(self) -> bytes:
        """The JSON that the client gets."""
        answer: dict[str, Any] = {"code": self.code, "msg": self.message}
        if self.known:
            answer["id"] = self.request_id
        return orjson.dumps(answer)


class Control(NamedTuple):
    """A control frame. `params`: names of streams for SUBSCRIBE and UNSUBSCRIBE, the property else, checked."""

    method: str
    params: list[Any]
    id: RequestId


class StreamName(NamedTuple):
    """What a stream's name asks for. `symbol` as written there (lower case), empty for streams of all markets."""

    symbol: str
    kind: str  # depth, trade, aggTrade, bookTicker, kline, miniTicker, ticker, avgPrice
    levels: int = 0  # partial depth: 5, 10, 20
    speed_ms: int = SLOW_MS  # depth: 100 or 1000
    interval: str = ""  # kline; of a ticker its window: 1h, 4h, 1d, and nothing for the 24 hours
    offset_minutes: int = 0  # kline in another time zone


def parse_control(frame: str | bytes) -> Control:
    """A control frame as sent, or the error it deserves."""
    try:
        sent = orjson.loads(frame)
    except (orjson.JSONDecodeError, RecursionError, UnicodeError) as error:
        line = getattr(error, "lineno", 1)
        column = getattr(error, "colno", 1)
        raise ControlError(3, f"Invalid JSON: expected value at line {line} column {column}") from None
    if not isinstance(sent, dict):
        raise ControlError(2, "Invalid request: request must be an object")
    request_id = _request_id(sent)
    method = sent.get("method")
    if "method" not in sent:
        message = f"Invalid request: missing field `method` at line 1 column {len(frame)}"
        raise ControlError(2, message, request_id, known=True)
    if not isinstance(method, str) or method not in METHODS:
        text = method if isinstance(method, str) else orjson.dumps(method).decode()
        raise ControlError(
            2, f"Invalid request: unknown variant `{text[:40]}`, expected one of {_VARIANTS}", request_id, known=True
        )
    params = sent.get("params")
    return Control(method, _params(method, [] if params is None else params, request_id), request_id)


def _request_id(sent: dict[str, Any]) -> RequestId:
    request_id = sent.get("id")
    if request_id is None:
        return None
    if isinstance(request_id, int) and not isinstance(request_id, bool) and _INT64_MIN <= request_id <= _INT64_MAX:
        return request_id
    if isinstance(request_id, str) and len(request_id) <= ID_CHARACTERS_MAX:
        return request_id
    raise ControlError(2, "Invalid request: request ID must be an unsigned integer")


def _params(method: str, params: Any, request_id: RequestId) -> list[Any]:
    if not isinstance(params, list):
        raise ControlError(2, "Invalid request: params must be an array", request_id, known=True)
    if method in ("SUBSCRIBE", "UNSUBSCRIBE"):
        if not params or not all(isinstance(name, str) for name in params):
            raise ControlError(2, "Invalid request: stream name must be a string", request_id, known=True)
        return params
    wanted = {"LIST_SUBSCRIPTIONS": 0, "SET_PROPERTY": 2, "GET_PROPERTY": 1}[method]
    if len(params) > wanted:
        raise ControlError(2, "Invalid request: too many parameters", request_id, known=True)
    if wanted and (not params or not isinstance(params[0], str)):
        raise ControlError(2, "Invalid request: property name must be a string", request_id, known=True)
    if wanted and params[0] != "combined":
        raise ControlError(0, "Unknown property", request_id, known=True)
    if wanted == 2 and (len(params) < 2 or not isinstance(params[1], bool)):
        raise ControlError(1, "Invalid value type: expected Boolean", request_id, known=True)
    return params


def result(request_id: RequestId, value: Any = None) -> bytes:
    """The answer to a control frame that was done."""
    return orjson.dumps({"result": value, "id": request_id})


_DEPTH: Final = re.compile(r"depth(5|10|20)?(?:@(100|1000)ms)?", re.ASCII).fullmatch
_KLINE: Final = re.compile(r"kline_([0-9]{1,2}[smhdwM])(?:@([+-])([0-9]{1,2}):([0-5][0-9]))?", re.ASCII).fullmatch
_WINDOW: Final = re.compile(r"ticker_(1h|4h|1d)", re.ASCII).fullmatch
_WINDOW_OF_ALL: Final = re.compile(r"!ticker_(1h|4h|1d)@arr", re.ASCII).fullmatch
_PLAIN: Final = frozenset({"trade", "aggTrade", "bookTicker", "miniTicker", "ticker", "avgPrice"})
_OF_ALL: Final = {"!miniTicker@arr": "miniTicker", "!ticker@arr": "ticker", "!bookTicker": "bookTicker"}
# python-binance asks for these speeds of the arrays of all markets; both get what there is, once a second.
_SPEED_OF_ALL: Final = re.compile(r"(?<=@arr)@(?:1000|3000)ms\Z", re.ASCII).sub
_NAME_CHARACTERS_MAX: Final = 100


def parse_name(text: str) -> StreamName | None:
    """What the name asks for; None when there is no such kind of stream (Binance takes the name and sends nothing)."""
    if len(text) > _NAME_CHARACTERS_MAX:
        return None
    kind_of_all = _OF_ALL.get(text if text in _OF_ALL else _SPEED_OF_ALL("", text))
    if kind_of_all is not None:
        return StreamName("", kind_of_all)
    window_of_all = _WINDOW_OF_ALL(text)
    if window_of_all is not None:
        return StreamName("", "ticker", interval=window_of_all[1])
    symbol, _, rest = text.partition("@")
    if not symbol or symbol != symbol.lower():
        return None
    if rest in _PLAIN:
        return StreamName(symbol, rest)
    window = _WINDOW(rest)
    if window is not None:
        return StreamName(symbol, "ticker", interval=window[1])
    depth = _DEPTH(rest)
    if depth is not None:
        speed_ms = FAST_MS if depth[2] == "100" else SLOW_MS
        return StreamName(symbol, "depth", levels=int(depth[1] or 0), speed_ms=speed_ms)
    kline = _KLINE(rest)
    if kline is not None and kline[1] in INTERVALS:
        minutes = int(kline[3] or 0) * 60 + int(kline[4] or 0)
        return StreamName(symbol, "kline", interval=kline[1], offset_minutes=-minutes if kline[2] == "-" else minutes)
    return None
