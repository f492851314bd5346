# SPDX-License-Identifier: Apache-2.0
"""`bidhall verify`: a whole folder passes, and every kind of damage that somebody can do to one is found and named."""

import json
import shutil
import sqlite3
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from bidhall.cli import main
from bidhall.cli.verify import report, walk
from bidhall.cli.verify.history import COLUMNS
from bidhall.core.exchange import Broken, Exchange
from bidhall.core.records import COMMAND, LAYOUT_VERSION, EventKind, deposit
from bidhall.log import Batch, Entry, chain_next
from bidhall.log.store import Store
from bidhall.replica import snapshots
from bidhall.sinks.history import schema
from tests.serving import ServerProcess, serving
from tests.sinks.worlds import WRITER, facts_in, generated, store_at

COMMANDS = 2_500
SNAPSHOT_SHARES = (3, 1)  # at a third of the log, and at its end
HISTORY = "history.sqlite"


class World:
    """A folder as a stopped exchange leaves it, and how to damage it."""

    def __init__(self, folder: Path, batches: list[Batch]) -> None:
        self.folder = folder
        self.batches = batches

    @property
    def log_path(self) -> Path:
        return self.folder / "log.sqlite"

    def verify(self) -> tuple[int, str]:
        """Exit code and all that was said."""
        result = CliRunner().invoke(main, ["verify", str(self.folder)])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.output
        return result.exit_code, result.output

    def damaged(self, check: str, *words: str) -> str:
        """It is not in order, and this check says why; what it printed."""
        code, said = self.verify()
        bad = [line for line in said.splitlines() if line.startswith(check.ljust(report.NAME_WIDTH) + " BAD")]
        assert code == 1, said
        assert bad, said
        for word in words:
            assert any(word in line for line in bad), (word, said)
        return said

    def sql(self, name: str, statement: str, *values: Any) -> Any:
        """In one of its databases; the first row."""
        connection = sqlite3.connect(self.folder / name, isolation_level=None)
        try:
            row = connection.execute(statement, values).fetchone()
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return row
        finally:
            connection.close()

    def snapshot_paths(self) -> list[Path]:
        return sorted((self.folder / "snapshots").glob("*.snapshot"))


