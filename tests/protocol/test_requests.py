# SPDX-License-Identifier: Apache-2.0
"""Every parameter of every endpoint: missing, empty, wrong type, too long, too precise, negative, exponent, NaN, digits
of other scripts, duplicate, unknown. Each with its exact code and text, by query, by body, escaped or not."""

from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bidhall.protocol import requests
from bidhall.protocol.endpoints import ENDPOINTS, WS_METHODS, Endpoint
from bidhall.protocol.errors import ApiError
from bidhall.protocol.parameters import Parameter
from tests.protocol.bad_values import KINDS

ALL = list(ENDPOINTS.values())
# One valid text for each parameter that some endpoint needs.
GOOD = {
    "symbol": "BTCUSDT", "interval": "1m", "side": "BUY", "type": "LIMIT", "newQty": "1", "timestamp": "1499827319559",
    "signature": "ab", "orderId": "1", "symbols": '["A","B"]', "cancelReplaceMode": "ALLOW_FAILURE", "listenKey": "k",
}  # fmt: skip


def name_of(endpoint: Endpoint) -> str:
    return f"{endpoint.method} {endpoint.path}"


def kind_of(endpoint: Endpoint, parameter: Parameter) -> str:
    if endpoint.path == "/api/v3/depth" and parameter.name == "limit":
        return "depth.limit"
    if "ticker" in endpoint.path and parameter.name == "type":
        return "ticker.type"
    return parameter.name


def base(endpoint: Endpoint, *, without: str = "") -> dict[str, str]:
    """The least that the endpoint takes."""
    names = {parameter.name for parameter in endpoint.parameters}
    sent = {name: GOOD[name] for name in endpoint.mandatory}
    if "origClientOrderId" in names:
        sent["orderId"] = "1"
    if "cancelOrigClientOrderId" in names:
        sent["cancelOrderId"] = "1"
    if "preventedMatchId" in names:
        sent["preventedMatchId" if without not in ("orderId", "fromPreventedMatchId") else "orderId"] = "1"
    if endpoint.path in ("/api/v3/ticker", "/api/v3/ticker/tradingDay"):
        sent["symbol"] = "BTCUSDT"
    sent.pop(without, None)
    return sent


def encoded(sent: dict[str, str]) -> bytes:
    return "&".join(f"{quote(name)}={quote(text, safe='')}" for name, text in sent.items()).encode()


def refused(endpoint: Endpoint, query: bytes, body: bytes = b"") -> tuple[int, str]:
    with pytest.raises(ApiError) as caught:
        requests.parse(endpoint, query, body)
    error = caught.value
    assert error.status == 400
    assert error.body.startswith(b'{"code":%d,"msg":"' % error.code)
    return error.code, error.message


CASES = [(endpoint, parameter) for endpoint in ALL for parameter in endpoint.parameters]
CASE_NAMES = [f"{name_of(endpoint)} {parameter.name}" for endpoint, parameter in CASES]


@pytest.mark.parametrize("endpoint", ALL, ids=name_of)
def test_the_least_and_nothing(endpoint: Endpoint) -> None:
    sent = base(endpoint)
    for _ in range(2):  # the slow way first, then perhaps the quick one
        request = requests.parse(endpoint, encoded(sent))
        assert set(request.values) >= sent.keys() - {"timestamp", "signature"}
    if endpoint.mandatory:
        first = next(parameter.name for parameter in endpoint.parameters if parameter.mandatory)
        text = f"Mandatory parameter '{first}' was not sent, was empty/null, or malformed."
        assert refused(endpoint, b"") == (-1102, text)


@pytest.mark.parametrize(("endpoint", "parameter"), CASES, ids=CASE_NAMES)
def test_missing_and_empty(endpoint: Endpoint, parameter: Parameter) -> None:
    name = parameter.name
    sent = base(endpoint, without=name)
    if parameter.mandatory:
        text = f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."
        assert refused(endpoint, encoded(sent)) == (-1102, text)
    for empty in (encoded(sent | {name: ""}), encoded(sent) + b"&" + name.encode()):
        query = empty.lstrip(b"&")
        assert refused(endpoint, query) == (-1105, f"Parameter '{name}' was empty.")
        assert refused(endpoint, b"", query) == (-1105, f"Parameter '{name}' was empty.")


