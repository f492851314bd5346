# SPDX-License-Identifier: Apache-2.0
"""`log.head`: a small record of the last position that was acknowledged, beside the database.

A `-wal` that lost whole transactions at its end looks like one to which they were never written. This record tells:
it is written after a commit was synced and nothing waits for it, so it never claims too much; it is synced about once
a second and before the `-wal` is started over, so a power cut leaves it at most that much behind, and a killed
process not at all. Written by `store.py` only. It must never be written before the commit it speaks of.

Two slots, written in turn, so that one torn write leaves the other; little endian:

    +0     identity[16]  of the log
    +512   position u64, chain[16], CRC-32 of the two
    +1024  the same
"""

import os
from mmap import mmap
from pathlib import Path
from struct import Struct
from typing import Final, NamedTuple
from zlib import crc32

from bidhall.log.batch import CHAIN_START

SLOT_BYTES: Final = 512
FILE_BYTES: Final = 3 * SLOT_BYTES
_BODY: Final = Struct("<Q16s")
_CHECK_BYTES: Final = 4


class Head(NamedTuple):
    """Everything up to `position` was acknowledged, and the chain stood at `chain` there."""

    identity: bytes
    position: int
    chain: bytes


def _encode(position: int, chain: bytes) -> bytes:
    body = _BODY.pack(position, chain)
    return body + crc32(body).to_bytes(_CHECK_BYTES, "little")


def _decode(identity: bytes, slot: bytes) -> Head | None:
    body, check = slot[: _BODY.size], slot[_BODY.size : _BODY.size + _CHECK_BYTES]
    if len(check) < _CHECK_BYTES or crc32(body).to_bytes(_CHECK_BYTES, "little") != check or not any(slot):
        return None
    return Head(identity, *_BODY.unpack(body))


def read_head(path: Path) -> Head | None:
    """The newer slot that is whole; None when there is no file or no whole slot."""
    if not path.exists():
        return None
    data = path.read_bytes()
    slots = (_decode(data[:16], data[at : at + SLOT_BYTES]) for at in (SLOT_BYTES, 2 * SLOT_BYTES))
    return max((head for head in slots if head is not None), key=lambda head: head.position, default=None)


class HeadFile:
    """The record, open for writing. One thread writes; any thread may sync."""

    def __init__(self, path: Path, identity: bytes) -> None:
        self._start = identity.ljust(SLOT_BYTES, b"\0")
        self._at = SLOT_BYTES
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(self._file, 0, FILE_BYTES)
            self._map = mmap(self._file, FILE_BYTES)  # a store costs 1 µs and a write 15, and both survive a kill
        except BaseException:
            os.close(self._file)
            raise
        self.position = -1

    def write(self, position: int, chain: bytes) -> None:
        if position == self.position:
            return
        at = self._at
        self._map[at : at + _BODY.size + _CHECK_BYTES] = _encode(position, chain)
        self._at = 3 * SLOT_BYTES - at  # the other one
        self.position = position

    def write_both(self, position: int, chain: bytes) -> None:
        """At the start: both slots, durable."""
        self._map[:] = self._start + 2 * _encode(position, chain).ljust(SLOT_BYTES, b"\0")
        os.fsync(self._file)
        self.position = position

    def sync(self) -> None:
        os.fdatasync(self._file)

    def close(self) -> None:
        self._map.close()
        os.close(self._file)


def create_head(path: Path, identity: bytes) -> None:
    """Of a log that holds nothing yet."""
    file = HeadFile(path, identity)
    try:
        file.write_both(0, CHAIN_START)
    finally:
        file.close()
