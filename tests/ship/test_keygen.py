# SPDX-License-Identifier: Apache-2.0
"""`bidhall keygen`: keys of every kind sign real requests of a real client, and no private key is left open or lost."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import ccxt
import pytest

from tests.clients.pointing import ccxt_options
from tests.serving import ServerProcess, seed_document, serving

KINDS = ("hmac", "ed25519", "rsa")


@pytest.fixture(name="server", scope="module")
def make_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with serving(tmp_path_factory.mktemp("keygen") / "data", seed=seed_document()) as server:
        yield server


def bidhall(*arguments: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "bidhall", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def printed(said: str, name: str) -> str:
    return next(line.split()[1] for line in said.splitlines() if line.startswith(name))


def trades(server: ServerProcess, key: str, secret: str) -> None:
    """The key signs an order of ccxt, which takes PEM for a secret."""
    exchange = ccxt.binance({**ccxt_options(f"{server.host}:{server.port}", "alice"), "apiKey": key, "secret": secret})
    try:
        exchange.load_markets()
        order = exchange.create_order("BTC/USDT", "limit", "buy", 0.01, 20_000)
        assert order["status"] == "open"
        assert exchange.cancel_order(order["id"], "BTC/USDT")["status"] == "canceled"
        exchange.apiKey = "x" * 64
        with pytest.raises(ccxt.BaseError, match="-2015"):  # which class depends on what it did before
            exchange.fetch_balance()
    finally:
        exchange.session.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_registered_key_trades(server: ServerProcess, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "mine"
    said = bidhall("keygen", kind, "--out", str(out), "--register", "1", "--folder", str(server.folder))
    assert "It signs for account 1" in said
    private = out if kind == "hmac" else tmp_path / "mine.pem"
    assert private.stat().st_mode & 0o777 == 0o600
    trades(server, printed(said, "key"), private.read_text(encoding="utf-8").strip())


@pytest.mark.parametrize("kind", KINDS)
def test_the_line_that_it_prints_registers_the_key(server: ServerProcess, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "mine"
    said = bidhall("keygen", kind, "--out", str(out))
    line = said.split("Register it:")[1].split()
    assert line[:4] == ["bidhall", "admin", "key", "create"]
    command = ["admin", "--folder", str(server.folder), "key", "create", "2", *line[5:]]
    assert json.loads(bidhall(*command))["kind"] == kind
    private = out if kind == "hmac" else tmp_path / "mine.pem"
    trades(server, printed(said, "key"), private.read_text(encoding="utf-8").strip())


def test_a_secret_without_a_file_is_printed(server: ServerProcess) -> None:
    said = bidhall("keygen", "hmac", "--register", "1", "--folder", str(server.folder), "--label", "bot")
    trades(server, printed(said, "key"), printed(said, "secret"))


def test_a_key_that_may_only_read(server: ServerProcess, tmp_path: Path) -> None:
    arguments = ["--register", "1", "--permission", "read", "--folder", str(server.folder)]
    said = bidhall("keygen", "ed25519", "--out", str(tmp_path / "eyes"), *arguments)
    with pytest.raises(ccxt.AuthenticationError, match="-2015"):
        trades(server, printed(said, "key"), (tmp_path / "eyes.pem").read_text(encoding="utf-8"))


def test_no_file_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "mine.pem").write_text("kept", encoding="utf-8")
    assert "is there already" in bidhall("keygen", "ed25519", "--out", str(tmp_path / "mine"), code=1)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.pem"]
    assert (tmp_path / "mine.pem").read_text(encoding="utf-8") == "kept"


def test_a_refused_registration_leaves_no_files(server: ServerProcess, tmp_path: Path) -> None:
    said = bidhall(
        "keygen", "rsa", "--out", str(tmp_path / "mine"), "--register", "99", "--folder", str(server.folder), code=1
    )
    assert said.startswith("Error: ")
    assert not list(tmp_path.iterdir())
