# SPDX-License-Identifier: Apache-2.0
"""Two doors over one log: one with almost no memory and a history, one that has everything in memory and no history.

Whatever is asked, both must give the same bytes. Used by `test_reads_pair.py` and `test_reads_server.py`, which also
take their seeded trading and their questions from here. It must never ask while orders are on their way.
"""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

from bidhall import seed
from bidhall.api.app import Door, DoorSettings
from bidhall.core.records import ORDER_BYTES
from bidhall.core.views import INTERVALS, Views
from bidhall.documents import SeedDocument, convert
from bidhall.environment import RealEnvironment
from bidhall.log import Log, open_log
from bidhall.replica import Replica, ReplicaSettings
from bidhall.sinks import History
from tests.api.venue import ALICE, BOB, DOCUMENT, Client
from tests.api.wire import Answer, Wire

SMALL: dict[str, Any] = {"done_orders_bytes": 30 * ORDER_BYTES, "fills_max": 40, "trades_max": 12}
MASTER = "5a" * 32
NS = 1_000_000_000
MS = 1_000_000


class MovedEnvironment(RealEnvironment):
    """The real one, with a clock that is ahead by as much as a test likes."""

    ahead_ns = 0

    def wall_ns(self) -> int:
        return super().wall_ns() + self.ahead_ns


class Side:
    """One of the doors."""

    def __init__(self, log: Log, environment: MovedEnvironment, history: bool, **settings: Any) -> None:
        self.environment = environment
        made = ReplicaSettings(snapshot_fork=False, master_key=MASTER, **settings)
        self.replica = Replica(log, environment, folder=None, settings=made)
        views = Views(
            done_bytes=made.done_orders_bytes, fills_max=made.fills_max, trades_max=made.trades_max,
            candle_days=(0, 0, 1, 2) if history else (4000, 4000, 4000, 4000),
        )  # fmt: skip
        self.replica.views = self.replica.state.views = views  # type: ignore[misc]
        self.history = History(self.replica, environment, None) if history else None
        self.door: Door

    async def start(self) -> None:
        if self.history is not None:
            self.history.attach()
        await self.replica.start()
        if self.history is not None:
            self.history.start()

    async def open(self) -> None:
        settings = DoorSettings(port=0, admin_port=0)
        self.door = Door(self.replica, self.environment, settings, history=self.history)
        await self.door.start()

    async def stop(self) -> None:
        await self.door.stop()
        await self.replica.stop()
        if self.history is not None:
            await self.history.stop()

    async def client(self, key: str = "") -> Client:
        venue: Any = SimpleNamespace(environment=self.environment)
        return Client(venue, await Wire.open(self.door.port), key)


class Pair:
    """Both, and a client of each account at both."""

    def __init__(self) -> None:
        self.environment = MovedEnvironment()
        self.log = open_log("memory:", self.environment)
        self.small = Side(self.log, self.environment, True, **SMALL)
        self.big = Side(self.log, self.environment, False)
        self.clients: dict[str, tuple[Client, Client]] = {}

    async def start(self) -> Pair:
        await self.small.start()
        await self.big.start()
        await seed.apply(convert(DOCUMENT, SeedDocument), self.small.replica)
        await self.big.replica.barrier()
        await self.small.open()
        await self.big.open()
        for key in ("", ALICE, BOB):
            self.clients[key] = await self.small.client(key), await self.big.client(key)
        return self

    async def stop(self) -> None:
        for clients in self.clients.values():
            for client in clients:
                await client.close()
        await self.small.stop()
        await self.big.stop()
        await self.log.close()
        self.environment.close()

    async def same(self, question: Question) -> Answer:
        """Ask both; the answers must be equal to the byte."""
        small, big = [await ask(client, question) for client in self.clients[question[0]]]
        assert (small.status, small.body) == (big.status, big.body), question
        return small


Question = tuple[str, str, dict[str, Any]]  # key, path, parameters


async def ask(client: Client, question: Question) -> Answer:
    """A signed one when there is a key."""
    key, path, parameters = question
    return await (client.ask("GET", path, **parameters) if key else client.get(path, **parameters))


