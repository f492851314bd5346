# SPDX-License-Identifier: Apache-2.0
"""Records of a log on Kafka: laid out byte by byte, read into batches, and found by position.

Called by `kafka.KafkaLog`, on the loop and (everything that takes a consumer) in threads. A record holds an entry, or
is a barrier: a barrier takes an offset and no position, so that positions count entries and a read never changes what
is replayed. Every record also says where its producer's reader stood when it was sent, its *place*:

    +0   "bidK"       u32, what this is and that it is laid out like this
    +4   kind         u32, 1: an entry, 2: a barrier
    +8   offset       i64, of the last record that the producer had read; -1: none
    +16  position     u64, of the last entry up to that offset
    +24  chain[16]    the running hash there
    +40  the entry, as its writer made it

That is how a position is found without reading from the start (one record tells position and chain a little before
it), and how readers hold each other to account: everybody compares each place with what he has read himself, and stops
when they differ. What may never happen here: a gap that is passed over, or a batch whose chain was not computed from
the batches before it.
"""

from collections.abc import Iterator
from struct import Struct
from typing import Final, NamedTuple

from bidhall.clients.kafka import Consumer, Polled, Record, Trouble
from bidhall.log.batch import CHAIN_START, Batch, Entry, chain_next
from bidhall.log.errors import Corrupt, Halted, Trimmed

ENTRY: Final = 1
BARRIER: Final = 2
MAGIC: Final = int.from_bytes(b"bidK", "little")
POLL_SECONDS: Final = 0.1
POLLS_MAX: Final = 100  # without a record and without the end: the broker does not answer
WALK_RECORDS: Final = 128  # not worth another probe
PLACES_KEPT: Final = 4096

_HEADER: Final = Struct("<IIqQ16s")
HEADER_BYTES: Final = _HEADER.size


class Place(NamedTuple):
    """Up to `offset` everything was read; the last entry was at `position`, with this running hash."""

    offset: int
    position: int
    chain: bytes


START: Final = Place(-1, 0, CHAIN_START)


def pack(kind: int, place: Place, raw: bytes = b"") -> bytes:
    """A record's value."""
    return _HEADER.pack(MAGIC, kind, place.offset, place.position, place.chain) + raw


def unpack(record: Record) -> tuple[int, Place]:
    """Its kind, and the place it tells; raises `Corrupt`."""
    if len(record.value) < HEADER_BYTES:
        raise Corrupt(f"offset {record.offset}", "somebody else wrote into this topic")
    magic, kind, offset, position, chain = _HEADER.unpack_from(record.value)
    if magic != MAGIC or kind not in (ENTRY, BARRIER):
        raise Corrupt(f"offset {record.offset}", "the record is laid out in a way that this version does not know")
    if not -1 <= offset < record.offset or position > offset + 1:
        raise Corrupt(f"offset {record.offset}", "the record tells of a place that cannot be: this is another log")
    return kind, Place(offset, position, chain)


class Cursor:
    """Where a reader stands, and where it stood a while ago.

    `strict`: no offset may be missing, and the brokers' time is required. Without transactions and compaction Kafka
    leaves no offset out. A development broker that is killed may; whether anybody had read what is missing, the places
    tell all the same.
    """

    def __init__(self, place: Place, *, strict: bool) -> None:
        self.place = place
        self.epoch = -1  # of the leader that gave the last record
        self._strict = strict
        self._stood: dict[int, Place] = {place.offset: place}

    def take(self, record: Record) -> Batch | None:
        """The batch in the record that follows, if it holds one."""
        place = self.place
        if record.offset <= place.offset or (self._strict and record.offset != place.offset + 1):
            raise Corrupt(f"offset {place.offset + 1}", f"it is missing: offset {record.offset} came next")
        kind, told = unpack(record)
        if self._stood.get(told.offset, told) != told:
            mine = self._stood[told.offset]
            what = f"its writer had read another history: position {told.position}, and here {mine.position}"
            raise Corrupt(f"offset {record.offset}", what)
        self.epoch = record.epoch
        batch = self._batch(record) if kind == ENTRY else None
        if batch is None:
            self._stand(Place(record.offset, place.position, place.chain))
        else:
            self._stand(Place(record.offset, batch.position, batch.chain))
        return batch

    def _batch(self, record: Record) -> Batch:
        if self._strict and not record.is_broker_time:
            raise Halted(f"offset {record.offset} has its writer's time: set message.timestamp.type=LogAppendTime")
        position = self.place.position + 1
        entry = Entry.decode(record.value[HEADER_BYTES:], f"position {position} (offset {record.offset})")
        # Brokers count milliseconds. It was appended before this one was over.
        log_time_ns = (record.time_ms + 1) * 1_000_000 - 1
        chain = chain_next(self.place.chain, position, log_time_ns, entry.checksum)
        return Batch(position, log_time_ns, entry, chain)

    def _stand(self, place: Place) -> None:
        self.place = place
        self._stood[place.offset] = place
        if len(self._stood) > PLACES_KEPT:
            del self._stood[next(iter(self._stood))]


