# SPDX-License-Identifier: Apache-2.0
"""Followers of the log with cursors of their own: the history now, other stores and services later.

Imported by the doors (to read the history), the command line (to run it) and tests. What may never happen here: that
trading waits for a sink.
"""

from bidhall.replica.amendments import Amendment
from bidhall.replica.prevention import PreventedMatch
from bidhall.sinks.history import History, HistoryUnavailable, Reader
from bidhall.sinks.interface import Cursor, Facts, Sink, SinkDamaged, SinkFault
from bidhall.sinks.settings import FollowerSettings, HistorySettings

__all__ = [
    "Amendment", "Cursor", "Facts", "FollowerSettings", "History", "HistorySettings", "HistoryUnavailable",
    "PreventedMatch", "Reader", "Sink", "SinkDamaged", "SinkFault",
]  # fmt: skip
