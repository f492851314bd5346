# SPDX-License-Identifier: Apache-2.0
"""binance_api.md §8.2, "What must hold": the five guarantees of user data, under seeded trading of three accounts."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from typing import Any

from tests.api.wire import request
from tests.feeds.raw import RawClient
from tests.wire_rules.conftest import Opener
from tests.wire_rules.dealing import dealers
from tests.wire_rules.room import FUNDS, Room, Trader, together

NAMES = ("alice", "bob", "carol")
REQUESTS = 80  # of each
OPEN = ("NEW", "PARTIALLY_FILLED")
NEXT = {  # status -> what may follow it
    "": {"NEW"},
    "NEW": {"NEW", "PARTIALLY_FILLED", "FILLED", "CANCELED", "EXPIRED", "EXPIRED_IN_MATCH"},
    "PARTIALLY_FILLED": {"NEW", "PARTIALLY_FILLED", "FILLED", "CANCELED", "EXPIRED", "EXPIRED_IN_MATCH"},
}


async def deal(room: Room, seed: int) -> dict[str, list[Any]]:
    """Trade, and give what each account has heard."""
    traders = [room.traders[name] for name in NAMES]
    sockets = [await trader.watch() for trader in traders]
    await together(*(dealer.deal(REQUESTS) for dealer in dealers(traders, seed)))
    heard = {trader.name: await socket.take() for trader, socket in zip(traders, sockets, strict=True)}
    assert all(len(events) > REQUESTS for events in heard.values())
    return heard


async def test_8_2_1_events_of_an_account_come_in_engine_order(open_room: Opener, seed: int) -> None:
    room = await open_room(*NAMES)
    kinds = set()
    for events in (await deal(room, seed)).values():
        time, execution = 0, 0
        statuses: dict[int, str] = defaultdict(str)
        executed: dict[int, Decimal] = defaultdict(Decimal)
        for event in events:
            assert event["E"] >= time
            time = event["E"]
            if event["e"] != "executionReport":
                continue
            number, status = event["i"], event["X"]
            kinds.add((event["x"], status))
            assert event["I"] > execution, "execution ids grow"
            execution = event["I"]
            assert status in NEXT[statuses[number]], "an order that is done is never heard of again"
            statuses[number] = status
            assert Decimal(event["z"]) == executed[number] + Decimal(event["l"])
            executed[number] = Decimal(event["z"])
    assert len(kinds) >= 7, kinds


class Ledger:
    """The balances that follow from the reports of an account, and from nothing else."""

    def __init__(self) -> None:
        self.total = {asset: Decimal(amount) for asset, amount in FUNDS.items()}
        self.open: dict[int, Any] = {}

    def report(self, event: Any) -> None:
        """One report."""
        if event["x"] == "TRADE":
            buys = event["S"] == "BUY"
            self.total["BTC"] += Decimal(event["l"]) * (1 if buys else -1)
            self.total["USDT"] -= Decimal(event["Y"]) * (1 if buys else -1)
            self.total[event["N"]] -= Decimal(event["n"])
        if event["X"] in OPEN and event["o"] != "MARKET":
            self.open[event["i"]] = event
        else:
            self.open.pop(event["i"], None)

    def locked(self, asset: str) -> Decimal:
        """What its open orders hold."""
        held = Decimal(0)
        for event in self.open.values():
            rest = Decimal(event["q"]) - Decimal(event["z"])
            if event["S"] == "SELL" and asset == "BTC":
                held += rest
            elif event["S"] == "BUY" and asset == "USDT":
                held += rest * Decimal(event["p"])
        return held


async def test_8_2_2_a_position_never_precedes_the_report_that_caused_it(open_room: Opener, seed: int) -> None:
    """Every position says, to the last digit, what follows from the reports heard so far."""
    room = await open_room(*NAMES)
    for name, events in (await deal(room, seed)).items():
        ledger, last, positions = Ledger(), {}, 0
        for event in events:
            if event["e"] == "executionReport":
                ledger.report(event)
                continue
            positions += 1
            for balance in event["B"]:
                free, locked = Decimal(balance["f"]), Decimal(balance["l"])
                assert locked == ledger.locked(balance["a"])
                assert free + locked == ledger.total[balance["a"]]
                last[balance["a"]] = (free, locked)
        assert positions > REQUESTS / 3
        assert await room.traders[name].balances() == last, "and the last one is what the account has"


async def test_8_2_3_after_the_answer_to_an_order_get_order_finds_it(open_room: Opener) -> None:
    """On another connection, at once, for an order of every end."""
    room = await open_room("alice", "bob")
    alice, bob = room.traders["alice"], room.traders["bob"]
    other = await room.wire()
    for _ in range(10):
        await bob.limit("SELL", "0.5", "101")
        for order in (
            {"side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.1", "price": "99"},
            {"side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.1", "price": "101"},
            {"side": "BUY", "type": "LIMIT", "timeInForce": "IOC", "quantity": "0.1", "price": "99"},
            {"side": "BUY", "type": "LIMIT", "timeInForce": "FOK", "quantity": "99", "price": "101"},
            {"side": "BUY", "type": "MARKET", "quantity": "0.4"},
        ):
            placed = await alice.ask("POST", "order", newOrderRespType="RESULT", **order)
            form = alice.sign({"symbol": room.symbol, "orderId": placed["orderId"]})
            found = (await alice.send_on(other, "GET", "order", form)).json
            for key in ("orderId", "clientOrderId", "status", "executedQty", "cummulativeQuoteQty", "workingTime"):
                assert found[key] == placed[key], (key, order)
            assert found["time"] == placed["transactTime"]


async def test_8_2_4_every_fill_of_an_answer_has_one_report_with_the_same_numbers(
    open_room: Opener, seed: int
) -> None:
    room = await open_room(*NAMES)
    traders = [room.traders[name] for name in NAMES]
    sockets = [await trader.watch() for trader in traders]
    dealing = dealers(traders, seed)
    await together(*(dealer.deal(REQUESTS) for dealer in dealing))
    fills = 0
    for dealer, socket in zip(dealing, sockets, strict=True):
        reports: dict[tuple[int, int], list[Any]] = defaultdict(list)
        for event in await socket.take():
            if event["e"] == "executionReport" and event["x"] == "TRADE":
                reports[event["i"], event["t"]].append(event)
        for answer in dealer.placed:
            taken = Decimal(0)
            for fill in answer["fills"]:
                (report,) = reports[answer["orderId"], fill["tradeId"]]
                assert (report["L"], report["l"], report["N"]) == (fill["price"], fill["qty"], fill["commissionAsset"])
                assert Decimal(report["n"]) == Decimal(fill["commission"])
                assert report["m"] is False
                assert report["T"] == answer["transactTime"]
                taken += Decimal(fill["qty"])
                fills += 1
            assert taken == Decimal(answer["executedQty"])
    assert fills > 30


async def test_8_2_5_every_subscription_of_the_account_hears_the_same(open_room: Opener, seed: int) -> None:
    """Two sockets, one in microseconds, and one by listen key without the envelope; a fifth hears from then on."""
    room = await open_room(*NAMES)
    alice: Trader = room.traders["alice"]
    first, second = await alice.watch(), await alice.watch()
    micro = await alice.watch("?timeUnit=MICROSECOND")
    wire = await room.wire()
    await wire.send(request("POST", "/api/v3/userDataStream", b"", f"X-MBX-APIKEY: {alice.key}"))
    legacy = await RawClient.connect(room.address.port, f"/ws/{(await wire.answer()).json['listenKey']}")
    legacy.text({"method": "LIST_SUBSCRIPTIONS", "id": 1})
    assert (await legacy.message())["id"] == 1
    dealing = dealers([room.traders[name] for name in NAMES], seed)
    await together(*(dealer.deal(40) for dealer in dealing))
    late = await alice.watch()
    begin = await first.take()
    await together(*(dealer.deal(40) for dealer in dealing))
    rest = await first.take()
    assert await second.take() == begin + rest
    assert [await legacy.message() for _ in begin + rest] == begin + rest, "bare, and otherwise the same"
    assert await late.take() == rest
    assert [in_milliseconds(event) for event in await micro.take()] == begin + rest
    assert len(begin) > 20
    assert len(rest) > 20


def in_milliseconds(event: Any) -> Any:
    """The event with its times as a connection without a time unit has them."""
    times = {"executionReport": "ETOW", "outboundAccountPosition": "Eu", "balanceUpdate": "ET"}[event["e"]]
    return {key: value // 1_000 if key in times and value > 0 else value for key, value in event.items()}


async def test_8_2_only_the_owner_hears(open_room: Opener) -> None:
    """Nothing of an account reaches a socket of another one."""
    room = await open_room(*NAMES)
    alice, bob, carol = (room.traders[name] for name in NAMES)
    sockets = [await trader.watch() for trader in (bob, carol)]
    placed = await alice.limit("SELL", "1", "100")
    assert await sockets[0].take() == await sockets[1].take() == []
    await bob.limit("BUY", "1", "100")
    heard = await sockets[0].take()
    assert {e["i"] for e in heard if e["e"] == "executionReport"}.isdisjoint({placed["orderId"]})
    assert await sockets[1].take() == []
