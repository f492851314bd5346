# SPDX-License-Identifier: Apache-2.0
"""The kernel under AddressSanitizer and UndefinedBehaviorSanitizer, auditing itself after every command.

The sanitizer build is the debug build too (BIDHALL_DEBUG): conservation of funds, locks, books and indexes are checked
after each command and a failed check aborts the process. It is compiled into a tree of its own, so that the release
build beside it is left alone, and driven by seeds against the plain twin in a process with the runtimes preloaded.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TREE = ROOT / "build" / "sanitize"
SEEDS = (1, 2, 3)
COMMANDS = 4000


def runtime(name: str) -> str:
    found = subprocess.run(["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True)
    return found.stdout.strip()


def plant_tree() -> None:
    (TREE / "src" / "bidhall").mkdir(parents=True, exist_ok=True)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, TREE / name)
    shutil.copy2(ROOT / "src" / "bidhall" / "__init__.py", TREE / "src" / "bidhall" / "__init__.py")
    core = TREE / "cython_core"
    core.mkdir(exist_ok=True)
    for source in (ROOT / "cython_core").iterdir():
        if source.suffix in (".py", ".pyx", ".pxi", ".pxd") and not source.name.startswith(("views", "wire")):
            shutil.copy2(source, core / source.name)
    link = TREE / "src" / "bidhall" / "core"
    if not link.is_symlink():
        link.symlink_to("../../cython_core")


@pytest.fixture(scope="module")
def sanitized() -> dict[str, str]:
    """The environment in which `bidhall.core` is the sanitizer build."""
    if shutil.which("gcc") is None:
        pytest.skip("no gcc: apt-get install gcc")
    preload = [runtime("libasan.so"), runtime("libubsan.so")]
    if not all(Path(path).is_absolute() for path in preload):
        pytest.skip("no sanitizer runtimes: apt-get install libasan8 libubsan1")
    plant_tree()
    built = subprocess.run(
        [sys.executable, "setup.py", "build_ext", "--inplace"],
        cwd=TREE,
        env={**os.environ, "BIDHALL_BUILD": "sanitize"},
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr[-3000:]
    return {
        **os.environ,
        "PYTHONPATH": f"{TREE / 'src'}{os.pathsep}{ROOT}",
        "LD_PRELOAD": " ".join(preload),
        "ASAN_OPTIONS": "detect_leaks=0",
        "PYTHONMALLOC": "malloc",
    }


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_sanitizer_build_is_the_one_under_test(sanitized: dict[str, str]) -> None:
    where = subprocess.run(
        [sys.executable, "-c", "import bidhall.core.exchange as e; print(e.__file__)"],
        cwd=TREE,
        env=sanitized,
        capture_output=True,
        text=True,
    )
    assert str(TREE) in where.stdout, where.stdout + where.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", SEEDS)
def test_generated_histories_hold_under_the_sanitizers(sanitized: dict[str, str], seed: int) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tests.model", str(seed), str(COMMANDS)],
        cwd=ROOT,
        env=sanitized,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, f"seed {seed}\n{run.stdout[-2000:]}\n{run.stderr[-4000:]}"
