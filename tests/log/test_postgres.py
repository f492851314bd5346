# SPDX-License-Identifier: Apache-2.0
"""What only a log on PostgreSQL can meet: holes, closed positions, cuts, blockers, failover, the wrong servers."""

import asyncio
import os
import random

import pytest

from bidhall.clients.postgres import Trouble, connect, each_host
from bidhall.environment import RealEnvironment
from bidhall.log import Halted, PostgresLog, Unknown
from bidhall.log.postgres_schema import SCHEMA_VERSION, migrate, version_of
from tests import postgres
from tests.proxy import Proxy

from .conftest import entry, new_log_url, take

pytestmark = pytest.mark.skipif(postgres.binaries() is None, reason=postgres.MISSING)


async def opened(url: str, environment: RealEnvironment, **options: float) -> PostgresLog:
    log = PostgresLog(url, environment, **options)
    await log.open()
    return log


async def test_a_hole_is_closed_and_everybody_sees_the_same(
    database_server: postgres.Server, environment: RealEnvironment
) -> None:
    """Positions that nobody will ever fill, as after a writer's death or a crash that skips 32."""
    url = await new_log_url(database_server)
    one, other = await opened(url, environment), await opened(url, environment)
    connection = await connect(url)
    await one.append(entry(1))
    await connection.execute("SELECT nextval('log_position')")
    await other.append(entry(2))
    await connection.execute("SELECT setval('log_position', 35)")
    await one.append(entry(3))
    for log in (one, other):
        batches = await asyncio.wait_for(take(log, 1, 36), 5)
        assert [batch.position for batch in batches] == list(range(1, 37))
        assert [batch.position for batch in batches if not batch.entry.is_hole] == [1, 3, 36]
    assert one.holds(36, (await take(other, 1, 36))[-1].chain)
    assert one.holes_closed + other.holes_closed == 33
    for log in (one, other):
        await log.close()
    await connection.close()


async def test_a_writer_whose_position_was_closed_appends_again(
    database_server: postgres.Server, environment: RealEnvironment
) -> None:
    url = await new_log_url(database_server)
    log = await opened(url, environment)
    connection = await connect(url)
    await connection.execute("INSERT INTO log_batch VALUES (1, 0, '\\x" + entry(9).raw.hex() + "')")
    await log.append(entry(1))
    assert [batch.entry.number for batch in await asyncio.wait_for(take(log, 1, 2), 5)] == [9, 1]
    await log.close()
    await connection.close()


async def test_a_commit_that_waits_holds_the_later_ones_back_and_is_not_overtaken(
    database_server: postgres.Server, environment: RealEnvironment
) -> None:
    """Its position is not closed while its transaction lives; when it commits it has its place."""
    url = await new_log_url(database_server)
    log = await opened(url, environment)
    slow = await connect(url)
    await slow.execute(
        "BEGIN; INSERT INTO log_batch VALUES (nextval('log_position'), 1, '\\x" + entry(1).raw.hex() + "')"
    )
    commit = asyncio.create_task(slow.execute("SELECT pg_sleep(0.15); COMMIT"))
    await asyncio.sleep(0.01)
    await log.append(entry(2))
    assert await log.barrier() == 0
    await commit
    assert [batch.entry.number for batch in await asyncio.wait_for(take(log, 1, 2), 5)] == [1, 2]
    assert (log.holes_closed, log.blockers_ended) == (0, 0)
    await log.close()
    await slow.close()


async def test_a_session_that_forgot_its_transaction_is_ended(
    database_server: postgres.Server, environment: RealEnvironment
) -> None:
    url = await new_log_url(database_server)
    log = await opened(url, environment)
    stranger = await connect(url)
    await stranger.execute("BEGIN; INSERT INTO log_batch VALUES (nextval('log_position'), 1, '\\x00')")
    await log.append(entry(2))
    batches = await asyncio.wait_for(take(log, 1, 2), 10)
    assert [batch.entry.is_hole for batch in batches] == [True, False]
    assert log.blockers_ended == 1
    stranger.abort()
    await log.close()


async def test_an_append_cut_at_any_byte_is_there_whole_or_not_at_all(
    database_server: postgres.Server, environment: RealEnvironment
) -> None:
    """And it leaves no transaction behind. Every cut is followed by the same bytes again, as the writer does it."""
    seed = 31
    draw = random.Random(seed)
    url = await new_log_url(database_server)
    with Proxy(database_server.port) as proxy:
        log = await opened(url.replace(f":{database_server.port}/", f":{proxy.port}/"), environment)
        size = len(entry(1).raw) * 2 + 130
        places = [*sorted(draw.sample(range(size), 60)), 0, 1, 4, 5, size - 2, size - 1]
        for number, place in enumerate(places, 1):
            proxy.cut = lambda data, place=place: place if b"INSERT INTO log_batch" in data else None
            with pytest.raises(Unknown):
                await log.append(entry(number))
            proxy.cut = None
            await log.append(entry(number))
        await asyncio.wait_for(take(log, 1, log.head), 5)  # which reads again
        await log.barrier()
        numbers = [batch.entry.number for batch in log.read(1) if not batch.entry.is_hole]
        assert sorted(set(numbers)) == list(range(1, len(places) + 1)), f"seed {seed}"
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'"
        assert database_server.query(waiting) == "0"
        await log.close()


