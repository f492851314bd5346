# SPDX-License-Identifier: Apache-2.0
"""What the history holds, against views that have room for everything and against the kernel's own balances."""

import sqlite3
from collections import defaultdict
from itertools import product
from pathlib import Path
from random import Random

import pytest

from bidhall.core.exchange import Exchange
from bidhall.core.views import INTERVALS, Views
from bidhall.replica.outcome import order_rows
from bidhall.sinks import Reader, SinkFault
from bidhall.sinks.history.store import content_hash
from tests.sinks.worlds import facts_in, generated, replayed, store_at, write_in_pieces

SEEDS = range(6)
COMMANDS = 3_000


@pytest.mark.parametrize("seed", SEEDS)
def test_every_page_is_as_the_views_give_it(seed: int, tmp_path: Path) -> None:
    log = generated(seed, COMMANDS)
    exchange, views = replayed(log)
    store = store_at(tmp_path / "history.sqlite", log)
    facts = list(facts_in(log))
    write_in_pieces(store, facts, Random(seed), 40)
    reader, random = Reader(store.path), Random(seed)
    compared = 0
    for account, market in product(range(1, exchange.account_count + 1), range(1, exchange.market_count + 1)):
        orders = order_rows(views.done_orders(account, market, 1 << 20))
        compared += len(orders)
        compare_orders(reader, views, account, market, random)
        compare_fills(reader, views, account, market, random)
    assert compared > 100
    for market in range(1, exchange.market_count + 1):
        compare_market(reader, views, market, exchange.time_ns, random)
    reader.close()
    store.close()


def bounds(random: Random, ids: list[int], times: list[int]) -> tuple[int, int, int]:
    """Lower id, begin and end, each given or not, on or beside what there is."""
    near = [number + random.randrange(-1, 2) for number in random.sample(ids, min(2, len(ids)))]
    from_id = random.choice([-1, 0, *near])
    pick = [time_ns + random.randrange(-1, 2) for time_ns in random.sample(times, min(4, len(times)))]
    return max(from_id, -1), random.choice([-1, *pick]), random.choice([-1, *pick])


def compare_orders(reader: Reader, views: Views, account: int, market: int, random: Random) -> None:
    orders = order_rows(views.done_orders(account, market, 1 << 20))
    ids, times = [order.order_id for order in orders], [order.created_ns for order in orders]
    for _ in range(8):
        page = (random.choice((1, 2, 7, 500)), *bounds(random, ids, times))
        assert reader.orders(account, market, *page)[1] == order_rows(views.done_orders(account, market, *page)), page
    for order in random.sample(orders, min(5, len(orders))):
        assert reader.order(account, market, order.order_id)[1] == order
        assert reader.order(account + 1, market, order.order_id)[1] is None
        client_id = order.client_id.rstrip(b"\0")
        if client_id:
            newest = order_rows(views.done_by_client(account, market, client_id))[0]
            assert reader.order_by_client(account, market, client_id)[1] == newest
        assert reader.fills_of_order(order.order_id)[1] == views.fills_of_order(order.order_id)
    assert reader.order_by_client(account, market, b"nobody has this")[1] is None


def compare_fills(reader: Reader, views: Views, account: int, market: int, random: Random) -> None:
    fills = views.fills(account, market, 1 << 20)
    ids, times = [fill[1] for fill in fills], [fill[2] for fill in fills]
    for _ in range(8):
        from_id, start_ns, end_ns = bounds(random, ids, times)
        order_id = random.choice(fills)[0] if fills and random.random() < 0.4 else 0
        page = (account, market, random.choice((1, 3, 500)), from_id, order_id, start_ns, end_ns)
        assert reader.fills(*page)[1] == views.fills(*page), page


def compare_market(reader: Reader, views: Views, market: int, time_ns: int, random: Random) -> None:
    trades, aggregates = views.trades(market, 1 << 16), views.agg_trades(market, 1 << 16)
    ids, times = [trade[0] for trade in trades], [trade[1] for trade in trades]
    aggregate_ids = [aggregate[0] for aggregate in aggregates]
    assert reader.trades(market, 1 << 16)[1] == trades
    assert reader.agg_trades(market, 1 << 16)[1] == aggregates
    for _ in range(8):
        from_id, start_ns, end_ns = bounds(random, ids, times)
        limit = random.choice((1, 4, 1000))
        if from_id >= 0:
            assert reader.trades(market, limit, from_id)[1] == views.trades_from(market, from_id, limit)
        page = (market, limit, bounds(random, aggregate_ids, times)[0], start_ns, end_ns)
        assert reader.agg_trades(*page)[1] == views.agg_trades(*page), page
    for interval, _ in product(INTERVALS, range(3)):
        _, start_ns, end_ns = bounds(random, ids, times)
        offset_s = random.choice((0, 0, 3_600, -43_200, 19_800, 50_400))
        limit = random.choice((1, 5, 1000))
        ours = reader.candles(market, interval, limit, start_ns, end_ns, offset_s)[1]
        theirs = views.klines(market, interval, limit, time_ns, start_ns, end_ns, offset_s)
        assert ours == theirs, (interval, limit, start_ns, end_ns, offset_s)


