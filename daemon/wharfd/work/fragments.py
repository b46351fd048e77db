"""What the engine's statements are made of: the parts of SQL text that several of them share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..db import Statement, sql
from ..declare import WorkQueue

CLAIM_LIMIT = 1000  # rows per claim
KEYS_PER_CLAIM = 1000  # how many keys one fair claim looks at, so that a claim stays short whatever waits
RECOVER_LIMIT = 1000
DEATHS_ALLOWED = 10  # a row is not buried for the death of its worker before this many tries
HISTORY_LIMIT = 20

UNFINISHED = ("ready", "running", "held", "buried")  # what blocks an ordered key; buried only by choice
PARKED = ("buried", "held")

# Losing a claim in a crash of PostgreSQL costs a repeated attempt at worst, and saves a disk flush.
ASYNC = "set_config('synchronous_commit', 'off', true) = 'off'"
FREE = "NOT EXISTS (SELECT FROM wharfd.paused_queues p WHERE p.queue = $4)"


@dataclass(frozen=True)
class Columns:
    """What a queue's statements need to know of its table: the key's types and the handler's columns."""

    key: Mapping[str, str]
    row: Sequence[str]


class Text:
    """The SQL of one queue, by its full name; what claims and outcomes have in common."""

    def __init__(self, name: str, queue: WorkQueue, columns: Columns) -> None:
        self.name = name
        self.queue = queue
        self.table = queue.table
        self.columns = columns
        self.key = list(columns.key)
        self.arrays = ", ".join(f"${i}::{t}[]" for i, t in enumerate(columns.key.values(), 1))
        self.next = len(self.key) + 1  # the first parameter after the key's arrays

    def named(self, what: str, text: str) -> Statement:
        """Make a statement of this queue."""
        return sql(f"work.{self.name}.{what}", text)

    def keys(self, alias: str) -> str:
        """List the key's columns."""
        return ", ".join(f"{alias}.{column}" for column in self.key)

    def same(self, left: str, right: str) -> str:
        """Say that two have the same key."""
        return " AND ".join(f"{left}.{column} = {right}.{column}" for column in self.key)

    def lane(self, alias: str, parameter: int) -> str:
        """Say, after other conditions, that a row is in this queue's lane; nothing for a queue without."""
        return f" AND {alias}.{self.queue.lane[0]} = ${parameter}" if self.queue.lane else ""

    def ready(self, alias: str, lane: int) -> str:
        """Say that a row is ready, and in the lane."""
        return f"{alias}.state = 'ready'{self.lane(alias, lane)}"


def among(alias: str, source: str, key: Iterable[str]) -> str:
    """Return the SQL that says that a row is one of those in a CTE, without a join.

    A plan is made once and kept; made while a table was nearly empty, a join would read the whole table once
    per row when it has grown. This reads it once at the very worst. IS TRUE keeps the last part from being
    made a join after all.
    """
    columns = list(key)
    terms = [f"{alias}.{column} = ANY (ARRAY(SELECT {column} FROM {source}))" for column in columns]
    if len(columns) > 1:
        ours = ", ".join(f"{alias}.{column}" for column in columns)
        terms.append(f"(({ours}) IN (SELECT {', '.join(columns)} FROM {source})) IS TRUE")
    return " AND ".join(terms)


def blocking(queue: WorkQueue) -> str:
    """Return the states, as SQL, whose rows hold back the later rows of an ordered key."""
    states = UNFINISHED[:-1] if queue.skip_buried else UNFINISHED
    return ", ".join(f"'{state}'" for state in states)


def history(alias: str, state: str, error: str) -> str:
    """Return the SQL that appends an entry to a row's history, of which the last few are kept."""
    entry = (
        f"jsonb_build_object('at', now(), 'attempt', {alias}.attempts, 'state', {state}, 'error', {error})"
    )
    return (
        f"jsonb_path_query_array(coalesce({alias}.history, '[]') || {entry}, "
        f"'$[last - {HISTORY_LIMIT - 1} to last]')"
    )
