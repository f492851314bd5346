# SPDX-License-Identifier: Apache-2.0
"""The project's own files, for the tests of the house rules. It must never look at anything that git ignores."""

import ast
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@cache
def files() -> list[Path]:
    """Every file that is or would be committed; without git (a source archive) all but what builds make."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, check=False
    )
    if listed.returncode == 0:
        names = listed.stdout.decode().split("\0")
        return sorted(ROOT / name for name in names if name and (ROOT / name).is_file())
    built = {"build", "dist", ".venv", ".venv-tools", "__pycache__"}
    return sorted(
        path for path in ROOT.rglob("*")
        if path.is_file() and not built & set(path.relative_to(ROOT).parts) and path.suffix not in (".so", ".pyc")
    )  # fmt: skip


def named(*endings: str, under: str = "") -> list[Path]:
    """The files with one of these endings, below a folder."""
    return [path for path in files() if path.name.endswith(endings) and relative(path).startswith(under)]


def relative(path: Path) -> str:
    """As people write it."""
    return path.relative_to(ROOT).as_posix()


def text(path: Path) -> str:
    """What is in it."""
    return path.read_text(encoding="utf-8")


@cache
def parsed(path: Path) -> ast.Module:
    """A Python file's tree."""
    return ast.parse(text(path), str(path))


def imports(path: Path) -> set[str]:
    """All modules that a Python file names in an import, wherever in the file."""
    found: set[str] = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{name.name}" for name in node.names}
    return found
