# SPDX-License-Identifier: Apache-2.0
"""The kernel, installed as `bidhall.core`: commands in, events out.

Usable alone, without HTTP or a log: `from bidhall.core import Exchange`. The records are in `bidhall.core.records`,
the rules in `RULES.md` beside this file, the compiled half of the replica's views in `bidhall.core.views`. Nothing here
knows a clock, a file, a socket or a random number.
"""

from bidhall.core.exchange import Broken, Exchange, UnknownCommand, WriterGap, checksum

__all__ = ["Broken", "Exchange", "UnknownCommand", "WriterGap", "checksum"]
