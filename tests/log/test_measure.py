# SPDX-License-Identifier: Apache-2.0
"""The measurement that `benchmarks/` calls counts right."""

from typing import Any

import pytest

from bidhall.log.measure import measure_commits

from .conftest import LogMaker


@pytest.mark.parametrize(("waiters", "commands"), [(1, 1), (16, 3)])
async def test_measure_commits(make_log: LogMaker, environment: Any, waiters: int, commands: int) -> None:
    log = await make_log()
    for _ in range(2):
        before = log.head
        measured = await measure_commits(log, environment, submits=50, waiters=waiters, commands=commands)
        assert (measured.submits, measured.commands) == (50, 50 * commands)
        assert measured.batches == log.head - before - 1, "the hello is not counted"
        assert measured.batches <= 50 // waiters + 3
        assert 0 < measured.p50_us <= measured.p99_us <= measured.max_us
        assert sum(batch.entry.count for batch in log.read(before + 1)) == measured.commands
