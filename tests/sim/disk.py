# SPDX-License-Identifier: Apache-2.0
"""What becomes of a folder of snapshots when its process is killed, and what a bad disk does to it.

Called by `process`. The fault atlas: a snapshot whose writer is killed was not begun, stands half-written under its
`.new` name, or is whole; a finished one is cut, has a flipped bit or zeros at its end; the newest is gone; the folder
is gone (a new task has an empty disk). It must never touch anything outside the folder it is given.
"""

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any


def names(folder: Path) -> list[Path]:
    """All snapshots, the newest first."""
    return sorted(folder.glob("snapshots/*.snapshot"), reverse=True)


def killed_while_writing(folder: Path, write: Callable[[], Any], random: Random) -> str:
    """The writer of a snapshot was killed: as much of it is there as chance decides."""
    chance = random.random()
    if chance < 0.3:
        return "a snapshot was not begun"
    path = Path(write())
    if chance < 0.6:
        return f"{path.name} was whole"
    data = path.read_bytes()
    path.with_suffix(".new").write_bytes(data[: random.randint(0, len(data))])
    path.unlink()
    return f"{path.name} was half-written"


def damage(folder: Path, random: Random) -> str:
    """Something that a disk did while nobody looked."""
    found = names(folder)
    if not found:
        return "nothing to damage"
    if random.random() < 0.2:
        shutil.rmtree(folder / "snapshots")
        return "the folder is gone"
    path = found[0]
    data = bytearray(path.read_bytes())
    chance = random.random()
    if chance < 0.25:
        with suppress(FileNotFoundError):
            path.unlink()
        return f"{path.name} is gone"
    at = random.randrange(len(data))
    if chance < 0.5:
        del data[at:]
    elif chance < 0.75:
        data[at:] = bytes(len(data) - at)
    else:
        data[at] ^= 1 << random.randrange(8)
    path.write_bytes(data)
    return f"{path.name} is damaged at {at}"
