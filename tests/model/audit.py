# SPDX-License-Identifier: Apache-2.0
"""What must hold after every command: conservation of money, and the shape of every book.

`ModelExchange.audit` calls it. It must never repair anything.
"""

from typing import TYPE_CHECKING

from tests.model.parts import Broken, Market

if TYPE_CHECKING:
    from tests.model.exchange import ModelExchange


def audit(exchange: "ModelExchange") -> None:
    """Raises Broken with what is wrong."""
    for number, asset in exchange.assets.items():
        balances = [account.balances[number] for account in exchange.accounts.values() if number in account.balances]
        if any(balance.free_units < 0 or balance.locked_units < 0 for balance in balances):
            raise Broken(f"asset {number}: a balance is negative")
        held = sum(balance.free_units + balance.locked_units for balance in balances)
        if held + asset.fees_units != asset.supply_units or not 0 <= asset.supply_units <= 2**62:
            raise Broken(f"asset {number}: {held} + {asset.fees_units} is not {asset.supply_units}")
    for market in exchange.markets.values():
        audit_market(exchange, market)
    audit_locks(exchange)


def audit_market(exchange: "ModelExchange", market: Market) -> None:
    if market.bids and market.asks and market.bids[0].price_ticks >= market.asks[0].price_ticks:
        raise Broken(f"market {market.id}: crossed")
    for name, sign in (("bids", -1), ("asks", 1)):
        side = getattr(market, name)
        if [sign * order.price_ticks for order in side] != sorted(sign * order.price_ticks for order in side):
            raise Broken(f"market {market.id}: {name} out of order")
    for name, sign in (("above", 1), ("below", -1)):
        keys = [(sign * order.stop_price_ticks, order.order_id) for order in getattr(market, name)]
        if keys != sorted(keys):
            raise Broken(f"market {market.id}: {name} out of order")
    queued = [*market.bids, *market.asks, *market.above, *market.below]
    held = [orders for (_, number), orders in exchange.open_orders.items() if number == market.id]
    opened = [order for orders in held for order in orders.values()]
    if {id(order) for order in queued} != {id(order) for order in opened} or len(queued) != len(opened):
        raise Broken(f"market {market.id}: queues and open orders differ")
    for order in queued:
        if order.remaining_steps <= 0 or order.locked_units != exchange.units_to_lock(market, order):
            raise Broken(f"order {order.order_id}: remaining {order.remaining_steps}, locked {order.locked_units}")
        if order.iceberg_steps and not order.waits:
            if not 1 <= order.shown_steps <= min(order.iceberg_steps, order.remaining_steps):
                raise Broken(f"order {order.order_id}: shows {order.shown_steps} of {order.remaining_steps}")
        elif order.shown_steps:
            raise Broken(f"order {order.order_id}: shows {order.shown_steps}, and is no iceberg on the book")


def audit_locks(exchange: "ModelExchange") -> None:
    """What an account has locked is what its open orders hold."""
    locked: dict[tuple[int, int], int] = {}
    for (account, number), orders in exchange.open_orders.items():
        market = exchange.markets[number]
        for order in orders.values():
            key = account, exchange.paid_asset(market, order)
            locked[key] = locked.get(key, 0) + order.locked_units
    for number, account in exchange.accounts.items():
        for asset, balance in account.balances.items():
            if balance.locked_units != locked.get((number, asset), 0):
                raise Broken(f"account {number}, asset {asset}: {balance.locked_units} locked")
    if exchange.open_order_count != sum(len(orders) for orders in exchange.open_orders.values()):
        raise Broken("the number of open orders is wrong")
