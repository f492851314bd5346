# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the kernel's tests: the same story on the twin and on the kernel."""

from typing import Any

import pytest

import bidhall.core
from tests.core.stage import Stage
from tests.model import ModelExchange


@pytest.fixture(params=["twin", "kernel"])
def exchange(request: pytest.FixtureRequest) -> Any:
    """An exchange that knows nothing yet."""
    return ModelExchange() if request.param == "twin" else bidhall.core.Exchange()


@pytest.fixture
def bare(exchange: Any) -> Stage:
    """A stage without a market."""
    return Stage(exchange)


@pytest.fixture
def stage(exchange: Any) -> Stage:
    """A stage with four funded accounts and a market."""
    return Stage(exchange).open()
