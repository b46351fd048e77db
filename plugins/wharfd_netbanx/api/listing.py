"""Lists: one statement per combination of filters, each served by an index; pages by cursor or by number.

Newest first, by a time and the id. Where a filter names several values of a column (an old status stands for
several of ours), each value is looked up by itself and the results are merged, so the index orders them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec

from wharfd import (
    Database,
    FieldError,
    Invalid,
    Record,
    Request,
    Statement,
    decode_cursor,
    encode_cursor,
    offset_of,
    sql,
)

MAX_LIMIT = 200
# Counting further costs more than anybody gains; the answer says when a total stops here.
COUNTED = 10_000


@dataclass(frozen=True)
class Table:
    """A table that is listed: what is shown, and the column of time it is ordered by."""

    name: str
    columns: str
    time: str


@dataclass(frozen=True)
class Filter:
    """`column operator value`; a value of None is no filter. `any_of` gives several values of one column."""

    column: str
    value: Any
    operator: str = "="


class Listed(msgspec.Struct):
    """A page: rows, and the cursor of the next one."""

    rows: list[Any]
    next_cursor: str | None


class Paging(msgspec.Struct, kw_only=True, rename="camel"):
    """What every list takes."""

    page: int = 1
    limit: int = 50
    cursor: str | None = None


@lru_cache(512)
def _list(
    table: Table,
    filters: tuple[tuple[str, str], ...],
    several: str | None,
    values: int,
    after: bool,
    skip: bool,
) -> Statement:
    conditions = [f"t.{column} {operator} ${n}" for n, (column, operator) in enumerate(filters, 1)]
    number = len(filters) + values
    order = f"t.{table.time} DESC, t.id DESC"
    if after:
        conditions.append(f"(t.{table.time}, t.id) < (${number + 1}, ${number + 2})")
        number += 2
    limit = f"${number + 1}::int"
    offset = f" OFFSET ${number + 2}::int" if skip else ""

    def pick(more: Sequence[str], limit: str) -> str:
        where = " AND ".join((*conditions, *more))
        found = f"SELECT {table.columns} FROM {table.name} t{' WHERE ' if where else ''}{where}"
        return f"{found} ORDER BY {order} LIMIT {limit}"

    if several is None:
        one = pick((), limit) + offset
    else:
        # Each value by itself and as a parameter: of a joined one the planner would not know how rare it is.
        enough = f"{limit} + ${number + 2}::int" if skip else limit
        numbers = range(len(filters) + 1, len(filters) + values + 1)
        parts = " UNION ALL ".join(f"({pick((f't.{several} = ${n}',), enough)})" for n in numbers)
        one = f"SELECT t.* FROM ({parts}) t ORDER BY {order} LIMIT {limit}{offset}"
    return sql(f"list_{table.name.rpartition('.')[2]}", one)


@lru_cache(512)
def _count(table: Table, filters: tuple[tuple[str, str], ...], several: str | None) -> Statement:
    conditions = [f"t.{column} {operator} ${n}" for n, (column, operator) in enumerate(filters, 1)]
    if several is not None:
        conditions.append(f"t.{several} = ANY (${len(filters) + 1}::text[])")
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return sql(
        f"count_{table.name.rpartition('.')[2]}",
        f"SELECT count(*) FROM (SELECT FROM {table.name} t{where} LIMIT {COUNTED + 1}) c",
    )


def _given(filters: Sequence[Filter]) -> tuple[tuple[tuple[str, str], ...], list[Any]]:
    given = [f for f in filters if f.value is not None]
    return tuple((f.column, f.operator) for f in given), [f.value for f in given]


async def list_rows(
    database: Database,
    request: Request,
    table: Table,
    paging: Paging,
    filters: Sequence[Filter],
    any_of: tuple[str, Sequence[str]] | None = None,
) -> Listed:
    """Return a page of the table. `any_of` restricts a column to some values."""
    if not 1 <= paging.limit <= MAX_LIMIT:
        raise Invalid(FieldError("limit", f"must be between 1 and {MAX_LIMIT}", "query"))
    key = decode_cursor(request, paging.cursor, datetime, str)
    skip = 0 if key else offset_of(paging.page, paging.limit)
    names, values = _given(filters)
    several, wanted = (any_of[0], tuple(dict.fromkeys(any_of[1]))) if any_of else (None, ())
    if several is not None and not wanted:
        return Listed([], None)
    statement = _list(table, names, several, len(wanted), key is not None, skip > 0)
    values += wanted
    values += [*(key or ()), paging.limit + 1]
    if skip:
        values.append(skip)
    rows = await database.fetch(statement, *values)
    more, shown = len(rows) > paging.limit, rows[: paging.limit]
    cursor = encode_cursor(request, shown[-1][table.time], shown[-1]["id"]) if more else None
    return Listed(shown, cursor)


async def count_rows(
    database: Database,
    table: Table,
    filters: Sequence[Filter],
    any_of: tuple[str, Sequence[str]] | None = None,
) -> tuple[int, bool]:
    """Return how many rows there are, and whether that is all of them (counting stops at `COUNTED`)."""
    names, values = _given(filters)
    if any_of is not None:
        values.append(list(any_of[1]))
    found: int = await database.fetchval(_count(table, names, any_of[0] if any_of else None), *values)
    return min(found, COUNTED), found <= COUNTED


def pagination(paging: Paging, total: int, exact: bool, next_cursor: str | None) -> dict[str, Any]:
    """Return the `pagination` member, the old names and the cursor beside them."""
    pages = -(-total // paging.limit)
    return {
        "page": paging.page,
        "limit": paging.limit,
        "total": total,
        "totalIsExact": exact,
        "totalPages": pages,
        "pages": pages,
        "hasNext": next_cursor is not None,
        "hasPrevious": paging.page > 1,
        "nextCursor": next_cursor,
    }


def read_time(text: str | None, field: str, where: str = "query") -> datetime | None:
    """Read a date or a time, in UTC when it names no zone; raises `Invalid`."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except ValueError:
        raise Invalid(
            FieldError(field, "is no date; write 2026-08-01 or 2026-08-01T12:00:00Z", where)
        ) from None
    except OverflowError:
        raise Invalid(FieldError(field, "is no time between the years 1 and 9999", where)) from None


def answer(data: Any, at: datetime) -> dict[str, Any]:
    """Wrap what is answered in the old form."""
    return {"success": True, "data": data, "timestamp": at}


def shown(record: Record, names: dict[str, str]) -> dict[str, Any]:
    """Return the columns of a row under the names callers know."""
    return {name: record[column] for name, column in names.items()}
