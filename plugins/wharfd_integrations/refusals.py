"""How many credentials were refused lately, for the alert; in memory, for this daemon."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import trio

_SLOT_SECONDS = 10.0
WINDOW_SECONDS = 300.0


class RecentRefusals:
    """Counts in slots of ten seconds, so that a flood costs no memory."""

    def __init__(self, now: Callable[[], float] = trio.current_time) -> None:
        self._now = now
        self._slots: deque[tuple[float, int]] = deque(maxlen=int(WINDOW_SECONDS / _SLOT_SECONDS) + 1)

    def count(self) -> None:
        """Count one refusal."""
        slot = self._now() // _SLOT_SECONDS * _SLOT_SECONDS
        if self._slots and self._slots[-1][0] == slot:
            self._slots[-1] = (slot, self._slots[-1][1] + 1)
        else:
            self._slots.append((slot, 1))

    def recent(self) -> int:
        """How many there were in the last five minutes."""
        since = self._now() - WINDOW_SECONDS
        return sum(count for slot, count in self._slots if slot > since)
