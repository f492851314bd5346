# SPDX-License-Identifier: Apache-2.0
"""Where a replica begins: the newest good snapshot, or the beginning of the log; and whether the log is still the same.

Called by the replica from a thread. A damaged snapshot is passed over for the older one, loudly. One that the log does
not have (another log, a lost tail) is refused: going on would quietly make another history.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from bidhall.core.exchange import Exchange
from bidhall.core.records import LAYOUT_VERSION
from bidhall.core.views import Results, Views
from bidhall.log import CHAIN_START, Log
from bidhall.replica.errors import Fault, Refused
from bidhall.replica.registry import Registry
from bidhall.replica.snapshots import BadSnapshot, Header, Loaded, Store

logger: Final = logging.getLogger("bidhall.replica")


@dataclass
class State:
    """All that a replica holds of the log, and how far."""

    exchange: Exchange
    registry: Registry
    views: Views
    results: Results
    position: int = 0
    chain: bytes = CHAIN_START


class Mark(NamedTuple):
    """An applied batch, as it is compared with the log."""

    position: int
    writer: bytes
    number: int
    checksum: bytes


def recover(state: State, store: Store | None, log: Log) -> Path | None:
    """Fill `state` from the newest good snapshot; the path, or None when the log is to be applied from its start."""
    if store is not None:
        store.open()
        for path in store.paths():
            if _load(state, path, log):
                return path
    if log.first != 1:
        raise Refused(f"the log begins at position {log.first} and there is no snapshot to begin from")
    return None


def _load(state: State, path: Path, log: Log) -> bool:
    try:
        snapshot = Loaded(path)
    except (BadSnapshot, OSError) as error:
        logger.error("a snapshot is passed over: %s", error)
        return False
    try:
        _check(snapshot.header, path, log)
        _take(state, snapshot)
    except (BadSnapshot, ValueError) as error:
        logger.error("a snapshot is passed over: %s: %s", path, error)
        _clear(state)
        return False
    finally:
        snapshot.close()
    return True


def _check(header: Header, path: Path, log: Log) -> None:
    if header.log != log.identity:
        raise Refused(f"{path} belongs to log {header.log.hex()}, this one is {log.identity.hex()}")
    if header.position > log.head:
        raise Refused(f"{path} stands at position {header.position}; the log ends at {log.head}: it has lost its tail")
    if header.position < log.first - 1:
        raise Refused(f"{path} stands at position {header.position}; the log begins at {log.first} only")
    if not log.holds(header.position, header.chain):
        raise Refused(f"{path}: the log has another history up to position {header.position}")
    if header.layout != LAYOUT_VERSION:
        raise BadSnapshot(f"layout {header.layout} is not known to this version")


def _take(state: State, snapshot: Loaded) -> None:
    header = snapshot.header
    with snapshot.section("kernel") as data:
        try:
            exchange = Exchange.restore(data)
        except Exception as error:
            raise BadSnapshot(f"the kernel does not take it: {error}") from error
    if exchange.event_hash != header.event_hash or exchange.sequence != header.sequence:
        raise BadSnapshot("the kernel in it is not the one its header names")
    with snapshot.section("registry") as data:
        state.registry.load(data)
    with snapshot.section("views") as data:
        state.views.load(data)
    with snapshot.section("results") as data:
        state.results.load(data)
    state.exchange, state.position, state.chain = exchange, header.position, header.chain


def _clear(state: State) -> None:
    state.registry.clear()
    state.views.clear()
    state.results.clear()


def compare(log: Log, applied: Iterable[Mark], position: int, chain: bytes, count: int) -> None:
    """The batches applied last against the log's; raises Fault on the first that differs.

    `read` checks that what it gives hangs together; here it is checked that it ends in our chain, and that each batch
    which this process applied itself is the one that the log has.
    """
    if position == 0:
        return
    if log.head < position:
        raise Fault(f"the log ends at position {log.head}, but {position} were applied: it has lost its tail")
    marks = {mark.position: mark for mark in applied}
    last = None
    for batch in log.read(max(log.first, position - count + 1), position):
        mark = marks.get(batch.position)
        entry = batch.entry
        found = Mark(batch.position, entry.writer, entry.number, entry.checksum)
        if mark is not None and mark != found:
            raise Fault(f"position {batch.position} was applied as another batch than the log holds now")
        last = batch
    if last is not None and last.chain != chain:
        raise Fault(f"the log has another history up to position {position} than was applied")
