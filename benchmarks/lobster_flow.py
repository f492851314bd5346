# SPDX-License-Identifier: Apache-2.0
"""The NASDAQ hour as ordinary orders: reads the LOBSTER files and says, operation by operation, what to do at a venue.

Used by `benchmarks.lobster`, whose ways in (kernel, HTTP) carry the operations out. The rules are those of the shared
data's README. It must never know which way in is used, and judges only by what the venue answered: which resting
orders each aggressor hit.
"""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from benchmarks import data

BUY, SELL = 1, -1
ADD, REDUCE, DELETE, EXECUTE, HIDDEN = 1, 2, 3, 4, 5
WINDOW = 200
EMPTY_PRICES = {9_999_999_999, -9_999_999_999}
KNOWN_LINES = (2410, 2419, 36332, 42575, 42576, 42577, 63789, 88000)  # NASDAQ passed over an order there
EXPECTED = {
    "aggressors": 3_290, "identical": 3_282, "fills": 4_067, "deletes": 41_004, "tops": 22_662, "tops_found": 22_645,
}
TICK = 100  # the file's prices are in 1/10,000 dollar, the market's tick is a cent


class Row(NamedTuple):
    """One message; `line` counts from 1."""

    line: int
    time: str
    type: int
    id: int
    size: int
    price: int
    direction: int


class Fill(NamedTuple):
    """What an aggressor got: the resting order's id, price and size."""

    maker: int
    price: int
    size: int


class Add(NamedTuple):
    """Rest an order."""

    id: int
    direction: int
    price: int
    size: int


class Reduce(NamedTuple):
    """Lower what remains of an order to `size`; it keeps its place. `total` is its whole quantity after that."""

    id: int
    size: int
    total: int


class Cancel(NamedTuple):
    """Take an order off; `size` must be what is left of it. `counts`: a delete of the file, not one of a rebuilding."""

    id: int
    size: int
    counts: bool = False


class Take(NamedTuple):
    """An aggressor (IOC); the venue's fills are sent back into the generator."""

    line: int
    direction: int
    price: int
    size: int


class Checkpoint(NamedTuple):
    """The messages up to this line have been carried out (the top of the book is comparable here)."""

    line: int


Operation = Add | Reduce | Cancel | Take | Checkpoint
Queues = dict[tuple[int, int], dict[int, int]]  # (direction, price) -> id -> what is left, in queue order


@dataclass
class Judgement:
    """What came out."""

    aggressors: int = 0
    fills: int = 0  # of the file
    own_fills: int = 0
    differing_lines: list[int] = field(default_factory=list)
    reentries: int = 0
    started_with: int = 0
    rebuilt: int = 0


def read_rows(path: Path) -> list[Row]:
    """All messages of the file."""
    with data.open_text(path) as lines:
        cells = (line.rstrip("\n").split(",") for line in lines)
        return [
            Row(number, c[0], int(c[1]), int(c[2]), int(c[3]), int(c[4]), int(c[5]))
            for number, c in enumerate(cells, start=1)
        ]


def starting_book(rows: Sequence[Row]) -> list[Row]:
    """Orders that were resting before the first line: named without an earlier type 1, size = sum of their sizes."""
    added: set[int] = set()
    found: dict[int, Row] = {}
    for row in rows:
        if row.type == ADD:
            added.add(row.id)
        elif row.type in (REDUCE, DELETE, EXECUTE) and row.id not in added:
            known = found.get(row.id)
            found[row.id] = row._replace(size=row.size + (known.size if known else 0))
    return sorted(found.values(), key=lambda row: row.id)


def whole_runs(rows: Sequence[Row], first: int | None) -> int:
    """How many rows the first `first` are when the aggressor they end in is not cut."""
    end = len(rows) if first is None else min(first, len(rows))
    while 0 < end < len(rows) and _run_of(rows[end]) == _run_of(rows[end - 1]):
        end += 1
    return end


