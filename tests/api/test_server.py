# SPDX-License-Identifier: Apache-2.0
"""The contract of the server (stack.md §1.3, the column "ours"), over raw sockets.

uvicorn's protocol class is no stable interface: when an upgrade of it breaks one of these, this file says so.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request as ColdRequest
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route as ColdRoute

from bidhall.api.lane import Lane, Request
from bidhall.api.limits import Limits
from bidhall.api.server import Server
from bidhall.api.turns import Caps
from bidhall.environment import RealEnvironment
from bidhall.protocol.endpoints import Endpoint
from bidhall.protocol.parameters import string
from tests.api.wire import Wire, get, request

ECHO = Endpoint("GET", "/echo", string("text"), string("pad"))
POST_ECHO = Endpoint("POST", "/echo", string("text"), string("pad"))
KEPT = Endpoint("POST", "/kept", string("text"))
READ = Endpoint("GET", "/read", string("text"))
BROKEN = Endpoint("GET", "/broken")
BIG = Endpoint("GET", "/big")


class AtOnce:
    """Reads that never wait."""

    at_once = True


class Numbers:
    """Limits that a test may change."""

    connections_max = 1000
    connections_per_ip_max = 1000
    weight_per_minute_max = 10**9
    raw_requests_per_5_minutes_max = 10**9
    orders_per_10_seconds_max = 10**9
    orders_per_day_max = 10**9
    refusals_before_ban = 0


class Rig:
    """A server with a few routes whose answers the test holds in its hand."""

    def __init__(self, **caps: Any) -> None:
        self.environment = RealEnvironment()
        self.numbers = Numbers()
        self.limits = Limits(self.numbers)
        self.kept: list[Request] = []
        self.served: list[str] = []
        self.release = asyncio.Event()
        self.cold_done = 0
        lane = self.lane = Lane(self.environment, self.limits, None, AtOnce())  # type: ignore[arg-type]
        lane.add(ECHO, self.echo, weight=1)
        lane.add(POST_ECHO, self.echo, reads=False, weight=1)
        lane.add(KEPT, self.keep, reads=False, weight=0)
        lane.add(READ, self.read, weight=1)
        lane.add(BROKEN, self.broken, weight=1)
        lane.add(BIG, self.big, weight=1)
        app = Starlette(
            routes=[
                ColdRoute("/cold", self.cold, methods=["GET", "POST"]),
                ColdRoute("/slow", self.slow),
                ColdRoute("/raises", self.raises),
            ]
        )
        settings = {"request_deadline_s": 0.6, "keep_alive_s": 2.0, "write_deadline_s": 1.0, **caps}
        self.server = Server(app, lane, self.limits, Caps(**settings), self.environment, drain_s=3)

    async def start(self) -> None:
        await self.server.listen("127.0.0.1", 0)

    @property
    def port(self) -> int:
        return self.server.port

    def echo(self, asked: Request) -> bytes:
        return b'"%b"' % asked.values.get("text", "").encode()

    def keep(self, asked: Request) -> None:
        self.kept.append(asked)

    def read(self, asked: Request) -> bytes:
        self.served.append(asked.values.get("text", ""))
        return b'"read %b"' % asked.values.get("text", "").encode()

    def broken(self, asked: Request) -> bytes:
        raise ValueError("a bug")

    def big(self, asked: Request) -> bytes:
        return b'"' + b"x" * 300_000 + b'"'

    async def cold(self, asked: ColdRequest) -> Response:
        body = await asked.body()
        self.cold_done += 1
        return PlainTextResponse(f"cold {len(body)}")

    async def slow(self, asked: ColdRequest) -> Response:
        await self.release.wait()
        return PlainTextResponse("slow")

    async def raises(self, asked: ColdRequest) -> Response:
        raise RuntimeError("a bug in a cold handler")


Make = Callable[..., Any]


@pytest.fixture
async def rig() -> AsyncIterator[Make]:
    rigs: list[Rig] = []

    async def make(**caps: Any) -> Rig:
        made = Rig(**caps)
        rigs.append(made)
        await made.start()
        return made

    yield make
    for made in rigs:
        made.release.set()
        await made.server.stop()
        made.environment.close()


# --- deadlines -----------------------------------------------------------------------------------------------------


async def test_a_connection_that_says_nothing_is_closed_at_the_deadline(rig: Make) -> None:
    server = await rig()
    async with await Wire.open(server.port) as wire:
        start = time.monotonic()
        assert await wire.closed() == b""
        assert 0.5 < time.monotonic() - start < 2


@pytest.mark.parametrize(
    "start",
    [b"GET", b"GET /echo?text=", b"GET /echo HTTP/1.1\r\nHost: x\r\nX-", request("POST", "/echo", b"text=12")[:-3]],
)
async def test_half_a_request_and_then_silence_is_answered_408(rig: Make, start: bytes) -> None:
    server = await rig()
    async with await Wire.open(server.port) as wire:
        await wire.send(start)
        answer = await wire.answer()
        assert (answer.status, answer.json["code"], answer.headers["connection"]) == (408, -1000, "close")
        assert await wire.closed() == b""


@pytest.mark.parametrize(
    "whole", [get("/echo", "X-Long: " + "y" * 300), request("POST", "/echo", b"text=" + b"z" * 300)]
)
async def test_a_dripping_request_is_answered_408_although_bytes_keep_coming(rig: Make, whole: bytes) -> None:
    server = await rig()
    async with await Wire.open(server.port) as wire:
        start = time.monotonic()
        for byte in whole:
            try:
                await wire.send(bytes([byte]))
            except ConnectionError:
                break
            await asyncio.sleep(0.02)
            if time.monotonic() - start > 2:
                break
        assert (await wire.answer()).status == 408


async def test_empty_lines_do_not_keep_a_connection_alive(rig: Make) -> None:
    server = await rig()
    async with await Wire.open(server.port) as wire:
        start = time.monotonic()
        while time.monotonic() - start < 8:
            try:
                await wire.send(b"\r\n")
            except ConnectionError:
                break
            await asyncio.sleep(0.1)
        assert time.monotonic() - start < 6


async def test_an_idle_connection_is_kept_for_the_keep_alive_time(rig: Make) -> None:
    server = await rig()
    async with await Wire.open(server.port) as wire:
        await wire.send(get("/echo"))
        assert (await wire.answer()).status == 200
        assert await wire.is_open(1.2), "closed before the keep-alive time"
        start = time.monotonic()
        await wire.closed()
        assert time.monotonic() - start < 2


def test_the_defaults_are_those_of_the_design() -> None:
    caps = Caps()
    assert (caps.request_deadline_s, caps.keep_alive_s) == (5.0, 75.0)
    assert (caps.head_bytes_max, caps.body_bytes_max) == (16_384, 65_536)


# --- caps ----------------------------------------------------------------------------------------------------------


async def test_a_header_of_4_megabytes_is_answered_431(rig: Make) -> None:
    server = await rig()
    async with await Wire.open(server.port) as wire:
        data = b"GET /echo HTTP/1.1\r\nHost: x\r\nX-Big: " + b"y" * 4_000_000
        try:
            await wire.send(data)
        except ConnectionError:
            pass
        answer = await wire.answer()
        assert (answer.status, answer.json["code"]) == (431, -1000)


@pytest.mark.parametrize(
    "head",
    [
        "X-One: " + "y" * 16_384,
        "\r\n".join(f"X-{n}: {'y' * 100}" for n in range(200)),
        "Cookie: " + "a=b; " * 4000,
    ],
)
async def test_many_or_long_headers_are_answered_431(rig: Make, head: str) -> None:
    server = await rig()
    async with await Wire.open(server.port) as wire:
        await wire.send(get("/echo", head))
        assert (await wire.answer()).status == 431
        assert await wire.closed() == b""


async def test_a_long_target_is_answered_431_and_one_that_fits_is_served(rig: Make) -> None:
    server = await rig()
    async with await Wire.open(server.port) as wire:
        await wire.send(get("/echo?text=" + "y" * 10_000))
        assert len((await wire.answer()).json) == 10_000
        await wire.send(get("/echo?text=" + "y" * 20_000))
        assert (await wire.answer()).status == 431


async def test_a_body_of_20_megabytes_is_answered_413(rig: Make) -> None:
    server = await rig()
    for path in ("/echo", "/cold"):
        async with await Wire.open(server.port) as wire:
            try:
                await wire.send(request("POST", path, b"x" * 20_000_000))
            except ConnectionError:
                pass
            try:
                assert (await wire.answer()).status == 413
            except (EOFError, ConnectionError):
                pass  # a reset is as good for who sends that much
        assert server.cold_done == 0


@pytest.mark.parametrize("path", ["/echo", "/cold"])
async def test_a_body_just_above_the_cap_is_answered_413_and_one_at_it_is_served(rig: Make, path: str) -> None:
    server = await rig()
    async with await Wire.open(server.port) as wire:
        await wire.send(request("POST", path, b"text=" + b"x" * (65_536 - 5)))
        assert (await wire.answer()).status == 200
        await wire.send(request("POST", path, b"text=" + b"x" * (65_536 - 4)))
        assert (await wire.answer()).status == 413


@pytest.mark.parametrize("path", ["/echo", "/cold"])
async def test_a_chunked_body_is_served_and_counted(rig: Make, path: str) -> None:
    server = await rig()
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    async with await Wire.open(server.port) as wire:
        await wire.send(head + b"5\r\ntext=\r\n3\r\nabc\r\n0\r\n\r\n")
        assert (await wire.answer()).body in (b'"abc"', b"cold 8")
        await wire.send(head + b"5\r\ntext=\r\n" + b"1000\r\n" + b"x" * 4096 + b"\r\n")
        for _ in range(20):
            await wire.send(b"1000\r\n" + b"x" * 4096 + b"\r\n")
        assert (await wire.answer()).status == 413


async def test_chunk_extensions_without_end_are_refused(rig: Make) -> None:
    server = await rig(request_deadline_s=30)
    async with await Wire.open(server.port) as wire:
        await wire.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;a=")
        for _ in range(40):
            try:
                await wire.send(b"b" * 65_536)
            except ConnectionError:
                break
            await asyncio.sleep(0)
        assert (await wire.answer()).status == 413


async def test_trailers_are_ignored(rig: Make) -> None:
    server = await rig()
    head = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\ntext=\r\n1\r\na\r\n0\r\n"
    async with await Wire.open(server.port) as wire:
        await wire.send(head + b"X-MBX-TIME-UNIT: NONSENSE\r\nX-MBX-APIKEY: k\r\n\r\n")
        assert (await wire.answer()).body == b'"a"'
        await wire.send(head + b"X-T: " + b"y" * 17_000 + b"\r\n\r\n")
        assert (await wire.answer()).status in (200, 431)


async def test_connections_of_one_address_are_capped(rig: Make) -> None:
    server = await rig()
    server.numbers.connections_per_ip_max = 3
    wires = [await Wire.open(server.port) for _ in range(3)]
    for wire in wires:
        await wire.send(get("/echo"))
        assert (await wire.answer()).status == 200
    async with await Wire.open(server.port) as late:
        answer = await late.answer()
        assert (answer.status, answer.json["code"]) == (503, -1034) or answer.status == 429
    await wires[0].close()
    await asyncio.sleep(0.1)
    async with await Wire.open(server.port) as wire:
        await wire.send(get("/echo"))
        assert (await wire.answer()).status == 200
    for wire in wires:
        await wire.close()
    await asyncio.sleep(0.1)
    assert server.limits.connections == 0


# --- turns ---------------------------------------------------------------------------------------------------------


async def test_pipelined_requests_hot_and_cold_are_answered_in_order(rig: Make) -> None:
    server = await rig()
    async with await Wire.open(server.port) as wire:
        await wire.send(get("/echo?text=1") + get("/cold") + get("/echo?text=2") + get("/cold") + get("/nothing"))
        bodies = [(await wire.answer()).body for _ in range(5)]
    assert bodies == [b'"1"', b"cold 0", b'"2"', b"cold 0", b"Not Found"]


async def test_a_kept_answer_holds_the_later_ones_back_and_a_read_waits_for_it(rig: Make) -> None:
    server = await rig()
    async with await Wire.open(server.port) as wire:
        await wire.send(
            request("POST", "/kept", b"text=a") + request("POST", "/kept",
            b"text=b") + get("/read?text=c") + get("/cold")
            + request("POST", "/kept", b"text=d")
        )  # fmt: skip
        await asyncio.sleep(0.2)
        assert [kept.values["text"] for kept in server.kept] == ["a", "b"], (
            "commands run at once, behind a read they wait"
        )
        assert server.served == []
        server.kept[1].finish(b'"b"')
        await asyncio.sleep(0.1)
        assert server.served == []
        server.kept[0].finish(b'"a"')
        assert [(await wire.answer()).body for _ in range(4)] == [b'"a"', b'"b"', b'"read c"', b"cold 0"]
        await asyncio.sleep(0.1)
        server.kept[2].finish(b'"d"')
        assert (await wire.answer()).body == b'"d"'


async def test_thousands_of_pipelined_requests_are_all_answered_in_order(rig: Make) -> None:
    server = await rig()
    async with await Wire.open(server.port) as wire:
        data = b"".join(get(f"/echo?text={n}") for n in range(3000))
        sender = asyncio.create_task(wire.send(data))
        for n in range(3000):
            assert (await wire.answer()).json == str(n)
        await sender


async def test_many_kept_requests_are_bounded_and_answered_in_order(rig: Make) -> None:
    server = await rig(request_deadline_s=30.0)
    async with await Wire.open(server.port) as wire:
        total = 3000
        sender = asyncio.create_task(
            wire.send(b"".join(request("POST", "/kept", b"text=%d" % n) for n in range(total)))
        )
        answered = 0
        while answered < total:
            await asyncio.sleep(0.01)
            assert len(server.kept) <= 1100
            ready, server.kept = server.kept, []
            for kept in reversed(ready):
                kept.finish(b'"%b"' % kept.values["text"].encode())
            for _ in ready:
                assert (await wire.answer()).json == str(answered)
                answered += 1
        await sender


async def test_answers_nobody_reads_stop_the_reading_and_then_the_connection(rig: Make) -> None:
    server = await rig()
    reader = socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    reader.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(reader, ("127.0.0.1", server.port))
    await loop.sock_sendall(reader, get("/big") * 500)
    await asyncio.sleep(0.3)
    (connection,) = server.server.server_state.connections
    assert connection.transport.get_write_buffer_size() < 5_000_000
    assert server.lane.routes[b"GET", b"/big"].served < 40, "served although nobody reads"
    for _ in range(40):
        await asyncio.sleep(0.1)
        if not server.server.server_state.connections:
            break
    assert not server.server.server_state.connections, "a reader that does not read is cut off"
    reader.close()


async def test_a_slow_reader_that_reads_gets_everything(rig: Make) -> None:
    server = await rig()
    async with await Wire.open(server.port) as wire:
        await wire.send(get("/big") * 100)
        for _ in range(100):
            assert len((await wire.answer()).body) == 300_002


# --- endings -------------------------------------------------------------------------------------------------------


async def test_connection_close_is_honoured_by_hot_and_cold(rig: Make) -> None:
    server = await rig()
    for path in ("/echo?text=a", "/cold", "/nothing"):
        async with await Wire.open(server.port) as wire:
            await wire.send(get(path, "Connection: close") + get("/echo?text=never"))
            answer = await wire.answer()
            assert answer.headers["connection"] == "close"
            assert await wire.closed() == b""


async def test_http_1_0_is_answered_and_closed(rig: Make) -> None:
    server = await rig()
    async with await Wire.open(server.port) as wire:
        await wire.send(b"GET /echo?text=a HTTP/1.0\r\n\r\n")
        assert (await wire.answer()).body == b'"a"'
        assert await wire.closed() == b""


async def test_a_half_closed_client_still_gets_its_answers(rig: Make) -> None:
    server = await rig()
    async with await Wire.open(server.port) as wire:
        await wire.send(request("POST", "/kept", b"text=a") + get("/read?text=b"))
        wire.writer.write_eof()
        await asyncio.sleep(0.2)
        server.kept[0].finish(b'"a"')
        assert (await wire.answer()).body == b'"a"'
        assert (await wire.answer()).body == b'"read b"'
        assert await wire.closed() == b""


async def test_a_client_that_is_gone_leaves_nothing_behind(rig: Make) -> None:
    server = await rig()
    wire = await Wire.open(server.port)
    await wire.send(request("POST", "/kept", b"text=a") + get("/slow"))
    await asyncio.sleep(0.1)
    wire.writer.transport.abort()
    await asyncio.sleep(0.1)
    server.kept[0].finish(b'"a"')
    server.release.set()
    await asyncio.sleep(0.2)
    assert not server.server.server_state.connections
    assert server.limits.connections == 0


async def test_a_reset_in_the_middle_of_a_cold_answer_is_survived(rig: Make) -> None:
    server = await rig()
    wire = await Wire.open(server.port)
    await wire.send(get("/slow"))
    await asyncio.sleep(0.1)
    raw: socket.socket = wire.writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.writer.transport.abort()
    await asyncio.sleep(0.1)
    server.release.set()
    async with await Wire.open(server.port) as other:
        await other.send(get("/echo?text=still here"))
        assert (await other.answer()).status in (200, 400)


async def test_a_bug_in_a_handler_is_a_500_and_counted(rig: Make, caplog: pytest.LogCaptureFixture) -> None:
    server = await rig()
    async with await Wire.open(server.port) as wire:
        await wire.send(get("/broken") + get("/raises") + get("/echo?text=a"))
        first = await wire.answer()
        assert (first.status, first.json["code"]) == (500, -1000)
        assert (await wire.answer()).status == 500
    assert server.lane.faults == 1
    assert any("bug in the handler of GET /broken" in record.message for record in caplog.records)


# --- what smugglers send --------------------------------------------------------------------------------------------

NEXT = get("/echo?text=smuggled")


@pytest.mark.parametrize(
    "data",
    [
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4,4\r\n\r\nabcd",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: +4\r\n\r\nabcd",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\nabcd",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 0x4\r\n\r\nabcd",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\nabcd",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nabc\r\n0\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcde\r\n0\r\n\r\n",
        b"GET /echo HTTP/1.1\r\nHost: x\r\nX: a\r\n folded\r\n\r\n",
        b"GET /echo HTTP/1.1\r\nHost: x\r\nX\x00Y: a\r\n\r\n",
        b"GET /echo HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n",
        b"GET /echo HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET /echo HTTP/1.1\nHost: x\n\n",
        b"GET /echo HTTP/9.9\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
        b"EHLO x\r\n",
        b"\x00" * 100,
        b"GET /echo\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"G\xc3\x8bT /echo HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
async def test_malformed_requests_are_refused_and_what_follows_is_not_served(rig: Make, data: bytes) -> None:
    server = await rig()
    async with await Wire.open(server.port) as wire:
        await wire.send(data + NEXT)
        answer = await wire.answer()
        assert answer.status in (400, 413), answer
        rest = await wire.closed()
        assert b"smuggled" not in rest, "the smuggled request was served"
        assert b"HTTP/1.1 2" not in rest


@pytest.mark.parametrize(
    ("data", "statuses"),
    [
        (b"GET /echo\r\n\r\n", (200, 400)),
        (b"GET  /echo HTTP/1.1\r\nHost: x\r\n\r\n", (200, 400)),
        (b"GET /e%63ho HTTP/1.1\r\nHost: x\r\n\r\n", (404,)),
        (b"GET http://x/echo?text=a HTTP/1.1\r\nHost: x\r\n\r\n", (200,)),
        (b"GET /../echo HTTP/1.1\r\nHost: x\r\n\r\n", (404,)),
        (b"GET //echo HTTP/1.1\r\nHost: x\r\n\r\n", (404,)),
        (b"GET /echo/ HTTP/1.1\r\nHost: x\r\n\r\n", (404, 307)),
        (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", (400, 404)),
        (b"HEAD /cold HTTP/1.1\r\nHost: x\r\n\r\n", (200, 405)),
        (b"DELETE /echo HTTP/1.1\r\nHost: x\r\n\r\n", (404, 405)),
        (b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n", (400, 404)),
        (b"TRACE /echo HTTP/1.1\r\nHost: x\r\n\r\n", (404, 405)),
        (b"GET /" + bytes(range(0xA0, 0xFF)) + b" HTTP/1.1\r\nHost: x\r\n\r\n", (400, 404)),
    ],
)
async def test_odd_targets_and_methods_get_an_answer(rig: Make, data: bytes, statuses: tuple[int, ...]) -> None:
    server = await rig()
    async with await Wire.open(server.port) as wire:
        await wire.send(data)
        assert (await wire.answer(bodyless=data.startswith(b"HEAD"))).status in statuses
    assert server.lane.faults == 0


async def test_random_bytes_never_break_the_server(rig: Make, seed: int) -> None:
    import random

    print("seed", seed)
    chance = random.Random(seed)
    server = await rig()
    pieces = [b"GET ", b"POST ", b"/echo", b"?text=a", b" HTTP/1.1", b"\r\n", b"\r\n\r\n", b"Content-Length: 3",
    b"Host: x", b"Transfer-Encoding: chunked", b"3\r\nabc\r\n", b"0\r\n\r\n", b"Upgrade: websocket",
    b"Connection: Upgrade", b"Connection: close", b"Expect: 100-continue"]  # fmt: skip
    for _ in range(150):
        async with await Wire.open(server.port) as wire:
            data = b"".join(
                chance.choice(pieces) if chance.random() < 0.8 else chance.randbytes(chance.randint(1, 30))
                for _ in range(chance.randint(1, 30))
            )
            try:
                for offset in range(0, len(data), 17):
                    await wire.send(data[offset : offset + 17])
            except ConnectionError:
                pass
    async with await Wire.open(server.port) as wire:
        await wire.send(get("/echo?text=alive"))
        assert (await wire.answer()).body == b'"alive"'
    assert server.lane.faults == 0


# --- upgrades and continuations --------------------------------------------------------------------------------------


async def test_an_h2c_upgrade_is_ignored_body_and_all(rig: Make) -> None:
    server = await rig()
    headers = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")
    async with await Wire.open(server.port) as wire:
        await wire.send(request("POST", "/echo", b"text=abc", *headers) + get("/echo?text=next"))
        assert (await wire.answer()).body == b'"abc"'
        assert (await wire.answer()).body == b'"next"'
        await wire.send(get("/cold", *headers))
        assert (await wire.answer()).body == b"cold 0"


async def test_expect_100_continue_is_answered_before_the_body(rig: Make) -> None:
    server = await rig()
    for path in ("/echo", "/cold"):
        async with await Wire.open(server.port) as wire:
            await wire.send(request("POST", path, b"text=a", "Expect: 100-continue")[:-6])
            assert (await wire.answer()).status == 100
            await wire.send(b"text=a")
            assert (await wire.answer()).status == 200


async def test_a_body_in_pieces_is_put_together(rig: Make) -> None:
    server = await rig()
    whole = request("POST", "/echo", b"text=abcdefgh", "X-MBX-APIKEY: k")
    async with await Wire.open(server.port) as wire:
        for byte in whole:
            await wire.send(bytes([byte]))
            await asyncio.sleep(0)
        assert (await wire.answer()).body == b'"abcdefgh"'


# --- the end of the server --------------------------------------------------------------------------------------------


async def test_stop_answers_what_was_admitted_and_refuses_new_connections(rig: Make) -> None:
    server = await rig()
    idle = await Wire.open(server.port)
    await idle.send(get("/echo"))
    await idle.answer()
    hot = await Wire.open(server.port)
    await hot.send(request("POST", "/kept", b"text=a"))
    cold = await Wire.open(server.port)
    await cold.send(get("/slow"))
    await asyncio.sleep(0.1)
    stopping = asyncio.create_task(server.server.stop())
    await asyncio.sleep(0.4)
    with pytest.raises(OSError):
        await Wire.open(server.port)
    assert await idle.closed() == b""
    server.kept[0].finish(b'"a"')
    server.release.set()
    assert (await hot.answer()).body == b'"a"'
    assert (await cold.answer()).body == b"slow"
    assert await hot.closed() == b""
    assert await cold.closed() == b""
    await asyncio.wait_for(stopping, 5)
    for wire in (idle, hot, cold):
        await wire.close()


async def test_stop_does_not_wait_for_ever(rig: Make) -> None:
    server = await rig()
    async with await Wire.open(server.port) as wire:
        await wire.send(request("POST", "/kept", b"text=a"))
        await asyncio.sleep(0.1)
        start = time.monotonic()
        await server.server.stop()
        assert time.monotonic() - start < 6
        assert await wire.closed() == b""


SCRIPT = """
import asyncio, signal, sys
import uvloop
from tests.api.test_server import Rig

async def main():
    rig = Rig()
    await rig.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    print(rig.port, flush=True)
    await stop.wait()
    await rig.server.stop()
    rig.environment.close()

uvloop.run(main())
"""


async def test_sigterm_ends_the_process_with_exit_code_0() -> None:
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE)  # noqa: ASYNC220
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        async with await Wire.open(port) as wire:
            await wire.send(get("/echo?text=a"))
            assert (await wire.answer()).status == 200
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
