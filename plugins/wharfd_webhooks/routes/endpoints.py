"""Endpoints: make, list, read, change, delete."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta

from wharfd import (
    FieldError,
    Forbidden,
    Invalid,
    NotFound,
    PluginContext,
    Rate,
    Record,
    Reply,
    Request,
    Route,
    new_id,
)

from ..config import Settings
from ..recovering import CancelAll
from ..store import endpoints as store
from ..store.endpoints import NewEndpoint
from .checking import check_endpoint, key_given_or_made, tls_ends
from .shapes import HIDDEN, EndpointIn, EndpointOut, EndpointPatch, endpoint_out

READ, WRITE = "webhooks:read", "webhooks:write"
CHANGES = Rate(calls=120, seconds=60.0)
_FIELDS = frozenset(
    field.encode_name for shape in (EndpointPatch, EndpointOut) for field in msgspec.structs.fields(shape)
)
TLS_FIELDS = frozenset({"url", "ca", "client_certificate", "client_key"})


class EndpointQuery(msgspec.Struct, kw_only=True):
    """How much of the list, and after which endpoint."""

    limit: Annotated[int, Meta(ge=1, le=500)] = 200
    before: str | None = None


def both(path: str) -> dict[str, Any]:
    """Return the path of the old systems and its twin under /api/v1."""
    old = f"/api/webhooks{path}"
    return {"path": old, "aliases": (f"/api/v1/webhooks{path}",), "kept": (old,)}


def routes(settings: Settings) -> list[Route]:
    """Return the routes of endpoints."""
    return [
        Route(
            method="GET", **both(""), handler=list_endpoints, scope=READ, query=EndpointQuery,
            returns=list[EndpointOut], summary="list endpoints, the newest first",
        ),
        Route(
            method="POST", **both(""), handler=create, scope=WRITE, body=EndpointIn, returns=EndpointOut,
            status=201, idempotent=True, rate=CHANGES, summary="add an endpoint; its secret is shown once",
        ),
        Route(
            method="GET", **both("/{id}"), handler=show, scope=READ, returns=EndpointOut,
            summary="read an endpoint",
        ),
        Route(
            method="PUT", **both("/{id}"), handler=change, scope=WRITE, body=EndpointPatch,
            returns=EndpointOut, rate=CHANGES, summary="change an endpoint; what is left out stays",
        ),
        Route(
            method="PATCH", **both("/{id}"), handler=change, scope=WRITE, body=EndpointPatch,
            returns=EndpointOut, rate=CHANGES, summary="the same as PUT",
        ),
        Route(
            method="DELETE", **both("/{id}"), handler=delete, scope=WRITE, status=204, rate=CHANGES,
            summary="delete an endpoint; deliveries that wait are cancelled, its record stays",
        ),
    ]  # fmt: skip


async def list_endpoints(ctx: PluginContext[Settings], request: Request) -> Any:
    """List the caller's endpoints."""
    query: EndpointQuery = request.query
    rows = await store.page(ctx.db.read, request.owner, query.before, query.limit)
    shown = [shown_endpoint(ctx, row) for row in rows[: query.limit]]
    if len(rows) <= query.limit:
        return shown
    link = f'<{request.url_path}?limit={query.limit}&before={shown[-1].id}>; rel="next"'
    return Reply(200, shown, {"Link": link})


async def create(ctx: PluginContext[Settings], request: Request) -> EndpointOut:
    """Add an endpoint."""
    given: EndpointIn = request.body
    owner = request.owner
    if given.owner is not None and given.owner != owner:
        if owner is not None:
            raise Forbidden("only an admin may add an endpoint for somebody else; leave owner out")
        owner = given.owner
    endpoint = NewEndpoint(
        id=new_id("wh"),
        owner=owner,
        url=given.url,
        events=list(dict.fromkeys(given.events)),
        max_in_flight=ctx.settings.max_in_flight if given.max_in_flight is None else given.max_in_flight,
        description=given.description,
        filter=given.filter,
        headers=given.headers,
        legacy=given.legacy,
        transform=given.transform,
        order_by=given.order_by,
        order_failed=given.order_failed,
        at_most_once=given.at_most_once,
        rate_per_second=given.rate_per_second,
        timeout_seconds=given.timeout_seconds,
        ca=given.ca,
        client_certificate=given.client_certificate,
        client_key=given.client_key,
        status="active" if given.active else "disabled",
    )
    problems = check_endpoint(ctx, endpoint)
    if problems:
        raise Invalid(*problems)
    endpoint = replace(endpoint, tls_ends_at=tls_ends(endpoint, ctx.now()))
    key = key_given_or_made(given.secret, given.signing)
    async with ctx.db.transaction() as tx:
        if await store.count_for_owner(tx, owner) >= ctx.settings.max_endpoints and owner is not None:
            most = ctx.settings.max_endpoints
            raise Invalid(
                FieldError("url", f"there are {most} endpoints already; delete one that is not used")
            )
        await store.add(tx, ctx.secrets, endpoint)
        await store.add_secret(tx, ctx.secrets, endpoint.id, key)
        await ctx.audit.record(
            tx,
            actor=request.identity.subject,
            action="webhook.created",
            subject=endpoint.id,
            detail={"events": list(endpoint.events)},
            owner=owner,
        )
        row = await store.get(tx, endpoint.id, owner)
        assert row is not None
    return endpoint_out(
        row, endpoint.headers, secret=key.text, public_key=key.public if key.public else UNSET
    )


