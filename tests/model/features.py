# SPDX-License-Identifier: Apache-2.0
"""What version 2 adds to generated histories: its options, and commands that the first version does not have.

`histories.py` uses it. All is drawn from a random source of its own, so that a history that stays in version 1 is the
same as ever. A seed must draw the same for ever: what is new is drawn last.
"""

from random import Random
from typing import TYPE_CHECKING

from tests.model import commands, plots
from tests.model.options import Options, World, swarm
from tests.model.parts import LIMIT_TYPES
from tests.model.records import COMMAND_BYTES, CommandKind, Mode, OrderType, Side, TimeInForce

if TYPE_CHECKING:
    from tests.model.histories import History

ONE, ONE_THEN_TWO, TWO = "1", "1 then 2", "2"
PLANS = (*(ONE,) * 2, *(ONE_THEN_TWO,) * 5, *(TWO,) * 13)
BEFORE_ITS_TIME = 0.15  # how often the features of version 2 are tried under version 1
PARTS_MAX = 50  # of most icebergs: each part may be a trade
PARTS_REFUSED = 10_000  # of more than these there are none
MULTIPLIERS_UP_E4 = (*(0,) * 12, 10_000, 11_000, 15_000, 50_000, 2**32 - 1)
MULTIPLIERS_DOWN_E4 = (*(0,) * 12, 1, 5_000, 9_000, 9_700, 10_000)
# Of the second half of a market: offset and size of what version 2 looks at.
MARKET_PLACES = [(152, 4), (156, 4), (160, 8), (168, 4), (172, 4), (176, 4), (180, 4), (3, 1), (2, 1)]
# What makes a group malformed when it changes: legs, account, market, deadline, digest.
GROUP_OFFSETS = (6, 8, 12, 64, 72)


