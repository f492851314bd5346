# SPDX-License-Identifier: Apache-2.0
"""The feeds on a socket without the door: what uvicorn does for an upgrade, in thirty lines."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from bidhall.api.access import Access, Gate
from bidhall.api.app import DoorSettings
from bidhall.api.feed import Feeds, FeedSettings
from bidhall.api.lane import Lane
from bidhall.api.limits import Limits
from bidhall.api.past import Past
from bidhall.api.public import PublicReads
from bidhall.api.reads import Reads
from bidhall.core import records as r
from bidhall.environment import RealEnvironment
from tests.feeds.local import Key, LocalReplica

BTC, USDT, ETH = 1, 2, 3
BTCUSDT, ETHUSDT = 1, 2
ALICE, BOB, CAROL = 1, 2, 3
SECRETS = {ALICE: b"alice-secret", BOB: b"bob-secret"}
KEYS = {ALICE: "A" * 64, BOB: "B" * 64}
ONE = 10**8


class Upgrade(asyncio.Protocol):
    """Reads the head of a request and hands the socket to the feeds, as uvicorn does."""

    def __init__(self, feeds: Feeds, state: Any) -> None:
        self.feeds = feeds
        self.state = state
        self.head = b""
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.head += data
        head, end, rest = self.head.partition(b"\r\n\r\n")
        if end:
            protocol: Any = self.feeds.protocol(config=None, server_state=self.state, app_state={})  # type: ignore[call-arg]
            protocol.connection_made(self.transport)
            protocol.data_received(head + end)
            self.transport.set_protocol(protocol)
            if rest:
                protocol.data_received(rest)


class Served:
    """A local replica with two markets and three funded accounts, and its feeds on a port."""

    def __init__(self, settings: FeedSettings | None = None) -> None:
        self.replica = LocalReplica()
        self.environment = RealEnvironment()
        fund(self.replica)
        replica: Any = self.replica
        limits = Limits(DoorSettings())
        access = Access(replica.registry, self.environment)
        reads = Reads(replica, self.environment)
        self.lane = Lane(self.environment, limits, access, reads)
        self.feeds = Feeds(replica, self.environment, self.lane, settings)
        gate = Gate(replica, self.environment, None, limits, access, reads)
        PublicReads(gate, self.lane, self.feeds.streams, Past(replica, self.lane, None))
        self.state = SimpleNamespace(connections=set())
        self.server: Any = None
        self.port = 0

    async def start(self) -> None:
        self.feeds.start()
        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(lambda: Upgrade(self.feeds, self.state), "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self.server.close()
        await self.feeds.stop()
        await self.server.wait_closed()
        self.environment.close()

    def url(self, path: str) -> str:
        return f"ws://127.0.0.1:{self.port}{path}"


def fund(replica: LocalReplica) -> None:
    """BTCUSDT and ETHUSDT with ticks of 0.01 and steps of 0.00001; everybody is rich."""
    replica.apply(r.asset(b"BTC") + r.asset(b"USDT") + r.asset(b"ETH"))
    for name, base in ((b"BTCUSDT", BTC), (b"ETHUSDT", ETH)):
        replica.apply(
            r.market(
                name,
                base,
                USDT,
                tick_e8=1_000_000,
                step_units=1_000,
                price_ticks_max=10**8,
                quantity_steps_max=10**9,
                orders_max=10_000,
                self_trade_preventions=0b111111,
            )
        )
    for account in (ALICE, BOB, CAROL):
        replica.apply(r.account(b"trader%d" % account))
        for asset in (BTC, USDT, ETH):
            replica.apply(r.deposit(account, asset, 10**8 * ONE))
    for account, secret in SECRETS.items():
        replica.add_key(Key(KEYS[account], account, "hmac", secret=secret))


def limit(account: int, side: int, price: int, quantity: int, client_id: bytes = b"", market: int = BTCUSDT) -> bytes:
    """A GTC limit order in ticks and steps."""
    return r.place(
        account,
        market,
        side,
        r.OrderType.LIMIT,
        r.TimeInForce.GTC,
        price_ticks=price,
        quantity_steps=quantity,
        client_id=client_id,
    )
