# SPDX-License-Identifier: Apache-2.0
"""The whole server in the test's own loop: log, replica, door, two funded accounts."""

from __future__ import annotations

import asyncio
import hmac
import time
from pathlib import Path
from typing import Any

import msgspec
import orjson

from bidhall import seed
from bidhall.api.app import Door, DoorSettings
from bidhall.api.feed import FeedSettings
from bidhall.documents import SeedDocument
from bidhall.environment import RealEnvironment
from bidhall.log import open_log
from bidhall.replica import Replica, ReplicaSettings
from bidhall.sinks.history import History
from bidhall.sinks.settings import HistorySettings
from tests.feeds.raw import RawClient
from tests.serving import key_secret, key_text, seed_document


class Venue:
    """An exchange with alice and bob."""

    def __init__(self, folder: Path | None = None, feed_settings: FeedSettings | None = None, log: Any = None) -> None:
        """`log`: that of another venue, of which this one is a further replica."""
        self.folder = folder
        self.shared = log is not None
        self.feed_settings = feed_settings or FeedSettings(drain_s=0.3)
        self.environment = RealEnvironment()
        self.log: Any = log
        self.replica: Any = None
        self.history: Any = None
        self.door: Any = None

    async def start(self) -> Venue:
        if not self.shared:
            self.log = open_log("memory:" if self.folder is None else f"sqlite:///{self.folder}", self.environment)
        settings = ReplicaSettings(master_key="" if self.folder else "11" * 32)  # one key for all replicas of a log
        self.replica = Replica(self.log, self.environment, folder=self.folder, settings=settings)
        self.history = History(self.replica, self.environment, self.folder, HistorySettings())
        self.history.attach()
        await self.replica.start()
        self.history.start()
        await seed.apply(msgspec.convert(seed_document(("alice", "bob")), SeedDocument), self.replica)
        door_settings = DoorSettings(port=0, drain_s=1.0)
        self.door = Door(self.replica, self.environment, door_settings, self.feed_settings, history=self.history)
        await self.door.start()
        return self

    async def stop(self) -> None:
        await self.door.stop()
        await self.replica.stop()
        await self.history.stop()
        if not self.shared:
            await self.log.close()
        self.environment.close()

    @property
    def port(self) -> int:
        return int(self.door.port)


class Http:
    """A keep-alive connection that signs for one account."""

    def __init__(self, port: int, name: str) -> None:
        self.port = port
        self.name = name
        self.reader: Any = None
        self.writer: Any = None
        self.status = 0  # of the last answer

    async def open(self) -> Http:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        RawClient(self.reader, self.writer)  # closed behind the test, whatever happens
        return self

    def close(self) -> None:
        if self.writer is not None:
            self.writer.transport.abort()

    async def ask(self, method: str, path: str, **parameters: Any) -> Any:
        """A public request."""
        return await self._send(method, path, "&".join(f"{name}={value}" for name, value in parameters.items()))

    async def signed(self, method: str, path: str, **parameters: Any) -> Any:
        """A signed one."""
        parameters["timestamp"] = time.time_ns() // 1_000  # the same bytes twice would be one request
        query = "&".join(f"{name}={value}" for name, value in parameters.items())
        signature = hmac.digest(key_secret(self.name).encode(), query.encode(), "sha256").hex()
        return await self._send(method, path, f"{query}&signature={signature}")

    async def _send(self, method: str, path: str, query: str) -> Any:
        target = f"{path}?{query}" if query else path
        self.writer.write(
            f"{method} {target} HTTP/1.1\r\nHost: x\r\nX-MBX-APIKEY: {key_text(self.name)}\r\n\r\n".encode()
        )
        head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        self.status = int(head.split()[1])
        size = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        return orjson.loads(await self.reader.readexactly(size))

    async def limit(self, side: str, price: float, quantity: float, **more: Any) -> Any:
        """A GTC limit order."""
        return await self.signed(
            "POST", "/api/v3/order", symbol="BTCUSDT", side=side, type="LIMIT", timeInForce="GTC",
            price=f"{price:.2f}", quantity=f"{quantity:.5f}", **more,
        )  # fmt: skip


def subscribe_parameters(name: str) -> dict[str, Any]:
    """Signed parameters of userDataStream.subscribe.signature."""
    parameters: dict[str, Any] = {"apiKey": key_text(name), "timestamp": int(time.time() * 1000)}
    payload = "&".join(f"{key}={parameters[key]}" for key in sorted(parameters))
    parameters["signature"] = hmac.digest(key_secret(name).encode(), payload.encode(), "sha256").hex()
    return parameters
