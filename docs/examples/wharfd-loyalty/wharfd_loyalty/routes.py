"""The endpoints of this plugin: HTTP in, store, HTTP out."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from wharfd import NotFound, Page, PluginContext, Record, Request, Route, decode_cursor, new_id, page_of

from . import store
from .config import Settings

MEMBERS = "/api/v1/loyalty/members"
Ctx = PluginContext[Settings]


class Member(msgspec.Struct):
    """A member and what was earned."""

    id: str
    reference: str
    points: int
    level: str
    joined_at: datetime
    earned_at: datetime


class Members(msgspec.Struct):
    """Which piece of the list."""

    cursor: str | None = None
    limit: Annotated[int, Meta(ge=1, le=200)] = 50


class Gift(msgspec.Struct, forbid_unknown_fields=True):
    """Points given by hand, and why."""

    points: Annotated[int, Meta(ge=1, le=100_000)]
    note: Annotated[str, Meta(min_length=1, max_length=200)]


class Given(msgspec.Struct):
    """What was given; it is booked in a moment."""

    member_id: str
    points: int


async def list_members(ctx: Ctx, request: Request) -> Page[Member]:
    """List the members, those with the most points first."""
    after = decode_cursor(request, request.query.cursor, int, str)
    rows = await store.page(ctx.db, request.owner, after, request.query.limit + 1)
    return page_of(
        request, rows, request.query.limit, item=_member, key=lambda row: (row["points"], row["id"])
    )


async def show_member(ctx: Ctx, request: Request) -> Member:
    """Show a member."""
    return _member(await _found(ctx, request))


async def give(ctx: Ctx, request: Request) -> Given:
    """Give a member points by hand."""
    gift: Gift = request.body
    member_id = (await _found(ctx, request))["id"]
    async with ctx.db.transaction() as tx:
        await store.award(tx, member_id, gift.points, "gift", new_id("gift"))
        await ctx.audit.record(
            tx,
            actor=request.identity.subject,
            action="loyalty.gift",
            subject=member_id,
            owner=request.owner,
            detail={"points": gift.points, "note": gift.note},
        )
        ctx.work.wake(tx, "awards")
    return Given(member_id, gift.points)


async def _found(ctx: Ctx, request: Request) -> Record:
    row = await store.read(ctx.db, request.owner, request.path["id"])
    if row is None:
        raise NotFound(f"there is no member {request.path['id']}")
    return row


def _member(row: Record) -> Member:
    return msgspec.convert(dict(row), Member)


ROUTES = [
    Route(
        method="GET", path=MEMBERS, handler=list_members, scope="loyalty:read",
        query=Members, returns=Page[Member],
    ),
    Route(
        method="GET", path=MEMBERS + "/{id}", handler=show_member, scope="loyalty:read", returns=Member
    ),
    Route(
        method="POST", path=MEMBERS + "/{id}/gifts", handler=give, scope="loyalty:write",
        body=Gift, returns=Given, status=201, idempotent=True,
    ),
]  # fmt: skip
