"""Deliveries and attempts as people look at them and handle them."""

from __future__ import annotations

from datetime import datetime

from wharfd import Queries, Record, Statement, Transaction, sql

from ..model.verdicts import STATUSES

_SHOWN = """d.id, d.created_at, d.endpoint_id, d.message_id, d.message_at, d.type, d.trigger, d.state,
d.attempts,
       d.due_at, d.last_error, d.finished_at, d.lane, d.order_key, d.budget,
       a.number, a.started_at, a.status, a.response_body, a.error, a.outcome"""
_LAST = """LEFT JOIN LATERAL (
      SELECT * FROM webhooks.attempts a WHERE a.delivery_id = d.id AND a.delivery_at = d.created_at
       ORDER BY a.number DESC LIMIT 1) a ON true"""
_TRIED = "d.attempts > (d.state = 'running')::int"
_WITH_STATUS = {
    "": "",
    "pending": f"AND d.state IN ('ready', 'running') AND NOT {_TRIED}",
    "retrying": f"AND d.state IN ('ready', 'running') AND {_TRIED}",
    "delivered": "AND d.state = 'done'",
    "failed": "AND d.state = 'buried'",
    "parked": "AND d.state = 'held'",
    "cancelled": "AND d.state = 'cancelled'",
}


def _list(status: str) -> Statement:
    """List by endpoint, newest first: the index gives each endpoint's newest, and those are merged."""
    return sql(
        f"list_deliveries{'_' if status else ''}{status}",
        f"""
    SELECT {_SHOWN}
      FROM (
        SELECT d.* FROM (
          SELECT e.id FROM webhooks.endpoints e
           WHERE ($1::text IS NULL OR e.owner = $1) AND ($2::text IS NULL OR e.id = $2)) e
         CROSS JOIN LATERAL (
          SELECT * FROM webhooks.deliveries d
           WHERE d.endpoint_id = e.id AND d.id < coalesce($3, 'dlw') {_WITH_STATUS[status]}
             AND ($4::text IS NULL OR d.type = $4)
             AND ($5::timestamptz IS NULL OR d.created_at >= $5)
             AND ($6::timestamptz IS NULL OR d.created_at < $6)
           ORDER BY d.id DESC LIMIT $7) d
         ORDER BY d.id DESC LIMIT $7) d
      {_LAST}
     ORDER BY d.id DESC
    """,
    )


LISTS = {status: _list(status) for status in ("", *STATUSES)}

GET = sql(
    "get_delivery",
    f"""
    SELECT {_SHOWN} FROM webhooks.deliveries d JOIN webhooks.endpoints e ON e.id = d.endpoint_id {_LAST}
     WHERE d.id = $1 AND ($2::text IS NULL OR e.owner = $2) AND ($3::text IS NULL OR d.endpoint_id = $3)
    """,
)
OF_MESSAGE = sql(
    "deliveries_of_message",
    f"""
    SELECT {_SHOWN} FROM webhooks.deliveries d JOIN webhooks.endpoints e ON e.id = d.endpoint_id {_LAST}
     WHERE d.message_id = $1 AND ($2::text IS NULL OR e.owner = $2) ORDER BY d.id LIMIT 1000
    """,
)
ATTEMPTS = sql(
    "list_attempts",
    """
    SELECT number, outcome, trigger, started_at, finished_at, duration_ms, status, response_body, error_kind,
           error, request_sent
      FROM webhooks.attempts WHERE delivery_id = $1 AND delivery_at = $2 ORDER BY number
    """,
)

