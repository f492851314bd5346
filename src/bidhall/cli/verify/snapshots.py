# SPDX-License-Identifier: Apache-2.0
"""Snapshots against the replay: whole, of this log, and the very state that the log gives at their position.

Called by the command, which has the walk look in at each snapshot's position. A snapshot that cannot be read is a
fault even though a start would pass over it: whoever verifies wants to know.
"""

from pathlib import Path
from typing import Final

from bidhall.cli.verify.report import Check
from bidhall.cli.verify.walk import Place, asset_name
from bidhall.core.exchange import Exchange
from bidhall.replica.snapshots import SUFFIX, BadSnapshot, Header, Loaded

KERNEL: Final = "kernel"


class Snapshots:
    """All of a folder."""

    def __init__(self, folder: Path, log: bytes, head: int, check: Check) -> None:
        self._check = check
        self.compared: Final[list[int]] = []
        self.expected: Final[dict[int, list[Path]]] = {}
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            header = self._header(path)
            if header is None:
                continue
            if header.log != log:
                check.fault(f"{path.name}: belongs to log {header.log.hex()}, this one is {log.hex()}")
            elif header.position > head:
                check.fault(f"{path.name}: stands at position {header.position:,}, but the log ends at {head:,}")
            else:
                self.expected.setdefault(header.position, []).append(path)

    def _header(self, path: Path) -> Header | None:
        try:
            loaded = Loaded(path)
        except (BadSnapshot, OSError) as error:
            self._check.fault(_short(error, path))
            return None
        loaded.close()
        return loaded.header

    def compare(self, place: Place) -> None:
        """The walk is at a position that snapshots are of."""
        for path in self.expected.pop(place.position):
            self._compare(path, place)
            self.compared.append(place.position)

    def _compare(self, path: Path, place: Place) -> None:
        try:
            loaded = Loaded(path)
        except (BadSnapshot, OSError) as error:
            self._check.fault(_short(error, path))
            return
        try:
            header, where = loaded.header, f"{path.name}, position {place.position:,}"
            if header.chain != place.chain:
                self._check.fault(f"{where}: the log has another history up to there")
                return
            with loaded.section(KERNEL) as data:
                found = Exchange.restore(data)
        except Exception as error:  # whatever a kernel says to bytes that it does not take
            self._check.fault(f"{path.name}: the kernel in it cannot be read: {error}")
            return
        finally:
            loaded.close()
        replayed = place.exchange
        if (header.event_hash, found.event_hash) != (replayed.event_hash,) * 2:
            self._check.fault(f"{where}: other events led there than the log gives")
        if found.state_hash() != replayed.state_hash():
            self._check.fault(f"{where}: the state is not the replay's: {difference(found, replayed)}")

    def finish(self, reached: int) -> None:
        """After the walk: what it did not come to was not compared."""
        for position in sorted(self.expected):
            for path in self.expected[position]:
                self._check.fault(f"{path.name}: not compared, because the replay ended at position {reached:,}")
        if self.compared:
            positions = ", ".join(f"{position:,}" for position in self.compared)
            self._check.text = f"{len(self.compared)}, each the replay's state at its position: {positions}"
        else:
            self._check.text = "there is none"


def difference(found: Exchange, replayed: Exchange) -> str:
    """The first thing that differs between two kernels, in words."""
    for what in ("sequence", "time_ns", "asset_count", "market_count", "account_count", "open_order_count"):
        have, should = getattr(found, what), getattr(replayed, what)
        if have != should:
            return f"{what} is {have}, the replay's is {should}"
    for account in range(1, replayed.account_count + 1):
        balances = {asset: rest for asset, *rest in replayed.balances(account)}
        others = {asset: rest for asset, *rest in found.balances(account)}
        for asset in sorted({*balances, *others}):
            have, should = others.get(asset, [0, 0]), balances.get(asset, [0, 0])
            if have != should:
                name = asset_name(replayed, asset)
                return (
                    f"account {account} has {have[0]} units of {name} free and {have[1]} locked, "
                    f"the replay {should[0]} and {should[1]}"
                )
        if found.open_orders(account).tobytes() != replayed.open_orders(account).tobytes():
            return f"the open orders of account {account}"
    return "not in balances or open orders, but elsewhere in the kernel"


def _short(error: Exception, path: Path) -> str:
    """What a reader of snapshots says, with the name for the path."""
    return str(error).replace(str(path), path.name)
