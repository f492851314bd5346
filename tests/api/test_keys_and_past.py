# SPDX-License-Identifier: Apache-2.0
"""RSA keys from their registration to an order, and the reads of what became of orders otherwise than by trades:
prevented matches and amendments, out of the history, over real sockets."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.api.venue import ALICE, BOB, DOCUMENT, Client, Venue
from tests.protocol.clients import checked

DORA, EVE = "d" * 64, "e" * 64


@cache
def private(bits: int) -> RSAPrivateKey:
    return generate_private_key(65_537, bits)


def public(bits: int, encoding: Encoding = Encoding.PEM) -> str:
    raw = private(bits).public_key().public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)
    return raw.decode() if encoding is Encoding.PEM else b64encode(raw).decode()


async def rsa_client(venue: Venue, key: str, bits: int) -> Client:
    client = await venue.client(key)
    client.private = private(bits)
    return client


# --- RSA -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bits", "encoding"), [(2048, Encoding.PEM), (4096, Encoding.DER)])
async def test_an_rsa_key_by_the_admin_api(venue: Venue, bits: int, encoding: Encoding) -> None:
    made = await venue.admin("POST", "/admin/accounts/2/keys", {"key": DORA, "public_key": public(bits, encoding)})
    assert made.status == 200, made.body
    assert made.json == {
        "key": DORA, "account": 2, "kind": "rsa", "permissions": ["read", "trade"], "enabled": True, "label": "",
    }  # fmt: skip
    dora = await rsa_client(venue, DORA, bits)
    form = dora.signed({
        "symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01", "price": "20000",
    })  # fmt: skip
    placed = await dora.raw("POST", "order", "", form)
    assert placed.status == 200, placed.body
    again = await dora.raw("POST", "order", form)
    assert again.json == placed.json, "the same bytes are one request"
    assert [row["orderId"] for row in (await dora.ask("GET", "openOrders")).json] == [placed.json["orderId"]]
    wrong = {"code": -1022, "msg": "Signature for this request is not valid."}
    for changed in (form.replace("0.01", "0.02"), form.rpartition("=")[0] + "=nonsense", form[:-6] + "AAA%3D%3D"):
        answer = await dora.raw("POST", "order", "", changed)
        assert (answer.status, answer.json) == (400, wrong), changed
    dora.key = ALICE
    assert (await dora.ask("GET", "account")).json == wrong, "a key's scheme is fixed when it is registered"
    assert (await venue.admin("DELETE", f"/admin/keys/{DORA}")).json["enabled"] is False
    dora.key = DORA
    assert (await dora.ask("GET", "account")).json["code"] == -2015


async def test_rsa_keys_that_are_refused(venue: Venue) -> None:
    small = generate_private_key(65_537, 1024).public_key()
    pem = small.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    for body, words in (
        ({"public_key": pem}, "2048 to 4096 bits, not 1024"),
        ({"public_key": "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"}, "public_key"),
        ({"public_key": public(2048), "secret": "s"}, "either secret"),
    ):
        answer = await venue.admin("POST", "/admin/accounts/2/keys", {"key": EVE, **body})
        assert (answer.status, answer.json["code"]) == (400, -1130)
        assert words in answer.json["msg"]
    assert EVE not in venue.replica.registry.keys


async def test_an_rsa_key_of_the_seed_after_a_restart(tmp_path: Path) -> None:
    for life in range(3):
        venue = Venue(f"sqlite:///{tmp_path}", tmp_path)
        account = {"name": "dora", "keys": [{"key": DORA, "public_key": public(2048)}], "balances": {"USDT": "100"}}
        venue.document = {**DOCUMENT, "accounts": [account]}
        await venue.start()
        try:
            dora = await rsa_client(venue, DORA, 2048)
            assert (await dora.ask("GET", "account")).status == 200, life
            if life == 1:  # the next start has the log alone
                for file in (tmp_path / "snapshots").iterdir():
                    file.unlink()
            assert venue.calm()
        finally:
            await venue.stop()


# --- prevented matches and amendments --------------------------------------------------------------------------------


@pytest.fixture
async def recorded() -> AsyncIterator[Venue]:
    venue = await Venue(history=True).start()
    yield venue
    calm = venue.calm()
    await venue.stop()
    assert calm


async def placed(client: Client, **parameters: Any) -> dict[str, Any]:
    answer = await client.place(**parameters)
    assert answer.status == 200, answer.body
    order: dict[str, Any] = answer.json
    return order


async def test_prevented_matches(recorded: Venue) -> None:
    alice = await recorded.client(ALICE)
    for number in (1, 2):
        await recorded.admin("PATCH", f"/admin/accounts/{number}", {"trade_group": 8 * (number == 2)})
    made: list[tuple[str, int, int]] = []
    for number, mode in enumerate(("EXPIRE_MAKER", "EXPIRE_TAKER", "EXPIRE_BOTH", "DECREMENT", "TRANSFER")):
        maker = await placed(alice, price=str(20_000 + number), quantity="0.02")
        taker = await placed(
            alice, side="SELL", price=str(20_000 + number), quantity="0.01", selfTradePreventionMode=mode
        )
        made.append(("DECREMENT" if mode == "TRANSFER" else mode, taker["orderId"], maker["orderId"]))
        await alice.ask("DELETE", "openOrders", symbol="BTCUSDT")
    for number, (mode, taker_id, maker_id) in enumerate(made, 1):
        by_id = await alice.ask("GET", "myPreventedMatches", symbol="BTCUSDT", preventedMatchId=number)
        assert by_id.status == 200, by_id.body
        (row,) = checked(by_id.json, "my_prevented_matches_response_inner")
        lost = {name: row[name] for name in ("takerPreventedQuantity", "makerPreventedQuantity") if name in row}
        assert lost == {
            "EXPIRE_MAKER": {"makerPreventedQuantity": "0.02000000"},
            "EXPIRE_TAKER": {"takerPreventedQuantity": "0.01000000"},
            "EXPIRE_BOTH": {"takerPreventedQuantity": "0.01000000", "makerPreventedQuantity": "0.02000000"},
            "DECREMENT": {"takerPreventedQuantity": "0.01000000", "makerPreventedQuantity": "0.01000000"},
        }[mode]
        assert (row["selfTradePreventionMode"], row["takerOrderId"], row["makerOrderId"]) == (mode, taker_id, maker_id)
        assert (row["price"], row["tradeGroupId"]) == (f"{20_000 + number - 1}.00000000", -1)
        for order_id in (taker_id, maker_id):
            by_order = await alice.ask("GET", "myPreventedMatches", symbol="BTCUSDT", orderId=order_id)
            assert by_order.json == [row]
            order = (await alice.ask("GET", "order", symbol="BTCUSDT", orderId=order_id)).json
            lost_by = "taker" if order_id == taker_id else "maker"
            assert order.get("preventedQuantity") == row.get(f"{lost_by}PreventedQuantity")
    bob = await recorded.client(BOB)
    maker = await placed(bob, price="19000", quantity="0.05")
    for _ in range(3):
        await placed(bob, side="SELL", price="19000", quantity=f"0.01{_}", selfTradePreventionMode="DECREMENT")
    mine = {"symbol": "BTCUSDT", "orderId": maker["orderId"]}
    rows = (await bob.ask("GET", "myPreventedMatches", **mine)).json
    assert [(row["preventedMatchId"], row["tradeGroupId"]) for row in rows] == [(6, 8), (7, 8), (8, 8)]
    assert (await bob.ask("GET", "myPreventedMatches", **mine, fromPreventedMatchId=7)).json == rows[1:]
    assert (await bob.ask("GET", "myPreventedMatches", **mine, fromPreventedMatchId=7, limit=1)).json == rows[1:2]
    assert (await alice.ask("GET", "myPreventedMatches", **mine)).json == [], "another account's"
    assert (await alice.ask("GET", "myPreventedMatches", symbol="BTCUSDT", preventedMatchId=6)).json == []
    for nothing in ({"preventedMatchId": 0}, {"orderId": 0}, {"preventedMatchId": 99}, {"orderId": 999}):
        assert (await bob.ask("GET", "myPreventedMatches", symbol="BTCUSDT", **nothing)).json == []


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({}, -1102),
        ({"preventedMatchId": 1, "orderId": 1}, -1128),
        ({"fromPreventedMatchId": 1}, -1102),
        ({"preventedMatchId": 1, "fromPreventedMatchId": 1}, -1128),
        ({"symbol": "NOSUCH", "orderId": 1}, -1121),
    ],
)
async def test_combinations_of_prevented_matches(alice: Client, parameters: dict[str, Any], code: int) -> None:
    answer = await alice.ask("GET", "myPreventedMatches", **{"symbol": "BTCUSDT", **parameters})
    assert (answer.status, answer.json["code"]) == (400, code)


async def test_amendments(recorded: Venue) -> None:
    alice = await recorded.client(ALICE)
    order = await placed(alice, quantity="0.05", newClientOrderId="first")
    number = order["orderId"]

    async def amend(**parameters: Any) -> dict[str, Any]:
        answer = await alice.ask("PUT", "order/amend/keepPriority", symbol="BTCUSDT", **parameters)
        assert answer.status == 200, answer.body
        found: dict[str, Any] = checked(
            answer.json, "order_amend_keep_priority_response", without=("listStatus", "rateLimits")
        )
        return found

    by_id = await amend(orderId=number, newQty="0.04", newClientOrderId="second")
    assert (by_id["amendedOrder"]["origClientOrderId"], by_id["amendedOrder"]["clientOrderId"]) == ("first", "second")
    form = alice.signed({"symbol": "BTCUSDT", "origClientOrderId": "second", "newQty": "0.03"})
    by_name = await alice.raw("PUT", "order/amend/keepPriority", "", form)
    random_id = by_name.json["amendedOrder"]["clientOrderId"]
    assert (by_name.json["amendedOrder"]["origClientOrderId"], len(random_id)) == ("second", 22)
    same = await amend(orderId=number, newQty="0.02", newClientOrderId=random_id)
    assert same["amendedOrder"]["origClientOrderId"] == random_id
    assert (await alice.raw("PUT", "order/amend/keepPriority", "", form)).json == by_name.json, "the first answer again"
    rows = (await alice.ask("GET", "order/amendments", symbol="BTCUSDT", orderId=number)).json
    checked(rows, "order_amendments_response_inner")
    executions = [by_id["executionId"], by_name.json["executionId"], same["executionId"]]
    assert [
        (row["executionId"], row["origClientOrderId"], row["newClientOrderId"], row["origQty"], row["newQty"])
        for row in rows
    ] == [
        (executions[0], "first", "second", "0.05000000", "0.04000000"),
        (executions[1], "second", random_id, "0.04000000", "0.03000000"),
        (executions[2], random_id, random_id, "0.03000000", "0.02000000"),
    ]
    assert [row["time"] for row in rows] == [by_id["transactTime"], by_name.json["transactTime"], same["transactTime"]]
    more = {"symbol": "BTCUSDT", "orderId": number}
    assert (await alice.ask("GET", "order/amendments", **more, fromExecutionId=executions[1])).json == rows[1:]
    assert (await alice.ask("GET", "order/amendments", **more, limit=1)).json == rows[:1]
    bob = await recorded.client(BOB)
    assert (await bob.ask("GET", "order/amendments", **more)).json == []
    refused = await alice.ask("PUT", "order/amend/keepPriority", symbol="BTCUSDT", orderId=number, newQty="0.02")
    assert refused.json == {"code": -2038, "msg": "The requested action would change no state; rejecting"}
    larger = await alice.ask("PUT", "order/amend/keepPriority", symbol="BTCUSDT", orderId=number, newQty="0.03")
    assert larger.json["msg"] == "Order amend (quantity increase) is not supported."


async def test_an_amend_below_what_was_executed_ends_the_order(recorded: Venue) -> None:
    alice, bob = await recorded.client(ALICE), await recorded.client(BOB)
    number = (await placed(alice, quantity="0.05"))["orderId"]
    await placed(bob, side="SELL", quantity="0.03")
    answer = await alice.ask("PUT", "order/amend/keepPriority", symbol="BTCUSDT", orderId=number, newQty="0.02")
    assert (answer.status, answer.json["amendedOrder"]["status"]) == (200, "EXPIRED")
    assert answer.json["amendedOrder"]["executedQty"] == "0.03000000"
    (row,) = (await alice.ask("GET", "order/amendments", symbol="BTCUSDT", orderId=number)).json
    assert (row["origQty"], row["newQty"]) == ("0.05000000", "0.02000000")
    assert (await alice.ask("GET", "openOrders")).json == []


async def test_without_a_history_they_are_refused_for_now(alice: Client) -> None:
    for path in ("order/amendments", "myPreventedMatches"):
        answer = await alice.ask("GET", path, symbol="BTCUSDT", orderId=1)
        assert (answer.status, answer.json["code"]) == (503, -1008)
