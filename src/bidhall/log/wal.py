# SPDX-License-Identifier: Apache-2.0
"""Our own walk over SQLite's `-wal` file, before SQLite touches it.

SQLite takes the first frame that does not fit for the end of the file and drops, without a word, every transaction
behind it. That is right for the one transaction that was being written when the power went, because every earlier one
was synced before it began; anywhere else it is the loss of acknowledged orders. The walk tells the two apart. Called by
`sqlite.py`; it reads, and must never write.

The file (https://www.sqlite.org/fileformat2.html#walformat); integers are big endian:

    header, 32 bytes   magic, version, page bytes, sequence, salt[2], checksum[2] (of the 24 bytes before it)
    frame, 24 + page   page number, pages of the database after a commit (0: no commit), salt[2], checksum[2], the page

A frame's checksum goes on from the one of the frame before it and covers the first eight bytes and the page; the salts
are outside. Frames with other salts are left from before the file was last started over and mean nothing.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from struct import unpack
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from bidhall.log.errors import Corrupt

HEADER_BYTES: Final = 32
FRAME_BYTES: Final = 24
VERSION: Final = 3_007_000
CHUNK_BYTES: Final = 8 << 20
MASK: Final = 0xFFFFFFFF
_PAGES_TRIED_MAX: Final = 1 << 20
MAGICS: Final = {0x377F0682: "<u4", 0x377F0683: ">u4"}

Words = NDArray[np.uint32]


@dataclass
class Walk:
    """What the walk found."""

    transactions: int = 0
    end: int = 0  # the first byte behind the last whole transaction
    torn: int | None = None  # the offset of a transaction that was not written to its end and is dropped
    pages: int = 0  # of the database after the last whole transaction; 0: there is none
    held: set[int] = field(default_factory=set)  # the page numbers that whole transactions hold


@lru_cache(maxsize=4)
def _weights(words: int) -> tuple[Words, Words]:
    """The checksum of `words` words is linear: (matrix for the state before, weight of each word), modulo 2^32."""
    a, b, c, d = 1, 0, 0, 1  # state after = (a b / c d) x state before; one step is (1 1 / 1 2)
    weights = np.empty((words, 2), dtype=np.uint32)
    for pair in range(words // 2 - 1, -1, -1):
        weights[2 * pair] = ((a + b) & MASK, (c + d) & MASK)
        weights[2 * pair + 1] = (b, d)
        a, b, c, d = (a + b) & MASK, (a + 2 * b) & MASK, (c + d) & MASK, (c + 2 * d) & MASK
    return np.array([[a, c], [b, d]], dtype=np.uint32), weights


def checksum_of(data: bytes, order: str, before: tuple[int, int] = (0, 0)) -> tuple[int, int]:
    """SQLite's checksum of `data`, a multiple of eight bytes, going on from `before`."""
    words = np.frombuffer(data, order).astype(np.uint32)
    matrix, weights = _weights(len(words))
    first, second = np.array(before, dtype=np.uint32) @ matrix + words @ weights
    return int(first), int(second)


