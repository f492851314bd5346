# SPDX-License-Identifier: Apache-2.0
"""Plots of version 2: a few commands that bring about what chance alone would seldom reach.

`features.py` uses them. Each draws from the source of version 2 only, reads the twin, and must never change it.
"""

from typing import TYPE_CHECKING

from tests.model import commands
from tests.model.options import World
from tests.model.parts import Market
from tests.model.records import CommandKind, Mode, OrderType, Side, TimeInForce

if TYPE_CHECKING:
    from tests.model.histories import History

CLEARED = 0.7  # how often everybody's orders are taken off first, so that nobody comes between
AT_THE_AVERAGE = 0.6
MONEY = 40  # steps, or their cost, that the actors get
NAME = b"plot"
ANY_MODE = (Mode.NONE, Mode.EXPIRE_TAKER, Mode.EXPIRE_MAKER, Mode.EXPIRE_BOTH, Mode.DECREMENT, Mode.TRANSFER)


class Scene:
    """Where a plot plays: a market, who has the main part, one of its group if it has any, and somebody else."""

    def __init__(self, history: "History", market: Market, account: int, world: World) -> None:
        self.random, self.history, self.market, self.account = history.features.random, history, market, account
        accounts = history.twin.accounts
        group = accounts[account].trade_group
        mates = [number for number in accounts if group and accounts[number].trade_group == group]
        strangers = [number for number in accounts if number not in (account, *mates)]
        self.has_mate = len(mates) > 1
        self.other = self.random.choice(strangers or [account])
        self.mate = self.random.choice([number for number in mates if number != account] or [self.other])
        self.least_steps = max(market.quantity_steps_min, market.market_quantity_steps_min, market.market_step_steps)
        self.clears = self.random.random() < CLEARED
        top = (0, 0, 0, 0) if self.clears else market.top()
        middle_ticks = history.price(world, Side.BUY)
        if self.random.random() < AT_THE_AVERAGE:
            middle_ticks = market.average_price_ticks(history.twin.time_ns) or middle_ticks
        # Better than any that sells, and than any that buys.
        self.ask_ticks = max(min(top[2] - 1, middle_ticks) if top[2] else middle_ticks, top[0] + 1, 1)
        self.bid_ticks = max(top[0] + 1, min(middle_ticks, top[2] - 1 if top[2] else middle_ticks))

    def beginning(self) -> list[bytes]:
        """The actors get some money, and the market may be cleared."""
        units = {self.market.base_asset: self.market.step_units * min(MONEY, self.market.quantity_steps_max)}
        units[self.market.quote_asset] = self.cost_units(min(MONEY, self.market.quantity_steps_max), self.ask_ticks + 2)
        actors = {self.account, self.mate, self.other}
        raw = [commands.deposit(account, asset, units[asset]) for account in sorted(actors) for asset in units]
        if self.clears:
            raw += [commands.kill(account, self.market.id) for account in self.history.twin.accounts]
        return raw

    def mode(self, *wanted: int) -> int:
        """One of these, if the market allows it."""
        allowed = [mode for mode in wanted if self.market.self_trade_preventions >> (mode - 1) & 1]
        return self.random.choice(allowed or [Mode.DEFAULT])

    def steps(self, most: int) -> int:
        """A small quantity that no filter should mind."""
        return min(self.least_steps + self.random.randint(0, most), self.market.quantity_steps_max)

    def iceberg(self, parts: int) -> tuple[int, int]:
        """What an iceberg of about so many parts has and shows."""
        if self.market.iceberg_parts_max:
            parts = min(parts, self.market.iceberg_parts_max)
        shown_steps = self.steps(3)
        return min(shown_steps * parts, self.market.quantity_steps_max), shown_steps

    def limit(self, account: int, side: int, quantity: int, price: int, mode: int, **more: int | bytes) -> bytes:
        fields: dict[str, int | bytes] = {"time_in_force": TimeInForce.GTC}
        return commands.place(
            account,
            self.market.id,
            side,
            OrderType.LIMIT,
            quantity_steps=quantity,
            price_ticks=price,
            self_trade_prevention=mode,
            **fields | more,
        )

    def take(self, account: int, side: int, mode: int = Mode.DEFAULT, **quantity: int) -> bytes:
        fields = {"self_trade_prevention": mode} | quantity
        return commands.place(account, self.market.id, side, OrderType.MARKET, **fields)

    def cost_units(self, steps: int, price_ticks: int) -> int:
        return max(self.market.quote_units(price_ticks, steps), 1)

    def keep_only(self, account: int, beginning: list[bytes], units: int, locked_units: int = 0) -> bytes:
        """A withdrawal that leaves so much quote once the beginning has happened and this is locked."""
        twin = self.history.twin
        asset = self.market.quote_asset
        free_units = twin.balance(account, asset).free_units - locked_units - units
        for raw in beginning:
            if raw[0] == CommandKind.DEPOSIT and raw[8:12] == account.to_bytes(4, "little"):
                is_quote = raw[12:16] == asset.to_bytes(4, "little")
                free_units += int.from_bytes(raw[40:48], "little") if is_quote else 0
        if self.clears:
            mine = twin.orders_of(account, self.market.id).values()
            free_units += sum(order.locked_units for order in mine if order.buys)
        return commands.withdraw(account, asset, max(min(free_units, 2**62), 0))


