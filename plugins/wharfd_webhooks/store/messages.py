"""Messages: what was published, and the deliveries it becomes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from wharfd import Queries, Record, Transaction, sql

from ..model.endpoint import Target

ADD = sql(
    "add_messages",
    """
    INSERT INTO webhooks.messages (id, type, owner, source, subject, trace_id, body)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bytea[])
    """,
)

# now() is when the transaction began: the time of the messages that were added in it.
DELIVER = sql(
    "add_deliveries",
    """
    INSERT INTO webhooks.deliveries
           (id, endpoint_id, message_id, message_at, type, lane, order_key, trigger, priority)
    SELECT g.id, g.endpoint_id, g.message_id, now(), g.type, g.lane, g.order_key, $1, $2
      FROM unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[])
        AS g (id, endpoint_id, message_id, type, lane, order_key)
     ORDER BY g.id
    RETURNING id, created_at
    """,
)

FIND = sql(
    "find_message",
    """
    SELECT id, created_at, type, owner, source, subject, trace_id, body FROM webhooks.messages
     WHERE id = $1 ORDER BY created_at DESC LIMIT 1
    """,
)

TRACED = sql(
    "messages_of_trace",
    """
    SELECT id, created_at, type, owner, source, subject, trace_id,
           CASE WHEN source = 'event' THEN
             substring(convert_from(body, 'UTF8') FROM '"source_event_id":"(evt_[0-9a-z]+)"') END AS origin
      FROM webhooks.messages
     WHERE trace_id = $1 AND ($2::text IS NULL OR owner = $2) ORDER BY created_at, id LIMIT 1000
    """,
)
BY_ID = sql("message_by_id", TRACED.text.replace("trace_id = $1", "id = $1"))


@dataclass(frozen=True)
class Message:
    """One published event, ready to be kept."""

    id: str
    type: str
    owner: str | None
    source: str
    body: bytes
    subject: str = ""
    trace_id: str | None = None


@dataclass(frozen=True)
class Planned:
    """One delivery to be made of a message."""

    id: str
    message: Message
    target: Target
    order_key: str


async def add(tx: Transaction, messages: Sequence[Message]) -> None:
    """Keep messages; their time is when the transaction began."""
    await tx.execute(
        ADD,
        [m.id for m in messages],
        [m.type for m in messages],
        [m.owner for m in messages],
        [m.source for m in messages],
        [m.subject for m in messages],
        [m.trace_id for m in messages],
        [m.body for m in messages],
    )


async def deliver(
    tx: Transaction, planned: Sequence[Planned], *, trigger: str = "event", priority: int = 100
) -> list[tuple[str, datetime]]:
    """Make deliveries of messages that were added in this transaction; return their ids and times."""
    if not planned:
        return []
    rows = await tx.fetch(
        DELIVER,
        trigger,
        priority,
        [p.id for p in planned],
        [p.target.id for p in planned],
        [p.message.id for p in planned],
        [p.message.type for p in planned],
        [p.target.lane for p in planned],
        [p.order_key for p in planned],
    )
    return [(row[0], row[1]) for row in rows]


async def find(db: Queries, message_id: str) -> Record | None:
    """Return a message with its body."""
    return await db.fetchrow(FIND, message_id)


async def of_trace(db: Queries, trace_id: str, owner: str | None) -> list[Record]:
    """Return the messages with this trace id that the owner may see, oldest first."""
    return await db.fetch(TRACED, trace_id, owner)


async def by_id(db: Queries, message_id: str, owner: str | None) -> list[Record]:
    """Return a message, as `of_trace` would, if the owner may see it."""
    return await db.fetch(BY_ID, message_id, owner)
