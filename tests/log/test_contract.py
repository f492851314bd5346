# SPDX-License-Identifier: Apache-2.0
"""What every log promises, over every log there is. A new one is added to the fixture `kind` and must pass as it is."""

import asyncio
import random
from typing import Any

import pytest

from bidhall.log import CHAIN_START, Batch, Halted, Trimmed, chain_next

from .conftest import LogMaker, entry, take


def seen(batches: list[Batch]) -> list[tuple[Any, ...]]:
    return [(batch.position, batch.log_time_ns, batch.entry.raw, batch.chain) for batch in batches]


async def test_a_new_log_is_empty_and_has_an_identity(make_log: LogMaker) -> None:
    log = await make_log()
    assert (log.head, log.first, len(log.identity)) == (0, 1, 16)
    assert list(log.read(1)) == []
    assert log.holds(0, CHAIN_START)
    assert not log.holds(0, b"\1" * 16)
    assert not log.holds(1, CHAIN_START)
    assert await log.barrier() == 0


async def test_positions_count_from_one_without_a_gap_and_the_chain_runs(make_log: LogMaker) -> None:
    log = await make_log()
    before = CHAIN_START
    for number in range(1, 20):
        await log.append(entry(number, number % 4))
        assert await log.barrier() == number
        assert log.head == number
    for number, batch in enumerate(await take(log, 1, 19), 1):
        assert (batch.position, batch.entry.number) == (number, number)
        assert batch.entry.raw == entry(number, number % 4).raw
        before = chain_next(before, number, batch.log_time_ns, batch.entry.checksum)
        assert batch.chain == before
        assert log.holds(number, before)
        assert not log.holds(number, b"\2" * 16)


async def test_the_log_stamps_its_time(make_log: LogMaker, environment: Any) -> None:
    log = await make_log()
    before = environment.wall_ns()
    await log.append(entry())
    assert before <= next(log.read(1)).log_time_ns <= environment.wall_ns()


async def test_followers_from_anywhere_see_the_same(make_log: LogMaker) -> None:
    log = await make_log()
    for number in range(1, 31):
        await log.append(entry(number))
    whole = await take(log, 1, 30)
    assert [batch.position for batch in whole] == list(range(1, 31))
    for position in (2, 15, 30):
        assert seen(await take(log, position, 30)) == seen(whole[position - 1 :])
    assert seen(list(log.read(1))) == seen(whole)
    assert seen(list(log.read(7, 9))) == seen(whole[6:9])
    assert list(log.read(31)) == []
    assert list(log.read(9, 8)) == []


async def test_many_writers_many_followers_one_order(make_log: LogMaker) -> None:
    """Concurrent appends, followers that start at any time and are slow now and then: all see one order, once."""
    seed = 20
    log, draw = await make_log(), random.Random(seed)
    writers, each = 8, 25

    async def write(index: int) -> None:
        for number in range(1, each + 1):
            await log.append(entry(number, writer=bytes([index]) * 16, seed=index))
            await asyncio.sleep(0)

    async def follow(delay: float) -> list[Batch]:
        await asyncio.sleep(delay)
        batches: list[Batch] = []
        following = log.follow(1)
        async for some in following:
            batches += some
            if len(batches) >= writers * each:
                break
            await asyncio.sleep(draw.choice((0, 0, 0.001)))
        await following.aclose()
        return batches

    followers = [asyncio.create_task(follow(draw.uniform(0, 0.02))) for _ in range(5)]
    await asyncio.gather(*(write(index) for index in range(writers)))
    results = [seen(await follower) for follower in followers]
    assert all(result == results[0] for result in results), f"seed {seed}"
    assert [batch[0] for batch in results[0]] == list(range(1, writers * each + 1))
    for index in range(writers):
        mine = [batch[2] for batch in results[0] if batch[2][24:40] == bytes([index]) * 16]
        assert mine == [entry(number, writer=bytes([index]) * 16, seed=index).raw for number in range(1, each + 1)]


async def test_a_follower_far_behind_is_given_everything(make_log: LogMaker) -> None:
    """Further back than what is kept in memory."""
    log = await make_log()
    large = entry(1, 5000)
    for _ in range(12):
        await log.append(large)
    assert [batch.position for batch in await take(log, 1, 12)] == list(range(1, 13))


async def test_what_is_acknowledged_is_behind_the_barrier(make_log: LogMaker) -> None:
    log = await make_log()
    given = 0

    async def follow() -> None:
        nonlocal given
        async for some in log.follow(1):
            given = some[-1].position
            await asyncio.sleep(0.001)

    follower = asyncio.create_task(follow())
    await asyncio.sleep(0)
    for number in range(1, 31):
        await log.append(entry(number))
        position = await log.barrier()
        assert position >= number
        assert given >= number
    follower.cancel()


async def test_the_barrier_waits_for_a_slow_follower_and_not_for_one_that_left(make_log: LogMaker) -> None:
    log = await make_log()
    following = log.follow(1)
    first = asyncio.ensure_future(anext(following))
    await asyncio.sleep(0)
    await log.append(entry(1))
    await first
    await log.append(entry(2))
    barrier = asyncio.create_task(log.barrier())
    await asyncio.sleep(0.01)
    assert not barrier.done()
    assert [batch.position for batch in await anext(following)] == [2]
    assert await asyncio.wait_for(barrier, 1) == 2
    await log.append(entry(3))
    barrier = asyncio.create_task(log.barrier())
    await asyncio.sleep(0.01)
    assert not barrier.done()
    await following.aclose()
    assert await asyncio.wait_for(barrier, 1) == 3


async def test_trimming_drops_the_oldest_and_nothing_else(make_log: LogMaker) -> None:
    log = await make_log()
    for number in range(1, 201):
        await log.append(entry(number))
    whole = await take(log, 1, 200)
    await log.trim(1)
    assert log.first == 1
    await log.trim(151)
    await log.trim(20)
    assert (log.first, log.head) == (151, 200)
    assert seen(await take(log, 151, 200)) == seen(whole[150:])
    assert seen(list(log.read(160, 170))) == seen(whole[159:170])
    assert log.holds(150, whole[149].chain)
    assert log.holds(200, whole[199].chain)
    assert not log.holds(149, whole[148].chain)
    with pytest.raises(Trimmed):
        list(log.read(150))
    await log.append(entry(201))
    assert (await take(log, 201, 201))[0].position == 201


async def test_a_log_can_be_trimmed_to_nothing_and_goes_on(make_log: LogMaker) -> None:
    log = await make_log()
    for number in range(1, 6):
        await log.append(entry(number))
    chain = (await take(log, 5, 5))[0].chain
    await log.trim(100)
    assert (log.first, log.head) == (6, 5)
    assert log.holds(5, chain)
    await log.append(entry(6))
    last = next(log.read(6))
    assert last.chain == chain_next(chain, 6, last.log_time_ns, last.entry.checksum)


async def test_closing_ends_followers_and_refuses_appends(make_log: LogMaker) -> None:
    log = await make_log()
    positions: list[int] = []

    async def follow() -> None:
        async for some in log.follow(1):
            positions.extend(batch.position for batch in some)

    follower = asyncio.create_task(follow())
    await asyncio.sleep(0)
    appends = [asyncio.ensure_future(log.append(entry(number))) for number in range(1, 6)]
    await asyncio.sleep(0)
    await log.close()
    await asyncio.gather(*appends)
    await asyncio.wait_for(follower, 1)
    assert positions == [1, 2, 3, 4, 5]
    with pytest.raises(Halted):
        await log.append(entry(6))
