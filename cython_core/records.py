# SPDX-License-Identifier: Apache-2.0
"""The kernel's records for Python: numpy dtypes, struct formats, rows and enums, and one packer for each command.

The layouts are those of `records.pxd` (there with the meaning of every field); a test compares the two. Everybody who
talks to the kernel from Python uses this file. It must never hold logic: what a command does is in `RULES.md`.
"""

from struct import Struct
from typing import Final, NamedTuple

import numpy as np

from bidhall.core.enums import CancelRestriction as CancelRestriction
from bidhall.core.enums import CommandFlag as CommandFlag
from bidhall.core.enums import CommandKind as CommandKind
from bidhall.core.enums import EventFlag as EventFlag
from bidhall.core.enums import EventKind as EventKind
from bidhall.core.enums import ExpiryReason as ExpiryReason
from bidhall.core.enums import MarketState as MarketState
from bidhall.core.enums import OrderStatus as OrderStatus
from bidhall.core.enums import OrderType as OrderType
from bidhall.core.enums import Reject as Reject
from bidhall.core.enums import SelfTradePrevention as SelfTradePrevention
from bidhall.core.enums import Side as Side
from bidhall.core.enums import TimeInForce as TimeInForce

LAYOUT_VERSION: Final = 1
RULES_VERSION: Final = 2
TEXT_BYTES: Final = 36
DIGEST_BYTES: Final = 16
NOTE_BYTES: Final = 184
COMMAND_BYTES: Final = 192
EVENT_BYTES: Final = 128
ORDER_BYTES: Final = 224
NO_DIGEST: Final = bytes(DIGEST_BYTES)

COMMAND_FIELDS = (
    ("kind", "u1"),
    ("type", "u1"),
    ("side", "u1"),
    ("time_in_force", "u1"),
    ("self_trade_prevention", "u1"),
    ("flags", "u1"),
    ("legs", "u1"),
    ("restriction", "u1"),
    ("account", "u4"),
    ("market", "u4"),
    ("price_ticks", "i8"),
    ("quantity_steps", "i8"),
    ("stop_price_ticks", "i8"),
    ("quote_quantity_units", "i8"),
    ("iceberg_steps", "i8"),
    ("order_id", "u8"),
    ("deadline_ns", "i8"),
    ("digest", "V16"),
    ("client_id", "S36"),
    ("strategy_type", "u4"),
    ("other_client_id", "S36"),
    ("trailing_delta_bips", "u4"),
    ("strategy_id", "i8"),
    ("peg_price_type", "u1"),
    ("peg_offset_type", "u1"),
    ("peg_offset_value", "u1"),
    ("reserved", "u1"),
    ("reserved2", "u4"),
    ("reserved3", "i8"),
)

EVENT_FIELDS = (
    ("kind", "u1"),
    ("status", "u1"),
    ("reason", "u1"),
    ("flags", "u1"),
    ("account", "u4"),
    ("sequence", "u8"),
    ("order_id", "u8"),
    ("execution_id", "u8"),
    ("market", "u4"),
    ("code", "i4"),
    ("price_ticks", "i8"),
    ("quantity_steps", "i8"),
    ("quote_units", "i8"),
    ("executed_steps", "i8"),
    ("executed_quote_units", "i8"),
    ("fee_units", "i8"),
    ("trade_id", "u8"),
    ("other_order_id", "u8"),
    ("remaining_steps", "i8"),
    ("prevented_match_id", "u8"),
    ("other_account", "u4"),
    ("asset", "u4"),
)

ORDER_FIELDS = (
    ("order_id", "u8"),
    ("account", "u4"),
    ("market", "u4"),
    ("type", "u1"),
    ("side", "u1"),
    ("time_in_force", "u1"),
    ("self_trade_prevention", "u1"),
    ("status", "u1"),
    ("reason", "u1"),
    ("flags", "u1"),
    ("amends", "u1"),
    ("price_ticks", "i8"),
    ("stop_price_ticks", "i8"),
    ("quantity_steps", "i8"),
    ("executed_steps", "i8"),
    ("executed_quote_units", "i8"),
    ("quote_quantity_units", "i8"),
    ("iceberg_steps", "i8"),
    ("prevented_steps", "i8"),
    ("created_ns", "i8"),
    ("updated_ns", "i8"),
    ("working_ns", "i8"),
    ("strategy_id", "i8"),
    ("strategy_type", "u4"),
    ("trailing_delta_bips", "u4"),
    ("order_list_id", "u8"),
    ("sequence", "u8"),
    ("prevented_match_id", "u8"),
    ("trailing_ns", "i8"),
    ("pegged_price_ticks", "i8"),
    ("peg_price_type", "u1"),
    ("peg_offset_type", "u1"),
    ("peg_offset_value", "u1"),
    ("reserved", "u1"),
    ("client_id", "S36"),
    ("locked_units", "i8"),
    ("shown_steps", "i8"),
)

