# SPDX-License-Identifier: Apache-2.0
"""A history beside a replica: it follows, falls behind, fails, is damaged, deleted or locked, and always comes back.

Each test ends with the file compared, row by row, with one that was built from the log alone.
"""

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from bidhall.replica.snapshots import Store
from bidhall.sinks import History, HistoryUnavailable
from tests.sinks.conftest import Place

Make = Callable[..., Place]


async def test_it_follows(place: Make, tmp_path: Path) -> None:
    one = place()
    await one.start()
    await one.trade(200)
    reached: list[bool] = []
    one.history.reach(one.replica.position, reached.append)
    await one.until(lambda: bool(reached))
    assert reached == [True]
    status = one.history.status()
    assert (status["state"], status["lag_batches"], status["last_error"]) == ("following", 0, "")
    assert status["rows_total"] > 300
    assert 1 < status["writes_total"] < 200, "batches are written together"
    one.same_as_rebuilt(tmp_path / "again")


async def test_after_a_stop_it_goes_on_where_it_was(place: Make, tmp_path: Path) -> None:
    one = place()
    for _ in range(3):
        await one.start()
        await one.trade(60)
        await one.stop()
        assert [file.name for file in one.folder.glob("history.sqlite*")] == ["history.sqlite"]  # type: ignore[union-attr]
    await one.start()
    await one.caught_up()
    assert one.history.status()["rows_total"] == 0
    one.same_as_rebuilt(tmp_path / "again")


async def test_after_a_crash_it_catches_up_from_the_log(place: Make, tmp_path: Path) -> None:
    """The replica comes back from a snapshot that is newer than the history's cursor: a private kernel goes before."""
    one = place()
    await one.start()
    await one.trade(60)
    await one.caught_up()
    before = one.history.cursor.position
    stranger = lock(one.path)
    await one.trade(60)
    await one.stop(flush=False)
    unlock(stranger)
    await one.start()
    assert one.replica.position > before
    await one.caught_up()
    assert one.history.status()["rows_total"] > 0
    one.same_as_rebuilt(tmp_path / "again")


async def test_a_full_queue_is_dropped_and_caught_up(place: Make, tmp_path: Path) -> None:
    one = place(queue_bytes_max=20_000, interval_seconds=0.2)
    await one.start()
    await one.trade(300, 8)
    await one.caught_up()
    one.same_as_rebuilt(tmp_path / "again")


def lock(path: Path) -> sqlite3.Connection:
    """As somebody does who opens the file to write into it."""
    stranger = sqlite3.connect(path, isolation_level=None)
    stranger.execute("BEGIN IMMEDIATE")
    return stranger


def unlock(stranger: sqlite3.Connection) -> None:
    stranger.rollback()
    stranger.close()


async def test_a_locked_history_stops_nobody_and_recovers(place: Make, tmp_path: Path) -> None:
    one = place()
    await one.start()
    await one.trade(50)
    await one.caught_up()
    stranger, before = lock(one.path), one.history.cursor
    await one.trade(100)
    await one.until(lambda: one.history.status()["retries_total"] > 3)
    status = one.history.status()
    assert "locked" in status["last_error"]
    assert status["state"] == "waiting"
    assert status["lag_batches"] > 50
    assert one.history.cursor == before
    assert (await one.history.read(lambda reader: reader.orders(1, 1, 10)))[0] == before
    await one.trade(50)
    unlock(stranger)
    await one.caught_up()
    await one.until(lambda: one.history.status()["last_error"] == "")
    assert one.history.status()["rebuilds_total"] == 0
    one.same_as_rebuilt(tmp_path / "again")


