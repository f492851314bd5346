# SPDX-License-Identifier: Apache-2.0
"""The frames of the WebSocket API: requests with numbers as they were written, answers, errors.

Called by the feeds for `/ws-api/v3`. Signatures there are over the parameters as the client wrote them, so a number's
token is kept as text and never becomes a float. It must never raise anything but `WsError` (a frame that is no
request) and `ApiError` (a request that is wrong).
"""

import json
from typing import Any, Final, NamedTuple, NoReturn
from urllib.parse import quote

import orjson

from bidhall.protocol import errors
from bidhall.protocol.endpoints import Endpoint
from bidhall.protocol.errors import ApiError
from bidhall.protocol.requests import Request, convert

ID_CHARACTERS_MAX: Final = 36
_METHOD_CHARACTERS_MAX: Final = 100
_INT64_MIN: Final = -(1 << 63)
_INT64_MAX: Final = (1 << 63) - 1
# Parameters of the connection, not of the method; still part of what is signed.
_OF_THE_CONNECTION: Final = frozenset({"returnRateLimits"})

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
    """The method's values, by the same rules as a query's. The payload is the plain one of `payloads`."""
    texts = {name: _text(name, value) for name, value in sent.parameters.items() if name not in _OF_THE_CONNECTION}
    return Request(convert(endpoint, texts), payloads(sent)[0] if endpoint.signed else b"", endpoint)


def _text(name: str, value: Any) -> str:
    """A JSON value as the text a query would have had."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list) and all(isinstance(item, str) and not isinstance(item, Number) for item in value):
        return orjson.dumps([_clean(item) for item in value]).decode()
    raise errors.invalid_data(name)


def payloads(sent: WsRequest) -> tuple[bytes, bytes]:
    """What may have been signed: name=value sorted by name, plain (as documented) and percent-encoded (as some do)."""
    texts = sorted(
        (_clean(name), _signed_text(value)) for name, value in sent.parameters.items() if name != "signature"
    )
    plain = "&".join([f"{name}={text}" for name, text in texts])
    encoded = "&".join([f"{quote(name, safe='')}={quote(text, safe='')}" for name, text in texts])
    return plain.encode(), encoded.encode("ascii")


def _signed_text(value: Any) -> str:
    if isinstance(value, str):
        return _clean(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return _clean(json.dumps(value, separators=(",", ":"), ensure_ascii=False))


def _clean(text: str) -> str:
    """Without the halves of characters that JSON's escapes can make and UTF-8 cannot write."""
    return text.encode("utf-8", "replace").decode()


def answer(request_id: RequestId, status: int, result: bytes, rate_limits: bytes | None = None) -> bytes:
    """The answer to a request that was done; `result` and `rate_limits` are finished JSON."""
    tail = b"" if rate_limits is None else b',"rateLimits":%b' % rate_limits
    return b'{"id":%b,"status":%d,"result":%b%b}' % (_id_text(request_id), status, result, tail)


def error(request_id: RequestId, refusal: ApiError, rate_limits: bytes | None = None) -> bytes:
    """The answer to a request that was refused."""
    tail = b"" if rate_limits is None else b',"rateLimits":%b' % rate_limits
    return b'{"id":%b,"status":%d,"error":%b%b}' % (_id_text(request_id), refusal.status, refusal.body, tail)


def _id_text(request_id: RequestId) -> bytes:
    return orjson.dumps(_clean(request_id) if isinstance(request_id, str) else request_id)
