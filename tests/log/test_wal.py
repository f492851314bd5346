# SPDX-License-Identifier: Apache-2.0
"""The walk over the `-wal`: SQLite's checksum written down plainly, and a file for every judgement."""

import random
import sqlite3
from itertools import pairwise
from pathlib import Path

import pytest

from bidhall.log import Corrupt
from bidhall.log.wal import FRAME_BYTES, HEADER_BYTES, checksum_of, walk

PAGE = 512
WIDTH = FRAME_BYTES + PAGE
SALTS = (0x01020304, 0xA0B0C0D0)


def plain_checksum(data: bytes, order: str, before: tuple[int, int] = (0, 0)) -> tuple[int, int]:
    first, second = before
    for at in range(0, len(data), 8):
        first = (first + int.from_bytes(data[at : at + 4], order) + second) % 2**32  # type: ignore[arg-type]
        second = (second + int.from_bytes(data[at + 4 : at + 8], order) + first) % 2**32  # type: ignore[arg-type]
    return first, second


def words(*values: int) -> bytes:
    return b"".join(value.to_bytes(4) for value in values)


def make_wal(sizes: list[int], order: str = "little", salts: tuple[int, int] = SALTS, seed: int = 1) -> bytes:
    """A file of one frame for each of `sizes` (0: no commit), as SQLite would write it."""
    draw = random.Random(seed)
    start = words(0x377F0682 if order == "little" else 0x377F0683, 3_007_000, PAGE, 0, *salts)
    state = plain_checksum(start, order)
    data = start + words(*state)
    for index, size in enumerate(sizes):
        page, head = draw.randbytes(PAGE), words(index % 5 + 1, size)
        state = plain_checksum(head + page, order, state)
        data += head + words(*salts, *state) + page
    return data


def flip(data: bytes, *offsets: int) -> bytes:
    damaged = bytearray(data)
    for offset in offsets:
        damaged[offset] ^= 0x11
    return bytes(damaged)


def put(data: bytes, offset: int, new: bytes) -> bytes:
    return data[:offset] + new + data[offset + len(new) :]


def frame(index: int) -> int:
    return HEADER_BYTES + index * WIDTH


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x-wal"


@pytest.mark.parametrize("order", ["little", "big"])
def test_the_checksum_is_the_plain_one(order: str) -> None:
    draw = random.Random(3)
    for length in (8, 24, 520, 4104):
        for _ in range(5):
            data, before = draw.randbytes(length), (draw.getrandbits(32), draw.getrandbits(32))
            assert checksum_of(data, "<u4" if order == "little" else ">u4", before) == plain_checksum(
                data, order, before
            )


@pytest.mark.parametrize("order", ["little", "big"])
def test_a_whole_file(path: Path, order: str) -> None:
    path.write_bytes(make_wal([2, 0, 0, 4, 5], order))
    found = walk(path, PAGE)
    assert (found.transactions, found.end, found.torn, found.pages) == (3, frame(5), None, 5)
    assert found.held == {1, 2, 3, 4, 5}


def test_no_file_an_empty_one_and_one_that_was_filled_with_zeros(path: Path) -> None:
    assert walk(path, PAGE).transactions == 0
    for data in (b"", make_wal([])[:31], bytes(10 * WIDTH), make_wal([]), make_wal([]) + bytes(3 * WIDTH)):
        path.write_bytes(data)
        found = walk(path, PAGE)
        assert (found.transactions, found.pages, found.torn) == (0, 0, None)


def test_what_was_left_by_an_earlier_start_of_the_file_means_nothing(path: Path) -> None:
    older = make_wal([3] * 8, salts=(SALTS[0] - 1, 7), seed=2)
    path.write_bytes(make_wal([2, 0, 4]) + older[frame(3) :])
    found = walk(path, PAGE)
    assert (found.transactions, found.end, found.torn) == (2, frame(3), None)


def test_the_last_transaction_may_be_torn_anywhere(path: Path) -> None:
    whole = make_wal([2, 3, 0, 0, 4])
    older = make_wal([3] * 8, salts=(SALTS[0] - 1, 7), seed=2)
    for tail in (b"", bytes(2 * WIDTH), older[frame(5) :]):
        marks = {frame(index) + 4 + byte for index in (2, 3) for byte in range(4)}  # flipped, they look like commits
        for offset in set(range(frame(2), frame(5))) - marks:
            path.write_bytes(flip(whole, offset) + tail)
            found = walk(path, PAGE)
            assert (found.transactions, found.end, found.torn) == (2, frame(2), frame(2)), offset
        for missing in (2, 3, 4):  # a sector that never reached the disk
            path.write_bytes(put(whole, frame(missing), bytes(WIDTH)) + tail)
            assert walk(path, PAGE).end == frame(2)


