# SPDX-License-Identifier: Apache-2.0
"""The judges of every answer: the strict pydantic models of binance-sdk-spot, and ccxt's parsers, both offline."""

from functools import cache
from importlib import import_module
from typing import Any

import ccxt

# Fields that Binance documents as conditional; the SDK's models declare some of them in some places.
CONDITIONAL = {
    "stopPrice", "strategyId", "strategyType", "preventedMatchId", "preventedQuantity", "expiryReason", "icebergQty",
    "preventedMatches", "tradeGroupId", "workingFloor", "usedSor", "trailingDelta", "trailingTime", "pegPriceType",
    "pegOffsetType", "pegOffsetValue", "peggedPrice", "takerPreventedQuantity", "makerPreventedQuantity",
}  # fmt: skip


@cache
def model(kind: str, module: str, name: str) -> Any:
    """A model class of the SDK, e.g. ("rest_api", "new_order_response", "NewOrderResponse")."""
    return getattr(import_module(f"binance_sdk_spot.{kind}.models.{module}"), name)


def words(module: str) -> str:
    return "".join(part.capitalize() for part in module.split("_"))


def checked(payload: Any, module: str, kind: str = "rest_api", without: tuple[str, ...] = (), name: str = "") -> Any:
    """The payload as the SDK's model takes it: right types, every declared field there, no field that is not known."""
    cls = model(kind, module, name or words(module))
    rows = payload if isinstance(payload, list) else [payload]
    for row in rows:
        declared = {field.alias or key for key, field in cls.model_fields.items()} - {"additional_properties"}
        assert not set(row) - declared - CONDITIONAL, set(row) - declared
        assert not declared - set(row) - set(without) - CONDITIONAL, declared - set(row)
        cls.model_validate(row)
        cls.from_dict(row)
    return payload


def accepted(payload: Any, module: str, kind: str = "rest_api") -> Any:
    """The payload as the SDK's client parses it."""
    return model(kind, module, words(module)).from_dict(payload)


def exchange_of(info: dict[str, Any]) -> Any:
    """ccxt's binance with the markets of an exchangeInfo answer."""
    exchange = ccxt.binance({"options": {"defaultType": "spot"}})
    exchange.options |= {"crossMarginPairsData": [], "isolatedMarginPairsData": []}  # what load_markets fetches
    exchange.set_markets([exchange.parse_market(symbol) for symbol in info["symbols"]])
    return exchange