async def show(ctx: PluginContext[Settings], request: Request) -> EndpointOut:
    """Read an endpoint."""
    return shown_endpoint(ctx, await endpoint_of(ctx, request))


async def change(ctx: PluginContext[Settings], request: Request) -> EndpointOut:
    """Change an endpoint."""
    patch: EndpointPatch = request.body
    async with ctx.db.transaction() as tx:
        row = await store.lock(tx, request.path["id"], request.owner)
        if row is None:
            raise _missing(request)
        changes = {
            name: value
            for name in patch.__struct_fields__
            if (value := getattr(patch, name)) is not UNSET and name != "active"
        }
        before = kept(ctx, row)
        if "headers" in changes:
            changes["headers"] = merged(changes["headers"], before.headers)
        after = replace(before, **changes)
        if changes.get("client_certificate", UNSET) is None:
            after = replace(after, client_key=None)
        tls = not TLS_FIELDS.isdisjoint(changes)
        problems = [*_strange(request.raw), *check_endpoint(ctx, after, tls=tls)]
        if problems:
            raise Invalid(*problems)
        if tls:
            after = replace(after, tls_ends_at=tls_ends(after, ctx.now()))
        await store.update(tx, ctx.secrets, after)
        if patch.active is not UNSET and patch.active != (row["status"] in ("active", "paused")):
            reason = "" if patch.active else "switched off"
            await store.set_status(tx, after.id, "active" if patch.active else "disabled", reason)
        await ctx.audit.record(
            tx,
            actor=request.identity.subject,
            action="webhook.changed",
            subject=after.id,
            detail={"fields": sorted([*changes, *(["active"] if patch.active is not UNSET else [])])},
            owner=row["owner"],
        )
        row = await store.get(tx, after.id, request.owner)
        assert row is not None
    return shown_endpoint(ctx, row)


def _strange(raw: bytes) -> list[FieldError]:
    """Find what no endpoint has. What was read may be sent back whole: what cannot be changed is passed over,
    but a secret, which somebody would take for changed."""
    given: dict[str, Any] = msgspec.json.decode(raw)
    problems = [FieldError(name, "is not a known field") for name in given if name not in _FIELDS]
    if given.get("secret") is not None:
        problems.append(FieldError("secret", "is changed by POST …/rotate-secret, with an overlap"))
    return problems


async def delete(ctx: PluginContext[Settings], request: Request) -> Reply:
    """Delete an endpoint: it gets nothing more, and what it got can still be looked up."""
    async with ctx.db.transaction() as tx:
        row = await store.lock(tx, request.path["id"], request.owner)
        if row is None:
            raise _missing(request)
        await store.set_status(tx, row["id"], "deleted", "deleted")
        await store.forget_secrets(tx, row["id"])
        await ctx.audit.record(
            tx,
            actor=request.identity.subject,
            action="webhook.deleted",
            subject=row["id"],
            owner=row["owner"],
        )
        await ctx.jobs.enqueue(tx, CancelAll(row["id"]), unique=row["id"])
    return Reply(204)


async def endpoint_of(ctx: PluginContext[Settings], request: Request) -> Record:
    """Return the endpoint of the path; 404 for one that is not there or is somebody else's."""
    row = await store.get(ctx.db, request.path["id"], request.owner)
    if row is None:
        raise _missing(request)
    return row


def _missing(request: Request) -> NotFound:
    return NotFound(f"there is no webhook {request.path['id'][:80]!r}")


def shown_endpoint(ctx: PluginContext[Settings], row: Record) -> EndpointOut:
    """Return an endpoint as callers see it."""
    return endpoint_out(row, store.open_headers(ctx.secrets, row))


def merged(given: Mapping[str, str], before: Mapping[str, str]) -> dict[str, str]:
    """Return the headers given, where a value shown as hidden stands for the one there was."""
    older = {name.lower(): value for name, value in before.items()}
    return {
        name: older.get(name.lower(), value) if value == HIDDEN else value for name, value in given.items()
    }


def kept(ctx: PluginContext[Settings], row: Record) -> NewEndpoint:
    """Return an endpoint as it is kept."""
    return NewEndpoint(
        id=row["id"],
        owner=row["owner"],
        url=row["url"],
        events=row["events"],
        max_in_flight=row["max_in_flight"],
        description=row["description"],
        filter=row["filter"],
        headers=store.open_headers(ctx.secrets, row),
        legacy=row["legacy"],
        transform=row["transform"],
        order_by=row["order_by"],
        order_failed=row["order_failed"],
        at_most_once=row["at_most_once"],
        rate_per_second=row["rate_per_second"],
        timeout_seconds=row["timeout_seconds"],
        ca=row["ca"],
        client_certificate=row["client_certificate"],
        client_key=store.open_client_key(ctx.secrets, row),
        tls_ends_at=row["tls_ends_at"],
        status=row["status"],
    )
