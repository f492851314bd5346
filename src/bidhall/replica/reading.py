# SPDX-License-Identifier: Apache-2.0
"""Questions about orders that the kernel (open ones) and the views (done ones) answer together.

Called by the replica for the doors. Nothing here changes anything.
"""

from collections.abc import Iterator

from bidhall.core.exchange import Exchange
from bidhall.core.records import OrderRow
from bidhall.core.views import Views
from bidhall.replica.outcome import order_rows


def order(
    exchange: Exchange, views: Views, account: int, market: int, order_id: int, client_id: bytes
) -> OrderRow | None:
    """By id, or by client id: the open one that has it, else the newest done one that had it."""
    if not order_id and client_id:
        order_id = exchange.find(account, market, client_id)
        if not order_id:
            return _first(views.done_by_client(account, market, client_id))
    if not order_id:
        return None
    found = _first(exchange.order(order_id).tobytes()) or _first(views.done_order(order_id))
    if found is None or found.account != account or found.market != market:
        return None
    return found


def _first(data: bytes) -> OrderRow | None:
    return order_rows(data)[0] if data else None


def open_orders(exchange: Exchange, account: int, market: int) -> list[OrderRow]:
    """Ascending by id."""
    return order_rows(exchange.open_orders(account, market).tobytes())


def all_orders(
    exchange: Exchange, views: Views, account: int, market: int, limit: int, from_id: int, start_ns: int, end_ns: int
) -> list[OrderRow]:
    """Open and done together."""
    if limit <= 0:
        return []
    done = order_rows(views.done_orders(account, market, limit, from_id, start_ns, end_ns))
    rows = [*done, *_within(open_orders(exchange, account, market), from_id, start_ns, end_ns)]
    rows.sort(key=lambda row: row.order_id)
    return rows[:limit] if from_id >= 0 or start_ns >= 0 else rows[-limit:]


def _within(rows: list[OrderRow], from_id: int, start_ns: int, end_ns: int) -> Iterator[OrderRow]:
    for row in rows:
        if row.order_id >= from_id and row.created_ns >= start_ns and (end_ns < 0 or row.created_ns <= end_ns):
            yield row
