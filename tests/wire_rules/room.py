# SPDX-License-Identifier: Apache-2.0
"""What a test of a wire rule stands in: a market and accounts of its own on a running server, and sockets to it.

Used by every test of this folder. A room is made through the admin API and traded through the public ports, so it works
with a server process and with the server in the test's own loop (`hall.py`) alike. `take()` of a stream waits for
nothing: it asks the server something and hands out what came before the answer. It must never look into the server.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple
from urllib.parse import urlencode

from tests.api.wire import Answer, Wire, request
from tests.feeds.raw import RawClient

MAKER_RATE, TAKER_RATE = Decimal("0.001"), Decimal("0.002")
EIGHT = Decimal("0.00000001")
FUNDS = {"BTC": "100", "USDT": "1000000"}
MARKET = {
    "base": "BTC", "quote": "USDT", "tick": "0.01", "step": "0.001", "notional_min": "1", "price_max": "1000000",
    "quantity_max": "10000", "maker_rate": str(MAKER_RATE), "taker_rate": str(TAKER_RATE), "orders_max": 6000,
    "algo_orders_max": 100, "amends_max": 10,
}  # fmt: skip

_numbers = itertools.count(1)


def text(number: Decimal | str | int) -> str:
    """As the wire writes it: eight decimals."""
    return f"{Decimal(number).quantize(EIGHT):f}"


@dataclass
class Address:
    """Where a server is, and what time it has."""

    port: int
    admin_port: int
    admin_key: str
    now_ms: Callable[[], int]


class Refusal(NamedTuple):
    """An answer that is no success."""

    status: int
    code: int
    message: str


class Room:
    """One market, its traders, and everything that is to be closed at the end."""

    def __init__(self, address: Address, symbol: str) -> None:
        self.address = address
        self.symbol = symbol
        self.stream = symbol.lower()
        self.traders: dict[str, Trader] = {}
        self._wires: list[Wire] = []

    @classmethod
    async def open(
        cls, address: Address, *names: str, funds: dict[str, str] | None = None, **market: Any
    ) -> Room:
        """A new market (`MARKET`, with these fields changed) and new accounts with `FUNDS`."""
        room = cls(address, f"R{next(_numbers)}USDT")
        await room.admin("POST", "/admin/markets", {"name": room.symbol, **MARKET, **market})
        for name in names:
            await room.add(name, funds)
        return room

    async def close(self) -> None:
        for wire in self._wires:
            await wire.close()

    async def wire(self) -> Wire:
        """A connection to the public port, closed with the room."""
        wire = await Wire.open(self.address.port)
        self._wires.append(wire)
        return wire

    async def add(self, name: str, funds: dict[str, str] | None = None) -> Trader:
        """A new account."""
        trader = Trader(self, name, next(_numbers))
        made = await self.admin(
            "POST", "/admin/accounts",
            {"name": f"{name} {trader.number}", "balances": FUNDS if funds is None else funds,
             "keys": [{"key": trader.key, "secret": trader.secret}]},
        )  # fmt: skip
        trader.account = made["id"]
        self.traders[name] = trader
        return trader

    async def admin(self, method: str, path: str, body: Any = None) -> Any:
        """One request to the admin port, which must succeed."""
        async with await Wire.open(self.address.admin_port) as wire:
            data = b"" if body is None else json.dumps(body).encode()
            await wire.send(request(method, path, data, f"X-Admin-Key: {self.address.admin_key}"))
            answer = await wire.answer()
        assert answer.status == 200, (method, path, answer.status, answer.body)
        return answer.json

    async def get(self, path: str, **parameters: Any) -> Any:
        """A public read of this market."""
        answer = await self.read(path, **{"symbol": self.symbol, **parameters})
        assert answer.status == 200, (path, parameters, answer.body)
        return answer.json

    async def read(self, path: str, *headers: str, **parameters: Any) -> Answer:
        """A public read, exactly so."""
        wire = await self.wire()
        await wire.send(request("GET", f"/api/v3/{path}?{urlencode(parameters)}", b"", *headers))
        return await wire.answer()

    async def listen(self, *kinds: str, combined: bool = False, query: str = "") -> Listener:
        """A socket that has subscribed to these streams of this market (`!…` are taken as they are)."""
        names = [kind if kind.startswith("!") else f"{self.stream}@{kind}" for kind in kinds]
        client = await RawClient.connect(self.address.port, ("/stream" if combined else "/ws") + query)
        listener = Listener(client, names)
        assert await listener.take() == [], "nothing precedes the answer"
        return listener


class Trader:
    """An account: signed requests over a connection of its own, and its user data."""

    def __init__(self, room: Room, name: str, number: int) -> None:
        self.room = room
        self.name = name
        self.number = number
        self.account = 0
        self.key = hashlib.sha256(f"key {name} {number}".encode()).hexdigest()
        self.secret = hashlib.sha256(f"secret {name} {number}".encode()).hexdigest()
        self._wire: Wire | None = None
        self._windows = itertools.cycle(range(5_000, 60_000))

    def sign(self, parameters: dict[str, Any], timestamp: int | None = None) -> str:
        """The form. Every one has another window, so that two requests of one millisecond are two."""
        stamp = self.room.address.now_ms() if timestamp is None else timestamp
        form = urlencode({"recvWindow": next(self._windows), **parameters, "timestamp": stamp})
        return f"{form}&signature={hmac.digest(self.secret.encode(), form.encode(), 'sha256').hex()}"

    async def send(self, method: str, path: str, form: str, *headers: str) -> Answer:
        """Exactly this form."""
        if self._wire is None:
            self._wire = await self.room.wire()
        return await self.send_on(self._wire, method, path, form, *headers)

    async def send_on(self, wire: Wire, method: str, path: str, form: str, *headers: str) -> Answer:
        """Exactly this form over this connection."""
        lines = (f"X-MBX-APIKEY: {self.key}", *headers)
        if method in ("POST", "PUT"):
            await wire.send(request(method, f"/api/v3/{path}", form.encode(), *lines))
        else:
            await wire.send(request(method, f"/api/v3/{path}?{form}", b"", *lines))
        return await wire.answer()

    async def ask(self, method: str, path: str, **parameters: Any) -> Any:
        """A signed request about this market, which must succeed."""
        answer = await self.send(method, path, self.sign({"symbol": self.room.symbol, **parameters}))
        assert answer.status == 200, (self.name, method, path, parameters, answer.status, answer.body)
        return answer.json

    async def refused(self, method: str, path: str, **parameters: Any) -> Refusal:
        """A signed request about this market, which must fail."""
        answer = await self.send(method, path, self.sign({"symbol": self.room.symbol, **parameters}))
        assert answer.status != 200, (self.name, method, path, parameters, answer.body)
        return Refusal(answer.status, answer.json["code"], answer.json["msg"])

    async def limit(self, side: str, quantity: Any, price: Any, **more: Any) -> Any:
        """A LIMIT order, GTC unless said otherwise."""
        return await self.place(side, "LIMIT", quantity=quantity, price=price, **{"timeInForce": "GTC", **more})

    async def market(self, side: str, quantity: Any = None, **more: Any) -> Any:
        """A MARKET order."""
        return await self.place(side, "MARKET", **({} if quantity is None else {"quantity": quantity}), **more)

    async def place(self, side: str, kind: str, **more: Any) -> Any:
        """Any order; the answer in full."""
        return await self.ask("POST", "order", side=side, type=kind, newOrderRespType="FULL", **more)

    async def cancel(self, order_id: int, **more: Any) -> Any:
        """One order's cancel."""
        return await self.ask("DELETE", "order", orderId=order_id, **more)

    async def order(self, order_id: int) -> Any:
        """GET /order"""
        return await self.ask("GET", "order", orderId=order_id)

    async def balances(self) -> dict[str, tuple[Decimal, Decimal]]:
        """Free and locked by asset, where there is any."""
        answer = await self.send("GET", "account", self.sign({"omitZeroBalances": "true"}))
        assert answer.status == 200, answer.body
        return {b["asset"]: (Decimal(b["free"]), Decimal(b["locked"])) for b in answer.json["balances"]}

    async def watch(self, query: str = "") -> UserEvents:
        """A socket with this account's user data."""
        client = await RawClient.connect(self.room.address.port, "/ws-api/v3" + query)
        parameters: dict[str, Any] = {"apiKey": self.key, "timestamp": self.room.address.now_ms()}
        payload = "&".join(f"{name}={parameters[name]}" for name in sorted(parameters))
        parameters["signature"] = hmac.digest(self.secret.encode(), payload.encode(), "sha256").hex()
        client.text({"id": "watch", "method": "userDataStream.subscribe.signature", "params": parameters})
        answer = await client.message()
        assert answer["status"] == 200, answer
        return UserEvents(client, answer["result"]["subscriptionId"])


