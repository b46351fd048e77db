"""`/api/v1/schedules`: what runs by the clock, how it went, and running it now."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec

from ..declare import Route
from ..errors import UnknownSchedule
from ..http import Conflict, NotFound, Page, Request, decode_cursor, page_of
from ..schedule import ScheduleRun
from .sources import CoreSources


class ScheduleInfo(msgspec.Struct, kw_only=True):
    """One schedule. `when` is its cron line or interval; `absent_since`: no plugin declares it now."""

    name: str
    plugin: str
    when: str
    state: str
    next_at: datetime
    last_at: datetime | None
    last_outcome: str | None
    last_error: str | None
    last_seconds: float | None
    absent_since: datetime | None


class Schedules(msgspec.Struct):
    """All schedules."""

    schedules: list[ScheduleInfo]


class Fired(msgspec.Struct, kw_only=True):
    """The schedule that was let fire."""

    name: str
    fired: bool = True


class RunsQuery(msgspec.Struct):
    """Which runs to show."""

    cursor: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50


async def list_schedules(ctx: CoreSources, request: Request) -> Schedules:
    """List the schedules."""
    return Schedules(
        [
            ScheduleInfo(
                name=one.name,
                plugin=one.plugin,
                when=one.definition,
                state=one.state,
                next_at=one.next_at,
                last_at=one.last_fired_at,
                last_outcome=one.last_outcome,
                last_error=one.last_error,
                last_seconds=one.last_seconds,
                absent_since=one.absent_since,
            )
            for one in await ctx.schedules.list()
        ]
    )


async def run(ctx: CoreSources, request: Request) -> Fired:
    """Let a schedule fire now, beside its plan."""
    name = request.path["name"]
    try:
        fired = await ctx.schedules.run_now(name, actor=request.identity.subject)
    except UnknownSchedule as unknown:
        raise NotFound(str(unknown)) from unknown
    if not fired:
        raise Conflict(f"the schedule {name} is running already")
    return Fired(name=name)


async def list_runs(ctx: CoreSources, request: Request) -> Page[ScheduleRun]:
    """List the firings of a schedule, the latest first."""
    query: RunsQuery = request.query
    last = decode_cursor(request, query.cursor, datetime)
    before = last[0] if last is not None else None
    rows = await ctx.schedules.runs(request.path["name"], before=before, limit=query.limit + 1)
    return page_of(request, rows, query.limit, item=lambda run: run, key=lambda run: (run.started_at,))


ROUTES = [
    Route(
        method="GET",
        path="/api/v1/schedules",
        handler=list_schedules,
        scope="system:read",
        returns=Schedules,
    ),
    Route(
        method="POST",
        path="/api/v1/schedules/{name}/run",
        handler=run,
        scope="system:write",
        returns=Fired,
    ),
    Route(
        method="GET",
        path="/api/v1/schedules/{name}/runs",
        handler=list_runs,
        scope="system:read",
        query=RunsQuery,
        returns=Page[ScheduleRun],
    ),
]
