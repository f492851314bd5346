# SPDX-License-Identifier: Apache-2.0
"""binance_api.md §11.3: what is sent twice, too late, or at the same time as something else."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Coroutine
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.api.wire import Answer
from tests.feeds.raw import Closed, RawClient
from tests.serving import ServerProcess
from tests.wire_rules.conftest import Opener
from tests.wire_rules.hall import SEED, Hall
from tests.wire_rules.room import Address, Room, story

UNKNOWN = (400, -2011, "Unknown order sent.")


async def test_11_3_cancel_of_a_finished_order_unknown_order_and_its_fills_stand(room: Room) -> None:
    alice, bob = room.traders["alice"], room.traders["bob"]
    placed = await alice.limit("SELL", "1", "100", newClientOrderId="gone")
    await bob.limit("BUY", "1", "100")
    events = await alice.watch()
    assert await alice.refused("DELETE", "order", orderId=placed["orderId"]) == UNKNOWN
    assert await alice.refused("DELETE", "order", origClientOrderId="gone") == UNKNOWN
    assert await events.take() == []
    assert (await alice.order(placed["orderId"]))["status"] == "FILLED"


async def test_11_3_cancel_races_fill_one_of_both_and_never_both(room: Room, seed: int) -> None:
    """Sent within a millisecond over two connections, sixty times; also partly filled orders."""
    rng = random.Random(seed)

    async def shortly(call: Coroutine[Any, Any, Answer]) -> Answer:
        await asyncio.sleep(rng.random() * 0.001)
        return await call

    alice, bob = room.traders["alice"], room.traders["bob"]
    events = await alice.watch()
    first = await alice.limit("SELL", "1", "500")
    await bob.limit("BUY", "1", "1")
    ends = set()
    for number in range(60):
        placed = await alice.limit("SELL", "1", "100")
        cancel = alice.send("DELETE", "order", alice.sign({"symbol": room.symbol, "orderId": placed["orderId"]}))
        form = {"symbol": room.symbol, "side": "BUY", "type": "LIMIT", "timeInForce": "IOC", "price": "100",
                "quantity": "0.6" if number % 2 else "1", "newOrderRespType": "FULL"}  # fmt: skip
        take = bob.send("POST", "order", bob.sign(form))
        canceled, taken = await asyncio.gather(shortly(cancel), shortly(take))
        filled = Decimal(taken.json["executedQty"])
        heard = [e for e in await events.take() if e["e"] == "executionReport" and e["i"] == placed["orderId"]]
        assert sum(Decimal(e["l"]) for e in heard) == filled
        assert sum(Decimal(fill["qty"]) for fill in taken.json["fills"]) == filled
        if canceled.status == 200:
            assert Decimal(canceled.json["executedQty"]) == filled
            assert heard[-1]["x"] == "CANCELED"
            ends.add("canceled" if not filled else "canceled in part")
        else:
            assert (canceled.status, canceled.json["code"], canceled.json["msg"]) == UNKNOWN
            assert filled == 1
            assert heard[-1]["X"] == "FILLED"
            ends.add("filled")
        found = await alice.order(placed["orderId"])
        assert (found["status"], Decimal(found["executedQty"])) == (heard[-1]["X"], filled)
    assert len(ends) >= 2, ends
    assert (await alice.order(first["orderId"]))["status"] == "NEW"


async def test_11_3_query_of_a_finished_order_returns_it(room: Room) -> None:
    """FILLED, CANCELED, EXPIRED, EXPIRED_IN_MATCH: never -2013. By id and by client id."""
    alice, bob = room.traders["alice"], room.traders["bob"]
    filled = await alice.limit("SELL", "1", "100", newClientOrderId="filled")
    await bob.limit("BUY", "1", "100")
    canceled = await alice.limit("SELL", "1", "100", newClientOrderId="canceled")
    await alice.cancel(canceled["orderId"])
    expired = await alice.limit("SELL", "1", "100", timeInForce="IOC", newClientOrderId="expired")
    killed = await alice.limit("SELL", "1", "100", timeInForce="FOK", newClientOrderId="killed")
    matched = await alice.limit("SELL", "1", "100", newClientOrderId="matched")
    await alice.limit("BUY", "1", "100")
    for placed, status in (
        (filled, "FILLED"), (canceled, "CANCELED"), (expired, "EXPIRED"), (killed, "EXPIRED"),
        (matched, "EXPIRED_IN_MATCH"),
    ):  # fmt: skip
        found = await alice.order(placed["orderId"])
        assert (found["status"], found["clientOrderId"]) == (status, placed["clientOrderId"])
        assert await alice.ask("GET", "order", origClientOrderId=placed["clientOrderId"]) == found
    refusal = await alice.refused("GET", "order", orderId=matched["orderId"] + 1_000_000)
    assert (refusal.code, refusal.message) == (-2013, "Order does not exist.")
    assert (await bob.refused("GET", "order", orderId=filled["orderId"])).code == -2013, "nor another account's"


async def test_11_3_client_id_used_again_means_the_newest_order_with_it(room: Room) -> None:
    alice = room.traders["alice"]
    ids = []
    for price in ("100", "101", "102"):
        placed = await alice.limit("BUY", "1", price, newClientOrderId="again")
        ids.append(placed["orderId"])
        assert (await alice.ask("GET", "order", origClientOrderId="again"))["orderId"] == ids[-1]
        await alice.cancel(placed["orderId"], newClientOrderId="x")
        assert (await alice.ask("GET", "order", origClientOrderId="again"))["orderId"] == ids[-1]
    placed = await alice.limit("BUY", "1", "103", newClientOrderId="again")
    canceled = await alice.ask("DELETE", "order", origClientOrderId="again")
    assert canceled["orderId"] == placed["orderId"] > ids[-1]
    assert ids == sorted(set(ids))


async def test_11_3_a_retry_under_the_same_client_id_is_refused_while_the_first_is_open(room: Room) -> None:
    """Signed anew, as a client does behind a time-out; free again when the first one has ended."""
    alice = room.traders["alice"]
    order = {"side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "1", "price": "100",
             "newClientOrderId": "once"}  # fmt: skip
    placed = await alice.ask("POST", "order", **order)
    events = await alice.watch()
    refusal = await alice.refused("POST", "order", **order)
    assert refusal == (400, -2010, "Duplicate order sent.")
    assert await events.take() == []
    assert len(await alice.ask("GET", "openOrders")) == 1
    await alice.cancel(placed["orderId"])
    assert (await alice.ask("POST", "order", **order))["orderId"] > placed["orderId"]


async def test_11_3_the_very_same_request_twice_is_done_once(room: Room) -> None:
    """Ours beyond the rule (DESIGN §2.2): the same signed bytes get the first answer, and nothing happens again."""
    alice = room.traders["alice"]
    events = await alice.watch()
    form = alice.sign({"symbol": room.symbol, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "1",
                       "price": "100", "newOrderRespType": "RESULT"})  # fmt: skip
    answers = [await alice.send("POST", "order", form) for _ in range(3)]
    other = await room.wire()
    answers += await asyncio.gather(
        alice.send("POST", "order", form), alice.send_on(other, "POST", "order", form)
    )  # fmt: skip
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    assert story(await events.take()) == ["NEW NEW", "position"]
    assert len(await alice.ask("GET", "openOrders")) == 1


async def test_11_3_insufficient_balance_an_error_no_order_no_events(room: Room) -> None:
    alice = room.traders["alice"]
    events = await alice.watch()
    before = await alice.limit("BUY", "1", "100")
    await events.take()
    refusal = await alice.refused(
        "POST", "order", side="BUY", type="LIMIT", timeInForce="GTC", quantity="9999", price="9999",
        newClientOrderId="too-much",
    )  # fmt: skip
    assert refusal == (400, -2010, "Account has insufficient balance for requested action.")
    assert await events.take() == []
    assert [row["orderId"] for row in await alice.ask("GET", "allOrders")] == [before["orderId"]]
    assert (await alice.refused("GET", "order", origClientOrderId="too-much")).code == -2013
    after = await alice.limit("BUY", "1", "100")
    assert after["orderId"] == before["orderId"] + 1, "not even an id was taken"


async def test_11_3_recv_window_is_checked_on_receipt(hall: Hall) -> None:
    room = await hall.room("alice")
    alice = room.traders["alice"]
    order = {"symbol": room.symbol, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "1",
             "price": "100"}  # fmt: skip

    async def send(timestamp: int, window: int) -> Any:
        return (await alice.send("POST", "order", alice.sign({**order, "recvWindow": window}, timestamp))).json

    now = hall.now_ms()
    assert (await send(now - 4_000, 5_000))["orderId"]
    late = await send(now - 5_001, 5_000)
    assert (late["code"], late["msg"]) == (-1021, "Timestamp for this request is outside of the recvWindow.")
    assert (await send(now + 999, 500))["orderId"]
    early = await send(now + 1_000, 500)
    assert (early["code"], early["msg"]) == (
        -1021, "Timestamp for this request was 1000ms ahead of the server's time.",
    )  # fmt: skip


async def test_11_3_recv_window_is_checked_again_just_before_matching(hall: Hall) -> None:
    """The log is slow: an order that was in time when it came, and late when its turn came, is not executed."""
    room = await hall.room("alice", "bob")
    alice, bob = room.traders["alice"], room.traders["bob"]
    await bob.limit("SELL", "1", "100")
    events = await alice.watch()
    hall.log.gate = asyncio.Event()
    order = {"symbol": room.symbol, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "price": "100"}
    blocker = asyncio.create_task(bob.limit("SELL", "1", "101"))  # in flight: what comes behind it waits its turn
    await asyncio.sleep(0.05)
    other = await room.wire()
    short = alice.sign({**order, "quantity": "0.3", "recvWindow": 2_000})
    long = alice.sign({**order, "quantity": "0.4", "recvWindow": 30_000})
    late, fine = (asyncio.create_task(alice.send("POST", "order", short)),
                  asyncio.create_task(alice.send_on(other, "POST", "order", long)))  # fmt: skip
    await asyncio.sleep(0.05)
    hall.turn(3_000)
    hall.log.gate.set()
    await blocker
    refused, placed = await late, await fine
    assert (refused.status, refused.json["code"]) == (400, -1021)
    assert (placed.status, placed.json["status"]) == (200, "FILLED")
    assert story(await events.take()) == ["NEW NEW", "TRADE FILLED", "position"]
    assert [row["origQty"] for row in await alice.ask("GET", "allOrders")] == ["0.40000000"]


async def test_11_3_buy_limit_locks_its_price_and_gets_the_better_one_back(room: Room) -> None:
    alice, bob = room.traders["alice"], room.traders["bob"]
    await alice.limit("BUY", "2", "100")
    assert (await alice.balances())["USDT"] == (Decimal("999800"), Decimal("200"))
    await bob.limit("SELL", "1", "90")
    assert (await alice.balances())["USDT"] == (Decimal("999800"), Decimal("100")), "a maker trades at its own price"
    await bob.limit("SELL", "1", "120")
    await alice.ask("DELETE", "openOrders")
    await alice.limit("BUY", "1", "130")
    assert (await alice.balances())["USDT"] == (Decimal("999780"), Decimal("0")), "100 + 120: never 130"


@pytest.mark.parametrize(
    ("order", "enough", "short"),
    [
        ({"side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "1", "price": "130"}, "130", "129.99"),
        ({"side": "BUY", "type": "MARKET", "quantity": "1.5"}, "160", "159.99"),
        ({"side": "BUY", "type": "MARKET", "quantity": "5"}, "220", "219.99"),
        ({"side": "BUY", "type": "MARKET", "quoteOrderQty": "170"}, "170", "169.99"),
    ],
    ids=["limit at its own price", "market by the book", "market beyond the book", "market by quote quantity"],
)
async def test_11_3_what_an_order_may_cost_must_be_there(
    open_room: Opener, order: dict[str, Any], enough: str, short: str
) -> None:
    """MARKET checks the worst case: the book as it stands, best first (1 at 100, 1 at 120)."""
    room = await open_room("alice")
    for price in ("100", "120"):
        await room.traders["alice"].limit("SELL", "1", price)
    poor = await room.add("poor", {"USDT": short})
    assert (await poor.refused("POST", "order", **order)).code == -2010
    rich = await room.add("rich", {"USDT": enough})
    assert Decimal((await rich.ask("POST", "order", **order))["executedQty"]) >= 1


async def test_11_3_planned_stop_server_shutdown_to_every_socket_then_close_1012(tmp_path: Path) -> None:
    """A process of its own: it leaves with 0, and what was acknowledged is there when it comes back."""
    server = ServerProcess(tmp_path / "bidhall", seed=SEED)
    server.start()
    try:
        room = await Room.open(address_of(server), "alice")
        alice = room.traders["alice"]
        placed = await alice.limit("BUY", "1", "100")
        raw = await RawClient.connect(server.port, f"/ws/{room.stream}@trade")
        combined = await RawClient.connect(server.port, f"/stream?streams={room.stream}@trade")
        api = await RawClient.connect(server.port, "/ws-api/v3")
        user = await alice.watch()
        await room.close()
        server.terminate()
        for client, unwrap in (
            (raw, lambda m: m), (combined, lambda m: m["data"]), (api, lambda m: m.get("event", m)),
            (user.client, lambda m: m.get("event", m)),
        ):  # fmt: skip
            message = await client.message()
            assert unwrap(message)["e"] == "serverShutdown"
            assert message.get("stream", "!serverShutdown") == "!serverShutdown"
            with pytest.raises(Closed) as closed:
                await client.message()
            assert closed.value.code == 1012
            client.close()
        assert await asyncio.to_thread(server.wait) == 0
        await asyncio.to_thread(server.start)
        room.address = address_of(server)
        again = await room.wire()
        form = alice.sign({"symbol": room.symbol, "orderId": placed["orderId"]})
        assert (await alice.send_on(again, "GET", "order", form)).json["status"] == "NEW"
        await room.close()
    finally:
        if server.is_running():
            assert await asyncio.to_thread(server.stop) == 0


def address_of(server: ServerProcess) -> Address:
    return Address(server.port, server.admin_port, server.admin_key, lambda: time.time_ns() // 1_000_000)
