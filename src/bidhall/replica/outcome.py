# SPDX-License-Identifier: Apache-2.0
"""What became of commands (`Outcome`, for who gave them) and of a batch (`Applied`, for who listens).

Made by the replica; read by the doors, the streams and the demo. Nothing here changes anything.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from bidhall.core.records import (
    EVENT_STRUCT,
    ORDER_STRUCT,
    POSITION_STRUCT,
    TOP_STRUCT,
    EventRow,
    OrderRow,
    PositionRow,
    TopRow,
)  # fmt: skip
from bidhall.log import Batch, Refusal
from bidhall.replica.amendments import Amendment
from bidhall.replica.prevention import PreventedMatch

Records = NDArray[np.void]
_row: Final = tuple.__new__  # what `_make` of a NamedTuple calls; one Python call less for every row


class OutcomeKind(Enum):
    """DONE: applied, accepted or rejected. REFUSED: never sent. UNKNOWN: sent, and its fate is not known here."""

    DONE = 1
    REFUSED = 2
    UNKNOWN = 3


@dataclass(slots=True)
class Outcome:
    """Of the commands of one submission."""

    kind: OutcomeKind
    time_ns: int = 0
    first_sequence: int = 0
    events: list[EventRow] = field(default_factory=list)
    done: dict[int, OrderRow] = field(default_factory=dict)  # orders these commands finished, by id
    amendments: Sequence[Amendment] = ()  # what the amends of its batch changed
    first_repeated: "Outcome | None" = None  # when events[0] is REPEATED: the first result, unless it is forgotten
    refusal: Refusal | None = None


def event_rows(data: Any) -> list[EventRow]:
    """Of EVENT records in bytes."""
    return [_row(EventRow, values) for values in EVENT_STRUCT.iter_unpack(data)]


def order_rows(data: Any) -> list[OrderRow]:
    """Of ORDER records in bytes."""
    return [_row(OrderRow, values) for values in ORDER_STRUCT.iter_unpack(data)]


class Pending:
    """A submission on its way: the log's writer holds it and says where its commands stand in a batch."""

    __slots__ = ("on_result",)

    def __init__(self, on_result: Callable[[Outcome], None]) -> None:
        self.on_result: Final = on_result

    def refused(self, reason: Refusal) -> None:
        """The log's writer: it was never sent."""
        self.on_result(Outcome(OutcomeKind.REFUSED, refusal=reason))


class Applied:
    """A batch that has been applied: what it was and what it did."""

    __slots__ = (
        "_done_rows", "_position_rows", "_rows", "_top_rows", "amendments", "batch", "done", "events",
        "first_sequence", "kinds", "positions", "prevented", "previous_time_ns", "time_ns", "tops",
    )  # fmt: skip

    def __init__(
        self,
        batch: Batch,
        times_ns: tuple[int, int],
        first_sequence: int,
        kinds: int,
        events: Records,
        done: Records,
        tops: Records,
        positions: Records,
        amendments: Sequence[Amendment] = (),
        prevented: Sequence[PreventedMatch] = (),
    ) -> None:
        self.batch = batch
        self.previous_time_ns, self.time_ns = times_ns
        self.first_sequence = first_sequence
        self.kinds = kinds  # bit 1 << EventKind for every kind among the events
        self.events = events
        self.done = done
        self.tops = tops
        self.positions = positions
        self.amendments = amendments  # what its amends changed
        self.prevented = prevented  # the trades that self-trade prevention did not let happen
        self._rows: list[EventRow] | None = None
        self._done_rows: list[OrderRow] | None = None
        self._top_rows: list[TopRow] | None = None
        self._position_rows: list[PositionRow] | None = None

    @property
    def count(self) -> int:
        """How many commands."""
        return self.batch.entry.count

    @property
    def rows(self) -> list[EventRow]:
        if self._rows is None:
            self._rows = event_rows(self.events.tobytes()) if len(self.events) else []
        return self._rows

    @property
    def done_rows(self) -> list[OrderRow]:
        if self._done_rows is None:
            self._done_rows = order_rows(self.done.tobytes()) if len(self.done) else []
        return self._done_rows

    @property
    def top_rows(self) -> list[TopRow]:
        if self._top_rows is None:
            data = self.tops.tobytes()
            self._top_rows = [TopRow._make(values) for values in TOP_STRUCT.iter_unpack(data)] if data else []
        return self._top_rows

    @property
    def position_rows(self) -> list[PositionRow]:
        if self._position_rows is None:
            data = self.positions.tobytes()
            self._position_rows = (
                [PositionRow._make(values) for values in POSITION_STRUCT.iter_unpack(data)] if data else []
            )
        return self._position_rows


class Listener(Protocol):
    """Told of every applied batch, in order, on the loop, before the answers of that batch are handed out."""

    def on_batch(self, applied: Applied) -> None: ...
