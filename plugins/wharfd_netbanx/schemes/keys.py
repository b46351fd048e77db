"""The keys of a source: decoded once, each with its window of validity, newest first."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, get_args

KeyEncoding = Literal["base64", "utf8", "hex"]

_EARLIEST = datetime.min.replace(tzinfo=UTC)
_LATEST = datetime.max.replace(tzinfo=UTC)
_HEX_TEXT = re.compile(rb"^(?:[0-9a-f]{2}){16,}$|^(?:[0-9A-F]{2}){16,}$")


def decode_key(text: str, encoding: KeyEncoding) -> bytes:
    """Turn a key as typed into the bytes that sign; raises ValueError saying what to write instead."""
    text = text.strip()
    if not text:
        raise ValueError("the key is empty")
    if encoding == "utf8":
        return text.encode()
    if encoding == "hex":
        try:
            return binascii.unhexlify(text)
        except (binascii.Error, ValueError):
            raise ValueError('the key is not hexadecimal; set key_encoding = "base64" or "utf8"') from None
    if encoding == "base64":
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise ValueError(
                'the key is not base64; copy it whole, or set key_encoding = "utf8" or "hex"'
            ) from None
    known = ", ".join(get_args(KeyEncoding))
    raise ValueError(f"key_encoding {encoding!r} is none of {known}")


def fingerprint(secret: bytes) -> str:
    """Return a short name for a key that stays the same everywhere and does not give it away."""
    return "key-" + hmac.digest(b"wharfd key fingerprint", secret, "sha256").hex()[:8]


@dataclass(frozen=True)
class Key:
    """One key, ready for use. It is active from `valid_from` until just before `valid_until`."""

    id: str
    secret: bytes = field(repr=False)
    valid_from: datetime | None = None
    valid_until: datetime | None = None

    def __post_init__(self) -> None:
        if not self.secret:
            raise ValueError("the key is empty")
        for moment in (self.valid_from, self.valid_until):
            if moment is not None and moment.tzinfo is None:
                raise ValueError(f"key {self.id}: {moment} has no time zone")
        if self.valid_from and self.valid_until and self.valid_from >= self.valid_until:
            raise ValueError(f"key {self.id}: it would end before it begins")

    @classmethod
    def typed(
        cls,
        text: str,
        encoding: KeyEncoding = "base64",
        *,
        id: str | None = None,
        valid_from: datetime | None = None,
        valid_until: datetime | None = None,
    ) -> Key:
        """Make a key from what an operator typed; raises ValueError when it cannot be one."""
        secret = decode_key(text, encoding)
        return cls(id or fingerprint(secret), secret, valid_from, valid_until)


class KeyRing:
    """The keys of one source. Fails to be made when it is empty or a name stands twice."""

    __slots__ = ("_always", "_windows", "keys")

    def __init__(self, keys: Sequence[Key]) -> None:
        if not keys:
            raise ValueError("no key is configured; without one nothing can be verified")
        names = [key.id for key in keys]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ValueError(f"two keys are called {doubled[0]!r}")
        # Newest first; of keys without a beginning, the one written first is the newest.
        self.keys = tuple(sorted(keys, key=lambda key: key.valid_from or _EARLIEST, reverse=True))
        self._windows = tuple(
            (key.valid_from or _EARLIEST, key.valid_until or _LATEST, key) for key in self.keys
        )
        bounded = any(key.valid_from or key.valid_until for key in self.keys)
        self._always = None if bounded else self.keys

    def active(self, now: datetime) -> tuple[Key, ...]:
        """Return the keys that count at `now`, the current one first."""
        if self._always is not None:
            return self._always
        return tuple(key for begin, end, key in self._windows if begin <= now < end)


def key_remarks(text: str, encoding: KeyEncoding) -> list[str]:
    """Return what an operator should know about a key as typed; empty when it is unremarkable."""
    secret = decode_key(text, encoding)
    remarks = []
    if encoding == "base64" and _HEX_TEXT.match(secret):
        remarks.append(
            f"the key decodes to {len(secret)} hexadecimal characters; these characters themselves are the "
            f"key, not the {len(secret) // 2} bytes they spell: do not decode them again"
        )
    if encoding == "base64" and _HEX_TEXT.match(text.strip().encode()):
        remarks.append(
            "the key looks like hexadecimal text and happens to be valid base64 too; if deliveries are "
            'refused, it may already be decoded: set key_encoding = "utf8" (or "hex")'
        )
    if len(secret) < 16:
        remarks.append(f"the key has only {len(secret)} bytes; a provider's key has 16 or more")
    return remarks


def digest_size(algorithm: str) -> int:
    """Return how many bytes a digest of `algorithm` has; raises ValueError for one that is not offered."""
    if algorithm not in ("sha256", "sha512", "sha384", "sha1"):
        raise ValueError(f"digest {algorithm!r} is none of sha256, sha384, sha512, sha1")
    return hashlib.new(algorithm, usedforsecurity=False).digest_size
