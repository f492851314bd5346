# SPDX-License-Identifier: Apache-2.0
"""Much trading in little time, for what is measured of the history: batches of commands as arrays, seeded.

Used by `benchmarks/test_history.py` and `tests/proofs/test_history.py`. Half of the orders trade with each other, the
other half are IOC orders that find nothing; accounts take turns at random, as they do on an exchange. It must never be
slower than what it feeds.
"""

import numpy as np
from numpy.typing import NDArray

from bidhall.core import records
from bidhall.core.records import COMMAND, CommandKind, OrderType, Side, TimeInForce

PRICE_TICKS, STEPS = 5_000_000, 100  # 50,000.00 and 0.00100 where tick and step are the usual ones
FAR_TICKS = 4_000_000


def world(accounts: int) -> bytes:
    """Two assets, one market with fees, and accounts that never run out of money."""
    setup = records.configure(accounts_max=4_096, orders_max=65_536, digests_max=4_096, writers_max=64, seed=7)
    setup += records.asset(b"BTC") + records.asset(b"USDT")
    setup += records.market(
        b"BTCUSDT", 1, 2, tick_e8=1_000_000, step_units=1_000, price_ticks_max=1 << 24, quantity_steps_max=1 << 24,
        maker_rate_e8=100_000, taker_rate_e8=100_000,
    )  # fmt: skip
    for number in range(1, accounts + 1):
        setup += records.account(f"account {number}".encode())
        setup += records.deposit(number, 1, 1 << 54) + records.deposit(number, 2, 1 << 54)
    return setup


class Trading:
    """Commands without end: of each four orders two trade with each other."""

    def __init__(self, seed: int, accounts: int, market: int = 1) -> None:
        self._random = np.random.default_rng(seed)
        self._accounts, self._market, self._count = accounts, market, 0

    def commands(self, count: int) -> bytes:
        """So many orders, a multiple of four; each is done at the end."""
        made: NDArray[np.void] = np.zeros(count, COMMAND)
        made["kind"], made["market"] = CommandKind.PLACE, self._market
        made["account"] = self._random.integers(1, self._accounts + 1, count)
        made["type"] = OrderType.LIMIT
        made["quantity_steps"] = STEPS
        made["client_id"] = [f"x-past-{number:014d}" for number in range(self._count, self._count + count)]
        self._count += count
        turn = np.arange(count) % 4
        made["side"] = np.where(turn == 0, Side.SELL, Side.BUY)
        made["time_in_force"] = np.where(turn == 0, TimeInForce.GTC, TimeInForce.IOC)
        made["price_ticks"] = np.where(turn < 2, PRICE_TICKS + self._random.integers(0, 100, count) // 50, FAR_TICKS)
        made["price_ticks"][1::4] = made["price_ticks"][0::4]
        return made.tobytes()
