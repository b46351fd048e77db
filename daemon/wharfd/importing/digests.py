"""Checksums of sets of rows: the sum of their SHA-256, so that neither order nor pages matter."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Any

import msgspec

_MODULUS = 1 << 256
_encode = msgspec.json.Encoder(order="deterministic").encode


class Digest:
    """The checksum of the rows added so far; `text` is how it is kept and shown."""

    def __init__(self, text: str = "") -> None:
        self._sum = int(text or "0", 16)

    def add(self, rows: Iterable[Any]) -> None:
        """Add rows: anything that has a JSON form."""
        for row in rows:
            self._sum = (self._sum + int.from_bytes(sha256(_encode(row)).digest())) % _MODULUS

    @property
    def text(self) -> str:
        """64 hexadecimal digits."""
        return f"{self._sum:064x}"
