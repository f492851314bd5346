# SPDX-License-Identifier: Apache-2.0
"""The comparison can fail: every planted fault is caught within a few of the histories that the kernel must survive."""

import pytest

from tests.core import canaries, canaries_of_version_2
from tests.core.canaries import FeesRoundUp
from tests.core.lockstep import Difference, run_history
from tests.model import ModelExchange

CANARIES = [*canaries.CANARIES, *canaries_of_version_2.CANARIES]
SEEDS = range(60)
COMMANDS = 600


def caught(canary: type[ModelExchange]) -> str:
    """What the comparison says of it; empty when it finds nothing."""
    for seed in SEEDS:
        try:
            run_history(seed, COMMANDS, canary())
        except Difference as difference:
            return str(difference)
        except (ArithmeticError, LookupError, ValueError) as problem:
            return repr(problem)  # it broke down
    return ""


@pytest.mark.parametrize("canary", CANARIES, ids=lambda canary: canary.__name__)
def test_a_planted_fault_is_caught(canary: type[ModelExchange]) -> None:
    assert caught(canary), f"{canary.__name__}: nobody noticed"


def test_a_good_twin_is_not_caught() -> None:
    for seed in range(3):
        run_history(seed, COMMANDS, ModelExchange())


def test_a_difference_is_told_field_by_field() -> None:
    told = caught(FeesRoundUp)
    assert "fee_units: subject" in told
    assert "kind=9" in told
    assert "again: python -m tests.model" in told
