"""The SQL of points and roll-ups."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from wharfd import Database, Record, Transaction, sql

from .sketch import Summary

POINT_COLUMNS = ("id", "series_id", "at", "value", "metadata")
DELTA_COLUMNS = ("series_id", "hour", "count", "sum", "min", "max", "sketch")

NAMES = sql(
    "list_names",
    """SELECT service_name, metric_type, min(unit) AS unit, count(*) AS series FROM metrics.series
    WHERE $1::text IS NULL OR owner = $1 GROUP BY 1, 2 ORDER BY 1, 2 LIMIT $2""",
)

# Each series gives its newest rows by itself, so that the cost is what is shown and not what there is.
POINTS = sql(
    "list_points",
    """SELECT p.* FROM unnest($1::int[]) AS s (id) CROSS JOIN LATERAL (
      SELECT id, series_id, at, value, metadata FROM metrics.points
      WHERE series_id = s.id AND at >= $2 AND at < $3 ORDER BY at DESC LIMIT $4) p
    ORDER BY p.at DESC, p.id DESC LIMIT $5 OFFSET $6""",
)
RAW = sql(
    "aggregate_points",
    """SELECT at, value FROM metrics.points
    WHERE series_id = ANY ($1::int[]) AND at >= $2 AND at < $3 LIMIT $4""",
)
HOURS = sql(
    "read_hours",
    """SELECT bucket, count, sum, min, max, sketch FROM metrics.hours
    WHERE series_id = ANY ($1::int[]) AND bucket >= $2 AND bucket < $3""",
)
DAYS = sql(
    "read_days",
    """SELECT bucket, count, sum, min, max, sketch FROM metrics.days
    WHERE series_id = ANY ($1::int[]) AND bucket >= $2 AND bucket < $3""",
)
PENDING = sql(
    "read_deltas",
    """SELECT hour AS bucket, count, sum, min, max, sketch FROM metrics.deltas
    WHERE series_id = ANY ($1::int[]) AND hour >= $2 AND hour < $3""",
)
TAKE = sql(
    "take_deltas",
    """DELETE FROM metrics.deltas WHERE id IN (
      SELECT id FROM metrics.deltas ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED)
    RETURNING series_id, hour, count, sum, min, max, sketch""",
)
WAITING = sql(
    "waiting_deltas",
    """SELECT count(*) AS count, coalesce(extract(epoch FROM now() - min(added_at)), 0)::float8 AS seconds
    FROM (SELECT added_at FROM metrics.deltas ORDER BY id LIMIT 10000) d""",
)
LOCK_ROLLUPS = sql("lock_rollups", "SELECT pg_advisory_xact_lock(hashtextextended('metrics.rollups', 0))")


def _read(table: str) -> Any:
    return sql(
        f"merge_{table}",
        f"""SELECT r.series_id, r.bucket, r.count, r.sum, r.min, r.max, r.sketch
        FROM unnest($1::int[], $2::timestamptz[]) AS t (series_id, bucket)
        JOIN metrics.{table} r USING (series_id, bucket)""",
    )


def _write(table: str) -> Any:
    return sql(
        f"write_{table}",
        f"""INSERT INTO metrics.{table} (series_id, bucket, count, sum, min, max, sketch)
        SELECT * FROM unnest($1::int[], $2::timestamptz[], $3::bigint[], $4::float8[], $5::float8[],
          $6::float8[], $7::bytea[])
        ON CONFLICT (series_id, bucket) DO UPDATE SET count = excluded.count, sum = excluded.sum,
          min = excluded.min, max = excluded.max, sketch = excluded.sketch""",
    )


def _seal(table: str) -> Any:
    return sql(
        f"seal_{table}",
        f"""UPDATE metrics.{table} SET sealed_at = now() WHERE sealed_at IS NULL AND bucket < $1
        AND bucket < coalesce((SELECT min(hour) FROM metrics.deltas), 'infinity') - interval '1 day'""",
    )


READ = {table: _read(table) for table in ("hours", "days")}
WRITE = {table: _write(table) for table in ("hours", "days")}
SEAL = {table: _seal(table) for table in ("hours", "days")}
OVERDUE = sql(
    "overdue_hours",
    "SELECT count(*) FROM (SELECT FROM metrics.hours WHERE sealed_at IS NULL AND bucket < $1 LIMIT 10000) h",
)

Key = tuple[int, datetime]
Row = tuple[int, int, datetime, float, Any]  # a point: id, series, time, value, metadata


async def add_points(tx: Transaction, rows: Sequence[Row], deltas: Iterable[tuple[Any, ...]]) -> None:
    """Write points and what they add to their hours."""
    await tx.copy_in("metrics.points", POINT_COLUMNS, rows)
    await tx.copy_in("metrics.deltas", DELTA_COLUMNS, deltas)


def summary_of(row: Record) -> Summary:
    """Return the summary in a row of hours, days or deltas."""
    return Summary.stored(row["count"], row["sum"], row["min"], row["max"], row["sketch"])


async def read_rollups(tx: Transaction, table: str, keys: Sequence[Key]) -> dict[Key, Summary]:
    """Return what is there already of these roll-ups."""
    rows = await tx.fetch(READ[table], [key[0] for key in keys], [key[1] for key in keys])
    return {(row["series_id"], row["bucket"]): summary_of(row) for row in rows}


async def write_rollups(tx: Transaction, table: str, rollups: dict[Key, Summary]) -> None:
    """Write roll-ups over what is there."""
    items = sorted(rollups.items())
    await tx.execute(
        WRITE[table],
        [key[0] for key, _ in items],
        [key[1] for key, _ in items],
        [summary.count for _, summary in items],
        [summary.sum for _, summary in items],
        [summary.min for _, summary in items],
        [summary.max for _, summary in items],
        [summary.sketch() for _, summary in items],
    )


async def waiting(db: Database) -> Record:
    """Return how many deltas wait to be merged (up to 10,000) and for how long."""
    row = await db.fetchrow(WAITING)
    assert row is not None
    return row
