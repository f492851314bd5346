# SPDX-License-Identifier: Apache-2.0
"""Facts to rows: what the history writes of some batches, table by table, in the order of `schema.TABLES`' columns.

Called by the store, inside its transaction; every other store of history (PostgreSQL's) takes the same rows. What a row
says follows from the log alone: the same log gives the same rows, however its batches are cut into calls. What it needs
of before (a market's step, its last trade, the candle that is open) it asks the tables for, once, and then remembers;
`forget` after a write that was rolled back. It works in columns, because a Python object an event would cost more than
the database.
"""

from collections.abc import Collection, Sequence
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray

from bidhall.core.records import ASSET, COMMAND, EVENT, MARKET, ORDER, EventFlag, EventKind
from bidhall.sinks.history import schema
from bidhall.sinks.history.candles import Candles
from bidhall.sinks.history.schema import CAUSES, ORDER_COLUMNS, RARE, text_of
from bidhall.sinks.interface import Facts, SinkDamaged

Row = tuple[Any, ...]
Rows = dict[str, list[Row]]
Records = NDArray[np.void]
Integers = NDArray[np.int64]

_CLIENT_AT: Final = ORDER_COLUMNS.index("client_id")


class LastTrade(NamedTuple):
    """Of a market; all 0 before the first."""

    trade_id: int = 0
    price_ticks: int = 0
    aggregate_id: int = 0


class MarketUnits(NamedTuple):
    """What turns a trade into money."""

    base_asset: int
    quote_asset: int
    step_units: int


class Before(Protocol):
    """What the tables hold, asked for once."""

    def candle(self, market: int, seconds: int) -> Row | None:
        """The newest of that width."""

    def last_trade(self, market: int) -> LastTrade: ...

    def market_units(self) -> dict[int, MarketUnits]: ...


