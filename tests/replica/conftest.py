# SPDX-License-Identifier: Apache-2.0
"""What the replica's tests share: an environment whose clock can be moved, replicas that are stopped, and flow."""

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bidhall.core import records
from bidhall.core.records import EventKind, OrderType, Side, TimeInForce
from bidhall.environment import RealEnvironment
from bidhall.log import Log
from bidhall.replica import Outcome, OutcomeKind, Replica, ReplicaSettings

QUIET = {"snapshot_fork": False, "audit_seconds": 0.0, "done_orders_bytes": 224 * 4096, "fills_max": 4096}
SMALL = QUIET | {"master_key": "5a" * 32, "trades_max": 4096, "results_commands_max": 4096, "results_events_max": 8192}
MakeReplica = Callable[..., Awaitable[Replica]]
NS = 1_000_000_000


class MovedEnvironment(RealEnvironment):
    """The real one, with a clock that is ahead by as much as a test likes."""

    ahead_ns = 0

    def wall_ns(self) -> int:
        return super().wall_ns() + self.ahead_ns


@pytest.fixture
def environment() -> Iterator[MovedEnvironment]:
    moved = MovedEnvironment()
    yield moved
    moved.close()


@pytest.fixture
async def make(environment: MovedEnvironment) -> AsyncIterator[MakeReplica]:
    """Starts a replica on a log; what still runs at the end is stopped, and its log closed."""
    made: list[Replica] = []

    async def start(log: Log, folder: Path | None = None, **settings: Any) -> Replica:
        replica = Replica(log, environment, folder=folder, settings=ReplicaSettings(**(SMALL | settings)))
        made.append(replica)
        await replica.start()
        return replica

    yield start
    for replica in made:
        await replica.stop()
    for replica in made:
        await replica.log.close()


def world(accounts: int = 4) -> bytes:
    """Commands that make two assets, one market and some rich accounts."""
    setup = records.configure(accounts_max=4096, orders_max=4096, digests_max=4096, writers_max=64, seed=7)
    setup += records.asset(b"BTC") + records.asset(b"USDT")
    setup += records.market(
        b"BTCUSDT", 1, 2, tick_e8=1_000_000, step_units=1000, price_ticks_max=1 << 20, quantity_steps_max=1 << 24
    )
    for number in range(1, accounts + 1):
        setup += records.account(f"account {number}".encode())
        setup += records.deposit(number, 1, 1 << 50) + records.deposit(number, 2, 1 << 50)
    return setup


class Flow:
    """Seeded orders, cancels and amends of a few accounts in one market; some signed, some with client ids."""

    def __init__(self, seed: int, accounts: int = 4) -> None:
        self.random = random.Random(seed)
        self.accounts = accounts
        self.digests = 0

    def digest(self) -> bytes:
        self.digests += 1
        return self.random.randbytes(16) if self.random.random() < 0.5 else records.NO_DIGEST

    def command(self) -> bytes:
        dice = self.random
        account = dice.randrange(1, self.accounts + 1)
        client_id = f"c{dice.randrange(40)}".encode() if dice.random() < 0.5 else b""
        kind = dice.random()
        if kind < 0.7:
            return records.place(
                account, 1, dice.choice((Side.BUY, Side.SELL)), OrderType.LIMIT,
                dice.choice((TimeInForce.GTC, TimeInForce.GTC, TimeInForce.IOC)), dice.randrange(90, 111),
                dice.randrange(1, 50), client_id=client_id, digest=self.digest(),
            )  # fmt: skip
        if kind < 0.8:
            return records.place(
                account, 1, dice.choice((Side.BUY, Side.SELL)), OrderType.MARKET,
                quantity_steps=dice.randrange(1, 30), client_id=client_id, digest=self.digest(),
            )  # fmt: skip
        if kind < 0.95:
            return records.cancel(account, 1, dice.randrange(1, 400), digest=self.digest())
        return records.cancel_all(account, 1, digest=self.digest())

    def commands(self, count: int) -> bytes:
        return b"".join(self.command() for _ in range(count))


async def run(replica: Replica, flow: Flow, batches: int, most: int = 5) -> list[Outcome]:
    """Batches of 1..most commands each, one behind the other; all are applied."""
    outcomes = []
    for _ in range(batches):
        outcome = await replica.execute(flow.commands(flow.random.randrange(1, most + 1)))
        assert outcome.kind is OutcomeKind.DONE
        outcomes.append(outcome)
    return outcomes


async def fill(replica: Replica, more: bytes = b"") -> None:
    """The world, in one submission; every command of it is accepted."""
    outcome = await replica.execute(world() + more)
    assert not [event for event in outcome.events if event.kind == EventKind.REJECTED]


def same(one: Replica, other: Replica) -> None:
    """Both hold the very same of everything."""
    assert one.position == other.position
    assert one.exchange.event_hash == other.exchange.event_hash
    assert one.exchange.state_hash() == other.exchange.state_hash()
    assert one.registry.snapshot() == other.registry.snapshot()
    assert one.views.snapshot() == other.views.snapshot()
    assert one.state.results.snapshot() == other.state.results.snapshot()
