# SPDX-License-Identifier: Apache-2.0
"""A seeded sample of `tests.log.sweep`: a log cut at any byte, or with any byte flipped, is recovered or refused.

Every byte of every file, with every value, is `python -m tests.log.sweep --flips 255` (hours; 1: minutes).
"""

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import sweep

SAMPLE = 240


@pytest.fixture
def folder() -> Iterator[Path]:
    made = sweep.folder_for_sweeps()
    yield made
    shutil.rmtree(made)


@pytest.mark.parametrize("page_bytes", [512, 4096])
@pytest.mark.parametrize("with_head", [True, False], ids=["log.head", "no log.head"])
@pytest.mark.parametrize("name", ["live", "trimmed", "closed"])
def test_any_single_damage(folder: Path, name: str, with_head: bool, page_bytes: int) -> None:
    seed = int(os.environ.get("BIDHALL_SEED", "1"))
    print(f"seed {seed}")
    case = sweep.build(name, seed, page_bytes, folder)
    if not with_head:
        del case.files[sweep.HEAD]
    draw = random.Random(seed)
    chosen = [
        sweep.Damage(file, draw.randrange(len(data)), draw.choice((None, draw.randrange(1, 256))))
        for file, data in draw.choices([item for item in case.files.items() if item[0] != sweep.HEAD], k=SAMPLE // 2)
    ]
    # where the records and the frames' heads are, damage does most: half of the sample goes there
    for file, data in draw.choices([item for item in case.files.items() if item[0] != sweep.HEAD], k=SAMPLE // 2):
        width = page_bytes + (sweep.FRAME_BYTES if file == sweep.WAL else 0)
        start = sweep.HEADER_BYTES if file == sweep.WAL else 0
        at = start + draw.randrange((len(data) - start) // width) * width + draw.randrange(32)
        chosen.append(sweep.Damage(file, min(at, len(data) - 1), draw.randrange(1, 256)))
    sweep.sweep(case, chosen, folder)


def test_any_damage_of_the_record_of_the_head(folder: Path) -> None:
    case = sweep.build("live", 1, 512, folder)
    draw = random.Random(1)
    chosen = [sweep.Damage(sweep.HEAD, offset, None) for offset in range(0, len(case.files[sweep.HEAD]), 16)]
    for start, length in ((0, 16), (512, 28), (1024, 28)):
        chosen += [sweep.Damage(sweep.HEAD, start + at, draw.randrange(1, 256)) for at in range(length)]
    sweep.sweep(case, chosen, folder)


@pytest.mark.proof
@pytest.mark.timeout(6 * 3600)
def test_every_damage(folder: Path) -> None:
    for case in sweep.cases(1, 512, folder):
        sweep.sweep(case, list(sweep.damages(case, random.Random(1), 1)), folder)