class Trading:
    """Seeded orders of two accounts around one price; client ids come again."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.orders: list[tuple[str, int, str]] = []  # key, order id, client id
        self.open: list[tuple[str, int]] = []

    async def step(self, clients: dict[str, Client]) -> None:
        """One order, or a cancel."""
        dice = self.dice
        key = dice.choice([ALICE, BOB])
        if self.open and dice.random() < 0.3:
            owner, order_id = self.open.pop(dice.randrange(len(self.open)))
            await clients[owner].ask("DELETE", "order", symbol="BTCUSDT", orderId=order_id)  # it may be filled already
            return
        client_id = f"again-{dice.randrange(40)}"
        kind = {"type": "MARKET", "price": None, "timeInForce": None} if dice.random() < 0.2 else {}
        if not kind:
            kind = {"price": f"{20_000 + dice.randrange(-3, 4)}", "timeInForce": dice.choice(["GTC", "GTC", "IOC"])}
        answer = await clients[key].place(
            side=dice.choice(["BUY", "SELL"]), quantity=f"0.0{dice.randrange(10, 100)}", newClientOrderId=client_id,
            selfTradePreventionMode="NONE", **kind,
        )  # fmt: skip
        if answer.status == 200:
            placed = answer.json
            self.orders.append((key, placed["orderId"], client_id))
            if placed["status"] in ("NEW", "PARTIALLY_FILLED"):
                self.open.append((key, placed["orderId"]))
        else:
            assert answer.json["code"] == -2010, answer.body  # that client id is on an open order


class Questions:
    """Seeded questions about what was traded."""

    def __init__(self, dice: random.Random, trading: Trading, first_ns: int, last_ns: int) -> None:
        self.dice = dice
        self.trading = trading
        self.first_ms, self.last_ms = first_ns // MS, last_ns // MS

    def any(self) -> Question:
        kinds = [self.order, self.by_client, self.orders, self.fills, self.trades, self.aggregates, self.candles]
        return self.dice.choice(kinds)()

    def limit(self) -> int:
        return self.dice.choice([1, 2, 10, 100, 1000])

    def time_ms(self) -> int:
        return self.dice.randrange(self.first_ms - 1000, self.last_ms + 1000)

    def near(self, newest: int) -> int:
        return max(self.dice.choice([newest - self.dice.randrange(60), self.dice.randrange(newest + 2)]), 1)

    def order(self) -> Question:
        key, order_id, client_id = self.dice.choice(self.trading.orders)
        key = ALICE if self.dice.random() < 0.1 else key  # perhaps not hers
        more = {"origClientOrderId": self.dice.choice([client_id, "another"])} if self.dice.random() < 0.2 else {}
        return key, "order", {"symbol": "BTCUSDT", "orderId": order_id + self.dice.choice([0, 0, 0, 1]), **more}

    def by_client(self) -> Question:
        key = self.dice.choice([ALICE, BOB])
        return key, "order", {"symbol": "BTCUSDT", "origClientOrderId": f"again-{self.dice.randrange(42)}"}

    def orders(self) -> Question:
        dice = self.dice
        more: dict[str, Any] = {}
        if dice.random() < 0.5:
            more["orderId"] = self.near(self.trading.orders[-1][1])
        else:
            more |= self.times(24 * 3_600_000)
        return dice.choice([ALICE, BOB]), "allOrders", {"symbol": "BTCUSDT", "limit": self.limit(), **more}

    def times(self, window_ms: int) -> dict[str, Any]:
        dice = self.dice
        start = self.time_ms()
        return dice.choice([
            {}, {"startTime": start}, {"endTime": start},
            {"startTime": start, "endTime": start + dice.randrange(min(window_ms, self.last_ms - self.first_ms + 2))},
        ])  # fmt: skip

    def fills(self) -> Question:
        dice = self.dice
        key, order_id, _ = dice.choice(self.trading.orders)
        more = dice.choice([
            {}, {"orderId": order_id}, {"fromId": self.near(len(self.trading.orders))},
            {"orderId": order_id, "fromId": self.near(len(self.trading.orders))}, self.times(24 * 3_600_000),
        ])  # fmt: skip
        return key, "myTrades", {"symbol": "BTCUSDT", "limit": self.limit(), **more}

    def trades(self) -> Question:
        if self.dice.random() < 0.2:
            return "", "trades", {"symbol": "BTCUSDT", "limit": self.limit()}
        more = {"fromId": self.near(len(self.trading.orders))} if self.dice.random() < 0.8 else {}
        return "", "historicalTrades", {"symbol": "BTCUSDT", "limit": self.limit(), **more}

    def aggregates(self) -> Question:
        more = {"fromId": self.near(len(self.trading.orders))} if self.dice.random() < 0.5 else self.times(1 << 40)
        return "", "aggTrades", {"symbol": "BTCUSDT", "limit": self.limit(), **more}

    def candles(self) -> Question:
        dice = self.dice
        path = dice.choice(["klines", "klines", "uiKlines"])
        more = self.times(1 << 40)
        if dice.random() < 0.4:
            more["timeZone"] = dice.choice(["8", "-5", "5:30", "-12", "14"])
        interval = dice.choice(list(INTERVALS))
        return "", path, {"symbol": "BTCUSDT", "interval": interval, "limit": self.limit(), **more}
