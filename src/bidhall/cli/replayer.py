# SPDX-License-Identifier: Apache-2.0
"""`bidhall replay`: a log through a fresh kernel, at full speed, to the state hash.

The command line calls it. It only reads; two machines that print other hashes for one log have found a fault.
"""

import asyncio
import sys
from typing import Final

import click

from bidhall.environment import RealEnvironment
from bidhall.log import Log, LogFault, open_log
from bidhall.replica import Refused, ReplayResult, replay

REDRAW_POSITIONS: Final = 256


def replay_log(url: str) -> int:
    """Replay the log at `url` and print what came out; the exit code."""
    environment = RealEnvironment()
    try:
        log = open_log(url, environment)
        asyncio.run(log.open())
        result = _with_progress(log)
    except (LogFault, Refused, ValueError, OSError) as error:
        print(f"bidhall: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    finally:
        environment.close()
    for name, value in _report(result):
        click.echo(f"{name:12} {value}")
    return 0


def _with_progress(log: Log) -> ReplayResult:
    """The bar is drawn on a terminal only, and at most every so many positions."""
    shown = 0
    hidden = not sys.stderr.isatty()
    with click.progressbar(length=log.head, label="replay", file=sys.stderr, hidden=hidden) as bar:

        def progress(position: int, head: int) -> None:
            nonlocal shown
            if position - shown >= REDRAW_POSITIONS or position == head:
                bar.update(position - shown)
                shown = position

        return replay(log, progress=progress)


def _report(result: ReplayResult) -> list[tuple[str, str]]:
    rate = f"{result.commands / result.seconds:,.0f} commands/s" if result.seconds else ""
    return [
        ("position", f"{result.position:,}"),
        ("sequence", f"{result.sequence:,}"),
        ("batches", f"{result.batches:,}"),
        ("commands", f"{result.commands:,}"),
        ("seconds", f"{result.seconds:.3f}  {rate}"),
        ("event hash", result.event_hash.hex()),
        ("state hash", result.state_hash.hex()),
    ]
