# SPDX-License-Identifier: Apache-2.0
"""Replays the hour of NASDAQ flow and compares every fill with what really happened.

    python -m benchmarks.lobster [--via kernel|http|ws] [--first N]
    python -m benchmarks.lobster --via http|ws --url http://HOST:PORT --symbol AAPLUSD --keys FILE.json
    python -m benchmarks.lobster --messages FILE [--tops FILE] [--known LINE,LINE]     another hour of that format

Prints the comparison that the shared data's README states; exits 1 when the lines that differ are not exactly the known
ones. Via http or ws (the WebSocket API) it starts a server of its own (sqlite log, temporary folder, free port) unless
given a URL and keys: FILE.json = {"makers": [{"key": ..., "secret": ...}, ...], "takers": [...]}. It must never judge
by its own bookkeeping: fills, remaining quantities and tops come from the venue.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import data
from benchmarks.lobster_api import ApiVenue, Venue, own_server
from benchmarks.lobster_flow import EXPECTED, Driver, Judgement, Row, Top, known_lines, read_rows, read_tops, tops_found
from benchmarks.lobster_kernel import KernelVenue


@dataclass
class Result:
    """What one replay gave."""

    judgement: Judgement
    tops: list[Top] = field(default_factory=list)
    deletes: int = 0
    deletes_right: int = 0
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0
    remark: str = ""


def replay_kernel(rows: Sequence[Row], first: int | None) -> Result:
    """Through the kernel, in this process."""
    driver = Driver(rows, first)
    venue = KernelVenue()
    begin = time.perf_counter()
    operations = driver.operations()
    fills = None
    try:
        while True:
            fills = venue.carry_out(operations.send(fills))
    except StopIteration:
        pass
    seconds = time.perf_counter() - begin
    return Result(driver.judgement, venue.tops, venue.deletes, venue.deletes_right, venue.faults, seconds)


async def replay_api(rows: Sequence[Row], first: int | None, venue: Venue, via: str) -> Result:
    """Through an API of a running server: "http" or "ws"."""
    driver = Driver(rows, first)
    async with ApiVenue.connected(venue, via) as api:
        begin = time.perf_counter()
        operations = driver.operations()
        fills = None
        try:
            while True:
                fills = await api.carry_out(operations.send(fills))
        except StopIteration:
            pass
        await api.settle()
        seconds = time.perf_counter() - begin
        remark = (
            f"{api.requests:,} requests; tops seen on the bookTicker stream in order: "
            f"{api.tops_seen:,} of {len(api.tops_distinct):,}"
        )
        return Result(driver.judgement, api.tops, api.deletes, api.deletes_right, api.faults, seconds, remark)


def verdict(
    result: Result, first: int | None, venue_tops: Sequence[Top], other_known: Sequence[int] | None = None
) -> tuple[bool, list[str]]:
    """(as expected, the lines to print). `other_known`: it was another hour, in which these lines differ."""
    judged = result.judgement
    known = known_lines(first) if other_known is None else known_lines(first, other_known)
    differing = sorted(judged.differing_lines)
    found, distinct = tops_found(result.tops, venue_tops)
    whole = first is None and other_known is None

    def out_of(name: str) -> str:
        return f"  (expected {EXPECTED[name]:,})" if whole else ""

    identical = judged.aggressors - len(differing)
    right = differing == known and not result.faults and result.deletes == result.deletes_right
    lines = [
        f"aggressors identical: {identical:,} of {judged.aggressors:,}{out_of('identical')}",
        f"fills in the file: {judged.fills:,}{out_of('fills')}, ours {judged.own_fills:,}",
        f"lines that differ: {_listed(differing)}  (known: {_listed(known)})",
        f"deletes with the right rest: {result.deletes_right:,} of {result.deletes:,}{out_of('deletes')}",
        f"top of book found: {found:,} of {distinct:,}{out_of('tops_found')}",
        f"re-entries {judged.reentries}, resting at the start {judged.started_with}, levels rebuilt {judged.rebuilt}",
        f"{result.seconds:.1f} s. {result.remark}".rstrip(),
        *[f"fault: {fault}" for fault in result.faults[:20]],
    ]
    if whole:
        numbers = {
            "aggressors": judged.aggressors, "identical": identical, "fills": judged.fills,
            "deletes": result.deletes, "tops": distinct, "tops_found": found,
        }
        right = right and numbers == EXPECTED
    lines.append("as expected" if right else "NOT AS EXPECTED")
    return right, lines


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers)) or "none"


async def _over_api(rows: Sequence[Row], options: argparse.Namespace) -> Result:
    if options.url:
        venue = Venue.from_options(options.url, options.symbol, options.keys)
        return await replay_api(rows, options.first, venue, options.via)
    with tempfile.TemporaryDirectory(prefix="bidhall-lobster-") as folder, own_server(Path(folder)) as venue:
        return await replay_api(rows, options.first, venue, options.via)


def _event_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lobster", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--via", choices=("kernel", "http", "ws"), default="kernel")
    parser.add_argument("--first", type=int, metavar="N", help="only the first N messages")
    parser.add_argument("--url", help="a running server instead of an own one")
    parser.add_argument("--symbol", default="AAPLUSD")
    parser.add_argument("--keys", type=Path, help="JSON with the keys of makers and takers")
    parser.add_argument("--messages", type=Path, help="another LOBSTER message file")
    parser.add_argument("--tops", type=Path, help="its order book file, level 1")
    parser.add_argument("--known", default="", metavar="LINES", help="its lines that must differ, with commas")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON as well")
    options = parser.parse_args(arguments)
    if bool(options.url) != bool(options.keys):
        parser.error("--url and --keys go together")
    try:
        rows = read_rows(options.messages or data.find(data.LOBSTER_MESSAGES))
        tops = options.tops if options.messages else data.find(data.LOBSTER_TOPS)
        venue_tops = read_tops(tops) if tops else []
    except data.DataMissing as missing:
        print(f"skipped: {missing}")
        return 0
    if options.via == "kernel":
        result = replay_kernel(rows, options.first)
    else:
        with asyncio.Runner(loop_factory=_event_loop) as runner:
            result = runner.run(_over_api(rows, options))
    other_known = [int(line) for line in options.known.split(",") if line] if options.messages else None
    right, lines = verdict(result, options.first, venue_tops, other_known)
    print("\n".join(lines))
    if options.json:
        print(json.dumps({"right": right, "seconds": result.seconds, "differing": result.judgement.differing_lines}))
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
