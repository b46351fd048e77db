"""Turns names, keys and tags into fixed-length digests that cannot be confused with each other."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import msgspec

_encoder = msgspec.msgpack.Encoder(order="deterministic")
_DIGEST = 20


class KeySpace:
    """The keys of one namespace.

    A digest covers namespace, kind, name and key as msgpack, where every part carries its type and length:
    ("a", "bc") and ("ab", "c"), 1 and "1", differ. What a caller puts into a key never reaches Redis as text.
    """

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self._prefix = namespace.encode()
        self.channel = f"{namespace}:invalidate"
        self._tag = lru_cache(4096)(self._tag_key)

    def entry(self, name: str, key: Any) -> bytes:
        """Return the digest of one cached value; raises TypeError for a key that msgpack cannot hold."""
        return self._digest("entry", name, key)

    def entry_key(self, digest: bytes) -> bytes:
        """Return where Redis keeps a value."""
        return self._prefix + b":c:" + digest.hex().encode()

    def tag_keys(self, tags: Iterable[str]) -> list[bytes]:
        """Return where Redis keeps the generation of each tag."""
        return [self._tag(tag) for tag in tags]

    def _tag_key(self, tag: str) -> bytes:
        return self._prefix + b":t:" + self._digest("tag", tag, None).hex().encode()

    def _digest(self, kind: str, name: str, key: Any) -> bytes:
        return blake2b(_encoder.encode((self.namespace, kind, name, key)), digest_size=_DIGEST).digest()
