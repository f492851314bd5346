# SPDX-License-Identifier: Apache-2.0
"""What the twin's exchange consists of: assets, accounts, orders, markets with their queues. Data and its plain sums.

`exchange.py` and its siblings use it. It must never decide what a command does, and never be clever: a queue is a
sorted list.
"""

from bisect import insort_right
from dataclasses import dataclass, field, replace

from tests.model.records import ORDER_FIELDS, OrderType, Side, TimeInForce

STOP_TYPES = (OrderType.STOP_LOSS, OrderType.STOP_LOSS_LIMIT, OrderType.TAKE_PROFIT, OrderType.TAKE_PROFIT_LIMIT)
STOP_LIMIT_TYPES = (OrderType.STOP_LOSS_LIMIT, OrderType.TAKE_PROFIT_LIMIT)
LIMIT_TYPES = (OrderType.LIMIT, OrderType.LIMIT_MAKER, *STOP_LIMIT_TYPES)


class Refused(Exception):
    """A command is refused; nothing has changed yet."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class UnknownCommand(Exception):
    """A batch holds a kind of command that these rules do not know."""


class WriterGap(Exception):
    """A writer's batch is missing."""


class Broken(Exception):
    """An invariant does not hold."""


def is_text(text: bytes) -> bool:
    """Whether a name or client id is given."""
    return text[0] != 0


@dataclass(slots=True)
class Asset:
    """A kind of money, with what came in, went out and was taken as fees."""

    name: bytes
    decimals: int
    deposited_units: int = 0
    withdrawn_units: int = 0
    fees_units: int = 0

    @property
    def supply_units(self) -> int:
        return self.deposited_units - self.withdrawn_units


@dataclass(slots=True)
class Balance:
    """What an account has of an asset."""

    free_units: int = 0
    locked_units: int = 0


@dataclass(slots=True)
class Account:
    """Who trades."""

    permissions: int
    maker_rate_e8: int
    taker_rate_e8: int
    trade_group: int
    balances: dict[int, Balance] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Order:
    """An order; the fields of OrderRecord under the same names."""

    order_id: int
    account: int
    market: int
    type: int
    side: int
    time_in_force: int
    self_trade_prevention: int
    price_ticks: int
    stop_price_ticks: int
    quantity_steps: int
    quote_quantity_units: int
    created_ns: int
    updated_ns: int
    sequence: int
    client_id: bytes
    strategy_id: int
    strategy_type: int
    status: int = 1
    reason: int = 0
    flags: int = 0
    amends: int = 0
    executed_steps: int = 0
    executed_quote_units: int = 0
    prevented_steps: int = 0
    prevented_match_id: int = 0
    working_ns: int = 0
    locked_units: int = 0
    waits: bool = False  # for its trigger
    # Version 2.
    iceberg_steps: int = 0
    shown_steps: int = 0  # of an iceberg on the book
    prevented_quote_units: int = 0  # of a taker by quote quantity
    # No version has these yet.
    trailing_delta_bips: int = 0
    order_list_id: int = 0
    trailing_ns: int = 0
    pegged_price_ticks: int = 0
    peg_price_type: int = 0
    peg_offset_type: int = 0
    peg_offset_value: int = 0

    @property
    def buys(self) -> bool:
        return self.side == Side.BUY

    @property
    def is_by_quote(self) -> bool:
        return self.quote_quantity_units > 0

    @property
    def remaining_steps(self) -> int:
        if self.is_by_quote:
            return 0
        return self.quantity_steps - self.executed_steps - self.prevented_steps

    @property
    def remaining_quote_units(self) -> int:
        return self.quote_quantity_units - self.executed_quote_units - self.prevented_quote_units

    @property
    def taken_steps(self) -> int:
        """What has gone of its quantity, by trades or by self-trade prevention."""
        return self.executed_steps + self.prevented_steps

    @property
    def visible_steps(self) -> int:
        """Of an order on the book: what its level shows of it, and what one trade may take."""
        return self.shown_steps if self.iceberg_steps else self.remaining_steps

    @property
    def rests(self) -> bool:
        """Whether what remains after matching stays on the book."""
        return self.type == OrderType.LIMIT_MAKER or (
            self.type in LIMIT_TYPES and self.time_in_force == TimeInForce.GTC
        )

    def record(self) -> dict[str, object]:
        """As `dump` shows an order."""
        shown = {name: getattr(self, name) for name in ORDER_FIELDS}
        shown["client_id"] = self.client_id.rstrip(b"\0")
        return shown

    def copy(self) -> "Order":
        return replace(self)


def is_triggered_above(order: Order) -> bool:
    """Whether a waiting order waits for trades at its stop price or higher (else: or lower)."""
    return order.buys == (order.type in (OrderType.STOP_LOSS, OrderType.STOP_LOSS_LIMIT))


