# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.model SEED [COMMANDS]`: one generated history on kernel and twin, audited after every batch.

Prints the first difference field by field, with the commands of its batch, and then exits 1. With --events it prints
every event of the last batch; with --twin the twin plays alone.
"""

import argparse
import sys

from tests.core.lockstep import Difference, run_history, shown
from tests.model import ModelExchange


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.model", description=__doc__)
    parser.add_argument("seed", type=int)
    parser.add_argument("commands", type=int, nargs="?", default=5_000)
    parser.add_argument("--twin", action="store_true", help="compare the twin with itself")
    parser.add_argument("--events", action="store_true", help="print the events of the last batch")
    arguments = parser.parse_args()
    subject = ModelExchange() if arguments.twin else None
    try:
        lockstep = run_history(arguments.seed, arguments.commands, subject, dump_every=100, audit_every=1)
    except Difference as difference:
        print(difference)
        return 1
    if arguments.events:
        for event in lockstep.twin.events:
            print(shown(event._asdict()))
    sequence, orders = lockstep.twin.sequence, lockstep.twin.next_order_id - 1
    print(f"seed {arguments.seed}: {lockstep.batches} batches, {sequence} commands, {orders} orders: no difference")
    return 0


if __name__ == "__main__":
    sys.exit(main())
