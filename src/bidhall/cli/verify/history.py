# SPDX-License-Identifier: Apache-2.0
"""The history against the replay, to the last unit, up to its own cursor.

An onlooker of the walk. Expected rows go, some thousands at a time, into a scratch table, and SQLite joins them with
the file, which is attached read-only: a row that is missing or differs in any column is found; rows that the log knows
nothing of are found by their number and then by name. The ledger must sum, for every account, asset and cause, to what
the events say, and over all causes to the kernel's balances at the cursor. Candles must be the sums of their trades.
"""

import sqlite3
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

import numpy as np

from bidhall.cli.verify.report import FAULTS_SHOWN, Check
from bidhall.cli.verify.rows import (
    AMENDMENTS,
    CAUSES,
    FILLS,
    LEDGER,
    PREVENTED,
    TRADES,
    WANTED,
    Ledger,
    Row,
    Trades,
    amendment_rows,
    fill_rows,
    order_rows,
    prevented_rows,
    word,
)
from bidhall.cli.verify.walk import Place, asset_name
from bidhall.core.exchange import Exchange
from bidhall.core.records import EVENT, ORDER, EventKind
from bidhall.core.views import event_kinds
from bidhall.log import Batch
from bidhall.replica import amendments, prevention
from bidhall.sinks.history.schema import APPLICATION, BASES_SECONDS, KEYS, RARE, TABLES, VERSION

FLUSH_RECORDS: Final = 20_000
CACHE_KIB: Final = 64 << 10
MARKET_FIELDS: Final = ("base_asset", "quote_asset", "tick_e8", "step_units")
HALF: Final = 1 << 32  # sums are taken in two halves, because SQLite's SUM refuses to pass 63 bits
ORDERS: Final = tuple(name for name, _ in TABLES["orders"])
COLUMNS: Final = {
    "orders": ORDERS, "fills": FILLS, "trades": TRADES, "ledger": LEDGER, "prevented": PREVENTED,
    "amendments": AMENDMENTS,
}  # fmt: skip
THINGS: Final = {
    "orders": "order_id", "fills": "trade_id", "trades": "trade_id", "ledger": "sequence",
    "prevented": "prevented_match_id", "amendments": "order_id",
}  # fmt: skip


class NotReadable(Exception):
    """The file is no history that this version can read; the text says why."""


