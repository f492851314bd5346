# SPDX-License-Identifier: Apache-2.0
"""A Hypothesis state machine on kernel and twin: it invents commands, and shrinks what makes the two differ."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

import bidhall.core
from tests.core.lockstep import Lockstep
from tests.model import commands
from tests.model.histories import Batch
from tests.model.records import Event, EventKind, OrderType

MINUTE_NS = 60 * 10**9
accounts = st.integers(1, 3)
sides = st.integers(1, 2)
prices = st.integers(96, 105)
quantities = st.integers(1, 6)
modes = st.integers(0, 6)
hidden = st.sampled_from([0, 0, 1, 2, 3])  # what an iceberg shows; 0: it is none
names = st.sampled_from([b"", b"a", b"b"])
numbers = st.one_of(st.integers(-2, 120), st.sampled_from([2**31, 2**42, 2**62 - 1, 2**62, 2**63 - 1, -(2**63)]))


class KernelAndTwin(RuleBasedStateMachine):
    """Three accounts and two markets."""

    orders = Bundle("orders")

    def __init__(self) -> None:
        super().__init__()
        self.lockstep = Lockstep()
        self.time_ns = 10**18

    def do(self, *raw: bytes) -> list[Event]:
        events = self.lockstep.apply(Batch(b"".join(raw), self.time_ns, self.time_ns, None, 0))
        assert events is not None
        return events

    def accepted(self, *raw: bytes) -> list[int]:
        return [event.order_id for event in self.do(*raw) if event.kind == EventKind.ACCEPTED]

    @initialize(
        fee=st.sampled_from([0, 10**5, 10**7]),
        orders_max=st.sampled_from([0, 4]),
        minutes=st.integers(0, 2),
        groups=st.lists(st.integers(0, 1), min_size=3, max_size=3),
        limited=st.booleans(),
        version=st.sampled_from([1, 2, 2, 2]),
    )
    def world(self, fee: int, orders_max: int, minutes: int, groups: list[int], limited: bool, version: int) -> None:
        limits = {"orders_max": 12, "digests_max": 3, "rules_version": version}
        filters = {"iceberg_orders_max": 2, "iceberg_parts_max": 3, "position_units_max": 75} if limited else {}
        filters |= {"bid_multiplier_up_e4": 10_300, "ask_multiplier_down_e4": 9_700} if limited else {}
        self.do(commands.configure(**limits), commands.asset(b"A", 0), commands.asset(b"B", 2))
        for account, group in enumerate(groups, 1):
            self.do(
                commands.account(trade_group=group),
                commands.deposit(account, 1, 60),
                commands.deposit(account, 2, 9_000 * 100),
            )
        for name in (b"M", b"N"):
            self.do(
                commands.market(
                    name,
                    1,
                    2,
                    tick_e8=10**6,
                    maker_rate_e8=fee,
                    taker_rate_e8=2 * fee,
                    orders_max=orders_max,
                    average_minutes=minutes,
                    notional_units_min=100,
                    algo_orders_max=3,
                    self_trade_preventions=63 if version == 2 else 15,
                    **filters,
                )
            )
        self.lockstep.watch(2)

    @rule(
        target=orders,
        account=accounts,
        market=st.sampled_from([1, 1, 1, 2]),
        side=sides,
        price=prices,
        quantity=quantities,
        time_in_force=st.sampled_from([1, 1, 1, 2, 3]),
        mode=modes,
        name=names,
        shown=hidden,
    )
    def limit(
        self,
        account: int,
        market: int,
        side: int,
        price: int,
        quantity: int,
        time_in_force: int,
        mode: int,
        name: bytes,
        shown: int,
    ) -> object:
        return multiple(
            *self.accepted(
                self.limit_order(
                    account,
                    market,
                    side,
                    price_ticks=price,
                    quantity_steps=quantity,
                    time_in_force=time_in_force,
                    self_trade_prevention=mode,
                    client_id=name,
                    iceberg_steps=shown,
                )
            )
        )

    def limit_order(self, account: int, market: int, side: int, **fields: int | bytes) -> bytes:
        return commands.place(account, market, side, OrderType.LIMIT, **fields)

    @rule(
        target=orders,
        account=accounts,
        order=orders,
        side=sides,
        price=prices,
        quantity=quantities,
        restriction=st.integers(0, 3),
        flags=st.integers(0, 1),
        digest=st.sampled_from([0, 0, 0, 1, 2]),
        shown=hidden,
    )
    def replace(
        self,
        account: int,
        order: int,
        side: int,
        price: int,
        quantity: int,
        restriction: int,
        flags: int,
        digest: int,
        shown: int,
    ) -> object:
        fields = {"price_ticks": price, "quantity_steps": quantity, "time_in_force": 1, "iceberg_steps": shown}
        new = self.limit_order(account, 1, side, **fields)
        signed = bytes([digest]) * 16
        raw = commands.replace(account, 1, new, order, restriction=restriction, flags=flags, digest=signed)
        return multiple(*self.accepted(raw))

    @rule(account=accounts, market=st.integers(0, 3), restriction=st.integers(0, 2))
    def kill(self, account: int, market: int, restriction: int) -> None:
        self.do(commands.kill(account, market, restriction=restriction))
        self.do(commands.account_change(account, trade_group=account % 2))

    @rule(version=st.integers(0, 3))
    def activate(self, version: int) -> None:
        self.do(commands.rules(version))

    @rule(
        account=accounts,
        side=sides,
        quantity=st.integers(0, 9),
        quote=st.sampled_from([0, 0, 99, 250, 777]),
        mode=modes,
    )
    def market(self, account: int, side: int, quantity: int, quote: int, mode: int) -> None:
        kind = OrderType.MARKET
        fields = {"quantity_steps": 0 if quote else quantity, "quote_quantity_units": quote}
        self.do(commands.place(account, 1, side, kind, self_trade_prevention=mode, **fields))

    @rule(
        target=orders,
        account=accounts,
        side=sides,
        kind=st.integers(3, 7),
        price=prices,
        stop=prices,
        quantity=quantities,
        time_in_force=st.integers(1, 3),
    )
    def conditional(
        self, account: int, side: int, kind: int, price: int, stop: int, quantity: int, time_in_force: int
    ) -> object:
        limited = kind in (OrderType.STOP_LOSS_LIMIT, OrderType.TAKE_PROFIT_LIMIT)
        fields = {
            "price_ticks": price if limited or kind == OrderType.LIMIT_MAKER else 0,
            "stop_price_ticks": 0 if kind == OrderType.LIMIT_MAKER else stop,
            "time_in_force": time_in_force if limited else 0,
        }
        return multiple(*self.accepted(commands.place(account, 1, side, kind, quantity_steps=quantity, **fields)))

    @rule(account=accounts, order=orders, restriction=st.integers(0, 2))
    def cancel(self, account: int, order: int, restriction: int) -> None:
        self.do(commands.cancel(account, 1, order, restriction=restriction))

    @rule(account=accounts, name=names)
    def cancel_by_name(self, account: int, name: bytes) -> None:
        self.do(commands.cancel(account, 1, client_id=name))

    @rule(account=accounts, market=st.integers(1, 2))
    def cancel_all(self, account: int, market: int) -> None:
        self.do(commands.cancel_all(account, market))

    @rule(account=accounts, order=orders, quantity=quantities, name=names)
    def amend(self, account: int, order: int, quantity: int, name: bytes) -> None:
        self.do(commands.amend(account, 1, order, quantity, other_client_id=name))

    @rule(account=accounts, asset=st.integers(1, 2), units=numbers, out=st.booleans(), digest=st.integers(0, 5))
    def transfer(self, account: int, asset: int, units: int, out: bool, digest: int) -> None:
        pack = commands.withdraw if out else commands.deposit
        self.do(pack(account, asset, units, digest=bytes([digest]) * 16, deadline_ns=digest and self.time_ns + digest))

    @rule(
        kind=st.integers(2, 16),
        account=st.integers(0, 4),
        market=st.integers(0, 3),
        type=st.integers(0, 8),
        side=st.integers(0, 3),
        time_in_force=st.integers(0, 4),
        mode=st.integers(0, 7),
        values=st.lists(numbers, min_size=4, max_size=4),
        order_id=st.integers(0, 2**64 - 1),
    )
    def anything(self, **drawn: object) -> None:
        price, quantity, stop, quote = drawn.pop("values")  # type: ignore[misc]
        mode = drawn.pop("mode")
        self.do(
            commands.common(
                price_ticks=price,
                quantity_steps=quantity,
                stop_price_ticks=stop,
                quote_quantity_units=quote,
                self_trade_prevention=mode,
                **drawn,  # type: ignore[arg-type]
            )
        )

    @rule(state=st.sampled_from([1, 1, 1, 2, 3, 4]))
    def market_state(self, state: int) -> None:
        self.do(commands.market_state(1, state))

    @rule(time_ns=st.sampled_from([-MINUTE_NS, 0, 1, MINUTE_NS, 2 * MINUTE_NS]))
    def wait(self, time_ns: int) -> None:
        self.time_ns += time_ns
        self.do()

    @rule()
    def restore(self) -> None:
        old = self.lockstep.subject
        new = bidhall.core.Exchange.restore(old.snapshot())
        assert new.state_hash() == old.state_hash()
        for account in (1, 2):
            new.watch(account, True)
        self.lockstep.subject = new

    @invariant()
    def same_state(self) -> None:
        self.lockstep.compare_dumps()
        self.lockstep.audit()


TestKernelAndTwin = KernelAndTwin.TestCase
TestKernelAndTwin.settings = settings(
    max_examples=80,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
