# SPDX-License-Identifier: Apache-2.0
"""Orders per CPU second of the server over the WebSocket API, beside the same orders over REST in the same run.

    python -m benchmarks.load_ws [--pairs 300] [--window 1]

It starts a real server process of its own (sqlite log, temporary folder, free port). Requests are signed and framed
before the clock starts. The report is JSON on standard output, a line for people on standard error; it exits 1 when
anything was refused. It must never count an answer that is not status 200.
"""

import argparse
import asyncio
import gc
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import uvloop

from benchmarks import load_plan, timing
from benchmarks.load import SATURATION_CONNECTIONS, saturate
from benchmarks.wire import Key, WebSocketReader, signed_call
from tests.serving import TICKS_PER_SECOND, ServerProcess, serving

GOOD = b',"status":200,'


def plan(connections: int, pairs: int, timestamp_ms: int) -> list[list[bytes]]:
    """For each connection its own account's placements, each followed by its cancel, as load_plan.saturation has it."""
    holders = load_plan.keys()
    return [list(_pairs(holders[number % len(holders)], number, pairs, timestamp_ms)) for number in range(connections)]


def _pairs(key: Key, number: int, pairs: int, timestamp_ms: int) -> Iterator[bytes]:
    common = {"symbol": load_plan.SYMBOL, "recvWindow": "60000"}
    for pair in range(pairs):
        client_id = f"socket-{number}-{pair}"
        order = {
            "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.00100",
            "price": f"{40_000 + pair % 9_000}.00", "newClientOrderId": client_id,
        }  # fmt: skip
        yield signed_call(2 * pair, "order.place", key, common | order, timestamp_ms)
        yield signed_call(2 * pair + 1, "order.cancel", key, common | {"origClientOrderId": client_id}, timestamp_ms)


async def over_sockets(server: ServerProcess, lists: list[list[bytes]], window: int) -> dict[str, Any]:
    """Every connection keeps its window full until its list is through."""
    errors: Counter[str] = Counter()

    async def one(requests: list[bytes]) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting, left = iter(requests), len(requests)

        def on_text(text: bytes) -> None:
            nonlocal left
            if GOOD not in text:
                errors[text[:160].decode(errors="replace")] += 1
            left -= 1
            request = next(waiting, None)
            if request is not None:
                socket.send_text(request)
            elif not left:
                done.set_result(None)

        socket = await WebSocketReader.open(server.host, server.port, "/ws-api/v3", on_text)
        for _ in range(window):
            socket.send_text(next(waiting))
        await done
        socket.close()

    gc.collect()
    gc.freeze()
    gc.disable()
    used, begin = server.cpu_s(), time.monotonic()
    await asyncio.gather(*(one(requests) for requests in lists))
    seconds, used = time.monotonic() - begin, server.cpu_s() - used
    gc.enable()
    count = sum(len(requests) for requests in lists)
    return {
        "requests": count,
        "errors": dict(errors),
        "per_s": round(count / seconds),
        "per_cpu_s": round(count / max(used, 1 / TICKS_PER_SECOND)),
        "server_cpu_us_per_request": round(used / count * 1e6, 1),
    }


def measure(pairs: int, window: int) -> dict[str, Any]:
    """Both ways, at one server."""
    with (
        tempfile.TemporaryDirectory(prefix="bidhall-load-") as folder,
        serving(Path(folder) / "bidhall", seed=load_plan.seed()) as server,
    ):
        now_ms = time.time_ns() // 1_000_000
        rest = uvloop.run(
            saturate(
                server.host, server.port, load_plan.saturation(SATURATION_CONNECTIONS, pairs, now_ms), server.cpu_s
            )
        )
        now_ms = time.time_ns() // 1_000_000
        sockets = uvloop.run(over_sockets(server, plan(SATURATION_CONNECTIONS, pairs, now_ms), window))
    ratio = round(sockets["per_cpu_s"] / rest["per_cpu_s"], 3)
    return {"machine": timing.machine(), "rest": rest, "websocket": sockets, "ratio_to_rest": ratio}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load_ws", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--pairs", type=int, default=300, help="placements and cancels of each connection")
    parser.add_argument("--window", type=int, default=1, help="requests of a connection on their way")
    options = parser.parse_args(arguments)
    result = measure(options.pairs, options.window)
    rest, sockets = result["rest"], result["websocket"]
    print(
        f"WebSocket API: {sockets['per_s']:,} orders/s, {sockets['per_cpu_s']:,} per CPU second of the server; "
        f"REST: {rest['per_s']:,} orders/s, {rest['per_cpu_s']:,}; ratio {result['ratio_to_rest']}; "
        f"errors {sockets['errors'] or rest['errors'] or 'none'}",
        file=sys.stderr,
    )
    print(json.dumps(result))
    return 1 if sockets["errors"] or rest["errors"] else 0


if __name__ == "__main__":
    sys.exit(main())
