# SPDX-License-Identifier: Apache-2.0
"""binance-connector 3.x (the former official client) trades over a real socket, from an environment of its own.

`make test` makes the environment (`make tools`, from tests/tools/binance-connector.txt); connector_script.py is what
runs in it.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.serving import ROOT, key_secret, key_text

PYTHON = ROOT / ".venv-tools" / "binance-connector" / "bin" / "python"
SCRIPT = Path(__file__).parent / "connector_script.py"
CHECKS = {
    "check_orders", "check_reads", "check_refusals", "check_market_streams", "check_user_data_by_listen_key",
    "check_websocket_api",
}  # fmt: skip


@pytest.mark.skipif(not PYTHON.exists(), reason="binance-connector's environment is missing: make tools")
def test_binance_connector(address: str) -> None:
    keys = {name: [key_text(name), key_secret(name)] for name in ("alice", "bob")}
    done = subprocess.run(
        [PYTHON, SCRIPT, address],
        env={**os.environ, "KEYS": json.dumps(keys), "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        timeout=120,
    )
    results = {line["check"]: line["fault"] for line in map(json.loads, done.stdout.splitlines())}
    assert {check: fault for check, fault in results.items() if fault} == {}, done.stderr[-2000:]
    assert results.keys() == CHECKS
    assert done.returncode == 0, done.stderr[-2000:]
