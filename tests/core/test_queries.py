# SPDX-License-Identifier: Apache-2.0
"""What the kernel answers between batches, compared with the twin's state along generated histories."""

from collections.abc import Iterator
from random import Random
from typing import Any

import numpy as np
import pytest

from bidhall.core import Exchange
from tests.core.lockstep import GAP, UNKNOWN, Lockstep, run_history
from tests.core.stage import ANN, BOB, BUY, SELL, Stage
from tests.model import ModelExchange, commands
from tests.model.histories import History
from tests.model.records import EVENT, CommandKind, Event, EventKind, Flag, OrderType, TimeInForce

GTC = TimeInForce.GTC
QUEUES = {1: "bids", 2: "asks", 3: "above", 4: "below"}


def ids(rows: Any) -> list[int]:
    return [int(order_id) for order_id in rows["order_id"]]


def compare_orders(kernel: Exchange, twin: ModelExchange, random: Random) -> None:
    for number in twin.accounts:
        wanted = sorted(i for (account, _), held in twin.open_orders.items() if account == number for i in held)
        assert ids(kernel.open_orders(number)) == wanted
        for market in twin.markets:
            held = twin.orders_of(number, market)
            assert ids(kernel.open_orders(number, market)) == sorted(held)
            for order in held.values():
                assert ids(kernel.order(order.order_id)) == [order.order_id]
                if order.client_id[0]:
                    assert kernel.find(number, market, order.client_id.rstrip(b"\0")) == order.order_id
            assert kernel.find(number, market, b"nobody's") == 0
    assert len(kernel.order(random.randint(twin.next_order_id, 2**64 - 1))) == 0
    assert kernel.open_order_count == twin.open_order_count


def compare_markets(kernel: Exchange, twin: ModelExchange, random: Random) -> None:
    for number, market in twin.markets.items():
        for queue, name in QUEUES.items():
            assert ids(kernel.book(number, queue)) == [order.order_id for order in getattr(market, name)]
        limit = random.choice((1, 3, 10_000))
        update_id, bids, asks = kernel.depth(number, limit)
        assert update_id == market.update_id
        assert [tuple(level) for level in bids.tolist()] == market.levels(market.bids)[:limit]
        assert [tuple(level) for level in asks.tolist()] == market.levels(market.asks)[:limit]
        assert kernel.top(number) == (market.update_id, *market.top())
        assert kernel.last_price(number) == market.last_price_ticks
        assert kernel.average_price(number) == market.average_price_ticks(twin.time_ns)
        assert kernel.market(number)["state"] == market.state
        assert kernel.market(number)["quote_factor"] == market.quote_units_per_tick_step


def compare_money(kernel: Exchange, twin: ModelExchange) -> None:
    assert (kernel.asset_count, kernel.market_count, kernel.account_count) == (
        len(twin.assets),
        len(twin.markets),
        len(twin.accounts),
    )
    for number, asset in twin.assets.items():
        assert kernel.totals(number) == (asset.deposited_units, asset.withdrawn_units, asset.fees_units)
    for number, account in twin.accounts.items():
        wanted = [
            (asset, balance.free_units, balance.locked_units)
            for asset, balance in sorted(account.balances.items())
            if balance.free_units or balance.locked_units
        ]
        assert kernel.balances(number) == wanted
        for asset in twin.assets:
            balance = twin.balance(number, asset)
            assert kernel.balance(number, asset) == (balance.free_units, balance.locked_units)


@pytest.mark.parametrize("seed", range(6000, 6008))
def test_every_query_answers_what_the_twin_has(seed: int) -> None:
    random = Random(seed)

    def look(lockstep: Lockstep) -> None:
        if lockstep.batches % 5:
            return
        compare_orders(lockstep.subject, lockstep.twin, random)
        compare_markets(lockstep.subject, lockstep.twin, random)
        compare_money(lockstep.subject, lockstep.twin)
        for writer, number in lockstep.twin.writers.items():
            assert lockstep.subject.writer_number(writer) == number

    run_history(seed, 1_500, each=look)


