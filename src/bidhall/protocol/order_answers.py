# SPDX-License-Identifier: Apache-2.0
"""What a client reads about an order: the answers of place, cancel, amend and of the queries.

Built from the kernel's records when an outcome is known. The answer to a placement is built from the request and from
that command's own events only, so that a later command of the same batch can never show through. The texts are written
by one f-string each, in Binance's order of fields: this is the hot path of the door.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from bidhall.core import wire
from bidhall.core.records import EventRow, OrderRow, OrderStatus, OrderType, Side
from bidhall.protocol.markets import Market
from bidhall.protocol.numbers import ZERO, fixed
from bidhall.protocol.orders import Amendment, Placement
from bidhall.protocol.words import (
    FILL,
    IS_WORKING,
    MODES,
    PREVENTED,
    REASONS,
    REPLACED,
    SIDES,
    STATUSES,
    TIMES_IN_FORCE,
    TRIGGERED,
    TYPES,
    client_id_text,
)

_BUY: Final = int(Side.BUY)
_STOP_LOSS: Final = int(OrderType.STOP_LOSS)
_EXPIRED: Final = int(OrderStatus.EXPIRED)


def placed(
    placement: Placement, events: Sequence[EventRow], time_ns: int, unit_ns: int, trade_group: int = 0
) -> bytes:
    """POST /order: ACK, RESULT or FULL, as the order stood when its own matching was done. `trade_group`: the
    account's, if any of the events is PREVENTED."""
    accepted = events[0]
    market = placement.market
    time = time_ns // unit_ns
    head = (
        f'{{"symbol":"{market.json}","orderId":{accepted.order_id},"orderListId":-1,'
        f'"clientOrderId":"{placement.client_id}","transactTime":{time}'
    )
    if placement.response == "ACK":
        return f"{head}}}".encode()

    if len(events) == 1:
        return _unmatched(placement, accepted, head, time)
    return _matched(placement, accepted, events, head, time, trade_group)


def _unmatched(placement: Placement, accepted: EventRow, head: str, time: int) -> bytes:
    """The way of an order that rests, or waits for its trigger."""
    market = placement.market
    extra = _conditional(market, placement)
    fills = ',"fills":[]' if placement.response == "FULL" else ""
    return (
        f'{head},"price":"{fixed(placement.price_ticks * market.tick_e8)}",'
        f'"origQty":"{fixed(placement.quantity_steps * market.step_e8)}","executedQty":"{ZERO}",'
        f'"origQuoteOrderQty":"{fixed(placement.quote_quantity_units * market.quote_scale)}",'
        f'"cummulativeQuoteQty":"{ZERO}","status":"NEW",'
        f'"timeInForce":"{TIMES_IN_FORCE[placement.time_in_force]}","type":"{TYPES[placement.type]}",'
        f'"side":"{SIDES[placement.side]}"{extra},"workingTime":{time if accepted.flags & IS_WORKING else -1}{fills},'
        f'"selfTradePreventionMode":"{MODES[placement.self_trade_prevention or market.self_trade_prevention]}"}}'
    ).encode()


def _conditional(market: Market, order: Placement | OrderRow) -> str:
    """What only some orders show: iceberg, stop price, strategy."""
    text = f',"icebergQty":"{fixed(order.iceberg_steps * market.step_e8)}"' if order.iceberg_steps else ""
    if order.type >= _STOP_LOSS:
        text += f',"stopPrice":"{fixed(order.stop_price_ticks * market.tick_e8)}"'
    if order.strategy_id or order.strategy_type:
        text += _strategy(order.strategy_id, order.strategy_type)
    return text