class HistoryCheck:
    """See above. `last` is the cursor's position: the walk shows everything up to there, then `arrived`."""

    def __init__(self, path: Path, log: bytes, head: int, check: Check) -> None:
        self._check = check
        self._name = path.name
        self._database = _open(path)
        self._log = log
        meta = self._one("SELECT log, position, sequence, time_ns, chain FROM history.meta")
        if meta[0] != log:
            raise NotReadable(f"{path.name}: belongs to log {meta[0].hex()}, this one is {log.hex()}")
        self.last: int = meta[1]
        self._sequence, self._time_ns, self.chain = meta[2:]
        if self.last > head:
            raise NotReadable(f"{path.name}: stands at position {self.last:,}, but the log ends at {head:,}")
        self._behind = head - self.last
        self._events: list[bytes] = []
        self._times: list[tuple[int, int]] = []
        self._done: list[bytes] = []
        self._rest: dict[str, list[Row]] = {"prevented": [], "amendments": []}
        self._targets: amendments.Targets | None = None
        self._records = 0
        self._flushed = 0
        self._counts: dict[str, int] = dict.fromkeys(COLUMNS, 0)
        self._order_ids = np.zeros(1 << 16, bool)
        self._trades = Trades()
        self._ledger_rows = Ledger()
        self._came = False

    # --- on the way ----------------------------------------------------------------------------------------------

    def before(self, exchange: Exchange, batch: Batch) -> None:
        """What the batch's amends are about."""
        self._targets = amendments.look(exchange, batch.entry.commands)

    def after(self, exchange: Exchange, batch: Batch, events: Any, first_sequence: int) -> None:
        """Copies what the history should hold of it; judged some thousands at a time."""
        time_ns, done, kinds = exchange.time_ns, exchange.done(), event_kinds(events)
        if len(done):
            self._done.append(done.tobytes())
        if kinds & WANTED:
            self._events.append(events.tobytes())
            self._times.append((time_ns, len(events)))
        if kinds & 1 << EventKind.PREVENTED:
            self._rest["prevented"] += prevented_rows(prevention.rows(exchange, events, done, time_ns))
        if self._targets is not None:
            found = amendments.rows(self._targets, batch.entry.commands, events, first_sequence, time_ns)
            self._rest["amendments"] += amendment_rows(found)
        self._records += len(done) + len(events)
        if self._records >= FLUSH_RECORDS:
            self._flush(exchange, batch.position)

    def arrived(self, place: Place) -> None:
        """The walk is at the cursor: now the whole of both can be compared."""
        self._came = True
        exchange = place.exchange
        self._flush(exchange, place.position)
        if (exchange.sequence, exchange.time_ns) != (self._sequence, self._time_ns):
            self._check.fault(
                f"its cursor says sequence {self._sequence:,} and time {self._time_ns} at position {self.last:,}; "
                f"the log gives sequence {exchange.sequence:,} and time {exchange.time_ns}"
            )
        for table in COLUMNS:
            self._count(table)
        self._ledger(exchange)
        self._definitions(exchange)
        self._candles()

    def finish(self, reached: int) -> None:
        """After the walk."""
        if not self._came:
            self._check.fault(f"not compared up to its cursor {self.last:,}: the replay ended at position {reached:,}")
        said = ", ".join(f"{self._counts[table]:,} {table}" for table in ("orders", "fills", "trades"))
        behind = f" ({self._behind:,} batches behind the log)" if self._behind else ""
        self._check.text = f"up to position {self.last:,}{behind}: {said}, ledger = balances, candles = trades"
        self._database.close()

    # --- rows ----------------------------------------------------------------------------------------------------

    def _flush(self, exchange: Exchange, position: int) -> None:
        done = np.frombuffer(b"".join(self._done), ORDER)
        events = np.frombuffer(b"".join(self._events), EVENT)
        times = np.repeat(
            np.array([time_ns for time_ns, _ in self._times], np.int64), [count for _, count in self._times]
        )
        filled = events["kind"] == EventKind.FILL
        fills, when = events[filled], times[filled].tolist()
        self._note_ids(done["order_id"])
        self._compare("orders", order_rows(done, ORDERS, RARE), position)
        self._compare("fills", fill_rows(fills, when), position)
        self._compare("trades", self._trades.rows(fills, when), position)
        for table, rows in self._rest.items():
            self._compare(table, rows, position)
            rows.clear()
        moving = filled | (events["kind"] == EventKind.PREVENTED) | (events["kind"] == EventKind.BALANCE)
        self._compare("ledger", self._ledger_rows.rows(events[moving], times[moving].tolist(), exchange), position)
        self._done, self._events, self._times, self._records, self._flushed = [], [], [], 0, position

    def _note_ids(self, ids: Any) -> None:
        if len(ids):
            top = int(ids.max())
            if top >= len(self._order_ids):
                self._order_ids = np.concatenate([self._order_ids, np.zeros(top + 1, bool)])
            self._order_ids[ids.astype(np.int64)] = True

    def _compare(self, table: str, rows: list[Row], position: int) -> None:
        if not rows:
            return
        columns, key = COLUMNS[table], KEYS[table]
        rows.sort(key=itemgetter(*(columns.index(name) for name in key)))  # neighbours share pages of the file
        self._counts[table] += len(rows)
        scratch, database = f"expected_{table}", self._database
        database.execute(f"DELETE FROM {scratch}")
        database.executemany(f"INSERT INTO {scratch} VALUES ({', '.join('?' * len(columns))})", rows)
        differs = " OR ".join(f"e.{name} IS NOT h.{name}" for name in columns)
        found = database.execute(
            f"SELECT {', '.join(f'e.{name}' for name in columns)}, {', '.join(f'h.{name}' for name in columns)} "
            f"FROM {scratch} e LEFT JOIN history.{table} h ON {' AND '.join(f'h.{name} = e.{name}' for name in key)} "
            f"WHERE {differs}"
        )
        where = f"of positions {self._flushed + 1:,} to {position:,}"
        for row in found:
            self._check.fault(_said(table, columns, row[: len(columns)], row[len(columns) :], where))

    def _count(self, table: str) -> None:
        """As many rows as the log has; those are all there, so one more is one too many."""
        (held,) = self._one(f"SELECT COUNT(*) FROM history.{table}")
        more = held - self._counts[table]
        if more <= 0:
            return  # what is missing was told when it was looked for
        shown = 0
        for row in self._database.execute(f"SELECT {', '.join(COLUMNS[table])} FROM history.{table}"):
            if shown == FAULTS_SHOWN:
                break
            named = dict(zip(COLUMNS[table], row, strict=True))
            if self._is_unknown(table, named):
                shown += 1
                self._check.fault(f"{table}: {_whose(table, named)} is in the history and not in the log")
        if shown < min(more, FAULTS_SHOWN):
            self._check.fault(f"{table}: the history has {more:,} rows more than the log gives")

    def _is_unknown(self, table: str, row: dict[str, Any]) -> bool:
        if table == "orders":
            return not (0 <= row["order_id"] < len(self._order_ids) and self._order_ids[row["order_id"]])
        if table == "trades":
            return not 1 <= row["trade_id"] <= self._trades.last.get(row["market"], 0)
        if table == "fills":
            side = "maker_order_id" if row["is_maker"] else "taker_order_id"
            known = self._database.execute(
                f"SELECT 1 FROM history.trades WHERE market = ? AND trade_id = ? AND {side} = ?",
                (row["market"], row["trade_id"], row["order_id"]),
            )
            return known.fetchone() is None
        return False  # of the others the number says enough; who has one row too many, the ledger's sums say

    # --- money ---------------------------------------------------------------------------------------------------

    def _ledger(self, exchange: Exchange) -> None:
        """Over all causes it comes to the kernel's balances."""
        held: dict[tuple[int, int], int] = {}
        asked = (
            "SELECT account, asset, SUM(units >> 32), SUM(units & 4294967295) FROM history.ledger "
            "GROUP BY account, asset"
        )
        for account, asset, high, low in self._database.execute(asked):
            held[account, asset] = high * HALF + low
        for account in range(1, exchange.account_count + 1):
            for asset, free, locked in exchange.balances(account):
                if (have := held.pop((account, asset), 0)) != free + locked:
                    self._check.fault(
                        f"ledger: account {account} comes to {have} units of {asset_name(exchange, asset)}, the "
                        f"kernel's balance at position {self.last:,} is {free + locked} (free and locked)"
                    )
        for (account, asset), units in held.items():
            if units:
                self._check.fault(f"ledger: account {account} comes to {units} units of asset {asset}, the kernel to 0")

    def _definitions(self, exchange: Exchange) -> None:
        """Assets, markets and the names of causes, as the kernel has them."""
        assets = [
            (asset, word(fields["name"]), fields["decimals"])
            for asset in range(1, exchange.asset_count + 1)
            for fields in (exchange.asset(asset),)
        ]
        markets = [
            (market, word(fields["name"]), *(fields[name] for name in MARKET_FIELDS))
            for market in range(1, exchange.market_count + 1)
            for fields in (exchange.market(market),)
        ]
        columns = ", ".join(("market", "name", *MARKET_FIELDS))
        for what, statement, expected in (
            ("assets", "SELECT asset, name, decimals FROM history.assets ORDER BY asset", assets),
            ("markets", f"SELECT {columns} FROM history.markets ORDER BY market", markets),
            ("causes", "SELECT cause, name FROM history.causes ORDER BY cause", [(n, c) for c, n in CAUSES.items()]),
        ):
            found = self._database.execute(statement).fetchall()
            for should in expected:
                if should not in found:
                    self._check.fault(f"{what}: there should be {should}")
            for have in found:
                if have not in expected:
                    self._check.fault(f"{what}: there should be no {have}")

    # --- candles -------------------------------------------------------------------------------------------------

    def _candles(self) -> None:
        expected = 0
        for market in sorted(self._trades.last):
            for seconds in BASES_SECONDS:
                expected += self._candles_of(market, seconds)
        (held,) = self._one("SELECT COUNT(*) FROM history.candles")
        if held != expected:
            self._check.fault(f"candles: {held:,} rows, the trades make {expected:,}")

    def _candles_of(self, market: int, seconds: int) -> int:
        rows = self._database.execute(
            "SELECT open_s, open_ticks, high_ticks, low_ticks, close_ticks, previous_ticks, first_trade_id, "
            "last_trade_id, volume_steps, quote_units, taker_steps, taker_quote_units FROM history.candles "
            "WHERE market = ? AND seconds = ? ORDER BY open_s",
            (market, seconds),
        )
        count = 0
        for made in _made_of_trades(self._database, market, seconds):
            count += 1
            row = rows.fetchone()
            if row is None or (*row[:8], *map(int, row[8:])) != made:
                have = "there is none" if row is None else f"the history has {row}"
                self._check.fault(f"candles: market {market}, {seconds} s, {made[0]}: the trades make {made}, {have}")
                break  # what follows is shifted
        return count

    def _one(self, statement: str) -> Row:
        row: Row | None = self._database.execute(statement).fetchone()
        if row is None:
            raise NotReadable(f"{self._name}: {statement} gives nothing")
        return row


