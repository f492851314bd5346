# SPDX-License-Identifier: Apache-2.0
"""WebSocket data frames as a server writes them: unmasked, whole, never compressed.

Who calls it: the fan-out (one frame per stream and tick, shared by every subscriber) and the channels (their answers).
Because a server's frames carry no mask, the bytes are the same for everybody and are made once. What may never happen
here: a fragmented frame (control frames of the connection are written between any two of ours).
"""

from __future__ import annotations

TEXT = b"\x81"  # FIN and opcode 1

_SHORT = tuple(TEXT + bytes((size,)) for size in range(126))


def text_frame(payload: bytes) -> bytes:
    """One text message in one frame."""
    size = len(payload)
    if size < 126:
        return _SHORT[size] + payload
    if size < 65_536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload
