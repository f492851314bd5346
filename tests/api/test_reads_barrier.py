# SPDX-License-Identifier: Apache-2.0
"""Readers that wait for the log: one that raises, or a stop in between, ends nobody else's read."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bidhall.api.reads import Reads
from bidhall.environment import RealEnvironment
from bidhall.replica import NotReady


class Replica:
    """A barrier that takes as long as the test wants."""

    log = None

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.fails = False

    async def barrier(self) -> None:
        await self.gate.wait()
        if self.fails:
            raise ConnectionError("gone")


@pytest.fixture
def replica() -> Replica:
    return Replica()


@pytest.fixture
def reads(replica: Replica) -> Reads:
    return Reads(replica, RealEnvironment())  # type: ignore[arg-type]


async def test_a_reader_that_raises_ends_nobody_elses_read(replica: Replica, reads: Reads) -> None:
    told: list[Any] = []
    reads.wait(lambda error: 1 // 0)  # type: ignore[arg-type, return-value]
    reads.wait(told.append)
    replica.gate.set()
    await asyncio.sleep(0.05)
    assert told == [None]
    assert reads.faults == 1
    reads.wait(told.append)
    await asyncio.sleep(0.05)
    assert told == [None, None]


async def test_who_comes_while_a_barrier_runs_waits_for_the_next(replica: Replica, reads: Reads) -> None:
    told: list[str] = []
    reads.wait(lambda error: told.append("first"))
    await asyncio.sleep(0)
    reads.wait(lambda error: told.append("second"))
    assert told == []
    replica.gate.set()
    await asyncio.sleep(0.05)
    assert told == ["first", "second"]


async def test_a_barrier_that_fails_is_tried_again_until_the_readers_time_is_over(replica: Replica) -> None:
    reads = Reads(replica, RealEnvironment(), seconds_max=0.3)  # type: ignore[arg-type]
    told: list[Any] = []
    replica.fails = True
    reads.wait(told.append)
    replica.gate.set()
    await asyncio.sleep(0.15)
    assert told == []
    await asyncio.sleep(0.3)
    assert [(error.code, error.status) for error in told] == [(-1008, 503)]
    assert (reads.is_stalled, reads.refused) == (True, 1)
    reads.wait(told.append)
    await asyncio.sleep(0.1)
    replica.fails = False
    await asyncio.sleep(0.15)
    assert told[1:] == [None]
    assert not reads.is_stalled


async def test_each_reader_has_its_own_time_when_a_barrier_hangs(replica: Replica) -> None:
    reads = Reads(replica, RealEnvironment(), seconds_max=0.4)  # type: ignore[arg-type]
    told: list[str] = []
    reads.wait(lambda error: told.append(f"first {error is None}"))
    await asyncio.sleep(0.25)
    reads.wait(lambda error: told.append(f"second {error is None}"))
    await asyncio.sleep(0.3)
    assert told == ["first False"]
    replica.gate.set()
    await asyncio.sleep(0.05)
    assert told == ["first False", "second True"]


async def test_public_reads_go_on_when_the_log_stalls_and_notice_its_end(replica: Replica) -> None:
    reads = Reads(replica, RealEnvironment(), seconds_max=0.2)  # type: ignore[arg-type]
    told: list[Any] = []
    reads.wait(told.append, is_public=True)
    await asyncio.sleep(0.1)
    assert told == []
    await asyncio.sleep(0.25)
    assert told == [None]
    assert reads.is_stalled
    reads.wait(told.append, is_public=True)
    assert told == [None, None]  # at once
    replica.gate.set()
    await asyncio.sleep(0.2)
    assert not reads.is_stalled  # nobody but public readers asked
    assert len(told) == 2


async def test_a_replica_that_ended_refuses_at_once(replica: Replica, reads: Reads) -> None:
    told: list[Any] = []

    async def ended() -> None:
        raise NotReady("it has stopped")

    replica.barrier = ended  # type: ignore[method-assign]
    reads.wait(told.append)
    await asyncio.sleep(0.05)
    assert [(error.code, error.status) for error in told] == [(-1008, 503)]


async def test_a_stop_answers_all_who_wait(replica: Replica, reads: Reads) -> None:
    told: list[Any] = []
    reads.wait(told.append)
    await asyncio.sleep(0)
    reads.wait(lambda error: 1 // 0)  # type: ignore[arg-type, return-value]
    reads.wait(told.append)
    await reads.stop()
    assert [error.code for error in told] == [-1008, -1008]
    replica.gate.set()
    await asyncio.sleep(0.05)
    assert len(told) == 2  # each once
