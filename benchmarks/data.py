# SPDX-License-Identifier: Apache-2.0
"""Finds and opens the order flow that the project did not write (the conformance tapes and the NASDAQ hour).

Used by the drivers `tape` and `lobster` and by the gates. The files are never part of the repository: they lie in the
folder BIDHALL_DATA or in ../shared/data, and whoever does not find them says so and skips.
"""

import lzma
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
TAPE = "me_normal_s23_n50000.messages.csv.xz"
TAPE_EXPECTED = "me_normal_s23_n50000.expected.csv.xz"
EDGE_CASES = "me_edge_cases.json.xz"
LOBSTER_MESSAGES = "lobster_AAPL_2012-06-21_0930-1030_message_50.csv.xz"
LOBSTER_TOPS = "lobster_AAPL_2012-06-21_fullday_orderbook_1.csv.xz"


class DataMissing(Exception):
    """The foreign files are not on this machine; the text says where they were looked for."""


def folder() -> Path:
    """The folder with the foreign files, or DataMissing."""
    named = os.environ.get("BIDHALL_DATA")
    place = Path(named) if named else ROOT.parent / "shared" / "data"
    if not place.is_dir():
        raise DataMissing(f"order flow of others is not here: no folder {place} (BIDHALL_DATA names another)")
    return place


def find(name: str) -> Path:
    """One of the shared files, or DataMissing."""
    path = folder() / name
    if not path.is_file():
        raise DataMissing(f"order flow of others is not here: no file {path} (BIDHALL_DATA names another folder)")
    return path


@contextmanager
def open_text(path: Path) -> Iterator[IO[str]]:
    """A text file, packed by xz or not."""
    with lzma.open(path, "rt", encoding="ascii") if path.suffix == ".xz" else path.open(encoding="ascii") as lines:
        yield lines
