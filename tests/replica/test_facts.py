# SPDX-License-Identifier: Apache-2.0
"""What amends changed, and prevented matches: put together from commands, kernel and events, also where several meet in
one batch."""

from __future__ import annotations

from typing import Any

import numpy as np

from bidhall.core import Exchange, records
from bidhall.core.records import EventKind, OrderType, SelfTradePrevention, Side, TimeInForce
from bidhall.replica import amendments, prevention

TIME_NS = 1_700_000_000_000_000_000
SETUP = [
    records.configure(), records.asset(b"BTC"), records.asset(b"USDT"), records.account(b"a"), records.account(b"b"),
    records.market(
        b"BTCUSDT", 1, 2, tick_e8=1_000_000, step_units=1_000, price_ticks_max=10**8, quantity_steps_max=10**8,
        self_trade_preventions=0b111111,
    ),
    *(records.deposit(account, asset, 10**16) for account in (1, 2) for asset in (1, 2)),
]  # fmt: skip


class Kernel:
    """Applies a batch as the replica does."""

    def __init__(self) -> None:
        self.exchange = Exchange()
        self.time_ns = TIME_NS
        self.apply(b"".join(SETUP))

    def apply(self, commands: bytes) -> tuple[list[amendments.Amendment], list[prevention.PreventedMatch], Any]:
        self.time_ns += 1_000
        first = self.exchange.sequence + 1
        targets = amendments.look(self.exchange, memoryview(commands))
        events = self.exchange.apply(commands, self.time_ns, self.time_ns)
        changed = [] if targets is None else amendments.rows(targets, commands, events, first, self.time_ns)
        prevented = prevention.rows(self.exchange, events, self.exchange.done(), self.time_ns)
        return changed, prevented, events


def limit(
    side: Side, price: int, quantity: int, client_id: bytes = b"", account: int = 1, mode: int = 0, iceberg: int = 0
) -> bytes:
    return records.place(
        account, 1, side, OrderType.LIMIT, TimeInForce.GTC, price, quantity, client_id=client_id,
        self_trade_prevention=mode, iceberg_steps=iceberg,
    )  # fmt: skip


def test_nothing_is_looked_at_without_an_amend() -> None:
    kernel = Kernel()
    assert amendments.look(kernel.exchange, limit(Side.BUY, 100, 10) * 3) is None
    assert amendments.look(kernel.exchange, b"") is None


def test_amends_by_id_by_name_and_refused_ones() -> None:
    kernel = Kernel()
    kernel.apply(limit(Side.BUY, 100, 10, b"one") + limit(Side.BUY, 101, 20, b"two"))
    batch = (
        records.amend(1, 1, 1, quantity_steps=9, other_client_id=b"new")
        + records.amend(1, 1, client_id=b"two", quantity_steps=15)
        + records.amend(1, 1, 2, quantity_steps=15)  # no change
        + records.amend(2, 1, 1, quantity_steps=5)  # somebody else's
        + records.amend(1, 1, 77, quantity_steps=5)
        + records.amend(1, 1, client_id=b"new", quantity_steps=4, other_client_id=b"newer")
        + records.amend(1, 1, 1, quantity_steps=3)
    )
    changed, _, events = kernel.apply(batch)
    assert [tuple(row)[2:8] for row in changed] == [
        (1, int(events[0]["execution_id"]), b"one", b"new", 10, 9),
        (2, int(events[1]["execution_id"]), b"two", b"two", 20, 15),
        (1, int(events[5]["execution_id"]), b"new", b"newer", 9, 4),
        (1, int(events[6]["execution_id"]), b"newer", b"newer", 4, 3),
    ]
    assert {(row.account, row.market, row.time_ns) for row in changed} == {(1, 1, kernel.time_ns)}


