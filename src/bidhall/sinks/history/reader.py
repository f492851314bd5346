# SPDX-License-Identifier: Apache-2.0
"""What the history is asked: pages of an account's orders and fills, single orders, trades, candles.

Blocking; called through `History`, which runs it in a thread of its own. Every question is one read transaction and is
answered with the cursor it was read at. The rows are those of `bidhall.core.views`, so that the doors build the same
answers of them. While the history is behind, a spill may hold newer orders and fills: its rows are joined in, and the
cursor says how far the two together reach. It must never write, and never wait for who writes.

Times of orders and trades never go back as their ids grow, so a time is found by bisecting the ids: a dozen look-ups,
and no index to be kept for it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import orjson

from bidhall.core.records import TEXT_BYTES, OrderRow
from bidhall.replica.amendments import Amendment
from bidhall.replica.prevention import PreventedMatch
from bidhall.sinks.history import schema
from bidhall.sinks.history.klines import klines
from bidhall.sinks.history.store import read_meta, told
from bidhall.sinks.interface import Cursor, SinkDamaged, SinkFault

if TYPE_CHECKING:
    from bidhall.core.views import AggTrade, Candle, Fill, Trade

Row = TypeVar("Row", bound=tuple[Any, ...])
ID_MAX: Final = (1 << 63) - 1
BUSY_SECONDS: Final = 0.5

_ORDER: Final = (
    "order_id, type, side, time_in_force, self_trade_prevention, status, reason, amends, price_ticks, "
    "stop_price_ticks, quantity_steps, executed_steps, executed_quote_units, quote_quantity_units, created_ns, "
    "updated_ns, working_ns, sequence, client_id, extra"
)
_FILL: Final = (
    "order_id, trade_id, time_ns, price_ticks, quantity_steps, fee_units, is_buyer, is_maker"
)
_PREVENTED: Final = (
    "market, prevented_match_id, taker_order_id, taker_account, maker_order_id, maker_account, trade_group, mode, "
    "price_ticks, taker_steps, maker_steps, quote_units, time_ns"
)
_AMENDMENT: Final = (
    "account, market, order_id, execution_id, old_client_id, new_client_id, old_steps, new_steps, time_ns"
)
_AGGREGATE: Final = (
    "aggregate_id, min(trade_id), max(trade_id), min(time_ns), min(price_ticks), sum(quantity_steps), "
    "min(buyer_is_maker)"
)


class HistoryUnavailable(Exception):
    """The history cannot be read now; the text says why."""


class Spill(NamedTuple):
    """A second file, which holds what came after `begin`."""

    path: Path
    begin: Cursor


class Reader:
    """See above. All parameters mean what they mean in `Views`."""

    def __init__(self, path: Path, *, cache_bytes: int = 8 << 20) -> None:
        self.path: Final = path
        self.spill: Spill | None = None  # set by who fills it
        self.generation = 0  # grows when the file is another one under the same name; by who writes it
        self._cache_bytes: Final = cache_bytes
        self._connections: Final[dict[Path, sqlite3.Connection]] = {}
        self._opened = 0  # the generation of the connections

    # --- orders and fills -------------------------------------------------------------------------------------------

    def order(self, account: int, market: int, order_id: int) -> tuple[Cursor, OrderRow | None]:
        """A done order, or None."""
        text = f"SELECT {_ORDER} FROM orders WHERE account = ? AND market = ? AND order_id = ?"
        cursor, found = self._ask(lambda connection: connection.execute(text, (account, market, order_id)).fetchall())
        return cursor, _orders(found.all, account, market)[0] if found.all else None

    def order_by_client(self, account: int, market: int, client_id: bytes) -> tuple[Cursor, OrderRow | None]:
        """The done order that had this client id last, or None."""
        key = schema.text_of(client_id.rstrip(b"\0"))
        text = (
            f"SELECT {_ORDER} FROM orders WHERE account = ? AND market = ? AND client_id = ? "
            "ORDER BY sequence DESC, order_id DESC LIMIT 1"
        )
        cursor, found = self._ask(lambda connection: connection.execute(text, (account, market, key)).fetchall())
        orders = _orders(found.all, account, market)
        return cursor, max(orders, key=lambda order: (order.sequence, order.order_id)) if orders else None

    def orders(
        self, account: int, market: int, limit: int, from_id: int = -1, start_ns: int = -1, end_ns: int = -1
    ) -> tuple[Cursor, list[OrderRow]]:
        """A page of an account's done orders of a market, ascending by id; times are those of their making."""
        table = _Table("orders", "order_id", "created_ns", "account = ? AND market = ?", (account, market))
        page = _Page(limit, from_id, start_ns, end_ns)
        cursor, found = self._ask(lambda connection: table.page(connection, _ORDER, page))
        return cursor, _orders(page.merged(found, lambda row: row[0]), account, market)

    def fills(
        self, account: int, market: int, limit: int, from_id: int = -1, order_id: int = 0, start_ns: int = -1,
        end_ns: int = -1,
    ) -> tuple[Cursor, list[Fill]]:  # fmt: skip
        """A page of an account's fills of a market, of one order if given, ascending by trade id."""
        page = _Page(limit, from_id, start_ns, end_ns)
        if order_id:
            table = _Table(
                "fills INDEXED BY fills_by_order", "trade_id", "time_ns",
                "order_id = ? AND account = ? AND market = ?", (order_id, account, market), ", is_maker",
            )  # fmt: skip
        else:
            table = _Table(
                "fills", "trade_id", "time_ns", "account = ? AND market = ?", (account, market), ", is_maker"
            )
        cursor, found = self._ask(lambda connection: table.page(connection, _FILL, page))
        return cursor, [_fill(row) for row in page.merged(found, lambda row: (row[1], row[7]))]

    def fills_of_order(self, order_id: int) -> tuple[Cursor, list[Fill]]:
        """All of an order's, ascending."""
        text = f"SELECT {_FILL} FROM fills INDEXED BY fills_by_order WHERE order_id = ? ORDER BY trade_id, is_maker"
        cursor, found = self._ask(lambda connection: connection.execute(text, (order_id,)).fetchall())
        return cursor, [_fill(row) for row in sorted(set(found.all), key=lambda row: (row[1], row[7]))]

    def prevented(
        self, account: int, market: int, limit: int = 500, prevented_match_id: int = 0, order_id: int = 0,
        from_id: int = -1,
    ) -> tuple[Cursor, list[PreventedMatch]]:  # fmt: skip
        """The account's prevented matches of a market, ascending by id: one of them, or those of an order, or all."""
        text = f"SELECT {_PREVENTED} FROM prevented WHERE account = ? AND market = ? AND prevented_match_id >= ?"
        values: list[int] = [account, market, max(from_id, prevented_match_id)]
        if prevented_match_id:
            text += " AND prevented_match_id <= ?"
            values.append(prevented_match_id)
        if order_id:
            text += " AND (taker_order_id = ? OR maker_order_id = ?)"
            values += [order_id, order_id]
        text += " ORDER BY prevented_match_id LIMIT ?"
        cursor, found = self._ask(lambda connection: connection.execute(text, (*values, limit)).fetchall())
        ordered = sorted(set(found.all), key=lambda row: row[1])[:limit]
        return cursor, [PreventedMatch._make(row) for row in ordered]

    def amendments(
        self, account: int, market: int, order_id: int, limit: int = 500, from_execution_id: int = -1
    ) -> tuple[Cursor, list[Amendment]]:
        """What amends changed of an order, ascending by execution id."""
        text = (
            f"SELECT {_AMENDMENT} FROM amendments WHERE account = ? AND market = ? AND order_id = ? "
            "AND execution_id >= ? ORDER BY execution_id LIMIT ?"
        )
        values = (account, market, order_id, from_execution_id, limit)
        cursor, found = self._ask(lambda connection: connection.execute(text, values).fetchall())
        ordered = sorted(set(found.all), key=lambda row: row[3])[:limit]
        return cursor, [Amendment(*row[:4], *map(schema.bytes_of, row[4:6]), *row[6:]) for row in ordered]

    # --- markets ----------------------------------------------------------------------------------------------------

    def trades(self, market: int, limit: int = 500, from_id: int = -1) -> tuple[Cursor, list[Trade]]:
        """A market's trades: the oldest from an id on, or the newest; ascending."""
        table = _Table("trades", "trade_id", "time_ns", "market = ?", (market,))
        page = _Page(limit, from_id, -1, -1)
        columns = "trade_id, time_ns, price_ticks, quantity_steps, buyer_is_maker"
        cursor, rows = self._ask_history(lambda connection: table.page(connection, columns, page))
        return cursor, [(*row[:4], row[4] != 0) for row in (rows if page.oldest else reversed(rows))]

    def agg_trades(
        self, market: int, limit: int = 500, from_id: int = -1, start_ns: int = -1, end_ns: int = -1
    ) -> tuple[Cursor, list[AggTrade]]:
        """A market's aggregate trades, ascending; their ids are those of the views."""

        def query(connection: sqlite3.Connection) -> list[Any]:
            table = _Table("trades", "trade_id", "time_ns", "market = ?", (market,))
            low, high = table.bounds(connection, _Page(limit, -1, start_ns, end_ns))
            first = table.value_at(connection, "aggregate_id", low)
            last = table.value_before(connection, "aggregate_id", high)
            if first is None or last is None or limit <= 0:
                return []
            first = max(first, from_id)
            if from_id >= 0 or start_ns >= 0:
                last = min(last, first + limit - 1)
            else:
                first = max(first, last - limit + 1)
            if first > last:
                return []
            low = table.first(connection, "aggregate_id", first, low, high)
            high = table.first(connection, "aggregate_id", last + 1, low, high)
            return connection.execute(
                f"SELECT {_AGGREGATE} FROM trades WHERE market = ? AND trade_id >= ? AND trade_id < ? "
                "GROUP BY aggregate_id ORDER BY aggregate_id",
                (market, low, high),
            ).fetchall()

        cursor, rows = self._ask_history(query)
        return cursor, [(*row[:6], row[6] != 0) for row in rows]

    def candles(
        self, market: int, interval: str, limit: int, start_ns: int = -1, end_ns: int = -1, offset_s: int = 0
    ) -> tuple[Cursor, list[Candle]]:
        """Rows of `Views.klines`, without holes, from the first trade ever to where the history is."""
        with _Reading(self) as (cursor, connection):
            return cursor, klines(connection, market, interval, limit, cursor.time_ns, start_ns, end_ns, offset_s)

    def cursor(self) -> Cursor:
        """How far history and spill reach now."""
        return self._ask(lambda connection: [])[0]

    # --- connections ------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Gives up its connections; the next question opens new ones."""
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()

    def connection(self, path: Path) -> sqlite3.Connection:
        """A connection that cannot write."""
        if self._opened != self.generation:
            self._opened = self.generation
            self.close()
        found = self._connections.get(path)
        if found is None:
            uri = f"{path.absolute().as_uri()}?mode=ro"
            found = sqlite3.connect(
                uri, uri=True, isolation_level=None, check_same_thread=False, timeout=BUSY_SECONDS,
                cached_statements=64,
            )  # fmt: skip
            self._connections[path] = found
            found.execute(f"PRAGMA cache_size={-(self._cache_bytes >> 10)}")
            found.execute("PRAGMA cell_size_check=ON")
        return found

    def forget(self, path: Path) -> None:
        """Of a file that is gone or put aside."""
        connection = self._connections.pop(path, None)
        if connection is not None:
            connection.close()

    def _ask_history(self, query: Callable[[sqlite3.Connection], list[Any]]) -> tuple[Cursor, list[Any]]:
        with _Reading(self) as (cursor, connection):
            return cursor, query(connection)

    def _ask(self, query: Callable[[sqlite3.Connection], list[Any]]) -> tuple[Cursor, _Found]:
        """Of both files. The spill first: should it end meanwhile, then the history has all that was in it."""
        spill = self.spill
        spilled: list[Any] = []
        reached: Cursor | None = None
        if spill is not None:
            try:
                with _Reading(self, spill.path) as (reached, connection):
                    spilled = query(connection)
            except (HistoryUnavailable, SinkDamaged):
                reached = None
                self.forget(spill.path)
        cursor, rows = self._ask_history(query)
        if spill is not None and reached is not None and cursor.position >= spill.begin.position:
            cursor = max(cursor, reached)
        return cursor, _Found(rows, spilled)


