# SPDX-License-Identifier: Apache-2.0
"""One layout, written down three times: `records.pxd` (C), `bidhall.core.records` (numpy, struct), the twin's own."""

import re
from enum import IntEnum, IntFlag
from pathlib import Path
from random import Random
from struct import Struct
from typing import Any

import numpy as np
import pytest

from bidhall.core import records
from tests.model import commands
from tests.model import records as twin

HEADER = (Path(__file__).resolve().parents[2] / "cython_core" / "records.pxd").read_text()
SIZES = {"int8_t": 1, "uint8_t": 1, "uint16_t": 2, "uint32_t": 4, "int32_t": 4, "uint64_t": 8, "int64_t": 8}
STRUCTS = {
    "Command": ("COMMAND", 192, "COMMAND"),
    "ConfigureCommand": ("CONFIGURE", 192, "CONFIGURE"),
    "AssetCommand": ("ASSET", 192, "ASSET"),
    "AccountCommand": ("ACCOUNT", 192, "ACCOUNT"),
    "MarketCommand": ("MARKET", 192, "MARKET"),
    "Event": ("EVENT", 128, "EVENT"),
    "OrderRecord": ("ORDER", 224, "ORDER"),
    "TopRecord": ("TOP", 64, "TOP"),
    "PositionRecord": ("POSITION", 32, "POSITION"),
}
ENUMS = {
    "CommandKind": ("COMMAND_", records.CommandKind),
    "Side": ("SIDE_", records.Side),
    "OrderType": ("TYPE_", records.OrderType),
    "TimeInForce": ("TIF_", records.TimeInForce),
    "SelfTradePrevention": ("STP_", records.SelfTradePrevention),
    "OrderStatus": ("STATUS_", records.OrderStatus),
    "MarketState": ("STATE_", records.MarketState),
    "CancelRestriction": ("RESTRICTION_", records.CancelRestriction),
    "ExpiryReason": ("REASON_", records.ExpiryReason),
    "EventKind": ("EVENT_", records.EventKind),
    "EventFlag": ("FLAG_", records.EventFlag),
    "Reject": ("REJECT_", records.Reject),
}
TWIN_ENUMS = {
    "CommandKind": twin.CommandKind,
    "Side": twin.Side,
    "OrderType": twin.OrderType,
    "TimeInForce": twin.TimeInForce,
    "SelfTradePrevention": twin.Mode,
    "OrderStatus": twin.Status,
    "MarketState": twin.State,
    "CancelRestriction": twin.Restriction,
    "EventKind": twin.EventKind,
    "EventFlag": twin.Flag,
    "Reject": twin.Reject,
}


def block(start: str) -> list[str]:
    """The indented lines under a heading of records.pxd, without comments."""
    found = re.search(re.escape(start) + r"[^\n]*\n((?:[ \t]+[^\n]*\n|\n)+)", HEADER + "\n")
    assert found, start
    return [line.split("#")[0].strip() for line in found.group(1).splitlines() if line.split("#")[0].strip()]


def c_fields(name: str) -> list[tuple[str, int, int, str]]:
    """(name, offset, size, kind) of a packed struct; kind is i, u, or b for bytes."""
    fields, offset = [], 0
    for line in block(f"cdef packed struct {name}:"):
        kind, field, count = re.fullmatch(r"(\w+) (\w+)(?:\[(\d+)\])?", line).groups()  # type: ignore[union-attr]
        size = SIZES[kind] * int(count or 1)
        fields.append((field, offset, size, "b" if count else kind[0]))
        offset += size
    return fields


def c_enum(name: str) -> dict[str, int]:
    return {key: int(value) for key, value in (line.split(" = ") for line in block(f"cdef enum {name}:"))}


def numpy_fields(dtype: "np.dtype[np.void]") -> list[tuple[str, int, int, str]]:
    kinds = {"u": "u", "i": "i", "V": "b", "S": "b"}
    fields = [(name, *(dtype.fields or {})[name][:2]) for name in dtype.names or ()]
    return [(name, offset, kind.itemsize, kinds[kind.kind]) for name, kind, offset in fields]


@pytest.mark.parametrize("name", STRUCTS)
def test_the_dtype_is_the_struct(name: str) -> None:
    python_name, size, _ = STRUCTS[name]
    dtype = getattr(records, python_name)
    assert numpy_fields(dtype) == c_fields(name)
    assert dtype.itemsize == size == sum(field[2] for field in c_fields(name))
    assert getattr(records, f"{python_name}_STRUCT").size == size
    assert all(dtype.fields[field][0].str[0] in "<|" for field in dtype.names), "little endian"


