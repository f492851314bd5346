# SPDX-License-Identifier: Apache-2.0
"""The agents of one market: what each does in one turn, as commands.

`demo/town.py` gives them turns and sends what they answer. They keep nothing between turns: what they own and what
they have resting is read from the exchange, so a restart, a halt or an interfering operator changes nothing. They must
never look past what the exchange shows to anybody but their own accounts.
"""

from collections.abc import Iterator
from random import Random
from typing import TYPE_CHECKING, Final, NamedTuple

from bidhall.core import records
from bidhall.core.records import OrderType, Side, TimeInForce
from bidhall.demo.world import Style

if TYPE_CHECKING:
    from bidhall.core import Exchange

RUNGS: Final = 64  # prices a maker shows on each side
RUNGS_SLACK: Final = 8  # how many more may be left before the far ones are taken back
DEEP_RUNGS: Final = 26
DEEP_SIZE: Final = 12  # how many times the near maker's quantity the deep one shows
SWEEP_LEVELS: Final = 40
SPREAD_PARTS: Final = 3  # makers keep this many fifths of a rung away from the believed price


class Ladder(NamedTuple):
    """How a maker quotes: prices on a grid, each with a quantity of its own that only depends on the price."""

    account: int
    rung_ticks: int
    rungs: int
    rung_steps: int

    def price_ticks(self, rung: int) -> int:
        """The price of a rung: a little off the grid, or a book looks like a comb."""
        return rung * self.rung_ticks + _scatter(rung, 1) % max(1, self.rung_ticks * 2 // 5)

    def quantity_steps(self, rung: int) -> int:
        """The quantity shown there, from half to one and a half times the usual."""
        return max(1, self.rung_steps // 2 + self.rung_steps * (_scatter(rung, 2) % 1000) // 1000)


class Accounts(NamedTuple):
    """The house's accounts."""

    maker: int
    deep_maker: int
    taker: int
    arbitrageur: int


class Agents:
    """All agents of one market."""

    def __init__(self, style: Style, market: int, accounts: Accounts, random: Random) -> None:
        self.style = style
        self.market = market
        self._accounts = accounts
        self._random = random
        self._smallest = style.trade_steps // 60
        self._ladders = (
            Ladder(accounts.maker, style.rung_ticks, RUNGS, style.rung_steps),
            Ladder(accounts.deep_maker, style.deep_rung_ticks, DEEP_RUNGS, style.rung_steps * DEEP_SIZE),
        )

    def turn(self, exchange: "Exchange", fair_ticks: int) -> bytes:
        """One turn: take what is mispriced, quote around the believed price, and one order of chance."""
        commands = [*self._sweep(exchange, fair_ticks)]
        for ladder in self._ladders:
            mine = exchange.open_orders(ladder.account, self.market)
            for side in (Side.BUY, Side.SELL):
                orders = mine[mine["side"] == side]
                shown = dict(zip(orders["price_ticks"].tolist(), orders["order_id"].tolist(), strict=True))
                rungs = self._missing(ladder, side, self._nearest(exchange, side, fair_ticks), shown)
                commands += self._quotes(ladder, side, rungs)
                commands += self._take_back(ladder, side, shown, len(shown) + len(rungs) - ladder.rungs)
        commands.append(self._chance())
        return b"".join(commands)

    def _sweep(self, exchange: "Exchange", fair_ticks: int) -> Iterator[bytes]:
        """Buy what is offered below the believed price and sell to those who bid above it, whoever they are."""
        _, bids, asks = exchange.depth(self.market, SWEEP_LEVELS)
        for side, levels in ((Side.BUY, asks), (Side.SELL, bids)):
            sign = 1 if side == Side.BUY else -1
            wrong = sum(steps for ticks, steps in levels.tolist() if ticks * sign < fair_ticks * sign)
            if wrong:
                # What is left of a level may be worth less than the market's smallest order; the excess expires.
                quantity = max(self._smallest, min(wrong, self.style.rung_steps * SWEEP_LEVELS))
                yield records.place(
                    self._accounts.arbitrageur, self.market, side, OrderType.LIMIT, TimeInForce.IOC,
                    price_ticks=fair_ticks, quantity_steps=quantity,
                )

    def _nearest(self, exchange: "Exchange", side: Side, fair_ticks: int) -> int:
        """The best price a maker may show: away from the believed price, and not across what rests on the other side
        (a sweep may have to come back for it, and refusals every turn would fill the log)."""
        away = max(1, self.style.rung_ticks * SPREAD_PARTS // 5)
        _, bid_ticks, _, ask_ticks, _ = exchange.top(self.market)
        if side == Side.BUY:
            return min(fair_ticks - away, ask_ticks - 1) if ask_ticks else fair_ticks - away
        return max(fair_ticks + away, bid_ticks + 1)

    def _missing(self, ladder: Ladder, side: Side, nearest_ticks: int, shown: dict[int, int]) -> list[int]:
        """The rungs that should stand from the nearest price on, and do not."""
        first = nearest_ticks // ladder.rung_ticks
        if side == Side.BUY:
            near = [rung for rung in range(first, first - ladder.rungs - 1, -1) if rung > 0]
            fit = [rung for rung in near if ladder.price_ticks(rung) <= nearest_ticks]
        else:
            fit = [rung for rung in range(first, first + ladder.rungs + 2) if ladder.price_ticks(rung) >= nearest_ticks]
        return [rung for rung in fit[: ladder.rungs] if ladder.price_ticks(rung) not in shown]

    def _quotes(self, ladder: Ladder, side: Side, rungs: list[int]) -> Iterator[bytes]:
        for rung in rungs:
            yield records.place(
                ladder.account, self.market, side, OrderType.LIMIT_MAKER, price_ticks=ladder.price_ticks(rung),
                quantity_steps=ladder.quantity_steps(rung),
            )

    def _take_back(self, ladder: Ladder, side: Side, shown: dict[int, int], surplus: int) -> Iterator[bytes]:
        """Cancel the farthest orders when there are too many of them."""
        if surplus <= RUNGS_SLACK:
            return
        for ticks in sorted(shown, reverse=side == Side.SELL)[:surplus]:
            yield records.cancel(ladder.account, self.market, order_id=shown[ticks])

    def _chance(self) -> bytes:
        """Somebody buys or sells at the market; small orders are the usual ones."""
        quantity = max(self._smallest, self.style.trade_steps * self._random.randint(1, 1000) ** 3 // 1000**3)
        side = Side.BUY if self._random.randrange(2) else Side.SELL
        return records.place(self._accounts.taker, self.market, side, OrderType.MARKET, quantity_steps=quantity)


def _scatter(rung: int, salt: int) -> int:
    """A number that looks random and is always the same for a rung."""
    mixed = (rung * 0x9E3779B97F4A7C15 + salt * 0xC2B2AE3D27D4EB4F) & 0xFFFFFFFFFFFFFFFF
    return (mixed ^ mixed >> 29) * 0xBF58476D1CE4E5B9 >> 32 & 0x7FFFFFFF
