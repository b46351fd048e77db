"""Marks that prove a value came from us: cursors, sessions, fingerprints. Not for secrets at rest."""

from __future__ import annotations

import hashlib
import hmac
import os

_SIZE = 16


class Signer:
    """Signs with one key, apart for each purpose. Daemons that share a database should share the key."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes | None = None) -> None:
        self._key = hashlib.blake2b(key if key else os.urandom(32), digest_size=32).digest()

    def __repr__(self) -> str:
        return "Signer(…)"

    def sign(self, purpose: str, data: bytes) -> bytes:
        """The 16 byte mark of `data` for this purpose; another purpose gives another mark."""
        person = hashlib.blake2b(purpose.encode(), digest_size=16).digest()
        return hashlib.blake2b(data, digest_size=_SIZE, key=self._key, person=person).digest()

    def holds(self, purpose: str, data: bytes, mark: bytes) -> bool:
        """Whether the mark is ours, compared in constant time."""
        return hmac.compare_digest(self.sign(purpose, data), mark)
