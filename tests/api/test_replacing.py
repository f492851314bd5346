# SPDX-License-Identifier: Apache-2.0
"""Cancel-replace over real sockets: the table of outcomes, the order count, and the same signed bytes sent again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.venue import ALICE, BOB, Client, Venue
from tests.api.wire import Answer

PATH = "order/cancelReplace"
UNKNOWN = {"code": -2011, "msg": "Unknown order sent."}
WOULD_TAKE = {"code": -2010, "msg": "Order would immediately match and take."}


def order(**parameters: Any) -> dict[str, Any]:
    """A LIMIT order for 0.02 BTC at 20001 instead of another."""
    found = {
        "symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.02",
        "price": "20001", "cancelReplaceMode": "STOP_ON_FAILURE",
        **parameters,
    }  # fmt: skip
    return {name: value for name, value in found.items() if value is not None}


def taking(**parameters: Any) -> dict[str, Any]:
    """One that cannot be placed: it would take."""
    return order(type="LIMIT_MAKER", timeInForce=None, price="30001", **parameters)


async def resting(client: Client) -> int:
    answer = await client.place()
    assert answer.status == 200, answer.body
    number: int = answer.json["orderId"]
    return number


@pytest.fixture
async def seller(venue: Venue, bob: Client) -> Client:
    """Somebody sells at 30000."""
    assert (await bob.place(side="SELL", price="30000", quantity="1")).status == 200
    return bob


async def test_both(venue: Venue, alice: Client) -> None:
    old = await resting(alice)
    answer = await alice.ask("POST", PATH, **order(cancelOrderId=old))
    assert answer.status == 200, answer.body
    assert (answer.json["cancelResult"], answer.json["newOrderResult"]) == ("SUCCESS", "SUCCESS")
    assert answer.json["cancelResponse"]["orderId"] == old
    assert answer.json["newOrderResponse"]["price"] == "20001.00000000"
    assert answer.headers["x-mbx-order-count-10s"] == "2"
    open_ids = [row["orderId"] for row in (await alice.ask("GET", "openOrders")).json]
    assert open_ids == [answer.json["newOrderResponse"]["orderId"]]
    done = (await alice.ask("GET", "order", symbol="BTCUSDT", orderId=old)).json
    assert done["status"] == "CANCELED"
    assert done["updateTime"] == answer.json["cancelResponse"]["transactTime"]


async def test_the_failures(venue: Venue, alice: Client, seller: Client) -> None:
    stop = await alice.ask("POST", PATH, **order(cancelOrderId=99))
    assert (stop.status, stop.json) == (400, {
        "code": -2022, "msg": "Order cancel-replace failed.",
        "data": {"cancelResult": "FAILURE", "newOrderResult": "NOT_ATTEMPTED", "cancelResponse": UNKNOWN,
                 "newOrderResponse": None},
    })  # fmt: skip
    both = await alice.ask("POST", PATH, **taking(cancelOrderId=99, cancelReplaceMode="ALLOW_FAILURE"))
    assert (both.status, both.json["code"], both.json["data"]["newOrderResponse"]) == (400, -2022, WOULD_TAKE)
    old = await resting(alice)
    new = await alice.ask("POST", PATH, **taking(cancelOrderId=old))
    assert (new.status, new.json["code"], new.json["msg"]) == (409, -2021, "Order cancel-replace partially failed.")
    assert new.json["data"]["cancelResponse"]["orderId"] == old
    assert new.json["data"]["newOrderResponse"] == WOULD_TAKE
    cancel = await alice.ask("POST", PATH, **order(cancelOrderId=old, cancelReplaceMode="ALLOW_FAILURE"))
    assert (cancel.status, cancel.json["code"]) == (409, -2021)
    assert cancel.json["data"]["newOrderResponse"]["status"] == "NEW"
    assert venue.replica.exchange.open_order_count == 2


async def test_filters_come_first(venue: Venue, alice: Client) -> None:
    old = await resting(alice)
    for wrong, code, message in (
        (order(cancelOrderId=old, price="1.005"), -1013, "Filter failure: PRICE_FILTER"),
        (order(cancelOrderId=old, price="100", quantity="0.01"), -1013, "Filter failure: NOTIONAL"),
        (order(cancelOrderId=old, icebergQty="0.0001"), -1013, "Filter failure: ICEBERG_PARTS"),
        (order(cancelOrderId=old, symbol="ETHBTC", price="1", quantity="1"), -2010, "Market is closed."),
    ):
        answer = await alice.ask("POST", PATH, **wrong)
        assert (answer.status, answer.json) == (400, {"code": code, "msg": message})
    assert venue.replica.exchange.open_order_count == 1


async def same_again(client: Client, parameters: dict[str, Any]) -> tuple[Answer, Answer]:
    form = client.signed(parameters)
    return await client.raw("POST", PATH, "", form), await client.raw("POST", PATH, form)


@pytest.mark.parametrize("mode", ["STOP_ON_FAILURE", "ALLOW_FAILURE"])
async def test_the_same_request_again_gets_the_first_answer(
    venue: Venue, alice: Client, seller: Client, mode: str
) -> None:
    """200, 400 and 409 alike; nothing is done twice and nothing is counted twice."""
    exchange = venue.replica.exchange
    first, again = await same_again(alice, order(cancelOrderId=await resting(alice), cancelReplaceMode=mode))
    assert first.status == 200
    assert (first.status, first.body) == (again.status, again.body)
    assert again.headers["x-mbx-order-count-10s"] == "2"
    first, again = await same_again(alice, order(cancelOrderId=99, cancelReplaceMode=mode))
    assert first.status == (400 if mode == "STOP_ON_FAILURE" else 409)
    assert (first.status, first.body) == (again.status, again.body)
    count = exchange.open_order_count
    first, again = await same_again(alice, taking(cancelOrderId=await resting(alice), cancelReplaceMode=mode))
    assert (first.status, exchange.open_order_count) == (409, count)
    assert (first.status, first.body) == (again.status, again.body)
    first, again = await same_again(alice, taking(cancelOrderId=99, cancelReplaceMode=mode))
    assert (first.status, first.body) == (again.status, again.body)
    assert first.status == 400
    old = await resting(alice)
    first, again = await same_again(alice, order(cancelOrderId=old, quantity="0.0002", price="20000"))
    assert (first.status, first.json["msg"]) == (400, "Filter failure: NOTIONAL")
    assert first.body == again.body
    # A taker's trades are shown again too, though its order is done.
    first, again = await same_again(alice, order(cancelOrderId=old, price="30000", cancelReplaceMode=mode))
    assert len(first.json["newOrderResponse"]["fills"]) == 1
    assert (first.status, first.body) == (again.status, again.body)


async def test_the_same_request_again_after_a_restart(tmp_path: Path) -> None:
    """The snapshot keeps the first results of both halves."""
    forms: list[str] = []
    answers: list[tuple[int, bytes]] = []
    for life in range(2):
        venue = await Venue(f"sqlite:///{tmp_path}", tmp_path).start()
        try:
            alice = await venue.client(ALICE)
            if life == 0:
                old = await resting(alice)
                forms = [
                    alice.signed(order(cancelOrderId=old, recvWindow="60000")),
                    alice.signed(order(cancelOrderId=77, recvWindow="60000")),
                    alice.signed(order(cancelOrderId=78, recvWindow="60000", cancelReplaceMode="ALLOW_FAILURE")),
                ]
            found = [await alice.raw("POST", PATH, "", form) for form in forms]
            answers.extend((answer.status, answer.body) for answer in found)
            assert venue.replica.exchange.open_order_count == 2
            assert venue.calm()
        finally:
            await venue.stop()
    assert [status for status, _ in answers] == [200, 400, 409] * 2
    assert answers[:3] == answers[3:]


@pytest.fixture
async def narrow() -> AsyncIterator[Venue]:
    """Two orders in ten seconds; begun early in such a window, so that none ends in the middle of a test."""
    venue = await Venue(orders_per_10_seconds_max=2).start()
    while (left_ns := 10_000_000_000 - venue.environment.wall_ns() % 10_000_000_000) < 5_000_000_000:
        await venue.environment.sleep(left_ns / 1e9 + 0.01)
    yield venue
    calm = venue.calm()
    await venue.stop()
    assert calm


async def test_the_order_count(narrow: Venue) -> None:
    alice = await narrow.client(ALICE)
    old = await resting(alice)
    # Not attempted counts all the same.
    stop = await alice.ask("POST", PATH, **order(cancelOrderId=99))
    assert stop.json["data"]["newOrderResult"] == "NOT_ATTEMPTED"
    full = {"code": -1015, "msg": "Too many new orders; current limit is 2 orders per 10 SECOND."}
    nothing = await alice.ask("POST", PATH, **order(cancelOrderId=old))
    assert (nothing.status, nothing.json) == (429, full)
    assert int(nothing.headers["retry-after"]) >= 1
    wrong = await alice.ask(
        "POST", PATH, **order(cancelOrderId=old, orderRateLimitExceededMode="CANCEL_ONLY", icebergQty="0.0001")
    )
    assert (wrong.status, wrong.json["msg"]) == (400, "Filter failure: ICEBERG_PARTS")
    assert narrow.replica.exchange.open_order_count == 1
    first, again = await same_again(alice, order(cancelOrderId=old, orderRateLimitExceededMode="CANCEL_ONLY"))
    assert (first.status, first.json["code"]) == (429, -2021)
    assert first.json["data"]["cancelResult"] == "SUCCESS"
    assert first.json["data"]["cancelResponse"]["orderId"] == old
    assert first.json["data"]["newOrderResponse"] == full
    assert (first.status, first.body) == (again.status, again.body)
    assert narrow.replica.exchange.open_order_count == 0
    none = await alice.ask("POST", PATH, **order(cancelOrderId=old, orderRateLimitExceededMode="CANCEL_ONLY"))
    assert (none.status, none.json["code"], none.json["data"]["newOrderResult"]) == (429, -2022, "NOT_ATTEMPTED")
    both = {"orderRateLimitExceededMode": "CANCEL_ONLY", "cancelReplaceMode": "ALLOW_FAILURE"}
    failed = await alice.ask("POST", PATH, **order(cancelOrderId=old, **both))
    assert (failed.status, failed.json["code"], failed.json["data"]["newOrderResponse"]) == (400, -2022, full)


async def test_what_came_to_nothing_is_not_counted(venue: Venue, alice: Client, seller: Client) -> None:
    small = order(cancelOrderId=1, price="100", quantity="0.01")
    for wrong in (small, taking(cancelOrderId=77, cancelReplaceMode="ALLOW_FAILURE")):
        assert (await alice.ask("POST", PATH, **wrong)).status == 400
    counts = {row["intervalNum"]: row["count"] for row in (await alice.ask("GET", "rateLimit/order")).json}
    assert counts == {10: 0, 1: 0}


async def test_another_account_s_order_is_unknown(alice: Client, bob: Client, venue: Venue) -> None:
    old = await resting(alice)
    answer = await bob.ask("POST", PATH, **order(cancelOrderId=old))
    assert answer.json["data"]["cancelResponse"] == UNKNOWN
    assert bob.key == BOB
    assert venue.replica.exchange.open_order_count == 1