@pytest.mark.parametrize("seed", range(7000, 7008))
def test_drained_depth_rebuilds_the_book(seed: int) -> None:
    """A reader that applies every span to what it had has the book, and no update id is missing or told twice."""
    random = Random(seed)
    books: dict[int, dict[str, dict[int, int]]] = {}
    last_ids: dict[int, int] = {}

    def follow(lockstep: Lockstep) -> None:
        for number, market in lockstep.twin.markets.items():
            if random.random() < 0.5:
                continue
            book = books.setdefault(number, {"bids": {}, "asks": {}})
            last_id = last_ids.setdefault(number, 0)
            assert lockstep.subject.update_ids(number) == (last_id, market.update_id)
            span = lockstep.subject.drain_depth(number)
            if span is None:
                assert market.update_id == last_id
            else:
                first, last, bids, asks = span
                assert (first, last) == (last_id + 1, market.update_id)
                last_ids[number] = last
                for side, levels in (("bids", bids), ("asks", asks)):
                    prices = [price for price, _ in levels.tolist()]
                    assert len(set(prices)) == len(prices)
                    assert prices == sorted(prices, reverse=side == "bids"), "best first"
                    book[side].update(dict(levels.tolist()))
            for side, orders in (("bids", market.bids), ("asks", market.asks)):
                shown = {price: quantity for price, quantity in book[side].items() if quantity}
                assert shown == dict(market.levels(orders))

    run_history(seed, 1_500, each=follow)


def cut(raw: bytes) -> Iterator[bytes]:
    """Each command for itself; a REPLACE with its PLACE."""
    offset = 0
    while offset < len(raw):
        size = 384 if raw[offset] == CommandKind.REPLACE else 192
        yield raw[offset : offset + size]
        offset += size


@pytest.mark.parametrize("seed", range(8000, 8004))
def test_the_cut_into_batches_changes_nothing(seed: int) -> None:
    """All commands of a moment in one batch, or each in its own: the same events and the same state."""
    twin, whole, single = ModelExchange(), Exchange(), Exchange()
    history = History(seed, twin)
    while twin.sequence < 1_500:
        batch = history.batch()
        try:
            if twin.apply(*batch.arguments()) is None:
                continue
        except (*UNKNOWN, *GAP):
            continue
        stamps = batch.log_time_ns, batch.writer_time_ns
        together = whole.apply(batch.commands, *stamps)
        alone = b""
        for command in cut(batch.commands):
            events = single.apply(command, *stamps)
            assert events is not None
            alone += events.tobytes()
        assert together is not None
        assert together.tobytes() == alone
        if not batch.commands:
            single.apply(b"", *stamps)
    assert whole.dump() == single.dump()


def test_results_stay_as_they_were_when_more_batches_come() -> None:
    """Arrays of events, done orders, tops and positions are the caller's to keep."""
    twin, kernel = ModelExchange(), Exchange()
    history = History(9, twin)
    kept: list[tuple[Any, bytes]] = []
    while twin.sequence < 2_000:
        batch = history.batch()
        try:
            twin.apply(*batch.arguments())
            events = kernel.apply(*batch.arguments())
        except (*UNKNOWN, *GAP):
            continue
        if events is not None:
            arrays = (events, kernel.done(), kernel.tops(), kernel.positions())
            kept += [(array, array.tobytes()) for array in arrays]
        for account in (1, 2):
            if account <= kernel.account_count:
                kernel.watch(account, True)
    assert len(kept) > 100
    assert all(array.tobytes() == copy for array, copy in kept)


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview, lambda raw: np.frombuffer(raw, np.uint8)])
def test_commands_may_be_any_bytes_like_object(wrap: Any) -> None:
    kernel = Exchange()
    events = kernel.apply(wrap(commands.configure() + commands.asset(b"A")))
    assert [int(kind) for kind in events["kind"]] == [EventKind.CONFIGURED, EventKind.ASSET]


