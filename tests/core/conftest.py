# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the kernel's tests: the same story on the twin and on the kernel, under either version of the rules."""

from typing import Any

import pytest

import bidhall.core
from tests.core.stage import Stage
from tests.model import ModelExchange

EXCHANGES = {"twin": ModelExchange, "kernel": bidhall.core.Exchange}
UNDER_BOTH = {f"{name}-{rules}": (name, rules) for name in EXCHANGES for rules in (1, 2)}


@pytest.fixture(params=UNDER_BOTH)
def exchange(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An exchange that knows nothing yet, and a Stage that will open it with version 1 or 2."""
    name, rules = UNDER_BOTH[request.param]
    monkeypatch.setattr(Stage, "rules", rules)
    return EXCHANGES[name]()


@pytest.fixture(params=EXCHANGES)
def bare(request: pytest.FixtureRequest) -> Stage:
    """A stage without a market."""
    return Stage(EXCHANGES[request.param]())


@pytest.fixture
def stage(exchange: Any) -> Stage:
    """A stage with four funded accounts and a market."""
    return Stage(exchange).open()


@pytest.fixture(params=EXCHANGES)
def modern(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """A stage that nobody has opened, for what only version 2 has."""
    monkeypatch.setattr(Stage, "rules", 2)
    return Stage(EXCHANGES[request.param]())
