# SPDX-License-Identifier: Apache-2.0
"""A small client of the admin API and of the readiness check, on the standard library's HTTP.

`bidhall admin` and `bidhall health` use it. It must stay light: a container runs `health` every few seconds.
"""

import http.client
import json
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from bidhall.cli.addresses import connectable

TIMEOUT_S: Final = 15.0


class Refused(Exception):
    """The server said no, or is not there; the text is for people."""


class Client:
    """Talks to one admin API. Where it is and its key come from the server's folder unless they are given."""

    def __init__(self, folder: Path, url: str | None = None, key: str | None = None) -> None:
        self._folder = folder
        self._url = url
        self._key = key

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """One request; its answer as plain data, or Refused."""
        url = self._url or self._found_url()
        raw = None if body is None else json.dumps(body).encode()
        headers = {"X-Admin-Key": self._key or self._found_key(), "Content-Type": "application/json"}
        try:
            status, answer = request(url, method, path, raw, headers)
        except (OSError, http.client.HTTPException) as error:
            raise Refused(f"no admin API at {url}: {error}") from None
        try:
            data = json.loads(answer)
        except ValueError:
            raise Refused(f"{url} answered {status} with something else than JSON: is that the admin port?") from None
        if status != 200:
            raise Refused(data.get("msg", f"HTTP {status}") if isinstance(data, dict) else f"HTTP {status}")
        return data

    def _found_url(self) -> str:
        where = self._folder / "listening.json"
        try:
            found = json.loads(where.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise Refused(f"no server runs in {self._folder} (no {where.name}); say --folder or --url") from None
        if not found["admin_port"]:
            raise Refused("this server has no admin API")
        return f"http://{connectable(found['admin_host'])}:{found['admin_port']}"

    def _found_key(self) -> str:
        try:
            return (self._folder / "admin.key").read_text(encoding="utf-8").strip()
        except OSError as error:
            raise Refused(f"the admin key cannot be read: {error}; say --key or BIDHALL_ADMIN_KEY") from None


def is_ready(url: str) -> bool:
    """Whether /readyz says so."""
    try:
        status, _ = request(url, "GET", "/readyz", None, {})
    except (OSError, http.client.HTTPException, ValueError):
        return False
    return status == 200


def request(url: str, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
    """Status and body of one request."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=TIMEOUT_S)
    try:
        connection.request(method, parts.path.rstrip("/") + path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
