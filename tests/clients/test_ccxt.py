# SPDX-License-Identifier: Apache-2.0
"""ccxt (blocking) over a real socket: load, place, fill, edit, cancel, stops, icebergs, reads, by the README's snippet.

What it refuses and as which exception is in test_ccxt_errors.py.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.clients.pointing import ccxt_options

ccxt = pytest.importorskip("ccxt")
# The libraries warn about their own dependencies; what they warn of is not ours to fail on.
pytestmark = pytest.mark.filterwarnings("default")
SYMBOL = "BTC/USDT"
INTERVALS = ("1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M")


@pytest.fixture(name="client")
def make_client(address: str) -> Iterator[Callable[..., Any]]:
    """Clients that are closed at the end."""
    made: list[Any] = []

    def client(name: str, **options: Any) -> Any:
        made.append(ccxt.binance(ccxt_options(address, name, **options)))
        return made[-1]

    yield client
    for exchange in made:
        exchange.session.close()


@pytest.fixture(name="alice")
def make_alice(client: Callable[..., Any]) -> Any:
    return client("alice")


@pytest.fixture(name="bob")
def make_bob(client: Callable[..., Any]) -> Iterator[Any]:
    """Whatever he leaves in the book is taken out again, so that each test begins with an empty one."""
    exchange = client("bob")
    yield exchange
    if exchange.fetch_open_orders(SYMBOL):
        exchange.cancel_all_orders(SYMBOL)


def set_last_price(alice: Any, bob: Any, price: float) -> None:
    """A trade at `price`, on an empty book."""
    bob.create_order(SYMBOL, "limit", "sell", 0.01, price)
    assert alice.create_order(SYMBOL, "limit", "buy", 0.01, price)["status"] == "closed"


def test_markets_load(alice: Any) -> None:
    markets = alice.load_markets()
    assert set(markets) == {"BTC/USDT", "ETH/USDT"}
    market = markets[SYMBOL]
    assert market["active"]
    assert market["spot"]
    assert market["precision"] == {**market["precision"], "price": 0.01, "amount": 0.00001}
    assert market["limits"]["cost"]["min"] == 5
    assert abs(alice.fetch_time() - alice.milliseconds()) < 2_000


def test_place_query_and_cancel(alice: Any) -> None:
    before = alice.fetch_balance()["USDT"]
    placed = alice.create_order(SYMBOL, "limit", "buy", 0.01, 40_000)
    assert (placed["status"], placed["filled"]) == ("open", 0)
    fetched = alice.fetch_order(placed["id"], SYMBOL)
    assert (fetched["price"], fetched["amount"], fetched["status"]) == (40_000, 0.01, "open")
    assert [order["id"] for order in alice.fetch_open_orders(SYMBOL)] == [placed["id"]]
    held = alice.fetch_balance()["USDT"]
    assert held["used"] - before["used"] == 400
    assert held["total"] == before["total"]
    assert alice.cancel_order(placed["id"], SYMBOL)["status"] == "canceled"
    assert alice.fetch_open_orders(SYMBOL) == []
    assert alice.fetch_order(placed["id"], SYMBOL)["status"] == "canceled"
    assert alice.fetch_balance()["USDT"] == before


def test_an_order_is_found_by_its_client_id(alice: Any) -> None:
    placed = alice.create_order(SYMBOL, "limit", "buy", 0.01, 40_000, {"clientOrderId": "mine-1"})
    assert placed["clientOrderId"] == "mine-1"
    found = alice.fetch_order(None, SYMBOL, {"origClientOrderId": "mine-1"})
    assert found["id"] == placed["id"]
    gone = alice.cancel_order(None, SYMBOL, {"clientOrderId": "mine-1"})
    assert (gone["id"], gone["status"]) == (placed["id"], "canceled")


def test_two_accounts_trade(alice: Any, bob: Any) -> None:
    before = alice.fetch_balance()["BTC"]["total"]
    resting = bob.create_order(SYMBOL, "limit", "sell", 0.5, 50_000)
    bought = alice.create_order(SYMBOL, "market", "buy", 0.2)
    assert bought["status"] == "closed"
    assert bought["average"] == 50_000
    assert bought["filled"] == 0.2
    assert bought["fee"]["currency"] == "BTC"
    fee = bought["fee"]["cost"]
    assert alice.fetch_balance()["BTC"]["total"] == pytest.approx(before + 0.2 - fee, abs=1e-8)
    seen = bob.fetch_order(resting["id"], SYMBOL)
    assert (seen["status"], seen["filled"], seen["remaining"]) == ("open", 0.2, 0.3)
    trade = bob.fetch_my_trades(SYMBOL)[-1]
    assert (trade["order"], trade["amount"], trade["takerOrMaker"]) == (resting["id"], 0.2, "maker")
    assert [one["id"] for one in bob.fetch_order_trades(resting["id"], SYMBOL)] == [trade["id"]]
    book = alice.fetch_order_book(SYMBOL)
    assert book["asks"][0] == [50_000, 0.3]
    assert bought["id"] in [order["id"] for order in alice.fetch_closed_orders(SYMBOL)]


def test_edit_replaces_the_order(alice: Any) -> None:
    placed = alice.create_order(SYMBOL, "limit", "buy", 0.01, 40_000)
    edited = alice.edit_order(placed["id"], SYMBOL, "limit", "buy", 0.02, 41_000)
    assert edited["id"] != placed["id"]
    assert (edited["price"], edited["amount"], edited["status"]) == (41_000, 0.02, "open")
    assert alice.fetch_order(placed["id"], SYMBOL)["status"] == "canceled"
    assert [order["id"] for order in alice.fetch_open_orders(SYMBOL)] == [edited["id"]]
    alice.cancel_order(edited["id"], SYMBOL)
    with pytest.raises(ccxt.ExchangeError, match="-2022"):
        alice.edit_order(edited["id"], SYMBOL, "limit", "buy", 0.02, 41_000)
    assert alice.fetch_open_orders(SYMBOL) == []


def test_an_edit_whose_new_half_fails(alice: Any) -> None:
    placed = alice.create_order(SYMBOL, "limit", "buy", 0.01, 40_000)
    with pytest.raises(ccxt.ExchangeError, match=r"-2021.*insufficient balance"):
        alice.edit_order(placed["id"], SYMBOL, "limit", "buy", 8_000, 41_000)
    assert alice.fetch_order(placed["id"], SYMBOL)["status"] == "canceled"


def test_an_iceberg_shows_its_tip_and_fills_whole(alice: Any, bob: Any) -> None:
    berg = bob.create_order(SYMBOL, "limit", "sell", 1, 50_000, {"icebergQty": 0.2})
    assert alice.fetch_order_book(SYMBOL)["asks"] == [[50_000, 0.2]]
    bob.create_order(SYMBOL, "limit", "sell", 0.1, 50_000)
    bought = alice.create_order(SYMBOL, "market", "buy", 0.5)
    assert (bought["status"], bought["filled"], bought["average"]) == ("closed", 0.5, 50_000)
    seen = bob.fetch_order(berg["id"], SYMBOL)
    assert (seen["filled"], seen["info"]["icebergQty"]) == (0.4, "0.20000000")
    assert alice.fetch_order_book(SYMBOL)["asks"] == [[50_000, 0.2]]


def test_market_orders_by_cost_and_post_only(alice: Any, bob: Any) -> None:
    bob.create_order(SYMBOL, "limit", "sell", 1, 60_000)
    bought = alice.create_order(SYMBOL, "market", "buy", None, None, {"cost": 600})
    assert (bought["filled"], bought["cost"]) == (0.01, 600)
    with pytest.raises(ccxt.OrderImmediatelyFillable):
        alice.create_order(SYMBOL, "limit", "buy", 0.01, 61_000, {"postOnly": True})
    rested = alice.create_order(SYMBOL, "limit", "buy", 0.01, 59_000, {"postOnly": True})
    assert (rested["status"], rested["postOnly"]) == ("open", True)
    alice.cancel_order(rested["id"], SYMBOL)
    bob.create_order(SYMBOL, "limit", "buy", 1, 58_000)
    sold = alice.create_market_sell_order_with_cost(SYMBOL, 290)
    assert (sold["filled"], sold["cost"]) == (0.005, 290)


def test_times_in_force(alice: Any, bob: Any) -> None:
    bob.create_order(SYMBOL, "limit", "sell", 0.1, 50_000)
    killed = alice.create_order(SYMBOL, "limit", "buy", 0.2, 50_000, {"timeInForce": "FOK"})
    assert (killed["status"], killed["filled"]) == ("expired", 0)
    partly = alice.create_order(SYMBOL, "limit", "buy", 0.2, 50_000, {"timeInForce": "IOC"})
    assert (partly["status"], partly["filled"]) == ("expired", 0.1)
    starved = alice.create_order(SYMBOL, "market", "buy", 0.2)
    assert (starved["status"], starved["filled"]) == ("expired", 0)


def test_a_stop_limit_rests_and_cancels(alice: Any, bob: Any) -> None:
    set_last_price(alice, bob, 50_000)
    stop = alice.create_order(SYMBOL, "limit", "sell", 0.01, 44_000, {"triggerPrice": 45_000})
    seen = alice.fetch_order(stop["id"], SYMBOL)
    assert (seen["status"], seen["triggerPrice"], seen["type"]) == ("open", 45_000, "limit")
    assert alice.cancel_order(stop["id"], SYMBOL)["status"] == "canceled"


def test_a_stop_loss_triggers_and_sells(alice: Any, bob: Any) -> None:
    set_last_price(alice, bob, 50_000)
    stop = alice.create_order(SYMBOL, "market", "sell", 0.01, None, {"triggerPrice": 45_000})
    bob.create_order(SYMBOL, "limit", "buy", 0.03, 44_900)
    assert alice.fetch_order(stop["id"], SYMBOL)["status"] == "open"
    alice.create_order(SYMBOL, "limit", "sell", 0.01, 44_900)
    done = alice.fetch_order(stop["id"], SYMBOL)
    assert (done["status"], done["filled"], done["average"]) == ("closed", 0.01, 44_900)


def test_a_take_profit_triggers_and_rests(alice: Any, bob: Any) -> None:
    set_last_price(alice, bob, 50_000)
    profit = alice.create_order(SYMBOL, "limit", "sell", 0.01, 56_000, {"takeProfitPrice": 55_000})
    assert alice.fetch_order_book(SYMBOL)["asks"] == []
    set_last_price(alice, bob, 55_000)
    assert alice.fetch_order_book(SYMBOL)["asks"] == [[56_000, 0.01]]
    assert alice.cancel_order(profit["id"], SYMBOL)["status"] == "canceled"


def test_self_trade_prevention(alice: Any) -> None:
    resting = alice.create_order(SYMBOL, "limit", "sell", 0.01, 50_000)
    taken = alice.create_order(SYMBOL, "limit", "buy", 0.01, 50_000, {"selfTradePrevention": "EXPIRE_MAKER"})
    assert (taken["status"], taken["filled"]) == ("open", 0)
    ended = alice.fetch_order(resting["id"], SYMBOL)
    assert (ended["info"]["status"], ended["filled"]) == ("EXPIRED_IN_MATCH", 0)
    alice.cancel_order(taken["id"], SYMBOL)


def test_market_data(alice: Any, bob: Any) -> None:
    set_last_price(alice, bob, 50_000)
    bob.create_order(SYMBOL, "limit", "sell", 0.3, 50_500)
    bob.create_order(SYMBOL, "limit", "buy", 0.2, 49_500)
    assert alice.fetch_trades(SYMBOL)[-1]["price"] == 50_000
    ticker = alice.fetch_ticker(SYMBOL)
    assert (ticker["last"], ticker["bid"], ticker["ask"]) == (50_000, 49_500, 50_500)
    assert ticker["low"] <= ticker["vwap"] <= ticker["high"]
    assert set(alice.fetch_tickers()) == {"BTC/USDT", "ETH/USDT"}
    best = alice.fetch_bids_asks([SYMBOL])[SYMBOL]
    assert (best["bid"], best["bidVolume"], best["ask"], best["askVolume"]) == (49_500, 0.2, 50_500, 0.3)
    assert alice.fetch_last_prices([SYMBOL])[SYMBOL]["price"] == 50_000
    for interval in INTERVALS:
        candle = alice.fetch_ohlcv(SYMBOL, interval)[-1]
        assert candle[2] >= max(candle[1], candle[4]) >= min(candle[1], candle[4]) >= candle[3] > 0


def test_reads_of_the_past_are_paged(alice: Any, bob: Any) -> None:
    for _ in range(3):
        set_last_price(alice, bob, 50_000)
    orders = alice.fetch_orders(SYMBOL)
    assert [order["id"] for order in alice.fetch_orders(SYMBOL, limit=2)] == [order["id"] for order in orders[-2:]]
    since = orders[-2]["timestamp"]
    assert all(order["timestamp"] >= since for order in alice.fetch_orders(SYMBOL, since=since))
    trades = alice.fetch_my_trades(SYMBOL)
    assert [trade["id"] for trade in alice.fetch_my_trades(SYMBOL, limit=2)] == [trade["id"] for trade in trades[-2:]]
    page = alice.fetch_my_trades(SYMBOL, params={"fromId": trades[-2]["id"]})
    assert [trade["id"] for trade in page] == [trade["id"] for trade in trades[-2:]]


def test_sapi_stubs_let_the_defaults_load(client: Callable[..., Any]) -> None:
    """The third way of the README: nothing switched off, every host ours."""
    exchange = client("alice", sapi=True)
    assert set(exchange.load_markets()) == {"BTC/USDT", "ETH/USDT"}
    assert exchange.fetch_status()["status"] == "ok"
    assert exchange.fetch_trading_fee(SYMBOL)["maker"] == exchange.fetch_trading_fees()[SYMBOL]["maker"]


def test_the_sandbox_way(address: str) -> None:
    options = ccxt_options(address, "alice")
    options["urls"] = {"test": options["urls"]["api"]}
    exchange = ccxt.binance(options)
    exchange.set_sandbox_mode(True)
    assert set(exchange.load_markets()) == {"BTC/USDT", "ETH/USDT"}
    assert exchange.fetch_balance()["BTC"]["total"] > 0
    exchange.session.close()


@pytest.mark.parametrize("name", ["carol", "erin"])
def test_accounts_with_ed25519_and_rsa_keys_trade(client: Callable[..., Any], name: str) -> None:
    signer = client(name)
    placed = signer.create_order(SYMBOL, "limit", "buy", 0.01, 40_000)
    assert signer.cancel_order(placed["id"], SYMBOL)["status"] == "canceled"
