# SPDX-License-Identifier: Apache-2.0
"""What the source archive holds, and how the kernel's build behaves. The wheel itself is a proof: it compiles."""

import os
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

import pytest

from tests.serving import ROOT

pytest.importorskip("setuptools", reason="pip install setuptools")
pytest.importorskip("Cython", reason="pip install Cython")


@pytest.fixture(name="archive", scope="module")
def make_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist of a copy of what git knows."""
    copy = tmp_path_factory.mktemp("source")
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, check=False
    )
    if listed.returncode:
        pytest.skip("needs a git checkout")
    names = [name for name in listed.stdout.decode().split("\0") if name and os.path.lexists(ROOT / name)]
    packed = subprocess.run(["tar", "-c", *names], cwd=ROOT, capture_output=True, check=True)
    subprocess.run(["tar", "-x"], cwd=copy, input=packed.stdout, check=True)
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", "sdist"], cwd=copy, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return next((copy / "dist").glob("*.tar.gz"))


def test_the_source_archive_is_whole(archive: Path) -> None:
    with tarfile.open(archive) as tar:
        names = [name.split("/", 1)[-1] for name in tar.getnames()]
    for wanted in (
        "cython_core/exchange.pyx", "cython_core/records.pxd", "cython_core/memory.pxi", "cython_core/exchange.pyi",
        "cython_core/RULES.md", "src/bidhall/py.typed", "src/bidhall/cli/__init__.py", "setup.py", "LICENSE",
        "README.md", "CHANGELOG.md", "tests/house/tree.py", "Makefile",
    ):  # fmt: skip
        assert wanted in names, wanted
    assert len(names) == len(set(names))
    assert not [name for name in names if name.endswith((".so", ".c", ".pyc")) or name.startswith("src/bidhall/core/")]


@pytest.mark.proof
def test_wheel_from_the_source_archive(archive: Path, tmp_path: Path) -> None:
    """make proof wheel: sdist, wheel of it, an environment of its own, the kernel alone and the command."""
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-build-isolation", "--no-deps"]
    subprocess.run([*pip, "-w", str(tmp_path), str(archive)], check=True)
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv/bin/python"
    subprocess.run([python, "-m", "pip", "install", "-q", str(next(tmp_path.glob("*.whl")))], check=True)
    code = "from bidhall.core import Exchange, records as r; print(Exchange().apply(r.configure())['kind'].tolist())"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == "[17]\n"
    said = subprocess.run([tmp_path / "venv/bin/bidhall", "version"], capture_output=True, text=True, check=True)
    assert said.stdout.startswith("bidhall ")


def test_an_unknown_build_is_refused() -> None:
    environment = {**os.environ, "BIDHALL_BUILD": "fastest"}
    command = [sys.executable, "setup.py", "--version"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "release, debug, sanitize" in done.stderr