@pytest.mark.parametrize("name", STRUCTS)
def test_the_struct_format_reads_what_the_dtype_reads(name: str, seed: int) -> None:
    python_name, size, _ = STRUCTS[name]
    raw = Random(seed).randbytes(size)
    row = np.frombuffer(raw, getattr(records, python_name))[0]
    unpacked = getattr(records, f"{python_name}_STRUCT").unpack(raw)
    for value, field in zip(unpacked, row.dtype.names, strict=True):
        seen = row[field]
        if isinstance(value, bytes):
            assert bytes(seen).ljust(len(value), b"\0") == value
        else:
            assert int(seen) == value


@pytest.mark.parametrize("name", STRUCTS)
def test_the_twins_layout_is_the_struct(name: str, seed: int) -> None:
    """Same size, and every field that it does not skip lies where it must."""
    layout: Struct = getattr(twin, STRUCTS[name][2])
    assert layout.size == STRUCTS[name][1]
    raw = Random(seed).randbytes(layout.size)
    ours = list(getattr(records, f"{STRUCTS[name][0]}_STRUCT").unpack(raw))
    for value in layout.unpack(raw):  # the same values in the same order, some of ours (reserved, rest) left out
        while ours and ours[0] != value:
            ours.pop(0)
        assert ours, f"{name}: {value!r} is not where the struct has it"
        ours.pop(0)


@pytest.mark.parametrize("name", ["COMMAND", "EVENT", "ORDER", "TOP", "POSITION"])
def test_the_rows_have_the_fields_in_order(name: str) -> None:
    row = {"COMMAND": records.CommandRow, "EVENT": records.EventRow, "ORDER": records.OrderRow}.get(name)
    row = row or {"TOP": records.TopRow, "POSITION": records.PositionRow}[name]
    assert row._fields == getattr(records, name).names


@pytest.mark.parametrize("name", ENUMS)
def test_the_enum_is_the_enum(name: str) -> None:
    prefix, enum = ENUMS[name]
    ours = {f"{prefix}{member.name}": int(member) for member in enum}
    assert issubclass(enum, IntEnum | IntFlag)
    assert ours == c_enum(name)


@pytest.mark.parametrize("name", TWIN_ENUMS)
def test_the_twins_numbers_are_the_enums(name: str) -> None:
    numbers = {value for key, value in vars(TWIN_ENUMS[name]).items() if key.isupper()}
    known = {key.split("_", 1)[1]: value for key, value in c_enum(name).items()}
    for key, value in vars(TWIN_ENUMS[name]).items():
        if key.isupper():
            assert known[key] == value
    assert numbers <= set(known.values())


def test_the_constants_are_the_headers() -> None:
    known = dict(line.split(" = ") for line in block("cdef enum:"))
    for name, value in known.items():
        assert getattr(records, name) == int(value)
    assert (records.COMMAND_BYTES, records.EVENT_BYTES, records.ORDER_BYTES) == (192, 128, 224)


def test_the_drawings_name_offsets_that_are_true() -> None:
    """`+16  price_ticks | quantity_steps` in the comment of records.pxd."""
    offsets = {"Command": {}, "Event": {}}
    current: dict[str, int] = {}
    for line in HEADER.split("from libc")[0].splitlines():
        for name in offsets:
            if re.match(rf"#  {name}, \d+ bytes", line):
                current = offsets[name]
        found = re.match(r"#  \+(\d+)\s+(?:\.\.\. digest\s+\| )?(\w+)", line)
        if found and found.group(2) != "kind":
            current[found.group(2)] = int(found.group(1))
    for name, drawn in offsets.items():
        real = {field[0]: field[1] for field in c_fields(name)}
        assert drawn, name
        for field, offset in drawn.items():
            shift = 8 if name == "Command" and offset == 80 else 0  # the line begins with the digest's second half
            assert real[field] == offset + shift, (name, field)


