"""From an event to its deliveries: one row per endpoint that asked for it, in the transaction of the
event."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from wharfd import PluginContext, Transaction, new_id
from wharfd.contracts.events import Envelope
from wharfd.contracts.webhooks import OPERATIONAL_TYPES

from .config import Settings
from .model.endpoint import Target
from .sending.sender import QUEUES
from .store.asking import Asking
from .store.messages import Message, Planned


def body_of(message_id: str, event_type: str, occurred_at: datetime, data: Any) -> bytes:
    """Return the bytes that are signed and sent for an event."""
    return msgspec.json.encode(
        {"id": message_id, "type": event_type, "timestamp": occurred_at, "data": data},
    )


@dataclass(frozen=True)
class Published:
    """A message on its way to its deliveries; `but_not` is an endpoint that is not to hear of it."""

    message: Message
    occurred_at: datetime
    but_not: str | None = None


async def fan_out(ctx: PluginContext[Settings], envelopes: Sequence[Envelope], tx: Transaction) -> None:
    """Make the deliveries of published events: the plugin's subscription to everything."""
    await spread(ctx, tx, [_published(envelope) for envelope in envelopes])


def _published(envelope: Envelope) -> Published:
    """Return an event as a message. What is told about an endpoint is never sent to it: it would only
    fail."""
    operational = envelope.type in OPERATIONAL_TYPES
    message = Message(
        id=envelope.id,
        type=envelope.type,
        owner=envelope.owner,
        source="operational" if operational else "event",
        body=body_of(envelope.id, envelope.type, envelope.occurred_at, envelope.data),
        subject=envelope.subject,
        trace_id=envelope.trace_id,
    )
    return Published(message, envelope.occurred_at, envelope.data.get("endpoint_id") if operational else None)


async def spread(ctx: PluginContext[Settings], tx: Transaction, published: Sequence[Published]) -> int:
    """Keep messages, make their deliveries, and return how many there are: mostly one statement."""
    if not published:
        return 0
    asking: Asking = ctx.state["asking"]
    by_id = {one.message.id: one for one in published}
    planned = await asking.spread(
        tx, [one.message for one in published], lambda message, targets: plan(by_id[message.id], targets)
    )
    wake(ctx, tx, planned)
    ctx.metrics["fanned_out_total"].inc(len(planned))
    return len(planned)


def plan(one: Published, targets: Sequence[Target]) -> list[Planned]:
    """Choose the targets whose filter lets the payload through; ids sort by the time of the event."""
    if not targets:
        return []
    at_ms = int(one.occurred_at.timestamp() * 1000)
    payload = msgspec.json.decode(one.message.body)
    return [
        Planned(new_id("dlv", at_ms=at_ms), one.message, target, target.order_key(payload))
        for target in targets
        if target.id != one.but_not and target.wants(payload)
    ]


def wake(ctx: PluginContext[Settings], tx: Transaction, planned: Sequence[Planned]) -> None:
    """Wake the workers of the lanes that got something."""
    counts = Counter(one.target.lane for one in planned)
    for lane, rows in counts.items():
        ctx.work.wake(tx, QUEUES[lane], rows=rows)
