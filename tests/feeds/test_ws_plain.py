# SPDX-License-Identifier: Apache-2.0
"""The compiled readers of frames and calls against the general ones, over generated and mutated input."""

from __future__ import annotations

import json
import logging
import os
import random
from typing import Any

import pytest
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from benchmarks.wire import Key, signed_call
from bidhall.core.wire import read_call, read_form, read_frames
from bidhall.protocol import ws_api
from bidhall.protocol.ws_api import WsError

SIZE_MAX = 70_000
KEY = Key("k" * 64, "s" * 64)
ORDER = {
    "symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01", "price": "20000.5",
    "newClientOrderId": "mine-1", "newOrderRespType": "FULL", "recvWindow": "5000",
}  # fmt: skip


def frame(payload: bytes, first: int = 0x81, mask: bytes | None = None, wide: int = 0) -> bytes:
    """A client's frame; `wide` forces a longer form of the length than it needs."""
    mask = os.urandom(4) if mask is None else mask
    size = len(payload)
    if size < 126 and not wide:
        head = bytes([first, 0x80 | size])
    elif size < 65_536 and wide < 2:
        head = bytes([first, 0xFE]) + size.to_bytes(2, "big")
    else:
        head = bytes([first, 0xFF]) + size.to_bytes(8, "big")
    return head + mask + bytes(byte ^ mask[index & 3] for index, byte in enumerate(payload))


def library(data: bytes) -> tuple[list[tuple[int, bytes]], bool]:
    """What websockets makes of the same bytes: its frames, and whether it went on."""
    logging.getLogger("quiet").setLevel(logging.CRITICAL)
    wire = ServerProtocol(max_size=SIZE_MAX, state=OPEN, logger=logging.getLogger("quiet"))
    wire.receive_data(data)
    frames = [(int(one.opcode), bytes(one.data)) for one in wire.events_received() if isinstance(one, Frame)]
    return frames, wire.state is OPEN


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 125, 126, 127, 1000, 65_535, 65_536, SIZE_MAX])
@pytest.mark.parametrize("first", [0x81, 0x82])
def test_whole_messages_are_unmasked(size: int, first: int) -> None:
    payload = os.urandom(size)
    data = b"before" + frame(payload, first) + frame(b"next") + b"\x81"
    payloads, end, other_end = read_frames(data, 6, SIZE_MAX, True)
    assert payloads == [payload, b"next"]
    assert end == other_end == len(data) - 1


