# SPDX-License-Identifier: Apache-2.0
"""What an account's own stream says: reports of its orders, its balances, its deposits and withdrawals.

Called by the user data feed for the accounts that somebody watches. A report is built from the event, so that it says
how the order stood then; the order's record only adds what never changes. It must never be given another account's row.
"""

from collections.abc import Iterable
from typing import Final

from bidhall.core.records import (
    COMMAND_STRUCT,
    CommandRow,
    EventKind,
    EventRow,
    OrderRow,
    OrderType,
    Reject,
)
from bidhall.protocol.markets import Asset, Market
from bidhall.protocol.numbers import ZERO, fixed, fixed_signed, scale_of
from bidhall.protocol.words import (
    ACCEPTED,
    EXPIRED,
    FILL,
    IS_BUY,
    IS_LAST,
    IS_MAKER,
    IS_WORKING,
    MODES,
    PREVENTED,
    REASONS,
    SIDES,
    STATUSES,
    TIMES_IN_FORCE,
    TYPES,
    client_id_text,
)

_LIMIT_KINDS: Final = frozenset(
    (OrderType.LIMIT, OrderType.LIMIT_MAKER, OrderType.STOP_LOSS_LIMIT, OrderType.TAKE_PROFIT_LIMIT)
)
_CLIENT_ID: Final = slice(88, 124)
_OTHER_CLIENT_ID: Final = slice(128, 164)
_COMMAND_BYTES: Final = 192

EXECUTION_TYPES: Final[dict[int, str]] = {
    EventKind.ACCEPTED: "NEW",
    EventKind.FILL: "TRADE",
    EventKind.CANCELED: "CANCELED",
    EventKind.EXPIRED: "EXPIRED",
    EventKind.REPLACED: "REPLACED",
    EventKind.TRIGGERED: "NEW",
    EventKind.PREVENTED: "TRADE_PREVENTION",
}

REJECT_REASONS: Final[dict[int, str]] = {
    Reject.INSUFFICIENT_BALANCE: "INSUFFICIENT_BALANCES",
    Reject.WOULD_TRIGGER: "STOP_PRICE_WOULD_TRIGGER_IMMEDIATELY",
    Reject.WOULD_MATCH: "WOULD_MATCH_IMMEDIATELY",
}


def execution_report(
    market: Market,
    event: EventRow,
    order: OrderRow,
    client_id: str,
    original_client_id: str,
    time_ns: int,
    unit_ns: int,
    prevented_steps: int = 0,
    trade_group: int = 0,
) -> bytes:
    """One change of one order. `client_id` is c: the order's id, or on CANCELED the cancel's, with the order's own as
    `original_client_id` (C); on REPLACED the new one, with the old one as C; else C is empty. `prevented_steps`: all
    that self-trade prevention has taken off the order, this event included; `trade_group`: whose it is, 0 for none."""
    kind = event.kind
    time = time_ns // unit_ns
    quantity_steps, price_ticks = _order_numbers(event, order, prevented_steps)
    trade = _trade(market, event) if kind == FILL else _NO_TRADE
    working = ""
    if order.working_ns and not (kind == ACCEPTED and not event.flags & IS_WORKING):
        working = f',"W":{order.working_ns // unit_ns}'
    extra = ""
    if order.strategy_id:
        extra = f',"j":{order.strategy_id}'
    if order.strategy_type:
        extra += f',"J":{order.strategy_type}'
    if kind == PREVENTED:
        extra += _prevention(market, event, prevented_steps, trade_group)
    elif kind == EXPIRED and event.reason:
        extra += f',"eR":"{REASONS[event.reason]}"'
    # z, Z and Y stand in one text each with what the trade adds, in the order of Binance's table.
    return (
        f'{{"e":"executionReport","E":{time},"s":"{market.json}","c":"{client_id}","S":"{SIDES[order.side]}",'
        f'"o":"{TYPES[order.type]}","f":"{TIMES_IN_FORCE[order.time_in_force]}",'
        f'"q":"{fixed(quantity_steps * market.step_e8)}","p":"{fixed(price_ticks * market.tick_e8)}",'
        f'"P":"{fixed(order.stop_price_ticks * market.tick_e8)}","F":"{fixed(order.iceberg_steps * market.step_e8)}",'
        f'"g":-1,"C":"{original_client_id}","x":"{EXECUTION_TYPES[kind]}","X":"{STATUSES[event.status]}","r":"NONE",'
        f'"i":{event.order_id},"l":"{trade[0]}","z":"{fixed(event.executed_steps * market.step_e8)}",'
        f'"L":"{trade[1]}","n":"{trade[2]}","N":{trade[3]},"T":{time},"t":{trade[4]},"I":{event.execution_id},'
        f'"w":{"true" if _on_the_book(event, order) else "false"},'
        f'"m":{"true" if event.flags & IS_MAKER else "false"},"M":{"true" if kind == FILL else "false"},'
        f'"O":{order.created_ns // unit_ns},"Z":"{fixed(event.executed_quote_units * market.quote_scale)}",'
        f'"Y":"{trade[5]}","Q":"{fixed(order.quote_quantity_units * market.quote_scale)}"{working},'
        f'"V":"{MODES[order.self_trade_prevention or market.self_trade_prevention]}"{extra}}}'
    ).encode()


# l, L, n, N, t, Y
_NO_TRADE: Final = (ZERO, ZERO, "0", "null", "-1", ZERO)


def _trade(market: Market, event: EventRow) -> tuple[str, str, str, str, str, str]:
    buys = event.flags & IS_BUY
    fee = fixed(event.fee_units * (market.base_scale if buys else market.quote_scale))
    return (
        fixed(event.quantity_steps * market.step_e8),
        fixed(event.price_ticks * market.tick_e8),
        fee,
        f'"{market.base_json if buys else market.quote_json}"',
        str(event.trade_id),
        fixed(event.quote_units * market.quote_scale),
    )


