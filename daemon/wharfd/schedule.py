"""Schedules: things done again and again, one firing across all daemons.

A schedule is a work row whose due time is its next time; claiming it is what makes a firing happen once.
A handler that runs long keeps its lease by heartbeat; a daemon that dies leaves the firing to another one.
All times are UTC and the database's.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import structlog
import trio
from cronsim import CronSim

from .db import Database, Transaction, sql
from .declare import Retry, Schedule, WorkQueue
from .errors import UnknownSchedule
from .work.control import Audit
from .work.engine import WorkEngine
from .work.job import Job
from .work.outcomes import Again, Snooze, single
from .work.queue import Queue
from .work.retry import told

QUEUE = "schedules"
LEASE_SECONDS = 60.0
_CONCURRENCY = 16
_ELSEWHERE_SECONDS = 60.0  # a schedule this daemon does not know is offered again, for one that does

_NOW = sql("schedule.now", "SELECT now()")
_HAVE = sql(
    "schedule.have",
    "SELECT name, definition, absent_since FROM wharfd.schedules WHERE plugin = $1 ORDER BY name FOR UPDATE",
)
_ADD = sql(
    "schedule.add",
    """INSERT INTO wharfd.schedules (name, plugin, definition, planned_at, due_at)
VALUES ($1, $2, $3, $4, $5) ON CONFLICT (name) DO NOTHING""",
)
_CHANGE = sql(
    "schedule.change",
    """UPDATE wharfd.schedules SET definition = $2, planned_at = $3, due_at = $4, absent_since = NULL,
  by_hand = false, finished_at = NULL,
  attempts = CASE WHEN state IN ('ready', 'running', 'held') THEN attempts ELSE 0 END,
  state = CASE WHEN state IN ('ready', 'running', 'held') THEN state ELSE 'ready' END
WHERE name = $1""",
)
_ABSENT = sql(
    "schedule.absent",
    """UPDATE wharfd.schedules SET absent_since = now(), finished_at = now(),
  state = CASE WHEN state = 'running' THEN state ELSE 'cancelled' END
WHERE plugin = $1 AND absent_since IS NULL AND NOT name = ANY ($2::text[])""",
)
_BEGIN = sql(
    "schedule.begin",
    """WITH lost AS (
  UPDATE wharfd.schedule_runs SET outcome = 'lost', finished_at = now(), error = 'its daemon died'
  WHERE schedule = $1 AND outcome = 'running')
INSERT INTO wharfd.schedule_runs (schedule, planned_at, by_hand, node)
SELECT name, CASE WHEN by_hand THEN now() ELSE planned_at END, by_hand, $2
FROM wharfd.schedules WHERE name = $1 RETURNING id""",
)
_END = sql(
    "schedule.end",
    "UPDATE wharfd.schedule_runs SET outcome = $2, error = $3, finished_at = now() WHERE id = $1",
)
_NEXT = sql(
    "schedule.next",
    """UPDATE wharfd.schedules SET planned_at = $2, last_fired_at = now(), by_hand = false, last_error = $3
WHERE name = $1""",
)
_RUN_NOW = sql(
    "schedule.run_now",
    """UPDATE wharfd.schedules SET due_at = now(), by_hand = true
WHERE name = $1 AND state = 'ready' AND absent_since IS NULL RETURNING plugin""",
)
_EXISTS = sql("schedule.exists", "SELECT EXISTS (SELECT FROM wharfd.schedules WHERE name = $1)")
_LIST = sql(
    "schedule.list",
    """SELECT s.name, s.plugin, s.definition, s.state, s.due_at AS next_at, s.last_fired_at, s.absent_since,
  r.outcome AS last_outcome, r.error AS last_error,
  extract(epoch FROM r.finished_at - r.started_at)::float8 AS last_seconds
FROM wharfd.schedules s LEFT JOIN LATERAL (
  SELECT * FROM wharfd.schedule_runs r WHERE r.schedule = s.name ORDER BY r.started_at DESC LIMIT 1) r ON true
ORDER BY s.name""",
)
_RUNS = sql(
    "schedule.runs",
    """SELECT id, schedule, planned_at, by_hand, node, started_at, finished_at, outcome, error
FROM wharfd.schedule_runs WHERE schedule = $1 AND started_at < coalesce($2, 'infinity'::timestamptz)
ORDER BY started_at DESC LIMIT $3""",
)
_log = structlog.get_logger("wharfd.schedule")


class ScheduleStatus(msgspec.Struct, frozen=True):
    """A schedule, its next time, and how it went the last time."""

    name: str
    plugin: str
    definition: str
    state: str
    next_at: datetime
    last_fired_at: datetime | None
    absent_since: datetime | None
    last_outcome: str | None
    last_error: str | None
    last_seconds: float | None


class ScheduleRun(msgspec.Struct, frozen=True):
    """One firing: when it was planned, where it ran, how it ended."""

    id: int
    schedule: str
    planned_at: datetime
    by_hand: bool
    node: str
    started_at: datetime
    finished_at: datetime | None
    outcome: str
    error: str | None


class ScheduleRow(msgspec.Struct):
    """What a schedule's row holds."""

    name: str
    planned_at: datetime


