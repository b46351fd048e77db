"""Events: publish through wharfd, look one up, and ask why somebody did not get it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from wharfd import (
    FieldError,
    Forbidden,
    Invalid,
    NotFound,
    PluginContext,
    Rate,
    Record,
    Request,
    Route,
    new_id,
)

from ..config import Settings
from ..fanout import Published, body_of, spread
from ..model.explaining import explain_missing
from ..model.patterns import type_problem
from ..model.schemas import problems
from ..store import deliveries, endpoints, messages, types
from .catalogue import declared_types
from .endpoints import READ
from .shapes import DeliveryOut, delivery_out

PUBLISH = "events:write"


class EventIn(msgspec.Struct, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """An event to be told to everyone who asked. `owner` is for admins, who may publish for others."""

    type: str
    data: dict[str, Any]
    subject: Annotated[str, Meta(max_length=200)] = ""
    occurred_at: datetime | None = None
    owner: Annotated[str, Meta(min_length=1, max_length=200)] | None = None


class EventOut(msgspec.Struct, kw_only=True, rename="camel"):
    """The event that was taken, and how many endpoints are told."""

    success: bool
    id: str
    type: str
    deliveries: int


class MessageOut(msgspec.Struct, kw_only=True, rename="camel"):
    """A message and what became of it. `payload` is what is sent; lists leave it out."""

    id: str
    type: str
    owner: str | None
    source: str
    subject: str
    trace_id: str | None
    created_at: datetime
    payload: Any = None
    deliveries: list[DeliveryOut] = []


class MissingOut(msgspec.Struct, kw_only=True, rename="camel"):
    """Why an event made no delivery for an endpoint."""

    message_id: str
    webhook_id: str
    reasons: list[str]
    deliveries: list[DeliveryOut]


def routes(settings: Settings) -> list[Route]:
    """Return the routes of events."""
    return [
        Route(
            method="POST", path="/api/v1/events", handler=publish, scope=PUBLISH, body=EventIn,
            returns=EventOut, status=202, idempotent=True, rate=Rate(calls=6000, seconds=60.0),
            max_body_bytes=settings.max_payload_bytes + 4096,
            summary="publish an event; with an Idempotency-Key it is taken once",
        ),
        Route(
            method="GET", path="/api/v1/messages/{id}", handler=show, scope=READ, returns=MessageOut,
            summary="read a published event and its deliveries",
        ),
        Route(
            method="GET", path="/api/v1/messages/{id}/explain/{webhook_id}", handler=explain, scope=READ,
            returns=MissingOut, summary="why did this endpoint not get this event?",
        ),
    ]  # fmt: skip


async def publish(ctx: PluginContext[Settings], request: Request) -> EventOut:
    """Take an event: checked against its type's schema, kept, and fanned out in one commit."""
    given: EventIn = request.body
    owner = request.owner
    if given.owner is not None and given.owner != owner:
        if owner is not None:
            raise Forbidden("only an admin may publish for somebody else; leave owner out")
        owner = given.owner
    await _check(ctx, request, given, owner)
    now = given.occurred_at or ctx.now()
    message_id = new_id("evt")
    body = body_of(message_id, given.type, now, given.data)
    if len(body) > ctx.settings.max_payload_bytes:
        most = ctx.settings.max_payload_bytes
        raise Invalid(FieldError("data", f"is too large: the payload has {len(body)} bytes, at most {most}"))
    async with ctx.db.transaction() as tx:
        message = messages.Message(
            id=message_id,
            type=given.type,
            owner=owner,
            source="api",
            body=body,
            subject=given.subject,
            trace_id=request.trace_id or request.id,
        )
        made = await spread(ctx, tx, [Published(message, ctx.now())])
    return EventOut(success=True, id=message_id, type=given.type, deliveries=made)


async def _check(ctx: PluginContext[Settings], request: Request, given: EventIn, owner: str | None) -> None:
    problem = type_problem(given.type)
    if problem is not None:
        raise Invalid(FieldError("type", problem))
    if given.occurred_at is not None and given.occurred_at.tzinfo is None:
        raise Invalid(FieldError("occurredAt", "must carry a time zone, such as 2026-01-31T12:00:00Z"))
    if given.type in declared_types(ctx):
        raise Invalid(
            FieldError("type", f"{given.type} is published by a plugin; publish under a type of your own")
        )
    defined = await types.find(ctx.db, given.type, owner)
    if defined is None and not ctx.settings.undeclared_events:
        raise Invalid(
            FieldError(
                "type", f"{given.type} is not known; define it with PUT /api/v1/event-types/{given.type}"
            )
        )
    if defined is not None and defined["schema"] is not None:
        wrong = problems(defined["schema"], given.data)
        if wrong:
            raise Invalid(*(FieldError(field, sentence) for field, sentence in wrong))


async def show(ctx: PluginContext[Settings], request: Request) -> MessageOut:
    """Read a message with its deliveries, as far as the caller may see them."""
    row, made = await message_of(ctx, request)
    return message_out(row, msgspec.json.decode(row["body"]), [delivery_out(one) for one in made])


async def explain(ctx: PluginContext[Settings], request: Request) -> MissingOut:
    """Say why an endpoint did not get an event, or show the deliveries it did make."""
    endpoint = await endpoints.get(ctx.db, request.path["webhook_id"], request.owner)
    if endpoint is None:
        raise NotFound(f"there is no webhook {request.path['webhook_id'][:80]!r}")
    row, made = await message_of(ctx, request)
    own = [delivery_out(one) for one in made if one["endpoint_id"] == endpoint["id"]]
    reasons = (
        [f"it made the delivery {own[0].id}, which is {own[0].status}"]
        if own
        else explain_missing(dict(row), dict(endpoint), msgspec.json.decode(row["body"]))
    )
    return MissingOut(message_id=row["id"], webhook_id=endpoint["id"], reasons=reasons, deliveries=own)


async def message_of(ctx: PluginContext[Settings], request: Request) -> tuple[Record, list[Record]]:
    """Return a message that is the caller's own, with its deliveries; 404 otherwise."""
    row = await messages.find(ctx.db, request.path["id"])
    if row is None or (request.owner is not None and row["owner"] != request.owner):
        raise NotFound(f"there is no message {request.path['id'][:80]!r}")
    return row, await deliveries.of_message(ctx.db, row["id"], request.owner)


def message_out(row: Record, payload: Any, made: list[DeliveryOut]) -> MessageOut:
    """Return a message as callers see it."""
    return MessageOut(
        id=row["id"],
        type=row["type"],
        owner=row["owner"],
        source=row["source"],
        subject=row["subject"],
        trace_id=row["trace_id"],
        created_at=row["created_at"],
        payload=payload,
        deliveries=made,
    )
