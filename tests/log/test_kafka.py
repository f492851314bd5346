# SPDX-License-Identifier: Apache-2.0
"""What only a log on Kafka can meet: barriers between entries, brokers that go, topics that cannot hold a log.

Most of it over a real broker. What Tansu cannot show (three replicas, the broker's time, a partition that begins later,
a new leader, a stranger's record) is shown by `Partition`, which holds records as a broker does.
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from bidhall.clients import kafka as client_module
from bidhall.clients.kafka import Client, Delivery, Facts, Polled, Record, Trouble, connect
from bidhall.environment import RealEnvironment
from bidhall.log import Batch, Corrupt, Halted, KafkaLog, LogFault, Unknown, kafka_records, kafka_topic
from bidhall.log.kafka_records import BARRIER, ENTRY, START, Cursor, History, Place, pack
from tests import kafka
from tests.proxy import Proxy

from .conftest import entry

needs_broker = pytest.mark.skipif(kafka.binary() is None, reason=kafka.MISSING)
needs_store = pytest.mark.skipif(kafka.store_program() is None, reason=kafka.STORE_MISSING)
GOOD = Facts(
    bytes(range(16)), 1, 3,
    {
        "cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1", "min.insync.replicas": "2",
        "message.timestamp.type": "LogAppendTime", "unclean.leader.election.enable": "false",
        "max.message.bytes": "1048588",
    },
)  # fmt: skip
URL = "kafka://127.0.0.1:1/topic"


class Partition:
    """A cluster with one topic, as a `Client` shows it."""

    def __init__(self, facts: Facts | None = GOOD) -> None:
        self.known = facts
        self.records: list[Record] = []
        self.low = 0
        self.epoch = 4
        self.time_ms = 1_000_000
        self.trouble: Trouble | None = None
        self.is_holding = False  # acknowledgements
        self.hidden = False  # what is committed from now on is not read yet

    def add(self, value: bytes, *, is_broker_time: bool = True) -> int:
        offset = self.records[-1].offset + 1 if self.records else self.low
        self.time_ms += 1
        self.records.append(Record(offset, self.time_ms, is_broker_time, self.epoch, value))
        return offset

    def client(self, *_: Any) -> Client:
        return self

    def facts(self) -> Facts | None:
        return self.known

    def create(self, replicas: int, settings: Mapping[str, str]) -> None:
        self.known = Facts(GOOD.identity, 1, replicas, settings)

    def delete_before(self, offset: int) -> None:
        self.low = offset
        self.records = [record for record in self.records if record.offset >= offset]

    def producer(self) -> "PartitionProducer":
        return PartitionProducer(self)

    def consumer(self) -> "PartitionConsumer":
        return PartitionConsumer(self)


class PartitionProducer:
    def __init__(self, partition: Partition) -> None:
        self.partition = partition
        self.done: list[Delivery] = []

    def send(self, value: bytes, token: int) -> None:
        if self.partition.trouble is None:
            self.done.append(Delivery(token, self.partition.add(value), None))
        else:
            self.done.append(Delivery(token, -1, self.partition.trouble))

    def poll(self, seconds: float) -> list[Delivery]:
        if self.partition.is_holding:
            time.sleep(0.001)
            return []
        done, self.done = self.done, []
        return done

    def close(self) -> None:
        self.done = []


class PartitionConsumer:
    """Gives a few records at a time."""

    def __init__(self, partition: Partition) -> None:
        self.partition = partition
        self.offset = 0

    def ends(self) -> tuple[int, int]:
        records = self.partition.records
        return self.partition.low, records[-1].offset + 1 if records else self.partition.low

    def seek(self, offset: int) -> None:
        self.offset = offset

    def poll(self, seconds: float) -> Polled:
        if self.offset < self.partition.low:
            raise Trouble("offset out of range")
        found = [record for record in self.partition.records if record.offset >= self.offset][:7]
        if self.partition.hidden:
            found = []
        if found:
            self.offset = found[-1].offset + 1
        else:
            time.sleep(0.0005)
        return Polled(found, not found or self.offset == self.ends()[1])

    def close(self) -> None:
        self.offset = -1


async def opened(url: str, environment: RealEnvironment, **options: Any) -> KafkaLog:
    log = KafkaLog(url, environment, **options)
    await log.open()
    return log


async def upto(log: KafkaLog, number: int, first: int = 1) -> list[Batch]:
    """What is there from `first` on, until an entry of that number came."""
    batches: list[Batch] = []
    following = log.follow(first)
    async for some in following:
        batches += some
        if any(batch.entry.number == number for batch in some):
            break
    await following.aclose()
    return batches


async def append_all(log: KafkaLog, numbers: Iterator[int], acknowledged: list[int]) -> None:
    """As the writer does it: the very same bytes again after every Unknown."""
    for number in numbers:
        while True:
            try:
                await log.append(entry(number))
                break
            except Unknown:
                await asyncio.sleep(0.01)
        acknowledged.append(number)


def once(batches: list[Batch]) -> list[int]:
    """Numbers in order, as the kernel applies them: a repeat behind its first is dropped."""
    return list(dict.fromkeys(batch.entry.number for batch in batches))


def impatient(servers: str, topic: str, settings: Mapping[str, str]) -> Client:
    """Gives a record up after two seconds; and lets the broker wait longer, which reads its store again every time."""
    return connect(servers, topic, {**settings, "message.timeout.ms": "2000", "fetch.wait.max.ms": "100"})


# --- over a real broker ----------------------------------------------------------------------------------------------


@needs_broker
async def test_barriers_take_no_position_and_all_tasks_read_one_history(
    broker: kafka.Broker, environment: RealEnvironment
) -> None:
    url = broker.new_log_url()
    one, other = await opened(url, environment), await opened(url, environment)
    assert one.identity == other.identity
    assert one.identity != (await opened_and_closed(broker.new_log_url(), environment)).identity
    for number in range(1, 31):
        await (one if number % 3 else other).append(entry(number))
        assert await asyncio.gather(one.barrier(), other.barrier(), other.barrier()) == [number] * 3
    batches = await upto(one, 30)
    assert [batch.position for batch in batches] == [batch.entry.number for batch in batches] == list(range(1, 31))
    for batch in batches:
        assert other.holds(batch.position, batch.chain)
    late = await opened(url, environment)
    assert (late.head, [batch.chain for batch in late.read(1)]) == (30, [batch.chain for batch in batches])
    for log in (one, other, late):
        await log.close()


async def opened_and_closed(url: str, environment: RealEnvironment) -> KafkaLog:
    log = await opened(url, environment)
    await log.close()
    return log


@pytest.mark.proof
@needs_broker
async def test_connections_that_are_cut_lose_nothing_and_leave_no_gap(environment: RealEnvironment) -> None:
    """At any byte of a request, again and again; the producer's own repeats put nothing there twice."""
    seed = 41
    draw = random.Random(seed)
    port = kafka.free_port()
    with Proxy(port) as proxy:
        broker = kafka.Broker.make(port=port, advertised=proxy.port)
        log = await opened(broker.new_log_url(), environment)
        proxy.cut = lambda data: draw.randrange(len(data)) if b"bidK" in data and draw.random() < 0.2 else None
        acknowledged: list[int] = []
        await asyncio.wait_for(append_all(log, iter(range(1, 61)), acknowledged), 20)
        proxy.cut = None
        batches = await asyncio.wait_for(upto(log, 60), 5)
        assert proxy.cuts > 5, f"seed {seed}"
        assert once(batches) == acknowledged == list(range(1, 61)), f"seed {seed}"
        assert [batch.position for batch in batches] == list(range(1, len(batches) + 1))
        await log.close()
        broker.remove()


