# SPDX-License-Identifier: Apache-2.0
"""The numbers of the WebSocket half of the door.

Who reads it: the feed rooms; `settings.py` nests it. Every queue and buffer of a connection has its limit here. What
may never happen here: a limit of zero that means "none"; a limit that is not wanted is a large number.
"""

from __future__ import annotations

import msgspec


class FeedSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Limits and clocks of WebSocket connections."""

    connections_max: int = 10_000
    message_bytes_max: int = 65_536  # of one incoming message, fragments together
    messages_per_second_max: int = 10_000  # incoming, pings and pongs too; Binance: 5
    budget_bytes_max: int = 1_048_576  # unsent bytes of a connection; a reader that is further behind is closed
    streams_max: int = 1_024  # of a connection
    stream_name_bytes_max: int = 128
    subscriptions_max: int = 1_000  # user data subscriptions of a connection
    requests_open_max: int = 1_024  # WebSocket API requests of a connection that wait for their answer
    slow_spans_max: int = 600  # depth spans kept for readers that are behind
    ping_interval_s: float = 20.0
    pong_timeout_s: float = 60.0
    life_s: float = 86_400.0
    listen_key_s: float = 3_600.0  # from when a listen key was made or last kept alive
    close_timeout_s: float = 5.0  # from our close frame to the end of the connection
    drain_s: float = 2.0  # at a planned stop
    flush_interval_s_max: float = 0.005  # frames of one tick may wait this long under load, so that more share a write
