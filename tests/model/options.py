# SPDX-License-Identifier: Apache-2.0
"""Swarm options: the world and the probabilities of one generated history, themselves drawn from its seed.

`histories.py` uses them. A seed must draw the same options for ever: what is new is drawn last.
"""

from dataclasses import dataclass, field
from random import Random

from tests.model.records import CommandKind, Mode, OrderType

TABLE = 256


class Choice:
    """Picks among values by weights that were drawn once."""

    def __init__(self, random: Random, weights: dict[int, float]) -> None:
        total = sum(weights.values())
        self.table = [value for value, weight in weights.items() for _ in range(round(TABLE * weight / total))]
        self.random = random.random

    def __call__(self) -> int:
        return self.table[int(self.random() * len(self.table))]


def swarm(random: Random, likely: dict[int, float], needed: tuple[int, ...] = ()) -> Choice:
    """Weights around the likely ones; most but not all values occur in this history, the needed ones always."""
    weights = {}
    for value, weight in likely.items():
        if value in needed or random.random() < 0.8:
            weights[value] = weight * random.choice((0.3, 1, 1, 2))
    return Choice(random, weights)


@dataclass
class World:
    """One market's numbers as the generator needs them to aim."""

    low_ticks: int
    width_ticks: int
    is_wide: bool  # prices round the powers of two, where trees of prices have their edges
    quantity_typical_steps: int
    base_asset: int
    quote_asset: int
    fields: dict[str, int] = field(default_factory=dict)


