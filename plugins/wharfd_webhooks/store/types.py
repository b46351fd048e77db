"""Event types that callers defined themselves."""

from __future__ import annotations

from typing import Any

from wharfd import Queries, Record, Transaction, sql

_SHOWN = "type, owner, description, schema, deprecated, created_at, updated_at"

PUT = sql(
    "put_event_type",
    f"""
    INSERT INTO webhooks.event_types (type, owner, description, schema, deprecated)
    VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (type, owner) DO UPDATE
       SET description = excluded.description, schema = excluded.schema, deprecated = excluded.deprecated,
           updated_at = now()
    RETURNING {_SHOWN}
    """,
)
# A caller's own type hides the house's of the same name.
FIND = sql(
    "find_event_type",
    f"""
    SELECT {_SHOWN} FROM webhooks.event_types
     WHERE type = $1 AND owner = ANY (ARRAY[$2, '']) ORDER BY owner DESC LIMIT 1
    """,
)
LIST = sql(
    "list_event_types",
    f"""
    SELECT {_SHOWN} FROM webhooks.event_types
     WHERE owner = ANY (ARRAY[$1, '']) ORDER BY type, owner LIMIT 2000
    """,
)
COUNT = sql("count_event_types", "SELECT count(*) FROM webhooks.event_types WHERE owner = $1")
DELETE = sql("delete_event_type", "DELETE FROM webhooks.event_types WHERE type = $1 AND owner = $2")


async def put(
    tx: Transaction, event_type: str, owner: str | None, description: str, schema: Any, *, deprecated: bool
) -> Record:
    """Define or change an event type."""
    row = await tx.fetchrow(PUT, event_type, owner or "", description, schema, deprecated)
    assert row is not None
    return row


async def find(db: Queries, event_type: str, owner: str | None) -> Record | None:
    """Return the definition an owner's event of this type has to fit: its own, or the house's."""
    return await db.fetchrow(FIND, event_type, owner or "")


async def visible(db: Queries, owner: str | None) -> list[Record]:
    """Return the definitions an owner sees."""
    return await db.fetch(LIST, owner or "")


async def count(db: Queries, owner: str | None) -> int:
    """Return how many an owner has defined."""
    return int(await db.fetchval(COUNT, owner or ""))


async def delete(tx: Transaction, event_type: str, owner: str | None) -> bool:
    """Delete a definition of the owner's own; False when there is none."""
    return await tx.execute(DELETE, event_type, owner or "") > 0
