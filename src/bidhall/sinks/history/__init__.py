# SPDX-License-Identifier: Apache-2.0
"""The history: done orders, fills, trades, candles, the ledger, for years; on SQLite in the embedded exchange."""

from bidhall.sinks.history.history import History
from bidhall.sinks.history.reader import HistoryUnavailable, Reader

__all__ = ["History", "HistoryUnavailable", "Reader"]
