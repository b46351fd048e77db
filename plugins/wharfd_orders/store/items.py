"""The rows of batches: loading, moving between states, reading for execution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wharfd import Queries, Record, Transaction, sql

LOADED = (
    "batch", "idx", "line", "owner", "lane", "share", "client_ref", "account", "currency", "amount",
    "payload", "fingerprint", "code", "last_error", "state", "priority", "finished_at",
)  # fmt: skip

MOVE = sql(
    "move_items",
    """WITH chosen AS MATERIALIZED (
      SELECT idx FROM orders.items
      WHERE batch = $1 AND idx >= $4 AND state = ANY ($2::text[])
      ORDER BY idx LIMIT $5 FOR NO KEY UPDATE SKIP LOCKED
    ), moved AS (
      UPDATE orders.items SET state = $3, due_at = now(), claim = NULL, lease_until = NULL,
        finished_at = CASE WHEN $3 = 'cancelled' THEN now() END,
        last_error = CASE WHEN $3 = 'cancelled' THEN $6 ELSE last_error END
      WHERE batch = $1 AND idx = ANY (ARRAY(SELECT idx FROM chosen)) RETURNING idx
    )
    SELECT count(*) AS rows, max(idx) AS last FROM moved""",
)
# A buried row that was sent and never answered is not a failure that anybody knows of.
UNSURE = sql(
    "hold_unsure_items",
    """UPDATE orders.items SET state = 'held', finished_at = NULL
    WHERE lane = ANY ($1::text[]) AND state = 'buried' AND sent_at IS NOT NULL""",
)
RETRY = sql(
    "retry_items",
    """WITH chosen AS MATERIALIZED (
      SELECT idx FROM orders.items
      WHERE batch = $1 AND state = 'buried' AND idx >= $2 AND ($3::int[] IS NULL OR idx = ANY ($3))
        AND ($4::text IS NULL OR split_part(last_error, ':', 1) = $4)
      ORDER BY idx LIMIT $5 FOR NO KEY UPDATE SKIP LOCKED
    ), moved AS (
      UPDATE orders.items i SET state = 'waiting', attempts = 0, due_at = now(), finished_at = NULL,
        claim = NULL, lease_until = NULL,
        history = coalesce(history, '[]')
          || jsonb_build_object('at', now(), 'state', 'requeued', 'error', $6::text)
      WHERE batch = $1 AND idx = ANY (ARRAY(SELECT idx FROM chosen)) RETURNING idx
    )
    SELECT count(*) AS rows, max(idx) AS last FROM moved""",
)
PAYLOADS = sql(
    "item_payloads", "SELECT idx, payload FROM orders.items WHERE batch = $1 AND idx = ANY ($2::int[])"
)
SENDING = sql(
    "mark_item_sending",
    """UPDATE orders.items i SET sent_at = now()
    WHERE batch = $1 AND idx = $2 AND state = 'running' AND claim = $3""",
)
NOT_SENT = sql("item_not_sent", "UPDATE orders.items SET sent_at = NULL WHERE batch = $1 AND idx = $2")
ANSWERED = sql(
    "item_answered", "UPDATE orders.items SET sent_at = NULL, answer = $3 WHERE batch = $1 AND idx = $2"
)
HOLDS_REF = sql(
    "item_holds_ref",
    "SELECT batch = $3 AND idx = $4 FROM orders.refs WHERE owner = $1 AND client_ref = $2",
)
DECIDE = sql(
    "decide_item",
    """UPDATE orders.items SET state = $3, finished_at = CASE WHEN $3 IN ('done', 'buried') THEN now() END,
      last_error = $4, sent_at = NULL, due_at = now(), attempts = 0, claim = NULL, lease_until = NULL,
      history = coalesce(history, '[]')
        || jsonb_build_object('at', now(), 'state', 'decided', 'error', $5::text)
    WHERE batch = $1 AND idx = $2 AND state IN ('held', 'buried')""",
)
FIND = sql(
    "find_item",
    """SELECT i.*, o.id AS order_id, o.external_id, o.result, o.created_at AS executed_at
    FROM orders.items i LEFT JOIN orders.orders o ON o.batch = i.batch AND o.idx = i.idx
    WHERE i.batch = $1 AND i.idx = $2""",
)
HELD = sql(
    "held_items",
    """SELECT count(*) FROM (SELECT FROM orders.items
    WHERE lane = ANY ($1::text[]) AND state = 'held' LIMIT 10000) held""",
)


async def load(tx: Transaction, rows: Sequence[Sequence[Any]]) -> None:
    """Add rows; their columns are `LOADED`."""
    await tx.copy_in("orders.items", LOADED, rows)


async def move(
    db: Queries,
    batch: int,
    states: Sequence[str],
    target: str,
    *,
    from_idx: int = 0,
    limit: int,
    reason: str = "",
) -> tuple[int, int | None]:
    """Put up to `limit` rows from some states into another; return how many and the index of the last."""
    record = await db.fetchrow(MOVE, batch, list(states), target, from_idx, limit, reason)
    assert record is not None
    return record["rows"], record["last"]


async def hold_unsure(db: Queries, lanes: Sequence[str]) -> int:
    """Hold rows that were given up while nobody knew whether they had been carried out."""
    return await db.execute(UNSURE, list(lanes))


async def retry(
    db: Queries,
    batch: int,
    from_idx: int,
    chosen: Sequence[int] | None,
    code: str | None,
    limit: int,
    by: str,
) -> tuple[int, int | None]:
    """Put failed rows back; return how many and the index of the last."""
    record = await db.fetchrow(
        RETRY, batch, from_idx, None if chosen is None else list(chosen), code, limit, f"by {by}"
    )
    assert record is not None
    return record["rows"], record["last"]


async def payloads(db: Queries, batch: int, indexes: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Return the orders of some rows."""
    return {r["idx"]: r["payload"] for r in await db.fetch(PAYLOADS, batch, list(indexes))}


async def mark_sending(db: Queries, batch: int, idx: int, claim: int) -> bool:
    """Note, before it happens, that an order is sent; False when the row is no longer this worker's."""
    return await db.execute(SENDING, batch, idx, claim) > 0


async def not_sent(tx: Transaction, batch: int, idx: int) -> None:
    """Note that an order was certainly not carried out."""
    await tx.execute(NOT_SENT, batch, idx)


async def answered(tx: Transaction, batch: int, idx: int, answer: dict[str, Any]) -> None:
    """Keep what the executor answered."""
    await tx.execute(ANSWERED, batch, idx, answer)


async def holds_ref(db: Queries, owner: str, client_ref: str | None, batch: int, idx: int) -> bool:
    """Whether the client's reference still stands for this row and not for one of a later upload."""
    if client_ref is None:
        return True
    return await db.fetchval(HOLDS_REF, owner, client_ref, batch, idx) is not False


async def decide(tx: Transaction, batch: int, idx: int, state: str, error: str | None, note: str) -> bool:
    """Give a held or failed row the state that a person decided on; False when it is not such a row."""
    return await tx.execute(DECIDE, batch, idx, state, error, note) > 0


async def find(db: Queries, batch: int, idx: int) -> Record | None:
    """Return one row with all that is known of it."""
    return await db.fetchrow(FIND, batch, idx)


async def held(db: Queries, lanes: Sequence[str]) -> int:
    """Count rows whose outcome is unknown, up to 10,000."""
    return int(await db.fetchval(HELD, list(lanes)))
