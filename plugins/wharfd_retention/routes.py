"""The endpoints: what would go, runs, holds, the archive."""

from __future__ import annotations

import re
from datetime import datetime
from functools import partial
from typing import Any

import msgspec
import trio

from wharfd import BadRequest, NotFound, PluginContext, Request, Route, new_id

from . import checking, cold, rehydrating, returning, store, tables, work
from .config import Settings
from .model import Hold
from .nightly import policies_of

Context = PluginContext[Settings]
_READ, _WRITE = "retention:read", "retention:write"
_TABLE = re.compile(r"^([a-z][a-z0-9_]*\.[a-z][a-z0-9_]*|\*)$")
_WAIT_SECONDS = 20.0
_FIRST_LOOK_SECONDS, _LAST_LOOK_SECONDS = 0.01, 0.25
_OPEN = ("waiting", "running")
_OLD_NAMES = {"backfill": "backfill_jobs"}  # what the old system called them


class AskRun(msgspec.Struct, forbid_unknown_fields=True):
    """Ask for a run over all rules, or over one; a dry one only reports.

    `force` lets what runs pass the circuit breaker once.
    """

    dry_run: bool = False
    force: bool = False
    rule: str | None = None


class AskHold(msgspec.Struct, forbid_unknown_fields=True):
    """Ask that nothing of a table, of one owner's rows, or of one row is deleted."""

    table: str
    reason: str
    owner: str | None = None
    key: str | None = None
    expires_at: datetime | None = None

    def __post_init__(self) -> None:
        if not _TABLE.match(self.table):
            raise ValueError("table is written schema.table, or * for all")
        if not 3 <= len(self.reason) <= 1000:
            raise ValueError("reason must have 3 to 1000 characters")
        if self.expires_at is not None and self.expires_at.tzinfo is None:
            raise ValueError("expires_at needs its zone")


class AskRestore(msgspec.Struct, forbid_unknown_fields=True):
    """Ask for archived rows beside their table; without `until` they stay for `rehydrated_for`."""

    until: datetime | None = None

    def __post_init__(self) -> None:
        _with_zone(self.until)


class AskPutBack(msgspec.Struct, forbid_unknown_fields=True):
    """Ask for a month back in its table; without `until` no run takes it for 30 days."""

    reason: str
    until: datetime | None = None

    def __post_init__(self) -> None:
        if not 3 <= len(self.reason) <= 1000:
            raise ValueError("reason must have 3 to 1000 characters")
        _with_zone(self.until)


def _with_zone(until: datetime | None) -> None:
    if until is not None and until.tzinfo is None:
        raise ValueError("until needs its zone")


class Search(msgspec.Struct, forbid_unknown_fields=True):
    """Which archived rows: of a table and a time, with these values."""

    table: str
    first: datetime
    last: datetime
    where: dict[str, Any] = {}
    limit: int = 100

    def __post_init__(self) -> None:
        if self.first.tzinfo is None or self.last.tzinfo is None:
            raise ValueError("first and last need their zone")
        if not 1 <= self.limit <= 10_000:
            raise ValueError("limit must be between 1 and 10000")


class UnitsQuery(msgspec.Struct):
    """Which units."""

    table: str | None = None
    before: datetime | None = None
    limit: int = 100

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= 500:
            raise ValueError("limit must be between 1 and 500")


async def policies(ctx: Context, request: Request) -> dict[str, Any]:
    """List the policies that hold."""
    found, strangers = policies_of(ctx)
    return {
        "policies": [
            {"name": p.name, "table": p.table, "keep_days": p.keep.total_seconds() / 86400, "where": p.where,
             "archive": p.archive, "partitioned": p.partitioned} for p in found
        ],
        "overrides_of_no_rule": strangers,
    }  # fmt: skip


async def run(ctx: Context, request: Request) -> dict[str, Any]:
    """Ask for a run and wait for it a while."""
    body = request.body or AskRun()
    if body.rule is not None and body.rule not in (known := [one.name for one in policies_of(ctx)[0]]):
        raise BadRequest(f"there is no rule {body.rule[:80]!r}; there are {', '.join(known)}")
    run_id = await work.ask(
        ctx, request.identity.subject, dry=body.dry_run, forced=body.force, rule=body.rule
    )
    with trio.move_on_after(_WAIT_SECONDS):
        # Another daemon may carry it out: its row alone tells.
        pause = _FIRST_LOOK_SECONDS
        while (found := await store.get_run(ctx.db, run_id)) and found.state in _OPEN:
            await trio.sleep(pause)
            pause = min(2 * pause, _LAST_LOOK_SECONDS)
    found = await store.get_run(ctx.db, run_id)
    assert found is not None
    messages = {
        "done": "nothing was deleted: this was a dry run" if body.dry_run else "retention has run",
        "failed": found.error or "",
    }
    status = {"done": "success", "failed": "error"}.get(found.state, found.state)
    return {
        "status": status,
        "message": messages.get(found.state, f"still running; GET /api/v1/retention/runs/{run_id}"),
        "results": _old_shape(found.result),
        "run": run_id,
        "rules": found.result,
    }


