# SPDX-License-Identifier: Apache-2.0
"""Disks that fail under the real server: full, and failing to sync. It halts, and nothing acknowledged is lost.

DESIGN §9: disk full or a failed fsync means halt, exit non-zero, never an acknowledgement, never a retry of the sync.
Skipped with a sentence where mounting or strace is not allowed.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.judging import Judge
from tests.chaos.traders import NAMES, Ledger, Load
from tests.serving import ServerProcess, seed_document

HALT_PATIENCE_S = 15
FULL_PATIENCE_S = 60
DISK_BYTES, LEFT_BYTES = 64 << 20, 200_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 64 megabytes, as the server's own folder."""
    place = tmp_path / "bidhall"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small disk cannot be mounted here (needs root)")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def _fill(disk: Path) -> Path:
    """A file that leaves next to nothing."""
    ballast = disk / "ballast"
    room = os.statvfs(disk)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_bsize - LEFT_BYTES)
    return ballast


def _need_strace() -> None:
    if shutil.which("strace") is None:
        pytest.skip("no strace, which makes syncs fail: apt-get install strace")
    if subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, check=False).returncode:
        pytest.skip("strace may not trace here")


async def _load_until_it_halts(server: ServerProcess, seed: int, ledger: Ledger) -> int:
    load = Load(0, seed, ledger)
    load.start(server)
    await load.finish(FULL_PATIENCE_S)
    return server.wait(HALT_PATIENCE_S)


async def _judge_after_restart(server: ServerProcess, ledger: Ledger) -> None:
    assert ledger.placed(), "nothing was acknowledged before the disk failed"
    server.start()
    judge = await Judge.at(server)
    await judge.check(ledger)
    await judge.retry(ledger)
    await judge.check(ledger)
    judge.close()
    assert server.stop() == 0


async def test_full_disk_halts_and_loses_nothing(small_disk: Path, seed: int) -> None:
    ledger = Ledger()
    server = ServerProcess(small_disk, seed=seed_document(NAMES))
    try:
        server.start()
        ballast = _fill(small_disk)
        assert await _load_until_it_halts(server, seed, ledger) not in (0, None)
        assert "full" in server.log().strip().splitlines()[-1]
        ballast.unlink()
        await _judge_after_restart(server, ledger)
    finally:
        server.kill()


async def test_failed_sync_halts_and_loses_nothing(tmp_path: Path, seed: int) -> None:
    _need_strace()
    ledger = Ledger()
    folder = tmp_path / "bidhall"
    server = ServerProcess(folder, seed=seed_document(NAMES))
    server.start()  # the log is made, the disk is still sound
    assert server.stop() == 0
    failing = ServerProcess(
        folder,
        wrapper=[
            "strace", "-f", "-qq", "-o", os.devnull, "-e", "trace=fsync,fdatasync",
            "-e", "inject=fsync,fdatasync:error=EIO:when=60+",
        ],
    )
    try:
        failing.start(60)
        assert await _load_until_it_halts(failing, seed, ledger) not in (0, None)
        await _judge_after_restart(server, ledger)
    finally:
        failing.kill()
        server.kill()
