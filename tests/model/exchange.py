# SPDX-License-Identifier: Apache-2.0
"""The twin's door: batches, writers, time, digests, the commands that set up, and the canonical dump.

The differential tests compare it with the kernel. It is written from RULES.md and must never look at the kernel.
"""

from tests.model.audit import audit
from tests.model.parts import Account, Asset, Market, Refused, UnknownCommand, WriterGap, is_text
from tests.model.records import (
    ACCOUNT,
    ASSET,
    COMMAND,
    COMMAND_BYTES,
    CONFIGURE,
    MARKET,
    AccountCommand,
    AssetCommand,
    Command,
    CommandKind,
    ConfigureCommand,
    Event,
    EventKind,
    MarketCommand,
    Mode,
    Permission,
    Position,
    Reject,
    State,
    Top,
)
from tests.model.replacing import Replacing, check_groups

DIGEST_KEPT_NS = 61_000_000_000
NO_DIGEST = bytes(16)
RATE_ONE = 10**8
TIME_MAX = 2**63 - 1
# Other fields lie where deadline and digest are.
UNSIGNED = (CommandKind.CONFIGURE, CommandKind.MARKET, CommandKind.NOTE)
NAMING_BOTH = (
    CommandKind.PLACE,
    CommandKind.CANCEL,
    CommandKind.CANCEL_ALL,
    CommandKind.AMEND,
    CommandKind.KILL,
    CommandKind.REPLACE,
)
NEWEST_RULES = 2
MULTIPLIERS = (
    "bid_multiplier_up_e4",
    "bid_multiplier_down_e4",
    "ask_multiplier_up_e4",
    "ask_multiplier_down_e4",
)


