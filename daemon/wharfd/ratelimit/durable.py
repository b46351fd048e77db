"""Budgets in PostgreSQL, by its clock: for limits that must hold over restarts and without Redis."""

from __future__ import annotations

from datetime import timedelta
from hashlib import blake2b

from ..db import Database, sql
from .verdict import Budget

_MAX_TEXT = 200

# One statement: the row lock orders takers, and clock_timestamp() is read once the lock is held.
_TAKE = sql(
    "take_rate_budget",
    """
    WITH taken AS (
        INSERT INTO wharfd.rate_budgets AS b (name, key, full_at)
        VALUES ($1, $2, clock_timestamp() + $3)
        ON CONFLICT (name, key) DO UPDATE
           SET full_at = greatest(least(b.full_at, clock_timestamp() + $4), clock_timestamp()) + $3
         WHERE greatest(least(b.full_at, clock_timestamp() + $4), clock_timestamp()) + $3
               <= clock_timestamp() + $4
        RETURNING full_at
    )
    SELECT true AS allowed, extract(epoch FROM full_at - clock_timestamp())::float8 AS level FROM taken
    UNION ALL
    SELECT false, extract(epoch FROM full_at - clock_timestamp())::float8
      FROM wharfd.rate_budgets WHERE name = $1 AND key = $2 AND NOT EXISTS (SELECT FROM taken)
    """,
)
_PRUNE = sql(
    "prune_rate_budgets",
    """
    DELETE FROM wharfd.rate_budgets WHERE (name, key) IN (
        SELECT name, key FROM wharfd.rate_budgets WHERE full_at < clock_timestamp()
        LIMIT 5000 FOR UPDATE SKIP LOCKED
    )
    """,
)


class DurableBudgets:
    """Takes from budgets in the database; may raise `DatabaseUnavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, name: str, key: str, budget: Budget, cost: int) -> tuple[bool, int]:
        """Take from a budget; returns whether that was possible and the level then."""
        row = await self._database.fetchrow(
            _TAKE,
            _bounded(name),
            _bounded(key),
            timedelta(microseconds=cost * budget.interval),
            timedelta(microseconds=budget.window),
        )
        if row is None:  # refused because of a row that came into being at this very moment
            return False, budget.window
        return bool(row["allowed"]), min(max(0, int(row["level"] * 1_000_000)), budget.window)

    async def prune(self) -> int:
        """Remove rows that mean nothing any more; returns how many."""
        removed = 0
        while count := await self._database.execute(_PRUNE):
            removed += count
        return removed


def _bounded(text: str) -> str:
    """Return a text that fits the table: itself, or its beginning and a digest."""
    text = text.replace("\x00", "\N{REPLACEMENT CHARACTER}")
    if len(text) <= _MAX_TEXT:
        return text
    return text[:120] + "…" + blake2b(text.encode("utf-8", "surrogatepass"), digest_size=20).hexdigest()
