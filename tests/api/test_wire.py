# SPDX-License-Identifier: Apache-2.0
"""The compiled plain case against the general way, byte by byte: whatever `bidhall.core.wire` accepts, httptools and
`bidhall.protocol` must accept too and read as the same; whatever it writes, they must write.
"""

from __future__ import annotations

import hashlib
import hmac
import random
from typing import Any

import httptools
import pytest

from bidhall.core import Exchange, records, wire
from bidhall.core.records import EVENT_STRUCT, EventRow
from bidhall.protocol import order_answers, orders
from bidhall.protocol.endpoints import ORDER_DELETE, ORDER_POST
from bidhall.protocol.errors import ApiError
from bidhall.protocol.markets import Asset, Market
from bidhall.protocol.requests import parse
from bidhall.protocol.signatures import check_key_format, verify_hmac

ROUTES = {b"GET /a": "a", b"POST /a": "post a", b"PUT /b/c": "b", b"DELETE /d": "d"}
SECRET = b"s" * 64
SIGNER = wire.Signer(SECRET)
ASSETS = {1: Asset(1, "BTC", 8), 2: Asset(2, "USDT", 6), 3: Asset(3, "B€C", 3)}
NOW = 1_800_000_000_000


def market(number: int, base: int = 1, quote: int = 2, **more: Any) -> tuple[bytes, Market]:
    fields = {
        "tick_e8": 1_000_000,
        "step_units": 100_000,
        "price_ticks_max": 10**9,
        "quantity_steps_max": 10**7,
        **more,
    }
    command = records.market(f"MARKET{number}".encode(), base, quote, **fields)
    return command, Market.from_command(number, command, ASSETS)


# --- hashes ----------------------------------------------------------------------------------------------------------


def test_sha256_and_hmac_are_those_of_hashlib(seed: int) -> None:
    chance = random.Random(seed)
    for size in [*range(260), 1000, 4095, 4096, 65_536]:
        data = chance.randbytes(size)
        assert wire.sha256(data) == wire.sha256(data, plain=True) == hashlib.sha256(data).digest()
        secret = chance.randbytes(chance.randrange(200))
        signer, right = wire.Signer(secret), hmac.new(secret, data, "sha256")
        assert signer.sign(data) == right.digest()
        assert signer.verify(data, right.hexdigest())
        assert signer.verify(data, right.hexdigest().upper())
        assert verify_hmac(secret, data, right.hexdigest())
        place = chance.randrange(64)
        other = "0123456789abcdefg€".replace(right.hexdigest()[place], "")
        wrong = right.hexdigest()[:place] + chance.choice(other) + right.hexdigest()[place + 1 :]
        assert not signer.verify(data, wrong)
        assert not signer.verify(data, right.hexdigest()[:-1])
        assert not signer.verify(data + b"x", right.hexdigest())


def test_digests_tell_routes_keys_and_payloads_apart() -> None:
    seen = {
        wire.request_digest(wire.Signer(key).sign(payload), route)
        for key in (b"k" * 64, b"l" * 64)
        for payload in (b"a=1", b"a=2", b"")
        for route in (b"POST /api/v3/order", b"DELETE /api/v3/order", b"DELETE /api/v3/openOrders")
    }
    assert len(seen) == 18


# --- requests --------------------------------------------------------------------------------------------------------


class Reading:
    """What httptools makes of bytes."""

    def __init__(self, data: bytes) -> None:
        self.whole: list[tuple[bytes, bytes, bytes, bytes, bool]] = []
        self.url = self.body = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.error = False
        self.parser = httptools.HttpRequestParser(self)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.error = True
        except httptools.HttpParserError:
            self.error = True

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        path, _, query = self.url.partition(b"?")
        key = b"".join(value for name, value in self.headers if name == b"x-mbx-apikey")
        self.whole.append(
            (self.parser.get_method() + b" " + path, query, self.body, key, self.parser.should_keep_alive())
        )
        self.url = self.body = b""
        self.headers = []