@pytest.mark.proof
@needs_broker
async def test_after_unknown_the_same_bytes_may_be_there_twice_and_never_out_of_order(
    environment: RealEnvironment,
) -> None:
    port = kafka.free_port()
    with Proxy(port) as proxy:
        broker = kafka.Broker.make(port=port, advertised=proxy.port)
        log = await opened(broker.new_log_url(), environment, connect=impatient)
        await append_all(log, iter((1,)), [])
        proxy.stall(True)  # what is sent from now on arrives, but late
        with pytest.raises(Unknown):
            await log.append(entry(2))
        proxy.stall(False)
        acknowledged: list[int] = []
        await asyncio.wait_for(append_all(log, iter((2, 3)), acknowledged), 10)
        batches = await asyncio.wait_for(upto(log, 3), 5)
        assert once(batches) == [1, 2, 3]
        twice = [batch.entry.raw for batch in batches if batch.entry.number == 2]
        assert len(twice) >= 2
        assert set(twice) == {entry(2).raw}
        await log.close()
        broker.remove()


@pytest.mark.proof
@needs_broker
async def test_when_no_broker_answers_followers_are_told_and_can_go_on(environment: RealEnvironment) -> None:
    port = kafka.free_port()
    with Proxy(port) as proxy:
        broker = kafka.Broker.make(port=port, advertised=proxy.port)
        log = await opened(broker.new_log_url(), environment, connect=impatient)
        await append_all(log, iter((1,)), [])
        following = log.follow(1)
        assert {batch.entry.number for batch in await anext(following)} == {1}
        proxy.refusing = True
        proxy.drop_all()
        with pytest.raises(Unknown):
            await asyncio.wait_for(anext(following), 5)
        with pytest.raises(Unknown):
            await log.barrier()
        with pytest.raises(Unknown):
            await log.append(entry(2))
        proxy.refusing = False
        await append_all(log, iter((2,)), [])
        assert once(await asyncio.wait_for(upto(log, 2), 10)) == [1, 2]
        assert await log.barrier() >= 2
        await log.close()
        broker.remove()


