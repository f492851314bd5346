# SPDX-License-Identifier: Apache-2.0
"""A replica that starts again is the one that stopped: kernel, registry, views and first results, from any snapshot."""

import logging
import shutil
from pathlib import Path
from typing import Any

import pytest

from bidhall.core import records
from bidhall.core.records import EventKind, OrderType, Side
from bidhall.log import MemoryLog, SqliteLog, open_log
from bidhall.replica import KeyPermission, OutcomeKind, Refused, Replica, replay
from bidhall.replica.guard import FOLDER
from tests.replica.conftest import Flow, MakeReplica, MovedEnvironment, run, same
from tests.replica.conftest import fill as fill_world

KEY = ("k" * 64, b"s" * 64)


async def fill(replica: Replica) -> None:
    """A world with an API key in it."""
    await fill_world(replica, replica.registry.key_note(KEY[0], 1, "hmac", KEY[1], label="first"))


def snapshots(folder: Path) -> list[Path]:
    return sorted((folder / FOLDER).glob("*.snapshot"))


async def test_recovery_at_every_batch_boundary(
    make: MakeReplica, environment: MovedEnvironment, tmp_path: Path, seed: int
) -> None:
    log = MemoryLog(environment)
    live = await make(log, tmp_path / "live", snapshots_kept=1000)
    await fill(live)
    flow = Flow(seed)
    for _ in range(40):
        await run(live, flow, 1)
        assert await live.snapshot() is not None
    await run(live, flow, 3)
    assert min(live.views.counts()["fills"], live.views.counts()["done_orders"], len(live.state.results)) > 20
    paths = snapshots(tmp_path / "live")
    assert len(paths) == 40
    for path in paths:
        folder = tmp_path / path.stem
        (folder / FOLDER).mkdir(parents=True)
        shutil.copy(path, folder / FOLDER)
        again = await make(log, folder)
        await live.barrier()
        same(live, again)
        assert again.registry.keys[KEY[0]].secret == KEY[1]
        await again.stop()
    fresh = await make(log)  # from the start of the log, without any snapshot
    await live.barrier()
    assert fresh.views.snapshot() == live.views.snapshot()
    assert fresh.exchange.state_hash() == live.exchange.state_hash()


async def test_views_and_kernel_go_on_the_same_after_a_restart(
    make: MakeReplica, environment: MovedEnvironment, tmp_path: Path, seed: int
) -> None:
    log = MemoryLog(environment)
    live = await make(log)
    await fill(live)
    other = await make(log, tmp_path)
    flow = Flow(seed)
    for _ in range(6):
        await run(live, flow, 5)
        environment.ahead_ns += 61 * 1_000_000_000
        await other.stop()
        other = await make(log, tmp_path)
        await run(other, flow, 5)
        await live.barrier()
        await other.barrier()
        assert other.exchange.state_hash() == live.exchange.state_hash()
        assert other.views.snapshot() == live.views.snapshot()
        assert other.state.results.snapshot() == live.state.results.snapshot()


