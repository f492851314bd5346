# SPDX-License-Identifier: Apache-2.0
"""`bidhall verify`: whether a stopped exchange's folder holds what it promises.

The command line calls `run`. The parts: `report.py` collects what was found, `walk.py` goes through the log once with a
fresh kernel, `snapshots.py` and `history.py` (with `rows.py`) compare on the way. What may never happen here: a change
to the folder (but for the lock that is held meanwhile), or "ok" for something that was not looked at.
"""

from bidhall.cli.verify.command import run

__all__ = ["run"]
