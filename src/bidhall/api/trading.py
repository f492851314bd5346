# SPDX-License-Identifier: Apache-2.0
"""Orders: place, test, cancel, replace, amend. From parameters to a command, and from its events to the answer.

Who calls it: the lane. Each handler makes one command, hands it to the replica and keeps the request; the answer is
built when the command's outcome comes, from its own events only. What may never happen here: an effect that is not a
command in the log, an answer "failed" to something that may have happened (-1007 is for that), or two answers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from bidhall.api.lane import NOT_PLAIN
from bidhall.core.records import CommandKind, EventKind, EventRow
from bidhall.core.wire import Form, MarketNumbers, placed
from bidhall.protocol import endpoints, order_answers, orders, replacements
from bidhall.protocol.errors import (
    ApiError,
    CancelReplaceError,
    bad_key,
    bad_signature,
    busy,
    from_reject,
    internal,
    invalid_symbol,
    outside_window,
    shutting_down,
    too_many_orders,
    unknown_outcome,
)
from bidhall.protocol.words import client_id_text
from bidhall.replica import NotReady, Outcome, OutcomeKind, Overloaded

if TYPE_CHECKING:
    from bidhall.api.access import Gate
    from bidhall.api.lane import Lane, Request
    from bidhall.protocol.markets import Market
    from bidhall.protocol.orders import Placement

logger = logging.getLogger("bidhall.api")

LOOK_NS: Final = 5_000_000
QUEUE_S_MAX: Final = 10.0  # Binance's own time-out of its engine
OLD_S: Final = 1.0  # the oldest command has waited this long: no new orders

AHEAD_NS_MAX: Final = 1_000_000_000  # how far ahead a client's clock may be
DONE: Final = OutcomeKind.DONE
PREVIOUS_IDS_MAX: Final = 10_000
COUNTED: Final = (CommandKind.PLACE, CommandKind.REPLACE)  # each is one new order

Answer = Callable[[Outcome], bytes]


class Times(Protocol):
    """The window of a signed request."""

    @property
    def timestamp_ns(self) -> int: ...
    @property
    def window_ns(self) -> int: ...


class Kept:
    """A request whose command is in the log's queue; `done` is called once, with the outcome."""

    __slots__ = ("answer", "kind", "market", "request", "trading")

    def __init__(self, trading: Trading, request: Request, kind: CommandKind, market: Market, answer: Answer) -> None:
        self.trading = trading
        self.request = request
        self.kind = kind
        self.market = market
        self.answer = answer

    def done(self, outcome: Outcome) -> None:
        """Build the answer; whatever goes wrong with that is a bug that must not touch the replica."""
        request = self.request
        try:
            body = self.answer(self.settled(outcome))
        except ApiError as error:
            if not isinstance(error, CancelReplaceError) or error.order_result == replacements.FAILURE:
                self.trading.failed(request, self.kind)
            request.fail(error)
        except Exception:
            self.trading.fault(request)
        else:
            if self.kind in COUNTED:
                request.more = self.trading.count_lines(request)
            request.finish(body)

    def settled(self, outcome: Outcome) -> Outcome:
        """The outcome that decides: this command's, or the first's when this one was a repeat. Raises what refuses."""
        if outcome.kind is not OutcomeKind.DONE:
            raise self.trading.not_done(self.request, outcome)
        first = outcome.events[0]
        if first.kind == EventKind.REJECTED:
            self.refused(first.code)
        if first.kind != EventKind.REPEATED:
            return outcome
        if first.code:
            self.refused(first.code)
        if outcome.first_repeated is None:
            # Done before, and longer ago than this process remembers: it cannot be told any more what it answered.
            raise unknown_outcome()
        if self.kind in COUNTED:
            self.trading.limits.give_back(self.request.account)
        return outcome.first_repeated

    def refused(self, code: int) -> None:
        """The kernel's no."""
        raise from_reject(code, self.kind, self.market.percent_price_filter)


class KeptReplacement(Kept):
    """A cancel-replace: a no of its first half is not always the end of it."""

    __slots__ = ()

    def refused(self, code: int) -> None:
        """What its answer makes of it, is for the answer to say."""
        if code not in replacements.CANCEL_FAILED:
            super().refused(code)


