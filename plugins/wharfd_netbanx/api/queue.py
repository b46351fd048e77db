"""`GET /api/webhooks/netbanx` and `GET/POST /api/webhooks/queue`: how acceptance and processing are doing."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec

from wharfd import FieldError, Invalid, PluginContext, Request, sql

from ..acceptance.gates import Intake
from ..config import Settings

Context = PluginContext[Settings]
QUEUE = "events"

WORKED = sql(
    "count_worked_events",
    """SELECT coalesce(sum(count), 0)::bigint FROM netbanx.rollups
WHERE grain = 'all' AND type = 'EVENT' AND ($1::text IS NULL OR owner = $1)""",
)
NEWEST = sql(
    "find_newest_event",
    "SELECT received_at FROM netbanx.events ORDER BY id DESC LIMIT 1",
)
NEWEST_OF_OWNER = sql(
    "find_newest_event_of_owner",
    "SELECT received_at FROM netbanx.events WHERE owner = $1 ORDER BY id DESC LIMIT 1",
)
REFUSED = sql(
    "sum_refusals",
    """SELECT source, reason, sum(count)::bigint AS count, max(minute) AS last FROM netbanx.refusals
WHERE minute > now() - interval '24 hours' GROUP BY 1, 2 ORDER BY 3 DESC""",
)
OPEN_CONFLICTS = sql(
    "count_open_conflicts",
    "SELECT count(*) FROM (SELECT FROM netbanx.conflicts WHERE resolved_at IS NULL LIMIT 1000) c",
)

Action = Literal["pause", "resume", "retry", "retry-failed", "retryAll", "retry-all", "clean", "cleanup"]


class QueueAction(msgspec.Struct, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What to do with the queue. `retry` needs `id` (or the older `jobId`): an event's."""

    action: Action
    id: str | None = None
    job_id: str | None = None


async def get_status(ctx: Context, request: Request) -> dict[str, Any]:
    """Return that the webhook is active, what came in, and how the queue is doing."""
    queue = await ctx.work.statistics(QUEUE)
    worked: int = await ctx.db.read.fetchval(WORKED, request.owner)
    newest: datetime | None
    if request.owner is None:
        newest = await ctx.db.read.fetchval(NEWEST)
    else:
        newest = await ctx.db.read.fetchval(NEWEST_OF_OWNER, request.owner)
    waiting = queue.ready + queue.running
    mine = request.owner is None
    return {
        "status": "active",
        "endpoint": request.url_path,
        "processing": "paused" if queue.paused else "async",
        "signatureValidation": ctx.settings.signature_validation,
        "stats": {
            "totalReceived": worked + (waiting + queue.buried + queue.held if mine else 0),
            "successfullyProcessed": worked,
            "failed": queue.buried if mine else None,
            "lastReceived": newest,
        },
        "queue": describe(queue) if mine else None,
        "timestamp": ctx.now(),
    }


async def get_queue(ctx: Context, request: Request) -> dict[str, Any]:
    """Return depth, rates, oldest age, refusals and what was given up last."""
    intake: Intake = ctx.state["intake"]
    queue = await ctx.work.statistics(QUEUE)
    buried = await ctx.work.buried(QUEUE, limit=20)
    refused = await ctx.db.read.fetch(REFUSED)
    return {
        "success": True,
        "queue": describe(queue),
        "failed": [
            {
                "id": row.key.partition("/")[0],
                "failedAt": row.buried_at,
                "attempts": row.attempts,
                "reason": row.reason,
            }
            for row in buried.items
        ],
        "refused": [dict(row) for row in refused],
        "refusedSamples": {name: list(found)[:10] for name, found in intake.refusals.recent.items()},
        "openConflicts": await ctx.db.read.fetchval(OPEN_CONFLICTS),
        "timestamp": ctx.now(),
    }


async def change_queue(ctx: Context, request: Request) -> dict[str, Any]:
    """Pause, resume, retry one or all that failed, or clean up what failed for good; each is audited."""
    asked: QueueAction = request.body
    actor = request.identity.subject
    changed: int
    match asked.action:
        case "pause":
            changed = int(await ctx.work.pause(QUEUE, actor=actor))
        case "resume":
            changed = int(await ctx.work.resume(QUEUE, actor=actor))
        case "retry":
            event_id = asked.id or asked.job_id
            if not event_id:
                raise Invalid(FieldError("id", "missing; which event is to be tried again"))
            changed = await ctx.work.requeue(QUEUE, where={"id": event_id}, actor=actor)
        case "clean" | "cleanup":
            changed = await ctx.work.cancel(QUEUE, where={}, states=("buried",), actor=actor)
        case _:
            changed = await ctx.work.retry_all(QUEUE, actor=actor)
    queue = await ctx.work.statistics(QUEUE)
    return {
        "success": True,
        "action": asked.action,
        "changed": changed,
        "queue": describe(queue),
        "timestamp": ctx.now(),
    }


def describe(queue: Any) -> dict[str, Any]:
    """Return a queue's numbers under the names the old system used, and ours."""
    return {
        "waiting": queue.due,
        "delayed": queue.ready - queue.due,
        "active": queue.running,
        "failed": queue.buried,
        "held": queue.held,
        "paused": queue.paused,
        "oldestSeconds": queue.oldest_due_seconds,
        "arrivedPerMinute": queue.arrived_per_minute,
        "processedPerMinute": queue.done_per_minute,
        "retriedPerMinute": queue.retried_per_minute,
        "failedPerMinute": queue.buried_per_minute,
    }
