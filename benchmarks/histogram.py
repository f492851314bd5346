# SPDX-License-Identifier: Apache-2.0
"""A log-linear (HDR) histogram: every latency counts, none is averaged away, the relative error is below 0.8 %.

Used by the load generator. It must never drop a value: what is below 1 counts as 1, what is above 2^62 as 2^62.
"""

import math
from collections.abc import Mapping
from typing import Self

SUB_BITS = 7  # 128 steps within each power of two
SUB_COUNT = 1 << SUB_BITS
HIGHEST = 1 << 62


def _index(value: int) -> int:
    shift = max(0, value.bit_length() - SUB_BITS - 1)
    return (shift << SUB_BITS) + (value >> shift)


def _highest_of(index: int) -> int:
    shift = max(0, (index >> SUB_BITS) - 1)
    return (((index - (shift << SUB_BITS)) + 1) << shift) - 1


class Histogram:
    """Counts of whole numbers (latencies in ns)."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self.count = 0
        self.highest = 0
        self.sum = 0

    def record(self, value: int) -> None:
        """One value."""
        value = min(max(value, 1), HIGHEST)
        index = _index(value)
        self._counts[index] = self._counts.get(index, 0) + 1
        self.count += 1
        self.sum += value
        if value > self.highest:
            self.highest = value

    def percentile(self, share: float) -> int:
        """The value below which `share` (0..1) of all values lie; exact for the highest."""
        wanted = math.ceil(share * self.count - 1e-9)
        seen = 0
        for index in sorted(self._counts):
            seen += self._counts[index]
            if seen >= wanted:
                return min(_highest_of(index), self.highest)
        return self.highest

    def add(self, other: Self) -> None:
        """All values of another one."""
        for index, count in other._counts.items():
            self._counts[index] = self._counts.get(index, 0) + count
        self.count += other.count
        self.sum += other.sum
        self.highest = max(self.highest, other.highest)

    def milliseconds(self) -> Mapping[str, float]:
        """The usual percentiles of nanoseconds, in milliseconds."""
        shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}
        return {
            **{name: round(self.percentile(share) / 1e6, 3) for name, share in shares.items()},
            "max": round(self.highest / 1e6, 3),
        }
