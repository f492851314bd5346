# SPDX-License-Identifier: Apache-2.0
"""Reads of the past: memory where it can prove its answer, else memory and history together.

Who calls it: the handlers of signed and public reads, and so the WebSocket API, which is served by the same handlers.
Each method here answers at once with finished bytes when memory is proof enough; else it keeps the request (None); the
history is read, merged and made into bytes in a thread of its own, so that trading goes on, and the request is answered
in its turn on its connection.
What may never happen here: "there is none" while it might have been, a record between the two, or one twice.

Where a thing is. The kernel has the open orders. The views have what is done in rings; a ring gives up its oldest in
the order of commands, so everything of a command after `left` (done_left, fills_left …) is in memory. The history has
everything up to the command where its cursor stands; what it could not yet keep lies in its spill, which its reader
joins in. So the two together are whole if and only if cursor.sequence >= left. Candles leave by age: there, all before
the time S has left memory at most, and the history has it if its cursor's kernel time has reached S.

Proof from memory alone: `Views.left` says of an account and market the highest order id and trade id, and the latest
times, that have left. What lies above them was never given up, so a page above them is whole.

An answer from both is the state of the moment in which the read came (t0, on the loop):
  * memory's part, and `left`, are taken at t0, before the disk is asked. What memory gives up afterwards is in this
    part already; were memory asked last, a record could leave it after the history had been read without it.
  * the history is read later, so its cursor may have passed t0. An order that was open at t0 may come as done: memory's
    word stands. Orders and fills made after t0 are kept out by asking for times up to t0 only: otherwise a page could
    show the second of two new orders without the first, and who pages on by ids would never see that one.
  * the same record from both is one: by order id; by trade id and side; by aggregate id.
  * the history is behind `left` (it was busy or away, or this process came back with a newer memory than history): it
    is told to reach the position of now, which takes as long as its backlog, and asked once more, for the memory of t0
    (later memory only has less). Still behind: -1008 with 503. A single order that was found is answered whatever the
    cursor says: a done order never changes.
  * the history cannot be read: when it is only being opened or built, it is waited for in the same way; else, and when
    too many wait for it, -1008 with 503, at once.
  * this process restarts: memory comes from a snapshot, which says what had left, and the log; the history from its own
    file and cursor. Nothing else is remembered, so the same rule holds.
Without a history lists hold what memory has, and a single order that memory cannot rule out gives -1008.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

from bidhall.protocol.errors import ApiError, busy
from bidhall.sinks import HistoryUnavailable

if TYPE_CHECKING:
    from bidhall.api.lane import Lane, Request
    from bidhall.core.records import OrderRow
    from bidhall.core.views import AggTrade, Candle, Fill, Trade
    from bidhall.replica import Replica
    from bidhall.sinks import Cursor, History, Reader

logger = logging.getLogger("bidhall.api")

Found = TypeVar("Found")
Row = TypeVar("Row", bound=tuple[Any, ...])

REACH_S: Final = 2.0  # how long a read waits for a history that is behind
WAITING_MAX: Final = 1_024
COMING: Final = ("starting", "catching up", "following")


def unavailable() -> ApiError:
    """The history cannot answer now, and memory alone is no proof."""
    return ApiError(-1008, busy().message, 503)


class Asking:
    """A request that waits for the history."""

    __slots__ = ("again", "build", "history", "past", "read", "request", "whole")

    def __init__(
        self,
        past: Past,
        history: History,
        request: Request,
        read: Callable[[Reader], tuple[Cursor, Any]],
        whole: Callable[[Cursor, Any], bool],
        build: Callable[[Any], bytes],
    ) -> None:
        self.past = past
        self.history = history
        self.request = request
        self.read = read
        self.whole = whole
        self.build = build
        self.again = False

    def send(self) -> None:
        """Ask."""
        self.history.ask(self.answer, self.done)

    def answer(self, reader: Reader) -> bytes | None:
        """In the history's thread: the finished answer, or None when the history has not enough for one."""
        cursor, found = self.read(reader)
        return self.build(found) if self.whole(cursor, found) else None

    def reach(self) -> None:
        """Ask when the history has all of now, or when the time is over: what it has by then may do."""
        self.again = True
        self.history.reach(self.past.replica.position, lambda reached: self.send(), REACH_S)

    def _may_come(self, error: BaseException | None) -> bool:
        """Whether it is worth to wait: it is behind, or just being opened or built; not when it is known to fail."""
        if self.again:
            return False
        return error is None or (isinstance(error, HistoryUnavailable) and self.history.status()["state"] in COMING)

    def done(self, body: bytes | None, error: BaseException | None) -> None:
        """What came of it."""
        past, request = self.past, self.request
        try:
            if body is None:
                if self._may_come(error):
                    self.reach()
                    return
                raise error or HistoryUnavailable("the history is behind")
        except HistoryUnavailable as fault:
            logger.debug("a read could not be answered from the history: %s", fault)  # the history says it loudly
            past.waiting -= 1
            request.fail(unavailable())
        except ApiError as refusal:
            past.waiting -= 1
            request.fail(refusal)
        except Exception:
            past.waiting -= 1
            request.fail(past.lane.excuse(request.route))
        else:
            past.waiting -= 1
            request.finish(body)


