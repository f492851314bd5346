# SPDX-License-Identifier: Apache-2.0
"""The admin API over a real socket: what operators can do, what it answers when they cannot, and repeats."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.api.venue import ALICE, CAROL_PUBLIC, SECRET, Venue
from tests.api.wire import Wire, get, request

EUR = {"name": "EUR", "decimals": 2}
BTCEUR = {
    "name": "BTCEUR",
    "base": "BTC",
    "quote": "EUR",
    "tick": "0.01",
    "step": "1",
    "price_max": "1000000",
    "quantity_max": "1000",
}


async def test_an_asset_a_market_an_account_and_a_key_from_nothing_to_a_trade(venue: Venue) -> None:
    asset = await venue.admin("POST", "/admin/assets", EUR)
    assert (asset.status, asset.json) == (
        200, {"id": 4, "name": "EUR", "decimals": 2, "deposited": "0.00", "withdrawn": "0.00", "fees": "0.00"},
    )  # fmt: skip
    market = (await venue.admin("POST", "/admin/markets", BTCEUR)).json
    assert (market["name"], market["base"], market["quote"], market["state"]) == ("BTCEUR", "BTC", "EUR", "TRADING")
    assert [row["name"] for row in (await venue.admin("GET", "/admin/markets")).json][-1] == "BTCEUR"
    account = (await venue.admin("POST", "/admin/accounts", {"name": "dora", "balances": {"EUR": "100000.50"}})).json
    assert (account["name"], account["balances"]) == ("dora", [{"asset": "EUR", "free": "100000.50", "locked": "0.00"}])
    made = (await venue.admin("POST", f"/admin/accounts/{account['id']}/keys", {"label": "bot"})).json
    assert (len(made["key"]), len(made["secret"]), made["kind"], made["enabled"]) == (64, 64, "hmac", True)
    keys = (await venue.admin("GET", f"/admin/accounts/{account['id']}/keys")).json
    assert keys == [{name: value for name, value in made.items() if name != "secret"}]
    SECRET[made["key"]] = made["secret"]
    dora = await venue.client(made["key"])
    info = (await dora.get("exchangeInfo", symbol="BTCEUR")).json
    assert info["symbols"][0]["filters"][0]["filterType"] == "PRICE_FILTER"
    placed = await dora.place(symbol="BTCEUR", quantity="2", price="20000")
    assert placed.json["status"] == "NEW"
    alice = await venue.client(ALICE)
    sold = (await alice.place(symbol="BTCEUR", side="SELL", quantity="1", price="20000")).json
    assert (sold["status"], sold["fills"][0]["commissionAsset"]) == ("FILLED", "EUR")
    shown = (await venue.admin("GET", f"/admin/accounts/{account['id']}")).json
    assert shown["balances"] == [
        {"asset": "BTC", "free": "0.99900000", "locked": "0.00000000"}, {"asset": "EUR", "free": "60000.50",
        "locked": "20000.00"},
    ]  # fmt: skip
    assert shown["open_orders"] == 1
    out = await venue.admin(
        "POST", f"/admin/accounts/{account['id']}/withdrawals", {"asset": "EUR", "amount": "60000.5"}
    )
    assert out.json == {"asset": "EUR", "free": "0.00", "locked": "20000.00"}
    state = (await venue.admin("GET", "/admin/state")).json
    assert (state["audit"], state["faults"], state["accounts"], state["ready"]) == ("good", 0, 4, True)
    assert len(state["state_hash"]) == 32


async def test_an_ed25519_key_is_made_of_its_public_half(venue: Venue) -> None:
    for public_key in (CAROL_PUBLIC,):
        made = await venue.admin("POST", "/admin/accounts/2/keys", {"public_key": public_key, "permissions": ["read"]})
        assert made.status == 200, made.body
        assert "secret" not in made.json
        assert (made.json["kind"], made.json["permissions"]) == ("ed25519", ["read"])
    for bad in ("nonsense", "AAAA", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "é"):
        answer = await venue.admin("POST", "/admin/accounts/2/keys", {"public_key": bad})
        assert (answer.status, answer.json["code"]) == (400, -1130), bad


async def test_market_states(venue: Venue) -> None:
    alice = await venue.client(ALICE)
    order = (await alice.place()).json
    for state, shown in (
        ("HALT", "HALT"),
        ("CANCEL_ONLY", "CANCEL_ONLY"),
        ("BREAK", "BREAK"),
        ("POST_ONLY", "BREAK"),
        ("TRADING", "TRADING"),
    ):
        answer = await venue.admin("PUT", "/admin/markets/BTCUSDT/state", {"state": state})
        assert (answer.json["state"], answer.json["status"]) == (state, shown)
        info = (await alice.get("exchangeInfo", symbol="BTCUSDT")).json
        assert info["symbols"][0]["status"] == shown
        placed = await alice.place(price="20001")
        assert placed.status == (200 if state == "TRADING" else 400)
    cancel = await alice.ask("DELETE", "order", symbol="BTCUSDT", orderId=order["orderId"])
    assert cancel.status == 200


async def test_accounts_are_changed_in_what_is_named_and_nothing_else(venue: Venue) -> None:
    alice = await venue.client(ALICE)
    changed = await venue.admin("PATCH", "/admin/accounts/1", {"taker_rate": "0.0004"})
    assert (changed.json["taker_rate"], changed.json["maker_rate"]) == ("0.00040000", None)
    assert changed.json["permissions"] == ["trade", "deposit", "withdraw"]
    rates = (await alice.ask("GET", "account/commission", symbol="BTCUSDT")).json["standardCommission"]
    assert (rates["maker"], rates["taker"]) == ("0.00100000", "0.00040000")
    closed = await venue.admin("PATCH", "/admin/accounts/1", {"permissions": ["withdraw"]})
    assert (closed.json["permissions"], closed.json["taker_rate"]) == (["withdraw"], "0.00040000")
    refused = await alice.place()
    assert (refused.status, refused.json) == (
        400,
        {"code": -2010, "msg": "This account may not place or cancel orders."},
    )
    assert (await venue.admin("POST", "/admin/accounts/1/deposits", {"asset": "BTC", "amount": "1"})).status == 400
    again = await venue.admin(
        "PATCH", "/admin/accounts/1", {"taker_rate": "market", "permissions": ["trade", "deposit"]}
    )
    assert again.json["taker_rate"] is None


async def test_the_key_of_the_admin_is_asked_for_everywhere(venue: Venue) -> None:
    for method, path in (
        ("GET", "/admin/state"),
        ("POST", "/admin/assets"),
        ("DELETE", "/admin/keys/x"),
        ("POST", "/admin/snapshot"),
    ):
        for key in ("", "wrong", "admin-key-of-the-test", "é" * 9):
            answer = await venue.admin(method, path, None, key=key)
            assert (answer.status, answer.json["code"]) == (401, -2015)
    async with await Wire.open(venue.door.admin_port) as wire:
        await wire.send(get("/admin/state"))
        assert (await wire.answer()).status == 401
        await wire.send(get("/api/v3/ping"))
        assert (await wire.answer()).status == 404, "the public API is not on the admin port"
    async with await Wire.open(venue.port) as wire:
        await wire.send(get("/admin/state", "X-Admin-Key: admin-key-of-the-tests"))
        assert (await wire.answer()).status == 404, "and the admin API is not on the public port"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/admin/assets", b"{", 400, -1135),
        ("POST", "/admin/assets", b"[]", 400, -1135),
        ("POST", "/admin/assets", b"\xff\xfe", 400, -1135),
        ("POST", "/admin/assets", b"[" * 60_000, 400, -1135),
        ("POST", "/admin/assets", b" " * 70_000, 413, None),
        ("POST", "/admin/assets", {}, 400, -1130),
        ("POST", "/admin/assets", {"name": ""}, 400, -1130),
        ("POST", "/admin/assets", {"name": "BTC"}, 400, -1130),
        ("POST", "/admin/assets", {"name": "X", "decimals": 9}, 400, -1130),
        ("POST", "/admin/assets", {"name": "X", "decimals": -1}, 400, -1130),
        ("POST", "/admin/assets", {"name": "X", "decimals": 500}, 400, -1130),
        ("POST", "/admin/assets", {"name": "X", "decimals": "8"}, 400, -1130),
        ("POST", "/admin/assets", {"name": "X" * 37}, 400, -1130),
        ("POST", "/admin/assets", {"name": "a\0b"}, 400, -1130),
        ("POST", "/admin/assets", {"name": "X", "nonsense": 1}, 400, -1130),
        ("POST", "/admin/markets", {**BTCEUR, "quote": "NONE"}, 400, -1130),
        ("POST", "/admin/markets", {**BTCEUR, "quote": "USDT", "tick": "0"}, 400, -1130),
        ("POST", "/admin/markets", {**BTCEUR, "quote": "USDT", "tick": "1e-2"}, 400, -1130),
        ("POST", "/admin/markets", {**BTCEUR, "quote": "USDT", "tick": "-1"}, 400, -1130),
        ("POST", "/admin/markets", {**BTCEUR, "quote": "BTC"}, 400, -1130),
        ("POST", "/admin/markets", {**BTCEUR, "quote": "USDT", "orders_max": 10**12}, 400, -1130),
        ("POST", "/admin/markets", {**BTCEUR, "quote": "USDT", "price_max": "99999999999999999"}, 400, -1130),
        ("POST", "/admin/markets", {**BTCEUR, "name": "BTCUSDT", "quote": "USDT"}, 400, -1130),
        ("POST", "/admin/markets", {**BTCEUR, "quote": "USDT", "state": "OPEN"}, 400, -1130),
        ("PUT", "/admin/markets/NOSUCH/state", {"state": "HALT"}, 400, -1121),
        ("PUT", "/admin/markets/BTCUSDT/state", {"state": "NONE"}, 400, -1130),
        ("PUT", "/admin/markets/BTCUSDT/state", {}, 400, -1130),
        ("GET", "/admin/accounts/0", None, 404, -1130),
        ("GET", "/admin/accounts/99", None, 404, -1130),
        ("GET", "/admin/accounts/-1", None, 404, -1130),
        ("GET", "/admin/accounts/99999999999999999999", None, 404, -1130),
        ("GET", "/admin/accounts/%D9%A1", None, 404, -1130),
        ("POST", "/admin/accounts/1/deposits", {"asset": "BTC", "amount": "0"}, 400, -1130),
        ("POST", "/admin/accounts/1/deposits", {"asset": "BTC", "amount": "-1"}, 400, -1130),
        ("POST", "/admin/accounts/1/deposits", {"asset": "BTC", "amount": "0.000000001"}, 400, -1130),
        ("POST", "/admin/accounts/1/deposits", {"asset": "BTC", "amount": "NaN"}, 400, -1130),
        ("POST", "/admin/accounts/1/deposits", {"asset": "BTC", "amount": True}, 400, -1130),
        ("POST", "/admin/accounts/1/deposits", {"asset": "BTC", "amount": "99999999999999999999"}, 400, None),
        ("POST", "/admin/accounts/1/deposits", {"asset": "BTC", "amount": "46116860183"}, 400, -1108),
        ("POST", "/admin/accounts/1/deposits", {"asset": "DOGE", "amount": "1"}, 400, -1130),
        ("POST", "/admin/accounts/1/withdrawals", {"asset": "BTC", "amount": "101"}, 400, -2010),
        ("POST", "/admin/accounts/9/withdrawals", {"asset": "BTC", "amount": "1"}, 404, -1130),
        ("POST", "/admin/accounts", {"balances": {"NONE": "1"}}, 400, -1130),
        ("POST", "/admin/accounts", {"keys": [{"key": "a" * 64, "secret": "s"}]}, 400, -1130),
        ("POST", "/admin/accounts", {"permissions": ["fly"]}, 400, -1130),
        ("POST", "/admin/accounts", {"taker_rate": "2"}, 400, -1130),
        ("PATCH", "/admin/accounts/1", {"taker_rate": "1.000000001"}, 400, -1130),
        ("PATCH", "/admin/accounts/1", {"trade_group": -1}, 400, -1130),
        ("POST", "/admin/accounts/1/keys", {"permissions": ["fly"]}, 400, -1130),
        ("POST", "/admin/accounts/1/keys", {"key": "no good key"}, 400, -1130),
        ("POST", "/admin/accounts/1/keys", {"key": "k" * 300}, 400, -1130),
        ("POST", "/admin/accounts/1/keys", {"secret": "s", "public_key": CAROL_PUBLIC}, 400, -1130),
        ("DELETE", "/admin/keys/unknown", None, 404, -1130),
        ("GET", "/admin/nothing", None, 404, -1020),
        ("DELETE", "/admin/state", None, 405, -1020),
    ],
)
async def test_what_is_refused_changes_nothing(
    venue: Venue, method: str, path: str, body: Any, status: int, code: int | None
) -> None:
    before = venue.replica.exchange.dump()
    answer = await venue.admin(method, path, body)
    assert answer.status == status, answer.body
    assert code is None or answer.json["code"] == code, answer.body
    after = venue.replica.exchange.dump()
    for volatile in ("time_ns", "sequence", "writers"):
        before.pop(volatile)
        after.pop(volatile)
    assert after == before


async def test_a_repeat_under_an_idempotency_key_is_done_once(venue: Venue) -> None:
    path, money = "/admin/accounts/1/deposits", {"asset": "BTC", "amount": "1"}
    first = [await venue.admin("POST", path, money, "Idempotency-Key: one") for _ in range(3)]
    assert {answer.body for answer in first} == {b'{"asset":"BTC","free":"101.00000000","locked":"0.00000000"}'}
    at_once = await asyncio.gather(*(venue.admin("POST", path, money, "Idempotency-Key: two") for _ in range(5)))
    assert {answer.body for answer in at_once} == {b'{"asset":"BTC","free":"102.00000000","locked":"0.00000000"}'}
    venue.door.admin._remembered.clear()  # type: ignore[union-attr] # as another process would be asked
    other = await venue.admin("POST", path, money, "Idempotency-Key: one")
    assert other.body == first[0].body, "the log knows it, too"
    assert (await venue.admin("POST", path, money)).json["free"] == "103.00000000"
    accounts = [await venue.admin("POST", "/admin/accounts", {"name": "eve"}, "Idempotency-Key: eve") for _ in range(2)]
    assert accounts[0].json == accounts[1].json
    keys = [await venue.admin("POST", "/admin/accounts/1/keys", {}, "Idempotency-Key: key") for _ in range(2)]
    assert keys[0].json == keys[1].json
    refused = [
        await venue.admin("POST", path, {"asset": "BTC", "amount": "0"}, "Idempotency-Key: bad") for _ in range(2)
    ]
    assert [answer.status for answer in refused] == [400, 400]
    corrected = await venue.admin("POST", path, money, "Idempotency-Key: bad")
    assert corrected.status == 200
    assert (await venue.admin("POST", path, money, "Idempotency-Key: " + "x" * 256)).status == 400
    venue.replica.exchange.audit()


async def test_snapshot_now(venue: Venue) -> None:
    answer = await venue.admin("POST", "/admin/snapshot")
    assert (answer.status, answer.json["file"]) == (200, None), "a replica without a folder keeps none"
    assert answer.json["position"] == venue.replica.position


async def test_hostile_bodies_on_the_admin_port(venue: Venue) -> None:
    async with await Wire.open(venue.door.admin_port) as wire:
        await wire.send(request("POST", "/admin/assets", b"x" * 100_000, "X-Admin-Key: admin-key-of-the-tests"))
        assert (await wire.answer()).status == 413
    async with await Wire.open(venue.door.admin_port) as wire:
        await wire.send(
            request("POST", "/admin/assets", b"{}", "X-Admin-Key: a", "X-Admin-Key: admin-key-of-the-tests")
        )
        assert (await wire.answer()).status in (400, 401)
