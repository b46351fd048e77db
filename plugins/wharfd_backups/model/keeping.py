"""Which backups are kept, and from where on the write-ahead log is needed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from .catalogue import Entry
from .wal import Segment, lsn_of, segment_at, segment_named

_YOUNG = timedelta(hours=24)


@dataclass(frozen=True)
class Keep:
    """How many backups are kept: the newest of each of so many days, weeks and months (UTC)."""

    daily: int = 7
    weekly: int = 0
    monthly: int = 0

    def __post_init__(self) -> None:
        if self.daily < 1 or self.weekly < 0 or self.monthly < 0:
            raise ValueError("daily: at least one day is kept, and nothing can be below zero")


def _week(at: datetime) -> str:
    year, week, _ = at.isocalendar()
    return f"{year}-{week:02}"


def kept(entries: Iterable[Entry], policy: Keep, now: datetime) -> set[str]:
    """Return the ids of the backups to keep.

    The newest of each period that has any, counted back from the newest backup and not from today: when no
    backup was made for a while, none of the old ones goes. One of the last 24 hours always stays.
    """
    newest_first = sorted(entries, key=lambda entry: entry.finished_at, reverse=True)
    keep = {entry.id for entry in newest_first if now - entry.finished_at < _YOUNG}
    periods = (
        (policy.daily, lambda at: at.date().isoformat()),
        (policy.weekly, _week),
        (policy.monthly, lambda at: f"{at:%Y-%m}"),
    )
    for count, period in periods:
        seen: set[str] = set()
        for entry in newest_first:
            name = period(entry.finished_at)
            if name not in seen and len(seen) < count:
                seen.add(name)
                keep.add(entry.id)
    return keep


def first_needed(entries: Sequence[Entry], system: str) -> Segment | None:
    """Return the oldest log file that a backup of that cluster needs; None without any backup."""
    starts = [
        segment_at(lsn_of(entry.start_lsn), entry.timeline, entry.segment_bytes)
        for entry in entries
        if entry.system == system and entry.start_lsn and entry.timeline
    ]
    return min(starts, key=lambda segment: segment.start, default=None)


def unneeded(names: Iterable[str], first: Segment | None) -> list[str]:
    """Return the log files that lie before everything a backup needs; none without a backup."""
    if first is None:
        return []
    return [name for name in names if segment_named(name, first.size).end <= first.start]
