# SPDX-License-Identifier: Apache-2.0
"""Plays a conformance tape (`me_` format) through the kernel and prints the report stream.

    python -m benchmarks.tape FILE.messages.csv[.xz] [--check FILE.expected.csv[.xz]] [--time]
    python -m benchmarks.tape --edges FILE.json.xz
    python -m benchmarks.tape                      all the shared files, checked and timed

Format of messages and reports: the README of the shared data. The adapter here turns each message into ordinary
commands; funds, filters and limits are so wide that the project's own rules never refuse one. It must never correct
what the kernel says: every report line is made from the kernel's events.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import data, timing
from bidhall.core import Exchange
from bidhall.core.records import (
    COMMAND_BYTES,
    EVENT_STRUCT,
    EventFlag,
    EventKind,
    EventRow,
    OrderType,
    SelfTradePrevention,
    Side,
    TimeInForce,
    account,
    asset,
    cancel,
    configure,
    deposit,
    market,
    place,
)

Message = tuple[int, int, int, int, int, int]  # type, side, ioc, quantity, id, price
MARKET = 1
BASE, QUOTE = 1, 2
SUPPLY_UNITS = 1 << 61
ACCOUNTS = 16
NEW, CANCEL, MODIFY = 0, 1, 2


@dataclass
class Tape:
    """The messages of a tape and the bounds its market needs."""

    messages: list[Message]
    price_max: int = field(init=False)
    quantity_max: int = field(init=False)

    def __post_init__(self) -> None:
        placed = [message for message in self.messages if message[0] != CANCEL]
        self.price_max = 1 << max(12, max((m[5] for m in placed), default=1).bit_length())
        self.quantity_max = 1 << max(12, max((m[3] for m in placed), default=1).bit_length())


def read_messages(path: Path) -> Tape:
    """A message file: `type,side,ioc,qty,order_id,price`, absent fields empty."""
    with data.open_text(path) as lines:
        rows = (line.rstrip("\n").split(",") for line in lines if line.strip())
        return Tape([_message([int(cell) if cell else 0 for cell in row]) for row in rows])


def _message(cells: Sequence[int]) -> Message:
    kind, side, ioc, quantity, order_id, price = cells
    return kind, side, ioc, quantity, order_id, price


def setup(tape: Tape, accounts: int = ACCOUNTS) -> bytes:
    """Everything before the first message: two assets of whole units, one market, funded accounts."""
    commands = [
        configure(accounts_max=accounts + 1, orders_max=max(1024, len(tape.messages)), assets_max=2, markets_max=1),
        asset(b"BASE", 0),
        asset(b"QUOTE", 0),
        market(
            b"TAPE", BASE, QUOTE, tick_e8=10**8, step_units=1, price_ticks_max=tape.price_max,
            quantity_steps_max=tape.quantity_max, average_minutes=0, maker_rate_e8=0, taker_rate_e8=0, orders_max=0,
            algo_orders_max=0, self_trade_prevention=SelfTradePrevention.NONE,
        ),
    ]
    for number in range(1, accounts + 1):
        commands += [
            account(b"tape"),
            deposit(number, BASE, SUPPLY_UNITS // accounts),
            deposit(number, QUOTE, SUPPLY_UNITS // accounts),
        ]
    return b"".join(commands)


class Player:
    """Feeds messages to an exchange one by one and makes the report lines; keeps the commands it sent."""

    def __init__(self, tape: Tape, accounts: int = ACCOUNTS) -> None:
        self.exchange = Exchange()
        self.accounts = accounts
        self.sent: list[bytes] = []
        self._tape_ids: list[int] = [0]  # by order id of the kernel
        self._orders: dict[int, int] = {}  # newest order id of the kernel by id of the tape
        refused = [event.code for event in self._rows(setup(tape, accounts)) if event.kind == EventKind.REJECTED]
        if refused:
            raise RuntimeError(f"the adapter's own setup was refused: {refused}")

    def _rows(self, command: bytes) -> list[EventRow]:
        events = self.exchange.apply(command)
        if events is None:
            raise RuntimeError("a batch without a writer was taken for a repeat")
        return [EventRow._make(row) for row in EVENT_STRUCT.iter_unpack(events.tobytes())]

    def _send(self, command: bytes) -> list[EventRow]:
        self.sent.append(command)
        return self._rows(command)

    def play(self, sequence: int, message: Message) -> list[str]:
        """The report lines of one message."""
        kind, side, ioc, quantity, tape_id, price = message
        if kind == NEW:
            first = [f"0,{sequence},{side},{tape_id},{price},{quantity}"]
            return first + self._place(sequence, side, ioc, quantity, tape_id, price)
        refused_type = 4 if kind == CANCEL else 5
        gone = self._cancel(tape_id)
        if gone is None:
            return [f"{refused_type},{sequence},{tape_id}"]
        if kind == CANCEL:
            return [f"2,{sequence},{_side(gone)},{tape_id},{gone.price_ticks}"]
        last = [f"3,{sequence},{side},{tape_id},{price},{quantity}"]
        return self._place(sequence, side, 0, quantity, tape_id, price) + last

    def _cancel(self, tape_id: int) -> EventRow | None:
        """The CANCELED event, or None when no such order rests."""
        order_id = self._orders.get(tape_id)
        if order_id is None:
            # An id that was never issued: the kernel is asked all the same, by an order id it cannot know.
            order_id = (1 << 62) + 1
        (event,) = self._send(cancel(self._owner(tape_id), MARKET, order_id))
        return event if event.kind == EventKind.CANCELED else None

    def _place(self, sequence: int, side: int, ioc: int, quantity: int, tape_id: int, price: int) -> list[str]:
        accepted, *events = self._send(
            place(
                self._owner(tape_id), MARKET, Side.SELL if side else Side.BUY, OrderType.LIMIT,
                TimeInForce.IOC if ioc else TimeInForce.GTC, price, quantity,
            )
        )
        if accepted.kind != EventKind.ACCEPTED:
            raise RuntimeError(f"message {sequence} was refused with code {accepted.code}")
        self._orders[tape_id] = accepted.order_id
        self._tape_ids.append(tape_id)
        if len(self._tape_ids) != accepted.order_id + 1:
            raise RuntimeError(f"message {sequence}: order ids do not count from 1")
        return [line for event in events if (line := self._report(sequence, event))]

    def _report(self, sequence: int, event: EventRow) -> str:
        if event.kind == EventKind.FILL:
            if event.flags & EventFlag.MAKER:
                return ""
            maker, taker = self._tape_ids[event.other_order_id], self._tape_ids[event.order_id]
            return f"1,{sequence},{event.price_ticks},{event.quantity_steps},{maker},{taker}"
        if event.kind == EventKind.EXPIRED:
            return f"2,{sequence},{_side(event)},{self._tape_ids[event.order_id]},{event.price_ticks}"
        raise RuntimeError(f"message {sequence} gave an event of kind {event.kind}")

    def _owner(self, tape_id: int) -> int:
        return tape_id % self.accounts + 1

    def top(self) -> list[int | None]:
        """Best bid and ask with their sizes, as the edge cases state them."""
        _, bid_price, bid_quantity, ask_price, ask_quantity = self.exchange.top(MARKET)
        return [bid_price or None, bid_quantity, ask_price or None, ask_quantity]


def _side(event: EventRow) -> int:
    return 0 if event.flags & EventFlag.BUY else 1


def reports(player: Player, messages: Iterable[Message]) -> Iterator[str]:
    """The whole report stream."""
    for sequence, message in enumerate(messages):
        yield from player.play(sequence, message)


def check(lines: Iterable[str], expected: Iterable[str]) -> tuple[bool, str]:
    """Compares two streams: (same, the sentence to print)."""
    ours, theirs = iter(lines), iter(expected)
    number = 0
    while True:
        mine, other = next(ours, None), next(theirs, None)
        if mine is None and other is None:
            return True, f"identical {number} lines"
        number += 1
        if mine != other:
            return False, f"first difference in line {number}: expected {other!r}, got {mine!r}"


def edge_cases(path: Path) -> tuple[bool, list[str]]:
    """Runs every edge case: report lines, then best bid and ask after each message."""
    with data.open_text(path) as stream:
        cases: dict[str, dict[str, Any]] = json.load(stream)
    faults = [fault for name, case in cases.items() if (fault := _edge_case(name, case))]
    return not faults, [*faults, f"{len(cases) - len(faults)} of {len(cases)} edge cases identical"]


def _edge_case(name: str, case: dict[str, Any]) -> str:
    tape = Tape([_message(cells) for cells in case["messages"]])
    player = Player(tape)
    lines: list[str] = []
    for sequence, (message, state) in enumerate(zip(tape.messages, case["state_after_each_message"], strict=True)):
        lines += player.play(sequence, message)
        if player.top() != state:
            return f"{name}: after message {sequence} the top is {player.top()}, expected {state}"
    same, sentence = check(lines, case["reports"])
    return "" if same else f"{name}: {sentence}"


def time_ns(tape: Tape, sent: Sequence[bytes], batch: int, accounts: int = ACCOUNTS, runs: int = 3) -> float:
    """CPU time per message of the batch entry to binary events: the same commands, ready made, in batches."""
    stream = b"".join(sent)
    size = batch * COMMAND_BYTES
    batches = [stream[i : i + size] for i in range(0, len(stream), size)]
    hashes = set()

    def prepare() -> Any:
        exchange = Exchange()
        exchange.apply(setup(tape, accounts))

        def work() -> None:
            apply = exchange.apply
            for commands in batches:
                apply(commands)
            hashes.add(exchange.event_hash)

        return work

    result = timing.median_cpu_ns(prepare, runs) / len(tape.messages)
    if len(hashes) != 1:
        raise RuntimeError("the same commands gave different events")
    return result


def _run_file(path: Path, expected: Path | None, timed: bool) -> bool:
    tape = read_messages(path)
    player = Player(tape)
    lines = reports(player, tape.messages)
    same = True
    if expected is not None:
        with data.open_text(expected) as stream:
            same, sentence = check(lines, (line.rstrip("\n") for line in stream))
        print(sentence)
    else:
        sys.stdout.writelines(f"{line}\n" for line in lines)
    if timed and same:
        for batch in (16, 256, 4096):
            cost_ns = time_ns(tape, player.sent, batch)
            print(f"{cost_ns:.1f} ns CPU a message, batches of {batch} commands", file=sys.stderr)
    return same


def _run_all() -> bool:
    same, sentences = edge_cases(data.find(data.EDGE_CASES))
    print("\n".join(sentences))
    return _run_file(data.find(data.TAPE), data.find(data.TAPE_EXPECTED), timed=True) and same


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tape", description=__doc__.split("\n")[0])
    parser.add_argument("messages", nargs="?", type=Path, help="FILE.messages.csv[.xz]")
    parser.add_argument("--check", type=Path, metavar="FILE", help="the expected report stream")
    parser.add_argument("--edges", type=Path, metavar="FILE", help="edge cases as JSON")
    parser.add_argument("--time", action="store_true", help="print the CPU time per message on standard error")
    options = parser.parse_args(arguments)
    try:
        same = True
        if options.edges:
            same, sentences = edge_cases(options.edges)
            print("\n".join(sentences))
        if options.messages:
            same = _run_file(options.messages, options.check, options.time) and same
        if not options.edges and not options.messages:
            same = _run_all()
    except data.DataMissing as missing:
        print(f"skipped: {missing}")
        return 0
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
