# SPDX-License-Identifier: Apache-2.0
"""The demo's market: deep from the first turn, alive, a triangle that fits, and money for ever."""

from dataclasses import dataclass, field
from random import Random
from types import SimpleNamespace

import pytest

from bidhall import seed as seeding
from bidhall.core import Exchange, records
from bidhall.core.records import MarketState, OrderType, Side, TimeInForce
from bidhall.demo import world
from bidhall.demo.agents import Accounts, Agents
from bidhall.demo.prices import Prices
from bidhall.demo.town import TURN_S, Demo, document_with
from bidhall.documents import BadDocument, SeedDocument, convert
from tests.ship.running import replica_over

LEVELS = 50
TURN_NS = int(TURN_S * 1_000_000_000)


class Keyless:
    """A registry that makes notes, for a kernel without a replica."""

    def key_note(self, *_: object, **__: object) -> bytes:
        return records.notes(b"x" * 200)


@dataclass
class Market:
    """The demo over a bare kernel, its turns as fast as they go."""

    seed: int
    exchange: Exchange = field(default_factory=Exchange)
    time_ns: int = 1_700_000_000 * 10**9
    rejected: int = 0
    trades: int = 0
    commands: int = 0

    def __post_init__(self) -> None:
        document = world.document()
        for group in seeding._groups(document, Keyless()):  # type: ignore[arg-type]
            self.apply(group)
        markets = {
            market.name: SimpleNamespace(id=number, state=MarketState.TRADING)
            for number, market in enumerate(document.markets, 1)
        }
        self.registry = SimpleNamespace(
            accounts={n: SimpleNamespace(id=n, name=account.name) for n, account in enumerate(document.accounts, 1)},
            asset_by_name={a.name: SimpleNamespace(id=n, decimals=8) for n, a in enumerate(document.assets, 1)},
            markets=markets,
            market_by_id={market.id: market for market in markets.values()},
        )
        self.begin()

    def begin(self) -> None:
        """As `Demo.start` does, on this kernel."""
        self.demo = Demo(SimpleNamespace(exchange=self.exchange, registry=self.registry, ready=True), None, self.seed)  # type: ignore[arg-type]
        random = Random(self.seed)
        accounts = Accounts(*(self.demo._account(name) for name in world.HOUSE_BALANCES))
        self.demo._accounts = accounts
        self.demo._agents = [
            Agents(style, self.registry.markets[style.symbol].id, accounts, random) for style in world.STYLES
        ]
        self.demo._prices = Prices(random, *(self.demo._last(agents) for agents in self.demo._agents[:2]))

    def apply(self, commands: bytes) -> None:
        self.time_ns += TURN_NS
        events = self.exchange.apply(commands, self.time_ns, self.time_ns)
        assert events is not None
        self.rejected += int((events["kind"] == records.EventKind.REJECTED).sum())
        self.trades += int((events["kind"] == records.EventKind.FILL).sum()) // 2
        self.commands += len(commands) // records.COMMAND_BYTES

    def turns(self, count: int) -> None:
        for _ in range(count):
            self.apply(self.demo._next())

    def check_books(self) -> None:
        for market in self.registry.market_by_id:
            _, bids, asks = self.exchange.depth(market, 500)
            assert len(bids) >= LEVELS
            assert len(asks) >= LEVELS
            assert bids[0][0] < asks[0][0]

    def check_triangle(self) -> None:
        bitcoin, ether, ratio = (sum(self.exchange.top(market)[1::2]) for market in (1, 2, 3))
        assert abs(ratio * bitcoin - 100_000 * ether * 2) < 2 * bitcoin * 3  # within a few ticks of ETHBTC


def test_books_are_deep_after_the_first_turn(seed: int) -> None:
    market = Market(seed)
    market.turns(3)
    market.check_books()
    market.check_triangle()
    assert market.trades >= 3


def test_five_minutes(seed: int) -> None:
    market = Market(seed)
    for _ in range(12):
        market.turns(150)
        market.check_books()
        market.check_triangle()
    market.exchange.audit()
    assert market.rejected == 0
    seconds = 12 * 150 * TURN_S
    assert market.trades > 3 * seconds
    assert market.commands < 30 * seconds, "the log of a demo should not eat the disk"


@pytest.mark.parametrize("drift", [-40, 40])
def test_money_lasts_when_a_market_runs_away(seed: int, drift: int) -> None:
    """A trend drains the makers of one asset; the treasury brings them back."""
    market = Market(seed)
    market.turns(3)
    for _ in range(40):
        prices = market.demo._prices
        prices._bitcoin += prices._bitcoin * drift // 10_000
        prices._anchor = (prices._bitcoin, prices._ether)
        market.turns(60)
    market.check_books()
    assert market.rejected == 0
    market.exchange.audit()


