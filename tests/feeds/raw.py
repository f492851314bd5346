# SPDX-License-Identifier: Apache-2.0
"""A WebSocket client that does exactly what it is told, malformed frames included."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
from collections.abc import Callable
from typing import Any, ClassVar


async def until(condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
    """Wait for something that the server does when it gets to it."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.005)


class Closed(Exception):
    """The server closed; code and reason of its close frame (1006: there was none)."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class RawClient:
    """Frames by hand."""

    opened: ClassVar[list[RawClient]] = []  # closed behind every test (conftest)

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.pings: list[bytes] = []
        self.opened.append(self)

    @classmethod
    async def connect(cls, port: int, path: str, *, answer_handshake: bool = True, small: bool = False) -> RawClient:
        """`small`: a socket that is soon full when it is not read."""
        connection = socket.create_connection(("127.0.0.1", port))
        if small:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        connection.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=connection, limit=65_536 if small else 2**24)
        writer.write(
            b"GET %b HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n" % path.encode()
        )
        client = cls(reader, writer)
        if answer_handshake:
            head = await client.head()
            assert head.startswith(b"HTTP/1.1 101"), head
        return client

    async def head(self) -> bytes:
        return await self.reader.readuntil(b"\r\n\r\n")

    def frame(self, opcode: int, payload: bytes, *, fin: bool = True, mask: bool = True, reserved: int = 0) -> None:
        first = (0x80 if fin else 0) | reserved << 4 | opcode
        flag = 0x80 if mask else 0
        size = len(payload)
        if size < 126:
            head = struct.pack("!BB", first, flag | size)
        elif size < 65_536:
            head = struct.pack("!BBH", first, flag | 126, size)
        else:
            head = struct.pack("!BBQ", first, flag | 127, size)
        if mask:
            key = os.urandom(4)
            whole = (payload + b"\0\0\0")[: size + (-size % 4)]
            payload = bytes(byte ^ key[index % 4] for index, byte in enumerate(whole[:size]))
            head += key
        self.writer.write(head + payload)

    def text(self, message: Any) -> None:
        self.frame(1, (message if isinstance(message, str) else json.dumps(message)).encode())

    async def read_frame(self) -> tuple[int, bytes]:
        try:
            first, second = await self.reader.readexactly(2)
            assert not second & 0x80, "a server does not mask"
            assert first & 0x70 == 0, "no extension was negotiated"
            size = second & 0x7F
            if size == 126:
                (size,) = struct.unpack("!H", await self.reader.readexactly(2))
            elif size == 127:
                (size,) = struct.unpack("!Q", await self.reader.readexactly(8))
            return first & 0x0F, await self.reader.readexactly(size)
        except (asyncio.IncompleteReadError, ConnectionError):
            raise Closed(1006) from None

    async def message(self, timeout_s: float = 5.0) -> Any:
        """The next text message, parsed; pings are noted, a close frame raises."""
        async with asyncio.timeout(timeout_s):
            while True:
                opcode, payload = await self.read_frame()
                if opcode == 1:
                    return json.loads(payload)
                if opcode == 8:
                    raise Closed(struct.unpack("!H", payload[:2])[0] if payload else 1005, payload[2:].decode())
                if opcode == 9:
                    self.pings.append(payload)

    async def silence(self, seconds: float = 0.05) -> None:
        """Nothing comes."""
        try:
            message = await self.message(seconds)
        except TimeoutError:
            return
        raise AssertionError(f"unexpected: {message}")

    async def closing(self, timeout_s: float = 5.0) -> Closed:
        """Read on until the server closes."""
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    await self.message()
        except Closed as closed:
            return closed

    def close(self) -> None:
        self.writer.close()
