"""The watchdog: systemd hears that the daemon lives only while its event loop and its work really move.

It also measures the lag of the loop and starts the watch that names a plugin which blocks it. It runs with
and without systemd.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio

from .log import every, get_logger
from .stalls import StallWatch
from .systemd import Notifier

Progress = Callable[[], str | None]

_TICK_SECONDS = 0.25
_PINGS_PER_INTERVAL = 3  # two may be late before systemd loses patience


class Heartbeat:
    """A sign of life of one activity: late when `beat` was not called for `within_seconds`."""

    def __init__(self, within_seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._within = within_seconds
        self._clock = clock
        self._last = clock()

    def beat(self) -> None:
        """Say that the activity moves."""
        self._last = self._clock()

    def __call__(self) -> str | None:
        """Return why this is not well, or None."""
        age = self._clock() - self._last
        return f"no sign of life for {age:.1f} s, {self._within:g} s allowed" if age > self._within else None


class Watchdog:
    """Pings systemd while everything that was `watch`ed is well, and measures the loop.

    When something is not, it logs `watchdog_withheld` with the reasons and pings no more, so that systemd
    restarts the daemon after WatchdogSec=.
    """

    def __init__(self, notifier: Notifier, interval_seconds: float | None, stalls: StallWatch) -> None:
        self._notifier = notifier
        self._ping_seconds = interval_seconds / _PINGS_PER_INTERVAL if interval_seconds else None
        self._tick_seconds = min(_TICK_SECONDS, (self._ping_seconds or 1.0) / 2)
        self._stalls = stalls
        self._watched: dict[str, Progress] = {}
        self._log = get_logger()
        self.lag_seconds = 0.0
        self.largest_lag_seconds = 0.0

    @contextmanager
    def watch(self, name: str, progress: Progress) -> Iterator[None]:
        """Withhold the ping while `progress()` gives a reason; until the block ends.

        Watch what must move by itself (a poller, a flush), not what waits for the database: a restart does
        not bring that back.
        """
        if name in self._watched:
            raise ValueError(f"{name!r} is watched already")
        self._watched[name] = progress
        try:
            yield
        finally:
            del self._watched[name]

    def stuck(self) -> dict[str, str]:
        """Return what does not move, with the reason."""
        return {name: reason for name, progress in self._watched.items() if (reason := progress())}

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Tick, measure and ping until cancelled; the first ping is sent before it reports started."""
        with self._stalls:
            next_ping = trio.current_time()
            while True:
                if self._ping_seconds is not None and trio.current_time() >= next_ping:
                    self._ping()
                    next_ping = trio.current_time() + self._ping_seconds
                task_status.started()
                task_status = trio.TASK_STATUS_IGNORED
                await self._tick()

    async def _tick(self) -> None:
        asked = trio.current_time() + self._tick_seconds
        await trio.sleep_until(asked)
        self._stalls.tick()
        self.lag_seconds = max(0.0, trio.current_time() - asked)
        self.largest_lag_seconds = max(self.largest_lag_seconds, self.lag_seconds)

    def _ping(self) -> None:
        stuck = self.stuck()
        if stuck:
            self._log.error("watchdog_withheld", stuck=stuck, **every(10))
        else:
            self._notifier.watchdog()
