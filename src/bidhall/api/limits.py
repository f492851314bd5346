# SPDX-License-Identifier: Apache-2.0
"""What one address and one account may ask for: request weight, raw requests, orders, connections.

Who calls it: the guarded protocol (connections), the lane and the WebSocket half (weight), the order handlers (order
counts). Windows are aligned to UTC, as Binance's are, so that a header and the clock of the client agree. What may
never happen here: a dictionary look-up per request (a connection keeps its `Peer`), a table that grows without end
(peers that are gone leave at the next sweep), or a limit that is shown but not enforced.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

from bidhall.protocol.errors import ApiError, banned, too_many_orders, too_much_weight

SECOND_NS: Final = 1_000_000_000
MINUTE_NS: Final = 60 * SECOND_NS
RAW_NS: Final = 5 * MINUTE_NS
TEN_SECONDS_NS: Final = 10 * SECOND_NS
DAY_NS: Final = 86_400 * SECOND_NS
BAN_NS_FIRST: Final = 2 * MINUTE_NS
BAN_NS_LAST: Final = 3 * DAY_NS


class LimitSettings(Protocol):
    """The numbers of `DoorSettings` that this module reads."""

    @property
    def connections_max(self) -> int: ...
    @property
    def connections_per_ip_max(self) -> int: ...
    @property
    def weight_per_minute_max(self) -> int: ...
    @property
    def raw_requests_per_5_minutes_max(self) -> int: ...
    @property
    def orders_per_10_seconds_max(self) -> int: ...
    @property
    def orders_per_day_max(self) -> int: ...
    @property
    def refusals_before_ban(self) -> int: ...


class Peer:
    """One client address: its connections and what it used of the current windows."""

    __slots__ = (
        "ban_ends_ns",
        "bans",
        "connections",
        "ip",
        "look_ns",
        "minute_ns",
        "raw",
        "raw_ns",
        "refusals",
        "used",
    )

    def __init__(self, ip: str) -> None:
        self.ip = ip
        self.connections = 0
        self.minute_ns = 0  # start of the window that `used` counts
        self.look_ns = 0  # from here on the windows must be looked at: the end of the minute; 0 while banned
        self.used = 0
        self.raw_ns = 0
        self.raw = 0
        self.refusals = 0  # in this minute
        self.bans = 0
        self.ban_ends_ns = 0


class OrderCount:
    """How many orders an account has placed in the two windows (unfilled ones: fills take away)."""

    __slots__ = ("day", "day_ns", "ten", "ten_ns")

    def __init__(self) -> None:
        self.ten_ns = 0
        self.ten = 0
        self.day_ns = 0
        self.day = 0


def network(ip: str) -> str:
    """The address that is counted: an IPv6 client owns its /64, so the whole of it is one client."""
    if ":" not in ip or "." in ip:
        return ip
    parts = ip.split("%", 1)[0].split(":")
    if "" in parts[:4]:
        return ip
    return ":".join(parts[:4]) + "::/64"


class Limits:
    """All windows of this process."""

    def __init__(self, settings: LimitSettings) -> None:
        self.settings = settings
        self.peers: dict[str, Peer] = {}
        self.orders: dict[int, OrderCount] = {}
        self.connections = 0
        self._swept_ns = 0
        self.weight_max = settings.weight_per_minute_max
        self.raw_max = settings.raw_requests_per_5_minutes_max
        self.ten_max = settings.orders_per_10_seconds_max
        self.day_max = settings.orders_per_day_max

    # --- connections ---------------------------------------------------------------------------------------------

    def peer(self, ip: str) -> Peer:
        """The counters of this address, made when it is new."""
        name = network(ip)
        peer = self.peers.get(name)
        if peer is None:
            peer = self.peers[name] = Peer(name)
        return peer

    def join(self, ip: str) -> Peer | None:
        """Count one more connection of this address; None: it has too many, or the server has."""
        peer = self.peer(ip)
        if (
            peer.connections >= self.settings.connections_per_ip_max
            or self.connections >= self.settings.connections_max
        ):
            return None
        peer.connections += 1
        self.connections += 1
        return peer

    def leave(self, peer: Peer) -> None:
        """A connection counted by `join` is gone."""
        peer.connections -= 1
        self.connections -= 1

    def sweep_sometimes(self, now_ns: int) -> None:
        """Called often; sweeps once a minute."""
        if not self._swept_ns <= now_ns < self._swept_ns + MINUTE_NS:
            self._swept_ns = now_ns
            self.sweep(now_ns)

    def sweep(self, now_ns: int) -> None:
        """Forget who has no connection, no ban and only windows that are over."""
        gone = [
            name
            for name, peer in self.peers.items()
            if not peer.connections
            and now_ns >= peer.minute_ns + MINUTE_NS
            and now_ns >= peer.raw_ns + RAW_NS
            and now_ns >= peer.ban_ends_ns
        ]
        for name in gone:
            del self.peers[name]
        idle = [account for account, count in self.orders.items() if now_ns >= count.day_ns + DAY_NS]
        for account in idle:
            del self.orders[account]

    # --- weight --------------------------------------------------------------------------------------------------

    def charge(self, peer: Peer, weight: int, now_ns: int) -> None:
        """Count one request of this weight; raises -1003 (429, or 418 while banned)."""
        peer.used += weight
        peer.raw += 1
        if now_ns >= peer.look_ns or peer.used > self.weight_max or peer.raw > self.raw_max:
            self.judge(peer, weight, now_ns)

    def judge(self, peer: Peer, weight: int, now_ns: int) -> None:
        """The rest of `charge` (which the lane has in itself), when a window is over or a limit is passed."""
        if not peer.minute_ns <= now_ns < peer.minute_ns + MINUTE_NS:
            self._roll(peer, weight, now_ns)
        if peer.used > self.weight_max or peer.raw > self.raw_max or peer.ban_ends_ns:
            self._refuse(peer, now_ns)

    def weigh(self, peer: Peer, weight: int, now_ns: int) -> None:
        """The rest of a request's weight, known when its parameters are; raises as `charge`."""
        peer.used += weight
        if peer.used > self.weight_max:
            self._refuse(peer, now_ns)

    def add(self, peer: Peer, weight: int, now_ns: int) -> None:
        """Weight that became known later (a failed order costs what a good one does not); never refuses."""
        peer.used += weight
        if not peer.minute_ns <= now_ns < peer.minute_ns + MINUTE_NS:
            self._roll(peer, weight, now_ns)

    def used(self, peer: Peer, now_ns: int) -> int:
        """Weight used in the current minute."""
        return peer.used if peer.minute_ns <= now_ns < peer.minute_ns + MINUTE_NS else 0

    def _roll(self, peer: Peer, weight: int, now_ns: int) -> None:
        """Begin the windows that now is in, with the request of this weight as their first."""
        peer.minute_ns = now_ns - now_ns % MINUTE_NS
        peer.used = weight
        peer.refusals = 0
        if not peer.raw_ns <= now_ns < peer.raw_ns + RAW_NS:
            peer.raw_ns = now_ns - now_ns % RAW_NS
            peer.raw = 1
        peer.look_ns = 0 if peer.ban_ends_ns else peer.minute_ns + MINUTE_NS

    def _refuse(self, peer: Peer, now_ns: int) -> None:
        if peer.ban_ends_ns:
            if now_ns < peer.ban_ends_ns:
                raise _with_retry(banned(peer.ban_ends_ns // 1_000_000), peer.ban_ends_ns - now_ns)
            peer.ban_ends_ns = 0
            peer.look_ns = peer.minute_ns + MINUTE_NS
            if peer.used <= self.weight_max and peer.raw <= self.raw_max:
                return
        peer.refusals += 1
        if self.settings.refusals_before_ban and peer.refusals > self.settings.refusals_before_ban:
            peer.ban_ends_ns = now_ns + min(BAN_NS_FIRST << min(peer.bans, 12), BAN_NS_LAST)
            peer.bans += 1
            peer.look_ns = 0
            raise _with_retry(banned(peer.ban_ends_ns // 1_000_000), peer.ban_ends_ns - now_ns)
        if peer.used > self.weight_max:
            error, ends_ns = too_much_weight(self.weight_max, "1 MINUTE"), peer.minute_ns + MINUTE_NS
        else:
            error, ends_ns = too_much_weight(self.raw_max, "5 MINUTE"), peer.raw_ns + RAW_NS
        raise _with_retry(error, ends_ns - now_ns)

    # --- orders --------------------------------------------------------------------------------------------------

    def order_count(self, account: int, now_ns: int) -> OrderCount:
        """The account's counters, rolled to the current windows."""
        count = self.orders.get(account)
        if count is None:
            count = self.orders[account] = OrderCount()
        if not count.ten_ns <= now_ns < count.ten_ns + TEN_SECONDS_NS:
            count.ten_ns = now_ns - now_ns % TEN_SECONDS_NS
            count.ten = 0
            if not count.day_ns <= now_ns < count.day_ns + DAY_NS:
                count.day_ns = now_ns - now_ns % DAY_NS
                count.day = 0
        return count

    def place(self, account: int, now_ns: int) -> OrderCount:
        """Take a place in the windows for one order; raises -1015. What comes to nothing is given back."""
        count = self.orders.get(account)
        if count is None or not count.ten_ns <= now_ns < count.ten_ns + TEN_SECONDS_NS:
            count = self.order_count(account, now_ns)
        if count.ten >= self.ten_max:
            raise _with_retry(too_many_orders(self.ten_max, "10 SECOND"), count.ten_ns + TEN_SECONDS_NS - now_ns)
        if count.day >= self.day_max:
            raise _with_retry(too_many_orders(self.day_max, "1 DAY"), count.day_ns + DAY_NS - now_ns)
        count.ten += 1
        count.day += 1
        return count

    def give_back(self, account: int, orders: int = 1) -> None:
        """An order was refused, or filled for the first time: the count falls, never below zero."""
        count = self.orders.get(account)
        if count is not None:
            count.ten = max(count.ten - orders, 0)
            count.day = max(count.day - orders, 0)

    # --- what clients read ---------------------------------------------------------------------------------------

    def rate_limits(self) -> list[dict[str, Any]]:
        """`rateLimits` of exchangeInfo."""
        return [
            _limit("REQUEST_WEIGHT", "MINUTE", 1, self.weight_max),
            _limit("ORDERS", "SECOND", 10, self.ten_max),
            _limit("ORDERS", "DAY", 1, self.day_max),
            _limit("RAW_REQUESTS", "MINUTE", 5, self.raw_max),
        ]

    def rate_limits_used(self, peer: Peer, now_ns: int) -> list[dict[str, Any]]:
        """`rateLimits` of a WebSocket API answer."""
        return [{**_limit("REQUEST_WEIGHT", "MINUTE", 1, self.weight_max), "count": self.used(peer, now_ns)}]

    def order_limits_used(self, account: int, now_ns: int) -> list[dict[str, Any]]:
        """The answer of GET /rateLimit/order."""
        count = self.order_count(account, now_ns)
        return [
            {**_limit("ORDERS", "SECOND", 10, self.ten_max), "count": count.ten},
            {**_limit("ORDERS", "DAY", 1, self.day_max), "count": count.day},
        ]


def _limit(kind: str, interval: str, number: int, limit: int) -> dict[str, Any]:
    return {"rateLimitType": kind, "interval": interval, "intervalNum": number, "limit": limit}


def _with_retry(error: ApiError, wait_ns: int) -> ApiError:
    error.retry_after_s = max(1, -(-wait_ns // SECOND_NS))
    return error
