"""Sortable, prefixed ids such as `evt_01jd…`: 48 bits of milliseconds, then 80 random bits, in base 32."""

from __future__ import annotations

import os
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [a + b for a in _ALPHABET for b in _ALPHABET]


def new_id(prefix: str, *, at_ms: int | None = None) -> str:
    """Make an id that sorts by the time it was made, `at_ms` if given, and that nobody can guess."""
    milliseconds = time.time_ns() // 1_000_000 if at_ms is None else at_ms
    number = (milliseconds & 0xFFFFFFFFFFFF) << 80 | int.from_bytes(os.urandom(10))
    # 130 bits as 13 pairs of 5-bit digits; the top two bits are always zero.
    return f"{prefix}_" + "".join(_PAIRS[number >> shift & 1023] for shift in range(120, -1, -10))
