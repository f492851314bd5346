# SPDX-License-Identifier: Apache-2.0
"""Who signed these bytes, and are they still good: HMAC-SHA256, Ed25519, RSA, timestamps, the digest of a request.

The door calls it between parsing and the market. It must never see a key's text in an error, and it compares secrets
in constant time only.
"""

import hmac
from base64 import b64decode
from binascii import Error as Base64Error
from hashlib import blake2b, sha256
from typing import Any, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
)

from bidhall.protocol import errors
from bidhall.protocol.parameters import check_key_format
from bidhall.protocol.requests import Request

__all__ = [
    "HmacKey", "PublicKey", "check_key_format", "check_time", "digest", "kind_of", "load_public_key", "public_bytes",
    "verify_hmac", "verify_public",
]  # fmt: skip

PublicKey = Ed25519PublicKey | RSAPublicKey

DIGEST_BYTES: Final = 16
ED25519_BYTES: Final = 32
RSA_BITS_MIN: Final = 2048
RSA_BITS_MAX: Final = 4096
_DER: Final = b"\x30"  # how DER begins
_AHEAD_NS_MAX: Final = 1_000_000_000
_BLOCK_BYTES: Final = 64
_SIGNATURE_BYTES: Final = 64
_INNER: Final = bytes(byte ^ 0x36 for byte in range(256))
_OUTER: Final = bytes(byte ^ 0x5C for byte in range(256))


class HmacKey:
    """An HMAC-SHA256 secret with both of its pads hashed already: less than half the time of `hmac.digest`."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, secret: bytes) -> None:
        block = (sha256(secret).digest() if len(secret) > _BLOCK_BYTES else secret).ljust(_BLOCK_BYTES, b"\0")
        self._inner = sha256(block.translate(_INNER))
        self._outer = sha256(block.translate(_OUTER))

    def sign(self, payload: bytes) -> bytes:
        """The 32 bytes of the code."""
        inner = self._inner.copy()
        inner.update(payload)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.digest()

    def verify(self, payload: bytes, signature: str) -> bool:
        """True when the signature (64 hex digits of either case) is this key's over these bytes."""
        if len(signature) != 64:
            return False
        try:
            given = bytes.fromhex(signature)
        except ValueError:
            return False
        return hmac.compare_digest(given, self.sign(payload))


def verify_hmac(secret: bytes, payload: bytes, signature: str) -> bool:
    """The same for a secret used once."""
    return HmacKey(secret).verify(payload, signature)


def load_public_key(text: str | bytes) -> PublicKey:
    """A public key as users hand it over: PEM, base64 of DER, DER, base64 of Ed25519's 32 bytes, or those. ValueError.

    Which scheme its owner signs by follows from the key.
    """
    raw = text.encode("ascii") if isinstance(text, str) else text
    if len(raw) == ED25519_BYTES:
        return Ed25519PublicKey.from_public_bytes(raw)
    try:
        key = _loaded(raw)
    except UnsupportedAlgorithm as error:
        raise ValueError("the public key is of no kind that is known here") from error
    if isinstance(key, RSAPublicKey):
        if not RSA_BITS_MIN <= key.key_size <= RSA_BITS_MAX:
            raise ValueError(f"an RSA key has {RSA_BITS_MIN} to {RSA_BITS_MAX} bits, not {key.key_size}")
        return key
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("the public key is neither an Ed25519 nor an RSA key")
    return key


def _loaded(raw: bytes) -> Any:
    if raw.lstrip().startswith(b"-----"):
        return load_pem_public_key(raw)
    try:
        der = b64decode(b"".join(raw.split()), validate=True)
    except Base64Error as error:
        if not raw.startswith(_DER):
            raise ValueError("the public key is neither PEM nor base64") from error
        der = raw
    return Ed25519PublicKey.from_public_bytes(der) if len(der) == ED25519_BYTES else load_der_public_key(der)


def kind_of(key: PublicKey) -> str:
    """What the registry calls a key of this kind."""
    return "ed25519" if isinstance(key, Ed25519PublicKey) else "rsa"


def public_bytes(key: PublicKey) -> bytes:
    """What the registry keeps of it, and `load_public_key` reads again: 32 bytes of Ed25519, DER of RSA."""
    if isinstance(key, Ed25519PublicKey):
        return key.public_bytes_raw()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def verify_public(key: PublicKey, payload: bytes, signature: str) -> bool:
    """True when the signature (base64) is this key's over these bytes. 40 to 100 µs: not on the loop."""
    try:
        # A "+" that was not percent-encoded arrives as a space.
        given = b64decode(signature.replace(" ", "+"), validate=True)
    except ValueError:  # also what is not ASCII
        return False
    try:
        if isinstance(key, Ed25519PublicKey):
            if len(given) != _SIGNATURE_BYTES:
                return False
            key.verify(given, payload)
        else:
            key.verify(given, payload, PKCS1v15(), SHA256())
    except InvalidSignature:
        return False
    return True


def check_time(request: Request, now_ns: int) -> None:
    """-1021 unless timestamp < now + 1 s and now - timestamp <= recvWindow."""
    timestamp_ns = request.timestamp_ns
    if timestamp_ns >= now_ns + _AHEAD_NS_MAX:
        raise errors.ahead_of_time()
    if now_ns - timestamp_ns > request.window_ns:
        raise errors.outside_window()


def digest(method: bytes, path: bytes, key: bytes, payload: bytes) -> bytes:
    """Names a signed request: the same method, path, key and signed bytes give the same 16 bytes, others do not."""
    return blake2b(b"%b %b\n%b\n%b" % (method, path, key, payload), digest_size=DIGEST_BYTES).digest()
