# SPDX-License-Identifier: Apache-2.0
"""What every file must have, and what no file may have."""

import ast
import re
from pathlib import Path

import pytest

from tests.house import tree

LINES_MAX = 800  # about 500 is the rule; past this a file is two
SOURCE = (".py", ".pyx", ".pxi", ".pxd", ".pyi", ".sh", ".js", ".sql", "Dockerfile", "Makefile", ".toml",
          ".ci/run", ".ci/image")  # fmt: skip
LEFT_FOR_LATER = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")) + r")\b")
THIS_MACHINE = re.compile(r"(/ro" + r"ot/|/ho" + r"me/[a-z]+/|/tm" + r"p/[a-z0-9_]+/)")
PACKAGE = [*tree.named(".py", under="src/"), *tree.named(".py", under="cython_core/")]
KERNEL = tree.named(".pyx", ".pxi", ".pxd", ".py", ".pyi", under="cython_core/")
BUILT = (".so", ".pyc", ".c", ".o", ".whl", ".sqlite")


def sources() -> list[Path]:
    return [path for path in tree.files() if tree.relative(path).endswith(SOURCE) and path.stat().st_size]


@pytest.mark.parametrize("path", sources(), ids=tree.relative)
def test_spdx_line(path: Path) -> None:
    assert "SPDX-License-Identifier: Apache-2.0" in "\n".join(tree.text(path).splitlines()[:2])


@pytest.mark.parametrize("path", PACKAGE, ids=tree.relative)
def test_docstring(path: Path) -> None:
    """Each file says what it is, who calls it, what it must never do."""
    assert ast.get_docstring(tree.parsed(path)), "no docstring"


@pytest.mark.parametrize("path", tree.named(".py", ".pyx", ".pxi", ".pxd", ".pyi", ".js"), ids=tree.relative)
def test_length(path: Path) -> None:
    lines = len(tree.text(path).splitlines())
    assert lines <= LINES_MAX, f"{lines} lines"


def test_nothing_is_left_for_later() -> None:
    kinds = (".py", ".pyx", ".pxi", ".pxd", ".pyi", ".js", ".sql", "Makefile", "Dockerfile")
    found = [
        f"{tree.relative(path)}:{number}: {line.strip()}"
        for path in tree.named(*kinds)
        for number, line in enumerate(tree.text(path).splitlines(), 1)
        if LEFT_FOR_LATER.search(line)
    ]
    assert not found, "\n".join(found)


def test_no_path_of_somebodys_machine() -> None:
    found = []
    for path in tree.files():
        if path.name == "CHANGELOG.md" or path.is_symlink():
            continue
        try:
            content = tree.text(path)
        except UnicodeDecodeError:
            continue
        found += [
            f"{tree.relative(path)}:{number}: {line.strip()[:120]}"
            for number, line in enumerate(content.splitlines(), 1)
            if THIS_MACHINE.search(line)
        ]
    assert not found, "\n".join(found)


def test_nothing_built_is_committed() -> None:
    assert not [tree.relative(path) for path in tree.files() if path.suffix in BUILT]


@pytest.mark.parametrize("path", KERNEL, ids=tree.relative)
def test_the_kernel_knows_no_floating_point(path: Path) -> None:
    text = re.sub(r'"""(?:.|\n)*?"""|#.*|"[^"\n]*"', "", tree.text(path))
    found = re.findall(r".*\b(?:float|double|libc\.math)\b.*|.*\b\d+\.\d+\b.*", text)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("path", tree.named(".py", under="src/bidhall/replica/"), ids=tree.relative)
def test_the_replica_keeps_floats_to_seconds(path: Path) -> None:
    """`float` may be an annotation of a time, nothing else; no value is made one, and nothing is divided into one."""
    for node in ast.walk(tree.parsed(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "float", f"line {node.lineno}: float()"
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and not is_path(node):
            raise AssertionError(f"line {node.lineno}: / makes a float; money is divided with //")


def is_path(node: ast.BinOp) -> bool:
    """`folder / "name"`, or seconds divided for people."""
    text = ast.unparse(node)
    return bool(re.search(r"folder|path|directory|['\"]|second|_s\b|monotonic|wall_ns", text, re.IGNORECASE))
