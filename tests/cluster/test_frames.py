# SPDX-License-Identifier: Apache-2.0
"""What one task sends every task sends: the same spans, trades and ids, and snapshots of one fit streams of another."""

import asyncio
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks.wire import HttpConnection, WebSocketReader, plain_request
from tests import postgres
from tests.chaos.traders import NAMES, SYMBOL
from tests.cluster.loading import Town, load
from tests.cluster.town import MISSING_HAPROXY, Cluster, has_haproxy
from tests.serving import seed_document

pytestmark = [
    pytest.mark.proof,  # `make proof frames`
    pytest.mark.skipif(postgres.binaries() is None, reason=postgres.MISSING),
    pytest.mark.skipif(not has_haproxy(), reason=MISSING_HAPROXY),
]
LOWER = SYMBOL.lower()
STREAMS = (f"{LOWER}@depth@100ms", f"{LOWER}@depth", f"{LOWER}@trade", f"{LOWER}@aggTrade")
SECONDS = 5.0


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    made = Cluster(tmp_path_factory.mktemp("frames"), 2, seed=seed_document(NAMES))
    try:
        made.start()
        yield Town(made)
    finally:
        made.kill()


class Stream:
    """One connection's frames, by stream."""

    def __init__(self) -> None:
        self.frames: dict[str, list[dict[str, Any]]] = {name: [] for name in STREAMS}
        self.reader: WebSocketReader

    @classmethod
    async def open(cls, host: str, port: int) -> "Stream":
        """Of a task, or of whichever haproxy chooses."""
        stream = cls()
        stream.reader = await WebSocketReader.open(host, port, f"/stream?streams={'/'.join(STREAMS)}", stream._on_text)
        return stream

    def _on_text(self, text: bytes) -> None:
        message = json.loads(text)
        self.frames[message["stream"]].append(message["data"])


class Book:
    """The strictest client: every span follows on the one before, and a snapshot lies on a span's end."""

    def __init__(self, snapshot: dict[str, Any]) -> None:
        self.last_id = snapshot["lastUpdateId"]
        self.sides = [dict(snapshot["bids"]), dict(snapshot["asks"])]

    def follow(self, frame: dict[str, Any]) -> None:
        """One depth update; what is older than the snapshot is dropped."""
        if frame["u"] <= self.last_id:
            return
        assert frame["U"] == self.last_id + 1, f"a resync: {frame['U']} after {self.last_id}"
        self.last_id = frame["u"]
        for side, changes in zip(self.sides, (frame["b"], frame["a"]), strict=True):
            for price, quantity in changes:
                if float(quantity):
                    side[price] = quantity
                else:
                    side.pop(price, None)


async def snapshot(host: str, port: int) -> dict[str, Any]:
    connection = await HttpConnection.open(host, port)
    answer = await connection.ask(plain_request(f"/api/v3/depth?symbol={SYMBOL}&limit=5000"))
    connection.close()
    assert answer.status == 200, answer
    found: dict[str, Any] = json.loads(answer.body)
    return found


def common(one: list[dict[str, Any]], other: list[dict[str, Any]], key: str) -> tuple[list[Any], list[Any]]:
    """The parts of both that lie between the later begin and the earlier end."""
    first, last = max(one[0][key], other[0][key]), min(one[-1][key], other[-1][key])
    parts = [[frame for frame in frames if first <= frame[key] <= last] for frames in (one, other)]
    return parts[0], parts[1]


async def test_two_tasks_send_the_same_frames(town: Town, seed: int) -> None:
    streams = [await Stream.open(task.host, task.port) for task in town.cluster.tasks]
    loading = asyncio.create_task(load(town, seed, SECONDS))
    source = random.Random(seed)
    while not loading.done():  # marks end spans: on every task, whoever was asked
        task = source.choice(town.cluster.tasks)
        await snapshot(task.host, task.port)
        await asyncio.sleep(source.uniform(0.05, 0.3))
    await loading
    await asyncio.sleep(1.5)
    for name, key in zip(STREAMS, ("u", "u", "t", "a"), strict=True):
        one, other = (stream.frames[name] for stream in streams)
        assert min(len(one), len(other)) >= 3, name
        here, there = common(one, other, key)
        assert here == there, name
        assert len(here) >= min(len(one), len(other)) - 1, name
    for stream in streams:
        stream.reader.close()


async def test_a_snapshot_of_one_task_fits_the_stream_of_another(town: Town, seed: int) -> None:
    """As ccxt does it behind a load balancer: subscribe, ask for a snapshot, go on; over and over, never a resync."""
    cluster = town.cluster
    loading = asyncio.create_task(load(town, seed, SECONDS))
    await asyncio.sleep(0.3)
    followed = 0
    while not loading.done():
        for number, task in enumerate(cluster.tasks):
            other = cluster.tasks[1 - number]
            stream = await Stream.open(task.host, task.port)
            await asyncio.sleep(0.15)
            books = {name: Book(await snapshot(other.host, other.port)) for name in STREAMS[:2]}
            await asyncio.sleep(1.2)
            for name, book in books.items():
                began = book.last_id
                for frame in stream.frames[name]:
                    book.follow(frame)
                followed += book.last_id > began
            stream.reader.close()
    await loading
    assert followed >= 3
    stream = await Stream.open(cluster.host, cluster.port)
    book = Book(await snapshot(cluster.host, cluster.port))
    await load(town, seed + 1, 1.0)
    await asyncio.sleep(1.2)
    for frame in stream.frames[STREAMS[0]]:
        book.follow(frame)
    stream.reader.close()
    now = Book(await snapshot(cluster.host, cluster.port))
    assert (book.last_id, book.sides) == (now.last_id, now.sides)
