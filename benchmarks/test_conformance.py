# SPDX-License-Identifier: Apache-2.0
"""Order flow of others through the kernel: the tape and its edge cases byte for byte, the NASDAQ hour line by line.

Part of `pytest benchmarks/`; skipped with a sentence where the files are not at hand. The way over HTTP is a command of
its own (`python -m benchmarks.lobster --via http`), and a smoke test in CI.
"""

import pytest

from benchmarks import data, lobster, tape
from benchmarks.lobster_flow import EXPECTED, KNOWN_LINES, read_rows, read_tops

pytestmark = pytest.mark.usefixtures("foreign_data")


def test_edge_cases() -> None:
    same, sentences = tape.edge_cases(data.find(data.EDGE_CASES))
    assert same, sentences
    assert sentences == ["34 of 34 edge cases identical"]


def test_tape_is_identical_and_a_wrong_one_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    messages, expected = data.find(data.TAPE), data.find(data.TAPE_EXPECTED)
    assert tape.main([str(messages), "--check", str(expected)]) == 0
    assert capsys.readouterr().out == "identical 110591 lines\n"
    assert tape.main([str(messages), "--check", str(messages)]) == 1
    assert capsys.readouterr().out.startswith("first difference in line 1: expected '0,0,0,55,12542,33903'")


def test_nasdaq_hour_through_the_kernel() -> None:
    rows, tops = read_rows(data.find(data.LOBSTER_MESSAGES)), read_tops(data.find(data.LOBSTER_TOPS))
    result = lobster.replay_kernel(rows, None)
    assert sorted(result.judgement.differing_lines) == sorted(KNOWN_LINES)
    right, lines = lobster.verdict(result, None, tops)
    assert right, lines
    assert result.judgement.fills == EXPECTED["fills"]


def test_part_of_the_hour_has_its_part_of_the_known_lines() -> None:
    rows, tops = read_rows(data.find(data.LOBSTER_MESSAGES)), read_tops(data.find(data.LOBSTER_TOPS))
    result = lobster.replay_kernel(rows, 5_000)
    assert result.judgement.differing_lines == [2410, 2419]
    assert lobster.verdict(result, 5_000, tops)[0]
    result.judgement.differing_lines.append(3_000)
    assert not lobster.verdict(result, 5_000, tops)[0]
