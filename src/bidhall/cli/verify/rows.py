# SPDX-License-Identifier: Apache-2.0
"""What the history should hold of some batches, derived here a second time from the kernel's events and orders.

`history.py` calls it. On purpose it shares nothing with the code that writes the history but the names of the columns
and the two functions that say what amends and prevented matches were (events alone do not tell those).
"""

import json
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bidhall.core.exchange import Exchange
from bidhall.core.records import EventFlag, EventKind
from bidhall.replica.amendments import Amendment
from bidhall.replica.prevention import PreventedMatch

Records = NDArray[np.void]
Row = tuple[Any, ...]

FILLS: Final = (
    "account", "market", "trade_id", "is_maker", "order_id", "time_ns", "price_ticks", "quantity_steps", "quote_units",
    "fee_units", "fee_asset", "is_buyer", "execution_id", "sequence",
)  # fmt: skip
TRADES: Final = (
    "market", "trade_id", "time_ns", "price_ticks", "quantity_steps", "quote_units", "buyer_is_maker",
    "taker_order_id", "maker_order_id", "aggregate_id", "sequence",
)  # fmt: skip
PREVENTED: Final = (
    "account", "market", "prevented_match_id", "taker_order_id", "taker_account", "maker_order_id", "maker_account",
    "trade_group", "mode", "price_ticks", "taker_steps", "maker_steps", "quote_units", "time_ns",
)  # fmt: skip
AMENDMENTS: Final = (
    "account", "market", "order_id", "execution_id", "old_client_id", "new_client_id", "old_steps", "new_steps",
    "time_ns",
)  # fmt: skip
LEDGER: Final = (
    "account", "asset", "sequence", "execution_id", "cause", "units", "other_account", "market", "trade_id", "time_ns",
)  # fmt: skip
CAUSES: Final = {"deposit": 1, "withdrawal": 2, "trade": 3, "fee": 4, "transfer": 5}
TRADE, FEE, TRANSFER = CAUSES["trade"], CAUSES["fee"], CAUSES["transfer"]
# Plain numbers: an enum's own arithmetic costs more than a row.
MAKER, BUY = int(EventFlag.MAKER), int(EventFlag.BUY)
FILL, PREVENTED_KIND, BALANCE = int(EventKind.FILL), int(EventKind.PREVENTED), int(EventKind.BALANCE)
MOVING: Final = (
    "kind", "account", "asset", "market", "flags", "quantity_steps", "quote_units", "fee_units", "sequence",
    "execution_id", "other_account", "trade_id",
)  # fmt: skip
TAKEN: Final = (
    "market", "trade_id", "order_id", "other_order_id", "price_ticks", "quantity_steps", "quote_units", "sequence",
)  # fmt: skip
WANTED: Final = 1 << EventKind.FILL | 1 << EventKind.PREVENTED | 1 << EventKind.BALANCE


def order_rows(done: Records, columns: tuple[str, ...], rare: tuple[str, ...]) -> list[Row]:
    """Orders as they left: `columns` as they are but for `extra`, which holds, as JSON, what few orders have."""
    made = {"client_id": [word(raw) for raw in done["client_id"].tolist()], "extra": _extras(done, rare)}
    lists = (made[name] if name in made else done[name].tolist() for name in columns)
    return list(zip(*lists, strict=True))


def _extras(done: Records, rare: tuple[str, ...]) -> list[str]:
    extras = [""] * len(done)
    has = np.zeros(len(done), bool)
    for name in rare:
        has |= done[name] != 0
    for at in np.flatnonzero(has).tolist():
        found = {name: value for name in rare if (value := done[name][at].item())}
        extras[at] = json.dumps(found, separators=(",", ":"))
    return extras


def fill_rows(fills: Records, times: list[int]) -> list[Row]:
    """One side each."""
    flags = fills["flags"]
    made = {
        "is_maker": ((flags & MAKER) > 0).astype(int).tolist(),
        "is_buyer": ((flags & BUY) > 0).astype(int).tolist(),
        "fee_asset": fills["asset"].tolist(),
        "time_ns": times,
    }
    return list(zip(*(made[name] if name in made else fills[name].tolist() for name in FILLS), strict=True))


