"""How ingest is watched: numbers it keeps itself, and an `Observer` the daemon hangs its metrics on.

Nothing here logs. On the hot path an observer costs one method call per request.
"""

from __future__ import annotations

import time
from collections import Counter


class Observer:
    """Hears what ingest does. Until overridden a method does nothing; it must not block or raise."""

    def answered(self, source: str | None, status: int, seconds: float) -> None:
        """Hear of an answer; `seconds` is from the last byte of the request to the answer being sent.

        `source` is None when no route was found.
        """

    def malformed(self, status: int) -> None:
        """Hear of a request refused for its form."""

    def turned_away(self, reason: str) -> None:
        """Hear of a connection closed at once.

        `reason` is `full`, `per_client`, `files`, `proxy_header` or `handshake`.
        """

    def committed(self, rows: int, seconds: float) -> None:
        """Hear of a group commit that succeeded."""

    def outage(self, active: bool) -> None:
        """Hear that the database went away or came back."""

    def spooled(self, source: str, rows: int, size: int) -> None:
        """Hear of deliveries that were fsynced to the spool and acknowledged."""

    def drained(self, source: str, rows: int) -> None:
        """Hear of spooled deliveries that are in the database now."""

    def quarantined(self, source: str, reason: str) -> None:
        """Hear of spooled bytes or rows that had to be set aside."""


class ListenerStatistics:
    """Counts kept by the listener since it started."""

    __slots__ = ("answers", "buffered_bytes", "connections", "connections_total", "malformed", "turned_away")

    def __init__(self) -> None:
        self.connections = 0
        self.connections_total = 0
        self.buffered_bytes = 0
        self.answers: Counter[int] = Counter()
        self.malformed: Counter[int] = Counter()
        self.turned_away: Counter[str] = Counter()


class Sampler:
    """Lets one log line per `seconds` and key through and counts the rest, so that a flood stays one line."""

    def __init__(self, seconds: float = 5.0, keys: int = 256) -> None:
        self._seconds = seconds
        self._keys = keys
        self._seen: dict[str, tuple[float, int]] = {}

    def suppressed(self, key: str) -> int | None:
        """Return how many were held back since the last line for this key, or None to hold this one back."""
        now = time.monotonic()
        due, count = self._seen.get(key, (0.0, 0))
        if now < due:
            self._seen[key] = (due, count + 1)
            return None
        if len(self._seen) >= self._keys:
            self._seen.clear()
        self._seen[key] = (now + self._seconds, 0)
        return count