class Past:
    """See above."""

    def __init__(self, replica: Replica, lane: Lane, history: History | None) -> None:
        self.replica = replica
        self.views = replica.views
        self.lane = lane
        self.history = history
        self.waiting = 0
        self.asked = 0  # reads that memory could not answer alone

    def ask(
        self,
        request: Request,
        read: Callable[[Reader], tuple[Cursor, Found]],
        whole: Callable[[Cursor, Found], bool],
        build: Callable[[Found], bytes],
        at_least: int = 0,
    ) -> None:
        """Keep the request until the history has answered `read` wholly; then `build` makes the answer.

        All three run in the history's thread, so they know nothing but what was taken at t0. Before the history has the
        command `at_least` it need not be asked.
        """
        history = self.history
        if history is None or self.waiting >= WAITING_MAX:
            raise unavailable()
        self.waiting += 1
        self.asked += 1
        asking = Asking(self, history, request, read, whole, build)
        if history.cursor.sequence < at_least:
            asking.reach()
        else:
            asking.send()

    def later(
        self,
        request: Request,
        read: Callable[[Reader], tuple[Cursor, Found]],
        build: Callable[[Found], bytes],
    ) -> None:
        """For what memory knows nothing of: everything up to now from the history."""
        sequence = self.replica.exchange.sequence
        self.ask(request, read, lambda cursor, _: cursor.sequence >= sequence, build, at_least=sequence)

    # --- orders --------------------------------------------------------------------------------------------------

    def order(
        self, request: Request, market: int, order_id: int, client_id: bytes, build: Callable[[OrderRow | None], bytes]
    ) -> bytes | None:
        """One that memory has not: by id, or by client id the one that had it last."""
        account = request.account
        left_id = self.views.left(account, market)[0]
        if not left_id or order_id > left_id or not (order_id or client_id):
            return build(None)
        left = self.views.done_left
        if order_id:
            self.ask(
                request,
                lambda reader: reader.order(account, market, order_id),
                lambda cursor, found: found is not None or cursor.sequence >= left,
                build,
            )
        else:
            self.ask(
                request,
                lambda reader: reader.order_by_client(account, market, client_id),
                lambda cursor, _: cursor.sequence >= left,
                build,
            )
        return None

    def all_orders(
        self,
        request: Request,
        market: int,
        limit: int,
        from_id: int,
        start_ns: int,
        end_ns: int,
        build: Callable[[list[OrderRow]], bytes],
    ) -> bytes | None:
        """Open and done, ascending by id: from a lower bound the oldest, else the newest."""
        account, oldest = request.account, from_id >= 0 or start_ns >= 0
        rows = self.replica.all_orders(account, market, limit, from_id, start_ns, end_ns)
        left_id, left_ns, _, _ = self.views.left(account, market)
        if oldest:
            proven = from_id > left_id or start_ns > left_ns
        else:
            proven = len(rows) == limit and rows[0].order_id > left_id
        if proven or not left_id or self.history is None:
            return build(rows)
        left, until_ns = self.views.done_left, self._until(end_ns)

        def both(found: list[OrderRow]) -> bytes:
            every = {row.order_id: row for row in found}
            every.update((row.order_id, row) for row in rows)
            return build(page([every[number] for number in sorted(every)], limit, oldest))

        self.ask(
            request,
            lambda reader: reader.orders(account, market, limit, from_id, start_ns, until_ns),
            lambda cursor, _: cursor.sequence >= left,
            both,
        )
        return None

    def _until(self, end_ns: int) -> int:
        """Nothing that is made after now belongs into an answer of now."""
        now_ns = self.replica.time_ns
        return min(end_ns, now_ns) if end_ns >= 0 else now_ns

    # --- fills ---------------------------------------------------------------------------------------------------

    def fills(
        self,
        request: Request,
        market: int,
        limit: int,
        from_id: int,
        order_id: int,
        start_ns: int,
        end_ns: int,
        build: Callable[[list[Fill]], bytes],
    ) -> bytes | None:
        """An account's fills, of one order if given: from a lower bound the oldest, else the newest."""
        account, oldest = request.account, from_id >= 0 or start_ns >= 0
        rows = self.views.fills(account, market, limit, from_id, order_id, start_ns, end_ns)
        left_order, _, left_id, left_ns = self.views.left(account, market)
        if oldest:
            proven = from_id > left_id or start_ns > left_ns
        else:
            proven = len(rows) == limit and rows[0][1] > left_id
        if not proven and left_id and order_id:
            proven = self._has_all_fills(account, market, order_id, left_order, left_ns)
        if proven or not left_id or self.history is None:
            return build(rows)
        left, until_ns = self.views.fills_left, self._until(end_ns)
        self.ask(
            request,
            lambda reader: reader.fills(account, market, limit, from_id, order_id, start_ns, until_ns),
            lambda cursor, _: cursor.sequence >= left,
            lambda found: build(page(sorted({*found, *rows}, key=_place_of_fill), limit, oldest)),
        )
        return None

    def _has_all_fills(self, account: int, market: int, order_id: int, left_order: int, left_ns: int) -> bool:
        """Whether none of an order's fills has left memory: it was made later than any that has, or never."""
        row = self.replica.order(account, market, order_id)
        return order_id > left_order if row is None else row.created_ns > left_ns

    # --- markets -------------------------------------------------------------------------------------------------

    def trades(
        self, request: Request, market: int, limit: int, from_id: int, build: Callable[[list[Trade]], bytes]
    ) -> bytes | None:
        """A market's trades from an id on, or (-1) the newest."""
        views = self.views
        first, left, _, _, _ = views.trades_left(market)
        if from_id < 0:
            rows = views.trades(market, limit)
            if not left or len(rows) == limit or self.history is None:
                return build(rows)
            from_id = first - (limit - len(rows))
        from_id = max(from_id, 1)
        if not left or from_id >= first or self.history is None:
            return build(views.trades_from(market, from_id, limit))
        missing = min(limit, first - from_id)
        rows = views.trades_from(market, first, limit - missing)
        self.ask(
            request,
            lambda reader: reader.trades(market, missing, from_id),
            lambda cursor, found: cursor.sequence >= left or len(found) == missing,
            lambda found: build([row for row in found if row[0] < first] + rows),
        )
        return None

    def agg_trades(
        self,
        request: Request,
        market: int,
        limit: int,
        from_id: int,
        start_ns: int,
        end_ns: int,
        build: Callable[[list[AggTrade]], bytes],
    ) -> bytes | None:
        """Aggregate trades: from a lower bound the oldest, else the newest."""
        oldest = from_id >= 0 or start_ns >= 0
        rows = self.views.agg_trades(market, limit, from_id, start_ns, end_ns)
        _, _, first, left, first_ns = self.views.trades_left(market)
        proven = from_id >= first or start_ns > first_ns if oldest else len(rows) == limit
        if proven or not left or self.history is None:
            return build(rows)
        until_ns = self._until(end_ns)
        self.ask(
            request,
            lambda reader: reader.agg_trades(market, limit, from_id, start_ns, until_ns),
            lambda cursor, _: cursor.sequence >= left,
            lambda found: build(page(sorted({*found, *rows}), limit, oldest)),
        )
        return None

    def klines(
        self,
        request: Request,
        market: int,
        interval: str,
        limit: int,
        start_ns: int,
        end_ns: int,
        offset_s: int,
        build: Callable[[list[Candle]], bytes],
    ) -> bytes | None:
        """Candles without holes, from the market's first trade on."""
        views, now_ns, history = self.views, self.replica.time_ns, self.history
        lacking = views.klines_left(market, interval, limit, now_ns, start_ns, end_ns, offset_s)
        if lacking is None or history is None:
            return build(views.klines(market, interval, limit, now_ns, start_ns, end_ns, offset_s))
        first_ns, seam_ns = lacking
        rows = views.klines(market, interval, limit, now_ns, seam_ns, end_ns, offset_s)
        before_ns = min(seam_ns - 1, end_ns) if end_ns >= 0 else seam_ns - 1
        sequence = self.replica.exchange.sequence

        def whole(cursor: Cursor, found: list[Candle]) -> bool:
            # The second: nothing has been traded since (so the last candle before S is the one of the last trade at the
            # latest, which the history has), or S is still to come: not even the candle of now is whole in memory.
            return cursor.time_ns >= seam_ns or cursor.sequence >= sequence

        self.ask(
            request,
            lambda reader: reader.candles(market, interval, limit, first_ns, before_ns, offset_s),
            whole,
            lambda found: build([*found, *rows][:limit]),
        )
        return None


def page(rows: list[Row], limit: int, oldest: bool) -> list[Row]:
    """The rule of every list: from a lower bound the oldest, else the newest."""
    return rows[:limit] if oldest else rows[max(len(rows) - limit, 0) :]


def _place_of_fill(fill: Fill) -> tuple[int, bool]:
    """The taker's side of a trade stands before the maker's: an account may have been both."""
    return fill[1], fill[7]
