"""Roll-ups kept by adding: what batches left as deltas goes into hours and days, and old ones are sealed.

They are never computed anew from points, so dropping points can lose nothing of them.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from wharfd import Finding, PluginContext, ensure_months

from . import store
from .checking import AHEAD
from .config import Settings
from .planning import floor
from .sketch import Summary

ROWS = 5000
_SEAL_AFTER = timedelta(hours=2)  # beyond `late`: a batch that was taken just in time is merged by then
_LATE_SECONDS = 600.0


async def roll_up(ctx: PluginContext[Settings]) -> int:
    """Merge all deltas there are; return how many. Also the schedule's handler."""
    merged = 0
    while True:
        async with ctx.db.transaction() as tx:
            await tx.execute(store.LOCK_ROLLUPS)
            rows = await tx.fetch(store.TAKE, ROWS)
            for table in ("hours", "days"):
                added = _grouped(rows, table)
                if added:
                    for key, there in (await store.read_rollups(tx, table, list(added))).items():
                        added[key].merge(there)
                    await store.write_rollups(tx, table, added)
        merged += len(rows)
        if len(rows) < ROWS:
            return merged


def _grouped(rows: Any, table: str) -> dict[store.Key, Summary]:
    added: dict[store.Key, Summary] = {}
    for row in rows:
        bucket = row["hour"] if table == "hours" else floor(row["hour"], "day")
        key = (row["series_id"], bucket)
        if key in added:
            added[key].merge(store.summary_of(row))
        else:
            added[key] = store.summary_of(row)
    return added


async def seal(ctx: PluginContext[Settings]) -> None:
    """Mark hours and days as final that no point can reach any more."""
    before = ctx.now() - ctx.settings.late - _SEAL_AFTER
    hours = await ctx.db.execute(store.SEAL["hours"], floor(before, "hour"))
    days = await ctx.db.execute(store.SEAL["days"], floor(before, "day") - timedelta(days=1))
    if hours or days:
        ctx.log.info("rollups_sealed", hours=hours, days=days)


async def make_months(ctx: PluginContext[Settings]) -> None:
    """Make the months that late points of today may need; the core makes those to come."""
    now: datetime = ctx.now()
    for table in ("metrics.points", "metrics.hours"):
        await ensure_months(ctx.db.owner, table, now - ctx.settings.late - timedelta(days=1), now + AHEAD)


async def find_late_rollups(ctx: PluginContext[Settings]) -> list[Finding]:
    """Say when roll-ups are behind or not sealed."""
    found = []
    waiting = await store.waiting(ctx.db)
    if waiting["seconds"] > _LATE_SECONDS:
        found.append(Finding(f"roll-ups are {waiting['seconds']:.0f} s behind", "behind", waiting["seconds"]))
    overdue = await ctx.db.fetchval(store.OVERDUE, ctx.now() - ctx.settings.late - timedelta(days=3))
    if overdue:
        found.append(Finding(f"{overdue} hours are not sealed and should be", "unsealed", overdue))
    return found
