# SPDX-License-Identifier: Apache-2.0
"""The door as a whole: health, metrics, depth snapshots that fit the streams, a slow log, and the end."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bidhall.api.app import Door, DoorSettings
from bidhall.log import Overloaded
from bidhall.replica import NotReady, Outcome, OutcomeKind
from tests.api.venue import ALICE, BOB, Client, Venue
from tests.api.wire import Wire, get

BUSY = {"code": -1008, "msg": "Server is currently overloaded with other requests. Please try again in a few minutes."}
UNKNOWN = {
    "code": -1007,
    "msg": "Timeout waiting for response from backend server. Send status unknown; execution status unknown.",
}


async def test_health_and_metrics(venue: Venue, alice: Client, anyone: Client) -> None:
    assert (await anyone.raw("GET", "/livez")).status == 200
    assert (await anyone.raw("GET", "/readyz")).status == 200
    await alice.place()
    await alice.place(price="0.001")
    text = (await anyone.raw("GET", "/metrics")).body.decode()
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert values["bidhall_ready"] == "1"
    assert values["bidhall_open_orders"] == "1"
    assert values["bidhall_faults_total"] == "0"
    assert values['bidhall_requests_total{method="POST",path="/api/v3/order"}'] == "2"
    assert values['bidhall_refusals_total{method="POST",path="/api/v3/order"}'] == "1"
    venue.door.stopping = True
    assert (await anyone.raw("GET", "/readyz")).status == 503
    assert (await anyone.raw("GET", "/livez")).status == 200


async def test_unknown_paths_and_methods_are_answered_in_the_dialect(anyone: Client) -> None:
    for method, path, status in (
        ("GET", "/api/v3/nothing", 404), ("GET", "/", 404), ("GET", "/api/v1/ping", 404), ("DELETE", "/api/v3/ping",
        405),
        ("POST", "/api/v3/depth", 405), ("PATCH", "/api/v3/order", 405), ("POST", "/livez", 405), ("GET",
        "/api/v3/ping/", 404),
    ):  # fmt: skip
        answer = await anyone.raw(method, path)
        assert answer.status == status, (method, path, answer)
        assert set(answer.json) == {"code", "msg"}


async def test_exchange_info_is_kept_but_its_clock_and_states_are_not(venue: Venue, anyone: Client) -> None:
    first = (await anyone.get("exchangeInfo")).json
    await asyncio.sleep(0.01)
    second = (await anyone.get("exchangeInfo")).json
    assert second["serverTime"] > first["serverTime"]
    assert [row["symbol"] for row in second["symbols"]] == ["BTCUSDT", "ETHUSDT", "ETHBTC"]
    assert [row["status"] for row in second["symbols"]] == ["TRADING", "TRADING", "HALT"]
    await venue.admin("PUT", "/admin/markets/ETHBTC/state", {"state": "TRADING"})
    third = (await anyone.get("exchangeInfo", symbolStatus="TRADING")).json
    assert len(third["symbols"]) == 3
    assert [row["symbol"] for row in (await anyone.get("exchangeInfo", symbols='["ETHBTC"]')).json["symbols"]] == [
        "ETHBTC"
    ]
    assert (await anyone.get("exchangeInfo", permissions="MARGIN")).json["symbols"] == []
    filters = [entry["filterType"] for entry in third["symbols"][0]["filters"]]
    assert filters[:2] == ["PRICE_FILTER", "LOT_SIZE"]


async def test_closed_views_are_no_bug_and_trading_goes_on(venue: Venue, alice: Client, anyone: Client) -> None:
    order = (await alice.place()).json
    venue.replica.views.close("a test")
    for path in ("trades", "klines", "ticker/24hr"):
        interval = {"interval": "1m"} if path == "klines" else {}
        answer = await anyone.get(path, symbol="BTCUSDT", **interval)
        assert (answer.status, answer.json["code"]) == (503, -1001)
    assert (await alice.ask("GET", "myTrades", symbol="BTCUSDT")).status == 503
    assert (await alice.ask("DELETE", "order", symbol="BTCUSDT", orderId=order["orderId"])).json["status"] == "CANCELED"
    assert (await alice.place(price="20001")).status == 200
    assert (await anyone.get("depth", symbol="BTCUSDT")).status == 200


# --- depth -----------------------------------------------------------------------------------------------------------


async def test_a_depth_snapshot_has_the_order_that_was_just_acknowledged(
    venue: Venue, alice: Client, anyone: Client
) -> None:
    for number in range(20):
        await alice.place(price=str(20000 + number))
        depth = (await anyone.get("depth", symbol="BTCUSDT", limit=1)).json
        assert depth["bids"] == [[f"{20000 + number}.00000000", "0.01000000"]]
        assert not venue.door.feeds.streams.span_is_open(1), "the snapshot stands at the end of a span"


async def test_readers_of_depth_share_marks(venue: Venue, alice: Client) -> None:
    readers = [await venue.client() for _ in range(20)]
    for number in range(3):
        await alice.place(price=str(20000 + number))
        before = venue.replica.exchange.sequence
        answers = await asyncio.gather(
            *(reader.get("depth", symbol="BTCUSDT", limit=5 + n % 2) for n, reader in enumerate(readers))
        )
        assert venue.replica.exchange.sequence - before <= 2, "at most a mark or two for all of them"
        assert len({answer.json["lastUpdateId"] for answer in answers}) == 1
    start, before = time.monotonic(), venue.replica.exchange.sequence
    marks = 0
    while time.monotonic() - start < 0.3:
        await alice.place(price="100", quantity="0.1")
        await readers[0].get("depth", symbol="BTCUSDT")
        marks = venue.replica.exchange.sequence - before - marks
    spent = time.monotonic() - start
    count = venue.replica.exchange.sequence - before
    assert count <= 2 * (spent / 0.02 + 2), "a mark every 20 ms at most"


async def test_a_depth_without_changes_makes_no_mark(venue: Venue, alice: Client, anyone: Client) -> None:
    await alice.place()
    await anyone.get("depth", symbol="BTCUSDT")
    before = venue.replica.exchange.sequence
    for limit in (1, 5, 100, 5000, 100_000):
        assert (await anyone.get("depth", symbol="BTCUSDT", limit=limit)).status == 200
    assert venue.replica.exchange.sequence == before


# --- when the log is slow, full or gone ---------------------------------------------------------------------------


def refuse_with(error: Exception) -> Callable[..., None]:
    def submit(*arguments: Any) -> None:
        raise error

    return submit


async def test_a_full_queue_is_a_definite_no(venue: Venue, alice: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(venue.replica, "submit", refuse_with(Overloaded("full")))
    for answer in (
        await alice.place(), await alice.place(type="STOP_LOSS_LIMIT", stopPrice="30000"),
        await alice.ask("DELETE", "order", symbol="BTCUSDT", orderId=1), await alice.ask("DELETE", "openOrders",
        symbol="BTCUSDT"),
    ):  # fmt: skip
        assert (answer.status, answer.json) == (429, BUSY)
        assert "retry-after" in answer.headers
    monkeypatch.setattr(venue.replica, "submit", refuse_with(NotReady("stopped")))
    answer = await alice.place()
    assert (answer.status, answer.json["code"]) == (503, -1016)
    assert (await alice.ask("GET", "rateLimit/order")).json[0]["count"] == 0, "what was refused does not count"


async def test_new_orders_are_refused_first_when_the_log_is_behind(
    venue: Venue, alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = (await alice.place()).json
    monkeypatch.setattr(venue.replica, "age_seconds", lambda: 1.5)
    await asyncio.sleep(0.01)
    assert (await alice.place(price="20001")).json == BUSY
    assert (await alice.place(price="20001", strategyId="1")).json == BUSY
    cancel = await alice.ask("DELETE", "order", symbol="BTCUSDT", orderId=order["orderId"])
    assert cancel.json["status"] == "CANCELED"
    assert (await alice.get("depth", symbol="BTCUSDT")).status == 200
    monkeypatch.setattr(venue.replica, "age_seconds", lambda: 0.0)
    await asyncio.sleep(0.01)
    assert (await alice.place(price="20001")).status == 200


class Slow:
    """A replica's `submit` that keeps what it is given until the test says what became of it."""

    def __init__(self, venue: Venue, patch: pytest.MonkeyPatch) -> None:
        self.kept: list[tuple[bytes, Callable[[Outcome], None], float | None]] = []
        patch.setattr(
            venue.replica, "submit", lambda commands, done, deadline=None: self.kept.append((commands, done, deadline))
        )

    async def take(self) -> tuple[bytes, Callable[[Outcome], None], float | None]:
        for _ in range(200):
            if self.kept:
                return self.kept.pop(0)
            await asyncio.sleep(0.01)
        raise AssertionError("nothing was submitted")


