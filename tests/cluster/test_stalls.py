# SPDX-License-Identifier: Apache-2.0
"""A database that hangs, refuses, cuts or pauses: every command has a definite answer or "unknown", nothing is lost.

Real tasks; proxies stand between them and the database. One cluster for the whole file; the test that ends the primary
stands last. In every test the processes live on and stay ready.
"""

import asyncio
import json
import random
import time
import urllib.request
from collections.abc import Iterator

import pytest

from benchmarks.wire import Answer, HttpConnection, WebSocketReader, plain_request
from tests import postgres
from tests.chaos.traders import NAMES, SYMBOL, Request, sign
from tests.cluster.loading import Town, judge_everywhere, limit_buy, load
from tests.cluster.town import MISSING_HAPROXY, Cluster, has_haproxy
from tests.serving import seed_document

pytestmark = [
    pytest.mark.proof,  # `make proof stalls`: it waits for real time-outs
    pytest.mark.skipif(postgres.binaries() is None, reason=postgres.MISSING),
    pytest.mark.skipif(not has_haproxy(), reason=MISSING_HAPROXY),
]

QUEUE_SECONDS, ANSWER_SECONDS, READ_SECONDS = 5.0, 10.0, 10.0  # what the door promises
SLACK_SECONDS = 1.5


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    made = Cluster(tmp_path_factory.mktemp("stalls"), 2, seed=seed_document(NAMES), standby=True, proxied=True)
    try:
        made.start()
        yield Town(made)
    finally:
        made.kill()


class Timed:
    """A request of its own connection, and how long its answer took."""

    def __init__(self, town: Town, wire: bytes) -> None:
        self._began = time.monotonic()
        self.seconds = 0.0
        self.task = asyncio.create_task(self._ask(town, wire))

    async def _ask(self, town: Town, wire: bytes) -> Answer:
        task = town.cluster.tasks[0]
        connection = await HttpConnection.open(task.host, task.port)
        answer = await connection.ask(wire)
        self.seconds = time.monotonic() - self._began
        connection.close()
        await asyncio.sleep(0)
        return answer

    async def code(self) -> tuple[int, int]:
        """(status, Binance's code; 0: none)."""
        answer = await self.task
        body = json.loads(answer.body)
        return answer.status, body.get("code", 0) if isinstance(body, dict) else 0


def asked(town: Town, request: Request) -> Timed:
    """Send it, and remember it and its answer."""
    town.ledger.requests.append(request)
    timed = Timed(town, request.wire)
    timed.task.add_done_callback(lambda task: setattr(request, "answer", task.result()))
    return timed


def ready(town: Town) -> list[int]:
    """What /readyz says of every task."""
    found = []
    for task in town.cluster.tasks:
        with urllib.request.urlopen(f"{task.url}/readyz", timeout=2) as answer:
            found.append(answer.status)
    return found


async def metrics(town: Town) -> dict[str, float]:
    """What /metrics of the first task says, without labels."""
    task = town.cluster.tasks[0]
    connection = await HttpConnection.open(task.host, task.port)
    answer = await connection.ask(plain_request("/metrics"))
    connection.close()
    lines = [line.split() for line in answer.body.decode().splitlines() if not line.startswith("#") and "{" not in line]
    return {name: float(value) for name, value in lines}


async def works_again(town: Town, client_id: str, patience_seconds: float) -> float:
    """How long until an order is taken; the same bytes again until then."""
    began = time.monotonic()
    request = limit_buy("dot", client_id, 41_000)
    town.ledger.requests.append(request)
    while time.monotonic() < began + patience_seconds:
        request.answer = await Timed(town, request.wire).task
        if request.is_done:
            return time.monotonic() - began
        await asyncio.sleep(0.05)
    raise AssertionError(f"no order is taken {patience_seconds} s after the fault: {request}")


