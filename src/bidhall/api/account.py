# SPDX-License-Identifier: Apache-2.0
"""Signed reads: the account, its commission, its order count, its orders and fills.

Who calls it: the lane, after the signature was checked and the replica is fresh. Balances and open orders come from the
kernel, done orders and fills from memory and, where that is no proof, from the history (`past.py`). What may never
happen here: another account's order in an answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bidhall.api.public import bounds
from bidhall.protocol import account_answers, endpoints, order_answers
from bidhall.protocol.errors import no_such_order, wrong_client_id

if TYPE_CHECKING:
    from bidhall.api.access import Gate
    from bidhall.api.lane import Lane, Request
    from bidhall.api.past import Past
    from bidhall.api.trading import Trading
    from bidhall.core.records import OrderRow
    from bidhall.core.views import Fill
    from bidhall.protocol.markets import Market


class AccountReads:
    """The handlers of GET requests about one account."""

    def __init__(self, gate: Gate, lane: Lane, trading: Trading, past: Past) -> None:
        self.replica = gate.replica
        self.past = past
        self.registry = gate.replica.registry
        self.limits = gate.limits
        self.trading = trading
        lane.add(endpoints.ACCOUNT, self.account, weight=20)
        lane.add(endpoints.COMMISSION, self.commission, weight=20)
        lane.add(endpoints.ORDER_RATE, self.order_rate, weight=40)
        lane.add(endpoints.ORDER_GET, self.order, weight=4)
        lane.add(endpoints.OPEN_ORDERS_GET, self.open_orders)
        lane.add(endpoints.ALL_ORDERS, self.all_orders, weight=20)
        lane.add(endpoints.MY_TRADES, self.my_trades)

    def account(self, request: Request) -> bytes:
        """GET /account"""
        exchange = self.replica.exchange
        account = request.account
        return account_answers.account(
            account,
            exchange.account(account),
            exchange.balances(account),
            self.registry.assets,
            self.replica.time_ns,
            request.unit_ns,
            omit_zero=bool(request.values.get("omitZeroBalances")),
        )

    def commission(self, request: Request) -> bytes:
        """GET /account/commission"""
        market = self.trading.market(request)
        maker_e8, taker_e8 = self.trading.commission(market, request.account)
        return account_answers.commission(market, maker_e8, taker_e8)

    def order_rate(self, request: Request) -> bytes:
        """GET /rateLimit/order"""
        return account_answers.order_rate(self.limits.order_limits_used(request.account, request.now_ns))

    def order(self, request: Request) -> bytes | None:
        """GET /order"""
        values = request.values
        market = self.trading.market(request)
        order_id, client_id = values.get("orderId", 0), values.get("origClientOrderId", "").encode()
        if not order_id and "orderId" in values:
            raise no_such_order()
        key = b"" if order_id else client_id
        row = self.replica.order(request.account, market.id, order_id, key)
        if row is None:
            return self.past.order(
                request, market.id, order_id, key, lambda found: self._order(request, market, found, client_id)
            )
        return self._order(request, market, row, client_id)

    def _order(self, request: Request, market: Market, row: OrderRow | None, client_id: bytes) -> bytes:
        if row is None:
            raise no_such_order()
        if client_id and row.client_id.rstrip(b"\0") != client_id:
            raise wrong_client_id()
        return order_answers.order(market, row, request.unit_ns)

    def open_orders(self, request: Request) -> bytes:
        """GET /openOrders, of one market or of all"""
        if "symbol" in request.values:
            market = self.trading.market(request)
            found = self.replica.open_orders(request.account, market.id)
            return order_answers.page(market, found, request.unit_ns)
        markets = self.registry.market_by_id
        found = self.replica.open_orders(request.account)
        return order_answers.orders(((markets[row.market], row) for row in found), request.unit_ns)

    def all_orders(self, request: Request) -> bytes | None:
        """GET /allOrders"""
        values = request.values
        market = self.trading.market(request)
        start_ns, end_ns = bounds(values)

        def build(found: list[OrderRow]) -> bytes:
            return order_answers.page(market, found, request.unit_ns)

        from_id = values.get("orderId", -1)
        return self.past.all_orders(request, market.id, values["limit"], from_id, start_ns, end_ns, build)

    def my_trades(self, request: Request) -> bytes | None:
        """GET /myTrades"""
        values = request.values
        market = self.trading.market(request)
        order_id, from_id = values.get("orderId", 0), values.get("fromId", -1)
        start_ns, end_ns = bounds(values)

        def build(found: list[Fill]) -> bytes:
            return account_answers.my_trades(market, found, self.registry.assets, request.unit_ns)

        if "orderId" in values and not order_id:
            return build([])
        return self.past.fills(request, market.id, values["limit"], from_id, order_id, start_ns, end_ns, build)
