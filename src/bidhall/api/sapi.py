# SPDX-License-Identifier: Apache-2.0
"""The few /sapi answers that let ccxt and python-binance start with their defaults: stubs with nothing behind them.

Who calls it: the lane.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bidhall.protocol import account_answers, endpoints
from bidhall.protocol.errors import invalid_symbol
from bidhall.protocol.numbers import fixed

if TYPE_CHECKING:
    from bidhall.api.access import Gate
    from bidhall.api.lane import Lane, Request
    from bidhall.api.trading import Trading


class Stubs:
    """The handlers of /sapi."""

    def __init__(self, gate: Gate, lane: Lane, trading: Trading) -> None:
        self.replica = gate.replica
        self.registry = gate.replica.registry
        self.trading = trading
        lane.add(endpoints.SAPI_SYSTEM_STATUS, self.status, reads=False, weight=1)
        for endpoint in (
            endpoints.SAPI_COINS,
            endpoints.SAPI_MARGIN_PAIRS,
            endpoints.SAPI_ISOLATED_PAIRS,
            endpoints.SAPI_DELIST_SCHEDULE,
        ):
            lane.add(endpoint, self.nothing, reads=False, weight=1)
        lane.add(endpoints.SAPI_TRADE_FEE, self.trade_fee, weight=1)
        lane.add(endpoints.SAPI_USER_ASSETS, self.user_assets, weight=1)

    def status(self, request: Request) -> bytes:
        """GET /sapi/v1/system/status"""
        return b'{"status":0,"msg":"normal"}'

    def nothing(self, request: Request) -> bytes:
        """What this exchange has none of."""
        return b"[]"

    def trade_fee(self, request: Request) -> bytes:
        """GET /sapi/v1/asset/tradeFee"""
        if "symbol" in request.values:
            market = self.registry.markets.get(request.values["symbol"])
            if market is None:
                raise invalid_symbol()
            markets = [market]
        else:
            markets = list(self.registry.markets.values())
        rows = []
        for market in markets:
            maker_e8, taker_e8 = self.trading.commission(market, request.account)
            maker, taker = fixed(maker_e8), fixed(taker_e8)
            rows.append(f'{{"symbol":"{market.json}","makerCommission":"{maker}","takerCommission":"{taker}"}}')
        return ("[" + ",".join(rows) + "]").encode()

    def user_assets(self, request: Request) -> bytes:
        """POST /sapi/v3/asset/getUserAsset"""
        balances = self.replica.exchange.balances(request.account)
        return account_answers.user_assets(balances, self.registry.assets, request.values.get("asset"))
