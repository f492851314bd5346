# SPDX-License-Identifier: Apache-2.0
"""What the demo's agents believe their markets are worth: a seeded random walk in whole ticks.

`demo/agents.py` asks it before every turn. BTCUSDT and ETHUSDT walk, partly together; ETHBTC is their quotient, so that
the triangle fits. The walk is drawn back to where it began, or in a few weeks it would be anywhere.
"""

from random import Random
from typing import Final

PARTS: Final = 1_000_000_000  # moves are in parts of this, so that no number here has a fraction
STEP_PARTS: Final = 60_000  # a draw is uniform within +- 0.6 basis points; four of them make a move
RETURN_TURNS: Final = 40_000  # of the distance from the beginning, one part in so many comes back each move
FINE: Final = 1_000  # a price is kept in thousandths of a tick


class Prices:
    """The believed price of each market."""

    def __init__(self, random: Random, bitcoin_ticks: int, ether_ticks: int) -> None:
        """Start at these two prices (of the last session's last trades, or of the style)."""
        self._random = random
        self._anchor = (bitcoin_ticks * FINE, ether_ticks * FINE)
        self._bitcoin, self._ether = self._anchor

    def anchor(self, bitcoin_ticks: int, ether_ticks: int) -> None:
        """Where the walk is drawn back to, when it is not where it starts."""
        self._anchor = (bitcoin_ticks * FINE, ether_ticks * FINE)

    def move(self) -> None:
        """One move of the common mood and one of each market."""
        mood = self._draw()
        self._bitcoin = self._moved(self._bitcoin, self._anchor[0], mood + self._draw() // 2)
        self._ether = self._moved(self._ether, self._anchor[1], mood + self._draw())

    @property
    def bitcoin_ticks(self) -> int:
        """BTCUSDT."""
        return self._bitcoin // FINE

    @property
    def ether_ticks(self) -> int:
        """ETHUSDT."""
        return self._ether // FINE

    def ratio_ticks(self, ticks_per_one: int) -> int:
        """ETHBTC: the two prices' quotient, in ticks of which `ticks_per_one` make 1."""
        return max(1, (self._ether * ticks_per_one + self._bitcoin // 2) // self._bitcoin)

    def _draw(self) -> int:
        return sum(self._random.randint(-STEP_PARTS, STEP_PARTS) for _ in range(4)) // 2

    def _moved(self, price: int, anchor: int, parts: int) -> int:
        return max(FINE, price + price * parts // PARTS + (anchor - price) // RETURN_TURNS)
