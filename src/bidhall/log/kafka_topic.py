# SPDX-License-Identifier: Apache-2.0
"""What a topic must be like to hold a log, how one is made, and what a log's URL says.

Called by `kafka.KafkaLog` (which refuses to open what is not as it must be) and by whoever makes a log. What may never
happen here: a setting that is only warned about when it can lose a batch.

    kafka://host:port,host:port/topic                          three replicas, two of them in sync with every batch
    kafka://host:port/topic?development=1                      one broker may be all there is; nothing else is allowed
    …?security.protocol=SASL_SSL&sasl.mechanism=SCRAM-SHA-512  and any other sasl.* and ssl.* setting of librdkafka

The log is one partition: Kafka orders nothing across two. Its identity is the id that Kafka gave the topic when it was
made (KIP-516): a topic that was deleted and made again under the same name is another log.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import parse_qsl

from bidhall.clients.kafka import Client, Facts, Trouble
from bidhall.log.errors import Halted

REPLICAS: Final = 3
IN_SYNC_MIN: Final = 2
RECORD_BYTES_MIN: Final = 1_000_000  # what a topic must take; Kafka's own default is a little more
IDENTITY_BYTES: Final = 16

_REQUIRED: Final = {
    "cleanup.policy": ("delete", "compaction would take batches out of the middle"),
    "retention.ms": ("-1", "batches would go before a snapshot has passed them"),
    "retention.bytes": ("-1", "batches would go before a snapshot has passed them"),
    "message.timestamp.type": ("LogAppendTime", "the time of a batch would be its writer's"),
    "unclean.leader.election.enable": ("false", "a broker without all batches could become the leader"),
}
_PASSED_ON: Final = ("sasl.", "ssl.", "security.protocol")


class Address(NamedTuple):
    """A log's URL. `settings` go to librdkafka as they are."""

    servers: str
    topic: str
    is_development: bool
    settings: Mapping[str, str]


def address(url: str) -> Address:
    """Of `url`; raises ValueError, which does not show what may be secret in it."""
    scheme, found, rest = url.partition("://")
    place, _, query = rest.partition("?")
    servers, _, topic = place.partition("/")
    if scheme != "kafka" or not found or not servers or not topic or "/" in topic:
        raise ValueError("the URL of a log on Kafka is kafka://host:port,host:port/topic")
    settings = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    development = settings.pop("development", "0")
    if development not in ("0", "1"):
        raise ValueError("development is 0 or 1 in the URL of a log on Kafka")
    for name in settings:
        if not name.startswith(_PASSED_ON):
            raise ValueError(f"{name!r} in a log's URL: it takes development, security.protocol, sasl.*, ssl.*")
    is_development = development == "1"
    if is_development:  # the brokers of tests sleep for as long as they may wait
        settings["fetch.wait.max.ms"] = "5"
    return Address(servers, topic, is_development, settings)


def create(client: Client, *, is_development: bool) -> None:
    """Make the topic as it must be; raises `Halted`, also when it is there already."""
    settings = {name: value for name, (value, _) in _REQUIRED.items()}
    settings["min.insync.replicas"] = str(1 if is_development else IN_SYNC_MIN)
    try:
        client.create(1 if is_development else REPLICAS, settings)
    except Trouble as trouble:
        raise Halted(f"the topic could not be made: {trouble}") from trouble


def check(client: Client, topic: str, *, is_development: bool) -> Facts:
    """What the brokers say about it; raises `Halted` with what a person has to mend, or `Trouble`."""
    facts = client.facts()
    if facts is None:
        raise Halted(f"there is no topic {topic!r}: make it first")
    if wrong := _wrong(facts, is_development):
        raise Halted(f"the topic {topic!r} cannot hold a log: {'; '.join(wrong)}")
    return facts


def _wrong(facts: Facts, is_development: bool) -> list[str]:
    wrong = []
    if len(facts.identity) != IDENTITY_BYTES:
        wrong.append("it has no id: Kafka 2.8 or later gives one")
    if facts.partitions != 1:
        wrong.append(f"it has {facts.partitions} partitions, a log is one")
    if not is_development and facts.replicas < REPLICAS:
        wrong.append(f"it has {facts.replicas} replicas, not {REPLICAS} (a single broker: ?development=1)")
    for name, (value, why) in _REQUIRED.items():
        found = facts.settings.get(name)
        if found != value and not (found is None and is_development):
            wrong.append(f"{name} is {found or 'not told'} and must be {value}, or {why}")
    if not is_development and _number(facts, "min.insync.replicas") < IN_SYNC_MIN:
        wrong.append(f"min.insync.replicas is below {IN_SYNC_MIN}: a batch could be lost with one broker")
    if "max.message.bytes" in facts.settings and _number(facts, "max.message.bytes") < RECORD_BYTES_MIN:
        wrong.append(f"max.message.bytes is below {RECORD_BYTES_MIN}: the largest batch would not fit")
    return wrong


def _number(facts: Facts, name: str) -> int:
    try:
        return int(facts.settings.get(name, ""))
    except ValueError:
        return 0