class _Frames:
    """The frames of a file as columns, and which of them fit."""

    def __init__(self, file: BinaryIO, order: str, page_bytes: int, before: tuple[int, int]) -> None:
        width = FRAME_BYTES + page_bytes
        columns: list[Words] = []
        missing: list[Words] = []
        self._order, self._page_bytes = order, page_bytes
        while len(data := file.read(CHUNK_BYTES // width * width)) >= width:
            count = len(data) // width
            raw = np.frombuffer(data, np.uint8, count * width).reshape(count, width)
            head = raw[:, :FRAME_BYTES].copy().view(">u4").astype(np.uint32)
            sums = self._sums(raw)
            stored = head[:, 4:6]
            previous = np.vstack([np.array([before], dtype=np.uint32), stored[:-1]])
            missing.append(stored - (previous @ _weights(2 + page_bytes // 4)[0] + sums))
            columns.append(head)
            before = int(stored[-1, 0]), int(stored[-1, 1])
        self.head = np.vstack(columns) if columns else np.empty((0, 6), dtype=np.uint32)
        self._missing = np.vstack(missing) if missing else np.empty((0, 2), dtype=np.uint32)
        self.fits: NDArray[np.bool_] = (self._missing == 0).all(axis=1)

    def was_commit(self, frame: int) -> bool:
        """Whether some size of the database, in place of the zero that stands there, makes its checksum right."""
        largest = min(int(self.head[:, 1].max()), _PAGES_TRIED_MAX) + len(self.head)
        sizes = np.arange(1, largest + 2, dtype=np.uint32)
        words = sizes.astype(">u4").view(self._order).astype(np.uint32)[:, None]
        lost = words * _weights(2 + self._page_bytes // 4)[1][1]
        return bool((lost == self._missing[frame]).all(axis=1).any())

    def _sums(self, raw: NDArray[np.uint8]) -> Words:
        weights = _weights(2 + self._page_bytes // 4)[1]
        head = raw[:, :8].copy().view(self._order).astype(np.uint32)
        words = raw[:, FRAME_BYTES:].copy().view(self._order).astype(np.uint32, copy=False)
        return head @ weights[:2] + words @ weights[2:]


def _count_behind(frames: _Frames, broken: int, salts: Words) -> int:
    """How many transactions of the current start of the file ended in the broken frame or behind it."""
    head = frames.head[broken:]
    current = (head[:, 2:4] == salts).all(axis=1)
    current[0] |= frames.fits[broken]  # only its salts are damaged: its checksum goes on from a good frame and is right
    ends = current & (head[:, 1] != 0)
    ends[0] |= current[0] and not head[0, 1] and frames.was_commit(broken)
    return int(np.count_nonzero(ends))


def walk(path: Path, page_bytes: int) -> Walk:
    """Raises `Corrupt` with the offset when more is damaged than the transaction that was being written."""
    found = Walk()
    if not path.exists():
        return found
    with path.open("rb") as file:
        header = file.read(HEADER_BYTES)
        if len(header) < HEADER_BYTES:
            return found  # the header is synced before the first frame is written: nothing was ever behind it
        magic, version, size, _, _, _, *checksum = unpack(">8I", header)
        order = MAGICS.get(magic)
        if order is None or version != VERSION or checksum_of(header[:24], order) != tuple(checksum):
            _refuse_if_used(file, path)
            return found
        if size != page_bytes:
            raise Corrupt(f"{path} at 8", f"pages of {size} bytes, but {page_bytes} in the database")
        frames = _Frames(file, order, page_bytes, (checksum[0], checksum[1]))
    salts = np.frombuffer(header[16:24], ">u4").astype(np.uint32)
    return _judge(frames, salts, path, page_bytes)


def _judge(frames: _Frames, salts: Words, path: Path, page_bytes: int) -> Walk:
    width = FRAME_BYTES + page_bytes
    good = frames.fits & (frames.head[:, 2:4] == salts).all(axis=1)
    broken = len(good) if good.all() else int(np.argmin(good))
    started = False
    if broken < len(good):
        behind = _count_behind(frames, broken, salts)
        if behind >= 2:
            raise Corrupt(
                f"{path} at {HEADER_BYTES + broken * width}",
                f"frame {broken} is damaged, and {behind} transactions end there or behind; only the last may be torn",
            )
        started = behind > 0
    commits = np.flatnonzero(frames.head[:broken, 1])
    whole = int(commits[-1]) + 1 if len(commits) else 0
    found = Walk(transactions=len(commits), end=HEADER_BYTES + whole * width)
    if whole:
        found.pages = int(frames.head[whole - 1, 1])
        found.held = set(np.unique(frames.head[:whole, 0]).tolist())
    if started or broken > whole:
        found.torn = found.end
    return found


def _refuse_if_used(file: BinaryIO, path: Path) -> None:
    """The header does not fit: fine in a file that was never used, damage when anything stands behind it."""
    offset = HEADER_BYTES
    while data := file.read(CHUNK_BYTES):
        if data.strip(b"\0"):
            raise Corrupt(f"{path} at 0", f"the header is damaged, and frames stand behind it (from {offset} on)")
        offset += len(data)
