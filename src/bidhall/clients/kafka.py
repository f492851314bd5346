# SPDX-License-Identifier: Apache-2.0
"""Kafka through confluent-kafka: one partition of one topic, with the settings that the log relies on.

Called by the log, which sees the protocols below and never confluent-kafka. Everything here but `Producer.send` may
wait and belongs into a thread. What may never happen here: a record that is acknowledged before all replicas in sync
have it, an offset that is moved without a word (`auto.offset.reset=error`), or a committed consumer offset: where a
reader stands is for the log to know.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple, Protocol

PARTITION: Final = 0
ANSWER_SECONDS: Final = 10.0  # of the broker, to a question
CHUNK_RECORDS: Final = 500
RECORD_BYTES_MAX: Final = 4 << 20

_COMMON: Final = {
    "client.id": "bidhall",
    "socket.timeout.ms": 10_000,
    "socket.keepalive.enable": True,
    "socket.nagle.disable": True,
    "reconnect.backoff.ms": 20,
    "reconnect.backoff.max.ms": 500,
    "topic.metadata.refresh.sparse": True,
    "allow.auto.create.topics": False,
    "log_level": 3,
}
_PRODUCER: Final = {
    "acks": "all",
    "enable.idempotence": True,
    "linger.ms": 0,
    "compression.type": "none",
    "message.max.bytes": RECORD_BYTES_MAX,
    "request.timeout.ms": 5_000,
    "message.timeout.ms": 10_000,  # then its outcome is unknown
}
_CONSUMER: Final = {
    "group.id": "bidhall",  # required, never used: partitions are assigned, offsets are not committed
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "isolation.level": "read_committed",
    "enable.partition.eof": True,
    "check.crcs": True,
    "fetch.wait.max.ms": 100,
    "fetch.error.backoff.ms": 20,
    "fetch.queue.backoff.ms": 5,
    "fetch.message.max.bytes": RECORD_BYTES_MAX,
    "queued.max.messages.kbytes": 16_384,
}


class Trouble(Exception):
    """Something failed; whether it was done is not known."""


class Record(NamedTuple):
    """A committed record. `epoch` counts the leaders of the partition; -1: the broker does not say."""

    offset: int
    time_ms: int
    is_broker_time: bool
    epoch: int
    value: bytes


class Polled(NamedTuple):
    """`at_end`: behind these records there was nothing more that was committed."""

    records: list[Record]
    at_end: bool


class Delivery(NamedTuple):
    """What became of what was sent under `token`: it is at `offset`, or nobody knows why not."""

    token: int
    offset: int
    trouble: Trouble | None


class Facts(NamedTuple):
    """What the brokers say about a topic. `identity`: 16 bytes made with the topic, empty when there are none."""

    identity: bytes
    partitions: int
    replicas: int  # of the partition that has fewest
    settings: Mapping[str, str]


class Producer(Protocol):
    def send(self, value: bytes, token: int) -> None:
        """Queue it; never waits. Raises `Trouble` when it was not taken."""

    def poll(self, seconds: float) -> list[Delivery]:
        """What has become known, at the latest after `seconds`. Raises `Trouble` when nothing more will."""

    def close(self) -> None:
        """At once: what is on its way stays unknown."""


class Consumer(Protocol):
    """Everything here raises `Trouble`; after one it is to be closed."""

    def ends(self) -> tuple[int, int]:
        """The first offset that is held, and one that is not behind the end."""

    def seek(self, offset: int) -> None: ...

    def poll(self, seconds: float) -> Polled: ...

    def close(self) -> None: ...


class Client(Protocol):
    """One topic on one cluster. Everything here raises `Trouble`."""

    def facts(self) -> Facts | None:
        """None: there is no such topic."""

    def create(self, replicas: int, settings: Mapping[str, str]) -> None: ...

    def delete_before(self, offset: int) -> None: ...

    def producer(self) -> Producer: ...

    def consumer(self) -> Consumer: ...


Connect = Callable[[str, str, Mapping[str, str]], Client]


class ConfluentProducer:
    """See `Producer`."""

    def __init__(self, topic: str, settings: Mapping[str, Any]) -> None:
        self._topic = topic
        self._done: list[Delivery] = []
        self._fatal: Trouble | None = None
        self._raw = _made(_library().Producer, {**_COMMON, **_PRODUCER, "error_cb": self._error, **settings})

    def send(self, value: bytes, token: int) -> None:
        try:
            self._raw.produce(self._topic, value, partition=PARTITION, on_delivery=partial(self._delivered, token))
        except Exception as error:
            raise Trouble(f"{type(error).__name__}: {error}") from error

    def poll(self, seconds: float) -> list[Delivery]:
        try:
            self._raw.poll(seconds)
        except Exception as error:  # seen: the library's own SystemError, when a broker had gone
            raise Trouble(f"{type(error).__name__}: {error}") from error
        done, self._done = self._done, []
        if self._fatal is not None and not done:
            raise self._fatal
        return done

    def close(self) -> None:
        raw, self._raw = self._raw, None  # it ends, threads and all, when nobody refers to it
        raw.purge()
        raw.poll(0)
        self._done = []

    def _error(self, error: Any) -> None:
        """A broker that does not know this producer's numbers any more will never take another record of it."""
        if error.fatal():
            self._fatal = Trouble(str(error))

    def _delivered(self, token: int, error: Any, message: Any) -> None:
        if error is not None:
            self._done.append(Delivery(token, -1, Trouble(str(error))))
        else:
            self._done.append(Delivery(token, int(message.offset()), None))


