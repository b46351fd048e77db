"""Reading and writing keys, for the people who look after them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache

from wharfd import Queries, Record, Statement, Transaction, sql

from ..model.scopes import Network


@dataclass(frozen=True, kw_only=True)
class NewKeyRow:
    """A key as it is first written; the field names are the columns."""

    id: str
    short: str
    hash: bytes = field(repr=False)
    mode: str
    owner: str | None
    integration_id: str | None
    name: str
    scopes: tuple[str, ...]
    allow_list: tuple[Network, ...]
    rate_per_minute: int | None
    signed_only: bool
    secret: bytes | None = field(repr=False)
    pair: bool
    expires_at: datetime | None
    created_by: str
    rotated_from: str | None = None


_SHOWN = """id, short, mode, owner, integration_id, name, scopes, allow_list, rate_per_minute, signed_only,
       secret IS NOT NULL AS has_secret, pair, expires_at, created_at, created_by, rotated_from, replaced_at,
       valid_until, revoked_at, revoked_by, revoke_reason, last_used_at, last_used_from, use_count"""
_IN_USE = """revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
         AND (valid_until IS NULL OR valid_until > now())"""

INSERT = sql(
    "insert_key",
    """INSERT INTO integrations.keys (id, short, hash, mode, owner, integration_id, name, scopes, allow_list,
              rate_per_minute, signed_only, secret, pair, expires_at, created_by, rotated_from)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)""",
)
GET = sql(
    "get_key", f"SELECT {_SHOWN} FROM integrations.keys WHERE id = $1 AND ($2::text IS NULL OR owner = $2)"
)
LOCK = sql("lock_key", f"{GET.text} FOR UPDATE")
CURRENT = sql(
    "current_key",
    f"""SELECT {_SHOWN} FROM integrations.keys
         WHERE integration_id = $1 AND pair AND replaced_at IS NULL AND revoked_at IS NULL
         ORDER BY id DESC LIMIT 1""",
)
CURRENT_OF = sql(
    "current_keys_of",
    f"""SELECT DISTINCT ON (integration_id) {_SHOWN} FROM integrations.keys
         WHERE integration_id = ANY($1) AND pair AND replaced_at IS NULL AND revoked_at IS NULL
         ORDER BY integration_id, id DESC""",
)
# One owner's keys are made one at a time, so that the count below means something.
COUNT_LOCK = sql("lock_owner", "SELECT pg_advisory_xact_lock(hashtextextended($1, 7041))")
COUNT = sql(
    "count_keys",
    f"SELECT count(*) FROM integrations.keys WHERE owner IS NOT DISTINCT FROM $1 AND {_IN_USE}",
)
COUNT_OF = sql(
    "count_keys_of",
    f"""SELECT integration_id, count(*) AS keys FROM integrations.keys
         WHERE integration_id = ANY($1) AND {_IN_USE} GROUP BY integration_id""",
)
REPLACE = sql(
    "replace_key", "UPDATE integrations.keys SET replaced_at = now(), valid_until = $2 WHERE id = $1"
)
REVOKE = sql(
    "revoke_keys",
    """UPDATE integrations.keys SET revoked_at = now(), revoked_by = $2, revoke_reason = $3
        WHERE id = ANY($1) AND revoked_at IS NULL RETURNING id, short, owner""",
)
DESCENDANTS = sql(
    "descendants_of_key",
    """WITH RECURSIVE made AS (
           SELECT id FROM integrations.keys WHERE created_by = $1 AND created_by LIKE 'key\\_%'
            UNION
           SELECT k.id FROM integrations.keys k JOIN made ON k.created_by = made.id
            WHERE k.created_by LIKE 'key\\_%')
       SELECT id FROM made""",
)
OF_INTEGRATION = sql(
    "keys_of_integration",
    "SELECT id FROM integrations.keys WHERE integration_id = $1 AND revoked_at IS NULL",
)
EXPIRING = sql(
    "expiring_keys",
    """SELECT id, name, owner, expires_at FROM integrations.keys
        WHERE expires_at IS NOT NULL AND revoked_at IS NULL AND replaced_at IS NULL
          AND expires_at > now() AND expires_at < now() + $1
          AND last_used_at > now() - interval '30 days'
        ORDER BY expires_at LIMIT 100""",
)
USED_AFTER_ROTATION = sql(
    "keys_used_after_rotation",
    """SELECT id, name, owner, valid_until, last_used_at FROM integrations.keys
        WHERE replaced_at IS NOT NULL AND revoked_at IS NULL AND replaced_at > now() - interval '90 days'
          AND valid_until > now() AND last_used_at > replaced_at + interval '1 minute'
          AND last_used_at > now() - interval '1 day'
        ORDER BY valid_until LIMIT 100""",
)


async def insert_key(tx: Transaction, row: NewKeyRow) -> None:
    """Write a new key."""
    await tx.execute(
        INSERT, row.id, row.short, row.hash, row.mode, row.owner, row.integration_id, row.name,
        list(row.scopes), list(row.allow_list), row.rate_per_minute, row.signed_only, row.secret,
        row.pair,        row.expires_at, row.created_by, row.rotated_from,
    )  # fmt: skip


async def get_key(db: Queries, key_id: str, owner: str | None) -> Record | None:
    """Return a key of that owner (None: of anybody)."""
    return await db.fetchrow(GET, key_id, owner)


async def lock_key(tx: Transaction, key_id: str, owner: str | None) -> Record | None:
    """Return a key of that owner and hold it until the transaction ends."""
    return await tx.fetchrow(LOCK, key_id, owner)


async def current_key(db: Queries, integration_id: str) -> Record | None:
    """Return the key that goes with an integration's secret now."""
    return await db.fetchrow(CURRENT, integration_id)