class _Reading:
    """One read transaction."""

    def __init__(self, reader: Reader, path: Path | None = None) -> None:
        self._reader, self._path = reader, path or reader.path

    def __enter__(self) -> tuple[Cursor, sqlite3.Connection]:
        try:
            if not self._path.exists():
                self._reader.forget(self._path)
                raise HistoryUnavailable(f"{self._path.name} is not there")
            connection = self._reader.connection(self._path)
            connection.execute("BEGIN")
            return read_meta(connection)[1], connection
        except (sqlite3.Error, SinkDamaged) as error:
            self._reader.forget(self._path)
            raise self._told(error) from error

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        try:
            self._reader.connection(self._path).rollback()
        except sqlite3.Error:
            self._reader.forget(self._path)
        if isinstance(error, sqlite3.Error):
            self._reader.forget(self._path)
            raise self._told(error) from error

    def _told(self, error: Exception) -> Exception:
        found = told(error, self._path)
        return HistoryUnavailable(str(found)) if isinstance(found, SinkFault) else found


class _Found(NamedTuple):
    """Rows of the history, and of the spill where there is one."""

    rows: list[Any]
    spilled: list[Any]

    @property
    def all(self) -> list[Any]:
        return self.rows + self.spilled if self.spilled else self.rows


class _Page(NamedTuple):
    """From a lower bound the oldest, else the newest."""

    limit: int
    from_id: int
    start_ns: int
    end_ns: int

    @property
    def oldest(self) -> bool:
        return self.from_id >= 0 or self.start_ns >= 0

    def merged(self, found: _Found, key: Callable[[Any], Any]) -> list[Any]:
        """The page, ascending, of rows of one or two files."""
        if not found.spilled:
            return found.rows if self.oldest else found.rows[::-1]
        unique = sorted({key(row): row for row in found.all}.items())
        cut = unique[: self.limit] if self.oldest else unique[max(len(unique) - self.limit, 0) :]
        return [row for _, row in cut]


