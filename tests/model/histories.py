# SPDX-License-Identifier: Apache-2.0
"""Seeded histories: batches of commands in a small crowded world, aimed at what the twin has open just then.

`History(seed, twin)` draws its options first (swarm testing: the probabilities themselves differ between seeds) and
then gives one batch after the other. The differential tests and `python -m tests.model SEED` use it. It reads the twin
and must never change it; the same seed gives the same history for ever, on every machine.
"""

from collections import deque
from dataclasses import dataclass
from random import Random

from tests.model import commands, features
from tests.model.exchange import ModelExchange
from tests.model.features import ONE, ONE_THEN_TWO, TWO, Features
from tests.model.options import Options, World
from tests.model.parts import LIMIT_TYPES, STOP_TYPES
from tests.model.records import COMMAND, CommandKind, Mode, OrderType, Side, State, TimeInForce

NEEDS_OPEN = (CommandKind.CANCEL, CommandKind.CANCEL_ALL, CommandKind.AMEND)
NO_TEXT = bytes(36)
NO_DIGEST = bytes(16)
ICEBERG_OFFSET = 48  # of a command
START_NS = 1_700_000_000_000_000_000
EDGES = (0, 1, 2, -1, -2, 255, 2**31, 2**32 - 1, 2**42, 2**42 + 1, 2**62 - 1, 2**62, 2**62 + 1, 2**63 - 1, -(2**63))
DEADLINES = (-1, 0, 1, *(10**9,) * 10, *(5 * 10**9,) * 20, 60 * 10**9)
# Offset and size of every field of the common layout but the kind.
PLACES = [(offset, 1) for offset in range(1, 8)]
PLACES += [(8, 4), (12, 4), (16, 8), (24, 8), (32, 8), (40, 8), (48, 8), (56, 8), (64, 8), (72, 8), (88, 8)]
PLACES += [(124, 4), (128, 8), (164, 4), (168, 8), (176, 1), (177, 1), (178, 1), (179, 1), (180, 4), (184, 8)]

MARKET_PLACES = [(offset, 1) for offset in range(1, 6)] + [(6, 2), (8, 4), (12, 4)]
MARKET_PLACES += [(offset, 8) for offset in (*range(16, 80, 8), 120, 128)] + [(116, 4), (136, 4), (140, 4)]


@dataclass(frozen=True, slots=True)
class Batch:
    """What one `apply` gets."""

    commands: bytes
    log_time_ns: int
    writer_time_ns: int
    writer: bytes | None
    number: int

    def arguments(self) -> tuple[bytes, int, int, bytes | None, int]:
        return self.commands, self.log_time_ns, self.writer_time_ns, self.writer, self.number