@pytest.mark.parametrize(("endpoint", "parameter"), CASES, ids=CASE_NAMES)
def test_bad_values(endpoint: Endpoint, parameter: Parameter) -> None:
    name = parameter.name
    if endpoint.path.startswith("/sapi") and not parameter.pattern:
        return
    sent = base(endpoint, without=name)
    for text, code, message in KINDS[kind_of(endpoint, parameter)][1]:
        for query in (encoded(sent | {name: text}), encoded({name: text} | sent)):
            assert refused(endpoint, query) == (code, message), text
        if "&" not in text and "%" not in text and "+" not in text and text.isascii():
            raw = encoded(sent) + f"&{name}={text}".encode()
            assert refused(endpoint, raw.lstrip(b"&")) == (code, message), text


@pytest.mark.parametrize(("endpoint", "parameter"), CASES, ids=CASE_NAMES)
def test_good_values(endpoint: Endpoint, parameter: Parameter) -> None:
    name = parameter.name
    sent = base(endpoint, without="symbol" if name == "symbols" else name)
    for text, value in KINDS[kind_of(endpoint, parameter)][0]:
        if name == "permissions":
            sent.pop("symbol", None)
        query = encoded({name: text} | sent)
        request = requests.parse(endpoint, query)
        again = requests.parse(endpoint, query)
        by_body = requests.parse(endpoint, b"", query)
        assert request.values == again.values == by_body.values
        found: Any = request.values.get(name)
        if endpoint.signed and name in ("timestamp", "recvWindow", "signature"):
            found = {
                "timestamp": request.timestamp_ns, "recvWindow": request.window_ns, "signature": request.signature,
            }[name]  # fmt: skip
        elif endpoint.path.startswith("/sapi") and isinstance(found, str) and name not in ("symbol",):
            value = text
        assert found == value
        assert type(found) is type(value)


@pytest.mark.parametrize("endpoint", ALL, ids=name_of)
def test_duplicates_and_unknown_ones(endpoint: Endpoint) -> None:
    duplicates = (-1101, "Duplicate values for a parameter detected.")
    sent = base(endpoint)
    query = encoded(sent)
    for name, text in sent.items():
        for more in (f"{name}={text}", f"{name}=", name, f"{name}=other", f"%{ord(name[0]):02X}{name[1:]}={text}"):
            assert refused(endpoint, query + b"&" + more.encode()) == duplicates
            assert refused(endpoint, b"", query + b"&" + more.encode()) == duplicates
    assert refused(endpoint, query + b"&foo=1&foo=2") == duplicates
    count = len(sent)
    for more in (b"foo=1", b"foo=", b"foo", b"=", b"=1", b"Symbol=BTCUSDT", b"%00=1", b"symbol%20=A", b"\xd9\xa3=1"):
        text = f"Not all sent parameters were read; read '{count}' parameter(s) but was sent '{count + 1}'."
        both = (query + b"&" + more).lstrip(b"&")
        assert refused(endpoint, both) == (-1104, text), more
        assert refused(endpoint, b"", both) == (-1104, text)
        assert refused(endpoint, query, more) == (-1104, text)


@pytest.mark.parametrize("endpoint", ALL, ids=name_of)
def test_bytes_that_are_no_text(endpoint: Endpoint) -> None:
    query = encoded(base(endpoint))
    for more in (b"symbol=%FF", b"foo=%C3%28", b"\xff=1", b"foo=\xed\xa0\x80", b"%FF"):
        assert refused(endpoint, b"", more) == (-1100, "Illegal characters found in a parameter.")
    many = b"&".join(b"x%d=1" % number for number in range(500))
    assert refused(endpoint, query, many) == (-1101, "Too many parameters sent for this endpoint.")


@pytest.mark.parametrize("endpoint", ALL, ids=name_of)
def test_query_wins_over_body(endpoint: Endpoint) -> None:
    sent = base(endpoint)
    if not sent:
        return
    name = next(iter(sent))
    request = requests.parse(endpoint, encoded(sent), f"{name}=rubbish%20*".encode())
    assert request.values == requests.parse(endpoint, encoded(sent)).values


