"""Client references: claiming them for the rows of a new batch, and what became of those that were taken."""

from __future__ import annotations

from dataclasses import dataclass

from wharfd import Record, Transaction, sql

_RANGE = 50_000  # rows per statement, so that each stays short

# Sorted, so that two uploads with the same references wait for one another instead of locking crosswise.
CLAIM = sql(
    "claim_refs",
    """INSERT INTO orders.refs (owner, client_ref, batch, idx, fingerprint)
    SELECT owner, client_ref, batch, idx, fingerprint FROM orders.items
    WHERE batch = $1 AND idx >= $2 AND idx < $3 AND client_ref IS NOT NULL
    ORDER BY client_ref, idx
    ON CONFLICT (owner, client_ref) DO NOTHING""",
)
# An order that came to nothing gives its reference to the new one. Its row is locked until our commit, so it
# cannot be taken up in between; should it be retried later, it finds its reference gone and is refused.
TAKE_OVER = sql(
    "take_over_refs",
    """WITH contested AS MATERIALIZED (
      SELECT DISTINCT ON (i.client_ref) i.owner, i.client_ref, i.idx, i.fingerprint, r.batch AS old_batch,
        r.idx AS old_idx
      FROM orders.items i JOIN orders.refs r ON r.owner = i.owner AND r.client_ref = i.client_ref
      WHERE i.batch = $1 AND i.idx >= $2 AND i.idx < $3 AND r.batch <> $1
      ORDER BY i.client_ref, i.idx
    ), free AS MATERIALIZED (
      SELECT e.batch, e.idx FROM orders.items e
      JOIN contested c ON e.batch = c.old_batch AND e.idx = c.old_idx
      WHERE e.state IN ('buried', 'cancelled') AND e.sent_at IS NULL
      ORDER BY e.batch, e.idx FOR UPDATE OF e
    ), purged AS (
      SELECT c.old_batch, c.old_idx FROM contested c
      WHERE NOT EXISTS (SELECT FROM orders.items e WHERE e.batch = c.old_batch AND e.idx = c.old_idx)
        AND NOT EXISTS (SELECT FROM orders.orders o WHERE o.owner = c.owner AND o.client_ref = c.client_ref)
    )
    UPDATE orders.refs r SET batch = $1, idx = c.idx, fingerprint = c.fingerprint, created_at = now()
    FROM contested c
    WHERE r.owner = c.owner AND r.client_ref = c.client_ref AND r.batch = c.old_batch AND r.idx = c.old_idx
      AND ((c.old_batch, c.old_idx) IN (SELECT batch, idx FROM free)
        OR (c.old_batch, c.old_idx) IN (SELECT old_batch, old_idx FROM purged))""",
)
JUDGE = sql(
    "judge_refs",
    """UPDATE orders.items i SET
      state = CASE WHEN r.batch <> $1 AND r.fingerprint = i.fingerprint THEN 'duplicate' ELSE 'skipped' END,
      code = CASE WHEN r.batch = $1 THEN 'duplicate_ref_in_file'
        WHEN r.fingerprint = i.fingerprint THEN 'duplicate' ELSE 'ref_reused' END,
      same_batch = r.batch, same_idx = r.idx, finished_at = now(),
      last_error = CASE WHEN r.batch = $1 THEN 'another row of the file has the same clientRef'
        WHEN r.fingerprint = i.fingerprint THEN NULL
        ELSE 'an earlier order has this clientRef and another content' END
    FROM orders.refs r
    WHERE i.batch = $1 AND i.idx >= $2 AND i.idx < $3 AND i.client_ref IS NOT NULL AND i.state <> 'skipped'
      AND r.owner = i.owner AND r.client_ref = i.client_ref AND (r.batch, r.idx) <> (i.batch, i.idx)""",
)
WRONG = sql(
    "wrong_refs",
    """SELECT i.idx, i.line, i.code, i.client_ref, i.last_error, e.line AS first_line, b.id AS other_batch
    FROM orders.items i
    LEFT JOIN orders.items e ON e.batch = i.same_batch AND e.idx = i.same_idx
    LEFT JOIN orders.batches b ON b.number = i.same_batch
    WHERE i.batch = $1 AND i.state = 'skipped' AND i.code IN ('duplicate_ref_in_file', 'ref_reused')
    ORDER BY i.idx LIMIT $2""",
)
SUMS = sql(
    "sum_items",
    """SELECT currency, coalesce(sum(amount) FILTER (WHERE state <> 'skipped'), 0)::bigint AS amount,
      count(*) FILTER (WHERE state = 'duplicate') AS duplicates,
      count(*) FILTER (WHERE code IN ('duplicate_ref_in_file', 'ref_reused') AND state = 'skipped') AS wrong
    FROM orders.items WHERE batch = $1 AND currency IS NOT NULL GROUP BY currency""",
)


@dataclass(frozen=True)
class Judged:
    """What claiming the references of a batch came to."""

    conflicts: int
    taken_over: int


async def claim(tx: Transaction, batch: int, rows: int, with_refs: int) -> Judged:
    """Claim the references of all rows; those that are taken become duplicates or are skipped."""
    if not with_refs:
        return Judged(0, 0)
    claimed = taken = conflicts = 0
    ranges = [(start, start + _RANGE) for start in range(0, rows, _RANGE)]
    for first, end in ranges:
        claimed += await tx.execute(CLAIM, batch, first, end)
    if claimed == with_refs:
        return Judged(0, 0)
    for first, end in ranges:
        taken += await tx.execute(TAKE_OVER, batch, first, end)
    if claimed + taken < with_refs:
        for first, end in ranges:
            conflicts += await tx.execute(JUDGE, batch, first, end)
    return Judged(conflicts, taken)


async def wrong(tx: Transaction, batch: int, limit: int) -> list[Record]:
    """Return the first rows whose reference cannot be taken, and who has it."""
    return await tx.fetch(WRONG, batch, limit)


async def sums(tx: Transaction, batch: int) -> list[Record]:
    """Return, by currency, what the rows that were not skipped add up to, and how many are wrong or known."""
    return await tx.fetch(SUMS, batch)