@dataclass(slots=True)
class Market:
    """A market: filters, state, and four sorted lists of orders."""

    id: int
    name: bytes
    state: int
    base_asset: int
    quote_asset: int
    step_units: int
    quote_units_per_tick_step: int
    price_ticks_min: int
    price_ticks_max: int
    quantity_steps_min: int
    quantity_steps_max: int
    market_quantity_steps_min: int
    market_quantity_steps_max: int
    market_step_steps: int
    notional_units_min: int
    notional_units_max: int
    notional_flags: int
    average_minutes: int
    maker_rate_e8: int
    taker_rate_e8: int
    orders_max: int
    algo_orders_max: int
    iceberg_orders_max: int
    iceberg_parts_max: int
    position_units_max: int
    bid_multiplier_up_e4: int
    bid_multiplier_down_e4: int
    ask_multiplier_up_e4: int
    ask_multiplier_down_e4: int
    amends_max: int
    self_trade_prevention: int
    self_trade_preventions: int
    last_price_ticks: int = 0
    next_trade_id: int = 1
    next_prevented_match_id: int = 1
    update_id: int = 0
    changed_at: int = 0  # sequence of the command that changed the book last
    shown_top: tuple[int, int, int, int] = (0, 0, 0, 0)  # best prices and quantities after the last command
    traded_ticks: tuple[int, int] | None = None  # the range of prices traded since the triggers were looked at
    bids: list[Order] = field(default_factory=list)  # best price first, then the oldest
    asks: list[Order] = field(default_factory=list)
    above: list[Order] = field(default_factory=list)  # waiting orders: the one to trigger first, first
    below: list[Order] = field(default_factory=list)
    slots: dict[int, list[int]] = field(default_factory=dict)  # minute -> [sum of price x steps, sum of steps]

    def quote_units(self, price_ticks: int, quantity_steps: int) -> int:
        return price_ticks * quantity_steps * self.quote_units_per_tick_step

    def side_of(self, order: Order) -> list[Order]:
        return self.bids if order.buys else self.asks

    def opposite_of(self, order: Order) -> list[Order]:
        return self.asks if order.buys else self.bids

    def trigger_queue_of(self, order: Order) -> list[Order]:
        return self.above if is_triggered_above(order) else self.below

    def join_book(self, order: Order) -> None:
        if order.buys:
            insort_right(self.bids, order, key=lambda other: -other.price_ticks)
        else:
            insort_right(self.asks, order, key=lambda other: other.price_ticks)

    def join_triggers(self, order: Order) -> None:
        if is_triggered_above(order):
            insort_right(self.above, order, key=lambda other: other.stop_price_ticks)
        else:
            insort_right(self.below, order, key=lambda other: -other.stop_price_ticks)

    def best(self, side: list[Order]) -> tuple[int, int]:
        """Price and quantity of the first level of a side; zeros when it is empty."""
        if not side:
            return 0, 0
        price_ticks, quantity_steps = side[0].price_ticks, 0
        for order in side:
            if order.price_ticks != price_ticks:
                break
            quantity_steps += order.visible_steps
        return price_ticks, quantity_steps

    def top(self) -> tuple[int, int, int, int]:
        return *self.best(self.bids), *self.best(self.asks)

    def levels(self, side: list[Order]) -> list[tuple[int, int]]:
        """Prices and quantities of a side, as everybody sees them."""
        levels: dict[int, int] = {}
        for order in side:
            levels[order.price_ticks] = levels.get(order.price_ticks, 0) + order.visible_steps
        return list(levels.items())

    def whole_levels(self, side: list[Order]) -> list[tuple[int, int]]:
        """The same with what icebergs hide."""
        levels: dict[int, int] = {}
        for order in side:
            levels[order.price_ticks] = levels.get(order.price_ticks, 0) + order.remaining_steps
        return list(levels.items())

    def is_crossed_by(self, order: Order, maker: Order) -> bool:
        """Whether an order's limit (if it has one) reaches a resting order's price."""
        if not order.price_ticks:
            return True
        if order.buys:
            return order.price_ticks >= maker.price_ticks
        return order.price_ticks <= maker.price_ticks

    def live_slots(self, time_ns: int) -> list[tuple[int, int, int]]:
        now = time_ns // 60_000_000_000
        return [(slot, *sums) for slot, sums in sorted(self.slots.items()) if slot > now - self.average_minutes]

    def average_price_ticks(self, time_ns: int) -> int:
        """Of the last minutes' trades, floored; else the last price; 0 before the first trade."""
        slots = self.live_slots(time_ns)
        if not slots:
            return self.last_price_ticks
        return sum(slot[1] for slot in slots) // sum(slot[2] for slot in slots)
