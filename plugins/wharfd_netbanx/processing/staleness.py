"""Throwing away kept answers when events changed what they show, but not a thousand times a second.

The first change is told at once; what follows within the pause is told together at its end. So an answer is
at most `pause` older than it says, and caches stay useful under load.
"""

from __future__ import annotations

from collections.abc import Iterable

import trio

from wharfd import Cache

PAUSE_SECONDS = 1.0


class Staleness:
    """Collects tags and invalidates them."""

    def __init__(self) -> None:
        self._tags: set[str] = set()
        self._something = trio.Event()

    def add(self, tags: Iterable[str]) -> None:
        """Note that answers with these tags are out of date."""
        self._tags.update(tags)
        self._something.set()

    async def run(self, cache: Cache, *, pause: float = PAUSE_SECONDS) -> None:
        """Invalidate what is noted, for ever."""
        while True:
            await self._something.wait()
            self._something = trio.Event()
            tags, self._tags = self._tags, set()
            await cache.invalidate(*sorted(tags))
            await trio.sleep(pause)
