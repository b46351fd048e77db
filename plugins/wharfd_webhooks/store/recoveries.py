"""Bulk recovery: an endpoint's messages since a time, looked at piece by piece."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from wharfd import Queries, Record, Transaction, sql

_ASKED = """(m.type = ANY ($4::text[]) OR m.type LIKE ANY ($5::text[]))
       AND m.source <> 'test' AND ($6::text IS NULL OR m.owner = $6)
       AND (m.source <> 'operational' OR m.subject <> $7)"""

COUNT = sql(
    "count_recoverable_messages",
    f"""
    SELECT count(*) FROM (
      SELECT FROM webhooks.messages m
       WHERE m.created_at >= $1 AND m.created_at < $2 AND $3::text IS NOT NULL AND {_ASKED}
       LIMIT $8) m
    """,
)

# The next messages an endpoint asks for, each with the newest delivery it made there.
NEXT = sql(
    "next_recoverable_messages",
    f"""
    SELECT m.id, m.created_at, m.type, m.body, d.id AS delivery_id, d.created_at AS delivery_at, d.state
      FROM (
        SELECT m.id, m.created_at, m.type, m.body FROM webhooks.messages m
         WHERE (m.created_at, m.id) > ($1, $3) AND m.created_at < $2 AND {_ASKED}
         ORDER BY m.created_at, m.id LIMIT $8) m
      LEFT JOIN LATERAL (
        SELECT d.id, d.created_at, d.state FROM webhooks.deliveries d
         WHERE d.message_id = m.id AND d.endpoint_id = $7 ORDER BY d.id DESC LIMIT 1) d ON true
     ORDER BY m.created_at, m.id
    """,
)

AGAIN = sql(
    "recover_deliveries",
    """
    UPDATE webhooks.deliveries d
       SET state = 'ready', due_at = now() + make_interval(secs => g.wait), attempts = 0, trigger =
       'recovery',
           budget = NULL, resume = NULL, finished_at = NULL, last_error = NULL,
           known = (SELECT count(*) FROM webhooks.attempts a
                     WHERE a.delivery_id = d.id AND a.delivery_at = d.created_at)
      FROM unnest($1::text[], $2::timestamptz[], $3::float8[]) AS g (id, at, wait)
     WHERE d.id = g.id AND d.created_at = g.at AND d.state IN ('buried', 'held', 'done', 'cancelled')
    RETURNING d.lane
    """,
)
MAKE = sql(
    "recover_missing_deliveries",
    """
    INSERT INTO webhooks.deliveries
           (id, endpoint_id, message_id, message_at, type, lane, order_key, trigger, due_at)
    SELECT g.id, $1, g.message_id, g.message_at, g.type, $2, g.order_key, 'recovery',
           now() + make_interval(secs => g.wait)
      FROM unnest($3::text[], $4::text[], $5::timestamptz[], $6::text[], $7::text[], $8::float8[])
        AS g (id, message_id, message_at, type, order_key, wait)
     ORDER BY g.id
    """,
)

ADD = sql(
    "add_recovery",
    """
    INSERT INTO webhooks.recoveries (id, endpoint_id, owner, since, until, include, per_second, total, actor)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
    RETURNING *
    """,
)
GET = sql(
    "get_recovery",
    """
    SELECT * FROM webhooks.recoveries
     WHERE id = $1 AND endpoint_id = $2 AND ($3::text IS NULL OR owner = $3)
    """,
)
LIST = sql(
    "list_recoveries", "SELECT * FROM webhooks.recoveries WHERE endpoint_id = $1 ORDER BY id DESC LIMIT 50"
)
LOCK = sql("lock_recovery", "SELECT * FROM webhooks.recoveries WHERE id = $1 FOR UPDATE")
MOVE = sql(
    "move_recovery",
    """
    UPDATE webhooks.recoveries
       SET looked_at = looked_at + $2, scheduled = scheduled + $3, position = $4,
           state = CASE WHEN $5 THEN 'done' ELSE state END,
           finished_at = CASE WHEN $5 THEN now() ELSE finished_at END
     WHERE id = $1
    """,
)
CANCEL = sql(
    "cancel_recovery",
    """
    UPDATE webhooks.recoveries SET state = 'cancelled', finished_at = now()
     WHERE id = $1 AND state = 'running' RETURNING id
    """,
)

COUNT_LIMIT = 1_000_000
_EPOCH_ID = ""


def type_arguments(events: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return patterns as the statements take them: exact types, and LIKE patterns."""
    exact = [pattern for pattern in events if "*" not in pattern]
    like = ["%" if pattern == "*" else _escaped(pattern[:-1]) + "%" for pattern in events if "*" in pattern]
    return exact, like


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("_", "\\_").replace("%", "\\%")


async def count(
    db: Queries, endpoint: Record, since: datetime, until: datetime, *, most: int = COUNT_LIMIT
) -> int:
    """Return how many messages an endpoint asked for in a time, up to a limit; filters are not looked at."""
    exact, like = type_arguments(endpoint["events"])
    return int(
        await db.fetchval(
            COUNT, since, until, _EPOCH_ID, exact, like, endpoint["owner"], endpoint["id"], most
        )
    )


async def following(
    db: Queries, endpoint: Record, after: tuple[datetime, str], until: datetime, limit: int
) -> list[Record]:
    """Return the next messages an endpoint asks for after a position, with what became of them there."""
    exact, like = type_arguments(endpoint["events"])
    return await db.fetch(
        NEXT, after[0], until, after[1], exact, like, endpoint["owner"], endpoint["id"], limit
    )


async def again(tx: Transaction, rows: Sequence[tuple[str, datetime, float]]) -> list[str]:
    """Let deliveries be sent again after so many seconds each; return their lanes."""
    columns = [list(column) for column in zip(*rows, strict=True)]
    return [record[0] for record in await tx.fetch(AGAIN, *columns)]


async def make(
    tx: Transaction,
    endpoint_id: str,
    lane: str,
    rows: Sequence[tuple[str, str, datetime, str, str, float]],
) -> None:
    """Make deliveries that were never made: id, message id and time, type, order key, and seconds to wait."""
    await tx.execute(MAKE, endpoint_id, lane, *(list(column) for column in zip(*rows, strict=True)))


async def add(tx: Transaction, values: Sequence[Any]) -> Record:
    """Keep a recovery that begins."""
    row = await tx.fetchrow(ADD, *values)
    assert row is not None
    return row


async def get(db: Queries, recovery_id: str, endpoint_id: str, owner: str | None) -> Record | None:
    """Return a recovery of an endpoint."""
    return await db.fetchrow(GET, recovery_id, endpoint_id, owner)


async def of_endpoint(db: Queries, endpoint_id: str) -> list[Record]:
    """Return the recoveries of an endpoint, the newest first."""
    return await db.fetch(LIST, endpoint_id)


async def lock(tx: Transaction, recovery_id: str) -> Record | None:
    """Return a recovery and keep others from moving it until the commit."""
    return await tx.fetchrow(LOCK, recovery_id)


async def move(
    tx: Transaction, recovery_id: str, looked_at: int, scheduled: int, position: Any, *, done: bool
) -> None:
    """Note how far a recovery came."""
    await tx.execute(MOVE, recovery_id, looked_at, scheduled, position, done)


async def cancel(tx: Transaction, recovery_id: str) -> bool:
    """Stop a recovery; False when it is over."""
    return await tx.fetchval(CANCEL, recovery_id) is not None
