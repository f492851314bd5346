# SPDX-License-Identifier: Apache-2.0
"""`kafka://…`: the log that many tasks share when commits per second outgrow a database; one partition of one topic.

Kafka fixes the order and keeps what a majority of replicas has (acks=all, min.insync.replicas). Positions count the
entries in it; see `kafka_records` for how one is found.

    append     a record by the idempotent producer. What is not acknowledged is unknown, whatever the reason was; the
               producer is thrown away then, as its own repeats and ours cannot be told apart
    follow     a consumer of committed records, which never moves by itself
    barrier    a record too: acknowledged by the leader in force and read back. A leader that was deposed without
               knowing it still answers questions about the end of the log, but nobody acknowledges its records
    trim       DeleteRecords

The two clients live in a worker each; the loop hears of them when a poll ends. When no broker answers, and when another
broker leads the partition, followers get `Unknown`; the replica then proves by a hello that what it reads is the log in
force, and follows again. What may never happen here: reading on after a new leader took over without that proof, or two
chains for one position.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, closing
from functools import partial
from typing import Final

from bidhall.clients import kafka
from bidhall.clients.kafka import Client, Connect, Consumer, Delivery, Polled, Producer, Trouble
from bidhall.environment import Environment, Worker
from bidhall.log import kafka_records, kafka_topic
from bidhall.log.batch import Batch, Entry
from bidhall.log.errors import Corrupt, Halted, LogFault, Trimmed, Unknown
from bidhall.log.kafka_records import BARRIER, ENTRY, START, Cursor, History, Place
from bidhall.log.tail import Tail

POLL_SECONDS: Final = 0.1
OVERHEAD_BYTES_MAX: Final = 512  # of a record and its batch
CLOSE_SECONDS: Final = 1.0

_logger: Final = logging.getLogger("bidhall.log")
Sent = Callable[[int, Trouble | None], None]


class KafkaLog:
    """See above."""

    exclusive: Final = False

    def __init__(self, url: str, environment: Environment, *, connect: Connect = kafka.connect) -> None:
        self.identity = b""
        self.first = 1
        self._address = kafka_topic.address(url)
        self._environment = environment
        self._client: Client = connect(self._address.servers, self._address.topic, self._address.settings)
        self._entry_bytes_max = kafka_topic.RECORD_BYTES_MIN
        self._tail = Tail(environment, 0, self._load)
        self._open = False
        self._halted: LogFault | None = None
        self._base = START
        self._cursor = self._new_cursor(START)
        self._resuming = asyncio.Lock()
        # reading
        self._read_worker: Worker | None = None
        self._consumer: Consumer | None = None
        self._older: History | None = None  # belongs to the thread "log-older"
        # sending
        self._send_worker: Worker | None = None
        self._producer: Producer | None = None
        self._polling = False
        self._token = 0
        self._sent: dict[int, Sent] = {}
        self._acknowledged = -1  # the highest offset of ours
        # barriers
        self._asked: list[asyncio.Future[None]] = []  # they wait for the next one
        self._asking: list[asyncio.Future[None]] = []  # they wait for the one that is on its way
        self._asked_offset = -1  # where that one is; -1: not known yet
        self._ask_due = False

    # --- life ----------------------------------------------------------------------------------------------------

    @property
    def head(self) -> int:
        return self._tail.head

    async def open(self) -> None:
        if self._open:
            return
        self._read_worker = self._environment.worker("log-read")
        self._send_worker = self._environment.worker("log-send")
        self._halted = None
        try:
            self._producer = self._client.producer()  # it connects meanwhile
            await self._begin_reading()
        except BaseException as error:
            await self._end_workers()
            if isinstance(error, Trouble):
                raise Halted(f"Kafka cannot be reached: {error}") from error
            raise
        self._open = True

    async def close(self) -> None:
        if not self._open:
            return
        while self._sent:  # what was given to `append` is finished first
            await self._environment.sleep(0.001)
        deadline = self._environment.monotonic() + CLOSE_SECONDS
        while self._cursor.place.offset < self._acknowledged and self._environment.monotonic() < deadline:
            if self._consumer is None:
                break
            await self._environment.sleep(0.001)
        self._open = False
        self._refuse_barriers(Halted("the log is closed"))
        self._tail.close()
        await self._end_workers()

    async def _end_workers(self) -> None:
        consumer, self._consumer = self._consumer, None
        producer, self._producer = self._producer, None
        older, self._older = self._older, None
        for worker, client in ((self._read_worker, consumer), (self._send_worker, producer)):
            if worker is not None:
                if client is not None:
                    await worker.run(client.close)
                worker.close()
        self._read_worker = self._send_worker = None
        if older is not None:
            await self._environment.run(older.close, thread="log-older")

    def _halt(self, fault: LogFault) -> LogFault:
        """For good: another log, another history, or a topic that cannot hold one."""
        if self._halted is None:
            self._halted = fault
            _logger.critical("the log has halted: %s", fault)
            self._refuse_barriers(fault)
            self._tail.fail(fault)
        return self._halted

    # --- appending -----------------------------------------------------------------------------------------------

    def append(self, entry: Entry) -> Awaitable[None]:
        future: asyncio.Future[None] = self._environment.create_future()
        if self._halted is not None or not self._open:
            future.set_exception(self._halted or Halted("the log is not open"))
        elif len(entry.raw) > self._entry_bytes_max:
            future.set_exception(Halted(f"{len(entry.raw)} bytes are more than the topic takes at once"))
        else:
            self._send(kafka_records.pack(ENTRY, self._cursor.place, entry.raw), partial(_appended, future))
        return future

    def _send(self, value: bytes, sent: Sent) -> None:
        """`sent(offset, trouble)` is called on the loop when it is known, or known that it is not to be known."""
        self._token += 1
        try:
            if self._producer is None:
                self._producer = self._client.producer()
            self._producer.send(value, self._token)
        except Trouble as trouble:
            sent(-1, trouble)
            return
        self._sent[self._token] = sent
        if not self._polling:
            self._poll_deliveries()

    def _poll_deliveries(self) -> None:
        producer, worker = self._producer, self._send_worker
        self._polling = bool(self._sent) and producer is not None and worker is not None
        if self._polling:
            assert producer is not None
            assert worker is not None
            worker.call(partial(producer.poll, POLL_SECONDS), self._delivered)

    def _delivered(self, deliveries: list[Delivery], error: BaseException | None) -> None:
        trouble = None if error is None else Trouble(str(error))
        for delivery in deliveries or ():
            sent = self._sent.pop(delivery.token, None)
            if sent is None:
                continue
            trouble = delivery.trouble or trouble
            self._acknowledged = max(self._acknowledged, delivery.offset)
            sent(delivery.offset, delivery.trouble)
        if trouble is not None:
            self._give_up_producer(trouble)
        self._poll_deliveries()

    def _give_up_producer(self, trouble: Trouble) -> None:
        """All that it has not delivered is unknown."""
        _logger.warning("what was sent to Kafka has no known outcome: %s", trouble)
        producer, self._producer = self._producer, None
        if producer is not None and self._send_worker is not None:
            self._send_worker.call(producer.close, _ignore)
        unknown, self._sent = self._sent, {}
        for sent in unknown.values():
            sent(-1, trouble)

    # --- following -----------------------------------------------------------------------------------------------

    async def follow(self, position: int) -> AsyncGenerator[list[Batch], None]:
        await self._resume()
        async with aclosing(self._tail.follow(position)) as following:
            async for batches in following:
                yield batches

    async def _resume(self) -> None:
        """Reads again, if reading had ended."""
        async with self._resuming:
            if self._halted is not None:
                raise self._halted
            if not self._open or self._consumer is not None:
                return
            try:
                await self._begin_reading()
            except Trouble as trouble:
                raise Unknown(f"Kafka cannot be reached: {trouble}") from trouble

    async def _begin_reading(self) -> None:
        """From the end as it is now: what is older is loaded for whoever asks."""
        worker = self._read_worker
        assert worker is not None
        consumer = self._client.consumer()
        try:
            base, cursor = await worker.run(self._find_end, consumer)
        except BaseException as error:
            worker.call(consumer.close, _ignore)
            if isinstance(error, LogFault) and self._open:
                raise self._halt(error) from error
            raise
        self._base = max(self._base, base)
        self.first = self._base.position + 1
        self._cursor, self._consumer = cursor, consumer
        self._tail = Tail(self._environment, cursor.place.position, self._load)
        self._poll_records(consumer)

    def _find_end(self, consumer: Consumer) -> tuple[Place, Cursor]:
        """In the reader's thread: is this the log, where does it begin, and where does it end?"""
        topic = self._address.topic
        facts = kafka_topic.check(self._client, topic, is_development=self._address.is_development)
        if self.identity and facts.identity != self.identity:
            raise Halted(f"the topic {topic!r} was made anew: it holds another log now")
        low, high = consumer.ends()
        base = kafka_records.first_place(consumer, low)
        if base is None:
            raise Halted(f"the topic {topic!r} holds nothing from which positions could be counted")
        place = kafka_records.last_place(consumer, base, high)
        cursor = self._new_cursor(place)
        consumer.seek(place.offset + 1)
        for polled in kafka_records.polls(consumer):
            for record in polled.records:
                cursor.take(record)
        self.identity = facts.identity
        limit = int(facts.settings.get("max.message.bytes", kafka_topic.RECORD_BYTES_MIN))
        self._entry_bytes_max = min(limit, kafka.RECORD_BYTES_MAX) - OVERHEAD_BYTES_MAX
        return base, cursor

    def _new_cursor(self, place: Place) -> Cursor:
        return Cursor(place, strict=not self._address.is_development)

    def _poll_records(self, consumer: Consumer) -> None:
        if self._read_worker is not None and consumer is self._consumer:
            self._read_worker.call(partial(consumer.poll, POLL_SECONDS), partial(self._polled, consumer))

    def _polled(self, consumer: Consumer, polled: Polled | None, error: BaseException | None) -> None:
        if consumer is not self._consumer:
            return  # closed meanwhile
        if polled is None:
            self._lost(Unknown(f"the log cannot be read: {error}"))
            return
        batches = []
        fault: LogFault | None = None
        try:
            for record in polled.records:
                if -1 < self._cursor.epoch < record.epoch:
                    fault = Unknown(f"another broker leads the log now (epoch {record.epoch})")
                    break
                batch = self._cursor.take(record)
                if batch is not None:
                    batches.append(batch)
        except LogFault as found:
            fault = found
        if batches:
            self._tail.extend(batches)
        self._answer_barriers()
        if fault is None:
            self._poll_records(consumer)
        else:
            self._lost(fault if isinstance(fault, Unknown) else self._halt(fault))

    def _lost(self, fault: LogFault) -> None:
        """Followers get what was read, and then the fault."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None and self._read_worker is not None:
            self._read_worker.call(consumer.close, _ignore)
        self._refuse_barriers(fault)
        self._tail.fail(fault)

    # --- barriers ------------------------------------------------------------------------------------------------

    async def barrier(self) -> int:
        await self._stand_behind()
        return await self._tail.barrier()

    async def _stand_behind(self) -> None:
        """Done when a record that was sent after the call has come back."""
        if self._halted is not None or not self._open:
            raise self._halted or Halted("the log is not open")
        if self._consumer is None:
            raise Unknown("the log is not read at the moment")
        future: asyncio.Future[None] = self._environment.create_future()
        self._asked.append(future)
        self._ask()
        await future

    def _ask(self) -> None:
        """One is on its way at a time; those who ask in one turn of the loop share the next."""
        if self._asked and not self._asking and not self._ask_due:
            self._ask_due = True
            self._environment.call_soon(self._send_barrier)

    def _send_barrier(self) -> None:
        self._ask_due = False
        self._asking, self._asked = self._asked, []
        self._asked_offset = -1
        if self._asking:
            self._send(kafka_records.pack(BARRIER, self._cursor.place), partial(self._barrier_sent, self._asking))

    def _barrier_sent(self, asking: list["asyncio.Future[None]"], offset: int, trouble: Trouble | None) -> None:
        if asking is not self._asking:
            return  # they were refused meanwhile
        if trouble is not None:
            self._asking = []
            _fail(asking, Unknown(f"a barrier has no known outcome: {trouble}"))
            self._ask()
            return
        self._asked_offset = offset
        self._answer_barriers()

    def _answer_barriers(self) -> None:
        if self._asking and -1 < self._asked_offset <= self._cursor.place.offset:
            for future in self._asking:
                if not future.done():
                    future.set_result(None)
            self._asking = []
            self._ask()

    def _refuse_barriers(self, fault: LogFault) -> None:
        waiting = [*self._asking, *self._asked]
        self._asking, self._asked = [], []
        _fail(waiting, fault)

    # --- older batches -------------------------------------------------------------------------------------------

    async def _load(self, position: int) -> list[Batch]:
        """For a follower that is further behind than the tail remembers."""
        if self._consumer is None:
            raise Unknown("the log is not read at the moment")
        try:
            batches = await self._environment.run(self._load_older, position, thread="log-older")
        except Trouble as trouble:
            raise Unknown(f"the log cannot be read: {trouble}") from trouble
        batches = [batch for batch in batches if batch.position <= self._tail.head]
        if not batches:
            raise Unknown(f"position {position} was there and is not")
        return batches

    def _load_older(self, position: int) -> list[Batch]:
        if self._older is None:
            self._older = self._history()
        try:
            return self._older.chunk(position)
        except BaseException:
            older, self._older = self._older, None
            older.close()
            raise

    def _history(self) -> History:
        return History(self._client.consumer(), self._base, strict=not self._address.is_development)

    def read(self, first: int, last: int | None = None) -> Iterator[Batch]:
        if first < self.first:
            raise Trimmed(f"positions before {self.first} are no longer held")
        return self._read(first, last)

    def _read(self, first: int, last: int | None) -> Iterator[Batch]:
        try:
            with closing(self._history()) as history:
                for batches in history.batches(first, last):
                    yield from batches
        except Trouble as trouble:
            raise Unknown(f"the log cannot be read: {trouble}") from trouble

    def holds(self, position: int, chain: bytes) -> bool:
        try:
            with closing(self._history()) as history:
                place = history.place(position)
        except (Trimmed, Corrupt):
            return False
        except Trouble as trouble:
            raise Unknown(f"the log cannot be read: {trouble}") from trouble
        return place is not None and place.chain == chain

    async def trim(self, before: int) -> None:
        before = min(before, self._tail.head + 1)
        if before <= self.first:
            return
        await self._stand_behind()  # so that a record tells of a place that is not before the cut
        try:
            self._base = await self._environment.run(self._trim, before, thread="log-trim")
        except Trouble as trouble:
            raise Unknown(f"the log was not trimmed: {trouble}") from trouble
        self.first = before

    def _trim(self, before: int) -> Place:
        with closing(self._history()) as history:
            target = history.place(before - 1)
        if target is None:
            raise Trouble(f"position {before - 1} was there and is not")
        with closing(self._client.consumer()) as consumer:
            offset = kafka_records.cut_before(consumer, self._base, target)
        try:
            self._client.delete_before(offset)
        except Trouble as trouble:
            if not self._address.is_development:
                raise
            _logger.warning("this broker deletes no records, the oldest are only out of sight: %s", trouble)
        return target


def _appended(future: "asyncio.Future[None]", offset: int, trouble: Trouble | None) -> None:
    if future.done():
        return
    if trouble is None:
        future.set_result(None)
    else:
        future.set_exception(Unknown(f"an append has no known outcome: {trouble}"))


def _fail(futures: list["asyncio.Future[None]"], fault: LogFault) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(fault)


def _ignore(_: object, error: BaseException | None) -> None:
    if error is not None:
        _logger.warning("a client of Kafka did not close well: %s", error)
