"""Idempotency-Key of uploads: held while one is received, afterwards the way to the batch it made."""

from __future__ import annotations

from wharfd import Queries, Record, Transaction, sql

LEASE_SECONDS = 60.0

CLAIM = sql(
    "claim_upload_key",
    """INSERT INTO orders.keys AS held (owner, key, claim, lease_until)
    VALUES ($1, $2, $3, now() + make_interval(secs => $4))
    ON CONFLICT (owner, key) DO UPDATE SET claim = excluded.claim, lease_until = excluded.lease_until
      WHERE held.batch IS NULL AND held.lease_until <= now()
    RETURNING claim""",
)
FIND = sql(
    "find_upload_key",
    """SELECT k.fingerprint, k.batch, b.id AS batch_id FROM orders.keys k
    LEFT JOIN orders.batches b ON b.number = k.batch WHERE k.owner = $1 AND k.key = $2""",
)
EXTEND = sql(
    "extend_upload_key",
    """UPDATE orders.keys SET lease_until = now() + make_interval(secs => $4)
    WHERE owner = $1 AND key = $2 AND claim = $3 AND batch IS NULL""",
)
SETTLE = sql(
    "settle_upload_key",
    """UPDATE orders.keys SET batch = $4, fingerprint = $5
    WHERE owner = $1 AND key = $2 AND claim = $3 AND batch IS NULL""",
)
RELEASE = sql(
    "release_upload_key",
    "DELETE FROM orders.keys WHERE owner = $1 AND key = $2 AND claim = $3 AND batch IS NULL",
)


async def claim(db: Queries, owner: str, key: str, number: int) -> bool:
    """Take a key for an upload; False when it is taken."""
    return await db.fetchval(CLAIM, owner, key, number, LEASE_SECONDS) is not None


async def find(db: Queries, owner: str, key: str) -> Record | None:
    """Return what the key stands for: a batch, or an upload that is under way."""
    return await db.fetchrow(FIND, owner, key)


async def extend(db: Queries, owner: str, key: str, number: int) -> bool:
    """Hold on to a key while the upload goes on; False when it was lost."""
    return await db.execute(EXTEND, owner, key, number, LEASE_SECONDS) > 0


async def settle(tx: Transaction, owner: str, key: str, number: int, batch: int, fingerprint: bytes) -> bool:
    """Tie the key to the batch that was made, for good; False when it was lost."""
    return await tx.execute(SETTLE, owner, key, number, batch, fingerprint) > 0


async def release(db: Queries, owner: str, key: str, number: int) -> None:
    """Give a key back that came to nothing."""
    await db.execute(RELEASE, owner, key, number)
