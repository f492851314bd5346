# SPDX-License-Identifier: Apache-2.0
"""Addresses as a client needs them. The server's banner and the admin client use it; it imports nothing, because the
first reply after a start waits for all that the server imports.
"""


def connectable(host: str) -> str:
    """An address that a client can use, of one to listen on."""
    if host in ("0.0.0.0", ""):
        return "127.0.0.1"
    if host == "::":
        return "[::1]"
    return f"[{host}]" if ":" in host else host
