# SPDX-License-Identifier: Apache-2.0
"""Account, commission, order count, fills: the kernel's numbers in the SDK's and ccxt's eyes."""

from decimal import Decimal
from typing import Any

import orjson

from bidhall.protocol import account_answers, market_answers
from tests.protocol.clients import checked, exchange_of
from tests.protocol.places import ASSETS, LIMIT, MS, Place


def account(place: Place, number: int = 1, **options: Any) -> Any:
    fields, balances = place.exchange.account(number), place.exchange.balances(number)
    return orjson.loads(account_answers.account(number, fields, balances, ASSETS, place.time_ns, MS, **options))


def test_account() -> None:
    place = Place()
    place.place(LIMIT + "side=BUY&quantity=1&price=100.25")
    answer = account(place, rates_e8=(100_000, 150_000))
    checked(answer, "get_account_response")
    checked(answer["balances"], "get_account_response_balances_inner")
    checked(answer["commissionRates"], "get_account_response_commission_rates")
    assert answer["balances"] == [
        {"asset": "BTC", "free": "1000.00000000", "locked": "0.00000000"},
        {"asset": "USDT", "free": "99999899.75000000", "locked": "100.25000000"},
    ]
    assert (answer["makerCommission"], answer["takerCommission"]) == (10, 15)
    assert answer["commissionRates"]["taker"] == "0.00150000"
    assert (answer["canTrade"], answer["canWithdraw"], answer["canDeposit"]) == (True, True, True)
    assert (answer["updateTime"], answer["uid"], answer["permissions"]) == (place.time_ns // MS, 1, ["SPOT"])
    balance = exchange_of(orjson.loads(market_answers.exchange_info([place.market], 0, MS, []))).parse_balance_custom(
        answer, "spot"
    )
    assert balance["USDT"] == {"free": 99999899.75, "used": 100.25, "total": 100000000.0}


def test_zero_balances() -> None:
    place = Place()
    fields = place.exchange.account(2) | {"permissions": 2, "maker_rate_e8": 0, "taker_rate_e8": 7}
    some = [(2, 5, 0)]
    all_of_them = orjson.loads(account_answers.account(2, fields, some, ASSETS, 1, MS))
    assert [one["asset"] for one in all_of_them["balances"]] == ["BTC", "USDT"]
    some_of_them = orjson.loads(account_answers.account(2, fields, some, ASSETS, 1, MS, omit_zero=True))
    assert some_of_them["balances"] == [{"asset": "USDT", "free": "0.00000005", "locked": "0.00000000"}]
    assert (some_of_them["canTrade"], some_of_them["canDeposit"], some_of_them["canWithdraw"]) == (False, True, False)
    assert some_of_them["commissionRates"]["taker"] == "0.00000007"


def test_commission_and_order_count() -> None:
    answer = orjson.loads(account_answers.commission(Place().market, 100_000, 200_000))
    checked(answer, "account_commission_response")
    for name in ("standard", "special", "tax"):
        checked(answer[f"{name}Commission"], f"account_commission_response_{name}_commission")
    checked(answer["discount"], "account_commission_response_discount")
    assert answer["standardCommission"]["taker"] == "0.00200000"
    limits = [{"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 100, "count": 3}]
    answer = orjson.loads(account_answers.order_rate(limits))
    checked(answer, "rate_limit_order_response_inner")
    assert answer == limits


def test_my_trades_agree_with_the_fills() -> None:
    place = Place()
    place.place(LIMIT + "side=SELL&quantity=3&price=100.01", account=2)
    full = place.place("type=MARKET&side=BUY&quantity=1.5")
    time_ns = place.time_ns
    steps, fee = 150_000, 150_000
    rows = [
        (full["orderId"], 1, time_ns, 10_001, steps, fee, True, False),
        (1, 1, time_ns, 10_001, steps, 15_001_500, False, True),
    ]
    answer = orjson.loads(account_answers.my_trades(place.market, rows, ASSETS, MS))
    checked(answer, "my_trades_response_inner")
    assert answer[0] == {
        "symbol": "BTCUSDT", "id": 1, "orderId": full["orderId"], "orderListId": -1, "price": full["fills"][0]["price"],
        "qty": full["fills"][0]["qty"], "quoteQty": full["cummulativeQuoteQty"],
        "commission": full["fills"][0]["commission"], "commissionAsset": full["fills"][0]["commissionAsset"],
        "time": time_ns // MS, "isBuyer": True, "isMaker": False, "isBestMatch": True,
    }  # fmt: skip
    assert (answer[1]["commission"], answer[1]["commissionAsset"]) == ("0.15001500", "USDT")
    exchange = exchange_of(orjson.loads(market_answers.exchange_info([place.market], 0, MS, [])))
    trade = exchange.parse_trade(answer[1], exchange.market("BTC/USDT"))
    assert (trade["side"], trade["takerOrMaker"], trade["fee"]) == (
        "sell",
        "maker",
        {"cost": 0.150015, "currency": "USDT"},
    )
    assert Decimal(answer[1]["quoteQty"]) == Decimal("150.015")


def test_user_assets() -> None:
    answer = orjson.loads(account_answers.user_assets([(1, 5, 6), (2, 7, 0)], ASSETS))
    assert [one["asset"] for one in answer] == ["BTC", "USDT"]
    assert answer[0]["locked"] == "0.00000006"
    assert [one["asset"] for one in orjson.loads(account_answers.user_assets([(1, 5, 6)], ASSETS, "USDT"))] == []
