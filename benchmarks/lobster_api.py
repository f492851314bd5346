# SPDX-License-Identifier: Apache-2.0
"""Carries the operations of the NASDAQ hour out over the API: signed orders of several accounts at a running server.

Used by `benchmarks.lobster`. Orders go over one connection, HTTP or WebSocket API, many at a time (the file's order is
the book's, so there is no second connection), and are named by client ids, so that only an aggressor waits for its
answer; who was hit is asked from the makers' own trades; the tops are watched on the bookTicker
stream. It must never fall back on what it expects: a missing answer or trade is a fault.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol, Self
from urllib.parse import urlsplit

from benchmarks.lobster_flow import BUY, SELL, Add, Cancel, Checkpoint, Fill, Operation, Reduce, Take, Top
from benchmarks.wire import (
    Answer,
    HttpConnection,
    Key,
    OnAnswer,
    WebSocketApiConnection,
    WebSocketReader,
    signed_request,
)
from tests.serving import key_secret, key_text, seed_document, serving

WINDOW = 48  # requests in flight; the server takes 64 a connection
SYMBOL = "AAPLUSD"
MAKERS = ("maker0", "maker1", "maker2", "maker3")
TAKERS = ("taker0", "taker1")
TRADES_ASKED = 100
STREAM_PATIENCE_S = 0.5


class Venue(NamedTuple):
    """A running server and whose keys to use."""

    host: str
    port: int
    symbol: str
    makers: list[Key]
    takers: list[Key]

    @classmethod
    def from_options(cls, url: str, symbol: str, keys: Path) -> Self:
        """From the command line."""
        where = urlsplit(url)
        document = json.loads(keys.read_text(encoding="utf-8"))
        makers, takers = ([Key(key["key"], key["secret"]) for key in document[name]] for name in ("makers", "takers"))
        return cls(where.hostname or "127.0.0.1", where.port or 80, symbol, makers, takers)


def seed() -> dict[str, Any]:
    """The market of the hour: a tick of a cent, a step of a share, rich accounts."""
    return seed_document(
        (*MAKERS, *TAKERS),
        assets=[{"name": "AAPL", "decimals": 0}, {"name": "USD", "decimals": 2}],
        markets=[
            {
                "name": SYMBOL,
                "base": "AAPL",
                "quote": "USD",
                "tick": "0.01",
                "step": "1",
                "price_max": "10000",
                "quantity_max": "1000000",
                "orders_max": 100_000,
            }
        ],
        balances={"AAPL": "1000000000", "USD": "1000000000000"},
    )


@contextmanager
def own_server(folder: Path) -> Iterator[Venue]:
    """A server of our own with that market."""
    with serving(folder / "bidhall", seed=seed()) as server:
        makers, takers = ([Key(key_text(name), key_secret(name)) for name in names] for names in (MAKERS, TAKERS))
        yield Venue(server.host, server.port, SYMBOL, makers, takers)


class Calls(Protocol):
    """Something that carries signed calls out, in the order in which they were sent."""

    @property
    def pending(self) -> int: ...
    def send(self, call: str, key: Key, parameters: dict[str, str], timestamp_us: int, on_answer: OnAnswer) -> None: ...
    def close(self) -> None: ...


class HttpCalls:
    """Over REST, pipelined."""

    ROUTES: Final = {
        "place": ("POST", "order"), "cancel": ("DELETE", "order"), "amend": ("PUT", "order/amend/keepPriority"),
        "trades": ("GET", "myTrades"),
    }  # fmt: skip

    def __init__(self, connection: HttpConnection) -> None:
        self._connection = connection

    @property
    def pending(self) -> int:
        """Calls without an answer so far."""
        return self._connection.pending

    def send(self, call: str, key: Key, parameters: dict[str, str], timestamp_us: int, on_answer: OnAnswer) -> None:
        """One call."""
        method, path = self.ROUTES[call]
        query = "&".join([f"{name}={value}" for name, value in parameters.items()])
        self._connection.send(signed_request(method, f"/api/v3/{path}", key, query, timestamp_us), on_answer)

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()


class WebSocketCalls:
    """Over the WebSocket API."""

    METHODS: Final = {
        "place": "order.place", "cancel": "order.cancel", "amend": "order.amend.keepPriority", "trades": "myTrades",
    }  # fmt: skip

    def __init__(self, connection: WebSocketApiConnection) -> None:
        self._connection = connection

    @property
    def pending(self) -> int:
        """Calls without an answer so far."""
        return self._connection.pending

    def send(self, call: str, key: Key, parameters: dict[str, str], timestamp_us: int, on_answer: OnAnswer) -> None:
        """One call."""
        self._connection.send(self.METHODS[call], key, parameters, timestamp_us, on_answer)

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()


class ApiVenue:
    """One connection for orders, one for the stream."""

    def __init__(self, venue: Venue, calls: Calls) -> None:
        self._venue = venue
        self._calls = calls
        self.tops: list[Top] = []  # by the driver's own book, at the checkpoints
        self.deletes = self.deletes_right = 0
        self.faults: list[str] = []
        self.requests = 0
        self.tops_seen = 0
        self.tops_distinct: list[Top] = []
        self._takes = 0
        self._timestamp_us = 0
        self._ids: dict[tuple[int, int], int] = {}  # (maker, order id) -> id of the file
        self._room = asyncio.Event()
        self._streamed: list[Top] = []
        self._shadow = _Shadow()

    @classmethod
    @asynccontextmanager
    async def connected(cls, venue: Venue, via: str) -> AsyncIterator[Self]:
        """Connects both."""
        calls: Calls
        if via == "ws":
            calls = WebSocketCalls(await WebSocketApiConnection.open(venue.host, venue.port))
        else:
            calls = HttpCalls(await HttpConnection.open(venue.host, venue.port))
        api = cls(venue, calls)
        path = f"/ws/{venue.symbol.lower()}@bookTicker"
        stream = await WebSocketReader.open(venue.host, venue.port, path, api._on_top)
        try:
            yield api
        finally:
            calls.close()
            stream.close()

    # Operations

    async def carry_out(self, operation: Operation) -> list[Fill] | None:
        """One operation; only a Take waits for its answer."""
        if isinstance(operation, Take):
            return await self._take(operation)
        if isinstance(operation, Checkpoint):
            self.tops.append(self._shadow.top())
            return None
        if self._calls.pending >= WINDOW:
            self._room.clear()
            await self._room.wait()
        if isinstance(operation, Add):
            self._add(operation)
        elif isinstance(operation, Reduce):
            self._reduce(operation)
        else:
            self._cancel(operation)
        return None

    async def settle(self) -> None:
        """Waits for everything that is on its way, then compares the stream."""
        while self._calls.pending:
            self._room.clear()
            await self._room.wait()
        await asyncio.sleep(STREAM_PATIENCE_S)
        self.tops_distinct = [top for top, _ in groupby(self.tops)]
        streamed = iter(self._streamed)
        self.tops_seen = sum(any(top == seen for seen in streamed) for top in self._all_but_empty())

    def _all_but_empty(self) -> list[Top]:
        return [top for top in self.tops_distinct if any(top)]

    def _send(self, call: str, key: Key, parameters: dict[str, str], on_body: Callable[[Any], None]) -> None:
        self.requests += 1
        # The same bytes twice are one request, and a rebuilt level names the same order again within a millisecond:
        # so timestamps are microseconds, each another.
        self._timestamp_us = max(self._timestamp_us + 1, time.time_ns() // 1_000)

        def on_answer(answer: Answer) -> None:
            self._room.set()
            if answer.status == 200:
                on_body(json.loads(answer.body))
            else:
                self.faults.append(f"{call} {parameters}: {answer.status} {answer.body[:200]!r}")
                on_body(None)

        self._calls.send(call, key, {"symbol": self._venue.symbol, **parameters}, self._timestamp_us, on_answer)

    async def _ask(self, call: str, key: Key, parameters: dict[str, str]) -> Any:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._send(call, key, parameters, lambda body: None if future.done() else future.set_result(body))
        return await future

    def _maker(self, order_id: int) -> int:
        return order_id % len(self._venue.makers)

    def _add(self, add: Add) -> None:
        maker = self._maker(add.id)
        side = "BUY" if add.direction == BUY else "SELL"

        def on_body(body: dict[str, Any] | None) -> None:
            if body is not None:
                self._ids[maker, body["orderId"]] = add.id

        self._shadow.add(add)
        order = {
            "side": side, "type": "LIMIT_MAKER", "quantity": str(add.size), "price": _price(add.price),
            "newClientOrderId": f"L{add.id}", "newOrderRespType": "ACK",
        }  # fmt: skip
        self._send("place", self._venue.makers[maker], order, on_body)

    def _reduce(self, reduce: Reduce) -> None:
        def on_body(body: dict[str, Any] | None) -> None:
            if body is None:
                return
            order = body["amendedOrder"]
            left = float(order["qty"]) - float(order["executedQty"])
            if left != reduce.size:
                self.faults.append(f"order {reduce.id}: after the reduction {left} are left, not {reduce.size}")

        self._shadow.resize(reduce.id, reduce.size)
        name = f"L{reduce.id}"
        amendment = {"origClientOrderId": name, "newClientOrderId": name, "newQty": str(reduce.total)}
        self._send("amend", self._venue.makers[self._maker(reduce.id)], amendment, on_body)

    def _cancel(self, cancel: Cancel) -> None:
        self.deletes += cancel.counts

        def on_body(body: dict[str, Any] | None) -> None:
            if body is None:
                return
            left = float(body["origQty"]) - float(body["executedQty"])
            if left == cancel.size:
                self.deletes_right += cancel.counts
            else:
                self.faults.append(f"order {cancel.id}: {left} were left, not {cancel.size}")

        self._shadow.resize(cancel.id, 0)
        self._send(
            "cancel", self._venue.makers[self._maker(cancel.id)], {"origClientOrderId": f"L{cancel.id}"}, on_body
        )

    async def _take(self, take: Take) -> list[Fill]:
        self._takes += 1
        key = self._venue.takers[self._takes % len(self._venue.takers)]
        side = "BUY" if take.direction == BUY else "SELL"
        order = {
            "side": side, "type": "LIMIT", "timeInForce": "IOC", "quantity": str(take.size),
            "price": _price(take.price), "newOrderRespType": "FULL",
        }  # fmt: skip
        body = await self._ask("place", key, order)
        trades = [] if body is None else body["fills"]
        makers = await self._makers_of([trade["tradeId"] for trade in trades])
        fills = [
            Fill(makers.get(trade["tradeId"], -1), round(float(trade["price"]) * 10_000), int(float(trade["qty"])))
            for trade in trades
        ]
        for fill in fills:
            self._shadow.fill(fill)
        return fills

    async def _makers_of(self, trade_ids: list[int]) -> dict[int, int]:
        """Whose orders were hit, as each maker's own list of trades says: trade id -> id of the file."""
        if not trade_ids:
            return {}
        asked = {"fromId": str(min(trade_ids)), "limit": str(TRADES_ASKED)}
        lists = await asyncio.gather(*(self._ask("trades", key, asked) for key in self._venue.makers))
        found: dict[int, int] = {}
        for maker, trades in enumerate(lists):
            for trade in trades or []:
                found[trade["id"]] = self._ids.get((maker, trade["orderId"]), -1)
        return found

    def _on_top(self, text: bytes) -> None:
        event = json.loads(text)
        ask, ask_size, bid, bid_size = (float(event[name]) for name in ("a", "A", "b", "B"))
        self._streamed.append(Top(round(ask * 10_000), int(ask_size), round(bid * 10_000), int(bid_size)))


