# SPDX-License-Identifier: Apache-2.0
"""The bare client side of the wire: signed requests as bytes, pipelined keep-alive HTTP, a reading WebSocket.

Used by the LOBSTER replay, the load generator and the chaos rounds, where a client library would be the slowest part.
It must never retry, follow or correct anything: what went over the wire is what the caller judges.
"""

import asyncio
import base64
import hmac
import json
import os
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Self, cast

import httptools


class Key(NamedTuple):
    """An HMAC key as a client holds it."""

    text: str
    secret: str


class Answer(NamedTuple):
    """What came back. Status 0: the connection was lost before an answer."""

    status: int
    body: bytes


LOST = Answer(0, b"")
OnAnswer = Callable[[Answer], None]


def signed_query(key: Key, parameters: str, timestamp: int) -> str:
    """The parameters with timestamp (ms or us) and signature."""
    query = f"{parameters}{'&' if parameters else ''}timestamp={timestamp}"
    return f"{query}&signature={hmac.digest(key.secret.encode(), query.encode(), 'sha256').hex()}"


def signed_request(method: str, path: str, key: Key, parameters: str, timestamp: int) -> bytes:
    """A whole signed request; every parameter goes into the query, as the official SDK does."""
    query = signed_query(key, parameters, timestamp)
    body = "Content-Length: 0\r\n" if method in ("POST", "PUT") else ""
    return f"{method} {path}?{query} HTTP/1.1\r\nHost: bidhall\r\nX-MBX-APIKEY: {key.text}\r\n{body}\r\n".encode()


def plain_request(path: str) -> bytes:
    """A GET that needs no key."""
    return f"GET {path} HTTP/1.1\r\nHost: bidhall\r\n\r\n".encode()


