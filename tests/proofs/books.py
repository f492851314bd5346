# SPDX-License-Identifier: Apache-2.0
"""Client libraries follow a busy book, and every so often it is held still and theirs are compared with the server's.

Used by test_books.py (ten minutes) and tests/clients/test_books.py (a short form). The libraries are ccxt.pro's
watch_order_book and python-binance's DepthCacheManager (100 ms and its default 1000 ms stream). A resync is counted
where each library does it: the call that fetches a snapshot is counted and then does what it always did. It must never
correct a library's book, nor wait for anything but the last update id.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any, Protocol

from tests.clients.pointing import ccxt_options, point_python_binance
from tests.proofs.book_flow import ACCOUNTS
from tests.serving import ROOT, ServerProcess, key_secret, key_text, seed_document

SYMBOL, CCXT_SYMBOL = "BTCUSDT", "BTC/USDT"
LEVELS_MAX = 5000
SETTLE_S = 10.0
SIDES = ("bids", "asks")
Side = list[tuple[Decimal, Decimal]]


def document() -> dict[str, Any]:
    """The seed: rich makers and one who watches."""
    return seed_document((*ACCOUNTS, "watcher"), balances={"BTC": "100000", "ETH": "1", "USDT": "5000000000"})


class Judge(Protocol):
    """A library's book."""

    name: str
    snapshots: int
    faults: list[str]

    def update_id(self) -> int: ...

    def sides(self) -> tuple[Side, Side]: ...

    async def close(self) -> None: ...


class CcxtJudge:
    """ccxt.pro's watch_order_book."""

    def __init__(self, name: str, exchange: Any) -> None:
        self.name, self.exchange = name, exchange
        self.snapshots = 0
        self.faults: list[str] = []
        self.followed = 0
        self.task: asyncio.Task[None]

    @classmethod
    async def start(cls, name: str, address: str) -> CcxtJudge:
        """Subscribed, with its first snapshot."""
        import ccxt.pro

        exchange = ccxt.pro.binance(ccxt_options(address, "watcher"))
        judge = cls(name, exchange)
        fetch = exchange.fetch_order_book

        async def counted(*arguments: Any, **more: Any) -> Any:
            judge.snapshots += 1
            return await fetch(*arguments, **more)

        exchange.fetch_order_book = counted
        await exchange.load_markets()
        await asyncio.wait_for(exchange.watch_order_book(CCXT_SYMBOL, LEVELS_MAX), 30)
        judge.task = asyncio.create_task(judge._follow())
        return judge

    async def _follow(self) -> None:
        while True:
            try:
                await self.exchange.watch_order_book(CCXT_SYMBOL, LEVELS_MAX)
                self.followed += 1
            except Exception as fault:  # ChecksumError, a lost connection: whatever it is, it is one too many
                self.faults.append(repr(fault))
                await asyncio.sleep(0.1)

    def update_id(self) -> int:
        book = self.exchange.orderbooks.get(CCXT_SYMBOL)
        return int((book and book["nonce"]) or 0)

    def sides(self) -> tuple[Side, Side]:
        book = self.exchange.orderbooks[CCXT_SYMBOL]
        bids, asks = ([(Decimal(repr(price)), Decimal(repr(size))) for price, size in book[side]] for side in SIDES)
        return bids, asks

    async def close(self) -> None:
        self.task.cancel()
        await self.exchange.close()


class PythonBinanceJudge:
    """python-binance's DepthCacheManager.

    It fetches its snapshot before its stream is open, so it can only be started while the book is still: what changes
    in between it cannot know, whatever the server does.
    """

    def __init__(self, name: str, client: Any, manager: Any) -> None:
        self.name, self.client, self.manager = name, client, manager
        self.snapshots = 0
        self.faults: list[str] = []
        self.followed = 0
        self.task: asyncio.Task[None]

    @classmethod
    async def start(cls, name: str, interval: int | None) -> PythonBinanceJudge:
        """Subscribed, with its first snapshot."""
        import binance

        client = await binance.AsyncClient.create(key_text("watcher"), key_secret("watcher"))
        manager = binance.DepthCacheManager(client, SYMBOL, limit=LEVELS_MAX, conv_type=Decimal, ws_interval=interval)
        judge = cls(name, client, manager)
        fetch, open_socket = manager._init_cache, manager._start_socket

        async def opened() -> None:
            await open_socket()
            manager._socket.TIMEOUT = 1  # how often its read loop looks whether it shall end


        async def counted() -> None:
            judge.snapshots += 1
            await fetch()

        manager._init_cache, manager._start_socket = counted, opened
        await manager.__aenter__()
        judge.task = asyncio.create_task(judge._follow())
        return judge

    async def _follow(self) -> None:
        while True:
            answer = await self.manager.recv()
            self.followed += 1
            if isinstance(answer, dict):
                self.faults.append(repr(answer))

    def update_id(self) -> int:
        """It keeps the last applied id for itself; the snapshot's, when nothing was applied yet."""
        return int(self.manager._last_update_id or 0)

    def sides(self) -> tuple[Side, Side]:
        cache = self.manager.get_depth_cache()
        return [tuple(level) for level in cache.get_bids()], [tuple(level) for level in cache.get_asks()]

    async def close(self) -> None:
        self.task.cancel()
        await self.manager.__aexit__(None, None, None)
        await self.client.close_connection()


