# SPDX-License-Identifier: Apache-2.0
"""The tools measure what they say: histogram, signatures, plan of the load, generator of the flow.

Part of `pytest benchmarks/`; a second or two.
"""

import math
import random
from collections import Counter

import pytest

from benchmarks import flow, load_plan, tape
from benchmarks.histogram import Histogram
from benchmarks.lobster_flow import Top, tops_found
from benchmarks.plain import PlainBook
from benchmarks.wire import Key, signed_query

DOCUMENTED_KEY = Key(
    "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A",
    "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j",
)


def test_histogram_is_exact_to_a_hundredth() -> None:
    source = random.Random(1)
    values = sorted(round(source.lognormvariate(14, 2)) + 1 for _ in range(20_000))
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    for share in (0.5, 0.9, 0.99, 0.999):
        exact = values[math.ceil(share * len(values)) - 1]
        assert exact <= histogram.percentile(share) <= exact * 1.01
    assert histogram.percentile(1.0) == histogram.highest == values[-1]


def test_histograms_add_up() -> None:
    one, two, both = Histogram(), Histogram(), Histogram()
    for value in range(1, 5_000):
        (one if value % 3 else two).record(value * value)
        both.record(value * value)
    one.add(two)
    assert one.milliseconds() == both.milliseconds()


def test_signature_is_the_documented_one() -> None:
    parameters = "symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000"
    assert signed_query(DOCUMENTED_KEY, parameters, 1499827319559).endswith(
        "&signature=c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71"
    )


def test_plan_keeps_its_mix_and_its_rate() -> None:
    planned = load_plan.plan(1, 500, 60, 1_700_000_000_000)
    kinds = Counter(str(each.kind) for each in planned)
    reads = sum(count for kind, count in kinds.items() if kind.startswith("read"))
    assert len(planned) == pytest.approx(30_000, rel=0.03)
    assert reads / len(planned) == pytest.approx(0.30, abs=0.02)
    assert kinds["cancel"] / kinds["place"] == pytest.approx(1, abs=0.1)
    assert kinds["take"] / kinds["make"] == pytest.approx(1, abs=0.1)
    assert [each.offset_ns for each in planned] == sorted(each.offset_ns for each in planned)
    assert planned == load_plan.plan(1, 500, 60, 1_700_000_000_000)


def test_flow_is_seeded_and_has_its_shares() -> None:
    one, two = (flow.generate(3, resting=5_000, commands=20_000) for _ in range(2))
    assert (one.steps, one.trades_digest) == (two.steps, two.trades_digest)
    kinds = Counter(step[0] for step in one.steps[5_000:])
    assert kinds[flow.LIMIT] / 20_000 == pytest.approx(0.55, abs=0.02)
    assert kinds[flow.CANCEL] / 20_000 == pytest.approx(0.40, abs=0.02)
    preload, commands = one.commands(100)
    assert (len(preload), len(commands)) == (5_000, 20_000)
    book = PlainBook()
    assert len(flow.play_plain(one.steps, book)) == one.trades
    assert len(book.orders) == one.resting_after


def test_tape_check_names_the_first_difference() -> None:
    assert tape.check(["a", "b"], ["a", "b"]) == (True, "identical 2 lines")
    assert tape.check(["a", "b"], ["a", "c"]) == (False, "first difference in line 2: expected 'c', got 'b'")
    assert tape.check(["a"], ["a", "c"]) == (False, "first difference in line 2: expected 'c', got None")


def test_tops_are_looked_for_in_order() -> None:
    one, two, three = (Top(number, 1, 0, 0) for number in (1, 2, 3))
    assert tops_found([one, one, three], [one, two, three]) == (2, 2)
    assert tops_found([three, one], [one, two, three]) == (1, 2)
