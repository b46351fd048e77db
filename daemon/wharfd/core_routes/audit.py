"""`/api/v1/audit`: who changed what and when, and whether the record was tampered with."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec

from ..audit import AuditEntry, AuditFilter, Cursor, Seal
from ..declare import Route
from ..errors import SealRefused
from ..http import FieldError, Invalid, Page, Request, decode_cursor, encode_cursor
from .sources import CoreSources

Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class AuditQuery(msgspec.Struct, kw_only=True):
    """Which entries to show; what is left out does not matter."""

    owner: str | None = None
    actor: str | None = None
    action: str | None = None
    subject: str | None = None
    since: Moment | None = None
    until: Moment | None = None
    cursor: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50


async def list_entries(ctx: CoreSources, request: Request) -> Page[AuditEntry]:
    """List what was done, the latest first."""
    query: AuditQuery = request.query
    wanted = AuditFilter(
        owner=query.owner,
        actor=query.actor,
        action=query.action,
        subject=query.subject,
        since=query.since,
        until=query.until,
    )
    place = decode_cursor(request, query.cursor, datetime, str)
    page = await ctx.audit.entries(
        wanted, limit=query.limit, before=None if place is None else Cursor(*place)
    )
    following = None if page.next is None else encode_cursor(request, *page.next)
    return Page(items=list(page.entries), next_cursor=following)


class VerifyQuery(msgspec.Struct, kw_only=True):
    """What must be in the chain: a head that was written down elsewhere, such as the log's `audit_sealed`."""

    known: str | None = None


async def verify(ctx: CoreSources, request: Request) -> dict[str, Any]:
    """Walk the chain of hashes, name the first place where it does not hold, or the head of a sound one."""
    query: VerifyQuery = request.query
    try:
        found = await ctx.audit.verify(known=None if query.known is None else Seal.read(query.known))
    except SealRefused as error:
        raise Invalid(FieldError("known", str(error), "query")) from None
    told = {"holds": found.holds, **msgspec.to_builtins(found)}
    return {**told, "head": None if found.head is None else str(found.head)}


ROUTES = [
    Route(
        method="GET",
        path="/api/v1/audit",
        handler=list_entries,
        scope="audit:read",
        query=AuditQuery,
        returns=Page[AuditEntry],
    ),
    Route(
        method="GET",
        path="/api/v1/audit/verify",
        handler=verify,
        scope="audit:read",
        query=VerifyQuery,
        timeout_seconds=300,
    ),
]