def scene(history: "History") -> Scene | None:
    account, market, world = history.where()
    known = history.twin.markets.get(market)
    return Scene(history, known, account, world) if known and account in history.twin.accounts else None


def short_transfer(history: "History") -> bytes:
    """A buyer whose market order waits keeps nothing free; it triggers, meets its own group dearer, and cannot pay."""
    s = scene(history)
    if not s:
        return history.place()
    last_ticks = s.market.last_price_ticks
    dear_ticks = max(s.ask_ticks, last_ticks + 2)
    stop_ticks = s.random.choice((dear_ticks - 1, dear_ticks - 1, dear_ticks, last_ticks + 1)) or 1
    steps = s.steps(s.random.choice((0, 4)))
    mode = s.mode(Mode.TRANSFER, Mode.TRANSFER, Mode.DECREMENT) if s.has_mate else Mode.DEFAULT
    stop = {"quantity_steps": steps, "stop_price_ticks": stop_ticks, "self_trade_prevention": mode}
    beginning = s.beginning()
    raw = [
        *beginning,
        commands.place(s.account, s.market.id, Side.BUY, OrderType.STOP_LOSS, **stop),
        s.keep_only(s.account, beginning, 0, s.cost_units(steps, stop_ticks)),
        s.limit(s.mate, Side.SELL, min(steps + s.least_steps, s.market.quantity_steps_max), dear_ticks, mode),
        s.take(s.other, Side.BUY, s.mode(Mode.NONE), quantity_steps=s.least_steps),
    ]
    return b"".join(raw)


def fok_before_own(history: "History") -> bytes:
    """At a better price than any: somebody's iceberg, then an own order, then a FOK round what the iceberg shows."""
    s = scene(history)
    if not s:
        return history.place()
    whole_steps, shown_steps = s.iceberg(s.random.randint(2, 4))
    wanted_steps = s.random.randint(1, whole_steps + 1)
    raw = [
        *s.beginning(),
        s.limit(s.other, Side.SELL, whole_steps, s.ask_ticks, Mode.DEFAULT, iceberg_steps=shown_steps),
        s.limit(s.random.choice((s.account, s.mate)), Side.SELL, shown_steps, s.ask_ticks, Mode.DEFAULT),
        s.limit(s.account, Side.BUY, wanted_steps, s.ask_ticks, s.mode(*ANY_MODE), time_in_force=TimeInForce.FOK),
    ]
    return b"".join(raw)


def long_decrement(history: "History") -> bytes:
    """An own iceberg, and takers that meet it more than once: by quantity, or by quote quantity with a rest."""
    s = scene(history)
    if not s:
        return history.place()
    side = s.random.choice((Side.BUY, Side.SELL))
    price_ticks = s.bid_ticks if side == Side.BUY else s.ask_ticks
    whole_steps, shown_steps = s.iceberg(s.random.randint(1, 4))
    wanted_steps = s.random.randint(1, whole_steps + 2)
    taker = {"quantity_steps": wanted_steps}
    if s.random.random() < 0.6:
        rest_units = s.random.choice((0, 1, s.cost_units(1, price_ticks) - 1))
        taker = {"quote_quantity_units": s.cost_units(wanted_steps, price_ticks) + rest_units}
    owner = s.random.choice((s.account, s.mate, s.mate))
    raw = [
        *s.beginning(),
        s.limit(owner, side, whole_steps, price_ticks, s.mode(Mode.TRANSFER), iceberg_steps=shown_steps),
        s.take(s.account, 3 - side, s.mode(Mode.DECREMENT, Mode.TRANSFER, Mode.TRANSFER), **taker),
    ]
    return b"".join(raw)


