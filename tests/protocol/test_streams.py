# SPDX-License-Identifier: Apache-2.0
"""Control frames and names of streams: what is accepted, and Binance's words for everything else."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bidhall.protocol import streams
from bidhall.protocol.streams import ControlError, StreamName

VARIANTS = "`SUBSCRIBE`, `UNSUBSCRIBE`, `LIST_SUBSCRIPTIONS`, `SET_PROPERTY`, `GET_PROPERTY`"


@pytest.mark.parametrize("request_id", [1, 0, -5, (1 << 63) - 1, -(1 << 63), "abc", "a" * 36, "", None])
def test_ids_come_back_unchanged(request_id: Any) -> None:
    frame = orjson.dumps({"method": "SUBSCRIBE", "params": ["btcusdt@depth"], "id": request_id})
    control = streams.parse_control(frame)
    assert control == ("SUBSCRIBE", ["btcusdt@depth"], request_id)
    assert type(control.id) is type(request_id)
    assert orjson.loads(streams.result(control.id)) == {"result": None, "id": request_id}


def test_methods() -> None:
    assert streams.parse_control('{"method":"UNSUBSCRIBE","params":["a@trade","b@trade"],"id":1}').params == [
        "a@trade",
        "b@trade",
    ]
    assert streams.parse_control('{"method":"LIST_SUBSCRIPTIONS","id":3}') == ("LIST_SUBSCRIPTIONS", [], 3)
    assert streams.parse_control('{"method":"LIST_SUBSCRIPTIONS"}') == ("LIST_SUBSCRIPTIONS", [], None)
    assert streams.parse_control('{"method":"SET_PROPERTY","params":["combined",true],"id":5}').params == [
        "combined",
        True,
    ]
    assert streams.parse_control('{"method":"GET_PROPERTY","params":["combined"],"id":2}').params == ["combined"]
    assert streams.result(2, True) == b'{"result":true,"id":2}'


BAD = [
    ("", 3, "Invalid JSON: expected value at line 1 column 1", None),
    ("{", 3, None, None),
    ("[1", 3, None, None),
    ("[]", 2, "Invalid request: request must be an object", None),
    ("1", 2, "Invalid request: request must be an object", None),
    ('{"id":1}', 2, "Invalid request: missing field `method` at line 1 column 8", 1),
    (
        '{"method":"subscribe","id":1}',
        2,
        f"Invalid request: unknown variant `subscribe`, expected one of {VARIANTS}",
        1,
    ),
    ('{"method":7,"id":"x"}', 2, f"Invalid request: unknown variant `7`, expected one of {VARIANTS}", "x"),
    ('{"method":null,"id":"x"}', 2, f"Invalid request: unknown variant `null`, expected one of {VARIANTS}", "x"),
    (
        '{"method":"SUBSCRIBE","params":["a"],"id":1.5}',
        2,
        "Invalid request: request ID must be an unsigned integer",
        None,
    ),
    (
        '{"method":"SUBSCRIBE","params":["a"],"id":true}',
        2,
        "Invalid request: request ID must be an unsigned integer",
        None,
    ),
    (
        '{"method":"SUBSCRIBE","params":["a"],"id":[]}',
        2,
        "Invalid request: request ID must be an unsigned integer",
        None,
    ),
    (
        '{"method":"SUBSCRIBE","params":["a"],"id":9223372036854775808}',
        2,
        "Invalid request: request ID must be an unsigned integer",
        None,
    ),
    (
        '{"method":"SUBSCRIBE","params":["a"],"id":"%s"}' % ("a" * 37),
        2,
        "Invalid request: request ID must be an unsigned integer",
        None,
    ),
    ('{"method":"SUBSCRIBE","params":{},"id":1}', 2, "Invalid request: params must be an array", 1),
    ('{"method":"SUBSCRIBE","params":[1],"id":1}', 2, "Invalid request: stream name must be a string", 1),
    ('{"method":"SUBSCRIBE","params":[],"id":1}', 2, "Invalid request: stream name must be a string", 1),
    ('{"method":"LIST_SUBSCRIPTIONS","params":["a"],"id":1}', 2, "Invalid request: too many parameters", 1),
    ('{"method":"SET_PROPERTY","params":["combined",true,1],"id":1}', 2, "Invalid request: too many parameters", 1),
    ('{"method":"SET_PROPERTY","params":[1,true],"id":1}', 2, "Invalid request: property name must be a string", 1),
    ('{"method":"GET_PROPERTY","params":[],"id":1}', 2, "Invalid request: property name must be a string", 1),
    ('{"method":"GET_PROPERTY","params":["x"],"id":1}', 0, "Unknown property", 1),
    ('{"method":"SET_PROPERTY","params":["combined","yes"],"id":1}', 1, "Invalid value type: expected Boolean", 1),
    ('{"method":"SET_PROPERTY","params":["combined"],"id":1}', 1, "Invalid value type: expected Boolean", 1),
]


@pytest.mark.parametrize(("frame", "code", "message", "request_id"), BAD)
def test_bad_control_frames(frame: str, code: int, message: str | None, request_id: Any) -> None:
    with pytest.raises(ControlError) as caught:
        streams.parse_control(frame)
    body = orjson.loads(caught.value.body)
    assert body["code"] == code
    if message is not None:
        assert body["msg"] == message
    assert ("id" in body) == (request_id is not None)
    assert body.get("id") == request_id


def answered(frame: bytes | str) -> None:
    try:
        body = streams.result(streams.parse_control(frame).id)
    except ControlError as error:
        body = error.body
    assert orjson.loads(body).get("code", 0) in (0, 1, 2, 3)


@given(st.binary(max_size=60) | st.text(max_size=60))
def test_any_frame_is_answered(frame: bytes | str) -> None:
    answered(frame)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["method", "params", "id", "x"]), inner, max_size=4)
        ),
    )
)
def test_any_json_is_answered(value: Any) -> None:
    answered(json.dumps(value))


def test_deep_nesting() -> None:
    for frame in ("[" * 5_000, '{"a":' * 5_000, "[" * 5_000 + "]" * 5_000):
        with pytest.raises(ControlError):
            streams.parse_control(frame)


NAMES = [
    ("btcusdt@depth", StreamName("btcusdt", "depth", 0, 1000)),
    ("btcusdt@depth@100ms", StreamName("btcusdt", "depth", 0, 100)),
    ("btcusdt@depth@1000ms", StreamName("btcusdt", "depth", 0, 1000)),
    ("btcusdt@depth5", StreamName("btcusdt", "depth", 5, 1000)),
    ("btcusdt@depth10@100ms", StreamName("btcusdt", "depth", 10, 100)),
    ("btcusdt@depth20@100ms", StreamName("btcusdt", "depth", 20, 100)),
    ("btcusdt@trade", StreamName("btcusdt", "trade")),
    ("btcusdt@aggTrade", StreamName("btcusdt", "aggTrade")),
    ("btcusdt@bookTicker", StreamName("btcusdt", "bookTicker")),
    ("btcusdt@kline_1m", StreamName("btcusdt", "kline", interval="1m")),
    ("btcusdt@kline_1M", StreamName("btcusdt", "kline", interval="1M")),
    ("btcusdt@kline_1h@+08:00", StreamName("btcusdt", "kline", interval="1h", offset_minutes=480)),
    ("btcusdt@miniTicker", StreamName("btcusdt", "miniTicker")),
    ("btcusdt@ticker", StreamName("btcusdt", "ticker")),
    ("!miniTicker@arr", StreamName("", "miniTicker")),
    ("!ticker@arr", StreamName("", "ticker")),
    ("币安@trade", StreamName("币安", "trade")),
]


@pytest.mark.parametrize(("text", "name"), NAMES)
def test_names(text: str, name: StreamName) -> None:
    assert streams.parse_name(text) == name


@pytest.mark.parametrize(
    "text",
    ["", "btcusdt", "@trade", "BTCUSDT@trade", "btcusdt@Trade", "btcusdt@depth7", "btcusdt@depth@50ms",
    "btcusdt@kline_2m",
     "btcusdt@kline_", "btcusdt@kline_1m@8", "btcusdt@depth5@", "a" * 101 + "@trade", "btcusdt@trade@trade", "!arr",
     "٣@depth٥",
     "btcusdt@depth\n"],
)  # fmt: skip
def test_names_of_nothing(text: str) -> None:
    assert streams.parse_name(text) is None
