# SPDX-License-Identifier: Apache-2.0
"""binance_api.md §8.2: what the owner of an order hears of each action, in which order, and with which numbers."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.wire_rules.conftest import Opener
from tests.wire_rules.room import Room, Trader, position, story, text


def pair(room: Room) -> tuple[Trader, Trader]:
    return room.traders["alice"], room.traders["bob"]


async def test_8_2_limit_rests_new_then_position_with_the_lock(room: Room) -> None:
    alice, _ = pair(room)
    events = await alice.watch()
    placed = await alice.limit("BUY", "0.5", "100", newClientOrderId="resting")
    new, locked = heard = await events.take()
    assert story(heard) == ["NEW NEW", "position"]
    time = placed["transactTime"]
    assert new == {
        "e": "executionReport", "E": time, "s": room.symbol, "c": "resting", "S": "BUY", "o": "LIMIT", "f": "GTC",
        "q": "0.50000000", "p": "100.00000000", "P": "0.00000000", "F": "0.00000000", "g": -1, "C": "", "x": "NEW",
        "X": "NEW", "r": "NONE", "i": placed["orderId"], "l": "0.00000000", "z": "0.00000000", "L": "0.00000000",
        "n": "0", "N": None, "T": time, "t": -1, "I": new["I"], "w": True, "m": False, "M": False, "O": time,
        "Z": "0.00000000", "Y": "0.00000000", "Q": "0.00000000", "W": time, "V": "EXPIRE_MAKER",
    }  # fmt: skip
    assert locked["u"] == locked["E"] == time
    assert position(locked) == {"USDT": ("999950.00000000", "50.00000000")}, "only what may have changed"


async def test_8_2_market_takes_new_then_trades_then_expired_then_one_position(room: Room) -> None:
    """The documented sample: the book is too thin for a MARKET order."""
    alice, bob = pair(room)
    await alice.limit("SELL", "0.3", "100")
    await alice.limit("SELL", "0.2", "101")
    events = await bob.watch()
    placed = await bob.market("BUY", "1")
    heard = await events.take()
    assert story(heard) == [
        "NEW NEW", "TRADE PARTIALLY_FILLED", "TRADE PARTIALLY_FILLED", "EXPIRED EXPIRED", "position",
    ]  # fmt: skip
    new, first, second, expired, moved = heard
    assert (new["w"], first["w"], second["w"], expired["w"]) == (True, False, False, False)
    assert [e["z"] for e in heard[:4]] == ["0.00000000", "0.30000000", "0.50000000", "0.50000000"]
    assert [e["Z"] for e in heard[:4]] == ["0.00000000", "30.00000000", "50.20000000", "50.20000000"]
    assert {e["T"] for e in heard[:4]} == {placed["transactTime"]}, "one engine step has one time"
    assert (expired["l"], expired["L"], expired["t"], expired["eR"]) == (
        "0.00000000", "0.00000000", -1, "INSUFFICIENT_LIQUIDITY",
    )  # fmt: skip
    assert (first["n"], first["N"], second["n"]) == ("0.00060000", "BTC", "0.00040000")
    assert {e["f"] for e in heard[:4]} == {"GTC"}
    assert position(moved) == {"BTC": ("100.49900000", "0.00000000"), "USDT": ("999949.80000000", "0.00000000")}
    assert placed["status"] == "EXPIRED"


async def test_8_2_limit_takes_new_then_trades_until_filled_then_one_position(room: Room) -> None:
    alice, bob = pair(room)
    await alice.limit("BUY", "0.3", "100")
    await alice.limit("BUY", "0.2", "99")
    events = await bob.watch()
    await bob.limit("SELL", "0.5", "99")
    heard = await events.take()
    assert story(heard) == ["NEW NEW", "TRADE PARTIALLY_FILLED", "TRADE FILLED", "position"]
    assert [e["m"] for e in heard[:3]] == [False] * 3
    assert heard[1]["I"] < heard[2]["I"]
    assert heard[2]["t"] == heard[1]["t"] + 1


async def test_8_2_limit_takes_and_its_rest_stays_new_then_trade_then_one_position(room: Room) -> None:
    alice, bob = pair(room)
    await alice.limit("SELL", "0.3", "100")
    events = await bob.watch()
    placed = await bob.limit("BUY", "1", "100")
    heard = await events.take()
    assert story(heard) == ["NEW NEW", "TRADE PARTIALLY_FILLED", "position"]
    assert heard[1]["w"] is True
    assert position(heard[2])["USDT"] == ("999900.00000000", "70.00000000")
    assert placed["status"] == "PARTIALLY_FILLED"


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"timeInForce": "IOC"}, "UNFILLED_IOC_QUANTITY_EXPIRED"),
        ({"timeInForce": "FOK"}, "UNFILLED_FOK_ORDER_EXPIRED"),
    ],
)
async def test_8_2_ioc_and_fok_without_a_fill_new_then_expired(room: Room, more: dict[str, Any], reason: str) -> None:
    """No balance has changed, so there is no position."""
    alice, bob = pair(room)
    await alice.limit("SELL", "0.3", "101")
    events = await bob.watch()
    placed = await bob.limit("BUY", "1", "100", **more)
    heard = await events.take()
    assert story(heard) == ["NEW NEW", "EXPIRED EXPIRED"]
    assert heard[1]["eR"] == reason
    assert placed["status"] == "EXPIRED"
    assert placed["fills"] == []


async def test_8_2_ioc_new_then_trade_then_expired_then_one_position(room: Room) -> None:
    alice, bob = pair(room)
    await alice.limit("SELL", "0.3", "100")
    events = await bob.watch()
    await bob.limit("BUY", "1", "100", timeInForce="IOC")
    heard = await events.take()
    assert story(heard) == ["NEW NEW", "TRADE PARTIALLY_FILLED", "EXPIRED EXPIRED", "position"]
    assert heard[2]["eR"] == "UNFILLED_IOC_QUANTITY_EXPIRED"
    assert position(heard[3])["USDT"] == ("999970.00000000", "0.00000000")


async def test_8_2_fok_that_the_book_cannot_fill_trades_nothing(room: Room) -> None:
    alice, bob = pair(room)
    await alice.limit("SELL", "0.3", "100")
    theirs, ours = await alice.watch(), await bob.watch()
    await bob.limit("BUY", "0.301", "100", timeInForce="FOK")
    assert story(await ours.take()) == ["NEW NEW", "EXPIRED EXPIRED"]
    assert await theirs.take() == []
    await bob.limit("BUY", "0.3", "100", timeInForce="FOK")
    assert story(await ours.take()) == ["NEW NEW", "TRADE FILLED", "position"]


async def test_8_2_market_by_quote_quantity_spends_what_buys_whole_steps(room: Room) -> None:
    alice, bob = pair(room)
    await alice.limit("SELL", "5", "100")
    events = await bob.watch()
    placed = await bob.market("BUY", quoteOrderQty="50.05")
    heard = await events.take()
    assert story(heard) == ["NEW NEW", "TRADE FILLED", "position"]
    assert (heard[1]["l"], heard[1]["Y"], heard[1]["Q"]) == ("0.50000000", "50.00000000", "50.05000000")
    assert position(heard[2])["USDT"] == ("999950.00000000", "0.00000000"), "the five cents were never spent"
    assert placed["status"] == "FILLED"


async def test_8_2_maker_filled_trade_then_position(room: Room) -> None:
    alice, bob = pair(room)
    placed = await alice.limit("SELL", "0.5", "100")
    events = await alice.watch()
    await bob.limit("BUY", "0.2", "100")
    part, moved = heard = await events.take()
    assert story(heard) == ["TRADE PARTIALLY_FILLED", "position"]
    assert (part["i"], part["m"], part["w"], part["l"], part["z"]) == (
        placed["orderId"], True, True, "0.20000000", "0.20000000",
    )  # fmt: skip
    assert (part["n"], part["N"]) == ("0.02000000", "USDT")
    assert position(moved) == {"BTC": ("99.50000000", "0.30000000"), "USDT": ("1000019.98000000", "0.00000000")}
    await bob.market("BUY", "0.3")
    whole, moved = heard = await events.take()
    assert story(heard) == ["TRADE FILLED", "position"]
    assert (whole["z"], whole["w"]) == ("0.50000000", False)
    assert position(moved)["BTC"] == ("99.50000000", "0.00000000")


async def test_8_2_one_taker_fills_two_orders_of_a_maker_trades_then_one_position(room: Room) -> None:
    alice, bob = pair(room)
    await alice.limit("SELL", "0.5", "100")
    await alice.limit("SELL", "0.5", "100")
    events = await alice.watch()
    await bob.limit("BUY", "1", "100")
    assert story(await events.take()) == ["TRADE FILLED", "TRADE FILLED", "position"]


async def test_8_2_cancel_canceled_with_both_ids_then_position(room: Room) -> None:
    alice, _ = pair(room)
    placed = await alice.limit("BUY", "0.5", "100", newClientOrderId="own")
    events = await alice.watch()
    answer = await alice.cancel(placed["orderId"], newClientOrderId="of-the-cancel")
    canceled, unlocked = heard = await events.take()
    assert story(heard) == ["CANCELED CANCELED", "position"]
    assert (canceled["c"], canceled["C"], canceled["w"]) == ("of-the-cancel", "own", False)
    assert (answer["clientOrderId"], answer["origClientOrderId"]) == ("of-the-cancel", "own")
    assert position(unlocked) == {"USDT": ("1000000.00000000", "0.00000000")}


async def test_8_2_cancel_without_an_id_the_report_shows_the_id_of_the_answer(room: Room) -> None:
    alice, _ = pair(room)
    placed = await alice.limit("BUY", "0.5", "100")
    events = await alice.watch()
    answer = await alice.cancel(placed["orderId"])
    canceled = (await events.take())[0]
    assert (canceled["c"], canceled["C"]) == (answer["clientOrderId"], placed["clientOrderId"])
    assert len(answer["clientOrderId"]) == 22


async def test_8_2_cancel_all_each_order_canceled_then_one_position(room: Room) -> None:
    alice, _ = pair(room)
    ids = [(await alice.limit("BUY", "0.5", price))["orderId"] for price in ("100", "99", "98")]
    ids.append((await alice.limit("SELL", "0.5", "102"))["orderId"])
    events = await alice.watch()
    await alice.ask("DELETE", "openOrders")
    heard = await events.take()
    assert story(heard) == ["CANCELED CANCELED"] * 4 + ["position"]
    assert [e["i"] for e in heard[:4]] == ids
    assert position(heard[4]) == {"USDT": ("1000000.00000000", "0.00000000"), "BTC": ("100.00000000", "0.00000000")}


@pytest.mark.parametrize(
    ("order", "code"),
    [
        ({"side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.0005", "price": "100"}, -1013),
        ({"side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.001", "price": "100"}, -1013),
        ({"side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "5000", "price": "10000"}, -2010),
        ({"side": "SELL", "type": "MARKET", "quantity": "101"}, -2010),
        ({"side": "BUY", "type": "LIMIT_MAKER", "quantity": "0.1", "price": "100"}, -2010),
        ({"side": "BUY", "type": "STOP_LOSS", "quantity": "0.1", "stopPrice": "90"}, -2010),
        (
            {"side": "SELL", "type": "LIMIT", "timeInForce": "GTC", "quantity": "1", "price": "200",
             "newClientOrderId": "there"},
            -2010,
        ),
    ],
    ids=["lot size", "notional", "balance", "balance of a market order", "would match", "would trigger", "duplicate"],
)  # fmt: skip
async def test_8_2_reject_before_the_book_nothing_but_the_answer(room: Room, order: dict[str, Any], code: int) -> None:
    alice, bob = pair(room)
    await bob.limit("SELL", "1", "100")
    await alice.limit("BUY", "0.1", "100")
    await alice.limit("SELL", "1", "150", newClientOrderId="there")
    theirs, ours = await bob.watch(), await alice.watch()
    before = await alice.balances()
    refusal = await alice.refused("POST", "order", **order)
    assert (refusal.status, refusal.code) == (400, code)
    assert await ours.take() == []
    assert await theirs.take() == []
    assert await alice.balances() == before


async def test_8_2_stop_placed_new_that_is_not_working_then_position_with_the_lock(room: Room) -> None:
    alice, bob = pair(room)
    await alice.limit("SELL", "0.1", "100")
    await bob.limit("BUY", "0.1", "100")
    events = await bob.watch()
    placed = await bob.place("BUY", "STOP_LOSS_LIMIT", timeInForce="GTC", quantity="1", price="111", stopPrice="110")
    new, locked = heard = await events.take()
    assert story(heard) == ["NEW NEW", "position"]
    assert (new["o"], new["P"], new["p"], new["w"]) == ("STOP_LOSS_LIMIT", "110.00000000", "111.00000000", False)
    assert "W" not in new
    assert position(locked) == {"USDT": ("999879.00000000", "111.00000000")}
    found = await bob.order(placed["orderId"])
    assert (found["status"], found["isWorking"], found["workingTime"]) == ("NEW", False, -1)


async def test_8_2_stop_triggers_a_further_new_that_works_then_trades_then_position(room: Room) -> None:
    alice, bob = pair(room)
    carol = await room.add("carol")
    await alice.limit("SELL", "0.1", "100")
    await bob.limit("BUY", "0.1", "100")
    placed = await bob.place("BUY", "STOP_LOSS", quantity="1", stopPrice="110")
    await alice.limit("SELL", "0.1", "110")
    await alice.limit("SELL", "0.4", "112")
    await alice.limit("SELL", "0.6", "113")
    events = await bob.watch()
    answer = await carol.limit("BUY", "0.1", "110")
    heard = await events.take()
    assert story(heard) == ["NEW NEW", "TRADE PARTIALLY_FILLED", "TRADE FILLED", "position"]
    triggered = heard[0]
    assert (triggered["i"], triggered["w"], triggered["x"]) == (placed["orderId"], True, "NEW")
    assert triggered["W"] == triggered["T"] == answer["transactTime"]
    assert [e["w"] for e in heard[1:3]] == [False, False], "what it triggers is a MARKET order"
    assert [e["L"] for e in heard[1:3]] == ["112.00000000", "113.00000000"]


async def test_8_2_stop_limit_that_triggers_and_rests_a_further_new_with_w_and_the_time(room: Room) -> None:
    alice, bob = pair(room)
    carol = await room.add("carol")
    await alice.limit("SELL", "0.1", "100")
    await bob.limit("BUY", "0.1", "100")
    placed = await bob.place("SELL", "STOP_LOSS_LIMIT", timeInForce="GTC", quantity="1", price="95", stopPrice="90")
    events = await bob.watch()
    await alice.limit("BUY", "0.1", "90")
    assert await events.take() == [], "nothing has traded at the stop yet"
    answer = await carol.limit("SELL", "0.1", "90")
    heard = await events.take()
    assert story(heard) == ["NEW NEW", "position"], "its lock was given back and taken again"
    assert (heard[0]["i"], heard[0]["w"], heard[0]["W"]) == (placed["orderId"], True, answer["transactTime"])
    found = await bob.order(placed["orderId"])
    assert (found["status"], found["isWorking"], found["workingTime"]) == ("NEW", True, answer["transactTime"])


async def test_8_2_amend_replaced_with_both_ids_then_position(room: Room) -> None:
    alice, _ = pair(room)
    placed = await alice.limit("BUY", "1", "100", newClientOrderId="first")
    events = await alice.watch()
    answer = await alice.ask(
        "PUT", "order/amend/keepPriority", orderId=placed["orderId"], newQty="0.4", newClientOrderId="second"
    )
    replaced, unlocked = heard = await events.take()
    assert story(heard) == ["REPLACED NEW", "position"]
    assert (replaced["c"], replaced["C"], replaced["q"], replaced["w"]) == ("second", "first", "0.40000000", True)
    assert replaced["I"] == answer["executionId"]
    assert position(unlocked) == {"USDT": ("999960.00000000", "40.00000000")}


async def test_8_2_amend_to_what_is_executed_expired_then_position(room: Room) -> None:
    alice, bob = pair(room)
    placed = await alice.limit("BUY", "1", "100")
    await bob.limit("SELL", "0.4", "100")
    events = await alice.watch()
    await alice.ask("PUT", "order/amend/keepPriority", orderId=placed["orderId"], newQty="0.4")
    expired, unlocked = heard = await events.take()
    assert story(heard) == ["EXPIRED EXPIRED", "position"]
    assert (expired["q"], expired["z"], expired["w"]) == ("0.40000000", "0.40000000", False)
    assert position(unlocked)["USDT"] == ("999960.00000000", "0.00000000")


async def test_8_2_cancel_replace_canceled_and_new_each_before_its_position(room: Room) -> None:
    alice, _ = pair(room)
    placed = await alice.limit("BUY", "1", "100", newClientOrderId="old")
    events = await alice.watch()
    answer = await alice.ask(
        "POST", "order/cancelReplace", side="BUY", type="LIMIT", timeInForce="GTC", quantity="2", price="90",
        cancelReplaceMode="STOP_ON_FAILURE", cancelOrderId=placed["orderId"], newClientOrderId="new",
        cancelNewClientOrderId="of-the-cancel",
    )  # fmt: skip
    heard = await events.take()
    reports = [e for e in heard if e["e"] == "executionReport"]
    assert story(reports) == ["CANCELED CANCELED", "NEW NEW"]
    assert (reports[0]["c"], reports[0]["C"]) == ("of-the-cancel", "old")
    assert (reports[1]["c"], reports[1]["C"]) == ("new", "")
    assert reports[0]["T"] == reports[1]["T"], "one engine step"
    assert story(heard)[-1] == "position"
    assert position(heard[-1]) == {"USDT": ("999820.00000000", "180.00000000")}
    assert (answer["cancelResult"], answer["newOrderResult"]) == ("SUCCESS", "SUCCESS")
    assert answer["newOrderResponse"]["orderId"] == reports[1]["i"]


async def test_8_2_cancel_replace_whose_new_half_fails_canceled_then_rejected(room: Room) -> None:
    """The rule's own example of x=REJECTED. The order never was: it has no id, and no balance moves for it."""
    alice, _ = pair(room)
    placed = await alice.limit("BUY", "1", "100", newClientOrderId="old")
    events = await alice.watch()
    refusal = await alice.refused(
        "POST", "order/cancelReplace", side="BUY", type="LIMIT", timeInForce="GTC", quantity="9999", price="10000",
        cancelReplaceMode="STOP_ON_FAILURE", cancelOrderId=placed["orderId"], newClientOrderId="new",
    )  # fmt: skip
    assert (refusal.status, refusal.code) == (409, -2021)
    heard = await events.take()
    reports = [e for e in heard if e["e"] == "executionReport"]
    assert story(reports) == ["CANCELED CANCELED", "REJECTED REJECTED"]
    rejected = reports[1]
    assert (rejected["c"], rejected["r"], rejected["i"]) == ("new", "INSUFFICIENT_BALANCES", -1)
    assert (rejected["q"], rejected["p"], rejected["w"]) == ("9999.00000000", "10000.00000000", False)
    assert [position(e) for e in heard if e["e"] != "executionReport"] == [
        {"USDT": ("1000000.00000000", "0.00000000")}
    ]


