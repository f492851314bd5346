# SPDX-License-Identifier: Apache-2.0
"""The replica: it applies the log to the kernel, keeps what readers ask for, and hands the answers out.

Imported by the doors, the demo, the seed and the command line. It knows the log's interface and no engine behind it,
and never an HTTP request.
"""

from bidhall.log import Overloaded
from bidhall.replica.errors import Fault, NotReady, Refused
from bidhall.replica.outcome import Applied, Listener, Outcome, OutcomeKind
from bidhall.replica.registry import Account, Key, KeyPermission, Registry
from bidhall.replica.replay import ReplayResult, replay
from bidhall.replica.replica import Replica
from bidhall.replica.settings import ReplicaSettings

__all__ = [
    "Account", "Applied", "Fault", "Key", "KeyPermission", "Listener", "NotReady", "Outcome", "OutcomeKind",
    "Overloaded", "Refused", "Registry", "ReplayResult", "Replica", "ReplicaSettings", "replay",
]  # fmt: skip
