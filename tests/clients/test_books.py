# SPDX-License-Identifier: Apache-2.0
"""ccxt.pro's and python-binance's books follow a busy market without a resync, equal to the server's: the short form.

The long one, at two thousand changes a second, is `make proof books` (tests/proofs/test_books.py; CI runs a minute of
it by itself). Here the other tests run beside it, so the rate is what the machine has left.
"""

import itertools
from pathlib import Path
from typing import Any

import pytest

from tests.proofs import books
from tests.serving import serving

pytest.importorskip("ccxt.pro")
pytest.importorskip("binance")
pytestmark = pytest.mark.filterwarnings("default")
CHANGES_MIN = 2_000


@pytest.mark.slow
async def test_books_follow_without_a_resync(tmp_path: Path, seed: int) -> None:
    with serving(tmp_path / "bidhall", seed=books.document()) as server:
        result = await books.follow(server, seed=seed, rate=2_000, slices=2, slice_s=5, orders=4_000)
    assert result["changes"] >= CHANGES_MIN


async def test_a_lost_event_would_be_seen(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The judges judge: each library's fifth depth event is kept from it, and both have to start again."""
    start_ccxt, start_python_binance = books.CcxtJudge.start, books.PythonBinanceJudge.start

    async def deaf_ccxt(name: str, address: str) -> books.CcxtJudge:
        judge = await start_ccxt(name, address)
        apply, events = judge.exchange.handle_order_book, itertools.count(1)
        judge.exchange.handle_order_book = lambda *event: apply(*event) if next(events) != 5 else None
        return judge

    async def deaf_python_binance(name: str, interval: int | None) -> books.PythonBinanceJudge:
        judge = await start_python_binance(name, interval)
        apply, events = judge.manager._process_depth_message, itertools.count(1)

        async def process(message: Any) -> Any:
            return await apply(message) if next(events) != 5 else None

        judge.manager._process_depth_message = process
        return judge

    monkeypatch.setattr(books.CcxtJudge, "start", deaf_ccxt)
    monkeypatch.setattr(books.PythonBinanceJudge, "start", deaf_python_binance)
    with (
        serving(tmp_path / "bidhall", seed=books.document()) as server,
        pytest.raises(AssertionError, match="a resync") as caught,
    ):
        await books.follow(server, seed=seed, rate=500, slices=1, slice_s=6, orders=300)
    assert "ChecksumError" in str(caught.value)
    assert "'python-binance 100 ms': (2, [])" in str(caught.value)
