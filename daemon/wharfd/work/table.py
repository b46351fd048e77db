"""Looks at a work table in the catalog: the types the engine needs, and whether it can be worked as declared.

A table that lacks a column or an index is refused when its plugin starts, with the SQL that adds it: a claim
without its index works in a test and stops the database a month later.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import msgspec

from ..db import Database, sql
from ..declare import WorkQueue
from ..errors import WorkTableError
from .fragments import PARKED, Columns, blocking

WORK_COLUMNS: Mapping[str, tuple[str, str]] = {
    "state": ("text", "text NOT NULL DEFAULT 'ready'"),
    "priority": ("smallint", "smallint NOT NULL DEFAULT 100"),
    "due_at": ("timestamp with time zone", "timestamptz NOT NULL DEFAULT now()"),
    "attempts": ("integer", "integer NOT NULL DEFAULT 0"),
    "claim": ("bigint", "bigint"),
    "lease_until": ("timestamp with time zone", "timestamptz"),
    "last_error": ("text", "text"),
    "history": ("jsonb", "jsonb"),
    "finished_at": ("timestamp with time zone", "timestamptz"),
}

_COLUMNS = sql(
    "work.table_columns",
    """SELECT a.attname AS name, format_type(a.atttypid, NULL) AS type, a.attnotnull AS required
FROM pg_attribute a WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped""",
)
_INDEXES = sql(
    "work.table_indexes",
    """SELECT i.indisunique AS one, coalesce(pg_get_expr(i.indpred, i.indrelid), '') AS predicate,
  ARRAY(SELECT coalesce(a.attname::text, '')
        FROM unnest(i.indkey::int2[]) WITH ORDINALITY k (number, place)
        LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
        ORDER BY k.place) AS columns
FROM pg_index i WHERE i.indrelid = to_regclass($1) AND i.indisvalid""",
)


@dataclass(frozen=True)
class Column:
    """A column as the catalog knows it."""

    type: str
    required: bool


@dataclass(frozen=True)
class Index:
    """An index: its columns in order, and the states its predicate names (none: not partial by state)."""

    columns: tuple[str, ...]
    unique: bool = False
    states: frozenset[str] = frozenset()
    partial: bool = False


@dataclass(frozen=True)
class Needed:
    """An index that a queue cannot do without, by the columns it begins with and the states it covers."""

    name: str
    columns: tuple[str, ...]
    states: tuple[str, ...]
    begins: int  # how many of the columns matter; the rest is only the proposal

    def served_by(self, index: Index) -> bool:
        """Whether this index will do."""
        begins = self.columns[: self.begins]
        return (
            bool(index.states) and index.states >= set(self.states) and index.columns[: len(begins)] == begins
        )

    def create(self, table: str) -> str:
        """Return the SQL that makes it."""
        states = ", ".join(f"'{state}'" for state in self.states)
        condition = f"state = {states}" if len(self.states) == 1 else f"state IN ({states})"
        columns = ", ".join(self.columns)
        return f"CREATE INDEX {self.name} ON {table} ({columns}) WHERE {condition};"


def needed_indexes(queue: WorkQueue) -> list[Needed]:
    """Return the indexes that the statements of this queue are written for."""
    table = queue.table.partition(".")[2]
    lane = queue.lane[:1] if queue.lane else ()
    by = () if queue.fair_by is None else (queue.fair_by,)
    found = []
    if queue.ordered:
        states = tuple(blocking(queue).replace("'", "").split(", "))
        found.append(Needed(f"{table}_ready", (*lane, *by), ("ready",), len(lane) + 1))
        found.append(
            Needed(f"{table}_order", (*lane, *by, *queue.key), states, len(lane) + 1 + len(queue.key))
        )
    else:
        columns = (*lane, *by, "priority", "due_at")
        found.append(Needed(f"{table}_ready", columns, ("ready",), len(columns)))
    capped = by if queue.per_key is not None else ()
    running = (*lane, *(capped or queue.key[:1]))
    found.append(Needed(f"{table}_running", running, ("running",), len(lane) + 1 if capped else 0))
    found.append(Needed(f"{table}_parked", (*lane, "state", "finished_at"), PARKED, len(lane) + 2))
    return found


def find_problems(queue: WorkQueue, columns: Mapping[str, Column], indexes: Iterable[Index]) -> list[str]:
    """Return, as sentences, everything that keeps the table from being worked as declared."""
    table = queue.table
    if not columns:
        return [f"table {table} does not exist; a migration of its plugin must create it"]
    problems = []
    for name, (kind, definition) in WORK_COLUMNS.items():
        column = columns.get(name)
        must = "NOT NULL" in definition
        if column is None:
            problems.append(
                f"table {table} lacks column {name}; add ALTER TABLE {table} ADD {name} {definition};"
            )
        elif column.type != kind or (must and not column.required):
            problems.append(
                f"table {table} has column {name} as {column.type}"
                f"{' NOT NULL' if column.required else ''}; it must be {definition.partition(' DEFAULT')[0]}"
            )
    lane = queue.lane[:1] if queue.lane else ()
    for name in (*queue.key, *lane, *(() if queue.fair_by is None else (queue.fair_by,))):
        if name in columns and not columns[name].required:
            problems.append(
                f"table {table}: column {name} must be NOT NULL, because the queue finds rows by it"
            )
    for name in dict.fromkeys((*queue.key, *lane, *filter(None, [queue.fair_by]), *row_columns(queue.row))):
        if name not in columns and name not in WORK_COLUMNS:
            close = get_close_matches(name, columns, 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            problems.append(f"table {table} has no column {name}, which queue {queue.name} names{hint}")
    have = list(indexes)
    if not any(i.unique and not i.partial and set(i.columns) <= set(queue.key) for i in have):
        problems.append(
            f"table {table} has no unique index on ({', '.join(queue.key)}), the key of queue {queue.name}"
        )
    problems += [
        f"table {table} lacks the index that queue {queue.name} needs; add {needed.create(table)}"
        for needed in needed_indexes(queue)
        if not any(needed.served_by(index) for index in have)
    ]
    return problems


async def look(database: Database, queue: WorkQueue) -> Columns:
    """Return what the statements need to know of the table; raises `WorkTableError` with all problems."""
    rows = await database.fetch(_COLUMNS, queue.table)
    columns = {row["name"]: Column(row["type"], row["required"]) for row in rows}
    indexes = [
        index_of(row["columns"], row["one"], row["predicate"])
        for row in await database.fetch(_INDEXES, queue.table)
    ]
    problems = find_problems(queue, columns, indexes)
    if problems:
        raise WorkTableError("\n".join(problems))
    return Columns({name: columns[name].type for name in queue.key}, row_columns(queue.row))


def index_of(columns: Sequence[str], unique: bool, predicate: str) -> Index:
    """Read an index from the catalog's words. A predicate that says more than the state serves nobody."""
    states: frozenset[str] = frozenset()
    if re.fullmatch(r"\(state = ('\w+'::text|ANY \(ARRAY\[('\w+'::text(, )?)+\]\))\)", predicate):
        states = frozenset(re.findall(r"'(\w+)'", predicate))
    return Index(tuple(columns), unique, states, bool(predicate))


def row_columns(row: type[msgspec.Struct]) -> tuple[str, ...]:
    """Return the columns that a row type asks for."""
    return tuple(field.encode_name for field in msgspec.structs.fields(row))
