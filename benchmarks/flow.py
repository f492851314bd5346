# SPDX-License-Identifier: Apache-2.0
"""The seeded flow that kernels are compared on (engine.md §2c): 65,000 resting orders, then 1,000,000 commands.

55 % limit orders (a third of them at or through the touch), 40 % cancels of live orders picked uniformly, 5 % market
orders; passive sizes 1..100, aggressive 1..10; the mid walks. Used by the gates of the kernel, of replay and of the
snapshot. Draws come from numpy all at once; the plain reference plays the flow so that cancels meet live orders and
the expected trades are known without the kernel. It must never ask the kernel under test what to do next.
"""

import gc
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from benchmarks.plain import PlainBook, Trade
from bidhall.core.records import (
    COMMAND,
    CommandKind,
    OrderType,
    SelfTradePrevention,
    Side,
    TimeInForce,
    asset,
    configure,
    deposit,
    market,
)
from bidhall.core.records import account as account_command

RESTING = 65_000
COMMANDS = 1_000_000
LIMIT_SHARE, CANCEL_SHARE = 0.55, 0.40
AGGRESSIVE_SHARE = 1 / 3
MID_TICKS = 10_000
DEPTH_TICKS = 250
LIMIT, CANCEL, MARKET = 0, 1, 2
MARKET_ID, BASE, QUOTE = 1, 1, 2
SUPPLY_UNITS = 1 << 61

Step = tuple[int, int, int, int, int]  # kind, side (1 sells), price, quantity, order id (new or to cancel)


@dataclass(frozen=True)
class Flow:
    """Steps for the plain book, commands for the kernel, and the trades that both must make."""

    seed: int
    resting: int
    steps: list[Step]
    trades: int
    trades_digest: str
    resting_after: int

    def commands(self, accounts: int) -> tuple[NDArray[np.void], NDArray[np.void]]:
        """(what rests beforehand, the measured commands) for that many accounts, drawn at random.

        Buyers have even account numbers and sellers odd ones, so that nobody meets himself.
        """
        table = np.array(self.steps, dtype=np.int64)
        records = _records(table, _owners(np.random.default_rng([self.seed, accounts]), table, accounts))
        return records[: self.resting], records[self.resting :]


def trades_digest(trades: NDArray[np.int64]) -> str:
    """Digest of (price, quantity, maker, taker) rows."""
    return blake2b(np.ascontiguousarray(trades, dtype="<i8").tobytes(), digest_size=8).hexdigest()


def generate(seed: int, *, resting: int = RESTING, commands: int = COMMANDS) -> Flow:
    """Makes the flow."""
    random = np.random.default_rng(seed)
    gc.disable()  # a million tuples are made and kept: collections find nothing and cost a third of the time
    try:
        steps, trades, book = _play(random, resting, commands)
    finally:
        gc.enable()
    made = np.array(trades, dtype=np.int64).reshape(-1, 4)
    return Flow(seed, resting, steps, len(trades), trades_digest(made), len(book.orders))


def _play(random: np.random.Generator, resting: int, commands: int) -> tuple[list[Step], list[Trade], PlainBook]:
    total = resting + commands
    drawn = random.random(total)
    kinds = np.where(drawn < LIMIT_SHARE, LIMIT, np.where(drawn < LIMIT_SHARE + CANCEL_SHARE, CANCEL, MARKET))
    kinds[:resting] = LIMIT
    aggressive = random.random(total) < AGGRESSIVE_SHARE
    aggressive[:resting] = False
    small = aggressive | (kinds == MARKET)
    quantities = np.where(small, random.integers(1, 11, total), random.integers(1, 101, total))
    sides = random.integers(0, 2, total)
    walk = MID_TICKS + np.cumsum(random.integers(-1, 2, total) * (random.random(total) < 0.01))
    walk[:resting] = MID_TICKS
    away = 1 + np.minimum(random.exponential(DEPTH_TICKS / 4, total), DEPTH_TICKS * 4).astype(np.int64)
    through = random.integers(0, 3, total)
    passive = np.maximum(walk + np.where(sides == 1, away, -away), 1)
    picks = random.random(total)
    columns = (a.tolist() for a in (kinds, sides, aggressive, passive, through, quantities, picks))
    steps: list[Step] = []
    trades: list[Trade] = []
    book = PlainBook()
    live: list[int] = []
    order_id = 0
    for kind, side, crosses, price, ticks_through, quantity, pick in zip(*columns, strict=True):
        if kind == CANCEL:
            target = _pick(book, live, pick)
            book.cancel(target)
            steps.append((CANCEL, 0, 0, 0, target))
            continue
        order_id += 1
        if kind == MARKET:
            book.market(order_id, side, quantity, trades)
            price = 0
        else:
            touch = book.best(1 - side)
            if crosses:
                price = max(1, touch - ticks_through if side else touch + ticks_through) if touch else price
            elif touch:  # passive orders keep off the other side
                price = max(price, touch + 1) if side else max(1, min(price, touch - 1))
            book.limit(order_id, side, price, quantity, trades)
            live.append(order_id)
        steps.append((kind, side, price, quantity, order_id))
    return steps, trades, book


