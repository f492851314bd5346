# SPDX-License-Identifier: Apache-2.0
"""Who may do what: keys, signatures, windows, permissions, and whose order it is."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

import pytest

from bidhall.protocol.endpoints import ENDPOINTS, Endpoint, Security
from tests.api.venue import ALICE, BOB, CAROL, READER, Client, Venue

SIGNED = sorted((one for one in ENDPOINTS.values() if one.signed), key=lambda one: one.method + one.path)
ORDER = {
    "symbol": "BTCUSDT",
    "side": "BUY",
    "type": "LIMIT",
    "timeInForce": "GTC",
    "quantity": "0.01",
    "price": "20000",
}
NO_FORMAT = {"code": -2014, "msg": "API-key format invalid."}
NO_KEY = {"code": -2015, "msg": "Invalid API-key, IP, or permissions for action."}
NO_SIGNATURE = {"code": -1022, "msg": "Signature for this request is not valid."}
LATE = {"code": -1021, "msg": "Timestamp for this request is outside of the recvWindow."}
EARLY = {"code": -1021, "msg": "Timestamp for this request was 1000ms ahead of the server's time."}


def values_of(endpoint: Endpoint) -> dict[str, Any]:
    names = {parameter.name for parameter in endpoint.parameters}
    if "cancelReplaceMode" in names:
        return ORDER | {"cancelReplaceMode": "STOP_ON_FAILURE", "cancelOrderId": "1"}
    if "side" in names:
        return ORDER
    values = {"symbol": "BTCUSDT"} if "symbol" in names else {}
    if "orderId" in names:
        values["orderId"] = "1"
    return values | ({"newQty": "0.001"} if "newQty" in names else {})


def name_of(endpoint: Endpoint) -> str:
    return f"{endpoint.method} {endpoint.path}"


@pytest.mark.parametrize("endpoint", SIGNED, ids=name_of)
async def test_each_signed_endpoint_wants_a_key_a_signature_and_a_time(
    endpoint: Endpoint, venue: Venue, alice: Client
) -> None:
    method, path, values = endpoint.method, endpoint.path, values_of(endpoint)
    text = urlencode(values)
    good = alice.signed(values)

    async def ask(query: str, key: str = ALICE) -> tuple[int, Any]:
        alice.key = key
        answer = await alice.raw(method, path, query)
        alice.key = ALICE
        return answer.status, answer.json

    assert await ask(good, key="") == (401, NO_FORMAT)
    assert await ask(good, key="no key at all") == (401, NO_FORMAT)
    assert await ask(good, key="k" * 64) == (401, NO_KEY)
    status, body = await ask(text + f"&timestamp={alice.now_ms()}")
    assert (status, body["code"]) == (400, -1102)
    assert "signature" in body["msg"]
    status, body = await ask(alice.seal(text))
    assert (status, body["code"]) == (400, -1102)
    assert "timestamp" in body["msg"]
    assert await ask(good[:-1] + ("0" if good[-1] != "0" else "1")) == (400, NO_SIGNATURE)
    assert await ask(good, key=BOB) == (400, NO_SIGNATURE)
    assert await ask(f"{text}&timestamp={alice.now_ms()}&signature=nonsense") == (400, NO_SIGNATURE)
    assert await ask(f"{text}&timestamp={alice.now_ms()}&signature=" + "%C3%A9" * 32) == (400, NO_SIGNATURE)
    assert await ask(alice.signed(values, timestamp=alice.now_ms() - 5100)) == (400, LATE)
    assert await ask(alice.signed({**values, "recvWindow": 100}, timestamp=alice.now_ms() - 300)) == (400, LATE)
    assert await ask(alice.signed(values, timestamp=alice.now_ms() + 1600)) == (400, EARLY)
    assert await ask(alice.signed(values, timestamp=(alice.now_ms() + 1600) * 1000)) == (400, EARLY)
    assert await ask(alice.signed(values, timestamp=0)) == (400, LATE)
    if endpoint.security is Security.TRADE:
        reader = await venue.client(READER)
        answer = await reader.ask(method, path, **values)
        assert (answer.status, answer.json) == (401, NO_KEY)
    assert venue.replica.exchange.open_order_count == 0


async def test_signatures_are_over_the_bytes_as_they_were_sent(venue: Venue, alice: Client) -> None:
    stamp = alice.now_ms()
    spellings = [
        "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC&quantity=0.01&price=20001",
        "symbol=%42TCUSDT&side=BUY&type=LIMIT&timeInForce=GTC&quantity=0.01&price=20002",
        "price=20003&quantity=0.010&timeInForce=GTC&type=LIMIT&side=BUY&symbol=BTCUSDT",
    ]
    for text in spellings:
        payload = f"{text}&timestamp={stamp}"
        answer = await alice.raw("POST", "order", "", alice.seal(payload))
        assert answer.status == 200, answer.body
        # The same parameters in another spelling are other bytes.
        signature = alice.seal(payload).rpartition("=")[2]
        other = payload.replace("side=BUY", "side=%42UY")
        assert (await alice.raw("POST", "order", "", f"{other}&signature={signature}")).json == NO_SIGNATURE
    first = alice.seal(f"{spellings[0].replace('20001', '20009')}&timestamp={stamp}")
    payload, _, signature = first.rpartition("&")
    assert (await alice.raw("POST", "order", "", f"{signature}&{payload}")).status == 200, (
        "the signature may stand anywhere"
    )
    upper = alice.seal(f"{spellings[0].replace('20001', '20010')}&timestamp={stamp}")
    payload, _, signature = upper.rpartition("=")
    assert (await alice.raw("POST", "order", "", f"{payload}={signature.upper()}")).status == 200, "hex of either case"
    more = alice.seal(f"{spellings[0]}&timestamp={stamp}") + "&newClientOrderId=added"
    assert (await alice.raw("POST", "order", "", more)).json == NO_SIGNATURE
    twice = alice.signed(ORDER)
    assert (await alice.raw("POST", "order", twice, "signature=00")).status in (200, 400)


async def test_the_key_header_in_any_case_and_never_twice(alice: Client) -> None:
    alice.key = ""
    for name in ("X-MBX-APIKEY", "x-mbx-apikey", "X-Mbx-Apikey", "x-MBX-apiKEY"):
        alice.key = ALICE
        form = alice.signed({})
        alice.key = ""
        assert (await alice.raw("GET", "account", form, "", f"{name}: {ALICE}")).status == 200, name
    alice.key = ALICE
    form = alice.signed({})
    alice.key = ""
    same = await alice.raw("GET", "account", form, "", f"X-MBX-APIKEY: {ALICE}", f"x-mbx-apikey: {ALICE}")
    assert same.status == 200
    for headers in ((ALICE, BOB), (BOB, ALICE)):
        both = await alice.raw("GET", "account", form, "", *(f"X-MBX-APIKEY: {key}" for key in headers))
        assert (both.status, both.json) == (401, NO_FORMAT)


async def test_a_disabled_key_is_refused_at_once_and_says_no_more_than_an_unknown_one(venue: Venue) -> None:
    made = await venue.admin("POST", "/admin/accounts/2/keys", {"label": "short-lived"})
    key, secret = made.json["key"], made.json["secret"]
    from tests.api.venue import SECRET

    SECRET[key] = secret
    client = await venue.client(key)
    assert (await client.ask("GET", "account")).status == 200
    assert (await client.place()).status == 200
    assert (await venue.admin("DELETE", f"/admin/keys/{key}")).json["enabled"] is False
    for answer in (await client.ask("GET", "account"), await client.place()):
        assert (answer.status, answer.json) == (401, NO_KEY)


async def test_a_request_is_the_same_whichever_way_it_was_read(venue: Venue, alice: Client) -> None:
    """The compiled plain way and the general way make the same command, and know each other's repeats."""
    form = alice.signed(ORDER)
    plain = await alice.raw("POST", "order", "", form)
    general = await alice.raw("POST", "order", "", form, "X-MBX-TIME-UNIT: MILLISECOND")
    in_query = await alice.raw("POST", "order", form)
    assert plain.body == general.body == in_query.body
    cancel = alice.signed({"symbol": "BTCUSDT", "orderId": plain.json["orderId"]})
    general = await alice.raw("DELETE", "order", cancel, "", "X-MBX-TIME-UNIT: MILLISECOND")
    plain = await alice.raw("DELETE", "order", cancel)
    assert plain.status == 200
    assert plain.body == general.body
    assert venue.replica.exchange.open_order_count == 0


