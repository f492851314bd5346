# SPDX-License-Identifier: Apache-2.0
"""The cold routes of the public port: /livez, /readyz, /metrics, and a JSON 404 for everything else.

Who calls it: load balancers, the container's health check, Prometheus; Starlette serves it behind the fast lane. What
may never happen here: a check that asks the log (an unreachable log must not restart every process at once).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from bidhall.protocol import errors
from bidhall.protocol.errors import ApiError

if TYPE_CHECKING:
    from bidhall.api.app import Door


def cold_app(door: Door) -> Starlette:
    """What Starlette answers on the public port."""

    async def live(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def ready(request: Request) -> Response:
        good = door.replica.ready and not door.stopping
        return PlainTextResponse("ready\n" if good else "not ready\n", 200 if good else 503)

    async def metrics(request: Request) -> Response:
        return Response(render(door), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def missing(request: Request, error: Exception) -> Response:
        path = request.url.path.encode()
        known = any(route_path == path for _, route_path in door.lane.routes)
        return _refusal(errors.method_not_allowed() if known else errors.not_found())

    async def not_allowed(request: Request, error: Exception) -> Response:
        return _refusal(errors.method_not_allowed())

    return Starlette(
        routes=[Route("/livez", live), Route("/readyz", ready), Route("/metrics", metrics)],
        exception_handlers={404: missing, 405: not_allowed},
    )


def _refusal(error: ApiError) -> Response:
    return Response(error.body, error.status, media_type="application/json;charset=UTF-8")


def render(door: Door) -> str:
    """All metrics in Prometheus' text format, read from counters that exist anyway."""
    exchange = door.replica.exchange
    lines: list[str] = []

    def put(name: str, kind: str, text: str, values: list[tuple[str, Any]]) -> None:
        lines.append(f"# HELP bidhall_{name} {text}")
        lines.append(f"# TYPE bidhall_{name} {kind}")
        lines.extend(f"bidhall_{name}{labels} {value}" for labels, value in values)

    put("ready", "gauge", "1 when this replica has caught up.", [("", int(door.replica.ready))])
    put("position", "counter", "Position of the last applied batch.", [("", door.replica.position)])
    put("sequence", "counter", "Sequence of the last applied command.", [("", exchange.sequence)])
    put("time_seconds", "gauge", "Kernel time.", [("", f"{door.replica.time_ns / 1e9:.3f}")])
    put(
        "log_age_seconds",
        "gauge",
        "Wait of the oldest unanswered command.",
        [("", f"{door.replica.age_seconds():.3f}")],
    )
    put("views_closed", "gauge", "1 when a fault has closed the views.", [("", int(bool(door.replica.views.closed)))])
    put("open_orders", "gauge", "Open orders of all markets.", [("", exchange.open_order_count)])
    put("accounts", "gauge", "Accounts.", [("", exchange.account_count)])
    put("connections", "gauge", "Open HTTP and WebSocket connections.", [("", door.limits.connections)])
    put("http_answers_total", "counter", "Answers of the public port.", [("", door.answers())])
    put("faults_total", "counter", "Handlers that raised what they may not: bugs.", [("", door.faults())])
    routes = [(f'{{method="{m.decode()}",path="{p.decode()}"}}', route) for (m, p), route in door.lane.routes.items()]
    put("requests_total", "counter", "Requests by endpoint.", [(labels, route.served) for labels, route in routes])
    put(
        "refusals_total",
        "counter",
        "Refused requests by endpoint.",
        [(labels, route.failed) for labels, route in routes],
    )
    put("reads_refused_total", "counter", "Reads that could not be made fresh in time.", [("", door.reads.refused)])
    put("log_stalled", "gauge", "1 while reads cannot be made fresh.", [("", int(door.reads.is_stalled))])
    status = getattr(door.replica.log, "status", None)
    if status is not None:
        for name, kind, text, value in _shared_log(status()):
            put(f"log_{name}", kind, text, [("", value)])
    if door.past.history is not None:
        for name, kind, text, value in _history(door.past.history.status()):
            put(f"history_{name}", kind, text, [("", value)])
    return "\n".join(lines) + "\n"


def _shared_log(status: dict[str, Any]) -> list[tuple[str, str, str, Any]]:
    """The metrics of a log that many tasks share: name, kind, help, value."""
    return [
        ("head", "counter", "Last position that was read without a gap.", status["head"]),
        ("lag_batches", "gauge", "Positions that wait behind a gap.", status["lag_batches"]),
        ("reading", "gauge", "1 while the log is read.", status["reading"]),
        ("appends_total", "counter", "Batches that became durable.", status["appends"]),
        ("appends_unknown_total", "counter", "Appends of unknown outcome, tried again.", status["appends_unknown"]),
        ("append_seconds_total", "counter", "Time of the durable appends.", f"{status['append_seconds']:.6f}"),
        ("append_seconds_max", "gauge", "Longest since it was asked last.", f"{status['append_seconds_max']:.6f}"),
        ("poll_seconds_max", "gauge", "Longest poll since it was asked last.", f"{status['poll_seconds_max']:.6f}"),
        ("holes_closed_total", "counter", "Positions closed here that nobody used.", status["holes_closed"]),
        ("blockers_ended_total", "counter", "Sessions ended that held a position back.", status["blockers_ended"]),
        ("losses_total", "counter", "Times that the reader lost its connection.", status["losses"]),
    ]


def _history(status: dict[str, Any]) -> list[tuple[str, str, str, Any]]:
    """The history's metrics: name, kind, help, value."""
    return [
        ("up", "gauge", "1 while what happens is written to the history.", int(status["state"] == "following")),
        ("failing", "gauge", "1 while the history cannot be written.", int(bool(status["last_error"]))),
        ("position", "counter", "Position of the log up to which the history is written.", status["position"]),
        ("lag_batches", "gauge", "Positions that the history is behind.", status["lag_batches"]),
        ("lag_seconds", "gauge", "Kernel time that the history is behind.", f"{status['lag_seconds']:.3f}"),
        ("queue_bytes", "gauge", "What waits in memory for the history.", status["queue_bytes"]),
        ("spilled_batches_total", "counter", "Batches that went to the spill.", status["spilled_batches"]),
        ("rows_total", "counter", "Rows written to the history.", status["rows_total"]),
        ("writes_total", "counter", "Transactions of the history.", status["writes_total"]),
        ("retries_total", "counter", "Writes to the history that failed.", status["retries_total"]),
        ("rebuilds_total", "counter", "Times that the history was put aside.", status["rebuilds_total"]),
        ("reads_total", "counter", "Questions to the history.", status["reads_total"]),
        ("reads_failed_total", "counter", "Questions that it could not answer.", status["reads_failed_total"]),
    ]