async def test_8_2_cancel_replace_that_stops_on_failure_nothing(room: Room) -> None:
    alice, _ = pair(room)
    await alice.limit("BUY", "1", "100")
    events = await alice.watch()
    refusal = await alice.refused(
        "POST", "order/cancelReplace", side="BUY", type="LIMIT", timeInForce="GTC", quantity="1", price="90",
        cancelReplaceMode="STOP_ON_FAILURE", cancelOrderId=987654321,
    )  # fmt: skip
    assert (refusal.status, refusal.code) == (400, -2022)
    assert await events.take() == []


async def test_8_2_cancel_replace_that_allows_failure_only_the_new_order(room: Room) -> None:
    alice, _ = pair(room)
    events = await alice.watch()
    refusal = await alice.refused(
        "POST", "order/cancelReplace", side="BUY", type="LIMIT", timeInForce="GTC", quantity="1", price="90",
        cancelReplaceMode="ALLOW_FAILURE", cancelOrderId=987654321,
    )  # fmt: skip
    assert (refusal.status, refusal.code) == (409, -2021)
    heard = await events.take()
    assert story(heard) == ["NEW NEW", "position"]


async def test_8_2_iceberg_each_slice_is_one_more_trade_of_the_maker(room: Room) -> None:
    alice, bob = pair(room)
    events = await alice.watch()
    await alice.limit("SELL", "1", "100", icebergQty="0.3")
    new, locked = await events.take()
    assert (new["F"], new["q"]) == ("0.30000000", "1.00000000")
    assert position(locked) == {"BTC": ("99.00000000", "1.00000000")}, "the lock holds what is hidden too"
    await bob.limit("BUY", "0.8", "100")
    heard = await events.take()
    assert story(heard) == ["TRADE PARTIALLY_FILLED"] * 3 + ["position"]
    assert [e["l"] for e in heard[:3]] == ["0.30000000", "0.30000000", "0.20000000"]
    assert all(e["w"] for e in heard[:3])


