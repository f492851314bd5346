# SPDX-License-Identifier: Apache-2.0
"""Broken twins again: one planted fault each in what version 2 added.

`test_canaries.py` lets them take the kernel's place; the comparison must catch every one, or it proves nothing. They
must never be imported by anything else.
"""

from tests.model import ModelExchange
from tests.model.parts import Market, Order, Refused
from tests.model.records import Command, EventKind, MarketCommand, Mode, OrderType, Permission, Reject, Side


class NextPartKeepsItsPlace(ModelExchange):
    """An iceberg shows its next part where the last one was."""

    def show_anew(self, market: Market, maker: Order) -> None:
        maker.shown_steps = min(maker.iceberg_steps, maker.remaining_steps)


class SecondPartHidesNothing(ModelExchange):
    """Once its first part is used up an iceberg shows the rest."""

    def show_anew(self, market: Market, maker: Order) -> None:
        super().show_anew(market, maker)
        maker.shown_steps = maker.remaining_steps


class RestsWithEverythingShown(ModelExchange):
    """An iceberg hides nothing at first."""

    def rest(self, market: Market, order: Order) -> None:
        super().rest(market, order)
        if order.iceberg_steps:
            order.shown_steps = order.remaining_steps


class TradesTakeWhatHides(ModelExchange):
    """A trade takes all that an iceberg has."""

    def wanted_steps(self, market: Market, taker: Order, maker: Order) -> int:
        shown_steps = maker.shown_steps
        maker.shown_steps = maker.remaining_steps
        wanted = super().wanted_steps(market, taker, maker)
        maker.shown_steps = max(shown_steps, wanted) if maker.iceberg_steps else 0
        return wanted


class FokCountsWhatShows(ModelExchange):
    """A FOK sees no more than anybody."""

    def fillable_steps(self, market: Market, order: Order) -> int:
        hidden = sum(
            maker.remaining_steps - maker.visible_steps
            for maker in market.opposite_of(order)
            if market.is_crossed_by(order, maker)
        )
        return super().fillable_steps(market, order) - hidden


class FokCountsWhatHidesBehindItsOwn(ModelExchange):
    """What icebergs hide counts before an own order of their level."""

    def fillable_steps(self, market: Market, order: Order) -> int:
        shown = [(maker, maker.shown_steps) for maker in market.opposite_of(order) if maker.iceberg_steps]
        for maker, _ in shown:
            maker.shown_steps = maker.remaining_steps
        try:
            return super().fillable_steps(market, order)
        finally:
            for maker, steps in shown:
                maker.shown_steps = steps


class FokForgetsDecrement(ModelExchange):
    """A FOK in mode DECREMENT or TRANSFER counts its own orders."""

    def fillable_steps(self, market: Market, order: Order) -> int:
        mode = order.self_trade_prevention
        if mode in (Mode.DECREMENT, Mode.TRANSFER):
            order.self_trade_prevention = Mode.NONE
        try:
            return super().fillable_steps(market, order)
        finally:
            order.self_trade_prevention = mode


class FundsCountWhatShows(ModelExchange):
    """A market order's cost is counted from what the book shows."""

    def cost_of_taking_units(self, market: Market, quantity_steps: int) -> int:
        cost_units = 0
        for maker in market.asks:
            steps = min(maker.visible_steps, quantity_steps)
            cost_units += market.quote_units(maker.price_ticks, steps)
            quantity_steps -= steps
        return cost_units


class GroupsAreStrangers(ModelExchange):
    """Only the same account is own."""

    def is_own(self, order: Order, other: Order) -> bool:
        return order.account == other.account


class GroupZeroIsAGroup(ModelExchange):
    """Who has no group belongs together."""

    def is_own(self, order: Order, other: Order) -> bool:
        groups = {self.accounts[one.account].trade_group for one in (order, other)}
        return super().is_own(order, other) or (self.rules >= 2 and groups == {0})


class GroupsFromTheStart(ModelExchange):
    """Version 1 asks for the trade group too."""

    def is_own(self, order: Order, other: Order) -> bool:
        groups = [self.accounts[one.account].trade_group for one in (order, other)]
        return order.account == other.account or (groups[0] == groups[1] != 0)


