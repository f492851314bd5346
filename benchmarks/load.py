# SPDX-License-Identifier: Apache-2.0
"""The open-loop load generator: a steady stream of signed requests, latency from the moment each was meant to be sent.

    python -m benchmarks.load [--rate 500] [--seconds 60] [--readers 50]   latency; exits 1 on errors or p99 >= 100 ms
    python -m benchmarks.load --saturate      most orders per CPU second, beside a bare echo

It starts a real server process of its own (sqlite log, temporary folder, free port), runs in this process on raw keep-
alive connections, and reads market streams in a third process. The report is JSON on standard output, people's lines
on standard error. It must never wait for an answer before it sends the next request, and never drop a slow answer.
"""

import argparse
import asyncio
import ctypes
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import uvloop

from benchmarks import load_plan, timing
from benchmarks.data import ROOT
from benchmarks.histogram import Histogram
from benchmarks.load_plan import Kind, Planned
from benchmarks.wire import Answer, HttpConnection, plain_request
from tests.serving import TICKS_PER_SECOND, ServerProcess, serving

GATE_P99_MS = 100.0
TARGET_P99_MS = 10.0
CONNECTIONS = 32
LEAD_MS = 500
# As a pool of clients is: each waits for its answer before it asks again.
SATURATION_CONNECTIONS, SATURATION_WINDOW, SATURATION_PAIRS = 64, 1, 300


class Alarm:
    """A timer of the kernel with microsecond steps; the event loop's own would be late by up to a millisecond."""

    _libc = ctypes.CDLL(None, use_errno=True)
    _CLOCK_MONOTONIC, _NONBLOCK, _ABSOLUTE = 1, 0o4000, 1

    def __init__(self, loop: asyncio.AbstractEventLoop, on_time: Callable[[], None]) -> None:
        self._descriptor = self._libc.timerfd_create(self._CLOCK_MONOTONIC, self._NONBLOCK)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._loop, self._on_time = loop, on_time
        loop.add_reader(self._descriptor, self._ring)

    def set(self, when_ns: int) -> None:
        """Rings at that moment of the monotonic clock (at once when it is past)."""
        setting = (ctypes.c_long * 4)(0, 0, *divmod(max(when_ns, 1), 10**9))
        self._libc.timerfd_settime(self._descriptor, self._ABSOLUTE, setting, None)

    def _ring(self) -> None:
        os.read(self._descriptor, 8)
        self._on_time()

    def close(self) -> None:
        """Frees it."""
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)


class OpenLoop:
    """Sends each planned request at its moment and records what came of it."""

    def __init__(self, planned: Sequence[Planned], connections: list[HttpConnection], start_ns: int) -> None:
        self._planned, self._connections, self._start_ns = planned, connections, start_ns
        self._idle = list(connections)
        self._next = 0
        self._open = len(planned)
        self.latency = {kind: Histogram() for kind in Kind}
        self.lateness = Histogram()
        self.errors: Counter[str] = Counter()
        self.worst_ns: dict[int, int] = {}  # by second of the run
        self._finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._alarm = Alarm(asyncio.get_running_loop(), self._send_due)

    async def run(self, patience_s: float) -> None:
        """Returns when all are answered; what is not after `patience_s` counts as an error."""
        self._alarm.set(self._start_ns + self._planned[0].offset_ns)
        try:
            await asyncio.wait_for(asyncio.shield(self._finished), patience_s)
        except TimeoutError:
            self.errors["no answer in time"] += self._open
        finally:
            self._alarm.close()

    def _send_due(self) -> None:
        planned, number = self._planned, self._next
        while number < len(planned):
            due_ns = self._start_ns + planned[number].offset_ns
            late_ns = time.monotonic_ns() - due_ns
            if late_ns < 0:
                self._alarm.set(due_ns)
                break
            self.lateness.record(late_ns)
            self._send(planned[number], due_ns)
            number += 1
        self._next = number

    def _send(self, planned: Planned, due_ns: int) -> None:
        # As a pool would: an idle connection, or the one with the least before it.
        connection = self._idle.pop() if self._idle else min(self._connections, key=lambda each: each.pending)

        def on_answer(answer: Answer) -> None:
            took_ns = time.monotonic_ns() - due_ns
            self.latency[planned.kind].record(took_ns)
            second = planned.offset_ns // 10**9
            self.worst_ns[second] = max(self.worst_ns.get(second, 0), took_ns)
            if answer.status != 200:
                self.errors[f"{planned.kind}: {answer.status} {answer.body[:120].decode(errors='replace')}"] += 1
            if not connection.pending:
                self._idle.append(connection)
            self._open -= 1
            if not self._open and not self._finished.done():
                self._finished.set_result(None)

        connection.send(planned.request, on_answer)


