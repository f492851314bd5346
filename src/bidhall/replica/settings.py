# SPDX-License-Identifier: Apache-2.0
"""What of a replica can be set, with its defaults. Read by the command line's settings; every bound is stated here."""

import msgspec


class ReplicaSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds and rhythms of one replica."""

    # Snapshots
    snapshot_commands: int = 1_000_000  # a new one after so many commands; also at every stop
    snapshots_kept: int = 2
    snapshot_fork: bool = True  # a forked child writes it (the loop is held for the fork only); false: a thread
    snapshot_seconds_max: float = 120.0  # a child that takes longer is given up

    # Audit: free + locked + fees = deposited - withdrawn, and the books' invariants
    audit_seconds: float = 1.0
    audit_hold_seconds_max: float = 0.001  # one that takes longer runs only while nothing else does

    # The queue in front of the log
    batch_commands_max: int = 4_096
    queue_commands_max: int = 65_536
    queue_waiters_max: int = 16_384
    queue_seconds_max: float = 5.0
    answer_seconds_max: float = 10.0  # a sent command without an outcome is answered that nobody knows
    stop_seconds: float = 10.0

    # Applying
    apply_slice_seconds: float = 0.005  # then the loop does something else first
    compare_batches: int = 1_000  # of those applied last are compared with the log after every (re)connect

    # Views: what is answered from memory; what leaves them is read from the history
    trades_max: int = 65_536  # trades, and aggregate trades, a market
    done_orders_bytes: int = 98 << 20  # 458,752 orders (and a block of 65,536: 2^19), and 32 MB of indexes
    fills_max: int = 983_040  # and a block of 65,536: 2^20; 96 MB, and 32 MB of indexes
    results_commands_max: int = 1 << 18  # first results of signed commands
    results_events_max: int = 1 << 19
    results_seconds: float = 62.0  # the kernel forgets a digest after 61 s at most

    # 32 bytes in hex; "": BIDHALL_MASTER_KEY, or else the file master.key
    master_key: str = ""
