"""Answering: points, newest first, from the database and the archive; aggregates by the cheapest tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from heapq import nlargest
from typing import Any

from wharfd import Database, FieldError, Invalid, PluginContext, Record, Transaction
from wharfd.contracts.archive import ARCHIVE

from . import store
from .checking import utc
from .config import Settings
from .planning import Interval, Segment, floor, plan
from .sketch import Summary

MOST_SERIES = 500  # answered at once; naming the metric or a label narrows it down
MOST_RAW = 500_000  # points in the ragged ends of a range
TABLE = "metrics.points"

_QUANTILES = (("p50", 0.50), ("p95", 0.95), ("p99", 0.99))


def checked(series: Sequence[Record]) -> Sequence[Record]:
    """Return the series, or refuse when there are too many to be answered at once."""
    if len(series) > MOST_SERIES:
        message = f"more than {MOST_SERIES} series match; name service_name, metric_type or a label"
        raise Invalid(FieldError("metric_type", message, "query"))
    return series


async def points(
    ctx: PluginContext[Settings],
    series: Sequence[Record],
    start: datetime,
    end: datetime,
    limit: int,
    offset: int,
) -> list[dict[str, Any]]:
    """Return points of these series, the newest first, from wherever they are."""
    by_id = {row["id"]: row for row in series}
    archive = ctx.services.find(ARCHIVE)
    gone = await archive.gone_before(TABLE) if archive is not None else None
    hot_from = max(start, gone) if gone is not None else start
    found: list[dict[str, Any]] = []
    if hot_from < end:
        rows = await ctx.db.read.fetch(
            store.POINTS, list(by_id), hot_from, end, limit + offset, limit, offset
        )
        found = [shown(by_id[row["series_id"]], dict(row)) for row in rows]
    if archive is None or gone is None or start >= gone or len(found) == limit:
        return found
    before = 0 if found or not offset else await _count(ctx.db.read, list(by_id), hot_from, end, offset)
    skip = 0 if found else offset - before
    cold = nlargest(
        skip + limit - len(found),
        [
            (utc(_time(row["at"])), int(row["id"]), row)
            async for row in archive.rows(TABLE, start, min(gone, end))
            if row["series_id"] in by_id
        ],
        key=lambda item: item[:2],
    )
    return found + [shown(by_id[row["series_id"]], {**row, "at": at}) for at, _, row in cold[skip:]]


async def _count(db: Database, series: list[int], start: datetime, end: datetime, most: int) -> int:
    if start >= end:
        return 0
    return len(await db.fetch(store.POINTS, series, start, end, most, most, 0))


def _time(value: datetime | str) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromisoformat(value)


def shown(series: Record, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a point as answers show it."""
    return {
        "id": row["id"],
        "service_name": series["service_name"],
        "metric_type": series["metric_type"],
        "metric_value": row["value"],
        "unit": series["unit"],
        "metric_metadata": row["metadata"],
        "labels": series["labels"],
        "timestamp": row["at"],
    }


async def aggregate(
    ctx: PluginContext[Settings], series: Sequence[int], start: datetime, end: datetime, interval: Interval
) -> list[dict[str, Any]]:
    """Return what the series did in each hour or day; one without points is left out."""
    raw_from = ctx.now() - ctx.settings.keep_points + timedelta(days=1)
    buckets: dict[datetime, Summary] = {}
    # One moment for all segments: a delta that is merged meanwhile is seen once, here or there.
    async with ctx.db.read.transaction(isolation="repeatable_read", readonly=True) as tx:
        for segment in plan(start, end, interval, raw_from):
            for at, summary in await _summaries(tx, list(series), segment):
                bucket = floor(at, interval)
                if bucket in buckets:
                    buckets[bucket].merge(summary)
                else:
                    buckets[bucket] = summary
    return [_answer(at, buckets[at]) for at in sorted(buckets)]


async def _summaries(tx: Transaction, series: list[int], segment: Segment) -> list[tuple[datetime, Summary]]:
    if segment.source == "raw":
        rows = await tx.fetch(store.RAW, series, segment.start, segment.end, MOST_RAW + 1)
        if len(rows) > MOST_RAW:
            message = f"there are more than {MOST_RAW} points in a part of an hour; ask for whole hours"
            raise Invalid(FieldError("start_time", message, "query"))
        by_hour: dict[datetime, Summary] = {}
        for row in rows:
            by_hour.setdefault(floor(row["at"], "hour"), Summary()).add(row["value"])
        return list(by_hour.items())
    table = store.HOURS if segment.source == "hour" else store.DAYS
    rows = await tx.fetch(table, series, segment.start, segment.end)
    rows += await tx.fetch(store.PENDING, series, segment.start, segment.end)
    return [(row["bucket"], store.summary_of(row)) for row in rows]


def _answer(at: datetime, summary: Summary) -> dict[str, Any]:
    return {
        "timestamp": at,
        "avg_value": min(summary.max, max(summary.min, summary.sum / summary.count)),
        "min_value": summary.min,
        "max_value": summary.max,
        "count": summary.count,
        "sum": summary.sum,
        **{name: summary.quantile(share) for name, share in _QUANTILES},
    }
