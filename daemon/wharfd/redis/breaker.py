"""A circuit breaker: after some failures in a row nobody tries for a while, then one does."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio


class Breaker:
    """Opens after `failures` in a row, for a pause that doubles from `first_pause` to `longest_pause`.

    When the pause is over, one caller is let through; its fate decides for all.
    """

    def __init__(
        self,
        *,
        failures: int = 3,
        first_pause: float = 0.5,
        longest_pause: float = 10.0,
        now: Callable[[], float] = trio.current_time,
    ) -> None:
        self._needed = failures
        self._first_pause = first_pause
        self._longest_pause = longest_pause
        self._now = now
        self._failed = 0
        self._pause = 0.0
        self._open_until = 0.0
        self._probing = False
        self.opened = 0

    @property
    def open(self) -> bool:
        """Whether callers are turned away, or only one is let through at a time."""
        return self._failed >= self._needed

    def admits(self) -> bool:
        """Whether a caller may try now. Who is let through must report with `attempt`."""
        return not self.open or (not self._probing and self._now() >= self._open_until)

    @contextmanager
    def attempt(self, *failures: type[Exception]) -> Iterator[None]:
        """Run an attempt; the given exceptions count as failures, others and cancellation as nothing."""
        probe = self.open
        self._probing = self._probing or probe
        try:
            yield
        except failures:
            self._failed += 1
            if probe or self._failed == self._needed:  # those who began before it opened add nothing
                self._pause_again()
            raise
        else:
            self._failed = 0
            self._pause = 0.0
        finally:
            if probe:
                self._probing = False

    def _pause_again(self) -> None:
        self.opened += self._failed == self._needed
        self._pause = min(self._longest_pause, self._pause * 2 or self._first_pause)
        # spread, so that the nodes of an installation do not come back as one
        self._open_until = self._now() + self._pause * random.uniform(0.8, 1.2)  # noqa: S311
