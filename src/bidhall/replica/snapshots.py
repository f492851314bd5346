# SPDX-License-Identifier: Apache-2.0
"""Snapshot files: how one is written so that it is whole or absent, and how the newest are read.

Called by the replica. A file is named by the position and the chain it stands for and says in its header which log it
belongs to. What may never happen here: a file under its own name that is not whole and synced.

    +0   "BHSNAP1\\n"
    +8   u32 length of the header, little endian
    +12  header, JSON: log, position, chain (hex), layout, sequence, commands, event_hash, sections [[name, bytes] …]
    …    the sections, one after the other
    end  16 bytes: checksum over everything before, 1 MiB at a time, each seeded with the first half of the one before
"""

import contextlib
import logging
import mmap
import os
import signal
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from bidhall.core.exchange import checksum
from bidhall.environment import Environment

logger: Final = logging.getLogger("bidhall.replica")

MAGIC: Final = b"BHSNAP1\n"
PIECE_BYTES: Final = 1 << 20
SUM_BYTES: Final = 16
SUFFIX: Final = ".snapshot"
DESCRIPTORS_MAX: Final = 1 << 20

Section = tuple[str, int, Iterable[bytes]]  # name, size, the bytes in pieces


class BadSnapshot(Exception):
    """The file is damaged, or no snapshot that this version can read."""


@dataclass(frozen=True)
class Header:
    """What a snapshot says about itself."""

    log: bytes
    position: int
    chain: bytes
    layout: int
    sequence: int
    event_hash: bytes

    @property
    def name(self) -> str:
        return f"{self.position:016d}-{self.chain.hex()[:16]}{SUFFIX}"