@needs_broker
@needs_store
@pytest.mark.proof
async def test_a_broker_that_is_killed_under_load_loses_nothing_that_was_acknowledged(
    environment: RealEnvironment,
) -> None:
    """Killed and started again three times while two tasks append; then read by one that has just come."""
    store = kafka.ObjectStore.make()
    broker = kafka.Broker.make(store)
    url = broker.new_log_url()
    logs = [await opened(url, environment, connect=impatient) for _ in range(2)]
    acknowledged: list[list[int]] = [[], []]
    appending = [
        asyncio.create_task(append_all(log, iter(range(start, start + 40)), taken))
        for log, taken, start in zip(logs, acknowledged, (1, 1001), strict=True)
    ]
    for reached in (10, 20, 30):
        while min(map(len, acknowledged)) < reached:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await asyncio.to_thread(broker.kill)
        await asyncio.sleep(0.05)
        await asyncio.to_thread(broker.start)
    await asyncio.wait_for(asyncio.gather(*appending), 30)
    late = await opened(url, environment, connect=impatient)
    batches = await asyncio.to_thread(lambda: list(late.read(1)))
    assert [batch.position for batch in batches] == list(range(1, len(batches) + 1))
    numbers = once(batches)
    assert [number for number in numbers if number < 1000] == list(range(1, 41)) == acknowledged[0]
    assert [number for number in numbers if number > 1000] == list(range(1001, 1041)) == acknowledged[1]
    for log in logs:
        assert log.holds(batches[-1].position, batches[-1].chain)
    for log in (*logs, late):
        await log.close()
    broker.remove()
    store.remove()


@needs_broker
async def test_what_cannot_hold_a_log_is_refused(
    broker: kafka.Broker, environment: RealEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Halted, match="there is no topic 'nothing'"):
        await opened(f"kafka://{broker.servers}/nothing?development=1", environment)
    url = broker.new_log_url()
    with pytest.raises(Halted, match=r"has 1 replicas, not 3.*min\.insync.replicas is below 2"):
        await opened(url.partition("?")[0], environment)
    client = connect(broker.servers, "kept-a-week", {})
    client.create(1, {"cleanup.policy": "delete", "retention.ms": "604800000"})
    with pytest.raises(Halted, match=r"retention\.ms is 604800000 and must be -1"):
        await opened(f"kafka://{broker.servers}/kept-a-week?development=1", environment)
    monkeypatch.setattr(client_module, "ANSWER_SECONDS", 0.5)
    with pytest.raises(Halted, match="Kafka cannot be reached"):
        await opened(f"kafka://127.0.0.1:{kafka.free_port()}/topic?development=1", environment)


