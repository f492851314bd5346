# SPDX-License-Identifier: Apache-2.0
"""The twin's state, money and events: what every rule stands on.

`matching.py` builds on it. It must never know what an order does, only what is moved, locked, emitted and reported.
"""

from collections import Counter

from tests.model.parts import Account, Asset, Balance, Market, Order
from tests.model.records import Event, EventKind, Flag, Position, Status, Top

WRITERS_EARLY = 64  # until CONFIGURE


class Ledger:
    """Everything the exchange knows, and the smallest steps that change it."""

    def __init__(self) -> None:
        # State.
        self.time_ns = 0
        self.sequence = 0
        self.configured = False
        self.rules = 0  # the version in force; 0 before CONFIGURE
        self.accounts_max = self.orders_max = self.assets_max = self.markets_max = 0
        self.digests_max = 0
        self.writers_max = WRITERS_EARLY
        self.next_order_id = 1
        self.next_execution_id = 1
        self.assets: dict[int, Asset] = {}
        self.accounts: dict[int, Account] = {}
        self.markets: dict[int, Market] = {}
        self.open_orders: dict[tuple[int, int], dict[int, Order]] = {}  # (account, market) -> id -> order, oldest first
        self.open_order_count = 0
        self.digests: dict[bytes, tuple[int, int, int, int]] = {}  # in order of arrival
        self.writers: dict[bytes, int] = {}  # the longest silent first
        # Of the last batch.
        self.events: list[Event] = []
        self.done: list[dict[str, object]] = []
        self.tops: list[Top] = []
        self.positions: list[Position] = []
        self.watched: set[int] = set()
        self.touched: dict[tuple[int, int], None] = {}  # (account, asset) of this command, in order
        # What rare places this history has come to; a test wants them all.
        self.reached: Counter[str] = Counter()

    # Money.

    def balance(self, account: int, asset: int) -> Balance:
        return self.accounts[account].balances.get(asset) or Balance()

    def move(self, account: int, asset: int, free_units: int = 0, locked_units: int = 0) -> None:
        """Adds to an account's free and locked money."""
        balance = self.accounts[account].balances.setdefault(asset, Balance())
        balance.free_units += free_units
        balance.locked_units += locked_units
        self.touched[account, asset] = None

    def paid_asset(self, market: Market, order: Order) -> int:
        return market.quote_asset if order.buys else market.base_asset

    def lock(self, market: Market, order: Order, units: int) -> None:
        """Makes an order hold exactly this much; what it held beyond that returns to free."""
        more_units = units - order.locked_units
        self.move(order.account, self.paid_asset(market, order), -more_units, more_units)
        order.locked_units = units

    def units_to_lock(self, market: Market, order: Order) -> int:
        """What an open order holds for what it has left."""
        if not order.buys:
            return order.remaining_steps * market.step_units
        return market.quote_units(order.price_ticks or order.stop_price_ticks, order.remaining_steps)

    def fee_units(self, market: Market, account: int, received_units: int, is_maker: bool) -> int:
        owner = self.accounts[account]
        rate_e8 = owner.maker_rate_e8 if is_maker else owner.taker_rate_e8
        if rate_e8 == -1:
            rate_e8 = market.maker_rate_e8 if is_maker else market.taker_rate_e8
        return received_units * rate_e8 // 10**8

    # Events.

    def emit(self, kind: int, **fields: int) -> None:
        """An event that concerns no order."""
        self.events.append(Event(kind, sequence=self.sequence, **fields))

    def emit_order(self, kind: int, order: Order, flags: int = 0, **fields: int) -> None:
        """An event of an order, with the order's own numbers unless said otherwise; the order has changed."""
        order.updated_ns = self.time_ns
        order.sequence = self.sequence
        execution_id = self.next_execution_id
        self.next_execution_id += 1
        self.events.append(
            Event(
                kind=kind,
                status=order.status,
                flags=flags | (Flag.BUY if order.buys else 0),
                account=order.account,
                sequence=self.sequence,
                order_id=order.order_id,
                execution_id=execution_id,
                market=order.market,
                price_ticks=fields.pop("price_ticks", order.price_ticks),
                quantity_steps=fields.pop("quantity_steps", order.quantity_steps),
                executed_steps=order.executed_steps,
                executed_quote_units=order.executed_quote_units,
                remaining_steps=fields.pop("remaining_steps", order.remaining_steps),
                **fields,
            )
        )

    # Who belongs together.

    def is_own(self, order: Order, other: Order) -> bool:
        """Whether two orders must not trade with each other: of one account, or (version 2) of one trade group."""
        if order.account == other.account:
            return True
        group = self.accounts[order.account].trade_group
        return self.rules >= 2 and group != 0 and group == self.accounts[other.account].trade_group

    # Open orders.

    def orders_of(self, account: int, market: int) -> dict[int, Order]:
        return self.open_orders.get((account, market), {})

    def open(self, order: Order) -> None:
        self.open_orders.setdefault((order.account, order.market), {})[order.order_id] = order
        self.open_order_count += 1

    def book_changed(self, market: Market) -> None:
        """A level's quantity has changed: the first time a command does that, the update id grows."""
        if market.changed_at != self.sequence:
            market.changed_at = self.sequence
            market.update_id += 1

    def leave(self, market: Market, order: Order, status: int, reason: int = 0) -> None:
        """The order is finished: off its queue, its lock returned, reported as done (after its last event)."""
        order.status = status
        order.reason = reason
        order.flags = 0
        order.shown_steps = 0
        if order.order_id in self.orders_of(order.account, order.market):
            if order.waits:
                market.trigger_queue_of(order).remove(order)
                order.waits = False
            elif order in market.side_of(order):
                market.side_of(order).remove(order)
                self.book_changed(market)
            del self.open_orders[order.account, order.market][order.order_id]
            self.open_order_count -= 1
        if order.locked_units:
            self.lock(market, order, 0)

    def report_done(self, order: Order) -> None:
        self.done.append(order.record())

    def expire(self, market: Market, order: Order, reason: int) -> None:
        """The rules take an order that matching left unfinished."""
        self.leave(market, order, Status.EXPIRED, reason)
        self.emit_order(EventKind.EXPIRED, order, Flag.LAST, reason=reason)
        self.report_done(order)