def _open(path: Path) -> sqlite3.Connection:
    """A database in memory with the history attached read-only, in one transaction of it until the end."""
    database = sqlite3.connect(":memory:", uri=True, isolation_level=None)
    try:
        database.execute("PRAGMA temp_store=MEMORY")
        database.execute("ATTACH ? AS history", (f"{path.absolute().as_uri()}?mode=ro",))
        database.execute(f"PRAGMA history.cache_size=-{CACHE_KIB}")
        found = database.execute("PRAGMA history.application_id").fetchone()[0]
        version = database.execute("PRAGMA history.user_version").fetchone()[0]
        if (found, version) != (APPLICATION, VERSION):
            raise NotReadable(f"{path.name}: no history of version {VERSION} (application {found}, version {version})")
        verdict = database.execute("PRAGMA history.quick_check(1)").fetchone()
        if verdict != ("ok",):
            raise NotReadable(f"{path.name}: the file is damaged: {verdict[0]}")
        for table, columns in COLUMNS.items():
            database.execute(f"CREATE TABLE expected_{table} ({', '.join(columns)})")
        database.execute("BEGIN")
    except sqlite3.Error as error:
        database.close()
        raise NotReadable(f"{path.name}: the file is damaged: {error}") from error
    except NotReadable:
        database.close()
        raise
    return database


