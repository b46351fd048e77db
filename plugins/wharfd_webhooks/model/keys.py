"""The keys endpoints are signed with: how they are written, made and checked.

`whsec_<base64>` is a symmetric key of 24 to 64 bytes, `whsk_<base64>` an ed25519 private key whose public
half is written `whpk_<base64>`. Plain text of 24 to 64 bytes is taken as it stands, for callers that made
their own.
"""

from __future__ import annotations

import base64
import binascii
import os
from dataclasses import dataclass, field
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

Kind = Literal["v1", "v1a"]

SHORTEST, LONGEST = 24, 64
_SYMMETRIC, _PRIVATE, _PUBLIC = "whsec_", "whsk_", "whpk_"


@dataclass(frozen=True)
class SigningKey:
    """A key ready to sign with. `text` is how it is written; it is never shown in a repr."""

    kind: Kind
    text: str = field(repr=False)
    raw: bytes = field(repr=False)
    private: Ed25519PrivateKey | None = field(default=None, repr=False, compare=False)

    @property
    def public(self) -> str | None:
        """What a receiver verifies with, where that is not the key itself."""
        if self.private is None:
            return None
        return _PUBLIC + base64.b64encode(self.private.public_key().public_bytes_raw()).decode("ascii")

    @property
    def hint(self) -> str:
        """The end of the key: enough to tell two apart, of no use to anybody else."""
        return f"…{self.text[-4:]}"


def new_key(kind: Kind = "v1") -> SigningKey:
    """Make a key: 32 random bytes, or an ed25519 pair."""
    if kind == "v1a":
        return read_key(_PRIVATE + base64.b64encode(os.urandom(32)).decode("ascii"))
    return read_key(_SYMMETRIC + base64.b64encode(os.urandom(32)).decode("ascii"))


def read_key(text: str) -> SigningKey:
    """Read a key as it is written; raises `ValueError` with a sentence that never holds the key."""
    if text.startswith(_PUBLIC):
        raise ValueError("is a public key; give the private one, which begins with whsk_")
    if text.startswith(_PRIVATE):
        raw = _decoded(text.removeprefix(_PRIVATE), "whsk_")
        if len(raw) not in (32, 64):
            raise ValueError(
                f"holds {len(raw)} bytes; an ed25519 key has a seed of 32, or 64 with its public half"
            )
        private = Ed25519PrivateKey.from_private_bytes(raw[:32])
        if raw[32:] not in (b"", private.public_key().public_bytes_raw()):
            raise ValueError("holds a public half that does not belong to its private half")
        return SigningKey("v1a", text, raw, private)
    if text.startswith(_SYMMETRIC):
        return SigningKey("v1", text, _sized(_decoded(text.removeprefix(_SYMMETRIC), "whsec_")))
    if not text.isprintable() or not text.isascii():
        raise ValueError("must be printable ASCII, or whsec_ and base64")
    return SigningKey("v1", text, _sized(text.encode("ascii")))


def _decoded(text: str, prefix: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"must be base64 after {prefix}") from None


def _sized(raw: bytes) -> bytes:
    if not SHORTEST <= len(raw) <= LONGEST:
        raise ValueError(f"holds {len(raw)} bytes; a key has {SHORTEST} to {LONGEST}")
    return raw