def _old_shape(result: dict[str, Any]) -> dict[str, dict[str, int]]:
    """Return {plugin: {archived, deleted, errors}}, as the old system answered."""
    old: dict[str, dict[str, int]] = {}
    for rule, outcome in result.items():
        plugin = rule.partition(".")[0]
        sums = old.setdefault(_OLD_NAMES.get(plugin, plugin), {"archived": 0, "deleted": 0, "errors": 0})
        for name in sums:
            sums[name] += outcome[name]
    return old


async def runs(ctx: Context, request: Request) -> dict[str, Any]:
    """List the newest runs."""
    return {"runs": [msgspec.to_builtins(one) for one in await store.runs(ctx.db, 50)]}


async def get_run(ctx: Context, request: Request) -> dict[str, Any]:
    """Show a run, rule by rule."""
    found = await store.get_run(ctx.db, request.path["id"])
    if found is None:
        raise NotFound(f"there is no run {request.path['id'][:80]!r}")
    return msgspec.to_builtins(found)  # type: ignore[no-any-return]


async def holds(ctx: Context, request: Request) -> dict[str, Any]:
    """List the legal holds."""
    return {"holds": [msgspec.to_builtins(one) for one in await store.all_holds(ctx.db)]}


async def hold(ctx: Context, request: Request) -> dict[str, Any]:
    """Add a legal hold; it counts from the commit on, also for a run that is at work."""
    body: AskHold = request.body
    if body.table != "*" and (why := await tables.why_no_hold(ctx.db.owner, body.table)):
        raise BadRequest(f"a hold on {body.table} would keep nothing: {why}")
    await _future(ctx, body.expires_at, "expires_at")
    wanted = Hold(id=new_id("hold"), table=body.table, owner=body.owner, key=body.key)
    who = request.identity.subject
    async with ctx.db.transaction() as tx:
        await store.hold(tx, wanted.id, wanted, reason=body.reason, by=who, until=body.expires_at)
        detail = {"table": body.table, "owner": body.owner, "row": body.key, "reason": body.reason}
        await ctx.audit.record(tx, actor=who, action="retention.held", subject=wanted.id, detail=detail)
    return {"id": wanted.id}


async def release(ctx: Context, request: Request) -> dict[str, Any]:
    """End a legal hold."""
    hold_id, who = request.path["id"], request.identity.subject
    async with ctx.db.transaction() as tx:
        if not await store.release(tx, hold_id, who):
            raise NotFound(f"there is no hold {hold_id[:80]!r} in force")
        await ctx.audit.record(tx, actor=who, action="retention.released", subject=hold_id)
    return {"id": hold_id}


async def units(ctx: Context, request: Request) -> dict[str, Any]:
    """List what was archived or deleted."""
    query: UnitsQuery = request.query
    found = await store.units(ctx.db, query.table, query.before, query.limit)
    return {"archives": [msgspec.to_builtins(unit) for unit in found]}


async def search(ctx: Context, request: Request) -> dict[str, Any]:
    """Search the archive by streaming through it."""
    body: Search = request.body
    if body.first >= body.last:
        raise BadRequest("first must be before last")
    columns = await store.archived_columns(ctx.db, body.table)
    if not columns and body.table not in {policy.table for policy in policies_of(ctx)[0]}:
        raise NotFound(f"nothing of {body.table[:80]!r} was archived; wharfd archive list shows what was")
    if columns and (unknown := sorted(body.where.keys() - columns)):
        raise BadRequest(
            f"{body.table} has no column {unknown[0][:80]!r}; it has {', '.join(sorted(columns))}"
        )
    rows = await cold.search(ctx, body.table, body.first, body.last, body.where, body.limit + 1)
    found = rows[: body.limit]
    return {"rows": found, "count": len(found), "more": len(rows) > len(found)}