def parsed(way: Any, endpoint: Endpoint, query: bytes, body: bytes) -> Any:
    try:
        request = way(endpoint, query, body)
    except ApiError as error:
        return error.code, error.message, error.status
    return (
        request.values, request.payload, request.signature, request.timestamp_ns, request.window_ns,
        request.deadline_ns,
    )  # fmt: skip


NAMES = sorted({parameter.name for endpoint in ALL for parameter in endpoint.parameters} | {"foo", "", "signature"})
TEXTS = sorted(
    {
        text
        for good, bad in KINDS.values()
        for text in [one[0] for one in good] + [one[0] for one in bad]
        if len(text) < 60
    }
)
SEGMENTS = st.tuples(st.sampled_from(NAMES), st.sampled_from(TEXTS) | st.text(max_size=8), st.integers(0, 5)).map(
    lambda one: (
        f"{one[0]}={one[1]}" if one[2] == 0 else one[0] if one[2] == 1 else f"{quote(one[0])}={quote(one[1], safe='')}"
    )
)


@given(
    st.sampled_from(ALL),
    st.lists(SEGMENTS, max_size=6),
    st.lists(SEGMENTS, max_size=2),
    st.booleans(),
    st.integers(0, 9),
)
def test_the_quick_way_gives_what_the_slow_way_gives(
    endpoint: Endpoint, query: list[str], body: list[str], with_base: bool, at: int
) -> None:
    if with_base:
        least = encoded(base(endpoint)).decode().split("&") if base(endpoint) else []
        query = query[:at] + least + query[at:]
    raw_query = "&".join(query).encode("utf-8", "replace")
    raw_body = "&".join(body).encode("utf-8", "replace") if at == 0 else b""
    slow = parsed(requests.parse_by_declaration, endpoint, raw_query, raw_body)
    assert parsed(requests.parse, endpoint, raw_query, raw_body) == slow
    assert parsed(requests.parse, endpoint, raw_query, raw_body) == slow
    assert parsed(requests.parse, endpoint, b"", raw_query) == parsed(
        requests.parse_by_declaration, endpoint, b"", raw_query
    )


@given(st.sampled_from(ALL), st.binary(max_size=80), st.binary(max_size=40))
def test_any_bytes_give_values_or_a_refusal(endpoint: Endpoint, query: bytes, body: bytes) -> None:
    for raw in (query, encoded(base(endpoint)) + b"&" + query):
        assert parsed(requests.parse, endpoint, raw, body) == parsed(requests.parse_by_declaration, endpoint, raw, body)


def test_a_plus_is_a_space() -> None:
    depth = ENDPOINTS[b"GET", b"/api/v3/klines"]
    query = b"symbol=BTCUSDT&interval=1m&timeZone="
    for text in (b"+8:00", b"%2B8:00", b"%2b8:00", b"8:00"):
        assert requests.parse(depth, query + text).values["timeZone"] == 480
    signed = ENDPOINTS[b"GET", b"/api/v3/account"]
    assert requests.parse(signed, b"timestamp=1&signature=a+b%2Bc").signature == "a b+c"