NAME = b"n" * 36
PACKED: list[tuple[bytes, bytes]] = [
    (
        records.place(7, 8, 1, 5, 2, 11, 12, 13, 14, 3, b"id", 15, b"d" * 16, -16, 17),
        commands.place(
            7,
            8,
            1,
            5,
            time_in_force=2,
            price_ticks=11,
            quantity_steps=12,
            stop_price_ticks=13,
            quote_quantity_units=14,
            self_trade_prevention=3,
            client_id=b"id",
            deadline_ns=15,
            digest=b"d" * 16,
            strategy_id=-16,
            strategy_type=17,
            legs=1,
        ),
    ),
    (
        records.place(7, 8, 1, 1, 1, 11, 12, iceberg_steps=5),
        commands.place(
            7, 8, 1, 1, time_in_force=1, price_ticks=11, quantity_steps=12, iceberg_steps=5, strategy_id=0, legs=1
        ),
    ),
    (records.kill(7, 8, digest=b"d" * 16), commands.kill(7, 8, digest=b"d" * 16, legs=1)),
    (records.kill(7, close=True), commands.kill(7, restriction=1, legs=1)),
    (
        records.cancel(7, 8, 9, NAME, b"o", 2, 15, b"d" * 16),
        commands.cancel(
            7, 8, 9, client_id=NAME, other_client_id=b"o", restriction=2, deadline_ns=15, digest=b"d" * 16, legs=1
        ),
    ),
    (records.cancel_all(7, 8, b"o", 15), commands.cancel_all(7, 8, other_client_id=b"o", deadline_ns=15, legs=1)),
    (
        records.amend(7, 8, 9, b"c", 10, b"o", 15),
        commands.amend(7, 8, 9, 10, client_id=b"c", other_client_id=b"o", deadline_ns=15, legs=1),
    ),
    (records.deposit(7, 8, 2**63 - 1, digest=b"d" * 16), commands.deposit(7, 8, 2**63 - 1, digest=b"d" * 16, legs=1)),
    (records.withdraw(7, 8, 9), commands.withdraw(7, 8, 9, legs=1)),
    (records.market_state(8, 3), commands.market_state(8, 3, legs=1)),
    (records.mark(8), commands.mark(8, legs=1)),
    (records.notes(b"text"), commands.note(b"text")),
    (records.asset(NAME, 5), commands.asset(NAME, 5)),
    (
        records.account(b"name", permissions=3, maker_rate_e8=-1, taker_rate_e8=9, trade_group=4),
        commands.account(b"name", permissions=3, maker_rate_e8=-1, taker_rate_e8=9, trade_group=4),
    ),
    (
        records.account_change(7, permissions=0, maker_rate_e8=5),
        commands.account_change(7, permissions=0, maker_rate_e8=5),
    ),
    (
        records.configure(
            accounts_max=1,
            orders_max=2,
            assets_max=3,
            markets_max=4,
            digests_max=5,
            writers_max=6,
            seed=2**64 - 1,
            rules_version=2,
        ),
        commands.configure(
            accounts_max=1,
            orders_max=2,
            assets_max=3,
            markets_max=4,
            digests_max=5,
            writers_max=6,
            seed=2**64 - 1,
            rules_version=2,
        ),
    ),
]


@pytest.mark.parametrize("pair", PACKED, ids=lambda pair: f"kind {pair[0][0]}")
def test_both_packers_give_the_same_bytes(pair: tuple[bytes, bytes]) -> None:
    assert pair[0] == pair[1]
    assert len(pair[0]) == 192


def test_both_packers_give_the_same_group() -> None:
    new = records.place(7, 8, 1, 1, 1, 11, 12)
    fields: dict[str, Any] = {"client_id": NAME, "other_client_id": b"o", "restriction": 2, "deadline_ns": 15}
    ours = records.replace(7, 8, new, order_id=9, allow_failure=True, digest=b"d" * 16, **fields)
    assert ours == commands.replace(7, 8, new, 9, flags=1, digest=b"d" * 16, **fields)
    assert len(ours) == 384


def test_both_packers_of_markets_give_the_same_bytes(seed: int) -> None:
    random = Random(seed)
    taken = {
        name: random.randint(1, 100)
        for name in twin.MarketCommand._fields[1:]
        if not name.startswith(("name", "base_asset", "quote_asset"))
    }
    given: dict[str, Any] = dict(taken)
    assert records.market(NAME, 3, 4, **given) == commands.market(NAME, 3, 4, **taken)


def test_a_long_note_is_cut_into_records() -> None:
    payload = bytes(range(256)) * 3
    raw = records.notes(payload)
    assert len(raw) == 5 * 192
    pieces = [raw[i : i + 192] for i in range(0, len(raw), 192)]
    assert b"".join(piece[8 : 8 + piece[7]] for piece in pieces) == payload
    assert {piece[6] for piece in pieces} == {5}
    with pytest.raises(ValueError, match="255"):
        records.notes(bytes(184 * 255 + 1))
