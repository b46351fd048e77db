"""From an event to its deliveries: one row per endpoint that asked for it, in the transaction of the
event."""

from __future__ import annotations

from collections.abc import MutableMapping
from datetime import datetime
from typing import Any

import msgspec

from wharfd import PluginContext, Transaction, new_id
from wharfd.contracts.events import Envelope
from wharfd.contracts.webhooks import OPERATIONAL_TYPES

from .config import Settings
from .model.endpoint import Target
from .sending.sender import QUEUES
from .store import messages
from .store.messages import Message, Planned


def body_of(message_id: str, event_type: str, occurred_at: datetime, data: Any) -> bytes:
    """Return the bytes that are signed and sent for an event."""
    return msgspec.json.encode(
        {"id": message_id, "type": event_type, "timestamp": occurred_at, "data": data},
    )


async def fan_out(ctx: PluginContext[Settings], envelope: Envelope, tx: Transaction) -> None:
    """Make the deliveries of one published event: the plugin's subscription to everything.

    An event about an endpoint is never sent to that endpoint: it would only fail there too.
    """
    operational = envelope.type in OPERATIONAL_TYPES
    await spread(
        ctx,
        tx,
        Message(
            id=envelope.id,
            type=envelope.type,
            owner=envelope.owner,
            source="operational" if operational else "event",
            body=body_of(envelope.id, envelope.type, envelope.occurred_at, envelope.data),
            subject=envelope.subject,
            trace_id=envelope.trace_id,
        ),
        occurred_at=envelope.occurred_at,
        but_not=envelope.data.get("endpoint_id") if operational else None,
    )


async def spread(
    ctx: PluginContext[Settings],
    tx: Transaction,
    message: Message,
    *,
    occurred_at: datetime,
    but_not: str | None = None,
) -> int:
    """Keep a message, make its deliveries and return how many there are."""
    known: MutableMapping[tuple[str, int], Target] = ctx.state["targets"]
    at = await messages.add(tx, message)
    targets = await messages.asking(tx, message.type, message.owner, but_not, known)
    if not targets:
        return 0
    payload = msgspec.json.decode(message.body)
    planned = plan(targets, payload, occurred_at)
    await messages.deliver(tx, message.id, at, message.type, planned)
    wake(ctx, tx, planned)
    ctx.metrics["fanned_out_total"].inc(len(planned))
    return len(planned)


def plan(targets: list[Target], payload: Any, occurred_at: datetime) -> list[Planned]:
    """Choose the targets whose filter lets the payload through; ids sort by the time of the event."""
    at_ms = int(occurred_at.timestamp() * 1000)
    return [
        Planned(new_id("dlv", at_ms=at_ms), target, target.order_key(payload))
        for target in targets
        if target.wants(payload)
    ]


def wake(ctx: PluginContext[Settings], tx: Transaction | None, planned: list[Planned]) -> None:
    """Wake the workers of the lanes that got something."""
    counts: dict[str, int] = {}
    for one in planned:
        counts[one.target.lane] = counts.get(one.target.lane, 0) + 1
    for lane, rows in counts.items():
        ctx.work.wake(tx, QUEUES[lane], rows=rows)
