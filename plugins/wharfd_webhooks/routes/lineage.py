"""Lineage: from a provider's webhook to every send to a customer, and back, by any id on the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from wharfd import NotFound, PluginContext, Record, Reply, Request, Route
from wharfd.contracts.lineage import ORIGINS, Origin

from ..config import Settings
from ..store import deliveries, messages
from .endpoints import READ
from .events import MessageOut, message_out
from .shapes import AttemptOut, DeliveryOut, attempt_out, delivery_out


class LineageDelivery(msgspec.Struct, kw_only=True):
    """A delivery with all its sends."""

    delivery: DeliveryOut
    attempts: list[AttemptOut]


class LineageMessage(msgspec.Struct, kw_only=True):
    """A message of a trace with all its deliveries."""

    message: MessageOut
    deliveries: list[LineageDelivery]


class Lineage(msgspec.Struct, kw_only=True, rename="camel"):
    """What arrived from outside, the events it led to, their deliveries, and every send."""

    trace_id: str | None
    origins: list[Origin]
    messages: list[LineageMessage]


def routes(settings: Settings) -> list[Route]:
    """Return the route of lineage."""
    return [
        Route(
            method="GET", path="/api/v1/lineage/{id}", handler=lineage, scope=READ, returns=Lineage,
            summary="follow a provider's webhook, an event, a delivery or a trace from end to end",
        ),
    ]  # fmt: skip


async def lineage(ctx: PluginContext[Settings], request: Request) -> Any:
    """Follow a trace, named by its own id or by that of anything on the way."""
    wanted, owner = request.path["id"], request.owner
    trace_id, rows = await _trace_of(ctx, wanted, owner)
    found = []
    for row in rows:
        made = []
        for one in await deliveries.of_message(ctx.db, row["id"], owner):
            sends = await deliveries.attempts(ctx.db, one["id"], one["created_at"])
            made.append(LineageDelivery(delivery=delivery_out(one), attempts=[attempt_out(s) for s in sends]))
        found.append(LineageMessage(message=message_out(row, None, []), deliveries=made))
    origins = await _origins(ctx, {wanted, *(row["origin"] for row in rows if row["origin"])}, owner)
    if not found and not origins:
        raise NotFound(f"nothing carries the id {wanted[:80]!r}")
    return Reply(200, Lineage(trace_id=trace_id, origins=origins, messages=found))


async def _trace_of(
    ctx: PluginContext[Settings], wanted: str, owner: str | None
) -> tuple[str | None, Sequence[Record]]:
    """Return the trace that an id belongs to and its messages; without a trace, the message alone."""
    trace_id: str | None = wanted
    message_id = None
    if wanted.startswith("dlv_"):
        delivery = await deliveries.get(ctx.db, wanted, owner)
        message_id = delivery["message_id"] if delivery is not None else None
    elif wanted.startswith("evt_"):
        message_id = wanted
    if message_id is not None:
        message = await messages.find(ctx.db, message_id)
        if message is not None and (owner is None or message["owner"] == owner):
            trace_id = message["trace_id"]
        else:
            origins = await _origins(ctx, {wanted}, owner)
            trace_id = origins[0].trace_id if origins else None
    if trace_id is None:
        return None, await messages.by_id(ctx.db, message_id, owner) if message_id is not None else []
    return trace_id, await messages.of_trace(ctx.db, trace_id, owner)


async def _origins(ctx: PluginContext[Settings], ids: set[str], owner: str | None) -> list[Origin]:
    """Return what arrived from outside under these ids; nothing while nobody knows of such things."""
    service = ctx.services.find(ORIGINS)
    return [] if service is None else await service.find(sorted(ids), owner)