class ConfluentConsumer:
    """See `Consumer`."""

    def __init__(self, topic: str, settings: Mapping[str, Any]) -> None:
        self._library = _library()
        self._topic = topic
        self._down: Trouble | None = None
        self._is_up = False
        self._raw = _made(self._library.Consumer, {**_COMMON, **_CONSUMER, "error_cb": self._error, **settings})

    def ends(self) -> tuple[int, int]:
        try:
            found = self._raw.get_watermark_offsets(self._partition(), timeout=ANSWER_SECONDS, cached=False)
        except Exception as error:
            raise Trouble(f"{type(error).__name__}: {error}") from error
        if found is None:
            raise Trouble("the broker did not say where the partition ends")
        return int(found[0]), int(found[1])

    def seek(self, offset: int) -> None:
        try:
            self._raw.assign([self._partition(offset)])
        except Exception as error:
            raise Trouble(f"{type(error).__name__}: {error}") from error

    def poll(self, seconds: float) -> Polled:
        try:
            first = self._raw.poll(seconds)
            messages = [] if first is None else [first, *self._raw.consume(CHUNK_RECORDS, 0)]
        except Exception as error:
            raise Trouble(f"{type(error).__name__}: {error}") from error
        if self._down is not None and not messages:
            raise self._down
        self._is_up = self._is_up or bool(messages)
        records: list[Record] = []
        at_end = False
        for message in messages:
            wrong = message.error()
            at_end = wrong is not None
            if wrong is None:
                records.append(self._record(message))
            elif wrong.code() != self._library.KafkaError._PARTITION_EOF:
                if records:  # they were committed: give them out first, the next poll tells what is wrong
                    self._down = Trouble(str(wrong))
                    return Polled(records, False)
                raise Trouble(str(wrong))
        return Polled(records, at_end)

    def close(self) -> None:
        raw, self._raw = self._raw, None
        raw.close()

    def _partition(self, offset: int = 0) -> Any:
        return self._library.TopicPartition(self._topic, PARTITION, offset)

    def _record(self, message: Any) -> Record:
        kind, time_ms = message.timestamp()
        epoch = message.leader_epoch()
        is_broker_time = kind == self._library.TIMESTAMP_LOG_APPEND_TIME
        return Record(message.offset(), time_ms, is_broker_time, -1 if epoch is None else epoch, message.value() or b"")

    def _error(self, error: Any) -> None:
        """One broker of several may be away; when none is left, what is read next is to be proved anew.

        Before the first answer it says nothing: a name may have addresses at which nobody listens.
        """
        if error.fatal() or (self._is_up and error.code() == self._library.KafkaError._ALL_BROKERS_DOWN):
            self._down = Trouble(str(error))