# --- over a model of what a broker holds -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda facts: facts._replace(replicas=2), "2 replicas"),
        (lambda facts: facts._replace(partitions=3), "3 partitions"),
        (lambda facts: facts._replace(identity=b""), "no id"),
        ({"min.insync.replicas": "1"}, "min.insync.replicas"),
        ({"min.insync.replicas": None}, "min.insync.replicas"),
        ({"unclean.leader.election.enable": "true"}, "unclean.leader.election.enable is true"),
        ({"unclean.leader.election.enable": None}, "unclean.leader.election.enable is not told"),
        ({"retention.ms": "604800000"}, "retention.ms is 604800000"),
        ({"retention.bytes": "1000"}, "retention.bytes is 1000"),
        ({"message.timestamp.type": "CreateTime"}, "message.timestamp.type is CreateTime"),
        ({"cleanup.policy": "compact"}, "cleanup.policy is compact"),
        ({"cleanup.policy": "compact,delete"}, "cleanup.policy is compact,delete"),
        ({"max.message.bytes": "500000"}, "max.message.bytes"),
    ],
)
async def test_a_topic_that_could_lose_a_batch_is_refused(change: Any, said: str, environment: RealEnvironment) -> None:
    if callable(change):
        facts = change(GOOD)
    else:
        settings = {**GOOD.settings, **change}
        facts = GOOD._replace(settings={name: value for name, value in settings.items() if value is not None})
    with pytest.raises(Halted, match=said):
        await opened(URL, environment, connect=Partition(facts).client)


async def test_the_topic_that_is_made_is_one_that_is_taken(environment: RealEnvironment) -> None:
    partition = Partition(None)
    with pytest.raises(Halted, match="there is no topic"):
        await opened(URL, environment, connect=partition.client)
    kafka_topic.create(partition, is_development=False)
    log = await opened(URL, environment, connect=partition.client)
    await log.append(entry(1))
    assert (await log.barrier(), log.identity) == (1, GOOD.identity)
    await log.close()


@pytest.mark.parametrize(
    "url",
    [
        "kafka://host:1", "kafka://host:1/", "kafka:///topic", "kafka://host:1/a/b", "kafka://host:1/a?acks=1",
        "kafka://host:1/a?development=yes", "kafka://a:1/b?fetch.wait.max.ms=1", "postgresql://host/a", "kafka://host:1/a?development",
    ],
)  # fmt: skip
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(ValueError):
        kafka_topic.address(url)


def test_what_a_url_says() -> None:
    found = kafka_topic.address("kafka://a:1,b:2/topic?security.protocol=SASL_SSL&sasl.password=p%26q")
    assert found[:3] == ("a:1,b:2", "topic", False)
    assert found.settings == {"security.protocol": "SASL_SSL", "sasl.password": "p&q"}


async def test_the_brokers_time_is_the_logs(environment: RealEnvironment) -> None:
    """The end of its millisecond: nothing was appended later than the log says."""
    partition = Partition()
    log = await opened(URL, environment, connect=partition.client)
    await log.append(entry(1))
    assert (await upto(log, 1))[0].log_time_ns == (partition.time_ms + 1) * 1_000_000 - 1
    await log.close()


async def faulty(partition: Partition, environment: RealEnvironment, spoil: Callable[[KafkaLog], None]) -> LogFault:
    """What followers and all others get after `spoil`."""
    log = await opened(URL, environment, connect=partition.client)
    await log.append(entry(1))
    await log.barrier()
    spoil(log)
    with pytest.raises(LogFault) as caught:
        await asyncio.wait_for(upto(log, 99), 5)
    if not isinstance(caught.value, Unknown):
        for refused in (log.append(entry(2)), log.barrier(), anext(log.follow(1))):
            with pytest.raises(type(caught.value)):
                await refused
    await log.close()
    return caught.value


def skip_an_offset(partition: Partition, log: KafkaLog) -> None:
    place = log._cursor.place
    partition.records.append(Record(place.offset + 2, 5, True, 4, pack(ENTRY, place, entry(2).raw)))


@pytest.mark.parametrize(
    ("spoil", "kind", "said"),
    [
        (skip_an_offset, Corrupt, "it is missing: offset"),
        (lambda partition, log: partition.add(b"hello"), Corrupt, "somebody else wrote"),
        (lambda partition, log: partition.add(bytes(80)), Corrupt, "laid out in a way"),
        (lambda partition, log: partition.add(pack(3, log._cursor.place)), Corrupt, "laid out in a way"),
        (lambda partition, log: partition.add(pack(BARRIER, Place(99, 1, bytes(16)))), Corrupt, "cannot be"),
        (lambda partition, log: partition.add(pack(ENTRY, log._cursor.place, b"x" * 64)), Corrupt, "checksum"),
        (
            lambda partition, log: partition.add(pack(BARRIER, log._cursor.place._replace(chain=b"\1" * 16))),
            Corrupt, "had read another history",
        ),
        (
            lambda partition, log: partition.add(
                pack(ENTRY, log._cursor.place, entry(2).raw), is_broker_time=False
            ),
            Halted, "its writer's time",
        ),
    ],
)  # fmt: skip
async def test_a_log_that_is_not_as_it_must_be_stops_its_readers(
    spoil: Callable[[Partition, KafkaLog], None], kind: type[LogFault], said: str, environment: RealEnvironment
) -> None:
    partition = Partition()
    fault = await faulty(partition, environment, lambda log: spoil(partition, log))
    assert isinstance(fault, kind)
    assert said in str(fault)


