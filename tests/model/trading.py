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

PARTS_MAX = 10_000  # of an iceberg, whatever the market says


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
        mode = self.check_by_itself(market, command)
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

    def check_by_itself(self, market: Market, command: Command) -> int:
        """Shape, mode and filters: whatever asks neither the account's other orders nor its money. Gives the mode."""
        self.check_shape(command)
        mode = command.self_trade_prevention or market.self_trade_prevention
        if not market.self_trade_preventions >> (mode - 1) & 1:
            raise Refused(Reject.SELF_TRADE_PREVENTION)
        self.check_filters(market, command)
        return mode

    def check_shape(self, command: Command) -> None:
        """The table of the rules, and what no version has yet."""
        c = command
        good = (
            c.side in (Side.BUY, Side.SELL)
            and OrderType.LIMIT <= c.type <= OrderType.TAKE_PROFIT_LIMIT
            and c.self_trade_prevention <= Mode.TRANSFER
            and c.quantity_steps >= 0
            and c.quote_quantity_units >= 0
            and (c.iceberg_steps == 0 or self.may_hide(c))
            and c.trailing_delta_bips == 0
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

    def may_hide(self, c: Command) -> bool:
        """Whether an order may be an iceberg, and of this size (version 2)."""
        rests = c.type == OrderType.LIMIT_MAKER or (c.type in LIMIT_TYPES and c.time_in_force == TimeInForce.GTC)
        return self.rules >= 2 and rests and 0 < c.iceberg_steps <= c.quantity_steps

    def check_filters(self, market: Market, command: Command) -> None:
        for price_ticks in (command.price_ticks, command.stop_price_ticks):
            if price_ticks and not market.price_ticks_min <= price_ticks <= market.price_ticks_max:
                raise Refused(Reject.PRICE_FILTER)
        self.check_percent_price(market, command)
        quantity_steps = command.quantity_steps
        if quantity_steps:
            self.check_lot(market, quantity_steps)
        if command.iceberg_steps:
            self.check_lot(market, command.iceberg_steps)
            parts = -(-quantity_steps // command.iceberg_steps)
            if parts > min(market.iceberg_parts_max or PARTS_MAX, PARTS_MAX):
                raise Refused(Reject.ICEBERG_PARTS)
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

    def check_percent_price(self, market: Market, command: Command) -> None:
        """A limit price not too far from the average, as its side's multipliers say (version 1: there are none)."""
        if command.side == Side.BUY:
            up_e4, down_e4 = market.bid_multiplier_up_e4, market.bid_multiplier_down_e4
        else:
            up_e4, down_e4 = market.ask_multiplier_up_e4, market.ask_multiplier_down_e4
        average_ticks = market.average_price_ticks(self.time_ns)
        if not command.price_ticks or not average_ticks:
            return
        price_e4 = command.price_ticks * 10**4
        if (up_e4 and price_e4 > average_ticks * up_e4) or (down_e4 and price_e4 < average_ticks * down_e4):
            raise Refused(Reject.PERCENT_PRICE)

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
        if self.rules >= 2:
            self.check_icebergs_and_position(market, command)
        if is_text(command.client_id) and any(order.client_id == command.client_id for order in mine):
            raise Refused(Reject.DUPLICATE_CLIENT_ID)

    def check_icebergs_and_position(self, market: Market, command: Command) -> None:
        """What version 2 counts of an account in a market: its icebergs, and what it has and may come to have."""
        mine = self.orders_of(command.account, command.market).values()
        if command.iceberg_steps and market.iceberg_orders_max:
            icebergs = sum(1 for order in mine if order.iceberg_steps)
            if icebergs >= market.iceberg_orders_max:
                raise Refused(Reject.MAX_NUM_ICEBERG_ORDERS)
        if command.side == Side.BUY and market.position_units_max:
            balance = self.balance(command.account, market.base_asset)
            bought_steps = sum(order.remaining_steps for order in mine if order.buys)
            bought_steps += self.would_buy_steps(market, command)
            held_units = balance.free_units + balance.locked_units
            if held_units + bought_steps * market.step_units > market.position_units_max:
                raise Refused(Reject.MAX_POSITION)

    def would_buy_steps(self, market: Market, command: Command) -> int:
        if command.quote_quantity_units:
            return self.steps_for_quote(market.whole_levels(market.asks), market, command.quote_quantity_units)
        return command.quantity_steps

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
            bids = market.whole_levels(market.bids)
            return self.steps_for_quote(bids, market, command.quote_quantity_units) * market.step_units
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

    def steps_for_quote(self, levels: list[tuple[int, int]], market: Market, quote_quantity_units: int) -> int:
        """How much must be traded with these levels to receive or spend this."""
        traded_steps = 0
        for price_ticks, level_steps in levels:
            steps = min(level_steps, quote_quantity_units // market.quote_units(price_ticks, 1))
            if steps == 0:
                break
            traded_steps += steps
            quote_quantity_units -= market.quote_units(price_ticks, steps)
        return traded_steps

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
            iceberg_steps=command.iceberg_steps,
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
        self.check_cancel_shape(command)
        self.cancel_target(market, command)

    def check_cancel_shape(self, command: Command) -> None:
        self.check_target(command)
        if command.restriction > Restriction.ONLY_PARTIALLY_FILLED:
            raise Refused(Reject.MALFORMED)

    def cancel_target(self, market: Market, command: Command) -> None:
        """Look-up and restriction of a cancel, and then the cancel."""
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

    def check_target(self, command: Command) -> None:
        if not command.order_id and not is_text(command.client_id):
            raise Refused(Reject.MALFORMED)

    def target(self, command: Command) -> Order:
        """The open order that a CANCEL or AMEND means: by its id, by its client id, or by both."""
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
        self.check_target(command)
        order = self.target(command)
        if new_steps == order.quantity_steps:
            raise Refused(Reject.AMEND_NO_CHANGE)
        if new_steps > order.quantity_steps:
            raise Refused(Reject.AMEND_INCREASE)
        if order.amends >= market.amends_max:
            raise Refused(Reject.AMEND_LIMIT)
        if new_steps > order.taken_steps:
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
        if new_steps <= order.taken_steps:
            self.leave(market, order, Status.EXPIRED, Reason.NONE)
            self.emit_order(EventKind.EXPIRED, order, Flag.LAST, remaining_steps=0)
            self.report_done(order)
            return
        self.lock(market, order, self.units_to_lock(market, order))
        if order.waits:
            self.emit_order(EventKind.REPLACED, order)
        else:
            self.shrink_on_book(market, order)
            self.emit_order(EventKind.REPLACED, order, Flag.WORKING)

    def shrink_on_book(self, market: Market, order: Order) -> None:
        """An iceberg that still shows as much changes nothing that anybody sees."""
        if order.iceberg_steps:
            shown_steps = min(order.shown_steps, order.remaining_steps)
            if shown_steps == order.shown_steps:
                self.reached["an iceberg shrinks where nobody sees it"] += 1
                return
            order.shown_steps = shown_steps
        self.book_changed(market)
