# SPDX-License-Identifier: Apache-2.0
"""Signed reads about what changed orders other than trades: prevented matches, amendments. And the filters.

Who calls it: the lane, after the signature was checked and the replica is fresh. Memory keeps nothing of these: they
are read from the history, once it has everything that this replica has applied. What may never happen here: another
account's order in an answer (both sides of a prevented match belong to the one who asks, or to its trade group).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bidhall.protocol import account_answers, endpoints

if TYPE_CHECKING:
    from bidhall.api.access import Gate
    from bidhall.api.lane import Lane, Request
    from bidhall.api.past import Past
    from bidhall.api.trading import Trading


class PreventedReads:
    """The handlers."""

    def __init__(self, gate: Gate, lane: Lane, trading: Trading, past: Past) -> None:
        self.replica = gate.replica
        self.trading = trading
        self.past = past
        lane.add(endpoints.MY_PREVENTED_MATCHES, self.prevented_matches)
        lane.add(endpoints.AMENDMENTS, self.amendments, weight=4)
        lane.add(endpoints.MY_FILTERS, self.filters, weight=40)

    def prevented_matches(self, request: Request) -> bytes | None:
        """GET /myPreventedMatches"""
        values, account, unit_ns = request.values, request.account, request.unit_ns
        market = self.trading.market(request)
        match_id, order_id = values.get("preventedMatchId", -1), values.get("orderId", -1)
        if 0 in (match_id, order_id):  # the first of each is 1
            return b"[]"
        from_id, limit = values.get("fromPreventedMatchId", -1), values["limit"]
        self.past.later(
            request,
            lambda reader: reader.prevented(account, market.id, limit, max(match_id, 0), max(order_id, 0), from_id),
            lambda rows: account_answers.prevented_matches(market, rows, unit_ns),
        )
        return None

    def amendments(self, request: Request) -> bytes | None:
        """GET /order/amendments"""
        values, account, unit_ns = request.values, request.account, request.unit_ns
        market = self.trading.market(request)
        order_id, limit, from_id = values["orderId"], values["limit"], values.get("fromExecutionId", -1)
        self.past.later(
            request,
            lambda reader: reader.amendments(account, market.id, order_id, limit, from_id),
            lambda rows: account_answers.amendments(market, rows, unit_ns),
        )
        return None

    def filters(self, request: Request) -> bytes:
        """GET /myFilters"""
        return account_answers.my_filters(self.trading.market(request))