async def test_a_barrier_waits_for_a_record_that_was_sent_after_it_was_asked_for(environment: RealEnvironment) -> None:
    """Those who ask while one is on its way share the next; acknowledged and not read back is not enough."""
    partition = Partition()
    log = await opened(URL, environment, connect=partition.client)
    partition.is_holding = True
    early = asyncio.create_task(log.barrier())
    await asyncio.sleep(0.02)
    partition.add(pack(ENTRY, START, entry(1).raw))  # acknowledged by another task
    late = [asyncio.create_task(log.barrier()) for _ in range(3)]
    await asyncio.sleep(0.02)
    assert len(partition.records) == 2
    assert not any(task.done() for task in (early, *late))
    partition.hidden = True
    partition.is_holding = False
    await early
    await asyncio.sleep(0.05)
    assert len(partition.records) == 3
    assert not any(task.done() for task in late)
    partition.hidden = False
    assert await asyncio.gather(*late) == [1, 1, 1]
    assert len(partition.records) == 3
    await log.close()


async def test_a_development_broker_may_leave_an_offset_out(environment: RealEnvironment) -> None:
    """As Tansu does when it is killed in the middle of an append; positions count entries all the same."""
    partition = Partition()
    log = await opened(f"{URL}?development=1", environment, connect=partition.client)
    await log.append(entry(1))
    await log.barrier()
    skip_an_offset(partition, log)
    await log.append(entry(3))
    batches = await upto(log, 3)
    assert [(batch.position, batch.entry.number) for batch in batches] == [(1, 1), (2, 2), (3, 3)]
    assert [batch.chain for batch in log.read(1)] == [batch.chain for batch in batches]
    assert log.holds(2, batches[1].chain)
    await log.close()


async def test_settings_that_the_library_does_not_take_are_told(environment: RealEnvironment) -> None:
    pytest.importorskip("confluent_kafka", reason=kafka.MISSING)
    with pytest.raises(Halted, match="nonsense"):
        await opened(f"{URL}?security.protocol=nonsense", environment)


async def test_a_new_leader_is_not_read_without_a_word(environment: RealEnvironment) -> None:
    partition = Partition()
    log = await opened(URL, environment, connect=partition.client)
    await log.append(entry(1))
    following = log.follow(1)
    assert [batch.entry.number for batch in await anext(following)] == [1]
    partition.epoch += 1
    partition.add(pack(ENTRY, START, entry(2).raw))
    with pytest.raises(Unknown, match="another broker leads"):
        await asyncio.wait_for(anext(following), 5)
    assert [batch.entry.number for batch in await upto(log, 2, 2)] == [2]
    assert await log.barrier() == 2
    await log.close()


async def test_a_topic_that_was_made_anew_is_another_log(environment: RealEnvironment) -> None:
    partition = Partition()
    log = await opened(URL, environment, connect=partition.client)
    await log.append(entry(1))
    await log.barrier()
    partition.known = GOOD._replace(identity=bytes(16))
    partition.records = []
    log._lost(Unknown("as after a lost connection"))
    with pytest.raises(Halted, match="made anew"):
        await anext(log.follow(1))
    with pytest.raises(Halted, match="made anew"):
        await log.append(entry(2))
    await log.close()


async def test_what_the_producer_gives_up_is_unknown_and_the_next_one_goes_on(environment: RealEnvironment) -> None:
    partition = Partition()
    log = await opened(URL, environment, connect=partition.client)
    partition.trouble = Trouble("no answer")
    first = log._producer
    outcomes = await asyncio.gather(log.append(entry(1)), log.append(entry(2)), log.barrier(), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Unknown] * 3
    partition.trouble = None
    await log.append(entry(1))
    assert log._producer is not first
    assert await log.barrier() == 1
    await log.close()