class DecrementKeepsTheLock(ModelExchange):
    """A decremented maker holds what it held."""

    def decrement(self, market: Market, taker: Order, maker: Order) -> bool:
        before = maker.locked_units
        goes_on = super().decrement(market, taker, maker)
        if maker.locked_units and maker.account != taker.account:
            free_units = self.balance(maker.account, self.paid_asset(market, maker)).free_units
            self.lock(market, maker, min(before, maker.locked_units + free_units))
        return goes_on


class DecrementEndsTheMatching(ModelExchange):
    """One meeting is enough."""

    def decrement(self, market: Market, taker: Order, maker: Order) -> bool:
        super().decrement(market, taker, maker)
        return False


class DecrementTakesTwoNumbers(ModelExchange):
    """Each side of a meeting has its number."""

    def emit_prevented(self, order: Order, other: Order, *rest: int) -> None:
        if rest[-1]:
            order.prevented_match_id = market_id = order.prevented_match_id + 1
            self.markets[order.market].next_prevented_match_id = market_id + 1
        super().emit_prevented(order, other, *rest)


class QuoteTakerForgetsWhatWasPrevented(ModelExchange):
    """What a taker by quote quantity lost to its own orders can be spent again."""

    def decrement(self, market: Market, taker: Order, maker: Order) -> bool:
        goes_on = super().decrement(market, taker, maker)
        taker.prevented_quote_units = 0
        return goes_on


class DecrementHidesWhatItTook(ModelExchange):
    """No visible change of the book."""

    def decrement(self, market: Market, taker: Order, maker: Order) -> bool:
        before = market.update_id, market.changed_at
        goes_on = super().decrement(market, taker, maker)
        market.update_id, market.changed_at = before
        return goes_on


class TransfersHaveFees(ModelExchange):
    """A transfer is charged as a trade."""

    def settle(self, market: Market, taker: Order, maker: Order, steps: int, quote_units: int, **_: bool) -> None:
        super().settle(market, taker, maker, steps, quote_units)


class TransfersAskTheTakerOnly(ModelExchange):
    """The maker's mode is not looked at."""

    def is_transfer(self, taker: Order, maker: Order) -> bool:
        return taker.self_trade_prevention == Mode.TRANSFER and taker.account != maker.account


class TransfersWithinOneAccount(ModelExchange):
    """One account transfers to itself."""

    def is_transfer(self, taker: Order, maker: Order) -> bool:
        return taker.self_trade_prevention == maker.self_trade_prevention == Mode.TRANSFER


class TransfersMoveNothing(ModelExchange):
    """TRANSFER is DECREMENT."""

    def is_transfer(self, taker: Order, maker: Order) -> bool:
        return False


class TransfersAreTrades(ModelExchange):
    """A transfer makes a last price."""

    def decrement(self, market: Market, taker: Order, maker: Order) -> bool:
        price_ticks, before = maker.price_ticks, taker.prevented_steps
        goes_on = super().decrement(market, taker, maker)
        if self.is_transfer(taker, maker) and taker.prevented_steps > before:
            self.remember_trade(market, price_ticks, taker.prevented_steps - before)
        return goes_on


class TransfersNeedNoMoney(ModelExchange):
    """A transfer takes what is wanted, covered or not."""

    def payable_steps(self, market: Market, taker: Order, price_ticks: int) -> int:
        maker = market.opposite_of(taker)[0]
        if taker.self_trade_prevention == Mode.TRANSFER and self.is_own(taker, maker):
            return 2**63
        return super().payable_steps(market, taker, price_ticks)


class AmendShowsAWholePart(ModelExchange):
    """An amended iceberg shows as much as it may."""

    def shrink_on_book(self, market: Market, order: Order) -> None:
        super().shrink_on_book(market, order)
        if order.iceberg_steps:
            order.shown_steps = min(order.iceberg_steps, order.remaining_steps)


class AmendOfWhatHidesIsSeen(ModelExchange):
    """Any amend on the book is a visible change."""

    def shrink_on_book(self, market: Market, order: Order) -> None:
        super().shrink_on_book(market, order)
        self.book_changed(market)


