# SPDX-License-Identifier: Apache-2.0
"""Seeding: what an exchange starts with, applied once, before the doors open.

`serve` calls it with the document of `--seed-file`, of the demo, or an empty one (then only the limits are set). A
document becomes a list of commands that depends on nothing else, so a start that was cut off in the middle of seeding
is recognised and completed. It must never touch an exchange that has a history of its own.
"""

import logging
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bidhall.core import Exchange, records
from bidhall.documents import AccountDocument, BadDocument, KeyDocument, SeedDocument, convert

if TYPE_CHECKING:
    from bidhall.replica import Registry, Replica

logger: Final = logging.getLogger("bidhall")

# Seeds are cut into pieces of about this many commands, so that one of a million accounts is no single batch.
PIECE_COMMANDS: Final = 1000
KEY_PERMISSIONS: Final = {"read": 1, "trade": 2}


def read(path: Path) -> SeedDocument:
    """The document in a .toml or .json file; BadDocument says what is wrong with it."""
    try:
        return parse(path.read_bytes(), path.name)
    except OSError as error:
        raise BadDocument(f"{path}: {error.strerror}") from None


def parse(raw: bytes, name: str) -> SeedDocument:
    """The document in these bytes; numbers keep every digit they were written with."""
    try:
        if name.endswith(".json"):
            data = msgspec.json.Decoder(float_hook=str).decode(raw)
        else:
            import tomllib  # only who has such a file waits for it

            data = tomllib.loads(raw.decode(), parse_float=str)
    except (ValueError, UnicodeDecodeError, msgspec.DecodeError) as error:
        raise BadDocument(f"{name}: {error}") from None
    return convert(data, SeedDocument, name)


async def apply(document: SeedDocument, replica: "Replica") -> bool:
    """Give an empty exchange what the document says; False when there is a history that is not this document's, which
    only gets the newest rules."""
    if await _activate_rules(replica):
        return False
    try:
        groups = list(_groups(document, replica.registry))
    except (struct.error, OverflowError):
        raise BadDocument("a number of the seed is out of range") from None
    commands = b"".join(groups)
    done = replica.exchange.sequence * records.COMMAND_BYTES
    if done >= len(commands) or not _is_cut_off(replica.exchange, commands[:done]):
        return False
    for piece in _pieces(groups, done):
        outcome = await replica.execute(piece)
        refused = next((event for event in outcome.events if event.kind == records.EventKind.REJECTED), None)
        if refused is not None:
            raise BadDocument(_complaint(refused, outcome.events.index(refused), piece))
    return True


async def _activate_rules(replica: "Replica") -> bool:
    """A history that began with older rules goes on with the newest this build knows. Only where nobody else writes:
    other writers may be of a build that does not know them."""
    rules = replica.exchange.rules
    if not 0 < rules < records.RULES_VERSION or not replica.log.exclusive:
        return False
    outcome = await replica.execute(records.rules(records.RULES_VERSION))
    if outcome.events[0].kind != records.EventKind.RULES:
        raise BadDocument(f"the exchange refused version {records.RULES_VERSION} of the rules")
    logger.info("this log began with version %d of the rules; version %d is active now", rules, records.RULES_VERSION)
    return True


async def add(document: SeedDocument, replica: "Replica") -> None:
    """Give an exchange with a history what it lacks of the document, by name; nothing that exists is changed."""
    registry = replica.registry
    accounts = {account.name for account in registry.accounts.values()}
    missing = SeedDocument(
        assets=[asset for asset in document.assets if asset.name not in registry.asset_by_name],
        markets=[market for market in document.markets if market.name not in registry.markets],
        accounts=[account for account in document.accounts if account.name not in accounts],
    )
    assets = {asset.name: (asset.id, asset.decimals) for asset in registry.assets.values()}
    first_account = len(registry.accounts) + 1
    for group in _content(missing, registry, assets, first_account):
        await replica.execute(group)


def _groups(document: SeedDocument, registry: "Registry") -> Iterator[bytes]:
    yield document.limits.command()
    yield from _content(document, registry, {}, 1)


def _content(
    document: SeedDocument, registry: "Registry", assets: dict[str, tuple[int, int]], first_account: int
) -> Iterator[bytes]:
    """Commands in groups that stay together; `assets` are those there are, and the next ids follow them."""
    assets = dict(assets)
    for asset in document.assets:
        if asset.name in assets:
            raise BadDocument(f"asset {asset.name!r} is there twice")
        assets[asset.name] = (len(assets) + 1, asset.decimals)
        yield asset.command()
    for market in document.markets:
        yield market.command(assets)
    for number, account in enumerate(document.accounts, first_account):
        yield account.command() + account.deposits(number, assets) + _keys(account, number, registry)


def _keys(account: AccountDocument, number: int, registry: "Registry") -> bytes:
    return b"".join(_key(key, number, registry) for key in account.keys)


def _key(key: KeyDocument, account: int, registry: "Registry") -> bytes:
    kind, secret = key.signing()
    unknown = [name for name in key.permissions if name not in KEY_PERMISSIONS]
    if unknown:
        raise BadDocument(f"key {key.key}: unknown permission {unknown[0]!r}; known are {', '.join(KEY_PERMISSIONS)}")
    permissions = sum({KEY_PERMISSIONS[name] for name in key.permissions})
    return registry.key_note(key.key, account, kind, secret, permissions=permissions, label=key.label)


def _is_cut_off(exchange: Exchange, commands: bytes) -> bool:
    """Whether the history is exactly the beginning of this document: a start that did not come to its end."""
    twin = Exchange()
    if commands:
        twin.apply(commands)
    return _content_of(twin) == _content_of(exchange)


def _content_of(exchange: Exchange) -> dict[str, Any]:
    return {name: value for name, value in exchange.dump().items() if name not in ("time_ns", "writers", "digests")}


def _pieces(groups: list[bytes], done: int) -> Iterator[bytes]:
    piece = b""
    for group in groups:
        skipped = min(done, len(group))
        done -= skipped
        piece += group[skipped:]
        if len(piece) >= PIECE_COMMANDS * records.COMMAND_BYTES:
            yield piece
            piece = b""
    if piece:
        yield piece


def _complaint(event: records.EventRow, index: int, piece: bytes) -> str:
    row = records.CommandRow._make(records.COMMAND_STRUCT.unpack_from(piece, index * records.COMMAND_BYTES))
    return (
        f"the exchange refused command {event.sequence} of the seed, {records.CommandKind(row.kind).name}: "
        f"{records.Reject(event.code).name}"
    )
