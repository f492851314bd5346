# SPDX-License-Identifier: Apache-2.0
"""`bidhall serve`: one process with everything in it, from the first line it prints to its exit code.

The command line calls `run`. The order of a start: log, replica, history, seed, demo, doors; of a stop: doors, demo,
replica, history, log. Exit code 0 after SIGTERM or SIGINT, 1 when anything that holds a promise has failed; then it
says why, on stderr.
"""

import asyncio
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

import msgspec
import orjson
import uvloop

from bidhall import __version__
from bidhall import seed as seeding
from bidhall.api.app import Door, DoorSettings
from bidhall.cli.addresses import connectable
from bidhall.documents import BadDocument, SeedDocument
from bidhall.environment import RealEnvironment
from bidhall.log import Log, LogFault, open_log
from bidhall.replica import Fault, Refused, Replica
from bidhall.settings import Settings
from bidhall.sinks import History

if TYPE_CHECKING:
    from bidhall.demo.town import Demo

# How long another thread (the history's) may go on in Python while the loop waits for its turn; Python's own is 5 ms.
SWITCH_S: Final = 0.0005
STOP_S: Final = 18.0  # ECS and Docker kill later than this; what is acknowledged is in the log in any case
FAILED_STOP_S: Final = 3.0
LISTENING: Final = "listening.json"
ADMIN_KEY: Final = "admin.key"

logger = logging.getLogger("bidhall")


class CannotStart(Exception):
    """Something a person has to mend; the text says what."""


def run(settings: Settings) -> int:
    """Serve until a signal or a fault; the exit code."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    session = Session(settings)
    sys.setswitchinterval(SWITCH_S)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            code = runner.run(session.serve())
    except CannotStart as error:
        print(f"bidhall: {error}", file=sys.stderr)
        return 1
    if code:
        # A thread may hang in a disk that does not answer: nothing that waits for it may keep this process alive.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


class Session:
    """One run of a server."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder = settings.folder
        self._environment = RealEnvironment()
        self._log: Log
        self._replica: Replica
        self._history: History | None = None
        self._door: Door | None = None
        self._demo: Demo | None = None
        self._signalled: asyncio.Event

    async def serve(self) -> int:
        """Start, wait, stop."""
        self._signalled = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)
        document = self._document()
        try:
            await self._start_replica()
            await self._seed(document)
            await self._open_doors()
        except (LogFault, Refused, Fault, BadDocument, OSError) as error:
            raise CannotStart(_reason(error)) from error
        _calm_the_collector()
        print_banner(self._settings, self._door, sys.stdout)
        failed: asyncio.Future[Any] = self._replica.failed
        signalled: asyncio.Future[Any] = loop.create_task(self._signalled.wait(), name="signal")
        await asyncio.wait({failed, signalled}, return_when=asyncio.FIRST_COMPLETED)
        if failed.done():
            signalled.cancel()
            return await self._fail(failed.exception())
        return await self._stop()

    def _on_signal(self, number: int) -> None:
        if self._signalled.is_set():
            print("bidhall: told twice, ends at once", file=sys.stderr)
            sys.stderr.flush()
            os._exit(128 + number)
        self._signalled.set()

    # --- start ---------------------------------------------------------------------------------------------------

    def _document(self) -> SeedDocument:
        """What an empty exchange gets."""
        settings = self._settings
        try:
            seed = seeding.read(Path(settings.seed_file)) if settings.seed_file else None
        except BadDocument as error:
            raise CannotStart(str(error)) from None
        if not settings.demo:
            return seed or SeedDocument()
        from bidhall.demo.town import document_with

        return document_with(seed)

    async def _start_replica(self) -> None:
        try:
            if self._folder is not None:
                self._folder.mkdir(parents=True, exist_ok=True)
            self._log = open_log(self._settings.log, self._environment)
        except ValueError as error:
            raise CannotStart(str(error)) from None
        self._replica = Replica(self._log, self._environment, folder=self._folder, settings=self._settings.replica)
        if self._settings.history.enabled:
            self._history = History(self._replica, self._environment, self._folder, self._settings.history)
            self._history.attach()
        await self._replica.start()
        if self._history is not None:
            self._history.start()

    async def _seed(self, document: SeedDocument) -> None:
        await seeding.apply(document, self._replica)
        if self._settings.demo:
            from bidhall.demo.town import Demo

            self._demo = Demo(self._replica, self._environment, self._settings.demo_seed)
            await self._demo.start()

    async def _open_doors(self) -> None:
        self._door = Door(
            self._replica, self._environment, self._door_settings(), self._settings.feeds, history=self._history
        )
        await self._door.start()
        if self._folder is not None:
            where = {"pid": os.getpid(), **_addresses(self._settings, self._door)}
            _write(self._folder / LISTENING, orjson.dumps(where) + b"\n", 0o644)

    def _door_settings(self) -> DoorSettings:
        settings = self._settings
        return msgspec.structs.replace(
            settings.door,
            host=settings.host,
            port=settings.port,
            admin_host=settings.admin_host,
            admin_port=settings.admin_port,
            admin_key=self._admin_key(),
        )

    def _admin_key(self) -> str:
        """The key of the admin API: from the environment, or made once and kept in the folder for its owner alone."""
        given = os.environ.get("BIDHALL_ADMIN_KEY", "")
        if given or self._folder is None:
            return given
        path = self._folder / ADMIN_KEY
        if not path.exists():
            _write(path, self._environment.random_bytes(32).hex().encode() + b"\n", 0o600)
        return path.read_text(encoding="utf-8").strip()

    # --- stop ----------------------------------------------------------------------------------------------------

    async def _stop(self) -> int:
        """Everything that was admitted is answered, a snapshot is written, and the log is closed."""
        logger.info("stopping")
        begun = time.monotonic()
        try:
            await asyncio.wait_for(self._drain(), STOP_S)
        except TimeoutError:
            logger.warning("not all was drained in %.0f s; what was acknowledged is in the log", STOP_S)
            return 1
        except Exception as error:
            logger.exception("the stop failed: %s", _reason(error))
            return 1
        if self._replica.failed.done() and self._replica.failed.exception() is not None:
            return _complain(self._replica.failed.exception())
        logger.info("stopped after %.1f s", time.monotonic() - begun)
        return 0

    async def _drain(self) -> None:
        if self._door is not None:
            await self._door.stop()
        if self._demo is not None:
            await self._demo.stop()
        if self._history is not None:
            await self._history.flush()  # so that the last snapshot is one from which it can go on
        await self._replica.stop()
        if self._history is not None:
            await self._history.flush()
            await self._history.stop()
        await self._log.close()
        if self._folder is not None:
            (self._folder / LISTENING).unlink(missing_ok=True)
        self._environment.close()

    async def _fail(self, error: BaseException | None) -> int:
        """A promise can no longer be held: tell the clients what is not known, and end."""
        code = _complain(error)
        await _within(FAILED_STOP_S, self._door.stop() if self._door is not None else asyncio.sleep(0))
        return code


