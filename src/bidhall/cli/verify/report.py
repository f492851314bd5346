# SPDX-License-Identifier: Apache-2.0
"""What `bidhall verify` found, check by check, and how it is printed.

Filled by every part of verify, printed by its command. A check is a line; a fault has as many as it needs, up to a
bound that is said.
"""

from typing import Final

FAULTS_SHOWN: Final = 10
NAME_WIDTH: Final = 10


class Check:
    """One thing that was looked at: `ok` until a fault is noted; `text` says what was seen."""

    def __init__(self, name: str) -> None:
        self.name: Final = name
        self.text = ""
        self.faults: Final[list[str]] = []
        self.count = 0
        self.skipped = False

    def fault(self, text: str) -> None:
        """Something is wrong; the text says what, where and whose."""
        self.count += 1
        if len(self.faults) < FAULTS_SHOWN:
            self.faults.append(text)

    def skip(self, reason: str) -> None:
        """It was not looked at: neither ok nor wrong."""
        self.skipped, self.text = True, reason

    def lines(self) -> list[str]:
        """As they are printed."""
        if not self.count:
            return [f"{self.name:{NAME_WIDTH}} {'-- ' if self.skipped else 'ok '} {self.text}"]
        shown = [f"{self.name:{NAME_WIDTH}} BAD {text}" for text in self.faults]
        rest = self.count - len(self.faults)
        return [*shown, f"{'':{NAME_WIDTH}}     and {rest:,} more"] if rest else shown


class Report:
    """All checks, in the order in which they were begun."""

    def __init__(self) -> None:
        self.checks: Final[list[Check]] = []

    def check(self, name: str) -> Check:
        """A new one."""
        made = Check(name)
        self.checks.append(made)
        return made

    @property
    def faults(self) -> int:
        """Of all checks."""
        return sum(check.count for check in self.checks)

    def lines(self) -> list[str]:
        """As they are printed."""
        return [line for check in self.checks for line in check.lines()]