@pytest.mark.slow
async def test_a_stalled_database_gets_definite_answers_in_time(town: Town) -> None:
    """Twelve seconds without a byte: DESIGN §9, its first two rows."""
    task = town.cluster.tasks[0]
    resting = limit_buy("ann", "resting", 42_000)
    assert await asked(town, resting).code() == (200, 0)
    frames: list[bytes] = []
    reader = await WebSocketReader.open(task.host, task.port, f"/ws/{SYMBOL.lower()}@depth@100ms", frames.append)
    await asyncio.sleep(0.5)
    await asyncio.to_thread(town.cluster.stall, True)
    began = time.monotonic()
    sent = limit_buy("ann", "sent", 42_001)
    sent_timed = asked(town, sent)
    await asyncio.sleep(0.1)
    queued_timed = asked(town, limit_buy("ben", "queued", 42_002))
    short_timed = asked(town, limit_buy("cid", "short", 42_003, window_ms=800))
    read = Timed(town, sign("ann", "GET", "openOrders", f"symbol={SYMBOL}"))
    depth = Timed(town, plain_request(f"/api/v3/depth?symbol={SYMBOL}"))
    public = Timed(town, plain_request(f"/api/v3/trades?symbol={SYMBOL}"))
    assert await public.code() == (200, 0)
    assert public.seconds < 1.5
    await asyncio.sleep(max(0.0, began + 2 - time.monotonic()))
    late_timed = asked(town, limit_buy("ann", "late", 42_004))
    wire = sign("ann", "DELETE", "order", f"symbol={SYMBOL}&origClientOrderId=resting")
    cancel = Request("ann", "DELETE", "resting", wire)
    cancel_timed = asked(town, cancel)
    at_once = Timed(town, plain_request(f"/api/v3/ticker/price?symbol={SYMBOL}"))
    assert await late_timed.code() == (429, -1008)
    assert await at_once.code() == (200, 0)
    assert max(late_timed.seconds, at_once.seconds) < 0.5  # at the door
    assert await asyncio.to_thread(ready, town) == [200, 200]
    assert await short_timed.code() == (400, -1021)
    assert short_timed.seconds < 0.8 + SLACK_SECONDS
    assert await queued_timed.code() == (429, -1008)
    assert QUEUE_SECONDS - 0.1 < queued_timed.seconds < QUEUE_SECONDS + SLACK_SECONDS
    assert await cancel_timed.code() == (429, -1008)
    assert QUEUE_SECONDS - 0.1 < cancel_timed.seconds < QUEUE_SECONDS + SLACK_SECONDS  # taken, unlike the order
    assert await sent_timed.code() == (504, -1007)
    assert ANSWER_SECONDS - 0.1 < sent_timed.seconds < ANSWER_SECONDS + SLACK_SECONDS
    assert await read.code() == (503, -1008)
    assert READ_SECONDS - 0.1 < read.seconds < READ_SECONDS + SLACK_SECONDS
    assert (await depth.task).status in (429, 503)
    assert await asyncio.to_thread(ready, town) == [200, 200]
    await asyncio.sleep(max(0.0, began + 12 - time.monotonic()))
    await asyncio.to_thread(town.cluster.stall, False)
    print(f"orders are taken again after {await works_again(town, 'healed', 10):.2f} s")
    assert not reader.closed.done()
    count = len(frames)
    await works_again(town, "seen", 2)
    await asyncio.sleep(0.5)
    assert len(frames) > count
    reader.close()
    for request in (sent, cancel):  # the very same bytes: the outcome is known now
        request.answer = await Timed(town, request.wire).task
        assert request.is_done, request
    await judge_everywhere(town)


async def test_connections_refused_under_load(town: Town, seed: int) -> None:
    loading = asyncio.create_task(load(town, seed, 4))
    await asyncio.sleep(0.7)
    await asyncio.to_thread(town.cluster.refuse, True)
    await asyncio.sleep(2)
    assert await asyncio.to_thread(ready, town) == [200, 200]
    stalled = await metrics(town)
    assert stalled["bidhall_log_reading"] == 0
    assert stalled["bidhall_log_appends_unknown_total"] >= 1
    assert stalled["bidhall_log_losses_total"] >= 1
    await asyncio.to_thread(town.cluster.refuse, False)
    print(f"orders are taken again after {await works_again(town, 'accepted', 5):.2f} s")
    await loading
    healed = await metrics(town)
    assert (healed["bidhall_log_reading"], healed["bidhall_log_lag_batches"], healed["bidhall_ready"]) == (1, 0, 1)
    assert healed["bidhall_log_appends_total"] > stalled["bidhall_log_appends_total"]
    assert healed["bidhall_log_append_seconds_max"] > 0
    await judge_everywhere(town)


async def test_connections_cut_at_random_bytes_under_load(town: Town, seed: int) -> None:
    """Of whatever goes to the database: appends, polls, handshakes."""
    source, before = random.Random(seed), len(town.ledger.placed())

    def cut(data: bytes) -> int | None:
        return source.randrange(len(data)) if source.random() < 0.01 else None

    cuts = sum(proxy.cuts for proxy in town.cluster.proxies)
    town.cluster.cut(cut)
    await load(town, seed, 4)
    town.cluster.cut(None)
    cuts = sum(proxy.cuts for proxy in town.cluster.proxies) - cuts
    print(f"{cuts} cuts, {len(town.ledger.placed()) - before} orders acknowledged")
    assert cuts >= 3
    assert len(town.ledger.placed()) > before
    await works_again(town, "after-the-cuts", 5)
    await judge_everywhere(town)


async def test_a_primary_that_is_paused_under_load(town: Town, seed: int) -> None:
    loading = asyncio.create_task(load(town, seed, 4))
    await asyncio.sleep(0.7)
    town.cluster.primary.pause(True)
    await asyncio.sleep(2)
    assert await asyncio.to_thread(ready, town) == [200, 200]
    town.cluster.primary.pause(False)
    print(f"orders are taken again after {await works_again(town, 'resumed', 5):.2f} s")
    await loading
    await judge_everywhere(town)


@pytest.mark.slow
async def test_a_primary_that_hangs_is_left_for_its_standby(town: Town, seed: int) -> None:
    """It accepts connections and says nothing; later it lives on, beside the new one, and answers whoever reads it."""
    cluster = town.cluster
    assert cluster.standby is not None
    loading = asyncio.create_task(load(town, seed, 2))
    await asyncio.sleep(0.7)
    cluster.primary.pause(True)
    await asyncio.to_thread(cluster.standby.promote)
    print(f"orders are taken again after {await works_again(town, 'elsewhere', 25):.2f} s")
    assert await asyncio.to_thread(ready, town) == [200, 200]
    await loading
    cluster.primary.pause(False)
    await load(town, seed, 2)
    await judge_everywhere(town)
    assert [task.stop() for task in cluster.tasks] == [0, 0]
