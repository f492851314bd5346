# SPDX-License-Identifier: Apache-2.0
"""What the load generator sends: seeded, signed beforehand, each request with the moment it is meant for.

Used by `benchmarks.load`. The mix: 70 % orders (places, and about as many cancels, a tenth of them trades), 30 % signed
reads. A cancel or a read of an order comes a second after its placement, so that a right answer is always 200. It must
never depend on answers: the loop is open.
"""

import random
from collections import deque
from collections.abc import Iterator
from enum import StrEnum
from heapq import heappop, heappush
from typing import Any, NamedTuple

from benchmarks.wire import Key, signed_request
from tests.serving import key_secret, key_text, seed_document

SYMBOL = "BTCUSDT"
ACCOUNTS = tuple(f"load{number}" for number in range(20))
READ_SHARE = 0.30
TRADE_SHARE = 0.10
PATIENCE_NS = 1_000_000_000
TOUCH_BUY, TOUCH_SELL = 49_990, 50_010


class Kind(StrEnum):
    """Of a request."""

    PLACE = "place"
    CANCEL = "cancel"
    MAKE = "make"
    TAKE = "take"
    ORDER = "read order"
    OPEN_ORDERS = "read openOrders"
    ACCOUNT = "read account"
    MY_TRADES = "read myTrades"


class Planned(NamedTuple):
    """A request and when it is to be sent, from the start."""

    offset_ns: int
    kind: Kind
    request: bytes


class _Step(NamedTuple):
    kind: Kind
    method: str
    path: str
    account: int
    parameters: str


def seed() -> dict[str, Any]:
    """Twenty rich accounts."""
    return seed_document(ACCOUNTS)


def keys() -> list[Key]:
    """Their keys."""
    return [Key(key_text(name), key_secret(name)) for name in ACCOUNTS]


def plan(seed_number: int, rate: float, seconds: float, start_ms: int) -> list[Planned]:
    """All requests of a run that begins at `start_ms` of the wall clock; the gaps are those of a Poisson stream."""
    source = random.Random(seed_number)
    holders = keys()
    planned = []
    offset_ns = 0
    steps = _Steps(source)
    while (offset_ns := offset_ns + round(source.expovariate(rate) * 1e9)) < seconds * 1e9:
        step = steps.at(offset_ns)
        timestamp_ms = start_ms + offset_ns // 1_000_000
        request = signed_request(step.method, step.path, holders[step.account], step.parameters, timestamp_ms)
        planned.append(Planned(offset_ns, step.kind, request))
    return planned


class _Steps:
    """Draws the next step; remembers what has to be undone, and when."""

    def __init__(self, source: random.Random) -> None:
        self._random = source
        self._number = 0
        self._due: list[tuple[int, int, _Step]] = []
        self._known: deque[tuple[int, int, str]] = deque(maxlen=1_000)  # when it may be read, account, client id

    def at(self, offset_ns: int) -> _Step:
        if self._random.random() < READ_SHARE:
            return self._read(offset_ns)
        if self._due and self._due[0][0] <= offset_ns and self._random.random() < 0.6:
            return heappop(self._due)[2]
        return self._place(offset_ns)

    def _read(self, offset_ns: int) -> _Step:
        account = self._random.randrange(len(ACCOUNTS))
        draw = self._random.random()
        if draw < 0.4 and self._known and self._known[0][0] <= offset_ns:
            _, account, client_id = self._known[0]
            self._known.rotate(-1)
            return _Step(Kind.ORDER, "GET", "/api/v3/order", account, f"symbol={SYMBOL}&origClientOrderId={client_id}")
        if draw < 0.6:
            return _Step(Kind.OPEN_ORDERS, "GET", "/api/v3/openOrders", account, f"symbol={SYMBOL}")
        if draw < 0.9:
            return _Step(Kind.ACCOUNT, "GET", "/api/v3/account", account, "omitZeroBalances=true")
        return _Step(Kind.MY_TRADES, "GET", "/api/v3/myTrades", account, f"symbol={SYMBOL}&limit=10")

    def _place(self, offset_ns: int) -> _Step:
        self._number += 1
        account = self._random.randrange(len(ACCOUNTS))
        side = self._random.choice(("BUY", "SELL"))
        client_id = f"load-{self._number}"
        due_ns = offset_ns + PATIENCE_NS
        if self._random.random() < TRADE_SHARE:
            price = TOUCH_BUY if side == "BUY" else TOUCH_SELL
            other = "SELL" if side == "BUY" else "BUY"
            taker = (account + 1) % len(ACCOUNTS)
            take = _Step(Kind.TAKE, "POST", "/api/v3/order", taker, _limit(other, "IOC", price, f"take-{self._number}"))
            heappush(self._due, (due_ns, self._number, take))
            return _Step(Kind.MAKE, "POST", "/api/v3/order", account, _limit(side, "GTC", price, client_id))
        cancel = f"symbol={SYMBOL}&origClientOrderId={client_id}"
        heappush(self._due, (due_ns, self._number, _Step(Kind.CANCEL, "DELETE", "/api/v3/order", account, cancel)))
        self._known.append((due_ns, account, client_id))
        price = self._random.randrange(40_000, 49_000) if side == "BUY" else self._random.randrange(51_000, 60_000)
        return _Step(Kind.PLACE, "POST", "/api/v3/order", account, _limit(side, "GTC", price, client_id))


def _limit(side: str, time_in_force: str, price: int, client_id: str) -> str:
    return (
        f"symbol={SYMBOL}&side={side}&type=LIMIT&timeInForce={time_in_force}&quantity=0.00100&price={price}.00"
        f"&newClientOrderId={client_id}"
    )


def saturation(connections: int, pairs: int, timestamp_ms: int) -> list[list[bytes]]:
    """For each connection its own account's placements, each followed by its cancel."""
    holders = keys()
    return [list(_pairs(holders[number % len(holders)], number, pairs, timestamp_ms)) for number in range(connections)]


def _pairs(key: Key, number: int, pairs: int, timestamp_ms: int) -> Iterator[bytes]:
    for pair in range(pairs):
        client_id = f"full-{number}-{pair}"
        place = _limit("BUY", "GTC", 40_000 + pair % 9_000, client_id) + "&recvWindow=60000"
        yield signed_request("POST", "/api/v3/order", key, place, timestamp_ms)
        cancel = f"symbol={SYMBOL}&origClientOrderId={client_id}&recvWindow=60000"
        yield signed_request("DELETE", "/api/v3/order", key, cancel, timestamp_ms)
