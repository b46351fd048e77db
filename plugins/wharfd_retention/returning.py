"""Putting a month back into its table while its grace lasts: all of it, at once, and it stays for a while."""

from __future__ import annotations

from datetime import datetime, timedelta

import asyncpg

from wharfd import Conflict, NotFound, PluginContext

from . import store, tables
from .config import Settings
from .store import Unit
from .work import TRY_LOCK

Context = PluginContext[Settings]
STAYS_FOR = timedelta(days=30)


async def put_back(
    ctx: Context, unit_id: str, *, reason: str, until: datetime | None, actor: str
) -> tuple[Unit, datetime]:
    """Attach a month that is out of its table; no run takes it before `until`, or 30 days. Return that too.

    What was noted and not done, because the daemon was killed between, is done by the next run or the next
    call. Raises `NotFound` for what is no month, `Conflict` for one that is dropped or cannot be attached,
    and while a run is at work.
    """
    async with ctx.db.session() as session:
        if not await session.fetchval(TRY_LOCK):
            raise Conflict("a run is at work on the months; try again when it has ended")
        unit = await store.get(ctx.db, unit_id)
        if unit is None or unit.part is None:
            raise NotFound(f"there is no month {unit_id[:80]!r}; wharfd archive list names them")
        if unit.state == "dropped" or not await tables.exists(ctx.db.owner, unit.part):
            raise Conflict(f"{unit.part} is dropped; wharfd archive restore {unit.id} reads its archive")
        there = await tables.is_attached(ctx.db.owner, unit.source, unit.part)
        if there and unit.state != "detached" and unit.stays_until is None:
            raise Conflict(f"{unit.part} is in its table: it is {unit.state}")
        now, _ = await store.clock(ctx.db)
        stays_until = until or now + STAYS_FOR
        async with ctx.db.owner.transaction() as tx:
            await tx.execute(store.STAY, unit.id, stays_until)
            detail = {"month": unit.part, "table": unit.source, "reason": reason}
            await ctx.audit.record(
                tx, actor=actor, action="retention.put_back", subject=unit.id,
                detail={**detail, "until": stays_until.isoformat()},
            )  # fmt: skip
        try:
            await tables.attach(ctx.db.owner, unit.source, unit.part)
        except asyncpg.PostgresError as error:
            async with ctx.db.owner.transaction() as tx:
                await tx.execute(store.GO_ON, unit.id, unit.state, unit.stays_until)
                await ctx.audit.record(
                    tx, actor=actor, action="retention.put_back_failed", subject=unit.id,
                    detail={"month": unit.part, "error": str(error)},
                )  # fmt: skip
            raise Conflict(f"{unit.part} cannot be attached to {unit.source}: {error}") from None
    return unit, stays_until
