# SPDX-License-Identifier: Apache-2.0
"""The plain Python reference: an order book in a page, the yardstick that every speed ratio is stated against.

Used by the flow generator (it knows which orders live) and by the gates (trades must agree, cost is the unit). It has
no accounts, funds or rules on purpose, and must stay as simple as it is: ratios of years ago refer to it.
"""

from collections import deque
from heapq import heappop, heappush

Order = list[int]  # id, remaining quantity, price, 1 for a sell else 0
Trade = tuple[int, int, int, int]  # price, quantity, maker's id, taker's id


class PlainBook:
    """Price, then time; integers only. An order that is gone stays in its queue with quantity 0 until it is met."""

    def __init__(self) -> None:
        self.orders: dict[int, Order] = {}
        self._levels: tuple[dict[int, deque[Order]], dict[int, deque[Order]]] = ({}, {})
        self._prices: tuple[list[int], list[int]] = ([], [])  # heaps: bids negated

    def best(self, side: int) -> int:
        """Best price of the bids (0) or asks (1); 0 when that side is empty."""
        heap, levels = self._prices[side], self._levels[side]
        while heap:
            price = heap[0] if side else -heap[0]
            queue = levels[price]
            while queue and not queue[0][1]:
                queue.popleft()
            if queue:
                return price
            del levels[price]
            heappop(heap)
        return 0

    def limit(self, order_id: int, side: int, price: int, quantity: int, trades: list[Trade]) -> None:
        """A limit order; what is left of it rests."""
        other = 1 - side
        while quantity and (best := self.best(other)) and (best <= price if other else best >= price):
            quantity = self._take(other, best, quantity, order_id, trades)
        if quantity:
            self._rest([order_id, quantity, price, side])

    def market(self, order_id: int, side: int, quantity: int, trades: list[Trade]) -> None:
        """A market order; what the book lacks is dropped."""
        other = 1 - side
        while quantity and (best := self.best(other)):
            quantity = self._take(other, best, quantity, order_id, trades)

    def cancel(self, order_id: int) -> bool:
        """Takes an order off; False when it does not rest."""
        order = self.orders.pop(order_id, None)
        if order is None:
            return False
        order[1] = 0
        return True

    def _take(self, other: int, price: int, quantity: int, taker: int, trades: list[Trade]) -> int:
        queue = self._levels[other][price]
        while queue and quantity:
            order = queue[0]
            traded = min(quantity, order[1])
            if traded:
                trades.append((price, traded, order[0], taker))
                quantity -= traded
                order[1] -= traded
            if not order[1]:
                queue.popleft()
                self.orders.pop(order[0], None)
        return quantity

    def _rest(self, order: Order) -> None:
        order_id, _, price, side = order
        queue = self._levels[side].get(price)
        if queue is None:
            queue = self._levels[side][price] = deque()
            heappush(self._prices[side], price if side else -price)
        queue.append(order)
        self.orders[order_id] = order