TOP_FIELDS = (
    ("sequence", "u8"),
    ("update_id", "u8"),
    ("market", "u4"),
    ("reserved", "u4"),
    ("bid_price_ticks", "i8"),
    ("bid_quantity_steps", "i8"),
    ("ask_price_ticks", "i8"),
    ("ask_quantity_steps", "i8"),
    ("reserved2", "i8"),
)

POSITION_FIELDS = (
    ("sequence", "u8"),
    ("account", "u4"),
    ("asset", "u4"),
    ("free_units", "i8"),
    ("locked_units", "i8"),
)

MARKET_FIELDS = (
    ("kind", "u1"),
    ("state", "u1"),
    ("self_trade_prevention", "u1"),
    ("self_trade_preventions", "u1"),
    ("notional_flags", "u1"),
    ("amends_max", "u1"),
    ("average_minutes", "u2"),
    ("base_asset", "u4"),
    ("quote_asset", "u4"),
    ("tick_e8", "i8"),
    ("step_units", "i8"),
    ("price_ticks_min", "i8"),
    ("price_ticks_max", "i8"),
    ("quantity_steps_min", "i8"),
    ("quantity_steps_max", "i8"),
    ("market_quantity_steps_min", "i8"),
    ("market_quantity_steps_max", "i8"),
    ("name", "S36"),
    ("market_step_steps", "u4"),
    ("notional_units_min", "i8"),
    ("notional_units_max", "i8"),
    ("maker_rate_e8", "i4"),
    ("taker_rate_e8", "i4"),
    ("orders_max", "u4"),
    ("algo_orders_max", "u4"),
    ("iceberg_orders_max", "u4"),
    ("iceberg_parts_max", "u4"),
    ("position_units_max", "i8"),
    ("bid_multiplier_up_e4", "u4"),
    ("bid_multiplier_down_e4", "u4"),
    ("ask_multiplier_up_e4", "u4"),
    ("ask_multiplier_down_e4", "u4"),
    ("rest", "V8"),
)

ACCOUNT_FIELDS = (
    ("kind", "u1"),
    ("permissions", "u1"),
    ("reserved", "V6"),
    ("account", "u4"),
    ("maker_rate_e8", "i4"),
    ("taker_rate_e8", "i4"),
    ("trade_group", "u4"),
    ("rest", "V64"),
    ("name", "S36"),
    ("rest2", "V68"),
)

ASSET_FIELDS = (
    ("kind", "u1"),
    ("decimals", "u1"),
    ("reserved", "V6"),
    ("rest", "V80"),
    ("name", "S36"),
    ("rest2", "V68"),
)

CONFIGURE_FIELDS = (
    ("kind", "u1"),
    ("reserved", "V7"),
    ("accounts_max", "u4"),
    ("orders_max", "u4"),
    ("assets_max", "u4"),
    ("markets_max", "u4"),
    ("digests_max", "u4"),
    ("writers_max", "u4"),
    ("seed", "u8"),
    ("rules_version", "u4"),
    ("rest", "V148"),
)


def _dtype(fields: tuple[tuple[str, str], ...]) -> "np.dtype[np.void]":
    return np.dtype([(name, code if code[0] in "SV" else "<" + code) for name, code in fields])


_STRUCT_CODES: Final = {"u1": "B", "i1": "b", "u2": "H", "u4": "I", "i4": "i", "u8": "Q", "i8": "q"}


def _struct(fields: tuple[tuple[str, str], ...]) -> Struct:
    return Struct("<" + "".join(code[1:] + "s" if code[0] in "SV" else _STRUCT_CODES[code] for _, code in fields))


