# SPDX-License-Identifier: Apache-2.0
"""User data: what every applied batch means for the accounts that somebody watches.

Who calls it: `Feeds` after every batch; the WebSocket API subscribes. Sequences by binance_api.md §8.2: the reports of
a command in engine order, then one position with the assets it touched; a deposit or withdrawal gives a balance update,
then the position. An event is encoded once per time unit and is the same on every subscription of the account. What may
never happen here: a position before the report that caused it, an event of another account, or a field that a later
command of the same batch has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from bidhall.core.records import (
    ORDER_STRUCT,
    CommandKind,
    EventFlag,
    EventKind,
    EventRow,
    OrderRow,
    PositionRow,
    Reject,
)
from bidhall.protocol import user_events
from bidhall.protocol.words import client_id_text

if TYPE_CHECKING:
    from bidhall.protocol.markets import Asset
    from bidhall.replica import Applied, Replica

COMMAND_BYTES: Final = 192
LAST: Final = int(EventFlag.LAST)  # plain: an enum's own operators cost more than the rest of the line
FEW: Final = 64  # events; more of them are sifted by account before they become rows
PREVENTED_BIT: Final = 1 << EventKind.PREVENTED
CANCELLING: Final = (CommandKind.CANCEL, CommandKind.CANCEL_ALL, CommandKind.REPLACE)

REPORTED: Final = frozenset(
    (
        EventKind.ACCEPTED,
        EventKind.FILL,
        EventKind.CANCELED,
        EventKind.EXPIRED,
        EventKind.REPLACED,
        EventKind.TRIGGERED,
        EventKind.PREVENTED,
    )
)


class Subscription:
    """One reader of one account's events."""

    __slots__ = ("account", "deliver", "ended", "key_text", "number", "unit_ns")

    def __init__(
        self,
        account: int,
        key_text: str,
        number: int,
        unit_ns: int,
        deliver: Callable[[Subscription, list[bytes]], None],
        ended: Callable[[Subscription], None],
    ) -> None:
        self.account = account
        self.key_text = key_text
        self.number = number  # subscriptionId of its connection
        self.unit_ns = unit_ns
        self.deliver = deliver  # the events of one batch, in order
        self.ended = ended  # the key was switched off


class AccountFeed:
    """A watched account: its readers, and the client ids its open orders had before this batch."""

    __slots__ = ("account", "client_ids", "subscriptions")

    def __init__(self, account: int) -> None:
        self.account = account
        self.subscriptions: dict[Subscription, None] = {}
        # An amendment changes an order's client id, and its report names the old one, which the kernel has forgotten.
        self.client_ids: dict[int, str] = {}


class UserData:
    """All watched accounts of this process."""

    def __init__(self, replica: Replica) -> None:
        self.replica = replica
        self.accounts: dict[int, AccountFeed] = {}
        self._version = -1

    def subscribe(self, subscription: Subscription) -> None:
        """Events of the account from the next batch on."""
        account = subscription.account
        feed = self.accounts.get(account)
        if feed is None:
            feed = self.accounts[account] = AccountFeed(account)
            self.replica.exchange.watch(account, True)
            for order in self.replica.open_orders(account):
                feed.client_ids[order.order_id] = client_id_text(order.client_id)
        feed.subscriptions[subscription] = None

    def unsubscribe(self, subscription: Subscription) -> None:
        """No more events; the last reader of an account ends the watch."""
        feed = self.accounts.get(subscription.account)
        if feed is None or subscription not in feed.subscriptions:
            return
        del feed.subscriptions[subscription]
        if not feed.subscriptions:
            del self.accounts[subscription.account]
            self.replica.exchange.watch(subscription.account, False)

    def on_batch(self, applied: Applied) -> None:
        """Send what this batch means for the watched accounts."""
        if not self.accounts:
            return
        rows = self._rows(applied)
        positions = [row for row in applied.position_rows if row.account in self.accounts]
        if rows or positions:
            _Batch(self, applied).send(rows, positions)
        if self.replica.registry.version != self._version:
            self._version = self.replica.registry.version
            self._end_switched_off()

    def _rows(self, applied: Applied) -> list[EventRow]:
        if len(applied.events) <= FEW:
            return [row for row in applied.rows if row.account in self.accounts]
        accounts = applied.events["account"].tolist()
        chosen = [index for index, account in enumerate(accounts) if account in self.accounts]
        return [EventRow._make(values) for values in applied.events[chosen].tolist()]

    def _end_switched_off(self) -> None:
        keys = self.replica.registry.keys
        for feed in list(self.accounts.values()):
            for subscription in list(feed.subscriptions):
                key = keys.get(subscription.key_text)
                if key is None or not key.enabled or key.account != subscription.account:
                    self.unsubscribe(subscription)
                    subscription.ended(subscription)