async def test_what_cannot_be_written_waits_in_the_spill(place: Make, tmp_path: Path) -> None:
    """The queue fills up while somebody locks the history: orders and fills are found all the same."""
    one = place(queue_bytes_max=160_000)
    await one.start()
    await one.trade(50)
    await one.caught_up()
    stranger, before = lock(one.path), one.history.cursor
    for _ in range(12):
        await one.trade(40)
        await one.until(lambda: one.history.status()["queue_bytes"] < 80_000)
    await one.until(lambda: one.history.status()["spilled_batches"] > 20)
    spill = one.path.with_name("spill.sqlite")
    assert spill.exists()
    spilled, _ = await one.history.read(lambda reader: reader.orders(1, 1, 1))
    assert spilled.position > before.position, "history and spill together reach further"
    for account in range(1, 5):
        cursor, orders = await one.history.read(lambda reader, own=account: reader.orders(own, 1, 500))
        wanted = [order for order in one.replica.all_orders(account, 1, 10_000) if order.status > 2]
        assert orders == [order for order in wanted if order.sequence <= cursor.sequence][-500:]
        cursor, fills = await one.history.read(lambda reader, own=account: reader.fills(own, 1, 500))
        held = one.replica.views.fills(account, 1, 10_000)
        assert fills == [fill for fill in held if fill[2] <= cursor.time_ns][-500:]
    unlock(stranger)
    await one.caught_up()
    await one.until(lambda: not spill.exists())
    assert one.history.status()["rebuilds_total"] == 0
    one.same_as_rebuilt(tmp_path / "again")


async def test_a_deleted_history_is_built_again_while_trading_goes_on(place: Make, tmp_path: Path) -> None:
    one = place()
    await one.start()
    await one.trade(100)
    await one.caught_up()
    one.path.unlink()
    await one.trade(100)
    await one.caught_up()
    assert one.history.status()["rebuilds_total"] == 1
    one.same_as_rebuilt(tmp_path / "again")
    await one.stop()
    one.path.unlink()
    await one.start()
    await one.trade(20)
    await one.caught_up()
    one.same_as_rebuilt(tmp_path / "again")


async def test_a_history_that_is_no_history_is_put_aside(place: Make, tmp_path: Path) -> None:
    one = place()
    await one.start()
    await one.trade(50)
    await one.stop()
    for content in (b"this is no database at all" * 400, foreign_database(tmp_path / "foreign")):
        one.path.write_bytes(content)
        await one.start()
        await one.trade(20)
        await one.caught_up()
        assert one.history.status()["rebuilds_total"] == 1
        assert one.path.with_name("history.sqlite.aside").read_bytes() == content
        one.same_as_rebuilt(tmp_path / "again")
        await one.stop()


def foreign_database(path: Path) -> bytes:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE mine (number INTEGER)")
    connection.commit()
    connection.close()
    return path.read_bytes()


async def test_the_history_of_another_log_is_put_aside(place: Make, tmp_path: Path) -> None:
    one = place()
    await one.start()
    await one.trade(50)
    await one.stop()
    content = one.path.read_bytes()
    for file in one.folder.iterdir():  # type: ignore[union-attr]
        if file.is_file():
            file.unlink()
    for snapshot in (one.folder / "snapshots").iterdir():  # type: ignore[operator]
        snapshot.unlink()
    one.path.write_bytes(content)
    await one.start()
    await one.trade(20)
    await one.caught_up()
    assert one.history.status()["rebuilds_total"] == 1
    one.same_as_rebuilt(tmp_path / "again")


async def test_damage_that_a_reader_finds_is_mended(place: Make, tmp_path: Path) -> None:
    one = place()
    await one.start()
    await one.trade(200)
    await one.stop()
    content = bytearray(one.path.read_bytes())
    for at in range(8_192 * 3, len(content), 8_192):  # the pages behind the schema
        content[at : at + 64] = b"\xff" * 64
    one.path.write_bytes(content)
    await one.start()
    for account in (1, 2, 3, 4):
        with suppress(HistoryUnavailable):
            await one.history.read(lambda reader, own=account: reader.orders(own, 1, 500))
    await one.trade(20)
    await one.until(lambda: one.history.status()["rebuilds_total"] == 1)
    await one.caught_up()
    _, orders = await one.history.read(lambda reader: reader.orders(1, 1, 500))
    assert orders
    one.same_as_rebuilt(tmp_path / "again")


