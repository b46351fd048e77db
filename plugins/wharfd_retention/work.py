"""The one job of this plugin: a run, one at a time over all daemons."""

from __future__ import annotations

from typing import Any

import msgspec

from wharfd import Job, PluginContext, Snooze, WharfdError, new_id, sql

from . import store
from .config import Settings
from .nightly import Outcome, go

Context = PluginContext[Settings]
TRY_LOCK = sql("retention_try_lock", "SELECT pg_try_advisory_lock(hashtextextended('wharfd.retention', 0))")


class Run(msgspec.Struct):
    """Carry out the run of that id."""

    run: str


async def ask(ctx: Context, actor: str, *, dry: bool, forced: bool = False, rule: str | None = None) -> str:
    """Add a run and the job that carries it out, in one commit; return its id."""
    run_id = new_id("ret")
    async with ctx.db.transaction() as tx:
        await tx.execute(store.ADD_RUN, run_id, actor, dry, forced, rule)
        await ctx.jobs.enqueue(tx, Run(run_id))
        detail = {"dry": dry, "forced": forced, "rule": rule}
        await ctx.audit.record(tx, actor=actor, action="retention.run_asked", subject=run_id, detail=detail)
    return run_id


async def carry_out(ctx: Context, run: Run, job: Job[Any]) -> Snooze | None:
    """Carry out a run; its row tells rule by rule how it goes."""
    async with ctx.db.session() as session:
        if not await session.fetchval(TRY_LOCK):
            return Snooze(5)
        begun = await ctx.db.fetchrow(store.BEGIN_RUN, run.run)
        if begun is None:
            return None

        async def tell(outcomes: list[Outcome]) -> None:
            await ctx.db.execute(store.TELL_RUN, run.run, told(outcomes))

        try:
            outcomes = await go(ctx, dry=begun["dry"], forced=begun["forced"], only=begun["rule"], tell=tell)
        except WharfdError as error:
            ctx.log.error("retention_refused", run=run.run, reason=str(error))
            await ctx.db.execute(store.END_RUN, run.run, "failed", str(error), {})
            ctx.metrics["runs_total"].labels("failed").inc()
            return None
        errors = sum(outcome.errors for outcome in outcomes)
        await ctx.db.execute(store.END_RUN, run.run, "done", None, told(outcomes))
        ctx.metrics["runs_total"].labels("done").inc()
        ctx.metrics["last_run_timestamp_seconds"].set(ctx.now().timestamp())
        for outcome in outcomes:
            ctx.metrics["rows_total"].labels("archived").inc(outcome.archived)
            ctx.metrics["rows_total"].labels("deleted").inc(outcome.deleted)
        ctx.log.info("retention_ran", run=run.run, dry=begun["dry"], errors=errors)
    return None


def told(outcomes: list[Outcome]) -> dict[str, Any]:
    """Return what a run's row holds."""
    plain: dict[str, Any] = msgspec.to_builtins({outcome.rule: outcome for outcome in outcomes})
    return plain


async def every_night(ctx: Context) -> None:
    """Ask for the nightly run."""
    await ask(ctx, "schedule", dry=False)
