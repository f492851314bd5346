# SPDX-License-Identifier: Apache-2.0
"""Broken twins: each has one planted fault of the kind that real matching engines have had.

`test_canaries.py` lets them take the kernel's place; the comparison must catch every one, or it proves nothing. They
must never be imported by anything else.
"""

from dataclasses import replace

from tests.model import ModelExchange
from tests.model.parts import Account, Market, Order
from tests.model.records import Command, Event, EventKind, Mode, Reason, Status, TimeInForce


class FifoIsBroken(ModelExchange):
    """A new order goes before the others of its price."""

    def rest(self, market: Market, order: Order) -> None:
        super().rest(market, order)
        side = market.side_of(order)
        side.remove(order)
        same = [other for other in side if other.price_ticks == order.price_ticks]
        side.insert(side.index(same[0]) if same else self.place_of(market, order), order)

    def place_of(self, market: Market, order: Order) -> int:
        side = market.side_of(order)
        return sum(1 for other in side if market.is_crossed_by(replace(order, side=3 - order.side), other))


class PartFillLosesItsPlace(ModelExchange):
    """A partly filled maker goes to the end of its queue."""

    def trade(self, market: Market, taker: Order, maker: Order, steps: int) -> None:
        super().trade(market, taker, maker, steps)
        if maker.status == Status.PARTIALLY_FILLED:
            market.side_of(maker).remove(maker)
            market.join_book(maker)


class AmendLosesItsPlace(ModelExchange):
    """An amended order goes to the end of its queue."""

    def replace(self, market: Market, order: Order, command: Command) -> None:
        super().replace(market, order, command)
        if order in market.side_of(order):
            market.side_of(order).remove(order)
            market.join_book(order)


class TakersPrice(ModelExchange):
    """Trades happen at the taker's limit."""

    def trade(self, market: Market, taker: Order, maker: Order, steps: int) -> None:
        price_ticks = maker.price_ticks
        maker.price_ticks = taker.price_ticks or price_ticks
        super().trade(market, taker, maker, steps)
        maker.price_ticks = price_ticks


