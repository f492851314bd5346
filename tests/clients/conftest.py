# SPDX-License-Identifier: Apache-2.0
"""A real server process for the client libraries: one for each test module, two funded accounts, checked exit.

pytest loads it for tests/clients. The libraries are configured by the snippets of the README, to the letter; it must
never patch the server or a library beyond them.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving import ServerProcess, seed_document, serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Ready, with alice and bob."""
    folder: Path = tmp_path_factory.mktemp("clients") / "bidhall"
    with serving(folder, seed=seed_document(("alice", "bob"))) as process:
        yield process


@pytest.fixture
def address(server: ServerProcess) -> str:
    """`H` of the snippets."""
    return f"{server.host}:{server.port}"