async def test_killed_between_snapshot_and_tail(
    make: MakeReplica, environment: MovedEnvironment, tmp_path: Path, seed: int
) -> None:
    url = f"sqlite:///{tmp_path}"
    first = await make(open_log(url, environment), tmp_path)
    await fill(first)
    flow = Flow(seed)
    await run(first, flow, 30)
    await first.snapshot()
    await run(first, flow, 30)
    views, results = first.views.snapshot(), first.state.results.snapshot()
    await first._halt()  # no last snapshot: what a kill leaves
    await first.log.close()
    (tmp_path / FOLDER / "0000000000000099-aa.new").write_bytes(b"half")
    second = await make(open_log(url, environment), tmp_path)
    assert second.views.snapshot() == views
    assert second.state.results.snapshot() == results
    assert not list((tmp_path / FOLDER).glob("*.new"))
    result = replay(second.log)
    assert (result.state_hash, result.event_hash) == (second.exchange.state_hash(), second.exchange.event_hash)
    assert result.position == second.position
    assert result.sequence == result.commands == second.exchange.sequence


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
async def test_a_bad_snapshot_is_passed_over(
    make: MakeReplica, environment: MovedEnvironment, tmp_path: Path, seed: int, damage: str,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    log = MemoryLog(environment)
    live = await make(log, tmp_path / "live")
    await fill(live)
    flow = Flow(seed)
    for _ in range(2):
        await run(live, flow, 10)
        await live.snapshot()
    for number in range(12):
        folder = tmp_path / str(number)
        shutil.copytree(tmp_path / "live", folder)
        data = bytearray(snapshots(folder)[-1].read_bytes())
        at = flow.random.randrange(len(data))
        if damage == "flip":
            data[at] ^= 1 << flow.random.randrange(8)
        snapshots(folder)[-1].write_bytes(data if damage == "flip" else data[:at] if damage == "cut" else b"")
        again = await make(log, folder)
        await live.barrier()
        same(live, again)
        assert "passed over" in caplog.text
        caplog.clear()
        await again.stop()


async def test_all_snapshots_bad_means_from_the_start(
    make: MakeReplica, environment: MovedEnvironment, tmp_path: Path, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    log = MemoryLog(environment)
    live = await make(log, tmp_path)
    await fill(live)
    await run(live, Flow(seed), 10)
    await live.stop()
    for path in snapshots(tmp_path):
        path.write_bytes(b"BHSNAP1\nnothing of use, but long enough to look at")
    again = await make(log, tmp_path)
    assert again.exchange.account_count == 4
    assert "passed over" in caplog.text


async def test_only_the_newest_two_are_kept(make: MakeReplica, environment: MovedEnvironment, tmp_path: Path) -> None:
    replica = await make(MemoryLog(environment), tmp_path)
    await fill(replica)
    flow = Flow(1)
    for _ in range(5):
        await run(replica, flow, 1)
        newest = await replica.snapshot()
    paths = snapshots(tmp_path)
    assert len(paths) == 2
    assert paths[-1] == newest
    assert paths[-1].stat().st_mode & 0o777 == 0o600


async def test_a_snapshot_after_so_many_commands(
    make: MakeReplica, environment: MovedEnvironment, tmp_path: Path
) -> None:
    replica = await make(MemoryLog(environment), tmp_path, snapshot_commands=100)
    await fill(replica)
    flow = Flow(1)
    for _ in range(100):
        await run(replica, flow, 1, 5)
        await environment.sleep(0.001)
    await replica.guard.stop()  # waits for the one that is being written
    assert len(snapshots(tmp_path)) == 2


async def test_a_forked_child_writes_the_same(
    make: MakeReplica, environment: MovedEnvironment, tmp_path: Path, seed: int
) -> None:
    replica = await make(MemoryLog(environment), tmp_path / "a", snapshot_fork=True)
    await fill(replica)
    await run(replica, Flow(seed), 20)
    path = await replica.snapshot()
    assert path is not None
    assert 0 < replica.guard.hold_seconds < 1
    forked = path.read_bytes()
    path.unlink()
    replica.guard.settings = replica.settings.__class__(snapshot_fork=False)
    again = await replica.snapshot()
    assert again == path
    assert again.read_bytes() == forked


async def test_a_child_that_fails_is_replaced_by_a_thread(
    make: MakeReplica, environment: MovedEnvironment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = await make(MemoryLog(environment), tmp_path, snapshot_fork=True)
    await fill(replica)
    monkeypatch.setattr("bidhall.replica.snapshots.DESCRIPTORS_MAX", None)  # the child stumbles over it
    path = await replica.snapshot()
    assert path is not None
    assert path.exists()


async def test_an_unchanged_replica_writes_no_last_snapshot(
    make: MakeReplica, environment: MovedEnvironment, tmp_path: Path
) -> None:
    log = MemoryLog(environment)
    replica = await make(log, tmp_path)
    await fill(replica)
    await replica.stop()
    before = snapshots(tmp_path)
    again = await make(log, tmp_path)
    await again.stop()
    assert snapshots(tmp_path) == before


async def refused(make: MakeReplica, log: Any, folder: Path, match: str) -> None:
    with pytest.raises(Refused, match=match):
        await make(log, folder)


async def test_a_snapshot_of_another_log_is_refused(
    make: MakeReplica, environment: MovedEnvironment, tmp_path: Path
) -> None:
    log = MemoryLog(environment)
    replica = await make(log, tmp_path)
    await fill(replica)
    await run(replica, Flow(1), 5)
    await replica.stop()
    other = MemoryLog(environment)
    await refused(make, other, tmp_path, "belongs to log")
    other.identity = log.identity
    await refused(make, other, tmp_path, "lost its tail")
    for number in range(1, 20):  # as long, and not the same
        await other.append(type(log._batches[0].entry).make(b"w" * 16, number, 5, 1, 1, b""))
    await refused(make, other, tmp_path, "another history")


async def test_a_trimmed_log_without_a_snapshot_is_refused(
    make: MakeReplica, environment: MovedEnvironment, tmp_path: Path
) -> None:
    log = MemoryLog(environment)
    replica = await make(log, tmp_path)
    await fill(replica)
    await run(replica, Flow(1), 5)
    await replica.snapshot()
    await run(replica, Flow(2), 5)
    await log.trim(replica.position - 2)
    await refused(make, log, tmp_path / "nothing", "begins at position")
    with pytest.raises(Refused, match="trimmed"):
        replay(log)
    await refused(make, log, tmp_path, "begins at")


async def test_a_repeat_after_a_restart_gets_the_first_result(
    make: MakeReplica, environment: MovedEnvironment, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}"
    first = await make(open_log(url, environment), tmp_path)
    await fill(first)
    resting = records.place(2, 1, Side.SELL, OrderType.LIMIT, 1, 100, 10)
    signed = records.place(1, 1, Side.BUY, OrderType.LIMIT, 1, 100, 4, client_id=b"mine", digest=b"d" * 16)
    bad = records.place(1, 1, Side.BUY, OrderType.LIMIT, 1, 0, 4, digest=b"e" * 16)
    await first.execute(resting)
    result, refusal = await first.execute(signed), await first.execute(bad)
    assert [event.kind for event in result.events] == [EventKind.ACCEPTED, EventKind.FILL, EventKind.FILL]
    await first.stop()
    await first.log.close()
    second = await make(open_log(url, environment), tmp_path)
    for command, expected in ((signed, result), (bad, refusal)):
        for _ in range(2):
            again = await second.execute(command)
            assert [event.kind for event in again.events] == [EventKind.REPEATED]
            assert again.first_repeated == expected
    assert list(result.done) == [2]
    environment.ahead_ns += 70 * 1_000_000_000
    later = await second.execute(signed)
    assert later.events[0].kind == EventKind.ACCEPTED


async def test_the_wrong_master_key_is_refused(
    make: MakeReplica, environment: MovedEnvironment, tmp_path: Path
) -> None:
    log = MemoryLog(environment)
    replica = await make(log, tmp_path, master_key="")
    await fill(replica)
    await replica.stop()
    key = (tmp_path / "master.key").read_bytes()
    (tmp_path / "master.key").unlink()
    with pytest.raises(Refused, match="master key opens none"):
        await make(log, tmp_path, master_key="")
    assert not (tmp_path / "master.key").exists()  # the one that was made for it does not stay in the way
    (tmp_path / "master.key").write_bytes(key)
    again = await make(log, tmp_path, master_key="")
    assert again.registry.keys[KEY[0]].permissions == KeyPermission.READ | KeyPermission.TRADE


async def test_the_follower_compares_with_the_log_after_a_reconnect(
    make: MakeReplica, environment: MovedEnvironment, caplog: pytest.LogCaptureFixture
) -> None:
    log = FlakyLog(environment)
    replica = await make(log)
    await fill(replica)
    await run(replica, Flow(3), 5)
    log.cut()
    await run(replica, Flow(4), 5)  # the same log came back: it goes on
    assert "not reachable" in caplog.text
    log.lose(3)
    with pytest.raises(Exception, match=r"history|tail|another batch"):
        await replica.failed


class FlakyLog(MemoryLog):
    """A memory log whose connection can be cut, and which can lose its tail meanwhile, as a failover does."""

    def cut(self) -> None:
        from bidhall.log import Unknown

        tail, self._tail = self._tail, type(self._tail)(self._environment, self._tail.head, self._load)
        tail.fail(Unknown("cut"))

    def lose(self, count: int) -> None:
        del self._batches[-count:]
        self._tail.head -= count
        self.cut()
        self._tail.head = len(self._batches)


async def test_sqlite_and_a_real_restart_of_the_process_state(
    make: MakeReplica, environment: MovedEnvironment, tmp_path: Path, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    url = f"sqlite:///{tmp_path}"
    flow = Flow(seed)
    replica = await make(open_log(url, environment), tmp_path)
    assert isinstance(replica.log, SqliteLog)
    await fill(replica)
    for _ in range(4):
        await run(replica, flow, 20)
        views = replica.views.snapshot()
        await replica.stop()
        await replica.log.close()
        replica = await make(open_log(url, environment), tmp_path)
        assert replica.views.snapshot() == views
        replica.exchange.audit()
    outcome = await replica.execute(records.deposit(1, 1, 5))
    assert outcome.kind is OutcomeKind.DONE