async def restore(ctx: Context, request: Request) -> dict[str, Any]:
    """Put an archive's rows into a table beside, to look at or to copy from."""
    unit = await store.get(ctx.db, request.path["id"])
    if unit is None or not unit.archive or unit.manifest is None:
        raise NotFound(f"there is no archive {request.path['id'][:80]!r}")
    body: AskRestore = request.body or AskRestore()
    await _future(ctx, body.until)
    made = await rehydrating.restore(ctx, unit, until=body.until, actor=request.identity.subject)
    return {"table": made.relation, "rows": made.rows, "until": made.ends_at}


async def verify(ctx: Context, request: Request) -> dict[str, Any]:
    """Read an archive back in every place and check the signature of its manifest; nothing is mended."""
    unit = await store.get(ctx.db, request.path["id"])
    if unit is None or not unit.archive or unit.manifest is None:
        raise NotFound(f"there is no archive {request.path['id'][:80]!r}")
    return await checking.verify(ctx, unit)


async def rehydrated(ctx: Context, request: Request) -> dict[str, Any]:
    """List what lies beside its table, and until when."""
    return {"rehydrated": [msgspec.to_builtins(one) for one in await rehydrating.listed(ctx.db)]}


async def drop(ctx: Context, request: Request) -> dict[str, Any]:
    """Drop what lies beside its table; the archive stays."""
    dropped = await rehydrating.drop(ctx, request.path["id"], actor=request.identity.subject)
    if dropped is None:
        raise NotFound(f"nothing of {request.path['id'][:80]!r} lies beside its table")
    return {"dropped": dropped}


async def put_back(ctx: Context, request: Request) -> dict[str, Any]:
    """Put a month that is out of its table, and not dropped yet, back into it."""
    body: AskPutBack = request.body
    await _future(ctx, body.until)
    unit, until = await returning.put_back(
        ctx, request.path["id"], reason=body.reason, until=body.until, actor=request.identity.subject
    )
    return {"month": unit.part, "table": unit.source, "until": until}


async def _future(ctx: Context, until: datetime | None, name: str = "until") -> None:
    now, _ = await store.clock(ctx.db)
    if until is not None and until <= now:
        raise BadRequest(f"{name} lies in the past")


def routes() -> list[Route]:
    """Return the endpoints."""
    route = partial(Route, house=True)  # what is kept and archived is of every owner
    at = "/api/v1/retention"
    gets: list[tuple[str, Any, str]] = [
        (f"{at}/policies", policies, "How long rows are kept"),
        (f"{at}/runs", runs, "The newest runs"),
        (f"{at}/runs/{{id}}", get_run, "One run, rule by rule"),
        (f"{at}/holds", holds, "The legal holds"),
        ("/api/v1/archive/rehydrated", rehydrated, "What lies beside its table"),
    ]
    return [
        *(route(method="GET", path=p, handler=h, scope=_READ, summary=words) for p, h, words in gets),
        route(
            method="POST",
            path="/api/v1/monitoring/retention/run",
            aliases=("/api/monitoring/retention/run", f"{at}/runs"),
            handler=run,
            scope=_WRITE,
            body=AskRun | None,
            summary="Run retention; with dry_run it only reports",
        ),
        route(
            method="POST", path=f"{at}/holds", handler=hold, scope=_WRITE, body=AskHold, status=201,
            summary="Hold rows back from deletion",
        ),
        route(
            method="DELETE", path=f"{at}/holds/{{id}}", handler=release, scope=_WRITE, summary="End a hold"
        ),
        route(
            method="GET", path="/api/v1/archive", handler=units, scope=_READ, query=UnitsQuery,
            summary="What was archived",
        ),
        route(
            method="POST", path="/api/v1/archive/query", handler=search, scope=_READ, body=Search,
            timeout_seconds=300, summary="Search the archive",
        ),
        route(
            method="POST", path="/api/v1/archive/{id}/restore", handler=restore, scope=_WRITE,
            body=AskRestore | None, timeout_seconds=600, summary="Put archived rows beside their table",
        ),
        route(
            method="POST", path="/api/v1/archive/{id}/verify", handler=verify, scope=_READ,
            timeout_seconds=600, summary="Read an archive back in every place",
        ),
        route(
            method="DELETE", path="/api/v1/archive/rehydrated/{id}", handler=drop, scope=_WRITE,
            summary="Drop what lies beside its table",
        ),
        route(
            method="POST", path="/api/v1/archive/{id}/put-back", handler=put_back, scope=_WRITE,
            body=AskPutBack, timeout_seconds=600, summary="Put a month back into its table",
        ),
    ]  # fmt: skip
