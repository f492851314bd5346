# SPDX-License-Identifier: Apache-2.0
"""What every sink is, and what it is fed: the facts of the log's batches, in order, from where its cursor stands.

A follower (`follower.py`) feeds one sink; SQLite's history implements it, PostgreSQL, Redis and the AWS services do the
same later. What may never happen here: anything that knows where a sink keeps its data.

A sink keeps its cursor where its data is, in the same transaction where there is one. It may be fed what it has already
(it drops what is at or below its cursor), and its rows have natural keys, so that a second writing changes nothing.
Everything that it writes follows from the log alone, however its batches are cut into writes: a sink that was lost and
rebuilt holds the very same.
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

from bidhall.core.records import EventKind
from bidhall.replica.amendments import Amendment
from bidhall.replica.outcome import Applied
from bidhall.replica.prevention import PreventedMatch

CHAIN_START: Final = bytes(16)
# Batches without any of these change nothing that a sink keeps: their events are not copied.
TELLING: Final = sum(
    1 << kind
    for kind in (
        EventKind.ACCEPTED, EventKind.FILL, EventKind.CANCELED, EventKind.EXPIRED, EventKind.REPLACED,
        EventKind.TRIGGERED, EventKind.PREVENTED, EventKind.BALANCE, EventKind.ASSET, EventKind.MARKET,
    )
)  # fmt: skip
# Batches with these are told with their commands, which say what the events do not (names, filters).
COMMANDED: Final = 1 << EventKind.ASSET | 1 << EventKind.MARKET


class Cursor(NamedTuple):
    """How far: everything of the log up to and with `position`, and so every command up to `sequence`."""

    position: int = 0
    sequence: int = 0
    time_ns: int = 0  # kernel time after it
    chain: bytes = CHAIN_START  # the log's running hash there


class Facts(NamedTuple):
    """What one batch did. Plain bytes: they wait in queues while the kernel's own memory goes on."""

    previous: int  # position of the batch that was told before it: between the two nothing happened
    cursor: Cursor  # after it
    first_sequence: int
    kinds: int  # 1 << EventKind for every kind among the events
    events: bytes  # EVENT records; none when no kind of them is TELLING
    done: bytes  # ORDER records of the orders that left
    commands: bytes  # COMMAND records, when a kind is COMMANDED; else none
    amendments: Sequence[Amendment]
    prevented: Sequence[PreventedMatch]

    @property
    def size(self) -> int:
        """Bytes in memory, about."""
        return 400 + len(self.events) + len(self.done) + len(self.commands)


def facts_of(applied: Applied, previous: int, sequence: int) -> Facts:
    """Of a batch that a replica has just applied, or a private kernel in catching up; `sequence`: of the kernel now."""
    kinds, batch = applied.kinds, applied.batch
    return Facts(
        previous,
        Cursor(batch.position, sequence, applied.time_ns, batch.chain),
        applied.first_sequence,
        kinds,
        applied.events.tobytes() if kinds & TELLING else b"",
        applied.done.tobytes() if len(applied.done) else b"",
        bytes(batch.entry.commands) if kinds & COMMANDED else b"",
        applied.amendments,
        applied.prevented,
    )


class SinkFault(Exception):
    """A sink cannot be written now: locked by somebody, no disk, no network. It is tried again, later and later."""


class SinkDamaged(Exception):
    """What a sink holds is of no use: damaged, of another log, of another version. It is put aside and built again."""


class Sink(Protocol):
    """Blocking, all of it; called from one thread. Raises `SinkFault` or `SinkDamaged`, nothing else of its own."""

    name: str

    def start(self, holds: Callable[[int, bytes], bool]) -> Cursor:
        """Open it, be its only writer, and say how far it is; `holds(position, chain)`: is that the log's history?"""

    def write(self, facts: Sequence[Facts]) -> int:
        """All of it or nothing; the number of rows. What is at or below the cursor is dropped; no gap may follow it."""

    def put_aside(self, reason: str) -> None:
        """What is there is kept under another name for whoever wants to look; the next start begins with nothing."""

    def close(self) -> None:
        """What was written stays; nothing is held any more. May be started again."""
