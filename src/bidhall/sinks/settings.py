# SPDX-License-Identifier: Apache-2.0
"""What of the sinks can be set, with its defaults. Read by the server's settings; every bound is stated here."""

import msgspec


class FollowerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The rhythm and the bounds of whoever feeds a sink."""

    interval_seconds: float = 0.2  # what came in this time is one write
    queue_bytes_max: int = 48 << 20  # what waits for it; beyond, the sink catches up from the log
    write_bytes_max: int = 1 << 20  # of facts, a write; about 2,000 orders
    slice_seconds: float = 0.25  # of catching up, a write
    backoff_seconds_min: float = 0.1
    backoff_seconds_max: float = 5.0


class HistorySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The history on SQLite."""

    enabled: bool = True
    path: str = ""  # "": history.sqlite in the exchange's folder; with a log in memory, a temporary file
    follower: FollowerSettings = FollowerSettings()
    writer_cache_bytes: int = 16 << 20
    reader_cache_bytes: int = 8 << 20
    reads_waiting_max: int = 256  # questions that wait for the reader
    spill_bytes_max: int = 2 << 30  # of orders and fills that wait on disk while the history cannot be written
    stop_seconds: float = 3.0  # how long a stop waits for what is not written yet
