# SPDX-License-Identifier: Apache-2.0
"""The table of README.md is honest: it names every test of this folder once, and no test that is not there."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

HERE = Path(__file__).parent
NAME = re.compile(r"`(test_\w+)`")


def test_the_table_names_every_test_once() -> None:
    written = {
        node.name
        for path in HERE.glob("test_*.py")
        if path.name != Path(__file__).name
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_")
    }
    rows = [line for line in (HERE / "README.md").read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    named = Counter(name for line in rows for name in NAME.findall(line))
    assert set(named) == written
    assert [name for name, times in named.items() if times > 1] == []
