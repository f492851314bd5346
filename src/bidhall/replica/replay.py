# SPDX-License-Identifier: Apache-2.0
"""A log through a fresh kernel, for the command line: the state hash and the event hash, at full speed.

It only reads. No registry and no views: what it gives depends on the log and the kernel alone.
"""

from collections.abc import Callable
from typing import NamedTuple

from bidhall.core.exchange import Exchange
from bidhall.core.records import LAYOUT_VERSION
from bidhall.environment import Environment, RealEnvironment
from bidhall.log import Log
from bidhall.replica.errors import Refused


class ReplayResult(NamedTuple):
    """Where a replay ended and what it came to."""

    position: int
    sequence: int
    commands: int
    batches: int
    seconds: float
    state_hash: bytes
    event_hash: bytes


def replay(
    log: Log,
    *,
    progress: Callable[[int, int], None] | None = None,
    last: int | None = None,
    environment: Environment | None = None,
) -> ReplayResult:
    """Blocking. Every batch up to `last`, or all there are; `progress(position, head)` after each."""
    clock = (environment or RealEnvironment()).monotonic
    if log.first != 1:
        raise Refused(f"the log begins at position {log.first}: what was before it has been trimmed")
    exchange = Exchange()
    exchange.tap(False, False, False)
    apply, head = exchange.apply, log.head if last is None else min(last, log.head)
    begun, position, commands = clock(), 0, 0
    for batch in log.read(1, last):
        position, log_time_ns, entry, _ = batch
        if entry.layout != LAYOUT_VERSION:
            raise Refused(f"position {position} has layout {entry.layout}; this version knows {LAYOUT_VERSION}")
        apply(entry.commands, log_time_ns, entry.writer_time_ns, entry.writer, entry.number)
        commands += entry.count
        if progress is not None:
            progress(position, head)
    seconds = clock() - begun
    return ReplayResult(
        position, exchange.sequence, commands, position, seconds, exchange.state_hash(), exchange.event_hash
    )