COMMAND = _dtype(COMMAND_FIELDS)
COMMAND_STRUCT = _struct(COMMAND_FIELDS)
EVENT = _dtype(EVENT_FIELDS)
EVENT_STRUCT = _struct(EVENT_FIELDS)
ORDER = _dtype(ORDER_FIELDS)
ORDER_STRUCT = _struct(ORDER_FIELDS)
TOP = _dtype(TOP_FIELDS)
TOP_STRUCT = _struct(TOP_FIELDS)
POSITION = _dtype(POSITION_FIELDS)
POSITION_STRUCT = _struct(POSITION_FIELDS)
MARKET = _dtype(MARKET_FIELDS)
MARKET_STRUCT = _struct(MARKET_FIELDS)
ACCOUNT = _dtype(ACCOUNT_FIELDS)
ACCOUNT_STRUCT = _struct(ACCOUNT_FIELDS)
ASSET = _dtype(ASSET_FIELDS)
ASSET_STRUCT = _struct(ASSET_FIELDS)
CONFIGURE = _dtype(CONFIGURE_FIELDS)
CONFIGURE_STRUCT = _struct(CONFIGURE_FIELDS)


class CommandRow(NamedTuple):
    """A command, unpacked by COMMAND_STRUCT."""

    kind: int
    type: int
    side: int
    time_in_force: int
    self_trade_prevention: int
    flags: int
    legs: int
    restriction: int
    account: int
    market: int
    price_ticks: int
    quantity_steps: int
    stop_price_ticks: int
    quote_quantity_units: int
    iceberg_steps: int
    order_id: int
    deadline_ns: int
    digest: bytes
    client_id: bytes
    strategy_type: int
    other_client_id: bytes
    trailing_delta_bips: int
    strategy_id: int
    peg_price_type: int
    peg_offset_type: int
    peg_offset_value: int
    reserved: int
    reserved2: int
    reserved3: int


class EventRow(NamedTuple):
    """An event, unpacked by EVENT_STRUCT."""

    kind: int
    status: int
    reason: int
    flags: int
    account: int
    sequence: int
    order_id: int
    execution_id: int
    market: int
    code: int
    price_ticks: int
    quantity_steps: int
    quote_units: int
    executed_steps: int
    executed_quote_units: int
    fee_units: int
    trade_id: int
    other_order_id: int
    remaining_steps: int
    prevented_match_id: int
    other_account: int
    asset: int


class OrderRow(NamedTuple):
    """An order, unpacked by ORDER_STRUCT; client_id is zero padded."""

    order_id: int
    account: int
    market: int
    type: int
    side: int
    time_in_force: int
    self_trade_prevention: int
    status: int
    reason: int
    flags: int
    amends: int
    price_ticks: int
    stop_price_ticks: int
    quantity_steps: int
    executed_steps: int
    executed_quote_units: int
    quote_quantity_units: int
    iceberg_steps: int
    prevented_steps: int
    created_ns: int
    updated_ns: int
    working_ns: int
    strategy_id: int
    strategy_type: int
    trailing_delta_bips: int
    order_list_id: int
    sequence: int
    prevented_match_id: int
    trailing_ns: int
    pegged_price_ticks: int
    peg_price_type: int
    peg_offset_type: int
    peg_offset_value: int
    reserved: int
    client_id: bytes
    locked_units: int
    shown_steps: int


class TopRow(NamedTuple):
    """The best of a book."""

    sequence: int
    update_id: int
    market: int
    reserved: int
    bid_price_ticks: int
    bid_quantity_steps: int
    ask_price_ticks: int
    ask_quantity_steps: int
    reserved2: int


class PositionRow(NamedTuple):
    """A watched account's balance."""

    sequence: int
    account: int
    asset: int
    free_units: int
    locked_units: int


def text(raw: bytes) -> bytes:
    """A zero padded text field without its padding."""
    return raw.rstrip(b"\0")


def configure(
    *,
    accounts_max: int = 1 << 20,
    orders_max: int = 1 << 20,
    assets_max: int = 256,
    markets_max: int = 256,
    digests_max: int = 1 << 18,
    writers_max: int = 1024,
    seed: int = 0,
    rules_version: int = RULES_VERSION,
) -> bytes:
    """The first command of a log: its limits. `seed` keys the kernel's hash tables."""
    return CONFIGURE_STRUCT.pack(
        CommandKind.CONFIGURE, b"", accounts_max, orders_max, assets_max, markets_max, digests_max, writers_max, seed,
        rules_version, b"",
    )


def asset(name: bytes, decimals: int = 8) -> bytes:
    """Creates the next asset; `decimals` 0..8 fixes its smallest unit."""
    return ASSET_STRUCT.pack(CommandKind.ASSET, decimals, b"", b"", name, b"")


def account(
    name: bytes = b"", *, permissions: int = 7, maker_rate_e8: int = -1, taker_rate_e8: int = -1, trade_group: int = 0
) -> bytes:
    """Creates the next account. Permission bits: 1 trade, 2 deposit, 4 withdraw. A rate of -1 is the market's."""
    return ACCOUNT_STRUCT.pack(
        CommandKind.ACCOUNT, permissions, b"", 0, maker_rate_e8, taker_rate_e8, trade_group, b"", name, b""
    )


