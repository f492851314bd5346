# SPDX-License-Identifier: Apache-2.0
"""The twin's KILL and REPLACE (version 2): many cancels, and a cancel with the placement that follows it.

`exchange.py` builds on it. It must never have checks of its own where CANCEL's and PLACE's are meant.
"""

from tests.model.parts import Refused, UnknownCommand
from tests.model.records import (
    COMMAND,
    COMMAND_BYTES,
    Command,
    CommandFlag,
    CommandKind,
    EventKind,
    Permission,
    Reason,
    Reject,
)
from tests.model.trading import Trading

KILL_RESTRICTION_MAX = 1


def check_groups(commands: bytes) -> None:
    """Every REPLACE has its PLACE behind it; raises before anything is applied."""
    if CommandKind.REPLACE not in commands[::COMMAND_BYTES]:
        return
    records = [Command._make(COMMAND.unpack_from(commands, i)) for i in range(0, len(commands), COMMAND_BYTES)]
    for first, second in zip(records, [*records[1:], None], strict=True):
        if first.kind == CommandKind.REPLACE and not is_group(first, second):
            raise UnknownCommand


def is_group(first: Command, second: Command | None) -> bool:
    return (
        second is not None
        and first.legs == 2
        and second.kind == CommandKind.PLACE
        and (second.account, second.market) == (first.account, first.market)
        and second.legs in (0, 1)
        and second.deadline_ns == 0
        and second.digest == bytes(16)
    )


class Replacing(Trading):
    """RULES.md "Version 2", Commands."""

    def __init__(self) -> None:
        super().__init__()
        self.second: Command | None = None  # the record behind the last REPLACE
        self.replaced_by: Command | None = None  # the PLACE of the REPLACE that has just run
        self.is_place_wanted = False

    def kill(self, command: Command) -> None:
        if self.rules < 2:
            raise Refused(Reject.RULES)
        account = self.known_account(command.account)
        if command.market:
            self.known_market(command.market)
        if command.restriction > KILL_RESTRICTION_MAX:
            raise Refused(Reject.MALFORMED)
        if command.restriction:
            account.permissions &= ~Permission.TRADE
        leaving = [
            order
            for (owner, market), orders in self.open_orders.items()
            for order in orders.values()
            if owner == command.account and command.market in (0, market)
        ]
        self.emit(EventKind.KILLED, account=command.account, market=command.market, quantity_steps=len(leaving))
        for order in sorted(leaving, key=lambda order: order.order_id):
            self.expire(self.markets[order.market], order, Reason.EXCHANGE_CANCELED)

    def begin_replace(self) -> None:
        """Whatever becomes of this record, the next one is its PLACE, and not wanted unless this says so."""
        self.replaced_by = self.second
        self.is_place_wanted = False

    def cancel_and_replace(self, first: Command) -> None:
        """The checks of the new order, and then the cancel; the new order comes with its own record."""
        second = self.second
        if self.rules < 2:
            raise Refused(Reject.RULES)
        if second is None:
            raise LookupError("a REPLACE without its PLACE")
        market = self.check_who_and_where(second)
        self.check_cancel_shape(first)
        self.check_by_itself(market, second)
        self.is_place_wanted = bool(first.flags & CommandFlag.ALLOW_FAILURE)
        self.cancel_target(market, first)
        self.is_place_wanted = True

    def follow_replace(self, command: Command) -> None:
        """The PLACE behind a REPLACE."""
        self.replaced_by = None
        if not self.configured:
            self.emit(EventKind.REJECTED, account=command.account, market=command.market, code=Reject.NOT_CONFIGURED)
            return
        canceled = self.events[-1].kind == EventKind.CANCELED
        if not self.is_place_wanted:
            self.reached["a REPLACE does nothing"] += 1
            self.emit(EventKind.REJECTED, account=command.account, market=command.market, code=Reject.NOT_ATTEMPTED)
            return
        try:
            self.place(command)
            self.reached["a REPLACE does both" if canceled else "a REPLACE only places"] += 1
        except Refused as refused:
            self.reached["a REPLACE only cancels" if canceled else "a REPLACE fails twice"] += 1
            self.emit(EventKind.REJECTED, account=command.account, market=command.market, code=refused.code)