class Deriver:
    """See above."""

    def __init__(self, before: Before, tables: Collection[str] = schema.TABLES) -> None:
        """`tables`: whose rows are wanted."""
        self._before: Final = before
        self._tables: Final = frozenset(tables)
        self._candles: Final = Candles(before.candle)
        self._trades: Final[dict[int, LastTrade]] = {}
        self._units: dict[int, MarketUnits] = {}
        self._table: Integers = np.zeros((1, 3), np.int64)  # the same, by market

    def forget(self) -> None:
        """The tables may hold something else than was thought."""
        self._candles.forget()
        self._trades.clear()
        self._units = {}

    def rows(self, facts: Sequence[Facts]) -> Rows:
        """Of batches that follow each other."""
        rows: Rows = {}
        self._definitions(facts, rows)
        done = np.frombuffer(b"".join([fact.done for fact in facts]), ORDER)
        if len(done):
            rows["orders"] = order_rows(done)
        events, times = _joined(facts)
        if len(events):
            self._events(events, times, rows)
        self._meetings(facts, rows)
        return {table: made for table, made in rows.items() if table in self._tables}

    # --- markets and assets -----------------------------------------------------------------------------------------

    def _definitions(self, facts: Sequence[Facts], rows: Rows) -> None:
        """New markets and assets: their ids from the events, the rest from the commands."""
        if not self._units:
            self._units = self._before.market_units()
            self._fill_table()
        for fact in facts:
            if not fact.commands:
                continue
            events = np.frombuffer(fact.events, EVENT)
            commands = np.frombuffer(fact.commands, COMMAND)
            for event in events[(events["kind"] == EventKind.MARKET) | (events["kind"] == EventKind.ASSET)]:
                raw = commands[int(event["sequence"]) - fact.first_sequence].tobytes()
                if event["kind"] == EventKind.ASSET:
                    asset = np.frombuffer(raw, ASSET)[0]
                    row = (int(event["asset"]), text_of(asset["name"]), int(asset["decimals"]))
                    rows.setdefault("assets", []).append(row)
                else:
                    self._market(int(event["market"]), np.frombuffer(raw, MARKET)[0], rows)

    def _market(self, number: int, market: Any, rows: Rows) -> None:
        units = MarketUnits(int(market["base_asset"]), int(market["quote_asset"]), int(market["step_units"]))
        self._units[number] = units
        self._fill_table()
        row = (number, text_of(market["name"]), *units[:2], int(market["tick_e8"]), units.step_units)
        rows.setdefault("markets", []).append(row)

    def _fill_table(self) -> None:
        self._table = np.zeros((max(self._units, default=0) + 1, 3), np.int64)
        for number, units in self._units.items():
            self._table[number] = units

    # --- money and trades -------------------------------------------------------------------------------------------

    def _events(self, events: Records, times: Integers, rows: Rows) -> None:
        kinds = events["kind"]
        filled = kinds == EventKind.FILL
        ledger: list[Row] = []
        if filled.any():
            fills, when = events[filled], times[filled]
            rows["fills"] = _fill_rows(fills, when)
            if "trades" in self._tables:
                self._trade_rows(fills, when, rows)
            if "ledger" in self._tables:
                ledger += self._movements(fills, when, CAUSES["trade"])
                ledger += _fee_rows(fills, when)
        if "ledger" not in self._tables:
            return
        moved = (kinds == EventKind.PREVENTED) & (events["quote_units"] != 0)
        if moved.any():
            ledger += self._movements(events[moved], times[moved], CAUSES["transfer"])
        balances = kinds == EventKind.BALANCE
        if balances.any():
            ledger += _balance_rows(events[balances], times[balances])
        if ledger:
            rows["ledger"] = ledger

    def _trade_rows(self, fills: Records, times: Integers, rows: Rows) -> None:
        """Trades are told by their takers' fills; a run of one taker at one price is an aggregate trade."""
        taken = (fills["flags"] & EventFlag.MAKER) == 0
        takers, when = fills[taken], times[taken].tolist()
        fresh = np.ones(len(takers), bool)
        same = [takers[name][1:] == takers[name][:-1] for name in ("sequence", "order_id", "price_ticks")]
        fresh[1:] = ~(same[0] & same[1] & same[2])
        buys = (takers["flags"] & EventFlag.BUY) != 0
        columns = [
            takers[name].tolist()
            for name in (
                "market", "trade_id", "price_ticks", "quantity_steps", "quote_units", "order_id", "other_order_id",
                "sequence",
            )
        ]  # fmt: skip
        trades: list[Row] = []
        last, candle = self._last_trade, self._candles.trade
        for market, trade_id, price, steps, quote, taker, maker, sequence, time_ns, new, buy in zip(
            *columns, when, fresh.tolist(), buys.tolist(), strict=True
        ):
            before = last(market)
            if before.trade_id and trade_id != before.trade_id + 1:
                raise SinkDamaged(f"trade {trade_id} of market {market} follows {before.trade_id}")
            aggregate = before.aggregate_id + new
            self._trades[market] = LastTrade(trade_id, price, aggregate)
            candle(market, time_ns, price, steps, quote, trade_id, before.price_ticks, buy)
            trades.append(
                (market, trade_id, time_ns, price, steps, quote, 1 - buy, taker, maker, aggregate, sequence)
            )
        rows["trades"] = trades
        rows["candles"] = self._candles.rows()

    def _last_trade(self, market: int) -> LastTrade:
        found = self._trades.get(market)
        if found is None:
            found = self._trades[market] = self._before.last_trade(market)
        return found

    def _movements(self, events: Records, times: Integers, cause: int) -> list[Row]:
        """Base one way and quote the other, for the account of each event."""
        units = self._table[events["market"].astype(np.int64)]
        sign = np.where((events["flags"] & EventFlag.BUY) != 0, 1, -1)
        base = events["quantity_steps"] * units[:, 2] * sign
        quote = events["quote_units"] * -sign
        account, sequence, execution, other, market, trade = (
            events[name].tolist()
            for name in ("account", "sequence", "execution_id", "other_account", "market", "trade_id")
        )
        causes, when = [cause] * len(events), times.tolist()
        rows = list(
            zip(account, units[:, 0].tolist(), sequence, execution, causes, base.tolist(), other, market, trade, when,
                strict=True)
        )  # fmt: skip
        rows += zip(
            account, units[:, 1].tolist(), sequence, execution, causes, quote.tolist(), other, market, trade, when,
            strict=True,
        )  # fmt: skip
        return rows

    # --- what few orders meet ---------------------------------------------------------------------------------------

    def _meetings(self, facts: Sequence[Facts], rows: Rows) -> None:
        for fact in facts:
            for match in fact.prevented:
                for account in sorted({match.taker_account, match.maker_account}):
                    row = (
                        account, match.market, match.prevented_match_id, match.taker_order_id, match.taker_account,
                        match.maker_order_id, match.maker_account, match.trade_group, match.mode, match.price_ticks,
                        match.taker_steps, match.maker_steps, match.quote_units, match.time_ns,
                    )  # fmt: skip
                    rows.setdefault("prevented", []).append(row)
            for amend in fact.amendments:
                rows.setdefault("amendments", []).append(
                    (
                        amend.account, amend.market, amend.order_id, amend.execution_id, text_of(amend.old_client_id),
                        text_of(amend.new_client_id), amend.old_quantity_steps, amend.new_quantity_steps,
                        amend.time_ns,
                    )
                )  # fmt: skip