def account_change(
    account: int, *, permissions: int = 7, maker_rate_e8: int = -1, taker_rate_e8: int = -1, trade_group: int = 0
) -> bytes:
    """Sets permissions, rates and trade group of an account."""
    return ACCOUNT_STRUCT.pack(
        CommandKind.ACCOUNT_CHANGE, permissions, b"", account, maker_rate_e8, taker_rate_e8, trade_group, b"", b"", b""
    )


def market(
    name: bytes,
    base_asset: int,
    quote_asset: int,
    *,
    tick_e8: int,
    step_units: int,
    price_ticks_min: int = 1,
    price_ticks_max: int,
    quantity_steps_min: int = 1,
    quantity_steps_max: int,
    market_quantity_steps_min: int = 1,
    market_quantity_steps_max: int | None = None,
    market_step_steps: int = 0,
    notional_units_min: int = 0,
    notional_units_max: int = 0,
    notional_flags: int = 3,
    average_minutes: int = 5,
    maker_rate_e8: int = 100_000,
    taker_rate_e8: int = 100_000,
    orders_max: int = 200,
    algo_orders_max: int = 5,
    iceberg_orders_max: int = 0,
    iceberg_parts_max: int = 0,
    position_units_max: int = 0,
    bid_multiplier_up_e4: int = 0,
    bid_multiplier_down_e4: int = 0,
    ask_multiplier_up_e4: int = 0,
    ask_multiplier_down_e4: int = 0,
    amends_max: int = 10,
    self_trade_prevention: int = SelfTradePrevention.EXPIRE_MAKER,
    self_trade_preventions: int = 0b1111,
    state: int = MarketState.TRADING,
) -> bytes:
    """Creates the next market; every bound as its filter says, in ticks, steps and quote units."""
    return MARKET_STRUCT.pack(
        CommandKind.MARKET, state, self_trade_prevention, self_trade_preventions, notional_flags, amends_max,
        average_minutes, base_asset, quote_asset, tick_e8, step_units, price_ticks_min, price_ticks_max,
        quantity_steps_min, quantity_steps_max, market_quantity_steps_min,
        quantity_steps_max if market_quantity_steps_max is None else market_quantity_steps_max,
        name, market_step_steps, notional_units_min, notional_units_max, maker_rate_e8, taker_rate_e8,
        orders_max, algo_orders_max, iceberg_orders_max, iceberg_parts_max, position_units_max,
        bid_multiplier_up_e4, bid_multiplier_down_e4, ask_multiplier_up_e4, ask_multiplier_down_e4, b"",
    )


def command(
    kind: int,
    *,
    account: int = 0,
    market: int = 0,
    type: int = 0,
    side: int = 0,
    time_in_force: int = 0,
    self_trade_prevention: int = 0,
    flags: int = 0,
    legs: int = 1,
    restriction: int = 0,
    price_ticks: int = 0,
    quantity_steps: int = 0,
    stop_price_ticks: int = 0,
    quote_quantity_units: int = 0,
    iceberg_steps: int = 0,
    order_id: int = 0,
    deadline_ns: int = 0,
    digest: bytes = NO_DIGEST,
    client_id: bytes = b"",
    other_client_id: bytes = b"",
    strategy_id: int = 0,
    strategy_type: int = 0,
) -> bytes:
    """Any command of the common layout, field by field."""
    return COMMAND_STRUCT.pack(
        kind, type, side, time_in_force, self_trade_prevention, flags, legs, restriction, account, market, price_ticks,
        quantity_steps, stop_price_ticks, quote_quantity_units, iceberg_steps, order_id, deadline_ns, digest, client_id,
        strategy_type, other_client_id, 0, strategy_id, 0, 0, 0, 0, 0, 0,
    )


def market_state(market: int, state: int) -> bytes:
    """Puts a market into a MarketState."""
    return command(CommandKind.MARKET_STATE, market=market, restriction=state)


def deposit(account: int, asset: int, units: int, *, digest: bytes = NO_DIGEST) -> bytes:
    """Credits an account."""
    return command(CommandKind.DEPOSIT, account=account, market=asset, quote_quantity_units=units, digest=digest)


def withdraw(account: int, asset: int, units: int, *, digest: bytes = NO_DIGEST) -> bytes:
    """Debits an account's free balance."""
    return command(CommandKind.WITHDRAW, account=account, market=asset, quote_quantity_units=units, digest=digest)