class _Shadow:
    """The driver's own book as prices and sums, to know which tops the stream must show at the checkpoints."""

    def __init__(self) -> None:
        self._orders: dict[int, tuple[int, int, int]] = {}
        self._levels: dict[int, dict[int, int]] = {BUY: {}, SELL: {}}
        self._best: dict[int, int] = {BUY: 0, SELL: 0}

    def add(self, add: Add) -> None:
        self._orders[add.id] = (add.direction, add.price, add.size)
        self._change(add.direction, add.price, add.size)

    def resize(self, order_id: int, size: int) -> None:
        direction, price, was = self._orders.pop(order_id)
        if size:
            self._orders[order_id] = (direction, price, size)
        self._change(direction, price, size - was)

    def fill(self, fill: Fill) -> None:
        if fill.maker in self._orders:
            self.resize(fill.maker, self._orders[fill.maker][2] - fill.size)

    def _change(self, direction: int, price: int, by: int) -> None:
        level = self._levels[direction]
        left = level.get(price, 0) + by
        best = self._best[direction]
        if left:
            level[price] = left
            if not best or (price > best if direction == BUY else price < best):
                self._best[direction] = price
            return
        del level[price]
        if price == best:
            self._best[direction] = (max if direction == BUY else min)(level, default=0)

    def top(self) -> Top:
        ask, bid = self._best[SELL], self._best[BUY]
        return Top(ask, self._levels[SELL].get(ask, 0), bid, self._levels[BUY].get(bid, 0))


def _price(price: int) -> str:
    return f"{price // 10_000}.{price % 10_000 // 100:02d}"
