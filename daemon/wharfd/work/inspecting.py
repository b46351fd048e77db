"""The SQL to look at a queue and to put rows back: counts, what is buried, requeue, cancel.

Counts are bounded and served by the queue's own partial indexes, so that asking how a queue is costs the same
with ten rows and with ten million.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..db import Statement, sql
from .fragments import KEYS_PER_CLAIM, among, history
from .queue import Queue

COUNT_LIMIT = 10_000
GROUP = 1000  # rows per statement that changes many

FINAL_OR_PARKED = ("buried", "held", "cancelled", "done")  # what can be requeued
CANCELLABLE = ("ready", "buried", "held")

RATES = sql(
    "work.rates",
    """SELECT coalesce(sum(arrived), 0)::float8 AS arrived, coalesce(sum(started), 0)::float8 AS started,
  coalesce(sum(done), 0)::float8 AS done, coalesce(sum(retried), 0)::float8 AS retried,
  coalesce(sum(buried), 0)::float8 AS buried, coalesce(sum(lost), 0)::float8 AS lost
FROM wharfd.queue_rates
WHERE queue = $1 AND minute >= date_trunc('minute', now()) - make_interval(mins => $2)
  AND minute < date_trunc('minute', now())""",
)
PAUSED = sql("work.paused", "SELECT EXISTS (SELECT FROM wharfd.paused_queues WHERE queue = $1)")
PAUSE = sql(
    "work.pause",
    "INSERT INTO wharfd.paused_queues (queue, actor) VALUES ($1, $2) ON CONFLICT (queue) DO NOTHING",
)
RESUME = sql("work.resume", "DELETE FROM wharfd.paused_queues WHERE queue = $1")


def _lane(queue: Queue, alias: str, parameter: int) -> str:
    lane = queue.declared.lane
    return f" AND {alias}.{lane[0]} = ${parameter}" if lane else ""


def counts(queue: Queue) -> Statement:
    """Count ready, due, running, buried and held rows up to a limit, and tell how late the oldest is."""
    table, lane = queue.declared.table, _lane(queue, "w", 1)
    by = queue.declared.fair_by or "priority"

    def count(state: str) -> str:
        return f"""(SELECT count(*) FROM (
    SELECT FROM {table} w WHERE w.state = '{state}'{lane} LIMIT {COUNT_LIMIT}) counted) AS {state}"""

    return sql(
        f"work.{queue.name}.counts",
        f"""WITH RECURSIVE groups (value, number) AS (
  (SELECT w.{by}, 1 FROM {table} w WHERE w.state = 'ready'{lane} ORDER BY w.{by} LIMIT 1)
  UNION ALL
  SELECT (SELECT w.{by} FROM {table} w WHERE w.state = 'ready'{lane} AND w.{by} > groups.value
          ORDER BY w.{by} LIMIT 1), groups.number + 1
  FROM groups WHERE groups.value IS NOT NULL AND groups.number < {KEYS_PER_CLAIM}
), due AS MATERIALIZED (
  SELECT first.due_at FROM groups CROSS JOIN LATERAL (
    SELECT w.due_at FROM {table} w
    WHERE w.state = 'ready'{lane} AND w.{by} = groups.value AND w.due_at <= now() LIMIT {COUNT_LIMIT}) first
  LIMIT {COUNT_LIMIT}
)
SELECT {count("ready")},
  (SELECT count(*) FROM due) AS due,
  (SELECT extract(epoch FROM now() - min(due_at))::float8 FROM due) AS oldest_due_seconds,
  {count("running")},
  {count("buried")},
  {count("held")}""",
    )


def buried(queue: Queue, *, on: bool) -> Statement:
    """List buried rows, the latest first; `on` goes on after a row. The lane comes first, then the limit."""
    width = len(queue.lane)
    keys = ", ".join(f"w.{column}" for column in queue.columns.key)
    row = "".join(f", w.{column}" for column in queue.columns.row)
    after = ""
    if on:
        values = ", ".join(
            f"${width + 3 + i}::text::{kind}" for i, kind in enumerate(queue.columns.key.values())
        )
        after = f" AND (w.finished_at, {keys}) < (${width + 2}::timestamptz, {values})"
    order = ", ".join(f"w.{column} DESC" for column in ("finished_at", *queue.columns.key))
    return sql(
        f"work.{queue.name}.buried_on" if on else f"work.{queue.name}.buried",
        f"""SELECT w.finished_at AS wharfd_at, w.attempts AS wharfd_attempts, w.last_error AS wharfd_error,
  w.history AS wharfd_history, {keys}{row}
