"""The ledger: one row per order that was carried out."""

from __future__ import annotations

from collections.abc import Sequence

from wharfd import Queries, Record, Transaction, sql

# The id follows from batch and index: the same order always has the same one. The indexes stand there twice,
# so that only these rows are read even while the planner knows nothing of a batch loaded a moment ago.
RECORD = sql(
    "record_orders",
    """INSERT INTO orders.orders (id, owner, batch, idx, client_ref, account, currency, amount, executor,
      external_id, payload, result)
    SELECT 'ord_' || substr($3, 5) || '_' || lpad(i.idx::text, 7, '0'), i.owner, i.batch, i.idx, i.client_ref,
      i.account, i.currency, i.amount, $4, g.external_id, i.payload, g.result::jsonb
    FROM unnest($2::int[], $5::text[], $6::text[]) AS g (idx, external_id, result)
    JOIN orders.items i ON i.batch = $1 AND i.idx = g.idx AND i.idx = ANY ($2::int[])
    WHERE i.client_ref IS NULL OR EXISTS (SELECT FROM orders.refs r WHERE r.owner = i.owner
      AND r.client_ref = i.client_ref AND r.batch = i.batch AND r.idx = i.idx)
    ON CONFLICT DO NOTHING
    RETURNING idx""",
)
RECORDED = sql("recorded_orders", "SELECT idx FROM orders.orders WHERE batch = $1 AND idx = ANY ($2::int[])")
_SHOWN = """o.id, o.owner, b.id AS batch_id, o.idx, o.client_ref, o.account, o.currency, o.amount, o.executor,
    o.external_id, o.payload, o.result, o.created_at"""
LIST_ALL = sql(
    "list_orders",
    f"""SELECT {_SHOWN} FROM orders.orders o LEFT JOIN orders.batches b ON b.number = o.batch
    WHERE o.id < $1 ORDER BY o.id DESC LIMIT $2""",
)
LIST_OWN = sql(
    "list_own_orders",
    f"""SELECT {_SHOWN} FROM orders.orders o LEFT JOIN orders.batches b ON b.number = o.batch
    WHERE o.owner = $3 AND o.id < $1 ORDER BY o.id DESC LIMIT $2""",
)
LIST_ACCOUNT = sql(
    "list_account_orders",
    f"""SELECT {_SHOWN} FROM orders.orders o LEFT JOIN orders.batches b ON b.number = o.batch
    WHERE o.owner = $3 AND o.account = $4 AND o.id < $1 ORDER BY o.id DESC LIMIT $2""",
)
BY_REF = sql(
    "find_order_by_ref",
    f"""SELECT {_SHOWN} FROM orders.orders o LEFT JOIN orders.batches b ON b.number = o.batch
    WHERE o.owner = $1 AND o.client_ref = $2""",
)
LAST = "ord_zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz"


async def record(
    tx: Transaction,
    batch: int,
    batch_id: str,
    executor: str,
    indexes: Sequence[int],
    external_ids: Sequence[str | None],
    results: Sequence[str | None],
) -> set[int]:
    """Write orders that were carried out; return the indexes that are in the ledger afterwards.

    One that is missing has lost its client reference to another order.
    """
    written = await tx.fetch(
        RECORD, batch, list(indexes), batch_id, executor, list(external_ids), list(results)
    )
    found = {row["idx"] for row in written}
    if len(found) < len(indexes):
        missing = [idx for idx in indexes if idx not in found]
        found.update(row["idx"] for row in await tx.fetch(RECORDED, batch, missing))
    return found


async def listed(
    db: Queries, owner: str | None, account: str | None, before: str | None, limit: int
) -> list[Record]:
    """Return the newest orders: of all, of an owner, or of an owner's account."""
    cursor = before or LAST
    if owner is None:
        return await db.fetch(LIST_ALL, cursor, limit)
    if account is None:
        return await db.fetch(LIST_OWN, cursor, limit, owner)
    return await db.fetch(LIST_ACCOUNT, cursor, limit, owner, account)


async def by_ref(db: Queries, owner: str, client_ref: str) -> Record | None:
    """Return the order with a client's reference."""
    return await db.fetchrow(BY_REF, owner, client_ref)
