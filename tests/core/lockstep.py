# SPDX-License-Identifier: Apache-2.0
"""Kernel and twin in lockstep: the same batches to both, and every difference told field by field.

The differential tests and `python -m tests.model SEED` use it. It must never forgive a difference.
"""

from collections.abc import Callable
from typing import Any, Protocol

import bidhall.core
from tests.model import Broken, ModelExchange, UnknownCommand, WriterGap
from tests.model.histories import Batch, History
from tests.model.records import COMMAND, EVENT, ORDER, ORDER_FIELDS, POSITION, TOP, Command, Event, Position, Top

DONE_FIELDS = (*ORDER_FIELDS[:-3], "reserved", *ORDER_FIELDS[-3:])
BOOK_LEVELS_MAX = 1 << 20
UNKNOWN = (UnknownCommand, bidhall.core.UnknownCommand)
GAP = (WriterGap, bidhall.core.WriterGap)


class Difference(AssertionError):
    """The two do not agree."""


class Subject(Protocol):
    """What can be compared with the twin: the kernel, or another twin."""

    def apply(self, *batch: Any) -> Any: ...
    def dump(self) -> dict[str, Any]: ...
    def depth(self, market: int, levels: int) -> Any: ...
    def audit(self) -> None: ...
    def watch(self, account: int, on: bool) -> None: ...


def packed_done(rows: list[dict[str, Any]]) -> bytes:
    return b"".join([ORDER.pack(*[row.get(name, 0) for name in DONE_FIELDS]) for row in rows])


def outputs(subject: Any, events: Any) -> dict[str, bytes]:
    """Events and taps of the last batch as bytes, of a kernel or of a twin."""
    if isinstance(subject, ModelExchange):
        return {
            "events": b"".join([EVENT.pack(*event) for event in events]),
            "done": packed_done(subject.done),
            "tops": b"".join([TOP.pack(*top) for top in subject.tops]),
            "positions": b"".join([POSITION.pack(*position) for position in subject.positions]),
        }
    return {
        "events": events.tobytes(),
        "done": subject.done().tobytes(),
        "tops": subject.tops().tobytes(),
        "positions": subject.positions().tobytes(),
    }


ROWS: dict[str, tuple[Any, Callable[[tuple[Any, ...]], dict[str, Any]]]] = {
    "events": (EVENT, lambda row: Event._make(row)._asdict()),
    "done": (ORDER, lambda row: dict(zip(DONE_FIELDS, row, strict=True))),
    "tops": (TOP, lambda row: Top._make(row)._asdict()),
    "positions": (POSITION, lambda row: Position._make(row)._asdict()),
}


def tell_bytes(what: str, theirs: bytes, ours: bytes) -> str:
    """The first row that differs, field by field."""
    layout, named = ROWS[what]
    left, right = list(layout.iter_unpack(theirs)), list(layout.iter_unpack(ours))
    for index in range(max(len(left), len(right))):
        if index >= len(left):
            return f"{what}[{index}]: the subject has none, the twin {shown(named(right[index]))}"
        if index >= len(right):
            return f"{what}[{index}]: the twin has none, the subject {shown(named(left[index]))}"
        if left[index] != right[index]:
            one, other = named(left[index]), named(right[index])
            names = [name for name in one if one[name] != other[name]]
            fields = [f"    {name}: subject {one[name]!r}, twin {other[name]!r}" for name in names]
            return "\n".join([f"{what}[{index}] of {len(left)}/{len(right)}: {shown(other)}", *fields])
    return f"{what}: no difference"


def shown(row: dict[str, Any]) -> str:
    """The fields that say something; texts without their padding."""
    plain = {name: value.rstrip(b"\0") if isinstance(value, bytes) else value for name, value in row.items()}
    return " ".join(f"{name}={value!r}" for name, value in plain.items() if value)


