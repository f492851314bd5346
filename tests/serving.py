# SPDX-License-Identifier: Apache-2.0
"""Runs the real server for tests: `python -m bidhall serve` as a process of its own, in a folder of its own.

Used by tests/clients, tests/chaos, the benchmarks and whoever wants a real socket. Standard library only. It must never
touch a process it did not start, nor a fixed port.
"""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def key_text(name: str) -> str:
    """The API key of an account of `seed_document`: 64 characters, as the real ones."""
    return (f"key{name}" * 64)[:64]


def key_secret(name: str) -> str:
    """Its HMAC secret."""
    return (f"secret{name}" * 64)[:64]


def seed_document(
    accounts: Sequence[str] = ("alice", "bob"),
    *,
    balances: Mapping[str, str] | None = None,
    markets: Sequence[Mapping[str, Any]] | None = None,
    assets: Sequence[Mapping[str, Any]] = ({"name": "BTC"}, {"name": "ETH"}, {"name": "USDT"}),
    limits: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """A seed: funded accounts with known keys, and by default BTCUSDT and ETHUSDT as on the real exchange."""
    funds = dict(balances or {"BTC": "1000", "ETH": "10000", "USDT": "100000000"})
    return {
        **({"limits": dict(limits)} if limits else {}),
        "assets": [dict(asset) for asset in assets],
        "markets": [dict(market) for market in markets]
        if markets
        else [
            {"name": "BTCUSDT", "base": "BTC", "quote": "USDT", "tick": "0.01", "step": "0.00001",
             "notional_min": "5", "orders_max": 10_000},
            {"name": "ETHUSDT", "base": "ETH", "quote": "USDT", "tick": "0.01", "step": "0.0001",
             "notional_min": "5", "orders_max": 10_000},
        ],
        "accounts": [
            {"name": name, "balances": funds, "keys": [{"key": key_text(name), "secret": key_secret(name)}]}
            for name in accounts
        ],
    }


class StartFailed(Exception):
    """The server ended, or was not ready in time; the text holds what it printed."""


class ServerProcess:
    """One server process in `folder`. The same object may be started again after stop or kill: same folder.

    `log`: the URL of a log in a database; without it the log is in the folder.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        folder: Path,
        *,
        seed: Mapping[str, Any] | None = None,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        wrapper: Sequence[str] = (),
        log: str = "",
    ) -> None:
        self.folder = folder
        self._log_arguments = ["--log", log, "--data", str(folder)] if log else ["--log", f"sqlite:///{folder}"]
        self.port = self.admin_port = self.fixed_port = 0
        self._arguments = list(arguments)
        self.environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), **(environment or {})}
        self._wrapper = list(wrapper)
        self._process: subprocess.Popen[bytes] | None = None
        self._stale_pid = 0
        folder.mkdir(parents=True, exist_ok=True)
        self._output = folder.parent / f"{folder.name}.out"
        if seed is not None:
            seed_file = folder.parent / f"{folder.name}.seed.json"
            seed_file.write_text(json.dumps(seed), encoding="utf-8")
            self._arguments += ["--seed-file", str(seed_file)]

    @property
    def command(self) -> list[str]:
        """What is run."""
        return [
            *self._wrapper, sys.executable, "-m", "bidhall", "serve", *self._log_arguments,
            "--host", self.host, "--port", str(self.fixed_port), "--admin-port", "0", *self._arguments,
        ]

    @property
    def url(self) -> str:
        """Where the API is."""
        return f"http://{self.host}:{self.port}"

    @property
    def ws_url(self) -> str:
        """Where the WebSockets are."""
        return f"ws://{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        """Of the server itself (a wrapper, such as strace, has another)."""
        return int(self._listening()["pid"])

    @property
    def admin_key(self) -> str:
        """What the admin API asks for."""
        return (self.folder / "admin.key").read_text(encoding="utf-8").strip()

    def _listening(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "listening.json").read_text(encoding="utf-8"))
        return found

    def launch(self) -> None:
        """Starts the process and does not wait."""
        self._stale_pid = self._listening_pid()  # a killed server leaves its file behind
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=self.environment, cwd=ROOT
            )

    def start(self, timeout_s: float = 30.0) -> None:
        """Starts the process and waits until it is ready."""
        self.launch()
        deadline = time.monotonic() + timeout_s
        while not self._is_ready():
            process = self._process
            if process is None or process.poll() is not None:
                code = None if process is None else process.returncode
                raise StartFailed(f"the server ended with {code}:\n{self.log()[-4000:]}")
            if time.monotonic() > deadline:
                self.kill()
                raise StartFailed(f"the server was not ready after {timeout_s} s:\n{self.log()[-4000:]}")
            time.sleep(0.01)

    def _listening_pid(self) -> int:
        try:
            return int(self._listening()["pid"])
        except (OSError, ValueError):
            return 0

    def _is_ready(self) -> bool:
        pid = self._listening_pid()
        if pid != self._popen.pid and (not self._wrapper or pid in (0, self._stale_pid)):
            return False
        found = self._listening()
        self.port, self.admin_port = int(found["port"]), int(found["admin_port"])
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def wait(self, timeout_s: float = 25.0) -> int:
        """The exit code, once it has ended by itself; kills it and raises when it does not."""
        assert self._process is not None
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def terminate(self) -> None:
        """SIGTERM, without waiting."""
        if self.is_running():
            os.kill(self.pid if self._wrapper else self._popen.pid, signal.SIGTERM)

    def stop(self, timeout_s: float = 25.0) -> int:
        """SIGTERM; the exit code."""
        self.terminate()
        return self.wait(timeout_s)

    def kill(self) -> None:
        """SIGKILL, as a power cut would."""
        if self._wrapper and self.is_running() and self._listening_pid() not in (0, self._stale_pid):
            os.kill(self.pid, signal.SIGKILL)
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    @property
    def _popen(self) -> "subprocess.Popen[bytes]":
        assert self._process is not None
        return self._process

    def cpu_s(self) -> float:
        """User and system CPU time of the server so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND

    def resident_bytes(self) -> int:
        """Memory the server holds."""
        pages = Path(f"/proc/{self.pid}/statm").read_text(encoding="utf-8").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def log(self) -> str:
        """All it printed, over all starts."""
        return self._output.read_text(encoding="utf-8", errors="replace") if self._output.exists() else ""


@contextmanager
def serving(folder: Path, **options: Any) -> Iterator[ServerProcess]:
    """A ready server; at the end it is stopped and must leave with 0."""
    server = ServerProcess(folder, **options)
    server.start()
    try:
        yield server
    except BaseException:
        server.kill()
        raise
    code = server.stop()
    if code != 0:
        raise AssertionError(f"the server left with {code}:\n{server.log()[-4000:]}")