def _joined(facts: Sequence[Facts]) -> tuple[Records, Integers]:
    """All events, and the kernel time of each."""
    events = np.frombuffer(b"".join([fact.events for fact in facts]), EVENT)
    counts = [len(fact.events) // EVENT.itemsize for fact in facts]
    return events, np.repeat(np.array([fact.cursor.time_ns for fact in facts], np.int64), counts)


def order_rows(done: Records) -> list[Row]:
    """ORDER records as rows of `orders`."""
    columns = [done[name].tolist() for name in ORDER_COLUMNS]
    columns[_CLIENT_AT] = [text_of(raw) for raw in columns[_CLIENT_AT]]
    return list(zip(*columns, _extras(done), strict=True))


def _extras(done: Records) -> list[str]:
    """What few orders have, as JSON; "" for the others."""
    rare = np.zeros(len(done), bool)
    for name in RARE:
        rare |= done[name] != 0
    extras = [""] * len(done)
    for at in np.flatnonzero(rare).tolist():
        found = {name: int(done[name][at]) for name in RARE}
        extras[at] = orjson.dumps({name: value for name, value in found.items() if value}).decode()
    return extras


def _fill_rows(fills: Records, times: Integers) -> list[Row]:
    flags = fills["flags"]
    numbers = {
        name: fills[name].tolist()
        for name in (
            "account", "market", "trade_id", "order_id", "price_ticks", "quantity_steps", "quote_units", "fee_units",
            "asset", "execution_id", "sequence",
        )
    }  # fmt: skip
    return list(
        zip(
            numbers["account"], numbers["market"], numbers["trade_id"], (flags & EventFlag.MAKER != 0).tolist(),
            numbers["order_id"], times.tolist(), numbers["price_ticks"], numbers["quantity_steps"],
            numbers["quote_units"], numbers["fee_units"], numbers["asset"], (flags & EventFlag.BUY != 0).tolist(),
            numbers["execution_id"], numbers["sequence"], strict=True,
        )
    )  # fmt: skip


def _fee_rows(fills: Records, times: Integers) -> list[Row]:
    charged = fills["fee_units"] != 0
    fees, when = fills[charged], times[charged].tolist()
    account, asset, sequence, execution, market, trade = (
        fees[name].tolist() for name in ("account", "asset", "sequence", "execution_id", "market", "trade_id")
    )
    units = (-fees["fee_units"]).tolist()
    cause, venue = [CAUSES["fee"]] * len(fees), [0] * len(fees)
    return list(zip(account, asset, sequence, execution, cause, units, venue, market, trade, when, strict=True))


def _balance_rows(events: Records, times: Integers) -> list[Row]:
    """Deposits and withdrawals."""
    deposit, withdrawal = CAUSES["deposit"], CAUSES["withdrawal"]
    columns = (events[name].tolist() for name in ("account", "asset", "sequence", "quantity_steps"))
    return [
        (account, asset, sequence, 0, deposit if units > 0 else withdrawal, units, 0, 0, 0, time_ns)
        for account, asset, sequence, units, time_ns in zip(*columns, times.tolist(), strict=True)
    ]
