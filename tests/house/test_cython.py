# SPDX-License-Identifier: Apache-2.0
"""Cython has nothing to say about the kernel: a performance hint means the interpreter's lock on the hot path."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house import tree

pytest.importorskip("Cython", reason="pip install Cython")


def directives() -> dict[str, object]:
    """The one dictionary in setup.py."""
    for node in tree.parsed(tree.ROOT / "setup.py").body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "DIRECTIVES":
            found: dict[str, object] = ast.literal_eval(node.value)
            return found
    raise AssertionError("setup.py has no DIRECTIVES")


@pytest.mark.parametrize("path", tree.named(".pyx", under="cython_core/"), ids=tree.relative)
def test_no_hints_and_no_warnings(path: Path, tmp_path: Path) -> None:
    options = [argument for name, value in directives().items() for argument in ("-X", f"{name}={value}")]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "cython", "-3", "-I", "src", "-I", "cython_core", *options),
            *("--module-name", f"bidhall.core.{path.stem}", "-o", str(tmp_path / "out.c"), str(path)),
        ],
        cwd=tree.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "performance hint" not in said, said
    assert "warning:" not in said, said


def test_no_directives_in_the_files() -> None:
    """One dictionary for all of them: setup.py's."""
    for path in tree.named(".pyx", ".pxi", ".pxd", under="cython_core/"):
        head = tree.text(path).splitlines()[:10]
        assert not [line for line in head if line.replace(" ", "").startswith("#cython:")], tree.relative(path)
