"""Marks in the database: a row a minute, some with what the tables held, for whoever restores a copy."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import trio

from wharfd import DatabaseUnavailable, PluginContext, StatementTimeout, WharfdError, sql

from . import upkeep
from .config import Settings
from .engine.marking import exported_snapshot

Context = PluginContext[Settings]
EVERY_SECONDS = 60.0
_COUNTED_EVERY = 10
_KEEP = timedelta(days=40)
ADD = sql("add_mark", "INSERT INTO backups.marks (snapshot, tables) VALUES ($1, $2)")
FORGET = sql("forget_marks", "DELETE FROM backups.marks WHERE at < clock_timestamp() - $1::interval")


async def leave_marks(ctx: Context, every_seconds: float = EVERY_SECONDS) -> None:
    """Leave a mark every minute, for as long as the plugin runs; one that cannot be left is left out."""
    number = 0
    while True:
        try:
            await leave_mark(ctx, counted=number % _COUNTED_EVERY == 0)
        except (DatabaseUnavailable, StatementTimeout, WharfdError) as error:
            ctx.log.warning("mark_not_left", reason=str(error))
        number += 1
        await trio.sleep(every_seconds)


async def leave_mark(ctx: Context, *, counted: bool) -> None:
    """Leave one mark, `counted` with what the tables hold."""
    if not counted:
        await ctx.db.execute(ADD, None, None)
        return
    keeper = upkeep.keeper_of(ctx)
    async with exported_snapshot(keeper.programs, keeper.dsn, largest=200_000) as (_, seen):
        pass
    await ctx.db.execute(ADD, seen.snapshot, msgspec.to_builtins(seen.tables))
    await ctx.db.execute(FORGET, _KEEP)
