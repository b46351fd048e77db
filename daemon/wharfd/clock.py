"""The wall clock, as something a test can set."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class Clock:
    """Tells the time in UTC."""

    def now(self) -> datetime:
        """Return the current time, aware, in UTC."""
        return datetime.now(UTC)


class FixedClock(Clock):
    """A clock that moves only when told to."""

    def __init__(self, at: datetime) -> None:
        self._at = at

    def now(self) -> datetime:
        """Return the time it was last set to."""
        return self._at

    def advance(self, by: timedelta) -> None:
        """Move forward (or, by a negative amount, back)."""
        self._at += by

    def set(self, at: datetime) -> None:
        """Jump to a time."""
        self._at = at