class AmendForgetsWhatWasPrevented(ModelExchange):
    """The new quantity is compared with what is executed only, and the order leaves too late or not at all."""

    def replace(self, market: Market, order: Order, command: Command) -> None:
        if order.executed_steps < command.quantity_steps <= order.taken_steps:
            raise Refused(Reject.AMEND_INCREASE)
        super().replace(market, order, command)


class PercentPriceSwapsSides(ModelExchange):
    """A buyer is measured by the sellers' multipliers."""

    def check_percent_price(self, market: Market, command: Command) -> None:
        super().check_percent_price(market, command._replace(side=3 - command.side))


class PercentPriceOfStops(ModelExchange):
    """A stop price is measured too."""

    def check_percent_price(self, market: Market, command: Command) -> None:
        price_ticks = command.price_ticks or command.stop_price_ticks
        super().check_percent_price(market, command._replace(price_ticks=price_ticks))


class PercentPriceOfTheLastPrice(ModelExchange):
    """The last price is taken for the average."""

    def check_percent_price(self, market: Market, command: Command) -> None:
        minutes, market.average_minutes = market.average_minutes, 0
        slots, market.slots = market.slots, {}
        try:
            super().check_percent_price(market, command)
        finally:
            market.average_minutes, market.slots = minutes, slots


class PartsRoundDown(ModelExchange):
    """A last part that is smaller does not count."""

    def check_filters(self, market: Market, command: Command) -> None:
        most = market.iceberg_parts_max
        uneven = command.iceberg_steps and command.quantity_steps % command.iceberg_steps
        market.iceberg_parts_max += 1 if most and uneven else 0
        try:
            super().check_filters(market, command)
        finally:
            market.iceberg_parts_max = most


class WaitingIcebergsAreNone(ModelExchange):
    """MAX_NUM_ICEBERG_ORDERS counts what rests."""

    def check_icebergs_and_position(self, market: Market, command: Command) -> None:
        most = market.iceberg_orders_max
        mine = self.orders_of(command.account, command.market).values()
        market.iceberg_orders_max += sum(1 for order in mine if order.waits and order.iceberg_steps) if most else 0
        try:
            super().check_icebergs_and_position(market, command)
        finally:
            market.iceberg_orders_max = most


class PositionsForgetTheOrderItself(ModelExchange):
    """MAX_POSITION looks at what there is already."""

    def would_buy_steps(self, market: Market, command: Command) -> int:
        return 0


class PositionsCountWhatShows(ModelExchange):
    """MAX_POSITION of a quote quantity does not see what hides."""

    def would_buy_steps(self, market: Market, command: Command) -> int:
        if command.quote_quantity_units:
            return self.steps_for_quote(market.levels(market.asks), market, command.quote_quantity_units)
        return super().would_buy_steps(market, command)


class PositionsForgetWaitingOrders(ModelExchange):
    """MAX_POSITION counts the buys that rest."""

    def check_icebergs_and_position(self, market: Market, command: Command) -> None:
        most = market.position_units_max
        mine = self.orders_of(command.account, command.market).values()
        waiting_steps = sum(order.remaining_steps for order in mine if order.waits and order.buys)
        market.position_units_max += waiting_steps * market.step_units if most else 0
        try:
            super().check_icebergs_and_position(market, command)
        finally:
            market.position_units_max = most


class TriggeredStopsCountNoPosition(ModelExchange):
    """MAX_POSITION is for LIMIT and MARKET only."""

    def check_icebergs_and_position(self, market: Market, command: Command) -> None:
        if command.type in (OrderType.LIMIT, OrderType.MARKET) or command.side == Side.SELL:
            super().check_icebergs_and_position(market, command)


class KillSparesWhatWaits(ModelExchange):
    """Stops stay where they are."""

    def kill(self, command: Command) -> None:
        spared = [(orders, dict(orders)) for (owner, _), orders in self.open_orders.items() if owner == command.account]
        for orders, before in spared:
            for number, order in before.items():
                if order.waits:
                    del orders[number]
        try:
            super().kill(command)
        finally:
            for orders, before in spared:
                orders.update({number: order for number, order in before.items() if order.waits})


