# SPDX-License-Identifier: Apache-2.0
"""Kernel against twin over long seeded histories: events, taps and canonical dumps equal; then what holds along them.

More than a million commands. A failure prints the seed, the batch, the commands of the batch and the first field that
differs; `python -m tests.model SEED` replays it.
"""

import pytest

import bidhall.core
from tests.core.lockstep import Lockstep, run_history
from tests.model.records import EventKind, Reject

HISTORIES = 210
COMMANDS = 4_800
GROUPS = 30


@pytest.mark.slow
@pytest.mark.parametrize("group", range(GROUPS))
def test_a_million_commands(group: int) -> None:
    """1,008,000 of them, in 210 worlds."""
    for seed in range(group, HISTORIES, GROUPS):
        run_history(seed, COMMANDS)


def words(names: type) -> set[int]:
    return {value for name, value in vars(names).items() if name.isupper()}


RARE = {
    "a trade is cut by free money",
    "free money pays for no step",
    "a second round of triggers",
    "a triggered order rests",
    "an order by quote quantity buys no more step",
    "a FOK stops counting at its own order",
    "a FOK steps over its own order",
    "a writer is forgotten",
    "a digest is forgotten",
    "a digest waits behind another",
}


def test_histories_reach_every_event_every_refusal_and_every_rare_place() -> None:
    """A generator that no longer gets somewhere would compare nothing there."""
    missing: set[object] = {*RARE}
    missing |= {f"event {kind}" for kind in words(EventKind)} | {f"refusal {code}" for code in words(Reject)}

    def look(lockstep: Lockstep) -> None:
        missing.difference_update(f"event {event.kind}" for event in lockstep.twin.events)
        missing.difference_update(f"refusal {event.code}" for event in lockstep.twin.events)
        missing.difference_update(lockstep.twin.reached)

    for seed in range(1000, 1100):
        run_history(seed, 1_000, each=look)
        if not missing:
            return
    raise AssertionError(f"never reached: {sorted(map(str, missing))}")


@pytest.mark.parametrize("seed", range(2000, 2006))
def test_money_is_conserved_after_every_command(seed: int) -> None:
    """Both audit themselves: conservation, locks, order of the books, nothing crossed."""
    run_history(seed, 1_000, audit_every=1, batch_commands=1)


@pytest.mark.parametrize("seed", range(3000, 3008))
def test_a_restored_kernel_goes_on_identically(seed: int) -> None:
    """Every now and then the kernel is replaced by what its snapshot restores."""

    def swap(lockstep: Lockstep) -> None:
        if lockstep.batches % 7:
            return
        old = lockstep.subject
        image = old.snapshot()
        new = bidhall.core.Exchange.restore(image)
        assert new.snapshot() == image
        assert (new.state_hash(), new.event_hash) == (old.state_hash(), old.event_hash)
        new.audit()
        for account in lockstep.twin.watched:
            new.watch(account, True)
        lockstep.subject = new

    run_history(seed, 1_500, each=swap)


@pytest.mark.parametrize("seed", range(4000, 4004))
def test_two_kernels_fed_the_same_are_the_same(seed: int) -> None:
    other = bidhall.core.Exchange()
    fed: list[tuple[bytes, bytes]] = []

    def follow(lockstep: Lockstep) -> None:
        fed.append((lockstep.subject.state_hash(), lockstep.subject.event_hash))

    first = run_history(seed, 800, each=follow)
    second = run_history(seed, 800, other)
    assert (other.state_hash(), other.event_hash) == fed[-1]
    assert first.subject.snapshot() == second.subject.snapshot()


@pytest.mark.parametrize("seed", range(5000, 5006))
def test_the_hash_changes_whenever_the_state_does(seed: int) -> None:
    seen: dict[bytes, str] = {}
    last: list[tuple[bytes, str]] = []

    def look(lockstep: Lockstep) -> None:
        state_hash, dump = lockstep.subject.state_hash(), repr(lockstep.subject.dump())
        assert seen.setdefault(state_hash, dump) == dump, "two states have one hash"
        if last and last[0][1] != dump:
            assert last[0][0] != state_hash, "the state changed and its hash did not"
        last[:] = [(state_hash, dump)]

    run_history(seed, 400, batch_commands=1, each=look)


def test_looking_changes_nothing(seed: int) -> None:
    """Every query between the batches, and the history runs as before."""

    def look(lockstep: Lockstep) -> None:
        kernel, twin = lockstep.subject, lockstep.twin
        before = kernel.state_hash()
        for number in twin.markets:
            kernel.market(number), kernel.depth(number, 5), kernel.drain_depth(number), kernel.top(number)
            kernel.last_price(number), kernel.average_price(number), kernel.update_ids(number)
            for queue in (1, 2, 3, 4):
                kernel.book(number, queue)
        for number in twin.accounts:
            kernel.account(number), kernel.balances(number), kernel.open_orders(number)
        for number in twin.assets:
            kernel.asset(number), kernel.totals(number)
        assert kernel.state_hash() == before

    run_history(seed % 1000, 1_000, each=look)
