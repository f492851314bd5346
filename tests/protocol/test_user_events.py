# SPDX-License-Identifier: Apache-2.0
"""User data: the sequences of binance_api.md §8.2, out of the real kernel, in the eyes of the SDK's strict models."""

from decimal import Decimal
from typing import Any

import orjson
import pytest

from bidhall.core import records
from bidhall.core.records import EventFlag, EventKind
from bidhall.protocol import endpoints, orders, user_events
from tests.protocol.clients import checked
from tests.protocol.places import ASSETS, BTC, LIMIT, MS, Applied, Place

CONDITIONAL = (
    "d", "D", "j", "J", "v", "A", "B", "u", "U", "Cs", "pl", "pL", "pY", "W", "b", "a", "k", "uS", "gP", "gOT", "gOV",
    "gp", "eR",
)  # fmt: skip
KEYS = {
    "e",
    "E",
    "s",
    "c",
    "S",
    "o",
    "f",
    "q",
    "p",
    "P",
    "F",
    "g",
    "C",
    "x",
    "X",
    "r",
    "i",
    "l",
    "z",
    "L",
    "n",
    "N",
    "T",
    "t",
    "I",
    "w",
    "m",
    "M",
    "O",
    "Z",
    "Y",
    "Q",
    "V",
}
MODEL = "websocket_api"


def report(place: Place, applied: Applied, event: records.EventRow, unit_ns: int = MS, **ids: str) -> dict[str, Any]:
    order = applied.done.get(event.order_id) or place.order(event.order_id)
    client_id = ids.get("client_id", order.client_id.rstrip(b"\0").decode())
    raw = user_events.execution_report(
        place.market, event, order, client_id, ids.get("original", ""), applied.time_ns, unit_ns, order.prevented_steps
    )
    answer: dict[str, Any] = orjson.loads(raw)
    assert set(answer) >= KEYS
    assert set(answer) <= KEYS | set(CONDITIONAL)
    checked({key: value for key, value in answer.items() if key != "e"}, "execution_report", MODEL, without=CONDITIONAL)
    return answer


def reports(place: Place, applied: Applied, account: int = 1) -> list[dict[str, Any]]:
    return [report(place, applied, event) for event in applied.events if event.account == account]


