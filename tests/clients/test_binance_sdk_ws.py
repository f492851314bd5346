# SPDX-License-Identifier: Apache-2.0
"""Every WebSocket API method of binance-sdk-spot, from a table, and its session by Ed25519: each answer fits the strict
model. NOT_YET says which methods bidhall does not answer so far, as in test_binance_sdk_surface.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import pytest_asyncio

from tests.clients import test_binance_sdk_surface as rest
from tests.clients.pointing import sdk
from tests.clients.sdk_strictness import plain, strictly
from tests.clients.test_binance_sdk_surface import LIMIT, SYMBOL, Stage, just, replacing
from tests.serving import ServerProcess

pytest.importorskip("binance_sdk_spot")
pytestmark = pytest.mark.filterwarnings("default")
PATIENCE_S = 20

ANSWERED: dict[str, list[Callable[[Stage], dict[str, Any]]]] = {
    **{
        name: rest.ANSWERED[same]
        for name, same in (
            ("ping", "ping"), ("time", "time"), ("exchange_info", "exchange_info"), ("depth", "depth"),
            ("trades_recent", "get_trades"), ("trades_historical", "historical_trades"),
            ("trades_aggregate", "agg_trades"), ("klines", "klines"), ("ui_klines", "ui_klines"),
            ("avg_price", "avg_price"), ("ticker24hr", "ticker24hr"), ("ticker_trading_day", "ticker_trading_day"),
            ("ticker", "ticker"), ("ticker_price", "ticker_price"), ("ticker_book", "ticker_book_ticker"),
            ("account_status", "get_account"), ("account_commission", "account_commission"),
            ("account_rate_limits_orders", "rate_limit_order"), ("open_orders_status", "get_open_orders"),
            ("all_orders", "all_orders"), ("order_status", "get_order"), ("my_trades", "my_trades"),
            ("my_prevented_matches", "my_prevented_matches"), ("my_filters", "my_filters"),
            ("order_amendments", "order_amendments"), ("order_place", "new_order"), ("order_test", "order_test"),
            ("order_cancel", "delete_order"), ("order_cancel_replace", "order_cancel_replace"),
            ("order_amend_keep_priority", "order_amend_keep_priority"),
            ("open_orders_cancel_all", "delete_open_orders"),
        )
    },
    "session_status": [just()],
    "session_subscriptions": [just()],
    "user_data_stream_subscribe_signature": [just()],
    "user_data_stream_unsubscribe": [just()],
}  # fmt: skip

NOT_YET: dict[str, dict[str, Any]] = {
    **{
        name: rest.NOT_YET[same]
        for name, same in (
            ("order_list_place", "order_oco"), ("order_list_place_oco", "order_list_oco"),
            ("order_list_place_oto", "order_list_oto"), ("order_list_place_otoco", "order_list_otoco"),
            ("order_list_place_opo", "order_list_opo"), ("order_list_place_opoco", "order_list_opoco"),
            ("order_list_status", "get_order_list"), ("all_order_lists", "all_order_list"),
            ("open_order_lists_status", "open_order_list"), ("order_list_cancel", "delete_order_list"),
            ("sor_order_place", "sor_order"), ("sor_order_test", "sor_order_test"),
            ("my_allocations", "my_allocations"), ("execution_rules", "execution_rules"),
            ("reference_price", "reference_price"), ("reference_price_calculation", "reference_price_calculation"),
            ("block_trades_historical", "historical_block_trades"),
        )
    },
}  # fmt: skip

WITH_A_SESSION = {"session_logon", "session_logout", "user_data_stream_subscribe"}  # a test of their own
NO_CALLS = {"create_connection", "close_connection", "ping_server", "unsubscribe", "on_connection", "off_connection",
            "send_message", "send_signed_message"}  # fmt: skip


@pytest.fixture(scope="module", name="stage")
def make_stage(server: ServerProcess) -> Iterator[Stage]:
    stage = Stage(f"{server.host}:{server.port}")
    yield stage
    for client in (stage.alice, stage.bob):
        client._session.close()


@pytest_asyncio.fixture(name="connection")
async def make_connection(address: str) -> AsyncIterator[Any]:
    connection = await sdk(address, "alice").websocket_api.create_connection()
    yield connection
    await connection.close_connection()


def test_the_tables_hold_every_method() -> None:
    from binance_sdk_spot.websocket_api.websocket_api import SpotWebSocketAPI

    methods = {name for name in vars(SpotWebSocketAPI) if not name.startswith("_")} - NO_CALLS
    assert methods == ANSWERED.keys() | NOT_YET.keys() | WITH_A_SESSION
    assert not ANSWERED.keys() & NOT_YET.keys()


@pytest.mark.parametrize("method", ANSWERED)
async def test_an_answer_fits_the_strict_model(stage: Stage, connection: Any, method: str) -> None:
    for make in ANSWERED[method]:
        arguments = make(stage)
        arguments.pop("order", None)
        with strictly():
            answer = await getattr(connection, method)(**arguments)
            answer = getattr(answer, "response", answer)
            data = answer.data()
            assert not isinstance(data, dict), f"{method}({arguments}): {data}"
        whole = plain(data)
        assert method == "my_filters" or whole["status"] == 200  # whose model forgot that answers have a frame
        assert answer.rate_limits
        if method in ("account_status", "all_orders", "my_trades", "depth", "trades_recent", "order_status"):
            assert whole["result"]


@pytest.mark.parametrize("method", NOT_YET)
async def test_what_is_not_there_yet_is_refused_cleanly(connection: Any, method: str) -> None:
    data = (await getattr(connection, method)(**NOT_YET[method])).data()
    assert data["error"]["code"] == -1020


async def test_refusals_by_websocket_carry_the_codes(connection: Any) -> None:
    refused = (await connection.order_place(**{**LIMIT, "quantity": 5_000}, price=50_000)).data()
    assert refused["error"] == {"code": -2010, "msg": "Account has insufficient balance for requested action."}
    refused = (await connection.order_cancel(symbol=SYMBOL, order_id=999_999_999)).data()
    assert refused["error"] == {"code": -2011, "msg": "Unknown order sent."}
    unknown = replacing()(FakeStage())
    refused = (await connection.order_cancel_replace(**unknown)).data()["error"]
    assert (refused["code"], refused["data"]["cancelResult"], refused["data"]["newOrderResult"]) == (
        -2022, "FAILURE", "NOT_ATTEMPTED",
    )  # fmt: skip


class FakeStage(Stage):
    """Whose orders are unknown to the server."""

    def __init__(self) -> None:
        pass

    def order(self, quantity: float = 0.01) -> int:
        return 999_999_999


async def test_a_session_by_ed25519(address: str, stage: Stage) -> None:
    """Logon, then requests and a user data stream without a signature of their own, then logout."""
    carol = await sdk(address, "carol").websocket_api.create_connection()
    with strictly():
        logon = (await carol.session_logon()).data()
        assert logon.status == 200
        assert (await carol.session_status()).data().result.api_key == logon.result.api_key
        subscribed = await carol.user_data_stream_subscribe()
        events: list[Any] = []
        subscribed.stream.on("message", events.append)
        placed = (await carol.order_place(**LIMIT, price=40_000)).data().result
        assert placed.status == "NEW"
        async with asyncio.timeout(PATIENCE_S):
            while len(events) < 2:  # noqa: ASYNC110 - the library calls back
                await asyncio.sleep(0.01)
        report, position = (event.actual_instance for event in events[:2])
        assert (report.i, report.x) == (placed.order_id, "NEW")
        assert {balance.a for balance in position.B} == {"USDT"}
        assert (await carol.order_cancel(symbol=SYMBOL, order_id=placed.order_id)).data().result.status == "CANCELED"
        assert (await carol.session_logout()).data().status == 200
        assert (await carol.session_status()).data().result.api_key is None
    await carol.close_connection()
