# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.sim SEED`: replays one world and prints its story; with a second number, all seeds up to it.

For whoever looks into a failing seed. With `--canary NAME` the bug of that name is planted first. It exits 1 when a
promise was broken.
"""

import argparse
import sys
import time
from collections import Counter
from resource import RUSAGE_SELF, getrusage

from tests.sim.canaries import CANARIES
from tests.sim.world import Violation, World


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("seed", type=int)
    parser.add_argument("last", type=int, nargs="?")
    parser.add_argument("--canary", choices=sorted(CANARIES))
    parser.add_argument("--seconds", type=float, default=1e9, help="of many seeds: no new one after so many")
    parser.add_argument("--trims", action="store_true", help="tasks also trim the log behind all snapshots")
    arguments = parser.parse_args()
    World.has_trims = arguments.trims
    make = CANARIES[arguments.canary] if arguments.canary else World
    if arguments.last is None:
        story: list[str] = []
        return tell(make(arguments.seed, story), story)
    return sweep(make, arguments.seed, arguments.last, arguments.seconds)


def tell(world: World, story: list[str]) -> int:
    print(f"seed {world.seed}\n  {world.options.told()}")
    violation = None
    try:
        world.run()
    except Violation as found:
        violation = found
    print("\n".join(story))
    print("reached: " + ", ".join(f"{what} {count}" for what, count in sorted(world.reached.items())))
    print(violation or f"seed {world.seed}: every promise held")
    return 1 if violation else 0


def sweep(make: type[World], first: int, last: int, seconds_max: float) -> int:
    begun, used, bad = time.perf_counter(), time.process_time(), 0
    reached: Counter[str] = Counter()
    for seed in range(first, last + 1):
        if time.perf_counter() - begun > seconds_max:
            last = seed - 1
            break
        world = make(seed)
        try:
            world.run()
        except Violation as found:
            bad += 1
            print(str(found).partition("\n")[0], flush=True)
        except Exception as error:
            bad += 1
            print(f"seed {seed}: the simulator failed: {type(error).__name__}: {error}", flush=True)
        reached.update(world.reached)
    seconds = time.perf_counter() - begun
    for what, count in sorted(reached.items()):
        print(f"{count:8} {what}")
    used = time.process_time() - used
    count, memory_mb = last - first + 1, getrusage(RUSAGE_SELF).ru_maxrss // 1024
    print(f"{count} seeds in {seconds:.1f} s, {count / used:.1f} a CPU second, {memory_mb} MB; {bad} bad")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