def test_every_beginning_of_a_frame_waits_for_its_rest() -> None:
    for size in (5, 300, 66_000):
        data = frame(b"x" * size)
        for cut in (*range(20), size // 2, len(data) - 1):
            assert read_frames(data[: min(cut, len(data) - 1)], 0, SIZE_MAX, True) == ([], 0, 0)


def test_other_frames_are_told_and_left() -> None:
    ping, piece = frame(b"p", 0x89), frame(b"half", 0x01)
    data = frame(b"one") + ping + frame(b"two") + piece
    first_size = len(frame(b"one"))
    assert read_frames(data, 0, SIZE_MAX, True) == ([b"one"], first_size, first_size + len(ping))
    assert read_frames(data, 0, SIZE_MAX, False) == ([], 0, first_size)
    assert read_frames(frame(b"xy"), 0, 1, True) == ([], 0, -1), "too large"
    assert read_frames(b"\x81\x01x", 0, SIZE_MAX, True) == ([], 0, -1), "not masked"
    assert read_frames(frame(b"x", 0xC1), 0, SIZE_MAX, True) == ([], 0, -1), "a reserved bit"


def test_frames_are_those_of_the_library_whatever_comes(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(3_000):
        pieces = []
        for _ in range(rng.randrange(1, 5)):
            first = rng.choice((0x81, 0x81, 0x81, 0x82, 0x89, 0x8A, 0x88, 0x01, 0x80, 0xC1, 0x83))
            payload = rng.randbytes(rng.choice((0, 1, 5, 124, 125, 126, 200)))
            pieces.append(frame(payload, first, rng.randbytes(4), rng.choice((0, 0, 0, 1, 2))))
        data = bytearray(b"".join(pieces))
        if rng.random() < 0.3:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        raw = bytes(data[: rng.randrange(len(data) + 1)] if rng.random() < 0.3 else data)
        payloads, end, other_end = read_frames(raw, 0, SIZE_MAX, True)
        assert 0 <= end <= len(raw)
        assert other_end in (end, -1) or end < other_end <= len(raw)
        frames, went_on = library(raw[:end])
        assert [data for _, data in frames] == payloads, raw
        assert all(opcode in (Opcode.TEXT, Opcode.BINARY) for opcode, _ in frames)
        assert went_on, raw
        if other_end < 0:
            assert not library(raw)[1] or len(library(raw)[0]) == len(payloads)


def general(data: bytes) -> tuple[bytes, str, str, bytes, bytes] | None:
    """What the general way reads: id, method, key, payload, signature."""
    try:
        sent = ws_api.parse(data)
    except WsError:
        return None
    parameters = sent.parameters
    key, signature = str(parameters.get("apiKey", "")), str(parameters.get("signature", ""))
    try:
        return ws_api.id_text(sent.id), sent.method, key, ws_api.payload(sent), signature.encode()
    except UnicodeEncodeError:
        return None


def check(data: bytes) -> bool:
    """Whether it was plain; then both ways say the same."""
    plain = read_call(data)
    if plain is None:
        return False
    id_text, method, key, form = plain
    payload, _, signature = form.rpartition(b"&signature=")
    assert general(data) == (id_text, method.removeprefix("v3/"), key, payload, signature), data
    assert form.startswith(b"apiKey=" + key.encode() + b"&")
    return True


def test_orders_of_clients_are_plain() -> None:
    assert check(signed_call(1, "order.place", KEY, ORDER, 1_700_000_000_123))
    plain = read_call(signed_call(1, "order.place", KEY, ORDER, 1_700_000_000_123))
    assert plain is not None
    assert read_form(plain[3], len("apiKey=&") + 64) is not None
    assert read_form(plain[3]) is None, "over REST the key is no parameter"


NOT_PLAIN: list[Any] = [
    {}, [], {"id": 1}, {"id": None, "method": "m", "params": {}}, {"id": 1.5, "method": "m", "params": {}},
    {"id": -1, "method": "m", "params": {"apiKey": "k", "signature": "s"}},
    {"id": "x" * 37, "method": "m", "params": {"apiKey": "k", "signature": "s"}},
    {"id": 1, "method": "m", "params": {"apiKey": "k"}}, {"id": 1, "method": "m", "params": {"signature": "s", "b": 1}},
    {"id": 1, "method": "m", "params": {"apiKey": "k", "signature": "s", "a": None}},
    {"id": 1, "method": "m", "params": {"apiKey": "k", "signature": "s", "a": True}},
    {"id": 1, "method": "m", "params": {"apiKey": "k", "signature": "s", "a": ["x"]}},
    {"id": 1, "method": "m", "params": {"apiKey": "k", "signature": "s", "a": "x&y=z"}},
    {"id": 1, "method": "m", "params": {"apiKey": "k", "signature": "s", "a": "ü"}},
    {"id": 1, "method": "m", "params": {"apiKey": "k", "signature": "s", "a": -1}},
    {"id": 1, "method": "m", "params": {"apiKey": "k", "signature": "s", "a": 1e-7}},
    {"id": 1, "method": "m", "params": {"apiKey": "k", "signature": "s", "a": ""}},
    {"id": 1, "method": "m", "params": {"apiKey": "k", "signature": "s"}, "more": 1},
    {"id": 1, "method": "m", "params": {"apiKey": "k", "signature": "s", "Above": "x"}},
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(NOT_PLAIN)))
def test_what_is_not_plain_is_left_to_the_general_way(number: int) -> None:
    assert read_call(json.dumps(NOT_PLAIN[number]).encode()) is None


def test_calls_are_those_of_the_general_way_whatever_comes(seed: int) -> None:
    rng = random.Random(seed)
    characters = b'{}[]":,0123456789.-+eE \t\n\\abtruefalsnulsignature&=%/\x00\x1f\x7f\x80\xff'
    good = 0
    for _ in range(20_000):
        parameters: dict[str, Any] = dict(rng.sample(sorted(ORDER.items()), rng.randrange(len(ORDER) + 1)))
        for name in list(parameters):
            if rng.random() < 0.1:
                parameters[name] = rng.choice((0, 1, 12, 0.5, 1e-05, 1e22, True, None, [], "", "x y", "0" * 40, "a\\b"))
        parameters |= {"apiKey": KEY.text, "timestamp": rng.choice((1_700_000_000_123, "1700000000123"))}
        parameters["signature"] = "ab" * 32
        names = list(parameters)
        rng.shuffle(names)
        separators = rng.choice(((",", ":"), (", ", ": "), (" ,\n", "\t:\r ")))
        call = {"id": rng.choice((0, 7, 10**18, -1, None, "a", "x" * 36, "q/ü")), "method": "order.place"}
        call["params"] = {name: parameters[name] for name in names}
        items = list(call.items())
        rng.shuffle(items)
        data = bytearray(json.dumps(dict(items), separators=separators).encode())
        for _ in range(rng.choice((0, 0, 1, 1, 2, 5))):
            at = rng.randrange(len(data))
            if rng.random() < 0.5:
                data[at : at + rng.randrange(3)] = bytes(rng.choices(characters, k=rng.randrange(3)))
            else:
                data[at] = rng.choice(characters)
        good += check(bytes(data))
    assert good > 2_000, "the generator must make plain ones too"
