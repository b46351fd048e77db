"""Monthly partitions of the big append-only tables, made ahead of time by the owner role.

There is no default partition: a row outside the made months is an error at once, not a surprise later.
Deciding how long months are kept is retention's business; here they are only made, listed and dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime

import msgspec

from .database import Database
from .queries import Queries
from .statements import quoted, sql

AHEAD_MONTHS = 3

ENSURE = sql("partitions_ensure", "SELECT wharfd.ensure_month_partitions($1::text::regclass, $2, $3)")
NOW = sql("partitions_now", "SELECT now()")
LIST = sql(
    "partitions_list",
    """SELECT c.relname AS name, pg_get_expr(c.relpartbound, c.oid) AS bound,
              pg_total_relation_size(c.oid) AS bytes, greatest(c.reltuples, 0)::bigint AS estimated_rows
         FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = $1::text::regclass ORDER BY c.relname""",
)
NAMES = sql(
    "partitions_names",
    """SELECT t.parent, c.relname AS name
         FROM unnest($1::text[]) AS t (parent)
         JOIN pg_inherits i ON i.inhparent = to_regclass(t.parent)
         JOIN pg_class c ON c.oid = i.inhrelid""",
)


class Partition(msgspec.Struct, frozen=True):
    """One month of a table: rows from `first` up to but without `end`."""

    table: str
    name: str
    first: datetime
    end: datetime
    bytes: int
    estimated_rows: int


class MissingPartition(msgspec.Struct, frozen=True):
    """A month that should have been made by now."""

    table: str
    month: date


def month_of(at: datetime | date) -> date:
    """Return the first day of the (UTC) month."""
    if isinstance(at, datetime):
        at = at.astimezone(UTC).date()
    return at.replace(day=1)


def add_months(month: date, count: int) -> date:
    """Return the first day of the month `count` months later (or, negative, earlier)."""
    years, index = divmod(month.year * 12 + month.month - 1 + count, 12)
    return date(years, index + 1, 1)


def partition_name(table: str, month: date) -> str:
    """Return the name of a month's partition: `netbanx.events` → `netbanx.events_y2026m11`."""
    return f"{table}_y{month.year:04}m{month.month:02}"


def bounds_of(month: date) -> tuple[datetime, datetime]:
    """Return the first moment of a month and of the next one, in UTC."""
    first, end = month_of(month), add_months(month_of(month), 1)
    return datetime(first.year, first.month, 1, tzinfo=UTC), datetime(end.year, end.month, 1, tzinfo=UTC)


def month_in_name(name: str) -> date | None:
    """Return the month a partition's name says, or None for another name."""
    _, found, rest = name.rpartition("_y")
    year, m, month = rest.partition("m")
    if not found or not m or len(year) != 4 or len(month) != 2 or not (year + month).isascii():
        return None
    if not (year + month).isdigit() or not 1 <= int(month) <= 12 or year == "0000":
        return None
    return date(int(year), int(month), 1)


async def ensure(
    owner: Queries, tables: Iterable[str], *, at: datetime | None = None, ahead: int = AHEAD_MONTHS
) -> list[str]:
    """Make the current month and `ahead` more for every table, and return the names of the new partitions."""
    tables = list(tables)
    if not tables:
        return []
    now = at or await owner.fetchval(NOW)
    created: list[str] = []
    for table in tables:
        created += [
            row[0] for row in await owner.fetch(ENSURE, table, bounds_of(month_of(now))[0], ahead + 1)
        ]
    return created


async def ensure_range(owner: Queries, table: str, first: datetime, last: datetime) -> list[str]:
    """Make every month from that of `first` to that of `last`, e.g. before importing old rows."""
    begin, end = month_of(first), month_of(last)
    months = (end.year - begin.year) * 12 + end.month - begin.month + 1
    if months < 1:
        raise ValueError(f"{table}: the range of months ends before it begins")
    return [row[0] for row in await owner.fetch(ENSURE, table, bounds_of(begin)[0], months)]


async def missing(
    database: Queries, tables: Sequence[str], *, at: datetime | None = None, ahead: int = 1
) -> list[MissingPartition]:
    """Return the months, current and `ahead` more, that do not exist: something to alert about."""
    now = at or await database.fetchval(NOW)
    there: set[tuple[str, str]] = {
        (row["parent"], row["name"]) for row in await database.fetch(NAMES, tables)
    }
    wanted = [add_months(month_of(now), offset) for offset in range(ahead + 1)]
    return [
        MissingPartition(table, month)
        for table in tables
        for month in wanted
        if (table, partition_name(table, month).rpartition(".")[2]) not in there
    ]


async def listed(database: Queries, table: str) -> list[Partition]:
    """Return the monthly partitions of a table, oldest first, with bounds and sizes."""
    schema = table.rpartition(".")[0]
    found = []
    for row in await database.fetch(LIST, table):
        month = month_in_name(row["name"])
        if month is None:
            continue
        first, end = bounds_of(month)
        name = f"{schema}.{row['name']}" if schema else row["name"]
        found.append(Partition(table, name, first, end, row["bytes"], row["estimated_rows"]))
    return sorted(found, key=lambda partition: partition.first)


partitions_of = listed  # the name plugins import it by


async def drop_month(owner: Database, table: str, month: date) -> None:
    """Drop one month with everything in it; detached first without blocking readers and writers."""
    name = partition_name(table, month_of(month))
    parts = f"ALTER TABLE {quoted(table)} DETACH PARTITION {quoted(name)} CONCURRENTLY"
    await owner.execute(sql("partitions_detach", parts))
    await owner.execute(sql("partitions_drop", f"DROP TABLE {quoted(name)}"))


# What plugins call these, where there is no module name in front.
ensure_months = ensure_range
missing_months = missing
