"""The endpoints under /api/v1/alerts: what fires, what fired, acknowledge, resolve, silence, the rules."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from wharfd import (
    AlertRule,
    BadRequest,
    Conflict,
    NotFound,
    Page,
    PluginContext,
    Request,
    Route,
    decode_cursor,
    page_of,
)

from . import evaluating, listing, store
from .config import Settings
from .model import silenced

BASE = "/api/v1/alerts"
Ctx = PluginContext[Settings]
Pattern = Annotated[str, Meta(min_length=1, max_length=200)]
_LONGEST = 90 * 86400


class Open(msgspec.Struct):
    """What GET /api/v1/alerts takes."""

    pending: bool = False


class History(msgspec.Struct):
    """What GET /api/v1/alerts/history takes. `rule` is plugin.rule."""

    cursor: str | None = None
    limit: Annotated[int, Meta(ge=1, le=500)] = 50
    rule: str | None = None


class Note(msgspec.Struct, forbid_unknown_fields=True):
    """Why somebody acknowledges or resolves."""

    note: Annotated[str, Meta(max_length=1000)] = ""


class NewSilence(msgspec.Struct, forbid_unknown_fields=True):
    """What to keep quiet and for how long. Patterns are the shell's: * and ?."""

    reason: Annotated[str, Meta(min_length=1, max_length=500)]
    seconds: Annotated[float, Meta(ge=1, le=_LONGEST)]
    plugin: Pattern = "*"
    rule: Pattern = "*"
    key: Pattern = "*"


async def list_open(ctx: Ctx, request: Request) -> dict[str, Any]:
    """List what fires, the worst first."""
    return {"items": await find_open(ctx, pending=request.query.pending)}


async def find_open(ctx: Ctx, *, pending: bool = False) -> list[dict[str, Any]]:
    """Return what fires as the API shows it, the worst first; with `pending` also what may fire soon."""
    rows = await listing.open_alerts(ctx.db, pending=pending)
    silences = await store.silences(ctx.db)
    return [
        store.shown(row) | {"silenced": silenced(silences, row["plugin"], row["rule"], row["key"])}
        for row in rows
    ]


async def list_history(ctx: Ctx, request: Request) -> Page[dict[str, Any]]:
    """List alerts, open and resolved, the newest first."""
    query: History = request.query
    rule = None
    if query.rule is not None:
        plugin, dot, name = query.rule.partition(".")
        if not dot:
            raise BadRequest("rule is written plugin.rule")
        rule = (plugin, name)
    before = decode_cursor(request, query.cursor, datetime, str)
    rows = await listing.history(ctx.db, before, query.limit + 1, rule)
    return page_of(
        request, rows, query.limit, item=store.shown, key=lambda row: (row["started_at"], row["id"])
    )


async def show(ctx: Ctx, request: Request) -> dict[str, Any]:
    """Show one alert and what happened to it."""
    row = await store.read(ctx.db, request.path["id"])
    if row is None:
        raise NotFound(f"there is no alert {request.path['id']}")
    steps = await ctx.db.fetch(store.TRANSITIONS, row["id"])
    return store.shown(row) | {"transitions": [dict(step) for step in steps]}


async def acknowledge(ctx: Ctx, request: Request) -> dict[str, Any]:
    """Say that somebody looks after an alert: it is not told of again until it is over."""
    return await _decide(ctx, request, "acknowledged")


async def resolve(ctx: Ctx, request: Request) -> dict[str, Any]:
    """End an alert by hand; it fires anew if its rule finds the same again."""
    return await _decide(ctx, request, "resolved")


