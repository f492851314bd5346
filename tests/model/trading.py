# SPDX-License-Identifier: Apache-2.0
"""The twin's order commands: PLACE, CANCEL, CANCEL_ALL, AMEND, every check in the order of RULES.md.

`exchange.py` builds on it. It must never change anything before the last check has passed.
"""

from tests.model.matching import Matching
from tests.model.parts import LIMIT_TYPES, STOP_LIMIT_TYPES, STOP_TYPES, Account, Market, Order, Refused, is_text
from tests.model.records import (
    Command,
    EventKind,
    Flag,
    Mode,
    OrderType,
    Permission,
    Reason,
    Reject,
    Restriction,
    Side,
    State,
    Status,
    TimeInForce,
)


class Trading(Matching):
    """RULES.md "PLACE" and "CANCEL, CANCEL_ALL, AMEND"."""

    def known_account(self, number: int) -> Account:
        if number not in self.accounts:
            raise Refused(Reject.UNKNOWN_ACCOUNT)
        return self.accounts[number]

    def known_market(self, number: int) -> Market:
        if number not in self.markets:
            raise Refused(Reject.UNKNOWN_MARKET)
        return self.markets[number]

    # PLACE.

    def place(self, command: Command) -> None:
        market = self.check_who_and_where(command)
        self.check_shape(command)
        mode = command.self_trade_prevention or market.self_trade_prevention
        if not market.self_trade_preventions >> (mode - 1) & 1:
            raise Refused(Reject.SELF_TRADE_PREVENTION)
        self.check_filters(market, command)
        self.check_limits_of_account(market, command)
        self.check_touch(market, command)
        if self.funds_needed_units(market, command) > self.free_to_pay_units(market, command):
            raise Refused(Reject.INSUFFICIENT_BALANCE)
        if self.open_order_count >= self.orders_max and self.may_rest(command):
            raise Refused(Reject.BOOK_FULL)
        self.accept(market, command, mode)

    def check_who_and_where(self, command: Command) -> Market:
        """Account known, may trade, market known, and open."""
        account = self.known_account(command.account)
        if not account.permissions & Permission.TRADE:
            raise Refused(Reject.ACCOUNT_CLOSED)
        market = self.known_market(command.market)
        if market.state != State.TRADING:
            raise Refused(Reject.MARKET_CLOSED)
        return market

    def check_shape(self, command: Command) -> None:
        """The table of the rules, and what version 1 does not have."""
        c = command
        good = (
            c.side in (Side.BUY, Side.SELL)
            and OrderType.LIMIT <= c.type <= OrderType.TAKE_PROFIT_LIMIT
            and c.self_trade_prevention <= Mode.TRANSFER
            and c.quantity_steps >= 0
            and c.quote_quantity_units >= 0
            and (c.iceberg_steps, c.trailing_delta_bips) == (0, 0)
            and (c.peg_price_type, c.peg_offset_type, c.peg_offset_value) == (0, 0, 0)
        )
        if c.type == OrderType.MARKET:
            good = good and (c.quantity_steps > 0) != (c.quote_quantity_units > 0)
        else:
            good = good and c.quantity_steps > 0 and c.quote_quantity_units == 0
        has_price = c.type in LIMIT_TYPES
        has_stop = c.type in STOP_TYPES
        has_time = c.type == OrderType.LIMIT or c.type in STOP_LIMIT_TYPES
        good = good and (c.price_ticks > 0 if has_price else c.price_ticks == 0)
        good = good and (c.stop_price_ticks > 0 if has_stop else c.stop_price_ticks == 0)
        good = good and (1 <= c.time_in_force <= 3 if has_time else c.time_in_force == TimeInForce.NONE)
        if not good:
            raise Refused(Reject.MALFORMED)

    def check_filters(self, market: Market, command: Command) -> None:
        for price_ticks in (command.price_ticks, command.stop_price_ticks):
            if price_ticks and not market.price_ticks_min <= price_ticks <= market.price_ticks_max:
                raise Refused(Reject.PRICE_FILTER)
        quantity_steps = command.quantity_steps
        if quantity_steps:
            self.check_lot(market, quantity_steps)
        if command.type == OrderType.MARKET and quantity_steps:
            low, high = market.market_quantity_steps_min, market.market_quantity_steps_max
            step = max(market.market_step_steps, 1)
            if not low <= quantity_steps <= high or quantity_steps % step:
                raise Refused(Reject.MARKET_LOT_SIZE)
        if command.type == OrderType.MARKET:
            self.check_notional_of_market_order(market, command)
        else:
            price_ticks = command.price_ticks or command.stop_price_ticks
            self.check_notional(market, market.quote_units(price_ticks, quantity_steps), 3)

    def check_lot(self, market: Market, quantity_steps: int) -> None:
        if not market.quantity_steps_min <= quantity_steps <= market.quantity_steps_max:
            raise Refused(Reject.LOT_SIZE)

    def check_notional_of_market_order(self, market: Market, command: Command) -> None:
        if command.quote_quantity_units:
            self.check_notional(market, command.quote_quantity_units, market.notional_flags)
            return
        average_ticks = market.average_price_ticks(self.time_ns)
        if average_ticks:
            notional_units = market.quote_units(average_ticks, command.quantity_steps)
            self.check_notional(market, notional_units, market.notional_flags)

    def check_notional(self, market: Market, notional_units: int, flags: int) -> None:
        if flags & 1 and notional_units < market.notional_units_min:
            raise Refused(Reject.NOTIONAL)
        if flags & 2 and market.notional_units_max and notional_units > market.notional_units_max:
            raise Refused(Reject.NOTIONAL)

    def check_limits_of_account(self, market: Market, command: Command) -> None:
        mine = self.orders_of(command.account, command.market).values()
        if market.orders_max and len(mine) >= market.orders_max:
            raise Refused(Reject.MAX_NUM_ORDERS)
        if command.type in STOP_TYPES and market.algo_orders_max:
            waiting = sum(1 for order in mine if order.waits)
            if waiting >= market.algo_orders_max:
                raise Refused(Reject.MAX_NUM_ALGO_ORDERS)
        if is_text(command.client_id) and any(order.client_id == command.client_id for order in mine):
            raise Refused(Reject.DUPLICATE_CLIENT_ID)

    def check_touch(self, market: Market, command: Command) -> None:
        """A stop order must not trigger at once, a maker must not take."""
        if command.type in STOP_TYPES and market.last_price_ticks:
            above = (command.side == Side.BUY) == (command.type in (OrderType.STOP_LOSS, OrderType.STOP_LOSS_LIMIT))
            last_ticks, stop_ticks = market.last_price_ticks, command.stop_price_ticks
            if last_ticks >= stop_ticks if above else last_ticks <= stop_ticks:
                raise Refused(Reject.WOULD_TRIGGER)
        if command.type == OrderType.LIMIT_MAKER:
            if command.side == Side.BUY:
                crosses = bool(market.asks) and market.asks[0].price_ticks <= command.price_ticks
            else:
                crosses = bool(market.bids) and market.bids[0].price_ticks >= command.price_ticks
            if crosses:
                raise Refused(Reject.WOULD_MATCH)

    def free_to_pay_units(self, market: Market, command: Command) -> int:
        asset = market.quote_asset if command.side == Side.BUY else market.base_asset
        return self.balance(command.account, asset).free_units

    def funds_needed_units(self, market: Market, command: Command) -> int:
        buys = command.side == Side.BUY
        if command.type != OrderType.MARKET:
            if buys:
                return market.quote_units(command.price_ticks or command.stop_price_ticks, command.quantity_steps)
            return command.quantity_steps * market.step_units
        if command.quote_quantity_units:
            if buys:
                return command.quote_quantity_units
            return self.steps_for_quote(market, command.quote_quantity_units) * market.step_units
        if buys:
            return self.cost_of_taking_units(market, command.quantity_steps)
        return command.quantity_steps * market.step_units

    def cost_of_taking_units(self, market: Market, quantity_steps: int) -> int:
        """What the best sell orders cost, as far as there are any."""
        cost_units = 0
        for maker in market.asks:
            steps = min(maker.remaining_steps, quantity_steps)
            cost_units += market.quote_units(maker.price_ticks, steps)
            quantity_steps -= steps
            if quantity_steps == 0:
                break
        return cost_units

    def steps_for_quote(self, market: Market, quote_quantity_units: int) -> int:
        """How much must be sold to the best buy levels to receive this."""
        sold_steps = 0
        for price_ticks, level_steps in market.levels(market.bids):
            steps = min(level_steps, quote_quantity_units // market.quote_units(price_ticks, 1))
            if steps == 0:
                break
            sold_steps += steps
            quote_quantity_units -= market.quote_units(price_ticks, steps)
        return sold_steps

    def may_rest(self, command: Command) -> bool:
        if command.type == OrderType.MARKET:
            return False
        is_immediate = command.time_in_force in (TimeInForce.IOC, TimeInForce.FOK)
        return command.type in STOP_TYPES or not is_immediate

    def accept(self, market: Market, command: Command, mode: int) -> None:
        order = Order(
            order_id=self.next_order_id,
            account=command.account,
            market=command.market,
            type=command.type,
            side=command.side,
            time_in_force=command.time_in_force,
            self_trade_prevention=mode,
            price_ticks=command.price_ticks,
            stop_price_ticks=command.stop_price_ticks,
            quantity_steps=command.quantity_steps,
            quote_quantity_units=command.quote_quantity_units,
            created_ns=self.time_ns,
            updated_ns=self.time_ns,
            sequence=self.sequence,
            client_id=command.client_id,
            strategy_id=command.strategy_id,
            strategy_type=command.strategy_type,
        )
        self.next_order_id += 1
        if order.type in STOP_TYPES:
            self.emit_order(EventKind.ACCEPTED, order)
            self.open(order)
            self.lock(market, order, self.units_to_lock(market, order))
            order.waits = True
            market.join_triggers(order)
            return
        self.emit_order(EventKind.ACCEPTED, order, Flag.WORKING)
        self.execute(market, order)
        self.run_triggers(market)

    # CANCEL, CANCEL_ALL, AMEND.

    def cancel(self, command: Command) -> None:
        market = self.check_may_cancel(command)
        if command.restriction > Restriction.ONLY_PARTIALLY_FILLED:
            raise Refused(Reject.MALFORMED)
        order = self.target(command)
        is_new = order.executed_steps == 0
        if command.restriction == Restriction.ONLY_NEW and not is_new:
            raise Refused(Reject.CANCEL_RESTRICTED)
        if command.restriction == Restriction.ONLY_PARTIALLY_FILLED and is_new:
            raise Refused(Reject.CANCEL_RESTRICTED)
        self.cancel_one(market, order)

    def cancel_all(self, command: Command) -> None:
        market = self.check_may_cancel(command)
        mine = self.orders_of(command.account, command.market)
        if not mine:
            raise Refused(Reject.UNKNOWN_ORDER)
        for order in sorted(mine.values(), key=lambda order: order.order_id):
            self.cancel_one(market, order)

    def check_may_cancel(self, command: Command) -> Market:
        self.known_account(command.account)
        market = self.known_market(command.market)
        if market.state == State.HALT:
            raise Refused(Reject.MARKET_CLOSED)
        return market

    def cancel_one(self, market: Market, order: Order) -> None:
        flags = Flag.LAST if order.waits else Flag.LAST | Flag.WORKING
        self.leave(market, order, Status.CANCELED)
        self.emit_order(EventKind.CANCELED, order, flags)
        self.report_done(order)

    def target(self, command: Command) -> Order:
        """The open order that a CANCEL or AMEND means: by its id, by its client id, or by both."""
        if not command.order_id and not is_text(command.client_id):
            raise Refused(Reject.MALFORMED)
        for order in self.orders_of(command.account, command.market).values():
            if command.order_id and order.order_id != command.order_id:
                continue
            if is_text(command.client_id) and order.client_id != command.client_id:
                continue
            return order
        raise Refused(Reject.UNKNOWN_ORDER)

    def amend(self, command: Command) -> None:
        market = self.check_who_and_where(command)
        new_steps = command.quantity_steps
        if new_steps <= 0:
            raise Refused(Reject.MALFORMED)
        order = self.target(command)
        if new_steps == order.quantity_steps:
            raise Refused(Reject.AMEND_NO_CHANGE)
        if new_steps > order.quantity_steps:
            raise Refused(Reject.AMEND_INCREASE)
        if order.amends >= market.amends_max:
            raise Refused(Reject.AMEND_LIMIT)
        if new_steps > order.executed_steps:
            self.check_lot(market, new_steps)
            price_ticks = order.price_ticks or order.stop_price_ticks
            self.check_notional(market, market.quote_units(price_ticks, new_steps), 3)
        mine = self.orders_of(command.account, command.market).values()
        if is_text(command.other_client_id):
            for other in mine:
                if other is not order and other.client_id == command.other_client_id:
                    raise Refused(Reject.DUPLICATE_CLIENT_ID)
        self.replace(market, order, command)

    def replace(self, market: Market, order: Order, command: Command) -> None:
        new_steps = command.quantity_steps
        order.amends += 1
        if is_text(command.other_client_id):
            order.client_id = command.other_client_id
        order.quantity_steps = new_steps
        if new_steps <= order.executed_steps:
            self.leave(market, order, Status.EXPIRED, Reason.NONE)
            self.emit_order(EventKind.EXPIRED, order, Flag.LAST, remaining_steps=0)
            self.report_done(order)
            return
        self.lock(market, order, self.units_to_lock(market, order))
        if order.waits:
            self.emit_order(EventKind.REPLACED, order)
        else:
            self.book_changed(market)
            self.emit_order(EventKind.REPLACED, order, Flag.WORKING)
