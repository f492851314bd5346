# SPDX-License-Identifier: Apache-2.0
"""Damage a small log at every byte and see that nothing acknowledged is lost without a word.

`python -m tests.log.sweep` does it at every byte of every file (minutes); the tests take a seeded sample. A log is
built so that every kind of page and frame is in it, copied as `kill -9` would leave it, cut or flipped at one byte,
and opened. Allowed is one of two: refused with a place; or recovered, where every batch is as it was written, nothing
that was acknowledged is missing, and the log can be written, closed, opened and read again. What may be missing when
there is no `log.head` is stated in `least`.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from bidhall.log.batch import Batch, Entry
from bidhall.log.errors import Corrupt
from bidhall.log.store import Store
from bidhall.log.wal import FRAME_BYTES, HEADER_BYTES

DATABASE, WAL, HEAD = "log.sqlite", "log.sqlite-wal", "log.head"
WRITER = b"sweep's writer.."


class Damage(NamedTuple):
    """One fault: `value` None cuts the file at `offset`, a number is put into the byte by exclusive or."""

    file: str
    offset: int
    value: int | None

    def apply(self, data: bytes) -> bytes:
        if self.value is None:
            return data[: self.offset]
        return data[: self.offset] + bytes([data[self.offset] ^ self.value]) + data[self.offset + 1 :]


@dataclass
class Case:
    """A log as a crash left it, and what is in it."""

    name: str
    page_bytes: int
    first: int
    files: dict[str, bytes] = field(default_factory=dict)
    batches: list[Batch] = field(default_factory=list)
    ends: dict[int, int] = field(default_factory=dict)  # position: the byte of the -wal behind its transaction
    live: int = HEADER_BYTES  # the first byte of the -wal that means nothing any more


def folder_for_sweeps() -> Path:
    """In memory where that is possible: thousands of recoveries, each with its syncs."""
    memory = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="bidhall-sweep-", dir=memory if memory.is_dir() else None))


def entries(seed: int, number: int) -> Iterator[Entry]:
    """Empty, small and large ones, so that rows share pages and spill over."""
    draw = random.Random(seed)
    while True:
        yield Entry.make(WRITER, number, 1000 + number, 1, 1, draw.randbytes(192 * draw.choice((0, 1, 1, 2, 3, 9))))
        number += 1


def build(name: str, seed: int, page_bytes: int, folder: Path) -> Case:
    """`live`: partly in a -wal that was started over; `trimmed`: the same with free pages; `closed`: without a -wal."""
    shutil.rmtree(folder, ignore_errors=True)
    store = Store(folder, page_bytes=page_bytes, wal_bytes=0)
    store.open(random.Random(seed).randbytes)
    source = entries(seed, 1)
    case = Case(name, page_bytes, 1)
    for index in range(24):
        case.batches += store.commit([next(source)], 1_000_000 + index)
    if name == "trimmed":
        while store.trim_some(16):
            pass
        case.first, case.batches = 16, case.batches[15:]
    store.write_head()
    if name != "closed":
        store.checkpoint()
        store.finish_checkpoint()
        _commit_live(store, case, source)
    else:
        store.close()
    case.files = {path.name: path.read_bytes() for path in folder.iterdir() if path.name in (DATABASE, WAL, HEAD)}
    case.live = max(case.ends.values(), default=0)
    store.close()
    return case


def _commit_live(store: Store, case: Case, source: Iterator[Entry]) -> None:
    """Seven more transactions, the last but one with three batches; where each of them ends in the -wal."""
    for index in range(7):
        count = 3 if index == 5 else 1
        new = store.commit([next(source) for _ in range(count)], 2_000_000 + index)
        store.write_head()
        case.batches += new
        end = _end_of_wal(store.wal_path.read_bytes(), case.page_bytes)
        case.ends.update({batch.position: end for batch in new})


def _end_of_wal(data: bytes, page_bytes: int) -> int:
    """Behind the last frame with the salts of the header; the file may have older frames behind it."""
    end, salts = HEADER_BYTES, data[16:24]
    while data[end + 8 : end + 16] == salts:
        end += FRAME_BYTES + page_bytes
    return end


def least(case: Case, damage: Damage) -> int:
    """The smallest head that a recovery without a word may have."""
    last = case.batches[-1].position
    if HEAD in case.files and damage.file != HEAD:
        return last
    if damage.file != WAL or not case.ends:
        return last
    if damage.value is None:
        lost = [position for position, end in case.ends.items() if end > damage.offset]
        return min(lost, default=last + 1) - 1
    before_last = max(end for end in case.ends.values() if end < case.live)
    return last - 1 if before_last <= damage.offset < case.live else last


def recover(case: Case, damage: Damage | None, folder: Path) -> str:
    """Open what the fault left. Returns what happened; raises AssertionError when it is not allowed."""
    for path in folder.iterdir():
        path.unlink()
    for name, data in case.files.items():
        (folder / name).write_bytes(damage.apply(data) if damage is not None and damage.file == name else data)
    left = {path.name: path.read_bytes() for path in folder.iterdir()}
    store = Store(folder, wal_bytes=0)
    try:
        refusal = opening(store)
        if refusal is not None:
            assert str(folder) in refusal.place, refusal
            now = {path.name: path.read_bytes() for path in folder.iterdir() if path.name in left}
            assert now == left, "a refusal changed the files"
            return "refused"
        found = list(store.read(case.first))
        same(found, case.batches[: len(found)])
        assert store.head == case.first - 1 + len(found)
        if damage is not None:
            assert store.head >= least(case, damage), f"the head is {store.head}, at least {least(case, damage)} is due"
        return go_on(store, case, found)
    finally:
        store.close()


def opening(store: Store) -> Corrupt | None:
    try:
        store.open()
    except Corrupt as refusal:
        return refusal
    return None


def go_on(store: Store, case: Case, found: list[Batch]) -> str:
    """What was recovered can be written, closed, opened and read."""
    new = entries(99, 1000)
    for _ in range(3):
        found = found + store.commit([next(new), next(new)], 3_000_000)
    store.write_head()
    same(list(store.read(case.first)), found)
    store.close()
    again = Store(store.folder, wal_bytes=0)
    again.open()
    same(list(again.read(case.first)), found)
    again.close()
    return "recovered" if len(found) == len(case.batches) + 6 else "recovered, the last transaction dropped"


def same(found: list[Batch], expected: list[Batch]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert (one.position, one.log_time_ns, one.chain) == (other.position, other.log_time_ns, other.chain)
        assert one.entry.raw == other.entry.raw


def damages(case: Case, draw: random.Random, flips: int) -> Iterator[Damage]:
    """Every cut, and `flips` different values at every byte (255: all of them)."""
    for name, data in case.files.items():
        for offset in range(len(data)):
            if name != HEAD:
                yield Damage(name, offset, None)
            for value in draw.sample(range(1, 256), flips):
                yield Damage(name, offset, value)


def cases(seed: int, page_bytes: int, folder: Path) -> Iterator[Case]:
    for name in ("live", "trimmed", "closed"):
        case = build(name, seed, page_bytes, folder)
        yield case
        without = Case(
            f"{name}, no log.head", page_bytes, case.first, dict(case.files), case.batches, case.ends, case.live
        )
        del without.files[HEAD]
        yield without


def sweep(case: Case, chosen: list[Damage], folder: Path) -> Counter[str]:
    """Raises AssertionError with the fault that did harm."""
    outcomes: Counter[str] = Counter()
    assert recover(case, None, folder) == "recovered"
    for damage in chosen:
        try:
            outcomes[recover(case, damage, folder)] += 1
        except Exception as error:
            raise AssertionError(f"{case.name}: {damage}: {type(error).__name__}: {error}") from error
    return outcomes


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--page-bytes", type=int, default=512)
    parser.add_argument("--flips", type=int, default=1, help="values tried at every byte; 255 is all")
    parser.add_argument("--sample", type=int, default=0, help="faults a case; 0 is all")
    parser.add_argument("--case", default="", help="only cases whose name begins so")
    given = parser.parse_args()
    folder = folder_for_sweeps()
    try:
        for case in cases(given.seed, given.page_bytes, folder):
            if not case.name.startswith(given.case):
                continue
            draw = random.Random(given.seed)
            chosen = list(damages(case, draw, given.flips))
            if given.sample:
                chosen = draw.sample(chosen, min(given.sample, len(chosen)))
            began = time.monotonic()
            outcomes = sweep(case, chosen, folder)
            sizes = ", ".join(f"{name} {len(data)}" for name, data in case.files.items())
            print(
                f"{case.name} ({sizes} bytes): {len(chosen)} faults, {time.monotonic() - began:.0f} s, {dict(outcomes)}"
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
