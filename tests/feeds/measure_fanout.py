# SPDX-License-Identifier: Apache-2.0
"""Frames per CPU second of the feeds: `python -m tests.feeds.measure_fanout [subscribers]`.

The server side is the real kernel, the feeds and uvloop in this process; the subscribers are byte counters in another
one. CPU is this process's, user and system, kernel and encoding included. A tick is one batch.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import selectors
import socket
import sys
import time
from typing import Any

import uvloop

from bidhall.api.frames import text_frame
from bidhall.core import records as r
from tests.feeds.raw import until
from tests.feeds.serving import ALICE, BOB, Served, limit

REQUEST = (
    b"GET %b HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def subscribers(port: int, path: str, count: int, ready: Any) -> None:
    """Open the sockets, then read and forget."""
    selector = selectors.DefaultSelector()
    for _ in range(count):
        client = socket.create_connection(("127.0.0.1", port))
        client.sendall(REQUEST % path.encode())
        client.setblocking(False)
        selector.register(client, selectors.EVENT_READ)
    ready.set()
    buffer = bytearray(1 << 20)
    while selector.get_map():
        for key, _ in selector.select(1.0):
            if not key.fileobj.recv_into(buffer):  # type: ignore[union-attr]
                selector.unregister(key.fileobj)


async def measure(path: str, count: int, trades: int, ticks: int) -> None:
    """One line of the table."""
    served = Served()
    await served.start()
    ready = multiprocessing.Event()
    process = multiprocessing.Process(target=subscribers, args=(served.port, path, count, ready), daemon=True)
    process.start()
    await until(lambda: len(served.feeds.connections) == count and ready.is_set(), 20.0)
    hub = served.feeds.hub
    served.replica.apply(limit(ALICE, r.Side.SELL, 100, 10**8))
    await asyncio.sleep(0.1)
    begin_frames, begin_cpu, begin = hub.frames_written, time.process_time(), time.perf_counter()
    for _ in range(ticks):
        served.replica.apply(limit(BOB, r.Side.BUY, 100, 1) * trades, after_ns=2_000_000)
        await asyncio.sleep(0.001)
    hub.flush()
    frames = hub.frames_written - begin_frames
    cpu, wall = time.process_time() - begin_cpu, time.perf_counter() - begin
    print(
        f"{path:69} {count} subscribers, {trades:3} trades a tick: {frames / ticks / count:6.2f} frames a write, "
        f"{frames / cpu:9,.0f} frames per CPU second, {frames / wall:9,.0f} a second, closed {served.feeds.slow_closed}"
    )
    await measure_raw(served, count, trades, ticks)
    process.terminate()
    await served.stop()


async def measure_raw(served: Served, count: int, trades: int, ticks: int) -> None:
    """The same writes of 160-byte frames with nothing behind them: what uvloop and the system calls cost alone."""
    writes = [connection.write for connection in served.feeds.connections]
    blob = text_frame(b"x" * 156) * trades
    begin = time.process_time()
    for _ in range(ticks):
        for write in writes:
            write(blob)
        await asyncio.sleep(0.001)
    cpu = time.process_time() - begin
    print(f"{'':69} raw uvloop, {trades} frames a write: {ticks * count * trades / cpu:9,.0f} frames per CPU second")


async def main() -> None:
    """The table."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    for path in ("/ws/btcusdt@trade", "/stream?streams=btcusdt@trade/btcusdt@bookTicker/btcusdt@depth@100ms"):
        for trades in (1, 4, 8):
            await measure(path, count, trades, 700)


if __name__ == "__main__":
    uvloop.run(main())
