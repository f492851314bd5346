# SPDX-License-Identifier: Apache-2.0
"""A client of bytes: sends exactly what it is told over a real socket and reads HTTP answers one by one.

Used by every test in this room. It must never mend what it is given.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from types import TracebackType
from typing import Any, NamedTuple


class Answer(NamedTuple):
    """One HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Wire:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int, *, limit: int = 1 << 24) -> Wire:
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=limit))

    async def __aenter__(self) -> Wire:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        with contextlib.suppress(OSError, RuntimeError):
            self.writer.close()
            await self.writer.wait_closed()

    async def send(self, data: bytes) -> None:
        try:
            self.writer.write(data)
            await self.writer.drain()
        except RuntimeError as error:  # uvloop's word for a transport that is closed
            raise ConnectionError(str(error)) from None

    async def answer(self, timeout_s: float = 10.0, *, bodyless: bool = False) -> Answer:
        """The next answer; raises EOFError when the server has closed instead."""
        return await asyncio.wait_for(self._answer(bodyless), timeout_s)

    async def _answer(self, bodyless: bool) -> Answer:
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            raise EOFError(error.partial) from None
        lines = head.decode("latin-1").split("\r\n")
        version, status, _ = lines[0].split(" ", 2)
        assert version == "HTTP/1.1"
        headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)
        }
        if int(status) == 100 or bodyless:
            return Answer(int(status), headers, b"")
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int((await self.reader.readuntil(b"\r\n"))[:-2], 16):
                body += (await self.reader.readexactly(size + 2))[:-2]
            await self.reader.readexactly(2)
        else:
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return Answer(int(status), headers, body)

    async def closed(self, timeout_s: float = 10.0) -> bytes:
        """What the server still sends until it closes (a reset counts as closed)."""
        try:
            return await asyncio.wait_for(self.reader.read(-1), timeout_s)
        except ConnectionError:
            return b""

    async def is_open(self, seconds: float) -> bool:
        """Whether nothing comes and nothing closes for so long."""
        await asyncio.sleep(seconds)
        return not self.reader.at_eof() and not self.writer.is_closing()


def get(path: str, *headers: str) -> bytes:
    """A plain GET request."""
    return ("\r\n".join([f"GET {path} HTTP/1.1", "Host: x", *headers]) + "\r\n\r\n").encode("latin-1")


def request(method: str, path: str, body: bytes = b"", *headers: str) -> bytes:
    """A request with a body of known length."""
    lines = [f"{method} {path} HTTP/1.1", "Host: x", *headers]
    if body or method == "POST":
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body