class Loaded:
    """A snapshot that was found whole. `section` until `close`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            if path.stat().st_size < len(MAGIC) + 4 + SUM_BYTES:
                raise BadSnapshot(f"{path}: too short")
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._view = memoryview(self._map)
        try:
            self.header, self._sections = self._read()
        except BaseException:
            self.close()
            raise

    def _read(self) -> tuple[Header, dict[str, tuple[int, int]]]:
        view, end = self._view, len(self._view) - SUM_BYTES
        if bytes(view[: len(MAGIC)]) != MAGIC:
            raise BadSnapshot(f"{self.path}: no snapshot of this kind")
        running = bytes(SUM_BYTES)
        for at in range(0, end, PIECE_BYTES):
            running = _next_sum(running, view[at : min(at + PIECE_BYTES, end)])
        if running != view[end:]:
            raise BadSnapshot(f"{self.path}: the checksum does not fit")
        start = len(MAGIC) + 4 + int.from_bytes(view[len(MAGIC) : len(MAGIC) + 4], "little")
        try:
            tree = orjson.loads(bytes(view[len(MAGIC) + 4 : start]))
            header = Header(
                bytes.fromhex(tree["log"]), tree["position"], bytes.fromhex(tree["chain"]), tree["layout"],
                tree["sequence"], bytes.fromhex(tree["event_hash"]),
            )  # fmt: skip
            sections = {}
            for name, size in tree["sections"]:
                sections[name] = (start, start + size)
                start += size
        except (ValueError, KeyError, TypeError) as error:
            raise BadSnapshot(f"{self.path}: the header is not understood: {error!r}") from None
        if start != end:
            raise BadSnapshot(f"{self.path}: {start - end} bytes do not belong to any section")
        return header, sections

    @contextlib.contextmanager
    def section(self, name: str) -> Iterator[memoryview]:
        """The bytes of a section; they are gone after the `with`."""
        if name not in self._sections:
            raise BadSnapshot(f"{self.path}: no section {name}")
        begin, end = self._sections[name]
        part = self._view[begin:end]
        try:
            yield part
        finally:
            part.release()

    def close(self) -> None:
        self._view.release()
        self._map.close()


class Store:
    """The folder of snapshots. Everything here blocks: call it from a thread, a child, or before and after serving."""

    def __init__(self, folder: Path, kept: int) -> None:
        self.folder = folder
        self.kept = kept

    def open(self) -> None:
        """The folder exists and holds no leavings of a writer that was killed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for rest in self.folder.glob("*.new"):
            rest.unlink(missing_ok=True)

    def paths(self) -> list[Path]:
        """All there are, the newest first."""
        return sorted(self.folder.glob(f"*{SUFFIX}"), reverse=True)

    def write(self, header: Header, sections: list[Section], retained: int | None = None) -> Path:
        """Durable under its own name when it returns; older ones beyond those to keep are gone (see `leaving`)."""
        path = self.folder / header.name
        making = path.with_suffix(".new")
        descriptor = os.open(making, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            running = bytes(SUM_BYTES)
            for block in _blocks(_all_bytes(header, sections)):
                running = _next_sum(running, block)
                _write_all(descriptor, block)
            _write_all(descriptor, running)
            os.fsync(descriptor)
        except BaseException:
            making.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
        making.rename(path)
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        for old in self.leaving(retained):
            old.unlink(missing_ok=True)
        return path

    def leaving(self, retained: int | None) -> list[Path]:
        """Those beyond the newest few, but for the one from which a follower at position `retained` would catch up.

        None: nobody follows; -1: somebody does, and nobody knows yet from where: the oldest stays.
        """
        old = self.paths()[self.kept :]
        if retained is None or not old:
            return old
        wanted = [path for path in self.paths() if _position_of(path) <= retained]
        keep = wanted[0] if wanted else old[-1] if retained < 0 else None
        return [path for path in old if path != keep]


def _position_of(path: Path) -> int:
    """By its name; one that is named otherwise is of no use to anybody."""
    number = path.name.partition("-")[0]
    return int(number) if number.isdecimal() else -1


def _all_bytes(header: Header, sections: list[Section]) -> Iterator[bytes]:
    tree: dict[str, Any] = {
        "log": header.log.hex(),
        "position": header.position,
        "chain": header.chain.hex(),
        "layout": header.layout,
        "sequence": header.sequence,
        "event_hash": header.event_hash.hex(),
        "sections": [[name, size] for name, size, _ in sections],
    }
    text = orjson.dumps(tree)
    yield MAGIC + len(text).to_bytes(4, "little") + text
    for _, _, pieces in sections:
        yield from pieces


def _blocks(pieces: Iterable[bytes]) -> Iterator[bytes | memoryview]:
    """The same bytes, cut where the checksum wants it."""
    kept = b""
    for piece in pieces:
        view = memoryview(kept + piece if kept else piece)
        whole = len(view) - len(view) % PIECE_BYTES
        for at in range(0, whole, PIECE_BYTES):
            yield view[at : at + PIECE_BYTES]
        kept = bytes(view[whole:])
    if kept:
        yield kept


def _next_sum(before: bytes, block: bytes | memoryview) -> bytes:
    return checksum(block, int.from_bytes(before[:8], "little"))


def _write_all(descriptor: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


async def in_child(
    environment: Environment, job: Callable[[], object], seconds_max: float, forked: Callable[[], None]
) -> bool:
    """Run `job` in a forked child, which sees everything as it is now: the loop is held for the fork only (`forked`).

    The child writes a file and ends; it shares nothing with us that it could disturb: it closes every descriptor it
    was given, touches neither the loop nor a lock of another thread, and never comes back. False: it did not succeed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of threads; see above
        child = os.fork()
    if child == 0:
        _be_child(job)
    forked()
    waited = 0.0
    while True:
        done, status = os.waitpid(child, os.WNOHANG)  # noqa: ASYNC222, it does not block
        if done:
            return os.waitstatus_to_exitcode(status) == 0
        if waited > seconds_max:
            os.kill(child, signal.SIGKILL)
        await environment.sleep(0.02)
        waited += 0.02


def _be_child(job: Callable[[], object]) -> None:
    code = 1
    try:
        os.closerange(3, DESCRIPTORS_MAX)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # the parent waits for us when it stops
        job()
        code = 0
    except BaseException as error:  # straight to the descriptor: a lock of another thread may be held for ever in here
        os.write(2, f"bidhall: no snapshot: {type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(code)
