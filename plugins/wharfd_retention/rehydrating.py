"""Archived rows in a table beside, to look at with SQL or to copy from: made, listed, and gone at a date.

They lie in the schema `rehydrated`, one table an archive, which the owner role alone may read.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from wharfd import PluginContext, Queries, Transaction, sql

from . import store, tables
from .archiving import lots
from .cold import archive_of, trusted
from .config import Settings
from .store import Unit

Context = PluginContext[Settings]
SCHEMA = "rehydrated"

MAKE_SCHEMA = sql("rehydrated_schema", f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
NOTE = sql(
    "rehydrated_note",
    """INSERT INTO retention.rehydrated (id, relation, source, rows, made_by, ends_at)
    VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (id) DO UPDATE SET relation = excluded.relation, rows = excluded.rows,
      made_by = excluded.made_by, made_at = now(), ends_at = excluded.ends_at""",
)
LIST = sql("rehydrated_list", "SELECT * FROM retention.rehydrated ORDER BY made_at DESC LIMIT 500")
RELATION = sql("rehydrated_relation", "SELECT relation FROM retention.rehydrated WHERE id = $1")
TAKE = sql("rehydrated_take", "DELETE FROM retention.rehydrated WHERE id = $1 RETURNING relation")
ENDED = sql("rehydrated_ended", "SELECT id FROM retention.rehydrated WHERE ends_at <= now() ORDER BY ends_at")


class Rehydrated(msgspec.Struct, frozen=True):
    """One row of `retention.rehydrated`."""

    id: str
    relation: str
    source: str
    rows: int
    made_by: str
    made_at: datetime
    ends_at: datetime


async def restore(ctx: Context, unit: Unit, *, until: datetime | None, actor: str) -> Rehydrated:
    """Put an archive's rows into `rehydrated.<id>`, made like the table they came from, until a date.

    Doing it again makes the table anew. Raises `ArchiveDamaged`, and changes nothing then.
    """
    manifest = await trusted(ctx, unit)
    now, _ = await store.clock(ctx.db)
    ends_at = until or now + ctx.settings.rehydrated_for
    target, count = f"{SCHEMA}.{unit.id}", 0
    await ctx.db.owner.execute(MAKE_SCHEMA)
    async with ctx.db.owner.transaction() as tx:
        await _drop_table(ctx, tx, unit.id)
        await tables.make_like(tx, unit.source, target)
        async with lots(archive_of(ctx), manifest) as lines:
            async for lot in lines:
                count += await tables.refill(tx, unit.source, target, lot)
        await tx.execute(NOTE, unit.id, target, unit.source, count, actor, ends_at)
        await ctx.audit.record(
            tx, actor=actor, action="retention.restored", subject=unit.id,
            detail={"table": target, "rows": count, "until": ends_at.isoformat()},
        )  # fmt: skip
    return Rehydrated(unit.id, target, unit.source, count, actor, now, ends_at)


async def listed(db: Queries) -> list[Rehydrated]:
    """Return what lies beside, the newest first."""
    return [Rehydrated(**dict(row)) for row in await db.fetch(LIST)]


async def drop(ctx: Context, unit_id: str, *, actor: str) -> str | None:
    """Drop the table of an archive and return its name; None when there is none. The archive stays."""
    async with ctx.db.owner.transaction() as tx:
        relation = await _drop_table(ctx, tx, unit_id)
        if relation is None:
            return None
        await tx.execute(TAKE, unit_id)
        await ctx.audit.record(
            tx, actor=actor, action="retention.rehydrated_dropped", subject=unit_id,
            detail={"part": relation},
        )  # fmt: skip
    return relation


async def drop_ended(ctx: Context) -> list[str]:
    """Drop the tables whose date has come, and return their names."""
    dropped = [await drop(ctx, row[0], actor="retention") for row in await ctx.db.fetch(ENDED)]
    return [relation for relation in dropped if relation is not None]


async def _drop_table(ctx: Context, tx: Transaction, unit_id: str) -> str | None:
    relation: str | None = await tx.fetchval(RELATION, unit_id)
    await tx.execute(tables.drop_if_there(relation or f"{SCHEMA}.{unit_id}"))
    return relation
