# SPDX-License-Identifier: Apache-2.0
"""What must be true of a server that came back, judged by the ledger of its clients.

Used by the tests of tests/chaos after every restart. It must never accept a difference as small: amounts are decimals
and compared exactly.
"""

import asyncio
import json
from collections import Counter, defaultdict
from decimal import Decimal
from typing import Any

from benchmarks.wire import Answer, HttpConnection
from tests.chaos.traders import NAMES, SYMBOL, Ledger, Request, sign
from tests.serving import ServerProcess

FUNDS = {"BTC": Decimal(1000), "USDT": Decimal(100_000_000), "ETH": Decimal(10_000)}
RETRIES = 60
Orders = dict[str, dict[str, Any]]


class Judge:
    """Asks the restarted server everything and compares."""

    def __init__(self, connection: HttpConnection) -> None:
        self._connection = connection

    @classmethod
    async def at(cls, server: ServerProcess) -> "Judge":
        """Connects."""
        return cls(await HttpConnection.open(server.host, server.port))

    def close(self) -> None:
        """Leaves."""
        self._connection.close()

    async def ask(self, name: str, path: str, parameters: str) -> Any:
        """A signed read; must be answered 200."""
        answer = await self._connection.ask(sign(name, "GET", path, parameters))
        assert answer.status == 200, (path, parameters, answer)
        return json.loads(answer.body)

    async def retry(self, ledger: Ledger) -> int:
        """The very same bytes again: what was answered is answered the same; the rest is settled now. How many."""
        known = [request for request in ledger.requests[-400:] if request.is_known][-RETRIES:]
        lost = ledger.unsettled()
        answers = await asyncio.gather(*(self._connection.ask(request.wire) for request in [*known, *lost]))
        for request, answer in zip(known, answers, strict=False):
            assert _same(request.answer, answer), (request, answer)
        for request, answer in zip(lost, answers[len(known) :], strict=True):
            assert answer.status in (200, 400), (request, answer)
            request.answer = answer
        return len(lost)

    async def check(self, ledger: Ledger) -> None:
        """Every promise that a client can see."""
        orders = {name: await self._all_orders(name) for name in NAMES}
        for name, found in orders.items():
            self._once(name, found)
        by_client = {name: {order["clientOrderId"]: order for order in found} for name, found in orders.items()}
        for request in ledger.placed():
            _is_there(request, by_client[request.name])
        for request in ledger.canceled():
            order = by_client[request.name][request.client_id]
            assert order["status"] == "CANCELED", (request, order)
            assert order["executedQty"] == request.body["executedQty"]
        for request in ledger.requests:
            if request.method == "POST" and request.is_refused:
                assert request.client_id not in by_client[request.name], f"refused, and there: {request}"
        sent = {(request.name, request.client_id) for request in ledger.requests if request.method == "POST"}
        assert {(name, client_id) for name, known in by_client.items() for client_id in known} <= sent
        trades = {name: await self._all_trades(name) for name in NAMES}
        _fills_are_trades(ledger, trades)
        await self._money(orders, trades)

    async def _all_orders(self, name: str) -> list[dict[str, Any]]:
        return await self._pages(name, "allOrders", "orderId", "orderId")

    async def _all_trades(self, name: str) -> list[dict[str, Any]]:
        return await self._pages(name, "myTrades", "fromId", "id")

    async def _pages(self, name: str, path: str, parameter: str, key: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        start = 0
        while True:
            page = await self.ask(name, path, f"symbol={SYMBOL}&{parameter}={start}&limit=1000")
            found += page
            if len(page) < 1000:
                return found
            start = page[-1][key] + 1

    def _once(self, name: str, orders: list[dict[str, Any]]) -> None:
        ids = Counter(order["orderId"] for order in orders)
        clients = Counter(order["clientOrderId"] for order in orders)
        assert max(ids.values(), default=1) == 1, (name, ids.most_common(3))
        assert max(clients.values(), default=1) == 1, (name, clients.most_common(3))

    async def _money(self, orders: dict[str, list[dict[str, Any]]], trades: dict[str, list[dict[str, Any]]]) -> None:
        """Each account holds what it was given and traded, to the last unit; what is locked is what its orders need."""
        fees: dict[str, Decimal] = defaultdict(Decimal)
        held: dict[str, Decimal] = defaultdict(Decimal)
        for name in NAMES:
            expected = defaultdict(Decimal, FUNDS)
            for trade in trades[name]:
                sign_of = 1 if trade["isBuyer"] else -1
                expected["BTC"] += sign_of * Decimal(trade["qty"])
                expected["USDT"] -= sign_of * Decimal(trade["quoteQty"])
                expected[trade["commissionAsset"]] -= Decimal(trade["commission"])
                fees[trade["commissionAsset"]] += Decimal(trade["commission"])
            locked: dict[str, Decimal] = defaultdict(Decimal)
            for order in orders[name]:
                if order["status"] in ("NEW", "PARTIALLY_FILLED"):
                    rest = Decimal(order["origQty"]) - Decimal(order["executedQty"])
                    buys = order["side"] == "BUY"
                    locked["USDT" if buys else "BTC"] += rest * (Decimal(order["price"]) if buys else 1)
            account = await self.ask(name, "account", "")
            for balance in account["balances"]:
                asset, free, frozen = balance["asset"], Decimal(balance["free"]), Decimal(balance["locked"])
                assert free + frozen == expected[asset], (name, asset, free, frozen, expected[asset])
                assert frozen == locked[asset], (name, asset, frozen, locked[asset])
                held[asset] += free + frozen
        for asset, each in FUNDS.items():
            assert held[asset] + fees[asset] == each * len(NAMES), (asset, held[asset], fees[asset])


def _same(first: Answer | None, again: Answer) -> bool:
    if first is None or first.status != again.status:
        return False
    return bool(json.loads(first.body) == json.loads(again.body))


def _is_there(request: Request, orders: Orders) -> None:
    acknowledged, order = request.body, orders.get(request.client_id)
    assert order is not None, f"an acknowledged order is gone: {request}"
    assert order["orderId"] == acknowledged["orderId"], (request, order)
    for name in ("price", "origQty", "side", "type", "timeInForce"):
        assert order[name] == acknowledged[name], (request, order)
    assert Decimal(order["executedQty"]) >= Decimal(acknowledged["executedQty"]), (request, order)


def _fills_are_trades(ledger: Ledger, trades: dict[str, list[dict[str, Any]]]) -> None:
    """Each acknowledged fill is a trade of that account, and every trade has its two sides."""
    known = {name: {trade["id"]: trade for trade in found} for name, found in trades.items()}
    for request in ledger.placed():
        for fill in request.body["fills"]:
            trade = known[request.name][fill["tradeId"]]
            assert (trade["price"], trade["qty"], trade["isMaker"]) == (fill["price"], fill["qty"], False)
    sides: dict[int, list[tuple[bool, str, str]]] = defaultdict(list)
    for found in trades.values():
        for trade in found:
            sides[trade["id"]].append((trade["isBuyer"], trade["price"], trade["qty"]))
    for trade_id, two in sides.items():
        assert len(two) == 2, (trade_id, two)
        assert {side[0] for side in two} == {True, False}
        assert two[0][1:] == two[1][1:]
