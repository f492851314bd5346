# SPDX-License-Identifier: Apache-2.0
"""Who asks, and may they: API keys, signatures, permissions.

Who calls it: the lane for every signed request, the WebSocket half for its own. HMAC is checked at once (1.4 µs);
Ed25519 and RSA cost 40-100 µs, so those checks are collected and done in a thread, as many as have come while the last
ones were checked. What may never happen here: a check on the loop that takes longer than an HMAC, an answer that tells
an unknown key from a disabled one, or a queue without an end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from bidhall.core.wire import Signer, request_digest
from bidhall.protocol import signatures
from bidhall.protocol.endpoints import Security
from bidhall.protocol.errors import ApiError, bad_key, bad_signature, busy, internal
from bidhall.replica.registry import KeyPermission

if TYPE_CHECKING:
    from bidhall.environment import Environment
    from bidhall.protocol.requests import Request as Parsed
    from bidhall.replica.registry import Key, Registry

READ: Final = int(KeyPermission.READ)
TRADE: Final = int(KeyPermission.TRADE)
WAITING_MAX: Final = 20_000
CHUNK_MAX: Final = 64  # signatures of one trip to the thread: 64 x 100 µs, so that nobody waits for a long queue

Then = Callable[[Any], None]  # True, False, or the ApiError to answer with
_Job = tuple[Any, bytes, str, Then]


class Known:
    """A key as a hot request needs it: everything about it worked out once."""

    __slots__ = ("account", "key", "may_read", "may_trade", "signer", "text")

    def __init__(self, key: Key) -> None:
        permissions = int(key.permissions)
        self.key = key
        self.account = key.account
        self.text = key.text.encode("utf-8", "replace")
        self.signer = Signer(key.secret) if key.kind == "hmac" else None
        self.may_read = bool(permissions & READ)
        self.may_trade = bool(permissions & TRADE)


class Access:
    """The keys of the registry, and the thread that checks their signatures."""

    def __init__(self, registry: Registry, environment: Environment) -> None:
        self.registry = registry
        self.environment = environment
        self._known: dict[str, Known] = {}  # as many as there are keys
        self._loaded: dict[bytes, Any] = {}  # public keys as objects; as many as there are keys
        self._jobs: list[_Job] = []
        self._running = False
        self._worker: Any = None

    def find(self, text: str) -> Key:
        """The key of this text; raises -2014 when it cannot be one, -2015 when there is none."""
        key = self.registry.keys.get(text)
        if key is None:
            signatures.check_key_format(text or None)
            raise bad_key()
        if not key.enabled:
            raise bad_key()
        return key

    def known(self, text: str) -> Known:
        """The same, as a hot request needs it; made anew when the registry has another key object of that text."""
        key = self.registry.keys.get(text)
        known = self._known.get(text)
        if known is None or known.key is not key or not known.key.enabled:
            known = self._known[text] = Known(self.find(text))
        return known

    def permit(self, key: Key, security: Security) -> None:
        """Raises -2015 when the key may not do this."""
        if not int(key.permissions) & (TRADE if security == Security.TRADE else READ):
            raise bad_key()

    def verify_hmac(self, key: Key, parsed: Parsed) -> None:
        """Raises -1022 when the signature is not this key's."""
        signer = self.known(key.text).signer
        if signer is None or not signer.verify(parsed.payload, parsed.signature):
            raise bad_signature()

    def digest(self, key: Key, route: bytes, payload: bytes) -> bytes:
        """What makes a repeat of this very request recognisable: the same whichever way it was read."""
        signer = self.known(key.text).signer
        if signer is None:
            return signatures.digest(b"", route, key.text.encode(), payload)
        return request_digest(signer.sign(payload), route)

    def accept(self, key: Key, security: Security, good: bool | ApiError) -> None:
        """What `verify_later` said, as a refusal; the key may have been disabled meanwhile."""
        if good is not True:
            raise good if isinstance(good, ApiError) else bad_signature()
        now = self.registry.keys.get(key.text)
        if now is None or not now.enabled:
            raise bad_key()
        self.permit(now, security)

    def verify(self, key: Key, payload: bytes, signature: str, then: Then) -> None:
        """Any kind of key: `then(True | False | ApiError)`, at once or later on the loop."""
        if key.kind == "hmac":
            signer = self.known(key.text).signer
            then(signer is not None and signer.verify(payload, signature))
        else:
            self._later(key, payload, signature, then)

    def verify_later(self, key: Key, parsed: Parsed, then: Then) -> None:
        """A signature by a public key: `then` is called on the loop when it has been checked."""
        self._later(key, parsed.payload, parsed.signature, then)

    def _later(self, key: Key, payload: bytes, signature: str, then: Then) -> None:
        if len(self._jobs) >= WAITING_MAX:
            raise busy()
        public = self._loaded.get(key.public_key)
        if public is None:
            public = self._loaded[key.public_key] = signatures.load_public_key(key.public_key)
        self._jobs.append((public, payload, signature, then))
        if not self._running:
            self._start()

    def _start(self) -> None:
        if self._worker is None:
            self._worker = self.environment.worker("signatures")
        jobs, self._jobs = self._jobs[:CHUNK_MAX], self._jobs[CHUNK_MAX:]
        self._running = True
        self._worker.call(lambda: _check(jobs), lambda result, error: self._checked(jobs, result, error))

    def _checked(self, jobs: list[_Job], result: list[bool] | None, error: BaseException | None) -> None:
        if self._jobs:
            self._start()
        else:
            self._running = False
        for index, (_, _, _, then) in enumerate(jobs):
            then(internal() if error is not None or result is None else result[index])


def _check(jobs: list[_Job]) -> list[bool]:
    """Runs in the thread; OpenSSL lets go of the interpreter while it computes."""
    verify = signatures.verify_public
    return [verify(public, payload, signature) for public, payload, signature, _ in jobs]


class Gate:
    """What the two halves of the door share."""

    __slots__ = ("access", "environment", "limits", "reads", "replica", "settings")

    def __init__(
        self, replica: Any, environment: Environment, settings: Any, limits: Any, access: Access, reads: Any
    ) -> None:
        self.replica = replica
        self.environment = environment
        self.settings = settings
        self.limits = limits
        self.access = access
        self.reads = reads
