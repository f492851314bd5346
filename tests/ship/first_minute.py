# SPDX-License-Identifier: Apache-2.0
"""The first minute of a new user, as a program: the demo starts, the six lines it prints are run, an order is filled
and another is placed and cancelled. `python -m tests.ship.first_minute` is the smoke test of .ci/run.
"""

import re
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.serving import ROOT, ServerProcess, serving


def printed_lines(log: str) -> list[str]:
    """What the server printed under "Connect ccxt"."""
    after = log.split("Connect ccxt:")[1]
    return re.findall(r"^    (.*)$", after, re.MULTILINE)[:6]


def connected(server: ServerProcess) -> Any:
    """The ccxt object that the printed lines make."""
    names: dict[str, Any] = {}
    exec("\n".join(printed_lines(server.log())), names)
    return names["exchange"]


def run_readme(server: ServerProcess) -> None:
    """The Python of README's first minute, as it stands, against this server."""
    block = re.search(r"## The first minute.*?```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert block is not None
    names: dict[str, Any] = {}
    exec(block[1].replace("127.0.0.1:8080", f"127.0.0.1:{server.port}"), names)
    assert names["order"]["status"] == "open"
    names["exchange"].session.close()


def trade(exchange: Any) -> dict[str, Any]:
    """A fill, an order that rests and is cancelled, and what is left; raises when anything is not as it should be."""
    before = exchange.fetch_balance()["BTC"]["free"]
    bought = exchange.create_order("BTC/USDT", "market", "buy", 0.01)
    assert (bought["status"], bought["filled"]) == ("closed", 0.01), bought
    resting = exchange.create_order("BTC/USDT", "limit", "buy", 0.01, 50_000)
    assert resting["status"] == "open", resting
    canceled = exchange.cancel_order(resting["id"], "BTC/USDT")
    assert canceled["status"] == "canceled", canceled
    after = exchange.fetch_balance()["BTC"]["free"]
    assert abs(after - before - 0.01 * 0.999) < 1e-9, (before, after)
    book = exchange.fetch_order_book("BTC/USDT", 100)
    assert min(len(book["bids"]), len(book["asks"])) >= 50
    return {"average": bought["average"], "bitcoin": after}


def main() -> None:
    """The smoke test."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder) / "data", arguments=["--demo"]) as server:
        ready = time.monotonic()
        exchange = connected(server)
        result = trade(exchange)
        exchange.session.close()
    print(f"ready after {ready - begun:.2f} s; 0.01 BTC bought at {result['average']}, an order placed and cancelled")


if __name__ == "__main__":
    main()
