# SPDX-License-Identifier: Apache-2.0
"""Raw query and raw body to checked values: the door's first step, before keys and before markets.

`parse` works on the bytes as they came, because signatures are over those bytes. It has two ways that give the same
result (a test compares them): one that follows the declaration word by word and knows every error, and a quick one for
requests of a shape that was seen before. It must never guess: what it cannot read it refuses.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import unquote_to_bytes

from bidhall.protocol import errors
from bidhall.protocol.endpoints import DEFAULT_WINDOW_NS, Endpoint, Values
from bidhall.protocol.numbers import INT64_MAX
from bidhall.protocol.parameters import Parameter

# More parameters than the largest declaration has, with room for unknown ones to be counted.
PARAMETERS_MAX: Final = 128

# How many shapes an endpoint remembers, for ever: a client library has a few per call. More than that go the slow way.
SHAPES_MAX: Final = 16
# "&signature=" and 64 hex digits, at the end of a request of a shape.
SIGNATURE_BYTES: Final = 75

_SIGNATURE: Final = b"signature="
_UNITS_NS: Final[Mapping[str, int]] = {
    "MILLISECOND": 1_000_000, "millisecond": 1_000_000, "MICROSECOND": 1_000, "microsecond": 1_000,
}  # fmt: skip
MILLISECOND_NS: Final = 1_000_000


class Request:
    """What a request said. `values` holds what was sent (and defaults); the signing parameters stand apart."""

    __slots__ = ("api_key", "payload", "signature", "timestamp_ns", "values", "window_ns")

    def __init__(self, values: Values, payload: bytes, endpoint: Endpoint) -> None:
        self.values = values
        self.payload = payload
        if endpoint.signed:
            self.signature: str = values.pop("signature", "")  # none: on a connection that has logged on
            self.timestamp_ns: int = values.pop("timestamp")
            self.window_ns: int = values.pop("recvWindow", DEFAULT_WINDOW_NS)
            self.api_key: str = values.pop("apiKey", "")
        else:
            self.signature = self.api_key = ""
            self.timestamp_ns = self.window_ns = 0

    @property
    def deadline_ns(self) -> int:
        """When the request's window closes; 0 when it has none."""
        return min(self.timestamp_ns + self.window_ns, INT64_MAX)


class Shape:
    """The order of names in requests that were taken before, as one regular expression whose groups are the values.

    It matches only what is surely good and not escaped, so whatever it does not match goes the slow way.
    """

    __slots__ = ("conversions", "match", "names", "signature_is_last")

    def __init__(self, parameters: Sequence[Parameter]) -> None:
        pattern = "&".join([f"{re.escape(parameter.name)}={parameter.pattern}" for parameter in parameters])
        self.match = re.compile(pattern, re.ASCII).fullmatch
        self.names = tuple(parameter.name for parameter in parameters)
        self.conversions = tuple((one.name, one.quick) for one in parameters if one.quick is not None)
        self.signature_is_last = self.names[-1] == "signature"


def parse(endpoint: Endpoint, query: bytes, body: bytes = b"") -> Request:
    """The request's values, or the `ApiError` that the first wrong parameter deserves. Query wins over body."""
    if not query or not body:
        raw = query or body
        text = raw.decode("latin-1")
        for shape in endpoint.shapes:
            match = shape.match(text)
            if match is not None:
                return _parse_by_shape(endpoint, raw, shape, match.groups())
    request = parse_by_declaration(endpoint, query, body)
    if len(endpoint.shapes) < SHAPES_MAX and not (query and body):
        _learn_shape(endpoint, raw)
    return request


def _parse_by_shape(endpoint: Endpoint, raw: bytes, shape: Shape, groups: tuple[str, ...]) -> Request:
    values: Values = dict(zip(shape.names, groups, strict=False))
    for name, quick in shape.conversions:
        values[name] = quick(values[name])
    for name, default in endpoint.defaults:
        values.setdefault(name, default)
    endpoint.check(values)
    if endpoint.signed:
        raw = raw[:-SIGNATURE_BYTES] if shape.signature_is_last else without_signature(raw)
    return Request(values, raw, endpoint)


def _learn_shape(endpoint: Endpoint, raw: bytes) -> None:
    """Remember the names of a request that was taken, if its next of kin can go the quick way."""
    names = [segment.partition(b"=")[0].decode("latin-1") for segment in raw.split(b"&")]
    parameters = [endpoint.by_name[name] for name in names if name in endpoint.by_name]
    if parameters and len(parameters) == len(names) and all(parameter.pattern for parameter in parameters):
        shape = Shape(parameters)
        if shape.match(raw.decode("latin-1")) is not None:
            endpoint.shapes.append(shape)


def parse_by_declaration(endpoint: Endpoint, query: bytes, body: bytes = b"") -> Request:
    """The slow way, which decides every error: duplicates, then each declared parameter in order, then unknown ones."""
    sent = _pairs(body) if body else {}
    if query:
        sent |= _pairs(query)
    values = convert(endpoint, sent)
    payload = without_signature(query) + without_signature(body) if endpoint.signed else query + body
    return Request(values, payload, endpoint)


def convert(endpoint: Endpoint, sent: Mapping[str, str]) -> Values:
    """The declared parameters of decoded texts. Also what the WebSocket API parses its parameters with."""
    values: Values = {}
    read = 0
    for parameter in endpoint.parameters:
        name = parameter.name
        text = sent.get(name)
        if text is None:
            if parameter.mandatory:
                raise errors.missing(name)
            continue
        if not text:
            raise errors.empty(name)
        values[name] = parameter.convert(text)
        read += 1
    if read < len(sent):
        raise errors.unread(read, len(sent))
    for name, default in endpoint.defaults:
        values.setdefault(name, default)
    endpoint.check(values)
    return values


def _pairs(raw: bytes) -> dict[str, str]:
    """Decoded names and values of one part. A name alone has an empty value; empty segments are nothing."""
    segments = [segment for segment in raw.split(b"&") if segment]
    if len(segments) > PARAMETERS_MAX:
        raise errors.too_many_parameters()
    sent: dict[str, str] = {}
    for segment in segments:
        name, _, value = segment.partition(b"=")
        key = _decoded(name)
        if key in sent:
            raise errors.duplicate()
        sent[key] = _decoded(value)
    return sent


def _decoded(raw: bytes) -> str:
    try:
        return unquote_to_bytes(raw.replace(b"+", b" ")).decode("utf-8")
    except UnicodeDecodeError:
        raise errors.illegal_somewhere() from None


def without_signature(raw: bytes) -> bytes:
    """One part of the signed bytes: as received, less the signature and the "&" that held it."""
    if _SIGNATURE not in raw:
        return raw
    return b"&".join(segment for segment in raw.split(b"&") if not segment.startswith(_SIGNATURE))


def time_unit_ns(text: str | bytes | None) -> int:
    """The unit of times in answers, by header or query: ns in one unit. None and nothing mean ms."""
    if not text:
        return MILLISECOND_NS
    word = text.decode("latin-1") if isinstance(text, bytes) else text
    unit_ns = _UNITS_NS.get(word)
    if unit_ns is None:
        raise errors.invalid_time_unit()
    return unit_ns