async def test_a_full_disk_is_waited_for(place: Make, tmp_path: Path) -> None:
    """SQLite is told that the file may not grow; a store that is opened anew finds room again."""
    one = place(backoff_seconds_min=0.2)
    await one.start()
    await one.trade(20)
    await one.caught_up()
    connection = one.history.follower.sink._connection  # type: ignore[attr-defined]
    connection.execute("PRAGMA max_page_count=1")
    await one.trade(200)
    await one.until(lambda: one.history.status()["retries_total"] >= 1)
    await one.caught_up()
    assert one.history.status()["rebuilds_total"] == 0
    one.same_as_rebuilt(tmp_path / "again")


async def test_the_snapshot_that_catching_up_needs_is_kept(place: Make, tmp_path: Path) -> None:
    one = place(replica={"snapshots_kept": 2})
    await one.start()
    await one.trade(50)
    await one.caught_up()
    kept = await one.replica.snapshot()
    assert kept is not None
    await one.trade(10)
    await one.caught_up()
    stranger = lock(one.path)
    for _ in range(5):
        await one.trade(10)
        await one.replica.snapshot()
    found = sorted((one.folder / "snapshots").iterdir())  # type: ignore[operator]
    assert len(found) == 3
    assert found[0] == kept
    unlock(stranger)
    await one.caught_up()
    await one.trade(10)
    await one.replica.snapshot()
    assert len(list((one.folder / "snapshots").iterdir())) == 2  # type: ignore[operator]


def test_which_snapshots_leave(tmp_path: Path) -> None:
    """Beyond the newest two: all but the newest that a follower could begin from, or the oldest while it is unknown."""
    for position in (100, 200, 300, 400, 500):
        (tmp_path / f"{position:016d}-0123456789abcdef.snapshot").touch()
    store = Store(tmp_path, 2)

    def leaving(retained: int | None) -> list[int]:
        return sorted(int(path.name[:16]) for path in store.leaving(retained))

    assert leaving(None) == [100, 200, 300]
    assert leaving(600) == leaving(400) == [100, 200, 300]
    assert leaving(399) == [100, 200]
    assert leaving(250) == [100, 300]
    assert leaving(200) == [100, 300]
    assert leaving(99) == [100, 200, 300]
    assert leaving(-1) == [200, 300]


async def test_a_log_in_memory_has_a_temporary_history(place: Make, tmp_path: Path) -> None:
    one = place(memory=True)
    await one.start()
    await one.trade(100)
    await one.caught_up()
    path = one.path
    assert path.exists()
    one.same_as_rebuilt(tmp_path / "again")
    await one.stop()
    assert not path.parent.exists()


async def test_questions_are_bounded(place: Make) -> None:
    one = place(memory=True)
    await one.start()
    await one.caught_up()
    answers: list[object] = []
    for _ in range(300):
        one.history.ask(lambda reader: reader.cursor(), lambda answer, error: answers.append(error))
    await one.until(lambda: len(answers) == 300)
    assert sum(error is not None for error in answers) == 300 - 256
    assert {type(error).__name__ for error in answers} == {"NoneType", "HistoryUnavailable"}


async def test_who_waits_too_long_is_told(place: Make) -> None:
    one = place()
    await one.start()
    await one.caught_up()
    stranger = lock(one.path)
    await one.trade(5)
    reached: list[bool] = []
    one.history.reach(one.replica.position, reached.append, 0.1)
    await one.until(lambda: bool(reached))
    assert reached == [False]
    one.history.reach(one.replica.position, reached.append, 30.0)
    unlock(stranger)
    await one.until(lambda: len(reached) == 2)
    assert reached[1]


async def test_a_stop_does_not_wait_for_a_history_that_fails(place: Make, tmp_path: Path) -> None:
    one = place()
    await one.start()
    await one.caught_up()
    stranger = lock(one.path)
    await one.trade(20)
    await one.until(lambda: one.history.status()["retries_total"] > 0)
    await one.stop()
    unlock(stranger)
    seen: list[History] = []
    await one.start(seen.append)
    await one.caught_up()
    one.same_as_rebuilt(tmp_path / "again")