async def test_an_unknown_outcome_is_said_to_be_unknown(
    venue: Venue, alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(venue, monkeypatch)
    for ask in (
        lambda: alice.place(), lambda: alice.place(strategyId="7"), lambda: alice.ask("DELETE", "order",
        symbol="BTCUSDT", orderId=1),
    ):  # fmt: skip
        waiting = asyncio.create_task(ask())
        _, done, _ = await slow.take()
        done(Outcome(OutcomeKind.UNKNOWN))
        answer = await waiting
        assert (answer.status, answer.json) == (504, UNKNOWN)


async def test_what_never_left_the_queue_is_answered_definitely(
    venue: Venue, alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(venue, monkeypatch)
    for more in ({}, {"strategyId": "7"}):
        waiting = asyncio.create_task(alice.place(**more))
        _, done, deadline = await slow.take()
        assert deadline is not None
        assert 0 < deadline - venue.environment.monotonic() <= 5
        done(Outcome(OutcomeKind.REFUSED))
        assert ((await waiting).status, (await waiting).json) == (429, BUSY)
    waiting = asyncio.create_task(alice.place(recvWindow="50"))
    _, done, deadline = await slow.take()
    assert deadline is not None
    assert deadline - venue.environment.monotonic() <= 0.05
    await asyncio.sleep(0.1)
    done(Outcome(OutcomeKind.REFUSED))
    assert (await waiting).json["code"] == -1021


async def test_a_repeat_whose_first_result_is_forgotten_is_unknown(
    venue: Venue, alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = alice.signed(
        {
            "symbol": "BTCUSDT",
            "side": "BUY",
            "type": "LIMIT",
            "timeInForce": "GTC",
            "quantity": "0.01",
            "price": "20000",
        }
    )
    assert (await alice.raw("POST", "order", "", form)).status == 200
    monkeypatch.setattr(venue.replica, "_first_result", lambda sequence: None)
    again = await alice.raw("POST", "order", "", form)
    assert (again.status, again.json) == (504, UNKNOWN)
    assert venue.replica.exchange.open_order_count == 1


async def test_a_client_that_leaves_does_not_undo_its_order(venue: Venue, bob: Client) -> None:
    alice = await venue.client(ALICE)
    form = alice.signed(
        {
            "symbol": "BTCUSDT",
            "side": "BUY",
            "type": "LIMIT",
            "timeInForce": "GTC",
            "quantity": "0.01",
            "price": "20000",
        }
    )
    from tests.api.wire import request

    await alice.wire.send(request("POST", "/api/v3/order", form.encode(), f"X-MBX-APIKEY: {ALICE}"))
    alice.wire.writer.transport.abort()
    for _ in range(100):
        if venue.replica.exchange.open_order_count:
            break
        await asyncio.sleep(0.01)
    assert venue.replica.exchange.open_order_count == 1
    assert (await bob.place(side="SELL")).json["status"] == "FILLED"


async def test_a_port_that_is_taken_stops_the_start_and_frees_the_other() -> None:
    venue = Venue()
    await venue.replica.start()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings = DoorSettings(port=0, admin_port=taken.getsockname()[1], admin_key="key")
        door = Door(venue.replica, venue.environment, settings)
        with pytest.raises(OSError):
            await door.start()
        assert door.port
        with pytest.raises(OSError):
            await Wire.open(door.port)
    await venue.replica.stop()
    await venue.log.close()
    venue.environment.close()


# --- the end ---------------------------------------------------------------------------------------------------------


async def test_stopping_answers_what_was_admitted(tmp_path: Path) -> None:
    venue = await Venue(f"sqlite:///{tmp_path}/data", tmp_path / "data").start()
    clients = [await venue.client(ALICE if n % 2 else BOB) for n in range(10)]
    waiting = [asyncio.create_task(client.place(price=str(15000 + n))) for n, client in enumerate(clients)]
    await asyncio.sleep(0)
    await asyncio.sleep(0.005)
    await venue.door.stop()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    good = [answer for answer in answers if not isinstance(answer, BaseException) and answer.status == 200]
    assert venue.replica.exchange.open_order_count >= len(good)
    with pytest.raises(OSError):
        await Wire.open(venue.port)
    assert venue.calm()
    await venue.stop()


async def test_a_log_of_its_own_process_needs_no_barrier(tmp_path: Path) -> None:
    venue = await Venue(f"sqlite:///{tmp_path}/data", tmp_path / "data").start()
    assert venue.door.reads.at_once
    alice = await venue.client(ALICE)
    order = (await alice.place()).json
    assert (await alice.ask("GET", "order", symbol="BTCUSDT", orderId=order["orderId"])).json["status"] == "NEW"
    snapshot = await venue.admin("POST", "/admin/snapshot")
    assert snapshot.json["file"]
    assert venue.calm()
    await venue.stop()


SCRIPT = """
import asyncio, signal, sys
from pathlib import Path
import uvloop
from tests.api.venue import Venue

async def main():
    folder = Path(sys.argv[1])
    venue = await Venue(f"sqlite:///{folder}", folder).start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    print(venue.port, flush=True)
    await stop.wait()
    await venue.stop()

uvloop.run(main())
"""


async def test_sigterm_ends_with_0_in_time_and_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(folder)], stdout=subprocess.PIPE)  # noqa: ASYNC220
    acknowledged = []
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        wire = await Wire.open(port)
        venue = Venue(f"sqlite:///{folder}", folder)
        alice = Client(venue, wire, ALICE)
        for number in range(50):
            answer = await alice.place(price=str(10000 + number))
            acknowledged.append(answer.json["orderId"])
        idle = await Wire.open(port)
        await idle.send(get("/api/v3/ping"))
        await idle.answer()
        start = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert time.monotonic() - start < 20
        await idle.close()
        await wire.close()
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    await venue.start()
    alice = await venue.client(ALICE)
    rows = (await alice.ask("GET", "openOrders", symbol="BTCUSDT")).json
    assert [row["orderId"] for row in rows] == acknowledged
    await venue.stop()
