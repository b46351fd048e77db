"""Waking the workers when events were stored, but not for every commit; and making them give way.

Under load hundreds of commits a second would mean hundreds of claims and batches of a handful of events. The
first event of a quiet moment wakes a worker at once; while more keeps coming they are woken at a measured
pace, so that a batch is worth its transaction.

Accepting comes first: a provider waits for its answer, while a stored event can wait. When the event loop
runs late, workers rest for some times as long as they worked; what piles up is worked when the rush is over.
"""

from __future__ import annotations

import trio

from wharfd import PluginContext

from ..config import Settings

QUEUE = "events"
# Together with the batch itself this bounds how late an event is worked while the workers keep up.
_PACE_SECONDS = 0.02
_CALM_PACE_SECONDS = 0.004  # while the event loop is on time: small batches then cost nobody anything
_CALM_SECONDS = 0.003
_CALM_RATE = 300.0  # events a second; beyond it, larger batches save more time than sooner ones
_BUSY_PACE_SECONDS = 0.05
_BUSY_ROWS = 20
_LATE_SECONDS = 0.008
_REST_SHARE = 2.0
_LONGEST_REST_SECONDS = 0.3


class News:
    """Counts what was stored and tells the workers."""

    def __init__(self) -> None:
        self._rows = 0
        self._something = trio.Event()
        self.late_seconds = 0.0
        self._rate = 0.0

    def add(self, rows: int) -> None:
        """Note that so many events are new in the table."""
        self._rows += rows
        self._something.set()

    async def run(self, ctx: PluginContext[Settings]) -> None:
        """Wake workers, for ever."""
        woken = trio.current_time()
        while True:
            await self._something.wait()
            self._something = trio.Event()
            rows, self._rows = self._rows, 0
            ctx.work.wake(None, QUEUE, rows=rows)
            now = trio.current_time()
            self._rate = 0.9 * self._rate + 0.1 * rows / max(now - woken, 0.001)
            woken = now
            due = now + self._pace(rows)
            await trio.sleep_until(due)
            self.late_seconds = 0.7 * self.late_seconds + 0.3 * (trio.current_time() - due)

    def _pace(self, rows: int) -> float:
        if rows >= _BUSY_ROWS:
            return _BUSY_PACE_SECONDS
        calm = self.late_seconds < _CALM_SECONDS and self._rate < _CALM_RATE
        return _CALM_PACE_SECONDS if calm else _PACE_SECONDS

    async def give_way(self, worked_seconds: float) -> None:
        """Rest after work while accepting needs the machine; returns at once when it does not."""
        if self.late_seconds > _LATE_SECONDS and self._rows:
            await trio.sleep(min(_LONGEST_REST_SECONDS, _REST_SHARE * worked_seconds))
