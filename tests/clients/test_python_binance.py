# SPDX-License-Identifier: Apache-2.0
"""python-binance over a real socket: place, fill, query, cancel; its user stream; by the README's snippet."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from tests.serving import key_secret, key_text

binance = pytest.importorskip("binance")
pytestmark = pytest.mark.filterwarnings("default")
SYMBOL = "BTCUSDT"


@pytest.fixture(autouse=True)
def point_at_us(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The snippet: class attributes, set before any client is made."""
    from binance import BinanceSocketManager
    from binance.base_client import BaseClient

    monkeypatch.setattr(BaseClient, "API_URL", f"http://{address}/api")
    monkeypatch.setattr(BaseClient, "WS_API_URL", f"ws://{address}/ws-api/v3")
    monkeypatch.setattr(BinanceSocketManager, "STREAM_URL", f"ws://{address}/")


def make(name: str) -> Any:
    return binance.Client(key_text(name), key_secret(name))


@pytest.fixture(name="alice")
def make_alice() -> Iterator[Any]:
    client = make("alice")
    yield client
    client.close_connection()


@pytest.fixture(name="bob")
def make_bob() -> Iterator[Any]:
    client = make("bob")
    yield client
    client.close_connection()


def test_place_query_and_cancel(alice: Any) -> None:
    placed = alice.order_limit_buy(symbol=SYMBOL, quantity="0.01", price="40000.00")
    assert placed["status"] == "NEW"
    assert placed["fills"] == []
    seen = alice.get_order(symbol=SYMBOL, orderId=placed["orderId"])
    assert (seen["price"], seen["origQty"], seen["status"]) == ("40000.00000000", "0.01000000", "NEW")
    assert [order["orderId"] for order in alice.get_open_orders(symbol=SYMBOL)] == [placed["orderId"]]
    assert alice.get_asset_balance("USDT")["locked"] == "400.00000000"
    gone = alice.cancel_order(symbol=SYMBOL, orderId=placed["orderId"])
    assert gone["status"] == "CANCELED"
    assert gone["origClientOrderId"] == placed["clientOrderId"]
    assert alice.get_open_orders(symbol=SYMBOL) == []


def test_two_accounts_trade(alice: Any, bob: Any) -> None:
    bob.order_limit_sell(symbol=SYMBOL, quantity="0.5", price="50000")
    bought = alice.order_market_buy(symbol=SYMBOL, quantity="0.2")
    assert bought["status"] == "FILLED"
    assert [(fill["price"], fill["qty"]) for fill in bought["fills"]] == [("50000.00000000", "0.20000000")]
    assert bought["cummulativeQuoteQty"] == "10000.00000000"
    mine = alice.get_my_trades(symbol=SYMBOL)[-1]
    assert (mine["qty"], mine["isMaker"], mine["commissionAsset"]) == ("0.20000000", False, "BTC")
    assert bob.get_my_trades(symbol=SYMBOL)[-1]["isMaker"]
    assert alice.get_order_book(symbol=SYMBOL)["asks"] == [["50000.00000000", "0.30000000"]]
    assert alice.get_all_orders(symbol=SYMBOL)[-1]["status"] == "FILLED"
    assert len(bob.cancel_all_open_orders(symbol=SYMBOL)) == 1


def test_refusals_carry_the_codes(alice: Any) -> None:
    from binance.exceptions import BinanceAPIException

    with pytest.raises(BinanceAPIException) as caught:
        alice.order_limit_buy(symbol=SYMBOL, quantity="5000", price="50000")
    assert (caught.value.code, caught.value.status_code) == (-2010, 400)
    assert caught.value.message == "Account has insufficient balance for requested action."
    with pytest.raises(BinanceAPIException) as caught:
        alice.cancel_order(symbol=SYMBOL, orderId=999_999_999)
    assert caught.value.code == -2011


async def test_user_stream_reports_the_order() -> None:
    client = await binance.AsyncClient.create(key_text("alice"), key_secret("alice"))
    try:
        async with binance.BinanceSocketManager(client).user_socket() as stream:
            await asyncio.sleep(0.5)
            placed = await client.order_limit_buy(symbol=SYMBOL, quantity="0.01", price="39000.00")
            report: dict[str, Any] = {}
            while report.get("e") != "executionReport":
                received = await asyncio.wait_for(stream.recv(), 20)
                report = received.get("event", received)
            assert (report["i"], report["x"], report["X"]) == (placed["orderId"], "NEW", "NEW")
            await client.cancel_order(symbol=SYMBOL, orderId=placed["orderId"])
    finally:
        await client.close_connection()


async def test_depth_cache_matches_the_book() -> None:
    client = await binance.AsyncClient.create(key_text("bob"), key_secret("bob"))
    try:
        placed = await client.order_limit_buy(symbol=SYMBOL, quantity="0.01", price="38000.00")
        async with binance.DepthCacheManager(client, SYMBOL) as cache:
            second = await client.order_limit_buy(symbol=SYMBOL, quantity="0.02", price="38500.00")
            bids: list[list[float]] = []
            while not bids or bids[0] != [38_500.0, 0.02]:
                bids = (await asyncio.wait_for(cache.recv(), 20)).get_bids()
            assert bids[1] == [38_000.0, 0.01]
        for order in (placed, second):
            await client.cancel_order(symbol=SYMBOL, orderId=order["orderId"])
    finally:
        await client.close_connection()