class Options:
    """Everything that differs between seeds."""

    def __init__(self, random: Random) -> None:
        self.accounts = random.randint(1, 6)
        self.assets = random.randint(2, 4)
        self.decimals = [random.choice((0, 2, 6, 8)) for _ in range(self.assets)]
        self.limits = {
            "accounts_max": self.accounts + random.randint(0, 3),
            "assets_max": self.assets + random.randint(0, 2),
            "markets_max": random.randint(4, 8),
            "orders_max": random.choice((5, 40, 100, 300, 300, 300)),
            "digests_max": random.choice((2, *(256, 4096) * 4)),
            "writers_max": random.randint(1, 4),
            "seed": random.getrandbits(64),
        }
        self.worlds = [self.draw_world(random) for _ in range(random.randint(1, 4))]
        self.batch_typical = random.choice((1, 3, 10, 40, 150))
        self.step_ns_typical = random.choice((0, 10**6, 10**9, 10**9, 10**10, 6 * 10**10))
        self.edge = random.choice((0.0, 0.002, 0.01, 0.05))
        self.unknown = random.choice((0.0, 0.01, 0.05))
        self.digested = random.choice((0.0, 0.05, 0.3))
        self.dated = random.choice((0.0, 0.1, 0.5))
        self.named = random.choice((0.0, 0.2, 0.6))
        self.written = random.choice((0.0, 0.5, 0.95))
        self.names = [b"c%d" % i for i in range(random.choice((3, 40, 200)))]
        self.spread = random.choice((0.15, 0.3, 1.0))
        self.command = swarm(
            random,
            {
                CommandKind.PLACE: 60,
                CommandKind.CANCEL: random.choice((5, 15, 30)),
                CommandKind.CANCEL_ALL: random.choice((0.2, 2)),
                CommandKind.AMEND: random.choice((2, 10)),
                CommandKind.DEPOSIT: 2,
                CommandKind.WITHDRAW: random.choice((1, 1, 6)),
                CommandKind.MARKET_STATE: random.choice((0.0, 0.1, 0.5)),
                CommandKind.ACCOUNT_CHANGE: random.choice((0.0, 0.1, 0.5)),
                CommandKind.MARK: 0.5,
                CommandKind.NOTE: 0.2,
                CommandKind.RULES: 0.1,
                CommandKind.CONFIGURE: 0.1,
                CommandKind.ASSET: 0.1,
                CommandKind.ACCOUNT: 0.1,
                CommandKind.MARKET: 0.3,
            },
            needed=(CommandKind.PLACE,),
        )
        self.type = swarm(
            random,
            {
                OrderType.LIMIT: 60,
                OrderType.MARKET: 12,
                OrderType.LIMIT_MAKER: 8,
                OrderType.STOP_LOSS: 5,
                OrderType.STOP_LOSS_LIMIT: 6,
                OrderType.TAKE_PROFIT: 5,
                OrderType.TAKE_PROFIT_LIMIT: 6,
            },
            needed=(OrderType.LIMIT,),
        )
        self.time_in_force = swarm(random, {1: 70, 2: 15, 3: 15}, needed=(1,))
        self.mode = swarm(
            random,
            {
                Mode.DEFAULT: 30,
                Mode.NONE: 20,
                Mode.EXPIRE_TAKER: 15,
                Mode.EXPIRE_MAKER: 15,
                Mode.EXPIRE_BOTH: 15,
                Mode.DECREMENT: 1,
                Mode.TRANSFER: 1,
            },
        )
        self.by_quote = random.choice((0.1, 0.5, 0.9))
        self.funds = random.choice((1, 5, 100, 100, 1000))
        self.side_bias = random.choice((0.3, 0.5, 0.5, 0.7))

    def deposit_units(self, asset: int) -> int:
        """What each account has at first: enough for some typical orders of the asset's dearest market; rich: many."""
        units = [1000]
        for world in self.worlds:
            if world.base_asset == asset:
                units.append(world.quantity_typical_steps * world.fields["step_units"])
            if world.quote_asset == asset:
                base_decimals = self.decimals[world.base_asset - 1]
                quote_decimals = self.decimals[world.quote_asset - 1]
                unit = world.fields["tick_e8"] * world.fields["step_units"] * 10**quote_decimals
                unit //= 10 ** (8 + base_decimals)
                units.append(world.quantity_typical_steps * world.fields["price_ticks_max"] * unit)
        return min(max(units) * self.funds, 2**62 // (self.accounts + 1))

    def draw_world(self, random: Random) -> World:
        """A market of few prices; sometimes of giant numbers."""
        base, quote = random.sample(range(1, self.assets + 1), 2)
        base_decimals, quote_decimals = self.decimals[base - 1], self.decimals[quote - 1]
        # tick_e8 x step_units x 10^quote / 10^(8 + base) is whole: the powers of ten are put into tick and step.
        shortage = 8 + base_decimals - quote_decimals
        zeros = random.randint(0, shortage)
        tick_e8 = 10**zeros * random.choice((1, 1, 2, 5, 25))
        step_units = 10 ** (shortage - zeros) * random.choice((1, 1, 3, 10))
        units = tick_e8 * step_units * 10**quote_decimals // 10 ** (8 + base_decimals)
        is_wide = random.random() < 0.15
        width_ticks = 2 ** random.randint(7, 42) if is_wide else random.randint(5, 40)
        price_most = min(2**42, 2**62 // units)
        low_ticks = min(random.choice((1, 1, 10, 1000, 10**6, 2**42)), max(1, price_most - width_ticks))
        price_max = min(low_ticks + width_ticks, price_most)
        quantity_most = max(1, min(2**62 // (price_max * units), 2**62 // step_units))
        quantity_max = max(1, min(random.choice((3, 10, 50, 1000, 2**62)), quantity_most))
        quantity_typical = quantity_max if random.random() < 0.5 else max(1, quantity_max // 5)
        middle_units = (low_ticks + price_max) // 2 * quantity_typical * units  # of a large order at a middle price
        allowed = random.choice((0b1111,) * 5 + (random.randint(1, 15),))
        return World(
            low_ticks=low_ticks,
            width_ticks=width_ticks,
            is_wide=is_wide,
            quantity_typical_steps=quantity_typical,
            base_asset=base,
            quote_asset=quote,
            fields={
                "tick_e8": tick_e8,
                "step_units": step_units,
                "price_ticks_min": random.choice((1, low_ticks)),
                "price_ticks_max": price_max,
                "quantity_steps_min": random.choice((1, 1, 1, min(2, quantity_max))),
                "quantity_steps_max": quantity_max,
                "market_quantity_steps_min": random.choice((1, 1, 2)),
                "market_quantity_steps_max": random.choice((quantity_max + 1, max(2, quantity_max // 2))),
                "market_step_steps": random.choice((0, 0, 1, 2, 3)),
                "notional_units_min": random.choice((0, 0, low_ticks * units * 2, middle_units // 4)),
                "notional_units_max": random.choice(
                    (0, 0, price_max * units * quantity_max // 2 + 1, middle_units // 2)
                ),
                "notional_flags": random.randint(0, 3),
                "average_minutes": random.choice((0, 1, 2, 5, 60)),
                "maker_rate_e8": random.choice((0, 10, 100_000, 333_333, 10**8)),
                "taker_rate_e8": random.choice((0, 10, 100_000, 1_234_567)),
                "orders_max": random.choice((0, 0, 5, 25, 25)),
                "algo_orders_max": random.choice((0, 1, 5, 5)),
                "amends_max": random.choice((0, 1, 10, 10, 255)),
                "self_trade_preventions": allowed,
                "self_trade_prevention": random.choice([mode for mode in range(1, 5) if allowed >> (mode - 1) & 1]),
            },
        )
