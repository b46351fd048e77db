"""Taking points in: check each, find its series, write all good ones with COPY in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from wharfd import PluginContext

from . import store
from .checking import Point, problem_with, problem_with_value, utc
from .config import Settings
from .planning import floor
from .series import Book, Name, name_of
from .sketch import Summary

MOST_TAGS = 40  # more metrics in one batch throw away all answers of their owner


@dataclass(frozen=True)
class Kept:
    """A point that was written."""

    id: int
    at: datetime


def written_tags(owner: str | None, metrics: set[tuple[str, str]]) -> list[str]:
    """Return which cached answers are old once these metrics of an owner got points."""
    readers = ("*",) if owner is None else (owner, "*")
    if len(metrics) > MOST_TAGS:
        return [f"owner {reader}" for reader in readers]
    return [f"metric {reader} {service} {metric}" for service, metric in metrics for reader in readers]


def read_tags(owner: str | None, service: str, metric: str) -> list[str]:
    """Return the tags of an answer; a caller without owner sees everybody's points."""
    reader = "*" if owner is None else owner
    return [f"metric {reader} {service} {metric}", f"owner {reader}"]


async def record(
    ctx: PluginContext[Settings], owner: str | None, points: Mapping[int, Point]
) -> tuple[dict[int, Kept], dict[int, str]]:
    """Keep every good point; return what was kept and what is wrong with the others, by position."""
    now = ctx.now()
    book: Book = ctx.state["book"]
    problems: dict[int, str] = {}
    series: dict[int, int] = {}
    new: list[int] = []
    for position, point in points.items():
        # What was taken before under this name is known to be well named: only the rest is looked at.
        known = book.recall(owner, point)
        if known is None:
            problem = problem_with(point, now, ctx.settings.late)
            if problem is None:
                new.append(position)
        else:
            problem = problem_with_value(point, now, ctx.settings.late)
            series[position] = known
        if problem is not None:
            problems[position] = problem
    if new:
        found, refused = await _resolve(ctx, book, owner, points, new)
        series |= found
        problems |= refused
    good = [position for position in points if position not in problems]
    ctx.metrics["points_total"].labels("refused").inc(len(problems))
    if not good:
        return {}, problems
    rows = [
        (series[i], now if (at := points[i].timestamp) is None else utc(at), points[i].metric_value,
         points[i].metric_metadata)
        for i in good
    ]  # fmt: skip
    tags = written_tags(owner, {(points[i].service_name, points[i].metric_type) for i in good})
    async with ctx.db.transaction() as tx:
        ids = await store.add_points(tx, rows, deltas_of(rows))
        tx.after_commit(lambda: ctx.cache.invalidate_soon(*tags))
    ctx.metrics["points_total"].labels("kept").inc(len(good))
    return {i: Kept(number, row[1]) for i, number, row in zip(good, ids, rows, strict=True)}, problems


async def _resolve(
    ctx: PluginContext[Settings],
    book: Book,
    owner: str | None,
    points: Mapping[int, Point],
    positions: Sequence[int],
) -> tuple[dict[int, int], dict[int, str]]:
    """Return the series of points whose names are not known here, and what is wrong with others."""
    names = {position: name_of(points[position]) for position in positions}
    units: dict[Name, str] = {}
    for position, name in names.items():
        units.setdefault(name, points[position].unit)
    known, refused = await book.resolve(ctx.db, owner, units)
    series: dict[int, int] = {}
    problems: dict[int, str] = {}
    for position, name in names.items():
        point = points[position]
        if name in refused:
            problems[position] = refused[name]
        elif point.unit != known[name].unit:
            kept = known[name].unit
            problems[position] = (
                f"unit {point.unit!r} differs from {kept!r}, in which {point.metric_type} has been kept"
            )
        else:
            series[position] = known[name].id
            book.remember(owner, point, known[name].id)
    return series, problems


def deltas_of(rows: Sequence[tuple[int, datetime, float, Any]]) -> list[tuple[Any, ...]]:
    """Return what the rows add to each hour they touch."""
    hours: dict[datetime, datetime] = {}
    values: dict[tuple[int, datetime], list[float]] = {}
    for series, at, value, _ in rows:
        hour = hours.get(at)
        if hour is None:
            hour = hours[at] = floor(at, "hour")
        values.setdefault((series, hour), []).append(value)
    return [
        (series, hour, s.count, s.sum, s.min, s.max, s.sketch())
        for (series, hour), s in ((key, Summary.of(numbers)) for key, numbers in values.items())
    ]