def agree(data: bytes) -> bool:
    """Compare the first request of these bytes; True when the wire understood it."""
    found = wire.read_request(data, 0, 16_384, 65_536, ROUTES)
    reading = Reading(data)
    if not isinstance(found, tuple):
        if isinstance(found, int):
            # It waits for a body: so does httptools, with the same head.
            assert not reading.whole, data
            whole = Reading(data + b"x" * (found - len(data)))
            assert len(whole.whole) == 1, data
        return False
    route, query, body, key, end = found
    assert reading.whole, data
    assert reading.whole[0] == (
        next(name for name, value in ROUTES.items() if value == route), query, body, key.encode(), True
    ), data  # fmt: skip
    alone = Reading(data[:end])
    assert len(alone.whole) == 1, data
    assert not alone.error, data
    assert len(Reading(data[: end - 1]).whole) == 0, data
    return True


METHODS = [b"GET /a", b"POST /a", b"PUT /b/c", b"DELETE /d", b"GET /d", b"POST a", b"PATCH /a", b"get /a", b"GET /a/"]
QUERIES = [b"", b"?", b"?x=1", b"?x=%41&y=+", b"?a?b", b"#x", b"?x=1#f", b"? ", b"?\x80", b"?\t", b'?a"<>\\^`{|}']
VERSIONS = [b" HTTP/1.1\r\n"] * 6 + [
    b" HTTP/1.0\r\n",
    b" HTTP/1.1\n",
    b"  HTTP/1.1\r\n",
    b"\r\n",
    b" HTTP/2.0\r\n",
    b" http/1.1\r\n",
]
HEADERS = [
    b"Host: x", b"host:x", b"Content-Length: 3", b"content-length:3", b"Content-Length: 0", b"Content-Length: 03",
    b"Content-Length: 3 ",
    b"Content-Length:  3", b"Content-Length: +3", b"Content-Length: 3,3", b"Content-Length: ",
    b"Content-Length: 99999999",
    b"Content-Length:\t3", b"X-MBX-APIKEY: key", b"x-mbx-apikey: key", b"X-Mbx-ApiKey:key", b"X-MBX-APIKEY: ",
    b"X-MBX-APIKEY: k y",
    b"X-MBX-APIKEY: key ", b"X-MBX-APIKEY:\tkey", b"X-MBX-APIKEY:  key", b"X-MBX-TIME-UNIT: MICROSECOND",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding : chunked", b"transfer-encoding:identity", b"Connection: keep-alive", b"Connection: Keep-Alive",
    b"Connection: close", b"Connection: keep-alive, close", b"Connection: Upgrade", b"Upgrade: websocket",
    b"Upgrade: h2c",
    b"Expect: 100-continue", b"Proxy-Connection: close", b"proxy-connection: keep-alive", b"Accept: */*", b"A:",
    b": x", b"A b: c",
    b"A\x00: c", b"A: \x00", b"A: \x80", b"A: \x7f", b" folded", b"A: \tb", b"Keep-Alive: timeout=5",
    b"Cookie: a=b; c=d", b"A: b\rc",
    b"X_Y: z", b"Content_Length: 3", b"Content-Length\t: 3", b"(A): b", b"A\"B: c",
]  # fmt: skip
ENDS = [b"\r\n"] * 6 + [b"\n", b"\r", b"", b"\r\n\r\n"]
BODIES = [b"abc", b"abcd", b"ab", b"", b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n", b"3\r\nabc\r\n0\r\n\r\n"]


def test_what_the_wire_reads_httptools_reads_as_the_same(seed: int) -> None:
    print("seed", seed)
    chance = random.Random(seed)
    understood = 0
    for _ in range(60_000):
        plain = chance.random() < 0.6
        lines = chance.choices(
            HEADERS[:2] + HEADERS[13:16] + HEADERS[25:27] if plain else HEADERS, k=chance.randrange(5)
        )
        if chance.random() < 0.4:
            lines.append(HEADERS[2])
        data = chance.choice(METHODS[:4] if plain else METHODS) + chance.choice(QUERIES[:4] if plain else QUERIES)
        data += b" HTTP/1.1\r\n" if plain else chance.choice(VERSIONS)
        data += b"".join(line + (b"\r\n" if plain or chance.random() < 0.9 else b"\n") for line in lines)
        data += (b"\r\n" if plain else chance.choice(ENDS)) + chance.choice(BODIES)
        if chance.random() < 0.2:
            place = chance.randrange(len(data))
            data = data[:place] + bytes([chance.randrange(256)]) + data[place + (chance.random() < 0.5) :]
        understood += agree(data)
    assert understood > 5_000


@pytest.mark.parametrize("header", HEADERS)
def test_each_header_alone(header: bytes) -> None:
    agree(b"POST /a HTTP/1.1\r\n" + header + b"\r\n\r\nabc")
    agree(b"POST /a HTTP/1.1\r\nContent-Length: 3\r\n" + header + b"\r\n\r\nabc")
    agree(b"GET /a?x=1 HTTP/1.1\r\nX-MBX-APIKEY: key\r\n" + header + b"\r\n\r\n")


def test_every_byte_in_every_place() -> None:
    base = b"POST /a?x=1 HTTP/1.1\r\nHost: x\r\nX-MBX-APIKEY: key\r\nContent-Length: 3\r\n\r\nabc"
    for place in range(len(base)):
        for byte in range(256):
            agree(base[:place] + bytes([byte]) + base[place + 1 :])
        agree(base[:place])
        agree(base[:place] + base[place + 1 :])


def test_heads_and_bodies_above_the_caps_are_not_plain() -> None:
    data = b"POST /a HTTP/1.1\r\nA: " + b"x" * 100 + b"\r\nContent-Length: 10\r\n\r\n0123456789"
    assert isinstance(wire.read_request(data, 0, 200, 10, ROUTES), tuple)
    assert wire.read_request(data, 0, 100, 10, ROUTES) is None
    assert wire.read_request(data, 0, 200, 9, ROUTES) is None


# --- forms -----------------------------------------------------------------------------------------------------------

NAMES: dict[str, list[str]] = {
    "symbol": ["MARKET1", "MARKET2", "market1", "", "M" * 21, "É"],
    "side": ["BUY", "SELL", "buy", ""],
    "type": ["LIMIT", "MARKET", "LIMIT_MAKER", "STOP_LOSS", "X", ""],
    "timeInForce": ["GTC", "IOC", "FOK", "GTX", ""],
    "quantity": ["1", "0.5", "0.00001", "100", "1.10000000", "0", "1e3", "-1", ".5", "5.", "99999999999",
    "1.123456789", "١", "0.00000001"],
    "price": ["20000", "1.5", "0.01", "0.00000001", "0", "12345678901", "1.000000000", "00020000.50"],
    "quoteOrderQty": ["100", "0.000001", "0.0000001", "0", "9999999999"],
    "newClientOrderId": ["abc-_9", "x" * 36, "x" * 37, "a.b", "%41", ""],
    "newOrderRespType": ["ACK", "RESULT", "FULL", "full"],
    "stopPrice": ["1"],
    "selfTradePreventionMode": ["NONE", "DECREMENT"],
    "icebergQty": ["0", "0.5", "1"],
    "strategyId": ["7"],
    "recvWindow": ["5000", "60000", "60001", "0", "1.5", "-1"],
    "timestamp": [str(NOW), str(NOW * 1000), "0", "1", "99999999999999", "100000000000000", "4000000000001", "x",
    "9" * 19],
    "orderId": ["1", "0", "18446744073709551615", "007"],
    "origClientOrderId": ["mine", "a b", ""],
    "other": ["1"],
}  # fmt: skip
USUAL = {
    "symbol": 2,
    "side": 2,
    "type": 3,
    "timeInForce": 3,
    "quantity": 5,
    "price": 4,
    "quoteOrderQty": 2,
    "timestamp": 2,
}


def form_text(chance: random.Random) -> str:
    kind = chance.choice(["LIMIT", "MARKET", "QUOTE", "LIMIT_MAKER", "CANCEL", "ANY"])
    needs = {
        "LIMIT": ["symbol", "side", "timeInForce", "quantity", "price", "timestamp"],
        "LIMIT_MAKER": ["symbol", "side", "quantity", "price", "timestamp"],
        "MARKET": ["symbol", "side", "quantity", "timestamp"],
        "QUOTE": ["symbol", "side", "quoteOrderQty", "timestamp"],
        "CANCEL": ["symbol", "orderId", "timestamp"],
        "ANY": chance.sample(list(NAMES), chance.randrange(1, 9)),
    }[kind]
    parts = [
        (name, chance.choice(NAMES[name][: USUAL.get(name)] if chance.random() < 0.93 else NAMES[name]))
        for name in needs
    ]
    if kind not in ("ANY", "CANCEL"):
        parts.append(("type", "MARKET" if kind == "QUOTE" else kind))
    for name, odds in (
        ("newClientOrderId", 0.4),
        ("newOrderRespType", 0.3),
        ("recvWindow", 0.4),
        ("origClientOrderId", 0.1),
    ):
        if chance.random() < odds:
            parts.append((name, chance.choice(NAMES[name][:2] if chance.random() < 0.9 else NAMES[name])))
    if chance.random() < 0.06:
        parts.append(chance.choice(parts))
    chance.shuffle(parts)
    text = "&".join(f"{name}={value}" for name, value in parts)
    if chance.random() < 0.06:
        place = chance.randrange(len(text))
        text = text[:place] + chance.choice("&=%+ ;\x00é") + text[place:]
    return text


def test_what_the_wire_makes_of_forms_the_protocol_makes_too(seed: int) -> None:
    print("seed", seed)
    chance = random.Random(seed)
    markets = {
        "MARKET1": market(1)[1],
        "MARKET2": market(2, 3, 2, step_units=1, tick_e8=100_000_000, price_ticks_min=5, price_ticks_max=10**6)[1],
    }
    numbers = {name: wire.MarketNumbers(one) for name, one in markets.items()}
    placed = canceled = 0
    for _ in range(30_000):
        text = form_text(chance)
        raw = text.encode()
        code = hmac.new(SECRET, raw, "sha256").hexdigest()
        raw += b"&signature=" + (code if chance.random() < 0.95 else code.upper()).encode()
        form = wire.read_form(raw)
        if form is None:
            continue
        digest = wire.request_digest(SIGNER.sign(text.encode()), b"ROUTE")
        assert form.is_signed_by(SIGNER)
        if form.symbol not in markets:
            continue
        command = form.place(7, numbers[form.symbol], b"ROUTE")
        if command is not None:
            values = parse(ORDER_POST, b"", raw)
            assert (values.timestamp_ns, values.window_ns) == (form.timestamp_ns, form.window_ns)
            placement = orders.place(values.values, markets[form.symbol], 7, values.deadline_ns, digest)
            assert placement.command == command, text
            assert placement.client_id == form.own_id
            for name, value in form.request().items():
                assert getattr(placement, name) == value, (name, text)
            placed += 1
        command = form.cancel(7, numbers[form.symbol], b"ROUTE")
        if command is not None:
            values = parse(ORDER_DELETE, raw)
            cancellation = orders.cancel(values.values, markets[form.symbol], 7, values.deadline_ns, digest)
            assert cancellation.command == command, text
            assert cancellation.client_id == form.own_id
            canceled += 1
    assert placed > 5_000
    assert canceled > 500


def test_forms_that_the_protocol_refuses_are_not_plain(seed: int) -> None:
    chance = random.Random(seed)
    one = market(1)[1]
    numbers = wire.MarketNumbers(one)
    for _ in range(20_000):
        text = form_text(chance)
        raw = text.encode() + b"&signature=" + b"0" * 64
        try:
            values = parse(ORDER_POST, b"", raw)
            orders.place(values.values, one, 7, values.deadline_ns, bytes(16))
        except ApiError:
            form = wire.read_form(raw)
            if form is not None and form.symbol == one.symbol:
                signed = wire.read_form(text.encode() + b"&signature=" + SIGNER.sign(text.encode()).hex().encode())
                assert signed is not None
                assert signed.is_signed_by(SIGNER)
                assert signed.place(7, numbers, b"R") is None, text


def test_unsigned_forms_become_nothing() -> None:
    form = wire.read_form(
        f"symbol=MARKET1&side=BUY&type=MARKET&quantity=1&timestamp={NOW}&signature=".encode() + b"0" * 64
    )
    assert form is not None
    numbers = wire.MarketNumbers(market(1)[1])
    assert form.place(1, numbers, b"R") is None
    assert not form.is_signed_by(SIGNER)
    assert form.place(1, numbers, b"R") is None
    assert form.cancel(1, numbers, b"R") is None


@pytest.mark.parametrize("key", ["k", "k" * 64, "a-b_c", "k" * 128, "k" * 129])
def test_keys_that_the_wire_reads_are_judged_by_the_protocol(key: str) -> None:
    found = wire.read_request(f"GET /a HTTP/1.1\r\nX-MBX-APIKEY: {key}\r\n\r\n".encode(), 0, 16_384, 65_536, ROUTES)
    assert isinstance(found, tuple)
    assert found[3] == key
    if len(key) <= 128:
        assert check_key_format(key) == key


# --- answers ---------------------------------------------------------------------------------------------------------


def exchange_with(*markets: bytes) -> Exchange:
    exchange = Exchange()
    exchange.apply(records.configure())
    exchange.apply(records.asset(b"BTC", 8) + records.asset(b"USDT", 6) + records.asset("B€C".encode(), 3))
    exchange.apply(b"".join(markets))
    assert exchange.market_count == len(markets)
    for account in (1, 2):
        exchange.apply(records.account())
        for asset in (1, 2, 3):
            exchange.apply(records.deposit(account, asset, 10**15))
    return exchange


def test_the_answers_are_those_of_the_protocol(seed: int) -> None:
    print("seed", seed)
    chance = random.Random(seed)
    made = [
        market(1, maker_rate_e8=123_456, orders_max=0),
        market(2, 3, 2, step_units=1, tick_e8=100_000_000, price_ticks_max=10**6, orders_max=0),
    ]
    exchange = exchange_with(*(command for command, _ in made))
    numbers = [wire.MarketNumbers(one) for _, one in made]
    plain = 0
    for number in range(6_000):
        which = chance.randrange(2)
        kind = chance.choice(["LIMIT", "LIMIT", "LIMIT", "MARKET", "LIMIT_MAKER", "QUOTE"])
        price = chance.randrange(95, 106)
        parts = {
            "symbol": made[which][1].symbol, "side": chance.choice(["BUY", "SELL"]),
            "type": "MARKET" if kind == "QUOTE" else kind,
            "timestamp": str(NOW + number), "newOrderRespType": chance.choice(["ACK", "RESULT", "FULL"]),
        }  # fmt: skip
        if kind in ("LIMIT", "LIMIT_MAKER"):
            parts["price"] = str(price)
        if kind == "LIMIT":
            parts["timeInForce"] = chance.choice(["GTC", "GTC", "IOC", "FOK"])
        parts["quoteOrderQty" if kind == "QUOTE" else "quantity"] = str(
            chance.randrange(1, 9) * (100 if kind == "QUOTE" else 1)
        )
        if chance.random() < 0.5:
            parts["newClientOrderId"] = f"id-{number}"
        text = "&".join(f"{name}={value}" for name, value in parts.items()).encode()
        form = wire.read_form(text + b"&signature=" + SIGNER.sign(text).hex().encode())
        assert form is not None
        assert form.is_signed_by(SIGNER)
        command = form.place(chance.randrange(1, 3), numbers[which], b"R")
        assert command is not None, text
        now_ns = (NOW + number) * 1_000_000
        raw = exchange.apply(command, now_ns, now_ns)
        assert raw is not None
        events = [EventRow._make(values) for values in EVENT_STRUCT.iter_unpack(raw.tobytes())]
        weight, ten, day = chance.randrange(10**6), chance.randrange(10**9), chance.randrange(10**12)
        unit_ns = chance.choice([1_000, 1_000_000])
        data = wire.placed(form, events, now_ns, unit_ns, weight, ten, day)
        if data is None:
            continue
        plain += 1
        placement = orders.Placement()
        for name, value in form.request().items():
            setattr(placement, name, value)
        body = order_answers.placed(placement, events, now_ns, unit_ns)
        head = (
            f"HTTP/1.1 200 OK\r\ncontent-type: application/json;charset=UTF-8\r\ncontent-length: {len(body)}\r\n"
            f"x-mbx-used-weight: {weight}\r\nx-mbx-used-weight-1m: {weight}\r\nx-mbx-order-count-10s: {ten}\r\n"
            f"x-mbx-order-count-1d: {day}\r\n\r\n"
        ).encode()
        assert data == head + body
    assert plain > 2_000
