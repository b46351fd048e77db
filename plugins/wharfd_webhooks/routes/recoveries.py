"""Recover since: count first, then send what was missed, and watch it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from wharfd import (
    Conflict,
    FieldError,
    Invalid,
    NotFound,
    PluginContext,
    Record,
    Reply,
    Request,
    Route,
    new_id,
)

from ..config import Settings
from ..recovering import Recover, tally
from ..store import recoveries as store
from .endpoints import CHANGES, READ, WRITE, both, endpoint_of

Kind = Literal["failed", "missing", "parked", "cancelled", "delivered"]


class RecoverIn(msgspec.Struct, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What to send again. `missing` are events that made no delivery, because the endpoint was disabled."""

    since: datetime
    until: datetime | None = None
    include: Annotated[tuple[Kind, ...], Meta(min_length=1, max_length=5)] = ("failed", "missing")
    per_second: Annotated[float, Meta(ge=0.01, le=1000)] = 20.0
    dry_run: bool = True


class CountOut(msgspec.Struct, kw_only=True, rename="camel"):
    """What would be sent. `complete` false: there is more than was counted."""

    dry_run: bool
    total: int
    by_kind: dict[str, int]
    complete: bool


class RecoveryOut(msgspec.Struct, kw_only=True, rename="camel"):
    """A recovery and how far it is; `total` are the messages it looks at."""

    id: str
    webhook_id: str
    state: str
    since: datetime
    until: datetime
    include: list[str]
    per_second: float
    total: int
    looked_at: int
    scheduled: int
    percent: float
    created_at: datetime
    finished_at: datetime | None


def routes(settings: Settings) -> list[Route]:
    """Return the routes of recovery."""
    one = "/{id}/recoveries/{recovery_id}"
    return [
        Route(
            method="POST", **both("/{id}/recover"), handler=recover, scope=WRITE, body=RecoverIn,
            rate=CHANGES, returns=RecoveryOut | CountOut, idempotent=True,
            summary="count what was missed since a time (dryRun, the default), or send it",
        ),
        Route(
            method="GET", **both("/{id}/recoveries"), handler=list_recoveries, scope=READ,
            returns=list[RecoveryOut], summary="list recoveries with their progress",
        ),
        Route(
            method="GET", **both(one), handler=show, scope=READ, returns=RecoveryOut,
            summary="read a recovery",
        ),
        Route(
            method="POST", **both(f"{one}/cancel"), handler=cancel, scope=WRITE, returns=RecoveryOut,
            rate=CHANGES, summary="stop a recovery; what it scheduled is still sent",
        ),
    ]  # fmt: skip


async def recover(ctx: PluginContext[Settings], request: Request) -> Any:
    """Count or begin a recovery."""
    endpoint = await endpoint_of(ctx, request)
    given: RecoverIn = request.body
    since, until = _window(ctx, given)
    include = list(dict.fromkeys(given.include))
    if given.dry_run:
        counts, complete = await tally(ctx.db.read, endpoint, since, until, include)
        return CountOut(dry_run=True, total=counts.total(), by_kind=dict(counts), complete=complete)
    if endpoint["status"] == "disabled":
        raise Conflict("the webhook is disabled; enable it first, or what is recovered is only parked")
    total = await store.count(ctx.db.read, endpoint, since, until)
    recovery_id = new_id("rec")
    async with ctx.db.transaction() as tx:
        row = await store.add(
            tx,
            [
                recovery_id,
                endpoint["id"],
                endpoint["owner"],
                since,
                until,
                include,
                given.per_second,
                total,
                request.identity.subject,
            ],
        )
        await ctx.jobs.enqueue(tx, Recover(recovery_id), unique=recovery_id)
        await ctx.audit.record(
            tx,
            actor=request.identity.subject,
            action="webhook.recovery_started",
            subject=endpoint["id"],
            detail={
                "recovery": recovery_id,
                "since": since.isoformat(),
                "include": include,
                "messages": total,
            },
            owner=endpoint["owner"],
        )
    return Reply(202, _out(row))


def _window(ctx: PluginContext[Settings], given: RecoverIn) -> tuple[datetime, datetime]:
    now = ctx.now()
    until = given.until or now
    for field, value in (("since", given.since), ("until", until)):
        if value.tzinfo is None:
            raise Invalid(FieldError(field, "must carry a time zone, such as 2026-01-31T12:00:00Z"))
    since, until = given.since, min(until, now + timedelta(minutes=1))
    if since >= until:
        raise Invalid(FieldError("since", "must be before until"))
    oldest = now - ctx.settings.keep_messages
    if since < oldest - timedelta(days=31):
        raise Invalid(
            FieldError("since", f"payloads are kept for {ctx.settings.keep_messages.days} days only")
        )
    return since, until


async def list_recoveries(ctx: PluginContext[Settings], request: Request) -> list[RecoveryOut]:
    """List the recoveries of an endpoint."""
    endpoint = await endpoint_of(ctx, request)
    return [_out(row) for row in await store.of_endpoint(ctx.db, endpoint["id"])]


async def show(ctx: PluginContext[Settings], request: Request) -> RecoveryOut:
    """Read a recovery."""
    return _out(await _recovery_of(ctx, request))


async def cancel(ctx: PluginContext[Settings], request: Request) -> RecoveryOut:
    """Stop a recovery."""
    row = await _recovery_of(ctx, request)
    async with ctx.db.transaction() as tx:
        if not await store.cancel(tx, row["id"]):
            raise Conflict(f"the recovery is {row['state']} already")
        await ctx.audit.record(
            tx,
            actor=request.identity.subject,
            action="webhook.recovery_cancelled",
            subject=row["endpoint_id"],
            detail={"recovery": row["id"]},
            owner=row["owner"],
        )
    return _out(await _recovery_of(ctx, request))


async def _recovery_of(ctx: PluginContext[Settings], request: Request) -> Record:
    endpoint = await endpoint_of(ctx, request)
    row = await store.get(ctx.db, request.path["recovery_id"], endpoint["id"], request.owner)
    if row is None:
        raise NotFound(f"there is no recovery {request.path['recovery_id'][:80]!r}")
    return row


def _out(row: Record) -> RecoveryOut:
    total = max(row["total"], row["looked_at"])
    percent = 100.0 if row["state"] == "done" or not total else round(100 * row["looked_at"] / total, 1)
    return RecoveryOut(
        id=row["id"],
        webhook_id=row["endpoint_id"],
        state=row["state"],
        since=row["since"],
        until=row["until"],
        include=row["include"],
        per_second=row["per_second"],
        total=total,
        looked_at=row["looked_at"],
        scheduled=row["scheduled"],
        percent=percent,
        created_at=row["created_at"],
        finished_at=row["finished_at"],
    )
