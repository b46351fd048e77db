"""Taking points in: check each, find its series, write all good ones with COPY in one transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from wharfd import PluginContext

from . import store
from .checking import AHEAD, LARGEST, Point, problem_with, problem_with_value, utc
from .config import Settings
from .planning import floor
from .series import Book, Name, Place, key_of, name_of, unit_problem
from .sketch import Summary
from .store import Row

MOST_TAGS = 40  # more metrics in one batch throw away all answers of their owner


class Taken(NamedTuple):
    """The points of a batch that were written: the `n`-th good one is `rows[n]`."""

    positions: list[int]
    rows: list[Row]  # id, series, time, value, metadata

    def kept(self) -> dict[int, tuple[int, datetime]]:
        """Return id and time of what was written, by position."""
        return {position: row[:3:2] for position, row in zip(self.positions, self.rows, strict=True)}


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
) -> tuple[Taken, dict[int, str]]:
    """Keep every good point; return what was kept and what is wrong with the others, by position."""
    now = ctx.now()
    book: Book = ctx.state["book"]
    series, problems = await _placed(ctx, book, owner, points, now)
    ctx.metrics["points_total"].labels("refused").inc(len(problems))
    if not series:
        return Taken([], []), problems
    positions = sorted(series)
    first = await book.take_ids(ctx.db, len(positions))
    rows: list[Row] = []
    for number, position in enumerate(positions, first):
        point = points[position]
        at = point.timestamp
        if at is None:
            at = now
        elif at.tzinfo is not UTC:
            at = utc(at)
        rows.append((number, series[position].id, at, point.metric_value, point.metric_metadata))
    metrics = {(place.service, place.metric) for place in set(series.values())}
    tags = written_tags(owner, metrics)
    async with ctx.db.transaction() as tx:
        await store.add_points(tx, rows, deltas_of(rows))
        tx.after_commit(lambda: ctx.cache.invalidate_soon(*tags))
    ctx.metrics["points_total"].labels("kept").inc(len(rows))
    return Taken(positions, rows), problems


async def _placed(
    ctx: PluginContext[Settings], book: Book, owner: str | None, points: Mapping[int, Point], now: datetime
) -> tuple[dict[int, Place], dict[int, str]]:
    """Return the series of each good point, and what is wrong with the others."""
    recall = book.recall(owner)
    late = ctx.settings.late
    earliest, latest = now - late, now + AHEAD
    series: dict[int, Place] = {}
    problems: dict[int, str] = {}
    new: list[int] = []
    for position, point in points.items():
        # What was taken before under this name is known to be well named: only the rest is looked at.
        place = recall(key_of(point))
        if place is None:
            problem = problem_with(point, now, late)
            if problem is None:
                new.append(position)
            else:
                problems[position] = problem
            continue
        # What these comparisons let through is good; the rest is looked at closely, for the words.
        value, at = point.metric_value, point.timestamp
        if not (
            place.least <= value <= LARGEST
            and point.metric_metadata is None
            and (at is None or (at.tzinfo is UTC and earliest <= at <= latest))
        ):
            problem = problem_with_value(point, now, late)
            if problem is not None:
                problems[position] = problem
                continue
        series[position] = place
    if new:
        found, refused = await _resolve(ctx, book, owner, points, new)
        series |= found
        problems |= refused
    return series, problems


async def _resolve(
    ctx: PluginContext[Settings],
    book: Book,
    owner: str | None,
    points: Mapping[int, Point],
    positions: Sequence[int],
) -> tuple[dict[int, Place], dict[int, str]]:
    """Return the series of points whose names are not known here, and what is wrong with others."""
    names = {position: name_of(points[position]) for position in positions}
    units: dict[Name, str] = {}
    for position, name in names.items():
        units.setdefault(name, points[position].unit)
    known, refused = await book.resolve(ctx.db, owner, units)
    series: dict[int, Place] = {}
    problems: dict[int, str] = {}
    for position, name in names.items():
        point = points[position]
        if name in refused:
            problems[position] = refused[name]
        elif point.unit != known[name].unit:
            problems[position] = unit_problem(point.metric_type, point.unit, known[name].unit)
        else:
            series[position] = book.remember(owner, point, known[name].id)
    return series, problems


def deltas_of(rows: Sequence[Row]) -> list[tuple[Any, ...]]:
    """Return what the rows add to each hour they touch."""
    hours: dict[datetime, datetime] = {}
    values: dict[tuple[int, datetime], list[float]] = defaultdict(list)
    for _, series, at, value, _ in rows:
        hour = hours.get(at)
        if hour is None:
            hour = hours[at] = floor(at, "hour")
        values[series, hour].append(value)
    return [
        (series, hour, s.count, s.sum, s.min, s.max, s.sketch())
        for (series, hour), s in ((key, Summary.of(numbers)) for key, numbers in values.items())
    ]
