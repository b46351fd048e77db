"""Batches: making, finding and steering them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wharfd import Queries, Record, Transaction, sql

_COLUMNS = """number, id, owner, label, executor, lane, priority, total, amounts, options, source,
    content_sha256, created_by, created_at, started_at, finished_at, needs_approval, approved_by, approved_at,
    paused_by, paused_at, cancelled_by, cancelled_at, cancel_reason, start_at, max_per_second, released_at,
    stop_on_error"""

ADD = sql(
    "add_batch",
    """INSERT INTO orders.batches (id, owner, label, executor, lane, priority, total, amounts, options,
      source, content_sha256, created_by, needs_approval, paused_by, paused_at, start_at, max_per_second,
      stop_on_error)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14,
      CASE WHEN $14::text IS NOT NULL THEN now() END, $15, $16, $17)
    RETURNING number, created_at""",
)
AMOUNTS = sql("set_batch_amounts", "UPDATE orders.batches SET amounts = $2 WHERE number = $1")
FIND = sql(
    "find_batch", f"SELECT {_COLUMNS} FROM orders.batches WHERE id = $1 AND ($2::text IS NULL OR owner = $2)"
)
LIST_ALL = sql(
    "list_batches",
    f"SELECT {_COLUMNS} FROM orders.batches WHERE number < $1 ORDER BY number DESC LIMIT $2",
)
LIST_OWN = sql(
    "list_own_batches",
    f"""SELECT {_COLUMNS} FROM orders.batches WHERE owner = $3 AND number < $1
    ORDER BY number DESC LIMIT $2""",
)
UNFINISHED = sql(
    "unfinished_batches",
    f"""SELECT {_COLUMNS} FROM orders.batches WHERE finished_at IS NULL AND number > $1
    ORDER BY number LIMIT $2""",
)
FACTS = sql("batch_facts", f"SELECT {_COLUMNS} FROM orders.batches WHERE number = ANY ($1::bigint[])")
BEGUN = sql(
    "batch_begun",
    "UPDATE orders.batches SET started_at = now() WHERE number = ANY ($1::bigint[]) AND started_at IS NULL",
)
OPEN_ORDERS = sql(
    "open_orders",
    """SELECT coalesce(sum(t.rows), 0)::bigint FROM orders.batches b JOIN orders.tally t ON t.batch = b.number
    WHERE b.finished_at IS NULL AND b.owner = $1 AND t.state IN ('waiting', 'ready', 'running', 'held')""",
)
PAUSE = sql(
    "pause_batch",
    """UPDATE orders.batches SET paused_by = $2, paused_at = now()
    WHERE number = $1 AND paused_at IS NULL AND cancelled_at IS NULL AND finished_at IS NULL""",
)
RESUME = sql(
    "resume_batch",
    """UPDATE orders.batches SET paused_by = NULL, paused_at = NULL
    WHERE number = $1 AND paused_at IS NOT NULL AND cancelled_at IS NULL""",
)
CANCEL = sql(
    "cancel_batch",
    """UPDATE orders.batches SET cancelled_by = $2, cancelled_at = now(), cancel_reason = $3
    WHERE number = $1 AND cancelled_at IS NULL AND finished_at IS NULL""",
)
APPROVE = sql(
    "approve_batch",
    """UPDATE orders.batches SET approved_by = $2, approved_at = now()
    WHERE number = $1 AND needs_approval AND approved_at IS NULL AND cancelled_at IS NULL""",
)
REOPEN = sql(
    "reopen_batch",
    """UPDATE orders.batches SET finished_at = NULL, cancelled_at = NULL, cancelled_by = NULL,
      cancel_reason = NULL
    WHERE number = $1""",
)
FINISH = sql(
    "finish_batch",
    """UPDATE orders.batches b SET finished_at = now()
    WHERE b.number = $1 AND b.finished_at IS NULL
      AND (SELECT coalesce(sum(t.rows), 0) FROM orders.tally t
           WHERE t.batch = $1 AND t.state IN ('waiting', 'ready', 'running', 'held')) = 0
    RETURNING b.number""",
)
LOCK = sql("lock_batch", f"SELECT {_COLUMNS} FROM orders.batches WHERE number = $1 FOR NO KEY UPDATE")
TRY_LOCK = sql(
    "try_lock_batch",
    """SELECT max_per_second,
      extract(epoch FROM now() - coalesce(released_at, now() - interval '1 s'))::float8 AS elapsed
    FROM orders.batches WHERE number = $1 FOR NO KEY UPDATE SKIP LOCKED""",
)
RELEASED = sql(
    "batch_released",
    "UPDATE orders.batches SET released_at = now() - make_interval(secs => $2) WHERE number = $1",
)


async def add(tx: Transaction, values: Sequence[Any]) -> Record:
    """Add a batch and return its number and time."""
    record = await tx.fetchrow(ADD, *values)
    assert record is not None
    return record


async def set_amounts(tx: Transaction, number: int, amounts: dict[str, int]) -> None:
    """Write what the orders of a batch that were taken add up to."""
    await tx.execute(AMOUNTS, number, amounts)


async def find(db: Queries, batch_id: str, owner: str | None) -> Record | None:
    """Return a batch, if it is the owner's; None as owner sees everybody's."""
    return await db.fetchrow(FIND, batch_id, owner)


async def listed(db: Queries, owner: str | None, before: int | None, limit: int) -> list[Record]:
    """Return the newest batches, of one owner or all."""
    cursor = before if before is not None else (1 << 62)
    if owner is None:
        return await db.fetch(LIST_ALL, cursor, limit)
    return await db.fetch(LIST_OWN, cursor, limit, owner)


async def unfinished(db: Queries, after: int, limit: int) -> list[Record]:
    """Return batches that are not announced as finished, the oldest first."""
    return await db.fetch(UNFINISHED, after, limit)


async def facts(db: Queries, numbers: Sequence[int]) -> dict[int, Record]:
    """Return batches by number."""
    return {record["number"]: record for record in await db.fetch(FACTS, list(numbers))}


async def begun(db: Queries, numbers: Sequence[int]) -> None:
    """Note that the first order was taken up."""
    await db.execute(BEGUN, list(numbers))


async def open_orders(db: Queries, owner: str) -> int:
    """Return how many orders of an owner are not finished."""
    return int(await db.fetchval(OPEN_ORDERS, owner))


async def lock(tx: Transaction, number: int) -> Record:
    """Return a batch and keep others from steering it until the transaction ends."""
    record = await tx.fetchrow(LOCK, number)
    assert record is not None
    return record


async def pause(tx: Transaction, number: int, actor: str) -> bool:
    """Pause a batch; False if it cannot be."""
    return await tx.execute(PAUSE, number, actor) > 0


async def resume(tx: Transaction, number: int) -> bool:
    """Let a paused batch go on; False if it was not paused."""
    return await tx.execute(RESUME, number) > 0


async def cancel(tx: Transaction, number: int, actor: str, reason: str) -> bool:
    """Cancel a batch; False if it is over or cancelled already."""
    return await tx.execute(CANCEL, number, actor, reason) > 0


async def approve(tx: Transaction, number: int, actor: str) -> bool:
    """Approve a batch; False if it needs none or has it."""
    return await tx.execute(APPROVE, number, actor) > 0


async def reopen(tx: Transaction, number: int) -> None:
    """Make a batch unfinished again, because some of its orders are retried."""
    await tx.execute(REOPEN, number)


async def finish(tx: Transaction, number: int) -> bool:
    """Mark a batch without open rows as finished; True for exactly one caller."""
    return await tx.fetchval(FINISH, number) is not None


async def try_lock(tx: Transaction, number: int) -> Record | None:
    """Return a batch's rate and the seconds since rows were let go; None while another daemon does so."""
    return await tx.fetchrow(TRY_LOCK, number)


async def released(tx: Transaction, number: int, seconds_left: float) -> None:
    """Note that rows were let go, with so many seconds of the rate left over."""
    await tx.execute(RELEASED, number, seconds_left)
