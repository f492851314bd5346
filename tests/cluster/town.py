# SPDX-License-Identifier: Apache-2.0
"""A production in small: PostgreSQL with a synchronous standby, equal tasks on its log, haproxy in front.

Used by the tests of this folder and by `make proof cluster`. Everything is a real process on loopback, and is stopped
at the end. haproxy stands for the ALB: it balances by least connections, and looks at /readyz.
"""

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bidhall.clients.postgres import connect
from bidhall.log.postgres_schema import migrate
from tests import postgres
from tests.proxy import Cut, Proxy
from tests.serving import ServerProcess

HAPROXY = shutil.which("haproxy") or "/usr/sbin/haproxy"
MISSING_HAPROXY = "no haproxy: apt-get install haproxy"
MASTER_KEY = "5e" * 32

CONFIGURATION = """
global
    maxconn 4096
    stats socket {folder}/haproxy.sock mode 600 level admin
defaults
    mode http
    timeout connect 1s
    timeout client 60s
    timeout server 60s
    timeout tunnel 1h
    timeout check 2s
    option redispatch
    retries 2
    retry-on conn-failure
frontend door
    bind 127.0.0.1:{port}
    default_backend tasks
backend tasks
    balance leastconn
    option httpchk GET /readyz
    default-server check inter 200ms fall 2 rise 1 on-marked-down shutdown-sessions
{servers}
"""


def has_haproxy() -> bool:
    """Whether this machine has it."""
    return Path(HAPROXY).exists()


class Cluster:
    """See above. `host` and `port` are haproxy's, so that it can stand where a server is asked for."""

    host = "127.0.0.1"

    def __init__(
        self, folder: Path, tasks: int, *, seed: Mapping[str, Any], standby: bool = False,
        commit_seconds: float = 0.0, arguments: Sequence[str] = (), proxied: bool = False,
        balanced: bool = True,
    ) -> None:  # fmt: skip
        """`commit_seconds`: how long every commit takes; `proxied`: tasks reach the databases through `proxies`."""
        self.folder = folder
        self.port = postgres.free_port()
        self._line: Proxy | None = None
        self.primary = postgres.Server.make()
        self.standby = self._standby(commit_seconds) if standby or commit_seconds else None
        database = self.primary.new_database()
        others = () if self.standby is None else (self.standby,)
        self.log = self.primary.dsn(database, *others)
        asyncio.run(_migrate(self.log))
        self.proxies = [Proxy(server.port) for server in (self.primary, *others)] if proxied else []
        for proxy in self.proxies:
            self.log = self.log.replace(f":{proxy.target}", f":{proxy.port}", 1)
        environment = {"BIDHALL_MASTER_KEY": MASTER_KEY, "BIDHALL_ADMIN_KEY": "admin"}
        self.tasks = [
            ServerProcess(
                folder / f"task-{number}", log=self.log, environment=environment, arguments=arguments,
                seed=seed if number == 0 else None,
            )
            for number in range(tasks)
        ]  # fmt: skip
        self._balanced = balanced
        self._haproxy: subprocess.Popen[bytes] | None = None

    def _standby(self, commit_seconds: float) -> postgres.Server:
        """One that answers every commit as late as asked: the line between the two is that long."""
        if not commit_seconds:
            return self.primary.standby()
        line = self._line = Proxy(self.primary.port)
        line.delay_seconds = commit_seconds / 2  # there and back
        return self.primary.standby(through=line.port)

    def start(self) -> None:
        """The first task makes the exchange; then all, and haproxy."""
        self.tasks[0].start()
        with ThreadPoolExecutor() as pool:
            list(pool.map(ServerProcess.start, self.tasks[1:]))
        if self._balanced:
            self._start_haproxy()

    def _start_haproxy(self) -> None:
        lines = [f"    server task-{i} 127.0.0.1:{task.port}" for i, task in enumerate(self.tasks)]
        path = self.folder / "haproxy.cfg"
        path.write_text(CONFIGURATION.format(folder=self.folder, port=self.port, servers="\n".join(lines)))
        with (self.folder / "haproxy.out").open("ab") as output:
            self._haproxy = subprocess.Popen([HAPROXY, "-f", str(path), "-db"], stdout=output, stderr=output)
        self._await_ready()

    def _await_ready(self) -> None:
        import urllib.request

        deadline = time.monotonic() + 20
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=1) as answer:
                    if answer.status == 200:
                        return
            except OSError:
                pass
            if time.monotonic() > deadline:
                raise RuntimeError((self.folder / "haproxy.out").read_text())
            time.sleep(0.05)

    def restart(self, number: int) -> None:
        """A task that died comes back, on the port that haproxy knows."""
        task = self.tasks[number]
        task.fixed_port = task.port
        task.start()

    def fail_over(self) -> None:
        """The primary's machine is gone; the standby takes over."""
        assert self.standby is not None
        self.primary.kill()
        self.standby.promote()

    def hold_commits(self, more_seconds: Callable[[], float] | None) -> None:
        """Commits take that much longer, asked for each piece of what the primary sends to its standby."""
        assert self._line is not None
        self._line.more_seconds = more_seconds

    def stall(self, on: bool) -> None:
        """Nothing passes between the tasks and the databases."""
        for proxy in self.proxies:
            proxy.stall(on)

    def refuse(self, on: bool) -> None:
        """Every connection to the databases is cut, and none is accepted."""
        for proxy in self.proxies:
            proxy.refusing = on
            if on:
                proxy.drop_all()

    def cut(self, cut: Cut | None) -> None:
        """Connections to the databases are cut as this says."""
        for proxy in self.proxies:
            proxy.cut = cut

    def stop(self) -> list[int]:
        """Everything; the exit codes of the tasks."""
        codes = [task.stop() if task.is_running() else -1 for task in self.tasks]
        self.kill()
        return codes

    def kill(self) -> None:
        """Everything, at once."""
        for task in self.tasks:
            task.kill()
        if self._haproxy is not None:
            self._haproxy.kill()
            self._haproxy.wait()
        for proxy in (self._line, *self.proxies):
            if proxy is not None:
                proxy.close()
        for server in (self.primary, self.standby):
            if server is not None:
                server.remove()


async def _migrate(url: str) -> None:
    connection = await connect(url)
    await migrate(connection, os.urandom(16))
    await connection.close()