class Scheduler:
    """The schedules of a daemon."""

    def __init__(self, database: Database, engine: WorkEngine, audit: Audit | None = None) -> None:
        self._database = database
        self._engine = engine
        self._audit = audit
        self._declared: dict[str, Schedule] = {}

    async def declare(
        self, plugin: str, schedules: Sequence[Schedule], *, lease_seconds: float = LEASE_SECONDS
    ) -> Queue | None:
        """Take in a plugin's schedules; return the queue that fires them, to be run, or None without any.

        A new schedule gets its first time, a changed one a new next time, one that is gone is marked absent.
        One that is as before keeps its next time, even if that has passed: it fires once then.
        """
        names = {f"{plugin}.{schedule.name}": schedule for schedule in schedules}
        if len(names) != len(schedules):
            raise ValueError(f"plugin {plugin}: two schedules have the same name")
        self._declared = {n: s for n, s in self._declared.items() if n.rpartition(".")[0] != plugin}
        self._declared.update(names)
        async with self._database.transaction() as tx:
            await self._store(tx, plugin, names)
        if not schedules:
            return None
        queue = WorkQueue(
            name=QUEUE,
            table="wharfd.schedules",
            row=ScheduleRow,
            handler=self._fire,
            key=("name",),
            lane=("plugin", plugin),
            concurrency=min(len(schedules), _CONCURRENCY),
            lease_seconds=lease_seconds,
            retry=Retry(attempts=1_000_000),  # a firing that kills its daemon is still due; runs tell of it
        )
        return await self._engine.prepare(plugin, queue)

    async def _store(self, tx: Transaction, plugin: str, names: dict[str, Schedule]) -> None:
        now = await tx.fetchval(_NOW)
        have = {record["name"]: record for record in await tx.fetch(_HAVE, plugin)}
        for name, schedule in sorted(names.items()):
            text = definition(schedule)
            planned = next_time(schedule, now, now)
            due = planned + _jitter(schedule)
            if name not in have:
                await tx.execute(_ADD, name, plugin, text, planned, due)
            elif have[name]["definition"] != text or have[name]["absent_since"] is not None:
                await tx.execute(_CHANGE, name, text, planned, due)
        await tx.execute(_ABSENT, plugin, list(names))

    async def _fire(self, ctx: Any, job: Job[ScheduleRow]) -> Any:
        name = job.row.name
        schedule = self._declared.get(name)
        if schedule is None:
            return Snooze(_ELSEWHERE_SECONDS, reason="the daemon that claimed it does not know it")
        run = await self._database.fetchval(_BEGIN, name, self._engine.node)
        outcome, error = "done", None
        try:
            with trio.move_on_after(schedule.timeout_seconds) as scope:
                await schedule.handler(ctx)
            if scope.cancelled_caught:
                raise TimeoutError(f"no end within {schedule.timeout_seconds:g} s")
        except trio.Cancelled:
            with trio.CancelScope(shield=True), trio.move_on_after(2):
                await self._database.execute(_END, run, "interrupted", None)
            raise
        except Exception as failure:
            outcome, error = "failed", told(single(failure))
            _log.warning("schedule_failed", schedule=name, error=error, exc_info=failure)
        async with job.commit() as tx:
            now = await tx.fetchval(_NOW)
            planned = next_time(schedule, job.row.planned_at, now)
            await tx.execute(_END, run, outcome, error)
            await tx.execute(_NEXT, name, planned, error)
            job.finish(Again(planned + _jitter(schedule)))
        self._engine.wakeups.wake(None, [job.queue])
        return None

    async def run_now(self, name: str, *, actor: str) -> bool:
        """Fire a schedule now, beside its plan; False when it is running already.

        Raises `UnknownSchedule`.
        """
        async with self._database.transaction() as tx:
            plugin = await tx.fetchval(_RUN_NOW, name)
            if plugin is None:
                if not await tx.fetchval(_EXISTS, name):
                    raise UnknownSchedule(f"there is no schedule {name!r}; wharfd schedules lists them")
                return False
            if self._audit is not None:
                await self._audit(tx, actor, "schedule.run_now", name, {})
            self._engine.wakeups.wake(tx, [f"{plugin}.{QUEUE}"])
        return True

    async def list(self) -> list[ScheduleStatus]:
        """Return all schedules, absent ones included."""
        return [msgspec.convert(dict(record), ScheduleStatus) for record in await self._database.fetch(_LIST)]

    async def runs(
        self, name: str, *, before: datetime | None = None, limit: int = 50
    ) -> Sequence[ScheduleRun]:
        """Return the firings of a schedule, the latest first, those started before a time if one is given."""
        records = await self._database.fetch(_RUNS, name, before, max(1, min(limit, 1000)))
        return [msgspec.convert(dict(record), ScheduleRun) for record in records]


def definition(schedule: Schedule) -> str:
    """Return, as text, what decides about a schedule's times."""
    jitter = f" jitter {schedule.jitter_seconds:g}" if schedule.jitter_seconds else ""
    if schedule.cron is not None:
        return f"cron {schedule.cron}{jitter}"
    assert schedule.every is not None
    return f"every {schedule.every.total_seconds():g}{jitter}"


def next_time(schedule: Schedule, last: datetime, now: datetime) -> datetime:
    """Return the first time of a schedule after `now`; an interval keeps in step with its `last` time."""
    now = now.astimezone(UTC)
    if schedule.cron is not None:
        return next(CronSim(schedule.cron, now))
    assert schedule.every is not None
    passed = (now - last) // schedule.every  # negative when it was fired by hand, ahead of its time
    return last.astimezone(UTC) + (passed + 1) * schedule.every


def _jitter(schedule: Schedule) -> timedelta:
    return timedelta(seconds=random.uniform(0, schedule.jitter_seconds))  # noqa: S311
