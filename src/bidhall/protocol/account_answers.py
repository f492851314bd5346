# SPDX-License-Identifier: Apache-2.0
"""What a client reads about its account: balances, commission, order count, fills.

Called by the signed reads of the door with the kernel's own numbers. Amounts are units of an asset; rates are in 1e-8.
It must never show an asset that the registry does not know.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

from bidhall.core import wire
from bidhall.core.records import SelfTradePrevention
from bidhall.protocol.markets import Asset, Market
from bidhall.protocol.numbers import ZERO, fixed, scale_of
from bidhall.protocol.order_answers import DISCOUNT
from bidhall.protocol.words import MODES, client_id_text

MAY_TRADE: Final = 1
MAY_DEPOSIT: Final = 2
MAY_WITHDRAW: Final = 4

_BASIS_POINT_E8: Final = 10_000
_NO_RATES: Final = f'{{"maker":"{ZERO}","taker":"{ZERO}","buyer":"{ZERO}","seller":"{ZERO}"}}'

Balance = tuple[int, int, int]
# Market, id, taker's order and account, maker's order and account, trade group, mode, price, what the taker lost, what
# the maker lost, quote transferred, time.
PreventedMatch = tuple[int, int, int, int, int, int, int, int, int, int, int, int, int]
# Account, market, order, execution, client id before and after, quantity before and after, time.
Amendment = tuple[int, int, int, int, bytes, bytes, int, int, int]
Fill = tuple[int, int, int, int, int, int, bool, bool]


def account(
    account_id: int,
    fields: Mapping[str, Any],
    balances: Iterable[Balance],
    assets: Mapping[int, Asset],
    time_ns: int,
    unit_ns: int,
    *,
    omit_zero: bool = False,
    rates_e8: tuple[int, int] = (0, 0),
) -> bytes:
    """GET /account. `fields` as Exchange.account gives them; `balances` those that are not zero; `rates_e8` maker and
    taker of the markets, shown where the account has none of its own."""
    maker = fields["maker_rate_e8"] if fields["maker_rate_e8"] >= 0 else rates_e8[0]
    taker = fields["taker_rate_e8"] if fields["taker_rate_e8"] >= 0 else rates_e8[1]
    permissions = fields["permissions"]
    group = f',"tradeGroupId":{fields["trade_group"]}' if fields["trade_group"] else ""
    return (
        f'{{"makerCommission":{maker // _BASIS_POINT_E8},"takerCommission":{taker // _BASIS_POINT_E8},'
        f'"buyerCommission":0,"sellerCommission":0,"commissionRates":{_rates(maker, taker)},'
        f'"canTrade":{_word(permissions & MAY_TRADE)},"canWithdraw":{_word(permissions & MAY_WITHDRAW)},'
        f'"canDeposit":{_word(permissions & MAY_DEPOSIT)},"brokered":false,"requireSelfTradePrevention":false,'
        f'"preventSor":false,"updateTime":{time_ns // unit_ns},"accountType":"SPOT",'
        f'"balances":[{",".join(_balances(balances, assets, omit_zero))}],"permissions":["SPOT"],'
        f'"uid":{account_id}{group}}}'
    ).encode()


def _word(flag: int) -> str:
    return "true" if flag else "false"


def _rates(maker_e8: int, taker_e8: int) -> str:
    return f'{{"maker":"{fixed(maker_e8)}","taker":"{fixed(taker_e8)}","buyer":"{ZERO}","seller":"{ZERO}"}}'


def _balances(balances: Iterable[Balance], assets: Mapping[int, Asset], omit_zero: bool) -> list[str]:
    owned = {asset: (free, locked) for asset, free, locked in balances}
    shown = []
    for asset in assets.values():
        free, locked = owned.get(asset.id, (0, 0))
        if free or locked or not omit_zero:
            scale = scale_of(asset.decimals)
            shown.append(
                f'{{"asset":"{asset.json_name}","free":"{fixed(free * scale)}","locked":"{fixed(locked * scale)}"}}'
            )
    return shown


def commission(market: Market, maker_e8: int, taker_e8: int) -> bytes:
    """GET /account/commission."""
    return (
        f'{{"symbol":"{market.json}","standardCommission":{_rates(maker_e8, taker_e8)},'
        f'"specialCommission":{_NO_RATES},"taxCommission":{_NO_RATES},{DISCOUNT}}}'
    ).encode()


def order_rate(limits: list[dict[str, Any]]) -> bytes:
    """GET /rateLimit/order: the ORDERS limits with their counts."""
    return orjson.dumps(limits)


def my_trades(market: Market, fills: Iterable[Fill], assets: Mapping[int, Asset], unit_ns: int) -> bytes:
    """GET /myTrades. A fill: order id, trade id, time, price, quantity, fee, is the buyer, is the maker."""
    del assets  # the fee is in what the side received, which the market knows
    factor = market.quote_units_per_tick_step
    return wire.fills(fills, wire.MarketNumbers(market), factor, unit_ns, lambda fill: fill_text(market, fill, unit_ns))


def fill_text(market: Market, fill: Fill, unit_ns: int) -> str:
    """One of GET /myTrades, in the general way."""
    order_id, trade_id, time_ns, price, quantity, fee, buys, makes = fill
    scale = market.base_scale if buys else market.quote_scale
    return (
        f'{{"symbol":"{market.json}","id":{trade_id},"orderId":{order_id},"orderListId":-1,'
        f'"price":"{fixed(price * market.tick_e8)}","qty":"{fixed(quantity * market.step_e8)}",'
        f'"quoteQty":"{fixed(market.quote_units_of(price, quantity) * market.quote_scale)}",'
        f'"commission":"{fixed(fee * scale)}",'
        f'"commissionAsset":"{market.base_json if buys else market.quote_json}","time":{time_ns // unit_ns},'
        f'"isBuyer":{_word(buys)},"isMaker":{_word(makes)},"isBestMatch":true}}'
    )


def user_assets(balances: Iterable[Balance], assets: Mapping[int, Asset], name: str | None = None) -> bytes:
    """POST /sapi/v3/asset/getUserAsset: what is owned, of one asset or of all."""
    rows = []
    for asset_id, free, locked in balances:
        asset = assets[asset_id]
        if name is None or name == asset.name:
            rows.append({
                "asset": asset.name, "free": asset.text(free), "locked": asset.text(locked), "freeze": ZERO,
                "withdrawing": ZERO, "ipoable": ZERO, "btcValuation": ZERO,
            })  # fmt: skip
    return orjson.dumps(rows)


def prevented_matches(market: Market, matches: Iterable[PreventedMatch], unit_ns: int) -> bytes:
    """GET /myPreventedMatches: trades that self-trade prevention did not let happen."""
    rows = []
    for _, number, taker, _, maker, _, group, mode, price, taker_steps, maker_steps, _, time_ns in matches:
        lost = ""
        if mode != SelfTradePrevention.EXPIRE_MAKER:
            lost = f'"takerPreventedQuantity":"{fixed(taker_steps * market.step_e8)}",'
        if mode != SelfTradePrevention.EXPIRE_TAKER:
            lost += f'"makerPreventedQuantity":"{fixed(maker_steps * market.step_e8)}",'
        rows.append(
            f'{{"symbol":"{market.json}","preventedMatchId":{number},"takerOrderId":{taker},'
            f'"makerSymbol":"{market.json}","makerOrderId":{maker},"tradeGroupId":{group or -1},'
            f'"selfTradePreventionMode":"{MODES[mode]}","price":"{fixed(price * market.tick_e8)}",{lost}'
            f'"transactTime":{time_ns // unit_ns}}}'
        )
    return f"[{','.join(rows)}]".encode()


def amendments(market: Market, changes: Iterable[Amendment], unit_ns: int) -> bytes:
    """GET /order/amendments: how an order came to its quantity."""
    rows = [
        f'{{"symbol":"{market.json}","orderId":{order_id},"executionId":{execution_id},'
        f'"origClientOrderId":"{client_id_text(old_id)}","newClientOrderId":"{client_id_text(new_id)}",'
        f'"origQty":"{fixed(old_steps * market.step_e8)}","newQty":"{fixed(new_steps * market.step_e8)}",'
        f'"time":{time_ns // unit_ns}}}'
        for _, _, order_id, execution_id, old_id, new_id, old_steps, new_steps, time_ns in changes
    ]
    return f"[{','.join(rows)}]".encode()


def my_filters(market: Market) -> bytes:
    """GET /myFilters: what bounds this account's orders here; no filter of ours is over the exchange or an asset."""
    return orjson.dumps({"exchangeFilters": [], "symbolFilters": market.filters(), "assetFilters": []})
