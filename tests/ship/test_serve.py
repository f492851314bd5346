# SPDX-License-Identifier: Apache-2.0
"""`bidhall` as people start, ask and stop it: real processes."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ccxt
import pytest

from bidhall import __version__
from tests.clients.pointing import ccxt_options
from tests.serving import ROOT, ServerProcess, key_secret, key_text, seed_document, serving
from tests.ship import first_minute

FIRST_REPLY_S = 0.3  # DESIGN §10, on a machine that does nothing else
PATIENCE = 4.0  # a busy machine makes even the CPU time of a start longer; its elapsed time says nothing there


def bidhall(*arguments: str, folder: Path | None = None, code: int = 0) -> str:
    """What the command prints on both streams; it must leave with `code`."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    if folder is not None:
        environment["BIDHALL_FOLDER"] = str(folder)
    done = subprocess.run(
        [sys.executable, "-m", "bidhall", *arguments], env=environment, capture_output=True, text=True, check=False,
        cwd=ROOT, timeout=60,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == code, said
    return said


def admin(server: ServerProcess, *arguments: str) -> Any:
    return json.loads(bidhall("admin", *arguments, folder=server.folder))


@pytest.fixture(name="server", scope="module")
def make_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with serving(tmp_path_factory.mktemp("serve") / "data", seed=seed_document()) as server:
        yield server


@pytest.fixture(name="start")
def make_start(tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Starts servers in a folder of the test; whatever happens, none is left behind."""
    started: list[ServerProcess] = []

    def start(**options: Any) -> ServerProcess:
        server = ServerProcess(tmp_path / "data", **options)
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.kill()


def test_version_and_help() -> None:
    assert bidhall("version") == f"bidhall {__version__}\n"
    assert "replay" in bidhall("--help")
    assert "deposit" in bidhall("admin", "--help")
    assert "--seed-file" in bidhall("serve", "--help")


def test_it_prints_where_it_listens(server: ServerProcess) -> None:
    said = server.log()
    assert f"http://127.0.0.1:{server.port}/api/v3" in said
    assert f"ws://127.0.0.1:{server.port}/ws-api/v3" in said
    assert str(server.folder.resolve()) in said
    assert len(first_minute.printed_lines(said)) == 6
    assert key_secret("alice") not in said


def test_files_of_the_folder(server: ServerProcess) -> None:
    found = json.loads((server.folder / "listening.json").read_text())
    assert found == {
        "pid": server.pid, "host": "127.0.0.1", "port": server.port, "admin_host": "127.0.0.1",
        "admin_port": server.admin_port,
    }  # fmt: skip
    assert (server.folder / "admin.key").stat().st_mode & 0o777 == 0o600
    assert server.admin_key not in server.log()


def test_health(server: ServerProcess) -> None:
    assert bidhall("health", "--url", server.url) == "ready\n"
    assert "not ready" in bidhall("health", "--url", "http://127.0.0.1:1", code=1)


def test_admin_does_all_that_the_api_does(server: ServerProcess, tmp_path: Path) -> None:
    assert admin(server, "asset", "create", "EUR", "--decimals", "2")["name"] == "EUR"
    assert "EUR" in [asset["name"] for asset in admin(server, "asset", "list")]
    grid = ["--tick", "1", "--step", "0.01", "--taker-rate", "0.002"]
    made = admin(server, "market", "create", "BTCEUR", "BTC", "EUR", *grid)
    assert (made["name"], made["state"]) == ("BTCEUR", "TRADING")
    assert admin(server, "market", "state", "BTCEUR", "halt")["state"] == "HALT"
    assert [market["name"] for market in admin(server, "market", "list")] == ["BTCUSDT", "ETHUSDT", "BTCEUR"]
    more = tmp_path / "market.json"
    more.write_text('{"orders_max": 7, "tick": "0.05", "price_max": 1000.05}')
    grid = ["--tick", "0.05", "--step", "0.2", "--file", str(more)]
    made = admin(server, "market", "create", "ETHEUR", "ETH", "EUR", *grid)
    assert made["price_ticks_max"] == 20_001
    account = admin(server, "account", "create", "--name", "robot", "--balance", "BTC=1.5", "--with-key")
    number = str(account["id"])
    assert account["balances"] == [{"asset": "BTC", "free": "1.50000000", "locked": "0.00000000"}]
    assert len(account["keys"][0]["secret"]) == 64
    assert admin(server, "deposit", number, "EUR", "100")["free"] == "100.00"
    assert admin(server, "withdraw", number, "EUR", "40.5")["free"] == "59.50"
    changed = admin(server, "account", "change", number, "--permission", "deposit", "--maker-rate", "0.1")
    assert (changed["permissions"], changed["maker_rate"]) == (["deposit"], "0.10000000")
    assert admin(server, "account", "show", number)["name"] == "robot"
    assert len(admin(server, "account", "list")) == 3
    assert admin(server, "account", "change", number, "--trade-group", "7")["trade_group"] == 7
    key = admin(server, "key", "create", number, "--permission", "read", "--label", "eyes")
    assert (key["permissions"], key["label"], key["enabled"]) == (["read"], "eyes", True)
    assert admin(server, "key", "disable", key["key"])["enabled"] is False
    listed = admin(server, "key", "list", number)
    assert [one["enabled"] for one in listed] == [True, False]
    assert not [one for one in listed if "secret" in one]
    assert admin(server, "snapshot")["position"] > 0
    state = admin(server, "state")
    assert (state["audit"], state["ready"], state["accounts"]) == ("good", True, 3)


def test_admin_has_a_command_for_every_call() -> None:
    """By the paths: those that the admin API serves, and those that the commands ask for."""
    served = re.findall(r'self\.route\("([A-Z]+)", "(/admin/[^"]*)"', (ROOT / "src/bidhall/api/admin.py").read_text())
    asked = (ROOT / "src/bidhall/cli/operator.py").read_text()
    paths = set(re.findall(r'_call\(client, "([A-Z]+)", f?"(/admin/[^"]*)"', asked))
    assert served
    missing = {(method, shape(path)) for method, path in served} - {(method, shape(path)) for method, path in paths}
    assert not missing


def shape(path: str) -> str:
    """Whatever a part of a path is called."""
    return re.sub(r"\{[^}]*\}", "*", path)


def test_admin_kills_and_halts(server: ServerProcess) -> None:
    exchange = ccxt.binance(ccxt_options(f"{server.host}:{server.port}", "alice"))
    try:
        exchange.load_markets()
        for price in (20_000, 20_001):
            exchange.create_order("BTC/USDT", "limit", "buy", 0.01, price)
        exchange.create_order("ETH/USDT", "limit", "buy", 1, 100)
        states = admin(server, "market", "states", "cancel_only", "BTCUSDT", "ETHUSDT")
        assert [market["state"] for market in states] == ["CANCEL_ONLY"] * 2
        with pytest.raises(ccxt.ExchangeError):
            exchange.create_order("BTC/USDT", "limit", "buy", 0.01, 20_000)
        assert admin(server, "kill", "1", "--market", "BTCUSDT")["killed_orders"] == 2
        killed = admin(server, "kill", "1", "--close")
        assert (killed["killed_orders"], "trade" in killed["permissions"]) == (1, False)
        assert {market["state"] for market in admin(server, "market", "states", "trading")} == {"TRADING"}
        assert exchange.fetch_open_orders("BTC/USDT") == []
        assert "trade" in admin(server, "account", "change", "1", "--permission", "trade")["permissions"]
    finally:
        exchange.session.close()



def test_admin_says_what_is_wrong(server: ServerProcess, tmp_path: Path) -> None:
    assert "no account" in bidhall("admin", "deposit", "99", "BTC", "1", folder=server.folder, code=1)
    assert "Error" in bidhall("admin", "withdraw", "1", "BTC", "99999999", folder=server.folder, code=1)
    assert "no server runs in" in bidhall("admin", "state", folder=tmp_path, code=1)
    url = f"http://127.0.0.1:{server.admin_port}"
    assert "Error" in bidhall("admin", "--url", url, "--key", "wrong", "state", code=1)


def test_a_second_server_on_the_folder_does_not_start(server: ServerProcess) -> None:
    done = subprocess.run(server.command, capture_output=True, text=True, check=False, timeout=60, cwd=ROOT)
    assert done.returncode == 1
    assert done.stderr.count("\n") <= 3, done.stderr
    assert "bidhall: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_in_use_is_one_line(server: ServerProcess, tmp_path: Path) -> None:
    taken = ["--port", str(server.port), "--admin-port", "0"]
    said = bidhall("serve", "--log", f"sqlite:///{tmp_path / 'x'}", *taken, code=1)
    assert "bidhall: " in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--seed-file", "missing.toml"], "missing.toml"),
        (["--log", "redis://x"], "redis"),
        (["--set", "door.pipelines=3"], "did you mean 'pipeline_max'"),
        (["--set", "nonsense"], "NAME=VALUE"),
    ],
)
def test_what_it_does_not_start_with(arguments: list[str], text: str, tmp_path: Path) -> None:
    log = [] if "--log" in arguments else ["--log", f"sqlite:///{tmp_path / 'data'}"]
    said = bidhall("serve", *log, *arguments, code=2 if "nonsense" in arguments else 1)
    assert text in said
    assert "Traceback" not in said


def test_stop_and_replay_agree(tmp_path: Path) -> None:
    """SIGTERM: exit 0 in time, nothing left behind; the log replays to the state that the server had."""
    with serving(tmp_path / "data", seed=seed_document()) as server:
        admin(server, "deposit", "1", "BTC", "1")
        state = admin(server, "state")
        begun = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - begun < 20
    assert not (server.folder / "listening.json").exists()
    said = bidhall("replay", "--log", f"sqlite:///{server.folder}")
    assert re.search(rf"state hash +{state['state_hash']}", said), said
    assert re.search(rf"event hash +{state['event_hash']}", said), said


def test_interrupt_is_a_stop_too(start: Callable[..., ServerProcess]) -> None:
    server = start()
    os.kill(server.pid, signal.SIGINT)
    assert server.wait() == 0
    assert "Traceback" not in server.log()


def test_a_seed_is_applied_once(start: Callable[..., ServerProcess]) -> None:
    server = start(seed=seed_document())
    admin(server, "deposit", "1", "BTC", "1")
    before = admin(server, "account", "list")
    server.kill()
    server.start()
    assert admin(server, "account", "list") == before
    assert server.stop() == 0


def test_the_first_minute_of_a_new_user(start: Callable[..., ServerProcess]) -> None:
    """The lines it prints, run as they are; and the demo goes on over a restart."""
    pytest.importorskip("ccxt", reason="pip install ccxt")
    server = start(arguments=["--demo"])
    exchange = first_minute.connected(server)
    first_minute.trade(exchange)
    exchange.session.close()
    first_minute.run_readme(server)
    trades = _last_trade(server)
    time.sleep(2.5)
    assert _last_trade(server) >= trades + 2, "trades every second"
    server.kill()
    server.start()
    assert _last_trade(server) > trades
    assert server.stop() == 0


def test_first_reply_of_an_empty_exchange(tmp_path: Path) -> None:
    """From exec to the first answer on the API, the best of three."""
    found = [_first_reply(tmp_path / str(number)) for number in range(3)]
    elapsed, cpu = (min(times) for times in zip(*found, strict=True))
    print(f"first reply after {elapsed * 1000:.0f} ms, {cpu * 1000:.0f} ms of CPU")
    assert cpu < FIRST_REPLY_S * PATIENCE


def _first_reply(folder: Path) -> tuple[float, float]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = f"sqlite:///{folder}"
    command = [sys.executable, "-m", "bidhall", "serve", "--log", log, "--port", str(port), "--admin-port", "0"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    begun = time.monotonic()
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, cwd=ROOT) as process:
        try:
            while time.monotonic() < begun + 30:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
                try:
                    connection.request("GET", "/api/v3/ping")
                    assert connection.getresponse().read() == b"{}"
                    elapsed = time.monotonic() - begun
                    fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
                    return elapsed, (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
                except ConnectionRefusedError:
                    time.sleep(0.002)
                finally:
                    connection.close()
        finally:
            process.terminate()
            assert process.wait(25) == 0
    raise AssertionError("no reply in 30 s")


def _last_trade(server: ServerProcess) -> int:
    connection = http.client.HTTPConnection(server.host, server.port, timeout=5)
    connection.request("GET", "/api/v3/trades?symbol=BTCUSDT&limit=1")
    found = json.loads(connection.getresponse().read())
    connection.close()
    return int(found[-1]["id"])


def test_keys_of_the_seed_are_the_ones_given(server: ServerProcess) -> None:
    keys = admin(server, "key", "list", "1")
    assert [key["key"] for key in keys] == [key_text("alice")]