class Driver:
    """Turns rows into operations. `operations()` is a generator: a Take must be answered by sending its fills."""

    def __init__(self, rows: Sequence[Row], first: int | None = None) -> None:
        self._rows = rows[: whole_runs(rows, first)]
        self._waiting = starting_book(rows)  # of the whole file, so that a shorter run is a prefix of the long one
        self._queues: Queues = {}
        self._orders: dict[int, tuple[int, int]] = {}
        self._totals: dict[int, int] = {}  # whole quantity of each resting order, as the venue knows it
        self._largest_id = 0
        self.judgement = Judgement(started_with=len(self._waiting))

    def operations(self) -> Generator[Operation, list[Fill] | None, None]:
        """Everything to do, in order."""
        for _, run in groupby(self._rows, key=_run_of):
            rows = list(run)
            if rows[0].type in (EXECUTE, HIDDEN):
                yield from self._execute([row for row in rows if row.type == EXECUTE])
            else:
                for row in rows:
                    yield from self._one(row)
            yield Checkpoint(rows[-1].line)

    def _one(self, row: Row) -> Iterator[Operation]:
        if row.type == ADD:
            yield from self._add(row)
        elif row.type in (REDUCE, DELETE):
            yield from self._shrink(row)
        else:
            raise ValueError(f"line {row.line}: no rule for type {row.type}")

    def _add(self, row: Row) -> Iterator[Operation]:
        if row.id < self._largest_id:
            self.judgement.reentries += 1
            yield from self._enter_by_id(row)
            return
        self._largest_id = row.id
        while self._waiting and self._waiting[0].id < row.id:
            yield from self._enter_by_id(self._waiting.pop(0))
        yield self._rest(row.id, row.direction, row.price, row.size)

    def _rest(self, order_id: int, direction: int, price: int, size: int) -> Add:
        self._queues.setdefault((direction, price), {})[order_id] = size
        self._orders[order_id] = (direction, price)
        self._totals[order_id] = size
        return Add(order_id, direction, price, size)

    def _enter_by_id(self, row: Row) -> Iterator[Operation]:
        """Into the queue by id: what rests behind it is taken off and placed again."""
        level = self._queues.setdefault((row.direction, row.price), {})
        behind = {order_id: size for order_id, size in level.items() if order_id > row.id}
        yield from self._clear(behind)
        yield self._rest(row.id, row.direction, row.price, row.size)
        for order_id, size in sorted(behind.items()):
            yield self._rest(order_id, row.direction, row.price, size)

    def _clear(self, orders: dict[int, int]) -> Iterator[Operation]:
        for order_id, size in list(orders.items()):
            self._forget(order_id)
            yield Cancel(order_id, size)

    def _forget(self, order_id: int) -> None:
        del self._queues[self._orders.pop(order_id)][order_id]
        del self._totals[order_id]

    def _shrink(self, row: Row) -> Iterator[Operation]:
        level = self._queues[self._orders[row.id]]
        if row.type == DELETE:
            self._forget(row.id)
            yield Cancel(row.id, row.size, counts=True)
            return
        level[row.id] -= row.size
        self._totals[row.id] -= row.size
        yield Reduce(row.id, level[row.id], self._totals[row.id])

    def _execute(self, rows: list[Row]) -> Generator[Operation, list[Fill] | None, None]:
        if not rows:
            return  # only hidden orders were hit
        for row in rows:
            if row.id not in self._orders:  # it rested from the start, and its turn by id has not come
                starter = next(waiting for waiting in self._waiting if waiting.id == row.id)
                self._waiting.remove(starter)
                yield from self._enter_by_id(starter)
        expected = [Fill(row.id, row.price, row.size) for row in rows]
        took = yield Take(rows[0].line, -rows[0].direction, rows[-1].price, sum(row.size for row in rows))
        fills = took or []
        self.judgement.aggressors += 1
        self.judgement.fills += len(expected)
        self.judgement.own_fills += len(fills)
        if fills == expected:
            self._book(fills)
            return
        self.judgement.differing_lines.append(rows[0].line)
        yield from self._rebuild(rows[0].direction, fills, expected)

    def _book(self, fills: list[Fill]) -> None:
        for fill in fills:
            level = self._queues[self._orders[fill.maker]]
            level[fill.maker] -= fill.size
            if not level[fill.maker]:
                self._forget(fill.maker)

    def _rebuild(self, direction: int, fills: list[Fill], expected: list[Fill]) -> Iterator[Operation]:
        """The touched levels once more: off with what rests there, then what the file implies, in id order."""
        self.judgement.rebuilt += 1
        prices = sorted({fill.price for fill in fills} | {fill.price for fill in expected})
        implied = {price: dict(self._queues.get((direction, price), {})) for price in prices}
        for fill in expected:
            implied[fill.price][fill.maker] -= fill.size
        self._book(fills)
        for price in prices:
            yield from self._clear(dict(self._queues.get((direction, price), {})))
        for price in prices:
            for order_id, size in sorted(implied[price].items()):
                if size:
                    yield self._rest(order_id, direction, price, size)


def _run_of(row: Row) -> object:
    """Groups consecutive rows: an aggressor's executions together, every other row alone."""
    return (row.time, row.direction) if row.type in (EXECUTE, HIDDEN) else row.line


class Top(NamedTuple):
    """Best ask and bid with sizes, 0 where there is none."""

    ask_price: int
    ask_size: int
    bid_price: int
    bid_size: int


def read_tops(path: Path) -> list[Top]:
    """The venue's own tops, consecutive duplicates dropped."""
    with data.open_text(path) as lines:
        tops = (Top(*(0 if int(c) in EMPTY_PRICES else int(c) for c in line.split(","))) for line in lines)
        return [top for top, _ in groupby(tops)]


def tops_found(ours: Sequence[Top], venue: Sequence[Top]) -> tuple[int, int]:
    """(how many of our tops, in order, are found further on in the venue's within the window, how many there are)."""
    distinct = [top for top, _ in groupby(ours)]
    position = found = 0
    for top in distinct:
        ahead = venue[position : position + WINDOW]
        if top in ahead:
            position += ahead.index(top) + 1
            found += 1
    return found, len(distinct)


def known_lines(first: int | None, known: Sequence[int] = KNOWN_LINES) -> list[int]:
    """The lines that must differ among the first `first` (all: None)."""
    return [line for line in known if first is None or line <= first]
