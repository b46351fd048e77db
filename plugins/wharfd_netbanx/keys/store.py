"""The statements about stored keys. The sealed value is opened in `keys.loading` and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from wharfd import Queries, Record, sql

_COLUMNS = """id, source, owner, name, description, key_encoding, fingerprint, version, active, valid_from,
  valid_until, created_at, updated_at, created_by, last_used_at, use_count"""

ADD = sql(
    "add_secret",
    f"""INSERT INTO netbanx.secrets (id, source, owner, name, description, key_encoding, sealed, fingerprint,
  version, valid_from, valid_until, created_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) RETURNING {_COLUMNS}""",
)
LIST = sql(
    "list_secrets",
    f"""SELECT {_COLUMNS} FROM netbanx.secrets
WHERE ($1::text IS NULL OR owner = $1) AND ($2::text IS NULL OR source = $2)
ORDER BY source, name, version DESC LIMIT $3""",
)
FIND = sql(
    "find_secret",
    f"SELECT {_COLUMNS} FROM netbanx.secrets WHERE id = $1 AND ($2::text IS NULL OR owner = $2)",
)
# The newest version is the one that is rotated; the row lock keeps two rotations apart.
NEWEST = sql(
    "find_newest_secret",
    f"""SELECT {_COLUMNS} FROM netbanx.secrets WHERE source = $1 AND name = $2
ORDER BY version DESC LIMIT 1 FOR UPDATE""",
)
CHANGE = sql(
    "change_secret",
    f"""UPDATE netbanx.secrets SET description = coalesce($2, description), active = coalesce($3, active),
  updated_at = now() WHERE id = $1 RETURNING {_COLUMNS}""",
)
END = sql(
    "end_secret",
    """UPDATE netbanx.secrets SET valid_until = least(valid_until, now() + $2::interval), updated_at = now()
WHERE id = $1""",
)
DELETE = sql("delete_secret", "DELETE FROM netbanx.secrets WHERE id = $1")
# Keys that are over are left out, with a day's grace for clocks that differ.
USABLE = sql(
    "usable_secrets",
    """SELECT id, source, key_encoding, sealed, valid_from, valid_until, created_at FROM netbanx.secrets
WHERE active AND (valid_until IS NULL OR valid_until > now() - interval '1 day')
ORDER BY source, version DESC, created_at DESC""",
)
USED = sql(
    "count_secret_uses",
    """UPDATE netbanx.secrets s SET use_count = s.use_count + g.uses,
  last_used_at = greatest(s.last_used_at, g.at)
FROM unnest($1::text[], $2::bigint[], $3::timestamptz[]) AS g (id, uses, at) WHERE s.id = g.id""",
)


async def add(
    tx: Queries,
    *,
    id: str,
    source: str,
    owner: str | None,
    name: str,
    description: str,
    key_encoding: str,
    sealed: bytes,
    fingerprint: str,
    version: int,
    valid_from: datetime | None,
    valid_until: datetime | None,
    created_by: str,
) -> Record:
    """Add a key and return its row without the sealed value."""
    row = await tx.fetchrow(
        ADD,
        id,
        source,
        owner,
        name,
        description,
        key_encoding,
        sealed,
        fingerprint,
        version,
        valid_from,
        valid_until,
        created_by,
    )
    assert row is not None
    return row


async def list_keys(database: Queries, owner: str | None, source: str | None) -> Sequence[Record]:
    """Return the keys of a source, or of all; there are few."""
    return await database.fetch(LIST, owner, source, 1000)


async def find(database: Queries, key_id: str, owner: str | None) -> Record | None:
    """Return one key."""
    return await database.fetchrow(FIND, key_id, owner)


async def newest(tx: Queries, source: str, name: str) -> Record | None:
    """Return the newest version of a key, locked."""
    return await tx.fetchrow(NEWEST, source, name)


async def change(tx: Queries, key_id: str, description: str | None, active: bool | None) -> Record | None:
    """Change what is given."""
    return await tx.fetchrow(CHANGE, key_id, description, active)


async def end(tx: Queries, key_id: str, after: timedelta) -> None:
    """Let a key count for no longer than `after`."""
    await tx.execute(END, key_id, after)


async def delete(tx: Queries, key_id: str) -> bool:
    """Throw a key away; False if it was not there."""
    return await tx.execute(DELETE, key_id) > 0


async def usable(database: Queries) -> Sequence[Record]:
    """Return the sealed keys that count now or will."""
    return await database.fetch(USABLE)


async def count_uses(database: Queries, uses: Sequence[tuple[str, int, datetime | None]]) -> None:
    """Write down how often keys were used since the last time."""
    await database.execute(USED, [use[0] for use in uses], [use[1] for use in uses], [use[2] for use in uses])
