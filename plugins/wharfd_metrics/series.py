"""Which series a point belongs to: known ones from memory, new ones from the database, within bounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations
from typing import Any, NamedTuple

import msgspec

from wharfd import Database, Record, Statement, Transaction, sql

from .checking import LARGEST, Point, is_counter

_MOST_KNOWN = 200_000

IDS_A_STEP = 100_000  # what the sequence counts by; no batch is larger
IDS = sql("take_ids", "SELECT nextval('metrics.point_ids')")
LOCK = sql("lock_series", "SELECT pg_advisory_xact_lock(hashtextextended('metrics.series ' || $1, 0))")
FIND = sql(
    "find_series",
    """SELECT t.n, s.id, s.unit
    FROM unnest($2::text[], $3::text[], $4::text[]) WITH ORDINALITY AS t (service, metric, labels, n)
    JOIN metrics.series s ON s.service_name = t.service AND s.metric_type = t.metric
      AND s.owner IS NOT DISTINCT FROM $1 AND s.labels = t.labels::jsonb""",
)
COUNT = sql("count_series", "SELECT count(*) FROM metrics.series WHERE owner IS NOT DISTINCT FROM $1::text")
COUNT_OF_METRIC = sql(
    "count_series_of_metric",
    """SELECT count(*) AS series, min(unit) AS unit FROM metrics.series
    WHERE service_name = $2 AND metric_type = $3 AND owner IS NOT DISTINCT FROM $1::text""",
)
ADD = sql(
    "add_series",
    """INSERT INTO metrics.series (owner, service_name, metric_type, labels, unit) VALUES ($1, $2, $3, $4, $5)
    RETURNING id""",
)
_FILTERS = {
    "service": "service_name = $1",
    "metric": "metric_type = $2",
    "owner": "owner = $3",
    "labels": "labels @> $4",
}


def choose_statement(*given: str) -> Statement:
    """Return the statement that chooses by these filters: each has an index that serves it."""
    conditions = [_FILTERS[name] for name in given] or ["true"]
    # The values that are not asked for are named too, so that every statement takes the same ones.
    typed = "$1::text IS NULL OR $2::text IS NULL OR $3::text IS NULL OR $4::jsonb IS NULL OR true"
    return sql(
        "_".join(("choose_series", *given)),
        f"""SELECT id, owner, service_name, metric_type, labels, unit FROM metrics.series
        WHERE {" AND ".join(conditions)} AND ({typed}) ORDER BY id LIMIT $5""",
    )


CHOOSE = {
    given: choose_statement(*given)
    for size in range(len(_FILTERS) + 1)
    for given in combinations(_FILTERS, size)
}


class Name(NamedTuple):
    """What tells series of one owner apart; `labels` is canonical JSON."""

    service: str
    metric: str
    labels: str


class Place(NamedTuple):
    """Where points of one name go, and the least value they may have."""

    id: int
    service: str
    metric: str
    least: float


Named = tuple[str, str, str, tuple[tuple[str, str], ...]]  # service, metric, unit, labels as they were sent


class Known(NamedTuple):
    """A series that exists."""

    id: int
    unit: str


def name_of(point: Point) -> Name:
    """Return the name of a point's series."""
    labels = msgspec.json.encode(point.labels, order="sorted").decode() if point.labels else "{}"
    return Name(point.service_name, point.metric_type, labels)