async def _warm_connection(server: ServerProcess) -> HttpConnection:
    """Connected, and used once: a server may close one that says nothing for seconds."""
    connection = await HttpConnection.open(server.host, server.port)
    answer = await connection.ask(plain_request("/api/v3/ping"))
    if answer.status != 200:
        raise RuntimeError(f"a ping was answered {answer}")
    return connection


async def open_loop(server: ServerProcess, seed: int, rate: float, seconds: float) -> dict[str, Any]:
    """One run against a server; the numbers."""
    connections = [await _warm_connection(server) for _ in range(CONNECTIONS)]
    begin_ms = time.time_ns() // 1_000_000
    # Signing takes about 15 us a request; the run begins when all are signed.
    start_ms = begin_ms + LEAD_MS + round(rate * seconds * 0.05)
    planned = load_plan.plan(seed, rate, seconds, start_ms)
    start_ns = time.monotonic_ns() + (start_ms * 1_000_000 - time.time_ns())
    gc.collect()
    gc.freeze()
    gc.disable()
    loop = OpenLoop(planned, connections, start_ns)
    cpu_s = server.cpu_s()
    await loop.run(start_ms / 1e3 - time.time() + seconds + 15)
    cpu_s = server.cpu_s() - cpu_s
    gc.enable()
    for connection in connections:
        connection.close()
    whole, orders, reads = Histogram(), Histogram(), Histogram()
    for kind, histogram in loop.latency.items():
        whole.add(histogram)
        (reads if kind.startswith("read") else orders).add(histogram)
    return {
        "rate_per_s": rate,
        "seconds": seconds,
        "requests": len(planned),
        "errors": dict(loop.errors),
        "latency_ms": {
            "all": whole.milliseconds(),
            "orders": orders.milliseconds(),
            "reads": reads.milliseconds(),
            **{str(kind): histogram.milliseconds() for kind, histogram in loop.latency.items() if histogram.count},
        },
        "worst_ms_by_second": [round(loop.worst_ns[second] / 1e6, 1) for second in sorted(loop.worst_ns)],
        "generator_lateness_ms": loop.lateness.milliseconds(),
        "server_cpu_us_per_request": round(cpu_s / max(1, len(planned)) * 1e6, 1),
        "server_resident_mb": round(server.resident_bytes() / 1e6, 1),
    }


class Readers:
    """The stream readers in their own process."""

    def __init__(self, server: ServerProcess, count: int) -> None:
        command = [sys.executable, "-m", "benchmarks.load_readers", server.host, str(server.port), str(count)]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        if self._process.stdout.readline().strip() != "ready":
            raise RuntimeError("the stream readers did not connect")

    def stop(self) -> dict[str, Any]:
        """Ends them; what they saw."""
        output, _ = self._process.communicate("", timeout=30)
        seen: dict[str, Any] = json.loads(output)
        return seen


def measure_latency(rate: float, seconds: float, readers: int, seed: int) -> dict[str, Any]:
    """A whole latency run with its own server."""
    with (
        tempfile.TemporaryDirectory(prefix="bidhall-load-") as folder,
        serving(Path(folder) / "bidhall", seed=load_plan.seed()) as server,
    ):
        watching = Readers(server, readers) if readers else None
        result = uvloop.run(open_loop(server, seed, rate, seconds))
        result["readers"] = watching.stop() if watching else {}
    return {"machine": timing.machine(), "seed": seed, **result}


