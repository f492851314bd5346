# SPDX-License-Identifier: Apache-2.0
"""Who and what there is: assets, markets, accounts and API keys, learned from applied commands only.

The replica feeds it every batch that has such commands; the doors look things up in it (`registry.keys.get(text)` is
the whole lookup of an API key). API keys travel as NOTE commands with a JSON payload:

    {"op":"key","key":text,"account":id,"kind":"hmac","sealed":base64,"permissions":bits,"label":text}
    {"op":"key","key":text,"account":id,"kind":"ed25519","public_key":base64,"permissions":bits,"label":text}
    {"op":"key","key":text,"account":id,"kind":"rsa","public_key":base64 of DER,"permissions":bits,"label":text}
    {"op":"key_off","key":text}

What may never happen here: a change that did not come through the log, or a payload that stops the replica.
"""

import logging
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntFlag
from typing import Any, Final

import numpy as np
import orjson

from bidhall.core.records import ACCOUNT, ACCOUNT_STRUCT, ASSET, COMMAND_BYTES, CONFIGURE, EventKind, notes, text
from bidhall.environment import Environment
from bidhall.protocol.markets import Asset, Market
from bidhall.replica.keys import NONCE_BYTES, MasterKey
from bidhall.replica.outcome import Records

logger: Final = logging.getLogger("bidhall.replica")

VERSION: Final = 1
LEGS_AT: Final = 6
USED_AT: Final = 7
PAYLOAD_AT: Final = 8
KEY_TEXT_MAX: Final = 256
RSA_BYTES_MAX: Final = 1024  # DER of 4096 bits is 550
KEY_KINDS: Final = ("hmac", "ed25519", "rsa")
_ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_KINDS: Final = (
    EventKind.CONFIGURED, EventKind.RULES, EventKind.ASSET, EventKind.MARKET, EventKind.MARKET_STATE,
    EventKind.ACCOUNT, EventKind.NOTED,
)  # fmt: skip
_THINGS: Final = [EventKind.CONFIGURED, EventKind.RULES, EventKind.ASSET, EventKind.MARKET, EventKind.MARKET_STATE]
_RULES: Final = (EventKind.CONFIGURED, EventKind.RULES)
INTERESTING: Final = sum(1 << kind for kind in _KINDS)


class KeyPermission(IntFlag):
    """What an API key may do."""

    READ = 1
    TRADE = 2


@dataclass(frozen=True, slots=True)
class Key:
    """An API key. `secret` is open, in memory only; empty when it could not be opened here."""

    text: str
    account: int
    kind: str  # "hmac", "ed25519" or "rsa"
    secret: bytes
    public_key: bytes
    permissions: int
    enabled: bool
    label: str


@dataclass(frozen=True, slots=True)
class Account:
    """An account as the registry knows it; its balances and rates are the kernel's."""

    id: int
    name: str
    permissions: int


class Accounts(Mapping[int, Account]):
    """By id, from 1. A million of them are a megabyte: objects are made when they are asked for."""

    def __init__(self) -> None:
        self.permissions = bytearray()
        self.names: dict[int, str] = {}

    def __getitem__(self, account: int) -> Account:
        if not 1 <= account <= len(self.permissions):
            raise KeyError(account)
        return Account(account, self.names.get(account, ""), self.permissions[account - 1])

    def __iter__(self) -> Iterator[int]:
        return iter(range(1, len(self.permissions) + 1))

    def __len__(self) -> int:
        return len(self.permissions)

    def apply(self, changed: "np.ndarray[Any, Any]", commands: Records) -> None:
        """New accounts, and changed ones; `commands` are those of the ids in `changed`."""
        for account, permissions, name in zip(
            changed.tolist(), commands["permissions"].tolist(), commands["name"].tolist(), strict=True
        ):
            if account > len(self.permissions):
                self.permissions.append(permissions)
                if name:
                    self.names[account] = name.decode("utf-8", "replace")
            else:
                self.permissions[account - 1] = permissions