async def test_a_batch_that_the_topic_does_not_take_is_refused(environment: RealEnvironment) -> None:
    log = await opened(URL, environment, connect=Partition().client)
    await log.append(entry(1, 5000))
    with pytest.raises(Halted, match="more than the topic takes"):
        await log.append(entry(2, 6000))
    await log.append(entry(2))
    assert await log.barrier() == 2
    await log.close()


def mixed(seed: int, count: int) -> tuple[Partition, list[Place]]:
    """Entries and barriers of producers that are more or less behind; and the place behind every record."""
    draw = random.Random(seed)
    partition, cursor = Partition(), Cursor(START, strict=True)
    places = [START]
    number = 0
    while len(places) <= count:
        told = places[-1 - min(draw.choice((0, 0, 1, 3, 40)), len(places) - 1)]
        if draw.random() < 0.6:
            number += 1
            partition.add(pack(ENTRY, told, entry(number).raw))
        else:
            partition.add(pack(BARRIER, told))
        cursor.take(partition.records[-1])
        places.append(cursor.place)
    return partition, places


@pytest.mark.parametrize("seed", range(8))
def test_a_position_is_found_wherever_it_is(seed: int) -> None:
    """And what is read from there is what a reader from the start has."""
    partition, places = mixed(seed, 1500)
    whole = {place.position: place for place in reversed(places)}  # the first of each position: behind its entry
    consumer = partition.consumer()
    history = History(consumer, START, strict=True)
    head = places[-1].position
    for position in random.Random(seed).sample(range(1, head + 1), 12):
        place = history.place(position)
        assert place is not None
        assert place[1:] == whole[position][1:], f"seed {seed}, position {position}"
        last = min(position + 30, head)
        read = [batch for chunk in history.batches(position, last) for batch in chunk]
        assert [(batch.position, batch.chain) for batch in read] == [
            (at, whole[at].chain) for at in range(position, last + 1)
        ], f"seed {seed}, position {position}"
    assert history.place(head + 1) is None
    assert history.place(0) == START


@pytest.mark.parametrize("seed", range(8))
def test_whoever_opens_a_trimmed_log_can_begin_where_it_was_to_begin(seed: int) -> None:
    partition, places = mixed(seed, 400)
    partition.add(pack(BARRIER, places[-1]))
    whole = {place.position: place for place in reversed(places)}
    base, draw = START, random.Random(seed)
    for before in sorted(draw.sample(range(1, places[-1].position + 2), 8)):
        target = whole[before - 1]
        offset = kafka_records.cut_before(partition.consumer(), base, target)
        partition.delete_before(offset)
        found = kafka_records.first_place(partition.consumer(), partition.low)
        assert found is not None
        assert found.position <= before - 1, f"seed {seed}, before {before}"
        assert found in places
        assert target.offset - offset < 130, f"seed {seed}: it kept much more than it was asked to"
        base = found
        history = History(partition.consumer(), base, strict=True)
        at = history.place(before - 1)
        assert at is not None
        assert at[1:] == target[1:]


async def test_a_trimmed_log_is_opened_and_goes_on(environment: RealEnvironment) -> None:
    partition = Partition()
    log = await opened(URL, environment, connect=partition.client)
    for number in range(1, 101):
        await log.append(entry(number))
        if number % 9 == 0:
            await log.barrier()
    whole = await upto(log, 100)
    await log.trim(61)
    assert partition.low > 55
    assert log.first == 61
    other = await opened(URL, environment, connect=partition.client)
    assert 40 < other.first <= 61
    assert other.head == 100
    assert [batch.chain for batch in other.read(61)] == [batch.chain for batch in whole[60:]]
    assert other.holds(60, whole[59].chain)
    assert not other.holds(30, whole[29].chain)
    await other.append(entry(101))
    assert await log.barrier() == 101
    for each in (log, other):
        await each.close()


async def test_a_partition_from_which_nothing_can_be_counted_is_refused(environment: RealEnvironment) -> None:
    partition = Partition()
    for _ in range(3):
        partition.add(pack(BARRIER, START))
    partition.delete_before(2)
    with pytest.raises(Halted, match="nothing from which positions could be counted"):
        await opened(URL, environment, connect=partition.client)
