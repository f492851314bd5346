# SPDX-License-Identifier: Apache-2.0
"""One pass over a log with a fresh kernel; others look on at the positions they asked for.

Called by the command. The log's own reader checks every checksum and the chain; here the kernel's audit is added, at
intervals and at the end, and the money is summed once more, account by account, apart from the kernel's audit.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple, Protocol

from bidhall.cli.verify.report import Check
from bidhall.core.exchange import Broken, Exchange, UnknownCommand, WriterGap
from bidhall.core.records import LAYOUT_VERSION
from bidhall.log import Batch, LogFault

AUDIT_COMMANDS: Final = 100_000
AUDIT_SHARE: Final = 20  # an audit of a large exchange takes long: at most a twentieth of the time


class Readable(Protocol):
    """What is needed of a log."""

    @property
    def first(self) -> int: ...

    @property
    def head(self) -> int: ...

    def read(self, first: int, last: int | None = None) -> Iterable[Batch]: ...


class Checks(NamedTuple):
    """Where faults go."""

    log: Check
    replay: Check
    funds: Check


class Place(NamedTuple):
    """Where the walk stands; the kernel is the one of this position."""

    position: int
    chain: bytes
    exchange: Exchange


Visits = dict[int, list[Callable[[Place], None]]]


class Onlooker(Protocol):
    """Sees every batch up to the position it names."""

    last: int

    def before(self, exchange: Exchange, batch: Batch) -> None: ...

    def after(self, exchange: Exchange, batch: Batch, events: Any, first_sequence: int) -> None: ...

    def arrived(self, place: Place) -> None: ...


class Walked(NamedTuple):
    """Where it ended. `whole`: at the log's head, with no fault on the way."""

    position: int
    chain: bytes
    commands: int
    seconds: float
    whole: bool
    exchange: Exchange


class Walk:
    """See above. `visits`: position → who wants to see the kernel there; `onlooker` sees every batch."""

    def __init__(
        self,
        log: Readable,
        checks: Checks,
        clock: Callable[[], float],
        visits: Visits,
        onlooker: Onlooker | None,
    ) -> None:
        self._log, self._checks, self._clock = log, checks, clock
        self._visits, self._onlooker = visits, onlooker
        self._exchange = Exchange()
        self._exchange.tap(onlooker is not None, False, False)
        self._audited_position = 0
        self._audited_at = self._audit_seconds = 0.0
        self._audits = 0
        self._commands = self._audited_commands = 0

    def run(self, progress: Callable[[int], None]) -> Walked:
        """To the end, or to the first fault of the log or the kernel."""
        begun = self._audited_at = self._clock()
        place = Place(0, bytes(16), self._exchange)
        whole = True
        self._visit(place)
        try:
            for batch in self._log.read(1):
                place = self._step(batch)
                progress(place.position)
        except LogFault as fault:
            self._checks.log.fault(f"after position {place.position:,}: {fault}")
            whole = False
        except (UnknownCommand, WriterGap, Broken) as error:
            self._checks.replay.fault(f"position {place.position + 1:,}: {type(error).__name__}: {error}")
            whole = False
        if whole:
            self._audit(place.position)
        return Walked(place.position, place.chain, self._commands, self._clock() - begun, whole, self._exchange)

    def _step(self, batch: Batch) -> Place:
        position, log_time_ns, entry, chain = batch
        exchange, onlooker = self._exchange, self._onlooker
        if not entry.is_hole:
            if entry.layout != LAYOUT_VERSION:
                raise UnknownCommand(f"layout {entry.layout}; this version knows {LAYOUT_VERSION}")
            looking = onlooker is not None and position <= onlooker.last
            first_sequence = exchange.sequence + 1
            if looking:
                assert onlooker is not None
                onlooker.before(exchange, batch)
            events = exchange.apply(entry.commands, log_time_ns, entry.writer_time_ns, entry.writer, entry.number)
            self._commands += entry.count
            if looking and events is not None:
                assert onlooker is not None
                onlooker.after(exchange, batch, events, first_sequence)
        place = Place(position, chain, exchange)
        self._visit(place)
        if self._commands - self._audited_commands >= AUDIT_COMMANDS:
            now = self._clock()
            if now - self._audited_at >= AUDIT_SHARE * self._audit_seconds:
                self._audit(position)
        return place

    def _visit(self, place: Place) -> None:
        for look in self._visits.get(place.position, ()):
            look(place)
        if self._onlooker is not None and place.position == self._onlooker.last:
            self._onlooker.arrived(place)
            self._exchange.tap(False, False, False)

    # --- money ---------------------------------------------------------------------------------------------------

    def _audit(self, position: int) -> None:
        begun = self._clock()
        try:
            self._exchange.audit()
        except Broken as error:
            self._checks.funds.fault(
                f"position {position:,}: {error} (it was in order at position {self._audited_position:,})"
            )
        else:
            self._audited_position = position
        self._audits += 1
        self._audited_commands, self._audited_at = self._commands, self._clock()
        self._audit_seconds = self._audited_at - begun

    @property
    def audits(self) -> int:
        """How often the kernel was asked."""
        return self._audits


def sum_money(exchange: Exchange, funds: Check) -> None:
    """Per asset: free + locked + fees = deposited − withdrawn, summed here over every account."""
    held: dict[int, int] = {}
    for account in range(1, exchange.account_count + 1):
        for asset, free, locked in exchange.balances(account):
            if free < 0 or locked < 0:
                funds.fault(f"account {account} holds {free} free and {locked} locked of {asset_name(exchange, asset)}")
            held[asset] = held.get(asset, 0) + free + locked
    for asset in range(1, exchange.asset_count + 1):
        deposited, withdrawn, fees = exchange.totals(asset)
        have, should = held.get(asset, 0) + fees, deposited - withdrawn
        if have != should:
            funds.fault(
                f"{asset_name(exchange, asset)}: accounts and fees hold {have} units, {should} were paid in and not out"
            )


def asset_name(exchange: Exchange, asset: int) -> str:
    """For people; the number when the kernel does not know it."""
    try:
        name = exchange.asset(asset)["name"]
    except KeyError:
        return f"asset {asset}"
    return name.rstrip(b"\0").decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
