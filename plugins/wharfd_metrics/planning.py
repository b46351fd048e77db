"""From which table an aggregate is answered, piece by piece, so that cost grows with the answer. Pure.

Whole days come from the days, whole hours from the hours, and only the ragged ends from the points.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

Interval = Literal["hour", "day"]
Source = Literal["raw", "hour", "day"]

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
MOST_BUCKETS = 9000  # a year of hours


@dataclass(frozen=True)
class Segment:
    """Answer `start` ≤ time < `end` from `source`."""

    source: Source
    start: datetime
    end: datetime


def floor(at: datetime, interval: Interval) -> datetime:
    """Return the beginning of the hour or (UTC) day."""
    at = at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return at if interval == "hour" else at.replace(hour=0)


def ceiling(at: datetime, interval: Interval) -> datetime:
    """Return the next beginning of an hour or day, `at` itself when it is one."""
    low = floor(at, interval)
    return low if low == at else low + (HOUR if interval == "hour" else DAY)


def plan(start: datetime, end: datetime, interval: Interval, raw_from: datetime) -> list[Segment]:
    """Return the segments that answer `start` ≤ time < `end`, in order, without gap or overlap.

    Points before `raw_from` are not in the database any more: an end that is ragged there is answered with
    the whole hour.
    """
    if start >= end:
        return []
    if interval == "hour":
        return _joined(_hours(start, end, raw_from))
    first, last = ceiling(start, "day"), floor(end, "day")
    if first >= last:
        return _joined(_hours(start, end, raw_from))
    segments = _hours(start, first, raw_from)
    segments.append(Segment("day", first, last))
    return _joined(segments + _hours(last, end, raw_from))


def _hours(start: datetime, end: datetime, raw_from: datetime) -> list[Segment]:
    if start < raw_from:
        start = floor(start, "hour")
    if end < raw_from:
        end = ceiling(end, "hour")
    first, last = ceiling(start, "hour"), floor(end, "hour")
    if first >= last:
        pieces = [Segment("raw", start, end)]
    else:
        pieces = [Segment("raw", start, first), Segment("hour", first, last), Segment("raw", last, end)]
    return [piece for piece in pieces if piece.start < piece.end]


def _joined(segments: list[Segment]) -> list[Segment]:
    joined: list[Segment] = []
    for segment in segments:
        if joined and joined[-1].source == segment.source and joined[-1].end == segment.start:
            joined[-1] = Segment(segment.source, joined[-1].start, segment.end)
        else:
            joined.append(segment)
    return joined


def buckets_in(start: datetime, end: datetime, interval: Interval) -> int:
    """Return how many hours or days the range touches."""
    step = HOUR if interval == "hour" else DAY
    return max(0, -((floor(start, interval) - ceiling(end, interval)) // step))
