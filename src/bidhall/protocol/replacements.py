# SPDX-License-Identifier: Apache-2.0
"""Cancel-replace: a cancel and a new order as one request, and the table of what can become of the two.

The door calls `replace` with parsed values, appends the command, and answers with `answer` from its own events. What
refuses the new order before anything is touched (parameters, filters, a closed market) is a plain refusal; after that
each half has a result of its own. It must never say that nothing happened when one half was done.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from bidhall.core import records
from bidhall.core.records import CommandKind, EventKind, EventRow, OrderRow, Reject
from bidhall.protocol import errors, order_answers, orders
from bidhall.protocol.errors import ApiError, from_reject
from bidhall.protocol.markets import Market

_OF_THE_CANCEL: Final = frozenset({
    "cancelReplaceMode", "cancelNewClientOrderId", "cancelOrigClientOrderId", "cancelOrderId", "cancelRestrictions",
    "orderRateLimitExceededMode",
})  # fmt: skip
# What the kernel says when there is nothing to cancel; any other no came before the cancel was looked at.
CANCEL_FAILED: Final = (Reject.UNKNOWN_ORDER, Reject.CANCEL_RESTRICTED)

SUCCESS: Final = "SUCCESS"
FAILURE: Final = "FAILURE"
NOT_ATTEMPTED: Final = "NOT_ATTEMPTED"


class Replacement(NamedTuple):
    """On its way. `command` is both records; `cancel` does the cancel alone, for when there is no room for an order."""

    market: Market
    command: bytes
    placement: orders.Placement
    cancel: bytes
    cancel_client_id: str
    allow_failure: bool
    cancel_only: bool  # the cancel is wanted though the order count is used up


def replace(values: dict[str, Any], market: Market, account: int, deadline_ns: int, digest: bytes) -> Replacement:
    """POST /order/cancelReplace: both commands, or what is wrong with the parameters."""
    if not market.takes_icebergs:
        raise errors.cancel_replace_not_supported()
    of_the_order = {name: value for name, value in values.items() if name not in _OF_THE_CANCEL}
    of_the_order.setdefault("newClientOrderId", orders.automatic_client_id(digest))
    # The digest names the whole request: the first record carries it.
    placement = orders.place(of_the_order, market, account, 0, records.NO_DIGEST)
    order_id, client_id = orders.target(values, errors.unknown_order(), "cancelOrderId", "cancelOrigClientOrderId")
    own_id = values.get("cancelNewClientOrderId") or orders.automatic_client_id(digest[::-1])
    target = {
        "order_id": order_id, "client_id": client_id.encode("ascii"), "other_client_id": own_id.encode("ascii"),
        "restriction": values.get("cancelRestrictions", 0), "deadline_ns": deadline_ns, "digest": digest,
    }  # fmt: skip
    allow_failure = values["cancelReplaceMode"]
    return Replacement(
        market,
        records.replace(account, market.id, placement.command, allow_failure=allow_failure, **target),
        placement,
        records.cancel(account, market.id, **target),
        own_id,
        allow_failure,
        values.get("orderRateLimitExceededMode", False),
    )


class _Half(NamedTuple):
    """What became of one of the two: how it is called, and the object that says more."""

    result: str
    response: bytes


def answer(
    replacement: Replacement,
    events: Sequence[EventRow],
    done: Mapping[int, OrderRow],
    time_ns: int,
    unit_ns: int,
    trade_group: int,
    no_room: ApiError,
) -> bytes:
    """The body when both were done; raises what else became of them. `no_room`: what the new order is told when only
    the cancel was in the log."""
    first = events[0]
    if first.kind == EventKind.REJECTED and first.code not in CANCEL_FAILED:
        raise from_reject(first.code, CommandKind.REPLACE, replacement.market.percent_price_filter)
    of_the_order = [event for event in events if event.sequence != first.sequence]
    cancel = _cancel(replacement, first, done, time_ns // unit_ns)
    if of_the_order:
        order = _order(replacement, of_the_order, time_ns, unit_ns, trade_group)
    else:
        order = _no_order(replacement, cancel, no_room)
    body = (
        f'{{"cancelResult":"{cancel.result}","newOrderResult":"{order.result}","cancelResponse":'.encode()
        + cancel.response + b',"newOrderResponse":' + order.response + b"}"
    )  # fmt: skip
    results = (cancel.result, order.result)
    if results == (SUCCESS, SUCCESS):
        return body
    limited = not of_the_order and not replacement.allow_failure
    if SUCCESS in results:
        error = errors.cancel_replace_partly_failed(429 if limited else 409, body, order.result)
    else:
        error = errors.cancel_replace_failed(429 if limited else 400, body, order.result)
    error.retry_after_s = no_room.retry_after_s if limited else 0
    raise error


def _cancel(replacement: Replacement, first: EventRow, done: Mapping[int, OrderRow], time: int) -> _Half:
    if first.kind == EventKind.REJECTED:
        return _Half(FAILURE, from_reject(first.code, CommandKind.CANCEL).body)
    order = done[first.order_id]
    text = order_answers.canceled_text(replacement.market, order, replacement.cancel_client_id, time)
    return _Half(SUCCESS, text.encode())


def _order(
    replacement: Replacement, events: Sequence[EventRow], time_ns: int, unit_ns: int, trade_group: int
) -> _Half:
    first = events[0]
    if first.kind != EventKind.REJECTED:
        return _Half(SUCCESS, order_answers.placed(replacement.placement, events, time_ns, unit_ns, trade_group))
    if first.code == Reject.NOT_ATTEMPTED:
        return _Half(NOT_ATTEMPTED, b"null")
    return _Half(FAILURE, from_reject(first.code, CommandKind.PLACE, replacement.market.percent_price_filter).body)


def _no_order(replacement: Replacement, cancel: _Half, no_room: ApiError) -> _Half:
    if cancel.result == FAILURE and not replacement.allow_failure:
        return _Half(NOT_ATTEMPTED, b"null")
    return _Half(FAILURE, no_room.body)