class UserEvents:
    """The events of one subscription."""

    def __init__(self, client: RawClient, number: int) -> None:
        self.client = client
        self.number = number
        self._pings = itertools.count(1)

    async def take(self) -> list[Any]:
        """What came since the last time."""
        name = f"ping {next(self._pings)}"
        self.client.text({"id": name, "method": "ping"})
        events = []
        while (message := await self.client.message()).get("id") != name:
            assert message["subscriptionId"] == self.number, message
            events.append(message["event"])
        return events


class Listener:
    """A subscriber of market streams. Asking for what it has already makes the server write what is pending first.
    (The top that a new reader of partial depth gets stands behind the first answer: in the second `take`.)"""

    def __init__(self, client: RawClient, names: list[str]) -> None:
        self.client = client
        self.names = names
        self._ids = itertools.count(1)

    async def take(self) -> list[Any]:
        """What came since the last time."""
        number = next(self._ids)
        self.client.text({"method": "SUBSCRIBE", "params": self.names, "id": number})
        messages = []
        while not is_answer(message := await self.client.message(), number):
            messages.append(message)
        return messages

    async def next(self) -> Any:
        """The next message, waited for."""
        return await self.client.message()


def is_answer(message: Any, number: int) -> bool:
    """Whether this is the answer to the control frame of that number."""
    return isinstance(message, dict) and message.get("id") == number and "result" in message


def story(events: Iterable[Any]) -> list[str]:
    """Execution type and status of each report; `position`, `balance` for the others."""
    names = {"outboundAccountPosition": "position", "balanceUpdate": "balance"}
    return [f"{e['x']} {e['X']}" if e["e"] == "executionReport" else names[e["e"]] for e in events]


def position(event: Any) -> dict[str, tuple[str, str]]:
    """Free and locked by asset of a position event."""
    assert event["e"] == "outboundAccountPosition"
    return {one["a"]: (one["f"], one["l"]) for one in event["B"]}


async def together(*calls: Awaitable[Any]) -> list[Any]:
    """All at the same time."""
    return list(await asyncio.gather(*calls))
