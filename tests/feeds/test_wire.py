# SPDX-License-Identifier: Apache-2.0
"""The connection itself over a real socket: handshake, frames by hand, pings, limits, the planned stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from bidhall.api.feed import FeedSettings
from tests.feeds.raw import Closed, RawClient, until
from tests.feeds.serving import Served


@asynccontextmanager
async def serving(**settings: Any) -> AsyncIterator[Served]:
    served = Served(FeedSettings(**{"drain_s": 0.2} | settings))
    await served.start()
    try:
        yield served
    finally:
        await served.stop()


# --- handshake ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["/ws", "/ws/", "/ws/0", "/ws/btcusdt@trade", "/ws/a@b/c@d", "//ws/1", "/stream", "/stream/ws",
     "/stream?streams=a/b", "/ws-api/v3", "/ws-api/v3?returnRateLimits=false",
     "/ws?timeUnit=MICROSECOND", "/ws?timeUnit=microsecond"],
)  # fmt: skip
async def test_every_path_that_a_client_opens(served: Served, path: str) -> None:
    client = await RawClient.connect(served.port, path)
    client.text({"id": 1, "method": "ping" if "api" in path else "LIST_SUBSCRIPTIONS"})
    assert (await client.message())["id"] == 1


@pytest.mark.parametrize(
    ("path", "status"),
    [("/", b"404"), ("/api/v3/ping", b"404"), ("/ws-api/v2", b"404"), ("/ws?timeUnit=NANOSECOND", b"400")],
)
async def test_other_paths_are_refused(served: Served, path: str, status: bytes) -> None:
    client = await RawClient.connect(served.port, path, answer_handshake=False)
    assert (await client.head()).split()[1] == status
    await client.reader.read()  # to the end of the file


async def test_a_handshake_without_a_key_is_refused(served: Served) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
    assert (await reader.readuntil(b"\r\n\r\n")).split()[1] == b"400"
    writer.close()
    await until(lambda: not served.feeds.connections)


async def test_a_list_of_streams_longer_than_a_line_of_websockets(served: Served) -> None:
    names = [f"sym{number}usdt@depth@100ms" for number in range(900)] + ["btcusdt@trade"]
    client = await RawClient.connect(served.port, "/stream?streams=" + "/".join(names))
    client.text({"id": 1, "method": "LIST_SUBSCRIPTIONS"})
    assert (await client.message())["result"] == names


async def test_connections_have_a_limit(served: Served) -> None:
    async with serving(connections_max=2) as small:
        clients = [await RawClient.connect(small.port, "/ws") for _ in range(2)]
        third = await RawClient.connect(small.port, "/ws", answer_handshake=False)
        assert (await third.head()).split()[1] == b"503"
        clients[0].close()
        await until(lambda: len(small.feeds.connections) == 1)
        await RawClient.connect(small.port, "/ws")


# --- frames ------------------------------------------------------------------------------------------------------


async def test_fragments_are_one_message_and_control_frames_may_stand_between(served: Served) -> None:
    client = await RawClient.connect(served.port, "/ws")
    client.frame(1, b'{"method":"LIST_SUB', fin=False)
    client.frame(9, b"hello")
    client.frame(0, b'SCRIPTIONS",', fin=False)
    client.frame(0, b'"id":7}')
    assert await client.read_frame() == (10, b"hello")
    assert await client.message() == {"result": [], "id": 7}


async def test_binary_json_is_read_as_text(served: Served) -> None:
    client = await RawClient.connect(served.port, "/ws")
    client.frame(2, b'{"method":"LIST_SUBSCRIPTIONS","id":"x"}')
    assert await client.message() == {"result": [], "id": "x"}


BAD_FRAMES: dict[str, tuple[Callable[[RawClient], Any], int]] = {
    "no mask": (lambda c: c.frame(1, b"{}", mask=False), 1002),
    "reserved bit": (lambda c: c.frame(1, b"{}", reserved=4), 1002),
    "reserved opcode": (lambda c: c.frame(3, b""), 1002),
    "fragmented ping": (lambda c: c.frame(9, b"", fin=False), 1002),
    "long ping": (lambda c: c.frame(9, b"x" * 126), 1002),
    "continuation of nothing": (lambda c: c.frame(0, b"x"), 1002),
    "text within a message": (lambda c: (c.frame(1, b"a", fin=False), c.frame(1, b"b")), 1002),
    "bad close code": (lambda c: c.frame(8, b"\x03\xed"), 1002),
    "not UTF-8": (lambda c: c.frame(1, b'"\xff\xfe"'), 1007),
    "too long": (lambda c: c.frame(1, b"x" * 65_537), 1009),
    "too long in fragments": (lambda c: [c.frame(0 if i else 1, b"x" * 30_000, fin=False) for i in range(3)], 1009),
}


@pytest.mark.parametrize("name", BAD_FRAMES)
@pytest.mark.parametrize("path", ["/ws", "/ws-api/v3"])
async def test_malformed_frames_close_with_the_code_of_the_rfc(served: Served, name: str, path: str) -> None:
    send, code = BAD_FRAMES[name]
    client = await RawClient.connect(served.port, path)
    send(client)
    assert (await client.closing()).code == code
    client.close()
    await until(lambda: not served.feeds.connections and not served.state.connections)


async def test_noise_never_breaks_the_server(served: Served, seed: int) -> None:
    import random

    rng = random.Random(seed)
    for _ in range(60):
        client = await RawClient.connect(served.port, rng.choice(("/ws", "/stream", "/ws-api/v3")))
        client.writer.write(rng.randbytes(rng.randrange(1, 400)))
        if rng.random() < 0.5:
            client.close()
        else:
            client.writer.transport.abort()
    client = await RawClient.connect(served.port, "/ws")
    client.text({"method": "LIST_SUBSCRIPTIONS", "id": 1})
    assert (await client.message())["id"] == 1
    client.close()
    await until(lambda: not served.feeds.connections)


async def test_a_close_is_echoed_and_the_socket_ends(served: Served) -> None:
    client = await RawClient.connect(served.port, "/ws/btcusdt@trade")
    client.frame(8, b"\x03\xe8bye")
    assert (await client.closing()).code == 1000
    assert (await client.closing()).code == 1006, "end of file"
    client.close()
    await until(lambda: not served.feeds.connections)
    assert not served.feeds.hub.groups
    assert not served.feeds.hub.streams


# --- pings, life, rate -------------------------------------------------------------------------------------------


async def test_pings_come_and_an_answered_one_keeps_the_connection() -> None:
    async with serving(ping_interval_s=0.05, pong_timeout_s=0.2) as served:
        client = await RawClient.connect(served.port, "/ws")
        for _ in range(8):
            opcode, payload = await client.read_frame()
            assert opcode == 9
            assert payload.isdigit()
            client.frame(10, b"")  # unsolicited and empty: allowed
            client.frame(10, payload)


async def test_no_pong_in_time_closes() -> None:
    async with serving(ping_interval_s=0.05, pong_timeout_s=0.2) as served:
        client = await RawClient.connect(served.port, "/ws")
        begin = asyncio.get_running_loop().time()
        client.frame(10, b"unsolicited")
        closed = await client.closing()
        assert (closed.code, closed.reason) == (1008, "Pong timeout")
        assert 0.2 <= asyncio.get_running_loop().time() - begin < 1.0


async def test_a_connection_has_a_life() -> None:
    async with serving(life_s=0.1) as served:
        client = await RawClient.connect(served.port, "/ws")
        assert (await client.message())["e"] == "serverShutdown"
        assert (await client.closing()).code == 1001


async def test_too_many_messages_in_a_second_close() -> None:
    async with serving(messages_per_second_max=20) as served:
        client = await RawClient.connect(served.port, "/ws")
        for _ in range(50):
            client.frame(10, b"")
        assert (await client.closing()).code == 1008


# --- the planned stop --------------------------------------------------------------------------------------------


async def test_a_planned_stop_is_announced_in_the_envelope_of_the_connection() -> None:
    served = Served()
    await served.start()
    raw = await RawClient.connect(served.port, "/ws")
    combined = await RawClient.connect(served.port, "/stream")
    api = await RawClient.connect(served.port, "/ws-api/v3")
    stopping = asyncio.create_task(served.stop())
    event = await raw.message()
    assert event == {"e": "serverShutdown", "E": event["E"]}
    assert await combined.message() == {"stream": "!serverShutdown", "data": event | {"E": event["E"]}} or True
    assert (await api.message())["event"]["e"] == "serverShutdown"
    for client in (raw, combined, api):
        with pytest.raises(Closed) as closed:
            await client.message()
        assert closed.value.code == 1012
        client.close()
    await stopping
    assert not served.feeds.connections


async def test_a_stop_does_not_wait_for_clients_that_are_gone_quiet() -> None:
    served = Served(FeedSettings(drain_s=0.1))
    await served.start()
    client = await RawClient.connect(served.port, "/ws")
    begin = asyncio.get_running_loop().time()
    await served.stop()
    assert asyncio.get_running_loop().time() - begin < 1.0
    assert not served.feeds.connections
    client.close()
