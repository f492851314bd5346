# SPDX-License-Identifier: Apache-2.0
"""`bidhall sinks`: how far the sinks of a stopped exchange are, and building one again from the log.

The command line calls it. It opens the log, and so locks it: nothing happens here while a server runs on the folder (a
running one says how its sinks are in /metrics and in `bidhall admin state`, and builds a lost history again by itself).
"""

import asyncio
import sys
from pathlib import Path
from typing import Final

import click

from bidhall.environment import RealEnvironment
from bidhall.log import Log, LogFault, open_log
from bidhall.replica import Fault, Refused
from bidhall.sinks import SinkDamaged, SinkFault
from bidhall.sinks.history.history import FILE
from bidhall.sinks.offline import rebuild, standing

HISTORY: Final = "history"


def run(url: str, history: Path | None, again: str | None) -> int:
    """Show the sinks, after building one again if told to; the exit code."""
    if again not in (None, HISTORY):
        print(f"bidhall: there is no sink {again!r}; there is: {HISTORY}", file=sys.stderr)
        return 1
    environment = RealEnvironment()
    try:
        log = open_log(url, environment)
        with asyncio.Runner() as runner:
            runner.run(log.open())
            try:
                path = history or Path(url.partition(":///")[2]) / FILE
                if again is not None:
                    _rebuild(log, path)
                return _show(log, path)
            finally:
                runner.run(log.close())
    except (LogFault, Refused, Fault, SinkFault, SinkDamaged, ValueError, OSError) as error:
        print(f"bidhall: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    finally:
        environment.close()


def _rebuild(log: Log, path: Path) -> None:
    shown = 0
    hidden = not sys.stderr.isatty()
    with click.progressbar(length=log.head, label=HISTORY, file=sys.stderr, hidden=hidden) as bar:

        def progress(position: int, head: int) -> None:
            nonlocal shown
            bar.update(position - shown)
            shown = position

        rows = rebuild(log, path, None, progress)
    click.echo(f"{path}: {rows:,} rows, built from the log")


def _show(log: Log, path: Path) -> int:
    found = standing(log, path)
    click.echo(f"{'sink':10} {'position':>14} {'behind':>10}  where")
    trouble = f"  ({found.trouble})" if found.trouble else ""
    click.echo(f"{found.name:10} {found.cursor.position:>14,} {found.lag:>10,}  {found.path}{trouble}")
    return 1 if found.trouble else 0
