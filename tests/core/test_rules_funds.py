# SPDX-License-Identifier: Apache-2.0
"""RULES.md "PLACE": the funds an order needs and locks, and the room it needs, on twin and kernel."""

from tests.core.stage import ANN, BASE, BUY, MILLION, QUOTE, SELL, Stage
from tests.model import commands
from tests.model.records import Mode, OrderType, TimeInForce

IOC, FOK = TimeInForce.IOC, TimeInForce.FOK


def test_a_limit_order_needs_its_full_price_from_free(stage: Stage) -> None:
    stage.book("sell 10: 9@bob")  # it would trade far below its limit
    stage.do(commands.withdraw(ANN, QUOTE, MILLION - 299), commands.withdraw(ANN, BASE, MILLION - 2))
    assert stage.limit(ANN, BUY, 3, 100) == ["refused INSUFFICIENT_BALANCE"]
    assert stage.limit(ANN, SELL, 3, 100) == ["refused INSUFFICIENT_BALANCE"]
    assert stage.stop(ANN, BUY, 3, 100) == ["refused INSUFFICIENT_BALANCE"]
    assert stage.stop(ANN, BUY, 3, 1000, price=100) == ["refused INSUFFICIENT_BALANCE"]
    assert stage.stop(ANN, BUY, 3, 1000, price=99) == ["#2 waits"]
    assert stage.balance(ANN, QUOTE) == (2, 297)


def test_a_stop_locks_by_its_stop_price(stage: Stage) -> None:
    stage.stop(ANN, BUY, 3, 100)
    stage.stop(ANN, SELL, 4, 100)
    assert stage.balance(ANN, QUOTE) == (MILLION - 300, 300)
    assert stage.balance(ANN, BASE) == (MILLION - 4, 4)


def test_a_market_buy_needs_what_the_book_costs_as_it_stands(stage: Stage) -> None:
    stage.book("""
        sell 102: 5@ann
        sell 101: 5@bob
        sell 100: 5@ann
    """)
    cost = 5 * 100 + 5 * 101 + 5 * 102  # the account's own orders are counted, though they will not trade
    stage.do(commands.withdraw(ANN, QUOTE, MILLION - cost + 1))
    assert stage.market(ANN, BUY, 15) == ["refused INSUFFICIENT_BALANCE"]
    assert stage.market(ANN, BUY, 999) == ["refused INSUFFICIENT_BALANCE"]
    stage.do(commands.deposit(ANN, QUOTE, 1))
    assert stage.market(ANN, BUY, 999)[0] == "#4 accepted"  # what the book lacks costs nothing


def test_a_market_buy_by_quote_needs_it_all(stage: Stage) -> None:
    assert stage.market(ANN, BUY, quote=MILLION + 1) == ["refused INSUFFICIENT_BALANCE"]
    assert stage.market(ANN, BUY, quote=MILLION)[0] == "#1 accepted"


def test_a_market_sell_needs_its_quantity(stage: Stage) -> None:
    assert stage.market(ANN, SELL, MILLION)[0] == "#1 accepted"
    stage.do(commands.withdraw(ANN, BASE, 1))
    assert stage.market(ANN, SELL, MILLION) == ["refused INSUFFICIENT_BALANCE"]


def test_a_market_sell_by_quote_needs_what_the_book_would_take(stage: Stage) -> None:
    """195 takes 1 step at 100 and then, at 30, floor(95 / 30) = 3, and floor(5 / 2) = 2 at 2."""
    stage.book("""
        buy 100: 1@bob
        buy  30: 9@bob
        buy   2: 9@bob
    """)
    stage.do(commands.withdraw(ANN, BASE, MILLION - 5))
    assert stage.market(ANN, SELL, quote=195) == ["refused INSUFFICIENT_BALANCE"]
    stage.do(commands.deposit(ANN, BASE, 1))
    assert stage.market(ANN, SELL, quote=195)[0] == "#4 accepted"
    assert stage.balance(ANN, BASE) == (5, 0)  # it was done at 100, where 95 buys nothing


def test_a_full_book_refuses_what_may_rest(bare: Stage) -> None:
    bare.do(commands.configure(orders_max=2), commands.asset(b"A", 0), commands.asset(b"B", 0), commands.account())
    bare.do(commands.deposit(1, 1, MILLION), commands.deposit(1, 2, MILLION), commands.market(b"M", 1, 2))
    bare.do(commands.market(b"N", 1, 2))
    bare.limit(1, BUY, 1, 10)
    bare.stop(1, BUY, 1, 10)
    assert bare.limit(1, BUY, 1, 10) == ["refused BOOK_FULL"]
    assert bare.do(commands.place(1, 2, BUY, OrderType.LIMIT_MAKER, price_ticks=1, quantity_steps=1)) == [
        "refused BOOK_FULL"
    ]
    assert bare.stop(1, BUY, 1, 10) == ["refused BOOK_FULL"]
    assert bare.stop(1, BUY, 1, 10, price=9, time_in_force=IOC) == ["refused BOOK_FULL"]
    assert bare.limit(1, SELL, 1, 10) == ["refused BOOK_FULL"]  # even if it would trade at once
    assert bare.limit(1, SELL, 1, 10, time_in_force=IOC, self_trade_prevention=Mode.NONE)[1] == "#3 takes 1@10, filled"
    assert bare.limit(1, SELL, 1, 10)[0] == "#4 accepted"


def test_market_and_immediate_orders_pass_a_full_book(bare: Stage) -> None:
    bare.do(commands.configure(orders_max=1), commands.asset(b"A", 0), commands.asset(b"B", 0), commands.account())
    bare.do(commands.deposit(1, 1, MILLION), commands.deposit(1, 2, MILLION), commands.market(b"M", 1, 2))
    bare.limit(1, BUY, 9, 10)
    none = {"self_trade_prevention": Mode.NONE}
    assert bare.market(1, SELL, 1, **none)[0] == "#2 accepted"
    assert bare.market(1, SELL, quote=10, **none)[0] == "#3 accepted"
    assert bare.limit(1, SELL, 1, 10, time_in_force=FOK, **none)[0] == "#4 accepted"
    assert bare.limit(1, SELL, 1, 11, time_in_force=IOC, **none) == ["#5 accepted", "#5 expired UNFILLED_IOC, 1 left"]
