# SPDX-License-Identifier: Apache-2.0
"""Prevented matches: what each self-trade would have been, put together from its one or two events.

Whoever applies batches calls `rows` after the kernel has had a batch with PREVENTED events: the history, live and in
catch-up, and the replica for the answers of that batch. The same log gives the same rows everywhere. It must never
change anything.
"""

from typing import Any, NamedTuple

from bidhall.core.records import (
    ORDER_STRUCT,
    EventFlag,
    EventKind,
    OrderRow,
    SelfTradePrevention,
)


class PreventedMatch(NamedTuple):
    """One meeting of two orders of the same owner (or trade group). Steps are 0 for a side that lost nothing."""

    market: int
    prevented_match_id: int
    taker_order_id: int
    taker_account: int
    maker_order_id: int
    maker_account: int
    trade_group: int  # the taker's; 0: none
    mode: int  # SelfTradePrevention that was applied
    price_ticks: int
    taker_steps: int
    maker_steps: int
    quote_units: int  # what a TRANSFER moved
    time_ns: int


def rows(exchange: Any, events: Any, done: Any, time_ns: int) -> list[PreventedMatch]:
    """Ascending by market and id as they happened. `events` and `done` are the batch's EVENT and ORDER records."""
    matches: dict[tuple[int, int], PreventedMatch] = {}
    modes: dict[int, int] = {}
    for event in events[events["kind"] == EventKind.PREVENTED]:
        makes = bool(int(event["flags"]) & EventFlag.MAKER)
        own, other = int(event["order_id"]), int(event["other_order_id"])
        account, other_account = int(event["account"]), int(event["other_account"])
        taker, taker_account = (other, other_account) if makes else (own, account)
        if taker not in modes:
            modes[taker] = _mode(exchange, done, taker)
        market, number, steps = int(event["market"]), int(event["prevented_match_id"]), int(event["quantity_steps"])
        quote_units = int(event["quote_units"])
        known = matches.get((market, number))
        matches[market, number] = PreventedMatch(
            market, number, taker, taker_account,
            own if makes else other, account if makes else other_account,
            exchange.account(taker_account)["trade_group"],
            _applied(modes[taker], quote_units),
            int(event["price_ticks"]),
            known.taker_steps if makes and known else 0 if makes else steps,
            steps if makes else known.maker_steps if known else 0,
            quote_units, time_ns,
        )  # fmt: skip
    return list(matches.values())


def _mode(exchange: Any, done: Any, order_id: int) -> int:
    """The mode in force of an order that is open, or left with this batch."""
    finished = done[done["order_id"] == order_id]
    if len(finished):
        return int(finished[0]["self_trade_prevention"])
    return int(OrderRow._make(ORDER_STRUCT.unpack(exchange.order(order_id).tobytes())).self_trade_prevention)


def _applied(mode: int, quote_units: int) -> int:
    """A TRANSFER that moved nothing acted as DECREMENT."""
    if mode == SelfTradePrevention.TRANSFER and not quote_units:
        return int(SelfTradePrevention.DECREMENT)
    return mode
