# SPDX-License-Identifier: Apache-2.0
"""The history's tables: what stands in them, in which order, and how a record becomes a row.

Used by the store (which makes them), the writer and the reader; whoever opens the file with SQL reads here what is in
it. Prices are in the market's ticks, quantities in its steps, money in the asset's smallest unit, times in nanoseconds
since 1970 (kernel time): `markets` and `assets` say what those are. What may never happen here: a column that changes
its meaning. Other tables get another VERSION, and a history of an older version is built again from the log.

How they are clustered decides what a page of answers costs: orders and fills of one account in one market lie side by
side, ascending by id, so that a page of 500 is a few neighbouring pages of the file, however large the rest is.
"""

from typing import Final

from bidhall.core.records import ORDER_FIELDS

APPLICATION: Final = int.from_bytes(b"bidH", "big")
VERSION: Final = 1
PAGE_BYTES: Final = 8_192
INTEGER_MAX: Final = (1 << 63) - 1

# Of an order that is done these are always 0: it works no more, holds nothing and shows nothing.
GONE: Final = frozenset({"flags", "reserved", "locked_units", "shown_steps"})
# Most orders have none of these. They stand in `extra`, as JSON, where they are not 0: a column costs every page that
# is read about a thirtieth of its time, whether it says something or not.
RARE: Final = (
    "iceberg_steps", "prevented_steps", "prevented_match_id", "strategy_id", "strategy_type", "order_list_id",
    "trailing_delta_bips", "trailing_ns", "pegged_price_ticks", "peg_price_type", "peg_offset_type",
    "peg_offset_value",
)  # fmt: skip
ORDER_KEY: Final = ("account", "market", "order_id")
ORDER_COLUMNS: Final = (*ORDER_KEY, *(name for name, _ in ORDER_FIELDS if name not in {*GONE, *RARE, *ORDER_KEY}))

CAUSES: Final = {"deposit": 1, "withdrawal": 2, "trade": 3, "fee": 4, "transfer": 5}
BASES_SECONDS: Final = (1, 60, 3_600, 86_400)  # widths of the candles that are kept

# How to insert a row, table by table. ANY is an integer, but text where it may be beyond 64 bits (sums of candles), and
# text, but a blob where it is no UTF-8 (client ids and names: the door takes none of those, the kernel may).
TABLES: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    # Done orders, as they left; open ones are in the kernel.
    "orders": (
        *((name, "ANY" if name == "client_id" else "INTEGER") for name in ORDER_COLUMNS),
        ("extra", "TEXT"),
    ),
    # One side of a trade.
    "fills": tuple(
        (name, "INTEGER")
        for name in (
            "account", "market", "trade_id", "is_maker", "order_id", "time_ns", "price_ticks", "quantity_steps",
            "quote_units", "fee_units", "fee_asset", "is_buyer", "execution_id", "sequence",
        )
    ),
    # What everybody sees of a trade; aggregate_id numbers runs of trades of one taker at one price.
    "trades": tuple(
        (name, "INTEGER")
        for name in (
            "market", "trade_id", "time_ns", "price_ticks", "quantity_steps", "quote_units", "buyer_is_maker",
            "taker_order_id", "maker_order_id", "aggregate_id", "sequence",
        )
    ),
    # Seconds, minutes, hours and days with trades in them; previous_ticks is the price before the first of them.
    "candles": (
        *(
            (name, "INTEGER")
            for name in (
                "market", "seconds", "open_s", "open_ticks", "high_ticks", "low_ticks", "close_ticks",
                "previous_ticks", "first_trade_id", "last_trade_id",
            )
        ),
        *((name, "ANY") for name in ("volume_steps", "quote_units", "taker_steps", "taker_quote_units")),
    ),
    # Every movement of an account's money (free and locked together). Between two accounts there are two rows that sum
    # to nothing; a deposit, withdrawal or fee has the venue on the other side, other_account 0, whose row is implied.
    "ledger": tuple(
        (name, "INTEGER")
        for name in (
            "account", "asset", "sequence", "execution_id", "cause", "units", "other_account", "market", "trade_id",
            "time_ns",
        )
    ),
    # Trades that self-trade prevention did not let happen; a row for each of the accounts that met.
    "prevented": tuple(
        (name, "INTEGER")
        for name in (
            "account", "market", "prevented_match_id", "taker_order_id", "taker_account", "maker_order_id",
            "maker_account", "trade_group", "mode", "price_ticks", "taker_steps", "maker_steps", "quote_units",
            "time_ns",
        )
    ),
    # Amends that kept an order's place.
    "amendments": (
        *((name, "INTEGER") for name in ("account", "market", "order_id", "execution_id")),
        *((name, "ANY") for name in ("old_client_id", "new_client_id")),
        *((name, "INTEGER") for name in ("old_steps", "new_steps", "time_ns")),
    ),
    "markets": (
        ("market", "INTEGER"), ("name", "ANY"),
        *((name, "INTEGER") for name in ("base_asset", "quote_asset", "tick_e8", "step_units")),
    ),
    "assets": (("asset", "INTEGER"), ("name", "ANY"), ("decimals", "INTEGER")),
}  # fmt: skip
KEYS: Final[dict[str, tuple[str, ...]]] = {
    "orders": ORDER_KEY,
    "fills": ("account", "market", "trade_id", "is_maker"),
    "trades": ("market", "trade_id"),
    "candles": ("market", "seconds", "open_s"),
    "ledger": ("account", "asset", "sequence", "execution_id", "cause"),
    "prevented": ("account", "market", "prevented_match_id"),
    "amendments": ("account", "market", "order_id", "execution_id"),
    "markets": ("market",),
    "assets": ("asset",),
}
INDEXES: Final = {
    "orders_by_client": "orders(account, market, client_id, sequence)",
    "orders_by_id": "orders(order_id)",
    "fills_by_order": "fills(order_id)",
    "prevented_by_taker": "prevented(account, market, taker_order_id)",
    "prevented_by_maker": "prevented(account, market, maker_order_id)",
}


def statements() -> list[str]:
    """What makes an empty history."""
    made = [
        "CREATE TABLE meta (log BLOB NOT NULL, position INTEGER NOT NULL, sequence INTEGER NOT NULL, "
        "time_ns INTEGER NOT NULL, chain BLOB NOT NULL) STRICT",
        "CREATE TABLE causes (cause INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT",
    ]
    for table, columns in TABLES.items():
        fields = ", ".join(f"{name} {kind} NOT NULL" for name, kind in columns)
        made.append(f"CREATE TABLE {table} ({fields}, PRIMARY KEY ({', '.join(KEYS[table])})) STRICT, WITHOUT ROWID")
    made += [f"CREATE INDEX {name} ON {place}" for name, place in INDEXES.items()]
    return made


def insertion(table: str) -> str:
    """The statement that writes a row; one that is there stays, but for candles, which grow."""
    names = [name for name, _ in TABLES[table]]
    places = f"{table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
    return f"INSERT OR REPLACE INTO {places}" if table == "candles" else f"INSERT INTO {places} ON CONFLICT DO NOTHING"


def text_of(raw: bytes) -> str | bytes:
    """A client id or name as a column holds it."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def bytes_of(column: str | bytes) -> bytes:
    """And back."""
    return column.encode() if isinstance(column, str) else column


def wide(value: int) -> int | str:
    """A sum as a column holds it; `int` brings it back."""
    return value if value <= INTEGER_MAX else str(value)