def test_an_amend_anywhere_in_a_batch_of_any_size() -> None:
    for size in (1, 2, 16, 17, 40):
        for place in {0, size // 2, size - 1}:
            kernel = Kernel()
            kernel.apply(limit(Side.BUY, 100, 10, b"one"))
            batch = [records.mark(1)] * size
            batch[place] = records.amend(1, 1, client_id=b"one", quantity_steps=9, other_client_id=b"two")
            changed, _, _ = kernel.apply(b"".join(batch))
            assert [row[4:8] for row in changed] == [(b"one", b"two", 10, 9)], (size, place)
            assert kernel.apply(records.mark(1) * size)[0] == []


def test_an_order_placed_and_amended_by_one_batch() -> None:
    kernel = Kernel()
    changed, _, events = kernel.apply(
        limit(Side.BUY, 100, 10, b"a")
        + records.amend(1, 1, client_id=b"a", quantity_steps=7)
        + records.amend(1, 1, 1, quantity_steps=2, other_client_id=b"b")
    )
    assert [int(event["kind"]) for event in events] == [EventKind.ACCEPTED, EventKind.REPLACED, EventKind.REPLACED]
    assert [row[4:8] for row in changed] == [(b"a", b"a", 10, 7), (b"a", b"b", 7, 2)]


def test_an_amend_that_ends_the_order_and_expiries_that_are_none() -> None:
    kernel = Kernel()
    kernel.apply(limit(Side.BUY, 100, 10, b"a") + limit(Side.SELL, 100, 6, account=2))
    changed, _, events = kernel.apply(
        records.place(2, 1, Side.SELL, OrderType.LIMIT, TimeInForce.IOC, 200, 5)  # expires, and is no amend
        + records.amend(1, 1, 1, quantity_steps=6)
    )
    assert [int(event["kind"]) for event in events].count(EventKind.EXPIRED) == 2
    assert [row[2:3] + row[4:8] for row in changed] == [(1, b"a", b"a", 10, 6)]


def test_prevented_matches_of_every_mode() -> None:
    kernel = Kernel()
    kernel.apply(records.account_change(1, trade_group=3) + records.account_change(2, trade_group=3))
    modes = [mode for mode in SelfTradePrevention if mode > SelfTradePrevention.NONE]
    lost = {
        SelfTradePrevention.EXPIRE_TAKER: (6, 0), SelfTradePrevention.EXPIRE_MAKER: (0, 10),
        SelfTradePrevention.EXPIRE_BOTH: (6, 10), SelfTradePrevention.DECREMENT: (6, 6),
        SelfTradePrevention.TRANSFER: (6, 6),
    }  # fmt: skip
    for mode in modes:
        for account in (1, 2):
            kernel.apply(limit(Side.BUY, 100, 10, mode=mode))
            maker = kernel.exchange.open_orders(1, 1)[-1]["order_id"]
            _, found, _ = kernel.apply(limit(Side.SELL, 100, 6, account=account, mode=mode))
            (row,) = found
            moved = mode is SelfTradePrevention.TRANSFER and account == 2
            applied = SelfTradePrevention.DECREMENT if mode == SelfTradePrevention.TRANSFER and not moved else mode
            assert (row.taker_account, row.maker_account, row.maker_order_id) == (account, 1, maker)
            assert (row.taker_steps, row.maker_steps) == lost[mode], mode
            assert (row.mode, row.trade_group, row.price_ticks) == (applied, 3, 100)
            assert (row.quote_units > 0, row.time_ns) == (moved, kernel.time_ns)
            kernel.apply(records.cancel_all(1, 1) + records.cancel_all(2, 1))


def test_a_taker_that_meets_several_of_its_own() -> None:
    kernel = Kernel()
    kernel.apply(b"".join(limit(Side.SELL, 100 + n, 5, iceberg=2 * (n == 1)) for n in range(3)))
    _, found, events = kernel.apply(limit(Side.BUY, 102, 12, mode=SelfTradePrevention.DECREMENT))
    assert [(row.price_ticks, row.taker_steps, row.maker_steps) for row in found] == [
        (100, 5, 5), (101, 2, 2), (101, 2, 2), (101, 1, 1), (102, 2, 2),
    ]  # fmt: skip
    assert [row.prevented_match_id for row in found] == [1, 2, 3, 4, 5]
    assert np.count_nonzero(events["kind"] == EventKind.PREVENTED) == 10