def test_a_flip_before_the_last_transaction_is_refused_with_its_frame(path: Path) -> None:
    whole = make_wal([2, 0, 3, 4, 0, 5])
    for offset in range(frame(0), frame(4)):
        path.write_bytes(flip(whole, offset))
        with pytest.raises(Corrupt) as refusal:
            walk(path, PAGE)
        assert refusal.value.place == f"{path} at {frame((offset - HEADER_BYTES) // WIDTH)}"


def test_a_lost_mark_of_the_commit_before_the_last_is_found(path: Path) -> None:
    """Its size of the database reads zero, as if the last transaction began with it; its checksum tells."""
    path.write_bytes(put(make_wal([2, 3, 4]), frame(1) + 4, bytes(4)))
    with pytest.raises(Corrupt, match="2 transactions"):
        walk(path, PAGE)


def test_salts_of_the_commit_before_the_last_are_found(path: Path) -> None:
    path.write_bytes(put(make_wal([2, 3, 4]), frame(1) + 8, bytes(8)))
    with pytest.raises(Corrupt, match="2 transactions"):
        walk(path, PAGE)


def test_a_damaged_header_is_refused_when_frames_stand_behind_it(path: Path) -> None:
    whole = make_wal([2])
    for offset in range(HEADER_BYTES):
        path.write_bytes(flip(whole, offset))
        with pytest.raises(Corrupt) as refusal:
            walk(path, PAGE)
        assert refusal.value.place == f"{path} at 0"


def test_another_page_size_than_the_database_is_refused(path: Path) -> None:
    path.write_bytes(make_wal([2]))
    with pytest.raises(Corrupt, match="4096"):
        walk(path, 4096)


def test_cuts_leave_the_whole_transactions_before_them(path: Path) -> None:
    ends = [frame(0), frame(1), frame(3), frame(4)]
    whole = make_wal([2, 0, 3, 4])
    for length in range(HEADER_BYTES, len(whole)):
        path.write_bytes(whole[:length])
        assert walk(path, PAGE).end == max(end for end in ends if end <= length)


def test_sqlite_itself_drops_what_the_walk_refuses(tmp_path: Path) -> None:
    """Why the walk is there: one flipped byte, and SQLite gives back two rows of thirty without a word."""
    path = tmp_path / "plain.sqlite"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE t (a INTEGER PRIMARY KEY)")
    for number in range(30):
        connection.execute("INSERT INTO t VALUES (?)", (number,))
    data, wal = path.read_bytes(), Path(f"{path}-wal").read_bytes()
    connection.close()
    page = int.from_bytes(data[16:18])
    damaged = flip(wal, HEADER_BYTES + 4 * (FRAME_BYTES + page) + 100)
    copy = tmp_path / "copy.sqlite"
    copy.write_bytes(data)
    Path(f"{copy}-wal").write_bytes(damaged)
    with pytest.raises(Corrupt):
        walk(Path(f"{copy}-wal"), page)
    connection = sqlite3.connect(copy)
    assert connection.execute("SELECT count(*) FROM t").fetchone()[0] < 5
    connection.close()


def test_the_walk_agrees_with_sqlite_about_every_cut(tmp_path: Path) -> None:
    path = tmp_path / "plain.sqlite"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA page_size=512")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b BLOB)")
    draw = random.Random(4)
    for number in range(12):
        connection.execute("INSERT INTO t VALUES (?, ?)", (number, draw.randbytes(draw.choice((10, 900)))))
    data, wal = path.read_bytes(), Path(f"{path}-wal").read_bytes()
    connection.close()
    counts = []
    for length in range(frame(0), len(wal) + 1, WIDTH // 2):
        copy = tmp_path / f"{length}.sqlite"
        copy.write_bytes(data)
        Path(f"{copy}-wal").write_bytes(wal[:length])
        found = walk(Path(f"{copy}-wal"), 512).transactions
        connection = sqlite3.connect(copy)
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        rows = connection.execute("SELECT count(*) FROM t").fetchone()[0] if tables else 0
        connection.close()
        assert found == tables + rows
        counts.append(found)
    assert counts[-1] == 13
    assert all(after - before in (0, 1) for before, after in pairwise(counts))
