# SPDX-License-Identifier: Apache-2.0
"""The request target of a WebSocket: which half it wants, which streams, which time unit.

Who calls it: the handshake. Clients open many paths (`/ws/0`, `/ws/btcusdt@trade`, `/stream?streams=a/b`,
`//ws/...`), so whatever stands behind `/ws` or `/stream` is accepted. What may never happen here: a refusal of a path
that some client is known to open.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final, NamedTuple
from urllib.parse import unquote

MILLISECOND_NS: Final = 1_000_000
MICROSECOND_NS: Final = 1_000


class TargetError(Exception):
    """The handshake is answered with this instead."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class Target(NamedTuple):
    """What a client asked for in its URL."""

    is_api: bool
    combined: bool
    names: tuple[str, ...]
    unit_ns: int
    rate_limits: bool


def parse_target(target: bytes) -> Target:
    """Read the raw request target; raises `TargetError`."""
    path, _, query = target.decode("utf-8", "replace").partition("?")
    parts = [unquote(part) for part in path.split("/") if part]
    options = _options(query)
    first = parts[0] if parts else ""
    unit_ns = _unit_ns(options.get("timeUnit", "MILLISECOND"))
    rate_limits = options.get("returnRateLimits", "true").lower() != "false"
    if first == "ws-api" and parts[1:2] == ["v3"]:
        return Target(True, False, (), unit_ns, rate_limits)
    if first not in ("ws", "stream"):
        raise TargetError(HTTPStatus.NOT_FOUND, "Not found.\n")
    names = [*parts[1:], *options.get("streams", "").split("/")]
    return Target(False, first == "stream", tuple(name for name in names if name), unit_ns, rate_limits)


def _options(query: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        options.setdefault(unquote(name), unquote(value))
    return options


def _unit_ns(text: str) -> int:
    if text in ("MICROSECOND", "microsecond"):
        return MICROSECOND_NS
    if text in ("MILLISECOND", "millisecond"):
        return MILLISECOND_NS
    raise TargetError(
        HTTPStatus.BAD_REQUEST,
        '{"code":-1194,"msg":"Invalid value for time unit; expected either MICROSECOND or MILLISECOND."}',
    )
