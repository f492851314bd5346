# SPDX-License-Identifier: Apache-2.0
"""ccxt over a real socket: load, place, fill, query, cancel, by the snippet that the README prints."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.serving import key_secret, key_text

ccxt = pytest.importorskip("ccxt")
# The libraries warn about their own dependencies; what they warn of is not ours to fail on.
pytestmark = pytest.mark.filterwarnings("default")
SYMBOL = "BTC/USDT"


def client(address: str, name: str) -> Any:
    """The snippet."""
    base = f"http://{address}/api/v3"
    return ccxt.binance(
        {
            "apiKey": key_text(name),
            "secret": key_secret(name),
            "urls": {"api": {"public": base, "private": base, "v1": f"http://{address}/api/v1"}},
            "options": {
                "defaultType": "spot", "fetchMarkets": {"types": ["spot"]},
                "fetchCurrencies": False, "fetchMargins": False,
            },
        }
    )


@pytest.fixture(name="alice")
def make_alice(address: str) -> Iterator[Any]:
    exchange = client(address, "alice")
    yield exchange
    exchange.session.close()


@pytest.fixture(name="bob")
def make_bob(address: str) -> Iterator[Any]:
    exchange = client(address, "bob")
    yield exchange
    exchange.session.close()


def test_markets_load(alice: Any) -> None:
    markets = alice.load_markets()
    assert set(markets) == {"BTC/USDT", "ETH/USDT"}
    market = markets[SYMBOL]
    assert market["active"]
    assert market["spot"]
    assert market["precision"] == {**market["precision"], "price": 0.01, "amount": 0.00001}
    assert market["limits"]["cost"]["min"] == 5


def test_place_query_and_cancel(alice: Any) -> None:
    placed = alice.create_order(SYMBOL, "limit", "buy", 0.01, 40_000)
    assert placed["status"] == "open"
    assert placed["filled"] == 0
    fetched = alice.fetch_order(placed["id"], SYMBOL)
    assert (fetched["price"], fetched["amount"], fetched["status"]) == (40_000, 0.01, "open")
    assert [order["id"] for order in alice.fetch_open_orders(SYMBOL)] == [placed["id"]]
    assert alice.fetch_balance()["USDT"]["used"] == 400
    assert alice.cancel_order(placed["id"], SYMBOL)["status"] == "canceled"
    assert alice.fetch_open_orders(SYMBOL) == []
    assert alice.fetch_order(placed["id"], SYMBOL)["status"] == "canceled"
    assert alice.fetch_balance()["USDT"]["used"] == 0


def test_two_accounts_trade(alice: Any, bob: Any) -> None:
    before = alice.fetch_balance()["BTC"]["total"]
    resting = bob.create_order(SYMBOL, "limit", "sell", 0.5, 50_000)
    bought = alice.create_order(SYMBOL, "market", "buy", 0.2)
    assert bought["status"] == "closed"
    assert bought["average"] == 50_000
    assert bought["filled"] == 0.2
    assert bought["fee"]["currency"] == "BTC"
    assert alice.fetch_balance()["BTC"]["total"] == pytest.approx(before + 0.2 - 0.0002)
    seen = bob.fetch_order(resting["id"], SYMBOL)
    assert (seen["status"], seen["filled"], seen["remaining"]) == ("open", 0.2, 0.3)
    trade = bob.fetch_my_trades(SYMBOL)[-1]
    assert (trade["order"], trade["amount"], trade["takerOrMaker"]) == (resting["id"], 0.2, "maker")
    assert alice.fetch_trades(SYMBOL)[-1]["price"] == 50_000
    book = alice.fetch_order_book(SYMBOL)
    assert book["asks"][0] == [50_000, 0.3]
    assert alice.fetch_ticker(SYMBOL)["last"] == 50_000
    assert bob.cancel_all_orders(SYMBOL)
    assert bought["id"] in [order["id"] for order in alice.fetch_closed_orders(SYMBOL)]


def test_market_buy_by_cost_and_post_only(alice: Any, bob: Any) -> None:
    bob.create_order(SYMBOL, "limit", "sell", 1, 60_000)
    bought = alice.create_order(SYMBOL, "market", "buy", None, None, {"cost": 600})
    assert bought["filled"] == 0.01
    assert bought["cost"] == 600
    with pytest.raises(ccxt.OrderImmediatelyFillable):
        alice.create_order(SYMBOL, "limit", "buy", 0.01, 61_000, {"postOnly": True})
    bob.cancel_all_orders(SYMBOL)


def test_refusals_become_the_right_exceptions(alice: Any) -> None:
    with pytest.raises(ccxt.InsufficientFunds):
        alice.create_order(SYMBOL, "limit", "buy", 5_000, 50_000)
    with pytest.raises(ccxt.BadRequest, match="NOTIONAL"):
        alice.create_order(SYMBOL, "limit", "buy", 0.0001, 40_000)  # below the notional
    with pytest.raises(ccxt.OrderNotFound):
        alice.cancel_order("999999999", SYMBOL)
    stranger = client(alice.urls["api"]["public"].split("/")[2], "nobody")
    with pytest.raises(ccxt.AuthenticationError):
        stranger.fetch_balance()
    stranger.session.close()


def test_stop_order_rests_and_cancels(alice: Any, bob: Any) -> None:
    bob.create_order(SYMBOL, "limit", "sell", 0.01, 50_000)
    alice.create_order(SYMBOL, "market", "buy", 0.01)
    stop = alice.create_order(SYMBOL, "limit", "sell", 0.01, 44_000, {"triggerPrice": 45_000})
    seen = alice.fetch_order(stop["id"], SYMBOL)
    assert (seen["status"], seen["triggerPrice"]) == ("open", 45_000)
    assert alice.cancel_order(stop["id"], SYMBOL)["status"] == "canceled"
