# SPDX-License-Identifier: Apache-2.0
"""Control methods of market stream connections, over a real socket."""

from __future__ import annotations

from typing import Any

import pytest

from bidhall.api.feed import FeedSettings
from bidhall.core import records as r
from tests.feeds.raw import RawClient
from tests.feeds.serving import ALICE, BOB, BTC, ETH, Served, limit

MS = 1_000_000
VARIANTS = "expected one of `SUBSCRIBE`, `UNSUBSCRIBE`, `LIST_SUBSCRIPTIONS`, `SET_PROPERTY`, `GET_PROPERTY`"


async def ask(client: RawClient, method: str, params: Any = None, number: Any = 1) -> Any:
    request: dict[str, Any] = {"method": method, "id": number}
    if params is not None:
        request["params"] = params
    client.text(request)
    return await client.message()


@pytest.mark.parametrize("number", [1, 0, -5, 2**62, "abc", "0b1c", None])
async def test_ids_are_echoed_with_their_type(served: Served, number: Any) -> None:
    client = await RawClient.connect(served.port, "/ws/0")
    assert await ask(client, "SUBSCRIBE", ["btcusdt@trade"], number) == {"result": None, "id": number}
    assert await ask(client, "LIST_SUBSCRIPTIONS", None, number) == {"result": ["btcusdt@trade"], "id": number}


async def test_subscribe_list_unsubscribe(served: Served) -> None:
    client = await RawClient.connect(served.port, "/ws")
    assert await ask(client, "SUBSCRIBE", ["btcusdt@trade", "btcusdt@depth", "no@such"]) == {"result": None, "id": 1}
    assert (await ask(client, "SUBSCRIBE", ["btcusdt@trade"]))["result"] is None
    assert (await ask(client, "LIST_SUBSCRIPTIONS"))["result"] == ["btcusdt@trade", "btcusdt@depth", "no@such"]
    assert (await ask(client, "UNSUBSCRIBE", ["btcusdt@depth", "never@was"]))["result"] is None
    assert (await ask(client, "LIST_SUBSCRIPTIONS"))["result"] == ["btcusdt@trade", "no@such"]
    served.replica.apply(limit(ALICE, r.Side.SELL, 100, 5))
    served.replica.apply(limit(BOB, r.Side.BUY, 100, 5), after_ns=2000 * MS)
    assert (await client.message())["e"] == "trade"
    await client.silence()


async def test_combined_is_a_property(served: Served) -> None:
    client = await RawClient.connect(served.port, "/ws/btcusdt@bookTicker")
    assert (await ask(client, "GET_PROPERTY", ["combined"]))["result"] is False
    served.replica.apply(limit(ALICE, r.Side.SELL, 100, 5))
    assert (await client.message())["u"] == 1
    assert (await ask(client, "SET_PROPERTY", ["combined", True]))["result"] is None
    assert (await ask(client, "GET_PROPERTY", ["combined"]))["result"] is True
    served.replica.apply(limit(ALICE, r.Side.SELL, 100, 5))
    message = await client.message()
    assert (message["stream"], message["data"]["u"]) == ("btcusdt@bookTicker", 2)


@pytest.mark.parametrize("path", ["/stream", "/stream/ws", "/stream?streams=btcusdt@bookTicker"])
async def test_stream_paths_are_combined(served: Served, path: str) -> None:
    client = await RawClient.connect(served.port, path)
    await ask(client, "SUBSCRIBE", ["btcusdt@bookTicker"])
    served.replica.apply(limit(ALICE, r.Side.SELL, 100, 5))
    assert (await client.message())["stream"] == "btcusdt@bookTicker"


async def test_percent_encoded_names(served: Served) -> None:
    client = await RawClient.connect(served.port, "/stream?streams=btcusdt%40bookTicker/ethusdt%40trade")
    assert (await ask(client, "LIST_SUBSCRIPTIONS"))["result"] == ["btcusdt@bookTicker", "ethusdt@trade"]


NO_NAME = "Invalid request: property name must be a string"
ERRORS: dict[str, tuple[str, int, str]] = {
    "unknown property": ('{"method":"GET_PROPERTY","params":["x"],"id":1}', 0, "Unknown property"),
    "property to set": ('{"method":"SET_PROPERTY","params":["x",true],"id":1}', 0, "Unknown property"),
    "value type": (
        '{"method":"SET_PROPERTY","params":["combined",1],"id":1}',
        1,
        "Invalid value type: expected Bool",
    ),
    "property name": ('{"method":"GET_PROPERTY","params":[5],"id":1}', 2, NO_NAME),
    "no property": ('{"method":"GET_PROPERTY","params":[],"id":1}', 2, NO_NAME),
    "id type": (
        '{"method":"LIST_SUBSCRIPTIONS","id":1.5}',
        2,
        "Invalid request: request ID must be an unsigned",
    ),
    "too many": ('{"method":"GET_PROPERTY","params":["combined",1],"id":1}', 2, "Invalid request: too many parameters"),
    "no method": ('{"id":1}', 2, "Invalid request: missing field `method`"),
    "unknown method": ('{"method":"NOPE","id":1}', 2, "Invalid request: unknown variant `NOPE`, " + VARIANTS),
    "no JSON": ("hello", 3, "Invalid JSON: expected value at line 1 column"),
    "half": ('{"method":', 3, "Invalid JSON: "),
    "nothing": ("", 3, "Invalid JSON: "),
}


