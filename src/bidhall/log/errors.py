# SPDX-License-Identifier: Apache-2.0
"""What a log and a writer can answer besides "done". Caught by the replica and the command line; nothing here acts."""


class LogFault(Exception):
    """Anything that a log cannot do."""


class Unknown(LogFault):
    """Whether the batch is in the log is not known: append the very same bytes under the same number again."""


class Halted(LogFault):
    """The log failed for good (a sync, a full disk, a stranger's write). Nothing is retried: the process must end."""


class Corrupt(LogFault):
    """The log is damaged; `place` says where: a file and an offset, or a position."""

    def __init__(self, place: str, what: str) -> None:
        super().__init__(f"{place}: {what}")
        self.place = place
        self.what = what


class Locked(LogFault):
    """Another process has this log."""


class Trimmed(LogFault):
    """The positions asked for are no longer held."""


class Foreign(LogFault):
    """The log holds, under this writer's id and number, bytes that this writer did not send."""


class Overloaded(Exception):
    """The writer's queue is full: the command was not taken."""


class Stopped(Overloaded):
    """The writer takes no more commands: it was stopped, or its log has halted."""