async def current_keys_of(db: Queries, integration_ids: Sequence[str]) -> dict[str, Record]:
    """Return the current keys of several integrations."""
    rows = await db.fetch(CURRENT_OF, list(integration_ids))
    return {row["integration_id"]: row for row in rows}


async def count_keys(tx: Transaction, owner: str | None) -> int:
    """Count an owner's keys in use; until the transaction ends nobody adds one."""
    await tx.fetchval(COUNT_LOCK, owner or "")
    return int(await tx.fetchval(COUNT, owner))


async def count_keys_of(db: Queries, integration_ids: Sequence[str]) -> dict[str, int]:
    """Count the keys in use of several integrations; one without any is left out."""
    rows = await db.fetch(COUNT_OF, list(integration_ids))
    return {row["integration_id"]: row["keys"] for row in rows}


async def replace_key(tx: Transaction, key_id: str, valid_until: datetime) -> None:
    """Mark a key as replaced; it goes on until then."""
    await tx.execute(REPLACE, key_id, valid_until)


async def revoke_keys(tx: Transaction, ids: Sequence[str], by: str, reason: str) -> list[Record]:
    """Revoke keys; returns id and short id of those that were not revoked before."""
    return await tx.fetch(REVOKE, list(ids), by, reason)


async def descendants(tx: Transaction, key_id: str) -> list[str]:
    """Return the keys that this key made, and those that they made, and so on."""
    return [row["id"] for row in await tx.fetch(DESCENDANTS, key_id)]


async def keys_of_integration(tx: Transaction, integration_id: str) -> list[str]:
    """Return the keys of an integration that are not revoked."""
    return [row["id"] for row in await tx.fetch(OF_INTEGRATION, integration_id)]


async def expiring_keys(db: Queries, within: timedelta) -> list[Record]:
    """Return keys used lately that end soon and have no successor."""
    return await db.fetch(EXPIRING, within)


async def used_after_rotation(db: Queries) -> list[Record]:
    """Return replaced keys that somebody still uses and that will stop working."""
    return await db.fetch(USED_AFTER_ROTATION)


async def list_keys(
    db: Queries,
    *,
    owner: str | None,
    integration_id: str | None,
    ended: bool,
    limit: int,
    after: str | None,
) -> list[Record]:
    """Return the newest keys, those before the cursor `after`; revoked and ended ones only when asked."""
    given = {"owner": owner, "integration_id": integration_id, "id": after}
    given = {name: value for name, value in given.items() if value is not None}
    return await db.fetch(list_statement(tuple(given), ended=ended), *given.values(), limit)


@lru_cache(32)
def list_statement(given: tuple[str, ...], *, ended: bool) -> Statement:
    """The list statement for exactly these filters, so that each gets the plan that fits it."""
    conditions = [f"{name} {'<' if name == 'id' else '='} ${n}" for n, name in enumerate(given, 1)]
    if not ended:
        conditions.append(_IN_USE)
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    return sql(
        "_".join(["list_keys", *given, *(["ended"] if ended else [])]),
        f"SELECT {_SHOWN} FROM integrations.keys {where} ORDER BY id DESC LIMIT ${len(given) + 1}",
    )
