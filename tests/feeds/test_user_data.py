# SPDX-License-Identifier: Apache-2.0
"""User data: the sequences of binance_api.md §8.2, one test each, in process against the real kernel."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from bidhall.api.user_data import Subscription, UserData
from bidhall.core import records as r
from tests.feeds.local import Key, LocalReplica
from tests.feeds.serving import ALICE, BOB, BTC, BTCUSDT, CAROL, ETHUSDT, ONE, USDT, fund, limit

BUY, SELL = r.Side.BUY, r.Side.SELL
MS = 1_000_000


class Reader:
    """One subscription, its events as they came."""

    def __init__(self, replica: LocalReplica, user_data: UserData, account: int, unit_ns: int = MS) -> None:
        self.replica = replica
        self.events: list[Any] = []
        self.deliveries = 0
        self.over = False
        self.subscription = Subscription(account, str(account), 0, unit_ns, self._deliver, self._end)
        user_data.subscribe(self.subscription)

    def _deliver(self, _: Subscription, payloads: list[bytes]) -> None:
        self.deliveries += 1
        self.events.extend(json.loads(payload) for payload in payloads)

    def _end(self, _: Subscription) -> None:
        self.over = True

    def take(self) -> list[Any]:
        events, self.events = self.events, []
        return events

    def sequence(self) -> list[str]:
        """Taken events in short: execution type, order status or event name."""
        return [f"{e['x']}/{e['X']}" if e["e"] == "executionReport" else e["e"] for e in self.take()]


class Room:
    def __init__(self) -> None:
        self.replica = LocalReplica()
        fund(self.replica)
        self.user_data = UserData(self.replica)  # type: ignore[arg-type]
        self.replica.listeners.append(self.user_data)
        for account in (ALICE, BOB, CAROL):
            self.replica.add_key(Key(str(account), account, "hmac", secret=b"x"))

    def read(self, account: int, unit_ns: int = MS) -> Reader:
        return Reader(self.replica, self.user_data, account, unit_ns)

    def apply(self, *commands: bytes) -> Any:
        return self.replica.apply(b"".join(commands), after_ns=7 * MS)


@pytest.fixture
def room() -> Room:
    return Room()


def market_order(account: int, side: int, quantity: int = 0, quote_units: int = 0, client_id: bytes = b"m") -> bytes:
    return r.place(
        account,
        BTCUSDT,
        side,
        r.OrderType.MARKET,
        quantity_steps=quantity,
        quote_quantity_units=quote_units,
        client_id=client_id,
    )


def balances(event: Any) -> dict[str, tuple[str, str]]:
    return {balance["a"]: (balance["f"], balance["l"]) for balance in event["B"]}


def text(units: int) -> str:
    return f"{units // ONE}.{units % ONE:08d}"


def test_limit_rests_report_new_then_position_with_the_lock(room: Room) -> None:
    alice = room.read(ALICE)
    room.apply(limit(ALICE, BUY, 100, 10, b"mine"))
    report, position = alice.take()
    now = room.replica.time_ns // MS
    assert report == {
        "e": "executionReport", "E": now, "s": "BTCUSDT", "c": "mine", "S": "BUY", "o": "LIMIT", "f": "GTC",
        "q": "0.00010000", "p": "1.00000000", "P": "0.00000000", "F": "0.00000000", "g": -1, "C": "", "x": "NEW",
        "X": "NEW", "r": "NONE", "i": 1, "l": "0.00000000", "z": "0.00000000", "L": "0.00000000", "n": "0", "N": None,
        "T": now, "t": -1, "I": report["I"], "w": True, "m": False, "M": False, "O": now, "Z": "0.00000000",
        "Y": "0.00000000", "Q": "0.00000000", "W": now, "V": "EXPIRE_MAKER",
    }  # fmt: skip
    assert (position["e"], position["E"], position["u"]) == ("outboundAccountPosition", now, now)
    assert balances(position) == {"USDT": (text(10**8 * ONE - 10_000), text(10_000))}, "only what was touched"


def test_limit_takes_new_trades_then_one_position(room: Room) -> None:
    room.apply(limit(ALICE, SELL, 100, 10), limit(ALICE, SELL, 101, 10))
    bob = room.read(BOB)
    room.apply(limit(BOB, BUY, 101, 15, b"taker"))
    new, first, second, position = bob.take()
    assert [e["x"] for e in (new, first, second)] == ["NEW", "TRADE", "TRADE"]
    assert [e["X"] for e in (new, first, second)] == ["NEW", "PARTIALLY_FILLED", "FILLED"]
    assert new["I"] < first["I"] < second["I"]
    assert (first["t"], first["l"], first["L"], first["m"], first["M"]) == (1, "0.00010000", "1.00000000", False, True)
    assert (second["t"], second["z"], second["w"]) == (2, "0.00015000", False)
    assert (first["N"], first["n"]) == ("BTC", "0.00000010")
    assert second["q"] == "0.00015000"
    assert second["p"] == "1.01000000"
    assert second["Z"] == "0.00015050"
    assert second["Y"] == "0.00005050"
    assert set(balances(position)) == {"BTC", "USDT"}


def test_market_takes_new_trades_expired_then_one_position(room: Room) -> None:
    room.apply(limit(ALICE, SELL, 100, 10), limit(ALICE, SELL, 101, 10))
    bob = room.read(BOB)
    room.apply(market_order(BOB, BUY, 50))
    events = bob.take()
    assert [e.get("x", e["e"]) for e in events] == ["NEW", "TRADE", "TRADE", "EXPIRED", "outboundAccountPosition"]
    new, first, second, expired, _ = events
    assert new["f"] == "GTC"
    assert new["w"] is True
    assert first["w"] is False
    assert expired["w"] is False
    assert (expired["X"], expired["eR"]) == ("EXPIRED", "INSUFFICIENT_LIQUIDITY")
    assert (expired["z"], expired["l"], expired["L"], expired["t"]) == ("0.00020000", "0.00000000", "0.00000000", -1)
    assert "eR" not in second


def test_limit_ioc_expires_its_rest(room: Room) -> None:
    room.apply(limit(ALICE, SELL, 100, 10))
    bob = room.read(BOB)
    room.apply(r.place(BOB, BTCUSDT, BUY, r.OrderType.LIMIT, r.TimeInForce.IOC, price_ticks=100, quantity_steps=30))
    assert bob.sequence() == ["NEW/NEW", "TRADE/PARTIALLY_FILLED", "EXPIRED/EXPIRED", "outboundAccountPosition"]


def test_maker_filled_trade_then_position(room: Room) -> None:
    room.apply(limit(ALICE, SELL, 100, 10, b"maker"))
    alice = room.read(ALICE)
    room.apply(limit(BOB, BUY, 100, 4), limit(BOB, BUY, 100, 6))
    partial, first_position, full, _ = alice.take()
    assert (partial["x"], partial["X"], partial["m"], partial["w"]) == ("TRADE", "PARTIALLY_FILLED", True, True)
    assert (full["X"], full["w"], full["c"], full["z"]) == ("FILLED", False, "maker", "0.00010000")
    assert partial["z"] == "0.00004000", "as of its own command, though a later one of the batch filled the order"
    assert set(balances(first_position)) == {"BTC", "USDT"}
    assert alice.deliveries == 1


def test_cancel_canceled_with_both_ids_then_position(room: Room) -> None:
    room.apply(limit(ALICE, BUY, 100, 10, b"order"))
    alice = room.read(ALICE)
    room.apply(r.cancel(ALICE, BTCUSDT, order_id=1, other_client_id=b"cancel"))
    report, position = alice.take()
    assert (report["x"], report["X"], report["c"], report["C"]) == ("CANCELED", "CANCELED", "cancel", "order")
    assert report["w"] is False
    assert report["q"] == "0.00010000"
    assert balances(position) == {"USDT": (text(10**8 * ONE), "0.00000000")}


def test_cancel_all_reports_every_order_then_one_position(room: Room) -> None:
    room.apply(limit(ALICE, BUY, 100, 10, b"a"), limit(ALICE, BUY, 101, 10, b"b"))
    alice = room.read(ALICE)
    room.apply(r.cancel_all(ALICE, BTCUSDT, other_client_id=b"all"))
    first, second, position = alice.take()
    assert [(e["c"], e["C"]) for e in (first, second)] == [("all", "a"), ("all", "b")]
    assert position["e"] == "outboundAccountPosition"


def test_refused_before_the_book_nothing(room: Room) -> None:
    alice = room.read(ALICE)
    room.apply(limit(ALICE, BUY, 10**8 + 1, 10), r.cancel(ALICE, BTCUSDT, order_id=77))
    assert alice.take() == []


def test_stop_placed_new_not_working_then_triggered_new_working_then_trades(room: Room) -> None:
    alice = room.read(ALICE)
    stop = r.place(
        ALICE, BTCUSDT, BUY, r.OrderType.STOP_LOSS_LIMIT, r.TimeInForce.GTC,
        price_ticks=105, quantity_steps=5, stop_price_ticks=102, client_id=b"stop",
    )  # fmt: skip
    room.apply(stop)
    placed, _ = alice.take()
    assert (placed["x"], placed["w"], placed["P"]) == ("NEW", False, "1.02000000")
    assert "W" not in placed
    room.apply(limit(BOB, SELL, 102, 2), limit(BOB, SELL, 103, 9))
    room.apply(limit(CAROL, BUY, 102, 2))
    events = alice.take()
    assert [e.get("x", e["e"]) for e in events] == ["NEW", "TRADE", "outboundAccountPosition"]
    assert (events[0]["w"], events[0]["W"], events[0]["X"]) == (True, room.replica.time_ns // MS, "NEW")
    assert events[1]["X"] == "FILLED"
    assert events[1]["c"] == "stop"


def test_stop_placed_and_triggered_in_one_batch(room: Room) -> None:
    alice = room.read(ALICE)
    room.apply(
        r.place(ALICE, BTCUSDT, BUY, r.OrderType.STOP_LOSS, quantity_steps=5, stop_price_ticks=102, client_id=b"stop"),
        limit(BOB, SELL, 102, 20),
        limit(CAROL, BUY, 102, 2),
    )
    events = alice.take()
    kinds = [e.get("x", e["e"]) for e in events]
    assert kinds == ["NEW", "outboundAccountPosition", "NEW", "TRADE", "outboundAccountPosition"]
    assert (events[0]["w"], "W" in events[0]) == (False, False)
    assert (events[2]["w"], "W" in events[2]) == (True, True)


def test_self_trade_prevention_reports_each_order_hit(room: Room) -> None:
    room.apply(limit(ALICE, SELL, 100, 10, b"resting"))
    alice = room.read(ALICE)
    taker = r.place(
        ALICE, BTCUSDT, BUY, r.OrderType.LIMIT, r.TimeInForce.GTC, price_ticks=100, quantity_steps=4,
        self_trade_prevention=r.SelfTradePrevention.EXPIRE_BOTH, client_id=b"taking",
    )  # fmt: skip
    room.apply(taker)
    events = alice.take()
    assert [e.get("x", e["e"]) for e in events] == [
        "NEW", "TRADE_PREVENTION", "TRADE_PREVENTION", "outboundAccountPosition",
    ]  # fmt: skip
    taking, resting = events[1], events[2]
    assert [e["X"] for e in (taking, resting)] == ["EXPIRED_IN_MATCH"] * 2
    assert (taking["c"], resting["c"]) == ("taking", "resting")
    assert taking["v"] == resting["v"] == 1
    assert (taking["U"], resting["U"]) == (2 - 1, 2)
    assert [e[key] for e in (taking, resting) for key in ("l", "L", "Y")] == ["0.00000000"] * 6


def of_group(room: Room, *accounts: int, group: int = 7) -> None:
    """These accounts belong together."""
    room.apply(*(r.account_change(account, trade_group=group) for account in accounts))


def own_limit(account: int, side: int, price: int, quantity: int, mode: int, client_id: bytes = b"") -> bytes:
    return r.place(
        account, BTCUSDT, side, r.OrderType.LIMIT, r.TimeInForce.GTC, price_ticks=price, quantity_steps=quantity,
        self_trade_prevention=mode, client_id=client_id,
    )  # fmt: skip


def prevented(event: Any) -> tuple[Any, ...]:
    """Of a TRADE_PREVENTION: status, quantity, executed, all and last prevented, group, counter order, on the book."""
    return tuple(event[name] for name in ("X", "q", "z", "A", "B", "u", "U", "w"))


def test_decrement_takes_off_both_and_the_larger_goes_on(room: Room) -> None:
    mode = r.SelfTradePrevention.DECREMENT
    room.apply(limit(ALICE, SELL, 100, 4, b"one"), limit(ALICE, SELL, 101, 3, b"two"))
    alice = room.read(ALICE)
    room.apply(own_limit(ALICE, BUY, 101, 10, mode, b"taking"))
    events = alice.take()
    assert [f"{e['c']}:{e['x']}/{e['X']}" for e in events if "x" in e] == [
        "taking:NEW/NEW", "taking:TRADE_PREVENTION/NEW", "one:TRADE_PREVENTION/EXPIRED_IN_MATCH",
        "taking:TRADE_PREVENTION/NEW", "two:TRADE_PREVENTION/EXPIRED_IN_MATCH",
    ]  # fmt: skip
    assert [e["e"] for e in events].count("outboundAccountPosition") == 1
    assert events[-1]["e"] == "outboundAccountPosition"
    _, first, one, second, two, position = events
    assert prevented(first) == ("NEW", "0.00010000", "0.00000000", "0.00004000", "0.00004000", -1, 1, True)
    assert prevented(second) == ("NEW", "0.00010000", "0.00000000", "0.00007000", "0.00003000", -1, 2, True)
    assert prevented(one) == ("EXPIRED_IN_MATCH", "0.00004000", "0.00000000", "0.00004000", "0.00004000", -1, 3, False)
    assert [e["v"] for e in (first, one, second, two)] == [1, 1, 2, 2]
    assert (second["pl"], second["pL"], second["pY"], second["Cs"]) == (
        "0.00003000", "1.01000000", "0.00003030", "BTCUSDT",
    )  # fmt: skip
    assert [second[name] for name in ("l", "L", "Y", "t", "n", "N")] == [
        "0.00000000", "0.00000000", "0.00000000", -1, "0", None,
    ]  # fmt: skip
    assert balances(position)["BTC"][1] == "0.00000000", "what the makers held is free again"
    room.apply(limit(BOB, SELL, 101, 2))
    trade = alice.take()[0]
    assert (trade["x"], trade["X"], trade["q"], trade["z"]) == (
        "TRADE", "PARTIALLY_FILLED", "0.00010000", "0.00002000",
    )  # fmt: skip


def test_decrement_is_told_as_it_stood_though_the_batch_goes_on(room: Room) -> None:
    """An order's record is of the batch's end; what each report says was prevented is of its own command."""
    mode = r.SelfTradePrevention.DECREMENT
    alice = room.read(ALICE)
    room.apply(
        own_limit(ALICE, BUY, 100, 10, mode, b"order"),
        own_limit(ALICE, SELL, 100, 2, mode),
        limit(BOB, SELL, 100, 1),
        own_limit(ALICE, SELL, 100, 3, mode),
        limit(BOB, SELL, 100, 4),
    )
    reports = [e for e in alice.take() if e.get("c") == "order"]
    assert [(e["x"], e["X"], e["q"], e["z"], e.get("A")) for e in reports] == [
        ("NEW", "NEW", "0.00010000", "0.00000000", None),
        ("TRADE_PREVENTION", "NEW", "0.00010000", "0.00000000", "0.00002000"),
        ("TRADE", "PARTIALLY_FILLED", "0.00010000", "0.00001000", None),
        ("TRADE_PREVENTION", "PARTIALLY_FILLED", "0.00010000", "0.00001000", "0.00005000"),
        ("TRADE", "FILLED", "0.00010000", "0.00005000", None),
    ]
    assert reports[-1]["w"] is False


def test_transfer_moves_money_between_two_accounts_of_a_group(room: Room) -> None:
    of_group(room, ALICE, BOB)
    mode = r.SelfTradePrevention.TRANSFER
    room.apply(own_limit(ALICE, SELL, 100, 10, mode, b"maker"))
    alice, bob = room.read(ALICE), room.read(BOB)
    room.apply(own_limit(BOB, BUY, 100, 4, mode, b"taker"))
    new, taken, bobs = bob.take()
    made, alices = alice.take()
    assert new["x"] == "NEW"
    assert (taken["x"], made["x"]) == ("TRADE_PREVENTION", "TRADE_PREVENTION")
    assert prevented(taken) == ("EXPIRED_IN_MATCH", "0.00004000", "0.00000000", "0.00004000", "0.00004000", 7, 1, False)
    assert prevented(made) == ("NEW", "0.00010000", "0.00000000", "0.00004000", "0.00004000", 7, 2, True)
    assert taken["pY"] == made["pY"] == "0.00004000"
    rich = 10**8 * ONE
    assert balances(bobs) == {"USDT": (text(rich - 4_000), text(0)), "BTC": (text(rich + 4_000), text(0))}
    assert balances(alices) == {"BTC": (text(rich - 10_000), text(6_000)), "USDT": (text(rich + 4_000), text(0))}


def replace(account: int, order_id: int, new: bytes, **options: Any) -> bytes:
    return r.replace(account, BTCUSDT, new=new, order_id=order_id, other_client_id=b"cancel", **options)


def test_cancel_replace_canceled_position_new_position(room: Room) -> None:
    room.apply(limit(ALICE, BUY, 100, 10, b"old"))
    alice = room.read(ALICE)
    room.apply(replace(ALICE, 1, limit(ALICE, BUY, 99, 10, b"new")))
    canceled, first, new, second = alice.take()
    assert (canceled["x"], canceled["c"], canceled["C"], canceled["i"]) == ("CANCELED", "cancel", "old", 1)
    assert (new["x"], new["X"], new["c"], new["C"], new["i"]) == ("NEW", "NEW", "new", "", 2)
    assert first["e"] == second["e"] == "outboundAccountPosition"


@pytest.mark.parametrize(
    ("new", "reason"),
    [
        (r.place(ALICE, BTCUSDT, BUY, r.OrderType.LIMIT_MAKER, price_ticks=200, quantity_steps=1, client_id=b"n"),
         "WOULD_MATCH_IMMEDIATELY"),
        (limit(ALICE, BUY, 10**8, 10**9, b"n"), "INSUFFICIENT_BALANCES"),
        (limit(ALICE, BUY, 100, 10, b"taken"), "NONE"),
    ],
)  # fmt: skip
def test_the_new_half_of_a_cancel_replace_that_is_refused_is_told(room: Room, new: bytes, reason: str) -> None:
    room.apply(limit(ALICE, BUY, 100, 10, b"old"), limit(ALICE, BUY, 90, 10, b"taken"), limit(BOB, SELL, 200, 10))
    alice = room.read(ALICE)
    room.apply(replace(ALICE, 1, new))
    canceled, position, rejected = alice.take()
    assert canceled["x"] == "CANCELED"
    assert position["e"] == "outboundAccountPosition"
    assert (rejected["x"], rejected["X"], rejected["r"]) == ("REJECTED", "REJECTED", reason)
    assert (rejected["i"], rejected["w"], rejected["S"]) == (-1, False, "BUY")
    assert set(rejected) == set(canceled) - {"W"}


def test_a_cancel_replace_that_changes_nothing_says_nothing(room: Room) -> None:
    room.apply(limit(ALICE, BUY, 100, 10, b"old"))
    alice = room.read(ALICE)
    room.apply(replace(ALICE, 99, limit(ALICE, BUY, 99, 10)), replace(ALICE, 1, limit(ALICE, BUY, 10**9, 10)))
    assert alice.take() == []


def test_a_kill_expires_every_order_by_the_exchange(room: Room) -> None:
    room.apply(limit(ALICE, BUY, 100, 10, b"one"), limit(ALICE, BUY, 101, 10, b"two", ETHUSDT), limit(BOB, BUY, 99, 1))
    alice, bob = room.read(ALICE), room.read(BOB)
    room.apply(r.kill(ALICE))
    one, two, position = alice.take()
    for event, name, market in ((one, "one", "BTCUSDT"), (two, "two", "ETHUSDT")):
        assert (event["x"], event["X"], event["eR"]) == ("EXPIRED", "EXPIRED", "EXCHANGE_CANCELED")
        assert (event["c"], event["C"], event["s"], event["w"]) == (name, "", market, False)
    assert balances(position)["USDT"][1] == "0.00000000"
    assert bob.take() == []


def test_an_iceberg_says_what_it_shows(room: Room) -> None:
    alice = room.read(ALICE)
    room.apply(
        r.place(ALICE, BTCUSDT, BUY, r.OrderType.LIMIT, r.TimeInForce.GTC, price_ticks=100, quantity_steps=10,
                iceberg_steps=3),
        limit(BOB, SELL, 100, 4),
    )  # fmt: skip
    reports = [e for e in alice.take() if e["e"] == "executionReport"]
    assert [(e["x"], e["F"], e["q"], e["z"]) for e in reports] == [
        ("NEW", "0.00003000", "0.00010000", "0.00000000"),
        ("TRADE", "0.00003000", "0.00010000", "0.00003000"),
        ("TRADE", "0.00003000", "0.00010000", "0.00004000"),
    ]


def test_an_amendment_to_what_is_executed_already_expires_the_order_under_its_new_id(room: Room) -> None:
    room.apply(limit(ALICE, BUY, 100, 10, b"old"), limit(BOB, SELL, 100, 6))
    alice = room.read(ALICE)
    room.apply(r.amend(ALICE, BTCUSDT, order_id=1, quantity_steps=5, other_client_id=b"new"))
    report, position = alice.take()
    assert (report["x"], report["X"], report["c"], report["q"]) == ("EXPIRED", "EXPIRED", "new", "0.00005000")
    assert position["e"] == "outboundAccountPosition"


def test_amended_replaced_with_both_ids_then_position(room: Room) -> None:
    room.apply(limit(ALICE, BUY, 100, 10, b"old"))
    alice = room.read(ALICE)
    room.apply(r.amend(ALICE, BTCUSDT, order_id=1, quantity_steps=6, other_client_id=b"new"))
    report, position = alice.take()
    assert (report["x"], report["X"], report["c"], report["C"]) == ("REPLACED", "NEW", "new", "old")
    assert report["q"] == "0.00006000"
    assert report["w"] is True
    assert position["e"] == "outboundAccountPosition"
    room.apply(r.cancel(ALICE, BTCUSDT, order_id=1, other_client_id=b"bye"))
    assert alice.take()[0]["C"] == "new"


def test_fields_are_as_of_the_command_though_the_batch_goes_on(room: Room) -> None:
    alice = room.read(ALICE)
    room.apply(
        limit(ALICE, BUY, 100, 10, b"first"),
        limit(BOB, SELL, 100, 2),
        r.amend(ALICE, BTCUSDT, order_id=1, quantity_steps=6, other_client_id=b"second"),
        limit(BOB, SELL, 100, 1),
        r.cancel(ALICE, BTCUSDT, client_id=b"second", other_client_id=b"end"),
    )
    reports = [e for e in alice.take() if e["e"] == "executionReport"]
    assert [(e["x"], e["c"], e["C"], e["q"], e["z"]) for e in reports] == [
        ("NEW", "first", "", "0.00010000", "0.00000000"),
        ("TRADE", "first", "", "0.00010000", "0.00002000"),
        ("REPLACED", "second", "first", "0.00006000", "0.00002000"),
        ("TRADE", "second", "", "0.00006000", "0.00003000"),
        ("CANCELED", "end", "second", "0.00006000", "0.00003000"),
    ]


def test_deposit_and_withdrawal_balance_update_then_position(room: Room) -> None:
    alice = room.read(ALICE)
    room.apply(r.deposit(ALICE, BTC, 5 * ONE), r.withdraw(ALICE, USDT, ONE // 2))
    added, first, taken, second = alice.take()
    now = room.replica.time_ns // MS
    assert added == {"e": "balanceUpdate", "E": now, "a": "BTC", "d": "5.00000000", "T": now}
    assert (taken["a"], taken["d"]) == ("USDT", "-0.50000000")
    assert set(balances(first)) == {"BTC"}
    assert set(balances(second)) == {"USDT"}


def test_a_position_never_precedes_its_report_and_events_come_in_engine_order(room: Room, seed: int) -> None:
    """Random flow of three accounts in batches of many commands."""
    rng = random.Random(seed)
    readers = {account: room.read(account) for account in (ALICE, BOB, CAROL)}
    free = {account: dict.fromkeys(("BTC", "USDT", "ETH"), 10**8 * ONE) for account in readers}
    for _ in range(60):
        commands = []
        for _ in range(rng.randrange(1, 120)):
            account = rng.choice((ALICE, BOB, CAROL))
            if rng.random() < 0.3:
                commands.append(r.cancel(account, BTCUSDT, order_id=rng.randrange(1, 2000)))
            else:
                side = rng.choice((BUY, SELL))
                commands.append(limit(account, side, rng.randrange(95, 106), rng.randrange(1, 9)))
        room.apply(*commands)
        for account, reader in readers.items():
            executions = 0
            seen_report = False
            for event in reader.take():
                if event["e"] == "executionReport":
                    assert event["I"] > executions
                    executions = event["I"]
                    seen_report = True
                else:
                    assert seen_report
                    seen_report = False
                    for name, (available, locked) in balances(event).items():
                        free[account][name] = int(available.replace(".", "")) + int(locked.replace(".", ""))
    for account in readers:
        for asset, name in ((BTC, "BTC"), (USDT, "USDT")):
            assert sum(room.replica.exchange.balance(account, asset)) == free[account][name]


def test_other_accounts_hear_nothing_and_every_subscription_hears_the_same(room: Room) -> None:
    one, two, micro = room.read(ALICE), room.read(ALICE), room.read(ALICE, 1_000)
    bob = room.read(BOB)
    room.apply(limit(ALICE, BUY, 100, 10))
    assert bob.take() == []
    assert one.events == two.events != []
    assert micro.events[0]["E"] == room.replica.time_ns // 1_000
    room.user_data.unsubscribe(one.subscription)
    room.apply(limit(ALICE, BUY, 100, 10))
    assert len(one.events) == 2
    assert len(two.events) == 4


def test_markets_are_told_apart(room: Room) -> None:
    alice = room.read(ALICE)
    room.apply(limit(ALICE, BUY, 100, 10, market=ETHUSDT))
    assert alice.take()[0]["s"] == "ETHUSDT"


def test_a_key_that_is_switched_off_ends_its_subscriptions(room: Room) -> None:
    alice, bob = room.read(ALICE), room.read(BOB)
    room.apply(limit(ALICE, BUY, 100, 10))
    assert not alice.over
    room.replica.registry.keys[str(ALICE)].enabled = False
    room.replica.registry.version += 1
    room.apply(b"")
    assert alice.over
    assert not bob.over
