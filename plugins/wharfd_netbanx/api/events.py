"""Stored events for operators: list, look into one, why a signature fits, and work them once more."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from wharfd import (
    BadRequest,
    FieldError,
    Invalid,
    NotFound,
    Page,
    PluginContext,
    Record,
    Request,
    decode_cursor,
    new_id,
    page_of,
    sql,
)

from ..config import Settings
from ..model.envelope import find_doubled_keys
from ..schemes import Headers, explain
from .listing import read_time
from .statements import COLUMNS, MAX_LIMIT, list_statement

Context = PluginContext[Settings]

FIND = sql(
    "find_event",
    f"""SELECT {COLUMNS}, e.body, e.identity, e.content, e.history, d.copies, d.last_seen_at
FROM netbanx.events e LEFT JOIN netbanx.dedup d ON d.identity = e.identity
WHERE e.id = $1 AND ($2::text IS NULL OR e.owner = $2)""",
)
CONFLICTS_OF = sql(
    "list_conflicts_of_event",
    """SELECT id, noticed_at, resolved_at, resolved_by, receipt, body FROM netbanx.conflicts
WHERE event_id = $1 ORDER BY noticed_at LIMIT 50""",
)
RESOLVE = sql(
    "resolve_conflicts",
    """UPDATE netbanx.conflicts SET resolved_at = now(), resolved_by = $2
WHERE event_id = $1 AND resolved_at IS NULL""",
)
LED_TO = sql(
    "find_states_of_event",
    """SELECT id, 'transaction' AS kind, status FROM netbanx.transactions
WHERE external_id = $1 AND source = $2
UNION ALL
SELECT id, 'account', status FROM netbanx.accounts WHERE external_id = $1 AND source = $2""",
)
REPLAYABLE = ("done", "buried", "cancelled", "held")
STATES = ("ready", "running", *REPLAYABLE)
_MAX_REPLAY = 10_000


class EventQuery(msgspec.Struct, kw_only=True, rename="camel"):
    """Filters; all given ones must fit. Times are UTC."""

    source: str | None = None
    name: str | None = None
    state: str | None = None
    resource_id: str | None = None
    merchant_ref_num: str | None = None
    start_date: str | None = None
    end_date: str | None = None
    limit: int = 50
    cursor: str | None = None


class Replay(msgspec.Struct, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Which events to work once more: `ids`, or filters as of the list. Nothing happens with `dry_run`."""

    ids: list[str] | None = None
    source: str | None = None
    name: str | None = None
    state: str | None = None
    start_date: str | None = None
    end_date: str | None = None
    dry_run: bool = True


async def list_events(ctx: Context, request: Request) -> Page[dict[str, Any]]:
    """List stored events, the newest first."""
    query: EventQuery = request.query
    if not 1 <= query.limit <= MAX_LIMIT:
        raise Invalid(FieldError("limit", f"must be between 1 and {MAX_LIMIT}", "query"))
    if query.state is not None and query.state not in STATES:
        raise Invalid(FieldError("state", f"must be one of {', '.join(STATES)}", "query"))
    key = decode_cursor(request, query.cursor, str)
    rows = await _select(
        ctx,
        {
            "owner": request.owner,
            "source": query.source,
            "name": query.name,
            "state": query.state,
            "resource_id": query.resource_id,
            "merchant_ref": query.merchant_ref_num,
        },
        start=read_time(query.start_date, "startDate"),
        end=read_time(query.end_date, "endDate"),
        before=key[0] if key else None,
        limit=query.limit + 1,
    )
    return page_of(request, rows, query.limit, item=show, key=lambda row: (row["id"],))


async def get_event(ctx: Context, request: Request) -> dict[str, Any]:
    """Return one event with its body, what was checked, its copies, and what it led to."""
    row = await _find(ctx, request)
    conflicts = await ctx.db.read.fetch(CONFLICTS_OF, row["id"])
    led_to = await ctx.db.read.fetch(LED_TO, row["resource_id"], row["source"])
    body: bytes = row["body"]
    try:
        text = body.decode()
    except UnicodeDecodeError:
        text = None
    return show(row) | {
        "body": text,
        "bodyBase64": base64.b64encode(body).decode(),
        "receipt": row["receipt"],
        "identity": row["identity"].hex(),
        "history": row["history"] or [],
        "copies": row["copies"],
        "lastCopyAt": row["last_seen_at"],
        "doubledKeys": find_doubled_keys(body),
        "conflicts": [
            {
                "id": one["id"],
                "noticedAt": one["noticed_at"],
                "resolvedAt": one["resolved_at"],
                "resolvedBy": one["resolved_by"],
                "receipt": one["receipt"],
                "bodyBase64": base64.b64encode(one["body"]).decode(),
            }
            for one in conflicts
        ],
        "ledTo": [dict(state) for state in led_to],
    }