@pytest.mark.parametrize("name", ERRORS)
async def test_errors_are_the_documented_ones_and_the_connection_lives(served: Served, name: str) -> None:
    text, code, message = ERRORS[name]
    client = await RawClient.connect(served.port, "/ws")
    client.text(text)
    error = await client.message()
    assert error["code"] == code
    assert error["msg"].startswith(message)
    assert (await ask(client, "LIST_SUBSCRIPTIONS"))["result"] == []


NO_REQUESTS = (
    "[]", "5", "null", '"x"', "[1,2]", '{"method":5,"id":1}', '{"method":"SUBSCRIBE","params":{"a":1},"id":1}',
    '{"method":"SUBSCRIBE","params":[1,null],"id":1}', '{"method":"SUBSCRIBE","params":"x","id":1}', "\ufeff{}",
    '{"a":' * 2000, "[" * 60000, '{"method":"SUBSCRIBE","id":[]}', '{"id":' + "9" * 5000 + "}",
)  # fmt: skip


@pytest.mark.parametrize("text", NO_REQUESTS)
async def test_json_that_is_no_request_is_answered(served: Served, text: str) -> None:
    client = await RawClient.connect(served.port, "/ws")
    client.text(text)
    assert "code" in await client.message()
    assert (await ask(client, "LIST_SUBSCRIPTIONS"))["result"] == []


async def test_the_answer_precedes_the_first_frame(served: Served) -> None:
    for price in range(100, 130):
        served.replica.apply(limit(ALICE, r.Side.SELL, price, 5))
    client = await RawClient.connect(served.port, "/ws")
    for number in range(20):
        client.text({"method": "SUBSCRIBE", "params": ["btcusdt@bookTicker", "btcusdt@depth5"], "id": number})
        served.replica.apply(limit(BOB, r.Side.BUY, 129, 3))
        assert await client.message() == {"result": None, "id": number}
        served.replica.apply(limit(BOB, r.Side.BUY, 129, 3))
        client.text({"method": "UNSUBSCRIBE", "params": ["btcusdt@bookTicker", "btcusdt@depth5"], "id": -1})
        while (await client.message()) != {"result": None, "id": -1}:
            pass


async def test_partial_depth_comes_at_once(served: Served) -> None:
    served.replica.apply(limit(ALICE, r.Side.SELL, 100, 5))
    client = await RawClient.connect(served.port, "/ws/btcusdt@depth10@100ms")
    assert await client.message() == {"lastUpdateId": 1, "bids": [], "asks": [["1.00000000", "0.00005000"]]}


async def test_streams_of_a_connection_have_a_limit(served: Served) -> None:
    client = await RawClient.connect(served.port, "/ws")
    names = [f"s{number}@trade" for number in range(1024)]
    assert (await ask(client, "SUBSCRIBE", names))["result"] is None
    assert (await ask(client, "SUBSCRIBE", ["btcusdt@trade"]))["code"] == 2
    assert (await ask(client, "SUBSCRIBE", ["x" * 500]))["code"] == 2
    assert len((await ask(client, "LIST_SUBSCRIPTIONS"))["result"]) == 1024


async def test_a_name_begins_to_mean_something_when_its_market_comes(served: Served) -> None:
    client = await RawClient.connect(served.port, "/ws")
    await ask(client, "SUBSCRIBE", ["ethbtc@bookTicker"])
    served.replica.apply(
        r.market(b"ETHBTC", ETH, BTC, tick_e8=10**6, step_units=1_000, price_ticks_max=10**8, quantity_steps_max=10**9)
    )
    served.replica.apply(limit(ALICE, r.Side.SELL, 100, 5, market=3))
    assert (await client.message())["s"] == "ETHBTC"


async def test_subscribers_of_the_same_streams_share_a_group(served: Served) -> None:
    clients = [await RawClient.connect(served.port, "/ws/btcusdt@trade") for _ in range(5)]
    for client in clients:
        await ask(client, "LIST_SUBSCRIPTIONS")
    assert len(served.feeds.hub.groups) == 1
    await ask(clients[0], "SUBSCRIBE", ["btcusdt@depth"])
    assert len(served.feeds.hub.groups) == 2
    for client in clients[1:]:
        await ask(client, "UNSUBSCRIBE", ["btcusdt@trade"])
    assert len(served.feeds.hub.groups) == 1


def test_settings_have_the_documented_clocks() -> None:
    settings = FeedSettings()
    assert (settings.ping_interval_s, settings.pong_timeout_s, settings.life_s) == (20.0, 60.0, 86_400.0)
    assert (settings.message_bytes_max, settings.streams_max) == (65_536, 1_024)


async def test_a_fault_closes_the_streams_and_nothing_else(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    streams = await RawClient.connect(served.port, "/ws/btcusdt@trade")
    api = await RawClient.connect(served.port, "/ws-api/v3")
    await ask(streams, "LIST_SUBSCRIPTIONS")
    served.feeds.streams.on_batch = lambda _: 1 / 0  # type: ignore[assignment]
    served.replica.apply(limit(ALICE, r.Side.SELL, 100, 5))
    assert (await streams.closing()).code == 1011
    assert (await ask(api, "ping"))["status"] == 200
    assert served.feeds.faults == 1
    assert "ZeroDivisionError" in caplog.text