class KeptOrder:
    """A plain placement whose command is in the log's queue: as `Kept`, the short way."""

    __slots__ = ("form", "request", "trading")

    def __init__(self, trading: Trading, request: Request, form: Form) -> None:
        self.trading = trading
        self.request = request
        self.form = form

    def done(self, outcome: Outcome) -> None:
        """Write the answer when it is a plain one too, else leave it to `Kept`."""
        request = self.request
        try:
            if outcome.kind is DONE:
                count = request.count
                data = placed(
                    self.form, outcome.events, outcome.time_ns, request.unit_ns, request.peer.used, count.ten, count.day
                )
                if data is not None:
                    request.deliver(data)
                    return
        except Exception:
            self.trading.fault(request)
            return
        market = self.trading.registry.markets[self.form.symbol]
        Kept(self.trading, request, CommandKind.PLACE, market, self.answer).done(outcome)

    def answer(self, outcome: Outcome) -> bytes:
        """The general way."""
        placement = orders.Placement()
        for name, value in self.form.request().items():
            setattr(placement, name, value)
        placement.account = self.request.account
        return self.trading.placed(placement, outcome, self.request.unit_ns)


class Trading:
    """The handlers of everything that changes orders."""

    def __init__(self, gate: Gate, lane: Lane) -> None:
        self.replica = gate.replica
        self.registry = gate.replica.registry
        self.environment = gate.environment
        self.limits = gate.limits
        self.lane = lane
        self.access = gate.access
        self.numbers: dict[str, MarketNumbers] = {}
        self.previous_ids: dict[tuple[int, int], str] = {}  # by order and execution of an amend
        self.monotonic = gate.environment.monotonic
        self.looked_ns = 0
        self.is_behind = False
        lane.add(endpoints.ORDER_POST, self.place, reads=False, weight=0).quick = self.quick_place
        lane.add(endpoints.ORDER_DELETE, self.cancel, reads=False, weight=0).quick = self.quick_cancel
        lane.add(endpoints.OPEN_ORDERS_DELETE, self.cancel_all, reads=False, weight=0)
        lane.add(endpoints.CANCEL_REPLACE, self.replace, reads=False, weight=0)
        lane.add(endpoints.AMEND, self.amend, reads=False, weight=4)
        lane.add(endpoints.ORDER_TEST, self.test, reads=True)

    # --- handlers ------------------------------------------------------------------------------------------------

    def place(self, request: Request) -> bytes | None:
        """POST /order"""
        market = self.market(request)
        unit_ns = request.unit_ns
        placement = orders.place(
            request.values, market, request.account, request.parsed.deadline_ns, self.digest(request)
        )
        self.look(request.now_ns)
        if self.is_behind:
            raise busy()
        request.count = self.limits.place(request.account, request.now_ns)

        def answer(outcome: Outcome) -> bytes:
            return self.placed(placement, outcome, unit_ns)

        self.submit(request, CommandKind.PLACE, market, placement.command, answer)
        return None

    def cancel(self, request: Request) -> bytes | None:
        """DELETE /order"""
        market = self.market(request)
        unit_ns = request.unit_ns
        cancellation = orders.cancel(
            request.values, market, request.account, request.parsed.deadline_ns, self.digest(request)
        )

        def answer(outcome: Outcome) -> bytes:
            order = outcome.done[outcome.events[0].order_id]
            return order_answers.canceled(market, order, cancellation.client_id, outcome.time_ns, unit_ns)

        self.submit(request, CommandKind.CANCEL, market, cancellation.command, answer)
        return None

    def cancel_all(self, request: Request) -> bytes | None:
        """DELETE /openOrders"""
        market = self.market(request)
        unit_ns = request.unit_ns
        cancellation = orders.cancel_all(
            request.values, market, request.account, request.parsed.deadline_ns, self.digest(request)
        )

        def answer(outcome: Outcome) -> bytes:
            rows = [outcome.done[event.order_id] for event in outcome.events if event.kind == EventKind.CANCELED]
            return order_answers.canceled_all(market, rows, cancellation.client_id, outcome.time_ns, unit_ns)

        self.submit(request, CommandKind.CANCEL_ALL, market, cancellation.command, answer)
        return None

    def replace(self, request: Request) -> bytes | None:
        """POST /order/cancelReplace"""
        market = self.market(request)
        unit_ns, account = request.unit_ns, request.account
        digest = self.digest(request)
        replacement = replacements.replace(request.values, market, account, request.parsed.deadline_ns, digest)
        self.look(request.now_ns)
        if self.is_behind:
            raise busy()
        kind, command = CommandKind.REPLACE, replacement.command
        no_room = too_many_orders(self.limits.ten_max, "10 SECOND")
        try:
            request.count = self.limits.place(account, request.now_ns)
        except ApiError as full:
            if not replacement.cancel_only:
                raise
            orders.check_filters(replacement.placement, self.replica.exchange.average_price(market.id))
            kind, command, no_room = CommandKind.CANCEL, replacement.cancel, full

        def answer(outcome: Outcome) -> bytes:
            group = self.trade_group(account, outcome)
            return replacements.answer(
                replacement, outcome.events, outcome.done, outcome.time_ns, unit_ns, group, no_room
            )

        kept = KeptReplacement(self, request, kind, market, answer)
        self.hand_in(request, kind, command, kept.done, request.parsed)
        return None

    def amend(self, request: Request) -> bytes | None:
        """PUT /order/amend/keepPriority"""
        market = self.market(request)
        unit_ns = request.unit_ns
        account = request.account
        amendment = orders.amend(request.values, market, account, request.parsed.deadline_ns, self.digest(request))

        def answer(outcome: Outcome) -> bytes:
            event = outcome.events[0]
            order = outcome.done.get(event.order_id) or self.replica.order(account, market.id, event.order_id)
            if order is None:
                raise unknown_outcome()
            amendment.previous_client_id = self.previous_id(event, outcome) or amendment.previous_client_id
            return order_answers.amended(market, event, order, amendment, outcome.time_ns, unit_ns)

        self.submit(request, CommandKind.AMEND, market, amendment.command, answer)
        return None

    def test(self, request: Request) -> bytes | None:
        """POST /order/test: every check of the door and of the market's filters; nothing reaches the log."""
        market = self.market(request)
        placement = orders.place(
            request.values, market, request.account, request.parsed.deadline_ns, self.digest(request)
        )
        orders.check_filters(placement, self.replica.exchange.average_price(market.id))
        if request.values.get("computeCommissionRates"):
            return order_answers.order_test(self.commission(market, request.account))
        return order_answers.order_test(None)

    # --- the short way -------------------------------------------------------------------------------------------

    def quick_place(self, request: Request) -> bytes | None:
        """POST /order when everything about it is plain: the same checks in the same order as the general way.

        One long function where small ones would be plainer: each call saved here is one percent of an order's cost.
        """
        form = self.plain_form(request)
        if form is None:
            return NOT_PLAIN
        numbers = self.numbers.get(form.symbol) or self.numbers_of(form.symbol)
        if numbers is None:
            return NOT_PLAIN
        now_ns = request.now_ns
        command = form.place(request.account, numbers, request.route.name)
        if command is None:
            return NOT_PLAIN
        if now_ns - self.looked_ns > LOOK_NS:
            self.look(now_ns)
        if self.is_behind:
            raise busy()
        request.count = self.limits.place(request.account, now_ns)
        request.deadline_ns = deadline_ns = form.timestamp_ns + form.window_ns
        seconds = (deadline_ns - now_ns) * 1e-9
        deadline = self.monotonic() + (seconds if seconds < QUEUE_S_MAX else QUEUE_S_MAX)
        try:
            self.replica.submit(command, KeptOrder(self, request, form).done, deadline)
        except (Overloaded, NotReady) as error:
            raise self.not_taken(request, CommandKind.PLACE, error) from None
        return request.data

    def quick_cancel(self, request: Request) -> bytes | None:
        """DELETE /order when everything about it is plain."""
        form = self.plain_form(request)
        numbers = self.numbers_of(form.symbol) if form is not None else None
        if form is None or numbers is None:
            return NOT_PLAIN
        command = form.cancel(request.account, numbers, request.route.name)
        if command is None:
            return NOT_PLAIN
        unit_ns, market, own_id = request.unit_ns, numbers.market, form.own_id

        def answer(outcome: Outcome) -> bytes:
            order = outcome.done[outcome.events[0].order_id]
            return order_answers.canceled(market, order, own_id, outcome.time_ns, unit_ns)

        kept = Kept(self, request, CommandKind.CANCEL, market, answer)
        self.hand_in(request, CommandKind.CANCEL, command, kept.done, form)
        return request.data

    def plain_form(self, request: Request) -> Form | None:
        """The form of a plain request from somebody who may trade; raises what refuses that, None: not plain."""
        form = request.form()
        if form is None:
            return None
        known = self.access.known(request.key_text)
        ahead_ns = form.timestamp_ns - request.now_ns
        signer = known.signer
        if ahead_ns >= AHEAD_NS_MAX or -ahead_ns > form.window_ns or signer is None:
            return None  # too early, too late, or Ed25519: the general way says so, or checks that
        if not form.is_signed_by(signer):
            raise bad_signature()
        if not known.may_trade:
            raise bad_key()
        request.account = known.account
        request.key = known.key
        return form

    def numbers_of(self, symbol: str) -> MarketNumbers | None:
        """The numbers of a market; None when there is none of that name."""
        numbers = self.numbers.get(symbol)
        if numbers is None:
            market = self.registry.markets.get(symbol)
            if market is None:
                return None
            numbers = self.numbers[symbol] = MarketNumbers(market)
        return numbers

    def look(self, now_ns: int) -> None:
        """Whether the log is behind; looked up every few milliseconds, not with every order."""
        self.looked_ns = now_ns
        self.is_behind = self.replica.age_seconds() > OLD_S

    # --- shared --------------------------------------------------------------------------------------------------

    def market(self, request: Request) -> Market:
        """The market of the request; raises -1121."""
        market: Market | None = self.registry.markets.get(request.values["symbol"])
        if market is None:
            raise invalid_symbol()
        return market

    def digest(self, request: Request) -> bytes:
        """What makes a repeat of this very request recognisable."""
        return self.access.digest(request.key, request.route.name, request.parsed.payload)

    def commission(self, market: Market, account: int) -> tuple[int, int]:
        """Maker and taker rate in 1e-8 of an account in a market."""
        own = self.replica.exchange.account(account)
        maker, taker = own["maker_rate_e8"], own["taker_rate_e8"]
        return (market.maker_rate_e8 if maker < 0 else maker, market.taker_rate_e8 if taker < 0 else taker)

    def placed(self, placement: Placement, outcome: Outcome, unit_ns: int) -> bytes:
        """The answer to a placement."""
        group = self.trade_group(placement.account, outcome)
        return order_answers.placed(placement, outcome.events, outcome.time_ns, unit_ns, group)

    def previous_id(self, event: EventRow, outcome: Outcome) -> str:
        """The client id that an order had before this amend; kept for a while, for who asks the same again."""
        name = (event.order_id, event.execution_id)
        for change in outcome.amendments:
            if (change.order_id, change.execution_id) == name:
                self.previous_ids[name] = client_id_text(change.old_client_id)
                if len(self.previous_ids) > PREVIOUS_IDS_MAX:
                    self.previous_ids.pop(next(iter(self.previous_ids)))
        return self.previous_ids.get(name, "")

    def trade_group(self, account: int, outcome: Outcome) -> int:
        """The account's, where the answer shows it: when a self-trade was prevented. 0: none."""
        if all(event.kind != EventKind.PREVENTED for event in outcome.events):
            return 0
        group: int = self.replica.exchange.account(account)["trade_group"]
        return group

    def submit(self, request: Request, kind: CommandKind, market: Market, command: bytes, answer: Answer) -> None:
        """Keep the request until the outcome of its command is known."""
        self.hand_in(request, kind, command, Kept(self, request, kind, market, answer).done, request.parsed)

    def hand_in(
        self, request: Request, kind: CommandKind, command: bytes, done: Callable[[Outcome], None], times: Times
    ) -> None:
        """Into the log's queue; it leaves again, unsent and definitely, when the request's window has passed."""
        seconds = (times.timestamp_ns + times.window_ns - request.now_ns) * 1e-9
        deadline = self.environment.monotonic() + (seconds if seconds < QUEUE_S_MAX else QUEUE_S_MAX)
        request.deadline_ns = times.timestamp_ns + times.window_ns
        try:
            self.replica.submit(command, done, deadline)
        except (Overloaded, NotReady) as error:
            raise self.not_taken(request, kind, error) from None

    def not_taken(self, request: Request, kind: CommandKind, error: Exception) -> ApiError:
        """The log's queue did not take it: a definite no."""
        self.failed(request, kind)
        return shutting_down() if isinstance(error, NotReady) else busy()

    def fault(self, request: Request) -> None:
        """An answer could not be built: a bug, logged and counted; what was done stays done."""
        self.lane.faults += 1
        logger.exception("bug in the answer to %s %s", request.route.endpoint.method, request.route.endpoint.path)
        request.fail(internal())

    def failed(self, request: Request, kind: CommandKind) -> None:
        """An order that came to nothing does not count."""
        if kind in COUNTED:
            self.limits.give_back(request.account)

    def not_done(self, request: Request, outcome: Outcome) -> ApiError:
        """What to say when the command has no result."""
        if outcome.kind is OutcomeKind.UNKNOWN:
            return unknown_outcome()
        if self.environment.wall_ns() > request.deadline_ns:
            return outside_window()
        return busy()

    def count_lines(self, request: Request) -> bytes:
        """The order count headers of a placement."""
        count = request.count
        return b"x-mbx-order-count-10s: %d\r\nx-mbx-order-count-1d: %d\r\n" % (count.ten, count.day)
