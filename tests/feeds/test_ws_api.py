# SPDX-License-Identifier: Apache-2.0
"""The WebSocket API over a real socket: requests, signatures, subscriptions."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import time
from typing import Any
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bidhall.api.feed import FeedSettings
from bidhall.core import records as r
from tests.feeds.local import Key
from tests.feeds.raw import RawClient, until
from tests.feeds.serving import ALICE, BOB, CAROL, KEYS, SECRETS, Served, limit

PATH = "/ws-api/v3"
SUBSCRIBE = "userDataStream.subscribe.signature"
ED25519 = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


async def ask(client: RawClient, method: str, params: Any = None, number: Any = 1) -> Any:
    request: dict[str, Any] = {"id": number, "method": method}
    if params is not None:
        request["params"] = params
    client.text(request)
    return await client.message()


def signed(account: int, **extra: Any) -> dict[str, Any]:
    params = {"apiKey": KEYS[account], "timestamp": int(time.time() * 1000), **extra}
    payload = "&".join(f"{name}={params[name]}" for name in sorted(params))
    params["signature"] = hmac.digest(SECRETS[account], payload.encode(), "sha256").hex()
    return params


async def subscribed(served: Served, account: int) -> RawClient:
    client = await RawClient.connect(served.port, PATH)
    answer = await ask(client, SUBSCRIBE, signed(account))
    assert answer["result"] == {"subscriptionId": 0}, answer
    return client


@pytest.mark.parametrize("number", [5, "abc-1", None, -3])
@pytest.mark.parametrize("prefix", ["", "v3/"])
async def test_ping_and_time(served: Served, number: Any, prefix: str) -> None:
    client = await RawClient.connect(served.port, PATH)
    answer = await ask(client, prefix + "ping", None, number)
    (used,) = answer.pop("rateLimits")
    assert answer == {"id": number, "status": 200, "result": {}}
    assert (used["rateLimitType"], used["interval"], used["intervalNum"]) == ("REQUEST_WEIGHT", "MINUTE", 1)
    assert used["count"] == 3, "two of them for connecting"
    answer = await ask(client, prefix + "time", {}, number)
    assert abs(answer["result"]["serverTime"] - time.time() * 1000) < 5000


async def test_rate_limits_can_be_left_out(served: Served) -> None:
    client = await RawClient.connect(served.port, PATH)
    assert "rateLimits" not in await ask(client, "ping", {"returnRateLimits": False})
    assert "rateLimits" in await ask(client, "ping", {"returnRateLimits": True})
    quiet = await RawClient.connect(served.port, PATH + "?returnRateLimits=false")
    assert "rateLimits" not in await ask(quiet, "ping")
    assert "rateLimits" in await ask(quiet, "ping", {"returnRateLimits": True})
    quiet.text("no json")
    assert "rateLimits" not in await quiet.message()


NO_REQUESTS = (
    "", "x", "{", "[]", "5", "null", '{"id":{}}', '{"id":1}', '{"id":1,"method":7}', '{"method":"ping"', "[" * 50_000,
    '{"id":1,"method":"ping","params":[]}', '{"id":1,"method":"ping","params":5}', '{"id":true,"method":"ping"}',
    '{"id":1,"id":2,"method":"ping"}', '{"id":NaN,"method":"ping"}', '{"id":1e400,"method":"ping"}',
)  # fmt: skip


@pytest.mark.parametrize("text", NO_REQUESTS)
async def test_what_is_no_request_is_answered_with_400(served: Served, text: str) -> None:
    client = await RawClient.connect(served.port, PATH)
    client.text(text)
    answer = await client.message()
    assert answer["status"] == 400
    assert answer["error"]["code"] < 0
    assert "msg" in answer["error"]
    assert (await ask(client, "ping"))["status"] == 200


async def test_unknown_methods_and_parameters(served: Served) -> None:
    client = await RawClient.connect(served.port, PATH)
    assert (await ask(client, "no.such"))["error"]["code"] < 0
    assert (await ask(client, "ping", {"symbol": "BTCUSDT"}))["error"]["code"] == -1104


async def test_subscribe_hmac_and_the_answer_precedes_the_first_event(served: Served) -> None:
    client = await RawClient.connect(served.port, PATH)
    client.text({"id": "s", "method": SUBSCRIBE, "params": signed(ALICE)})
    await asyncio.sleep(0.02)
    served.replica.apply(limit(ALICE, r.Side.BUY, 100, 10, b"mine"))
    answer = await client.message()
    assert (answer["id"], answer["status"], answer["result"]) == ("s", 200, {"subscriptionId": 0})
    report, position = await client.message(), await client.message()
    assert (report["subscriptionId"], report["event"]["e"], report["event"]["c"]) == (0, "executionReport", "mine")
    assert position["event"]["e"] == "outboundAccountPosition"


async def test_numbers_are_signed_as_they_are_written(served: Served) -> None:
    client = await RawClient.connect(served.port, PATH)
    now = str(int(time.time() * 1000))
    window = "5000.125"
    payload = f"apiKey={KEYS[ALICE]}&recvWindow={window}&timestamp={now}"
    signature = hmac.digest(SECRETS[ALICE], payload.encode(), "sha256").hex()
    params = f'"timestamp":{now},"signature":"{signature.upper()}","recvWindow":{window},"apiKey":"{KEYS[ALICE]}"'
    client.text(f'{{"id":1,"method":"{SUBSCRIBE}","params":{{{params}}}}}')
    assert (await client.message())["status"] == 200


async def test_subscribe_ed25519(served: Served) -> None:
    public = ED25519.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    served.replica.add_key(Key("E" * 64, CAROL, "ed25519", public_key=public))
    client = await RawClient.connect(served.port, PATH)
    params = {"apiKey": "E" * 64, "timestamp": int(time.time() * 1000)}
    payload = "&".join(f"{name}={params[name]}" for name in sorted(params)).encode()
    params["signature"] = base64.b64encode(ED25519.sign(payload)).decode()
    assert (await ask(client, SUBSCRIBE, params))["result"] == {"subscriptionId": 0}
    served.replica.apply(limit(CAROL, r.Side.BUY, 100, 10, b"mine"))
    assert (await client.message())["event"]["c"] == "mine"
    params["signature"] = base64.b64encode(ED25519.sign(payload + b"x")).decode()
    other = await RawClient.connect(served.port, PATH)
    assert (await ask(other, SUBSCRIBE, params))["error"]["code"] == -1022


async def test_percent_encoded_payloads_are_accepted_too(served: Served) -> None:
    key = "K%+/ ü"
    text = "Ü" * 64
    served.replica.add_key(Key(text, ALICE, "hmac", secret=b"s"))
    params = {"apiKey": text, "timestamp": int(time.time() * 1000)}
    payload = "&".join(f"{name}={quote(str(params[name]))}" for name in sorted(params))
    params["signature"] = hmac.digest(b"s", payload.encode(), "sha256").hex()
    client = await RawClient.connect(served.port, PATH)
    answer = await ask(client, SUBSCRIBE, params)
    assert answer["status"] == 200 or answer["error"]["code"] == -2014, key


WRONG: dict[str, tuple[dict[str, Any], int, int]] = {
    "signature": ({"signature": "0" * 64}, -1022, 400),
    "no signature": ({"signature": None}, -1102, 400),
    "no timestamp": ({"timestamp": None}, -1102, 400),
    "no key": ({"apiKey": None}, -1102, 400),
    "old": ({"timestamp": 1_600_000_000_000}, -1021, 400),
    "ahead": ({"timestamp": int(time.time() * 1000) + 3_600_000}, -1021, 400),
    "unknown key": ({"apiKey": "Z" * 64}, -2015, 401),
    "malformed key": ({"apiKey": "!"}, -2014, 401),
    "unknown parameter": ({"foo": 1}, -1104, 400),
}


@pytest.mark.parametrize("name", WRONG)
async def test_subscriptions_that_are_refused(served: Served, name: str) -> None:
    change, code, status = WRONG[name]
    params = signed(ALICE) | change
    client = await RawClient.connect(served.port, PATH)
    answer = await ask(client, SUBSCRIBE, params)
    assert (answer["error"]["code"], answer["status"]) == (code, status), answer
    assert not served.feeds.user_data.accounts


async def test_one_subscription_per_account_several_accounts_per_connection(served: Served) -> None:
    client = await subscribed(served, ALICE)
    assert (await ask(client, SUBSCRIBE, signed(ALICE)))["error"]["code"] == -2035
    assert (await ask(client, SUBSCRIBE, signed(BOB)))["result"] == {"subscriptionId": 1}
    assert (await ask(client, "session.subscriptions"))["result"] == [{"subscriptionId": 0}, {"subscriptionId": 1}]
    served.replica.apply(limit(BOB, r.Side.BUY, 100, 10))
    assert (await client.message())["subscriptionId"] == 1


async def test_unsubscribe_one_then_all(served: Served) -> None:
    client = await subscribed(served, ALICE)
    await ask(client, SUBSCRIBE, signed(BOB))
    assert (await ask(client, "userDataStream.unsubscribe", {"subscriptionId": 7}))["error"]["code"] == -2036
    assert (await ask(client, "userDataStream.unsubscribe", {"subscriptionId": 0}))["result"] == {}
    ended = await client.message()
    assert (ended["subscriptionId"], ended["event"]["e"]) == (0, "eventStreamTerminated")
    assert (await ask(client, "userDataStream.unsubscribe"))["result"] == {}
    assert (await client.message())["subscriptionId"] == 1
    served.replica.apply(limit(ALICE, r.Side.BUY, 100, 10) + limit(BOB, r.Side.BUY, 100, 10))
    await client.silence()
    assert not served.feeds.user_data.accounts
    assert (await ask(client, SUBSCRIBE, signed(ALICE)))["result"] == {"subscriptionId": 2}


async def test_session_status(served: Served) -> None:
    client = await RawClient.connect(served.port, PATH)
    status = (await ask(client, "session.status"))["result"]
    assert status["apiKey"] is status["authorizedSince"] is status["userDataStream"] is None
    assert status["connectedSince"] <= status["serverTime"]
    await ask(client, SUBSCRIBE, signed(ALICE))
    assert (await ask(client, "session.status"))["result"]["userDataStream"] is True


async def test_a_connection_that_goes_takes_its_subscriptions(served: Served) -> None:
    client = await subscribed(served, ALICE)
    assert served.feeds.user_data.accounts
    client.close()
    await until(lambda: not served.feeds.connections)
    assert not served.feeds.user_data.accounts
    served.replica.apply(limit(ALICE, r.Side.BUY, 100, 10))


async def test_a_key_that_is_switched_off_ends_the_subscription(served: Served) -> None:
    client = await subscribed(served, ALICE)
    served.replica.registry.keys[KEYS[ALICE]].enabled = False
    served.replica.registry.version += 1
    served.replica.apply(b"", after_ns=1)
    assert (await client.message())["event"]["e"] == "eventStreamTerminated"
    assert (await ask(client, SUBSCRIBE, signed(ALICE)))["error"]["code"] == -2015


async def test_a_reader_that_does_not_read_its_fills_is_closed() -> None:
    served = Served(FeedSettings(budget_bytes_max=100_000, close_timeout_s=0.2))
    await served.start()
    client = await subscribed(served, ALICE)
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    async with asyncio.timeout(20):
        while served.feeds.connections:
            place = limit(ALICE, r.Side.BUY, 100, 1)
            served.replica.apply(place * 50 + r.cancel_all(ALICE, 1), after_ns=1000)
            await asyncio.sleep(0.05 if served.feeds.slow_closed else 0)
    assert served.feeds.slow_closed == 1
    assert not served.feeds.user_data.accounts
    await served.stop()


async def test_events_of_one_batch_come_in_one_write(served: Served) -> None:
    client = await subscribed(served, ALICE)
    (connection,) = served.feeds.connections
    writes: list[bytes] = []
    connection.write = writes.append
    served.replica.apply(limit(ALICE, r.Side.BUY, 100, 1) * 3)
    assert len(writes) == 1
    assert json.loads(writes[0][4:].split(b"}}", 1)[0] + b"}}")["subscriptionId"] == 0
    client.close()
