"""Messages: what was published, and the deliveries it becomes."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from wharfd import Queries, Record, Transaction, sql

from ..model.endpoint import Target, read_target
from ..model.patterns import asking_for

ADD = sql(
    "add_message",
    """
    INSERT INTO webhooks.messages (id, type, owner, source, subject, trace_id, body)
    VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING created_at
    """,
)

# An endpoint hears what belongs to its owner; one without an owner is the house's and hears everything.
ASKING = sql(
    "endpoints_asking",
    """
    SELECT e.id, e.owner, e.version, e.filter, e.order_by, e.order_failed
      FROM webhooks.endpoints e
     WHERE e.events && $1::text[] AND e.status IN ('active', 'paused')
       AND (e.owner IS NULL OR e.owner = $2) AND e.id IS DISTINCT FROM $3
    """,
)

DELIVER = sql(
    "add_deliveries",
    """
    INSERT INTO webhooks.deliveries
           (id, endpoint_id, message_id, message_at, type, lane, order_key, trigger, priority, due_at)
    SELECT g.id, g.endpoint_id, $1, $2, $3, g.lane, g.order_key, $4, $5, now() + make_interval(secs => $6)
      FROM unnest($7::text[], $8::text[], $9::text[], $10::text[]) AS g (id, endpoint_id, lane, order_key)
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
    SELECT id, created_at, type, owner, source, subject, trace_id FROM webhooks.messages
     WHERE trace_id = $1 AND ($2::text IS NULL OR owner = $2) ORDER BY created_at, id LIMIT 1000
    """,
)

_MOST_KNOWN = 10_000


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
    target: Target
    order_key: str


async def add(tx: Transaction, message: Message) -> datetime:
    """Keep a message and return its time, which its deliveries refer to."""
    at: datetime = await tx.fetchval(
        ADD,
        message.id,
        message.type,
        message.owner,
        message.source,
        message.subject,
        message.trace_id,
        message.body,
    )
    return at


async def asking(
    tx: Queries,
    event_type: str,
    owner: str | None,
    but_not: str | None,
    known: MutableMapping[tuple[str, int], Target],
) -> list[Target]:
    """Return the endpoints that ask for an event of this type and owner, before their filters.

    `known` keeps targets by id and version, so that a filter is compiled once.
    """
    targets = []
    for row in await tx.fetch(ASKING, asking_for(event_type), owner, but_not):
        key = (row["id"], row["version"])
        target = known.get(key)
        if target is None:
            if len(known) >= _MOST_KNOWN:
                known.clear()
            known[key] = target = read_target(
                row["id"], row["owner"], row["version"], row["filter"], row["order_by"], row["order_failed"]
            )
        targets.append(target)
    return targets


async def deliver(
    tx: Queries,
    message_id: str,
    message_at: datetime,
    event_type: str,
    planned: Sequence[Planned],
    *,
    trigger: str = "event",
    priority: int = 100,
    due_in: float = 0.0,
) -> list[tuple[str, datetime]]:
    """Make the deliveries of a message, one row per endpoint; return their ids and times."""
    if not planned:
        return []
    rows = await tx.fetch(
        DELIVER,
        message_id,
        message_at,
        event_type,
        trigger,
        priority,
        due_in,
        [p.id for p in planned],
        [p.target.id for p in planned],
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
