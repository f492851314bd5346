# SPDX-License-Identifier: Apache-2.0
"""`bidhall sinks`, as an operator runs it on a stopped folder."""

import subprocess
import sys
from pathlib import Path

from bidhall.sinks.history.store import content_hash
from tests.serving import ROOT, ServerProcess
from tests.sinks.conftest import Place


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bidhall", "sinks", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


async def test_show_and_rebuild(place: object, tmp_path: Path) -> None:
    one: Place = place()  # type: ignore[operator]
    await one.start()
    await one.trade(100)
    head = one.replica.position
    await one.stop()
    log = f"sqlite:///{one.folder}"
    before = content_hash(one.path)
    shown = run("--log", log)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.splitlines()[1].split() == ["history", str(head), "0", str(one.path)]
    one.path.write_bytes(b"nothing" * 3_000)
    shown = run("--log", log)
    assert shown.returncode == 1
    assert "file is not a database" in shown.stdout
    built = run("--log", log, "--rebuild", "history")
    assert built.returncode == 0, built.stderr
    assert content_hash(one.path) == before
    one.path.unlink()
    assert "not there" in run("--log", log).stdout
    assert not one.path.exists()
    wrong = run("--log", log, "--rebuild", "redis")
    assert (wrong.returncode, "Traceback" in wrong.stderr) == (1, False)
    assert "no sink 'redis'" in wrong.stderr


def test_not_while_a_server_runs(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "bidhall")
    server.start()
    try:
        refused = run("--log", f"sqlite:///{server.folder}", "--rebuild", "history")
        assert refused.returncode == 1
        assert "Locked" in refused.stderr
        assert "Traceback" not in refused.stderr
        assert server.stop() == 0
    finally:
        server.kill()