async def test_when_the_connection_is_lost_followers_are_told_and_can_go_on(
    database_server: postgres.Server, environment: RealEnvironment
) -> None:
    url = await new_log_url(database_server)
    with Proxy(database_server.port) as proxy:
        log = await opened(url.replace(f":{database_server.port}/", f":{proxy.port}/"), environment)
        await log.append(entry(1))
        following = log.follow(1)
        assert [batch.position for batch in await anext(following)] == [1]
        proxy.refusing = True
        proxy.drop_all()
        with pytest.raises(Unknown):
            await asyncio.wait_for(anext(following), 5)
        with pytest.raises(Unknown):
            await log.append(entry(2))
        with pytest.raises(Unknown):
            await log.barrier()
        with pytest.raises(Unknown):
            await anext(log.follow(2))
        proxy.refusing = False
        await log.append(entry(2))
        assert [batch.position for batch in await asyncio.wait_for(take(log, 2, 2), 5)] == [2]
        assert await log.barrier() == 2
        await log.close()


async def test_a_failover_loses_nothing_that_was_acknowledged(environment: RealEnvironment) -> None:
    """The primary is killed under load, its synchronous standby is promoted; the same log goes on there."""
    primary = postgres.Server.make()
    standby = primary.standby()
    database = primary.new_database()
    url = primary.dsn(database, standby)
    connection = await connect(url)
    await migrate(connection, os.urandom(16))
    await connection.close()
    log = await opened(url, environment)
    acknowledged: list[int] = []
    underway = asyncio.Event()

    async def append_all() -> None:
        for number in range(1, 301):
            while True:
                try:
                    await log.append(entry(number))
                    break
                except Unknown:
                    await asyncio.sleep(0.01)
            acknowledged.append(number)
            if len(acknowledged) == 100:
                underway.set()

    appending = asyncio.create_task(append_all())
    await underway.wait()
    primary.kill()
    await asyncio.to_thread(standby.promote)
    await asyncio.wait_for(appending, 30)
    numbers: list[int] = []
    following = log.follow(1)
    while 300 not in numbers:
        numbers += [batch.entry.number for batch in await anext(following) if not batch.entry.is_hole]
    await following.aclose()
    assert list(dict.fromkeys(numbers)) == list(range(1, 301))  # a repeat may stand behind its first, never before
    await log.close()
    for server in (primary, standby):
        server.remove()


async def test_what_cannot_hold_a_log_is_refused(
    database_server: postgres.Server, environment: RealEnvironment
) -> None:
    url = database_server.dsn(database_server.new_database())
    with pytest.raises(Halted, match="bidhall migrate"):
        await opened(url, environment)
    url = await new_log_url(database_server)
    connection = await connect(url)
    await connection.execute("INSERT INTO log_batch VALUES (7, 0, '\\x" + entry(1).raw.hex() + "')")
    with pytest.raises(Halted, match="log_position stands at 0, behind position 7"):
        await opened(url, environment)
    with pytest.raises(Halted, match="cannot be reached"):
        await opened(url.replace(f":{database_server.port}/", f":{postgres.free_port()}/"), environment)
    await connection.close()


async def test_a_server_without_fsync_is_refused(environment: RealEnvironment) -> None:
    server = postgres.Server.make(fsync="off")
    url = await new_log_url(server)
    with pytest.raises(Halted, match="fsync=off"):
        await opened(url, environment)
    server.remove()


async def test_another_log_under_the_same_name_halts(
    database_server: postgres.Server, environment: RealEnvironment
) -> None:
    url = await new_log_url(database_server)
    with Proxy(database_server.port) as proxy:
        log = await opened(url.replace(f":{database_server.port}/", f":{proxy.port}/"), environment)
        await log.append(entry(1))
        connection = await connect(url)
        await connection.execute("UPDATE log_identity SET identity = '\\x" + bytes(16).hex() + "'")
        proxy.drop_all()
        with pytest.raises((Halted, Unknown)):
            await log.append(entry(2))
        with pytest.raises(Halted, match="another log"):
            await log.append(entry(2))
        await connection.close()
        await log.close()


async def test_migrations_are_made_once(database_server: postgres.Server) -> None:
    url = database_server.dsn(database_server.new_database())
    connections = [await connect(url) for _ in range(4)]
    assert await version_of(connections[0]) == 0
    done = await asyncio.gather(
        *(migrate(connection, os.urandom(16)) for connection in connections), return_exceptions=True
    )
    assert done.count(0) == 1
    assert [await version_of(connection) for connection in connections] == [SCHEMA_VERSION] * 4
    assert await migrate(connections[0], os.urandom(16)) == SCHEMA_VERSION
    for connection in connections:
        await connection.close()


def test_a_dsn_of_several_hosts_is_one_of_each() -> None:
    assert each_host("postgresql://me:s@x@a:1,b:2/log?sslmode=disable") == [
        "postgresql://me:s@x@a:1/log?sslmode=disable",
        "postgresql://me:s@x@b:2/log?sslmode=disable",
    ]
    assert each_host("postgresql://a,b?user=me") == ["postgresql://a?user=me", "postgresql://b?user=me"]
    assert each_host("postgresql://me@a/log") == ["postgresql://me@a/log"]


async def test_a_host_that_hangs_does_not_keep_from_the_one_that_works(database_server: postgres.Server) -> None:
    with Proxy(database_server.port) as hanging:
        hanging.stall(True)
        dsn = database_server.dsn("postgres").replace("@", f"@127.0.0.1:{hanging.port},")
        connection = await asyncio.wait_for(connect(dsn), 3)
        assert connection.server.endswith(f"{database_server.port})")
        await connection.close()


async def test_a_statement_that_hangs_ends_with_its_connection(database_server: postgres.Server) -> None:
    connection = await connect(database_server.dsn("postgres"), statement_seconds_max=0.2)
    with pytest.raises(Trouble):
        await asyncio.wait_for(connection.fetch("SELECT pg_sleep(20)"), 3)
    assert connection.is_closed
