# SPDX-License-Identifier: Apache-2.0
"""`bidhall verify` from its arguments to its exit code: 0 when every promise of the folder is kept, 1 when one is not.

The command line calls `run`. One line a check goes to stdout; a bar of how far it is to stderr, on a terminal only.
"""

import sys
from pathlib import Path
from typing import Final

import click

from bidhall.cli.verify.history import HistoryCheck, NotReadable
from bidhall.cli.verify.report import Check, Report
from bidhall.cli.verify.snapshots import Snapshots
from bidhall.cli.verify.walk import Checks, Visits, Walk, Walked, sum_money
from bidhall.environment import RealEnvironment
from bidhall.log import Locked, LogFault
from bidhall.log.head import read_head
from bidhall.log.store import Store
from bidhall.replica.guard import FOLDER as SNAPSHOTS
from bidhall.sinks.history.history import FILE as HISTORY

SQLITE: Final = "sqlite:///"
REDRAW_POSITIONS: Final = 1_024


def run(folder: Path, url: str | None) -> int:
    """Verify what is in `folder`, and the log at `url` (the folder's own when it is None)."""
    if url is not None and not url.startswith(SQLITE):
        click.echo(f"bidhall: {url}: verify reads logs of the kind {SQLITE}FOLDER", err=True)
        return 1
    store = Store(Path(url.removeprefix(SQLITE)) if url else folder)
    report = Report()
    try:
        return _judge(store, folder, report)
    except Locked as fault:
        click.echo(f"bidhall: {fault}: stop the exchange first; a folder in use cannot be verified", err=True)
        return 1
    finally:
        store.close()


def _judge(store: Store, folder: Path, report: Report) -> int:
    log = report.check("log")
    try:
        store.open_to_read()
        if store.unchecked:
            store.check()
    except Locked:
        raise
    except LogFault as fault:
        log.fault(str(fault))
        return _printed(report)
    if store.first != 1:
        log.fault(f"it begins at position {store.first:,}: what was before has been trimmed and cannot be replayed")
        return _printed(report)
    walked = _walk(store, folder, report, log)
    log.text = f"{walked.position:,} batches to position {walked.position:,}: checksums, chain and trees"
    if store.recovered is not None:
        log.text += f"; {store.recovered}"
    if not walked.whole:
        log.skip(f"read up to position {walked.position:,} of {store.head:,} only; see replay")
    return _printed(report)


def _walk(store: Store, folder: Path, report: Report, log: Check) -> Walked:
    _head(store, report.check("log.head"))
    checks = Checks(log, report.check("replay"), report.check("funds"))
    snapshots = Snapshots(folder / SNAPSHOTS, store.identity, store.head, report.check("snapshots"))
    history = _history(folder / HISTORY, store, report.check("history"))
    clock = RealEnvironment().monotonic
    visits: Visits = {position: [snapshots.compare] for position in snapshots.expected}
    walk = Walk(store, checks, clock, visits, history)
    walked = _with_progress(walk, store.head)
    snapshots.finish(walked.position)
    if history is not None:
        history.finish(walked.position)
    sum_money(walked.exchange, checks.funds)
    _tell(walked, walk.audits, checks)
    return walked


def _with_progress(walk: Walk, head: int) -> Walked:
    """The bar is drawn on a terminal only, and at most every so many positions."""
    shown = 0
    with click.progressbar(length=head, label="verify", file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:

        def progress(position: int) -> None:
            nonlocal shown
            if position - shown >= REDRAW_POSITIONS or position == head:
                bar.update(position - shown)
                shown = position

        return walk.run(progress)


def _head(store: Store, check: Check) -> None:
    """That it is of this log and claims nothing that is lost was a condition of opening it."""
    found = read_head(store.head_path)
    if found is None:
        check.skip(f"{store.head_path.name} is not there: without it a log that lost its tail looks whole")
    else:
        check.text = f"position {found.position:,} was acknowledged, the log has it"


def _history(path: Path, store: Store, check: Check) -> HistoryCheck | None:
    if not path.exists():
        check.skip(f"there is no {path.name}")
        return None
    try:
        history = HistoryCheck(path, store.identity, store.head, check)
    except NotReadable as error:
        check.fault(str(error))
        return None
    if not store.holds(history.last, history.chain):
        check.fault(f"its cursor stands in another history than the log's up to position {history.last:,}")
    return history


def _tell(walked: Walked, audits: int, checks: Checks) -> None:
    exchange, replay, funds = walked.exchange, checks.replay, checks.funds
    rate = f", {walked.commands / walked.seconds:,.0f} commands/s" if walked.seconds else ""
    replay.text = (
        f"{walked.commands:,} commands in {walked.seconds:.1f} s{rate}; sequence {exchange.sequence:,}, "
        f"state hash {exchange.state_hash().hex()}"
    )
    if not walked.whole and not replay.count:
        replay.skip(f"up to position {walked.position:,}, where the log ends to be readable")
    if walked.whole:
        funds.text = (
            f"{exchange.asset_count} assets, {exchange.account_count:,} accounts: free + locked + fees = deposited − "
            f"withdrawn; {audits:,} audits"
        )
    elif not funds.count:
        funds.skip(f"in order up to position {walked.position:,}, where the replay ended")


def _printed(report: Report) -> int:
    for line in report.lines():
        click.echo(line)
    faults = report.faults
    click.echo("verified: every check is in order" if not faults else f"NOT in order: {faults:,} faults")
    return 1 if faults else 0
