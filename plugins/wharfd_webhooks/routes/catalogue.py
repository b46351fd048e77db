"""The catalogue of event types: those that plugins declare, and those that callers define."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from wharfd import (
    Conflict,
    EventType,
    FieldError,
    Invalid,
    NotFound,
    PluginContext,
    Record,
    Reply,
    Request,
    Route,
)

from ..config import Settings
from ..model.patterns import type_problem
from ..model.schemas import SchemaError, check_schema, schema_of
from ..store import types as store
from .endpoints import CHANGES, READ, WRITE

_MOST_OWN = 500


class TypeIn(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What an event type means and what its data looks like, as JSON Schema."""

    description: Annotated[str, Meta(max_length=1000)] = ""
    schema: dict[str, Any] | None = None
    deprecated: bool = False


class TypeOut(msgspec.Struct, kw_only=True, rename="camel"):
    """An event type. `source` is the plugin that publishes it, or `custom`."""

    type: str
    description: str
    source: str
    version: int | None
    deprecated: bool
    schema: dict[str, Any] | None
    updated_at: datetime | None


def routes(settings: Settings) -> list[Route]:
    """Return the routes of the catalogue."""
    one = "/api/v1/event-types/{type}"
    return [
        Route(
            method="GET", path="/api/v1/event-types", handler=list_types, scope=READ, returns=list[TypeOut],
            summary="list all event types with their JSON Schema",
        ),
        Route(
            method="GET", path=one, handler=show, scope=READ, returns=TypeOut, summary="read an event type",
        ),
        Route(
            method="PUT", path=one, handler=put, scope=WRITE, body=TypeIn, returns=TypeOut, rate=CHANGES,
            summary="define an event type of your own, or change it",
        ),
        Route(
            method="DELETE", path=one, handler=delete, scope=WRITE, status=204, rate=CHANGES,
            summary="delete an event type of your own",
        ),
    ]  # fmt: skip


def declared_types(ctx: PluginContext[Settings]) -> dict[str, tuple[str, EventType]]:
    """Return the event types that plugins publish, by name, with the plugin."""
    return {one.event.type: (plugin, one) for plugin, one in ctx.plugins.declared(EventType)}


async def list_types(ctx: PluginContext[Settings], request: Request) -> list[TypeOut]:
    """List what can be asked for."""
    declared = [_declared(plugin, one) for plugin, one in declared_types(ctx).values()]
    own = [_own(row) for row in await store.visible(ctx.db, request.owner)]
    return sorted(declared + own, key=lambda one: one.type)


async def show(ctx: PluginContext[Settings], request: Request) -> TypeOut:
    """Read one."""
    name = request.path["type"]
    declared = declared_types(ctx).get(name)
    if declared is not None:
        return _declared(*declared)
    row = await store.find(ctx.db, name, request.owner)
    if row is None:
        raise NotFound(f"there is no event type {name[:80]!r}")
    return _own(row)


async def put(ctx: PluginContext[Settings], request: Request) -> TypeOut:
    """Define one."""
    name, given = request.path["type"], request.body
    problem = type_problem(name)
    if problem is not None:
        raise Invalid(FieldError("type", problem, "path"))
    if name in declared_types(ctx):
        raise Conflict(f"{name} is published by a plugin and cannot be defined anew")
    if given.schema is not None:
        try:
            check_schema(given.schema)
        except SchemaError as error:
            raise Invalid(FieldError(error.field, error.message)) from None
    async with ctx.db.transaction() as tx:
        if await store.count(tx, request.owner) >= _MOST_OWN:
            raise Conflict(f"there are {_MOST_OWN} event types already; delete some that are not used")
        row = await store.put(
            tx, name, request.owner, given.description, given.schema, deprecated=given.deprecated
        )
        await ctx.audit.record(
            tx,
            actor=request.identity.subject,
            action="event_type.defined",
            subject=name,
            owner=request.owner,
        )
    return _own(row)


async def delete(ctx: PluginContext[Settings], request: Request) -> Reply:
    """Delete one."""
    name = request.path["type"]
    async with ctx.db.transaction() as tx:
        if not await store.delete(tx, name, request.owner):
            raise NotFound(f"there is no event type {name[:80]!r} of your own")
        await ctx.audit.record(
            tx,
            actor=request.identity.subject,
            action="event_type.deleted",
            subject=name,
            owner=request.owner,
        )
    return Reply(204)


def _declared(plugin: str, one: EventType) -> TypeOut:
    return TypeOut(
        type=one.event.type,
        description=one.summary or (one.event.__doc__ or "").split("\n")[0],
        source=plugin,
        version=one.event.version,
        deprecated=False,
        schema=schema_of(one.event),
        updated_at=None,
    )


def _own(row: Record) -> TypeOut:
    return TypeOut(
        type=row["type"],
        description=row["description"],
        source="custom",
        version=None,
        deprecated=row["deprecated"],
        schema=row["schema"],
        updated_at=row["updated_at"],
    )
