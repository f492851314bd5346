# SPDX-License-Identifier: Apache-2.0
"""binance-sdk-spot on the streams and the WebSocket API: its strict models parse what we send (reference §12.4)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.feeds.door import Http, Venue
from tests.serving import key_secret, key_text

pytest.importorskip("binance_sdk_spot")
pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture
async def venue() -> AsyncIterator[Venue]:
    made = await Venue().start()
    yield made
    await made.stop()


def make(port: int) -> Any:
    """The snippet."""
    from binance_common.configuration import (
        ConfigurationRestAPI,
        ConfigurationWebSocketAPI,
        ConfigurationWebSocketStreams,
    )
    from binance_sdk_spot.spot import Spot

    address, key, secret = f"127.0.0.1:{port}", key_text("alice"), key_secret("alice")
    return Spot(
        config_rest_api=ConfigurationRestAPI(
            api_key=key, api_secret=secret, base_path=f"http://{address}", timeout=5000
        ),
        config_ws_api=ConfigurationWebSocketAPI(api_key=key, api_secret=secret, stream_url=f"ws://{address}/ws-api/v3"),
        config_ws_streams=ConfigurationWebSocketStreams(stream_url=f"ws://{address}"),
    )


async def trade(venue: Venue) -> None:
    alice, bob = await Http(venue.port, "alice").open(), await Http(venue.port, "bob").open()
    await bob.limit("SELL", 50_000, 0.02)
    await alice.limit("BUY", 50_000, 0.01)
    alice.close()
    bob.close()


async def test_streams_parse_into_the_models(venue: Venue) -> None:
    streams = make(venue.port).websocket_streams
    connection = await streams.create_connection()
    seen: dict[str, list[Any]] = {}
    errors: list[Any] = []
    streams.on_connection("error", lambda *error: errors.append(error))
    names = {
        "trade": connection.trade(symbol="btcusdt"),
        "agg_trade": connection.agg_trade(symbol="btcusdt"),
        "book_ticker": connection.book_ticker(symbol="btcusdt"),
        "diff_book_depth": connection.diff_book_depth(symbol="btcusdt"),
        "partial_book_depth": connection.partial_book_depth(symbol="btcusdt", levels="5"),
        "kline": connection.kline(symbol="btcusdt", interval="1s"),
        "mini_ticker": connection.mini_ticker(symbol="btcusdt"),
        "ticker": connection.ticker(symbol="btcusdt"),
        "avg_price": connection.avg_price(symbol="btcusdt"),
        "all_mini_ticker": connection.all_mini_ticker(),
    }
    for name, request in names.items():
        handle = await request
        handle.on("message", lambda message, name=name: seen.setdefault(name, []).append(message))
    await trade(venue)
    async with asyncio.timeout(10):
        while len(seen) < len(names):  # noqa: ASYNC110 - the library calls back
            await asyncio.sleep(0.02)
    assert not errors
    traded = seen["trade"][0]
    assert (traded.p, traded.q, traded.m) == ("50000.00000000", "0.01000000", False)
    assert seen["diff_book_depth"][-1].a == [["50000.00000000", "0.01000000"]]
    assert {"o", "c", "x"} <= seen["kline"][0].k.__class__.model_fields.keys() or seen["kline"][0].k
    assert seen["ticker"][0].s == "BTCUSDT"
    await connection.close_connection()


async def test_user_data_and_requests_parse_into_the_models(venue: Venue) -> None:
    api = make(venue.port).websocket_api
    connection = await api.create_connection()
    assert (await connection.ping()).data().status == 200
    assert (await connection.time()).data().result.server_time > 0
    subscribed = await connection.user_data_stream_subscribe_signature()
    events: list[Any] = []
    errors: list[Any] = []
    api.on_connection("error", lambda *error: errors.append(error))
    subscribed.stream.on("message", events.append)
    await trade(venue)
    async with asyncio.timeout(10):
        while len(events) < 3:  # noqa: ASYNC110 - the library calls back
            await asyncio.sleep(0.02)
    assert not errors
    new, traded, position = (event.actual_instance for event in events[:3])
    assert (new.x, traded.x, traded.X, traded.l) == ("NEW", "TRADE", "FILLED", "0.01000000")
    assert {balance.a for balance in position.B} == {"BTC", "USDT"}
    subscriptions = (await connection.session_subscriptions()).data().result
    assert [subscription.subscription_id for subscription in subscriptions] == [0]
    status = (await connection.session_status()).data()
    assert status.status == 200
    await connection.close_connection()


async def test_a_session_trades_and_reads_into_the_models(venue: Venue) -> None:
    """Logged on with Ed25519: the library leaves key and signature out from there on."""
    from binance_common.configuration import ConfigurationWebSocketAPI
    from binance_sdk_spot.spot import Spot

    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    public = private.public_key().public_bytes_raw()
    await venue.replica.execute(venue.replica.registry.key_note("E" * 64, 1, "ed25519", public))
    api = Spot(
        config_ws_api=ConfigurationWebSocketAPI(
            api_key="E" * 64, private_key=pem, stream_url=f"ws://127.0.0.1:{venue.port}/ws-api/v3"
        )
    ).websocket_api
    connection = await api.create_connection()
    logged_on = (await connection.session_logon()).data()
    assert logged_on.result.api_key == "E" * 64
    subscribed = await connection.user_data_stream_subscribe()
    events: list[Any] = []
    subscribed.stream.on("message", events.append)
    order = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "time_in_force": "GTC", "quantity": 0.5}
    placed = (await connection.order_place(**order, price=1000.0)).data().result
    assert placed.status == "NEW"
    replaced = await connection.order_cancel_replace(
        **order, price=900.0, cancel_replace_mode="STOP_ON_FAILURE", cancel_order_id=placed.order_id
    )
    assert replaced.data().result.new_order_result == "SUCCESS"
    number = replaced.data().result.new_order_response.order_id
    amended = await connection.order_amend_keep_priority(symbol="BTCUSDT", new_qty=0.3, order_id=number)
    assert amended.data().result.amended_order.qty == "0.30000000"
    assert (await connection.account_status()).data().result.account_type == "SPOT"
    canceled = (await connection.open_orders_cancel_all(symbol="BTCUSDT")).data().result
    assert [one.order_id for one in canceled] == [number]
    async with asyncio.timeout(10):
        while len(events) < 10:  # noqa: ASYNC110 - the library calls back
            await asyncio.sleep(0.02)
    reports = [event.actual_instance for event in events]
    assert [report.x for report in reports[::2]] == ["NEW", "CANCELED", "NEW", "REPLACED", "CANCELED"]
    assert (await connection.session_logout()).data().result.api_key is None
    await connection.close_connection()