def worn_iceberg(history: "History") -> bytes:
    """An iceberg that shows less than a whole part is amended, and taken from again."""
    s = scene(history)
    if not s:
        return history.place()
    side = s.random.choice((Side.BUY, Side.SELL))
    price_ticks = s.bid_ticks if side == Side.BUY else s.ask_ticks
    whole_steps, shown_steps = s.iceberg(s.random.randint(2, 4))
    shown_steps = min(shown_steps + 1, s.market.quantity_steps_max)
    whole_steps = max(whole_steps, shown_steps)
    new_steps = s.random.randint(max(whole_steps // 2, 1), whole_steps)
    name = NAME + b"%d" % s.random.randint(0, 2)
    iceberg = {"iceberg_steps": shown_steps, "client_id": name}
    raw = [
        *s.beginning(),
        s.limit(s.account, side, whole_steps, price_ticks, Mode.DEFAULT, **iceberg),
        s.take(s.other, 3 - side, quantity_steps=s.least_steps),
        commands.amend(s.account, s.market.id, 0, new_steps, client_id=name.ljust(36, b"\0")),
        s.take(s.other, 3 - side, quantity_steps=s.steps(shown_steps)),
    ]
    return b"".join(raw)


def dear_hidden(history: "History") -> bytes:
    """A market order whose funds reach for what an iceberg shows, and perhaps for what it hides."""
    s = scene(history)
    if not s:
        return history.place()
    whole_steps, shown_steps = s.iceberg(s.random.randint(2, 4))
    wanted_steps = s.random.randint(shown_steps, whole_steps)
    whole_units, shown_units = s.cost_units(wanted_steps, s.ask_ticks), s.cost_units(shown_steps, s.ask_ticks)
    beginning = s.beginning()
    raw = [
        *beginning,
        s.limit(s.other, Side.SELL, whole_steps, s.ask_ticks, Mode.DEFAULT, iceberg_steps=shown_steps),
        s.keep_only(s.account, beginning, s.random.choice((whole_units, whole_units - 1, shown_units))),
        s.take(s.account, Side.BUY, quantity_steps=wanted_steps),
    ]
    return b"".join(raw)


def full_position(history: "History") -> bytes:
    """Where a position has a bound: somebody near it buys by quote quantity what an iceberg shows and hides."""
    s = scene(history)
    if not s:
        return history.place()
    market = s.market
    left_steps = s.steps(4)
    wanted_steps = min(left_steps + s.random.randint(0, 1), market.quantity_steps_max)
    whole_steps = min(wanted_steps + s.random.randint(0, 2), market.quantity_steps_max)
    shown_steps = max(-(-whole_steps // (market.iceberg_parts_max or 7)), market.quantity_steps_min)
    quote_units = s.cost_units(wanted_steps, s.ask_ticks) + s.random.randint(0, 1)
    raw = [
        *s.beginning(),
        *([near_the_bound(s, left_steps)] if market.position_units_max > 0 else []),
        s.limit(
            s.other, Side.SELL, whole_steps, s.ask_ticks, Mode.DEFAULT, iceberg_steps=min(shown_steps, whole_steps)
        ),
        s.take(s.account, Side.BUY, quote_quantity_units=quote_units),
    ]
    return b"".join(raw)


def near_the_bound(s: Scene, left_steps: int) -> bytes:
    """A deposit or withdrawal after which the account may buy so much more, if it has no other order here."""
    market = s.market
    balance = s.history.twin.balance(s.account, market.base_asset)
    given_units = market.step_units * min(MONEY, market.quantity_steps_max)  # by the beginning
    room_units = market.position_units_max - balance.free_units - balance.locked_units - given_units
    more_units = room_units - left_steps * market.step_units
    pack = commands.deposit if more_units > 0 else commands.withdraw
    return pack(s.account, market.base_asset, min(abs(more_units), 2**62))


PLOTS = (short_transfer, short_transfer, fok_before_own, long_decrement, worn_iceberg, dear_hidden, full_position)
