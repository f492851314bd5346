# SPDX-License-Identifier: Apache-2.0
"""`bidhall keygen`: a key pair of each kind that signs requests, and how it comes to an account.

The command line calls `run`. A private key goes to a file that only its owner reads, never over another file; a
registered one is not shown again by anybody. Only the public half, or an HMAC secret, is ever sent to the exchange.
"""

import os
import secrets
import string
from pathlib import Path
from typing import Any, Final

import click

from bidhall.cli.client import Client, Refused

KINDS: Final = ("hmac", "ed25519", "rsa")
LETTERS: Final = string.ascii_letters + string.digits
TEXT_LENGTH: Final = 64
RSA_BITS: Final = (2048, 3072, 4096)
OWNER_ONLY: Final = 0o600
EVERYBODY: Final = 0o644


class CannotWrite(Exception):
    """A file is there already, or its folder is not; the text is for people."""


def run(
    kind: str,
    *,
    out: Path | None,
    bits: int,
    register: int | None,
    permissions: tuple[str, ...],
    label: str | None,
    client: Client,
) -> int:
    """Make a key, write what --out asks for, register it where --register says; the exit code."""
    text = "".join(secrets.choice(LETTERS) for _ in range(TEXT_LENGTH))
    files, document = _hmac(out) if kind == "hmac" else _pair(kind, out or Path(f"{kind}-key"), bits)
    body = {"key": text, **document}
    body |= {name: value for name, value in (("permissions", list(permissions)), ("label", label)) if value}
    try:
        _write_all(files)
        if register is not None:
            _register(client, register, body, files)
    except (Refused, CannotWrite) as error:
        click.echo(f"Error: {error}", err=True)
        return 1
    _tell(kind, text, document, files, register)
    return 0


def _register(client: Client, account: int, body: dict[str, Any], files: dict[Path, Any]) -> None:
    """A refusal leaves no files of a key that nobody knows."""
    try:
        client.call("POST", f"/admin/accounts/{account}/keys", body)
    except Refused:
        for path in files:
            path.unlink(missing_ok=True)
        raise


def _hmac(out: Path | None) -> tuple[dict[Path, tuple[bytes, int]], dict[str, Any]]:
    secret = "".join(secrets.choice(LETTERS) for _ in range(TEXT_LENGTH))
    files = {out: (secret.encode() + b"\n", OWNER_ONLY)} if out else {}
    return files, {"secret": secret}


def _pair(kind: str, out: Path, bits: int) -> tuple[dict[Path, tuple[bytes, int]], dict[str, Any]]:
    """Private as PKCS #8 and public as SubjectPublicKeyInfo, both PEM: what Binance's own tools read and write."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    private = Ed25519PrivateKey.generate() if kind == "ed25519" else generate_private_key(65_537, bits)
    hidden = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    files = {
        out.with_name(out.name + ".pem"): (hidden, OWNER_ONLY),
        out.with_name(out.name + ".pub.pem"): (public, EVERYBODY),
    }
    return files, {"public_key": public.decode()}


def _write_all(files: dict[Path, tuple[bytes, int]]) -> None:
    """All or, as far as can be known before, none."""
    for path in files:
        if path.exists() or path.is_symlink():
            raise CannotWrite(f"{path} is there already: a key is never written over another")
        if not path.parent.is_dir():
            raise CannotWrite(f"{path.parent} is no folder")
    for path, (content, mode) in files.items():
        _write(path, content, mode)


def _write(path: Path, content: bytes, mode: int) -> None:
    """New, and with its mode from its first moment."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    except OSError as error:
        raise CannotWrite(f"{path}: {error.strerror}") from None
    with open(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)  # whatever the umask left of it
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def _tell(kind: str, text: str, document: dict[str, Any], files: dict[Path, Any], register: int | None) -> None:
    click.echo(f"key      {text}")
    if kind == "hmac" and not files:
        click.echo(f"secret   {document['secret']}")
    for path, (_, mode) in files.items():
        click.echo(f"{'private' if mode == OWNER_ONLY else 'public':8} {path}")
    if register is not None:
        click.echo(f"It signs for account {register} from now on ({kind}).")
        return
    source = "--secret-file FILE" if kind == "hmac" else ""
    for path, (_, mode) in files.items():
        if kind == "hmac":
            source = f"--secret-file {path}"
        elif mode == EVERYBODY:
            source = f"--public-key {path}"
    click.echo(f"Register it:   bidhall admin key create ACCOUNT --key {text} {source}")
