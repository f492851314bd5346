# SPDX-License-Identifier: Apache-2.0
"""A whole exchange in the test's own process: log, replica and both doors, on sockets of its own, with a few accounts.

Used by the tests of this room. `Client` signs and sends over one real connection; `Venue.calm` says that no handler
raised what it may not.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import b64encode
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256

from bidhall import seed
from bidhall.api.app import Door, DoorSettings
from bidhall.documents import SeedDocument, convert
from bidhall.environment import RealEnvironment
from bidhall.log import open_log
from bidhall.replica import Replica, ReplicaSettings
from bidhall.sinks import History
from tests.api.wire import Answer, Wire, request

ADMIN_KEY = "admin-key-of-the-tests"
ALICE, BOB, CAROL, READER = "a" * 64, "b" * 64, "c" * 64, "r" * 64
SECRET = {ALICE: "A" * 64, BOB: "B" * 64, READER: "R" * 64}
CAROL_PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
CAROL_PUBLIC = b64encode(CAROL_PRIVATE.public_key().public_bytes_raw()).decode()

DOCUMENT: dict[str, Any] = {
    "limits": {"accounts": 1000, "open_orders": 10_000, "assets": 16, "markets": 16, "digests": 65_536, "writers": 64},
    "assets": [{"name": "BTC"}, {"name": "USDT"}, {"name": "ETH"}],
    "markets": [
        {
            "name": "BTCUSDT", "base": "BTC", "quote": "USDT", "tick": "0.01", "step": "0.00001",
            "price_max": "1000000",
            "quantity_max": "9000", "notional_min": "5", "maker_rate": "0.001", "taker_rate": "0.001",
            "orders_max": 200,
        },
        {
            "name": "ETHUSDT", "base": "ETH", "quote": "USDT", "tick": "0.01", "step": "0.0001", "price_max": "100000",
            "quantity_max": "9000", "market_quantity_max": "100", "notional_min": "5",
        },
        {
            "name": "ETHBTC", "base": "ETH", "quote": "BTC", "tick": "0.00001", "step": "0.001", "price_max": "1000",
            "quantity_max": "1000", "state": "HALT",
        },
    ],
    "accounts": [
        {
            "name": "alice", "balances": {"BTC": "100", "USDT": "10000000", "ETH": "1000"},
            "keys": [
                {"key": ALICE, "secret": SECRET[ALICE]},
                {"key": READER, "secret": SECRET[READER], "permissions": ["read"]},
            ],
        },
        {
            "name": "bob", "balances": {"BTC": "100", "USDT": "10000000"},
            "keys": [{"key": BOB, "secret": SECRET[BOB]}],
        },
        {
            "name": "carol", "balances": {"BTC": "1", "USDT": "1000"},
            "keys": [{"key": CAROL, "public_key": CAROL_PUBLIC}],
        },
    ],
}  # fmt: skip


class Venue:
    """Start it, talk to it, stop it."""

    def __init__(
        self, url: str = "memory:", folder: Path | None = None, *, history: bool = False, **door: Any
    ) -> None:
        self.environment = RealEnvironment()
        self.log = open_log(url, self.environment)
        self.replica = Replica(self.log, self.environment, folder=folder, settings=ReplicaSettings(snapshot_fork=False))
        self.history = History(self.replica, self.environment, folder) if history else None
        self.settings = DoorSettings(**{"port": 0, "admin_port": 0, "admin_key": ADMIN_KEY, **door})
        self.document: dict[str, Any] = DOCUMENT
        self.door: Door
        self.clients: list[Client] = []

    async def start(self) -> Venue:
        if self.history is not None:
            self.history.attach()
        await self.replica.start()
        if self.history is not None:
            self.history.start()
        await seed.apply(convert(self.document, SeedDocument), self.replica)
        self.door = Door(self.replica, self.environment, self.settings, history=self.history)
        await self.door.start()
        return self

    async def stop(self) -> None:
        for client in self.clients:
            await client.close()
        await self.door.stop()
        await self.replica.stop()
        if self.history is not None:
            await self.history.stop()
        await self.log.close()
        self.environment.close()

    @property
    def port(self) -> int:
        return self.door.port

    def calm(self) -> bool:
        """No handler raised what it may not."""
        return self.door.faults() == 0

    async def client(self, key: str = "") -> Client:
        client = Client(self, await Wire.open(self.port), key)
        self.clients.append(client)
        return client

    async def admin(self, method: str, path: str, body: Any = None, *headers: str, key: str = ADMIN_KEY) -> Answer:
        """One request to the admin port on a connection of its own."""
        async with await Wire.open(self.door.admin_port) as wire:
            data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
            await wire.send(request(method, path, data, f"X-Admin-Key: {key}", *headers))
            return await wire.answer()


class Client:
    """One account's connection. Parameters are sent as they are given, in their order."""

    def __init__(self, venue: Venue, wire: Wire, key: str = "") -> None:
        self.venue = venue
        self.wire = wire
        self.key = key
        self.private: RSAPrivateKey | None = None  # of a client that signs by RSA

    async def close(self) -> None:
        await self.wire.close()

    def now_ms(self) -> int:
        return self.venue.environment.wall_ns() // 1_000_000

    def signed(self, parameters: dict[str, Any], *, timestamp: int | None = None) -> str:
        """The form with timestamp and signature."""
        return self.seal(urlencode({**parameters, "timestamp": self.now_ms() if timestamp is None else timestamp}))

    def seal(self, payload: str) -> str:
        """A payload with the signature that belongs to it."""
        if self.private is not None:
            signature = quote(b64encode(self.private.sign(payload.encode(), PKCS1v15(), SHA256())).decode(), safe="")
        elif self.key == CAROL:
            signature = quote(b64encode(CAROL_PRIVATE.sign(payload.encode())).decode(), safe="")
        else:
            secret = SECRET.get(self.key, "no secret").encode()
            signature = hmac.new(secret, payload.encode(), hashlib.sha256).hexdigest()
        return f"{payload}&signature={signature}" if payload else f"signature={signature}"

    async def raw(self, method: str, path: str, query: str = "", body: str = "", *headers: str) -> Answer:
        """Exactly these bytes."""
        lines = [f"X-MBX-APIKEY: {self.key}"] if self.key else []
        target = f"/api/v3/{path}" if not path.startswith("/") else path
        data = request(method, target + ("?" + query if query else ""), body.encode(), *lines, *headers)
        await self.wire.send(data)
        return await self.wire.answer()

    async def get(self, path: str, **parameters: Any) -> Answer:
        """A public read."""
        return await self.raw("GET", path, urlencode(parameters))

    async def ask(self, method: str, path: str, **parameters: Any) -> Answer:
        """A signed request: POST and PUT with a body, the others with a query."""
        form = self.signed(parameters)
        if method in ("POST", "PUT"):
            return await self.raw(method, path, "", form)
        return await self.raw(method, path, form)

    async def place(self, **parameters: Any) -> Answer:
        """A LIMIT GTC order for 0.01 BTC at 20000 unless said otherwise; None takes a parameter away."""
        order = {
            "symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01",
            "price": "20000",
            **parameters,
        }  # fmt: skip
        return await self.ask("POST", "order", **{name: value for name, value in order.items() if value is not None})
