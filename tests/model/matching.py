# SPDX-License-Identifier: Apache-2.0
"""The twin's matching: trades, self-trade prevention, what becomes of the rest, and triggers.

`trading.py` builds on it. It must never check a command: an order that comes here has been accepted.
"""

from tests.model.ledger import Ledger
from tests.model.parts import Market, Order
from tests.model.records import EventKind, Flag, Mode, OrderType, Reason, Status, TimeInForce


class Matching(Ledger):
    """RULES.md from "Matching" to "Triggers", and what version 2 says of icebergs and self-trade prevention."""

    def execute(self, market: Market, order: Order) -> None:
        """An order starts to work: it takes what it can, and then rests or leaves."""
        order.working_ns = self.time_ns
        if order.time_in_force == TimeInForce.FOK and self.fillable_steps(market, order) < order.remaining_steps:
            self.expire(market, order, Reason.UNFILLED_FOK)
            return
        if order.type != OrderType.LIMIT_MAKER:
            self.match(market, order)
        if order.status in (Status.FILLED, Status.EXPIRED_IN_MATCH):
            return
        if order.rests:
            self.rest(market, order)
        elif order.time_in_force == TimeInForce.IOC:
            self.expire(market, order, Reason.UNFILLED_IOC)
        else:
            self.expire(market, order, Reason.INSUFFICIENT_LIQUIDITY)

    def rest(self, market: Market, order: Order) -> None:
        """To the end of its price's queue, holding what it may have to pay."""
        if order.order_id not in self.orders_of(order.account, order.market):
            self.open(order)
        self.lock(market, order, self.units_to_lock(market, order))
        if order.iceberg_steps:
            order.shown_steps = min(order.iceberg_steps, order.remaining_steps)
        market.join_book(order)
        order.flags = Flag.WORKING
        self.book_changed(market)

    def fillable_steps(self, market: Market, order: Order) -> int:
        """How much an order could take within its limit, as its self-trade prevention allows."""
        steps = 0
        level_ticks = hidden_steps = 0  # what the icebergs before it hide in the level that is being counted
        for maker in market.opposite_of(order):
            if not market.is_crossed_by(order, maker):
                break
            if maker.price_ticks != level_ticks:
                level_ticks, hidden_steps = maker.price_ticks, 0
            if order.self_trade_prevention != Mode.NONE and self.is_own(order, maker):
                if order.self_trade_prevention == Mode.EXPIRE_MAKER:
                    self.reached["a FOK steps over its own order"] += 1
                    continue
                self.reached["a FOK stops counting at its own order"] += 1
                if hidden_steps:
                    self.reached["a FOK does not count what hides behind its own order"] += 1
                return steps - hidden_steps
            steps += maker.remaining_steps
            hidden_steps += maker.remaining_steps - maker.visible_steps
        return steps

    def match(self, market: Market, taker: Order) -> None:
        """Takes from the other side until the taker is finished, or finds nothing more to take."""
        opposite = market.opposite_of(taker)
        while opposite and market.is_crossed_by(taker, opposite[0]):
            maker = opposite[0]
            if taker.self_trade_prevention != Mode.NONE and self.is_own(taker, maker):
                if not self.prevent(market, taker, maker):
                    return
                continue
            wanted_steps = self.wanted_steps(market, taker, maker)
            steps = min(wanted_steps, self.payable_steps(market, taker, maker.price_ticks))
            if steps < wanted_steps:
                self.reached["a trade is cut by free money" if steps else "free money pays for no step"] += 1
            if steps == 0:
                return
            self.trade(market, taker, maker, steps)
            if taker.status == Status.FILLED or steps < wanted_steps:
                return

    def wanted_steps(self, market: Market, taker: Order, maker: Order) -> int:
        """What the two would trade if the taker's money is no matter."""
        if taker.is_by_quote:
            affordable_steps = taker.remaining_quote_units // market.quote_units(maker.price_ticks, 1)
            return min(maker.visible_steps, affordable_steps)
        return min(maker.visible_steps, taker.remaining_steps)

    def payable_steps(self, market: Market, taker: Order, price_ticks: int) -> int:
        """What the taker's free money pays for at this price."""
        free_units = self.balance(taker.account, self.paid_asset(market, taker)).free_units
        return free_units // (market.quote_units(price_ticks, 1) if taker.buys else market.step_units)

    def prevent(self, market: Market, taker: Order, maker: Order) -> bool:
        """The two must not trade: the taker's mode says what they lose. Gives whether matching goes on."""
        if taker.self_trade_prevention in (Mode.DECREMENT, Mode.TRANSFER):
            return self.decrement(market, taker, maker)
        match_id = market.next_prevented_match_id
        market.next_prevented_match_id += 1
        price_ticks = maker.price_ticks
        if taker.self_trade_prevention in (Mode.EXPIRE_TAKER, Mode.EXPIRE_BOTH):
            self.prevent_one(market, taker, maker, match_id, price_ticks, 0)
        if taker.self_trade_prevention in (Mode.EXPIRE_MAKER, Mode.EXPIRE_BOTH):
            self.prevent_one(market, maker, taker, match_id, price_ticks, Flag.MAKER)
        return taker.status != Status.EXPIRED_IN_MATCH

    def prevent_one(
        self, market: Market, order: Order, other: Order, match_id: int, price_ticks: int, flags: int
    ) -> None:
        steps = order.remaining_steps
        order.prevented_steps += steps
        order.prevented_match_id = match_id
        self.leave(market, order, Status.EXPIRED_IN_MATCH)
        self.emit_order(
            EventKind.PREVENTED,
            order,
            flags | Flag.LAST,
            price_ticks=price_ticks,
            quantity_steps=steps,
            prevented_match_id=match_id,
            other_order_id=other.order_id,
            other_account=other.account,
        )
        self.report_done(order)

    def decrement(self, market: Market, taker: Order, maker: Order) -> bool:
        """DECREMENT and TRANSFER: both lose the same quantity, and only between two accounts does money follow it."""
        steps = wanted_steps = self.wanted_steps(market, taker, maker)
        is_transfer = self.is_transfer(taker, maker)
        if is_transfer:
            steps = min(wanted_steps, self.payable_steps(market, taker, maker.price_ticks))
            if steps < wanted_steps:
                self.reached["a transfer is cut by free money" if steps else "free money transfers no step"] += 1
        if steps == 0:
            return False
        match_id = market.next_prevented_match_id
        market.next_prevented_match_id += 1
        price_ticks = maker.price_ticks
        quote_units = market.quote_units(price_ticks, steps)
        for order in (taker, maker):
            order.prevented_steps += steps
            order.prevented_match_id = match_id
            if order.is_by_quote:
                order.prevented_quote_units += quote_units
                order.quantity_steps = order.taken_steps
        if is_transfer:
            self.settle(market, taker, maker, steps, quote_units, has_fees=False)
        else:
            self.lock(market, maker, self.units_to_lock(market, maker))
        self.book_changed(market)
        transferred_units = quote_units if is_transfer else 0
        if self.is_satisfied(market, taker, price_ticks):
            self.leave(market, taker, Status.EXPIRED_IN_MATCH)
        self.show_less(market, maker, steps, Status.EXPIRED_IN_MATCH)
        self.emit_prevented(taker, maker, price_ticks, steps, transferred_units, 0)
        self.emit_prevented(maker, taker, price_ticks, steps, transferred_units, Flag.MAKER)
        for order in (maker, taker):
            if order.status == Status.EXPIRED_IN_MATCH:
                self.report_done(order)
        return steps == wanted_steps and taker.status != Status.EXPIRED_IN_MATCH

    def is_transfer(self, taker: Order, maker: Order) -> bool:
        """Whether money moves: both want it, and they are two accounts."""
        both = taker.self_trade_prevention == maker.self_trade_prevention == Mode.TRANSFER
        return both and taker.account != maker.account

    def emit_prevented(
        self, order: Order, other: Order, price_ticks: int, steps: int, quote_units: int, flags: int
    ) -> None:
        if order.status == Status.EXPIRED_IN_MATCH:
            flags |= Flag.LAST
        elif order.price_ticks:
            flags |= Flag.WORKING
        self.emit_order(
            EventKind.PREVENTED,
            order,
            flags,
            price_ticks=price_ticks,
            quantity_steps=steps,
            quote_units=quote_units,
            prevented_match_id=order.prevented_match_id,
            other_order_id=other.order_id,
            other_account=other.account,
        )

    def show_less(self, market: Market, maker: Order, steps: int, last_status: int) -> None:
        """A maker has lost so much of what it shows: it leaves, or an iceberg shows its next part behind the others."""
        if maker.remaining_steps == 0:
            self.leave(market, maker, last_status)
            return
        if not maker.iceberg_steps:
            return
        maker.shown_steps -= steps
        if maker.shown_steps == 0:
            self.show_anew(market, maker)

    def show_anew(self, market: Market, maker: Order) -> None:
        """The next part of an iceberg, at the end of its level."""
        market.side_of(maker).remove(maker)
        maker.shown_steps = min(maker.iceberg_steps, maker.remaining_steps)
        market.join_book(maker)
        self.reached["an iceberg shows its next part"] += 1

    def trade(self, market: Market, taker: Order, maker: Order, steps: int) -> None:
        """One trade at the maker's price: numbers, events, money, and the market's memory of it."""
        price_ticks = maker.price_ticks
        quote_units = market.quote_units(price_ticks, steps)
        for order in (taker, maker):
            order.executed_steps += steps
            order.executed_quote_units += quote_units
            if order.is_by_quote:
                order.quantity_steps = order.taken_steps
        self.settle(market, taker, maker, steps, quote_units)
        self.book_changed(market)
        maker.status = Status.PARTIALLY_FILLED
        self.show_less(market, maker, steps, Status.FILLED)
        if self.is_satisfied(market, taker, price_ticks):
            self.leave(market, taker, Status.FILLED)
        else:
            taker.status = Status.PARTIALLY_FILLED
        self.emit_fill(market, taker, maker, price_ticks, steps, quote_units, 0)
        self.emit_fill(market, maker, taker, price_ticks, steps, quote_units, Flag.MAKER)
        for order in (maker, taker):
            if order.status == Status.FILLED:
                self.report_done(order)
        market.next_trade_id += 1
        self.remember_trade(market, price_ticks, steps)

    def is_satisfied(self, market: Market, taker: Order, price_ticks: int) -> bool:
        if taker.is_by_quote:
            if 0 < taker.remaining_quote_units < market.quote_units(price_ticks, 1):
                self.reached["an order by quote quantity buys no more step"] += 1
            return taker.remaining_quote_units < market.quote_units(price_ticks, 1)
        return taker.remaining_steps == 0

    def settle(
        self, market: Market, taker: Order, maker: Order, steps: int, quote_units: int, has_fees: bool = True
    ) -> None:
        """The taker pays from free, the maker from its lock; both receive to free, less the fee."""
        base_units = steps * market.step_units
        for order in (taker, maker):
            paid_units, received_units = (quote_units, base_units) if order.buys else (base_units, quote_units)
            received_asset = market.base_asset if order.buys else market.quote_asset
            fee_units = self.fee_units(market, order.account, received_units, order is maker) if has_fees else 0
            if order is maker:
                order.locked_units -= paid_units
                self.move(order.account, self.paid_asset(market, order), 0, -paid_units)
            else:
                self.move(order.account, self.paid_asset(market, order), -paid_units)
            self.move(order.account, received_asset, received_units - fee_units)
            self.assets[received_asset].fees_units += fee_units

    def emit_fill(
        self, market: Market, order: Order, other: Order, price_ticks: int, steps: int, quote_units: int, flags: int
    ) -> None:
        if order.status == Status.FILLED:
            flags |= Flag.LAST
        elif order.price_ticks:
            flags |= Flag.WORKING
        received_units = steps * market.step_units if order.buys else quote_units
        self.emit_order(
            EventKind.FILL,
            order,
            flags,
            price_ticks=price_ticks,
            quantity_steps=steps,
            quote_units=quote_units,
            fee_units=self.fee_units(market, order.account, received_units, bool(flags & Flag.MAKER)),
            asset=market.base_asset if order.buys else market.quote_asset,
            trade_id=market.next_trade_id,
            other_order_id=other.order_id,
            other_account=other.account,
        )

    def remember_trade(self, market: Market, price_ticks: int, steps: int) -> None:
        """Last price, average, and the range that triggers."""
        market.last_price_ticks = price_ticks
        if market.average_minutes:
            slot = self.time_ns // 60_000_000_000
            market.slots = {live: [price_steps, sums] for live, price_steps, sums in market.live_slots(self.time_ns)}
            sums = market.slots.setdefault(slot, [0, 0])
            sums[0] += price_ticks * steps
            sums[1] += steps
        low_ticks, high_ticks = market.traded_ticks or (price_ticks, price_ticks)
        market.traded_ticks = min(low_ticks, price_ticks), max(high_ticks, price_ticks)

    def run_triggers(self, market: Market) -> None:
        """Rounds: all that the trades so far have triggered, in order-id order; then what those have triggered."""
        rounds = 0
        while market.traded_ticks:
            low_ticks, high_ticks = market.traded_ticks
            market.traded_ticks = None
            due = [order for order in market.above if order.stop_price_ticks <= high_ticks]
            due += [order for order in market.below if order.stop_price_ticks >= low_ticks]
            for order in due:
                market.trigger_queue_of(order).remove(order)
                order.waits = False
            rounds += bool(due)
            if due and rounds == 2:
                self.reached["a second round of triggers"] += 1
            for order in self.in_trigger_order(due):
                self.trigger(market, order)

    def in_trigger_order(self, due: list[Order]) -> list[Order]:
        return sorted(due, key=lambda order: order.order_id)

    def trigger(self, market: Market, order: Order) -> None:
        self.lock(market, order, 0)
        order.status = Status.NEW
        self.emit_order(EventKind.TRIGGERED, order, Flag.WORKING)
        self.execute(market, order)
        if order in market.side_of(order):
            self.reached["a triggered order rests"] += 1
