"""The usage log: every answered request of a key, newest first."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from urllib.parse import urlencode

import msgspec
from msgspec import Meta, Struct

from wharfd import Page, Record, Reply, Request, Route, decode_cursor, page_of

from ..parts import Context
from ..store.integration_rows import get_integration
from ..store.key_rows import get_key
from ..store.usage_rows import UsageFilter, list_usage
from .asking import Limit, Moment, Word, in_utc
from .integration_changes import no_integration
from .keys import no_key


class UsageQuery(Struct, kw_only=True, rename={"key_id": "keyId"}):
    """Which requests to show. `failed` true means status 400 and above."""

    key_id: Word | None = None
    method: Word | None = None
    endpoint: Word | None = None
    status: Annotated[int, Meta(ge=100, le=599)] | None = None
    failed: bool | None = None
    since: Moment | None = None
    until: Moment | None = None
    limit: Limit = 50
    cursor: str | None = None


_NAMES = {"key_id": "keyId", "integration_id": "integrationId"}


class WholeUsageQuery(UsageQuery, kw_only=True, rename=_NAMES):
    """The same over all integrations."""

    integration_id: Word | None = None


class Usage(Struct, kw_only=True, rename="camel"):
    """One answered request; `endpoint` is the route's template, `responseTime` milliseconds."""

    id: str
    integration_id: str | None
    key_id: str
    user_id: str | None
    endpoint: str
    method: str
    status_code: int
    response_time: float
    error: str | None
    client: str | None
    timestamp: datetime


async def integration_usage(ctx: Context, request: Request) -> Page[Usage]:
    """Show the requests of one integration."""
    if await get_integration(ctx.db, request.path["id"], request.owner) is None:
        raise no_integration(request)
    return await _page(ctx, request, integration_id=request.path["id"])


async def integration_usage_old(ctx: Context, request: Request) -> Reply:
    """The same as a plain array; a Link header leads to the rest."""
    page = await integration_usage(ctx, request)
    headers = {}
    if page.next_cursor is not None:
        asked = msgspec.to_builtins(request.query)
        more = {name: value for name, value in asked.items() if value is not None}
        link = urlencode(more | {"cursor": page.next_cursor})
        headers["link"] = f'</api/integrations/{request.path["id"]}/usage?{link}>; rel="next"'
    return Reply(200, page.items, headers)


async def key_usage(ctx: Context, request: Request) -> Page[Usage]:
    """Show the requests of one key."""
    if await get_key(ctx.db, request.path["id"], request.owner) is None:
        raise no_key(request.path["id"])
    return await _page(ctx, request, key_id=request.path["id"])


async def whole_usage(ctx: Context, request: Request) -> Page[Usage]:
    """Show the requests of all the caller's keys."""
    query: WholeUsageQuery = request.query
    return await _page(ctx, request, integration_id=query.integration_id)


async def _page(ctx: Context, request: Request, **fixed: Any) -> Page[Usage]:
    query: UsageQuery = request.query
    after = decode_cursor(request, query.cursor, datetime, int)
    wanted = UsageFilter(
        **{
            "owner": request.owner,
            "key_id": query.key_id,
            "method": None if query.method is None else query.method.upper(),
            "endpoint": query.endpoint,
            "status": query.status,
            "failed": query.failed,
            "since": in_utc("since", query.since, "query"),
            "until": in_utc("until", query.until, "query"),
            **fixed,
        }
    )
    rows = await list_usage(ctx.db.read, wanted, query.limit + 1, (after[0], after[1]) if after else None)
    return page_of(request, rows, query.limit, item=_shown, key=lambda row: (row["at"], row["id"]))


def _shown(row: Record) -> Usage:
    return Usage(
        id=f"usg_{row['id']}",
        integration_id=row["integration_id"],
        key_id=row["key_id"],
        user_id=row["owner"],
        endpoint=row["endpoint"],
        method=row["method"],
        status_code=row["status"],
        response_time=round(row["ms"], 3),
        error=row["error"],
        client=None if row["client"] is None else str(row["client"]),
        timestamp=row["at"],
    )


_OLD, _OLDEST = "/api/integrations/{id}/usage", "/api/integrations/{id}/logs"
_NEW = "/api/v1/integrations/{id}/usage"

ROUTES = (
    Route(
        method="GET", path=_NEW, handler=integration_usage, scope="integrations:read", query=UsageQuery,
        returns=Page[Usage], summary="Show the requests of an integration",
    ),
    Route(
        method="GET", path=_OLD, aliases=(_OLDEST,), kept=(_OLD, _OLDEST), handler=integration_usage_old,
        scope="integrations:read", query=UsageQuery, returns=list[Usage],
        summary="Show the requests of an integration, as an array",
    ),
    Route(
        method="GET", path="/api/v1/keys/{id}/usage", handler=key_usage, scope="keys:read", query=UsageQuery,
        returns=Page[Usage], summary="Show the requests of a key",
    ),
    Route(
        method="GET", path="/api/v1/usage", handler=whole_usage, scope="integrations:read",
        query=WholeUsageQuery, returns=Page[Usage], summary="Show the requests of all keys",
    ),
)  # fmt: skip
