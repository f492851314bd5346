# SPDX-License-Identifier: Apache-2.0
"""Whatever JSON a client sends, it is answered, and nothing raises."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from tests.feeds.raw import RawClient
from tests.feeds.serving import ALICE, KEYS, Served

METHODS = {
    "/ws": ["SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY", "NOPE", ""],
    "/ws-api/v3": [
        "ping", "time", "v3/ping", "session.status", "session.subscriptions", "userDataStream.subscribe.signature",
        "userDataStream.unsubscribe", "order.place", "depth", "", "v3/",
    ],
}  # fmt: skip
NAMES = [
    "btcusdt@trade",
    "btcusdt@depth",
    "btcusdt@kline_1m",
    "!ticker@arr",
    "x",
    "",
    "@",
    "btcusdt@",
    "combined",
    "\ud800",
    "é" * 200,
]


def value(rng: random.Random, depth: int = 0) -> Any:
    """Any JSON value."""
    kind = rng.randrange(10 if depth < 3 else 8)
    scalars = [
        None,
        True,
        False,
        rng.randrange(-(2**70), 2**70),
        rng.uniform(-1e9, 1e9),
        rng.choice(NAMES),
        "0" * 64,
        KEYS[ALICE],
    ]
    if kind < 8:
        return scalars[kind]
    if kind == 8:
        return [value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {rng.choice([*NAMES, "apiKey", "id"]): value(rng, depth + 1) for _ in range(rng.randrange(4))}


def request(rng: random.Random, path: str) -> str:
    """Something like a request, or not."""
    if rng.random() < 0.1:
        return json.dumps(value(rng))
    message: dict[str, Any] = {"id": value(rng), "method": rng.choice(METHODS[path])}
    if rng.random() < 0.8:
        params: Any = value(rng)
        if rng.random() < 0.6:
            params = [rng.choice(NAMES) for _ in range(rng.randrange(4))]
        if rng.random() < 0.5 and "api" in path:
            names = ["apiKey", "timestamp", "signature", "recvWindow", "subscriptionId", "returnRateLimits", "foo"]
            params = {name: value(rng) for name in rng.sample(names, rng.randrange(len(names)))}
        message["params"] = params
    for name in list(message):
        if rng.random() < 0.05:
            del message[name]
    text = json.dumps(message)
    if rng.random() < 0.1:
        at = rng.randrange(len(text))
        text = text[:at] + rng.choice(['"', "{", "\\", "\0", "9" * 400, "ü"]) + text[at + 1 :]
    return text


@pytest.mark.parametrize("path", METHODS)
async def test_every_message_is_answered(served: Served, seed: int, path: str) -> None:
    rng = random.Random(seed)
    client = await RawClient.connect(served.port, path)
    for _ in range(1500):
        text = request(rng, path)
        client.text(text)
        answer = await client.message()
        while "event" in answer or ("id" not in answer and "code" not in answer):
            answer = await client.message()  # a subscription that ended, or a first frame
        if "api" in path:
            assert answer["status"] in (200, 400, 401, 429), (text, answer)
            assert ("result" in answer) != ("error" in answer)
        else:
            assert "result" in answer or answer["code"] in (0, 1, 2, 3), (text, answer)
    assert served.feeds.faults == 0
