# SPDX-License-Identifier: Apache-2.0
"""What every test has: a seed that is printed when the test fails, and long proofs that only run when asked for."""

import os
import zlib

import pytest


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """A number for the test's random generator: the same each time, another for each test, or BIDHALL_TEST_SEED."""
    chosen = int(os.environ.get("BIDHALL_TEST_SEED") or zlib.crc32(request.node.nodeid.encode()))
    request.node.user_properties.append(("seed", chosen))
    print(f"BIDHALL_TEST_SEED={chosen}")
    return chosen


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests marked `proof` run with `-m proof` only: make proof NAME."""
    if "proof" in config.getoption("-m"):
        return
    chosen = [item for item in items if item.get_closest_marker("proof") is None]
    if len(chosen) < len(items):
        config.hook.pytest_deselected(items=[item for item in items if item not in set(chosen)])
        items[:] = chosen