def fills_of(events: list[Event]) -> tuple[tuple[int, int, int], ...]:
    return tuple(
        (event.other_order_id, event.price_ticks, event.quantity_steps)
        for event in events
        if event.kind == EventKind.FILL and not event.flags & Flag.MAKER
    )


def test_one_call_a_command_does_what_a_batch_of_one_does(seed: int) -> None:
    random = Random(seed)
    called, batched = Stage(Exchange()).open(), Stage(Exchange()).open()
    for _ in range(2_000):
        account, side = random.randint(0, 5), random.randint(1, 2)
        if random.random() < 0.3:
            order_id = random.randint(0, called.exchange.sequence)
            (event,) = batched.apply(commands.cancel(account, 1, order_id)) or []
            assert called.exchange.cancel(account, 1, order_id) == (-event.code or event.order_id)
            continue
        kind = random.choice((OrderType.LIMIT, OrderType.LIMIT, OrderType.MARKET, OrderType.STOP_LOSS_LIMIT, 9))
        fields = {
            "time_in_force": GTC if kind in (OrderType.LIMIT, OrderType.STOP_LOSS_LIMIT) else 0,
            "price_ticks": random.randint(95, 105) if kind in (OrderType.LIMIT, OrderType.STOP_LOSS_LIMIT) else 0,
            "quantity_steps": random.randint(0, 5),
            "stop_price_ticks": random.randint(90, 110) if kind == OrderType.STOP_LOSS_LIMIT else 0,
        }
        order_id, fills = called.exchange.place(account, 1, side, kind, **fields)
        events = batched.apply(commands.place(account, 1, side, kind, **fields)) or []
        if events[0].kind == EventKind.REJECTED:
            assert (order_id, fills) == (-events[0].code, ())
        else:
            assert order_id == events[0].order_id
            assert fills == fills_of(events)
    assert called.exchange.dump() == batched.exchange.dump()
    assert called.exchange.state_hash() == batched.exchange.state_hash()
    called.exchange.audit()


def test_unknown_things_are_key_errors() -> None:
    kernel = Stage(Exchange()).open().exchange
    for look in (kernel.asset, kernel.market, kernel.account):
        for number in (0, 9, 2**32 - 1):
            with pytest.raises(KeyError):
                look(number)
    assert kernel.market(1)["name"] == b"MARKET"


def test_a_kernel_without_taps_has_the_same_events_and_state() -> None:
    """tap(False, False, False) is the bare kernel."""
    twin, bare = ModelExchange(), Exchange()
    bare.tap(done=False, tops=False, depth=False)
    history = History(21, twin)
    while twin.sequence < 2_000:
        batch = history.batch()
        try:
            wanted = twin.apply(*batch.arguments())
            events = bare.apply(*batch.arguments())
        except (*UNKNOWN, *GAP):
            with pytest.raises((*UNKNOWN, *GAP)):
                bare.apply(*batch.arguments())
            continue
        if wanted is not None:
            assert events is not None
            assert events.tobytes() == b"".join([EVENT.pack(*event) for event in wanted])
            assert len(bare.done()) == len(bare.tops()) == 0
    assert bare.dump() == twin.dump()


def test_orders_of_one_account_among_many() -> None:
    stage = Stage(Exchange()).open()
    for _ in range(50):
        stage.limit(ANN, BUY, 1, 90)
        stage.limit(BOB, SELL, 1, 110)
    assert ids(stage.exchange.open_orders(ANN)) == list(range(1, 100, 2))
    assert stage.do(commands.cancel_all(ANN, 1))[0] == "#1 canceled, 1 left"
    assert ids(stage.exchange.open_orders(ANN)) == []
    assert len(stage.exchange.open_orders(BOB)) == 50
