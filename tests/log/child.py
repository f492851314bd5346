# SPDX-License-Identifier: Apache-2.0
"""A process that appends to a log and prints each position once it is acknowledged, until it or its disk dies.

Started by the tests (`python -m tests.log.child FOLDER COUNT`). Ends with 3 when the log has halted.
"""

import asyncio
import os
import sys
from pathlib import Path

from bidhall.environment import RealEnvironment
from bidhall.log import Entry, LogFault
from bidhall.log.sqlite import SqliteLog


def entry(number: int) -> Entry:
    """The same for the same number, whoever asks."""
    return Entry.make(b"the child proces", number, number, 1, 1, number.to_bytes(8, "little") * 24 * (number % 5))


async def main(folder: str, count: int) -> int:
    log = SqliteLog(Path(folder), RealEnvironment(), wal_bytes=1 << 20)
    try:
        await log.open()
        for number in range(log.head + 1, log.head + count + 1):
            await log.append(entry(number))
            os.write(1, b"%d\n" % number)
    except LogFault as fault:
        os.write(2, f"{type(fault).__name__}: {fault}\n".encode())
        return 3
    await log.close()
    return 0


if __name__ == "__main__":
    os._exit(asyncio.run(main(sys.argv[1], int(sys.argv[2]))))