class HttpConnection(asyncio.Protocol):
    """One keep-alive connection; requests may be pipelined, answers come in their order."""

    def __init__(self) -> None:
        self._waiting: deque[OnAnswer] = deque()
        self._parser = httptools.HttpResponseParser(self)
        self._pieces: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self.closed = False

    @classmethod
    async def open(cls, host: str, port: int) -> Self:
        """Connects."""
        _, connection = await asyncio.get_running_loop().create_connection(cls, host, port)
        return connection

    @property
    def pending(self) -> int:
        """Requests without an answer so far."""
        return len(self._waiting)

    def send(self, request: bytes, on_answer: OnAnswer) -> None:
        """Sends; the answer (or LOST) is handed to `on_answer` exactly once."""
        if self.closed or self._transport is None:
            on_answer(LOST)
            return
        self._waiting.append(on_answer)
        self._transport.write(request)

    async def ask(self, request: bytes) -> Answer:
        """Sends and waits."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.send(request, lambda answer: None if future.done() else future.set_result(answer))
        return await future

    def close(self) -> None:
        """Closes; what waits is LOST."""
        if self._transport is not None:
            self._transport.close()

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclasses

    def data_received(self, chunk: bytes) -> None:
        self._parser.feed_data(chunk)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        waiting, self._waiting = self._waiting, deque()
        for on_answer in waiting:
            on_answer(LOST)

    # What the parser calls

    def on_message_begin(self) -> None:
        self._pieces = []

    def on_body(self, piece: bytes) -> None:
        self._pieces.append(piece)

    def on_message_complete(self) -> None:
        on_answer = self._waiting.popleft()
        on_answer(Answer(self._parser.get_status_code(), b"".join(self._pieces)))


class WebSocketReader(asyncio.Protocol):
    """A WebSocket that hands every text frame to `on_text`, answers pings, and can send short texts."""

    def __init__(self, host: str, path: str, on_text: Callable[[bytes], None]) -> None:
        self._on_text = on_text
        self._buffer = bytearray()
        self._head = (
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        ).encode()
        self._transport: asyncio.Transport | None = None
        self._fragments = bytearray()
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.closed: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._close_code = 1006

    @classmethod
    async def open(cls, host: str, port: int, path: str, on_text: Callable[[bytes], None]) -> Self:
        """Connects and shakes hands."""
        loop = asyncio.get_running_loop()
        _, reader = await loop.create_connection(lambda: cls(f"{host}:{port}", path, on_text), host, port)
        await reader.opened
        return reader

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclasses
        self._transport.write(self._head)

    def data_received(self, chunk: bytes) -> None:
        self._buffer += chunk
        if not self.opened.done():
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            status = bytes(self._buffer[9:12])
            del self._buffer[: end + 4]
            if status != b"101":
                self.opened.set_exception(ConnectionError(f"the upgrade was answered {status.decode()}"))
                self.close()
                return
            self.opened.set_result(None)
        self._frames()

    def _frames(self) -> None:
        buffer, position = self._buffer, 0
        while len(buffer) - position >= 2:
            size, start = buffer[position + 1] & 127, position + 2
            if size >= 126:
                start += 2 if size == 126 else 8
                if len(buffer) < start:
                    break
                size = int.from_bytes(buffer[position + 2 : start], "big")
            if len(buffer) < start + size:
                break
            self._frame(buffer[position], bytes(buffer[start : start + size]))
            position = start + size
        del buffer[:position]

    def _frame(self, first: int, payload: bytes) -> None:
        code = first & 15
        if code == 9:
            self._send(10, payload)
        elif code == 8:
            self._close_code = int.from_bytes(payload[:2], "big") or 1005
            self._send(8, payload[:2])
            self.close()
        elif code in (0, 1, 2):
            self._fragments += payload
            if first & 128:
                message, self._fragments = bytes(self._fragments), bytearray()
                self._on_text(message)

    def send_text(self, text: bytes) -> None:
        """Sends one text frame."""
        self._send(1, text)

    def _send(self, code: int, payload: bytes) -> None:
        mask = b"\0\0\0\0"  # a mask of zeros is a mask; only proxies care for a random one
        size = len(payload)
        head = bytes([128 | code, 128 | size]) if size < 126 else bytes([128 | code, 254]) + size.to_bytes(2, "big")
        if self._transport is not None:
            self._transport.write(head + mask + payload)

    def close(self) -> None:
        """Closes the connection."""
        if self._transport is not None:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_exception(ConnectionError("closed during the handshake"))
        if not self.closed.done():
            self.closed.set_result(self._close_code)


class WebSocketApiConnection:
    """One connection of the WebSocket API: signed requests with ids, any number on their way."""

    def __init__(self) -> None:
        self._waiting: dict[int, OnAnswer] = {}
        self._sent = 0
        self._socket: WebSocketReader | None = None

    @classmethod
    async def open(cls, host: str, port: int) -> Self:
        """Connects."""
        connection = cls()
        connection._socket = await WebSocketReader.open(host, port, "/ws-api/v3", connection._on_text)
        connection._socket.closed.add_done_callback(lambda _: connection._lost())
        return connection

    @property
    def pending(self) -> int:
        """Requests without an answer so far."""
        return len(self._waiting)

    def send(self, method: str, key: Key, parameters: dict[str, str], timestamp: int, on_answer: OnAnswer) -> None:
        """Signs and sends; the answer's status and its result or error (or LOST) are handed over exactly once."""
        if self._socket is None or self._socket.closed.done():
            on_answer(LOST)
            return
        self._sent += 1
        self._waiting[self._sent] = on_answer
        self._socket.send_text(signed_call(self._sent, method, key, parameters, timestamp))

    def close(self) -> None:
        """Closes; what waits is LOST."""
        if self._socket is not None:
            self._socket.close()

    def _on_text(self, text: bytes) -> None:
        message = json.loads(text)
        on_answer = self._waiting.pop(message["id"], None)
        if on_answer is not None:
            body = message["result"] if message["status"] == 200 else message["error"]
            on_answer(Answer(message["status"], json.dumps(body).encode()))

    def _lost(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for on_answer in waiting.values():
            on_answer(LOST)


def signed_call(number: int, method: str, key: Key, parameters: dict[str, str], timestamp: int) -> bytes:
    """A signed request of the WebSocket API; its parameters are sorted by name, and all are text but the time."""
    pairs = sorted({**parameters, "apiKey": key.text, "timestamp": str(timestamp)}.items())
    payload = "&".join([f"{name}={value}" for name, value in pairs])
    signature = hmac.digest(key.secret.encode(), payload.encode(), "sha256").hex()
    params = {**dict(pairs), "timestamp": timestamp, "signature": signature}
    return json.dumps({"id": number, "method": method, "params": params}).encode()
