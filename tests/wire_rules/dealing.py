# SPDX-License-Identifier: Apache-2.0
"""Seeded trading of every kind, for the rules that must hold whatever is traded.

Used by the tests of guarantees, depth, trades and races. Refusals are part of the trade: what a random order may be
refused for is named here, and anything else fails the test.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from tests.wire_rules.room import Trader

# Filter, balance or would match or trigger or duplicate; unknown order or no change of an amendment.
MAY_BE_REFUSED = (-1013, -2010, -2011, -2038)


class Dealer:
    """One trader's random orders around a price."""

    def __init__(self, trader: Trader, rng: random.Random, *, price: int = 100, spread: int = 4, **more: Any) -> None:
        self.trader = trader
        self.rng = rng
        self.price = price
        self.spread = spread
        self.more = more  # of every order
        self.placed: list[Any] = []  # answers to placements
        self.ids: list[int] = []  # of orders that may be open

    async def deal(self, count: int) -> None:
        """So many requests, one behind the other."""
        for _ in range(count):
            await self.one()

    async def one(self) -> None:
        """One request."""
        rng = self.rng
        action = rng.random()
        if action < 0.20 and self.ids:
            await self.try_("DELETE", "order", orderId=self.pick())
        elif action < 0.26 and self.ids:
            await self.try_("PUT", "order/amend/keepPriority", orderId=rng.choice(self.ids), newQty=self.quantity())
        elif action < 0.28:
            await self.try_("DELETE", "openOrders")
            self.ids.clear()
        else:
            await self.place()

    async def place(self) -> None:
        """One order of a random kind."""
        answer = await self.try_("POST", "order", newOrderRespType="FULL", **self.order(), **self.more)
        if answer is not None:
            self.placed.append(answer)
            if answer["status"] in ("NEW", "PARTIALLY_FILLED"):
                self.ids.append(answer["orderId"])

    def order(self) -> dict[str, Any]:
        """Its parameters."""
        rng = self.rng
        side = rng.choice(("BUY", "SELL"))
        sign = 1 if side == "BUY" else -1
        price = f"{self.price + rng.randrange(-self.spread * 25, self.spread * 25) / 100 - sign * 0.3:.2f}"
        limit = {"side": side, "quantity": self.quantity(), "price": price}
        kind = rng.random()
        if kind < 0.62:
            return {**limit, "type": "LIMIT", "timeInForce": "GTC"}
        if kind < 0.68:
            return {**limit, "type": "LIMIT", "timeInForce": rng.choice(("IOC", "FOK"))}
        if kind < 0.76:
            return {**limit, "type": "LIMIT_MAKER"}
        if kind < 0.84:
            stop = f"{self.price + sign * rng.randrange(0, self.spread * 50) / 100:.2f}"
            return {**limit, "type": "STOP_LOSS_LIMIT", "timeInForce": "GTC", "stopPrice": stop}
        if kind < 0.92:
            return {"side": side, "type": "MARKET", "quoteOrderQty": rng.randrange(5, 200)}
        return {"side": side, "type": "MARKET", "quantity": self.quantity()}

    def quantity(self) -> str:
        """Up to two."""
        return f"{self.rng.randrange(20, 2_000) / 1_000:.3f}"

    def pick(self) -> int:
        """An order that may be open, once."""
        return self.ids.pop(self.rng.randrange(len(self.ids)))

    async def try_(self, method: str, path: str, **parameters: Any) -> Any:
        """The answer, or None when it was refused for a reason that may be."""
        trader = self.trader
        answer = await trader.send(method, path, trader.sign({"symbol": trader.room.symbol, **parameters}))
        if answer.status == 200:
            return answer.json
        assert answer.json["code"] in MAY_BE_REFUSED, (method, path, parameters, answer.body)
        return None


def dealers(traders: list[Trader], seed: int, **options: Any) -> list[Dealer]:
    """One for each trader, from one seed."""
    return [Dealer(trader, random.Random(f"{seed} {trader.name}"), **options) for trader in traders]


@asynccontextmanager
async def under_load(traders: list[Trader], seed: int, requests: int) -> AsyncIterator[Callable[[], bool]]:
    """So many requests of each trader while the body runs; yields whether they still go on, and ends with them."""
    tasks = [asyncio.create_task(dealer.deal(requests)) for dealer in dealers(traders, seed)]
    try:
        yield lambda: not all(task.done() for task in tasks)
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
