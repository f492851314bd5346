# SPDX-License-Identifier: Apache-2.0
"""How people write down assets, markets, accounts, balances and API keys: the shapes of a seed document and of the
admin API's bodies, and the commands each becomes.

Called by `seed.py` (whole documents) and by whoever takes one of these objects from a person. Amounts are decimal
text, exact to the last digit; a number with a fraction never passes through a binary one. An unknown name is an error,
not a surprise later. Nothing here reads a file, knows a replica, or decides whether the exchange agrees: that is the
kernel's.
"""

import dataclasses
import re
from collections.abc import Mapping
from enum import IntEnum
from typing import Any, Final, TypeVar, get_type_hints

import msgspec

from bidhall.core import records
from bidhall.core.records import MarketState, SelfTradePrevention

Amount = str | int
E8: Final = 8
PRICE_TICKS_MAX: Final = 1 << 42
PRODUCT_MAX: Final = 1 << 62
PERMISSIONS: Final = {"trade": 1, "deposit": 2, "withdraw": 4}
SELF_TRADE_PREVENTIONS: Final = ("NONE", "EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH", "DECREMENT", "TRANSFER")
MULTIPLIER_DECIMALS: Final = 4
_DECIMAL: Final = re.compile(r"([0-9]{1,20})(?:\.([0-9]{1,20}))?\Z", re.ASCII)
_UNKNOWN_FIELD: Final = re.compile(r"unknown field `(?P<field>[^`]*)`(?: - at `(?P<place>[^`]*)`)?")

AnyStruct = TypeVar("AnyStruct")


class BadDocument(ValueError):
    """What a person wrote cannot be taken; the text says where and why."""