class History:
    """The generator of one history."""

    def __init__(
        self, seed: int, twin: ModelExchange, batch_commands: int | None = None, plan: str | None = None
    ) -> None:
        """`batch_commands`: so many in every batch, and `plan`: these versions, instead of what the seed draws."""
        self.random = Random(seed)
        self.batch_commands = batch_commands
        self.options = Options(self.random)
        self.features = Features(Random(seed + 2**64), self.options, plan)
        self.twin = twin
        self.clock_ns = self.now_ns = START_NS
        self.digest_count = 0
        self.recent: deque[bytes] = deque(maxlen=32)  # signed commands, to be sent again
        self.writer_names = [bytes([i + 1]) * 16 for i in range(self.options.limits["writers_max"] + 1)]
        self.last_batch: Batch | None = None
        self.greetings_left = self.random.choice((0, 1, 5))  # hellos that come before the limits
        self.is_started = False
        self.targets_left = 0  # open orders that no command of this batch aims at yet

    # Batches.

    def batch(self) -> Batch:
        if self.greetings_left:
            self.greetings_left -= 1
            writer = self.random.choice(self.writer_names)
            return Batch(b"", self.clock_ns, self.clock_ns, writer, self.twin.writers.get(writer, 0) + 1)
        if not self.is_started:
            self.is_started = True
            return Batch(self.opening(), self.clock_ns, self.clock_ns, *self.author())
        if self.last_batch and self.last_batch.writer and self.random.random() < 0.05:
            return self.last_batch  # a writer that did not hear the answer
        stamps = self.stamps()
        self.now_ns = max(self.twin.time_ns, min(stamps))
        self.targets_left = self.twin.open_order_count
        size = self.batch_commands
        if size is None:
            size = min(int(self.random.expovariate(1 / self.options.batch_typical)), 1000)
        raw = b"".join(self.repairs() + [self.command() for _ in range(size)] + self.activation())
        if self.random.random() < 0.01:
            return self.wrong(raw, stamps)
        self.last_batch = Batch(raw, *stamps, *self.author())
        return self.last_batch

    def wrong(self, raw: bytes, stamps: tuple[int, int]) -> Batch:
        """A batch that must be refused whole: an unknown kind, a cut record, or a number too high."""
        if self.features.is_planned and self.features.random.random() < 0.5:
            return Batch(raw + features.malformed_group(self), *stamps, *self.author())
        chance = self.random.random()
        if chance < 0.3:
            return Batch(raw + bytes([self.random.choice((0, 18, 255))]) + bytes(191), *stamps, *self.author())
        if chance < 0.6:
            return Batch(raw + bytes(self.random.randint(1, 191)), *stamps, *self.author())
        writer = self.random.choice(self.writer_names)
        return Batch(raw, *stamps, writer, self.twin.writers.get(writer, 0) + self.random.randint(2, 3))

    def repairs(self) -> list[bytes]:
        """What is closed opens again soon, or little would happen in the rest of the history."""
        closed = [market.id for market in self.twin.markets.values() if market.state != State.TRADING]
        barred = {number: account for number, account in self.twin.accounts.items() if account.permissions & 7 != 7}
        repairs = [commands.market_state(number, State.TRADING) for number in closed if self.random.random() < 0.5]
        for number, account in barred.items():
            if self.random.random() < 0.5:
                group = account.trade_group if self.features.is_planned else 0
                repairs.append(commands.account_change(number, trade_group=group))
        return repairs

    def activation(self) -> list[bytes]:
        """Version 2 in the middle of a history, and with it a market that allows what no older one does."""
        if self.features.plan != ONE_THEN_TWO or self.twin.rules != 1 or self.twin.sequence < self.features.activation:
            return []
        raw = [commands.rules(2), self.place()]
        worlds = self.options.worlds
        if len(self.twin.markets) == len(worlds) < self.options.limits["markets_max"]:
            world = self.options.draw_world(self.features.random)
            self.features.enrich(world, self.options, is_new=True)
            raw.append(commands.market(b"L%d" % len(worlds), world.base_asset, world.quote_asset, **world.fields))
            worlds.append(world)
        return raw

    def stamps(self) -> tuple[int, int]:
        """The log's and the writer's clock: mostly close together, sometimes one of them is wrong."""
        random = self.random
        self.clock_ns += int(random.expovariate(1) * self.options.step_ns_typical)
        chance = random.random()
        if chance < 0.8:
            return self.clock_ns, self.clock_ns - random.randint(-1000, 1000)
        if chance < 0.9:
            return self.clock_ns - random.randint(0, 10**11), self.clock_ns
        if chance < 0.98:
            return self.clock_ns, self.clock_ns + random.randint(0, 2**62)
        return random.choice((0, -1, -(2**63), 2**63 - 1)), self.clock_ns

    def author(self) -> tuple[bytes | None, int]:
        if self.random.random() >= self.options.written:
            return None, 0
        writer = self.random.choice(self.writer_names)
        return writer, self.twin.writers.get(writer, 0) + 1

    def opening(self) -> bytes:
        """The world is made; some of it is tried before there are limits."""
        options, random = self.options, self.random
        raw = [self.place(), commands.mark(1)] if random.random() < 0.5 else []
        version = 2 if self.features.plan == TWO else 1
        raw.append(commands.configure(rules_version=version, **options.limits))
        raw += [commands.asset(b"A%d" % i, decimals) for i, decimals in enumerate(options.decimals)]
        for _ in range(options.accounts):
            rate_e8 = random.choice((-1, -1, 0, 75_000))
            group = self.features.group() if self.features.is_planned else 0
            rates = {"maker_rate_e8": rate_e8, "taker_rate_e8": random.choice((-1, rate_e8))}
            raw.append(commands.account(trade_group=group, **rates))
        for i, world in enumerate(options.worlds):
            raw.append(commands.market(b"M%d" % i, world.base_asset, world.quote_asset, **world.fields))
        for account in range(1, options.accounts + 1):
            raw += [self.first_deposit(account, asset) for asset in range(1, options.assets + 1)]
        return b"".join(raw)

    def first_deposit(self, account: int, asset: int) -> bytes:
        return commands.deposit(account, asset, self.options.deposit_units(asset))

    # Commands.

    def command(self) -> bytes:
        random, options = self.random, self.options
        if self.recent and random.random() < options.digested * 0.1:
            return random.choice(self.recent)
        raw = features.command(self) if self.features.is_planned else None
        if raw is not None:
            return raw
        kind = options.command()
        if kind in NEEDS_OPEN:
            self.targets_left -= 1
            if self.targets_left < 0 and random.random() < 0.9:
                kind = CommandKind.PLACE
        if kind == CommandKind.PLACE:
            raw = self.place()
        elif kind == CommandKind.CANCEL:
            raw = self.cancel()
        elif kind == CommandKind.AMEND:
            raw = self.amend()
        else:
            raw = self.rare(kind)
        if random.random() < options.edge:
            raw = self.spoil(raw)
        return raw

    def signature(self) -> tuple[int, bytes]:
        """Deadline and digest of a command."""
        random, options = self.random, self.options
        deadline_ns, digest = 0, NO_DIGEST
        if options.dated and random.random() < options.dated:
            deadline_ns = self.now_ns + random.choice(DEADLINES)
        if options.digested and random.random() < options.digested:
            if random.random() < 0.95:
                self.digest_count += 1
            digest = self.digest_count.to_bytes(16, "big")
        return deadline_ns, digest

    def packed(self, kind: int, account: int, market: int, **fields: int | bytes) -> bytes:
        """A command of the common layout, signed or not."""
        if self.options.unknown and self.random.random() < self.options.unknown:
            account = self.random.choice((0, account, self.options.limits["accounts_max"] + 1, 2**32 - 1))
            market = self.random.choice((0, market, self.options.limits["markets_max"] + 1, 2**32 - 1))
        deadline_ns, digest = self.signature()
        raw = commands.common(kind, account=account, market=market, deadline_ns=deadline_ns, digest=digest, **fields)
        if kind != CommandKind.REPLACE:
            self.remember(raw)
        return raw

    def remember(self, raw: bytes) -> None:
        """A command that may be sent again, if it is signed."""
        if raw[72:88] != NO_DIGEST:
            self.recent.append(raw)

    def spoil(self, raw: bytes, spared: tuple[int, ...] = ()) -> bytes:
        """One field becomes an edge number."""
        offset, size = self.random.choice(PLACES)
        if (raw[0] == CommandKind.CONFIGURE and offset < 32) or offset in spared:
            return raw
        edge = self.random.choice(EDGES) & ((1 << 8 * size) - 1)
        if self.features.is_planned and raw[0] == CommandKind.PLACE and offset == ICEBERG_OFFSET:
            quantity_steps = int.from_bytes(raw[24:32], "little")
            if 0 < edge * features.PARTS_MAX < quantity_steps <= edge * features.PARTS_REFUSED:
                return raw  # each of its many parts may be a trade: that would take long
        elif self.features.plan == ONE and raw[0] == CommandKind.RULES and edge == 2:
            edge = 3
        return raw[:offset] + edge.to_bytes(size, "little") + raw[offset + size :]

    def spoil_market(self, raw: bytes) -> bytes:
        """A number of a market becomes an edge, or nearly right."""
        offset, size = self.random.choice(MARKET_PLACES)
        if self.features.is_planned and self.features.random.random() < 0.4:
            offset, size = self.features.random.choice(features.MARKET_PLACES)
        value = int.from_bytes(raw[offset : offset + size], "little")
        value = self.random.choice((value + 1, value - 1, value * 2, *EDGES)) & ((1 << 8 * size) - 1)
        return raw[:offset] + value.to_bytes(size, "little") + raw[offset + size :]

    def where(self) -> tuple[int, int, World]:
        """An account, a market and what the generator knows of it."""
        account = 1 + int(self.random.random() * self.options.accounts)
        market = 1 + int(self.random.random() * len(self.options.worlds))
        return account, market, self.options.worlds[market - 1]

    def price(self, world: World, side: int) -> int:
        """Round the middle, so that books collide; now and then anywhere, the bounds and beyond included."""
        random = self.random
        if random.random() < 0.03:
            low, high = world.fields["price_ticks_min"], world.fields["price_ticks_max"]
            return random.choice((low, high, low - 1, high + 1, world.low_ticks))
        if world.is_wide:
            ticks = (1 << int(random.random() * world.width_ticks.bit_length())) + int(random.random() * 3) - 1
            return world.low_ticks + min(ticks, world.width_ticks)
        middle = world.low_ticks + world.width_ticks / 2
        reach = world.width_ticks * self.options.spread / 2
        lean = reach / 3 if side == Side.SELL else -reach / 3
        ticks = round(random.gauss(middle + lean, reach))
        return min(max(ticks, world.low_ticks), world.low_ticks + world.width_ticks)

    def quantity(self, world: World) -> int:
        random = self.random
        if random.random() < 0.02:
            most = world.fields["quantity_steps_max"]
            return random.choice((0, 1, most, most + 1))
        return world.fields["quantity_steps_min"] + int(random.random() ** 2 * world.quantity_typical_steps)

    def client_id(self) -> bytes:
        if self.options.named and self.random.random() < self.options.named:
            return self.random.choice(self.options.names).ljust(36, b"\0")
        return NO_TEXT

    def place(self) -> bytes:
        account, market, world = self.where()
        return self.packed(CommandKind.PLACE, account, market, **self.order_fields(market, world))

    def order_fields(self, market: int, world: World) -> dict[str, int | bytes]:
        """An order of any type, mostly of a good shape."""
        random, options = self.random, self.options
        kind = options.type()
        side = Side.BUY if random.random() < options.side_bias else Side.SELL
        fields: dict[str, int | bytes] = {}
        if kind in LIMIT_TYPES:
            fields["price_ticks"] = self.price(world, side)
            fields["time_in_force"] = options.time_in_force() if kind != OrderType.LIMIT_MAKER else TimeInForce.NONE
        if kind in STOP_TYPES:
            fields["stop_price_ticks"] = self.stop_price(market, world, side, kind)
        if kind == OrderType.MARKET and random.random() < options.by_quote:
            fields["quote_quantity_units"] = self.quote_quantity(market, world)
        else:
            fields["quantity_steps"] = self.quantity(world)
        if random.random() < 0.3:
            fields["strategy_id"] = random.choice((1, 77, -5))
            fields["strategy_type"] = random.choice((0, 1_000_000, 2**32 - 1))
        fields |= {"type": kind, "side": side, "self_trade_prevention": self.mode(world), "client_id": self.client_id()}
        if self.features.is_planned and features.is_active(self):
            shape = kind, int(fields.get("time_in_force", 0)), int(fields.get("quantity_steps", 0))
            fields["iceberg_steps"] = self.features.iceberg_steps(*shape)
        return fields

    def mode(self, world: World) -> int:
        """Mostly one that the market allows."""
        mode = self.features.mode() if self.twin.rules >= 2 else self.options.mode()
        if mode and not world.fields["self_trade_preventions"] >> (mode - 1) & 1 and self.random.random() < 0.8:
            return Mode.DEFAULT
        return mode

    def stop_price(self, market: int, world: World, side: int, kind: int) -> int:
        """Mostly on the side of the last price where it waits."""
        last_ticks = self.twin.markets[market].last_price_ticks if market in self.twin.markets else 0
        if not last_ticks or self.random.random() < 0.2:
            return self.price(world, side)
        above = (side == Side.BUY) == (kind in (OrderType.STOP_LOSS, OrderType.STOP_LOSS_LIMIT))
        distance = 1 + int(self.random.expovariate(1 / 3))
        return max(1, last_ticks + distance if above else last_ticks - distance)

    def quote_quantity(self, market: int, world: World) -> int:
        """About what a typical quantity costs, and mostly no whole number of steps."""
        known = self.twin.markets.get(market)
        unit = known.quote_units_per_tick_step if known else 1
        price_ticks = self.price(world, Side.BUY)
        return self.quantity(world) * price_ticks * unit + self.random.choice((0, 0, 1, unit, price_ticks * unit - 1))

    def target(self, account: int, market: int) -> tuple[int, int, int, bytes]:
        """Whose order, where, and by which of its names: mostly an open one."""
        random, twin = self.random, self.twin
        if random.random() < 0.9 and twin.open_order_count:
            held = twin.open_orders.get((account, market))
            if not held:
                (account, market), held = random.choice([item for item in twin.open_orders.items() if item[1]])
            order_id, order = random.choice(list(held.items()))
            if order.client_id[0] and random.random() < 0.5:
                return account, market, random.choice((0, order_id)), order.client_id
            if random.random() < 0.05:
                account = random.randint(1, self.options.accounts)  # somebody else's, perhaps
            return account, market, order_id, NO_TEXT
        order_id = random.choice((0, 1, twin.next_order_id - 1, twin.next_order_id, random.randint(0, 2**64 - 1)))
        if random.random() < 0.5:
            order_id = random.randint(0, twin.next_order_id)
        return account, market, order_id, self.client_id()

    def cancel(self) -> bytes:
        account, market, _ = self.where()
        account, market, order_id, client_id = self.target(account, market)
        restriction = self.random.choice((0, 0, 0, 0, 1, 2))
        return self.packed(
            CommandKind.CANCEL,
            account,
            market,
            order_id=order_id,
            client_id=client_id,
            restriction=restriction,
            other_client_id=self.client_id(),
        )

    def amend(self) -> bytes:
        random = self.random
        account, market, world = self.where()
        account, market, order_id, client_id = self.target(account, market)
        order = self.twin.orders_of(account, market).get(order_id)
        if order and random.random() < 0.8:
            quantity_steps = random.randint(1, order.quantity_steps)
        else:
            quantity_steps = self.quantity(world)
        return self.packed(
            CommandKind.AMEND,
            account,
            market,
            order_id=order_id,
            client_id=client_id,
            quantity_steps=quantity_steps,
            other_client_id=self.client_id(),
        )

    def squeeze(self) -> bytes:
        """A plot: somebody whose market order waits takes out all that is free; then it triggers and cannot pay."""
        _, market, _ = self.where()
        known = self.twin.markets.get(market)
        waiting = [order for order in known.above + known.below if not order.price_ticks] if known else []
        if not known or not waiting:
            return self.place()
        order = self.random.choice(waiting)
        asset = self.twin.paid_asset(known, order)
        units = self.twin.balance(order.account, asset).free_units
        other = order.account % self.options.accounts + 1
        stop_ticks = order.stop_price_ticks
        dear_ticks = stop_ticks + self.random.randint(1, 3) if order.buys else stop_ticks
        limit = {"type": OrderType.LIMIT, "time_in_force": TimeInForce.GTC, "self_trade_prevention": Mode.NONE}
        raw = [
            self.packed(CommandKind.WITHDRAW, order.account, asset, quote_quantity_units=units),
            commands.place(
                other, market, 3 - order.side, quantity_steps=order.quantity_steps, price_ticks=dear_ticks, **limit
            ),
            commands.place(other, market, Side.SELL, quantity_steps=1, price_ticks=stop_ticks, **limit),
            commands.place(other, market, Side.BUY, quantity_steps=1, price_ticks=stop_ticks, **limit),
        ]
        return b"".join(raw)

    def rare(self, kind: int) -> bytes:
        """All that is no order."""
        random, options = self.random, self.options
        account, market, world = self.where()
        if kind == CommandKind.CANCEL_ALL:
            account, market, _, _ = self.target(account, market)
            return self.packed(kind, account, market)
        if kind == CommandKind.WITHDRAW and random.random() < 0.5:
            return self.squeeze()
        if kind in (CommandKind.DEPOSIT, CommandKind.WITHDRAW):
            asset = random.randint(1, options.assets)
            held_units = self.twin.balance(account, asset).free_units if account in self.twin.accounts else 0
            units = random.choice((0, 1, held_units, held_units + 1, held_units // 2, held_units // 10, 2**62))
            return self.packed(kind, account, asset, quote_quantity_units=units)
        if kind == CommandKind.MARKET_STATE:
            state = random.choice((State.TRADING,) * 6 + tuple(range(9)))
            return self.packed(kind, 0, market, restriction=state)
        if kind in (CommandKind.ACCOUNT, CommandKind.ACCOUNT_CHANGE):
            permissions = random.choice((7, 7, 7, 7, random.randint(0, 255)))
            rates = {
                "maker_rate_e8": random.choice((-1, 0, 50_000, 10**8, 10**8 + 1, -2)),
                "taker_rate_e8": random.choice((-1, 0, 50_000)),
                "trade_group": random.choice((0, 3)),
            }
            if self.features.is_planned:
                rates["trade_group"] = self.features.group()
            if kind == CommandKind.ACCOUNT:
                raw = commands.account(b"x", permissions=permissions, **rates)
            else:
                raw = commands.account_change(account, permissions=permissions, **rates)
            deadline_ns, digest = self.signature()
            return commands.signed(raw, digest, deadline_ns)
        if kind == CommandKind.ASSET:
            return commands.asset(random.choice((b"A0", b"A%d" % random.randint(0, 9), b"")), random.randint(0, 9))
        if kind == CommandKind.MARKET:
            name = random.choice((b"M0", b"M%d" % random.randint(0, 9), b""))
            bases = random.choice(((1, 2), (2, 1), (1, 1), (0, 1), (1, 99), (world.base_asset, world.quote_asset)))
            raw = commands.market(name, *bases, **world.fields)
            return self.spoil_market(raw) if random.random() < 0.7 else raw
        if kind == CommandKind.CONFIGURE:
            return commands.configure(**options.limits)
        if kind == CommandKind.NOTE:
            return b"".join(commands.note(b"n" * (i + 1), legs=3) for i in range(3))
        if kind == CommandKind.RULES:
            return self.packed(kind, 0, 0, order_id=random.choice((1, 1, 0, 3 if self.features.plan == ONE else 2)))
        return self.packed(kind, 0, market)


assert COMMAND.size == 192