ROUTES = {name_of(endpoint): endpoint for endpoint in ALL}
COMBINATIONS = [
    ("GET /api/v3/exchangeInfo", 'symbol=A&symbols=["B"]', -1128),
    ("GET /api/v3/exchangeInfo", "symbol=A&permissions=SPOT", -1128),
    ("GET /api/v3/exchangeInfo", "symbol=A&symbolStatus=TRADING", -1128),
    ("GET /api/v3/exchangeInfo", 'symbols=["A"]&symbolStatus=TRADING', -1128),
    ("GET /api/v3/exchangeInfo", 'symbols=["A"]&showPermissionSets=false', None),
    ("GET /api/v3/ticker/24hr", 'symbol=A&symbols=["B"]', -1128),
    ("GET /api/v3/ticker/price", 'symbol=A&symbols=["B"]', -1128),
    ("GET /api/v3/ticker/bookTicker", 'symbol=A&symbols=["B"]', -1128),
    ("GET /api/v3/ticker", 'symbol=A&symbols=["B"]', -1128),
    ("GET /api/v3/ticker", "windowSize=1h", -1102),
    ("GET /api/v3/ticker", 'symbols=["B"]', None),
    ("GET /api/v3/ticker/24hr", "", None),
    ("GET /api/v3/ticker/24hr", 'symbols=["A","B"]&type=MINI&symbolStatus=TRADING', None),
    ("GET /api/v3/aggTrades", "symbol=A&fromId=1&startTime=1", -1128),
    ("GET /api/v3/aggTrades", "symbol=A&fromId=1&endTime=1", -1128),
    ("GET /api/v3/aggTrades", "symbol=A&startTime=1", None),
    ("GET /api/v3/allOrders", "symbol=A&startTime=1000000000000&endTime=1000086400000", None),
    ("GET /api/v3/allOrders", "symbol=A&startTime=1000000000000&endTime=1000086400001", -1127),
    ("GET /api/v3/allOrders", "symbol=A&startTime=1000000000000000&endTime=1000086400000001", -1127),
    ("GET /api/v3/myTrades", "symbol=A", None),
    ("GET /api/v3/myTrades", "symbol=A&orderId=1", None),
    ("GET /api/v3/myTrades", "symbol=A&startTime=1", None),
    ("GET /api/v3/myTrades", "symbol=A&endTime=1&limit=5", None),
    ("GET /api/v3/myTrades", "symbol=A&fromId=1", None),
    ("GET /api/v3/myTrades", "symbol=A&startTime=1&endTime=2", None),
    ("GET /api/v3/myTrades", "symbol=A&startTime=1000000000000&endTime=1000086400001", -1127),
    ("GET /api/v3/myTrades", "symbol=A&orderId=1&fromId=1", None),
    ("GET /api/v3/myTrades", "symbol=A&orderId=1&startTime=1", -1128),
    ("GET /api/v3/myTrades", "symbol=A&fromId=1&endTime=1", -1128),
    ("GET /api/v3/myTrades", "symbol=A&orderId=1&fromId=1&startTime=1", -1128),
    ("GET /api/v3/order", "symbol=A", -1102),
    ("DELETE /api/v3/order", "symbol=A", -1102),
    ("DELETE /api/v3/order", "symbol=A&orderId=1&origClientOrderId=b", None),
    ("PUT /api/v3/order/amend/keepPriority", "symbol=A&newQty=1", -1102),
    ("PUT /api/v3/order/amend/keepPriority", "symbol=A&newQty=1&origClientOrderId=b", None),
]  # fmt: skip


@pytest.mark.parametrize(("route", "text", "code"), COMBINATIONS)
def test_combinations(route: str, text: str, code: int | None) -> None:
    endpoint = ROUTES[route]
    query = (text + "&timestamp=1&signature=0" if endpoint.signed else text).encode()
    if code is None:
        requests.parse(endpoint, query)
        return
    found, message = refused(endpoint, query)
    assert found == code
    texts = {
        -1128: "Combination of optional parameters invalid.",
        -1127: "More than 24 hours between startTime and endTime.",
    }
    if code in texts:
        assert message == texts[code]
    elif "order" in route:
        assert message == "Param 'origClientOrderId' or 'orderId' must be sent, but both were empty/null!"
    else:
        assert message == "Param 'symbol' or 'symbols' must be sent, but both were empty/null!"


def test_symbols_raw_and_percent_encoded() -> None:
    endpoint = ROUTES["GET /api/v3/ticker/price"]
    for query in (b'symbols=["A","B"]', b"symbols=%5B%22A%22,%22B%22%5D", b"symbols=%5B%22A%22%2C%22B%22%5D"):
        assert requests.parse(endpoint, query).values == {"symbols": ["A", "B"]}
    many = ",".join(f'"S{number}"' for number in range(101))
    assert len(requests.parse(endpoint, f"symbols=[{many}]".encode()).values["symbols"]) == 101
    assert refused(ROUTES["GET /api/v3/ticker"], f"symbols=[{many}]".encode())[0] == -1130