async def test_another_accounts_order_is_as_if_it_were_not_there(venue: Venue, alice: Client, bob: Client) -> None:
    order = (await alice.place(newClientOrderId="hers")).json
    await bob.place(side="SELL", quantity="0.002")
    carol = await venue.client(CAROL)
    unknown = {"code": -2013, "msg": "Order does not exist."}
    gone = {"code": -2011, "msg": "Unknown order sent."}
    for stranger in (carol, bob):
        for target in ({"orderId": order["orderId"]}, {"origClientOrderId": "hers"}):
            assert (await stranger.ask("GET", "order", symbol="BTCUSDT", **target)).json == unknown
            assert (await stranger.ask("DELETE", "order", symbol="BTCUSDT", **target)).json == gone
            amended = await stranger.ask("PUT", "order/amend/keepPriority", symbol="BTCUSDT", newQty="0.001", **target)
            assert (amended.status, amended.json["msg"]) == (400, "Unknown order sent.")
        for path in ("openOrders", "allOrders", "myTrades"):
            rows = (await stranger.ask("GET", path, symbol="BTCUSDT")).json
            assert order["orderId"] not in [row["orderId"] for row in rows]
        trades = await stranger.ask("GET", "myTrades", symbol="BTCUSDT", orderId=order["orderId"])
        assert trades.json == []
    other_market = await alice.ask("GET", "order", symbol="ETHUSDT", orderId=order["orderId"])
    assert other_market.json == unknown
    assert (await alice.ask("DELETE", "order", symbol="ETHUSDT", orderId=order["orderId"])).json == gone
    await alice.ask("DELETE", "order", symbol="BTCUSDT", orderId=order["orderId"])
    for stranger in (carol, bob):
        assert (await stranger.ask("GET", "order", symbol="BTCUSDT", orderId=order["orderId"])).json == unknown
    wrong = await alice.ask("GET", "order", symbol="BTCUSDT", orderId=order["orderId"], origClientOrderId="not-this")
    assert wrong.json["code"] == -2039


