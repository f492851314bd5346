# SPDX-License-Identifier: Apache-2.0
"""Listen keys end to end: made over REST and the WebSocket API, listened to on every kind of stream, and their end."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bidhall.api.feed import FeedSettings
from tests.feeds.door import Http, Venue
from tests.feeds.raw import RawClient, until
from tests.feeds.test_ws_api import ask
from tests.serving import key_text

PATH = "/api/v3/userDataStream"


@pytest.fixture
async def venue() -> AsyncIterator[Venue]:
    venue = await Venue(feed_settings=FeedSettings(drain_s=0.3, listen_key_s=600.0)).start()
    yield venue
    assert venue.door.faults() == 0
    await venue.stop()


async def alice(venue: Venue) -> Http:
    return await Http(venue.port, "alice").open()


async def new_key(http: Http) -> str:
    answer = await http.ask("POST", PATH)
    assert set(answer) == {"listenKey"}, answer
    return str(answer["listenKey"])


async def subscribed(venue: Venue, path: str, name: str) -> RawClient:
    client = await RawClient.connect(venue.port, path)
    client.text({"method": "SUBSCRIBE", "params": [name], "id": 1})
    assert await client.message() == {"result": None, "id": 1}
    return client


async def test_a_listen_key_is_made_once_kept_alive_and_closed(venue: Venue) -> None:
    http = await alice(venue)
    name = await new_key(http)
    assert len(name) == 64
    assert name.isalnum()
    assert await new_key(http) == name, "there is one for each API key"
    assert await http.ask("PUT", PATH, listenKey=name) == {}
    assert await http.ask("DELETE", PATH, listenKey=name) == {}
    gone = {"code": -1125, "msg": "This listenKey does not exist."}
    assert await http.ask("PUT", PATH, listenKey=name) == gone
    assert await http.ask("DELETE", PATH, listenKey=name) == gone
    assert await new_key(http) != name


async def test_it_needs_the_key_and_nothing_else(venue: Venue) -> None:
    name = await new_key(await alice(venue))
    bob = await Http(venue.port, "bob").open()
    assert (await bob.ask("PUT", PATH, listenKey=name))["code"] == -1125, "somebody else's"
    stranger = await Http(venue.port, "nobody").open()
    assert (await stranger.ask("POST", PATH))["code"] == -2015
    assert stranger.status == 401
    assert (await bob.ask("PUT", PATH))["code"] == -1102


@pytest.mark.parametrize("path", ["/ws/{}", "/ws", "/stream?streams={}", "/stream", "/ws/btcusdt@trade/{}"])
async def test_bare_events_on_every_kind_of_stream(venue: Venue, path: str) -> None:
    http = await alice(venue)
    name = await new_key(http)
    if "{}" in path:
        client = await RawClient.connect(venue.port, path.format(name))
    else:
        client = await subscribed(venue, path, name)
    await until(lambda: bool(venue.door.feeds.user_data.accounts))
    order = await http.limit("BUY", 20_000, 0.01, newClientOrderId="mine")
    report, position = await client.message(), await client.message()
    if "stream" in path:
        assert report["stream"] == position["stream"] == name
        report, position = report["data"], position["data"]
    assert (report["e"], report["x"], report["c"], report["i"]) == ("executionReport", "NEW", "mine", order["orderId"])
    assert position["e"] == "outboundAccountPosition"


async def test_market_data_and_user_data_share_a_connection(venue: Venue) -> None:
    http = await alice(venue)
    client = await subscribed(venue, "/stream", await new_key(http))
    client.text({"method": "SUBSCRIBE", "params": ["btcusdt@bookTicker"], "id": 2})
    assert (await client.message())["id"] == 2
    client.text({"method": "LIST_SUBSCRIPTIONS", "id": 3})
    assert len((await client.message())["result"]) == 2
    await http.limit("BUY", 20_000, 0.01)
    streams = {(await client.message())["stream"] for _ in range(3)}
    assert streams == {"btcusdt@bookTicker", await new_key(http)}


async def test_unsubscribe_close_and_the_end_of_the_connection_end_the_watch(venue: Venue) -> None:
    http = await alice(venue)
    name = await new_key(http)
    accounts = venue.door.feeds.user_data.accounts
    client = await subscribed(venue, "/ws", name)
    client.text({"method": "UNSUBSCRIBE", "params": [name], "id": 2})
    await client.message()
    assert not accounts
    await subscribed(venue, "/ws", name)
    assert accounts
    await http.ask("DELETE", PATH, listenKey=name)
    assert not accounts
    name = await new_key(http)
    client = await subscribed(venue, "/ws", name)
    client.close()
    await until(lambda: not accounts)
    assert not venue.door.feeds.listen_keys.by_text[name].readers


async def test_it_expires_unless_it_is_kept_alive() -> None:
    venue = await Venue(feed_settings=FeedSettings(drain_s=0.3, listen_key_s=0.4)).start()
    http = await alice(venue)
    name = await new_key(http)
    client, combined = await subscribed(venue, "/ws", name), await subscribed(venue, "/stream", name)
    begin = time.monotonic()
    while time.monotonic() < begin + 0.8:
        assert await http.ask("PUT", PATH, listenKey=name) == {}
        await client.silence(0.1)
    event = await client.message()
    assert (event["e"], event["listenKey"], set(event)) == ("listenKeyExpired", name, {"e", "E", "listenKey"})
    assert (await combined.message())["data"] == event
    assert (await http.ask("PUT", PATH, listenKey=name))["code"] == -1125
    await http.limit("BUY", 20_000, 0.01)
    await client.silence()
    await venue.stop()


async def test_a_key_that_is_switched_off_takes_its_listen_key(venue: Venue) -> None:
    http = await alice(venue)
    name = await new_key(http)
    client = await subscribed(venue, "/ws", name)
    await venue.replica.execute(venue.replica.registry.key_off_note(key_text("alice")))
    assert (await client.message())["e"] == "listenKeyExpired"
    assert not venue.door.feeds.listen_keys.by_text
    assert (await http.ask("POST", PATH))["code"] == -2015


async def test_the_websocket_api_makes_keeps_and_stops_it(venue: Venue) -> None:
    client = await RawClient.connect(venue.port, "/ws-api/v3")
    key: dict[str, Any] = {"apiKey": key_text("alice")}
    answer = await ask(client, "userDataStream.start", key)
    name = answer["result"]["listenKey"]
    assert name == await new_key(await alice(venue))
    assert (await ask(client, "userDataStream.ping", key | {"listenKey": name}))["result"] == {}
    assert (await ask(client, "userDataStream.stop", key | {"listenKey": name}))["result"] == {}
    again = await ask(client, "userDataStream.ping", key | {"listenKey": name})
    assert (again["status"], again["error"]["code"]) == (400, -1125)
    assert (await ask(client, "userDataStream.start"))["error"]["code"] == -1102
    wrong = await ask(client, "userDataStream.start", {"apiKey": "Z" * 64})
    assert (wrong["status"], wrong["error"]["code"]) == (401, -2015)
