# SPDX-License-Identifier: Apache-2.0
"""What only the SQLite log promises: folder and lock, files across restarts, checkpoints, and a disk that fails."""

import asyncio
import logging
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bidhall.environment import RealEnvironment
from bidhall.log import Corrupt, Halted, Locked, open_log
from bidhall.log.head import read_head
from bidhall.log.sqlite import SqliteLog
from bidhall.log.store import Store

from . import child
from .conftest import entry

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def stores() -> Iterator[list[Store]]:
    made: list[Store] = []
    yield made
    for store in made:
        store.close()


def opened(folder: Path, stores: list[Store], **options: Any) -> Store:
    store = Store(folder, **{"wal_bytes": 0, **options})
    stores.append(store)
    store.open()
    return store


def fill(store: Store, first: int, last: int, commands: int = 1) -> None:
    for number in range(first, last + 1):
        store.commit([entry(number, commands)], number)
        store.write_head()


def crash(folder: Path, to: Path) -> Path:
    """The files as `kill -9` at this moment would leave them."""
    shutil.copytree(folder, to)
    return to


def test_the_folder_is_private_and_its_files_are_named(folder: Path, stores: list[Store]) -> None:
    store = opened(folder / "inner", stores)
    fill(store, 1, 2)
    assert stat.S_IMODE((folder / "inner").stat().st_mode) == 0o700
    names = {path.name for path in (folder / "inner").iterdir()}
    assert names == {"log.sqlite", "log.sqlite-wal", "log.sqlite-shm", "log.head", "log.lock"}
    store.close()
    names = {path.name for path in (folder / "inner").iterdir()}
    assert names == {"log.sqlite", "log.head", "log.lock"}


def test_every_commit_is_synced(folder: Path, stores: list[Store]) -> None:
    store = opened(folder, stores)
    assert store._writer is not None
    assert store._writer.execute("PRAGMA synchronous").fetchone() == (2,)
    assert store._writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert store._writer.execute("PRAGMA wal_autocheckpoint").fetchone() == (0,)


