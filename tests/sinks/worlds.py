# SPDX-License-Identifier: Apache-2.0
"""Logs full of generated trading, for the tests of the sinks: every feature of the kernel, crowded, seeded.

The generator is the one that the kernel is compared with its twin by (`tests/model`). It must never write anything.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

from bidhall.core.exchange import Exchange
from bidhall.core.records import LAYOUT_VERSION, RULES_VERSION
from bidhall.core.views import Views
from bidhall.environment import RealEnvironment
from bidhall.log import Batch, Entry, MemoryLog, chain_next
from bidhall.replica.retrace import Retrace
from bidhall.sinks.history.store import HistoryStore
from bidhall.sinks.interface import CHAIN_START, Facts, facts_of
from tests.model import ModelExchange, UnknownCommand, WriterGap
from tests.model.histories import History

WRITER = bytes(range(16))


class WrittenLog(MemoryLog):
    """A log in memory that takes batches with their times."""

    numbers = 0

    def put(self, commands: bytes, log_time_ns: int, writer_time_ns: int, number: int = 0) -> None:
        """The next batch of the one writer; `number`: an earlier one, again."""
        position = self.head + 1
        before = self._batches[-1].chain if self._batches else CHAIN_START
        self.numbers += not number
        number = number or self.numbers
        entry = Entry.make(WRITER, number, writer_time_ns, LAYOUT_VERSION, RULES_VERSION, commands)
        batch = Batch(position, log_time_ns, entry, chain_next(before, position, log_time_ns, entry.checksum))
        self._batches.append(batch)
        self._tail.extend([batch])


def generated(seed: int, commands: int) -> WrittenLog:
    """A log of a generated history."""
    log, twin = WrittenLog(RealEnvironment()), ModelExchange()
    history = History(seed, twin)
    history.greetings_left = 0
    while twin.sequence < commands:
        batch = history.batch()
        try:
            twin.apply(batch.commands, batch.log_time_ns, batch.writer_time_ns, WRITER, log.head + 1)
        except (UnknownCommand, WriterGap):
            continue
        log.put(batch.commands, batch.log_time_ns, batch.writer_time_ns)
    return log


def facts_in(log: Any, after: int = 0, chain: bytes = CHAIN_START, snapshots: Path | None = None) -> Iterator[Facts]:
    """Of every batch behind a position."""
    previous = after
    for applied, sequence in Retrace(log, snapshots, after, chain).batches():
        yield facts_of(applied, previous, sequence)
        previous = applied.batch.position


def replayed(log: Any) -> tuple[Exchange, Views]:
    """What a replica with room for everything would have at the end."""
    exchange, views = Exchange(), Views(trades_max=1 << 16, done_bytes=64 << 20, fills_max=1 << 18, seed=1)
    for batch in log.read(1):
        entry = batch.entry
        events = exchange.apply(entry.commands, batch.log_time_ns, entry.writer_time_ns, entry.writer, entry.number)
        if events is not None and entry.count:
            views.apply(events, exchange.done(), exchange.time_ns)
    return exchange, views


def store_at(path: Path, log: Any) -> HistoryStore:
    """A started one."""
    store = HistoryStore(path, lambda: log.identity)
    store.start(log.holds)
    return store


def write_in_pieces(store: HistoryStore, facts: Sequence[Facts], random: Random, most: int) -> int:
    """Some batches at a time; the number of rows."""
    rows = at = 0
    while at < len(facts):
        count = random.randrange(1, most + 1)
        rows += store.write(facts[at : at + count])
        at += count
    return rows
