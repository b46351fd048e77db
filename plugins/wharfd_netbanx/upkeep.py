"""What goes on beside acceptance while the plugin runs: counts written, keys and answers renewed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from wharfd import DatabaseUnavailable, PluginContext, StatementTimeout

from .acceptance.gates import RELOAD_AT_MOST_EVERY, RELOAD_EVERY, Intake
from .config import Settings
from .keys.loading import TABLE, load, write_uses

WRITE_SECONDS = 10.0

Context = PluginContext[Settings]


async def prepare(ctx: Context) -> None:
    """Open the gates; says loudly when one of them lets everything through."""
    intake = Intake(ctx.settings)
    intake.open_gates()
    if any(source.stored_keys for source in ctx.settings.sources.values()):
        await ctx.secrets.prepare(TABLE)
        await load(ctx, intake)
    ctx.state["intake"] = intake
    ctx.state["started_at"] = ctx.now()
    if not ctx.settings.signature_validation:
        ctx.log.error(
            "signature_validation_is_off",
            sources=sorted(ctx.settings.sources),
            meaning="every delivery is taken, whoever sent it; set signature_validation = true",
        )
    for name, source in ctx.settings.sources.items():
        for remark in source.key_remarks():
            ctx.log.warning("key_remark", source=name, remark=remark)


async def keep_up(ctx: Context, *, task_status: trio.TaskStatus[None]) -> None:
    """Run until cancelled; what is not written yet is written on the way out."""
    intake: Intake = ctx.state["intake"]
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(intake.news.run, ctx)
            nursery.start_soon(intake.stale.run, ctx.cache)
            nursery.start_soon(intake.certificates.fetch_wanted, ctx.http, ctx.log)
            nursery.start_soon(_write_down, ctx, intake)
            nursery.start_soon(_reload_keys, ctx, intake)
            task_status.started()
    finally:
        with trio.CancelScope(shield=True) as scope:
            scope.deadline = trio.current_time() + 3
            await write_down(ctx, intake)


async def write_down(ctx: Context, intake: Intake) -> None:
    """Write refusals and uses of keys once; a database that is away keeps them for the next time."""
    for write in (lambda: intake.refusals.write(ctx.db), lambda: write_uses(ctx, intake)):
        await _try(ctx, "counts_not_written", write)


async def _write_down(ctx: Context, intake: Intake) -> None:
    while True:
        await trio.sleep(WRITE_SECONDS)
        await write_down(ctx, intake)


async def _reload_keys(ctx: Context, intake: Intake) -> None:
    while any(source.stored_keys for source in ctx.settings.sources.values()):
        await trio.sleep(RELOAD_AT_MOST_EVERY.total_seconds())
        with trio.move_on_after((RELOAD_EVERY - RELOAD_AT_MOST_EVERY).total_seconds()):
            await intake.key_missed.wait()
        intake.key_missed = trio.Event()
        await _try(ctx, "keys_not_reloaded", lambda: load(ctx, intake))


async def _try(ctx: Context, event: str, action: Callable[[], Awaitable[object]]) -> None:
    try:
        await action()
    except (DatabaseUnavailable, StatementTimeout) as error:
        ctx.log.warning(event, error=str(error))
