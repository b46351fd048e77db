"""Which transaction made which license's token, as far as our own ledger or a person's word tells."""

from __future__ import annotations

from collections.abc import Sequence

from wharfd import Database, Transaction, sql

_OF_LICENSE = sql(
    "claims_of_license", "SELECT tx_hash FROM mint.claims WHERE license_id = $1 ORDER BY said_at"
)
_OF_OTHERS = sql(
    "made_for_others",
    """SELECT hash FROM mint.attempts a JOIN mint.intents i ON i.id = a.intent_id
WHERE a.hash = ANY ($1::text[]) AND i.license_id <> $2
UNION SELECT lower(tx_hash) FROM mint.intents
WHERE lower(tx_hash) = ANY ($1::text[]) AND tx_hash IS NOT NULL AND license_id <> $2
UNION SELECT tx_hash FROM mint.claims WHERE tx_hash = ANY ($1::text[]) AND license_id IS DISTINCT FROM $2""",
)
_SAY = sql(
    "claim_transaction",
    """INSERT INTO mint.claims (tx_hash, license_id, said_by) VALUES ($1, $2, $3)
ON CONFLICT (tx_hash) DO UPDATE SET license_id = $2, said_by = $3, said_at = now()""",
)


async def of_license(db: Database, license_id: str) -> list[str]:
    """Return the transactions of which a person said that they made this license's token."""
    return [row["tx_hash"] for row in await db.fetch(_OF_LICENSE, license_id)]


async def of_others(db: Database | Transaction, hashes: Sequence[str], license_id: str) -> set[str]:
    """Return which of these transactions made something else than this license's token."""
    rows = await db.fetch(_OF_OTHERS, list(hashes), license_id) if hashes else []
    return {row["hash"] for row in rows}


async def say(tx: Transaction, tx_hash: str, license_id: str | None, actor: str) -> None:
    """Keep a person's word: the transaction made this license's token, or (None) that of no license here."""
    await tx.execute(_SAY, tx_hash, license_id, actor)
