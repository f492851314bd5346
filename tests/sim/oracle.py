# SPDX-License-Identifier: Apache-2.0
"""The judge: follows what the server has committed with the plain twin, and holds everybody's word against it.

Made by `world`; told of by listeners, clients and the world's end. It knows the truth (the server's rows) and the rules
(the twin), and never a replica's state. What it must never do: learn from a replica, or forgive.
"""

from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

from bidhall.core.exchange import Exchange
from bidhall.log.batch import CHAIN_START, COMMAND_BYTES, Entry, chain_next
from bidhall.replica import Applied, Outcome
from tests.core.lockstep import outputs, tell_bytes, tell_dump
from tests.model import ModelExchange
from tests.model.records import CommandKind, Event, EventKind, Reject
from tests.sim.server import Server

DIGEST = slice(72, 88)
UNSIGNED = (CommandKind.CONFIGURE, CommandKind.MARKET, CommandKind.NOTE)
AUDIT_EVERY = 8
WITHOUT_TRACE = (Reject.BUSY, Reject.DEADLINE, Reject.NOT_CONFIGURED)


class Told(NamedTuple):
    """What a committed batch is and does."""

    log_time_ns: int
    entry: Entry
    chain: bytes
    first_sequence: int
    outputs: dict[str, bytes] | None  # None: it changes nothing, a repeat or a hole


class Oracle:
    """See above."""

    def __init__(self, server: Server, accuse: Callable[[str], None], twin: ModelExchange | None = None) -> None:
        self.twin = twin or ModelExchange()
        self.told: list[Told] = []  # by position - 1
        self.commands: list[bytes] = []  # by sequence - 1
        self.events: dict[int, list[Event]] = defaultdict(list)  # by sequence
        self.poisoned = ""
        self._server = server
        self._accuse = accuse
        self._chain = CHAIN_START

    @property
    def position(self) -> int:
        return len(self.told)

    @property
    def sequence(self) -> int:
        return len(self.commands)

    def catch_up(self) -> None:
        """Every batch that the server has committed by now."""
        server = self._server
        while self.position < server.head and not self.poisoned:
            self._take(*server.rows[self.position + 1])

    def _take(self, log_time_ns: int, raw: bytes) -> None:
        position, entry, twin = self.position + 1, Entry.decode(raw), self.twin
        self._chain = chain_next(self._chain, position, log_time_ns, entry.checksum)
        first_sequence, commands = twin.sequence + 1, bytes(entry.commands)
        try:
            events = twin.apply(commands, log_time_ns, entry.writer_time_ns, entry.writer, entry.number)
            if position % AUDIT_EVERY == 0:
                twin.audit()
        except Exception as error:
            self.poisoned = f"position {position}: {type(error).__name__}: {error}"
            self._accuse(f"the log holds what the twin refuses: {self.poisoned}")
            return
        told = None
        if events is None:
            self._server.count("hole in the log" if entry.is_hole else "batch stands in the log twice")
        else:
            told = outputs(twin, events)
            self.commands += [commands[at : at + COMMAND_BYTES] for at in range(0, len(commands), COMMAND_BYTES)]
            for event in events:
                self.events[event.sequence].append(event)
        self.told.append(Told(log_time_ns, entry, self._chain, first_sequence, told))

    # -- batches

    def check_batch(self, who: str, applied: Applied) -> None:
        """A replica has applied a batch (promises 1, 3, 4, 6, 7)."""
        self.catch_up()
        batch = applied.batch
        if batch.position > self.position:
            self._accuse(f"{who} applied position {batch.position} before it was committed")
            return
        told = self.told[batch.position - 1]
        if batch.chain != told.chain or batch.entry.checksum != told.entry.checksum:
            self._accuse(f"{who} applied another batch at position {batch.position} than the log holds")
        elif told.outputs is None:
            self._accuse(f"{who} applied position {batch.position}, a repeat or a hole, as if it were new")
        elif applied.first_sequence != told.first_sequence:
            self._accuse(
                f"{who} numbers position {batch.position} from {applied.first_sequence}, not {told.first_sequence}"
            )
        else:
            theirs = {"events": applied.events, "done": applied.done, "tops": applied.tops}
            for what, array in theirs.items():
                if array.tobytes() != told.outputs[what]:
                    difference = tell_bytes(what, array.tobytes(), told.outputs[what])
                    self._accuse(f"{who}, position {batch.position}: {difference}")
                    return

    # -- answers

    def check_answer(self, who: str, raw: bytes, outcome: Outcome) -> int:
        """Of DONE: the sequence at which the command had its effect; 0: it had none (promises 1, 2, 3)."""
        self.catch_up()
        count, first = len(raw) // COMMAND_BYTES, outcome.first_sequence
        if first + count - 1 > self.sequence:
            self._accuse(f"{who} acknowledged sequence {first} when {self.sequence} were durable")
            return 0
        if b"".join(self.commands[first - 1 : first + count - 1]) != raw:
            self._accuse(f"{who} answered for other bytes than were submitted, at sequence {first}")
            return 0
        if list[Any](outcome.events) != self.events_of(first, count):
            self._accuse(f"{who} answered sequence {first} with other events than it has")
            return 0
        answer = outcome.events[0] if outcome.events else None
        if answer is None or answer.kind != EventKind.REPEATED:
            without = answer is not None and answer.kind == EventKind.REJECTED and answer.code in WITHOUT_TRACE
            return 0 if without else first
        before = answer.trade_id
        if b"".join(self.commands[before - 1 : before + count - 1]) != raw:
            self._accuse(f"{who} took sequence {first} for a repeat of {before}, which is another command")
        repeated = outcome.first_repeated
        if repeated is None:
            self._accuse(f"{who} does not know the first result of sequence {before} any more")
        elif list[Any](repeated.events) != self.events_of(before, count):
            self._accuse(f"{who} repeated another result of sequence {before} than the first")
        return before

    def events_of(self, first: int, count: int) -> list[Event]:
        return [event for sequence in range(first, first + count) for event in self.events[sequence]]

    def check_ledger(self) -> dict[bytes, list[int]]:
        """No signed command has two effects (promise 2); where each digest stands in the log."""
        found: dict[bytes, list[int]] = defaultdict(list)
        for index, raw in enumerate(self.commands):
            events = self.events[index + 1]
            if raw[DIGEST] == bytes(16) or not events or raw[0] in UNSIGNED:
                continue
            kind, code = events[0].kind, events[0].code
            if kind == EventKind.REPEATED or (kind == EventKind.REJECTED and code in WITHOUT_TRACE):
                found[raw[DIGEST]] += []
            else:
                found[raw[DIGEST]].append(index + 1)
        for digest, sequences in found.items():
            if len(sequences) > 1:
                self._accuse(f"digest {digest.hex()} had an effect at sequences {sequences}")
        return found

    # -- states

    def check_state(self, who: str, exchange: Exchange) -> None:
        """Of a replica that has applied all there is (promises 4, 5, 7)."""
        exchange.audit()
        theirs, ours = exchange.dump(), self.twin.dump()
        if theirs != ours:
            self._accuse(f"{who} holds another state than the twin: {tell_dump(theirs, ours)[:5]}")

    def replay(self, who: str, exchange: Exchange, after: int) -> Exchange:
        """The log from behind a position through a kernel."""
        for position, (log_time_ns, entry, *_) in enumerate(self.told[after:], after + 1):
            try:
                exchange.apply(entry.commands, log_time_ns, entry.writer_time_ns, entry.writer, entry.number)
            except Exception as error:
                self._accuse(f"{who} ends at position {position}: {type(error).__name__}: {error}")
                break
        return exchange
