# SPDX-License-Identifier: Apache-2.0
"""ccxt's exception for each refusal of binance_api.md §5: bots act on the class, and the class hangs on our exact text.

Each row is a request that is wrong in one way. Over a real socket, by the README's snippet; a second server has the
production limits of the door, small enough to meet.
"""

import json
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.pointing import ccxt_options
from tests.serving import ServerProcess, key_text, seed_document, serving

ccxt = pytest.importorskip("ccxt")
pytestmark = pytest.mark.filterwarnings("default")
SYMBOL = "BTC/USDT"
ORDER = {
    "symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01", "price": "40000",
}  # fmt: skip


def admin(server: ServerProcess, method: str, path: str, body: dict[str, Any]) -> Any:
    """One call of the admin API."""
    request = urllib.request.Request(
        f"http://{server.host}:{server.admin_port}{path}",
        data=json.dumps(body).encode(),
        method=method,
        headers={"X-Admin-Key": server.admin_key, "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read())


@pytest.fixture(name="client")
def make_client(address: str) -> Iterator[Callable[[str], Any]]:
    made: list[Any] = []

    def client(name: str) -> Any:
        made.append(ccxt.binance(ccxt_options(address, name)))
        return made[-1]

    yield client
    for exchange in made:
        exchange.session.close()


@pytest.fixture(name="alice")
def make_alice(client: Callable[[str], Any]) -> Any:
    return client("alice")


@pytest.fixture(name="book")
def make_book(client: Callable[[str], Any]) -> Iterator[None]:
    """Bob offers at 50000, where the last trade was."""
    bob, alice = client("bob"), client("alice")
    bob.create_order(SYMBOL, "limit", "sell", 1, 50_000)
    alice.create_order(SYMBOL, "market", "buy", 0.01)
    yield
    bob.cancel_all_orders(SYMBOL)


REFUSED_ORDERS = [
    # What is different, ccxt's class, code and text. Where the text decides, ccxt leaves the code out.
    ({"quantity": "5000", "price": "50000"}, "InsufficientFunds", "Account has insufficient balance for reques"),
    ({"quantity": "0.000001"}, "InvalidOrder", "-1013.*Filter failure: LOT_SIZE"),
    ({"quantity": "0.010001"}, "InvalidOrder", "-1013.*Filter failure: LOT_SIZE"),
    ({"price": "40000.001"}, "InvalidOrder", "-1013.*Filter failure: PRICE_FILTER"),
    ({"quantity": "0.0001"}, "BadRequest", "-1013.*Filter failure: NOTIONAL"),
    ({"quantity": "0.123456789"}, "BadRequest", "-1111.*Parameter 'quantity' has too much precision."),
    ({"price": "40000.123456789"}, "BadRequest", "-1111.*Parameter 'price' has too much precision."),
    ({"symbol": "NOPE"}, "BadSymbol", "-1121.*Invalid symbol."),
    ({"side": "BOTH"}, "BadRequest", "-1117.*Invalid side."),
    ({"type": "SOON"}, "BadRequest", "-1116.*Invalid orderType."),
    ({"timeInForce": "GTX"}, "BadRequest", "-1115.*Invalid timeInForce."),
    ({"quantity": None}, "BadRequest", "-1102.*Mandatory parameter 'quantity' was not sent"),
    ({"price": None}, "BadRequest", "-1102.*Mandatory parameter 'price' was not sent"),
    ({"price": "-1"}, "BadRequest", "-1100.*Illegal characters found in parameter 'price'"),
    ({"quantity": "0,01"}, "BadRequest", "-1100.*Illegal characters found in parameter 'quantity'"),
    ({"newClientOrderId": "no spaces"}, "BadRequest", "-1100.*Illegal characters found in parameter 'newClientOrderI"),
    ({"colour": "red"}, "BadRequest", "-1104.*Not all sent parameters were read; read '10' param"),
    (
        {"type": "LIMIT_MAKER", "timeInForce": None, "price": "50000"},
        "OrderImmediatelyFillable", "Order would immediately match and take.",
    ),
    (
        {"type": "STOP_LOSS", "timeInForce": None, "price": None, "stopPrice": "49000"},
        "OrderImmediatelyFillable", "Order would trigger immediately.",
    ),
    ({"strategyType": "999"}, "ExchangeError", "-1134"),
    ({"icebergQty": "0.00001"}, "BadRequest", "-1013.*Filter failure: ICEBERG_PARTS"),
    ({"recvWindow": "60001"}, "BadRequest", "-1102|-1131"),
    ({"newOrderRespType": "LOUD"}, "BadRequest", "-1136|-1130"),
]  # fmt: skip


@pytest.mark.usefixtures("book")
@pytest.mark.parametrize(("change", "kind", "text"), REFUSED_ORDERS, ids=[str(row[0]) for row in REFUSED_ORDERS])
def test_a_refused_order_is_the_right_exception(alice: Any, change: dict[str, Any], kind: str, text: str) -> None:
    order = {name: value for name, value in {**ORDER, **change}.items() if value is not None}
    before = alice.fetch_balance()
    with pytest.raises(ccxt.BaseError, match=text) as caught:
        alice.private_post_order(order)
    assert type(caught.value).__name__ == kind
    after = alice.fetch_balance()
    assert {asset: after[asset] for asset in ("BTC", "USDT")} == {asset: before[asset] for asset in ("BTC", "USDT")}
    assert alice.fetch_open_orders(SYMBOL) == []


def exception_of(call: Callable[[], Any]) -> tuple[str, str]:
    """The name of the class and the text."""
    with pytest.raises(ccxt.BaseError) as caught:
        call()
    return type(caught.value).__name__, str(caught.value)


def test_what_is_not_there(alice: Any) -> None:
    unknown = "999999999"
    kind, text = exception_of(lambda: alice.cancel_order(unknown, SYMBOL))
    assert (kind, "-2011" in text, "Unknown order sent." in text) == ("OrderNotFound", True, True)
    kind, text = exception_of(lambda: alice.fetch_order(unknown, SYMBOL))
    assert (kind, "-2013" in text, "Order does not exist." in text) == ("OrderNotFound", True, True)
    kind, text = exception_of(lambda: alice.private_delete_openorders({"symbol": "BTCUSDT"}))
    assert (kind, "-2011" in text) == ("OrderNotFound", True)
    kind, text = exception_of(lambda: alice.public_get_depth({"symbol": "NOPE"}))
    assert (kind, "-1121" in text) == ("BadSymbol", True)


def test_a_finished_order_cannot_be_cancelled_and_a_client_id_not_be_used_twice(alice: Any) -> None:
    placed = alice.create_order(SYMBOL, "limit", "buy", 0.01, 40_000, {"clientOrderId": "twice"})
    again = {"clientOrderId": "twice"}
    kind, text = exception_of(lambda: alice.create_order(SYMBOL, "limit", "buy", 0.01, 41_000, again))
    assert (kind, "Duplicate order sent." in text) == ("InvalidOrder", True)
    request = {"symbol": "BTCUSDT", "orderId": placed["id"], "origClientOrderId": "another"}
    kind, text = exception_of(lambda: alice.private_get_order(request))
    assert (kind, "-2039" in text) == ("ExchangeError", True)
    alice.cancel_order(placed["id"], SYMBOL)
    assert exception_of(lambda: alice.cancel_order(placed["id"], SYMBOL))[0] == "OrderNotFound"


def test_amends_that_are_refused(alice: Any) -> None:
    """ccxt has no method for it; `request` is its way to any endpoint."""
    placed = alice.create_order(SYMBOL, "limit", "buy", 0.02, 40_000)

    def amend(quantity: str) -> Any:
        request = {"symbol": "BTCUSDT", "orderId": placed["id"], "newQty": quantity}
        return alice.request("order/amend/keepPriority", ["private"], "PUT", request)

    for quantity in ("0.02", "0.03"):
        kind, text = exception_of(lambda: amend(quantity))  # noqa: B023 - called at once
        assert (kind, "-2038" in text) == ("ExchangeError", True), text
    assert amend("0.01")["amendedOrder"]["qty"] == "0.01000000"
    alice.cancel_order(placed["id"], SYMBOL)


def test_who_may_not(address: str, client: Callable[[str], Any], alice: Any) -> None:
    kind, text = exception_of(client("nobody").fetch_balance)
    assert (kind, "-2015" in text) == ("AuthenticationError", True)
    for field, value, said in (
        ("apiKey", "not a key", "API-key format invalid."),
        ("secret", "wrong", "Signature for this request is not valid."),
    ):  # fmt: skip
        exchange = ccxt.binance({**ccxt_options(address, "alice"), field: value})
        kind, text = exception_of(exchange.fetch_balance)
        assert (kind, said in text) == ("AuthenticationError", True), text
        exchange.session.close()
    exchange = ccxt.binance(ccxt_options(address, "alice"))
    exchange.nonce = lambda: exchange.milliseconds() - 60_000
    kind, text = exception_of(exchange.fetch_balance)
    assert (kind, "-1021" in text, "outside of the recvWindow" in text) == ("InvalidNonce", True, True)
    exchange.nonce = lambda: exchange.milliseconds() + 60_000
    kind, text = exception_of(exchange.fetch_balance)
    assert (kind, "-1021" in text, "ahead of the server's time" in text) == ("InvalidNonce", True, True)
    exchange.session.close()


def test_closed_markets_and_barred_accounts(server: ServerProcess, alice: Any) -> None:
    resting = alice.create_order("ETH/USDT", "limit", "buy", 1, 2_000)
    for state in ("HALT", "BREAK", "CANCEL_ONLY"):
        admin(server, "PUT", "/admin/markets/ETHUSDT/state", {"state": state})
        kind, text = exception_of(lambda: alice.create_order("ETH/USDT", "limit", "buy", 1, 2_000))
        assert (kind, "Market is closed." in text) == ("MarketClosed", True), state
        assert not alice.load_markets(True)["ETH/USDT"]["active"]
    assert alice.cancel_order(resting["id"], "ETH/USDT")["status"] == "canceled"
    admin(server, "PUT", "/admin/markets/ETHUSDT/state", {"state": "TRADING"})
    placed = alice.create_order("ETH/USDT", "limit", "buy", 1, 2_000)
    assert alice.cancel_order(placed["id"], "ETH/USDT")["status"] == "canceled"


@pytest.fixture(scope="module", name="strict")
def make_strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with limits that a test can meet."""
    limits = {"BIDHALL_DOOR__WEIGHT_PER_MINUTE_MAX": "400", "BIDHALL_DOOR__ORDERS_PER_10_SECONDS_MAX": "3"}
    document = seed_document(("alice", "bob"))
    document["accounts"][1]["keys"][0]["permissions"] = ["read"]
    folder: Path = tmp_path_factory.mktemp("strict") / "bidhall"
    with serving(folder, seed=document, environment=limits) as process:
        yield process


def test_limits_and_permissions(strict: ServerProcess) -> None:
    """In this order: the last one bans this address from the server."""
    address = f"{strict.host}:{strict.port}"
    alice, bob = (ccxt.binance({**ccxt_options(address, name), "enableRateLimit": False}) for name in ("alice", "bob"))
    bob.load_markets()
    kind, text = exception_of(lambda: bob.create_order(SYMBOL, "limit", "buy", 0.01, 40_000))
    assert (kind, "-2015" in text) == ("AuthenticationError", True)
    for _ in range(3):
        alice.create_order(SYMBOL, "limit", "buy", 0.01, 40_000)
    kind, text = exception_of(lambda: alice.create_order(SYMBOL, "limit", "buy", 0.01, 40_000))
    assert (kind, "-1015" in text) == ("DDoSProtection", True)  # the 429 decides

    def read_much() -> None:
        for _ in range(40):
            alice.fetch_balance()

    kind, text = exception_of(read_much)
    assert (kind, "-1003" in text) == ("DDoSProtection", True)
    assert key_text("alice") not in text
    for exchange in (alice, bob):
        exchange.session.close()