def tell_dump(theirs: Any, ours: Any, path: str = "dump") -> list[str]:
    """Every place where two dumps differ."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        lines = []
        for key in sorted({*theirs, *ours}, key=str):
            lines += tell_dump(theirs.get(key, "missing"), ours.get(key, "missing"), f"{path}.{key}")
        return lines
    if isinstance(theirs, list | tuple) and isinstance(ours, list | tuple) and len(theirs) == len(ours):
        lines = []
        for index, (one, other) in enumerate(zip(theirs, ours, strict=True)):
            lines += tell_dump(one, other, f"{path}[{index}]")
        return lines
    return [] if theirs == ours else [f"{path}: subject {theirs!r}, twin {ours!r}"]


def tell_command(raw: bytes) -> str:
    """A command as one readable line."""
    command = Command._make(COMMAND.unpack(raw))
    return shown(command._asdict())


class Lockstep:
    """A subject (a new kernel, unless told otherwise) and a twin that must say the same."""

    def __init__(self, subject: Any = None, twin: ModelExchange | None = None) -> None:
        self.subject = bidhall.core.Exchange() if subject is None else subject
        self.twin = ModelExchange() if twin is None else twin
        self.batches = 0

    def watch(self, accounts: int) -> None:
        for account in range(1, accounts + 1):
            self.subject.watch(account, True)
            self.twin.watch(account, True)

    def apply(self, batch: Batch) -> list[Event] | None:
        """One batch to both; raises Difference."""
        arguments = batch.arguments()
        self.batches += 1
        ours = self.outcome(self.twin, arguments)
        theirs = self.outcome(self.subject, arguments)
        if isinstance(ours, str) or isinstance(theirs, str):
            if ours != theirs:
                raise Difference(f"subject: {theirs}, twin: {ours}")
            return None
        left, right = outputs(self.subject, theirs), outputs(self.twin, ours)
        wrong = [what for what in left if left[what] != right[what]]
        if wrong:
            raise Difference("\n".join(tell_bytes(what, left[what], right[what]) for what in wrong))
        return ours

    def outcome(self, subject: Any, arguments: tuple[Any, ...]) -> Any:
        try:
            events = subject.apply(*arguments)
        except UNKNOWN:
            return "unknown command"
        except GAP:
            return "writer gap"
        return "repeat" if events is None else events

    def compare_dumps(self) -> None:
        theirs, ours = self.whole_state(self.subject), self.whole_state(self.twin)
        if theirs != ours:
            raise Difference("\n".join(tell_dump(theirs, ours)[:40]))

    def whole_state(self, subject: Any) -> dict[str, Any]:
        """A dump, the rules in force, and what the books show to everybody."""
        state: dict[str, Any] = subject.dump() | {"rules": subject.rules}
        if isinstance(subject, ModelExchange):
            books = [(market.levels(market.bids), market.levels(market.asks)) for market in subject.markets.values()]
        else:
            sides = [subject.depth(number, BOOK_LEVELS_MAX)[1:] for number in range(1, subject.market_count + 1)]
            books = [tuple([tuple(level) for level in side.tolist()] for side in pair) for pair in sides]
        return state | {"books": books}

    def audit(self) -> None:
        self.twin.audit()
        self.subject.audit()


def run_history(
    seed: int,
    commands: int,
    subject: Any = None,
    dump_every: int = 500,
    audit_every: int = 0,
    batch_commands: int | None = None,
    each: Callable[[Lockstep], None] | None = None,
    plan: str | None = None,
) -> Lockstep:
    """One seeded history on both; a Difference names seed, batch and the commands of that batch."""
    lockstep = Lockstep(subject)
    history = History(seed, lockstep.twin, batch_commands, plan)
    while lockstep.twin.sequence < commands and lockstep.batches < 2 * commands:
        batch = history.batch()
        first = lockstep.twin.sequence + 1
        try:
            lockstep.apply(batch)
            if not lockstep.twin.watched and lockstep.twin.accounts:
                lockstep.watch((history.options.accounts + 1) // 2)
            if first // dump_every != (lockstep.twin.sequence + 1) // dump_every:
                lockstep.compare_dumps()
            if audit_every and lockstep.batches % audit_every == 0:
                lockstep.audit()
            if each:
                each(lockstep)
        except (Difference, Broken, bidhall.core.Broken) as problem:
            raise Difference(told(seed, lockstep.batches, first, batch, problem)) from None
    lockstep.compare_dumps()
    lockstep.audit()
    return lockstep


def told(seed: int, index: int, first: int, batch: Batch, problem: Exception) -> str:
    lines = [f"seed {seed}, batch {index}, from sequence {first}: {problem}"]
    size = len(batch.commands) // COMMAND.size
    for i in range(min(size, 60)):
        raw = batch.commands[i * COMMAND.size : (i + 1) * COMMAND.size]
        lines.append(f"  {first + i}: {tell_command(raw)}")
    lines.append(f"  again: python -m tests.model {seed}")
    return "\n".join(lines)