FROM {queue.declared.table} w
WHERE w.state = 'buried'{_lane(queue, "w", 1)}{after}
ORDER BY {order} LIMIT ${width + 1}""",
    )


class Change:
    """A change of many rows: which ones, by keys and by what columns hold, and what becomes of them."""

    def __init__(
        self, queue: Queue, states: Iterable[str], keys: Iterable[str] | None, where: Mapping[str, Any]
    ) -> None:
        self.queue = queue
        self.arguments: list[Any] = [list(states), *queue.lane]
        self.condition = f"w.state = ANY ($1::text[]){_lane(queue, 'w', 2)}"
        known = {*queue.columns.row, *queue.columns.key}
        for column, value in where.items():
            if column not in known:
                raise ValueError(
                    f"queue {queue.name} has no column {column!r} to choose rows by; it has "
                    + ", ".join(sorted(known))
                )
            self._also(f"w.{column} IS NULL" if value is None else f"w.{column} = $", value)
        if keys is not None:
            columns = zip(*(split_key(queue, key) for key in keys), strict=True)
            for (column, kind), values in zip(queue.columns.key.items(), columns, strict=False):
                self._also(f"w.{column} = ANY ($::text[]::{kind}[])", list(values))

    def _also(self, term: str, value: Any) -> None:
        if "$" in term:
            self.arguments.append(value)
            term = term.replace("$", f"${len(self.arguments)}")
        self.condition += f" AND {term}"

    def _statement(self, name: str, change: str) -> Statement:
        queue = self.queue
        keys = ", ".join(f"w.{column}" for column in queue.columns.key)
        return sql(
            f"work.{queue.name}.{name}",
            f"""WITH chosen AS MATERIALIZED (
  SELECT {keys} FROM {queue.declared.table} w WHERE {self.condition}
  LIMIT {GROUP} FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE {queue.declared.table} w SET {change}
WHERE {among("w", "chosen", queue.columns.key)} RETURNING {keys}""",
        )

    def requeue(self, actor: str) -> tuple[Statement, list[Any]]:
        """Put the rows back with all their attempts."""
        entry = history("w", "'requeued'", f"${len(self.arguments) + 1}::text")
        return (
            self._statement(
                "requeue",
                "state = 'ready', attempts = 0, due_at = now(), finished_at = NULL, claim = NULL,"
                f" lease_until = NULL, history = {entry}{self.queue.forget}",
            ),
            [*self.arguments, f"by {actor}"],
        )

    def cancel(self, actor: str) -> tuple[Statement, list[Any]]:
        """End the rows for good."""
        entry = history("w", "'cancelled'", f"${len(self.arguments) + 1}::text")
        return (
            self._statement("cancel", f"state = 'cancelled', finished_at = now(), history = {entry}"),
            [*self.arguments, f"by {actor}"],
        )


def split_key(queue: Queue, key: str) -> list[str]:
    """Return the parts of a key written as text."""
    parts = key.rsplit("/", len(queue.columns.key) - 1)
    if len(parts) != len(queue.columns.key):
        raise ValueError(
            f"key {key!r} does not name a row of queue {queue.name}: "
            f"it is written {'/'.join(queue.columns.key)}"
        )
    return parts