WEIGHTS = [
    ("GET /api/v3/ping", "", 1), ("GET /api/v3/exchangeInfo", "", 20), ("GET /api/v3/depth", "symbol=A", 5),
    ("GET /api/v3/depth", "symbol=A&limit=100", 5), ("GET /api/v3/depth", "symbol=A&limit=101", 25),
    ("GET /api/v3/depth", "symbol=A&limit=501", 50), ("GET /api/v3/depth", "symbol=A&limit=9999", 250),
    ("GET /api/v3/trades", "symbol=A", 25), ("GET /api/v3/aggTrades", "symbol=A", 4),
    ("GET /api/v3/klines", "symbol=A&interval=1m", 2), ("GET /api/v3/ticker/24hr", "symbol=A", 2),
    ("GET /api/v3/ticker/24hr", "", 80), ("GET /api/v3/ticker/price", "symbol=A", 2),
    ("GET /api/v3/ticker/price", "", 4), ("GET /api/v3/ticker/bookTicker", 'symbols=["A"]', 4),
    ("GET /api/v3/ticker", "symbol=A", 4), ("GET /api/v3/ticker", 'symbols=["A","B"]', 8),
    ("GET /api/v3/account", "", 20), ("GET /api/v3/openOrders", "", 80), ("GET /api/v3/openOrders", "symbol=A", 6),
    ("GET /api/v3/order", "symbol=A&orderId=1", 4), ("GET /api/v3/allOrders", "symbol=A", 20),
    ("GET /api/v3/myTrades", "symbol=A", 20), ("GET /api/v3/myTrades", "symbol=A&orderId=1", 5),
    ("GET /api/v3/rateLimit/order", "", 40), ("POST /api/v3/order/test", "symbol=A&side=BUY&type=LIMIT", 1),
    ("POST /api/v3/order/test", "symbol=A&side=BUY&type=LIMIT&computeCommissionRates=true", 20),
    ("PUT /api/v3/order/amend/keepPriority", "symbol=A&orderId=1&newQty=1", 4),
]  # fmt: skip


@pytest.mark.parametrize(("route", "text", "weight"), WEIGHTS)
def test_weights(route: str, text: str, weight: int) -> None:
    endpoint = ROUTES[route]
    query = f"{text}&timestamp=1&signature=0".lstrip("&") if endpoint.signed else text
    assert endpoint.weight(requests.parse(endpoint, query.encode()).values) == weight


def test_24h_weights_by_number() -> None:
    endpoint = ROUTES["GET /api/v3/ticker/24hr"]
    for count, weight in ((1, 2), (20, 2), (21, 40), (100, 40), (101, 80)):
        names = ",".join(f'"S{number}"' for number in range(count))
        assert endpoint.weight(requests.parse(endpoint, f"symbols=[{names}]".encode()).values) == weight


def test_every_step_of_the_build_order_is_declared() -> None:
    names = {
        "ping", "time", "exchangeInfo", "depth", "trades", "historicalTrades", "aggTrades", "klines", "uiKlines",
        "avgPrice",
        "ticker/24hr", "ticker/price", "ticker/bookTicker", "ticker", "account", "account/commission",
        "rateLimit/order",
        "order", "openOrders", "allOrders", "myTrades",
    }  # fmt: skip
    assert {f"GET /api/v3/{name}" for name in names} <= ROUTES.keys()
    assert {
        "POST /api/v3/order",
        "POST /api/v3/order/test",
        "DELETE /api/v3/order",
        "DELETE /api/v3/openOrders",
    } <= ROUTES.keys()
    assert len(WS_METHODS) >= 30


@pytest.mark.parametrize(
    ("text", "unit_ns"),
    [
        (None, 10**6),
        ("", 10**6),
        ("MILLISECOND", 10**6),
        ("MICROSECOND", 10**3),
        ("microsecond", 10**3),
        (b"MICROSECOND", 10**3),
    ],
)
def test_time_unit(text: str | bytes | None, unit_ns: int) -> None:
    assert requests.time_unit_ns(text) == unit_ns


@pytest.mark.parametrize("text", ["Microsecond", "us", "1", "NANOSECOND", b"\xff"])
def test_bad_time_unit(text: str | bytes) -> None:
    with pytest.raises(ApiError) as caught:
        requests.time_unit_ns(text)
    assert caught.value.code == -1194
    assert caught.value.message == "Invalid value for time unit; expected either MICROSECOND or MILLISECOND."
