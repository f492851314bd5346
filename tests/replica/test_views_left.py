# SPDX-License-Identifier: Apache-2.0
"""What the views say of what has left them: never too little, exact where accounts do not share a slot, and kept.

The reads of `bidhall.api.past` take these words for proof that nothing is missing.
"""

import random
from pathlib import Path
from typing import Any

import pytest

from bidhall.core.records import ORDER_BYTES
from bidhall.core.views import Views
from bidhall.log import MemoryLog
from bidhall.replica.guard import FOLDER
from bidhall.replica.snapshots import Loaded, Store
from tests.replica.conftest import Flow, MakeReplica, MovedEnvironment, fill, run
from tests.replica.test_views import LONG, grown
from tests.replica.views_twin import Maker

DONE, FILLS, TRADES = 60, 70, 20
SMALL: dict[str, Any] = {"done_bytes": DONE * ORDER_BYTES, "fills_max": FILLS, "trades_max": TRADES}


def check(maker: Maker, views: Views, sequences: list[int]) -> None:
    """`sequences`: of each fill, the command that made it."""
    history = maker.history
    done, fills = history.done[: max(len(history.done) - DONE, 0)], history.fills[: max(len(history.fills) - FILLS, 0)]
    assert views.done_left == (done[-1].sequence if done else 0)
    assert views.fills_left == (sequences[len(fills) - 1] if fills else 0)
    for account in range(1, maker.accounts + 2):
        for market in range(1, maker.markets + 2):
            orders = [order for order in done if (order.account, order.market) == (account, market)]
            rows = [row for of, at, row in fills if (of, at) == (account, market)]
            assert views.left(account, market) == (
                max((order.order_id for order in orders), default=0),
                max((order.created_ns for order in orders), default=0),
                max((row[1] for row in rows), default=0),
                max((row[2] for row in rows), default=0),
            )
    for market, trades in history.trades.items():
        aggregates = history.agg_trades(market)
        oldest, oldest_aggregate = trades[-TRADES:][0], aggregates[-TRADES:][0]
        command = next(t.sequence for t in trades if t.trade_id == oldest_aggregate[1])
        assert views.trades_left(market) == (
            oldest.trade_id, oldest.sequence if len(trades) > TRADES else 0,
            oldest_aggregate[0], command if len(aggregates) > TRADES else 0, oldest_aggregate[3],
        )  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_it_says_how_far_what_has_left_reaches(seed: int) -> None:
    maker, views, sequences = Maker(seed), Views(seed=seed, **SMALL), []
    assert views.trades_left(1) == (1, 0, 1, 0, 0)
    for number in range(500):
        before = {market: len(rows) for market, rows in maker.history.trades.items()}
        batch = maker.batch()
        new = [t for market, rows in maker.history.trades.items() for t in rows[before.get(market, 0) :]]
        for trade in sorted(new, key=lambda t: t.sequence):
            sequences += [trade.sequence, trade.sequence]
        views.apply(*batch)
        if number % 20 == 0:
            check(maker, views, sequences)
        if number % 100 == 99:
            views = Views.restore(views.snapshot(), seed=number, **SMALL)
    assert views.done_left > 0
    assert views.fills_left > 0


def test_accounts_that_share_a_slot_never_hide_what_has_left() -> None:
    maker, views = Maker(3, accounts=90_000, markets=3), Views(done_bytes=ORDER_BYTES, fills_max=1)
    for _ in range(3_000):
        views.apply(*maker.batch())
    for order in maker.history.done[:-1]:
        left_id, left_ns, _, _ = views.left(order.account, order.market)
        assert order.order_id <= left_id
        assert order.created_ns <= left_ns
    for account, market, row in maker.history.fills[:-1]:
        _, _, left_id, left_ns = views.left(account, market)
        assert row[1] <= left_id
        assert row[2] <= left_ns
    desks = {(order.account, order.market) for order in maker.history.done}
    desks |= {(account, market) for account, market, _ in maker.history.fills}
    taken = sum(views.left(account, 2) != (0, 0, 0, 0) for account in range(100_000, 110_000)) / 10_000
    assert taken < 1.1 * len(desks) / 65_536  # strangers meet no more often than chance has it


