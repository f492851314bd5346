# SPDX-License-Identifier: Apache-2.0
"""A real server process for the client libraries: one for each test module, five funded accounts, checked exit.

pytest loads it for tests/clients. The libraries are configured by pointing.py; it must never patch the server or a
library beyond that.
"""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.pointing import ED25519, RSA, public_pem
from tests.serving import ServerProcess, key_text, seed_document, serving

HERE = Path(__file__).parent
# Client libraries that run a loop in a thread of theirs (python-binance's threaded sockets, unicorn) leave it and its
# connections to the collector. That is told here, where it happens, and not in whatever test is collected in later.
FORGIVEN = ("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            for warning in FORGIVEN:
                item.add_marker(pytest.mark.filterwarnings(warning))


@pytest.fixture(autouse=True, scope="module")
def collected() -> Iterator[None]:
    """What the libraries left is collected before other tests run."""
    yield
    for _ in range(3):
        gc.collect()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Ready, with alice, bob and dave, who sign by HMAC, carol, who signs by Ed25519, and erin, who signs by RSA."""
    document = seed_document(("alice", "bob", "dave", ED25519, RSA))
    for account in document["accounts"]:
        if account["name"] in (ED25519, RSA):
            account["keys"] = [{"key": key_text(account["name"]), "public_key": public_pem(account["name"])}]
    folder: Path = tmp_path_factory.mktemp("clients") / "bidhall"
    with serving(folder, seed=document) as process:
        yield process


@pytest.fixture
def address(server: ServerProcess) -> str:
    """`H` of the snippets."""
    return f"{server.host}:{server.port}"
