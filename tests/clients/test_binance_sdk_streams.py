# SPDX-License-Identifier: Apache-2.0
"""Every market stream of binance-sdk-spot, and the user's own by listen key: each message fits the strict model.

NOT_YET says which streams bidhall does not have so far: subscribing to them is answered and silent, as for any name.
Over a real socket, by the README's snippet.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio

from tests.clients.pointing import sdk
from tests.clients.sdk_strictness import strictly
from tests.serving import key_text

pytest.importorskip("binance_sdk_spot")
pytestmark = pytest.mark.filterwarnings("default")
SYMBOL = {"symbol": "btcusdt"}
LIMIT: dict[str, Any] = {"symbol": "BTCUSDT", "type": "LIMIT", "time_in_force": "GTC"}
PATIENCE_S = 20
INTERVALS = ("1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M")

SERVED: dict[str, list[dict[str, Any]]] = {
    "trade": [SYMBOL],
    "agg_trade": [SYMBOL],
    "book_ticker": [SYMBOL],
    "diff_book_depth": [SYMBOL, {**SYMBOL, "update_speed": "100ms"}],
    "partial_book_depth": [{**SYMBOL, "levels": "5"}, {**SYMBOL, "levels": "20", "update_speed": "100ms"}],
    "kline": [{**SYMBOL, "interval": interval} for interval in INTERVALS],
    "kline_offset": [{**SYMBOL, "interval": interval} for interval in ("1m", "1d", "1w")],
    "mini_ticker": [SYMBOL],
    "ticker": [SYMBOL],
    "avg_price": [SYMBOL],
    "all_mini_ticker": [{}],
    "rolling_window_ticker": [{**SYMBOL, "window_size": size} for size in ("1h", "4h", "1d")],
    "all_market_rolling_window_ticker": [{"window_size": size} for size in ("1h", "4h", "1d")],
}
NOT_YET: dict[str, dict[str, Any]] = {"block_trade": SYMBOL, "reference_price": SYMBOL}
NO_STREAMS = {"close_connection", "create_connection", "list_subscribe", "off_connection", "on_connection",
              "parse_signed_stream_message", "subscribe", "unsubscribe", "user_data", "sign_stream_url",
              "send_message", "on", "ping_server"}  # fmt: skip


@pytest.fixture(name="alice")
def make_alice(address: str) -> Iterator[Any]:
    client = sdk(address, "alice").rest_api
    yield client
    client._session.close()


@pytest.fixture(name="bob")
def make_bob(address: str) -> Iterator[Any]:
    client = sdk(address, "bob").rest_api
    yield client
    client._session.close()


@pytest_asyncio.fixture(name="streams")
async def make_streams(address: str) -> AsyncIterator[Any]:
    connection = await sdk(address, "alice").websocket_streams.create_connection()
    yield connection
    await connection.close_connection()


def trade(alice: Any, bob: Any) -> int:
    """The trade's number."""
    bob.new_order(**LIMIT, side="SELL", quantity=0.02, price=50_000)
    taken = alice.new_order(**LIMIT, side="BUY", quantity=0.01, price=50_000).data()
    bob.delete_open_orders(symbol="BTCUSDT")
    return int(taken.fills[0].trade_id)


def test_the_tables_hold_every_method() -> None:
    from binance_sdk_spot.websocket_streams.websocket_streams import SpotWebSocketStreams

    methods = {name for name in vars(SpotWebSocketStreams) if not name.startswith("_")} - NO_STREAMS
    assert methods == SERVED.keys() | NOT_YET.keys()


async def test_every_stream_fits_its_strict_model(streams: Any, alice: Any, bob: Any) -> None:
    wanted = [(method, arguments) for method, rows in SERVED.items() for arguments in rows]
    seen: dict[int, Any] = {}
    errors: list[Any] = []
    streams.on_connection("error", lambda *error: errors.append(error))
    with strictly():
        handles = await asyncio.gather(*(getattr(streams, method)(**arguments) for method, arguments in wanted))
        for number, handle in enumerate(handles):
            handle.on("message", lambda message, number=number: seen.setdefault(number, message))
        listed = (await streams.list_subscribe())["result"]
        traded = trade(alice, bob)
        try:
            async with asyncio.timeout(PATIENCE_S):
                while len(seen) < len(wanted):  # noqa: ASYNC110 - the library calls back
                    await asyncio.sleep(0.02)
        except TimeoutError:
            pytest.fail(f"nothing came on {[row for number, row in enumerate(wanted) if number not in seen]}")
    assert not errors
    assert len(listed) == len(wanted)
    by_name = {method: seen[number] for number, (method, _) in reversed(list(enumerate(wanted)))}
    assert (by_name["trade"].t, by_name["trade"].p, by_name["trade"].m) == (traded, "50000.00000000", False)
    assert (by_name["agg_trade"].f, by_name["agg_trade"].l) == (traded, traded)
    assert by_name["kline"].k.c == "50000.00000000"
    assert by_name["ticker"].s == by_name["mini_ticker"].s == by_name["rolling_window_ticker"].s == "BTCUSDT"
    assert [one.s for one in by_name["all_mini_ticker"]] == ["BTCUSDT"]
    assert [one.c for one in by_name["all_market_rolling_window_ticker"]] == ["50000.00000000"]


async def test_what_is_not_there_yet_is_silent(streams: Any, alice: Any, bob: Any) -> None:
    seen: list[Any] = []
    for method, arguments in NOT_YET.items():
        (await getattr(streams, method)(**arguments)).on("message", seen.append)
    trade(alice, bob)
    await asyncio.sleep(1.5)
    assert seen == []


async def test_a_subscription_ends(streams: Any, alice: Any, bob: Any) -> None:
    seen: list[Any] = []
    handle = await streams.trade(**SYMBOL)
    handle.on("message", seen.append)
    assert (await streams.list_subscribe())["result"] == ["btcusdt@trade"]
    trade(alice, bob)
    async with asyncio.timeout(PATIENCE_S):
        while not seen:  # noqa: ASYNC110 - the library calls back
            await asyncio.sleep(0.01)
    await handle.unsubscribe()
    assert (await streams.list_subscribe())["result"] == []
    before = len(seen)
    trade(alice, bob)
    assert (await streams.list_subscribe())["result"] == []
    assert len(seen) == before


async def test_user_data_by_listen_key(address: str, streams: Any, alice: Any, bob: Any) -> None:
    """The old way: a key by REST (the library has no method for it any more), subscribed like a stream."""
    url, headers = f"http://{address}/api/v3/userDataStream", {"X-MBX-APIKEY": key_text("alice")}
    key = alice._session.post(url, headers=headers).json()["listenKey"]
    events: list[Any] = []
    with strictly():
        (await streams.user_data(key)).on("message", events.append)
        assert (await streams.list_subscribe())["result"] == [key]
        trade(alice, bob)
        async with asyncio.timeout(PATIENCE_S):
            while len(events) < 3:  # noqa: ASYNC110 - the library calls back
                await asyncio.sleep(0.01)
    kinds = [event.actual_instance.x for event in events[:2]]
    assert kinds == ["NEW", "TRADE"]
    assert {balance.a for balance in events[2].actual_instance.B} == {"BTC", "USDT"}
