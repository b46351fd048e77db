"""`wharfd.data_keys`: the wrapped data keys of all daemons on one database. It never sees an open key."""

from __future__ import annotations

from ..db import Database, Record, sql
from ..secrets.keys import WrappedKey

ALL = sql(
    "secrets_list_keys",
    """SELECT id, purpose, kind, kek_id, wrapped, superseded_at IS NULL AS is_current
         FROM wharfd.data_keys ORDER BY created_at, id""",
)
FIND = sql(
    "secrets_find_key", "SELECT id, purpose, kind, kek_id, wrapped FROM wharfd.data_keys WHERE id = $1"
)
CURRENT = sql(
    "secrets_current_key",
    """SELECT id, purpose, kind, kek_id, wrapped FROM wharfd.data_keys
        WHERE purpose = $1 AND kind = $2 AND superseded_at IS NULL""",
)
ADD_FIRST = sql(
    "secrets_add_first_key",
    """INSERT INTO wharfd.data_keys (id, purpose, kind, kek_id, wrapped) VALUES ($1, $2, $3, $4, $5)
       ON CONFLICT (purpose, kind) WHERE superseded_at IS NULL DO NOTHING""",
)
LOCK = sql(
    "secrets_lock_purpose",
    "SELECT pg_advisory_xact_lock(hashtextextended('wharfd.data_keys ' || $1::text, 0))",
)
SUPERSEDE = sql(
    "secrets_supersede_key",
    """UPDATE wharfd.data_keys SET superseded_at = now()
        WHERE purpose = $1 AND kind = $2 AND superseded_at IS NULL""",
)
ADD = sql(
    "secrets_add_key",
    "INSERT INTO wharfd.data_keys (id, purpose, kind, kek_id, wrapped) VALUES ($1, $2, $3, $4, $5)",
)


class DataKeyTable:
    """The `KeyStore` of a `Vault` in PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> list[tuple[WrappedKey, bool]]:
        """Return every key, and whether it is the current one of its purpose and kind."""
        return [(wrapped_key(row), row["is_current"]) for row in await self._database.fetch(ALL)]

    async def find(self, key_id: int) -> WrappedKey | None:
        """Return the key with that id."""
        if key_id >= 1 << 63:
            return None  # no id of ours, and more than a bigint holds
        row = await self._database.fetchrow(FIND, key_id)
        return wrapped_key(row) if row is not None else None

    async def add_first(self, key: WrappedKey) -> WrappedKey:
        """Store a key for a purpose that has none; return the current one, which may be another daemon's."""
        await self._database.execute(ADD_FIRST, key.id, key.purpose, key.kind, key.kek_id, key.wrapped)
        row = await self._database.fetchrow(CURRENT, key.purpose, key.kind)
        # Keys are never deleted, and superseding one adds the next in the same transaction.
        assert row is not None
        return wrapped_key(row)

    async def add_next(self, key: WrappedKey) -> None:
        """Store a key and make it the current one; the one before it only opens from now on."""
        async with self._database.transaction() as tx:
            await tx.execute(LOCK, key.purpose)
            await tx.execute(SUPERSEDE, key.purpose, key.kind)
            await tx.execute(ADD, key.id, key.purpose, key.kind, key.kek_id, key.wrapped)


def wrapped_key(row: Record) -> WrappedKey:
    """Make a `WrappedKey` of a row of the table."""
    return WrappedKey(row["id"], row["purpose"], row["kind"], row["kek_id"], row["wrapped"])