class FeesRoundUp(ModelExchange):
    """A fee of a fraction is a whole unit."""

    def fee_units(self, market: Market, account: int, received_units: int, is_maker: bool) -> int:
        owner = self.accounts[account]
        rate_e8 = owner.maker_rate_e8 if is_maker else owner.taker_rate_e8
        if rate_e8 == -1:
            rate_e8 = market.maker_rate_e8 if is_maker else market.taker_rate_e8
        return -(-received_units * rate_e8 // 10**8)


class MakerPaysTheTakersFee(ModelExchange):
    """One rate for both sides."""

    def fee_units(self, market: Market, account: int, received_units: int, is_maker: bool) -> int:
        return super().fee_units(market, account, received_units, False)


class StopsByPrice(ModelExchange):
    """Triggered orders start in the order of their stop prices."""

    def in_trigger_order(self, due: list[Order]) -> list[Order]:
        return sorted(due, key=lambda order: order.stop_price_ticks)


class OneRoundOfStops(ModelExchange):
    """What triggered orders trade triggers nothing."""

    def run_triggers(self, market: Market) -> None:
        if market.traded_ticks:
            super().run_triggers(market)

    def trigger(self, market: Market, order: Order) -> None:
        super().trigger(market, order)
        market.traded_ticks = None


class StopsOneTickLate(ModelExchange):
    """A stop wants a price beyond its own."""

    def run_triggers(self, market: Market) -> None:
        if market.traded_ticks:
            low_ticks, high_ticks = market.traded_ticks
            market.traded_ticks = low_ticks + 1, high_ticks - 1
        super().run_triggers(market)


class FokForgetsSelfTradePrevention(ModelExchange):
    """A FOK counts its own orders as if it could take them."""

    def fillable_steps(self, market: Market, order: Order) -> int:
        return super().fillable_steps(market, replace(order, self_trade_prevention=Mode.NONE))


class FokIsIoc(ModelExchange):
    """A FOK takes what there is."""

    def fillable_steps(self, market: Market, order: Order) -> int:
        return 2**63


class IocRests(ModelExchange):
    """What an IOC leaves stays on the book."""

    def expire(self, market: Market, order: Order, reason: int) -> None:
        if reason == Reason.UNFILLED_IOC:
            self.rest(market, order)
        else:
            super().expire(market, order, reason)


class ExpireBothSparesTheMaker(ModelExchange):
    """EXPIRE_BOTH does what EXPIRE_TAKER does."""

    def prevent(self, market: Market, taker: Order, maker: Order) -> bool:
        if taker.self_trade_prevention != Mode.EXPIRE_BOTH:
            return super().prevent(market, taker, maker)
        taker.self_trade_prevention = Mode.EXPIRE_TAKER
        goes_on = super().prevent(market, taker, maker)
        taker.self_trade_prevention = Mode.EXPIRE_BOTH
        return goes_on


class MakersModeCounts(ModelExchange):
    """Self-trade prevention asks the resting order."""

    def match(self, market: Market, taker: Order) -> None:
        opposite = market.opposite_of(taker)
        mode = taker.self_trade_prevention
        if opposite and opposite[0].account == taker.account:
            taker.self_trade_prevention = opposite[0].self_trade_prevention
        super().match(market, taker)
        taker.self_trade_prevention = mode


class LockIsKept(ModelExchange):
    """A canceled order's money stays locked."""

    def leave(self, market: Market, order: Order, status: int, reason: int = 0) -> None:
        if status == Status.CANCELED:
            order.locked_units = 0
        super().leave(market, order, status, reason)


class AmendKeepsTheLock(ModelExchange):
    """An amended order holds what it held."""

    def units_to_lock(self, market: Market, order: Order) -> int:
        return order.locked_units or super().units_to_lock(market, order)


class LockAtTheLimitOnly(ModelExchange):
    """What a buyer saves by a better price is not looked at: a little more is locked than needed."""

    def rest(self, market: Market, order: Order) -> None:
        super().rest(market, order)
        if order.executed_steps and order.buys:
            free = self.balance(order.account, market.quote_asset).free_units
            saved = market.quote_units(order.price_ticks, order.executed_steps) - order.executed_quote_units
            self.lock(market, order, order.locked_units + min(saved, free))


class DuplicateClientIds(ModelExchange):
    """Client ids are not looked at."""

    def check_limits_of_account(self, market: Market, command: Command) -> None:
        super().check_limits_of_account(market, command._replace(client_id=bytes(36)))


class OneOrderTooMany(ModelExchange):
    """MAX_NUM_ORDERS is off by one."""

    def check_limits_of_account(self, market: Market, command: Command) -> None:
        market.orders_max += 1 if market.orders_max else 0
        try:
            super().check_limits_of_account(market, command)
        finally:
            market.orders_max -= 1 if market.orders_max else 0


class MakersMayTakeTheirOwn(ModelExchange):
    """LIMIT_MAKER does not see the account's own orders."""

    def check_touch(self, market: Market, command: Command) -> None:
        bids, asks = market.bids, market.asks
        market.bids = [order for order in bids if order.account != command.account]
        market.asks = [order for order in asks if order.account != command.account]
        try:
            super().check_touch(market, command)
        finally:
            market.bids, market.asks = bids, asks


class AnybodyCancels(ModelExchange):
    """An order id is enough to cancel."""

    def cancel(self, command: Command) -> None:
        for (account, market), orders in self.open_orders.items():
            if command.order_id in orders and market == command.market and command.account in self.accounts:
                command = command._replace(account=account)
        super().cancel(command)


class BookFullLate(ModelExchange):
    """One order more than the book may hold."""

    def may_rest(self, command: Command) -> bool:
        return super().may_rest(command) and self.open_order_count > self.orders_max


class MarketBuyForFree(ModelExchange):
    """A market order by quantity needs no money to be accepted."""

    def cost_of_taking_units(self, market: Market, quantity_steps: int) -> int:
        return 0


class QuoteOrderIsNeverSatisfied(ModelExchange):
    """A quote quantity must be spent to the last unit."""

    def is_satisfied(self, market: Market, taker: Order, price_ticks: int) -> bool:
        if taker.is_by_quote:
            return taker.remaining_quote_units == 0
        return super().is_satisfied(market, taker, price_ticks)


class AverageOfOneMinuteMore(ModelExchange):
    """The average price looks back one minute too far."""

    def check_notional_of_market_order(self, market: Market, command: Command) -> None:
        market.average_minutes += 1
        try:
            super().check_notional_of_market_order(market, command)
        finally:
            market.average_minutes -= 1

    def check_percent_price(self, market: Market, command: Command) -> None:
        market.average_minutes += 1
        try:
            super().check_percent_price(market, command)
        finally:
            market.average_minutes -= 1

    def remember_trade(self, market: Market, price_ticks: int, steps: int) -> None:
        market.average_minutes += 1
        super().remember_trade(market, price_ticks, steps)
        market.average_minutes -= 1


class UpdateIdPerLevel(ModelExchange):
    """Every level that changes counts."""

    def book_changed(self, market: Market) -> None:
        market.changed_at = self.sequence
        market.update_id += 1


class BatchesAgain(ModelExchange):
    """A writer's batch that comes again is applied again."""

    def apply(
        self,
        commands: bytes,
        log_time_ns: int = 0,
        writer_time_ns: int = 0,
        writer: bytes | None = None,
        number: int = 0,
    ) -> list[Event] | None:
        if writer in self.writers and number == self.writers[writer]:
            self.writers[writer] -= 1
        return super().apply(commands, log_time_ns, writer_time_ns, writer, number)


class WrongWriterForgotten(ModelExchange):
    """The writer that came first leaves, not the one that is silent the longest."""

    def hear(self, writer: bytes, number: int) -> None:
        if writer in self.writers:
            self.writers[writer] = number
        else:
            super().hear(writer, number)


class RefusalsAreForgotten(ModelExchange):
    """Only what was done is remembered under its digest."""

    def pass_gate(self, raw: bytes, command: Command) -> None:
        super().pass_gate(raw, command)
        if self.events[-1].kind == EventKind.REJECTED and self.digests.get(command.digest, (0,))[0] == self.sequence:
            del self.digests[command.digest]


class DeadlineOneTooSoon(ModelExchange):
    """A command at its deadline is late."""

    def pass_gate(self, raw: bytes, command: Command) -> None:
        if command.deadline_ns and self.time_ns == command.deadline_ns:
            command = command._replace(deadline_ns=self.time_ns - 1)
        super().pass_gate(raw, command)


class TimeGoesBack(ModelExchange):
    """The stamps are believed."""

    def forget_digests(self) -> None:
        super().forget_digests()
        self.time_ns -= self.time_ns % 1000


class WithdrawsWhatIsLocked(ModelExchange):
    """All of a balance can be withdrawn."""

    def withdraw(self, command: Command) -> None:
        account: Account | None = self.accounts.get(command.account)
        balance = account.balances.get(command.market) if account else None
        if balance and balance.free_units < command.quote_quantity_units <= balance.free_units + balance.locked_units:
            balance.locked_units -= command.quote_quantity_units - balance.free_units
            balance.free_units = command.quote_quantity_units
        super().withdraw(command)


class TriggersTakeNoExecutionId(ModelExchange):
    """TRIGGERED is no execution."""

    def trigger(self, market: Market, order: Order) -> None:
        self.next_execution_id -= 1
        super().trigger(market, order)


class LimitMakerIsGone(ModelExchange):
    """LIMIT_MAKER expires like an IOC."""

    def rest(self, market: Market, order: Order) -> None:
        if order.type == 3 and order.time_in_force == TimeInForce.NONE:
            self.expire(market, order, Reason.UNFILLED_IOC)
        else:
            super().rest(market, order)


CANARIES = [canary for canary in ModelExchange.__subclasses__() if canary.__module__ == __name__]
