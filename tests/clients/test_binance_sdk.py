# SPDX-License-Identifier: Apache-2.0
"""binance-sdk-spot (the official one) trades over a real socket, by the README's snippet.

That every method's answer fits its strict models is in test_binance_sdk_surface.py, _ws.py and _streams.py.
"""

from typing import Any

import pytest

from tests.clients.pointing import sdk

pytest.importorskip("binance_sdk_spot")
pytestmark = pytest.mark.filterwarnings("default")
SYMBOL = "BTCUSDT"


def make(address: str, name: str) -> Any:
    return sdk(address, name).rest_api


@pytest.fixture(name="alice")
def make_alice(address: str) -> Any:
    return make(address, "alice")


@pytest.fixture(name="bob")
def make_bob(address: str) -> Any:
    return make(address, "bob")


def test_exchange_info_and_account(alice: Any) -> None:
    info = alice.exchange_info().data()
    assert [symbol.symbol for symbol in info.symbols] == ["BTCUSDT", "ETHUSDT"]
    account = alice.get_account().data()
    assert account.can_trade
    assert {balance.asset for balance in account.balances} == {"BTC", "ETH", "USDT"}


def test_place_query_and_cancel(alice: Any) -> None:
    placed = alice.new_order(
        symbol=SYMBOL, side="BUY", type="LIMIT", time_in_force="GTC", quantity=0.01, price=40_000
    ).data()
    assert placed.status == "NEW"
    seen = alice.get_order(symbol=SYMBOL, order_id=placed.order_id).data()
    assert (seen.price, seen.orig_qty, seen.status) == ("40000.00000000", "0.01000000", "NEW")
    assert [order.order_id for order in alice.get_open_orders(symbol=SYMBOL).data()] == [placed.order_id]
    gone = alice.delete_order(symbol=SYMBOL, order_id=placed.order_id).data()
    assert gone.status == "CANCELED"
    assert alice.get_open_orders(symbol=SYMBOL).data() == []


def test_two_accounts_trade(alice: Any, bob: Any) -> None:
    bob.new_order(symbol=SYMBOL, side="SELL", type="LIMIT", time_in_force="GTC", quantity=0.5, price=50_000)
    bought = alice.new_order(symbol=SYMBOL, side="BUY", type="MARKET", quantity=0.2).data()
    assert bought.status == "FILLED"
    assert [(fill.price, fill.qty) for fill in bought.fills] == [("50000.00000000", "0.20000000")]
    mine = alice.my_trades(symbol=SYMBOL).data()
    assert (mine[-1].qty, mine[-1].is_maker) == ("0.20000000", False)
    assert alice.depth(symbol=SYMBOL).data().asks == [["50000.00000000", "0.30000000"]]
    assert bob.delete_open_orders(symbol=SYMBOL).data()


def test_refusals_carry_the_codes(alice: Any) -> None:
    from binance_common.errors import BadRequestError

    with pytest.raises(BadRequestError, match="insufficient balance"):
        alice.new_order(symbol=SYMBOL, side="BUY", type="LIMIT", time_in_force="GTC", quantity=5_000, price=50_000)
    with pytest.raises(BadRequestError, match="Unknown order sent"):
        alice.delete_order(symbol=SYMBOL, order_id=999_999_999)


@pytest.mark.parametrize("name", ["carol", "erin"])
def test_accounts_with_ed25519_and_rsa_keys_trade(address: str, name: str) -> None:
    signer = make(address, name)
    placed = signer.new_order(
        symbol=SYMBOL, side="BUY", type="LIMIT", time_in_force="GTC", quantity=0.01, price=40_000
    ).data()
    assert signer.delete_order(symbol=SYMBOL, order_id=placed.order_id).data().status == "CANCELED"
