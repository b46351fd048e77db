"""Taking points in: check each, find its series, write all good ones with COPY in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from wharfd import PluginContext

from . import store
from .checking import Point, problem_with, utc
from .config import Settings
from .planning import floor
from .series import Known, Name, name_of
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
    problems: dict[int, str] = {}
    names: dict[int, Name] = {}
    units: dict[Name, str] = {}
    for position, point in points.items():
        problem = problem_with(point, now, ctx.settings.late)
        if problem is not None:
            problems[position] = problem
            continue
        name = names[position] = name_of(point)
        units.setdefault(name, point.unit)
    known, refused = await ctx.state["book"].resolve(ctx.db, owner, units)
    good: list[int] = []
    for position, name in names.items():
        problem = refused.get(name) or _unit_problem(points[position], known[name])
        if problem is None:
            good.append(position)
        else:
            problems[position] = problem
    ctx.metrics["points_total"].labels("refused").inc(len(problems))
    if not good:
        return {}, problems
    rows = [
        (known[names[i]].id, utc(at) if (at := points[i].timestamp) else now, points[i].metric_value,
         points[i].metric_metadata)
        for i in good
    ]  # fmt: skip
    tags = written_tags(owner, {(names[i].service, names[i].metric) for i in good})
    async with ctx.db.transaction() as tx:
        ids = await store.add_points(tx, rows, deltas_of(rows))
        tx.after_commit(lambda: ctx.cache.invalidate_soon(*tags))
    ctx.metrics["points_total"].labels("kept").inc(len(good))
    return {i: Kept(number, row[1]) for i, number, row in zip(good, ids, rows, strict=True)}, problems


def _unit_problem(point: Point, series: Known) -> str | None:
    if point.unit == series.unit:
        return None
    return f"unit {point.unit!r} differs from {series.unit!r}, in which {point.metric_type} has been kept"


def deltas_of(rows: Sequence[tuple[int, datetime, float, Any]]) -> list[tuple[Any, ...]]:
    """Return what the rows add to each hour they touch."""
    summaries: dict[tuple[int, datetime], Summary] = {}
    for series, at, value, _ in rows:
        key = (series, floor(at, "hour"))
        summary = summaries.get(key)
        if summary is None:
            summary = summaries[key] = Summary()
        summary.add(value)
    return [
        (series, hour, s.count, s.sum, s.min, s.max, s.sketch()) for (series, hour), s in summaries.items()
    ]