class Features:
    """Everything of version 2 that differs between seeds."""

    def __init__(self, random: Random, options: Options, plan: str | None) -> None:
        self.random = random
        self.plan = random.choice(PLANS)
        self.plan = plan or self.plan
        self.activation = random.choice((60, 150, 400, 900))  # the sequence from which version 2 is asked for
        self.groups = random.choice(((0,), (0, 0, 1), (0, 1), (0, 1, 2), (1, 2, 3), (1,), (7, 2**32 - 1)))
        self.iceberg = random.choice((0.0, 0.15, 0.4, 0.8))
        self.parts = random.choice((2, 3, 8, PARTS_MAX))
        self.replace = random.choice((0.0, 0.02, 0.06, 0.15))
        self.kill = random.choice((0.0, 0.002, 0.02))
        self.plot = random.choice((0.0, 0.02, 0.05))
        self.mode = swarm(
            random,
            {
                Mode.DEFAULT: 20,
                Mode.NONE: 25,
                Mode.EXPIRE_TAKER: 8,
                Mode.EXPIRE_MAKER: 8,
                Mode.EXPIRE_BOTH: 8,
                Mode.DECREMENT: random.choice((10, 30)),
                Mode.TRANSFER: random.choice((10, 30, 100)),
            },
            needed=(Mode.TRANSFER,),
        )
        if self.is_planned:
            for world in options.worlds:
                self.enrich(world, options)

    @property
    def is_planned(self) -> bool:
        return self.plan != ONE

    def group(self) -> int:
        """A trade group for an account."""
        return self.random.choice(self.groups)

    def enrich(self, world: World, options: Options, is_new: bool = False) -> None:
        """A market gets the filters and modes of version 2, as far as it may have them when it is made."""
        random, fields = self.random, world.fields
        typical_units = fields["step_units"] * world.quantity_typical_steps
        deposit_units = options.deposit_units(world.base_asset)
        room_units = random.randint(0, 20) * typical_units
        fields["iceberg_orders_max"] = random.choice((0, 0, 0, 1, 4))
        fields["iceberg_parts_max"] = random.choice((0, 0, 2, 7, PARTS_MAX))
        fields["position_units_max"] = random.choice((0, 0, min(deposit_units + room_units, 2**63 - 1)))
        for side in ("bid", "ask"):
            up_e4, down_e4 = random.choice(MULTIPLIERS_UP_E4), random.choice(MULTIPLIERS_DOWN_E4)
            fields[f"{side}_multiplier_up_e4"] = up_e4
            fields[f"{side}_multiplier_down_e4"] = down_e4
        if random.random() < 0.7:  # or most orders of a history would fail there
            fields["notional_units_min"] = fields["notional_units_max"] = 0
        allowed = random.choice((63, 63, 63, 63, 62, random.randint(1, 63)))
        default = random.choice([mode for mode in range(1, 7) if allowed >> (mode - 1) & 1])
        if self.plan == TWO or is_new:
            fields["self_trade_preventions"], fields["self_trade_prevention"] = allowed, default

    def iceberg_steps(self, kind: int, time_in_force: int, quantity_steps: int) -> int:
        """What an order shows of its quantity, mostly where it may hide some."""
        random = self.random
        may_hide = kind == OrderType.LIMIT_MAKER or (kind in LIMIT_TYPES and time_in_force == TimeInForce.GTC)
        if random.random() >= (self.iceberg if may_hide else self.iceberg / 20):
            return 0
        if random.random() < 0.03:
            too_small_steps = quantity_steps // (PARTS_REFUSED + 1)
            return random.choice((quantity_steps + 1, -1, 2**62, too_small_steps or -(2**63)))
        parts = random.choice((1, 2, 3, random.randint(2, self.parts)))
        return -(-quantity_steps // parts)


def is_active(history: "History") -> bool:
    """Whether a command of version 2 shall be tried now."""
    if history.twin.rules >= 2:
        return True
    return history.features.is_planned and history.features.random.random() < BEFORE_ITS_TIME


def command(history: "History") -> bytes | None:
    """Sometimes a command that version 1 does not have."""
    features = history.features
    if not is_active(history):
        return None
    chance = features.random.random()
    if chance < features.replace:
        return replace(history)
    chance -= features.replace
    if chance < features.kill:
        return kill(history)
    chance -= features.kill
    if chance < features.plot:
        return features.random.choice(plots.PLOTS)(history)
    return None


def kill(history: "History") -> bytes:
    """Mostly somebody who has orders."""
    random = history.features.random
    account, market, _ = history.where()
    account, market, _, _ = history.target(account, market)
    restriction = random.choice((0, 0, 0, 1, 1, 2))
    return history.packed(CommandKind.KILL, account, random.choice((0, market)), restriction=restriction)


def replace(history: "History") -> bytes:
    """A cancel as CANCEL has it, and a placement as PLACE has it; now and then one field of either is spoiled."""
    random = history.features.random
    account, market, _ = history.where()
    account, market, order_id, client_id = history.target(account, market)
    world = history.options.worlds[min(market, len(history.options.worlds)) - 1]
    fields = history.order_fields(market, world)
    if random.random() < 0.1:
        order_id, client_id = 0, bytes(36)
    if random.random() < 0.3 and client_id[0]:
        fields["client_id"] = client_id  # free again once the first is canceled
    first = history.packed(
        CommandKind.REPLACE,
        account,
        market,
        legs=2,
        flags=random.choice((0, 1, 1, 254, 255)),
        order_id=order_id,
        client_id=client_id,
        restriction=random.choice((0, 0, 0, 1, 2, 3)),
        other_client_id=history.client_id(),
    )
    # Whatever account and market the first names, the second names too.
    who = {name: int.from_bytes(first[at : at + 4], "little") for name, at in (("account", 8), ("market", 12))}
    second = commands.common(CommandKind.PLACE, legs=random.choice((0, 1)), **who, **fields)
    if random.random() < history.options.edge:
        second = history.spoil(second, GROUP_OFFSETS)
    elif random.random() < history.options.edge:
        first = history.spoil(first, GROUP_OFFSETS)
    history.remember(first + second)
    return first + second


def malformed_group(history: "History") -> bytes:
    """A REPLACE whose second record does not belong to it, or is not there."""
    random = history.features.random
    account, market, world = history.where()
    place = commands.place(account, market, Side.BUY, OrderType.LIMIT, price_ticks=world.low_ticks, time_in_force=1)
    group = commands.replace(account, market, place, order_id=1)
    first, second = group[:COMMAND_BYTES], group[COMMAND_BYTES:]
    wrong = [
        first,
        first + commands.cancel(account, market, 1),
        first + first + second,
        first + commands.place(account + 1, market, Side.BUY, OrderType.LIMIT),
        first + commands.place(account, market + 1, Side.BUY, OrderType.LIMIT),
        first + commands.place(account, market, Side.BUY, OrderType.LIMIT, legs=2),
        first + commands.signed(second, deadline_ns=random.choice((1, -1, 2**63 - 1))),
        first + commands.signed(second, digest=bytes(15) + b"\1"),
        *(first[:6] + bytes([legs]) + first[7:] + second for legs in (0, 1, 3, 255)),
    ]
    return random.choice(wrong)
