# SPDX-License-Identifier: Apache-2.0
"""Packers of commands, one for each kind, from the twin's own layouts; each returns 192 bytes.

The generator and the readable tests use them. They must never check anything: tests need bad commands too.
"""

from tests.model.records import (
    ACCOUNT,
    ASSET,
    COMMAND,
    CONFIGURE,
    MARKET,
    NOTE,
    AccountCommand,
    AssetCommand,
    Command,
    CommandKind,
    ConfigureCommand,
    MarketCommand,
    Mode,
    State,
)

BLANK = Command._make(COMMAND.unpack(bytes(COMMAND.size)))._asdict()


def common(kind: int, **fields: int | bytes) -> bytes:
    """Any command of the common layout."""
    command = BLANK | fields
    if len(command) > len(BLANK):
        raise TypeError(f"no such field among {sorted(fields)}")
    command["kind"] = kind
    return COMMAND.pack(*command.values())


def place(account: int, market: int, side: int, type: int, **fields: int | bytes) -> bytes:
    """A new order."""
    return common(CommandKind.PLACE, account=account, market=market, side=side, type=type, **fields)


def cancel(account: int, market: int, order_id: int = 0, **fields: int | bytes) -> bytes:
    """Cancels one order."""
    return common(CommandKind.CANCEL, account=account, market=market, order_id=order_id, **fields)


def cancel_all(account: int, market: int, **fields: int | bytes) -> bytes:
    """Cancels all orders of an account in a market."""
    return common(CommandKind.CANCEL_ALL, account=account, market=market, **fields)


def amend(account: int, market: int, order_id: int, quantity_steps: int, **fields: int | bytes) -> bytes:
    """Lowers an order's quantity."""
    return common(
        CommandKind.AMEND, account=account, market=market, order_id=order_id, quantity_steps=quantity_steps, **fields
    )


def kill(account: int, market: int = 0, **fields: int | bytes) -> bytes:
    """Takes all orders of an account off, in one market or in all."""
    return common(CommandKind.KILL, account=account, market=market, **fields)


def replace(account: int, market: int, new: bytes, order_id: int = 0, **fields: int | bytes) -> bytes:
    """Two records: a cancel, and the placement `new` that follows it."""
    fields = {"legs": 2} | fields
    return common(CommandKind.REPLACE, account=account, market=market, order_id=order_id, **fields) + new


def deposit(account: int, asset: int, units: int, **fields: int | bytes) -> bytes:
    """Money in."""
    return common(CommandKind.DEPOSIT, account=account, market=asset, quote_quantity_units=units, **fields)


def withdraw(account: int, asset: int, units: int, **fields: int | bytes) -> bytes:
    """Money out."""
    return common(CommandKind.WITHDRAW, account=account, market=asset, quote_quantity_units=units, **fields)


def market_state(market: int, state: int, **fields: int | bytes) -> bytes:
    """Opens or closes a market."""
    return common(CommandKind.MARKET_STATE, market=market, restriction=state, **fields)


def mark(market: int, **fields: int | bytes) -> bytes:
    """Closes the open depth span."""
    return common(CommandKind.MARK, market=market, **fields)


def rules(version: int, **fields: int | bytes) -> bytes:
    """Activates rules."""
    return common(CommandKind.RULES, order_id=version, **fields)


def note(payload: bytes = b"", legs: int = 1) -> bytes:
    """One record of a note."""
    return NOTE.pack(CommandKind.NOTE, legs, len(payload), payload)


def configure(**limits: int) -> bytes:
    """The first command."""
    usual = ConfigureCommand(
        kind=CommandKind.CONFIGURE,
        accounts_max=16,
        orders_max=256,
        assets_max=8,
        markets_max=8,
        digests_max=64,
        writers_max=8,
        seed=7,
        rules_version=1,
    )
    return CONFIGURE.pack(*usual._replace(**limits))


def asset(name: bytes, decimals: int = 8) -> bytes:
    """A new asset."""
    return ASSET.pack(*AssetCommand(CommandKind.ASSET, decimals, name))


def signed(raw: bytes, digest: bytes = bytes(16), deadline_ns: int = 0) -> bytes:
    """The same command with a digest and deadline where every signed kind has them."""
    return raw[:64] + deadline_ns.to_bytes(8, "little", signed=True) + digest + raw[88:]


def account(name: bytes = b"", **fields: int) -> bytes:
    """A new account."""
    usual = AccountCommand(CommandKind.ACCOUNT, 7, 0, -1, -1, 0, name)
    return ACCOUNT.pack(*usual._replace(**fields))


def account_change(number: int, **fields: int) -> bytes:
    """Another account's permissions, rates and group."""
    usual = AccountCommand(CommandKind.ACCOUNT_CHANGE, 7, number, -1, -1, 0, b"")
    return ACCOUNT.pack(*usual._replace(**fields))


def market(name: bytes, base_asset: int, quote_asset: int, **fields: int) -> bytes:
    """A new market; unless said otherwise one tick times one step is one unit, and nothing is limited much."""
    usual = MarketCommand(
        kind=CommandKind.MARKET,
        state=State.TRADING,
        self_trade_prevention=Mode.EXPIRE_MAKER,
        self_trade_preventions=0b1111,
        notional_flags=3,
        amends_max=10,
        average_minutes=5,
        base_asset=base_asset,
        quote_asset=quote_asset,
        tick_e8=10**8,
        step_units=1,
        price_ticks_min=1,
        price_ticks_max=1_000_000,
        quantity_steps_min=1,
        quantity_steps_max=1_000_000,
        market_quantity_steps_min=1,
        market_quantity_steps_max=1_000_000,
        name=name,
        market_step_steps=0,
        notional_units_min=0,
        notional_units_max=0,
        maker_rate_e8=0,
        taker_rate_e8=0,
        orders_max=0,
        algo_orders_max=0,
        iceberg_orders_max=0,
        iceberg_parts_max=0,
        position_units_max=0,
        bid_multiplier_up_e4=0,
        bid_multiplier_down_e4=0,
        ask_multiplier_up_e4=0,
        ask_multiplier_down_e4=0,
    )
    return MARKET.pack(*usual._replace(**fields))