def place(
    account: int,
    market: int,
    side: int,
    type: int,
    time_in_force: int = 0,
    price_ticks: int = 0,
    quantity_steps: int = 0,
    stop_price_ticks: int = 0,
    quote_quantity_units: int = 0,
    self_trade_prevention: int = 0,
    client_id: bytes = b"",
    deadline_ns: int = 0,
    digest: bytes = NO_DIGEST,
    strategy_id: int = 0,
    strategy_type: int = 0,
    iceberg_steps: int = 0,
) -> bytes:
    """A new order."""
    return COMMAND_STRUCT.pack(
        CommandKind.PLACE, type, side, time_in_force, self_trade_prevention, 0, 1, 0, account, market, price_ticks,
        quantity_steps, stop_price_ticks, quote_quantity_units, iceberg_steps, 0, deadline_ns, digest, client_id,
        strategy_type, b"", 0, strategy_id, 0, 0, 0, 0, 0, 0,
    )


def cancel(
    account: int,
    market: int,
    order_id: int = 0,
    client_id: bytes = b"",
    other_client_id: bytes = b"",
    restriction: int = 0,
    deadline_ns: int = 0,
    digest: bytes = NO_DIGEST,
) -> bytes:
    """Cancels an order by its id, its client id, or both; `other_client_id` is the cancel's own id."""
    return COMMAND_STRUCT.pack(
        CommandKind.CANCEL, 0, 0, 0, 0, 0, 1, restriction, account, market, 0, 0, 0, 0, 0, order_id, deadline_ns,
        digest, client_id, 0, other_client_id, 0, 0, 0, 0, 0, 0, 0, 0,
    )


def cancel_all(
    account: int, market: int, other_client_id: bytes = b"", deadline_ns: int = 0, digest: bytes = NO_DIGEST
) -> bytes:
    """Cancels every open order of an account in a market."""
    return command(
        CommandKind.CANCEL_ALL, account=account, market=market, other_client_id=other_client_id,
        deadline_ns=deadline_ns, digest=digest,
    )


def amend(
    account: int,
    market: int,
    order_id: int = 0,
    client_id: bytes = b"",
    quantity_steps: int = 0,
    other_client_id: bytes = b"",
    deadline_ns: int = 0,
    digest: bytes = NO_DIGEST,
) -> bytes:
    """Lowers an order's quantity; it keeps its place. `other_client_id` is its new client id."""
    return command(
        CommandKind.AMEND, account=account, market=market, order_id=order_id, client_id=client_id,
        quantity_steps=quantity_steps, other_client_id=other_client_id, deadline_ns=deadline_ns, digest=digest,
    )


def kill(account: int, market: int = 0, *, close: bool = False, digest: bytes = NO_DIGEST) -> bytes:
    """Expires every open order of an account (in one market, or in all); `close`: and it may trade no more."""
    return command(CommandKind.KILL, account=account, market=market, restriction=int(close), digest=digest)


def replace(
    account: int,
    market: int,
    new: bytes,
    *,
    order_id: int = 0,
    client_id: bytes = b"",
    other_client_id: bytes = b"",
    restriction: int = 0,
    allow_failure: bool = False,
    deadline_ns: int = 0,
    digest: bytes = NO_DIGEST,
) -> bytes:
    """Two records: cancels an order as `cancel` does and places `new` (of `place`, without deadline and digest)."""
    flags = CommandFlag.ALLOW_FAILURE if allow_failure else CommandFlag.NONE
    first = command(
        CommandKind.REPLACE, flags=flags, legs=2, account=account, market=market, order_id=order_id,
        client_id=client_id, other_client_id=other_client_id, restriction=restriction, deadline_ns=deadline_ns,
        digest=digest,
    )
    return first + new


def rules(version: int) -> bytes:
    """Activates a version of the rules."""
    return command(CommandKind.RULES, order_id=version)


def mark(market: int) -> bytes:
    """Closes the open depth span of a market on every replica."""
    return command(CommandKind.MARK, market=market)


def notes(payload: bytes) -> bytes:
    """An opaque entry for the registry, cut into 1..255 records; byte 7 of a record counts its payload bytes."""
    pieces = [payload[i : i + NOTE_BYTES] for i in range(0, len(payload), NOTE_BYTES)] or [b""]
    if len(pieces) > 255:
        raise ValueError("a note holds at most 255 records")
    head = Struct(f"<B5xBB{NOTE_BYTES}s")
    return b"".join(head.pack(CommandKind.NOTE, len(pieces), len(piece), piece) for piece in pieces)
