# SPDX-License-Identifier: Apache-2.0
"""The master key, and the sealing of API secrets under it.

Called by the replica at its start and by the registry. The log, the snapshots and every backup of them hold secrets in
sealed form only: AES-256-GCM, a random nonce each, bound to the key's text and account, so that a sealed secret cannot
be put under another key. What may never happen here: a secret or the master key in a message or in a log line.
"""

import os
from binascii import Error
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bidhall.environment import Environment
from bidhall.replica.errors import Refused

FILE: Final = "master.key"
VARIABLE: Final = "BIDHALL_MASTER_KEY"
KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12


class MasterKey:
    """Seals and opens. `made_at` is the file that was made for it just now, if one was."""

    __slots__ = ("_cipher", "made_at")

    def __init__(self, key: bytes, made_at: Path | None = None) -> None:
        if len(key) != KEY_BYTES:
            raise Refused(f"a master key is {KEY_BYTES} bytes ({2 * KEY_BYTES} hexadecimal digits)")
        self._cipher = AESGCM(key)
        self.made_at = made_at

    def seal(self, secret: bytes, about: bytes, nonce: bytes) -> bytes:
        """`about` must be given again to open it."""
        return nonce + self._cipher.encrypt(nonce, secret, about)

    def open(self, sealed: bytes, about: bytes) -> bytes | None:
        """The secret, or None when it was sealed under another master key or about something else."""
        try:
            return self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], about)
        except (InvalidTag, ValueError):
            return None


def master_key(
    folder: Path | None, environment: Environment, given: str = "", variables: Mapping[str, str] | None = None
) -> MasterKey:
    """From the setting, from the environment, or from the file beside the log, which is made at the first start."""
    text = given or (os.environ if variables is None else variables).get(VARIABLE, "")
    if text:
        return MasterKey(_decoded(text, "the setting" if given else VARIABLE))
    if folder is None:
        return MasterKey(environment.random_bytes(KEY_BYTES))
    path = folder / FILE
    try:
        return MasterKey(_decoded(path.read_text(encoding="ascii"), str(path)))
    except FileNotFoundError:
        key = environment.random_bytes(KEY_BYTES)
        _write(path, key.hex().encode() + b"\n")
        return MasterKey(key, path)


def _decoded(text: str, place: str) -> bytes:
    try:
        return bytes.fromhex(text.strip())
    except (ValueError, Error):
        raise Refused(f"{place} holds no master key: {2 * KEY_BYTES} hexadecimal digits") from None


def _write(path: Path, content: bytes) -> None:
    """Durable, for its owner alone, and never over one that is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