class ConfluentClient:
    """See `Client`."""

    def __init__(self, servers: str, topic: str, settings: Mapping[str, str]) -> None:
        self._library = _library()
        self._topic = topic
        self._settings: dict[str, Any] = {"bootstrap.servers": servers, **settings}

    def facts(self) -> Facts | None:
        library, admin = self._library, self._admin()  # it must live until the answers are there
        try:
            topics = library.TopicCollection([self._topic])
            asked = admin.describe_topics(topics, request_timeout=ANSWER_SECONDS)
            found = asked[self._topic].result(ANSWER_SECONDS)
            resource = library.admin.ConfigResource(library.admin.ResourceType.TOPIC, self._topic)
            described = admin.describe_configs([resource], request_timeout=ANSWER_SECONDS)
            configured = next(iter(described.values())).result(ANSWER_SECONDS)
        except library.KafkaException as error:
            if error.args[0].code() == library.KafkaError.UNKNOWN_TOPIC_OR_PART:
                return None
            raise Trouble(str(error)) from error
        except Exception as error:
            raise Trouble(f"{type(error).__name__}: {error}") from error
        settings = {name: entry.value for name, entry in configured.items() if entry.value is not None}
        replicas = min((len(partition.replicas) for partition in found.partitions), default=0)
        return Facts(_identity(found.topic_id), len(found.partitions), replicas, settings)

    def create(self, replicas: int, settings: Mapping[str, str]) -> None:
        topic = self._library.admin.NewTopic(self._topic, 1, replicas, config=dict(settings))
        try:
            admin = self._admin()
            admin.create_topics([topic])[self._topic].result(ANSWER_SECONDS)
        except Exception as error:
            raise Trouble(f"{type(error).__name__}: {error}") from error

    def delete_before(self, offset: int) -> None:
        partition = self._library.TopicPartition(self._topic, PARTITION, offset)
        try:
            admin = self._admin()
            deleted = admin.delete_records([partition], request_timeout=ANSWER_SECONDS)
            next(iter(deleted.values())).result(ANSWER_SECONDS)
        except Exception as error:
            raise Trouble(f"{type(error).__name__}: {error}") from error

    def producer(self) -> Producer:
        return ConfluentProducer(self._topic, self._settings)

    def consumer(self) -> Consumer:
        return ConfluentConsumer(self._topic, self._settings)

    def _admin(self) -> Any:
        return _made(self._library.admin.AdminClient, {**_COMMON, **self._settings})


def _made(kind: Any, settings: Mapping[str, Any]) -> Any:
    """Raises `Trouble` when librdkafka does not take the settings."""
    try:
        return kind(dict(settings))
    except Exception as error:
        raise Trouble(f"{type(error).__name__}: {error}") from error


def _library() -> Any:
    try:
        import confluent_kafka
        import confluent_kafka.admin
    except ImportError as error:
        raise ImportError("a log on Kafka needs confluent-kafka: pip install 'bidhall[kafka]'") from error
    return confluent_kafka


def _identity(topic_id: Any) -> bytes:
    """A topic's id as its 16 bytes; of a broker that gives none, nothing."""
    if topic_id is None:
        return b""
    halves = (topic_id.get_most_significant_bits(), topic_id.get_least_significant_bits())
    if halves == (0, 0):
        return b""
    return b"".join((half & (1 << 64) - 1).to_bytes(8, "big") for half in halves)


def connect(servers: str, topic: str, settings: Mapping[str, str]) -> Client:
    """Nothing is asked of the brokers yet."""
    return ConfluentClient(servers, topic, settings)
