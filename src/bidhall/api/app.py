# SPDX-License-Identifier: Apache-2.0
"""The door: both servers, everything behind them, and the order in which they start and stop.

Who calls it: `bidhall serve`, the tests. It owns no signal and no replica: whoever runs the loop starts the replica
before the door and stops it after (DESIGN §9: stop accepting, finish what was admitted, tell WebSockets, snapshot).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bidhall.api.access import Access, Gate
from bidhall.api.account import AccountReads
from bidhall.api.admin import Admin
from bidhall.api.feed import Feeds, FeedSettings
from bidhall.api.lane import Lane
from bidhall.api.limits import Limits
from bidhall.api.ops import cold_app
from bidhall.api.past import Past
from bidhall.api.prevented import PreventedReads
from bidhall.api.public import PublicReads
from bidhall.api.reads import Reads
from bidhall.api.sapi import Stubs
from bidhall.api.server import Server
from bidhall.api.tickers import Tickers
from bidhall.api.trading import Trading
from bidhall.api.turns import Caps

if TYPE_CHECKING:
    from bidhall.environment import Environment
    from bidhall.replica import Replica
    from bidhall.sinks import History

logger = logging.getLogger("bidhall.api")

UNLIMITED: Final = 1_000_000_000


class DoorSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every number of the door. Rate limits are very high by default; what they say is shown and enforced."""

    host: str = "127.0.0.1"
    port: int = 8080
    admin_host: str = "127.0.0.1"
    admin_port: int = 8081
    admin_key: str = ""  # empty: no admin server
    request_deadline_s: float = 5.0
    keep_alive_s: float = 75.0
    write_deadline_s: float = 20.0
    drain_s: float = 10.0
    head_bytes_max: int = 16_384
    body_bytes_max: int = 65_536
    write_bytes_max: int = 4_194_304
    pipeline_max: int = 64
    connections_max: int = 20_000
    connections_per_ip_max: int = 10_000
    weight_per_minute_max: int = UNLIMITED
    raw_requests_per_5_minutes_max: int = UNLIMITED
    orders_per_10_seconds_max: int = UNLIMITED
    orders_per_day_max: int = UNLIMITED
    refusals_before_ban: int = 0  # how often in one minute 429 may be answered before 418; 0: never 418


class AdminLimits(msgspec.Struct, frozen=True):
    """The admin port counts connections only."""

    connections_max: int = 256
    connections_per_ip_max: int = 256
    weight_per_minute_max: int = UNLIMITED
    raw_requests_per_5_minutes_max: int = UNLIMITED
    orders_per_10_seconds_max: int = UNLIMITED
    orders_per_day_max: int = UNLIMITED
    refusals_before_ban: int = 0


class Door:
    """Everything that listens."""

    def __init__(
        self,
        replica: Replica,
        environment: Environment,
        settings: DoorSettings | None = None,
        feed_settings: FeedSettings | None = None,
        history: History | None = None,
    ) -> None:
        self.settings = settings = settings or DoorSettings()
        self.replica = replica
        self.environment = environment
        self.stopping = False
        self.port = self.admin_port = 0
        self.limits = Limits(settings)
        self.reads = Reads(replica, environment)
        self.access = Access(replica.registry, environment)
        self.gate = Gate(replica, environment, settings, self.limits, self.access, self.reads)
        self.lane = Lane(environment, self.limits, self.access, self.reads)
        self.feeds = Feeds(replica, environment, self.lane, feed_settings or FeedSettings())
        self.past = Past(replica, self.lane, history)
        self._add_routes()
        self._caps = Caps(
            request_deadline_s=settings.request_deadline_s,
            keep_alive_s=settings.keep_alive_s,
            head_bytes_max=settings.head_bytes_max,
            body_bytes_max=settings.body_bytes_max,
            write_bytes_max=settings.write_bytes_max,
            write_deadline_s=settings.write_deadline_s,
            pipeline_max=settings.pipeline_max,
        )
        self._server: Server | None = None
        self._admin_server: Server | None = None
        self.admin: Admin | None = None

    def _add_routes(self) -> None:
        self.public = PublicReads(self.gate, self.lane, self.feeds.streams, self.past)
        Tickers(self.gate, self.lane)
        self.trading = Trading(self.gate, self.lane)
        AccountReads(self.gate, self.lane, self.trading, self.past)
        PreventedReads(self.gate, self.lane, self.trading, self.past)
        Stubs(self.gate, self.lane, self.trading)

    async def start(self) -> None:
        """Listen on both ports, or on none of them."""
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        settings = self.settings
        self.feeds.start()
        self._server = Server(
            cold_app(self),
            self.lane,
            self.limits,
            self._caps,
            self.environment,
            websocket=self.feeds.protocol,
            drain_s=settings.drain_s,
        )
        await self._server.listen(settings.host, settings.port)
        self.port = self._server.port
        if settings.admin_key:
            await self._start_admin()

    async def _start_admin(self) -> None:
        settings = self.settings
        self.admin = Admin(self.replica, self.environment, settings.admin_key, self.describe)
        limits = Limits(AdminLimits())
        empty = Lane(self.environment, limits, self.access, self.reads)
        self._admin_server = Server(
            self.admin.app(), empty, limits, self._caps, self.environment, drain_s=settings.drain_s
        )
        await self._admin_server.listen(settings.admin_host, settings.admin_port)
        self.admin_port = self._admin_server.port

    async def stop(self) -> None:
        """Stop accepting, answer what was admitted, tell the WebSockets; the replica is the caller's to stop."""
        self.stopping = True
        if self._server is not None:
            await self._server.stop()
        await self.feeds.stop()
        if self._admin_server is not None:
            await self._admin_server.stop()
        await self.reads.stop()

    def answers(self) -> int:
        """How many answers the public port has given."""
        return 0 if self._server is None else self._server.server_state.total_requests

    def faults(self) -> int:
        """How many handlers raised what they may not; 0 unless there is a bug."""
        return self.lane.faults + self.reads.faults + (self.admin.faults if self.admin is not None else 0)

    def describe(self) -> dict[str, Any]:
        """What /admin/state says about the door."""
        counts = {"connections": self.limits.connections, "answers": self.answers(), "faults": self.faults()}
        return counts if self.past.history is None else {**counts, "history": self.past.history.status()}


__all__ = ["Door", "DoorSettings"]