class _Batch:
    """One batch on its way to the readers."""

    def __init__(self, user_data: UserData, applied: Applied) -> None:
        self.replica = user_data.replica
        self.accounts = user_data.accounts
        self.applied = applied
        self.time_ns = applied.time_ns
        self.commands = applied.batch.entry.commands
        self.done: dict[int, OrderRow] | None = None
        self.to_prevent: dict[int, int] = {}  # by order: what the events still to come take off it
        self.outgoing: dict[Subscription, list[bytes]] = {}

    def send(self, rows: Sequence[EventRow], positions: Sequence[PositionRow]) -> None:
        """Merge reports and positions by command, encode, deliver."""
        if self.applied.kinds & PREVENTED_BIT:
            for row in rows:
                if row.kind == EventKind.PREVENTED:
                    self.to_prevent[row.order_id] = self.to_prevent.get(row.order_id, 0) + row.quantity_steps
        following = groupby(positions, key=lambda row: row.sequence)
        at = next(following, None)
        for sequence, events_of_command in groupby(rows, key=lambda row: row.sequence):
            while at is not None and at[0] < sequence:
                self._positions(at[1])
                at = next(following, None)
            for row in events_of_command:
                self._event(row)
            if at is not None and at[0] == sequence:
                self._positions(at[1])
                at = next(following, None)
        while at is not None:
            self._positions(at[1])
            at = next(following, None)
        for subscription, payloads in self.outgoing.items():
            subscription.deliver(subscription, payloads)

    def _event(self, row: EventRow) -> None:
        feed = self.accounts[row.account]
        if row.kind in REPORTED:
            self._report(feed, row)
        elif row.kind == EventKind.BALANCE:
            asset = self.replica.registry.assets[row.asset]
            self._emit(feed, lambda unit: user_events.balance_update(asset, row.quantity_steps, self.time_ns, unit))
        elif row.kind == EventKind.REJECTED and row.code != Reject.NOT_ATTEMPTED:
            self._rejection(feed, row)

    def _rejection(self, feed: AccountFeed, row: EventRow) -> None:
        """Only the new half of a cancel-replace is told of: whoever places an order has the refusal as its answer."""
        index = row.sequence - self.applied.first_sequence
        if index and self.commands[(index - 1) * COMMAND_BYTES] == CommandKind.REPLACE:
            place = user_events.command_row(self.commands, index)
            market = self.replica.registry.market_by_id[row.market]
            self._emit(feed, lambda unit: user_events.rejection_report(market, place, row.code, self.time_ns, unit))

    def _report(self, feed: AccountFeed, row: EventRow) -> None:
        order = self._order(row.order_id)
        market = self.replica.registry.market_by_id[row.market]
        client_id, original = self._client_ids(feed, row, order)
        prevented = order.prevented_steps
        group = 0
        if self.to_prevent:
            prevented -= self._still_to_prevent(row)
        if row.kind == EventKind.PREVENTED:
            group = self.replica.exchange.account(row.account)["trade_group"]
        self._emit(
            feed,
            lambda unit: user_events.execution_report(
                market, row, order, client_id, original, self.time_ns, unit, prevented, group
            ),
        )

    def _still_to_prevent(self, row: EventRow) -> int:
        """The order's record is of the batch's end; this much of what it says was prevented comes behind this event."""
        left = self.to_prevent.get(row.order_id, 0)
        if row.kind == EventKind.PREVENTED:
            left -= row.quantity_steps
            self.to_prevent[row.order_id] = left
        return left

    def _client_ids(self, feed: AccountFeed, row: EventRow, order: OrderRow) -> tuple[str, str]:
        """`c` and `C`: the order's own id and nothing, except for cancels and amendments."""
        known = feed.client_ids
        if row.kind == EventKind.ACCEPTED:
            known[row.order_id] = self._command_text(row, user_events.command_client_id, CommandKind.PLACE)
        own = known.get(row.order_id) or client_id_text(order.client_id)
        other = user_events.command_other_client_id
        if row.kind == EventKind.REPLACED:
            new = self._command_text(row, other, CommandKind.AMEND) or own
            known[row.order_id] = new
            return new, own
        if row.flags & LAST:
            known.pop(row.order_id, None)
        if row.kind == EventKind.CANCELED:
            return self._command_text(row, other, *CANCELLING) or own, own
        if row.kind == EventKind.EXPIRED:  # an amendment to what is executed already gives the new id all the same
            return self._command_text(row, other, CommandKind.AMEND) or own, ""
        return own, ""

    def _command_text(self, row: EventRow, read: Callable[[Any, int], str], *kinds: CommandKind) -> str:
        index = row.sequence - self.applied.first_sequence
        return read(self.commands, index) if self.commands[index * COMMAND_BYTES] in kinds else ""

    def _order(self, order_id: int) -> OrderRow:
        if self.done is None:
            self.done = {order.order_id: order for order in self.applied.done_rows}
        order = self.done.get(order_id)
        if order is None:
            record = self.replica.exchange.order(order_id)
            order = OrderRow._make(ORDER_STRUCT.unpack(record.tobytes()))
        return order

    def _positions(self, rows: Any) -> None:
        by_account: dict[int, list[PositionRow]] = {}
        for row in rows:
            by_account.setdefault(row.account, []).append(row)
        for account, touched in by_account.items():
            assets = self.replica.registry.assets
            balances = [(assets[row.asset], row.free_units, row.locked_units) for row in touched]
            self._position(self.accounts[account], balances)

    def _position(self, feed: AccountFeed, balances: list[tuple[Asset, int, int]]) -> None:
        self._emit(feed, lambda unit: user_events.account_position(balances, self.time_ns, unit))

    def _emit(self, feed: AccountFeed, encode: Callable[[int], bytes]) -> None:
        encoded: dict[int, bytes] = {}
        for subscription in feed.subscriptions:
            unit_ns = subscription.unit_ns
            payload = encoded.get(unit_ns)
            if payload is None:
                payload = encoded[unit_ns] = encode(unit_ns)
            self.outgoing.setdefault(subscription, []).append(payload)
