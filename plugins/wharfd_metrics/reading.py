"""Answering: points, newest first, from the database and the archive; aggregates by the cheapest tables."""

from __future__ import annotations

from collections.abc import AsyncIterator, Container, Mapping, Sequence
from datetime import datetime, timedelta
from heapq import nlargest
from typing import Any

from wharfd import FieldError, Invalid, PluginContext, Record, Transaction
from wharfd.contracts.archives import COLD

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
    most = limit + offset
    rows = await ctx.db.read.fetch(store.POINTS, list(by_id), start, end, most, most, 0)
    found: dict[int, tuple[datetime, int, dict[str, Any]]] = {}
    for row in rows:
        found[row["id"]] = (row["at"], row["id"], dict(row))
    archive = ctx.services.find(COLD)
    if archive is not None:
        # A full page needs only what is newer than its end: nothing, unless a month went before an older one.
        since = rows[-1]["at"] if len(rows) == most else start
        cold = archive.rows(TABLE, since, end)
        for at, number, kept in await _newest(cold, by_id, most):
            # A month that went out between the two looks is in both.
            found.setdefault(number, (at, number, kept))
    page = sorted(found.values(), key=_by_age, reverse=True)[offset:most]
    return [shown(by_id[kept["series_id"]], {**kept, "at": at}) for at, _, kept in page]


async def _newest(
    cold: AsyncIterator[dict[str, Any]], series: Container[int], most: int
) -> list[tuple[datetime, int, dict[str, Any]]]:
    """Return the newest points of these series, holding only twice as many at a time."""
    kept: list[tuple[datetime, int, dict[str, Any]]] = []
    async for row in cold:
        if row["series_id"] in series:
            kept.append((utc(datetime.fromisoformat(row["at"])), int(row["id"]), row))
            if len(kept) >= 2 * most:
                kept = nlargest(most, kept, key=_by_age)
    return nlargest(most, kept, key=_by_age)


def _by_age(point: tuple[datetime, int, dict[str, Any]]) -> tuple[datetime, int]:
    return point[:2]


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
