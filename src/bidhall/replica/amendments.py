# SPDX-License-Identifier: Apache-2.0
"""What amends changed: an order's client id and quantity before and after, which the kernel's events do not tell.

Whoever applies batches calls `look` before the kernel has a batch and `rows` after it: the replica for its listeners
and answers, the history's catch-up for itself. The same log gives the same rows everywhere. It must never change
anything, nor cost anything for a batch without an amend.
"""

from typing import Any, Final, NamedTuple

from bidhall.core.records import (
    COMMAND_BYTES,
    COMMAND_STRUCT,
    ORDER_STRUCT,
    CommandKind,
    CommandRow,
    EventKind,
    OrderRow,
)

_AMEND: Final = int(CommandKind.AMEND)
_CLIENT_ID: Final = slice(88, 124)

Targets = dict[int, tuple[bytes, int]]  # orders by id: the client id and the quantity in steps


class Amendment(NamedTuple):
    """One amend that was done. Client ids without padding."""

    account: int
    market: int
    order_id: int
    execution_id: int
    old_client_id: bytes
    new_client_id: bytes
    old_quantity_steps: int
    new_quantity_steps: int
    time_ns: int


def look(exchange: Any, commands: memoryview | bytes) -> Targets | None:
    """The orders that this batch's amends mean, as they are before it; None when it has none."""
    places = _amends(commands)
    if not places:
        return None
    found: Targets = {}
    for at in places:
        command = _command(commands, at)
        order_id = command.order_id or exchange.find(command.account, command.market, _text(command.client_id))
        data = exchange.order(order_id).tobytes() if order_id else b""
        if data:
            order = OrderRow._make(ORDER_STRUCT.unpack(data))
            found[order_id] = (_text(order.client_id), order.quantity_steps)
    return found


def _amends(commands: memoryview | bytes) -> list[int]:
    """Where the amends of a batch stand. Each batch comes by here: a copy of it costs less than a view with steps."""
    kinds = bytes(commands)[::COMMAND_BYTES]
    found = []
    at = kinds.find(_AMEND)
    while at >= 0:
        found.append(at)
        at = kinds.find(_AMEND, at + 1)
    return found


def rows(
    found: Targets, commands: memoryview | bytes, events: Any, first_sequence: int, time_ns: int
) -> list[Amendment]:
    """The amends that were done, in order; `found` as `look` gave it, `events` the batch's EVENT records."""
    known = dict(found)
    done: list[Amendment] = []
    wanted = (EventKind.ACCEPTED, EventKind.REPLACED, EventKind.EXPIRED)
    for event in events:
        kind = int(event["kind"])
        if kind not in wanted:
            continue
        index = int(event["sequence"]) - first_sequence
        order_id = int(event["order_id"])
        if kind == EventKind.ACCEPTED:  # an order placed by this batch may be amended by it
            raw = bytes(commands[index * COMMAND_BYTES : (index + 1) * COMMAND_BYTES])
            known[order_id] = (_text(raw[_CLIENT_ID]), int(event["quantity_steps"]))
        elif commands[index * COMMAND_BYTES] == _AMEND and order_id in known:
            command = _command(commands, index)
            old_id, old_steps = known[order_id]
            new_id = _text(command.other_client_id) or old_id
            known[order_id] = (new_id, command.quantity_steps)
            done.append(
                Amendment(
                    int(event["account"]), int(event["market"]), order_id, int(event["execution_id"]), old_id, new_id,
                    old_steps, command.quantity_steps, time_ns,
                )
            )  # fmt: skip
    return done


def _command(commands: memoryview | bytes, index: int) -> CommandRow:
    return CommandRow._make(COMMAND_STRUCT.unpack_from(commands, index * COMMAND_BYTES))


def _text(raw: bytes) -> bytes:
    return raw.rstrip(b"\0")
