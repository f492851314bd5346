# SPDX-License-Identifier: Apache-2.0
"""bidhall: a spot exchange that anyone can run, in the dialect of the Binance Spot API.

Everybody imports this file, so it imports nothing: `bidhall version` and the first reply after a start pay for it.
"""

from typing import Final

__all__ = ["__version__"]

__version__: Final = "0.1.0"