def _order_numbers(event: EventRow, order: OrderRow, prevented_steps: int) -> tuple[int, int]:
    """The order's own quantity and price: events of a match hold the match's."""
    if event.kind in (FILL, PREVENTED):
        return event.executed_steps + event.remaining_steps + prevented_steps, order.price_ticks
    return event.quantity_steps, event.price_ticks


def _on_the_book(event: EventRow, order: OrderRow) -> bool:
    """An order that ends is off the book; a taker's trade shows the book only for what may rest there."""
    if event.flags & IS_LAST:
        return False
    if event.kind == FILL:
        return bool(event.flags & IS_MAKER) or (order.type in _LIMIT_KINDS and order.time_in_force <= 1)
    return bool(event.flags & IS_WORKING)


def _prevention(market: Market, event: EventRow, prevented_steps: int, trade_group: int) -> str:
    prevented = fixed(event.quantity_steps * market.step_e8)
    quote = fixed(market.quote_units_of(event.price_ticks, event.quantity_steps) * market.quote_scale)
    return (
        f',"v":{event.prevented_match_id},"A":"{fixed(prevented_steps * market.step_e8)}","B":"{prevented}",'
        f'"u":{trade_group or -1},"U":{event.other_order_id},"Cs":"{market.json}","pl":"{prevented}",'
        f'"pL":"{fixed(event.price_ticks * market.tick_e8)}","pY":"{quote}"'
    )


def rejection_report(market: Market, place: CommandRow, code: int, time_ns: int, unit_ns: int) -> bytes:
    """The new half of a cancel-replace that the engine refused: an order that never was, hence without an id."""
    time = time_ns // unit_ns
    extra = f',"j":{place.strategy_id}' if place.strategy_id else ""
    if place.strategy_type:
        extra += f',"J":{place.strategy_type}'
    return (
        f'{{"e":"executionReport","E":{time},"s":"{market.json}","c":"{client_id_text(place.client_id)}",'
        f'"S":"{SIDES[place.side]}","o":"{TYPES[place.type]}","f":"{TIMES_IN_FORCE[place.time_in_force]}",'
        f'"q":"{fixed(place.quantity_steps * market.step_e8)}","p":"{fixed(place.price_ticks * market.tick_e8)}",'
        f'"P":"{fixed(place.stop_price_ticks * market.tick_e8)}","F":"{fixed(place.iceberg_steps * market.step_e8)}",'
        f'"g":-1,"C":"","x":"REJECTED","X":"REJECTED","r":"{REJECT_REASONS.get(code, "NONE")}","i":-1,'
        f'"l":"{ZERO}","z":"{ZERO}","L":"{ZERO}","n":"0","N":null,"T":{time},"t":-1,"I":-1,"w":false,"m":false,'
        f'"M":false,"O":{time},"Z":"{ZERO}","Y":"{ZERO}",'
        f'"Q":"{fixed(place.quote_quantity_units * market.quote_scale)}",'
        f'"V":"{MODES[place.self_trade_prevention or market.self_trade_prevention]}"{extra}}}'
    ).encode()


def account_position(balances: Iterable[tuple[Asset, int, int]], time_ns: int, unit_ns: int) -> bytes:
    """Free and locked of the assets that a command may have changed."""
    time = time_ns // unit_ns
    texts = []
    for asset, free, locked in balances:
        scale = scale_of(asset.decimals)
        texts.append(f'{{"a":"{asset.json_name}","f":"{fixed(free * scale)}","l":"{fixed(locked * scale)}"}}')
    return f'{{"e":"outboundAccountPosition","E":{time},"u":{time},"B":[{",".join(texts)}]}}'.encode()


def balance_update(asset: Asset, delta_units: int, time_ns: int, unit_ns: int) -> bytes:
    """A deposit (> 0) or a withdrawal (< 0)."""
    time = time_ns // unit_ns
    delta = fixed_signed(delta_units * scale_of(asset.decimals))
    return f'{{"e":"balanceUpdate","E":{time},"a":"{asset.json_name}","d":"{delta}","T":{time}}}'.encode()


def stream_terminated(time_ns: int, unit_ns: int) -> bytes:
    """A subscription is over."""
    return b'{"e":"eventStreamTerminated","E":%d}' % (time_ns // unit_ns)


def listen_key_expired(listen_key: str, time_ns: int, unit_ns: int) -> bytes:
    """A listen key is over."""
    return b'{"e":"listenKeyExpired","E":%d,"listenKey":"%b"}' % (time_ns // unit_ns, listen_key.encode("ascii"))


def user_envelope(subscription_id: int, event: bytes) -> bytes:
    """An event as the WebSocket API sends it."""
    return b'{"subscriptionId":%d,"event":%b}' % (subscription_id, event)


def command_row(commands: bytes | memoryview, index: int) -> CommandRow:
    """The command at that place of a batch."""
    return CommandRow._make(COMMAND_STRUCT.unpack_from(commands, index * _COMMAND_BYTES))


def command_client_id(commands: bytes, index: int) -> str:
    """The client id of the command at that place of a batch: a new order's, or that of a cancel's or amend's target."""
    return _field(commands, index, _CLIENT_ID)


def command_other_client_id(commands: bytes, index: int) -> str:
    """The other client id: a cancel's own, or the new id of an amended order."""
    return _field(commands, index, _OTHER_CLIENT_ID)


def _field(commands: bytes, index: int, field: slice) -> str:
    start = index * _COMMAND_BYTES
    return client_id_text(bytes(commands[start + field.start : start + field.stop]))
