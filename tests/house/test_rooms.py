# SPDX-License-Identifier: Apache-2.0
"""Which room may import which (DESIGN §3), and what must not reach the pure ones."""

import re
from pathlib import Path

import pytest

from tests.house import tree

# Beside itself. `documents` is how people write things down, `environment` the one door to time, randomness, threads.
PURE = {"core", "protocol"}
ALLOWED = {
    "core": {"core"},
    "protocol": {"core"},
    "environment": set(),
    "clients": set(),
    "documents": PURE,
    "log": PURE | {"environment", "clients"},
    "replica": PURE | {"environment", "log", "clients"},
    "sinks": PURE | {"environment", "replica", "clients"},
    "api": PURE | {"environment", "replica", "sinks", "documents", "clients"},
    "seed": PURE | {"replica", "documents"},
    "demo": PURE | {"environment", "replica", "documents", "seed"},
    "settings": {"api", "replica", "sinks", "documents"},
    "cli": PURE | {"environment", "clients", "log", "replica", "sinks", "api", "documents", "seed", "demo", "settings"},
}
IMPURE = {"asyncio", "time", "os", "random", "socket", "threading", "secrets", "uuid", "datetime", "subprocess"}
# Time and randomness reach these rooms through an Environment, so that a simulator can take their place.
ENVIRONMENT_ONLY = {"time", "random", "secrets", "uuid"}
PACKAGE = "src/bidhall/"


def room_of(name: str) -> str:
    """`log` of src/bidhall/log/writer.py, and `seed` of src/bidhall/seed.py."""
    return name.removeprefix(PACKAGE).split("/")[0].removesuffix(".py")


def python_files() -> list[str]:
    found = [tree.relative(path) for path in tree.named(".py", under=PACKAGE)]
    return found + [tree.relative(path) for path in tree.named(".py", under="cython_core/")]


def rooms_imported(name: str) -> set[str]:
    modules = tree.imports(tree.ROOT / name)
    return {module.split(".")[1] for module in modules if module.startswith("bidhall.")} - {"__version__"}


@pytest.mark.parametrize("name", python_files())
def test_a_room_imports_only_what_it_may(name: str) -> None:
    room = "core" if name.startswith("cython_core/") else room_of(name)
    if room in ("__init__", "__main__"):
        return
    assert room in ALLOWED, f"{name}: a new room; say in this test what it may import"
    wrong = rooms_imported(name) - ALLOWED[room] - {room}
    assert not wrong, f"{name} is in {room} and imports {sorted(wrong)}"


@pytest.mark.parametrize("name", python_files())
def test_pure_rooms_know_no_time_no_chance_and_no_system(name: str) -> None:
    room = "core" if name.startswith("cython_core/") else room_of(name)
    top = {module.split(".")[0] for module in tree.imports(tree.ROOT / name)}
    if room in PURE:
        assert not top & IMPURE, f"{name} imports {sorted(top & IMPURE)}"
    if room in ("replica", "api", "log", "sinks"):
        assert not top & ENVIRONMENT_ONLY, f"{name} imports {sorted(top & ENVIRONMENT_ONLY)}: ask the environment"


@pytest.mark.parametrize("path", tree.named(".pyx", ".pxi", ".pxd", under="cython_core/"), ids=tree.relative)
def test_the_kernel_imports_nothing_of_the_system(path: Path) -> None:
    words = re.findall(r"^\s*(?:from|c?import)\s+([\w.]+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    system = ("posix.time", "posix.unistd", "posix.fcntl", "libc.time", "libc.math")
    assert not [word for word in words if word.split(".")[0] in IMPURE or word.startswith(system)]


def test_nobody_imports_the_folder_of_the_kernel() -> None:
    for path in tree.named(".py"):
        assert not any(module.split(".")[0] == "cython_core" for module in tree.imports(path)), tree.relative(path)


def test_the_kernel_is_in_its_place() -> None:
    link = tree.ROOT / "src/bidhall/core"
    assert link.is_symlink()
    assert str(link.readlink()) == "../../cython_core"