@pytest.fixture(name="made", scope="module")
def make_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Generated trading with every feature: a log, snapshots of two positions, and the history."""
    folder = tmp_path_factory.mktemp("verify") / "data"
    written = generated(20_261_122, COMMANDS)
    log = Store(folder, wal_bytes=0)
    log.open()
    batches = [log.commit([batch.entry], batch.log_time_ns)[0] for batch in written.read(1)]
    history = store_at(folder / HISTORY, log)
    history.write(list(facts_in(log)))
    history.close()
    exchange = Exchange()
    wanted = {len(batches) // share for share in SNAPSHOT_SHARES}
    for batch in batches:
        apply(exchange, batch)
        if batch.position in wanted:
            write_snapshot(folder, log.identity, batch, exchange)
    log.close()
    return World(folder, batches)


@pytest.fixture(name="world")
def copy_world(made: World, tmp_path: Path) -> World:
    shutil.copytree(made.folder, tmp_path / "data")
    return World(tmp_path / "data", made.batches)


def apply(exchange: Exchange, batch: Batch) -> None:
    entry = batch.entry
    exchange.apply(entry.commands, batch.log_time_ns, entry.writer_time_ns, entry.writer, entry.number)


def write_snapshot(folder: Path, log: bytes, batch: Batch, exchange: Exchange) -> Path:
    kernel = exchange.snapshot()
    header = snapshots.Header(
        log, batch.position, batch.chain, LAYOUT_VERSION, exchange.sequence, exchange.event_hash
    )  # fmt: skip
    store = snapshots.Store(folder / "snapshots", 9)
    store.open()
    return store.write(header, [("kernel", len(kernel), (kernel,))])


# --- in order ------------------------------------------------------------------------------------------------------


def test_a_whole_folder_is_in_order_and_unchanged(world: World) -> None:
    def content() -> dict[str, bytes]:
        return {
            str(path.relative_to(world.folder)): path.read_bytes()
            for path in world.folder.rglob("*")
            if path.is_file() and path.name != "log.lock" and not path.name.endswith(("-shm", "-wal"))
        }

    before = content()
    code, said = world.verify()
    assert code == 0, said
    assert said.count(" ok ") == 6, said
    assert "commands/s" in said
    assert content() == before


def test_the_generated_history_has_everything_in_it(world: World) -> None:
    """Else the damages below would not be damages of everything."""
    for table in schema.TABLES:
        assert world.sql(HISTORY, f"SELECT COUNT(*) FROM {table}")[0] >= 2, table


def test_without_log_head_and_history_it_says_so(world: World) -> None:
    (world.folder / "log.head").unlink()
    (world.folder / HISTORY).unlink()
    code, said = world.verify()
    assert code == 0, said
    assert "log.head   --" in said
    assert "history    --" in said


def test_a_history_that_is_behind_is_compared_up_to_its_cursor(world: World) -> None:
    (world.folder / HISTORY).unlink()
    log = Store(world.folder, wal_bytes=0)
    log.open()
    history = store_at(world.folder / HISTORY, log)
    facts = list(facts_in(log))
    history.write(facts[: len(facts) // 2])
    history.close()
    log.close()
    code, said = world.verify()
    assert code == 0, said
    assert "batches behind the log" in said


def test_a_log_elsewhere(world: World, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for path in world.folder.glob("log.*"):
        path.rename(elsewhere / path.name)
    result = CliRunner().invoke(main, ["verify", str(world.folder), "--log", f"sqlite:///{elsewhere}"])
    assert result.exit_code == 0, result.output
    assert "history    ok" in result.output


# --- what is no folder of a stopped exchange -----------------------------------------------------------------------


def test_a_folder_in_use_is_refused(world: World) -> None:
    holder = Store(world.folder, wal_bytes=0)
    holder.open()
    try:
        code, said = world.verify()
    finally:
        holder.close()
    assert code == 1
    assert "a folder in use cannot be verified" in said


def test_an_empty_folder_is_refused_and_stays_empty(tmp_path: Path) -> None:
    code, said = World(tmp_path, []).verify()
    assert code == 1
    assert "there is no log here" in said
    assert not list(tmp_path.iterdir())


def test_another_kind_of_log_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["verify", str(tmp_path), "--log", "memory:"])
    assert result.exit_code == 1
    assert "verify reads logs of the kind" in result.output


# --- damages of the log --------------------------------------------------------------------------------------------


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 0x10
    path.write_bytes(content)


def test_a_flipped_byte_in_a_batch(world: World) -> None:
    middle = world.batches[len(world.batches) // 2]
    raw = bytearray(middle.entry.raw)
    raw[-1] ^= 1
    world.sql("log.sqlite", "UPDATE batch SET entry = ? WHERE position = ?", bytes(raw), middle.position)
    world.damaged("log", f"position {middle.position}", "checksum")


def test_another_time_of_a_batch(world: World) -> None:
    world.sql("log.sqlite", "UPDATE batch SET log_time_ns = log_time_ns + 1 WHERE position = 7")
    world.damaged("log", "position 7", "chain")


def test_a_batch_that_is_gone(world: World) -> None:
    world.sql("log.sqlite", "DELETE FROM batch WHERE position = 9")
    world.damaged("log", "position 9", "missing")


def test_a_lost_tail(world: World) -> None:
    world.sql("log.sqlite", "DELETE FROM batch WHERE position >= ?", world.batches[-3].position)
    world.damaged("log", f"position {world.batches[-1].position} was acknowledged")


def test_a_lost_tail_that_only_snapshot_and_history_know_of(world: World) -> None:
    (world.folder / "log.head").unlink()
    world.sql("log.sqlite", "DELETE FROM batch WHERE position = ?", world.batches[-1].position)
    said = world.damaged("snapshots", f"the log ends at {len(world.batches) - 1:,}")
    assert "history    BAD history.sqlite: stands at position" in said


def test_flipped_bytes_of_the_file(world: World) -> None:
    size = world.log_path.stat().st_size
    original = world.log_path.read_bytes()
    found = 0
    for at in range(40, size, size // 16):
        flip(world.log_path, at)
        code, _ = world.verify()
        found += code
        world.log_path.write_bytes(original)
    assert found >= 12, f"{found} of 16: the rest may lie in bytes that hold nothing"


def test_the_head_of_another_log(world: World) -> None:
    head = bytearray((world.folder / "log.head").read_bytes())
    head[:16] = bytes(16)
    (world.folder / "log.head").write_bytes(head)
    world.damaged("log", "another log")


def test_a_forged_history_of_commands_is_told_by_what_was_made_of_the_true_one(world: World) -> None:
    """Whoever changes a command and makes every checksum and the chain anew is found by snapshots and history."""
    (world.folder / "log.head").unlink()
    position, chain = 0, bytes(16)
    connection = sqlite3.connect(world.log_path, isolation_level=None)
    for batch in world.batches:
        entry, position = batch.entry, batch.position
        if position == 12:
            commands = bytes(entry.commands) + deposit(1, 1, 5)
            entry = Entry.make(WRITER, entry.number, entry.writer_time_ns, entry.layout, entry.rules, commands)
        chain = chain_next(chain, position, batch.log_time_ns, entry.checksum)
        connection.execute("UPDATE batch SET entry = ?, chain = ? WHERE position = ?", (entry.raw, chain, position))
    connection.close()
    said = world.damaged("snapshots", "another history")
    assert "log        ok" in said
    assert "history    BAD its cursor stands in another history" in said


def test_a_command_that_no_kernel_knows(world: World) -> None:
    last = world.batches[-1]
    entry = Entry.make(WRITER, last.entry.number + 1, 0, LAYOUT_VERSION, 1, bytes([200]) + bytes(191))
    log = Store(world.folder, wal_bytes=0)
    log.open()
    log.commit([entry], last.log_time_ns)
    log.close()
    world.damaged("replay", f"position {last.position + 1:,}", "UnknownCommand")


# --- damages of snapshots ------------------------------------------------------------------------------------------


def test_a_flipped_byte_in_a_snapshot(world: World) -> None:
    path = world.snapshot_paths()[0]
    flip(path, path.stat().st_size // 2)
    world.damaged("snapshots", path.name, "the checksum does not fit")


def test_a_snapshot_of_another_log(world: World) -> None:
    write_snapshot(world.folder, bytes(16), world.batches[-1], replayed(world.batches))
    world.damaged("snapshots", "belongs to log 0000")


def test_a_snapshot_that_had_a_command_more(world: World) -> None:
    exchange = replayed(world.batches[:-1])
    exchange.apply(deposit(2, 1, 1))
    path = write_snapshot(world.folder, log_of(world), world.batches[-2], exchange)
    world.damaged("snapshots", path.name, "other events led there", "sequence is")


def test_a_snapshot_with_more_money_than_the_log_gives(world: World) -> None:
    """Whole, at its place, with the right number of commands; the account that has too much is named."""
    account, batches = with_a_larger_deposit(world.batches)
    false = replayed(batches)
    assert false.sequence == replayed(world.batches).sequence
    write_snapshot(world.folder, log_of(world), world.batches[-1], false)
    world.damaged("snapshots", f"account {account} has", "the replay")


def log_of(world: World) -> bytes:
    log = Store(world.folder, wal_bytes=0)
    log.open_to_read()
    log.close()
    return log.identity


def replayed(batches: list[Batch]) -> Exchange:
    exchange = Exchange()
    for batch in batches:
        apply(exchange, batch)
    return exchange


def with_a_larger_deposit(batches: list[Batch]) -> tuple[int, list[Batch]]:
    """The same, but for one unit more in the last deposit that was done; and whose it was."""
    exchange, last = Exchange(), (0, 0, 0)
    for index, batch in enumerate(batches):
        first, entry = exchange.sequence + 1, batch.entry
        events = exchange.apply(entry.commands, batch.log_time_ns, entry.writer_time_ns, entry.writer, entry.number)
        for event in () if events is None else events:
            if event["kind"] == EventKind.BALANCE and event["quantity_steps"] > 0:
                last = index, int(event["sequence"]) - first, int(event["account"])
    index, at, account = last
    entry, commands = batches[index].entry, np.frombuffer(batches[index].entry.commands, COMMAND).copy()
    commands["quote_quantity_units"][at] += 1
    made = Entry.make(
        entry.writer, entry.number, entry.writer_time_ns, entry.layout, entry.rules, commands.tobytes()
    )  # fmt: skip
    return account, [*batches[:index], batches[index]._replace(entry=made), *batches[index + 1 :]]


# --- damages of the history ----------------------------------------------------------------------------------------


def damage(table: str, name: str, kind: str) -> str:
    """SQL for another value of the column in the row in the middle."""
    key = ", ".join(schema.KEYS[table])
    value = f"{name} + 1000003" if kind == "INTEGER" else f"{name} || '7'"
    if name in ("is_maker", "is_buyer", "buyer_is_maker"):
        value = f"1 - {name}"
    return (
        f"UPDATE {table} SET {name} = {value} WHERE ({key}) = "
        f"(SELECT {key} FROM {table} ORDER BY {key} LIMIT 1 OFFSET (SELECT COUNT(*) / 2 FROM {table}))"
    )


@pytest.mark.parametrize("table", schema.TABLES)
def test_every_column(world: World, table: str) -> None:
    """A column of the key shows as a row that is missing; any other by its name."""
    original = (world.folder / HISTORY).read_bytes()
    for name, kind in schema.TABLES[table]:
        world.sql(HISTORY, damage(table, name, kind))
        said = world.damaged("history", f"{table}: ")
        if table in COLUMNS and name not in schema.KEYS[table]:
            assert f"{name} is" in said, said
        (world.folder / HISTORY).write_bytes(original)


@pytest.mark.parametrize("table", schema.TABLES)
def test_a_row_that_is_missing(world: World, table: str) -> None:
    key = ", ".join(schema.KEYS[table])
    world.sql(HISTORY, f"DELETE FROM {table} WHERE ({key}) = (SELECT {key} FROM {table} ORDER BY {key} LIMIT 1)")
    world.damaged("history", f"{table}: ")


@pytest.mark.parametrize("table", schema.TABLES)
def test_a_row_too_many(world: World, table: str) -> None:
    """A copy of another one, under a key that the log never gave."""
    names = [name for name, _ in schema.TABLES[table]]
    number = {"orders": "order_id", "candles": "open_s", "markets": "market", "assets": "asset"}.get(
        table, schema.KEYS[table][2 if table in ("fills", "ledger", "prevented", "amendments") else -1]
    )
    copied = ", ".join(f"{name} + 100000000" if name == number else name for name in names)
    world.sql(HISTORY, f"INSERT INTO {table} SELECT {copied} FROM {table} LIMIT 1")
    world.damaged("history", f"{table}: ")


@pytest.mark.parametrize("column", ["log", "position", "sequence", "time_ns", "chain"])
def test_a_wrong_cursor(world: World, column: str) -> None:
    value = "x'00000000000000000000000000000000'" if column in ("log", "chain") else f"{column} - 1"
    world.sql(HISTORY, f"UPDATE meta SET {column} = {value}")
    world.damaged("history")


def test_money_that_the_ledger_made_up(world: World) -> None:
    """The account and how much it has too much are named."""
    account, asset = world.sql(HISTORY, "SELECT account, asset FROM ledger ORDER BY account LIMIT 1")
    world.sql(
        HISTORY, "INSERT INTO ledger VALUES (?, ?, 1, 999, 1, 777, 0, 0, 0, 1)", account, asset
    )  # fmt: skip
    world.damaged("history", f"ledger: account {account} comes to")


def test_bytes_of_the_history_file(world: World) -> None:
    path = world.folder / HISTORY
    flip(path, 3)
    world.damaged("history", "the file is damaged")


def test_no_history_at_all_under_its_name(world: World) -> None:
    (world.folder / HISTORY).write_bytes(b"")
    world.damaged("history", "no history of version")


# --- a kernel that is wrong ----------------------------------------------------------------------------------------


class Leaking:
    """A kernel that has lost a unit of account 1, and whose audit finds it."""

    def __init__(self) -> None:
        self._exchange = Exchange()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._exchange, name)

    def balances(self, account: int) -> list[tuple[int, int, int]]:
        held = self._exchange.balances(account)
        return [(asset, free - 1, locked) for asset, free, locked in held] if account == 1 else held

    def audit(self) -> None:
        raise Broken("free and locked are not what was paid in")


def test_lost_money_is_found_by_the_audit_and_by_the_sum(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "Exchange", Leaking)
    said = world.damaged("funds", "free and locked are not what was paid in", "were paid in and not out")
    assert f"position {world.batches[-1].position}" in said


# --- a real one ----------------------------------------------------------------------------------------------------


def test_a_folder_of_a_real_run(tmp_path: Path) -> None:
    """While it runs it is refused; after a stop, and after a kill, everything is in order."""
    folder = tmp_path / "data"
    with serving(folder, arguments=["--demo"]) as server:
        wait_for_trades(server)
        code, said = World(folder, []).verify()
        assert code == 1
        assert f"process {server.pid} has this log open" in said
    code, said = World(folder, []).verify()
    assert code == 0, said
    assert "history    ok" in said
    server = ServerProcess(folder, arguments=["--demo"])
    server.start()
    wait_for_trades(server)
    server.kill()
    code, said = World(folder, []).verify()
    assert code == 0, said


def wait_for_trades(server: ServerProcess, count: int = 3) -> None:
    """Of this run, so many."""
    deadline, first = time.monotonic() + 30, None
    while time.monotonic() < deadline:
        with urllib.request.urlopen(f"{server.url}/api/v3/trades?symbol=BTCUSDT&limit=1") as answer:
            trades = json.loads(answer.read())
        newest = trades[-1]["id"] if trades else 0
        first = newest if first is None else first
        if newest >= first + count:
            return
        time.sleep(0.1)
    raise AssertionError("the demo does not trade")