def print_banner(settings: Settings, door: Door | None, out: TextIO) -> None:
    """Where it listens and how to connect."""
    assert door is not None
    where = _addresses(settings, door)
    host = f"{connectable(where['host'])}:{where['port']}"
    print(f"bidhall {__version__}", file=out)
    print(f"  REST        http://{host}/api/v3", file=out)
    print(f"  streams     ws://{host}/ws  and  /stream?streams=…     WebSocket API  ws://{host}/ws-api/v3", file=out)
    if where["admin_port"]:
        admin = f"{connectable(where['admin_host'])}:{where['admin_port']}"
        print(f"  admin       http://{admin}  (bidhall admin --help)", file=out)
    folder = settings.folder
    print(f"  kept in     {folder.resolve() if folder else 'memory only: gone when this process ends'}", file=out)
    key, secret = "your API key", "its secret"
    if settings.demo:
        from bidhall.demo.world import PEOPLE, key_of, secret_of

        key, secret = key_of(PEOPLE[0]), secret_of(PEOPLE[0])
        print("\nDemo accounts, play money, the same keys on every machine:", file=out)
        for person in PEOPLE:
            print(f"  {person:6}  key {key_of(person)}\n          secret {secret_of(person)}", file=out)
    print("\nConnect ccxt:\n", file=out)
    for line in ccxt_lines(host, key, secret):
        print(f"    {line}", file=out)
    print(flush=True, file=out)


def ccxt_lines(host: str, key: str, secret: str) -> list[str]:
    """The six lines of Python; a test runs what is printed here."""
    return [
        "import ccxt",
        f'url = "http://{host}/api/v3"',
        f'exchange = ccxt.binance({{"apiKey": "{key}", "secret": "{secret}",',
        '    "urls": {"api": {"public": url, "private": url}}, "options": {"defaultType": "spot",',
        '    "fetchMarkets": {"types": ["spot"]}, "fetchCurrencies": False, "fetchMargins": False}})',
        "exchange.load_markets()",
    ]


def _addresses(settings: Settings, door: Door) -> dict[str, Any]:
    return {
        "host": settings.host,
        "port": door.port,
        "admin_host": settings.admin_host,
        "admin_port": door.admin_port,
    }


def _write(path: Path, content: bytes, mode: int) -> None:
    """A whole file or none: under another name first."""
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _calm_the_collector() -> None:
    """What is there now stays for ever: the collector need not look at it again, nor ever at everything."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 1_000_000)


def _reason(error: BaseException | None) -> str:
    return f"{type(error).__name__}: {error}" if error is not None and str(error) else repr(error)


def _complain(error: BaseException | None) -> int:
    """One line for what was foreseen; with where it came from for what was not."""
    foreseen = isinstance(error, LogFault | Refused | Fault)
    logger.critical("a promise can no longer be held: %s", _reason(error), exc_info=None if foreseen else error)
    print(f"bidhall: stopped: {_reason(error)}", file=sys.stderr)
    return 1


async def _within(seconds: float, work: Awaitable[None]) -> None:
    try:
        await asyncio.wait_for(work, seconds)
    except Exception as error:
        logger.warning("while stopping: %s", _reason(error))
