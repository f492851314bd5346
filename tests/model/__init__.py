# SPDX-License-Identifier: Apache-2.0
"""The plain twin of the kernel: the oracle of the differential tests. It imports nothing of ours.

`ModelExchange` answers the same commands as `bidhall.core.Exchange`, from the same page (`cython_core/RULES.md`), with
lists and dicts. `python -m tests.model SEED` replays one generated history on both.
"""

from tests.model.exchange import ModelExchange
from tests.model.parts import Broken, UnknownCommand, WriterGap

__all__ = ["Broken", "ModelExchange", "UnknownCommand", "WriterGap"]
