# SPDX-License-Identifier: Apache-2.0
"""Trading over the WebSocket API on the whole server: who signs, what a repeat is, limits, and many at a time."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bidhall.api.app import Door, DoorSettings
from bidhall.api.feed import FeedSettings
from bidhall.core.wire import read_call
from tests.feeds.door import Http, Venue
from tests.feeds.raw import RawClient
from tests.feeds.test_ws_api import PATH, ask
from tests.serving import key_secret, key_text

PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
ED25519 = "E" * 64
LIMIT = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01", "price": "1000"}


def now_us() -> int:
    """Each another, so that two requests are never one."""
    return time.time_ns() // 1_000


def signed(name: str = "alice", *, encode: bool = False, **parameters: Any) -> dict[str, Any]:
    """With key, time and HMAC signature."""
    parameters = {"timestamp": now_us(), "apiKey": key_text(name), **parameters}
    pairs = [(key, written(parameters[key])) for key in sorted(parameters)]
    payload = "&".join(f"{key}={quote(value, safe='') if encode else value}" for key, value in pairs)
    return parameters | {"signature": hmac.digest(key_secret(name).encode(), payload.encode(), "sha256").hex()}


def signed_ed25519(**parameters: Any) -> dict[str, Any]:
    parameters = {"timestamp": now_us(), "apiKey": ED25519, **parameters}
    payload = "&".join(f"{name}={written(parameters[name])}" for name in sorted(parameters))
    return parameters | {"signature": base64.b64encode(PRIVATE.sign(payload.encode())).decode()}


def written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@pytest.fixture
async def venue() -> AsyncIterator[Venue]:
    venue = await Venue().start()
    registry = venue.replica.registry
    public = PRIVATE.public_key().public_bytes_raw()
    await venue.replica.execute(registry.key_note(ED25519, 1, "ed25519", public))
    yield venue
    assert venue.door.faults() == venue.door.feeds.faults == 0
    await venue.stop()


async def logged_on(venue: Venue) -> RawClient:
    client = await RawClient.connect(venue.port, PATH)
    assert (await ask(client, "session.logon", signed_ed25519()))["status"] == 200
    return client


async def open_orders(venue: Venue) -> list[Any]:
    http = await Http(venue.port, "alice").open()
    found: list[Any] = await http.signed("GET", "/api/v3/openOrders", symbol="BTCUSDT")
    return found


@pytest.mark.parametrize("prefix", ["", "v3/"])
async def test_place_status_cancel(venue: Venue, prefix: str) -> None:
    client = await RawClient.connect(venue.port, PATH)
    placed = await ask(client, prefix + "order.place", signed(**LIMIT, newClientOrderId="mine"), "one")
    assert (placed["id"], placed["status"], placed["result"]["status"]) == ("one", 200, "NEW")
    number = placed["result"]["orderId"]
    status = await ask(client, prefix + "order.status", signed(symbol="BTCUSDT", orderId=number))
    assert status["result"]["clientOrderId"] == "mine"
    canceled = await ask(client, prefix + "order.cancel", signed(symbol="BTCUSDT", orderId=str(number)))
    assert (canceled["result"]["status"], canceled["result"]["origClientOrderId"]) == ("CANCELED", "mine")
    again = await ask(client, prefix + "order.cancel", signed(symbol="BTCUSDT", orderId=number))
    assert (again["status"], again["error"]) == (400, {"code": -2011, "msg": "Unknown order sent."})


async def test_python_floats_and_booleans_are_signed_as_they_are_written(venue: Venue) -> None:
    client = await RawClient.connect(venue.port, PATH)
    order = LIMIT | {"quantity": 0.5, "price": 1000.0, "returnRateLimits": False}
    answer = await ask(client, "order.place", signed(**order))
    assert answer["result"]["origQty"] == "0.50000000"
    assert "rateLimits" not in answer
    small = LIMIT | {"quantity": 1e-05, "price": 900000.0, "side": "SELL"}
    assert (await ask(client, "order.place", signed(**small)))["result"]["origQty"] == "0.00001000"
    for number in (1e-09, 1e22, 1e-300, 1e300):
        assert (await ask(client, "order.place", signed(**LIMIT | {"quantity": number})))["status"] == 400


async def test_nulls_are_absent_also_from_what_is_signed(venue: Venue) -> None:
    client = await RawClient.connect(venue.port, PATH)
    answer = await ask(client, "order.place", signed(**LIMIT) | {"stopPrice": None, "icebergQty": None})
    assert answer["result"]["status"] == "NEW"


async def test_percent_encoded_signatures(venue: Venue) -> None:
    client = await RawClient.connect(venue.port, PATH)
    parameters = {"symbols": '["BTCUSDT","ETHUSDT"]', "symbol": "BTCUSDT"}
    answer = await ask(client, "order.status", signed(encode=True, **parameters, orderId=1))
    assert answer["error"]["code"] == -1104, "the signature is good, the parameter is not"
    wrong = signed(encode=True, **parameters, orderId=1) | {"symbol": "ETHUSDT"}
    assert (await ask(client, "openOrders.status", wrong))["error"]["code"] in (-1022, -1104)


async def test_the_same_signed_request_is_one_order_over_either_connection(venue: Venue) -> None:
    parameters = signed(**LIMIT)
    clients = [await RawClient.connect(venue.port, PATH) for _ in range(2)]
    first, second = [await ask(client, "order.place", parameters, number) for number, client in enumerate(clients)]
    assert first["result"] == second["result"]
    assert len(await open_orders(venue)) == 1


@pytest.mark.parametrize("method", ["order.place", "order.cancel"])
async def test_the_short_way_and_the_general_way_are_one(venue: Venue, method: str) -> None:
    """Letters written as escapes are not plain; what was signed is the same, so it is the same request."""
    client = await RawClient.connect(venue.port, PATH)
    parameters = signed(**LIMIT, newClientOrderId="mine")
    if method == "order.cancel":
        await ask(client, "order.place", parameters)
        parameters = signed(symbol="BTCUSDT", origClientOrderId="mine")
    short = json.dumps({"id": 1, "method": method, "params": parameters})
    general = short.replace("BTCUSDT", "\\u0042TCUSDT")
    assert read_call(short.encode()) is not None
    assert read_call(general.encode()) is None
    client.text(short)
    first = await client.message()
    client.text(general)
    assert (await client.message())["result"] == first["result"]
    assert first["status"] == 200


async def test_a_session_trades_without_key_and_signature(venue: Venue) -> None:
    client = await logged_on(venue)
    placed = await ask(client, "order.place", LIMIT | {"timestamp": now_us()})
    assert placed["result"]["status"] == "NEW"
    number = placed["result"]["orderId"]
    assert (await ask(client, "openOrders.status", {"timestamp": now_us()}))["result"][0]["orderId"] == number
    own_key = await ask(client, "openOrders.status", signed("bob"))
    assert own_key["result"] == [], "a request may carry another key"
    assert (await ask(client, "order.place", LIMIT))["error"]["code"] == -1102
    await ask(client, "session.logout")
    assert (await ask(client, "order.place", LIMIT | {"timestamp": now_us()}))["error"]["code"] == -1102


async def test_in_a_session_the_same_id_and_time_is_the_same_request(venue: Venue) -> None:
    client, other = await logged_on(venue), await logged_on(venue)
    parameters = LIMIT | {"timestamp": now_us()}
    first = await ask(client, "order.place", parameters, "a")
    assert (await ask(other, "order.place", parameters, "a"))["result"] == first["result"], "asked again elsewhere"
    second = await ask(client, "order.place", parameters, "b")
    assert second["result"]["orderId"] != first["result"]["orderId"]
    assert len(await open_orders(venue)) == 2


async def test_ed25519_signed_orders(venue: Venue) -> None:
    client = await RawClient.connect(venue.port, PATH)
    assert (await ask(client, "order.place", signed_ed25519(**LIMIT)))["result"]["status"] == "NEW"
    wrong = signed_ed25519(**LIMIT) | {"price": "1001"}
    assert (await ask(client, "order.place", wrong))["error"]["code"] == -1022


async def test_a_key_that_is_switched_off_trades_no_more(venue: Venue) -> None:
    client, session = await RawClient.connect(venue.port, PATH), await logged_on(venue)
    for name in (key_text("alice"), ED25519):
        await venue.replica.execute(venue.replica.registry.key_off_note(name))
    answer = await ask(client, "order.place", signed(**LIMIT))
    assert (answer["status"], answer["error"]["code"]) == (401, -2015)
    told = await session.message()
    assert (told["id"], told["status"], told["error"]["code"]) == (None, 401, -2015)
    assert (await ask(session, "order.place", LIMIT | {"timestamp": now_us()}))["error"]["code"] == -1102


async def test_many_at_a_time_are_done_in_their_order(venue: Venue) -> None:
    client = await RawClient.connect(venue.port, PATH)
    count = 500
    for number in range(count):
        client.text({"id": number, "method": "order.place", "params": signed(**LIMIT)})
    answers = [await client.message() for _ in range(count)]
    assert [answer["id"] for answer in answers] == list(range(count))
    numbers = [answer["result"]["orderId"] for answer in answers]
    assert numbers == sorted(set(numbers))
    counts = [answer["rateLimits"][0]["count"] for answer in answers]
    assert counts == sorted(counts) or counts[-1] < counts[0], "or ten seconds were over"


async def test_microseconds_by_the_url(venue: Venue) -> None:
    client = await RawClient.connect(venue.port, PATH + "?timeUnit=MICROSECOND")
    placed = await ask(client, "order.place", signed(**LIMIT))
    assert len(str(placed["result"]["transactTime"])) == 16
    assert len(str((await ask(client, "time"))["result"]["serverTime"])) == 16


async def test_more_open_requests_than_a_connection_may_have_are_refused() -> None:
    venue = await Venue(feed_settings=FeedSettings(drain_s=0.3, requests_open_max=3)).start()
    client = await RawClient.connect(venue.port, PATH)
    frames = [{"id": number, "method": "order.place", "params": signed(**LIMIT)} for number in range(20)]
    for one in frames:
        client.text(one)
    answers = {answer["id"]: answer for answer in [await client.message() for _ in frames]}
    refused = [answer for answer in answers.values() if answer["status"] != 200]
    assert all((answer["status"], answer["error"]["code"]) == (429, -1008) for answer in refused)
    assert len(await open_orders(venue)) == len(frames) - len(refused) >= 3
    assert (await ask(client, "order.place", signed(**LIMIT)))["status"] == 200, "there is room again"
    await venue.stop()


class Limited(Venue):
    """A venue with small limits."""

    async def start(self) -> Limited:
        await super().start()
        await self.door.stop()
        settings = DoorSettings(
            port=0, drain_s=1.0, weight_per_minute_max=200, orders_per_10_seconds_max=3, refusals_before_ban=2
        )
        self.door = Door(self.replica, self.environment, settings, self.feed_settings, history=self.history)
        await self.door.start()
        return self


async def test_429_and_418_say_when_to_come_back() -> None:
    venue = await Limited().start()
    client = await RawClient.connect(venue.port, PATH)
    orders = [await ask(client, "order.place", signed(**LIMIT), number) for number in range(4)]
    if [answer["status"] for answer in orders] == [200, 200, 200, 429]:  # else ten seconds were over
        error = orders[3]["error"]
        assert error["code"] == -1015
        assert 0 < error["data"]["retryAfter"] - error["data"]["serverTime"] <= 10_000
        assert [one["limit"] for one in orders[0]["rateLimits"]] == [3, 1_000_000_000, 200]
    answers = [await ask(client, "exchangeInfo", None, number) for number in range(14)]
    statuses = [answer["status"] for answer in answers]
    assert statuses[0] == 200
    assert statuses[-1] == 418
    limited = answers[statuses.index(429)]
    assert limited["error"]["code"] == answers[-1]["error"]["code"] == -1003
    for answer in (limited, answers[-1]):
        data = answer["error"]["data"]
        assert abs(data["serverTime"] - time.time() * 1000) < 10_000
        assert data["retryAfter"] > data["serverTime"]
    assert answers[-1]["rateLimits"][0]["limit"] == 200
    await venue.stop()
