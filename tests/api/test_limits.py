# SPDX-License-Identifier: Apache-2.0
"""Weights, order counts, bans: windows aligned to UTC, shown in headers, enforced with the right answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from bidhall.api.limits import Limits, network
from bidhall.protocol.errors import ApiError
from tests.api.test_server import Numbers
from tests.api.venue import ALICE, Venue

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
NOON = 1_800_000_000 * SECOND  # a whole minute


@pytest.fixture
async def limited() -> AsyncIterator[Callable[..., Any]]:
    venues: list[Venue] = []

    async def make(**door: Any) -> Venue:
        venues.append(await Venue(**door).start())
        return venues[-1]

    yield make
    for venue in venues:
        await venue.stop()


def limits(**numbers: int) -> Limits:
    settings = Numbers()
    for name, value in numbers.items():
        setattr(settings, name, value)
    return Limits(settings)


def refusal(one: Limits, peer: Any, weight: int, now_ns: int) -> ApiError:
    with pytest.raises(ApiError) as caught:
        one.charge(peer, weight, now_ns)
    return caught.value


def test_weight_windows_begin_with_the_minute() -> None:
    one = limits(weight_per_minute_max=100)
    peer = one.peer("10.0.0.1")
    one.charge(peer, 60, NOON + 10 * SECOND)
    one.charge(peer, 40, NOON + 59 * SECOND)
    assert one.used(peer, NOON + 59 * SECOND) == 100
    error = refusal(one, peer, 1, NOON + 59 * SECOND)
    assert (error.code, error.status, error.retry_after_s) == (-1003, 429, 1)
    assert error.message == (
        "Too much request weight used; current limit is 100 request weight per 1 MINUTE. "
        "Please use WebSocket Streams for live updates to avoid polling the API."
    )
    assert refusal(one, peer, 1, NOON + 20 * SECOND + 1).retry_after_s == 40
    one.charge(peer, 5, NOON + MINUTE)
    assert one.used(peer, NOON + MINUTE) == 5
    assert one.used(peer, NOON + 2 * MINUTE) == 0


def test_a_clock_that_goes_back_begins_anew() -> None:
    one = limits(weight_per_minute_max=10)
    peer = one.peer("10.0.0.1")
    one.charge(peer, 10, NOON + 5 * MINUTE)
    one.charge(peer, 10, NOON)
    assert refusal(one, peer, 1, NOON + SECOND).code == -1003


def test_raw_requests_are_counted_over_five_minutes() -> None:
    one = limits(raw_requests_per_5_minutes_max=3)
    peer = one.peer("10.0.0.1")
    start = NOON - NOON % (5 * MINUTE)
    for minute in range(3):
        one.charge(peer, 0, start + minute * MINUTE)
    error = refusal(one, peer, 0, start + 4 * MINUTE)
    assert (error.code, error.status, error.retry_after_s) == (-1003, 429, 60)
    one.charge(peer, 0, start + 5 * MINUTE)


def test_who_goes_on_after_429_is_banned_for_longer_and_longer() -> None:
    one = limits(weight_per_minute_max=1, refusals_before_ban=2)
    peer = one.peer("10.0.0.1")
    one.charge(peer, 1, NOON)
    assert [refusal(one, peer, 1, NOON).status for _ in range(3)] == [429, 429, 418]
    banned = refusal(one, peer, 1, NOON + MINUTE)
    assert (banned.status, banned.code, banned.retry_after_s) == (418, -1003, 60)
    assert f"IP banned until {(NOON + 2 * MINUTE) // 1_000_000}." in banned.message
    one.charge(peer, 1, NOON + 2 * MINUTE)
    later = NOON + 2 * MINUTE
    assert [refusal(one, peer, 1, later).status for _ in range(3)] == [429, 429, 418]
    assert refusal(one, peer, 1, later).retry_after_s == 240


def test_order_counts() -> None:
    one = limits(orders_per_10_seconds_max=2, orders_per_day_max=3)
    one.place(7, NOON)
    one.place(7, NOON + SECOND)
    with pytest.raises(ApiError, match="current limit is 2 orders per 10 SECOND") as caught:
        one.place(7, NOON + 2 * SECOND)
    assert (caught.value.code, caught.value.status, caught.value.retry_after_s) == (-1015, 429, 8)
    one.place(8, NOON + 2 * SECOND)
    one.give_back(7)
    one.place(7, NOON + 3 * SECOND)
    one.place(7, NOON + 10 * SECOND)
    with pytest.raises(ApiError, match="current limit is 3 orders per 1 DAY"):
        one.place(7, NOON + 20 * SECOND)
    for _ in range(9):
        one.give_back(7)
    assert one.order_limits_used(7, NOON + 20 * SECOND)[1]["count"] == 0


def test_tables_do_not_grow_for_ever() -> None:
    one = limits()
    for number in range(1000):
        one.charge(one.peer(f"10.0.{number // 256}.{number % 256}"), 1, NOON)
        one.place(number, NOON)
    peer = one.join("192.168.0.1")
    assert peer is not None
    one.sweep(NOON + 4 * MINUTE)
    assert len(one.peers) == 1001
    one.sweep(NOON + 5 * MINUTE)
    assert list(one.peers) == ["192.168.0.1"]
    one.leave(peer)
    one.sweep(NOON + 2 * 1440 * MINUTE)
    assert not one.peers
    assert not one.orders


@pytest.mark.parametrize(
    ("ip", "name"),
    [
        ("1.2.3.4", "1.2.3.4"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::1", "::1"),
        ("::ffff:1.2.3.4", "::ffff:1.2.3.4"),
        ("", ""),
    ],
)
def test_an_ipv6_client_is_its_network(ip: str, name: str) -> None:
    assert network(ip) == name


async def test_weights_are_shown_and_enforced(limited: Callable[..., Any]) -> None:
    venue = await limited(weight_per_minute_max=62)
    await venue.environment.sleep(0.0 if venue.environment.wall_ns() % MINUTE < 55 * SECOND else 6.0)
    client = await venue.client()
    used = []
    for path, parameters in (
        ("ping", {}), ("exchangeInfo", {}), ("depth", {"symbol": "BTCUSDT"}), ("depth", {"symbol": "BTCUSDT",
        "limit": 500}),
        ("ticker/24hr", {"symbol": "BTCUSDT"}), ("avgPrice", {"symbol": "NOSUCH"}), ("trades", {"symbol": "BTCUSDT"}),
    ):  # fmt: skip
        answer = await client.get(path, **parameters)
        assert answer.headers["x-mbx-used-weight"] == answer.headers["x-mbx-used-weight-1m"]
        used.append((answer.status, int(answer.headers["x-mbx-used-weight-1m"])))
    assert used[:6] == [(200, 1), (200, 21), (200, 26), (200, 51), (200, 53), (400, 55)]
    assert answer.status == 429
    assert answer.json["code"] == -1003
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    limit = (await (await venue.client()).get("ping")).status
    assert limit == 429, "the weight is the address's, not the connection's"


async def test_orders_cost_weight_only_when_they_fail(limited: Callable[..., Any]) -> None:
    venue = await limited()
    alice = await venue.client(ALICE)
    assert (await alice.place()).headers["x-mbx-used-weight"] == "0"
    assert (await alice.place(price="0.001")).headers["x-mbx-used-weight"] == "1"
    assert (await alice.place(quantity="9000")).headers["x-mbx-used-weight"] == "2"
    assert (await alice.ask("DELETE", "openOrders", symbol="BTCUSDT")).headers["x-mbx-used-weight"] == "2"


async def test_order_counts_are_shown_and_enforced(limited: Callable[..., Any]) -> None:
    venue = await limited(orders_per_10_seconds_max=3, orders_per_day_max=100)
    await venue.environment.sleep(0.0 if venue.environment.wall_ns() % (10 * SECOND) < 7 * SECOND else 3.2)
    alice = await venue.client(ALICE)
    answers = [await alice.place(price=str(20000 + n)) for n in range(4)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429]
    assert [answer.headers["x-mbx-order-count-10s"] for answer in answers[:3]] == ["1", "2", "3"]
    assert answers[3].json == {"code": -1015, "msg": "Too many new orders; current limit is 3 orders per 10 SECOND."}
    assert 1 <= int(answers[3].headers["retry-after"]) <= 10
    counts = (await alice.ask("GET", "rateLimit/order")).json
    assert [(row["interval"], row["intervalNum"], row["limit"], row["count"]) for row in counts] == [
        ("SECOND", 10, 3, 3), ("DAY", 1, 100, 3),
    ]  # fmt: skip
    info = (await alice.get("exchangeInfo")).json
    assert {(row["rateLimitType"], row["limit"]) for row in info["rateLimits"]} >= {("ORDERS", 3), ("ORDERS", 100)}