def test_a_limit_order_rests() -> None:
    place = Place()
    placement, applied = place.place_raw(LIMIT + "side=BUY&quantity=0.5&price=100.25&newClientOrderId=mine")
    [new] = reports(place, applied)
    time = applied.time_ns // MS
    assert new == {
        "e": "executionReport", "E": time, "s": "BTCUSDT", "c": "mine", "S": "BUY", "o": "LIMIT", "f": "GTC",
        "q": "0.50000000", "p": "100.25000000", "P": "0.00000000", "F": "0.00000000", "g": -1, "C": "", "x": "NEW",
        "X": "NEW", "r": "NONE", "i": 1, "l": "0.00000000", "z": "0.00000000", "L": "0.00000000", "n": "0", "N": None,
        "T": time, "t": -1, "I": applied.events[0].execution_id, "w": True, "m": False, "M": False, "O": time,
        "Z": "0.00000000", "Y": "0.00000000", "Q": "0.00000000", "W": time, "V": "EXPIRE_MAKER",
    }  # fmt: skip
    assert placement.client_id == "mine"
    micro = report(place, applied, applied.events[0], unit_ns=1_000)
    assert (micro["T"], micro["O"], micro["W"]) == (applied.time_ns // 1_000,) * 3


def test_a_taker_and_its_makers() -> None:
    place = Place()
    for price in ("100", "101"):
        place.place(LIMIT + f"side=SELL&quantity=1&price={price}", account=2)
    _, applied = place.place_raw("type=MARKET&side=BUY&quantity=3")
    taker = reports(place, applied)
    assert [(one["x"], one["X"]) for one in taker] == [
        ("NEW", "NEW"), ("TRADE", "PARTIALLY_FILLED"), ("TRADE", "PARTIALLY_FILLED"), ("EXPIRED", "EXPIRED"),
    ]  # fmt: skip
    assert [one["w"] for one in taker] == [True, False, False, False]
    assert [one["t"] for one in taker] == [-1, 1, 2, -1]
    assert [(one["l"], one["L"], one["Y"]) for one in taker[1:3]] == [
        ("1.00000000", "100.00000000", "100.00000000"), ("1.00000000", "101.00000000", "101.00000000"),
    ]  # fmt: skip
    assert [(one["n"], one["N"], one["m"], one["M"]) for one in taker[1:3]] == [("0.00100000", "BTC", False, True)] * 2
    assert [one["z"] for one in taker] == ["0.00000000", "1.00000000", "2.00000000", "2.00000000"]
    assert [one["Z"] for one in taker] == ["0.00000000", "100.00000000", "201.00000000", "201.00000000"]
    assert {(one["q"], one["p"], one["f"]) for one in taker} == {("3.00000000", "0.00000000", "GTC")}
    assert taker[3]["eR"] == "INSUFFICIENT_LIQUIDITY"
    assert len({one["T"] for one in taker}) == 1
    makers = reports(place, applied, account=2)
    assert [(one["x"], one["X"], one["m"], one["w"]) for one in makers] == [("TRADE", "FILLED", True, False)] * 2
    assert [(one["n"], one["N"], one["t"]) for one in makers] == [("0.10000000", "USDT", 1), ("0.10100000", "USDT", 2)]
    ids = [one["I"] for one in taker + makers]
    assert len(set(ids)) == len(ids)


def test_partial_fills_of_a_maker_stay_on_the_book() -> None:
    place = Place()
    place.place(LIMIT + "side=SELL&quantity=3&price=100", account=2)
    _, applied = place.place_raw(LIMIT + "side=BUY&quantity=1&price=100")
    [maker] = reports(place, applied, account=2)
    assert (maker["X"], maker["w"], maker["q"], maker["z"]) == ("PARTIALLY_FILLED", True, "3.00000000", "1.00000000")
    _, applied = place.place_raw(LIMIT + "side=BUY&quantity=5&price=100")
    taker = reports(place, applied)
    assert [(one["x"], one["X"], one["w"]) for one in taker] == [
        ("NEW", "NEW", True),
        ("TRADE", "PARTIALLY_FILLED", True),
    ]


def test_cancel_swaps_the_ids() -> None:
    place = Place()
    placed = place.place(LIMIT + "side=BUY&quantity=1&price=100&newClientOrderId=mine")
    sent = place.values(endpoints.ORDER_DELETE, f"symbol=BTCUSDT&orderId={placed['orderId']}&newClientOrderId=cancel1")
    cancellation = orders.cancel(sent, place.market, 1, 0, place.digest())
    commands = records.mark(1) + cancellation.command
    assert user_events.command_other_client_id(commands, 1) == "cancel1"
    applied = place.apply(cancellation.command)
    one = report(place, applied, applied.events[0], client_id="cancel1", original="mine")
    assert (one["c"], one["C"], one["x"], one["X"], one["w"], one["W"]) == (
        "cancel1", "mine", "CANCELED", "CANCELED", False, placed["workingTime"],
    )  # fmt: skip
    assert "eR" not in one


def test_stop_placed_and_triggered() -> None:
    place = Place()
    place.place(LIMIT + "side=SELL&quantity=1&price=100", account=2)
    place.place(LIMIT + "side=BUY&quantity=0.5&price=100", account=2)
    text = "type=STOP_LOSS_LIMIT&timeInForce=GTC&side=BUY&quantity=1&price=120&stopPrice=110&newClientOrderId=stop"
    _, applied = place.place_raw(text)
    [new] = reports(place, applied)
    assert (new["x"], new["w"], new["P"], "W" in new) == ("NEW", False, "110.00000000", False)
    place.place(LIMIT + "side=SELL&quantity=1.5&price=115", account=2)
    _, applied = place.place_raw("type=MARKET&side=BUY&quantity=1")
    found = [one for one in reports(place, applied) if one["c"] == "stop"]
    assert [(one["x"], one["X"], one["l"]) for one in found] == [
        ("NEW", "NEW", "0.00000000"), ("TRADE", "PARTIALLY_FILLED", "0.50000000"),
    ]  # fmt: skip
    assert {(one["q"], one["p"], one["w"], one["W"]) for one in found} == {
        ("1.00000000", "120.00000000", True, applied.time_ns // MS),
    }  # fmt: skip


@pytest.mark.parametrize("mode", ["EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH"])
def test_self_trade_prevention(mode: str) -> None:
    place = Place()
    maker = place.place(LIMIT + "side=SELL&quantity=1&price=100")
    _, applied = place.place_raw(LIMIT + f"side=BUY&quantity=3&price=100&selfTradePreventionMode={mode}")
    prevented = [one for one in reports(place, applied) if one["x"] == "TRADE_PREVENTION"]
    assert len(prevented) == (2 if mode == "EXPIRE_BOTH" else 1)
    taker_id = applied.events[0].order_id
    for one in prevented:
        taker = one["i"] == taker_id
        quantity = "3.00000000" if taker else "1.00000000"
        assert (one["X"], one["q"], one["A"], one["B"], one["pl"]) == (
            "EXPIRED_IN_MATCH",
            quantity,
            quantity,
            quantity,
            quantity,
        )
        assert (one["pL"], one["U"], one["v"], one["u"], one["Cs"]) == (
            "100.00000000", maker["orderId"] if taker else taker_id, 1, -1, "BTCUSDT",
        )  # fmt: skip
        assert (one["l"], one["L"], one["Y"], one["w"]) == ("0.00000000", "0.00000000", "0.00000000", False)


def test_amend() -> None:
    place = Place()
    placed = place.place(LIMIT + "side=SELL&quantity=3&price=100&newClientOrderId=old")
    sent = place.values(endpoints.AMEND, f"symbol=BTCUSDT&orderId={placed['orderId']}&newQty=2&newClientOrderId=new")
    amendment = orders.amend(sent, place.market, 1, 0, place.digest())
    applied = place.apply(amendment.command)
    one = report(place, applied, applied.events[0], client_id="new", original="old")
    assert (one["x"], one["X"], one["q"], one["c"], one["C"], one["w"]) == (
        "REPLACED",
        "NEW",
        "2.00000000",
        "new",
        "old",
        True,
    )


def test_quote_orders_strategies_and_sums() -> None:
    place = Place()
    for number in range(5):
        place.place(LIMIT + f"side=SELL&quantity=1.{number}&price={100 + number}", account=2)
    _, applied = place.place_raw("type=MARKET&side=BUY&quoteOrderQty=450&strategyId=7&strategyType=1000001")
    found = reports(place, applied)
    trades = [one for one in found if one["x"] == "TRADE"]
    assert {(one["Q"], one["j"], one["J"]) for one in found} == {("450.00000000", 7, 1_000_001)}
    assert found[-1]["X"] == "FILLED"
    assert sum(Decimal(one["l"]) for one in trades) == Decimal(found[-1]["z"])
    assert sum(Decimal(one["Y"]) for one in trades) == Decimal(found[-1]["Z"])
    # balances = before +- (quantity, quote, commission)
    free = {asset: free for asset, free, _ in place.exchange.balances(1)}
    bought = sum(Decimal(one["l"]) - Decimal(one["n"]) for one in trades)
    assert Decimal(free[1]) / 10**8 == 1000 + bought
    assert Decimal(free[2]) / 10**8 == 100_000_000 - Decimal(found[-1]["Z"])


def test_positions() -> None:
    place = Place()
    _, applied = place.place_raw(LIMIT + "side=BUY&quantity=1&price=100.25")
    rows = [(ASSETS[one.asset], one.free_units, one.locked_units) for one in applied.positions if one.account == 1]
    answer = orjson.loads(user_events.account_position(rows, applied.time_ns, MS))
    checked({key: value for key, value in answer.items() if key != "e"}, "outbound_account_position", MODEL)
    assert answer == {
        "e": "outboundAccountPosition", "E": applied.time_ns // MS, "u": applied.time_ns // MS,
        "B": [{"a": "USDT", "f": "99999899.75000000", "l": "100.25000000"}],
    }  # fmt: skip


@pytest.mark.parametrize(("units", "text"), [(10**10, "100.00000000"), (-5, "-0.00000005"), (-(10**8), "-1.00000000")])
def test_balance_update(units: int, text: str) -> None:
    answer = orjson.loads(user_events.balance_update(BTC, units, 7 * MS, MS))
    checked({key: value for key, value in answer.items() if key != "e"}, "balance_update", MODEL)
    assert answer == {"e": "balanceUpdate", "E": 7, "a": "BTC", "d": text, "T": 7}


def test_the_rest() -> None:
    assert orjson.loads(user_events.stream_terminated(7 * MS, MS)) == {"e": "eventStreamTerminated", "E": 7}
    assert user_events.user_envelope(3, b'{"e":1}') == b'{"subscriptionId":3,"event":{"e":1}}'
    placement, _ = Place().place_raw(LIMIT + "side=BUY&quantity=1&price=100&newClientOrderId=mine")
    assert user_events.command_client_id(placement.command, 0) == "mine"
    assert set(user_events.EXECUTION_TYPES) == {kind for kind in EventKind if 1 <= kind <= 7}
    assert EventFlag.LAST == 8
