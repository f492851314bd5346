# SPDX-License-Identifier: Apache-2.0
"""session.* and userDataStream.subscribe over a socket: who may log on, what a session may leave out, how it ends."""

from __future__ import annotations

import base64
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bidhall.api.feed import FeedSettings
from bidhall.core import records as r
from tests.feeds.local import Key
from tests.feeds.raw import RawClient
from tests.feeds.serving import ALICE, BOB, CAROL, Served, limit
from tests.feeds.test_ws_api import PATH, SUBSCRIBE, ask, signed

PRIVATE = {account: Ed25519PrivateKey.from_private_bytes(bytes(range(account, account + 32))) for account in (1, 2, 3)}
TEXT = {account: f"{account}" * 64 for account in PRIVATE}
STATUS_FIELDS = {"apiKey", "authorizedSince", "connectedSince", "returnRateLimits", "serverTime", "userDataStream"}


def add_keys(served: Served) -> None:
    for account, private in PRIVATE.items():
        public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        served.replica.add_key(Key(TEXT[account], account, "ed25519", public_key=public))


def signed_by(account: int, **parameters: Any) -> dict[str, Any]:
    parameters |= {"apiKey": TEXT[account], "timestamp": int(time.time() * 1000)}
    payload = "&".join(f"{name}={parameters[name]}" for name in sorted(parameters)).encode()
    return parameters | {"signature": base64.b64encode(PRIVATE[account].sign(payload)).decode()}


async def logged_on(served: Served, account: int = ALICE) -> RawClient:
    add_keys(served)
    client = await RawClient.connect(served.port, PATH)
    answer = await ask(client, "session.logon", signed_by(account))
    assert answer["status"] == 200, answer
    return client


async def switch_off(served: Served, account: int) -> None:
    served.replica.registry.keys[TEXT[account]].enabled = False
    served.replica.registry.version += 1
    served.replica.apply(b"", after_ns=1)


async def test_logon_is_answered_with_the_status(served: Served) -> None:
    add_keys(served)
    client = await RawClient.connect(served.port, PATH)
    answer = await ask(client, "session.logon", signed_by(ALICE, recvWindow=60_000))
    status = answer["result"]
    assert set(status) == STATUS_FIELDS
    assert (status["apiKey"], status["userDataStream"]) == (TEXT[ALICE], False)
    assert status["connectedSince"] <= status["authorizedSince"] <= status["serverTime"]
    assert (await ask(client, "session.status"))["result"]["authorizedSince"] == status["authorizedSince"]


@pytest.mark.parametrize("prefix", ["", "v3/"])
async def test_only_ed25519_keys_log_on(served: Served, prefix: str) -> None:
    client = await RawClient.connect(served.port, PATH)
    answer = await ask(client, prefix + "session.logon", signed(ALICE))
    assert answer["status"] == 400
    assert answer["error"] == {"code": -4056, "msg": "HMAC_SHA256 API key is not supported."}
    assert (await ask(client, "session.status"))["result"]["apiKey"] is None


async def test_a_logon_with_a_wrong_signature_is_refused(served: Served) -> None:
    add_keys(served)
    client = await RawClient.connect(served.port, PATH)
    parameters = signed_by(ALICE) | {"signature": base64.b64encode(b"x" * 64).decode()}
    assert (await ask(client, "session.logon", parameters))["error"]["code"] == -1022
    assert (await ask(client, "session.logon"))["error"]["code"] == -1102


async def test_subscribe_needs_a_logon(served: Served) -> None:
    client = await RawClient.connect(served.port, PATH)
    answer = await ask(client, "userDataStream.subscribe")
    assert (answer["status"], answer["error"]["code"]) == (401, -2015)


async def test_a_session_subscribes_without_key_and_signature(served: Served) -> None:
    client = await logged_on(served)
    assert (await ask(client, "userDataStream.subscribe", {}))["result"] == {"subscriptionId": 0}
    assert (await ask(client, "session.status"))["result"]["userDataStream"] is True
    assert (await ask(client, "userDataStream.subscribe"))["error"]["code"] == -2035
    assert (await ask(client, SUBSCRIBE, signed(ALICE)))["error"]["code"] == -2035, "one per account, however it came"
    served.replica.apply(limit(ALICE, r.Side.BUY, 100, 10, b"mine"))
    assert (await client.message())["event"]["c"] == "mine"


async def test_a_request_in_a_session_still_needs_its_timestamp(served: Served) -> None:
    client = await logged_on(served)
    assert (await ask(client, SUBSCRIBE, {}))["error"]["code"] == -1102
    late = int(time.time() * 1000) - 70_000
    assert (await ask(client, SUBSCRIBE, {"timestamp": late}))["error"]["code"] == -1021
    assert (await ask(client, SUBSCRIBE, {"timestamp": int(time.time() * 1000)}))["result"] == {"subscriptionId": 0}


