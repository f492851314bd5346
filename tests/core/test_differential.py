# SPDX-License-Identifier: Apache-2.0
"""Kernel against twin over long seeded histories: events, taps and canonical dumps equal; then what holds along them.

More than a million commands, and three million more by `make proof twin`. A failure prints the seed, the batch, its
commands and the first field that differs; `python -m tests.model SEED` replays it.
"""

import os
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context

import pytest

import bidhall.core
from tests.core.lockstep import Lockstep, run_history
from tests.model.features import ONE_THEN_TWO, TWO
from tests.model.records import Event, EventKind, Flag, Reject

HISTORIES = 140
COMMANDS = 5_000
GROUPS = 30
PROOF_COMMANDS = 3_000_000
PROOF_HISTORY = 5_000


@pytest.mark.slow
@pytest.mark.parametrize("group", range(GROUPS))
def test_many_commands(group: int) -> None:
    """700,000 of them, in 140 worlds: most of version 2, some of version 1, some that go from one to the other."""
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
    "a FOK does not count what hides behind its own order",
    "an iceberg shows its next part",
    "an iceberg shrinks where nobody sees it",
    "a transfer is cut by free money",
    "free money transfers no step",
    "rules change while orders are open",
    "a REPLACE does both",
    "a REPLACE only cancels",
    "a REPLACE only places",
    "a REPLACE fails twice",
    "a REPLACE does nothing",
    "a writer is forgotten",
    "a digest is forgotten",
    "a digest waits behind another",
}


MEETINGS = {(part, moved) for part in ("the last", "a part") for moved in ("no money", "money")}


def meeting(event: Event) -> tuple[str, str] | None:
    """What a prevented match took, and whether it was a transfer."""
    if event.kind != EventKind.PREVENTED:
        return None
    return "the last" if event.flags & Flag.LAST else "a part", "money" if event.quote_units else "no money"


def test_histories_reach_every_event_every_refusal_and_every_rare_place() -> None:
    """A generator that no longer gets somewhere would compare nothing there."""
    missing: set[object] = {*RARE}
    missing |= {f"event {kind}" for kind in words(EventKind)} | {f"refusal {code}" for code in words(Reject)}
    missing |= {f"meeting of {kind}" for kind in MEETINGS}

    def look(lockstep: Lockstep) -> None:
        missing.difference_update(f"event {event.kind}" for event in lockstep.twin.events)
        missing.difference_update(f"refusal {event.code}" for event in lockstep.twin.events)
        missing.difference_update(f"meeting of {meeting(event)}" for event in lockstep.twin.events)
        missing.difference_update(lockstep.twin.reached)

    for seed in range(1000, 1100):
        run_history(seed, 1_000, each=look)
        if not missing:
            return
    raise AssertionError(f"never reached: {sorted(map(str, missing))}")


def proof_history(seed: int) -> tuple[int, Counter[str]]:
    """One history of the proof, in a process of its own: its commands, and what it came to."""
    counts: Counter[str] = Counter()
    kinds = {value: name for name, value in vars(EventKind).items() if name.isupper()}
    codes = {value: name for name, value in vars(Reject).items() if name.isupper()}

    def look(lockstep: Lockstep) -> None:
        for event in lockstep.twin.events:
            counts[kinds[event.kind]] += 1
            if event.code:
                counts[f"refused {codes[event.code]}"] += 1
        lockstep.twin.events = []  # a batch that is refused whole leaves the last one's

    plan = ONE_THEN_TWO if seed % 6 == 0 else TWO
    lockstep = run_history(seed, PROOF_HISTORY, each=look, plan=plan)
    counts.update(lockstep.twin.reached)
    return lockstep.twin.sequence, counts


@pytest.mark.proof
@pytest.mark.timeout(7200)
def test_the_twin_agrees_over_three_million_commands(seed: int) -> None:
    """`make proof twin`: every feature on, over all processors; other seeds with BIDHALL_TEST_SEED."""
    histories = PROOF_COMMANDS // PROOF_HISTORY + 1
    seeds = range(seed, seed + histories)
    counts: Counter[str] = Counter()
    commands = 0
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        for index, future in enumerate(as_completed([pool.submit(proof_history, number) for number in seeds]), 1):
            history_commands, history_counts = future.result()
            commands += history_commands
            counts += history_counts
            if index % 50 == 0 or index == histories:
                print(f"{index} of {histories} histories, {commands:,} commands: no difference", flush=True)
    print(f"seeds {seeds.start}..{seeds.stop - 1}, {commands:,} commands, {counts.total():,} events and marks:")
    for name, count in sorted(counts.items()):
        print(f"  {count:>10,}  {name}")
    assert commands >= PROOF_COMMANDS


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