class Book:
    """The series this daemon has seen. They never change, so nothing has to be told to other daemons."""

    def __init__(self, max_series: int, max_per_metric: int) -> None:
        self._max_series = max_series
        self._max_per_metric = max_per_metric
        self._known: dict[tuple[str | None, Name], Known] = {}
        self._recalled: dict[str | None, dict[Named, Place]] = {}
        self._next_id = self._end_of_ids = 0

    def recall(self, owner: str | None) -> Callable[[Named], Place | None]:
        """Return what finds the place of points that are named, and in the unit, as one taken before."""
        return self._recalled.setdefault(owner, {}).get

    def remember(self, owner: str | None, point: Point, series: int) -> Place:
        """Know the place of points that are named like this one, and return it."""
        if sum(map(len, self._recalled.values())) >= _MOST_KNOWN:
            self._recalled.clear()
        least = 0.0 if is_counter(point.metric_type) else -LARGEST
        place = Place(series, point.service_name, point.metric_type, least)
        self._recalled.setdefault(owner, {})[key_of(point)] = place
        return place

    async def take_ids(self, db: Database, count: int) -> int:
        """Return the first of so many ids that nobody else has; one question for many batches."""
        if self._next_id + count > self._end_of_ids:
            first: int = await db.fetchval(IDS)
            # Another batch may have taken a step meanwhile: what is left of that one is lost, and no matter.
            self._next_id, self._end_of_ids = first, first + IDS_A_STEP
        self._next_id += count
        return self._next_id - count

    async def resolve(
        self, db: Database, owner: str | None, wanted: Mapping[Name, str]
    ) -> tuple[dict[Name, Known], dict[Name, str]]:
        """Return the series of these names (with the unit a new one gets), and what is wrong with others."""
        found = {name: known for name in wanted if (known := self._known.get((owner, name))) is not None}
        missing = [name for name in wanted if name not in found]
        problems: dict[Name, str] = {}
        if missing:
            async with db.transaction() as tx:
                added, problems = await self.add(tx, owner, {name: wanted[name] for name in missing})
            found |= added
            if len(self._known) + len(added) > _MOST_KNOWN:
                self._known.clear()
            self._known |= {(owner, name): known for name, known in added.items()}
        return found, problems

    async def add(
        self, tx: Transaction, owner: str | None, units: Mapping[Name, str]
    ) -> tuple[dict[Name, Known], dict[Name, str]]:
        """Find or make series in the caller's transaction; return them and what is wrong with others."""
        names = list(units)
        if not names:
            return {}, {}
        await tx.execute(LOCK, owner or "")  # so that the bounds hold, whoever else adds
        columns = [list(column) for column in zip(*names, strict=True)]
        rows = await tx.fetch(FIND, owner, *columns)
        found = {names[row["n"] - 1]: Known(row["id"], row["unit"]) for row in rows}
        problems: dict[Name, str] = {}
        total: int | None = None
        per_metric: dict[tuple[str, str], tuple[int, str]] = {}  # how many series, and in which unit
        for name in names:
            if name in found:
                continue
            metric = (name.service, name.metric)
            if total is None:
                total = await tx.fetchval(COUNT, owner)
            if metric not in per_metric:
                there = await tx.fetchrow(COUNT_OF_METRIC, owner, *metric)
                assert there is not None
                per_metric[metric] = (
                    there["series"],
                    units[name] if there["unit"] is None else there["unit"],
                )
            count, unit = per_metric[metric]
            if units[name] != unit:
                problems[name] = unit_problem(name.metric, units[name], unit)
            elif count >= self._max_per_metric:
                problems[name] = (
                    f"{name.metric} of {name.service} has {count} sets of labels, the most there"
                    " may be; leave out labels with many values"
                )
            elif total >= self._max_series:
                problems[name] = (
                    f"there are {total} series, the most an owner may have; this would be one more"
                )
            else:
                labels: Any = msgspec.json.decode(name.labels)
                number = await tx.fetchval(ADD, owner, name.service, name.metric, labels, units[name])
                found[name] = Known(number, units[name])
                per_metric[metric] = (count + 1, unit)
                total += 1
        return found, problems


def unit_problem(metric: str, unit: str, kept: str) -> str:
    """Say that a metric has been kept in another unit."""
    return f"unit {unit!r} differs from {kept!r}, in which {metric} has been kept"


def key_of(point: Point) -> Named:
    """Return what tells points of one owner apart before their labels are in any order."""
    labels = point.labels
    return (
        point.service_name, point.metric_type, point.unit, tuple(labels.items()) if labels else ()
    )  # fmt: skip


async def choose(
    db: Database,
    owner: str | None,
    service: str | None,
    metric: str | None,
    labels: Mapping[str, str] | None,
    most: int,
) -> list[Record]:
    """Return the series that match, at most `most`; an owner of None sees everybody's."""
    values = (service, metric, owner, dict(labels) if labels else None)
    given = tuple(name for name, value in zip(_FILTERS, values, strict=True) if value is not None)
    return await db.fetch(CHOOSE[given], *values, most)
