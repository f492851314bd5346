# SPDX-License-Identifier: Apache-2.0
"""Ten minutes at two thousand book changes a second, three client libraries' books, no resync: `make proof books`.

BOOKS_SECONDS gives another time. The short form that runs with the other tests is tests/clients/test_books.py.
"""

import os
from pathlib import Path

import pytest

from tests.proofs import books
from tests.serving import serving

SECONDS = float(os.environ.get("BOOKS_SECONDS", "600"))
RATE = float(os.environ.get("BOOKS_RATE", "2400"))  # requests; not each of them changes the book
SLICE_S = 20.0
CHANGES_PER_SECOND_MIN = 2_000


@pytest.mark.proof
@pytest.mark.timeout(SECONDS * 2 + 120)
@pytest.mark.filterwarnings("default")
async def test_books_follow_for_ten_minutes(tmp_path: Path, seed: int) -> None:
    with serving(tmp_path / "bidhall", seed=books.document()) as server:
        slices = max(1, round(SECONDS / SLICE_S))
        result = await books.follow(server, seed=seed, rate=RATE, slices=slices, slice_s=SLICE_S)
    print(result)
    assert result["changes_per_s"] >= CHANGES_PER_SECOND_MIN
