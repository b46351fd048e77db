"""Counting the rows of a batch by state, from the differences that the table's triggers write."""

from __future__ import annotations

from collections.abc import Iterable

from wharfd import Queries, sql

from ..model.state import Counts

COUNT = sql(
    "count_items",
    """SELECT batch, state, sum(rows)::bigint AS rows FROM orders.tally WHERE batch = ANY ($1::bigint[])
    GROUP BY batch, state""",
)
# What another session adds meanwhile is not seen by this statement, so neither deleted nor counted twice.
COMPACT = sql(
    "compact_tally",
    """WITH gone AS (DELETE FROM orders.tally WHERE batch = $1 RETURNING state, rows)
    INSERT INTO orders.tally (batch, state, rows)
    SELECT $1, state, sum(rows) FROM gone GROUP BY state HAVING sum(rows) <> 0""",
)
CROWDED = sql(
    "crowded_tallies",
    "SELECT batch FROM orders.tally WHERE batch = ANY ($1::bigint[]) GROUP BY batch HAVING count(*) > 64",
)
RECOUNT = sql(
    "recount_items", "SELECT state, count(*) AS rows FROM orders.items WHERE batch = $1 GROUP BY state"
)


async def count(db: Queries, batch: int) -> Counts:
    """Return how many rows of a batch are in which state."""
    return (await count_many(db, [batch]))[batch]


async def count_many(db: Queries, batches: Iterable[int]) -> dict[int, Counts]:
    """Return the counts of several batches."""
    rows: dict[int, dict[str, int]] = {batch: {} for batch in batches}
    for record in await db.fetch(COUNT, list(rows)):
        if record["rows"]:
            rows[record["batch"]][record["state"]] = record["rows"]
    return {batch: Counts(states) for batch, states in rows.items()}


async def compact(db: Queries, batch: int) -> None:
    """Add the differences of a batch up into one row a state."""
    await db.execute(COMPACT, batch)


async def crowded(db: Queries, batches: Iterable[int]) -> list[int]:
    """Return the batches whose differences are worth adding up."""
    return [record["batch"] for record in await db.fetch(CROWDED, list(batches))]


async def recount(db: Queries, batch: int) -> Counts:
    """Count the rows themselves: what the tally must agree with. Reads the whole batch."""
    return Counts({record["state"]: record["rows"] for record in await db.fetch(RECOUNT, batch)})