def _pick(book: PlainBook, live: list[int], pick: float) -> int:
    """A live order, uniformly; the list may hold dead ones, which are dropped as they are met."""
    while live:
        index = int(pick * len(live))
        order_id = live[index]
        live[index] = live[-1]
        live.pop()
        if order_id in book.orders:
            return order_id
        pick = (pick * 7919.0 + 0.5) % 1.0
    return 1 << 40


def _owners(random: np.random.Generator, table: NDArray[np.int64], accounts: int) -> NDArray[np.int64]:
    total = len(table)
    drawn = random.integers(0, accounts // 2, total) * 2 + table[:, 1] + 1
    placed = table[:, 0] != CANCEL
    by_order = np.zeros(total + 1, dtype=np.int64)
    by_order[table[placed, 4]] = drawn[placed]
    known = table[:, 4] <= total
    return np.where(placed | ~known, drawn, by_order[np.where(known, table[:, 4], 0)])


def _records(table: NDArray[np.int64], owners: NDArray[np.int64]) -> NDArray[np.void]:
    kind, side, price, quantity, order_id = table.T
    records = np.zeros(len(table), dtype=COMMAND)
    cancels = kind == CANCEL
    records["kind"] = np.where(cancels, CommandKind.CANCEL, CommandKind.PLACE)
    records["legs"] = 1
    records["account"] = owners
    records["market"] = MARKET_ID
    records["order_id"] = np.where(cancels, order_id, 0)
    records["type"] = np.select([cancels, kind == MARKET], [OrderType.NONE, OrderType.MARKET], OrderType.LIMIT)
    records["side"] = np.where(cancels, Side.NONE, np.where(side == 1, Side.SELL, Side.BUY))
    records["time_in_force"] = np.where(kind == LIMIT, TimeInForce.GTC, TimeInForce.NONE)
    records["price_ticks"] = price
    records["quantity_steps"] = quantity
    return records


def setup(accounts: int, *, orders_max: int = 1 << 17) -> bytes:
    """Two assets of whole units, one market with fees and self-trade prevention, every account funded in both."""
    head = [
        configure(accounts_max=accounts + 1, orders_max=orders_max, assets_max=2, markets_max=1),
        asset(b"BASE", 0),
        asset(b"QUOTE", 0),
        market(
            b"FLOW", BASE, QUOTE, tick_e8=10**8, step_units=1, price_ticks_max=1 << 18, quantity_steps_max=1 << 20,
            orders_max=0, algo_orders_max=0, self_trade_prevention=SelfTradePrevention.EXPIRE_MAKER,
        ),
    ]
    return b"".join(head) + account_command(b"flow") * accounts + _deposits(accounts).tobytes()


def _deposits(accounts: int) -> NDArray[np.void]:
    one = np.frombuffer(deposit(1, BASE, SUPPLY_UNITS // accounts), dtype=COMMAND)
    records = np.repeat(one, 2 * accounts)
    records["account"] = np.arange(1, accounts + 1, dtype=np.uint32).repeat(2)
    records["market"] = np.tile(np.array([BASE, QUOTE], dtype=np.uint32), accounts)
    return records


def play_plain(steps: list[Step], book: PlainBook) -> list[Trade]:
    """The reference's turn: the same steps through the plain book."""
    trades: list[Trade] = []
    for kind, side, price, quantity, order_id in steps:
        if kind == LIMIT:
            book.limit(order_id, side, price, quantity, trades)
        elif kind == CANCEL:
            book.cancel(order_id)
        else:
            book.market(order_id, side, quantity, trades)
    return trades
