# SPDX-License-Identifier: Apache-2.0
"""Candles and windows worked out anew, from nothing but trades: the other side of every comparison.

Used by the tests of candles and tickers. Calendar and arithmetic are Python's own (datetime, Decimal); it must never
use anything of the server's.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, NamedTuple

from tests.wire_rules.hall import Hall
from tests.wire_rules.room import EIGHT, Listener, Room, text

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
UNITS = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}
INTERVALS = (
    "1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M",
)  # fmt: skip


class Trade(NamedTuple):
    """One trade."""

    id: int
    time: int
    price: Decimal
    quantity: Decimal
    buyer_is_maker: bool


class Tape:
    """The trades of a room, as its trade stream tells them."""

    def __init__(self, hall: Hall, room: Room, stream: Listener) -> None:
        self.hall = hall
        self.room = room
        self.stream = stream
        self.trades: list[Trade] = []

    @classmethod
    async def begin(cls, hall: Hall, **market: Any) -> Tape:
        """In a room of its own, from its first trade on."""
        room = await hall.room("alice", "bob", funds={"BTC": "10000000", "USDT": "1000000000"}, **market)
        return cls(hall, room, await room.listen("trade"))

    async def trade(self, price: str, quantity: str, taker: str = "BUY") -> None:
        """One trade now."""
        alice, bob = self.room.traders["alice"], self.room.traders["bob"]
        await alice.limit("SELL" if taker == "BUY" else "BUY", quantity, price)
        await bob.limit(taker, quantity, price)
        for event in await self.stream.take():
            self.trades.append(
                Trade(event["t"], event["T"], Decimal(event["p"]), Decimal(event["q"]), event["m"])
            )

    def between(self, begin: int, end: int) -> list[Trade]:
        """Trades of begin <= time < end."""
        return [trade for trade in self.trades if begin <= trade.time < end]


def opens(interval: str, time: int, offset_minutes: int = 0) -> int:
    """When the candle that holds `time` opens: by the clock of a place so many minutes ahead of UTC."""
    offset = offset_minutes * MINUTE
    local = time + offset
    if interval[-1] in "wM":
        day = (EPOCH + timedelta(milliseconds=local)).replace(hour=0, minute=0, second=0, microsecond=0)
        first = day.replace(day=1) if interval == "1M" else day - timedelta(days=day.weekday())
        return (first - EPOCH) // timedelta(milliseconds=1) - offset
    size = int(interval[:-1]) * UNITS[interval[-1]]
    return local // size * size - offset


def follows(interval: str, opened: int, offset_minutes: int = 0) -> int:
    """When the next candle opens."""
    if interval == "1M":
        return opens(interval, opened + 31 * DAY + 12 * HOUR, offset_minutes)
    if interval == "1w":
        return opened + 7 * DAY
    return opened + int(interval[:-1]) * UNITS[interval[-1]]


def candle(tape: Tape, opened: int, end: int, until: int | None = None) -> list[Any]:
    """As GET /klines writes it, with first and last id behind it. `until`: of what had happened before then."""
    trades = tape.between(opened, end if until is None else min(until, end))
    if not trades:
        before = [trade for trade in tape.trades if trade.time < opened]
        close = text(before[-1].price)
        zero = "0.00000000"
        return [opened, close, close, close, close, zero, end - 1, zero, 0, zero, zero, "0", -1, -1]
    prices = [trade.price for trade in trades]
    taken = [trade for trade in trades if not trade.buyer_is_maker]
    return [
        opened, text(prices[0]), text(max(prices)), text(min(prices)), text(prices[-1]), volume(trades), end - 1,
        quote(trades), len(trades), volume(taken), quote(taken), "0", trades[0].id, trades[-1].id,
    ]  # fmt: skip


def of_stream(k: dict[str, Any]) -> list[Any]:
    """A candle of the stream, in the order of GET /klines."""
    return [k[key] for key in ("t", "o", "h", "l", "c", "v", "T", "q", "n", "V", "Q", "B", "f", "L")]


def volume(trades: list[Trade]) -> str:
    return text(sum((trade.quantity for trade in trades), Decimal(0)))


def quote(trades: list[Trade]) -> str:
    return text(sum((trade.quantity * trade.price for trade in trades), Decimal(0)))


class Window(NamedTuple):
    """A ticker: what every form of it shares."""

    change: str
    percent: str
    weighted: str
    open: str
    high: str
    low: str
    last: str
    volume: str
    quote: str
    first_id: int
    last_id: int
    count: int


def window(trades: list[Trade]) -> Window:
    """Of the trades that lie in it, of which there is one at least."""
    opened, last = trades[0].price, trades[-1].price
    prices = [trade.price for trade in trades]
    amount = sum((trade.quantity for trade in trades), Decimal(0))
    paid = sum((trade.quantity * trade.price for trade in trades), Decimal(0))
    percent = ((last - opened) * 100 / opened).quantize(Decimal("0.001"), ROUND_HALF_UP)
    return Window(
        text(last - opened), f"{percent + 0:f}", f"{(paid / amount).quantize(EIGHT, ROUND_HALF_UP):f}", text(opened),
        text(max(prices)), text(min(prices)), text(last), text(amount), text(paid), trades[0].id, trades[-1].id,
        len(trades),
    )  # fmt: skip
