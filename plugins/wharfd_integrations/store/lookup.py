"""What the authenticator asks of the database: one key by its short id, one nonce."""

from __future__ import annotations

from datetime import datetime

from wharfd import Queries, Record, sql

from ..model.record import KeyRecord

CHANNEL = "wharfd_keys"

FIND = sql(
    "find_key",
    """SELECT k.id, k.short, k.hash, k.owner, k.integration_id, i.status AS integration_status, k.scopes,
              k.allow_list, k.rate_per_minute, k.signed_only, k.secret, k.expires_at, k.valid_until,
              k.revoked_at
         FROM integrations.keys k LEFT JOIN integrations.integrations i ON i.id = k.integration_id
        WHERE k.short = $1""",
)
KEEP_NONCE = sql(
    "keep_nonce",
    """INSERT INTO integrations.nonces (key_id, nonce, expires_at) VALUES ($1, $2, $3)
       ON CONFLICT (key_id, nonce) DO NOTHING""",
)
FORGET_NONCES = sql(
    "forget_nonces",
    """DELETE FROM integrations.nonces n USING (
           SELECT key_id, nonce FROM integrations.nonces WHERE expires_at < now() LIMIT $1) old
        WHERE n.key_id = old.key_id AND n.nonce = old.nonce""",
)
TELL = sql("tell_key_changed", f"SELECT pg_notify('{CHANNEL}', $1)")


async def find_key(db: Queries, short: str) -> KeyRecord | None:
    """Return the key with that short id."""
    row = await db.fetchrow(FIND, short)
    return None if row is None else _record(row)


async def keep_nonce(db: Queries, key_id: str, nonce: str, expires_at: datetime) -> bool:
    """Remember a nonce; False when it was there already. Committed before the request goes on."""
    return await db.execute(KEEP_NONCE, key_id, nonce, expires_at) == 1


async def forget_nonces(db: Queries, most: int) -> int:
    """Remove up to `most` nonces that their timestamps make useless; returns how many."""
    return await db.execute(FORGET_NONCES, most)


async def tell_changed(tx: Queries, what: str) -> None:
    """Tell every daemon, when the transaction commits, to look at this key or integration anew.

    `what` is the short id of a key or the id of an integration.
    """
    await tx.fetchval(TELL, what)


def _record(row: Record) -> KeyRecord:
    return KeyRecord(
        id=row["id"],
        short=row["short"],
        hash=row["hash"],
        owner=row["owner"],
        integration_id=row["integration_id"],
        integration_status=row["integration_status"],
        scopes=frozenset(row["scopes"]),
        allow_list=tuple(row["allow_list"]),
        rate_per_minute=row["rate_per_minute"],
        signed_only=row["signed_only"],
        secret=row["secret"],
        expires_at=row["expires_at"],
        valid_until=row["valid_until"],
        revoked_at=row["revoked_at"],
    )
