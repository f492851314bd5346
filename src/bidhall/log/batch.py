# SPDX-License-Identifier: Apache-2.0
"""An entry (what a writer appends) and a batch (an entry that the log has put at a position), byte by byte.

Used by the writer, by every log and by whoever reads one. What may never happen here: a field that changes its place or
meaning. A layout that must change gets a new magic number, and old logs keep the old one.

An entry; all integers are little endian:

    +0   checksum[16]    over everything behind it, and so over writer, number, count and the commands
    +16  "bidE"          u32, what this is and that it is laid out like this
    +20  layout          u16, of the commands (`records.LAYOUT_VERSION`)
    +22  rules           u16, the highest rules version that the writer knows
    +24  writer[16]      random, of one process start
    +40  number          u64, of the writer's batches, from 1
    +48  writer_time_ns  i64
    +56  count           u32, commands
    +60  reserved        u32, zero
    +64  commands        count x 192 bytes

The checksum is AES-GMAC (NIST SP 800-38D) over bytes 16.. with the key "bidhall checksum" and a nonce of twelve
zeros: a 128-bit polynomial that x86 and ARM compute at several bytes a cycle. The key is no secret: it finds damage,
not forgery.

The chain is a running hash of all that the log has said up to a position:
    chain(p) = BLAKE2b-128(chain(p - 1), position, log_time_ns, checksum)        chain(0) = 16 zeros
Two readers whose chains agree at a position have read the same history.
"""

from hashlib import blake2b
from struct import Struct
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bidhall.log.errors import Corrupt

COMMAND_BYTES: Final = 192
HEADER_BYTES: Final = 64
CHECKSUM_BYTES: Final = 16
WRITER_BYTES: Final = 16
CHAIN_BYTES: Final = 16
CHAIN_START: Final = bytes(CHAIN_BYTES)
MAGIC: Final = int.from_bytes(b"bidE", "little")

_BODY: Final = Struct("<IHH16sQqII")
_HEADER: Final = Struct("<16sIHH16sQqII")
_LINK: Final = Struct("<16sQq16s")
_KEY: Final = b"bidhall checksum"
_NONCE: Final = bytes(12)
_seal: Final = AESGCM(_KEY).encrypt


def checksum_of(body: bytes | memoryview) -> bytes:
    """Of everything behind the checksum's own place."""
    return _seal(_NONCE, b"", body)


def chain_next(previous: bytes, position: int, log_time_ns: int, checksum: bytes) -> bytes:
    """The running hash, one batch on."""
    return blake2b(_LINK.pack(previous, position, log_time_ns, checksum), digest_size=CHAIN_BYTES).digest()


class Entry:
    """What a writer appends. Its bytes are `raw`, and the same under every retry."""

    __slots__ = ("checksum", "commands", "count", "layout", "number", "raw", "rules", "writer", "writer_time_ns")

    raw: bytes
    checksum: bytes
    layout: int
    rules: int
    writer: bytes
    number: int
    writer_time_ns: int
    count: int
    commands: memoryview

    @classmethod
    def make(cls, writer: bytes, number: int, writer_time_ns: int, layout: int, rules: int, commands: bytes) -> "Entry":
        """Of `commands`, whole records."""
        count, rest = divmod(len(commands), COMMAND_BYTES)
        if rest or len(writer) != WRITER_BYTES:
            raise ValueError(f"an entry is made of records of {COMMAND_BYTES} bytes and a writer of {WRITER_BYTES}")
        body = _BODY.pack(MAGIC, layout, rules, writer, number, writer_time_ns, count, 0) + commands
        entry = cls()
        entry.checksum = checksum_of(body)
        entry.raw = entry.checksum + body
        entry.layout, entry.rules, entry.writer, entry.number = layout, rules, writer, number
        entry.writer_time_ns, entry.count = writer_time_ns, count
        entry.commands = memoryview(entry.raw)[HEADER_BYTES:]
        return entry

    @classmethod
    def decode(cls, raw: bytes, place: str = "entry") -> "Entry":
        """Of bytes that a log gave back; raises `Corrupt` unless every one of them is as it was written."""
        if len(raw) < HEADER_BYTES:
            raise Corrupt(place, f"{len(raw)} bytes are too few for an entry")
        entry = cls()
        entry.raw = raw
        view = memoryview(raw)
        (entry.checksum, magic, entry.layout, entry.rules, entry.writer, entry.number, entry.writer_time_ns,
         entry.count, reserved) = _HEADER.unpack_from(raw)  # fmt: skip
        if _seal(_NONCE, b"", view[CHECKSUM_BYTES:]) != entry.checksum:
            raise Corrupt(place, "the checksum of the entry does not fit its bytes")
        if magic != MAGIC or reserved or len(raw) != HEADER_BYTES + entry.count * COMMAND_BYTES:
            raise Corrupt(place, "the entry is whole, but laid out in a way that this version does not know")
        entry.commands = view[HEADER_BYTES:]
        return entry

    @property
    def is_hole(self) -> bool:
        """Nobody's: it closes a position that a writer took and never used. It has no effect but on the chain."""
        return self.number == 0

    def __repr__(self) -> str:
        return f"Entry(writer={self.writer.hex()[:8]}, number={self.number}, count={self.count})"


# Laid out like any other and under number 0, which no writer uses: whoever applies it takes it for a repeat.
HOLE: Final = Entry.make(bytes(WRITER_BYTES), 0, 0, 1, 1, b"")


class Batch(NamedTuple):
    """An entry where the log has put it."""

    position: int
    log_time_ns: int
    entry: Entry
    chain: bytes
