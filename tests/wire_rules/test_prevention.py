# SPDX-License-Identifier: Apache-2.0
"""binance_api.md §8.2, the row of self-trade prevention, and §3.3: what is heard in each mode, and who keeps what."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tests.wire_rules.conftest import Opener
from tests.wire_rules.room import Room, Trader, position, story

MODES = ["NONE", "EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH", "DECREMENT", "TRANSFER"]
NOT_TRADED = ("0.00000000", "0.00000000", "0.00000000", "0", None, -1)
GONE, HERE = "TRADE_PREVENTION EXPIRED_IN_MATCH", "TRADE_PREVENTION NEW"


def traded(event: Any) -> tuple[Any, ...]:
    return tuple(event[key] for key in ("l", "L", "Y", "n", "N", "t"))


def prevented(event: Any) -> tuple[Any, ...]:
    return tuple(event[key] for key in ("pl", "pL", "pY", "A", "B"))


async def group(room: Room, *traders: Trader) -> int:
    """One trade group for them."""
    number = 1_000 + traders[0].number
    for trader in traders:
        await room.admin("PATCH", f"/admin/accounts/{trader.account}", {"trade_group": number})
    return number


async def test_8_2_stp_none_trades_with_itself_both_sides_are_reported(open_room: Opener) -> None:
    alice = (await open_room("alice")).traders["alice"]
    maker = await alice.limit("SELL", "1", "100")
    events = await alice.watch()
    taker = await alice.limit("BUY", "0.4", "100", selfTradePreventionMode="NONE")
    heard = await events.take()
    assert story(heard) == ["NEW NEW", "TRADE FILLED", "TRADE PARTIALLY_FILLED", "position"]
    assert [e["i"] for e in heard[1:3]] == [taker["orderId"], maker["orderId"]]
    assert heard[1]["t"] == heard[2]["t"]
    assert heard[1]["I"] < heard[2]["I"]
    assert [e["m"] for e in heard[1:3]] == [False, True]


async def test_8_2_stp_expire_taker_new_then_the_taker_prevented(open_room: Opener) -> None:
    room = await open_room("alice")
    alice = room.traders["alice"]
    maker = await alice.limit("SELL", "1", "100")
    events = await alice.watch()
    taker = await alice.limit("BUY", "0.4", "101", selfTradePreventionMode="EXPIRE_TAKER")
    heard = await events.take()
    assert story(heard) == ["NEW NEW", GONE]
    hit = heard[1]
    assert (hit["i"], hit["U"], hit["V"], hit["w"]) == (taker["orderId"], maker["orderId"], "EXPIRE_TAKER", False)
    assert traded(hit) == NOT_TRADED
    assert prevented(hit) == ("0.40000000", "100.00000000", "40.00000000", "0.40000000", "0.40000000")
    assert (hit["q"], hit["z"], hit["p"]) == ("0.40000000", "0.00000000", "101.00000000")
    assert (hit["v"], hit["u"], hit["Cs"]) == (1, -1, room.symbol)
    assert (taker["status"], taker["preventedMatchId"]) == ("EXPIRED_IN_MATCH", 1)
    assert (await alice.order(maker["orderId"]))["status"] == "NEW"


async def test_8_2_stp_expire_maker_each_hit_order_prevented_then_trades_then_one_position(open_room: Opener) -> None:
    room = await open_room("alice", "bob")
    alice, bob = room.traders["alice"], room.traders["bob"]
    makers = [await alice.limit("SELL", "0.5", "100"), await alice.limit("SELL", "0.2", "100")]
    await bob.limit("SELL", "0.5", "100")
    events = await alice.watch()
    taker = await alice.limit("BUY", "0.8", "100", selfTradePreventionMode="EXPIRE_MAKER")
    heard = await events.take()
    assert story(heard) == ["NEW NEW", GONE, GONE, "TRADE PARTIALLY_FILLED", "position"]
    assert [e["i"] for e in heard[1:3]] == [maker["orderId"] for maker in makers]
    assert [e["v"] for e in heard[1:3]] == [1, 2]
    assert [e["U"] for e in heard[1:3]] == [taker["orderId"]] * 2
    assert [traded(e) for e in heard[1:3]] == [NOT_TRADED] * 2
    assert position(heard[4])["BTC"] == ("100.49900000", "0.00000000"), "what the makers held is free again"
    assert taker["status"] == "PARTIALLY_FILLED"


async def test_8_2_stp_expire_both_taker_then_maker_prevented_then_position(open_room: Opener) -> None:
    alice = (await open_room("alice")).traders["alice"]
    maker = await alice.limit("SELL", "1", "100")
    events = await alice.watch()
    taker = await alice.limit("BUY", "0.4", "100", selfTradePreventionMode="EXPIRE_BOTH")
    heard = await events.take()
    assert story(heard) == ["NEW NEW", GONE, GONE, "position"]
    assert [e["i"] for e in heard[1:3]] == [taker["orderId"], maker["orderId"]]
    assert [e["v"] for e in heard[1:3]] == [1, 1], "one meeting"
    assert [prevented(e)[0] for e in heard[1:3]] == ["0.40000000", "1.00000000"]
    assert position(heard[3])["BTC"] == ("100.00000000", "0.00000000")


async def test_8_2_stp_decrement_both_prevented_the_smaller_expires_then_position(open_room: Opener) -> None:
    room = await open_room("alice", "bob", self_trade_preventions=MODES)
    alice, bob = room.traders["alice"], room.traders["bob"]
    maker = await alice.limit("SELL", "1", "100")
    depth = await room.listen("bookTicker")
    events = await alice.watch()
    taker = await alice.limit("BUY", "0.3", "100", selfTradePreventionMode="DECREMENT")
    heard = await events.take()
    assert story(heard) == ["NEW NEW", GONE, HERE, "position"]
    assert [e["i"] for e in heard[1:3]] == [taker["orderId"], maker["orderId"]]
    assert [e["v"] for e in heard[1:3]] == [1, 1]
    assert [e["w"] for e in heard[1:3]] == [False, True]
    assert [traded(e) for e in heard[1:3]] == [NOT_TRADED] * 2
    assert prevented(heard[2]) == ("0.30000000", "100.00000000", "30.00000000", "0.30000000", "0.30000000")
    assert [e["q"] for e in heard[1:3]] == ["0.30000000", "1.00000000"], "the order's own quantity stays"
    assert position(heard[3])["BTC"] == ("99.30000000", "0.70000000")
    assert (await depth.take())[-1]["A"] == "0.70000000"
    await alice.limit("BUY", "0.2", "100", selfTradePreventionMode="DECREMENT")
    heard = await events.take()
    assert prevented(heard[2]) == ("0.20000000", "100.00000000", "20.00000000", "0.50000000", "0.20000000"), "A is all"
    assert heard[2]["q"] == "1.00000000"
    await bob.limit("BUY", "0.5", "100")
    trade = (await events.take())[0]
    assert (trade["X"], trade["q"], trade["z"]) == ("FILLED", "1.00000000", "0.50000000")
    found = await alice.order(maker["orderId"])
    assert (found["status"], found["origQty"], found["executedQty"], found["preventedQuantity"]) == (
        "FILLED", "1.00000000", "0.50000000", "0.50000000",
    )  # fmt: skip


async def test_8_2_stp_decrement_the_taker_goes_on_with_the_next_order(open_room: Opener) -> None:
    room = await open_room("alice", "bob", self_trade_preventions=MODES)
    alice, bob = room.traders["alice"], room.traders["bob"]
    await alice.limit("SELL", "0.3", "100")
    await bob.limit("SELL", "0.3", "100")
    events = await alice.watch()
    taker = await alice.limit("BUY", "1", "100", selfTradePreventionMode="DECREMENT")
    heard = await events.take()
    assert story(heard) == ["NEW NEW", HERE, GONE, "TRADE PARTIALLY_FILLED", "position"]
    assert heard[3]["q"] == "1.00000000"
    assert position(heard[4])["USDT"] == ("999930.00000000", "40.00000000"), "1 - 0.3 prevented - 0.3 traded rest"
    found = await alice.order(taker["orderId"])
    available = Decimal(found["origQty"]) - Decimal(found["executedQty"]) - Decimal(found["preventedQuantity"])
    assert available == Decimal("0.4")


async def test_8_2_stp_transfer_moves_between_the_accounts_of_a_group_without_a_trade(open_room: Opener) -> None:
    room = await open_room("alice", "bob", self_trade_preventions=MODES)
    alice, bob = room.traders["alice"], room.traders["bob"]
    number = await group(room, alice, bob)
    maker = await alice.limit("SELL", "1", "100", selfTradePreventionMode="TRANSFER")
    theirs, ours, trades = await alice.watch(), await bob.watch(), await room.listen("trade")
    taker = await bob.limit("BUY", "0.4", "100", selfTradePreventionMode="TRANSFER")
    taking, making = await ours.take(), await theirs.take()
    assert story(taking) == ["NEW NEW", GONE, "position"]
    assert story(making) == [HERE, "position"]
    for event, own, other in ((taking[1], taker, maker), (making[0], maker, taker)):
        assert (event["i"], event["U"], event["u"], event["v"]) == (own["orderId"], other["orderId"], number, 1)
        assert traded(event) == NOT_TRADED
        assert prevented(event) == ("0.40000000", "100.00000000", "40.00000000", "0.40000000", "0.40000000")
    assert position(taking[2]) == {"BTC": ("100.40000000", "0.00000000"), "USDT": ("999960.00000000", "0.00000000")}
    assert position(making[1]) == {"BTC": ("99.00000000", "0.60000000"), "USDT": ("1000040.00000000", "0.00000000")}
    assert await trades.take() == []
    assert await room.get("trades") == []


async def test_8_2_stp_transfer_acts_as_decrement_unless_both_sides_ask_for_it(open_room: Opener) -> None:
    room = await open_room("alice", "bob", self_trade_preventions=MODES)
    alice, bob = room.traders["alice"], room.traders["bob"]
    await group(room, alice, bob)
    await alice.limit("SELL", "1", "100", selfTradePreventionMode="EXPIRE_MAKER")
    theirs = await alice.watch()
    await bob.limit("BUY", "0.4", "100", selfTradePreventionMode="TRANSFER")
    heard = await theirs.take()
    assert story(heard) == [HERE, "position"]
    assert position(heard[1]) == {"BTC": ("99.40000000", "0.60000000")}, "its own again, and nothing moved"
    assert (await bob.balances())["USDT"] == (Decimal(1_000_000), Decimal(0))


async def test_8_2_stp_transfer_within_one_account_is_decrement(open_room: Opener) -> None:
    room = await open_room("alice", self_trade_preventions=MODES)
    alice = room.traders["alice"]
    await alice.limit("SELL", "1", "100", selfTradePreventionMode="TRANSFER")
    events = await alice.watch()
    await alice.limit("BUY", "0.4", "100", selfTradePreventionMode="TRANSFER")
    heard = await events.take()
    assert story(heard) == ["NEW NEW", GONE, HERE, "position"]
    assert position(heard[3])["BTC"] == ("99.40000000", "0.60000000")


async def test_8_2_stp_the_takers_mode_decides(open_room: Opener) -> None:
    room = await open_room("alice")
    alice = room.traders["alice"]
    maker = await alice.limit("SELL", "1", "100", selfTradePreventionMode="EXPIRE_MAKER")
    taker = await alice.limit("BUY", "1", "100", selfTradePreventionMode="EXPIRE_TAKER")
    assert taker["status"] == "EXPIRED_IN_MATCH"
    assert (await alice.order(maker["orderId"]))["status"] == "NEW"


async def test_8_2_stp_a_mode_that_the_market_does_not_allow_is_refused(open_room: Opener) -> None:
    room = await open_room("alice", self_trade_preventions=["EXPIRE_MAKER"])
    alice = room.traders["alice"]
    events = await alice.watch()
    refusal = await alice.refused(
        "POST", "order", side="BUY", type="LIMIT", timeInForce="GTC", quantity="1", price="100",
        selfTradePreventionMode="NONE",
    )  # fmt: skip
    assert (refusal.code, refusal.message) == (
        -1013, "This symbol does not allow the specified self-trade prevention mode.",
    )  # fmt: skip
    assert await events.take() == []
