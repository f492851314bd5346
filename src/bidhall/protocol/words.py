# SPDX-License-Identifier: Apache-2.0
"""The kernel's numbers in the words of the API, for answers and reports alike, and the few of them that both compare.

Used by `order_answers`, `account_answers` and `user_events`. By number, in tuples: a lookup in them is the cheapest
there is; plain ints, because comparing with an enum's member costs more than the rest of the line. It must never hold
logic.
"""

from typing import Final

from bidhall.core.records import (
    EventFlag,
    EventKind,
    ExpiryReason,
    OrderStatus,
    OrderType,
    SelfTradePrevention,
    Side,
    TimeInForce,
)

SIDES: Final = tuple(side.name for side in Side)
TYPES: Final = tuple(kind.name for kind in OrderType)
STATUSES: Final = tuple(status.name for status in OrderStatus)
MODES: Final = tuple(mode.name for mode in SelfTradePrevention)
REASONS: Final = tuple(reason.name for reason in ExpiryReason)
TIMES_IN_FORCE: Final = ("GTC", *(kind.name for kind in TimeInForce if kind))  # none is shown as GTC

ACCEPTED: Final = int(EventKind.ACCEPTED)
EXPIRED: Final = int(EventKind.EXPIRED)
FILL: Final = int(EventKind.FILL)
PREVENTED: Final = int(EventKind.PREVENTED)
REPLACED: Final = int(EventKind.REPLACED)
TRIGGERED: Final = int(EventKind.TRIGGERED)

IS_BUY: Final = int(EventFlag.BUY)
IS_LAST: Final = int(EventFlag.LAST)
IS_MAKER: Final = int(EventFlag.MAKER)
IS_WORKING: Final = int(EventFlag.WORKING)


def client_id_text(raw: bytes) -> str:
    """A client id of a record, as it stands between quotes. Those of the API are plain; others are made plain."""
    text = raw.rstrip(b"\0").decode("ascii", "replace")
    return text if '"' not in text and "\\" not in text and text.isprintable() else "?" * len(text)