def test_a_smaller_ring_says_what_it_had_no_room_for() -> None:
    maker, views = grown(7, 500)
    assert views.left(1, 1) == (0, 0, 0, 0)
    small = Views.restore(views.snapshot(), **SMALL)
    _, direct = grown(7, 500, **SMALL)
    assert (small.done_left, small.fills_left) == (direct.done_left, direct.fills_left)
    for account in range(1, maker.accounts + 1):
        for market in range(1, maker.markets + 1):
            assert small.left(account, market) == direct.left(account, market)
            assert small.trades_left(market) == direct.trades_left(market)
    assert small.done_left > 0


def test_candles_lack_nothing_until_one_has_left() -> None:
    maker, views = grown(5, 400, candle_days=LONG)
    now_ns = maker.time_ns
    for market in maker.history.trades:
        for interval in ("1s", "1m", "1h", "1d", "1w", "1M"):
            assert views.klines_left(market, interval, 1000, now_ns) is None
            assert views.klines_left(market, interval, 1000, now_ns, 0) is None


@pytest.mark.parametrize("seed", range(3))
def test_candles_say_from_when_on_they_are_whole(seed: int) -> None:
    maker, views = grown(seed, 500, candle_days=(0, 0, 1, 2))
    dice, now_ns, lacking = random.Random(seed), maker.time_ns, 0
    for market in maker.history.trades:
        for interval in ("1m", "1h", "4h", "1d"):
            every = maker.history.klines(market, interval, now_ns, 0)
            if len(every) > 1_500:
                continue
            for _ in range(20):
                start_ns = dice.choice([-1, 0, dice.choice(every)[0] + dice.randrange(-1, 2)])
                limit = dice.choice([1, 10, 1000])
                left = views.klines_left(market, interval, limit, now_ns, start_ns)
                rows = views.klines(market, interval, limit, now_ns, start_ns)
                wanted = [row for row in every if row[0] >= start_ns]
                wanted = wanted[:limit] if start_ns >= 0 else wanted[-limit:]
                if left is None:
                    assert rows == wanted
                    continue
                lacking += 1
                first_ns, whole_ns = left
                assert all(row[0] >= first_ns for row in wanted)
                assert [row for row in rows if row[0] < whole_ns] == []
                assert (
                    views.klines(market, interval, limit, now_ns, whole_ns)
                    == [row for row in every if row[0] >= whole_ns][:limit]
                )
    assert lacking > 10


def test_a_snapshot_of_version_1_is_refused() -> None:
    _, views = grown(1, 100)
    data = views.snapshot()
    assert data[:8] == b"BHVIEWS\x02"
    with pytest.raises(ValueError, match="version 2"):
        Views.restore(b"BHVIEWS\x01" + data[8:])


async def test_recovery_passes_over_a_snapshot_of_older_views(
    make: MakeReplica, environment: MovedEnvironment, tmp_path: Path, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    log = MemoryLog(environment)
    live = await make(log, tmp_path)
    await fill(live)
    await run(live, Flow(seed), 20)
    path = await live.snapshot()
    assert path is not None
    await run(live, Flow(seed + 1), 5)
    before = live.views.snapshot()
    await live.stop()
    path.unlink()
    (path,) = (tmp_path / FOLDER).glob("*.snapshot")
    loaded = Loaded(path)
    sections = []
    for name in ("kernel", "registry", "views", "results"):
        with loaded.section(name) as part:
            data = bytes(part)
        if name == "views":
            data = b"BHVIEWS\x01" + data[8:]
        sections.append((name, len(data), (data,)))
    header = loaded.header
    loaded.close()
    Store(tmp_path / FOLDER, 2).write(header, sections)  # whole, and its checksum is right
    again = await make(log, tmp_path)
    assert "passed over" in caplog.text
    assert "version 2" in caplog.text
    assert again.views.snapshot() == before
