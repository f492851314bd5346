# SPDX-License-Identifier: Apache-2.0
"""What operators do to markets and accounts while people trade: states, kill, trade groups, and the new rules on an old
log. Over real sockets, seen from both sides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bidhall import seed
from bidhall.core import records
from bidhall.core.records import EventKind
from bidhall.documents import SeedDocument, convert
from bidhall.environment import RealEnvironment
from bidhall.log import open_log
from bidhall.replica import Replica, ReplicaSettings
from tests.api.venue import ALICE, DOCUMENT, Client, Venue

CLOSED = "Market is closed."
MARKET = "/admin/markets/BTCUSDT/state"


async def put(venue: Venue, state: str, path: str = MARKET, **more: Any) -> Any:
    answer = await venue.admin("PUT", path, {"state": state, **more})
    assert answer.status == 200, answer.body
    return answer.json


async def resting(client: Client, **parameters: Any) -> int:
    answer = await client.place(**parameters)
    assert answer.status == 200, answer.body
    number: int = answer.json["orderId"]
    return number


def refusal(answer: Any) -> tuple[int, int, str]:
    return answer.status, answer.json["code"], answer.json["msg"]


@pytest.mark.parametrize(
    ("state", "shown", "cancels"),
    [
        ("CANCEL_ONLY", "CANCEL_ONLY", True),
        ("BREAK", "BREAK", True),
        ("HALT", "HALT", False),
        ("POST_ONLY", "BREAK", True),
        ("AUCTION", "BREAK", True),
        ("END_OF_DAY", "END_OF_DAY", True),
    ],
)
async def test_what_a_closed_market_still_does(
    venue: Venue, alice: Client, state: str, shown: str, cancels: bool
) -> None:
    ids = [await resting(alice, price=str(20_000 + n)) for n in range(3)]
    assert (await put(venue, state))["status"] == shown
    info = (await alice.get("exchangeInfo", symbol="BTCUSDT")).json["symbols"][0]
    assert info["status"] == shown
    assert refusal(await alice.place()) == (400, -2010, CLOSED)
    test = {"side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "1", "price": "20000"}
    assert refusal(await alice.ask("POST", "order/test", symbol="BTCUSDT", **test)) == (400, -2010, CLOSED)
    replace = {**test, "cancelReplaceMode": "STOP_ON_FAILURE", "cancelOrderId": ids[0]}
    assert refusal(await alice.ask("POST", "order/cancelReplace", symbol="BTCUSDT", **replace)) == (400, -2010, CLOSED)
    amend = await alice.ask("PUT", "order/amend/keepPriority", symbol="BTCUSDT", orderId=ids[0], newQty="0.005")
    assert refusal(amend) == (400, -2038, CLOSED)
    # Queries always work.
    assert [row["orderId"] for row in (await alice.ask("GET", "openOrders", symbol="BTCUSDT")).json] == ids
    assert len((await alice.get("depth", symbol="BTCUSDT")).json["bids"]) == 3
    one = await alice.ask("DELETE", "order", symbol="BTCUSDT", orderId=ids[0])
    rest = await alice.ask("DELETE", "openOrders", symbol="BTCUSDT")
    if cancels:
        assert (one.status, one.json["status"]) == (200, "CANCELED")
        assert (rest.status, len(rest.json)) == (200, 2)
    else:
        assert refusal(one) == refusal(rest) == (400, -2011, CLOSED)
        await put(venue, "TRADING")
        assert len((await alice.ask("DELETE", "openOrders", symbol="BTCUSDT")).json) == 3
    assert venue.replica.exchange.open_order_count == 0


async def test_the_whole_exchange_at_once(venue: Venue, alice: Client) -> None:
    markets = [market["name"] for market in await put(venue, "HALT", "/admin/state")]
    assert markets == ["BTCUSDT", "ETHUSDT", "ETHBTC"]
    for symbol in markets:
        assert refusal(await alice.place(symbol=symbol, price="100", quantity="1")) == (400, -2010, CLOSED)
    await put(venue, "TRADING", "/admin/state", markets=["BTCUSDT", "ETHBTC"])
    assert {row["symbol"]: row["status"] for row in (await alice.get("exchangeInfo")).json["symbols"]} == {
        "BTCUSDT": "TRADING", "ETHUSDT": "HALT", "ETHBTC": "TRADING",
    }  # fmt: skip
    for body, code in (({"state": "SHUT"}, -1130), ({"state": "HALT", "markets": ["NOSUCH"]}, -1121), ({}, -1130)):
        answer = await venue.admin("PUT", "/admin/state", body)
        assert (answer.status, answer.json["code"]) == (400, code)
    first = await venue.admin("PUT", "/admin/state", {"state": "BREAK"}, "Idempotency-Key: a")
    sequence = venue.replica.exchange.sequence
    again = await venue.admin("PUT", "/admin/state", {"state": "BREAK"}, "Idempotency-Key: a")
    assert (first.body, venue.replica.exchange.sequence) == (again.body, sequence)


async def test_symbol_status(venue: Venue, alice: Client) -> None:
    await put(venue, "CANCEL_ONLY")
    by_status = {"TRADING": ["ETHUSDT"], "CANCEL_ONLY": ["BTCUSDT"], "HALT": ["ETHBTC"], "BREAK": []}
    for status, expected in by_status.items():
        answer = await alice.get("exchangeInfo", symbolStatus=status)
        assert [row["symbol"] for row in answer.json["symbols"]] == expected
        for path in ("ticker/price", "ticker/bookTicker", "ticker/24hr"):
            assert [row["symbol"] for row in (await alice.get(path, symbolStatus=status)).json] == expected, path
    wrong = (400, -1122, "Invalid symbolStatus.")
    mismatch = (400, -1220, "The symbol's status does not match the requested symbolStatus.")
    for path in ("depth", "ticker/price", "ticker/bookTicker", "ticker/24hr", "ticker"):
        assert refusal(await alice.get(path, symbol="BTCUSDT", symbolStatus="OPEN")) == wrong
        assert refusal(await alice.get(path, symbol="BTCUSDT", symbolStatus="TRADING")) == mismatch
        assert (await alice.get(path, symbol="BTCUSDT", symbolStatus="CANCEL_ONLY")).status == 200
    assert refusal(await alice.get("exchangeInfo", symbol="BTCUSDT", symbolStatus="HALT"))[:2] == (400, -1128)


async def test_kill(venue: Venue, alice: Client, bob: Client) -> None:
    await resting(bob, price="19000")
    await bob.place(side="SELL", quantity="0.004", price="21000")
    first = await resting(alice, price="21000", quantity="0.01")
    stop = await resting(alice, type="STOP_LOSS_LIMIT", stopPrice="25000", price="26000", side="BUY")
    other = await resting(alice, symbol="ETHUSDT", price="1000", quantity="1")
    await put(venue, "HALT")
    answer = await venue.admin("POST", "/admin/accounts/1/kill", {"market": "BTCUSDT"})
    assert (answer.status, answer.json["killed_orders"], answer.json["open_orders"]) == (200, 2, 1)
    assert answer.json["permissions"] == ["trade", "deposit", "withdraw"]
    for order_id, executed in ((first, "0.00400000"), (stop, "0.00000000")):
        row = (await alice.ask("GET", "order", symbol="BTCUSDT", orderId=order_id)).json
        assert (row["status"], row["expiryReason"], row["executedQty"]) == ("EXPIRED", "EXCHANGE_CANCELED", executed)
    everywhere = await venue.admin("POST", "/admin/accounts/1/kill", {"close": True})
    assert (everywhere.json["killed_orders"], everywhere.json["permissions"]) == (1, ["deposit", "withdraw"])
    row = (await alice.ask("GET", "order", symbol="ETHUSDT", orderId=other)).json
    assert (row["status"], row["expiryReason"]) == ("EXPIRED", "EXCHANGE_CANCELED")
    closed = (400, -2010, "This account may not place or cancel orders.")
    assert refusal(await alice.place(symbol="ETHUSDT", price="1000", quantity="1")) == closed
    nothing = await venue.admin("POST", "/admin/accounts/1/kill", {})
    assert (nothing.status, nothing.json["killed_orders"]) == (200, 0)
    assert [row["locked"] for row in nothing.json["balances"] if float(row["locked"])] == []
    assert len((await bob.ask("GET", "openOrders")).json) == 1, "nobody else's orders leave"


async def test_kill_twice_under_one_idempotency_key(venue: Venue, alice: Client) -> None:
    await resting(alice)
    first = await venue.admin("POST", "/admin/accounts/1/kill", {}, "Idempotency-Key: k")
    await resting(alice, price="20001")
    again = await venue.admin("POST", "/admin/accounts/1/kill", {}, "Idempotency-Key: k")
    assert (first.json["killed_orders"], first.body) == (1, again.body)
    assert venue.replica.exchange.open_order_count == 1
    # The process that answered has forgotten it: the log has not.
    venue.door.admin._remembered.clear()  # type: ignore[union-attr]
    assert (await venue.admin("POST", "/admin/accounts/1/kill", {}, "Idempotency-Key: k")).json["killed_orders"] == 1
    assert venue.replica.exchange.open_order_count == 1


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/admin/accounts/99/kill", {}, -1130),
        ("/admin/accounts/1/kill", {"market": "NOSUCH"}, -1121),
        ("/admin/accounts/1/kill", {"close": "yes"}, -1130),
        ("/admin/accounts/1/kill", {"orders": 1}, -1130),
    ],
)
async def test_wrong_kills(venue: Venue, path: str, body: dict[str, Any], code: int) -> None:
    assert (await venue.admin("POST", path, body)).json["code"] == code


async def test_trade_groups(venue: Venue, alice: Client, bob: Client) -> None:
    """Accounts of one group do not trade with each other; TRANSFER moves base and quote between them instead."""
    for number in (1, 2):
        answer = await venue.admin("PATCH", f"/admin/accounts/{number}", {"trade_group": 5})
        assert answer.json["trade_group"] == 5
    assert (await alice.ask("GET", "account")).json["tradeGroupId"] == 5
    maker = await resting(bob, selfTradePreventionMode="TRANSFER", quantity="0.03")
    before = {row["asset"]: row["free"] for row in (await alice.ask("GET", "account")).json["balances"]}
    answer = await alice.place(side="SELL", quantity="0.01", selfTradePreventionMode="TRANSFER")
    shown = answer.json
    assert (shown["status"], shown["fills"], shown["tradeGroupId"], shown["preventedQuantity"]) == (
        "EXPIRED_IN_MATCH", [], 5, "0.01000000",
    )  # fmt: skip
    assert shown["preventedMatches"] == [
        {
            "preventedMatchId": 1, "makerSymbol": "BTCUSDT", "makerOrderId": maker, "price": "20000.00000000",
            "takerPreventedQuantity": "0.01000000", "makerPreventedQuantity": "0.01000000",
        }
    ]  # fmt: skip
    after = {row["asset"]: row["free"] for row in (await alice.ask("GET", "account")).json["balances"]}
    assert float(after["USDT"]) - float(before["USDT"]) == 200
    assert round(float(before["BTC"]) - float(after["BTC"]), 8) == 0.01
    row = (await bob.ask("GET", "order", symbol="BTCUSDT", orderId=maker)).json
    assert (row["status"], row["executedQty"], row["preventedQuantity"], row["preventedMatchId"]) == (
        "NEW", "0.00000000", "0.01000000", 1,
    )  # fmt: skip
    assert (await bob.ask("GET", "myTrades", symbol="BTCUSDT")).json == []
    taken = await alice.place(side="SELL", quantity="0.01", selfTradePreventionMode="DECREMENT")
    assert taken.json["status"] == "EXPIRED_IN_MATCH"
    await venue.admin("PATCH", "/admin/accounts/2", {"trade_group": 0})
    assert (await alice.place(side="SELL", quantity="0.01")).json["status"] == "FILLED"
    assert "tradeGroupId" not in (await bob.ask("GET", "account")).json


async def test_filters_that_count(alice: Client, venue: Venue) -> None:
    market = {
        **DOCUMENT["markets"][0], "name": "BTC2USDT", "base": "BTC", "iceberg_orders_max": 1, "algo_orders_max": 1,
        "position_max": "101", "orders_max": 4, "multiplier_up": "2", "multiplier_down": "0.5",
    }  # fmt: skip
    assert (await venue.admin("POST", "/admin/markets", market)).status == 200

    async def place(**parameters: Any) -> Any:
        return await alice.place(symbol="BTC2USDT", **parameters)

    assert (await place(icebergQty="0.005")).status == 200
    assert refusal(await place(icebergQty="0.006")) == (400, -1013, "Filter failure: MAX_NUM_ICEBERG_ORDERS")
    stop = {"type": "STOP_LOSS_LIMIT", "stopPrice": "25000", "price": "26000"}
    assert (await place(**stop)).status == 200
    again = {**stop, "price": "26001"}  # the very same bytes in the same millisecond would be one request
    assert refusal(await place(**again)) == (400, -1013, "Filter failure: MAX_NUM_ALGO_ORDERS")
    assert refusal(await place(quantity="0.98001")) == (400, -1013, "Filter failure: MAX_POSITION")
    assert (await place(quantity="0.98")).status == 200
    assert (await place(side="SELL", price="20001")).status == 200
    assert refusal(await place(side="SELL", price="20002")) == (400, -1013, "Filter failure: MAX_NUM_ORDERS")
    bob = await venue.client("b" * 64)
    assert (await bob.place(symbol="BTC2USDT", price="20001", quantity="0.001")).status == 200, "an average of 20001"
    for price in ("10000", "40003"):
        assert refusal(await bob.place(symbol="BTC2USDT", price=price)) == (400, -1013, "Filter failure: PERCENT_PRICE")
    filters = (await alice.get("exchangeInfo", symbol="BTC2USDT")).json["symbols"][0]["filters"]
    assert [one["filterType"] for one in filters] == [
        "PRICE_FILTER", "LOT_SIZE", "ICEBERG_PARTS", "MARKET_LOT_SIZE", "PERCENT_PRICE", "NOTIONAL", "MAX_POSITION",
        "MAX_NUM_ORDERS", "MAX_NUM_ALGO_ORDERS", "MAX_NUM_ICEBERG_ORDERS", "MAX_NUM_ORDER_AMENDS",
    ]  # fmt: skip
    assert filters[4] == {
        "filterType": "PERCENT_PRICE", "multiplierUp": "2", "multiplierDown": "0.5", "avgPriceMins": 5,
    }  # fmt: skip
    mine = await alice.ask("GET", "myFilters", symbol="BTC2USDT")
    assert mine.json == {"exchangeFilters": [], "symbolFilters": filters, "assetFilters": []}
    assert refusal(await alice.ask("GET", "myFilters", symbol="NOSUCH"))[:2] == (400, -1121)


async def test_the_rules_of_an_old_log_are_activated_once(tmp_path: Path) -> None:
    """A log that began with version 1 gets version 2 at the next start, and icebergs with it; its past stays."""
    first = records.configure(accounts_max=8, orders_max=64, assets_max=4, markets_max=4, rules_version=1)
    document = convert(DOCUMENT | {"limits": {}}, SeedDocument)
    environment = RealEnvironment()
    old = Replica(
        open_log(f"sqlite:///{tmp_path}", environment), environment, folder=tmp_path,
        settings=ReplicaSettings(snapshot_fork=False),
    )  # fmt: skip
    await old.start()
    one = document.markets[0].command({"BTC": (1, 8), "USDT": (2, 8)})
    modes_of_then = one[:3] + bytes([0b1111]) + one[4:]
    account = document.accounts[0]
    setup = [first, *(asset.command() for asset in document.assets[:2]), modes_of_then, account.command()]
    for command in (*setup, account.deposits(1, {"BTC": (1, 8), "USDT": (2, 8), "ETH": (1, 8)})):
        outcome = await old.execute(command)
        assert all(event.kind != EventKind.REJECTED for event in outcome.events)
    await old.execute(old.registry.key_note(ALICE, 1, "hmac", b"A" * 64))
    market = old.registry.markets["BTCUSDT"]
    assert (old.exchange.rules, market.takes_icebergs) == (1, False)
    await old.stop()
    await old.log.close()
    sequences = []
    for _ in range(2):
        venue = Venue(f"sqlite:///{tmp_path}", tmp_path)
        venue.document = {}
        await venue.start()
        try:
            assert venue.replica.exchange.rules == records.RULES_VERSION
            sequences.append(venue.replica.exchange.sequence)
            alice = await venue.client(ALICE)
            info = (await alice.get("exchangeInfo")).json["symbols"][0]
            assert (info["icebergAllowed"], info["cancelReplaceAllowed"]) == (True, True)
            placed = await alice.place(icebergQty="0.005")
            assert (placed.status, placed.json["icebergQty"]) == (200, "0.00500000")
            assert venue.calm()
        finally:
            await venue.stop()
    assert sequences[1] == sequences[0] + 1, "the second start logged no RULES, only the order in between"


async def test_a_log_that_others_write_too_keeps_its_rules(venue: Venue) -> None:
    """Another writer may be of a build that does not know the new ones."""

    class Log:
        def __init__(self, exclusive: bool) -> None:
            self.exclusive = exclusive

    class Stand:
        def __init__(self, exclusive: bool) -> None:
            self.exchange = type("Exchange", (), {"rules": 1})()
            self.log = Log(exclusive)
            self.given: list[bytes] = []

        async def execute(self, commands: bytes) -> Any:
            self.given.append(commands)
            return await venue.replica.execute(commands)

    shared, alone = Stand(False), Stand(True)
    assert not await seed._activate_rules(shared)  # type: ignore[arg-type]
    assert shared.given == []
    assert await seed._activate_rules(alone)  # type: ignore[arg-type]
    assert alone.given == [records.rules(records.RULES_VERSION)]
