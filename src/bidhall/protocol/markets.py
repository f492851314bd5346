# SPDX-License-Identifier: Apache-2.0
"""A market as the API sees it: its name, its filters, and its numbers between text and ticks, steps and units.

The registry makes one `Market` for each MARKET command it applies and keeps its `state`; every order parser, answer and
event uses it. It must never round: what is no whole number of ticks or steps is refused with the filter's name.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import orjson

from bidhall.core.records import (
    MARKET_FIELDS,
    MARKET_STRUCT,
    RULES_VERSION,
    MarketState,
    OrderType,
    SelfTradePrevention,
)
from bidhall.protocol import errors
from bidhall.protocol.numbers import E8, fixed, scale_of

UNITS_MAX: Final = 1 << 62
MIN_TO_MARKET: Final = 1
MAX_TO_MARKET: Final = 2
ONE_PERCENT_PRICE: Final = 4  # both sides share their multipliers: shown as PERCENT_PRICE
MULTIPLIER_ONE: Final = 10_000
MULTIPLIER_MAX: Final = (1 << 32) - 1
RULES_OF_ICEBERGS: Final = 2  # the version of the kernel's rules that brought icebergs and cancel-replace

_STATUSES: Final[dict[int, str]] = {
    MarketState.TRADING: "TRADING",
    MarketState.HALT: "HALT",
    MarketState.BREAK: "BREAK",
    MarketState.CANCEL_ONLY: "CANCEL_ONLY",
    MarketState.POST_ONLY: "BREAK",
    MarketState.AUCTION: "BREAK",
    MarketState.END_OF_DAY: "END_OF_DAY",
}
ORDER_TYPES_SHOWN: Final = [
    OrderType.LIMIT.name, OrderType.LIMIT_MAKER.name, OrderType.MARKET.name, OrderType.STOP_LOSS.name,
    OrderType.STOP_LOSS_LIMIT.name, OrderType.TAKE_PROFIT.name, OrderType.TAKE_PROFIT_LIMIT.name,
]  # fmt: skip


def json_text(text: str) -> str:
    """A text as it stands between the quotes of JSON."""
    return orjson.dumps(text)[1:-1].decode()


class Asset(NamedTuple):
    """An asset: one unit is 10^-decimals."""

    id: int
    name: str
    decimals: int

    @property
    def json_name(self) -> str:
        """The name as it stands between the quotes of JSON."""
        return json_text(self.name)

    def text(self, units: int) -> str:
        """An amount >= 0 with 8 decimals."""
        return fixed(units * scale_of(self.decimals))


class MarketRow(NamedTuple):
    """The fields of a MARKET command, unpacked by MARKET_STRUCT."""

    kind: int
    state: int
    self_trade_prevention: int
    self_trade_preventions: int
    notional_flags: int
    amends_max: int
    average_minutes: int
    base_asset: int
    quote_asset: int
    tick_e8: int
    step_units: int
    price_ticks_min: int
    price_ticks_max: int
    quantity_steps_min: int
    quantity_steps_max: int
    market_quantity_steps_min: int
    market_quantity_steps_max: int
    name: bytes
    market_step_steps: int
    notional_units_min: int
    notional_units_max: int
    maker_rate_e8: int
    taker_rate_e8: int
    orders_max: int
    algo_orders_max: int
    iceberg_orders_max: int
    iceberg_parts_max: int
    position_units_max: int
    bid_multiplier_up_e4: int
    bid_multiplier_down_e4: int
    ask_multiplier_up_e4: int
    ask_multiplier_down_e4: int
    rest: bytes


assert MarketRow._fields == tuple(name for name, _ in MARKET_FIELDS)


class Market:
    """One market. `row` holds its command's fields; `state` changes with MARKET_STATE commands, `rules_version` with
    RULES."""

    __slots__ = (
        "base", "base_json", "base_scale", "id", "json", "lower", "maker_rate_e8", "price_ticks_max", "price_ticks_min",
        "quantity_steps_max", "quantity_steps_min", "quote", "quote_json", "quote_scale", "quote_units_per_tick_step",
        "row", "rules_version", "self_trade_prevention", "state", "step_e8", "symbol", "taker_rate_e8", "tick_e8",
    )  # fmt: skip

    def __init__(
        self, market_id: int, row: MarketRow, base: Asset, quote: Asset, rules_version: int = RULES_VERSION
    ) -> None:
        self.id = market_id
        self.rules_version = rules_version
        self.row = row
        self.symbol = row.name.rstrip(b"\0").decode("utf-8", "replace")
        self.json = json_text(self.symbol)  # the symbol between the quotes of an answer
        self.lower = self.symbol.lower()  # the symbol in the names of streams
        self.base = base
        self.base_json = base.json_name
        self.quote = quote
        self.quote_json = quote.json_name
        self.state: int = row.state
        self.base_scale = scale_of(base.decimals)
        self.quote_scale = scale_of(quote.decimals)
        self.tick_e8 = row.tick_e8
        self.step_e8 = row.step_units * self.base_scale
        self.quote_units_per_tick_step = row.tick_e8 * self.step_e8 // (E8 * self.quote_scale)
        self.price_ticks_min = row.price_ticks_min
        self.price_ticks_max = row.price_ticks_max
        self.quantity_steps_min = row.quantity_steps_min
        self.quantity_steps_max = row.quantity_steps_max
        self.maker_rate_e8 = row.maker_rate_e8
        self.taker_rate_e8 = row.taker_rate_e8
        self.self_trade_prevention = row.self_trade_prevention  # what an order gets that asks for none

    @classmethod
    def from_command(
        cls, market_id: int, command: bytes, assets: Mapping[int, Asset], rules_version: int = RULES_VERSION
    ) -> "Market":
        """The market that an accepted MARKET command made; `assets` by id."""
        row = MarketRow._make(MARKET_STRUCT.unpack(command))
        return cls(market_id, row, assets[row.base_asset], assets[row.quote_asset], rules_version)

    @property
    def status(self) -> str:
        """The state as the API shows it."""
        return _STATUSES.get(self.state, "BREAK")

    # Parameters (in 1e-8) to integers

    def price_ticks(self, price_e8: int) -> int:
        """A price or a stop price; PRICE_FILTER when it is no whole number of ticks or out of bounds."""
        ticks, rest = divmod(price_e8, self.tick_e8)
        if rest or not self.price_ticks_min <= ticks <= self.price_ticks_max:
            raise errors.filter_failure("PRICE_FILTER")
        return ticks

    def quantity_steps(self, quantity_e8: int, name: str = "quantity") -> int:
        """A quantity; -1111 beyond the asset's decimals, LOT_SIZE when no whole number of steps or out of bounds."""
        steps = self.quantity_steps_to_amend(quantity_e8, name)
        if steps < self.quantity_steps_min:
            raise errors.filter_failure("LOT_SIZE")
        return steps

    def quantity_steps_to_amend(self, quantity_e8: int, name: str = "newQty") -> int:
        """The same without the minimum: an order may be lowered to what it has executed."""
        steps, rest = divmod(quantity_e8, self.step_e8)
        if rest:
            if quantity_e8 % self.base_scale:
                raise errors.too_precise(name)
            raise errors.filter_failure("LOT_SIZE")
        if not 0 < steps <= self.quantity_steps_max:
            raise errors.filter_failure("LOT_SIZE")
        return steps

    def quote_units(self, quote_e8: int, name: str = "quoteOrderQty") -> int:
        """An amount of the quote asset; -1111 beyond its decimals, NOTIONAL when nothing, -1108 beyond all supply."""
        units, rest = divmod(quote_e8, self.quote_scale)
        if rest:
            raise errors.too_precise(name)
        if units == 0:
            raise errors.filter_failure("NOTIONAL")
        if units > UNITS_MAX:
            raise errors.overflow(name)
        return units

    # Integers to text with 8 decimals

    def price_text(self, ticks: int) -> str:
        """A price >= 0."""
        return fixed(ticks * self.tick_e8)

    def quantity_text(self, steps: int) -> str:
        """A quantity >= 0."""
        return fixed(steps * self.step_e8)

    def quote_text(self, units: int) -> str:
        """An amount >= 0 of the quote asset."""
        return fixed(units * self.quote_scale)

    def base_text(self, units: int) -> str:
        """An amount >= 0 of the base asset."""
        return fixed(units * self.base_scale)

    def quote_units_of(self, price_ticks: int, quantity_steps: int) -> int:
        """Price times quantity, exactly."""
        return price_ticks * quantity_steps * self.quote_units_per_tick_step

    def fee_asset(self, buy: bool) -> Asset:
        """The asset a side's fee is taken in: what that side receives."""
        return self.base if buy else self.quote

    # exchangeInfo

    @property
    def takes_icebergs(self) -> bool:
        """Whether the rules in force know icebergs and cancel-replace."""
        return self.rules_version >= RULES_OF_ICEBERGS

    @property
    def percent_price_filter(self) -> str:
        """The name under which this market bounds prices by the average."""
        return "PERCENT_PRICE" if self.row.notional_flags & ONE_PERCENT_PRICE else "PERCENT_PRICE_BY_SIDE"

    def multipliers_e4(self, buy: bool) -> tuple[int, int]:
        """Up and down, of the average price, for the prices of one side; 0: no bound."""
        row = self.row
        if buy:
            return row.bid_multiplier_up_e4, row.bid_multiplier_down_e4
        return row.ask_multiplier_up_e4, row.ask_multiplier_down_e4

    def allowed_self_trade_preventions(self) -> list[str]:
        """The modes an order may ask for."""
        bits = self.row.self_trade_preventions
        return [mode.name for mode in SelfTradePrevention if mode and bits >> (mode - 1) & 1]

    def exchange_info(self, show_permission_sets: bool = True) -> dict[str, Any]:
        """This market's object in exchangeInfo."""
        return {
            "symbol": self.symbol,
            "status": self.status,
            "baseAsset": self.base.name,
            "baseAssetPrecision": self.base.decimals,
            "quoteAsset": self.quote.name,
            "quotePrecision": self.quote.decimals,
            "quoteAssetPrecision": self.quote.decimals,
            "baseCommissionPrecision": self.base.decimals,
            "quoteCommissionPrecision": self.quote.decimals,
            "orderTypes": ORDER_TYPES_SHOWN,
            "icebergAllowed": self.takes_icebergs,
            "ocoAllowed": False,
            "otoAllowed": False,
            "opoAllowed": False,
            "quoteOrderQtyMarketAllowed": True,
            "allowTrailingStop": False,
            "cancelReplaceAllowed": self.takes_icebergs,
            "amendAllowed": True,
            "pegInstructionsAllowed": False,
            "isSpotTradingAllowed": True,
            "isMarginTradingAllowed": False,
            "filters": self.filters(),
            "permissions": [],
            "permissionSets": [["SPOT"]] if show_permission_sets else [],
            "defaultSelfTradePreventionMode": SelfTradePrevention(self.row.self_trade_prevention).name,
            "allowedSelfTradePreventionModes": self.allowed_self_trade_preventions(),
        }

    def filters(self) -> list[dict[str, Any]]:
        """PRICE_FILTER and LOT_SIZE must stay the first two: cryptofeed finds them by their places."""
        row = self.row
        step = self.quantity_text(1)
        market_step = self.quantity_text(row.market_step_steps) if row.market_step_steps else step
        filters = [
            _filter(
                "PRICE_FILTER", minPrice=self.price_text(row.price_ticks_min),
                maxPrice=self.price_text(row.price_ticks_max), tickSize=self.price_text(1),
            ),
            _filter(
                "LOT_SIZE", minQty=self.quantity_text(row.quantity_steps_min),
                maxQty=self.quantity_text(row.quantity_steps_max), stepSize=step,
            ),
        ]  # fmt: skip
        if self.takes_icebergs and row.iceberg_parts_max:
            filters.append(_filter("ICEBERG_PARTS", limit=row.iceberg_parts_max))
        filters.append(
            _filter(
                "MARKET_LOT_SIZE", minQty=self.quantity_text(row.market_quantity_steps_min),
                maxQty=self.quantity_text(row.market_quantity_steps_max), stepSize=market_step,
            )
        )  # fmt: skip
        return filters + self._price_filters() + self._count_filters()

    def _price_filters(self) -> list[dict[str, Any]]:
        row = self.row
        filters = []
        bid, ask = self.multipliers_e4(True), self.multipliers_e4(False)
        if self.takes_icebergs and any(bid + ask):
            names = ["bidMultiplierUp", "bidMultiplierDown", "askMultiplierUp", "askMultiplierDown"]
            bounds = [*bid, *ask]
            if self.percent_price_filter == "PERCENT_PRICE":
                names, bounds = ["multiplierUp", "multiplierDown"], [*bid]
            # No bound above is as good as the largest there can be: clients multiply by it.
            texts = [
                _multiplier(bound or (MULTIPLIER_MAX if name.endswith("Up") else 0))
                for name, bound in zip(names, bounds, strict=True)
            ]
            shown = dict(zip(names, texts, strict=True))
            filters.append(_filter(self.percent_price_filter, **shown, avgPriceMins=row.average_minutes))
        largest = self.quote_units_of(row.price_ticks_max, row.quantity_steps_max)
        filters.append(
            _filter(
                "NOTIONAL",
                minNotional=self.quote_text(row.notional_units_min),
                applyMinToMarket=bool(row.notional_flags & MIN_TO_MARKET),
                maxNotional=self.quote_text(row.notional_units_max or largest),
                applyMaxToMarket=bool(row.notional_flags & MAX_TO_MARKET),
                avgPriceMins=row.average_minutes,
            )
        )
        return filters

    def _count_filters(self) -> list[dict[str, Any]]:
        row = self.row
        filters = []
        if self.takes_icebergs and row.position_units_max:
            filters.append(_filter("MAX_POSITION", maxPosition=self.base_text(row.position_units_max)))
        if row.orders_max:
            filters.append(_filter("MAX_NUM_ORDERS", maxNumOrders=row.orders_max))
        if row.algo_orders_max:
            filters.append(_filter("MAX_NUM_ALGO_ORDERS", maxNumAlgoOrders=row.algo_orders_max))
        if self.takes_icebergs and row.iceberg_orders_max:
            filters.append(_filter("MAX_NUM_ICEBERG_ORDERS", maxNumIcebergOrders=row.iceberg_orders_max))
        filters.append(_filter("MAX_NUM_ORDER_AMENDS", maxNumOrderAmends=row.amends_max))
        return filters


def _filter(kind: str, **fields: Any) -> dict[str, Any]:
    return {"filterType": kind, **fields}


def _multiplier(multiplier_e4: int) -> str:
    """5, 0.2, 1.3: as short as they are."""
    whole, fraction = divmod(multiplier_e4, MULTIPLIER_ONE)
    return f"{whole}.{fraction:04d}".rstrip("0").rstrip(".")