class History:
    """Blocking: whatever is committed, from any position that is held. One thread, one consumer of its own."""

    def __init__(self, consumer: Consumer, base: Place, *, strict: bool) -> None:
        self._consumer = consumer
        self._base = base  # the first place from which batches can be read
        self._strict = strict
        self._cursor: Cursor | None = None
        self._at_end = False  # it was, when the last chunk was read

    def close(self) -> None:
        self._consumer.close()

    def batches(self, first: int, last: int | None) -> Iterator[list[Batch]]:
        """Chunks of what is committed, up to `last` or to the end."""
        while last is None or first <= last:
            chunk = self.chunk(first)
            if last is not None:
                chunk = [batch for batch in chunk if batch.position <= last]
            if not chunk:
                return
            yield chunk
            if self._at_end:
                return
            first = chunk[-1].position + 1

    def chunk(self, first: int) -> list[Batch]:
        """Some batches from `first` on; none: that is the end. The one that follows the last chunk costs no search."""
        cursor = self._cursor
        if cursor is None or cursor.place.position != first - 1:
            cursor = self._cursor = self._walk_to(first - 1)
            if cursor is None:
                return []
            self._consumer.seek(cursor.place.offset + 1)
        for polled in polls(self._consumer):
            self._at_end = polled.at_end
            batches = [batch for record in polled.records if (batch := cursor.take(record)) is not None]
            if batches or polled.at_end:
                return batches
        return []

    def place(self, position: int) -> Place | None:
        """Behind the entry at `position` and before the next; None: there is none yet. Raises `Trimmed`."""
        cursor = self._walk_to(position)
        return None if cursor is None else cursor.place

    def _walk_to(self, position: int) -> Cursor | None:
        if position < self._base.position:
            raise Trimmed(f"positions before {self._base.position + 1} are no longer held")
        cursor = Cursor(self._near(position), strict=self._strict)
        if cursor.place.position == position:
            return cursor
        self._consumer.seek(cursor.place.offset + 1)
        for polled in polls(self._consumer):
            for record in polled.records:
                cursor.take(record)
                if cursor.place.position == position:
                    return cursor
            if polled.at_end:
                break
        return None

    def _near(self, position: int) -> Place:
        """A place that somebody told of, at or not far before `position`."""
        best, low, high = self._base, self._base.offset + 1, self._consumer.ends()[1] - 1
        while high - low > WALK_RECORDS:
            middle = (low + high) // 2
            record = record_at(self._consumer, middle)
            told = best if record is None else unpack(record)[1]
            if record is None or told.position > position:
                high = middle
            else:
                low = middle
                if told.offset > best.offset:
                    best = told
        return best


def polls(consumer: Consumer) -> Iterator[Polled]:
    """What comes, until the end is told; raises `Trouble` when nothing comes."""
    silent = 0
    while silent < POLLS_MAX:
        polled = consumer.poll(POLL_SECONDS)
        silent = 0 if polled.records else silent + 1
        if polled.records or polled.at_end:
            yield polled
        if polled.at_end:
            return
    raise Trouble("the broker does not answer")


def record_at(consumer: Consumer, offset: int) -> Record | None:
    """The one at `offset` or behind it, if there is one."""
    consumer.seek(offset)
    for polled in polls(consumer):
        if polled.records:
            return polled.records[0]
    return None


def first_place(consumer: Consumer, low: int) -> Place | None:
    """The first place from which everything is held, when the oldest record held is at `low`; None: there is none."""
    if low == 0:
        return START
    consumer.seek(low)
    for polled in polls(consumer):
        for record in polled.records:
            told = unpack(record)[1]
            if told.offset >= low - 1:
                return told
    return None


def last_place(consumer: Consumer, base: Place, high: int) -> Place:
    """One near the end, from which everything is held."""
    if high - 1 <= base.offset + 1:
        return base
    record = record_at(consumer, high - 1)
    return base if record is None else max(base, unpack(record)[1])


def cut_before(consumer: Consumer, base: Place, target: Place) -> int:
    """The offset before which records may go, so that whoever opens what is left can still begin at `target`."""
    offset, step = target.offset + 1, 1
    while offset > base.offset + 1:
        found = first_place(consumer, offset)
        if found is not None and found.position <= target.position:
            return offset
        offset, step = offset - step, 2 * step
    return base.offset + 1