def test_a_second_opening_is_told_who_has_the_log(folder: Path, stores: list[Store]) -> None:
    opened(folder, stores)
    with pytest.raises(Locked, match=f"process {os.getpid()} has this log open"):
        Store(folder).open()
    told = subprocess.run(
        [sys.executable, "-m", "tests.log.child", str(folder), "1"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert told.returncode == 3
    assert told.stderr == f"Locked: {folder}: process {os.getpid()} has this log open\n"
    stores.pop().close()
    Store(folder).open()


def test_reopening_gives_everything_back(folder: Path, stores: list[Store]) -> None:
    identity, chain = b"", b""
    for start in range(4):
        store = opened(folder, stores, wal_bytes=1 << 20)
        assert store.head == 10 * start
        if start:
            assert (store.identity, store.chain) == (identity, chain)
        fill(store, 10 * start + 1, 10 * start + 10, commands=start * 20)
        identity, chain = store.identity, store.chain
        store.close()
    store = opened(folder, stores)
    assert [batch.entry.raw for batch in store.read(1)] == [entry(n, (n - 1) // 10 * 20).raw for n in range(1, 41)]


def test_after_a_crash_everything_acknowledged_is_there(folder: Path, tmp_path: Path, stores: list[Store]) -> None:
    store = opened(folder, stores, wal_bytes=1 << 20)
    fill(store, 1, 30, commands=3)
    again = opened(crash(folder, tmp_path / "crashed"), stores)
    assert (again.head, again.identity, again.chain) == (30, store.identity, store.chain)
    assert again.recovered is None
    assert not (tmp_path / "crashed" / "log.sqlite-wal").stat().st_size, "copied and synced before anybody reads it"
    fill(again, 31, 32)


def test_a_torn_transaction_is_dropped_and_told(folder: Path, tmp_path: Path, stores: list[Store]) -> None:
    store = opened(folder, stores)
    fill(store, 1, 5)
    store.commit([entry(6, 40)], 6)  # the record of the head does not know of it yet
    crashed = crash(folder, tmp_path / "crashed")
    wal = crashed / "log.sqlite-wal"
    wal.write_bytes(wal.read_bytes()[:-1])
    again = opened(crashed, stores)
    assert again.head == 5
    assert again.recovered is not None
    assert str(wal) in again.recovered
    fill(again, 6, 9)


def test_lost_transactions_are_refused_unless_the_operator_says_so(
    folder: Path, tmp_path: Path, stores: list[Store]
) -> None:
    store = opened(folder, stores)
    fill(store, 1, 3)
    crashed = crash(folder, tmp_path / "crashed")
    fill(store, 4, 8)
    shutil.copy(folder / "log.head", crashed)
    with pytest.raises(Corrupt, match=r"position 8 was acknowledged, but the log ends at 3: .*remove .*log\.head"):
        Store(crashed).open()
    (crashed / "log.head").unlink()
    assert opened(crashed, stores).head == 3


@pytest.mark.parametrize("name", ["log.sqlite", "log.sqlite-wal"])
def test_a_file_that_is_gone_is_refused(folder: Path, tmp_path: Path, stores: list[Store], name: str) -> None:
    fill(opened(folder, stores), 1, 5)
    crashed = crash(folder, tmp_path / "crashed")
    (crashed / name).unlink()
    with pytest.raises(Corrupt):
        Store(crashed).open()
    if name == "log.sqlite":
        (crashed / "log.sqlite-wal").unlink()
        with pytest.raises(Corrupt, match=r"the database is gone; log\.head knows of 5 batches"):
            Store(crashed).open()


def test_a_head_of_another_log_is_refused(folder: Path, tmp_path: Path, stores: list[Store]) -> None:
    fill(opened(folder, stores), 1, 5)
    fill(opened(tmp_path / "other", stores), 1, 5)
    crashed = crash(folder, tmp_path / "crashed")
    shutil.copy(tmp_path / "other" / "log.head", crashed)
    with pytest.raises(Corrupt, match="another log"):
        Store(crashed).open()


def test_a_head_of_another_history_is_refused(folder: Path, tmp_path: Path, stores: list[Store]) -> None:
    """A copy of the folder that went its own way."""
    store = opened(folder, stores)
    fill(store, 1, 5)
    other = opened(crash(folder, tmp_path / "other"), stores)
    store.commit([entry(6, 1, seed=1)], 6)
    store.write_head()
    other.commit([entry(6, 1, seed=2)], 6)
    crashed = crash(tmp_path / "other", tmp_path / "crashed")
    shutil.copy(folder / "log.head", crashed)
    with pytest.raises(Corrupt, match="another one than was acknowledged"):
        Store(crashed).open()


def test_a_rollback_journal_is_refused_because_sqlite_would_apply_it(folder: Path, stores: list[Store]) -> None:
    fill(opened(folder, stores), 1, 5)
    stores.pop().close()
    (folder / "log.sqlite-journal").write_bytes(b"x" * 512)
    with pytest.raises(Corrupt, match="rollback journal"):
        Store(folder).open()


def test_a_making_that_was_interrupted_is_begun_again(folder: Path, stores: list[Store]) -> None:
    opened(folder, stores).close()
    (folder / "log.sqlite").rename(folder / "log.sqlite.new")
    (folder / "log.sqlite.new-journal").write_bytes(b"half")
    assert opened(folder, stores).head == 0
    assert not (folder / "log.sqlite.new").exists()


@pytest.mark.parametrize("what", [b"", b"SQLite format 3\0" + bytes(84), b"not a database at all" * 300])
def test_what_is_no_log_is_refused(folder: Path, what: bytes) -> None:
    folder.mkdir()
    (folder / "log.sqlite").write_bytes(what)
    with pytest.raises(Corrupt):
        Store(folder).open()
    assert (folder / "log.sqlite").read_bytes() == what


def test_another_program_that_writes_is_a_halt(folder: Path, stores: list[Store]) -> None:
    store = opened(folder, stores)
    fill(store, 1, 3)
    stranger = sqlite3.connect(folder / "log.sqlite", isolation_level=None)
    stranger.execute("INSERT INTO batch VALUES (4, 0, x'', x'')")
    stranger.close()
    with pytest.raises(Halted, match="UNIQUE"):
        store.commit([entry(4)], 4)
    with pytest.raises(Halted, match="UNIQUE"):
        store.commit([entry(5)], 5)


def test_damage_that_is_met_while_reading_names_the_position(folder: Path, stores: list[Store]) -> None:
    store = opened(folder, stores)
    fill(store, 1, 1200)
    store.close()
    plain = sqlite3.connect(folder / "log.sqlite", isolation_level=None)
    plain.execute("UPDATE batch SET log_time_ns = log_time_ns + 1 WHERE position = 17")
    plain.execute("DELETE FROM batch WHERE position = 20")
    plain.close()
    store = opened(folder, stores)  # the last thousand are whole
    with pytest.raises(Corrupt, match=r"position 17.*chain"):
        list(store.read(1))
    with pytest.raises(Corrupt, match=r"position 20.*missing"):
        list(store.read(18))
    assert sum(1 for _ in store.read(22)) == 1179


async def test_checkpoints_keep_the_wal_small_while_commits_go_on(folder: Path, environment: RealEnvironment) -> None:
    log = SqliteLog(folder, environment, wal_bytes=1 << 20)
    await log.open()
    largest = 0
    for number in range(1, 1501):
        await log.append(entry(number, 20))
        largest = max(largest, (folder / "log.sqlite-wal").stat().st_size)
    assert (folder / "log.sqlite").stat().st_size > 4 << 20
    assert largest < 3 << 20
    assert sum(1 for _ in log.read(1)) == 1500
    await log.close()


async def test_the_head_is_known_to_the_disk_about_a_second_later(folder: Path, environment: RealEnvironment) -> None:
    log = SqliteLog(folder, environment, head_sync_seconds=0.02)
    await log.open()
    synced: list[int] = []
    sync = log._store.sync_head
    log._store.sync_head = lambda: (sync(), synced.append(log._store.head))[0]  # type: ignore[method-assign]
    for number in range(1, 4):
        await log.append(entry(number))
    async with asyncio.timeout(5):
        while not synced:  # noqa: ASYNC110 - a thread's doing
            await asyncio.sleep(0.01)
    head = read_head(folder / "log.head")
    assert head is not None
    assert (head.identity, head.position) == (log.identity, 3)
    await log.close()


async def test_damage_in_a_large_log_is_found_while_it_is_in_use(folder: Path, environment: RealEnvironment) -> None:
    store = Store(folder, wal_bytes=0)
    store.open()
    fill(store, 1, 50, commands=50)
    store.close()
    data = bytearray((folder / "log.sqlite").read_bytes())
    data[36:40] = (5).to_bytes(4)  # free pages that are not there
    (folder / "log.sqlite").write_bytes(data)
    with pytest.raises(Corrupt, match=r"log\.sqlite"):
        Store(folder).open()
    log = SqliteLog(folder, environment, check_bytes_max=0)
    await log.open()
    with pytest.raises(Corrupt, match=r"log\.sqlite"):
        async for _ in log.follow(51):
            pass
    with pytest.raises(Corrupt):
        await log.append(entry(51))
    await log.close()


class FailingConnection(sqlite3.Connection):
    """Fails as a disk would, at the statement that begins with `at`; counts what it was asked afterwards."""

    at: str | None = None
    error = sqlite3.OperationalError("disk I/O error")
    after = 0

    def execute(self, statement: str, *arguments: Any) -> sqlite3.Cursor:
        kind = type(self)
        if kind.at is not None and statement.startswith(kind.at):
            kind.after += 1
            raise kind.error
        return super().execute(statement, *arguments)


@pytest.fixture
def failing() -> type[FailingConnection]:
    class Fresh(FailingConnection):
        pass

    return Fresh


@pytest.mark.parametrize("message", ["disk I/O error", "database or disk is full", "database is locked"])
async def test_a_failed_commit_is_the_end_and_nothing_is_tried_again(
    folder: Path, environment: RealEnvironment, failing: type[FailingConnection], message: str, caplog: Any
) -> None:
    failing.error = sqlite3.OperationalError(message)
    log = SqliteLog(folder, environment, connect=lambda *a, **k: sqlite3.connect(*a, factory=failing, **k))
    await log.open()
    for number in range(1, 4):
        await log.append(entry(number))
    seen: list[int] = []

    async def follow() -> None:
        async for batches in log.follow(1):
            seen.extend(batch.position for batch in batches)

    follower = asyncio.create_task(follow())
    await asyncio.sleep(0.01)
    failing.at = "INSERT"
    appends = [asyncio.ensure_future(log.append(entry(number))) for number in range(4, 8)]
    results = await asyncio.gather(*appends, return_exceptions=True)
    assert [type(result) for result in results] == [Halted] * 4
    assert message in str(results[0])
    with pytest.raises(Halted, match=message):
        await follower
    assert seen == [1, 2, 3]
    with pytest.raises(Halted, match=message):
        await log.append(entry(8))
    with pytest.raises(Halted, match=message):
        await log.barrier()
    assert failing.after == 1
    assert any(record.levelno == logging.CRITICAL for record in caplog.records)
    failing.at = None
    before = (folder / "log.sqlite-wal").read_bytes()
    await log.close()
    assert (folder / "log.sqlite-wal").read_bytes() == before, "the files are left as they are"
    again = open_log(f"sqlite:///{folder}", environment)
    await again.open()
    assert again.head == 3
    await again.close()


@pytest.mark.parametrize("which", [0, 1], ids=["in its thread", "between commits"])
async def test_a_failed_checkpoint_is_the_end(
    folder: Path, environment: RealEnvironment, failing: type[FailingConnection], which: int
) -> None:
    class Fine(FailingConnection):
        pass

    kinds = [Fine, failing] if which == 0 else [failing, Fine]
    made = iter(kinds)
    log = SqliteLog(
        folder, environment, wal_bytes=1 << 20, connect=lambda *a, **k: sqlite3.connect(*a, factory=next(made), **k)
    )
    await log.open()
    failing.at = "PRAGMA wal_checkpoint"

    async def append_many() -> None:
        for number in range(1, 1000):
            await log.append(entry(number, 20))

    with pytest.raises(Halted, match="disk I/O error"):
        await append_many()
    failing.at = None
    await log.close()


@pytest.mark.parametrize("signal_after_seconds", [0.05, 0.15, 0.3])
def test_kill_9_loses_nothing_that_was_acknowledged(
    folder: Path, stores: list[Store], signal_after_seconds: float
) -> None:
    head = 0
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.log.child", str(folder), "1000000"], cwd=ROOT, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(signal_after_seconds)
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().splitlines(keepends=True)
        process.stdout.close()
        process.wait()
        acknowledged = int(next(line for line in reversed(rest) if line.endswith(b"\n")))
        store = opened(folder, stores)
        assert head < acknowledged <= store.head <= acknowledged + 1
        for batch in store.read(head + 1):
            assert batch.entry.raw == child.entry(batch.position).raw
        head = store.head
        store.close()


@pytest.mark.skipif(
    shutil.which("strace") is None, reason="no strace, so no failing system calls: apt-get install strace"
)
@pytest.mark.parametrize(
    ("call", "fault", "says"),
    [
        ("fdatasync", "error=EIO", "disk I/O error"),
        ("fdatasync", "error=ENOSPC", "disk I/O error"),
        ("pwrite64", "error=ENOSPC", "full"),
        ("pwrite64", "error=EIO", "disk I/O error"),
    ],
)
def test_a_disk_that_fails_ends_the_process_without_an_acknowledgement(
    folder: Path, stores: list[Store], call: str, fault: str, says: str
) -> None:
    """The tenth write or sync of the `-wal` fails, once, and would succeed if it were tried again."""
    store = opened(folder, stores)
    fill(store, 1, 3)
    store.close()
    command = ["strace", "-f", "-qq", "-o", str(folder / "trace"), "-P", str(folder / "log.sqlite-wal")]
    command += ["-e", f"trace={call}", "-e", f"inject={call}:{fault}:when=10"]
    ended = subprocess.run(
        [*command, sys.executable, "-m", "tests.log.child", str(folder), "200"],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == 3, ended.stderr
    assert "\nHalted: " in ended.stderr
    assert says in ended.stderr
    acknowledged = [int(line) for line in ended.stdout.split()]
    trace = (folder / "trace").read_text().splitlines()
    failed = next(index for index, line in enumerate(trace) if "(INJECTED)" in line)
    assert not any(call in line for line in trace[failed + 1 :]), "no second attempt"
    assert len(acknowledged) < 10
    store = opened(folder, stores)
    assert store.head >= max(acknowledged, default=3)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small disk cannot be mounted here: what a full one does is tried with strace only")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_ends_the_process_and_everything_acknowledged_is_there_once_there_is_room(
    small_disk: Path, stores: list[Store]
) -> None:
    folder, acknowledged = small_disk / "log", 0
    for _ in range(2):  # the second time it is full from the start
        command = [sys.executable, "-m", "tests.log.child", str(folder), "100000"]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert ended.returncode == 3
        assert "disk is full" in ended.stderr or "No space left" in ended.stderr
        acknowledged = int(ended.stdout.split()[-1]) if ended.stdout else acknowledged
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    store = opened(folder, stores)
    assert store.head >= acknowledged > 100
    for batch in store.read(1):
        assert batch.entry.raw == child.entry(batch.position).raw
    fill(store, store.head + 1, store.head + 3)
    stores.pop().close()
