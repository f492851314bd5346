# SPDX-License-Identifier: Apache-2.0
"""The WebSocket API's frames: raw number tokens, nulls, ids, payloads, answers, and whatever else may come."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bidhall.protocol import errors, signatures, ws_api
from bidhall.protocol.endpoints import WS_METHODS
from bidhall.protocol.errors import ApiError
from bidhall.protocol.ws_api import WsError

SECRET = b"secret"


def parse(frame: str) -> ws_api.WsRequest:
    return ws_api.parse(frame)


def test_numbers_stay_as_they_were_written() -> None:
    """python-binance signs str() of a float: 1e-05, 0.1, 1.0 — a number printed again would be another text."""
    sent = parse(
        '{"id":1,"method":"order.place","params":{"quantity":1e-05,"price":0.10,"timestamp":1700000000123,"x":-0.0,"b":true}}'
    )
    assert ws_api.payload(sent) == b"b=true&price=0.10&quantity=1e-05&timestamp=1700000000123&x=-0.0"


@pytest.mark.parametrize("request_id", [1, 0, -3, (1 << 63) - 1, "9dca-1", "a" * 36, "", None])
def test_ids(request_id: Any) -> None:
    sent = ws_api.parse(orjson.dumps({"id": request_id, "method": "ping"}))
    assert sent == (request_id, "ping", {})
    assert type(sent.id) is type(request_id)
    for raw in (
        ws_api.answer(ws_api.id_text(sent.id), b"{}"),
        ws_api.error(ws_api.id_text(sent.id), errors.unsupported(), b"[]"),
    ):
        assert orjson.loads(raw)["id"] == request_id


def test_nulls_are_absent_and_versions_are_cut() -> None:
    sent = parse('{"id":1,"method":"v3/ping","params":{"timeInForce":null}}')
    assert sent == (1, "ping", {})
    assert ws_api.request(WS_METHODS["ping"], sent).values == {}
    assert parse('{"id":1,"method":"ping","params":null}').parameters == {}


def subscribe(window: str = "") -> str:
    return (
        '{"id":"a","method":"userDataStream.subscribe.signature","params":{"apiKey":"key","timestamp":1700000000123'
        + window
        + ',"signature":"%s","returnRateLimits":false}}'
    )


@pytest.mark.parametrize(
    ("window", "window_ns"),
    [("", 5_000_000_000), (',"recvWindow":6000.346', 6_000_346_000), (',"recvWindow":"6000.346"', 6_000_346_000)],
)
def test_subscribe(window: str, window_ns: int) -> None:
    frame = subscribe(window)
    plain, encoded = ws_api.payload(parse(frame % "00")), ws_api.encoded_payload(parse(frame % "00"))
    assert plain == encoded
    assert plain.startswith(b"apiKey=key&")
    assert plain.endswith(b"&returnRateLimits=false&timestamp=1700000000123")
    signature = signatures.HmacKey(SECRET).sign(plain).hex()
    request = ws_api.request(WS_METHODS["userDataStream.subscribe.signature"], parse(frame % signature))
    assert signatures.verify_hmac(SECRET, request.payload, request.signature)
    assert (request.api_key, request.timestamp_ns, request.window_ns) == ("key", 1_700_000_000_123_000_000, window_ns)
    assert request.values == {}


BAD_PARAMETERS = [
    ("userDataStream.subscribe.signature", {}, -1102),
    ("userDataStream.subscribe.signature", {"apiKey": "a b", "timestamp": 1, "signature": "x"}, -2014),
    ("userDataStream.subscribe.signature", {"apiKey": "a", "timestamp": 1.5, "signature": "x"}, -1100),
    ("userDataStream.subscribe.signature", {"apiKey": "a", "timestamp": "x", "signature": "x"}, -1100),
    ("userDataStream.subscribe.signature", {"apiKey": "a", "timestamp": 1, "signature": ""}, -1105),
    ("userDataStream.subscribe.signature", {"apiKey": "a", "timestamp": [1], "signature": "x"}, -1130),
    ("userDataStream.subscribe.signature", {"apiKey": "a", "timestamp": {}, "signature": "x"}, -1130),
    ("userDataStream.subscribe.signature", {"apiKey": "a", "timestamp": 1, "signature": "x", "foo": 1}, -1104),
    (
        "userDataStream.subscribe.signature",
        {"apiKey": "a", "timestamp": 1, "signature": "x", "recvWindow": 60001},
        -1102,
    ),
    ("userDataStream.unsubscribe", {"subscriptionId": -1}, -1100),
    ("userDataStream.unsubscribe", {"subscriptionId": "0x"}, -1100),
    ("userDataStream.unsubscribe", {"subscriptionId": True}, -1100),
    ("ping", {"a": 1}, -1104),
    ("exchangeInfo", {"symbols": "A"}, -1100),
    ("exchangeInfo", {"symbols": ["a"]}, -1100),
    ("exchangeInfo", {"symbols": [1]}, -1130),
    ("depth", {"symbol": "A", "limit": 0}, -1102),
    ("depth", {"symbol": 'A"'}, -1100),
]


@pytest.mark.parametrize(("method", "parameters", "code"), BAD_PARAMETERS)
def test_bad_parameters(method: str, parameters: dict[str, Any], code: int) -> None:
    sent = ws_api.parse(orjson.dumps({"id": 1, "method": method, "params": parameters}))
    with pytest.raises(ApiError) as caught:
        ws_api.request(WS_METHODS[method], sent)
    assert caught.value.code == code
    ws_api.encoded_payload(sent)


def test_values_are_those_of_a_query() -> None:
    frame = (
        '{"id":1,"method":"order.place","params":{"symbol":"BTCUSDT","side":"BUY","type":"LIMIT","timeInForce":"GTC",'
        '"price":"100.5","quantity":0.25,"newOrderRespType":null,"timestamp":1,"apiKey":"k","signature":"s"}}'
    )
    values = ws_api.request(WS_METHODS["order.place"], parse(frame)).values
    assert values == {
        "symbol": "BTCUSDT", "side": 1, "type": 1, "timeInForce": 1, "price": 100_5 * 10**7, "quantity": 25_000_000,
    }  # fmt: skip
    frame = '{"id":1,"method":"exchangeInfo","params":{"symbols":["A","B"],"showPermissionSets":false}}'
    assert ws_api.request(WS_METHODS["exchangeInfo"], parse(frame)).values == {
        "symbols": ["A", "B"],
        "showPermissionSets": False,
    }
    signed = '"timestamp":1,"apiKey":"k","signature":"s"'
    frame = '{"id":1,"method":"order.status","params":{"symbol":"A","orderId":"5",' + signed + "}}"
    assert ws_api.request(WS_METHODS["order.status"], parse(frame)).values["orderId"] == 5


def test_percent_encoded_payloads() -> None:
    sent = parse('{"id":1,"method":"x","params":{"symbols":["A","B"],"a":"１ &=","signature":"no"}}')
    plain, encoded = ws_api.payload(sent), ws_api.encoded_payload(sent)
    assert plain == 'a=１ &=&symbols=["A","B"]'.encode()
    assert encoded == b"a=%EF%BC%91%20%26%3D&symbols=%5B%22A%22%2C%22B%22%5D"


BAD_FRAMES = [
    ("", -1135, None), ("{", -1135, None), ("null", -1135, None), ("[]", -1135, None), ("1", -1135, None),
    ('{"id":1,"method":"ping","params":{"a":NaN}}', -1135, None),
    ('{"id":1,"method":"ping","params":{"a":Infinity}}', -1135, None),
    ('{"id":1,"method":"ping","params":{"a":01}}', -1135, None),
    ('{"id":1,"method":"ping","params":{"a":1,"a":2}}', -1101, None),
    ('{"id":1,"id":2,"method":"ping"}', -1101, None),
    ('{"id":1}', -1102, 1), ('{"id":"x","method":5}', -1102, "x"), ('{"id":"x","method":""}', -1102, "x"),
    ('{"id":1,"method":"ping","params":[]}', -1135, 1), ('{"id":1,"method":"ping","params":"a"}', -1135, 1),
    ('{"id":1.5,"method":"ping"}', -1130, None), ('{"id":true,"method":"ping"}', -1130, None),
    ('{"id":9223372036854775808,"method":"ping"}', -1130, None), ('{"id":{},"method":"ping"}', -1130, None),
    ('{"id":"' + "a" * 37 + '","method":"ping"}', -1130, None), ('{"id":1e2,"method":"ping"}', -1130, None),
]  # fmt: skip


@pytest.mark.parametrize(("frame", "code", "request_id"), BAD_FRAMES)
def test_bad_frames(frame: str, code: int, request_id: Any) -> None:
    with pytest.raises(WsError) as caught:
        parse(frame)
    assert (caught.value.error.code, caught.value.id, caught.value.error.status) == (code, request_id, 400)


def test_answers() -> None:
    limits = b'[{"rateLimitType":"REQUEST_WEIGHT"}]'
    assert ws_api.answer(b'"a"', b'{"subscriptionId":0}', limits) == (
        b'{"id":"a","status":200,"result":{"subscriptionId":0},"rateLimits":[{"rateLimitType":"REQUEST_WEIGHT"}]}'
    )
    assert orjson.loads(ws_api.error(b"null", errors.bad_key())) == {
        "id": None, "status": 401, "error": {"code": -2015, "msg": "Invalid API-key, IP, or permissions for action."},
    }  # fmt: skip


def answered(frame: str | bytes) -> None:
    """Whatever comes: a request or a refusal, never anything else; and every answer is JSON."""
    try:
        sent = ws_api.parse(frame)
    except WsError as error:
        orjson.loads(ws_api.error(ws_api.id_text(error.id), error.error))
        return
    orjson.loads(ws_api.answer(ws_api.id_text(sent.id), b"{}"))
    plain, encoded = ws_api.payload(sent), ws_api.encoded_payload(sent)
    assert encoded.isascii()
    assert isinstance(plain, bytes)
    for endpoint in (
        WS_METHODS["order.place"],
        WS_METHODS["exchangeInfo"],
        WS_METHODS["userDataStream.subscribe.signature"],
    ):
        try:
            ws_api.request(endpoint, sent)
        except ApiError as refusal:
            orjson.loads(refusal.body)


@given(st.binary(max_size=60) | st.text(max_size=60))
def test_any_frame(frame: str | bytes) -> None:
    answered(frame)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=[]), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)
PARAMETERS = st.dictionaries(
    st.sampled_from(["symbol", "symbols", "timestamp", "apiKey", "signature", "quantity", "recvWindow"])
    | st.text(max_size=4),
    VALUES,
)


@given(st.fixed_dictionaries({"id": VALUES, "method": VALUES | st.just("ping"), "params": VALUES | PARAMETERS}))
def test_any_json(value: Any) -> None:
    answered(json.dumps(value))


def test_lone_surrogates_and_depth() -> None:
    answered('{"id":"\\ud800","method":"\\udfff","params":{"symbol":"\\ud800","\\ud800":"\\udc00"}}')
    for frame in (
        "[" * 100_000,
        '{"a":' * 100_000,
        '{"id":1,"method":"ping","params":' + '{"a":' * 2_000 + "1" + "}" * 2_001,
    ):
        answered(frame)
    answered('{"id":' + "9" * 10_000 + ',"method":"ping"}')