class FlowProcess:
    """book_flow.py as a process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def say(self, command: str) -> dict[str, Any]:
        """One command; what came of it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(command.encode() + b"\n")
        line = await self.process.stdout.readline()
        if not line:
            raise AssertionError(f"the flow ended with {await self.process.wait()}")
        found: dict[str, Any] = json.loads(line)
        assert not found["failed"], f"{found}; see standard error"
        return found


@asynccontextmanager
async def flowing(server: ServerProcess, seed: int, rate: float) -> AsyncIterator[FlowProcess]:
    """A flow against the server; ended by the end of its input."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.proofs.book_flow", server.host, str(server.port), "--seed", str(seed),
        "--rate", str(rate), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=ROOT,
    )  # fmt: skip
    try:
        yield FlowProcess(process)
    finally:
        if process.returncode is None:
            assert process.stdin is not None
            process.stdin.close()
            try:
                await asyncio.wait_for(process.wait(), 20)
            except TimeoutError:
                process.kill()
                await process.wait()


def server_book(server: ServerProcess) -> tuple[int, Side, Side]:
    """GET /depth, whole."""
    with urllib.request.urlopen(f"{server.url}/api/v3/depth?symbol={SYMBOL}&limit={LEVELS_MAX}", timeout=10) as answer:
        book = json.loads(answer.read())
    bids, asks = ([(Decimal(price), Decimal(size)) for price, size in book[side]] for side in SIDES)
    assert len(bids) < LEVELS_MAX, "the book is deeper than a snapshot"
    assert len(asks) < LEVELS_MAX, "the book is deeper than a snapshot"
    return book["lastUpdateId"], bids, asks


def no_resync(judges: list[Judge]) -> None:
    """Each library took one snapshot, and reported nothing."""
    starts = {judge.name: (judge.snapshots, judge.faults) for judge in judges}
    if any(start != (1, []) for start in starts.values()):
        raise AssertionError(f"a resync: {starts}")


async def compare(server: ServerProcess, judges: list[Judge]) -> dict[str, Any]:
    """At a quiet point: each book has the server's update id, and is the server's level by level."""
    update_id, bids, asks = await asyncio.to_thread(server_book, server)
    begun = time.monotonic()
    settled: dict[str, float] = {}
    while len(settled) < len(judges) and time.monotonic() - begun < SETTLE_S:
        for judge in judges:
            if judge.name not in settled and judge.update_id() >= update_id:
                settled[judge.name] = round(time.monotonic() - begun, 2)
        await asyncio.sleep(0.02)
    for judge in judges:
        assert judge.update_id() == update_id, f"{judge.name} is at {judge.update_id()}, the server at {update_id}"
        for side, theirs, ours in zip(SIDES, judge.sides(), (bids, asks), strict=True):
            if theirs != ours:
                wrong = sorted(set(theirs) ^ set(ours))[:10]
                sizes = f"{len(theirs)} {side}, the server's {len(ours)}"
                raise AssertionError(f"{judge.name}: {sizes}; not in both: {wrong}")
    return {"update_id": update_id, "levels": [len(bids), len(asks)], "settled_s": settled}


async def follow(
    server: ServerProcess, *, seed: int, rate: float, slices: int, slice_s: float, orders: int = 7_000
) -> dict[str, Any]:
    """The whole run: what was changed, how fast, and how often each library had to start again (never)."""
    address = f"{server.host}:{server.port}"
    point_python_binance(address)
    judges: list[Judge] = []
    try:
        async with flowing(server, seed, rate) as flow:
            await flow.say(f"fill {orders}")
            judges.append(await CcxtJudge.start("ccxt.pro", address))
            judges.append(await PythonBinanceJudge.start("python-binance 100 ms", 100))
            judges.append(await PythonBinanceJudge.start("python-binance 1000 ms", None))
            first = last = (await compare(server, judges))["update_id"]
            totals = {"done": 0, "refused": 0, "seconds": 0.0, "late_s": 0.0, "levels": [0, 0]}
            for number in range(slices):
                running = asyncio.create_task(flow.say(f"run {slice_s}"))
                if number == slices // 2:  # one that comes in while everything moves
                    await asyncio.sleep(min(1.0, slice_s / 3))
                    judges.append(await CcxtJudge.start("ccxt.pro, joined under way", address))
                found = await running
                no_resync(judges)
                seen = await compare(server, judges)
                last = seen["update_id"]
                totals = {
                    **{name: totals[name] + found[name] for name in ("done", "refused", "seconds")},
                    "late_s": max(totals["late_s"], *seen["settled_s"].values()),
                    "levels": seen["levels"], "flow_cpu_s": round(found["cpu_s"], 1),
                }  # fmt: skip
                print(f"{number + 1}/{slices}: {found} {seen}", flush=True)
            no_resync(judges)
            return {
                **totals, "changes": last - first, "changes_per_s": (last - first) / totals["seconds"],
                "events": {judge.name: judge.followed for judge in judges}, "server_cpu_s": server.cpu_s(),
                "libraries_cpu_s": round(time.process_time(), 1),
            }  # fmt: skip
    finally:
        await asyncio.gather(*(judge.close() for judge in judges))