def test_amendments_and_prevented_matches_are_found_again(tmp_path: Path) -> None:
    """By account, market and order or match, over worlds in which there are some of both."""
    amended = prevented = transferred = 0
    for seed in range(100, 110):
        log = generated(seed, COMMANDS)
        store = store_at(tmp_path / f"history-{seed}.sqlite", log)
        facts = list(facts_in(log))
        write_in_pieces(store, facts, Random(seed), 60)
        reader = Reader(store.path)
        amends = [amend for fact in facts for amend in fact.amendments]
        for amend in amends:
            own = [one for one in amends if one.order_id == amend.order_id]
            assert reader.amendments(amend.account, amend.market, amend.order_id)[1] == own
            assert reader.amendments(amend.account, amend.market, amend.order_id, 1, amend.execution_id)[1] == [amend]
            assert reader.amendments(amend.account + 1, amend.market, amend.order_id)[1] == []
        matches = [match for fact in facts for match in fact.prevented]
        for match in matches:
            number = match.prevented_match_id
            for account in {match.taker_account, match.maker_account}:
                own_matches = [
                    one for one in matches
                    if one.market == match.market and account in (one.taker_account, one.maker_account)
                ]  # fmt: skip
                at = own_matches.index(match)
                assert reader.prevented(account, match.market, prevented_match_id=number)[1] == [match]
                assert reader.prevented(account, match.market, 3, from_id=number)[1] == own_matches[at : at + 3]
            of_order = [one for one in own_matches if match.taker_order_id in (one.taker_order_id, one.maker_order_id)]
            assert reader.prevented(account, match.market, order_id=match.taker_order_id)[1] == of_order
        reader.close()
        store.close()
        amended, prevented = amended + len(amends), prevented + len(matches)
        transferred += sum(match.quote_units > 0 for match in matches)
    assert amended > 20
    assert prevented > 20
    assert transferred > 3


@pytest.mark.parametrize("seed", SEEDS)
def test_the_ledger_sums_to_the_balances(seed: int, tmp_path: Path) -> None:
    log = generated(seed, COMMANDS)
    exchange, _ = replayed(log)
    store = store_at(tmp_path / "history.sqlite", log)
    write_in_pieces(store, list(facts_in(log)), Random(seed), 100)
    store.close()
    connection = sqlite3.connect(store.path)
    sums = {(account, asset): total for account, asset, total in connection.execute(
        "SELECT account, asset, sum(units) FROM ledger GROUP BY account, asset"
    )}
    for account in range(1, exchange.account_count + 1):
        for asset, free, locked in exchange.balances(account):
            assert sums.pop((account, asset), 0) == free + locked, (account, asset)
    assert not any(sums.values())
    between = connection.execute(
        "SELECT asset, sum(units) FROM ledger JOIN causes USING (cause) "
        "WHERE name IN ('trade', 'transfer') GROUP BY asset"
    )
    assert all(total == 0 for _, total in between)
    check_fees(exchange, connection)
    connection.close()


def check_fees(exchange: Exchange, connection: sqlite3.Connection) -> None:
    fees: dict[int, int] = defaultdict(int)
    fees.update(connection.execute("SELECT asset, -sum(units) FROM ledger WHERE cause = 4 GROUP BY asset").fetchall())
    for asset in range(1, exchange.asset_count + 1):
        assert exchange.asset(asset)["fees"] == fees[asset]


def test_two_writers_do_not_mix(tmp_path: Path) -> None:
    """Of two processes on one file (a mistake) one finds out that the other has written, and does not."""
    log = generated(1, 1_000)
    facts = list(facts_in(log))
    one, other = store_at(tmp_path / "history.sqlite", log), store_at(tmp_path / "history.sqlite", log)
    one.write(facts[:5])
    with pytest.raises(SinkFault, match="somebody else"):
        other.write(facts[:3])
    other.start(log.holds)
    other.write(facts)
    with pytest.raises(SinkFault, match="somebody else"):
        one.write(facts)
    with pytest.raises(ValueError, match="was told before"):
        store_at(tmp_path / "empty.sqlite", log).write(facts[2:])
    one.close()
    other.close()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_rebuilt_history_is_the_very_same(seed: int, tmp_path: Path) -> None:
    """However the log is cut into writes, with repeats of batches, and begun again in the middle."""
    log = generated(seed, COMMANDS)
    random, facts = Random(seed), list(facts_in(log))
    hashes = set()
    for name, most in (("one", 1), ("some", 50), ("all", 1 << 20)):
        store = store_at(tmp_path / name, log)
        rows = write_in_pieces(store, facts, random, most)
        assert store.write(facts) == 0, "it had all of it"
        assert rows > 300
        store.close()
        hashes.add(content_hash(store.path))
    path = tmp_path / "halting"
    while True:
        store = store_at(path, log)
        rest = list(facts_in(log, store.cursor.position, store.cursor.chain))
        write_in_pieces(store, rest[: random.randrange(1, 200)], random, 30)
        store.close()
        if not rest:
            break
    hashes.add(content_hash(path))
    assert len(hashes) == 1
