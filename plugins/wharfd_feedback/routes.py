"""The endpoints of F1 and F2 under /api/v1/feedback, in the shapes older callers know."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from wharfd import (
    BadRequest,
    Conflict,
    NotFound,
    Page,
    PluginContext,
    Rate,
    Record,
    Request,
    Route,
    decode_cursor,
    encode_cursor,
    page_of,
)
from wharfd.contracts.feedback import FeedbackModerated

from . import saying, store
from .config import Settings
from .model import statistics

BASE = "/api/v1/feedback"
OLD = "/api/feedback"
Ctx = PluginContext[Settings]
State = Literal["open", "upheld", "dismissed"]
_STATISTICS_SECONDS = 3600.0
_MOST_BODY = 128 << 10
_HIDDEN = ("newly_flagged", "commented_at")


class Rating(msgspec.Struct, forbid_unknown_fields=True):
    """A rating, with a comment or without. `version` is the one that was read, for a change made sure."""

    insight_id: str
    user_id: str
    rating: Annotated[int, Meta(ge=1, le=5)]
    comment: str | None = None
    version: Annotated[int, Meta(ge=0)] | None = None


class Comment(msgspec.Struct, forbid_unknown_fields=True):
    """A comment."""

    insight_id: str
    user_id: str
    comment: str
    version: Annotated[int, Meta(ge=0)] | None = None


class Flag(msgspec.Struct, forbid_unknown_fields=True):
    """A flag, for a moderator to look at."""

    insight_id: str
    user_id: str
    flag_type: Literal["inaccurate", "misleading", "spam"]
    flag_reason: str
    version: Annotated[int, Meta(ge=0)] | None = None


class OfInsight(msgspec.Struct):
    """Which insight."""

    insight_id: str


class Comments(msgspec.Struct):
    """Which insight, and which piece of the list: `cursor`, or `offset` as older callers do."""

    insight_id: str
    limit: Annotated[int, Meta(ge=1, le=200)] = 20
    offset: Annotated[int, Meta(ge=0, le=10_000)] = 0
    cursor: str | None = None


class OfUser(msgspec.Struct):
    """Which user, and which piece of the list."""

    user_id: str
    limit: Annotated[int, Meta(ge=1, le=200)] = 50
    offset: Annotated[int, Meta(ge=0, le=10_000)] = 0
    cursor: str | None = None


class Flags(msgspec.Struct):
    """Which flags."""

    state: State = "open"
    limit: Annotated[int, Meta(ge=1, le=200)] = 50
    cursor: str | None = None


class Decision(msgspec.Struct, forbid_unknown_fields=True):
    """What a moderator decides about a flag."""

    state: State
    note: Annotated[str, Meta(max_length=1000)] = ""


async def rate(ctx: Ctx, request: Request) -> dict[str, Any]:
    """Rate an insight; a rating before is replaced."""
    body: Rating = request.body
    said: dict[str, Any] = {"rating": body.rating}
    if body.comment is not None:
        said["comment"] = saying.checked_text("comment", body.comment, ctx.settings.max_comment)
    return _shown(
        await saying.say(ctx, "rate", request.owner, body.insight_id, body.user_id, body.version, **said)
    )


async def comment(ctx: Ctx, request: Request) -> dict[str, Any]:
    """Comment on an insight; a comment before is replaced."""
    body: Comment = request.body
    text = saying.checked_text("comment", body.comment, ctx.settings.max_comment)
    return _shown(
        await saying.say(
            ctx, "comment", request.owner, body.insight_id, body.user_id, body.version, comment=text
        )
    )


async def flag(ctx: Ctx, request: Request) -> dict[str, Any]:
    """Flag an insight; a moderator looks at it. The same flag again changes nothing of what was decided."""
    body: Flag = request.body
    reason = saying.checked_text("flag_reason", body.flag_reason, ctx.settings.max_reason)
    said = (body.flag_type, reason)
    return _shown(
        await saying.say(ctx, "flag", request.owner, body.insight_id, body.user_id, body.version, flag=said)
    )


async def show_statistics(ctx: Ctx, request: Request) -> dict[str, Any]:
    """Show ratings, comments and flags of an insight in numbers."""
    insight_id, owner = saying.checked_id("insight_id", request.query.insight_id, "query"), request.owner

    async def compute() -> dict[str, Any]:
        return statistics(insight_id, await store.counters(ctx.db, insight_id, owner))

    found: dict[str, Any] = await ctx.cache.get(
        "statistics",
        (owner, insight_id),
        compute,
        ttl=_STATISTICS_SECONDS,
        tags=saying.tags(owner, insight_id)[:1],
    )
    return found


async def list_comments(ctx: Ctx, request: Request) -> dict[str, Any]:
    """List the comments on an insight, the newest first."""
    query: Comments = request.query
    insight_id, owner = saying.checked_id("insight_id", query.insight_id, "query"), request.owner
    before = _before(request, query.cursor, query.offset)
    rows = await store.comments(ctx.db, insight_id, owner, before, query.limit + 1, query.offset)
    counted = await store.counters(ctx.db, insight_id, owner)
    return {
        "insight_id": insight_id,
        "comments": [_shown(row) for row in rows[: query.limit]],
        "total": counted["comments"],
        "limit": query.limit,
        "offset": query.offset,
        "next_cursor": _next(request, rows, query.limit, "commented_at"),
    }


async def list_of_user(ctx: Ctx, request: Request) -> dict[str, Any]:
    """List what a user said, the latest change first."""
    query: OfUser = request.query
    user_id, owner = saying.checked_id("user_id", query.user_id, "query"), request.owner
    before = _before(request, query.cursor, query.offset)
    rows = await store.of_user(ctx.db, user_id, owner, before, query.limit + 1, query.offset)
    return {
        "user_id": user_id,
        "feedback": [_shown(row) for row in rows[: query.limit]],
        "total": await ctx.db.fetchval(store.COUNT_OF_USER, user_id, owner),
        "limit": query.limit,
        "offset": query.offset,
        "next_cursor": _next(request, rows, query.limit, "updated_at"),
    }


def _before(request: Request, cursor: str | None, offset: int) -> tuple[Any, ...] | None:
    if cursor and offset:
        raise BadRequest("give cursor or offset, not both")
    return decode_cursor(request, cursor, datetime, str)


def _next(request: Request, rows: Any, limit: int, column: str) -> str | None:
    if len(rows) <= limit:
        return None
    return encode_cursor(request, rows[limit - 1][column], rows[limit - 1]["id"])


async def list_flags(ctx: Ctx, request: Request) -> Page[dict[str, Any]]:
    """List flags for moderators, the one that waits longest first."""
    query: Flags = request.query
    after = decode_cursor(request, query.cursor, datetime, str)
    rows = await store.flags(ctx.db, query.state, request.owner, after, query.limit + 1)
    return page_of(request, rows, query.limit, item=_shown, key=lambda row: (row["flagged_at"], row["id"]))


async def moderate(ctx: Ctx, request: Request) -> dict[str, Any]:
    """Decide about a flag: upheld or dismissed, or open it again. A dismissed flag is not counted."""
    decision: Decision = request.body
    feedback_id, actor = request.path["id"], request.identity.subject
    if "\0" in decision.note:
        raise BadRequest("note cannot hold the character U+0000")
    async with ctx.db.transaction() as tx:
        row = await tx.fetchrow(store.LOCK, feedback_id)
        if row is None or request.owner not in (None, row["owner"]):
            raise NotFound(f"there is no feedback {feedback_id}")
        if row["flag_state"] is None:
            raise Conflict(f"the feedback {feedback_id} has no flag")
        if row["flag_state"] == decision.state:
            return _shown(row)
        changed = await tx.fetchrow(store.MODERATE, feedback_id, decision.state, actor, decision.note or None)
        assert changed is not None
        await ctx.audit.record(
            tx,
            actor=actor,
            action=f"feedback.flag_{decision.state}",
            subject=feedback_id,
            owner=row["owner"],
            detail={"was": row["flag_state"], "flag_type": row["flag_type"], "note": decision.note},
        )
        await ctx.events.publish(
            tx,
            FeedbackModerated(
                owner=row["owner"],
                subject=feedback_id,
                insight_id=row["insight_id"],
                flag_type=row["flag_type"],
                state=decision.state,
            ),
        )
        stale = saying.tags(row["owner"], row["insight_id"])
        tx.after_commit(lambda: ctx.cache.invalidate_soon(*stale))
    ctx.metrics["moderations_total"].labels(decision.state).inc()
    return _shown(changed)


def _shown(row: Record) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in _HIDDEN and name != "owner"}


def routes(settings: Settings) -> list[Route]:
    """Return the endpoints."""
    read, write = "feedback:read", "feedback:write"
    limit = Rate(settings.changes_per_minute)

    def at(path: str, *, kept: bool = True) -> dict[str, Any]:
        paths = (f"{BASE}{path}", f"{OLD}{path}")
        return {"path": paths[0], "aliases": paths[1:], "kept": paths if kept else ()}

    def change(path: str, handler: Any, body: Any, summary: str) -> Route:
        return Route(method="POST", **at(path), handler=handler, scope=write, body=body, rate=limit,
                     idempotent=True, max_body_bytes=_MOST_BODY, summary=summary)  # fmt: skip

    return [
        change("/rate", rate, Rating, "Rate an insight"),
        change("/comment", comment, Comment, "Comment on an insight"),
        change("/flag", flag, Flag, "Flag an insight"),
        Route(method="GET", **at("/stats"), handler=show_statistics, scope=read, query=OfInsight,
              summary="Statistics of an insight"),
        Route(method="GET", **at("/comments"), handler=list_comments, scope=read, query=Comments,
              summary="Comments on an insight"),
        Route(method="GET", **at("/user"), handler=list_of_user, scope=read, query=OfUser,
              summary="What a user said"),
        Route(method="GET", **at("/flags", kept=False), handler=list_flags,
              scope="moderation:read", query=Flags, summary="Flags for moderators"),
        Route(method="POST", **at("/flags/{id}", kept=False), handler=moderate,
              scope="moderation:write", body=Decision, summary="Decide about a flag"),
    ]  # fmt: skip
