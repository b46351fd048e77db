"""Reading and writing integrations."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from wharfd import Queries, Record, Statement, Transaction, sql


@dataclass(frozen=True, kw_only=True)
class NewIntegrationRow:
    """An integration as it is first written."""

    id: str
    owner: str | None
    name: str
    type: str
    config: dict[str, Any]
    config_secrets: bytes | None = field(repr=False)
    webhook_url: str | None
    webhook_secret: bytes | None = field(repr=False)
    created_by: str


_COLUMNS = """id, owner, name, type, status, suspended_by_house, config, config_secrets, webhook_url,
       webhook_secret, created_at, created_by, updated_at, last_used_at, usage_count"""

INSERT = sql(
    "insert_integration",
    f"""INSERT INTO integrations.integrations (id, owner, name, type, status, config, config_secrets,
               webhook_url, webhook_secret, created_by)
        VALUES ($1, $2, $3, $4, 'pending', $5, $6, $7, $8, $9) RETURNING {_COLUMNS}""",
)
GET = sql(
    "get_integration",
    f"SELECT {_COLUMNS} FROM integrations.integrations WHERE id = $1 AND ($2::text IS NULL OR owner = $2)",
)
LOCK = sql("lock_integration", f"{GET.text} FOR UPDATE")
UPDATE = sql(
    "update_integration",
    f"""UPDATE integrations.integrations
           SET name = $2, status = $3, suspended_by_house = $4, config = $5, config_secrets = $6,
               webhook_url = $7, webhook_secret = $8, updated_at = now()
         WHERE id = $1 RETURNING {_COLUMNS}""",
)
DELETE = sql("delete_integration", "DELETE FROM integrations.integrations WHERE id = $1")
LOCK_OWNER = sql("lock_owner", "SELECT pg_advisory_xact_lock(hashtextextended($1, 7042))")
COUNT = sql(
    "count_integrations",
    "SELECT count(*) FROM integrations.integrations WHERE owner IS NOT DISTINCT FROM $1",
)


async def insert_integration(tx: Transaction, row: NewIntegrationRow) -> Record:
    """Write a new integration, pending, and return it."""
    made = await tx.fetchrow(
        INSERT, row.id, row.owner, row.name, row.type, row.config, row.config_secrets, row.webhook_url,
        row.webhook_secret, row.created_by,
    )  # fmt: skip
    assert made is not None
    return made


async def get_integration(db: Queries, integration_id: str, owner: str | None) -> Record | None:
    """Return an integration of that owner (None: of anybody)."""
    return await db.fetchrow(GET, integration_id, owner)


async def lock_integration(tx: Transaction, integration_id: str, owner: str | None) -> Record | None:
    """Return an integration of that owner and hold it until the transaction ends."""
    return await tx.fetchrow(LOCK, integration_id, owner)


async def update_integration(tx: Transaction, integration_id: str, values: dict[str, Any]) -> Record:
    """Write what can be changed of an integration, from a row or over it, and return it."""
    columns = (
        "name", "status", "suspended_by_house", "config", "config_secrets", "webhook_url", "webhook_secret",
    )  # fmt: skip
    changed = await tx.fetchrow(UPDATE, integration_id, *(values[column] for column in columns))
    assert changed is not None
    return changed


async def delete_integration(tx: Transaction, integration_id: str) -> None:
    """Remove an integration; its keys and its usage log stay, the keys to be revoked by the caller."""
    await tx.execute(DELETE, integration_id)


async def count_integrations(tx: Transaction, owner: str | None) -> int:
    """Count an owner's integrations; until the transaction ends nobody adds one."""
    await tx.fetchval(LOCK_OWNER, owner or "")
    return int(await tx.fetchval(COUNT, owner))


async def list_integrations(
    db: Queries, *, owner: str | None, type: str | None, status: str | None, limit: int, after: str | None
) -> list[Record]:
    """Return the newest integrations, those before the cursor `after`."""
    given = {"owner": owner, "type": type, "status": status, "id": after}
    given = {name: value for name, value in given.items() if value is not None}
    return await db.fetch(list_statement(tuple(given)), *given.values(), limit)


@lru_cache(32)
def list_statement(given: tuple[str, ...]) -> Statement:
    """The list statement for exactly these filters, so that each gets the plan that fits it."""
    conditions = [f"{name} {'<' if name == 'id' else '='} ${n}" for n, name in enumerate(given, 1)]
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    return sql(
        "_".join(["list_integrations", *given]),
        f"SELECT {_COLUMNS} FROM integrations.integrations {where} ORDER BY id DESC LIMIT ${len(given) + 1}",
    )