async def saturate(host: str, port: int, lists: list[list[bytes]], cpu_s: Callable[[], float]) -> dict[str, Any]:
    """Every connection keeps its window full until its list is through."""
    errors: Counter[str] = Counter()

    async def one(requests: list[bytes]) -> None:
        connection = await HttpConnection.open(host, port)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = iter(requests)

        def on_answer(answer: Answer) -> None:
            if answer.status != 200:
                errors[f"{answer.status} {answer.body[:120].decode(errors='replace')}"] += 1
            request = next(waiting, None)
            if request is not None:
                connection.send(request, on_answer)
            elif not connection.pending and not done.done():
                done.set_result(None)

        for _ in range(SATURATION_WINDOW):
            connection.send(next(waiting), on_answer)
        await done
        connection.close()

    gc.collect()
    gc.freeze()
    gc.disable()
    used, begin = cpu_s(), time.monotonic()
    await asyncio.gather(*(one(requests) for requests in lists))
    seconds, used = time.monotonic() - begin, cpu_s() - used
    gc.enable()
    count = sum(len(requests) for requests in lists)
    return {
        "requests": count,
        "errors": dict(errors),
        "per_s": round(count / seconds),
        "per_cpu_s": round(count / max(used, 1 / TICKS_PER_SECOND)),
        "server_cpu_us_per_request": round(used / count * 1e6, 1),
    }


def _echo_cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def _lists(pairs: int) -> list[list[bytes]]:
    return load_plan.saturation(SATURATION_CONNECTIONS, pairs, time.time_ns() // 1_000_000)


def measure_saturation(pairs: int = SATURATION_PAIRS) -> dict[str, Any]:
    """Orders per CPU second of the server, beside the bare echo's requests, in one run."""
    with (
        tempfile.TemporaryDirectory(prefix="bidhall-load-") as folder,
        serving(Path(folder) / "bidhall", seed=load_plan.seed()) as server,
    ):
        ours = uvloop.run(saturate(server.host, server.port, _lists(pairs), server.cpu_s))
    echo = subprocess.Popen([sys.executable, "-m", "benchmarks.echo"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert echo.stdout is not None
        port = int(echo.stdout.readline())
        bare = uvloop.run(saturate("127.0.0.1", port, _lists(pairs), lambda: _echo_cpu_s(echo.pid)))
    finally:
        echo.terminate()
        echo.wait()
        assert echo.stdout is not None
        echo.stdout.close()
    ratio = round(ours["per_cpu_s"] / bare["per_cpu_s"], 3)
    return {"machine": timing.machine(), "orders": ours, "echo": bare, "ratio_to_echo": ratio}


def _say(result: dict[str, Any]) -> None:
    if "ratio_to_echo" in result:
        ours, bare = result["orders"], result["echo"]
        print(
            f"{ours['per_s']:,} orders/s, {ours['per_cpu_s']:,} per CPU second of the server; bare echo "
            f"{bare['per_cpu_s']:,}; ratio {result['ratio_to_echo']}; errors {ours['errors'] or 'none'}",
            file=sys.stderr,
        )
        return
    latency = result["latency_ms"]
    print(
        f"{result['requests']:,} requests at {result['rate_per_s']:g}/s: p50 {latency['all']['p50']} ms, "
        f"p99 {latency['all']['p99']} ms, max {latency['all']['max']} ms "
        f"(target {TARGET_P99_MS:g}, gate {GATE_P99_MS:g}); orders p99 {latency['orders']['p99']} ms; "
        f"{result['server_cpu_us_per_request']} us CPU a request; errors {result['errors'] or 'none'}",
        file=sys.stderr,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rate", type=float, default=500.0, help="requests a second")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--readers", type=int, default=50, help="market stream readers")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--saturate", action="store_true")
    parser.add_argument("--pairs", type=int, default=SATURATION_PAIRS, help="with --saturate: per connection")
    options = parser.parse_args(arguments)
    if options.saturate:
        result = measure_saturation(options.pairs)
        right = not result["orders"]["errors"]
    else:
        result = measure_latency(options.rate, options.seconds, options.readers, options.seed)
        right = not result["errors"] and result["latency_ms"]["all"]["p99"] < GATE_P99_MS
    _say(result)
    print(json.dumps(result))
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
