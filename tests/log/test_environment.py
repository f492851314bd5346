# SPDX-License-Identifier: Apache-2.0
"""The real environment: its threads keep order, hand errors back, and end."""

import asyncio
import threading
import time

import pytest

from bidhall.environment import RealEnvironment


async def test_jobs_of_a_worker_run_in_order_in_one_thread_and_come_back_to_the_loop(
    environment: RealEnvironment,
) -> None:
    worker = environment.worker("test")
    here, seen, told = threading.get_ident(), [], []
    finished = asyncio.Event()

    def job(index: int) -> int:
        seen.append((index, threading.get_ident()))
        return index * index

    def done(result: int, error: BaseException | None) -> None:
        told.append((result, error, threading.get_ident()))
        if len(told) == 50:
            finished.set()

    for index in range(50):
        worker.call(lambda index=index: job(index), done)  # type: ignore[misc]
    await asyncio.wait_for(finished.wait(), 5)
    assert [index for index, _ in seen] == list(range(50))
    assert len({thread for _, thread in seen} - {here}) == 1
    assert told == [(index * index, None, here) for index in range(50)]


async def test_after_runs_in_the_thread_once_the_answer_is_on_its_way(environment: RealEnvironment) -> None:
    worker = environment.worker("test")
    done, after = asyncio.Event(), threading.Event()
    worker.call(lambda: None, lambda result, error: done.set(), lambda: (time.sleep(0.05), after.set())[1])
    await asyncio.wait_for(done.wait(), 5)
    assert not after.is_set()
    worker.close()
    assert after.is_set()


async def test_errors_come_back_and_the_thread_lives_on(environment: RealEnvironment) -> None:
    worker = environment.worker("test")
    with pytest.raises(ZeroDivisionError):
        await worker.run(lambda: 1 // 0)
    assert await worker.run(max, 3, 4) == 4


async def test_run_has_one_thread_for_each_name(environment: RealEnvironment) -> None:
    idents = [await environment.run(threading.get_ident) for _ in range(3)]
    other = await environment.run(threading.get_ident, thread="other")
    assert len({*idents, other, threading.get_ident()}) == 3
    names = await environment.run(lambda: threading.current_thread().name, thread="other")
    assert names == "bidhall-other"


async def test_close_ends_the_threads() -> None:
    environment = RealEnvironment()
    await environment.run(int)
    environment.worker("test")
    assert sum(thread.name in ("bidhall-background", "bidhall-test") for thread in threading.enumerate()) == 2
    environment.close()
    assert not any(thread.name in ("bidhall-background", "bidhall-test") for thread in threading.enumerate())


def test_a_job_whose_loop_is_gone_does_no_harm() -> None:
    environment = RealEnvironment()

    async def main() -> None:
        environment.worker("test").call(lambda: time.sleep(0.05), lambda result, error: pytest.fail("nobody waits"))

    asyncio.run(main())
    environment.close()


async def test_time_and_randomness(environment: RealEnvironment) -> None:
    assert abs(environment.wall_ns() - time.time_ns()) < 10**9
    assert environment.monotonic() <= environment.monotonic()
    assert len({environment.random_bytes(16) for _ in range(10)}) == 10
    future = environment.create_future()
    environment.call_later(0.001, future.set_result, 5)
    assert await future == 5
    task = environment.create_task(asyncio.sleep(0, 7), "test")
    assert (await task, task.get_name()) == (7, "test")
    await environment.sleep(0)
