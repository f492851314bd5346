# SPDX-License-Identifier: Apache-2.0
"""Market-stream readers of the load generator, in a process: python -m benchmarks.load_readers HOST PORT N

Prints "ready" once all are subscribed, reads until its standard input closes, then prints what it saw as JSON. Every
reader counts frames; the first one also checks that depth spans follow each other without a gap. It must never be slow:
a reader that parses everything would be measured itself.
"""

import asyncio
import json
import sys
from typing import Any

import uvloop

from benchmarks.wire import WebSocketReader

PATH = "/stream?streams=btcusdt@depth@100ms/btcusdt@trade/btcusdt@bookTicker"


class Counts:
    """What all readers saw."""

    def __init__(self) -> None:
        self.frames = self.bytes = self.gaps = 0
        self._last_update_id = 0

    def count(self, text: bytes) -> None:
        """Any reader."""
        self.frames += 1
        self.bytes += len(text)

    def check(self, text: bytes) -> None:
        """The first reader."""
        self.count(text)
        message = json.loads(text)
        if "@depth" in message["stream"]:
            data = message["data"]
            self.gaps += bool(self._last_update_id) and data["U"] != self._last_update_id + 1
            self._last_update_id = data["u"]


async def main(host: str, port: int, readers: int) -> dict[str, Any]:
    """Reads until standard input ends."""
    counts = Counts()
    handlers = [counts.check, *[counts.count] * (readers - 1)]
    open_ones = [await WebSocketReader.open(host, port, PATH, handler) for handler in handlers]
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    closed = sum(reader.closed.done() for reader in open_ones)
    for reader in open_ones:
        reader.close()
    return {
        "connections": readers, "closed_early": closed, "frames": counts.frames, "bytes": counts.bytes,
        "depth_gaps": counts.gaps,
    }


if __name__ == "__main__":
    print(json.dumps(uvloop.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))))
