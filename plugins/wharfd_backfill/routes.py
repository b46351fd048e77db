"""The endpoints, in the shapes that the old system's callers know: snake_case, statuses in lower case."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec

from wharfd import (
    BadRequest,
    Conflict,
    FieldError,
    Invalid,
    NotFound,
    PluginContext,
    Record,
    Request,
    Route,
    Transaction,
)
from wharfd.contracts.backfill import BackfillCompleted, BackfillFailed, BackfillStarted

from . import store
from .config import Settings
from .model import Conflicting, Impossible, Job, Report, Status, apply, is_stale

Context = PluginContext[Settings]
Block = Annotated[int, msgspec.Meta(ge=0, le=(1 << 62))]
PATH = "/api/v1/monitoring/backfill"
_DEEPEST = 100_000
_EARLIEST, _LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)


class NewJob(msgspec.Struct, kw_only=True):
    """A job to begin."""

    job_type: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    start_block: Block
    end_block: Block
    created_by: Annotated[str, msgspec.Meta(max_length=200)] | None = None


class NewProgress(msgspec.Struct, kw_only=True):
    """A report about a job. `version` is the one the sender knew; 409 when the job has moved on."""

    current_block: Block | None = None
    progress_percentage: float | None = None
    estimated_completion: datetime | None = None
    status: Status | None = None
    error_message: Annotated[str, msgspec.Meta(max_length=2000)] | None = None
    version: int | None = None


class WhichJob(msgspec.Struct, kw_only=True):
    """The job of a report."""

    job_id: str


class WhichJobs(msgspec.Struct, kw_only=True):
    """Which jobs to list."""

    status: Literal["running", "completed", "failed", "paused"] | None = None
    job_type: str | None = None
    stale: bool = False
    started_after: datetime | None = None
    started_before: datetime | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 10
    offset: Annotated[int, msgspec.Meta(ge=0, le=_DEEPEST)] = 0


def routes() -> list[Route]:
    """Return all of them."""
    read, write = "backfill:read", "backfill:write"
    return [
        Route(
            method="POST", path=f"{PATH}/start", handler=start, scope=write, body=NewJob, idempotent=True,
            summary="Start a backfill job",
        ),
        Route(
            method="POST", path=f"{PATH}/progress", handler=progress, scope=write, body=NewProgress,
            query=WhichJob, kept=(f"{PATH}/progress",), summary="Report about a job",
        ),
        Route(
            method="GET", path=f"{PATH}/status", handler=status, scope=read, query=WhichJobs,
            kept=(f"{PATH}/status",), summary="List jobs",
        ),
        Route(method="GET", path=PATH + "/{job_id}", handler=show, scope=read, summary="Show a job"),
    ]  # fmt: skip


async def start(ctx: Context, request: Request) -> dict[str, Any]:
    """Begin a job; 400 when it ends before it starts."""
    new: NewJob = request.body
    if new.end_block < new.start_block:
        raise BadRequest("end_block must not be below start_block")
    if "\x00" in new.job_type + (new.created_by or ""):
        raise Invalid(FieldError("job_type", "holds a zero character"))
    async with ctx.db.transaction() as tx:
        row = await store.add(
            tx, request.owner or "", new.job_type, new.start_block, new.end_block,
            new.created_by or request.identity.subject,
        )  # fmt: skip
        await ctx.events.publish(tx, BackfillStarted(**_facts(row)))
        await _audit(ctx, tx, request, row, "backfill.started")
        _forget(ctx, tx, row)
    return view(ctx, _kept(row))


async def progress(ctx: Context, request: Request) -> dict[str, Any]:
    """Take a report; 404 for an unknown job, 400 beyond its end, 409 with the version when it conflicts."""
    job_id, said = _uuid(request.query.job_id), request.body
    if said.error_message is not None and "\x00" in said.error_message:
        raise Invalid(FieldError("error_message", "holds a zero character"))
    report = Report(
        current_block=said.current_block,
        progress=said.progress_percentage,
        estimated=_aware(said.estimated_completion),
        status=said.status,
        error=said.error_message,
        version=said.version,
    )
    async with ctx.db.transaction() as tx:
        row = await store.lock(tx, job_id, request.owner)
        if row is None:
            raise _unknown(job_id)
        before = job_of(row)
        try:
            after = apply(before, report, row["asked_at"])
        except Impossible as error:
            raise BadRequest(str(error)) from error
        except Conflicting as error:
            raise Conflict(
                str(error),
                version=row["version"],
                current_block=row["current_block"],
                job_status=row["status"],
            ) from error
        if after is before:
            return view(ctx, _kept(row))
        changed = await store.change(tx, job_id, before.version, after)
        assert changed is not None, "the row is locked, so its version stands"
        await _tell(ctx, tx, request, before, changed)
        _forget(ctx, tx, changed)
    return view(ctx, _kept(changed))


async def status(ctx: Context, request: Request) -> list[dict[str, Any]]:
    """List jobs, the newest first."""
    query: WhichJobs = request.query
    owner = request.owner
    if query.stale:
        silent = await store.stale(ctx.db, ctx.settings.stale_after, owner, query.limit)
        return [view(ctx, _kept(row)) for row in silent]

    started = (_aware(query.started_after) or _EARLIEST, _aware(query.started_before) or _LATEST)

    async def read() -> list[dict[str, Any]]:
        found = await store.listed(
            ctx.db, owner=owner, status=query.status, job_type=query.job_type, started=started,
            limit=query.limit, offset=query.offset,
        )  # fmt: skip
        return [_kept(row) for row in found]

    key = (owner, query.status, query.job_type, *map(_stamp, started), query.limit, query.offset)
    kept = await ctx.cache.get(
        "jobs",
        key,
        read,
        ttl=ctx.settings.cache.total_seconds(),
        tags=[_tag(owner)],
        type=list[dict[str, Any]],
    )
    return [view(ctx, job) for job in kept]


async def show(ctx: Context, request: Request) -> dict[str, Any]:
    """Show a job."""
    job_id, owner = _uuid(request.path["job_id"]), request.owner

    async def read() -> dict[str, Any] | None:
        row = await store.find(ctx.db, job_id, owner)
        return None if row is None else _kept(row)

    kept = await ctx.cache.get(
        "job", (owner, job_id), read, ttl=ctx.settings.cache.total_seconds(), tags=[f"job {job_id}"]
    )
    if kept is None:
        raise _unknown(job_id)
    return view(ctx, kept)


def view(ctx: Context, job: dict[str, Any]) -> dict[str, Any]:
    """Return a job as callers see it; whether it is stale is said by the clock of now, not of the cache."""
    reported = datetime.fromisoformat(job["reported_at"])
    return {**job, "stale": is_stale(job["status"], reported, ctx.now(), ctx.settings.stale_after)}


def _kept(row: Record) -> dict[str, Any]:
    """Return a row as plain values, for the cache and for JSON."""
    return {
        "id": str(row["id"]),
        "job_type": row["job_type"],
        "start_block": row["start_block"],
        "end_block": row["end_block"],
        "current_block": row["current_block"],
        "status": row["status"],
        "progress_percentage": row["progress_percentage"],
        "estimated_completion": _stamp(row["estimated_completion"]),
        "error_message": row["error_message"],
        "started_at": _stamp(row["started_at"]),
        "completed_at": _stamp(row["completed_at"]),
        "created_by": row["created_by"],
        "updated_at": _stamp(row["updated_at"]),
        "reported_at": _stamp(row["reported_at"]),
        "blocks_per_second": row["blocks_per_second"],
        "version": row["version"],
    }


def job_of(row: Record) -> Job:
    """Return the part of a row that reports change."""
    return Job(
        start_block=row["start_block"],
        end_block=row["end_block"],
        current_block=row["current_block"],
        status=row["status"],
        progress=row["progress_percentage"],
        speed=row["blocks_per_second"],
        estimated=row["estimated_completion"],
        reported_at=row["reported_at"],
        version=row["version"],
        error=row["error_message"],
    )


async def _tell(ctx: Context, tx: Transaction, request: Request, before: Job, row: Record) -> None:
    """Publish and audit what a report changed, where that is more than progress."""
    if row["status"] == before.status:
        return
    if row["status"] == "completed":
        await ctx.events.publish(tx, BackfillCompleted(**_facts(row)))
    elif row["status"] == "failed":
        await ctx.events.publish(tx, BackfillFailed(**_facts(row), reason=row["error_message"] or ""))
    await _audit(ctx, tx, request, row, f"backfill.{row['status']}")
    tx.after_commit(ctx.metrics["jobs_total"].labels(row["status"]).inc)


def _facts(row: Record) -> dict[str, Any]:
    return {
        "owner": row["owner"] or None,
        "subject": str(row["id"]),
        "job_id": str(row["id"]),
        **{n: row[n] for n in ("job_type", "start_block", "end_block", "current_block")},
    }


async def _audit(ctx: Context, tx: Transaction, request: Request, row: Record, action: str) -> None:
    await ctx.audit.record(
        tx,
        actor=request.identity.subject,
        action=action,
        subject=str(row["id"]),
        owner=row["owner"] or None,
        ip=str(request.client) if request.client else None,
        detail={"job_type": row["job_type"], "current_block": row["current_block"]},
    )


def _forget(ctx: Context, tx: Transaction, row: Record) -> None:
    """Throw away cached answers after the commit: the job's, its owner's lists, and those of admins."""
    tags = (f"job {row['id']}", _tag(row["owner"]), _tag(None))
    tx.after_commit(lambda: ctx.cache.invalidate_soon(*tags))


def _tag(owner: str | None) -> str:
    return "jobs of all" if owner is None else f"jobs of owner {owner}"


def _uuid(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise _unknown(text) from None


def _unknown(job_id: str) -> NotFound:
    return NotFound(f"there is no backfill job {job_id[:60]}")


def _aware(moment: datetime | None) -> datetime | None:
    """Take a time without a zone for UTC, as old callers send it."""
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment


def _stamp(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")
