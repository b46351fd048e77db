"""Sortable, prefixed ids such as `evt_01jd…`: 48 bits of milliseconds, then 80 random bits, in base 32.

And trace ids, which are random alone. Both take their randomness from the operating system.
"""

from __future__ import annotations

import os
import time
from collections import deque
from datetime import datetime
from hashlib import sha256

_POOL_BYTES = 8192
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [a + b for a in _ALPHABET for b in _ALPHABET]
_TRIPLES = [pair + c for pair in _PAIRS for c in _ALPHABET]


# Asked of the system many at a time, because a call for each id costs more than making the id. Taking from a
# deque is one step, so that no two threads get the same; a forked child must not hand out its parent's.
_random: deque[bytes] = deque()
os.register_at_fork(after_in_child=_random.clear)


def _random_16() -> bytes:
    try:
        return _random.popleft()
    except IndexError:
        more = os.urandom(_POOL_BYTES)
        _random.extend(more[at : at + 16] for at in range(0, _POOL_BYTES, 16))
        return os.urandom(16)


def new_trace_id() -> str:
    """Make a trace id as W3C Trace Context has it: 32 hexadecimal digits."""
    return _random_16().hex()


def new_id(prefix: str, *, at_ms: int | None = None) -> str:
    """Make an id that sorts by the time it was made, `at_ms` if given, and that nobody can guess."""
    milliseconds = time.time_ns() // 1_000_000 if at_ms is None else at_ms
    return _written(prefix, milliseconds, _random_16()[:10])


def stable_id(prefix: str, at: datetime, *facts: str) -> str:
    """Make an id that sorts by `at` and is the same whenever it is made from the same facts.

    For rows of an old system, which must get the same id each time they are imported.
    """
    mark = sha256("\x1f".join((prefix, *facts)).encode("utf-8", "surrogatepass")).digest()[:10]
    return _written(prefix, round(at.timestamp() * 1000), mark)


def _written(prefix: str, milliseconds: int, mark: bytes) -> str:
    number = (milliseconds & 0xFFFFFFFFFFFF) << 80 | int.from_bytes(mark)
    # 130 bits as 26 digits of 5 bits, the top two of which are zero: two digits, then three at a time. Taken
    # from three short numbers, because every shift of a long one makes another long one.
    high, middle, low = number >> 90, number >> 45 & 0x1FFFFFFFFFFF, number & 0x1FFFFFFFFFFF
    triples = _TRIPLES
    return (
        f"{prefix}_{_PAIRS[high >> 30]}{triples[high >> 15 & 32767]}{triples[high & 32767]}"
        f"{triples[middle >> 30]}{triples[middle >> 15 & 32767]}{triples[middle & 32767]}"
        f"{triples[low >> 30]}{triples[low >> 15 & 32767]}{triples[low & 32767]}"
    )