class Shape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all of them are."""


class AssetDocument(Shape, frozen=True, kw_only=True):
    """Something that can be owned; its smallest unit is 10^-decimals."""

    name: str
    decimals: int = 8

    def command(self) -> bytes:
        """The ASSET command."""
        return records.asset(_name(self.name, "asset"), self.decimals)


class MarketDocument(Shape, frozen=True, kw_only=True):
    """Two assets that trade against each other, with the bounds of every filter; what is left out is set wide.

    Prices are bounded by the average price times multipliers: `multiplier_…` of both sides (PERCENT_PRICE), or
    `bid_multiplier_…` and `ask_multiplier_…` of each (PERCENT_PRICE_BY_SIDE).
    """

    name: str
    base: str
    quote: str
    tick: Amount
    step: Amount
    price_min: Amount | None = None
    price_max: Amount | None = None
    quantity_min: Amount | None = None
    quantity_max: Amount | None = None
    market_quantity_min: Amount | None = None
    market_quantity_max: Amount | None = None
    market_step: Amount | None = None
    notional_min: Amount = "0"
    notional_max: Amount = "0"
    notional_min_for_market: bool = True
    notional_max_for_market: bool = False
    average_minutes: int = 5
    maker_rate: Amount = "0.001"
    taker_rate: Amount = "0.001"
    orders_max: int = 200
    algo_orders_max: int = 5
    iceberg_orders_max: int = 0
    iceberg_parts_max: int = 100
    position_max: Amount = "0"
    multiplier_up: Amount | None = None
    multiplier_down: Amount | None = None
    bid_multiplier_up: Amount | None = None
    bid_multiplier_down: Amount | None = None
    ask_multiplier_up: Amount | None = None
    ask_multiplier_down: Amount | None = None
    amends_max: int = 10
    self_trade_prevention: str = "EXPIRE_MAKER"
    self_trade_preventions: list[str] = msgspec.field(default_factory=lambda: list(SELF_TRADE_PREVENTIONS))
    state: str = "TRADING"

    def command(self, assets: Mapping[str, tuple[int, int]]) -> bytes:
        """The MARKET command; `assets` gives the id and the decimals of each asset by name."""
        base, base_decimals = _asset(assets, self.base)
        quote, quote_decimals = _asset(assets, self.quote)
        tick_e8 = exact(self.tick, E8, "tick")
        step_units = exact(self.step, base_decimals, "step")
        if tick_e8 <= 0 or step_units <= 0:
            raise BadDocument(f"market {self.name}: tick and step must be above 0")
        price_max, quantity_max = self._widest(tick_e8, step_units, quote_decimals - base_decimals)
        prices = _Grid(tick_e8, E8, "tick")
        quantities = _Grid(step_units, base_decimals, "step")
        quantity_min = quantities.cells(self.quantity_min, 1, "quantity_min")
        quantity_max = quantities.cells(self.quantity_max, quantity_max, "quantity_max")
        return records.market(
            _name(self.name, "market"),
            base,
            quote,
            tick_e8=tick_e8,
            step_units=step_units,
            price_ticks_min=prices.cells(self.price_min, 1, "price_min"),
            price_ticks_max=prices.cells(self.price_max, price_max, "price_max"),
            quantity_steps_min=quantity_min,
            quantity_steps_max=quantity_max,
            market_quantity_steps_min=quantities.cells(self.market_quantity_min, quantity_min, "market_quantity_min"),
            market_quantity_steps_max=quantities.cells(self.market_quantity_max, quantity_max, "market_quantity_max"),
            market_step_steps=quantities.cells(self.market_step, 0, "market_step"),
            notional_units_min=exact(self.notional_min, quote_decimals, "notional_min"),
            notional_units_max=exact(self.notional_max, quote_decimals, "notional_max"),
            notional_flags=self.notional_min_for_market | self.notional_max_for_market << 1 | self._is_one_sided() << 2,
            average_minutes=self.average_minutes,
            maker_rate_e8=exact(self.maker_rate, E8, "maker_rate"),
            taker_rate_e8=exact(self.taker_rate, E8, "taker_rate"),
            orders_max=self.orders_max,
            algo_orders_max=self.algo_orders_max,
            iceberg_orders_max=self.iceberg_orders_max,
            iceberg_parts_max=self.iceberg_parts_max,
            position_units_max=exact(self.position_max, base_decimals, "position_max"),
            **self._multipliers(),
            amends_max=self.amends_max,
            self_trade_prevention=_member(SelfTradePrevention, self.self_trade_prevention, "self_trade_prevention"),
            self_trade_preventions=_modes(self.self_trade_preventions),
            state=_member(MarketState, self.state, "state"),
        )

    def _is_one_sided(self) -> bool:
        """Whether both sides share their multipliers."""
        return self.multiplier_up is not None or self.multiplier_down is not None

    def _multipliers(self) -> dict[str, int]:
        """The multipliers in 1e-4, by the names of the command; 0: no bound."""
        found = {}
        for side in ("bid", "ask"):
            for way in ("up", "down"):
                name = f"{side}_multiplier_{way}"
                own, shared = getattr(self, name), getattr(self, f"multiplier_{way}")
                if own is not None and self._is_one_sided():
                    raise BadDocument(f"market {self.name}: give either {name} or multiplier_{way}")
                text = own if own is not None else shared
                found[name + "_e4"] = 0 if text is None else exact(text, MULTIPLIER_DECIMALS, name)
        return found

    def _widest(self, tick_e8: int, step_units: int, decimals_apart: int) -> tuple[int, int]:
        """Upper bounds for price and quantity where none is given: as wide as the kernel's 2^62 for a product allows.

        The price gets up to a million times what a whole tick is worth at eight decimals, the quantity what is left.
        """
        scaled = tick_e8 * step_units * 10 ** (decimals_apart + E8)  # quote units of one tick x one step, times 10^16
        if scaled % 10**16 or scaled <= 0:
            raise BadDocument(f"market {self.name}: tick x step is no whole number of the quote asset's smallest unit")
        cell_units = scaled // 10**16
        given = _Grid(tick_e8, E8, "tick").cells(self.price_max, 0, "price_max")
        prices = given or max(1, min(PRICE_TICKS_MAX, 10**6 * 10**E8 // tick_e8, PRODUCT_MAX // cell_units))
        quantities = min(PRODUCT_MAX // (prices * cell_units), PRODUCT_MAX // step_units)
        return prices, _round_down(max(1, quantities))


class KeyDocument(Shape, frozen=True, kw_only=True):
    """An API key: with `secret` it signs by HMAC-SHA256, with `public_key` (PEM, or base64 of it) by Ed25519 or RSA."""

    key: str
    secret: str = ""
    public_key: str = ""
    permissions: list[str] = msgspec.field(default_factory=lambda: ["read", "trade"])
    label: str = ""

    def signing(self) -> tuple[str, bytes]:
        """hmac, ed25519 or rsa, and what the registry keeps of the key for it."""
        if bool(self.secret) == bool(self.public_key):
            raise BadDocument(f"key {self.key}: give either secret (HMAC) or public_key (Ed25519, RSA)")
        if self.secret:
            return "hmac", self.secret.encode()
        from bidhall.protocol import signatures  # only who has such a key pays for cryptography's import

        try:
            public = signatures.load_public_key(self.public_key)
        except ValueError as error:
            raise BadDocument(f"key {self.key}: public_key: {error}") from None
        return signatures.kind_of(public), signatures.public_bytes(public)


class AccountDocument(Shape, frozen=True, kw_only=True):
    """An owner of balances and keys. A fee rate left out is the market's; accounts of the same `trade_group` (not 0)
    are one owner to self-trade prevention."""

    name: str = ""
    balances: dict[str, Amount] = {}
    keys: list[KeyDocument] = []
    permissions: list[str] = msgspec.field(default_factory=lambda: list(PERMISSIONS))
    maker_rate: Amount | None = None
    taker_rate: Amount | None = None
    trade_group: int = 0

    def command(self) -> bytes:
        """The ACCOUNT command."""
        return records.account(
            _text(self.name, "account"),
            permissions=sum({_permission(name) for name in self.permissions}),
            maker_rate_e8=-1 if self.maker_rate is None else exact(self.maker_rate, E8, "maker_rate"),
            taker_rate_e8=-1 if self.taker_rate is None else exact(self.taker_rate, E8, "taker_rate"),
            trade_group=self.trade_group,
        )

    def deposits(self, account: int, assets: Mapping[str, tuple[int, int]]) -> bytes:
        """DEPOSIT commands for the balances that are not zero."""
        commands = []
        for name, amount in self.balances.items():
            asset, decimals = _asset(assets, name)
            units = exact(amount, decimals, f"balance of {name}")
            if units:
                commands.append(records.deposit(account, asset, units))
        return b"".join(commands)


class LimitsDocument(Shape, frozen=True, kw_only=True):
    """What the log is laid out for, for ever: numbers of its first command."""

    accounts: int = 1 << 20
    open_orders: int = 1 << 20
    assets: int = 256
    markets: int = 256
    digests: int = 1 << 18
    writers: int = 1024
    hash_seed: int = 0

    def command(self) -> bytes:
        """The CONFIGURE command."""
        return records.configure(
            accounts_max=self.accounts,
            orders_max=self.open_orders,
            assets_max=self.assets,
            markets_max=self.markets,
            digests_max=self.digests,
            writers_max=self.writers,
            seed=self.hash_seed,
        )


class SeedDocument(Shape, frozen=True, kw_only=True):
    """All that an exchange starts with."""

    limits: LimitsDocument = LimitsDocument()
    assets: list[AssetDocument] = []
    markets: list[MarketDocument] = []
    accounts: list[AccountDocument] = []


class _Grid:
    """Decimal text to whole cells of a tick or a step."""

    def __init__(self, cell: int, decimals: int, what: str) -> None:
        self.cell, self.decimals, self.what = cell, decimals, what

    def cells(self, amount: Amount | None, default: int, field: str) -> int:
        """How many cells; the default when nothing was given."""
        if amount is None:
            return default
        units = exact(amount, self.decimals, field)
        if units % self.cell:
            raise BadDocument(f"{field}: {amount} is no multiple of the market's {self.what}")
        return units // self.cell


def exact(amount: Amount, decimals: int, field: str) -> int:
    """Decimal text (or a whole number) as an integer in units of 10^-decimals; never rounded."""
    match = _DECIMAL.match(str(amount)) if not isinstance(amount, bool) else None
    if match is None:
        raise BadDocument(f"{field}: {amount!r} is no plain decimal number")
    fraction = (match[2] or "").rstrip("0")
    if len(fraction) > decimals:
        raise BadDocument(f"{field}: {amount} has more than {decimals} decimals")
    return int(match[1] + fraction.ljust(decimals, "0"))


def convert(data: Any, shape: type[AnyStruct], what: str = "document") -> AnyStruct:
    """Plain data (of JSON or TOML) as one of the shapes; BadDocument names the place, and the nearest known name."""
    try:
        return msgspec.convert(data, shape)
    except msgspec.ValidationError as error:
        raise BadDocument(f"{what}: {_explain(str(error), shape)}") from None


def nearest(name: str, known: list[str]) -> str:
    """`; did you mean 'x'?` or nothing."""
    import difflib  # only who misspelt something waits for it

    lower = {text.lower(): text for text in known}
    close = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.5)
    return f"; did you mean {lower[close[0]]!r}?" if close else f"; known are {', '.join(sorted(known))}"


def field_names(shape: Any) -> set[str]:
    """The names of a shape and of all shapes inside it."""
    names = set(field_types(shape))
    for inner in (*field_types(shape).values(), *getattr(shape, "__args__", ())):
        names |= field_names(inner)
    return names


def field_types(shape: Any) -> dict[str, Any]:
    """The fields of a shape (or of a dataclass) and their types; nothing for anything else."""
    if isinstance(shape, type) and issubclass(shape, msgspec.Struct):
        return {field.name: field.type for field in msgspec.structs.fields(shape)}
    if dataclasses.is_dataclass(shape):
        hints = get_type_hints(shape)
        return {field.name: hints[field.name] for field in dataclasses.fields(shape)}
    return {}


def _explain(text: str, shape: Any) -> str:
    match = _UNKNOWN_FIELD.search(text)
    if match is None:
        return text[:1].lower() + text[1:]
    place = f" at {match['place']}" if match["place"] else ""
    return f"unknown name {match['field']!r}{place}{nearest(match['field'], sorted(field_names(shape)))}"


def _round_down(number: int) -> int:
    """The first two digits and zeros: a bound for people to read."""
    zeros: int = 10 ** max(0, len(str(number)) - 2)
    return number // zeros * zeros


def _asset(assets: Mapping[str, tuple[int, int]], name: str) -> tuple[int, int]:
    if name not in assets:
        raise BadDocument(f"unknown asset {name!r}{nearest(name, list(assets)) if assets else ''}")
    return assets[name]


def _name(name: str, what: str) -> bytes:
    if not name:
        raise BadDocument(f"{what}: the name is empty")
    return _text(name, what)


def _text(name: str, what: str) -> bytes:
    raw = name.encode()
    if len(raw) > records.TEXT_BYTES or b"\0" in raw:
        raise BadDocument(f"{what} {name!r}: at most {records.TEXT_BYTES} bytes, none of them zero")
    return raw


def _permission(name: str) -> int:
    if name not in PERMISSIONS:
        raise BadDocument(f"unknown permission {name!r}{nearest(name, list(PERMISSIONS))}")
    return PERMISSIONS[name]


def _member(kind: type[IntEnum], name: str, field: str) -> int:
    known = {member.name: int(member) for member in kind if member}
    if name not in known:
        raise BadDocument(f"{field}: unknown {name!r}; known are {', '.join(known)}")
    return known[name]


def _modes(names: list[str]) -> int:
    bits = 0
    for name in names:
        bits |= 1 << (_member(SelfTradePrevention, name, "self_trade_preventions") - 1)
    return bits