class KillIsMarketByMarket(ModelExchange):
    """Orders leave by market, then by id."""

    def kill(self, command: Command) -> None:
        if command.market or command.account not in self.accounts or command.restriction:
            super().kill(command)
            return
        first = len(self.events)
        super().kill(command)
        leaving = self.events[first + 1 :]
        self.events[first + 1 :] = sorted(leaving, key=lambda event: event.market)


class KillLeavesThePermission(ModelExchange):
    """Restriction 1 does what 0 does."""

    def kill(self, command: Command) -> None:
        account = self.accounts.get(command.account)
        before = account.permissions if account else 0
        super().kill(command)
        if account:
            account.permissions = before


class KillTakesEveryPermission(ModelExchange):
    """Restriction 1 closes the account for money too."""

    def kill(self, command: Command) -> None:
        super().kill(command)
        if command.restriction:
            self.accounts[command.account].permissions &= ~(Permission.TRADE | Permission.DEPOSIT)


class KillTellsOneTop(ModelExchange):
    """Only the first market that a KILL touched is told."""

    def kill(self, command: Command) -> None:
        super().kill(command)
        touched = [market for market in self.markets.values() if market.changed_at == self.sequence]
        for market in touched[1:]:
            market.shown_top = market.top()


class ReplaceCancelsFirst(ModelExchange):
    """The new order is looked at when the old one is gone."""

    def cancel_and_replace(self, first: Command) -> None:
        second = self.second
        if self.rules < 2 or second is None:
            super().cancel_and_replace(first)
            return
        market = self.check_who_and_where(second)
        self.check_cancel_shape(first)
        self.is_place_wanted = bool(first.flags & 1)
        self.cancel_target(market, first)
        self.is_place_wanted = True


class ReplaceAlwaysPlaces(ModelExchange):
    """The new order is tried whatever became of the old one."""

    def cancel_and_replace(self, first: Command) -> None:
        super().cancel_and_replace(first._replace(flags=1))


class ReplaceNeverAllowsFailure(ModelExchange):
    """ALLOW_FAILURE is not looked at."""

    def cancel_and_replace(self, first: Command) -> None:
        super().cancel_and_replace(first._replace(flags=0))


class ReplaceReadsAllFlags(ModelExchange):
    """Any flag allows failure."""

    def cancel_and_replace(self, first: Command) -> None:
        super().cancel_and_replace(first._replace(flags=int(first.flags != 0)))


class RepeatedReplacesPlaceAgain(ModelExchange):
    """What is repeated is not done again, but for the new order."""

    def follow_replace(self, command: Command) -> None:
        if self.events and self.events[-1].kind == EventKind.REPEATED:
            self.is_place_wanted = True
        super().follow_replace(command)


class ReplaceForgetsItsRestriction(ModelExchange):
    """A REPLACE cancels whatever has traded or not."""

    def cancel_and_replace(self, first: Command) -> None:
        super().cancel_and_replace(first._replace(restriction=first.restriction if first.restriction > 2 else 0))


class RulesGoDown(ModelExchange):
    """Version 1 can come back."""

    def activate_rules(self, command: Command) -> None:
        if command.order_id == 1:
            self.rules = 1
        super().activate_rules(command)


class RulesOfTheNewest(ModelExchange):
    """CONFIGURE's version is not looked at."""

    def configure(self, *command: object) -> None:
        super().configure(*command)  # type: ignore[arg-type]
        self.rules = 2


class MultipliersWaitForVersion2(ModelExchange):
    """What a market of version 1 had in their place comes into force."""

    def create_market(self, c: MarketCommand) -> None:
        super().create_market(c)
        market = self.markets[len(self.markets)]
        market.bid_multiplier_up_e4 = c.bid_multiplier_up_e4
        market.ask_multiplier_up_e4 = c.ask_multiplier_up_e4

    def check_percent_price(self, market: Market, command: Command) -> None:
        if self.rules >= 2:
            super().check_percent_price(market, command)


CANARIES = [canary for canary in ModelExchange.__subclasses__() if canary.__module__ == __name__]
