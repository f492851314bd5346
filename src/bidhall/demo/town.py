# SPDX-License-Identifier: Apache-2.0
"""The demo: agents in every market, a few turns a second, for as long as the server runs.

`bidhall serve --demo` starts it when the replica is ready and before the doors open, so that the first client finds
deep books. Agents are clients: what they do goes through `replica.submit` and may be refused like anybody's. A turn
whose outcome is not known yet is waited for; nothing here ever queues.
"""

import contextlib
from asyncio import CancelledError, Task
from random import Random
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from bidhall import seed as seeding
from bidhall.core import records
from bidhall.core.records import MarketState
from bidhall.demo import world
from bidhall.demo.agents import Accounts, Agents
from bidhall.demo.prices import Prices
from bidhall.documents import E8, BadDocument, SeedDocument, exact
from bidhall.replica import NotReady, Outcome, Overloaded, Replica

if TYPE_CHECKING:
    from bidhall.environment import Environment

TURN_S: Final = 0.16  # one market's turn each time: three markets have two turns a second each
TREASURY_TURNS: Final = 60
FIRST_TURNS: Final = 3  # before the doors open, so that there are a last price and a trade in every market



class _Named(Protocol):
    @property
    def name(self) -> str: ...


Named = TypeVar("Named", bound=_Named)


class Demo:
    """All agents of a server."""

    def __init__(self, replica: Replica, environment: "Environment", seed: int = 1) -> None:
        self._replica = replica
        self._environment = environment
        self._seed = seed
        self._agents: list[Agents] = []
        self._prices: Prices
        self._accounts: Accounts
        self._turns = 0
        self._waiting = False
        self._task: Task[None] | None = None

    async def start(self) -> None:
        """Make what is missing of the demo's world, fill the books, trade a little, and go on for ever."""
        await seeding.add(world.document(), self._replica)
        random = Random(f"{self._seed} {self._replica.exchange.sequence}")  # after a restart not the same again
        self._accounts = Accounts(*(self._account(name) for name in world.HOUSE_BALANCES))
        self._check_grids()
        markets = self._replica.registry.markets
        self._agents = [Agents(style, markets[style.symbol].id, self._accounts, random) for style in world.STYLES]
        self._prices = Prices(random, *(self._last(agents) for agents in self._agents[:2]))
        self._prices.anchor(*(style.start_ticks for style in world.STYLES[:2]))
        await self._top_up()
        for _ in range(FIRST_TURNS):
            for agents in self._agents:
                await self._replica.execute(self._commands(agents))
        self._task = self._environment.create_task(self._run(), "demo")

    def _check_grids(self) -> None:
        """A seed file or an older folder may have a market of the same name that is another one."""
        for wanted in world.document().markets:
            market = self._replica.registry.markets[wanted.name]
            if (market.tick_e8, market.step_e8) != (exact(wanted.tick, E8, "tick"), exact(wanted.step, E8, "step")):
                grid = f"tick {wanted.tick} and step {wanted.step}"
                raise BadDocument(f"the demo's {wanted.name} has {grid}; here it has others")

    async def stop(self) -> None:
        """No more turns. What rests stays: the next start finds it."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(CancelledError):
                await self._task
            self._task = None

    async def _run(self) -> None:
        while True:
            await self._environment.sleep(TURN_S)
            if self._waiting or not self._replica.ready:
                continue
            commands = self._next()
            if commands:
                self._submit(commands)

    def _next(self) -> bytes:
        agents = self._agents[self._turns % len(self._agents)]
        self._turns += 1
        if self._turns % TREASURY_TURNS == 0:
            return self._treasury()
        return self._commands(agents)

    def _commands(self, agents: Agents) -> bytes:
        market = self._replica.registry.market_by_id[agents.market]
        if market.state != MarketState.TRADING:
            return b""
        if agents is self._agents[0]:
            self._prices.move()
        return agents.turn(self._replica.exchange, self._fair(agents))

    def _fair(self, agents: Agents) -> int:
        if agents is self._agents[0]:
            return self._prices.bitcoin_ticks
        if agents is self._agents[1]:
            return self._prices.ether_ticks
        return self._prices.ratio_ticks(100_000)

    def _submit(self, commands: bytes) -> None:
        self._waiting = True
        try:
            self._replica.submit(commands, self._done)
        except (Overloaded, NotReady):
            self._waiting = False  # people first; the next turn looks again

    def _done(self, outcome: Outcome) -> None:
        self._waiting = False

    async def _top_up(self) -> None:
        commands = self._treasury()
        if commands:
            await self._replica.execute(commands)

    def _treasury(self) -> bytes:
        """Bring accounts of the house that have far too little or far too much back to what they began with.

        Prices move and people trade, so over days one agent would end with all of one asset; deposits and withdrawals
        are how anybody gets money into an exchange, and they are conserved like all else.
        """
        registry, exchange = self._replica.registry, self._replica.exchange
        commands = []
        for name, account in zip(world.HOUSE_BALANCES, self._accounts, strict=True):
            for symbol, amount in world.HOUSE_BALANCES[name].items():
                asset = registry.asset_by_name[symbol]
                usual = exact(amount, asset.decimals, symbol)
                free, locked = exchange.balance(account, asset.id)
                if free + locked < usual // 2:
                    commands.append(records.deposit(account, asset.id, usual - free - locked))
                elif free > usual * 2:
                    commands.append(records.withdraw(account, asset.id, free - usual))
        return b"".join(commands)

    def _account(self, name: str) -> int:
        return next(account.id for account in self._replica.registry.accounts.values() if account.name == name)

    def _last(self, agents: Agents) -> int:
        return self._replica.exchange.last_price(agents.market) or agents.style.start_ticks


def document_with(seed: SeedDocument | None) -> SeedDocument:
    """The demo's world, with what a seed document says where both speak of the same name."""
    demo = world.document()
    if seed is None:
        return demo
    return SeedDocument(
        limits=seed.limits,
        assets=_merged(seed.assets, demo.assets),
        markets=_merged(seed.markets, demo.markets),
        accounts=_merged(seed.accounts, demo.accounts),
    )


def _merged(first: list[Named], second: list[Named]) -> list[Named]:
    names = {item.name for item in first}
    return [*first, *(item for item in second if item.name not in names)]
