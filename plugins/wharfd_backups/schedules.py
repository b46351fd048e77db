"""What happens by the clock: the daily backup, the weekly drill, the look at the log."""

from __future__ import annotations

from datetime import timedelta

from wharfd import PluginContext, Schedule

from . import upkeep, work
from .config import Settings

Context = PluginContext[Settings]
ACTOR = "schedule"


def schedules(settings: Settings) -> list[Schedule]:
    """Return what is done by the clock."""
    return [
        Schedule(name="daily", cron=settings.daily_at, handler=back_up),
        Schedule(name="drill", cron=settings.drill_at, handler=try_restore),
        Schedule(name="look", every=timedelta(minutes=10), handler=look, jitter_seconds=30),
    ]


async def back_up(ctx: Context) -> None:
    """Ask for the daily backup."""
    await work.ask(ctx, "backup", "daily", ACTOR)


async def try_restore(ctx: Context) -> None:
    """Ask for the weekly drill."""
    await work.ask(ctx, "drill", "weekly", ACTOR)


async def look(ctx: Context) -> None:
    """Look for gaps in the archived log; one that nothing can fill any more is followed by a base backup."""
    keeper = upkeep.keeper_of(ctx)
    if keeper.receiver is None:
        return
    gaps = await keeper.receiver.look_for_gaps()
    for gap in gaps:
        ctx.log.error("log_gap", missing=str(gap))
    if keeper.receiver.state.lost_slot:
        keeper.receiver.state.lost_slot = False
        await work.ask(ctx, "backup", "gap", ACTOR, {"note": "the receiver fell too far behind"})