async def test_8_2_kill_each_order_expired_by_the_exchange_then_one_position(room: Room) -> None:
    alice, _ = pair(room)
    ids = [(await alice.limit("BUY", "0.5", price))["orderId"] for price in ("100", "99")]
    events = await alice.watch()
    await room.admin("POST", f"/admin/accounts/{alice.account}/kill", {})
    heard = await events.take()
    assert story(heard) == ["EXPIRED EXPIRED"] * 2 + ["position"]
    assert [e["i"] for e in heard[:2]] == ids
    assert {e["eR"] for e in heard[:2]} == {"EXCHANGE_CANCELED"}
    assert position(heard[2]) == {"USDT": ("1000000.00000000", "0.00000000")}


async def test_8_deposit_and_withdrawal_balance_update_then_position(room: Room) -> None:
    alice, bob = pair(room)
    ours, theirs = await alice.watch(), await bob.watch()
    await room.admin("POST", f"/admin/accounts/{alice.account}/deposits", {"asset": "BTC", "amount": "1.5"})
    update, moved = heard = await ours.take()
    assert story(heard) == ["balance", "position"]
    assert (update["a"], update["d"]) == ("BTC", "1.50000000")
    assert update["E"] >= update["T"]
    assert position(moved) == {"BTC": ("101.50000000", "0.00000000")}
    await room.admin("POST", f"/admin/accounts/{alice.account}/withdrawals", {"asset": "BTC", "amount": "0.25"})
    update, moved = heard = await ours.take()
    assert (update["d"], position(moved)) == ("-0.25000000", {"BTC": ("101.25000000", "0.00000000")})
    assert await theirs.take() == []


