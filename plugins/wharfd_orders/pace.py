"""How fast batches go, from what this process saw of their counts."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass

_WINDOW_SECONDS = 30.0
_MOST_BATCHES = 1000


@dataclass(frozen=True)
class Pace:
    """Orders per second, and the seconds until the rest is done at that pace; None when nothing moves."""

    per_second: float
    eta_seconds: float | None


class Rates:
    """Remembers the counts of the last half minute of each batch that somebody looks at."""

    def __init__(self) -> None:
        self._seen: OrderedDict[int, deque[tuple[float, int]]] = OrderedDict()

    def note(self, batch: int, now: float, processed: int, left: int, average: float | None) -> Pace:
        """Take in a count and return the pace; `average` is used until there is something to compare with."""
        seen = self._seen.setdefault(batch, deque())
        self._seen.move_to_end(batch)
        if len(self._seen) > _MOST_BATCHES:
            self._seen.popitem(last=False)
        if not seen or now - seen[-1][0] >= 0.2:
            seen.append((now, processed))
        while len(seen) > 2 and now - seen[1][0] > _WINDOW_SECONDS:
            seen.popleft()
        since, before = seen[0]
        if now - since >= 1.0 and processed >= before:
            rate = (processed - before) / (now - since)
        else:
            rate = average or 0.0
        return Pace(rate, left / rate if rate > 0 and left else (0.0 if not left else None))
