# SPDX-License-Identifier: Apache-2.0
"""What the admin API shows and takes, beside the shapes of `bidhall.documents`. Amounts are decimal text.

Who calls it: `admin.py`. What may never happen here: a secret in anything that is shown.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from bidhall.core.records import CommandKind, MarketState, Reject
from bidhall.documents import PERMISSIONS, BadDocument, Shape, exact
from bidhall.protocol.errors import ApiError, from_reject
from bidhall.protocol.numbers import fixed
from bidhall.replica.registry import KeyPermission

if TYPE_CHECKING:
    from bidhall.protocol.markets import Asset, Market
    from bidhall.replica.registry import Key

Amount = str | int
RATE_DECIMALS: Final = 8
KEY_PERMISSIONS: Final = {"read": KeyPermission.READ, "trade": KeyPermission.TRADE}


class StateDocument(Shape, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A market's new state."""

    state: str


class ExchangeStateDocument(Shape, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The new state of several markets at once: of those named, or of all."""

    state: str
    markets: list[str] | None = None


class KillDocument(Shape, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which orders of an account leave: those of one market, or all. `close`: and it may trade no more."""

    market: str | None = None
    close: bool = False


class MoneyDocument(Shape, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An amount of an asset."""

    asset: str
    amount: Amount


class AccountChange(Shape, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What shall be different about an account; "market" as a rate means the market's."""

    permissions: list[str] | None = None
    maker_rate: Amount | None = None
    taker_rate: Amount | None = None
    trade_group: int | None = None

    def fields(self) -> dict[str, int]:
        """The changed fields of an ACCOUNT_CHANGE command."""
        changed: dict[str, int] = {}
        if self.permissions is not None:
            unknown = [name for name in self.permissions if name not in PERMISSIONS]
            if unknown:
                raise BadDocument(f"permissions: unknown {unknown[0]!r}; known are {', '.join(PERMISSIONS)}")
            changed["permissions"] = sum({PERMISSIONS[name] for name in self.permissions})
        for name, rate in (("maker_rate", self.maker_rate), ("taker_rate", self.taker_rate)):
            if rate is not None:
                changed[name + "_e8"] = -1 if rate == "market" else exact(rate, RATE_DECIMALS, name)
        if self.trade_group is not None:
            changed["trade_group"] = self.trade_group
        return changed


def state_of(name: str) -> MarketState:
    """The market state of this name."""
    known = [state.name for state in MarketState if state]
    if name not in known:
        raise BadDocument(f"state: unknown {name!r}; known are {', '.join(known)}")
    return MarketState[name]


def packed(make: Callable[[], Any], what: str) -> Any:
    """What `make` returns; a number that fits no record is the writer's mistake, not a bug."""
    try:
        return make()
    except (struct.error, OverflowError):
        raise BadDocument(f"{what}: a number is out of range") from None


def key_permissions(names: list[str]) -> int:
    """The bits of a key's permissions."""
    bits = 0
    for name in names:
        if name not in KEY_PERMISSIONS:
            raise BadDocument(f"permissions: unknown {name!r}; known are {', '.join(KEY_PERMISSIONS)}")
        bits |= KEY_PERMISSIONS[name]
    return bits


# What the kernel says no to, in the words of an operator. The codes are the dialect's.
_TEXTS: Final = {
    Reject.MALFORMED: (-1130, "a field is outside of what it may be"),
    Reject.UNKNOWN_ACCOUNT: (-1130, "there is no such account"),
    Reject.ACCOUNT_CLOSED: (-2010, "the account may not do this"),
    Reject.UNKNOWN_MARKET: (-1121, "Invalid symbol."),
    Reject.INSUFFICIENT_BALANCE: (-2010, "Account has insufficient balance for requested action."),
    Reject.UNKNOWN_ASSET: (-1130, "there is no such asset, or both are the same"),
    Reject.SUPPLY: (-1108, "the total of this asset would pass what the ledger can hold"),
    Reject.LIMIT: (-1015, "no room for another one; the limits are fixed by the first command of the log"),
    Reject.DUPLICATE_NAME: (-1130, "there is one of that name already"),
    Reject.BAD_MARKET: (
        -1130,
        "tick x step is no whole number of the quote asset's smallest unit, or a bound is too large",
    ),
}


def refusal(code: int, kind: int) -> ApiError:
    """The kernel's Reject for an operator."""
    known = _TEXTS.get(code)  # type: ignore[call-overload]
    return ApiError(*known) if known is not None else from_reject(code, CommandKind(kind))


def amount(units: int, decimals: int) -> str:
    """Units of 10^-decimals as text with that many decimals."""
    if not decimals:
        return str(units)
    return f"{units // 10**decimals}.{units % 10**decimals:0{decimals}d}"


def rate(rate_e8: int) -> str | None:
    """A fee rate; None: the market's."""
    return None if rate_e8 < 0 else fixed(rate_e8)


def asset(exchange: Any, asset: Asset) -> dict[str, Any]:
    """An asset and its totals."""
    deposited, withdrawn, fees = exchange.totals(asset.id)
    return {
        "id": asset.id,
        "name": asset.name,
        "decimals": asset.decimals,
        "deposited": amount(deposited, asset.decimals),
        "withdrawn": amount(withdrawn, asset.decimals),
        "fees": amount(fees, asset.decimals),
    }


def market(exchange: Any, market: Market) -> dict[str, Any]:
    """A market as its own command has it, with its state."""
    fields = exchange.market(market.id)
    state = fields.pop("state")
    fields.pop("name", None)
    shown = {name: value for name, value in fields.items() if isinstance(value, int)}
    return {
        "id": market.id,
        "name": market.symbol,
        "base": market.base.name,
        "quote": market.quote.name,
        "state": MarketState(state).name,
        "status": market.status,
        **shown,
    }


def balance(asset: Asset, free_units: int, locked_units: int) -> dict[str, str]:
    """One asset of an account."""
    return {
        "asset": asset.name,
        "free": amount(free_units, asset.decimals),
        "locked": amount(locked_units, asset.decimals),
    }


def account(replica: Any, number: int) -> dict[str, Any]:
    """An account with its balances."""
    registry, fields = replica.registry, replica.exchange.account(number)
    return {
        "id": number,
        "name": registry.accounts[number].name,
        "permissions": [name for name, bit in PERMISSIONS.items() if fields["permissions"] & bit],
        "maker_rate": rate(fields["maker_rate_e8"]),
        "taker_rate": rate(fields["taker_rate_e8"]),
        "trade_group": fields["trade_group"],
        "balances": [
            balance(registry.assets[asset], free, locked) for asset, free, locked in replica.exchange.balances(number)
        ],
        "open_orders": len(replica.exchange.open_orders(number)),
    }


def key(key: Key) -> dict[str, Any]:
    """A key without its secret."""
    return {
        "key": key.text,
        "account": key.account,
        "kind": key.kind,
        "permissions": [name for name, bit in KEY_PERMISSIONS.items() if key.permissions & bit],
        "enabled": key.enabled,
        "label": key.label,
    }
