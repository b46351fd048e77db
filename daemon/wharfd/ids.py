"""Sortable, prefixed ids such as `evt_01jd…`: 48 bits of milliseconds, then 80 random bits, in base 32."""

from __future__ import annotations

import os
import time
from datetime import datetime
from hashlib import sha256

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [a + b for a in _ALPHABET for b in _ALPHABET]


def new_id(prefix: str, *, at_ms: int | None = None) -> str:
    """Make an id that sorts by the time it was made, `at_ms` if given, and that nobody can guess."""
    milliseconds = time.time_ns() // 1_000_000 if at_ms is None else at_ms
    return _written(prefix, milliseconds, os.urandom(10))


def stable_id(prefix: str, at: datetime, *facts: str) -> str:
    """Make an id that sorts by `at` and is the same whenever it is made from the same facts.

    For rows of an old system, which must get the same id each time they are imported.
    """
    mark = sha256("\x1f".join((prefix, *facts)).encode("utf-8", "surrogatepass")).digest()[:10]
    return _written(prefix, round(at.timestamp() * 1000), mark)


def _written(prefix: str, milliseconds: int, mark: bytes) -> str:
    number = (milliseconds & 0xFFFFFFFFFFFF) << 80 | int.from_bytes(mark)
    # 130 bits as 13 pairs of 5-bit digits; the top two bits are always zero.
    return f"{prefix}_" + "".join(_PAIRS[number >> shift & 1023] for shift in range(120, -1, -10))
