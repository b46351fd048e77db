"""Standing back: a backup or a drill moves so many bytes a second, and leaves the rest to others."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic

_SHORTEST_SECONDS = 0.002


class Pace:
    """Told of the bytes that went by, it waits until they were not too many; `waited` is for how long in all.

    It blocks: call it in the thread that moves the bytes. A rate of 0 is none.
    """

    def __init__(
        self,
        bytes_per_second: float,
        *,
        clock: Callable[[], float] = monotonic,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        self.waited = 0.0
        self._rate, self._clock, self._wait = bytes_per_second, clock, wait or threading.Event().wait
        self._free_at = clock()

    def passed(self, size: int) -> None:
        """Wait until so many more bytes may have gone by; time that went unused is not made up for."""
        if not self._rate:
            return
        now = self._clock()
        self._free_at = max(self._free_at, now) + size / self._rate
        if (ahead := self._free_at - now - size / self._rate) > _SHORTEST_SECONDS:
            self._wait(ahead)
            self.waited += ahead
