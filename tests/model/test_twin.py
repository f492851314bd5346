# SPDX-License-Identifier: Apache-2.0
"""The twin is independent, and its histories are the same for ever: without that the comparison proves little."""

import ast
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.model import ModelExchange, UnknownCommand, WriterGap
from tests.model.histories import History

HERE = Path(__file__).resolve().parent
PLAIN = sorted(path.name for path in HERE.glob("*.py") if path.name not in ("__main__.py", Path(__file__).name))
ALLOWED = {"bisect", "collections", "dataclasses", "random", "struct", "typing", "tests"}


@pytest.mark.parametrize("name", PLAIN)
def test_the_twin_imports_nothing_of_ours(name: str) -> None:
    for node in ast.walk(ast.parse((HERE / name).read_text())):
        modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for module in modules:
            assert module.split(".")[0] in ALLOWED, f"{name}: {module}"
            assert not module.startswith("tests") or module.startswith("tests.model"), f"{name}: {module}"


def digest_of(seed: int, commands: int) -> str:
    """Of everything that is sent in one history."""
    twin = ModelExchange()
    history, digest = History(seed, twin), hashlib.sha256()
    while twin.sequence < commands:
        batch = history.batch()
        digest.update(repr(batch.arguments()).encode())
        try:
            twin.apply(*batch.arguments())
        except (UnknownCommand, WriterGap):
            continue
        twin.audit()
    return digest.hexdigest()


def test_a_seed_gives_the_same_history_in_every_process() -> None:
    code = "from tests.model.test_twin import digest_of; print(digest_of(3, 1500))"
    call = [sys.executable, "-c", code]
    outputs = []
    for number in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": number}
        run = subprocess.run(call, cwd=HERE.parents[1], env=environment, stdout=subprocess.PIPE, check=True)
        outputs.append(run.stdout)
    assert outputs[0] == outputs[1]
    assert outputs[0].decode().strip() == digest_of(3, 1500)


def test_seeds_differ() -> None:
    assert len({digest_of(seed, 50) for seed in range(20)}) == 20