class _Table(NamedTuple):
    """A part of a table in which ids and times grow together."""

    name: str
    id: str
    time: str
    where: str
    values: tuple[int, ...]
    tie: str = ""

    def page(self, connection: sqlite3.Connection, columns: str, page: _Page) -> list[Any]:
        if page.limit <= 0:
            return []
        low, high = self.bounds(connection, page)
        down = "" if page.oldest else " DESC"
        order = f"{self.id}{down}{self.tie}{down if self.tie else ''}"
        return connection.execute(
            f"SELECT {columns} FROM {self.name} WHERE {self.where} AND {self.id} >= ? AND {self.id} < ? "
            f"ORDER BY {order} LIMIT ?",
            (*self.values, low, high, page.limit),
        ).fetchall()

    def bounds(self, connection: sqlite3.Connection, page: _Page) -> tuple[int, int]:
        """Ids from the first to before the second lie in the page's bounds."""
        low, high = max(page.from_id, 0), ID_MAX
        if page.start_ns < 0 and page.end_ns < 0:
            return low, high
        newest = self.value_before(connection, self.id, ID_MAX)
        high = (newest or 0) + 1
        if page.start_ns >= 0:
            low = self.first(connection, self.time, page.start_ns, low, high)
        if 0 <= page.end_ns < (self.value_before(connection, self.time, ID_MAX) or 0):
            high = self.first(connection, self.time, page.end_ns + 1, low, high)
        return low, high

    def first(self, connection: sqlite3.Connection, column: str, least: int, low: int, high: int) -> int:
        """The lowest id from low on whose column, which grows with the id, is at least so much; high if none."""
        text = (
            f"SELECT {self.id}, {column} FROM {self.name} WHERE {self.where} AND {self.id} >= ? AND {self.id} < ? "
            f"ORDER BY {self.id} LIMIT 1"
        )
        while low < high:
            middle = (low + high) // 2
            row = connection.execute(text, (*self.values, middle, high)).fetchone()
            if row is None or row[1] >= least:
                high = middle
            else:
                low = row[0] + 1
        return low

    def value_at(self, connection: sqlite3.Connection, column: str, low: int) -> int | None:
        """The column of the first row from low on."""
        text = f"SELECT {column} FROM {self.name} WHERE {self.where} AND {self.id} >= ? ORDER BY {self.id} LIMIT 1"
        row = connection.execute(text, (*self.values, low)).fetchone()
        return None if row is None else int(row[0])

    def value_before(self, connection: sqlite3.Connection, column: str, high: int) -> int | None:
        """The column of the last row before high."""
        text = f"SELECT {column} FROM {self.name} WHERE {self.where} AND {self.id} < ? ORDER BY {self.id} DESC LIMIT 1"
        row = connection.execute(text, (*self.values, high)).fetchone()
        return None if row is None else int(row[0])


def _orders(rows: Iterable[Any], account: int, market: int) -> list[OrderRow]:
    """Rows of `_ORDER`; client ids zero padded, as the kernel's own."""
    make, pad, orders = tuple.__new__, schema.bytes_of, []
    for (
        order_id, kind, side, time_in_force, prevention, status, reason, amends, price, stop, quantity, executed, quote,
        quote_quantity, created, updated, working, sequence, client_id, extra,
    ) in rows:  # fmt: skip
        order = make(
            OrderRow,
            (
                order_id, account, market, kind, side, time_in_force, prevention, status, reason, 0, amends, price,
                stop, quantity, executed, quote, quote_quantity, 0, 0, created, updated, working, 0, 0, 0, 0, sequence,
                0, 0, 0, 0, 0, 0, 0, pad(client_id).ljust(TEXT_BYTES, b"\0"), 0, 0,
            ),
        )  # fmt: skip
        orders.append(order._replace(**orjson.loads(extra)) if extra else order)
    return orders


def _fill(row: Any) -> Fill:
    return (*row[:6], row[6] != 0, row[7] != 0)