async def test_a_request_in_a_session_may_carry_its_own_key(served: Served) -> None:
    client = await logged_on(served)
    assert (await ask(client, SUBSCRIBE, signed(BOB)))["result"] == {"subscriptionId": 0}
    served.replica.apply(limit(BOB, r.Side.BUY, 100, 10, b"bobs"))
    assert (await client.message())["event"]["c"] == "bobs"
    assert (await client.message())["event"]["e"] == "outboundAccountPosition"
    wrong = signed(BOB) | {"signature": "0" * 64}
    assert (await ask(client, SUBSCRIBE, wrong))["error"]["code"] == -1022
    unsigned = {"apiKey": TEXT[BOB], "timestamp": int(time.time() * 1000)}
    assert (await ask(client, SUBSCRIBE, unsigned))["error"]["code"] == -1102, "a key of its own needs a signature"


async def test_logout_ends_only_the_subscription_of_the_session(served: Served) -> None:
    client = await logged_on(served)
    await ask(client, "userDataStream.subscribe")
    await ask(client, SUBSCRIBE, signed(BOB))
    status = (await ask(client, "session.logout"))["result"]
    assert set(status) == STATUS_FIELDS
    assert status["apiKey"] is status["authorizedSince"] is None
    ended = await client.message()
    assert (ended["subscriptionId"], ended["event"]["e"]) == (0, "eventStreamTerminated")
    assert (await ask(client, "session.subscriptions"))["result"] == [{"subscriptionId": 1}]
    assert (await ask(client, "userDataStream.subscribe"))["error"]["code"] == -2015
    served.replica.apply(limit(ALICE, r.Side.BUY, 100, 10) + limit(BOB, r.Side.BUY, 100, 10))
    assert (await client.message())["subscriptionId"] == 1


async def test_logging_on_again_changes_the_key(served: Served) -> None:
    client = await logged_on(served)
    await ask(client, "userDataStream.subscribe")
    again = await ask(client, "session.logon", signed_by(ALICE))
    assert again["result"]["userDataStream"] is True, "the same key: nothing ends"
    client.text({"id": 7, "method": "session.logon", "params": signed_by(CAROL)})
    assert (await client.message())["event"]["e"] == "eventStreamTerminated"
    answer = await client.message()
    assert (answer["id"], answer["result"]["apiKey"]) == (7, TEXT[CAROL])
    assert (await ask(client, "userDataStream.subscribe"))["result"] == {"subscriptionId": 1}
    served.replica.apply(limit(CAROL, r.Side.BUY, 100, 10, b"carols"))
    assert (await client.message())["event"]["c"] == "carols"


async def test_a_revoked_key_of_a_session_is_told_to_the_connection(served: Served) -> None:
    client = await logged_on(served)
    other = await logged_on(served, BOB)
    await ask(client, "userDataStream.subscribe")
    await ask(client, SUBSCRIBE, signed(BOB))
    await switch_off(served, ALICE)
    told = [await client.message(), await client.message()]
    ended = next(message for message in told if "event" in message)
    refusal = next(message for message in told if "error" in message)
    assert (refusal["id"], refusal["status"], refusal["error"]["code"]) == (None, 401, -2015)
    assert (ended["subscriptionId"], ended["event"]["e"]) == (0, "eventStreamTerminated")
    assert (await ask(client, "session.status"))["result"]["apiKey"] is None
    assert (await ask(client, "session.subscriptions"))["result"] == [{"subscriptionId": 1}]
    await other.silence()
    assert (await ask(other, "session.status"))["result"]["apiKey"] == TEXT[BOB]


async def test_a_session_ends_with_its_connection(served: Served) -> None:
    client = await logged_on(served)
    await ask(client, "userDataStream.subscribe")
    client.close()
    other = await RawClient.connect(served.port, PATH)
    assert (await ask(other, "session.status"))["result"]["apiKey"] is None
    await switch_off(served, ALICE)
    await other.silence()
    assert not served.feeds.ws_api._logged_on
    assert served.feeds.faults == served.lane.faults == 0


async def test_subscriptions_are_counted_and_ids_come_to_an_end() -> None:
    served = Served(FeedSettings(subscriptions_max=1))
    await served.start()
    client = await RawClient.connect(served.port, PATH)
    assert (await ask(client, SUBSCRIBE, signed(ALICE)))["result"] == {"subscriptionId": 0}
    assert (await ask(client, SUBSCRIBE, signed(BOB)))["error"]["code"] == -2042
    await ask(client, "userDataStream.unsubscribe")
    await client.message()
    (connection,) = served.feeds.connections
    channel: Any = connection.channel
    channel.next_number = 65_535
    assert (await ask(client, SUBSCRIBE, signed(ALICE)))["result"] == {"subscriptionId": 65_535}
    await ask(client, "userDataStream.unsubscribe")
    await client.message()
    answer = await ask(client, SUBSCRIBE, signed(ALICE))
    assert answer["error"] == {"code": -2042, "msg": "Maximum subscription ID reached for this connection."}
    client.close()
    await served.stop()