def test_people_who_buy_everything_cannot_empty_the_house(seed: int) -> None:
    market = Market(seed)
    market.turns(3)
    alice = market.demo._account("alice")
    market.apply(records.deposit(alice, 3, 4 * 10**18 - 10**17 * 8))
    for _ in range(10):
        for _ in range(10):
            market.apply(records.place(alice, 1, Side.BUY, OrderType.LIMIT, TimeInForce.IOC, 10_000_000, 50_000_000))
            market.turns(3)
        market.turns(60)
    market.turns(120)
    market.check_books()
    market.exchange.audit()


def test_a_wall_across_the_price_makes_no_refusals(seed: int) -> None:
    """Somebody bids far above the market with much money: agents sell to them turn by turn, and quote what they can."""
    market = Market(seed)
    market.turns(3)
    alice = market.demo._account("alice")
    market.apply(records.deposit(alice, 3, 10**18))
    market.apply(records.place(alice, 1, Side.BUY, OrderType.LIMIT, TimeInForce.GTC, 7_000_000, 90_000_000))
    market.turns(300)
    assert market.rejected == 0
    market.turns(600)
    market.check_books()


def test_a_restart_adopts_what_rests(seed: int) -> None:
    market = Market(seed)
    market.turns(300)
    before = market.exchange.open_order_count
    prices = [market.exchange.last_price(number) for number in (1, 2, 3)]
    market.begin()
    market.turns(6)
    assert abs(market.exchange.open_order_count - before) < 60
    for number, price in zip((1, 2, 3), prices, strict=True):
        assert abs(market.exchange.last_price(number) - price) <= price // 200 + 2


def test_a_halted_market_is_left_alone(seed: int) -> None:
    market = Market(seed)
    market.turns(3)
    market.registry.market_by_id[1].state = MarketState.HALT
    assert market.demo._commands(market.demo._agents[0]) == b""


def test_the_walk_stays_near_where_it_began(seed: int) -> None:
    prices = Prices(Random(seed), 6_500_000, 325_000)
    for _ in range(20_000):
        prices.move()
        assert 3_000_000 < prices.bitcoin_ticks < 14_000_000
        assert 100_000 < prices.ether_ticks < 1_000_000


def test_a_seed_document_and_the_demo_go_together() -> None:
    alice = {"name": "alice", "balances": {"EUR": "5"}}
    own = convert({"assets": [{"name": "EUR", "decimals": 2}], "accounts": [alice]}, SeedDocument)
    both = document_with(own)
    assert [asset.name for asset in both.assets] == ["EUR", "BTC", "ETH", "USDT"]
    assert [account.name for account in both.accounts][:3] == ["alice", "bob", "carol"]
    assert both.accounts[0].balances == {"EUR": "5"}
    assert document_with(None) == world.document()


async def test_another_market_of_the_same_name_is_refused() -> None:
    market = {"name": "BTCUSDT", "base": "BTC", "quote": "USDT", "tick": "0.1", "step": "0.00001"}
    async with replica_over() as replica:
        own = convert({"assets": [{"name": "BTC"}, {"name": "USDT"}], "markets": [market]}, SeedDocument)
        await seeding.apply(document_with(own), replica)
        with pytest.raises(BadDocument, match="the demo's BTCUSDT has tick"):
            await Demo(replica, replica.environment, 1).start()


async def test_on_a_replica_with_a_restart() -> None:
    """The real way: submitted, logged, applied; and again on the same log."""
    async with replica_over() as replica:
        await seeding.apply(world.document(), replica)
        demo = Demo(replica, replica.environment, 1)
        await demo.start()
        for market in replica.registry.market_by_id:
            _, bids, asks = replica.exchange.depth(market, 500)
            assert min(len(bids), len(asks)) >= LEVELS
            assert replica.exchange.last_price(market) > 0
        sequence = replica.exchange.sequence
        await replica.environment.sleep(1.0)
        assert replica.exchange.sequence > sequence
        await demo.stop()
        assert replica.registry.keys[world.key_of("alice")].account == 1
        resting = replica.exchange.open_order_count
        again = Demo(replica, replica.environment, 1)
        await again.start()
        await again.stop()
        assert abs(replica.exchange.open_order_count - resting) < 60
        replica.exchange.audit()