async def resolve_conflicts(ctx: Context, request: Request) -> dict[str, Any]:
    """Note that somebody looked into the other contents of an event; they are kept, the alert ends."""
    row = await _find(ctx, request)
    actor = request.identity.subject
    async with ctx.db.transaction() as tx:
        resolved = await tx.execute(RESOLVE, row["id"], actor)
        if resolved:
            await ctx.audit.record(
                tx,
                actor=actor,
                action="webhook_event.conflicts_resolved",
                subject=row["id"],
                detail={"conflicts": resolved},
                owner=row["owner"],
            )
    return {"event": row["id"], "resolved": resolved}


async def explain_event(ctx: Context, request: Request) -> dict[str, Any]:
    """Say which settings reproduce the signature of a stored delivery, trying the configured keys."""
    row = await _find(ctx, request)
    source = ctx.settings.sources.get(row["source"])
    if source is None:
        raise NotFound(f"the source {row['source']!r} of this event is no longer configured")
    headers = Headers(
        [(name.encode("latin-1"), value.encode("latin-1")) for name, value in row["receipt"]["headers"]]
    )
    findings = explain(row["body"], headers, source.revealed_keys(), public_url=source.public_url)
    return {
        "event": row["id"],
        "source": row["source"],
        "scheme": source.scheme,
        "verdict": row["receipt"]["verdict"],
        "findings": [
            {"fits": finding.fits, "sentence": finding.sentence, "settings": dict(finding.settings)}
            for finding in findings
        ],
    }


async def replay_events(ctx: Context, request: Request) -> dict[str, Any]:
    """Put events back to be worked, or with `dryRun` say which ones that would be."""
    asked: Replay = request.body
    if asked.state is not None and asked.state not in REPLAYABLE:
        raise Invalid(FieldError("state", f"must be one of {', '.join(REPLAYABLE)}"))
    start, end = (
        read_time(asked.start_date, "startDate", "body"),
        read_time(asked.end_date, "endDate", "body"),
    )
    chosen = (asked.ids, asked.source, asked.name, start)
    if asked.state not in ("buried", "held") and all(one is None for one in chosen):
        raise BadRequest("say which events: give ids, source, name, startDate, or the state buried or held")
    rows = await _select(
        ctx,
        {"owner": request.owner, "source": asked.source, "name": asked.name, "state": asked.state},
        ids=asked.ids,
        start=start,
        end=end,
        limit=_MAX_REPLAY + 1,
    )
    if len(rows) > _MAX_REPLAY:
        raise Invalid(FieldError("startDate", f"more than {_MAX_REPLAY} events fit; narrow it down"))
    rows = [row for row in rows if row["state"] in REPLAYABLE]
    replayed = 0
    if not asked.dry_run and rows:
        keys = [f"{row['id']}/{row['received_at'].isoformat()}" for row in rows]
        replayed = await ctx.work.requeue("events", keys, states=REPLAYABLE, actor=request.identity.subject)
    return {
        "dryRun": asked.dry_run,
        "found": len(rows),
        "replayed": replayed,
        "events": [show(row) for row in rows[:100]],
    }


def show(row: Record) -> dict[str, Any]:
    """Return an event without its body."""
    receipt = row["receipt"]
    return {
        "id": row["id"],
        "receivedAt": row["received_at"],
        "arrivedAt": receipt["arrived_at"],
        "source": row["source"],
        "name": row["name"],
        "kind": receipt["kind"],
        "resourceId": row["resource_id"],
        "merchantRefNum": row["merchant_ref"],
        "state": row["state"],
        "attempts": row["attempts"],
        "lastError": row["last_error"],
        "finishedAt": row["finished_at"],
        "verdict": receipt["verdict"],
        "keyId": receipt.get("key_id"),
        "traceId": row["trace_id"],
        "companyId": row["owner"],
        "notes": receipt.get("notes", []),
    }


async def _find(ctx: Context, request: Request) -> Record:
    row = await ctx.db.fetchrow(FIND, request.path["id"], request.owner)
    if row is None:
        raise NotFound(f"there is no event {request.path['id']!r}")
    return row


async def _select(
    ctx: Context,
    equal: Mapping[str, str | None],
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    before: str | None = None,
    ids: Sequence[str] | None = None,
    limit: int,
) -> list[Record]:
    """Return events by what they equal, newest first. Times become bounds of the id, which holds the time."""
    given = {column: value for column, value in equal.items() if value is not None}
    # An id is made when the delivery arrives; what went through the spool is received later, hence the slack.
    low = _id_at(start) if start else None
    high = before or (_id_at(end + timedelta(milliseconds=1)) if end else None)
    sources = list(ctx.settings.sources) if "name" in given and "source" not in given else None
    statement = list_statement(
        tuple(given), low=low is not None, high=high is not None, ids=ids is not None, by_source=bool(sources)
    )
    values: list[Any] = list(given.values())
    for bound in (low, high, list(ids) if ids is not None else None, sources or None):
        if bound is not None:
            values.append(bound)
    return await ctx.db.read.fetch(statement, *values, limit)


def _id_at(moment: datetime) -> str:
    """Return the lowest id of a time."""
    return new_id("evt", at_ms=int(moment.timestamp() * 1000))[:14]
