"""What alerts, schedules and payments ask the tables. Every question has its own index."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from wharfd import Database, Record, Transaction, sql

from .buyers import COLUMNS

_WITHOUT_TOKEN = sql(
    "buyers_without_token",
    """SELECT b.license_id, b.status_at, i.stage, i.trouble, i.state
FROM mint.buyers b LEFT JOIN mint.intents i ON i.license_id = b.license_id
WHERE b.status = 'active' AND b.tx_hash IS NULL AND b.status_at < $1 ORDER BY b.status_at LIMIT $2""",
)
_STUCK = sql(
    "stuck_mints",
    """SELECT license_id, state, stage, trouble, last_error, created_at FROM mint.intents
WHERE state IN ('ready', 'running', 'buried', 'held')
  AND (state IN ('held', 'buried') OR created_at < $1
    OR stage IN ('capped', 'stopped', 'reorged', 'no_funds'))
ORDER BY created_at LIMIT $2""",
)
_OLD_WIRES = sql(
    "old_wires",
    """SELECT license_id, status_at FROM mint.buyers
WHERE status = 'pending_wire' AND status_at < $1 ORDER BY status_at LIMIT $2""",
)
_COUNT = sql("estimate_buyers", "SELECT count(*) FROM (SELECT FROM mint.buyers LIMIT $1) counted")
_ARCHIVE = sql(
    "archive_buyers",
    f"""WITH moved AS (
  DELETE FROM mint.buyers WHERE id IN (
    SELECT b.id FROM mint.buyers b
    WHERE b.status IN ('refunded', 'expired') AND b.status_at < now() - $1::interval
      AND NOT EXISTS (SELECT FROM mint.intents i WHERE i.license_id = b.license_id
        AND i.state IN ('ready', 'running', 'held', 'buried'))
      AND NOT wharfd.held('mint.buyers', b.owner, b.id)
    ORDER BY b.status, b.status_at LIMIT $2 FOR UPDATE SKIP LOCKED)
  RETURNING {COLUMNS})
INSERT INTO mint.buyers_archive ({COLUMNS}) SELECT {COLUMNS} FROM moved""",
)
_PAYMENT = sql(
    "note_payment",
    """INSERT INTO mint.payments
  (event_id, transaction_id, kind, license_id, amount, currency, outcome, needs_person)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (event_id) DO NOTHING""",
)
_OPEN_PAYMENTS = sql(
    "open_payments",
    """SELECT event_id, transaction_id, kind, license_id, amount, currency, outcome, at FROM mint.payments
WHERE needs_person AND settled_at IS NULL ORDER BY at LIMIT $1""",
)
_SETTLE = sql(
    "settle_payment",
    """UPDATE mint.payments SET settled_at = now()
WHERE event_id = $1 AND needs_person AND settled_at IS NULL""",
)
_STATES = sql(
    "count_mints",
    """SELECT state, count(*) AS n FROM (
  SELECT state FROM mint.intents WHERE state IN ('ready', 'running', 'buried', 'held') LIMIT 10000) s
GROUP BY state""",
)


async def without_token(db: Database, before: datetime, limit: int = 20) -> list[Record]:
    """Return active buyers that have had no token since before a time."""
    return await db.fetch(_WITHOUT_TOKEN, before, limit)


async def stuck(db: Database, before: datetime, limit: int = 20) -> list[Record]:
    """Return mints that wait for a person, are in trouble, or take too long."""
    return await db.fetch(_STUCK, before, limit)


async def old_wires(db: Database, before: datetime, limit: int) -> list[Record]:
    """Return buyers whose wire never came."""
    return await db.fetch(_OLD_WIRES, before, limit)


async def more_buyers_than(db: Database, count: int) -> bool:
    """Return whether there are more buyers than that, without counting all of them."""
    return int(await db.fetchval(_COUNT, count + 1)) > count


async def archive(owner: Database, age: timedelta, limit: int) -> int:
    """Move refunded and expired buyers of that age to the archive and return how many; needs the owner role.

    Age is by the database's clock. Those under a legal hold stay.
    """
    return await owner.execute(_ARCHIVE, age, limit)


async def note_payment(tx: Transaction, *values: Any) -> None:
    """Note a payment and what came of it."""
    await tx.execute(_PAYMENT, *values)


async def open_payments(db: Database, limit: int = 100) -> list[Record]:
    """Return payments that a person has to look at, the oldest first."""
    return await db.fetch(_OPEN_PAYMENTS, limit)


async def settle_payment(tx: Transaction, event_id: str) -> bool:
    """Note that a person has dealt with a payment; False when there is none open of that id."""
    return await tx.execute(_SETTLE, event_id) == 1


async def count_open(db: Database) -> dict[str, int]:
    """Return how many mints are in which state, done ones left out."""
    return {row["state"]: row["n"] for row in await db.fetch(_STATES)}
