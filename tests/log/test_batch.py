# SPDX-License-Identifier: Apache-2.0
"""Entries, byte by byte, the checksum against a plain one, and the chain."""

import random
from hashlib import blake2b

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from bidhall.log import CHAIN_START, Corrupt, Entry, chain_next
from bidhall.log.batch import HEADER_BYTES

from .conftest import WRITER, entry


def plain_gmac(key: bytes, data: bytes) -> bytes:
    """NIST SP 800-38D written down plainly, with a nonce of twelve zeros and no text."""
    encrypt = Cipher(algorithms.AES(key), modes.ECB()).encryptor().update

    def product(x: int, y: int) -> int:
        z = 0
        for bit in range(127, -1, -1):
            if x >> bit & 1:
                z ^= y
            y = y >> 1 ^ (0xE1 << 120) if y & 1 else y >> 1
        return z

    secret, total = int.from_bytes(encrypt(bytes(16))), 0
    padded = data + bytes(-len(data) % 16) + (8 * len(data)).to_bytes(8) + bytes(8)
    for start in range(0, len(padded), 16):
        total = product(total ^ int.from_bytes(padded[start : start + 16]), secret)
    return (total ^ int.from_bytes(encrypt(bytes(15) + b"\1"))).to_bytes(16)


def test_the_bytes_of_an_entry_are_the_ones_drawn() -> None:
    made = Entry.make(WRITER, 0x0102030405060708, -2, 0x1112, 0x2122, b"c" * 384)
    assert made.raw[16:64].hex(" ", 4) == (
        "62696445 12112221 30313233 34353637 38396162 63646566 08070605 04030201 feffffff ffffffff 02000000 00000000"
    )
    assert made.raw[64:] == b"c" * 384
    assert made.raw[:16] == made.checksum == plain_gmac(b"bidhall checksum", made.raw[16:])


def test_the_first_golden_entry_is_still_read() -> None:
    """These bytes are on disks: a change of a single one of them is a new layout."""
    made = Entry.make(WRITER, 7, 1_700_000_000_000_000_000, 1, 1, bytes(range(192)))
    assert made.checksum.hex() == plain_gmac(b"bidhall checksum", made.raw[16:]).hex()
    assert blake2b(made.raw, digest_size=8).hexdigest() == "764bdf8faf643eff"


@pytest.mark.parametrize("count", [0, 1, 2, 500])
def test_decode_gives_back_what_was_made(count: int) -> None:
    made = entry(9, count)
    read = Entry.decode(made.raw)
    for name in ("raw", "writer", "number", "writer_time_ns", "layout", "rules", "count", "checksum", "commands"):
        assert getattr(read, name) == getattr(made, name), name
    assert (read.number, read.count, len(read.commands)) == (9, count, 192 * count)


def test_every_bit_counts() -> None:
    raw = entry(3, 1).raw
    for index in range(8 * len(raw)):
        damaged = bytearray(raw)
        damaged[index // 8] ^= 1 << index % 8
        with pytest.raises(Corrupt):
            Entry.decode(bytes(damaged), "here")


def test_every_length_counts() -> None:
    raw = entry(3, 2).raw
    for length in range(len(raw)):
        with pytest.raises(Corrupt, match="here"):
            Entry.decode(raw[:length], "here")
    with pytest.raises(Corrupt):
        Entry.decode(raw + bytes(192), "here")


def test_a_whole_entry_of_an_unknown_layout_is_refused() -> None:
    body = bytearray(entry(1, 0).raw[16:])
    body[3] ^= 1  # another magic number
    raw = plain_gmac(b"bidhall checksum", bytes(body)) + bytes(body)
    assert len(raw) == HEADER_BYTES
    with pytest.raises(Corrupt, match="does not know"):
        Entry.decode(raw)


@pytest.mark.parametrize(("writer", "commands"), [(b"short", bytes(192)), (WRITER, bytes(191)), (WRITER, bytes(193))])
def test_only_whole_records_make_an_entry(writer: bytes, commands: bytes) -> None:
    with pytest.raises(ValueError, match="records"):
        Entry.make(writer, 1, 0, 1, 1, commands)


def test_the_chain_depends_on_all_that_it_covers() -> None:
    draw = random.Random(1)
    base = (CHAIN_START, 5, 1_000, draw.randbytes(16))
    expected = blake2b(base[0] + (5).to_bytes(8, "little") + (1_000).to_bytes(8, "little") + base[3], digest_size=16)
    assert chain_next(*base) == expected.digest()
    others = [(b"\1" * 16, *base[1:]), (base[0], 6, *base[2:]), (*base[:2], 1_001, base[3]), (*base[:3], bytes(16))]
    assert len({chain_next(*base), *(chain_next(*other) for other in others)}) == 5
