# SPDX-License-Identifier: Apache-2.0
"""Market data over REST: ping, time, exchangeInfo, depth, trades, candles, average price.

Who calls it: the lane. It is read from the kernel and the views of this replica, in the loop's own step, so an answer
never mixes two states; what lies behind the views comes from the history (`past.py`). What may never happen here: a
depth snapshot that does not fit the streams (see Marks).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bidhall.core.records import mark
from bidhall.protocol import endpoints, market_answers
from bidhall.protocol.errors import busy, invalid_symbol, shutting_down, status_mismatch
from bidhall.replica import NotReady, Outcome, OutcomeKind, Overloaded

if TYPE_CHECKING:
    from bidhall.api.access import Gate
    from bidhall.api.lane import Lane, Request
    from bidhall.api.past import Past
    from bidhall.core.views import AggTrade, Candle, Trade
    from bidhall.protocol.markets import Market

MARK_S_MIN: Final = 0.02  # marks of one market are at least this far apart
MARK_READERS_MAX: Final = 10_000
INT64_MAX: Final = (1 << 63) - 1
EMPTY: Final = b"{}"


class Marks:
    """Depth snapshots of one market that wait for the open span of its streams to be closed.

    A span is closed by a *mark*, a command in the log, so that it ends at the same update id on every replica. Readers
    share one: who comes while a mark is on its way is answered by it (it will be applied after all that reader may have
    seen acknowledged), who comes less than 20 ms after the last one waits for the next.
    """

    __slots__ = ("environment", "market", "next_s", "on_way", "readers", "replica")

    def __init__(self, market: Market, replica: Any, environment: Any) -> None:
        self.market = market
        self.replica = replica
        self.environment = environment
        self.readers: list[Request] = []
        self.on_way = False
        self.next_s = 0.0

    def wait(self, request: Request) -> None:
        """Answer this reader with the next mark."""
        if len(self.readers) >= MARK_READERS_MAX:
            raise busy()
        self.readers.append(request)
        if self.on_way:
            return
        self.on_way = True
        wait_s = self.next_s - self.environment.monotonic()
        if wait_s > 0:
            self.environment.call_later(wait_s, self._later)
        else:
            self._send()

    def _later(self) -> None:
        self._send(late=True)

    def _send(self, late: bool = False) -> None:
        self.next_s = self.environment.monotonic() + MARK_S_MIN
        try:
            self.replica.submit(mark(self.market.id), self._marked, None)
        except (Overloaded, NotReady) as error:
            self.on_way = False
            readers, self.readers = self.readers, []
            refusal = shutting_down() if isinstance(error, NotReady) else busy()
            if not late:
                readers.pop()  # the one who called gets it as an exception
            for reader in readers:
                reader.fail(refusal)
            if not late:
                raise refusal from None

    def _marked(self, outcome: Outcome) -> None:
        """The batch with the mark has been applied and nothing after it: read the book now."""
        self.on_way = False
        readers, self.readers = self.readers, []
        if outcome.kind is not OutcomeKind.DONE:
            for reader in readers:
                reader.fail(busy())
            return
        answers: dict[int, bytes] = {}
        for reader in readers:
            limit = reader.values["limit"]
            body = answers.get(limit)
            if body is None:
                body = answers[limit] = snapshot(self.replica.exchange, self.market, limit)
            reader.finish(body)


def snapshot(exchange: Any, market: Market, limit: int) -> bytes:
    """The book as it is now."""
    update_id, bids, asks = exchange.depth(market.id, limit)
    return market_answers.depth(market, update_id, bids, asks)


class PublicReads:
    """The handlers that need no key, except the tickers."""

    def __init__(self, gate: Gate, lane: Lane, streams: Any, past: Past) -> None:
        self.replica = gate.replica
        self.past = past
        self.registry = gate.replica.registry
        self.environment = gate.environment
        self.limits = gate.limits
        self.streams = streams
        self.marks: dict[int, Marks] = {}
        self._infos: dict[tuple[Any, ...], bytes] = {}
        self._infos_version = -1
        lane.add(endpoints.PING, self.ping, reads=False, weight=1)
        lane.add(endpoints.TIME, self.time, reads=False, weight=1)
        lane.add(endpoints.EXCHANGE_INFO, self.exchange_info, weight=20)
        lane.add(endpoints.DEPTH, self.depth)
        lane.add(endpoints.TRADES, self.trades, weight=25)
        lane.add(endpoints.HISTORICAL_TRADES, self.trades, weight=25)
        lane.add(endpoints.AGG_TRADES, self.agg_trades, weight=4)
        lane.add(endpoints.KLINES, self.klines, weight=2)
        lane.add(endpoints.UI_KLINES, self.klines, weight=2)
        lane.add(endpoints.AVG_PRICE, self.average_price, weight=2)

    def ping(self, request: Request) -> bytes:
        """GET /ping"""
        return EMPTY

    def time(self, request: Request) -> bytes:
        """GET /time"""
        return b'{"serverTime":%d}' % (request.now_ns // request.unit_ns)

    def depth(self, request: Request) -> bytes | None:
        """GET /depth: at the end of a closed span of the streams."""
        market = self.market(request)
        if self.streams is not None and self.streams.span_is_open(market.id):
            marks = self.marks.get(market.id)
            if marks is None:
                marks = self.marks[market.id] = Marks(market, self.replica, self.environment)
            marks.wait(request)
            return None
        return snapshot(self.replica.exchange, market, request.values["limit"])

    def trades(self, request: Request) -> bytes | None:
        """GET /trades, and GET /historicalTrades, which has fromId"""
        market = self.market(request)
        values = request.values

        def build(found: list[Trade]) -> bytes:
            return market_answers.trades(market, found, request.unit_ns)

        return self.past.trades(request, market.id, values["limit"], values.get("fromId", -1), build)

    def agg_trades(self, request: Request) -> bytes | None:
        """GET /aggTrades"""
        market = self.market(request)
        values = request.values
        start_ns, end_ns = bounds(values)

        def build(found: list[AggTrade]) -> bytes:
            return market_answers.agg_trades(market, found, request.unit_ns)

        from_id = values.get("fromId", -1)
        return self.past.agg_trades(request, market.id, values["limit"], from_id, start_ns, end_ns, build)

    def klines(self, request: Request) -> bytes | None:
        """GET /klines and GET /uiKlines"""
        market = self.market(request)
        values = request.values
        start_ns, end_ns = bounds(values)
        offset_s = values.get("timeZone", 0) * 60

        def build(found: list[Candle]) -> bytes:
            return market_answers.klines(market, found, request.unit_ns)

        interval, limit = values["interval"], values["limit"]
        return self.past.klines(request, market.id, interval, limit, start_ns, end_ns, offset_s, build)

    def average_price(self, request: Request) -> bytes:
        """GET /avgPrice"""
        market = self.market(request)
        exchange = self.replica.exchange
        ticks = exchange.average_price(market.id) or exchange.last_price(market.id)
        return market_answers.average_price(market, ticks, self.replica.time_ns, request.unit_ns)

    # --- exchangeInfo --------------------------------------------------------------------------------------------

    def exchange_info(self, request: Request) -> bytes:
        """GET /exchangeInfo; the answer is kept until the registry changes, only its clock is set anew."""
        values = request.values
        version = self.registry.version
        if version != self._infos_version or len(self._infos) > 256:
            self._infos.clear()
            self._infos_version = version
        name = (
            values.get("symbol"),
            tuple(values.get("symbols", ())),
            values.get("symbolStatus"),
            tuple(values.get("permissions", ())),
            values.get("showPermissionSets", True),
        )
        body = self._infos.get(name)
        if body is None:
            body = self._infos[name] = market_answers.exchange_info(
                self.chosen(values),
                0,
                1,
                self.limits.rate_limits(),
                show_permission_sets=bool(values.get("showPermissionSets", True)),
            )
        return body.replace(b'"serverTime":0', b'"serverTime":%d' % (request.now_ns // request.unit_ns), 1)

    def chosen(self, values: dict[str, Any]) -> list[Market]:
        """The markets that `symbol`, `symbols`, `permissions` and `symbolStatus` leave."""
        markets = self.registry.markets
        if "symbol" in values or "symbols" in values:
            names = [values["symbol"]] if "symbol" in values else values["symbols"]
            found = [markets.get(name) for name in names]
            if None in found:
                raise invalid_symbol()
            chosen = [market for market in found if market is not None]
        else:
            chosen = list(markets.values())
        if "permissions" in values and "SPOT" not in values["permissions"]:
            chosen = []
        status = values.get("symbolStatus")
        if status is not None:
            if "symbol" in values and chosen[0].status != status:
                raise status_mismatch()
            chosen = [market for market in chosen if market.status == status]
        return chosen

    def market(self, request: Request) -> Market:
        """The market of the request; raises -1121, or -1220 when it is not in the status asked for."""
        values = request.values
        market: Market | None = self.registry.markets.get(values["symbol"])
        if market is None:
            raise invalid_symbol()
        status = values.get("symbolStatus")
        if status is not None and market.status != status:
            raise status_mismatch()
        return market


def bounds(values: dict[str, Any]) -> tuple[int, int]:
    """startTime and endTime as inclusive bounds in ns (a client's whole ms, or µs); -1: not given."""
    start_ns, end_ns = values.get("startTime", -1), values.get("endTime", -1)
    if end_ns >= 0:
        end_ns = min(end_ns + (999_999 if end_ns % 1_000_000 == 0 else 999), INT64_MAX)
    return start_ns, end_ns