class Registry:
    """See above."""

    def __init__(self, master: MasterKey, environment: Environment) -> None:
        self._master = master
        self._environment = environment
        self.assets: Final[dict[int, Asset]] = {}
        self.asset_by_name: Final[dict[str, Asset]] = {}
        self.markets: Final[dict[str, Market]] = {}
        self.market_by_id: Final[dict[int, Market]] = {}
        self.accounts: Final = Accounts()
        self.keys: Final[dict[str, Key]] = {}
        self.rules_version = 1  # of the kernel's rules, that the log says are in force
        self.version = 0  # grows with every change, so that who derives something knows when to do it again
        self.unopened = 0  # HMAC secrets that the master key does not open
        self._market_commands: Final[dict[int, bytes]] = {}
        self._stored_keys: Final[dict[str, dict[str, Any]]] = {}

    def clear(self) -> None:
        """As before the first command. The tables stay the same objects: others hold on to them."""
        self.assets.clear()
        self.asset_by_name.clear()
        self.markets.clear()
        self.market_by_id.clear()
        self.accounts.permissions.clear()
        self.accounts.names.clear()
        self.keys.clear()
        self._market_commands.clear()
        self._stored_keys.clear()
        self.rules_version = 1
        self.version = self.unopened = 0

    def use(self, master: MasterKey) -> None:
        """Before anything is applied: the master key of this replica."""
        self._master = master

    # --- from the log --------------------------------------------------------------------------------------------

    def apply(self, commands: memoryview | bytes, events: Records, first_sequence: int) -> None:
        """A batch that has an interesting kind of event (bits in INTERESTING)."""
        kinds = events["kind"]
        self._accounts(commands, events[kinds == EventKind.ACCOUNT], first_sequence)
        others = events[np.isin(kinds, _THINGS)]
        for event in others:
            at = (int(event["sequence"]) - first_sequence) * COMMAND_BYTES
            self._thing(event, bytes(commands[at : at + COMMAND_BYTES]))
        self._notes(commands, events[kinds == EventKind.NOTED], first_sequence)

    def _accounts(self, commands: memoryview | bytes, events: Records, first_sequence: int) -> None:
        if len(events):
            table = np.frombuffer(commands, ACCOUNT)
            self.accounts.apply(events["account"], table[(events["sequence"] - first_sequence).astype(np.int64)])
            self.version += 1

    def _thing(self, event: Any, command: bytes) -> None:
        kind = int(event["kind"])
        if kind in _RULES:
            self._use_rules(int(event["order_id"]) or int(np.frombuffer(command, CONFIGURE)[0]["rules_version"]))
        elif kind == EventKind.ASSET:
            record = np.frombuffer(command, ASSET)[0]
            self._add_asset(Asset(int(event["asset"]), _decoded(record["name"]), int(record["decimals"])))
        elif kind == EventKind.MARKET:
            self._add_market(int(event["market"]), command)
        elif (market := self.market_by_id.get(int(event["market"]))) is not None:
            market.state = int(event["status"])
        self.version += 1

    def _use_rules(self, version: int) -> None:
        self.rules_version = version
        for market in self.market_by_id.values():
            market.rules_version = version

    def _add_asset(self, asset: Asset) -> None:
        self.assets[asset.id] = self.asset_by_name[asset.name] = asset

    def _add_market(self, market_id: int, command: bytes) -> None:
        market = Market.from_command(market_id, command, self.assets, self.rules_version)
        self.markets[market.symbol] = self.market_by_id[market_id] = market
        self._market_commands[market_id] = command

    # --- notes ---------------------------------------------------------------------------------------------------

    def _notes(self, commands: memoryview | bytes, events: Records, first_sequence: int) -> None:
        left, payload = 0, b""
        for sequence in events["sequence"].tolist():
            at = (sequence - first_sequence) * COMMAND_BYTES
            if left == 0:
                left, payload = max(commands[at + LEGS_AT], 1), b""
            payload += commands[at + PAYLOAD_AT : at + PAYLOAD_AT + commands[at + USED_AT]]
            left -= 1
            if left == 0:
                self._note(payload)

    def _note(self, payload: bytes) -> None:
        """Whatever it holds, every replica does the same with it, and none stops."""
        try:
            entry = orjson.loads(payload)
            operation = entry["op"]
            if operation == "key":
                self._key(entry)
            elif operation == "key_off":
                self._key_off(str(entry["key"]))
            else:
                logger.warning("a note asks for %r, which this version does not know", operation)
        except (ValueError, KeyError, TypeError) as error:
            logger.warning("a note of %d bytes is not understood: %s", len(payload), type(error).__name__)

    def _key(self, entry: dict[str, Any]) -> None:
        key = self._opened(entry)
        if not key.text or len(key.text) > KEY_TEXT_MAX or key.kind not in KEY_KINDS:
            raise ValueError("no such kind of key")
        self._stored_keys[key.text] = entry
        self.keys[key.text] = key
        self.version += 1

    def _opened(self, entry: dict[str, Any]) -> Key:
        name, account, kind = str(entry["key"]), int(entry["account"]), str(entry["kind"])
        secret = public_key = b""
        enabled = bool(entry.get("enabled", True))
        if kind == "hmac":
            found = self._master.open(b64decode(entry["sealed"], validate=True), _about(name, account))
            if found is None:
                logger.error("the secret of API key %s… does not open under this master key: it is refused", name[:6])
                self.unopened += 1
            secret, enabled = found or b"", enabled and found is not None
        else:
            public_key = b64decode(entry["public_key"], validate=True)
            if not _is_public_key(kind, public_key):
                raise ValueError("an Ed25519 public key is 32 bytes, an RSA key DER of at most a kilobyte")
        label = str(entry.get("label", ""))
        return Key(name, account, kind, secret, public_key, int(entry["permissions"]), enabled, label)

    def _key_off(self, name: str) -> None:
        entry = self._stored_keys.get(name)
        if entry is not None:
            entry["enabled"] = False
            old = self.keys[name]
            self.keys[name] = Key(
                name, old.account, old.kind, old.secret, old.public_key, old.permissions, False, old.label
            )
            self.version += 1

    # --- commands for it -----------------------------------------------------------------------------------------

    def new_hmac_key(self, environment: Environment | None = None) -> tuple[str, str]:
        """A new key's text and secret, 64 letters and digits each."""
        source = environment or self._environment
        return _random_text(source), _random_text(source)

    def key_note(
        self,
        name: str,
        account: int,
        kind: str,
        secret: bytes,
        *,
        permissions: int = KeyPermission.READ | KeyPermission.TRADE,
        label: str = "",
    ) -> bytes:
        """The commands that make a key, or replace it; of the public kinds `secret` is `signatures.public_bytes`."""
        entry: dict[str, Any] = {"op": "key", "key": name, "account": account, "kind": kind}
        if kind == "hmac":
            nonce = self._environment.random_bytes(NONCE_BYTES)
            entry["sealed"] = b64encode(self._master.seal(secret, _about(name, account), nonce)).decode()
        elif kind in KEY_KINDS and _is_public_key(kind, secret):
            entry["public_key"] = b64encode(secret).decode()
        else:
            raise ValueError("a key is of kind hmac, of kind ed25519 with 32 bytes, or of kind rsa with its DER")
        if not 0 < len(name) <= KEY_TEXT_MAX:
            raise ValueError(f"a key's text has 1 to {KEY_TEXT_MAX} characters")
        entry |= {"permissions": int(permissions), "label": label}
        return notes(orjson.dumps(entry))

    def key_off_note(self, name: str) -> bytes:
        """The command that disables a key for good."""
        return notes(orjson.dumps({"op": "key_off", "key": name}))

    # --- snapshots -----------------------------------------------------------------------------------------------

    def snapshot(self) -> bytes:
        """All of it; secrets stay sealed."""
        return orjson.dumps(
            {
                "version": VERSION,
                "changes": self.version,
                "rules": self.rules_version,
                "assets": [[asset.id, asset.name, asset.decimals] for asset in self.assets.values()],
                "markets": [
                    [market_id, b64encode(command).decode(), self.market_by_id[market_id].state]
                    for market_id, command in self._market_commands.items()
                ],
                "account_permissions": b64encode(bytes(self.accounts.permissions)).decode(),
                "account_names": [[account, name] for account, name in self.accounts.names.items()],
                "keys": list(self._stored_keys.values()),
            }
        )

    def load(self, data: bytes | memoryview) -> None:
        """Take the state of a snapshot; raises ValueError when it is none."""
        self.clear()
        try:
            tree = orjson.loads(data)
            if tree["version"] != VERSION:
                raise ValueError(f"a registry of version {tree['version']} is not known here")
            self.rules_version = tree.get("rules", 1)  # snapshots from before version 2 do not say
            for asset_id, name, decimals in tree["assets"]:
                self._add_asset(Asset(asset_id, name, decimals))
            for market_id, command, state in tree["markets"]:
                self._add_market(market_id, b64decode(command))
                self.market_by_id[market_id].state = state
            self.accounts.permissions[:] = b64decode(tree["account_permissions"])
            self.accounts.names.update(dict(tree["account_names"]))
            for entry in tree["keys"]:
                self._key(entry)
            self.version = tree["changes"]
        except (KeyError, TypeError) as error:
            raise ValueError(f"the snapshot of the registry lacks something: {error!r}") from error


def _is_public_key(kind: str, public_key: bytes) -> bool:
    """Whether it may be one; who verifies with it loads it."""
    if kind == "ed25519":
        return len(public_key) == 32
    return kind == "rsa" and public_key[:1] == b"\x30" and len(public_key) <= RSA_BYTES_MAX


def _about(name: str, account: int) -> bytes:
    return f"bidhall key {account} {name}".encode()


def _decoded(name: bytes) -> str:
    return text(name).decode("utf-8", "replace")


def _random_text(environment: Environment) -> str:
    """64 letters and digits, each as likely as any other (bytes that would favour some are thrown away)."""
    letters = ""
    while len(letters) < 64:
        letters += "".join(_ALPHABET[byte % 62] for byte in environment.random_bytes(96) if byte < 248)
    return letters[:64]


assert ACCOUNT_STRUCT.size == ACCOUNT.itemsize == COMMAND_BYTES
