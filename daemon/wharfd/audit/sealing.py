"""Sealing: one daemon at a time takes the rows that wait and gives each its place in the chain."""

from __future__ import annotations

from ..db import Database, Queries, sql
from .chain import HASHED_COLUMNS, START, Seal, continued, hash_of_missing, hash_of_row

BATCH_ROWS = 1000

TRY_LOCK = sql(
    "audit_try_sealer_lock", "SELECT pg_try_advisory_xact_lock(hashtextextended('wharfd.audit sealer', 0))"
)
HEAD = sql("audit_head", "SELECT seq, hash FROM wharfd.audit_seals ORDER BY seq DESC LIMIT 1")
PENDING = sql(
    "audit_list_pending",
    f"""SELECT p.audit_id, p.recorded_at, {HASHED_COLUMNS}
          FROM wharfd.audit_pending p
          LEFT JOIN wharfd.audit a ON a.recorded_at = p.recorded_at AND a.id = p.audit_id
         ORDER BY p.recorded_at, p.audit_id LIMIT {BATCH_ROWS}""",
)
ADD = sql(
    "audit_add_seal",
    "INSERT INTO wharfd.audit_seals (seq, audit_id, recorded_at, row_hash, hash) VALUES ($1, $2, $3, $4, $5)",
)
FORGET = sql(
    "audit_forget_pending",
    """DELETE FROM wharfd.audit_pending p
        USING unnest($1::timestamptz[], $2::text[]) AS d (recorded_at, audit_id)
        WHERE p.recorded_at = d.recorded_at AND p.audit_id = d.audit_id""",
)


async def head(database: Queries) -> Seal | None:
    """Return the newest seal."""
    row = await database.fetchrow(HEAD)
    return Seal(row["seq"], row["hash"]) if row is not None else None


async def seal_pending(database: Database) -> tuple[int, Seal | None]:
    """Seal up to `BATCH_ROWS` rows; return how many and the new head, or 0 and None.

    The order is that in which they are sealed: a row of a transaction that took long comes later than its
    time says. The lock ends with the transaction, so a sealer that dies holds nobody up.
    """
    async with database.transaction() as tx:
        if not await tx.fetchval(TRY_LOCK):
            return 0, None
        rows = await tx.fetch(PENDING)
        if not rows:
            return 0, None
        newest = await head(tx) or Seal(0, START)
        seals = []
        for row in rows:
            row_hash = hash_of_row(row) if row["id"] is not None else hash_of_missing(row["audit_id"])
            newest = continued(newest, row_hash)
            seals.append((newest.seq, row["audit_id"], row["recorded_at"], row_hash, newest.hash))
        await tx.executemany(ADD, seals)
        await tx.execute(FORGET, [seal[2] for seal in seals], [seal[1] for seal in seals])
    return len(seals), newest