# With all its tries again; an at-most-once delivery may be sent once more because a person says so.
RETRY = sql(
    "retry_delivery",
    """
    UPDATE webhooks.deliveries d
       SET state = 'ready', due_at = now(), attempts = 0, priority = 50, trigger = 'retry', budget = $3,
           resume = NULL, finished_at = NULL, last_error = NULL, known = (SELECT count(*) FROM
           webhooks.attempts a WHERE a.delivery_id = d.id AND a.delivery_at = d.created_at)
     WHERE d.id = $1 AND d.created_at = $2 AND d.state <> 'running'
    RETURNING d.lane
    """,
)
# One more try beside the schedule. What it was before is kept, to go back to when the try fails.
RESEND = sql(
    "resend_delivery",
    """
    UPDATE webhooks.deliveries d
       SET state = 'ready', due_at = now(), priority = 50, trigger = 'resend', finished_at = NULL,
           resume = coalesce(d.resume, jsonb_build_object('state', d.state, 'due_at', d.due_at)), known =
           (SELECT count(*) FROM webhooks.attempts a WHERE a.delivery_id = d.id AND a.delivery_at =
           d.created_at)
     WHERE d.id = $1 AND d.created_at = $2 AND d.state <> 'running'
    RETURNING d.lane
    """,
)
RETRY_FAILED = sql(
    "retry_failed_deliveries",
    """
    UPDATE webhooks.deliveries d
       SET state = 'ready', due_at = now() + make_interval(secs => (failed.place - 1) / $3::float8),
       attempts = 0,
           trigger = 'retry', budget = NULL, resume = NULL, finished_at = NULL, last_error = NULL, known =
           (SELECT count(*) FROM webhooks.attempts a WHERE a.delivery_id = d.id AND a.delivery_at =
           d.created_at)
      FROM (SELECT f.*, row_number() OVER (ORDER BY f.id) AS place FROM (
              SELECT d.id, d.created_at FROM webhooks.deliveries d
               WHERE d.endpoint_id = $1 AND d.state = 'buried' ORDER BY d.id LIMIT $2
                 FOR NO KEY UPDATE SKIP LOCKED) f) failed
     WHERE d.id = failed.id AND d.created_at = failed.created_at
    RETURNING d.id, d.lane
    """,
)
CANCEL = sql(
    "cancel_delivery",
    """
    UPDATE webhooks.deliveries SET state = 'cancelled', finished_at = now(), last_error = $3
     WHERE id = $1 AND created_at = $2 AND state IN ('ready', 'held', 'buried') RETURNING id
    """,
)
CANCEL_WAITING = sql(
    "cancel_waiting_deliveries",
    """
    UPDATE webhooks.deliveries d SET state = 'cancelled', finished_at = now(), last_error = $2
      FROM (SELECT w.id, w.created_at FROM webhooks.deliveries w
             WHERE w.endpoint_id = $1 AND w.state IN ('ready', 'held') LIMIT 1000
               FOR NO KEY UPDATE SKIP LOCKED) waiting
     WHERE d.id = waiting.id AND d.created_at = waiting.created_at
    """,
)


ANY_RUNNING = sql(
    "any_running_delivery",
    "SELECT EXISTS (SELECT FROM webhooks.deliveries WHERE endpoint_id = $1 AND state = 'running')",
)


async def page(
    db: Queries,
    *,
    owner: str | None,
    endpoint_id: str | None = None,
    status: str = "",
    event_type: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    before: str | None = None,
    limit: int = 50,
) -> list[Record]:
    """Return deliveries, the newest first, one more than `limit` when there are more."""
    return await db.fetch(LISTS[status], owner, endpoint_id, before, event_type, since, until, limit + 1)


async def get(
    db: Queries, delivery_id: str, owner: str | None, endpoint_id: str | None = None
) -> Record | None:
    """Return a delivery the owner may see, of one endpoint if that is given."""
    return await db.fetchrow(GET, delivery_id, owner, endpoint_id)


async def of_message(db: Queries, message_id: str, owner: str | None) -> list[Record]:
    """Return the deliveries of a message that the owner may see."""
    return await db.fetch(OF_MESSAGE, message_id, owner)


async def attempts(db: Queries, delivery_id: str, delivery_at: datetime) -> list[Record]:
    """Return all sends of a delivery, in order."""
    return await db.fetch(ATTEMPTS, delivery_id, delivery_at)


async def retry(tx: Transaction, row: Record, budget: int | None) -> str | None:
    """Try a delivery now, with all tries or so many; None when it is being sent this moment."""
    lane: str | None = await tx.fetchval(RETRY, row["id"], row["created_at"], budget)
    return lane


async def resend(tx: Transaction, row: Record) -> str | None:
    """Send a delivery once more, whatever it is in; None when it is being sent this moment."""
    lane: str | None = await tx.fetchval(RESEND, row["id"], row["created_at"])
    return lane


async def retry_failed(tx: Transaction, endpoint_id: str, most: int, per_second: float) -> list[Record]:
    """Try given-up deliveries of an endpoint anew, the oldest first; return their ids and lanes."""
    return await tx.fetch(RETRY_FAILED, endpoint_id, most, per_second)


async def cancel(tx: Transaction, row: Record, reason: str) -> bool:
    """Cancel a delivery; False when it is over, or being sent this moment."""
    return await tx.fetchval(CANCEL, row["id"], row["created_at"], reason) is not None


async def any_running(db: Queries, endpoint_id: str) -> bool:
    """Whether a worker holds a delivery to an endpoint."""
    running: bool = await db.fetchval(ANY_RUNNING, endpoint_id)
    return running


async def cancel_waiting(db: Queries, endpoint_id: str, reason: str) -> int:
    """Cancel up to 1000 deliveries that wait for an endpoint, and return how many."""
    return await db.execute(CANCEL_WAITING, endpoint_id, reason)
