# SPDX-License-Identifier: Apache-2.0
"""What differs between worlds: which faults there are and how often, sizes, rhythms. All drawn from the seed.

Made by `world`. Swarm testing: in every world some faults are off, so that the others are not always hidden behind
them. It must never draw anything later than at the beginning, or a story could not be told before it happens.
"""

from dataclasses import dataclass, fields
from random import Random


@dataclass
class ServerFaults:
    """Chances by message or commit, and typical times."""

    network_seconds: float = 0.0003
    commit_seconds: float = 0.004
    slow_message: float = 0.0
    slow_commit: float = 0.0
    slow_insert: float = 0.0  # time between the position and the key
    cut_before: float = 0.0
    cut_after: float = 0.0
    late_append: float = 0.0
    late_seconds_max: float = 1.0
    notify_lost: float = 0.0
    backend_dies_early: float = 0.0
    backend_dies_late: float = 0.0

    def heal(self) -> None:
        for field in fields(self):
            if field.name not in ("network_seconds", "commit_seconds", "late_seconds_max"):
                setattr(self, field.name, 0.0)


class Options:
    """See above. Rates are per virtual second."""

    def __init__(self, random: Random) -> None:
        def maybe(*chances: float) -> float:
            return random.choice(chances) if random.random() < 0.6 else 0.0

        self.replicas = random.choice((1, 2, 2, 3, 3, 3, 4))
        self.clients = random.randint(2, 5)
        self.submits = random.choice((16, 24, 24, 40))  # of all clients together
        self.seconds_max = 2.0  # of the safety phase
        self.think_seconds = random.choice((0.002, 0.01, 0.03))
        self.resend = random.choice((0.0, 0.1, 0.3))  # an answered request is sent once more
        self.read = random.choice((0.2, 0.4))
        self.server = ServerFaults(
            network_seconds=random.choice((0.0001, 0.0003, 0.002)),
            commit_seconds=random.choice((0.001, 0.004, 0.01)),
            slow_message=maybe(0.002, 0.01),
            slow_commit=maybe(0.01, 0.05),
            slow_insert=maybe(0.02, 0.2),
            cut_before=maybe(0.001, 0.01),
            cut_after=maybe(0.001, 0.01),
            late_append=maybe(0.02, 0.1),
            late_seconds_max=random.choice((0.2, 1.0, 3.0)),
            notify_lost=maybe(0.1, 1.0),
            backend_dies_early=maybe(0.01, 0.05),
            backend_dies_late=maybe(0.01, 0.05),
        )
        self.kills = maybe(0.5, 2.0, 4.0)
        self.stops = maybe(0.3, 1.0)
        self.cuts = maybe(0.5, 3.0)
        self.failovers = maybe(0.3, 1.0)
        self.stalls = maybe(0.3, 1.0)
        self.clock_steps = maybe(0.5, 2.0)
        self.kills_of_writers = maybe(0.1, 0.4)  # of a snapshot, by chance for each
        self.damage = maybe(0.1, 0.5)  # of a snapshot, at a restart
        self.lost_tail = random.random() < 0.12
        self.job_seconds = random.choice((0.0001, 0.003, 0.02))
        self.append_seconds_max = random.choice((0.1, 1.0, 10.0))
        self.hole_seconds = random.choice((0.003, 0.01, 0.05))
        self.poll_busy_seconds = random.choice((0.01, 0.04))
        self.chain_every = random.choice((8, 16, 512))
        self.trims = maybe(1.0, 5.0)
        if self.damage or self.lost_tail:
            self.trims = 0.0  # a task whose snapshot is gone could not begin
        self.settings = {
            "snapshot_fork": False,
            "snapshot_commands": random.choice((10, 30, 1000)),
            "snapshots_kept": random.choice((1, 2, 3)),
            "audit_seconds": random.choice((0.05, 0.3)),
            "batch_commands_max": random.choice((4, 64, 4096)),
            "queue_seconds_max": random.choice((0.05, 0.5, 5.0)),
            "stop_seconds": random.choice((0.0, 0.5)),
            "apply_slice_seconds": random.choice((-1.0, 0.005)),
            "compare_batches": random.choice((8, 1000)),
            "answer_seconds_max": random.choice((0.03, 0.5, 10.0)),
        }

    def told(self) -> str:
        plain = {name: value for name, value in vars(self).items() if name not in ("server", "settings") and value}
        faults = {name: value for name, value in vars(self.server).items() if value}
        return f"{plain}\n  server {faults}\n  replica {self.settings}"
