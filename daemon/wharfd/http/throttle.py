"""Slows down whoever guesses credentials, in bounded memory."""

from __future__ import annotations

import hashlib
import os
import time
from collections import OrderedDict
from collections.abc import Callable

_REMEMBER_SECONDS = 900.0


class FailureThrottle:
    """Counts failed attempts per caller; above `allowed` in `seconds` the caller waits.

    A credential that was good within the last quarter of an hour passes meanwhile, so that one guesser
    behind a shared address does not lock out the others there. Only the `most` newest callers and credentials
    are remembered, credentials as keyed hashes.
    """

    def __init__(
        self,
        *,
        allowed: int = 10,
        seconds: float = 60.0,
        most: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._allowed = allowed
        self._seconds_each = seconds / allowed
        self._most = most
        self._clock = clock
        self._busy_until: OrderedDict[str, float] = OrderedDict()
        self._good: OrderedDict[bytes, float] = OrderedDict()
        self._key = os.urandom(32)

    def wait_seconds(self, caller: str, credential: str) -> float:
        """How long this caller has to wait before the credential is looked at; 0 for not at all."""
        until = self._busy_until.get(caller)
        if until is None:
            return 0.0
        over = until - self._clock() - self._seconds_each * (self._allowed - 1)
        if over <= 0 or self._good.get(self._mark(credential), 0.0) > self._clock():
            return 0.0
        return over

    def failed(self, caller: str) -> None:
        """Count a failed attempt."""
        now = self._clock()
        until = max(self._busy_until.pop(caller, now), now) + self._seconds_each
        self._busy_until[caller] = min(until, now + self._seconds_each * self._allowed)
        if len(self._busy_until) > self._most:
            self._busy_until.popitem(last=False)

    def passed(self, credential: str) -> None:
        """Remember a credential that was good."""
        mark = self._mark(credential)
        self._good.pop(mark, None)
        self._good[mark] = self._clock() + _REMEMBER_SECONDS
        if len(self._good) > self._most:
            self._good.popitem(last=False)

    def _mark(self, credential: str) -> bytes:
        return hashlib.blake2b(
            credential.encode("utf-8", "surrogatepass"), digest_size=16, key=self._key
        ).digest()