class Trades:
    """Trades from their takers' fills; runs of one taker, at one price and by one command, share an aggregate id."""

    def __init__(self) -> None:
        self.last: Final[dict[int, int]] = {}  # newest trade id of each market
        self._aggregates: Final[dict[int, int]] = {}
        self._runs: Final[dict[int, tuple[int, int, int]]] = {}

    def rows(self, fills: Records, times: list[int]) -> list[Row]:
        """Of fills in the order of the log."""
        taken = (fills["flags"] & MAKER) == 0
        takers = fills[taken]
        buys = (takers["flags"] & BUY) > 0
        columns = [takers[name].tolist() for name in TAKEN]
        rows = []
        for market, trade_id, taker, maker, price, steps, quote, sequence, buy, time_ns in zip(
            *columns, buys.tolist(), np.array(times, np.int64)[taken].tolist(), strict=True
        ):
            run = sequence, taker, price
            if self._runs.get(market) != run:
                self._runs[market] = run
                self._aggregates[market] = self._aggregates.get(market, 0) + 1
            self.last[market] = trade_id
            rows.append(
                (
                    market, trade_id, time_ns, price, steps, quote, 0 if buy else 1, taker, maker,
                    self._aggregates[market], sequence,
                )
            )  # fmt: skip
        return rows


class Ledger:
    """Every movement of an account's money, free and locked together."""

    def __init__(self) -> None:
        self._markets: Final[dict[int, tuple[int, int, int]]] = {}

    def rows(self, events: Records, times: list[int], exchange: Exchange) -> list[Row]:
        """Of FILL, PREVENTED and BALANCE events, in the order of LEDGER."""
        rows: list[Row] = []
        for kind, account, asset, market, flags, steps, quote, fee, sequence, execution, other, trade, time_ns in zip(
            *(events[name].tolist() for name in MOVING), times, strict=True
        ):
            if kind == BALANCE:
                cause = CAUSES["deposit"] if steps > 0 else CAUSES["withdrawal"]
                rows.append((account, asset, sequence, 0, cause, steps, 0, 0, 0, time_ns))
                continue
            if kind == PREVENTED_KIND and not quote:
                continue
            base_asset, quote_asset, step_units = self._market(market, exchange)
            sign = 1 if flags & BUY else -1
            cause = TRADE if kind == FILL else TRANSFER
            why = (other, market, trade, time_ns)
            rows.append((account, base_asset, sequence, execution, cause, sign * steps * step_units, *why))
            rows.append((account, quote_asset, sequence, execution, cause, -sign * quote, *why))
            if kind == FILL and fee:
                rows.append((account, asset, sequence, execution, FEE, -fee, 0, *why[1:]))
        return rows

    def _market(self, market: int, exchange: Exchange) -> tuple[int, int, int]:
        found = self._markets.get(market)
        if found is None:
            fields = exchange.market(market)
            found = self._markets[market] = fields["base_asset"], fields["quote_asset"], fields["step_units"]
        return found


def prevented_rows(matches: list[PreventedMatch]) -> list[Row]:
    """One for each of the accounts that met."""
    return [
        tuple(account if name == "account" else getattr(match, name) for name in PREVENTED)
        for match in matches
        for account in sorted({match.taker_account, match.maker_account})
    ]


def amendment_rows(amendments: list[Amendment]) -> list[Row]:
    """In the order of AMENDMENTS."""
    return [
        (
            one.account, one.market, one.order_id, one.execution_id, word(one.old_client_id), word(one.new_client_id),
            one.old_quantity_steps, one.new_quantity_steps, one.time_ns,
        )
        for one in amendments
    ]  # fmt: skip


def word(raw: bytes) -> str | bytes:
    """A client id as a column holds it: text, or a blob when it is none."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw
