"""`system_metrics` of two systems: points of the insight platform, and samples of the NetBanx dashboard.

A point has no key of its own here. One that is the same in everything (series, time, value, metadata) is
taken for the same point, so an import that is repeated adds nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from wharfd import Importer, OldRow, PluginContext, Transaction, Unfit, sql

from . import store
from .checking import LARGEST, Point
from .config import Settings
from .recording import deltas_of
from .series import Book, name_of

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/-]{0,99}")
_SAMPLES = {
    "webhooksReceived": "",
    "webhooksProcessed": "",
    "webhooksFailed": "",
    "transactionsProcessed": "",
    "transactionsFailed": "",
    "memoryUsage": "",
    "cpuUsage": "",
    "diskUsage": "",
    "responseTime": "",
}
_DASHBOARD = "netbanx-dashboard"

SERIES = sql(
    "imported_series",
    """SELECT s.id, s.service_name, s.metric_type FROM unnest($1::text[], $2::text[]) AS g (service, metric)
JOIN metrics.series s ON s.service_name = g.service AND s.metric_type = g.metric
  AND s.owner IS NULL AND s.labels = '{}'""",
)
FIND = sql(
    "find_imported_points",
    """SELECT p.series_id, p.at, p.value, p.metadata
FROM unnest($1::int[], $2::timestamptz[]) AS g (series_id, at) JOIN metrics.points p USING (series_id, at)""",
)


class OldPoint(msgspec.Struct, frozen=True):
    """One value of a sample."""

    service: str
    metric: str
    unit: str
    value: float


class OldSample(msgspec.Struct, frozen=True):
    """What one old row measured at one time."""

    at: datetime
    points: tuple[OldPoint, ...]
    metadata: dict[str, Any] | None


def convert(row: OldRow, settings: Settings) -> OldSample:
    """Return a point of the insight platform."""
    value = _value(row, "metric_value")
    if value is None:
        raise Unfit("metric_value is missing")
    point = OldPoint(_named(row, "service_name"), _named(row, "metric_type"), row.text("unit") or "", value)
    return OldSample(row.moment("timestamp"), (point,), row.mapping("metric_metadata") or None)


def convert_sample(row: OldRow, settings: Settings) -> OldSample:
    """Return a sample of the dashboard: a point for every column that has a value."""
    values = {name: _value(row, name) for name in _SAMPLES}
    points = (OldPoint(_DASHBOARD, n, _SAMPLES[n], v) for n, v in values.items() if v is not None)
    return OldSample(row.moment("timestamp"), tuple(points), None)


def _value(row: OldRow, column: str) -> float | None:
    number = row.number(column)
    if number is not None and abs(number) > LARGEST:
        raise Unfit(f"{column} {number} is larger than {LARGEST:g}")
    return None if number is None else float(number)


def _named(row: OldRow, column: str) -> str:
    name = row.word(column)
    if not _NAME.fullmatch(name):
        raise Unfit(f"{column} {name[:60]!r} is no name of letters, digits and _ . : / -")
    return name


Place = tuple[str, str, datetime, float, bytes]


def _place(point: OldPoint, sample: OldSample) -> Place:
    return (point.service, point.metric, sample.at, point.value, _beside(sample.metadata))


def _beside(metadata: Any) -> bytes:
    return msgspec.json.encode(metadata, order="deterministic")


async def _present(tx: Transaction, samples: Iterable[OldSample]) -> set[Place]:
    """Return the points of these samples that stand in the table."""
    wanted = [(point, sample) for sample in samples for point in sample.points]
    names = sorted({(point.service, point.metric) for point, _ in wanted})
    rows = await tx.fetch(SERIES, [name for name, _ in names], [metric for _, metric in names])
    series = {(row["service_name"], row["metric_type"]): row["id"] for row in rows}
    named = {number: name for name, number in series.items()}
    at = {
        (series[point.service, point.metric], sample.at)
        for point, sample in wanted
        if (point.service, point.metric) in series
    }
    found = await tx.fetch(FIND, [number for number, _ in at], [moment for _, moment in at])
    return {
        (
            *named[row["series_id"]],
            row["at"],
            row["value"],
            msgspec.json.encode(row["metadata"], order="deterministic"),
        )
        for row in found
    }


async def write(ctx: PluginContext[Settings], tx: Transaction, records: Sequence[OldSample]) -> int:
    """Add the points that are not there, with what they add to their hours; returns how many rows."""
    there = await _present(tx, records)
    units: dict[Any, str] = {}
    new: dict[Place, tuple[Any, OldSample]] = {}
    added = 0
    for sample in records:
        before = len(new)
        for point in sample.points:
            place = _place(point, sample)
            if place not in there:
                name = name_of(Point(point.service, point.metric, point.value))
                units.setdefault(name, point.unit)
                new.setdefault(place, (name, sample))
        added += len(new) > before
    book = Book(ctx.settings.max_series, ctx.settings.max_series_per_metric)
    known, problems = await book.add(tx, None, units)
    if problems:
        raise Unfit(next(iter(problems.values())))
    if new:
        first = await book.take_ids(ctx.db, len(new))
        rows = [
            (number, known[name].id, place[2], place[3], sample.metadata)
            for number, (place, (name, sample)) in enumerate(new.items(), first)
        ]
        await store.add_points(tx, rows, deltas_of(rows))
    return added


async def read(ctx: PluginContext[Settings], tx: Transaction, records: Sequence[OldSample]) -> list[Any]:
    """Return each sample with those of its points that stand in the table."""
    there = await _present(tx, records)
    stored = []
    for sample in records:
        points = tuple(point for point in sample.points if _place(point, sample) in there)
        gone = sample.points and not points
        stored.append(None if gone else msgspec.structs.replace(sample, points=points))
    return stored


_MONTHS = (("metrics.points", "at"), ("metrics.hours", "at"))
IMPORTERS = (
    Importer(
        name="points",
        system="insight platform",
        table="system_metrics",
        key=("id",),
        needs=("id", "service_name", "metric_type", "metric_value", "timestamp"),
        convert=convert,
        write=write,
        read=read,
        months=_MONTHS,
    ),
    Importer(
        name="dashboard_samples",
        system="netbanx dashboard",
        table="system_metrics",
        key=("id",),
        needs=("id", "timestamp", "webhooksReceived"),
        convert=convert_sample,
        write=write,
        read=read,
        months=_MONTHS,
    ),
)
