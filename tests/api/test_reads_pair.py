# SPDX-License-Identifier: Apache-2.0
"""A door with almost no memory and a history answers as one that has everything in memory, over real sockets."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import random
from collections import Counter
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import orjson
import pytest
from websockets.asyncio.client import connect

from bidhall.sinks import HistoryUnavailable
from tests.api.past_pair import NS, Pair, Question, Questions, Trading
from tests.api.venue import ALICE, BOB, SECRET, Client
from tests.api.wire import request


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    made = await Pair().start()
    yield made
    calm = made.small.door.faults() == made.big.door.faults() == 0
    await made.stop()
    assert calm, "a handler raised what it may not"


async def trade(pair: Pair, dice: random.Random, steps: int, hours: float = 0.0) -> tuple[Trading, Questions]:
    """Some trading, with hours between now and then."""
    trading, first_ns = Trading(dice), pair.environment.wall_ns()
    clients = {key: pair.clients[key][0] for key in (ALICE, BOB)}
    for _ in range(steps):
        await trading.step(clients)
        if hours and dice.random() < 0.2:
            pair.environment.ahead_ns += int(dice.random() * hours * 3600 * NS)
    await pair.big.replica.barrier()
    return trading, Questions(dice, trading, first_ns, pair.environment.wall_ns())


@pytest.mark.parametrize("seed", range(3))
async def test_both_say_the_same(pair: Pair, seed: int) -> None:
    dice = random.Random(seed)
    trading, questions = await trade(pair, dice, 200)
    for key, order_id, _ in trading.orders:
        answer = await pair.same((key, "order", {"symbol": "BTCUSDT", "orderId": order_id}))
        assert answer.status == 200  # a done order is always found
    paths: Counter[str] = Counter()
    for _ in range(250):
        question = questions.any()
        before = pair.small.door.past.asked
        answer = await pair.same(question)
        assert answer.status in (200, 400), (question, answer)
        paths[question[1]] += pair.small.door.past.asked - before
    assert min(paths[path] for path in ("order", "allOrders", "myTrades", "historicalTrades", "aggTrades")) > 0, paths


@pytest.mark.parametrize("seed", range(3))
async def test_old_candles_in_every_interval_and_zone(pair: Pair, seed: int) -> None:
    dice = random.Random(seed)
    pair.environment.ahead_ns += dice.randrange(40 * 86_400) * NS
    _, questions = await trade(pair, dice, 120, hours=40.0)
    asked = pair.small.door.past.asked
    for _ in range(250):
        answer = await pair.same(questions.candles())
        assert answer.status == 200, answer
        rows = answer.json
        assert all(row[6] + 1 == after[0] for row, after in pairwise(rows))  # no holes, no overlap
    assert pair.small.door.past.asked - asked > 50


async def test_the_websocket_api_says_the_same(pair: Pair) -> None:
    trading, questions = await trade(pair, random.Random(8), 120)
    methods = {
        "order": "order.status", "allOrders": "allOrders", "myTrades": "myTrades", "klines": "klines",
        "uiKlines": "uiKlines", "trades": "trades.recent", "historicalTrades": "trades.historical",
        "aggTrades": "trades.aggregate",
    }  # fmt: skip
    asked, seen = pair.small.door.past.asked, set()
    async with connect(f"ws://127.0.0.1:{pair.small.door.port}/ws-api/v3?returnRateLimits=false") as socket:
        for number in range(150):
            key, path, parameters = question = questions.any()
            if key:
                client = pair.clients[key][0]
                parameters = {**parameters, "apiKey": key, "timestamp": client.now_ms()}
                payload = "&".join(f"{name}={parameters[name]}" for name in sorted(parameters))
                parameters["signature"] = hmac.new(SECRET[key].encode(), payload.encode(), hashlib.sha256).hexdigest()
            await socket.send(orjson.dumps({"id": number, "method": methods[path], "params": parameters}))
            said = orjson.loads(await asyncio.wait_for(socket.recv(), 10))
            wanted = await pair.same(question)
            assert (said["id"], said["status"]) == (number, wanted.status), (question, said)
            assert said["result" if wanted.status == 200 else "error"] == wanted.json, question
            seen.add(path)
    assert seen == set(methods)
    assert pair.small.door.past.asked - asked > 100  # each was asked twice, over REST and over the socket
    assert trading.orders


async def test_pages_by_id_walk_through_everything_once(pair: Pair) -> None:
    trading, _ = await trade(pair, random.Random(4), 150)
    client = pair.clients[ALICE][0]
    seen, next_id = [], 1
    while rows := (await client.ask("GET", "allOrders", symbol="BTCUSDT", orderId=next_id, limit=7)).json:
        seen += [row["orderId"] for row in rows]
        next_id = seen[-1] + 1
    assert seen == sorted(order_id for key, order_id, _ in trading.orders if key == ALICE)
    anyone = pair.clients[""][0]
    trades, next_id = [], 1
    while rows := (await anyone.get("historicalTrades", symbol="BTCUSDT", fromId=next_id, limit=7)).json:
        trades += [row["id"] for row in rows]
        next_id = trades[-1] + 1
    assert trades == list(range(1, len(trades) + 1))
    last = (await anyone.get("trades", symbol="BTCUSDT", limit=1)).json[0]["id"]
    assert trades[-1] == last > 20


async def test_reads_while_orders_go_on_never_miss_one(pair: Pair) -> None:
    """An order that was answered is found at once, however much memory has given up meanwhile."""
    dice = random.Random(5)
    trading = Trading(dice)
    clients = {key: pair.clients[key][0] for key in (ALICE, BOB)}
    readers = [await pair.small.client(key) for key in (ALICE, BOB)]
    done = asyncio.Event()

    async def read(client: Client) -> int:
        count = 0
        while not done.is_set():
            mine = [order_id for key, order_id, _ in trading.orders if key == client.key]
            if not mine:
                await asyncio.sleep(0.001)
                continue
            order_id = dice.choice(mine[-60:])
            answer = await client.ask("GET", "order", symbol="BTCUSDT", orderId=order_id)
            assert answer.status == 200, answer
            answer = await client.ask("GET", "allOrders", symbol="BTCUSDT", orderId=order_id, limit=1000)
            known = {row["orderId"] for row in answer.json}
            assert known >= {other for other in mine if other >= order_id}
            fills = (await client.ask("GET", "myTrades", symbol="BTCUSDT", limit=1000)).json
            places = [(fill["id"], fill["isMaker"]) for fill in fills]
            assert places == sorted(set(places))
            count += 1
        return count

    reading = [asyncio.create_task(read(client)) for client in readers]
    for _ in range(300):
        await trading.step(clients)
    done.set()
    assert min(await asyncio.gather(*reading)) > 5
    assert pair.small.door.past.asked > 5
    for client in readers:
        await client.close()


# --- a history that is not as it should be ---------------------------------------------------------------------------


class Early:
    """A reader that stands, it says, at the first command."""

    def __init__(self, reader: Any) -> None:
        self.reader = reader

    def __getattr__(self, name: str) -> Any:
        def ask(*question: Any) -> Any:
            cursor, found = getattr(self.reader, name)(*question)
            return cursor._replace(sequence=1), found

        return ask


class Strange:
    """Stands between the door and its history."""

    def __init__(self, history: Any) -> None:
        self.history = history
        self.held: list[Any] = []
        self.arrived = asyncio.Event()
        self.away = self.slow = self.behind = False

    @property
    def cursor(self) -> Any:
        return self.history.cursor

    def status(self) -> dict[str, str]:
        return {"state": "waiting" if self.away else "following"}

    def reach(self, position: int, callback: Any, seconds: float) -> None:
        if self.behind:
            callback(False)
        else:
            self.history.reach(position, callback, seconds)

    def ask(self, question: Any, done: Any) -> None:
        if self.away:
            done(None, HistoryUnavailable("away"))
        elif self.slow:
            self.held.append((question, done))
            self.arrived.set()
        elif self.behind:
            self.history.ask(lambda reader: question(Early(reader)), done)
        else:
            self.history.ask(question, done)


async def strange(pair: Pair) -> tuple[Strange, Question, Question]:
    """A strange history, a question that needs it, and one that memory answers."""
    trading, _ = await trade(pair, random.Random(6), 120)
    assert pair.small.history is not None
    reached = asyncio.get_running_loop().create_future()
    pair.small.history.reach(pair.small.replica.position, reached.set_result, 10.0)
    assert await reached
    made = Strange(pair.small.history)
    pair.small.door.past.history = made  # type: ignore[assignment]
    first, last = trading.orders[0], trading.orders[-1]
    return (
        made,
        (first[0], "order", {"symbol": "BTCUSDT", "orderId": first[1]}),
        (last[0], "order", {"symbol": "BTCUSDT", "orderId": last[1]}),
    )


async def test_a_history_that_is_away_is_said_and_stops_nothing(pair: Pair) -> None:
    history, old, new = await strange(pair)
    history.away = True
    for path in ("order", "allOrders", "myTrades"):
        parameters = old[2] if path == "order" else {"symbol": "BTCUSDT"}
        answer = await pair.clients[old[0]][0].ask("GET", path, **parameters)
        assert (answer.status, answer.json["code"]) == (503, -1008), path
    answer = await pair.clients[""][0].get("historicalTrades", symbol="BTCUSDT", fromId=1)
    assert (answer.status, answer.json["code"]) == (503, -1008)
    assert (await pair.same(new)).status == 200  # what memory has, it still says
    assert (await pair.clients[ALICE][0].place(price="1000")).status == 200
    history.away = False
    assert (await pair.same(old)).status == 200


async def test_a_history_that_is_behind_gives_no_half_answers(pair: Pair) -> None:
    history, old, _ = await strange(pair)
    history.behind = True
    assert (await pair.same(old)).status == 200  # it was found: a done order never changes
    missing = (old[0], "order", {"symbol": "BTCUSDT", "origClientOrderId": "never-used"})
    client = pair.clients[old[0]][0]
    answer = await client.ask("GET", "order", **missing[2])
    assert (answer.status, answer.json["code"]) == (503, -1008)  # it may have been, so -2013 would be a guess
    answer = await client.ask("GET", "allOrders", symbol="BTCUSDT", limit=1000)
    assert (answer.status, answer.json["code"]) == (503, -1008)
    history.behind = False
    assert (await pair.same(missing)).json["code"] == -2013


async def test_a_slow_history_holds_its_own_answers_only(pair: Pair) -> None:
    """On one connection answers come in the order of the requests; on another nobody waits."""
    history, old, new = await strange(pair)
    history.slow = True
    slow, other = await pair.small.client(old[0]), await pair.small.client(new[0])
    heads = []
    for question in (old, new, old):
        form = slow.signed(question[2]) if question[0] == slow.key else other.signed(question[2])
        heads.append(request("GET", f"/api/v3/order?{form}", b"", f"X-MBX-APIKEY: {question[0]}"))
    await slow.wire.send(b"".join(heads))
    assert (await other.ask("GET", "order", **new[2])).status == 200  # another connection
    with pytest.raises(TimeoutError):
        await slow.wire.answer(0.3)
    slow_before = len(history.held)
    assert slow_before >= 1
    history.slow = False
    for question, done in history.held:
        pair.small.history.ask(question, done)  # type: ignore[union-attr]
    answers = [await slow.wire.answer() for _ in heads]
    assert [answer.json["orderId"] for answer in answers] == [old[2]["orderId"], new[2]["orderId"], old[2]["orderId"]]
    await slow.close()
    await other.close()


async def test_a_client_that_left_costs_nothing(pair: Pair) -> None:
    history, old, _ = await strange(pair)
    history.slow = True
    for _ in range(20):
        gone = await pair.small.client(old[0])
        history.arrived.clear()
        await gone.wire.send(request("GET", f"/api/v3/order?{gone.signed(old[2])}", b"", f"X-MBX-APIKEY: {old[0]}"))
        await asyncio.wait_for(history.arrived.wait(), 10)
        await gone.close()
    assert len(history.held) == 20
    history.slow = False
    for question, done in history.held:
        pair.small.history.ask(question, done)  # type: ignore[union-attr]
    assert (await pair.same(old)).status == 200
    assert pair.small.door.past.waiting == 0


async def test_without_a_history_a_lost_order_is_never_called_unknown(pair: Pair) -> None:
    _, old, new = await strange(pair)
    pair.small.door.past.history = None
    client = pair.clients[old[0]][0]
    answer = await client.ask("GET", "order", **old[2])
    assert (answer.status, answer.json["code"]) == (503, -1008)
    assert (await pair.same(new)).status == 200
    rows = (await client.ask("GET", "allOrders", symbol="BTCUSDT", limit=1000)).json
    assert 0 < len(rows) < 200
    assert orjson.dumps(rows)