class ModelExchange(Replacing):
    """The plain twin of `bidhall.core.Exchange`."""

    def apply(
        self,
        commands: bytes,
        log_time_ns: int = 0,
        writer_time_ns: int = 0,
        writer: bytes | None = None,
        number: int = 0,
    ) -> list[Event] | None:
        """One batch; None when this writer's batch was applied before."""
        if len(commands) % COMMAND_BYTES:
            raise UnknownCommand
        if not set(commands[::COMMAND_BYTES]) <= set(range(1, 18)):
            raise UnknownCommand
        check_groups(commands)
        if writer is not None:
            highest = self.writers.get(writer, 0)
            if number <= highest:
                return None
            if number != highest + 1:
                raise WriterGap
            self.hear(writer, number)
        self.time_ns = max(self.time_ns, min(log_time_ns, writer_time_ns))
        self.forget_digests()
        self.events, self.done, self.tops, self.positions = [], [], [], []
        for offset in range(0, len(commands), COMMAND_BYTES):
            raw = commands[offset : offset + COMMAND_BYTES]
            if raw[0] == CommandKind.REPLACE:
                self.second = Command._make(COMMAND.unpack_from(commands, offset + COMMAND_BYTES))
            self.apply_one(raw)
        return self.events

    def hear(self, writer: bytes, number: int) -> None:
        """The dict is kept in the order in which writers were last heard."""
        if writer in self.writers:
            del self.writers[writer]
        elif len(self.writers) >= self.writers_max:
            del self.writers[next(iter(self.writers))]
            self.reached["a writer is forgotten"] += 1
        self.writers[writer] = number

    def forget_digests(self) -> None:
        while self.digests:
            oldest = next(iter(self.digests))
            if self.digests[oldest][3] >= self.time_ns:
                break
            del self.digests[oldest]
            self.reached["a digest is forgotten"] += 1

    def apply_one(self, raw: bytes) -> None:
        """Takes a sequence, runs the command, and reports what it has changed."""
        self.sequence += 1
        command = Command._make(COMMAND.unpack(raw))
        self.touched = {}
        self.pass_gate(raw, command)
        for market in self.markets.values():
            top = market.top() if market.changed_at == self.sequence else market.shown_top
            if top != market.shown_top:
                market.shown_top = top
                self.tops.append(Top(self.sequence, market.update_id, market.id, 0, *top))
        for account, asset in self.touched:
            if account in self.watched:
                balance = self.balance(account, asset)
                self.positions.append(Position(self.sequence, account, asset, balance.free_units, balance.locked_units))

    def pass_gate(self, raw: bytes, command: Command) -> None:
        """RULES.md "Before any command"."""
        if self.replaced_by:
            self.follow_replace(command)
            return
        if command.kind == CommandKind.REPLACE:
            self.begin_replace()
        if not self.configured and command.kind != CommandKind.CONFIGURE:
            self.emit_answer(EventKind.REJECTED, command, code=Reject.NOT_CONFIGURED)
            return
        if command.kind in UNSIGNED:
            self.run(raw, command)
            return
        if command.deadline_ns and self.time_ns > command.deadline_ns:
            self.emit_answer(EventKind.REJECTED, command, code=Reject.DEADLINE)
            return
        digest = command.digest
        if digest == NO_DIGEST:
            self.run(raw, command)
            return
        if digest in self.digests:
            sequence, code, order_id, expires_ns = self.digests[digest]
            if expires_ns < self.time_ns:
                self.reached["a digest waits behind another"] += 1
            self.emit_answer(EventKind.REPEATED, command, code=code, order_id=order_id, trade_id=sequence)
            return
        if len(self.digests) >= self.digests_max:
            self.emit_answer(EventKind.REJECTED, command, code=Reject.BUSY)
            return
        first = len(self.events)
        self.run(raw, command)
        result = self.events[first]
        expires_ns = command.deadline_ns or min(self.time_ns + DIGEST_KEPT_NS, TIME_MAX)
        self.digests[digest] = (self.sequence, result.code, result.order_id, expires_ns)

    def run(self, raw: bytes, command: Command) -> None:
        """The command itself: done, or refused without a trace."""
        try:
            self.dispatch(raw, command)
        except Refused as refused:
            self.emit_answer(EventKind.REJECTED, command, code=refused.code)

    def dispatch(self, raw: bytes, command: Command) -> None:
        kind = command.kind
        if kind == CommandKind.PLACE:
            self.place(command)
        elif kind == CommandKind.CANCEL:
            self.cancel(command)
        elif kind == CommandKind.CANCEL_ALL:
            self.cancel_all(command)
        elif kind == CommandKind.AMEND:
            self.amend(command)
        elif kind == CommandKind.CONFIGURE:
            self.configure(ConfigureCommand._make(CONFIGURE.unpack(raw)))
        elif kind == CommandKind.ASSET:
            self.create_asset(AssetCommand._make(ASSET.unpack(raw)))
        elif kind == CommandKind.ACCOUNT:
            self.create_account(AccountCommand._make(ACCOUNT.unpack(raw)))
        elif kind == CommandKind.ACCOUNT_CHANGE:
            self.change_account(AccountCommand._make(ACCOUNT.unpack(raw)))
        elif kind == CommandKind.MARKET:
            self.create_market(MarketCommand._make(MARKET.unpack(raw)))
        elif kind == CommandKind.MARKET_STATE:
            self.set_market_state(command)
        elif kind == CommandKind.DEPOSIT:
            self.deposit(command)
        elif kind == CommandKind.WITHDRAW:
            self.withdraw(command)
        elif kind == CommandKind.MARK:
            self.emit(EventKind.MARKED, market=self.known_market(command.market).id)
        elif kind == CommandKind.RULES:
            self.activate_rules(command)
        elif kind == CommandKind.KILL:
            self.kill(command)
        elif kind == CommandKind.REPLACE:
            self.cancel_and_replace(command)
        else:
            self.emit(EventKind.NOTED)

    def emit_answer(self, kind: int, command: Command, **fields: int) -> None:
        """REJECTED or REPEATED, naming whom the command names."""
        if command.kind in NAMING_BOTH:
            fields |= {"account": command.account, "market": command.market}
        elif command.kind in (CommandKind.MARKET_STATE, CommandKind.MARK):
            fields |= {"market": command.market}
        elif command.kind in (CommandKind.DEPOSIT, CommandKind.WITHDRAW):
            fields |= {"account": command.account, "asset": command.market}
        elif command.kind == CommandKind.ACCOUNT_CHANGE:
            fields |= {"account": command.account}
        self.emit(kind, **fields)

    # Setting up.

    def configure(self, c: ConfigureCommand) -> None:
        limits = (
            (c.accounts_max, 2**26),
            (c.orders_max, 2**26),
            (c.assets_max, 2**12),
            (c.markets_max, 2**14),
            (c.digests_max, 2**26),
            (c.writers_max, 2**16),
        )
        is_known = 1 <= c.rules_version <= NEWEST_RULES
        if self.configured or not is_known or not all(1 <= value <= most for value, most in limits):
            raise Refused(Reject.MALFORMED)
        self.accounts_max, self.orders_max = c.accounts_max, c.orders_max
        self.assets_max, self.markets_max = c.assets_max, c.markets_max
        self.digests_max, self.writers_max = c.digests_max, c.writers_max
        self.configured = True
        self.rules = c.rules_version
        self.emit(EventKind.CONFIGURED)

    def activate_rules(self, command: Command) -> None:
        if not self.rules <= command.order_id <= NEWEST_RULES:
            raise Refused(Reject.RULES)
        if command.order_id > self.rules and self.open_order_count:
            self.reached["rules change while orders are open"] += 1
        self.rules = command.order_id
        self.emit(EventKind.RULES, order_id=command.order_id)

    def create_asset(self, c: AssetCommand) -> None:
        if c.decimals > 8 or not is_text(c.name):
            raise Refused(Reject.MALFORMED)
        if any(asset.name == c.name for asset in self.assets.values()):
            raise Refused(Reject.DUPLICATE_NAME)
        if len(self.assets) >= self.assets_max:
            raise Refused(Reject.LIMIT)
        number = len(self.assets) + 1
        self.assets[number] = Asset(c.name, c.decimals)
        self.emit(EventKind.ASSET, asset=number)

    def check_account_rates(self, c: AccountCommand) -> None:
        if not -1 <= c.maker_rate_e8 <= RATE_ONE or not -1 <= c.taker_rate_e8 <= RATE_ONE:
            raise Refused(Reject.MALFORMED)

    def create_account(self, c: AccountCommand) -> None:
        self.check_account_rates(c)
        if len(self.accounts) >= self.accounts_max:
            raise Refused(Reject.LIMIT)
        number = len(self.accounts) + 1
        self.accounts[number] = Account(c.permissions, c.maker_rate_e8, c.taker_rate_e8, c.trade_group)
        self.emit(EventKind.ACCOUNT, account=number)

    def change_account(self, c: AccountCommand) -> None:
        account = self.known_account(c.account)
        self.check_account_rates(c)
        account.permissions = c.permissions
        account.maker_rate_e8, account.taker_rate_e8 = c.maker_rate_e8, c.taker_rate_e8
        account.trade_group = c.trade_group
        self.emit(EventKind.ACCOUNT, account=c.account)

    def create_market(self, c: MarketCommand) -> None:
        if not is_text(c.name):
            raise Refused(Reject.MALFORMED)
        if c.base_asset not in self.assets or c.quote_asset not in self.assets:
            raise Refused(Reject.UNKNOWN_ASSET)
        if c.base_asset == c.quote_asset:
            raise Refused(Reject.MALFORMED)
        if any(market.name == c.name for market in self.markets.values()):
            raise Refused(Reject.DUPLICATE_NAME)
        self.check_market_numbers(c)
        quote_units = self.quote_units_per_tick_step(c)
        if len(self.markets) >= self.markets_max:
            raise Refused(Reject.LIMIT)
        number = len(self.markets) + 1
        shared = {name: getattr(c, name) for name in Market.__dataclass_fields__ if name in MarketCommand._fields}
        if self.rules < 2:
            shared |= dict.fromkeys(MULTIPLIERS, 0)
        self.markets[number] = Market(id=number, quote_units_per_tick_step=quote_units, **shared)
        self.emit(EventKind.MARKET, market=number, status=c.state)

    def check_market_numbers(self, c: MarketCommand) -> None:
        modes = c.self_trade_preventions
        last_mode = Mode.EXPIRE_BOTH if self.rules < 2 else Mode.TRANSFER
        good = (
            c.tick_e8 > 0
            and c.step_units > 0
            and 1 <= c.price_ticks_min <= c.price_ticks_max <= 2**42
            and 1 <= c.quantity_steps_min <= c.quantity_steps_max
            and 1 <= c.market_quantity_steps_min <= c.market_quantity_steps_max
            and c.notional_units_min >= 0
            and c.notional_units_max >= 0
            and c.average_minutes <= 60
            and 0 <= c.maker_rate_e8 <= RATE_ONE
            and 0 <= c.taker_rate_e8 <= RATE_ONE
            and State.TRADING <= c.state <= State.END_OF_DAY
            and modes < 1 << last_mode
            and Mode.NONE <= c.self_trade_prevention <= last_mode
            and modes >> (c.self_trade_prevention - 1) & 1
            and (self.rules < 2 or self.are_multipliers_good(c))
        )
        if not good:
            raise Refused(Reject.MALFORMED)

    def are_multipliers_good(self, c: MarketCommand) -> bool:
        """Where a side has both, the upper is not below the lower."""
        sides = (
            (c.bid_multiplier_up_e4, c.bid_multiplier_down_e4),
            (c.ask_multiplier_up_e4, c.ask_multiplier_down_e4),
        )
        return all(not up_e4 or not down_e4 or up_e4 >= down_e4 for up_e4, down_e4 in sides)

    def quote_units_per_tick_step(self, c: MarketCommand) -> int:
        """What one step costs at a price of one tick; refused unless whole and small enough."""
        base, quote = self.assets[c.base_asset], self.assets[c.quote_asset]
        units, rest = divmod(c.tick_e8 * c.step_units * 10**quote.decimals, 10 ** (8 + base.decimals))
        if rest or units < 1:
            raise Refused(Reject.BAD_MARKET)
        if c.price_ticks_max * c.quantity_steps_max * units > 2**62 or c.quantity_steps_max * c.step_units > 2**62:
            raise Refused(Reject.BAD_MARKET)
        return units

    def set_market_state(self, command: Command) -> None:
        market = self.known_market(command.market)
        if not State.TRADING <= command.restriction <= State.END_OF_DAY:
            raise Refused(Reject.MALFORMED)
        market.state = command.restriction
        self.emit(EventKind.MARKET_STATE, market=command.market, status=command.restriction)

    # Money in and out.

    def check_transfer(self, command: Command, permission: int) -> Asset:
        account = self.known_account(command.account)
        if command.market not in self.assets:
            raise Refused(Reject.UNKNOWN_ASSET)
        if command.quote_quantity_units <= 0:
            raise Refused(Reject.MALFORMED)
        if not account.permissions & permission:
            raise Refused(Reject.ACCOUNT_CLOSED)
        return self.assets[command.market]

    def deposit(self, command: Command) -> None:
        asset = self.check_transfer(command, Permission.DEPOSIT)
        units = command.quote_quantity_units
        if asset.supply_units + units > 2**62:
            raise Refused(Reject.SUPPLY)
        asset.deposited_units += units
        self.transfer(command, units)

    def withdraw(self, command: Command) -> None:
        asset = self.check_transfer(command, Permission.WITHDRAW)
        units = command.quote_quantity_units
        if self.balance(command.account, command.market).free_units < units:
            raise Refused(Reject.INSUFFICIENT_BALANCE)
        asset.withdrawn_units += units
        self.transfer(command, -units)

    def transfer(self, command: Command, signed_units: int) -> None:
        self.move(command.account, command.market, signed_units)
        balance = self.balance(command.account, command.market)
        self.emit(
            EventKind.BALANCE,
            account=command.account,
            asset=command.market,
            quantity_steps=signed_units,
            executed_steps=balance.free_units,
            executed_quote_units=balance.locked_units,
        )

    # Looking at it.

    def watch(self, account: int, on: bool) -> None:
        self.watched.add(account) if on else self.watched.discard(account)

    def audit(self) -> None:
        """Raises Broken when money or a book is not as it must be."""
        audit(self)

    def dump(self) -> dict[str, object]:
        """All state, in the canonical shape that the kernel's `dump` has."""
        return {
            "time_ns": self.time_ns,
            "sequence": self.sequence,
            "next_order_id": self.next_order_id,
            "next_execution_id": self.next_execution_id,
            "assets": [self.dump_asset(asset) for asset in self.assets.values()],
            "accounts": [self.dump_account(account) for account in self.accounts.values()],
            "markets": [self.dump_market(market) for market in self.markets.values()],
            "digests": [(digest.hex(), *rest) for digest, rest in self.digests.items()],
            "writers": {writer.hex(): number for writer, number in self.writers.items()},
        }

    def dump_asset(self, asset: Asset) -> dict[str, object]:
        return {
            "name": asset.name.rstrip(b"\0"),
            "decimals": asset.decimals,
            "deposited": asset.deposited_units,
            "withdrawn": asset.withdrawn_units,
            "fees": asset.fees_units,
        }

    def dump_account(self, account: Account) -> dict[str, object]:
        return {
            "permissions": account.permissions,
            "maker_rate_e8": account.maker_rate_e8,
            "taker_rate_e8": account.taker_rate_e8,
            "trade_group": account.trade_group,
            "balances": {
                asset: (balance.free_units, balance.locked_units)
                for asset, balance in account.balances.items()
                if balance.free_units or balance.locked_units
            },
        }

    def dump_market(self, market: Market) -> dict[str, object]:
        return {
            "name": market.name.rstrip(b"\0"),
            "state": market.state,
            "last_price_ticks": market.last_price_ticks,
            "next_trade_id": market.next_trade_id,
            "next_prevented_match_id": market.next_prevented_match_id,
            "update_id": market.update_id,
            "average": market.live_slots(self.time_ns),
            **{
                name: [order.record() for order in getattr(market, name)] for name in ("bids", "asks", "above", "below")
            },
        }
