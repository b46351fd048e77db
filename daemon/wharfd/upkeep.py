"""What the core does by the clock: months made ahead, statistics and indexes cared for, old hints forgotten.

These are schedules like any plugin's, of the provider `core`; `wharfd schedules` lists them.
"""

from __future__ import annotations

from datetime import timedelta
from time import perf_counter

import structlog
import trio

from .db import sql
from .db.core import CORE
from .db.maintenance import analyze, cleanup, forget, record, reindex
from .db.partitions import ensure
from .declare import Migrations, Schedule
from .machinery import Machinery
from .registry import Registry

PLUGIN = "core"
_ACTOR = "core"
_KEEP_LOG = timedelta(days=400)

_NOW = sql("upkeep.now", "SELECT now()")
_FORGET_KEYS = sql("upkeep.forget_keys", "DELETE FROM wharfd.idempotency_keys WHERE expires_at < now()")
_FORGET_SESSIONS = sql("upkeep.forget_sessions", "DELETE FROM wharfd.ended_sessions WHERE expires_at < now()")
_FORGET_RUNS = sql(
    "upkeep.forget_runs",
    "DELETE FROM wharfd.schedule_runs WHERE started_at < now() - interval '90 days' AND outcome <> 'running' "
    "AND NOT wharfd.held('wharfd.schedule_runs', NULL, id::text)",
)
_FORGET_JOBS = sql(
    "upkeep.forget_jobs",
    """DELETE FROM wharfd.jobs
    WHERE state IN ('done', 'cancelled') AND finished_at < now() - interval '30 days'
      AND NOT wharfd.held('wharfd.jobs', NULL, id::text)""",
)

log = structlog.get_logger("wharfd.upkeep")


class Upkeep:
    """The core's schedules over one machinery; it is their `ctx`."""

    def __init__(self, machinery: Machinery, registry: Registry, *, months_ahead: int) -> None:
        self.machinery = machinery
        self.registry = registry
        self.months_ahead = months_ahead

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Fire the core's schedules until cancelled."""
        queue = await self.machinery.scheduler.declare(PLUGIN, SCHEDULES)
        assert queue is not None
        await self.machinery.engine.run_queues([queue], self, stop=trio.Event(), task_status=task_status)


async def make_months(ctx: Upkeep) -> None:
    """Make the partitions of the coming months."""
    tables = list(CORE[1].partitioned)
    tables += [table for _, migrations in ctx.registry.of(Migrations) for table in migrations.partitioned]
    owner, started = ctx.machinery.db.owner, perf_counter()
    made = await ensure(owner, tables, ahead=ctx.months_ahead)
    if made:
        seconds = (perf_counter() - started) / len(made)
        for name in made:
            await record(owner, "make_partition", name, actor=_ACTOR, seconds=seconds)
        log.info("partitions_made", partitions=made)


async def look_after_tables(ctx: Upkeep) -> None:
    """Bring statistics up to date, vacuum what needs it and rebuild bloated or invalid indexes."""
    db = ctx.machinery.db
    steps = [
        *await analyze(db, actor=_ACTOR),
        *await cleanup(db, actor=_ACTOR),
        *await reindex(db, actor=_ACTOR),
    ]
    log.info("maintenance_done", steps=len(steps))


async def forget_hints(ctx: Upkeep) -> None:
    """Delete what is only useful for a while: idempotency keys, full budgets, old runs and jobs."""
    machinery = ctx.machinery
    now = await machinery.db.fetchval(_NOW)
    log.info(
        "hints_forgotten",
        idempotency_keys=await machinery.db.execute(_FORGET_KEYS),
        sessions=await machinery.db.execute(_FORGET_SESSIONS),
        budgets=await machinery.limits.prune(),
        schedule_runs=await machinery.db.execute(_FORGET_RUNS),
        jobs=await machinery.db.execute(_FORGET_JOBS),
        maintenance=await forget(machinery.db, now - _KEEP_LOG),
    )


SCHEDULES = (
    Schedule(name="make_months", handler=make_months, cron="17 0 * * *", jitter_seconds=300),
    Schedule(name="look_after_tables", handler=look_after_tables, cron="40 3 * * *", jitter_seconds=300),
    Schedule(name="forget_hints", handler=forget_hints, every=timedelta(hours=1), jitter_seconds=60),
)
