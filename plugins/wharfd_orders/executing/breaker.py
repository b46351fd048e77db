"""A circuit breaker: after some failures in a row nothing is sent for a while, then one call tries."""

from __future__ import annotations

from collections.abc import Callable


class Breaker:
    """Counts failures in a row. Times are those of the clock it is given."""

    def __init__(self, failures: int, pause_seconds: float, clock: Callable[[], float]) -> None:
        self._limit = failures
        self._pause = pause_seconds
        self._clock = clock
        self._failures = 0
        self._until: float | None = None

    @property
    def open(self) -> bool:
        """Whether calls are held back."""
        return self._until is not None

    def wait_seconds(self) -> float:
        """Return how long to wait; 0 lets this call through. When the pause is over one call is the probe."""
        if self._until is None:
            return 0.0
        left = self._until - self._clock()
        if left > 0:
            return left
        self._until = self._clock() + self._pause  # the others wait for what the probe finds
        return 0.0

    def failed(self) -> bool:
        """Note a failure; True when it is the one that opens the breaker."""
        before = self.open
        self._failures += 1
        if self._failures >= self._limit:
            self._until = self._clock() + self._pause
        return self.open and not before

    def succeeded(self) -> bool:
        """Note an answer that shows the other side is there; True when that closes the breaker."""
        before = self.open
        self._failures = 0
        self._until = None
        return before