def _matched(
    placement: Placement, accepted: EventRow, events: Sequence[EventRow], head: str, time: int, trade_group: int
) -> bytes:
    """The way of an order that met others; the events up to where orders begin that it triggered: those enter after."""
    market = placement.market
    order_id = accepted.order_id
    tick_e8, step_e8 = market.tick_e8, market.step_e8
    buys = placement.side == _BUY
    fee_scale, fee_asset = (market.base_scale, market.base_json) if buys else (market.quote_scale, market.quote_json)
    last = accepted
    fills: list[str] = []
    prevented: list[EventRow] = []
    own_match_id = prevented_steps = 0
    for event in events:
        # Unpacked at once: a field by its name costs as much as four of these.
        kind, _, _, _, _, _, of_order, _, _, _, price, quantity, _, _, _, fee, trade_id, _, _, match_id, _, _ = event
        if kind == TRIGGERED:
            break
        if kind == PREVENTED:
            prevented.append(event)
            if of_order == order_id:
                own_match_id = match_id
                prevented_steps += quantity
        if of_order == order_id:
            last = event
            if kind == FILL:
                fills.append(
                    f'{{"price":"{fixed(price * tick_e8)}","qty":"{fixed(quantity * step_e8)}",'
                    f'"commission":"{fixed(fee * fee_scale)}","commissionAsset":"{fee_asset}","tradeId":{trade_id}}}'
                )
    extra = _conditional(market, placement)
    shown = f',"fills":[{",".join(fills)}]' if placement.response == "FULL" else ""
    tail = f',"expiryReason":"{REASONS[last.reason]}"' if last.reason else ""
    if prevented:
        shown += _prevented_matches(market, order_id, prevented)
        tail += f',"tradeGroupId":{trade_group}' if trade_group else ""
    if own_match_id:
        extra += f',"preventedMatchId":{own_match_id}'
        tail += f',"preventedQuantity":"{fixed(prevented_steps * step_e8)}"'
    # An order by quote quantity has the quantity that came of it.
    quantity = last.executed_steps + prevented_steps if placement.quote_quantity_units else placement.quantity_steps
    return (
        f'{head},"price":"{fixed(placement.price_ticks * tick_e8)}","origQty":"{fixed(quantity * step_e8)}",'
        f'"executedQty":"{fixed(last.executed_steps * step_e8)}",'
        f'"origQuoteOrderQty":"{fixed(placement.quote_quantity_units * market.quote_scale)}",'
        f'"cummulativeQuoteQty":"{fixed(last.executed_quote_units * market.quote_scale)}",'
        f'"status":"{STATUSES[last.status]}","timeInForce":"{TIMES_IN_FORCE[placement.time_in_force]}",'
        f'"type":"{TYPES[placement.type]}","side":"{SIDES[placement.side]}"{extra},"workingTime":{time}{shown},'
        f'"selfTradePreventionMode":"{MODES[placement.self_trade_prevention or market.self_trade_prevention]}"{tail}}}'
    ).encode()


def _prevented_matches(market: Market, order_id: int, events: Sequence[EventRow]) -> str:
    """The self-trades that this taker was kept from, each with what was taken off the two orders."""
    matches: dict[int, list[str]] = {}
    for event in events:
        taker = event.order_id == order_id
        match = matches.setdefault(
            event.prevented_match_id,
            [
                f'"preventedMatchId":{event.prevented_match_id}',
                f'"makerSymbol":"{market.json}"',
                f'"makerOrderId":{event.other_order_id if taker else event.order_id}',
                f'"price":"{fixed(event.price_ticks * market.tick_e8)}"',
            ],
        )
        side = "taker" if taker else "maker"
        match.append(f'"{side}PreventedQuantity":"{fixed(event.quantity_steps * market.step_e8)}"')
    return f',"preventedMatches":[{",".join("{" + ",".join(match) + "}" for match in matches.values())}]'


def _strategy(strategy_id: int, strategy_type: int) -> str:
    text = f',"strategyId":{strategy_id}' if strategy_id else ""
    return f'{text},"strategyType":{strategy_type}' if strategy_type else text


def order_test(rates_e8: tuple[int, int] | None) -> bytes:
    """POST /order/test: nothing, or the maker and taker rates that the order would pay."""
    if rates_e8 is None:
        return b"{}"
    maker, taker = rates_e8
    none = f'{{"maker":"{ZERO}","taker":"{ZERO}"}}'
    return (
        f'{{"standardCommissionForOrder":{{"maker":"{fixed(maker)}","taker":"{fixed(taker)}"}},'
        f'"specialCommissionForOrder":{none},"taxCommissionForOrder":{none},{DISCOUNT}}}'
    ).encode()


# There is no discount for paying in some asset; clients read the object all the same.
DISCOUNT: Final = (
    f'"discount":{{"enabledForAccount":false,"enabledForSymbol":false,"discountAsset":"BNB","discount":"{ZERO}"}}'
)


