"""Whether the orders of a batch may be worked now, and if not, why and until when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time, timedelta


@dataclass(frozen=True)
class Window:
    """The hours, UTC, in which orders are worked; None is always. It may reach over midnight."""

    opens: time | None = None
    closes: time | None = None

    def contains(self, moment: datetime) -> bool:
        """Whether orders are worked at that moment."""
        if self.opens is None or self.closes is None or self.opens == self.closes:
            return True
        now = moment.time()
        if self.opens < self.closes:
            return self.opens <= now < self.closes
        return now >= self.opens or now < self.closes

    def next_opening(self, moment: datetime) -> datetime:
        """Return when it opens after that moment."""
        assert self.opens is not None
        opening = moment.replace(
            hour=self.opens.hour, minute=self.opens.minute, second=self.opens.second, microsecond=0
        )
        return opening if opening > moment else opening + timedelta(days=1)


@dataclass(frozen=True)
class Steering:
    """What people decided about a batch."""

    needs_approval: bool = False
    approved: bool = False
    paused: bool = False
    cancelled: bool = False
    start_at: datetime | None = None


@dataclass(frozen=True)
class Gate:
    """Open or not; `phase` says why not."""

    open: bool
    phase: str
    until: datetime | None = None


def gate_of(steering: Steering, window: Window, now: datetime) -> Gate:
    """Decide. A person's word comes before the clock's."""
    if steering.cancelled:
        return Gate(False, "cancelling")
    if steering.needs_approval and not steering.approved:
        return Gate(False, "awaiting_approval")
    if steering.paused:
        return Gate(False, "paused")
    if steering.start_at is not None and now < steering.start_at:
        return Gate(False, "scheduled", steering.start_at)
    if not window.contains(now):
        return Gate(False, "after_cut_off", window.next_opening(now))
    return Gate(True, "running")
