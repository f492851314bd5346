# SPDX-License-Identifier: Apache-2.0
"""The promises hold in every simulated world, and every planted bug is found.

Run by pytest, in blocks, so that xdist shares them out. How many worlds: BIDHALL_SIM_SEEDS (100 when it is not set; CI
sets 1,000 or more), from seed BIDHALL_SIM_FIRST (1). A world that fails names its seed and the command that tells its
story. It must never try a failed seed again: the same seed is the same world.
"""

import hashlib
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.sim.canaries import CANARIES
from tests.sim.world import Violation, World

FIRST = int(os.environ.get("BIDHALL_SIM_FIRST", "1"))
SEEDS = int(os.environ.get("BIDHALL_SIM_SEEDS", "100"))
BLOCK = 20
CANARY_SEEDS = {"ForgetsAtRestart": 100, "InsertsOnConflict": 100}  # where the bug needs a rare moment
CANARY_SEEDS_USUAL = 40
PROBE_SEEDS = 250
PROBES = {
    "answer lost", "answered, and sent once more", "answered: unknown", "append arrives after its sender gave up",
    "append finds its position closed", "batch stands in the log twice", "clock stepped", "closer waits for a commit",
    "commit dies with its server", "commit survives its server", "connections cut", "failover", "hole in the log",
    "holes closed", "insert rolled back", "killed", "killed with a snapshot on its way", "lock timeout",
    "lost tail: a task stopped", "message lost", "no answer in time", "position taken and never used", "read",
    "read refused", "repeat answered with the first result", "replayed from a snapshot", "slow commit",
    "snapshot damaged", "stall", "stopped in order",
}  # fmt: skip


@pytest.mark.parametrize("first", range(FIRST, FIRST + SEEDS, BLOCK))
def test_every_promise_holds(first: int) -> None:
    for seed in range(first, min(first + BLOCK, FIRST + SEEDS)):
        World(seed).run()


@pytest.mark.parametrize("name", sorted(CANARIES))
def test_a_planted_bug_is_found(name: str) -> None:
    most = CANARY_SEEDS.get(name, CANARY_SEEDS_USUAL)
    for seed in range(1, most + 1):
        try:
            CANARIES[name](seed).run()
        except Violation as violation:
            print(f"{name} was found by seed {seed}: {str(violation).partition(chr(10))[0]}")
            return
    pytest.fail(f"{name} lived through {most} worlds")


def test_every_fault_is_met() -> None:
    """Worlds in which nothing happens would prove nothing."""
    reached: Counter[str] = Counter()
    for seed in range(10_001, 10_001 + PROBE_SEEDS):
        world = World(seed)
        world.run()
        reached += world.reached
        if reached.keys() >= PROBES:
            return
    pytest.fail(f"never reached in {PROBE_SEEDS} worlds: {sorted(PROBES - reached.keys())}")


def fingerprint(seed: int) -> str:
    """Of all that happened in a world."""
    story: list[str] = []
    world = World(seed, story)
    world.run()
    told = "\n".join(story) + repr(sorted(world.reached.items())) + repr(world.loop.steps)
    return hashlib.sha256(told.encode()).hexdigest()


def test_a_seed_is_the_same_world_in_every_process() -> None:
    code = "from tests.sim.test_sim import fingerprint; print(*map(fingerprint, (4, 16, 24)))"
    number = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    other = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).resolve().parents[2],
        env={**os.environ, "PYTHONHASHSEED": number},
        stdout=subprocess.PIPE,
        check=True,
    )
    assert other.stdout.decode().split() == [fingerprint(seed) for seed in (4, 16, 24)]