async def test_ed25519_failures(venue: Venue) -> None:
    carol = await venue.client(CAROL)
    good = carol.signed(ORDER | {"quantity": "0.001"})
    payload, _, signature = good.rpartition("&signature=")
    for bad in (
        "",
        "AAAA",
        quote("A" * 86 + "=="),
        signature[:-4],
        "%00",
        signature.replace("%3D%3D", ""),
        "%C3%A9" * 10,
        "0" * 64,
    ):
        answer = await carol.raw("POST", "order", "", f"{payload}&signature={bad}")
        assert answer.status == 400, bad
        assert answer.json["code"] in (-1022, -1105), (bad, answer.body)
    assert (await carol.raw("POST", "order", "", good)).status == 200
    assert (await carol.raw("POST", "order", "", good)).status == 200, "its repeat is answered, too"
    assert venue.replica.exchange.open_order_count == 1
    late = carol.signed(ORDER, timestamp=carol.now_ms() - 6000)
    assert (await carol.raw("POST", "order", "", late)).json == LATE


async def test_many_ed25519_signatures_at_once(venue: Venue) -> None:
    import asyncio

    async def one(number: int) -> list[int]:
        client = await venue.client(CAROL)
        statuses = []
        for n in range(10):
            if n % 3 == 2:
                form = client.signed({"symbol": "BTCUSDT"}).replace("BTCUSDT", "ETHUSDT")
                statuses.append((await client.raw("GET", "openOrders", form)).status)
            else:
                statuses.append((await client.ask("GET", "openOrders", symbol="BTCUSDT")).status)
        return statuses

    for statuses in await asyncio.gather(*(one(number) for number in range(20))):
        assert statuses == [200, 200, 400, 200, 200, 400, 200, 200, 400, 200]
