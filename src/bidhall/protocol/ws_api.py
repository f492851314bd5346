# SPDX-License-Identifier: Apache-2.0
"""The frames of the WebSocket API: requests with numbers as they were written, answers, errors.

Called by the feeds for `/ws-api/v3`. Signatures there are over the parameters as the client wrote them, so a number's
token is kept as text and never becomes a float. It must never raise anything but `WsError` (a frame that is no
request) and `ApiError` (a request that is wrong).
"""

import json
from decimal import Decimal
from typing import Any, Final, NamedTuple, NoReturn
from urllib.parse import quote

import orjson

from bidhall.protocol import errors
from bidhall.protocol.endpoints import Endpoint
from bidhall.protocol.errors import ApiError
from bidhall.protocol.requests import Request, convert

ID_CHARACTERS_MAX: Final = 36
EXPONENT_CHARACTERS_MAX: Final = 3  # the sign among them
_METHOD_CHARACTERS_MAX: Final = 100
_LIMITED: Final = frozenset({418, 429})
_INT64_MIN: Final = -(1 << 63)
_INT64_MAX: Final = (1 << 63) - 1
# Parameters of the connection, not of the method; still part of what is signed.
_OF_THE_CONNECTION: Final = frozenset({"returnRateLimits"})
_WITHOUT_KEY: Final = frozenset({"returnRateLimits", "apiKey"})

RequestId = int | str | None


class Number(str):
    """A JSON number as it was written."""

    __slots__ = ()


class WsError(Exception):
    """A frame that is no request: what to say, and to which id."""

    def __init__(self, error: ApiError, request_id: RequestId = None) -> None:
        super().__init__(error.code, error.message)
        self.error = error
        self.id = request_id


class WsRequest(NamedTuple):
    """A request. `parameters`: str, Number, bool, list or dict by name, in the order sent; nulls are left out."""

    id: RequestId
    method: str
    parameters: dict[str, Any]


def _refuse_constant(_word: str) -> NoReturn:
    raise ValueError("NaN and Infinity are no JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Duplicate
    return found


class _Duplicate(Exception):
    pass


_DECODER: Final = json.JSONDecoder(
    parse_float=Number, parse_int=Number, parse_constant=_refuse_constant, object_pairs_hook=_object
)


def parse(frame: str | bytes) -> WsRequest:
    """A frame as a request: `{"id", "method", "params"}`; the method may carry the prefix "v3/"."""
    try:
        sent = _DECODER.decode(frame.decode("utf-8") if isinstance(frame, bytes) else frame)
    except _Duplicate:
        raise WsError(errors.duplicate()) from None
    except (ValueError, RecursionError):
        raise WsError(errors.invalid_json()) from None
    if not isinstance(sent, dict):
        raise WsError(errors.invalid_json())
    request_id = _request_id(sent)
    method = sent.get("method")
    if not isinstance(method, str) or isinstance(method, Number) or not 0 < len(method) <= _METHOD_CHARACTERS_MAX:
        raise WsError(errors.missing("method"), request_id)
    parameters = sent.get("params")
    if parameters is None:
        parameters = {}
    if not isinstance(parameters, dict):
        raise WsError(errors.invalid_json_parameter("params"), request_id)
    present = {name: value for name, value in parameters.items() if value is not None}
    return WsRequest(request_id, method.removeprefix("v3/"), present)


def _request_id(sent: dict[str, Any]) -> RequestId:
    request_id = sent.get("id")
    if request_id is None:
        return None
    if isinstance(request_id, Number):
        if request_id.lstrip("-").isdigit() and len(request_id) <= 20:
            number = int(request_id)
            if _INT64_MIN <= number <= _INT64_MAX:
                return number
    elif isinstance(request_id, str) and len(request_id) <= ID_CHARACTERS_MAX:
        return str(request_id)
    raise WsError(errors.invalid_data("id"))


def request(endpoint: Endpoint, sent: WsRequest) -> Request:
    """The method's values, by the same rules as a query's; what may have been signed is its payload, as documented.

    Where no key is asked for, one may be sent all the same: some clients name theirs everywhere.
    """
    without = _OF_THE_CONNECTION if "apiKey" in endpoint.by_name else _WITHOUT_KEY
    texts = {name: _text(name, value) for name, value in sent.parameters.items() if name not in without}
    return Request(convert(endpoint, texts), payload(sent) if endpoint.signed else b"", endpoint)


def _text(name: str, value: Any) -> str:
    """A JSON value as the text a query would have had."""
    if isinstance(value, str):
        return _without_exponent(value) if isinstance(value, Number) else str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list) and all(isinstance(item, str) and not isinstance(item, Number) for item in value):
        return orjson.dumps([_clean(item) for item in value]).decode()
    raise errors.invalid_data(name)


def _without_exponent(number: str) -> str:
    """Python writes 0.00001 as 1e-05, which no query would; what no market could mean is left as it is, and refused."""
    _, has_exponent, exponent = number.lower().partition("e")
    if not has_exponent or len(exponent) > EXPONENT_CHARACTERS_MAX:
        return str(number)
    return format(Decimal(number), "f")


def payload(sent: WsRequest) -> bytes:
    """What may have been signed: name=value, sorted by name, as they were written."""
    return "&".join([f"{name}={text}" for name, text in _signed(sent)]).encode()


def encoded_payload(sent: WsRequest) -> bytes:
    """The same percent-encoded, as some clients do it."""
    return "&".join([f"{quote(name, safe='')}={quote(text, safe='')}" for name, text in _signed(sent)]).encode("ascii")


def _signed(sent: WsRequest) -> list[tuple[str, str]]:
    return sorted((_clean(name), _signed_text(value)) for name, value in sent.parameters.items() if name != "signature")


def _signed_text(value: Any) -> str:
    if isinstance(value, str):
        return _clean(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return _clean(json.dumps(value, separators=(",", ":"), ensure_ascii=False))


def _clean(text: str) -> str:
    """Without the halves of characters that JSON's escapes can make and UTF-8 cannot write."""
    return text.encode("utf-8", "replace").decode()


def answer(request_id: bytes, result: bytes, rate_limits: bytes | None = None) -> bytes:
    """The answer to a request that was done; all three are finished JSON."""
    if rate_limits is None:
        return b'{"id":%b,"status":200,"result":%b}' % (request_id, result)
    return b'{"id":%b,"status":200,"result":%b,"rateLimits":%b}' % (request_id, result, rate_limits)


def error(request_id: bytes, refusal: ApiError, rate_limits: bytes | None = None, now_ns: int = 0) -> bytes:
    """The answer to a request that was refused; a limit says when to come back."""
    body = refusal.body
    if refusal.retry_after_s and refusal.status in _LIMITED and not refusal.data:
        now_ms = now_ns // 1_000_000
        times = b'{"serverTime":%d,"retryAfter":%d}' % (now_ms, now_ms + refusal.retry_after_s * 1_000)
        body = b'%b,"data":%b}' % (body[:-1], times)
    tail = b"" if rate_limits is None else b',"rateLimits":%b' % rate_limits
    return b'{"id":%b,"status":%d,"error":%b%b}' % (request_id, refusal.status, body, tail)


def id_text(request_id: RequestId) -> bytes:
    """An id as JSON."""
    return orjson.dumps(_clean(request_id) if isinstance(request_id, str) else request_id)