def canceled(market: Market, order: OrderRow, cancel_client_id: str, time_ns: int, unit_ns: int) -> bytes:
    """DELETE /order; `order` as it was when it left."""
    return canceled_text(market, order, cancel_client_id, time_ns // unit_ns).encode()


def canceled_all(
    market: Market, orders: Iterable[OrderRow], cancel_client_id: str, time_ns: int, unit_ns: int
) -> bytes:
    """DELETE /openOrders."""
    time = time_ns // unit_ns
    return f"[{','.join([canceled_text(market, order, cancel_client_id, time) for order in orders])}]".encode()


def canceled_text(market: Market, order: OrderRow, cancel_client_id: str, time: int) -> str:
    """A canceled order as its cancel shows it; `time` in the unit of the answer."""
    extra = _conditional(market, order)
    return (
        f'{{"symbol":"{market.json}","origClientOrderId":"{client_id_text(order.client_id)}",'
        f'"orderId":{order.order_id},"orderListId":-1,"clientOrderId":"{cancel_client_id}","transactTime":{time},'
        f'"price":"{fixed(order.price_ticks * market.tick_e8)}",'
        f'"origQty":"{fixed(order.quantity_steps * market.step_e8)}",'
        f'"executedQty":"{fixed(order.executed_steps * market.step_e8)}",'
        f'"origQuoteOrderQty":"{fixed(order.quote_quantity_units * market.quote_scale)}",'
        f'"cummulativeQuoteQty":"{fixed(order.executed_quote_units * market.quote_scale)}","status":"CANCELED",'
        f'"timeInForce":"{TIMES_IN_FORCE[order.time_in_force]}","type":"{TYPES[order.type]}",'
        f'"side":"{SIDES[order.side]}"{extra},'
        f'"selfTradePreventionMode":"{MODES[order.self_trade_prevention or market.self_trade_prevention]}"'
        f"{_prevented(market, order)}}}"
    )


def _prevented(market: Market, order: OrderRow) -> str:
    """What self-trade prevention took of an order, if anything."""
    if not order.prevented_match_id:
        return ""
    quantity = fixed(order.prevented_steps * market.step_e8)
    return f',"preventedMatchId":{order.prevented_match_id},"preventedQuantity":"{quantity}"'


def amended(
    market: Market, event: EventRow, order: OrderRow, amendment: Amendment, time_ns: int, unit_ns: int
) -> bytes:
    """PUT /order/amend/keepPriority; `event` is the command's, `order` only tells what no command changes."""
    extra = _conditional(market, order)
    working = f',"workingTime":{order.working_ns // unit_ns}' if order.working_ns else ""
    prevented_steps = order.prevented_steps
    if event.kind == REPLACED:  # the order may have lost more since
        prevented_steps = event.quantity_steps - event.executed_steps - event.remaining_steps
    # The order's own id, where nobody knows it any more, is the new one.
    previous = amendment.previous_client_id or amendment.client_id
    return (
        f'{{"transactTime":{time_ns // unit_ns},"executionId":{event.execution_id},"amendedOrder":{{'
        f'"symbol":"{market.json}","orderId":{event.order_id},"orderListId":-1,"origClientOrderId":"{previous}",'
        f'"clientOrderId":"{amendment.client_id}","price":"{fixed(event.price_ticks * market.tick_e8)}",'
        f'"qty":"{fixed(event.quantity_steps * market.step_e8)}",'
        f'"executedQty":"{fixed(event.executed_steps * market.step_e8)}",'
        f'"preventedQty":"{fixed(prevented_steps * market.step_e8)}",'
        f'"quoteOrderQty":"{fixed(order.quote_quantity_units * market.quote_scale)}",'
        f'"cumulativeQuoteQty":"{fixed(event.executed_quote_units * market.quote_scale)}",'
        f'"status":"{STATUSES[event.status]}","timeInForce":"{TIMES_IN_FORCE[order.time_in_force]}",'
        f'"type":"{TYPES[order.type]}","side":"{SIDES[order.side]}"{extra}{working},'
        f'"selfTradePreventionMode":"{MODES[order.self_trade_prevention or market.self_trade_prevention]}"}}}}'
    ).encode()


def order(market: Market, row: OrderRow, unit_ns: int) -> bytes:
    """GET /order."""
    return _order(market, row, unit_ns).encode()


def page(market: Market, rows: Iterable[OrderRow], unit_ns: int) -> bytes:
    """GET /allOrders, GET /openOrders of one market. Plain rows are written by the compiled way."""
    return wire.orders(rows, wire.MarketNumbers(market), unit_ns, lambda row: _order(market, row, unit_ns))


def orders(rows: Iterable[tuple[Market, OrderRow]], unit_ns: int) -> bytes:
    """GET /openOrders of all markets."""
    return f"[{','.join([_order(market, row, unit_ns) for market, row in rows])}]".encode()


def _order(market: Market, row: OrderRow, unit_ns: int) -> str:
    working = row.working_ns // unit_ns if row.working_ns else -1
    extra = _strategy(row.strategy_id, row.strategy_type) if row.strategy_id or row.strategy_type else ""
    if row.prevented_match_id:
        extra += _prevented(market, row)
    if row.status == _EXPIRED and row.reason:
        extra += f',"expiryReason":"{REASONS[row.reason]}"'
    return (
        f'{{"symbol":"{market.json}","orderId":{row.order_id},"orderListId":-1,'
        f'"clientOrderId":"{client_id_text(row.client_id)}","price":"{fixed(row.price_ticks * market.tick_e8)}",'
        f'"origQty":"{fixed(row.quantity_steps * market.step_e8)}",'
        f'"executedQty":"{fixed(row.executed_steps * market.step_e8)}",'
        f'"cummulativeQuoteQty":"{fixed(row.executed_quote_units * market.quote_scale)}",'
        f'"status":"{STATUSES[row.status]}","timeInForce":"{TIMES_IN_FORCE[row.time_in_force]}",'
        f'"type":"{TYPES[row.type]}","side":"{SIDES[row.side]}",'
        f'"stopPrice":"{fixed(row.stop_price_ticks * market.tick_e8)}",'
        f'"icebergQty":"{fixed(row.iceberg_steps * market.step_e8)}","time":{row.created_ns // unit_ns},'
        f'"updateTime":{row.updated_ns // unit_ns},"isWorking":{"true" if row.working_ns else "false"},'
        f'"workingTime":{working},'
        f'"origQuoteOrderQty":"{fixed(row.quote_quantity_units * market.quote_scale)}",'
        f'"selfTradePreventionMode":"{MODES[row.self_trade_prevention or market.self_trade_prevention]}"{extra}}}'
    )