def _made_of_trades(database: sqlite3.Connection, market: int, seconds: int) -> Any:
    """The candles that the trades come to, as rows."""
    trades = database.execute(
        "SELECT time_ns, price_ticks, quantity_steps, quote_units, buyer_is_maker, trade_id FROM history.trades "
        "WHERE market = ? ORDER BY trade_id",
        (market,),
    )
    width_ns = seconds * 1_000_000_000
    previous = 0
    for slot, run in groupby(trades, key=lambda trade: trade[0] // width_ns):
        inside = list(run)
        prices = [trade[1] for trade in inside]
        taken = [trade for trade in inside if not trade[4]]
        yield (
            slot * seconds, prices[0], max(prices), min(prices), prices[-1], previous, inside[0][5], inside[-1][5],
            sum(trade[2] for trade in inside), sum(trade[3] for trade in inside),
            sum(trade[2] for trade in taken), sum(trade[3] for trade in taken),
        )  # fmt: skip
        previous = prices[-1]


def _said(table: str, columns: tuple[str, ...], expected: Row, held: Row, where: str) -> str:
    """A row that is missing or differs, in words."""
    row = dict(zip(columns, expected, strict=True))
    if all(value is None for value in held):
        return f"{table}: {_whose(table, row)} ({where}) is missing"
    wrong = [
        f"{name} is {have!r} and should be {should!r}"
        for name, should, have in zip(columns, expected, held, strict=True)
        if should != have
    ]
    return f"{table}: {_whose(table, row)} ({where}): {', '.join(wrong)}"


def _whose(table: str, row: dict[str, Any]) -> str:
    """Which thing a row is about."""
    name = THINGS[table]
    owner = f" of account {row['account']}" if "account" in row else ""
    asset = f", asset {row['asset']}" if "asset" in row else ""
    return f"{name.removesuffix('_id').replace('_', ' ')} {row[name]}{owner} in market {row['market']}{asset}"