async def _decide(ctx: Ctx, request: Request, what: str) -> dict[str, Any]:
    alert_id, actor = request.path["id"], request.identity.subject
    note = request.body.note or None
    async with ctx.db.transaction() as tx:
        row = await store.read(tx, alert_id, lock=True)
        if row is None:
            raise NotFound(f"there is no alert {alert_id}")
        if row["status"] != "firing":
            raise Conflict(f"the alert {alert_id} is {row['status']}; only one that fires can be {what}")
        if what == "acknowledged":
            await store.acknowledge(tx, alert_id, actor, note)
        else:
            await evaluating.resolve(ctx, tx, alert_id, actor, note)
        await ctx.audit.record(
            tx, actor=actor, action=f"alert.{what}", subject=alert_id, detail={"note": note or ""}
        )
        changed = await store.read(tx, alert_id)
    assert changed is not None
    return store.shown(changed)


async def list_silences(ctx: Ctx, request: Request) -> dict[str, Any]:
    """List the silences, those that hold longest first."""
    return {"items": [dict(row) for row in await listing.silences(ctx.db)]}


async def silence(ctx: Ctx, request: Request) -> dict[str, Any]:
    """Keep alerts quiet for a while; they are found and shown all the same."""
    new: NewSilence = request.body
    actor = request.identity.subject
    if "\0" in new.plugin + new.rule + new.key + new.reason:
        raise BadRequest("a silence cannot hold the character U+0000")
    async with ctx.db.transaction() as tx:
        made = await listing.add_silence(tx, new.plugin, new.rule, new.key, new.reason, new.seconds, actor)
        await ctx.audit.record(
            tx, actor=actor, action="alert.silenced", subject=made["id"], detail=msgspec.to_builtins(new)
        )
    return made


async def unsilence(ctx: Ctx, request: Request) -> None:
    """End a silence now; what still fires is told of with the next evaluation."""
    silence_id, actor = request.path["id"], request.identity.subject
    async with ctx.db.transaction() as tx:
        if not await listing.end_silence(tx, silence_id, actor):
            raise NotFound(f"there is no silence {silence_id} that holds")
        await ctx.audit.record(tx, actor=actor, action="alert.unsilenced", subject=silence_id)


async def list_rules(ctx: Ctx, request: Request) -> dict[str, Any]:
    """List every rule of every plugin, and how its last evaluation went."""
    known = evaluating.known_rules(ctx)
    return {
        "items": [
            dict(row) | _declared(known[row["name"]][1] if row["name"] in known else None)
            for row in await ctx.db.fetch(store.RULES)
        ]
    }


def _declared(rule: AlertRule | None) -> dict[str, Any]:
    if rule is None:
        return {"summary": None, "severity": None, "every_seconds": None, "for_seconds": None}
    return {
        "summary": rule.summary,
        "severity": rule.severity,
        "every_seconds": rule.every_seconds,
        "for_seconds": rule.for_seconds,
    }


def routes() -> list[Route]:
    """Return the endpoints."""
    read, write = "alerts:read", "alerts:write"
    route = partial(Route, house=True)  # alerts are about the house, not about anybody's rows
    return [
        route(method="GET", path=BASE, handler=list_open, scope=read, query=Open, summary="What fires"),
        route(method="GET", path=f"{BASE}/history", handler=list_history, scope=read, query=History,
              summary="What fired"),
        route(method="GET", path=f"{BASE}/rules", handler=list_rules, scope=read, summary="The alert rules"),
        route(method="GET", path=f"{BASE}/silences", handler=list_silences, scope=read,
              summary="The silences"),
        route(method="POST", path=f"{BASE}/silences", handler=silence, scope=write, body=NewSilence,
              status=201, idempotent=True, summary="Keep alerts quiet"),
        route(method="DELETE", path=f"{BASE}/silences/{{id}}", handler=unsilence, scope=write, status=204,
              summary="End a silence"),
        route(method="GET", path=f"{BASE}/{{id}}", handler=show, scope=read, summary="One alert"),
        route(method="POST", path=f"{BASE}/{{id}}/ack", handler=acknowledge, scope=write, body=Note,
              summary="Acknowledge an alert"),
        route(method="POST", path=f"{BASE}/{{id}}/resolve", handler=resolve, scope=write, body=Note,
              summary="End an alert"),
    ]  # fmt: skip