async def test_8_1_quantities_of_a_report_follow_from_each_other(open_room: Opener) -> None:
    """z, Z and n of a taker are the sums of its trades; the maker's report of a trade says the same trade."""
    room = await open_room("alice", "bob")
    alice, bob = pair(room)
    for number in range(5):
        await alice.limit("SELL", f"0.{number + 1}", 100 + number)
    theirs, ours = await alice.watch(), await bob.watch()
    await bob.limit("BUY", "1.5", "104", timeInForce="FOK")
    taken = [e for e in await ours.take() if e["e"] == "executionReport" and e["x"] == "TRADE"]
    made = [e for e in await theirs.take() if e["e"] == "executionReport"]
    filled, quote = Decimal(0), Decimal(0)
    for ours_, theirs_ in zip(taken, made, strict=True):
        filled += Decimal(ours_["l"])
        quote += Decimal(ours_["l"]) * Decimal(ours_["L"])
        assert (ours_["z"], ours_["Z"]) == (text(filled), text(quote))
        assert [ours_[key] for key in ("t", "l", "L", "Y", "T")] == [theirs_[key] for key in ("t", "l", "L", "Y", "T")]
        assert (ours_["m"], theirs_["m"]) == (False, True)
        assert ours_["I"] != theirs_["I"]
