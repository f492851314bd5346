# SPDX-License-Identifier: Apache-2.0
"""The log: it fixes the order of commands and makes them durable; see `interface.Log` for what every log is.

Opened by the command line and by tests, written by `writer.Writer`, followed by the replica. It never looks into a
command.
"""

from pathlib import Path
from typing import Any

from bidhall.environment import Environment
from bidhall.log.batch import CHAIN_START, Batch, Entry, chain_next
from bidhall.log.errors import Corrupt, Foreign, Halted, Locked, LogFault, Overloaded, Stopped, Trimmed, Unknown
from bidhall.log.interface import Log
from bidhall.log.kafka import KafkaLog
from bidhall.log.memory import MemoryLog
from bidhall.log.postgres import PostgresLog
from bidhall.log.sqlite import SqliteLog
from bidhall.log.writer import Refusal, Slot, Waiter, Writer, WriterLimits

__all__ = [
    "CHAIN_START", "Batch", "Corrupt", "Entry", "Foreign", "Halted", "KafkaLog", "Locked", "Log", "LogFault",
    "MemoryLog", "Overloaded", "PostgresLog", "Refusal", "Slot", "SqliteLog", "Stopped", "Trimmed", "Unknown",
    "Waiter", "Writer", "WriterLimits", "chain_next", "open_log",
]  # fmt: skip


def open_log(url: str, environment: Environment, **options: Any) -> Log:
    """The log at `url`; await its `open` next.

    `memory:` · `sqlite:///folder` (`sqlite:////folder` is absolute) ·
    `postgresql://user@host:port,host:port/database` · `kafka://host:port,host:port/topic`.
    """
    if url == "memory:":
        return MemoryLog(environment)
    scheme, found, folder = url.partition(":///")
    if scheme == "sqlite" and found and folder:
        return SqliteLog(Path(folder), environment, **options)
    if url.startswith(("postgresql://", "postgres://")):
        return PostgresLog(url, environment, **options)
    if url.startswith("kafka://"):
        return KafkaLog(url, environment, **options)
    raise ValueError(f"no such log: {url!r}; bidhall knows memory:, sqlite:///folder, postgresql://… and kafka://…")
