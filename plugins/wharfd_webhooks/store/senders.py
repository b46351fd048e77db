"""What the sender asks of the database: endpoints as they are now, attempts before and after, health."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from wharfd import Queries, Record, Transaction, sql

from ..model.health import Health

LOAD = sql(
    "load_endpoints",
    """
    SELECT e.id, e.owner, e.url, e.version, e.status, e.status_reason, e.headers, e.legacy, e.transform,
           e.at_most_once, e.max_in_flight, e.rate_per_second, e.timeout_seconds, e.failure_count,
           e.first_failed_at, e.breaker_opened, e.breaker_until, e.warned, e.ca,
           e.client_certificate, e.client_key,
           extract(epoch FROM e.breaker_until - clock_timestamp())::float8 AS rest_seconds,
           ARRAY(SELECT s.id FROM webhooks.secrets s
                  WHERE s.endpoint_id = e.id AND (s.expires_at IS NULL OR s.expires_at > now())
                  ORDER BY s.created_at DESC, s.id DESC) AS secret_ids,
           ARRAY(SELECT s.sealed FROM webhooks.secrets s
                  WHERE s.endpoint_id = e.id AND (s.expires_at IS NULL OR s.expires_at > now())
                  ORDER BY s.created_at DESC, s.id DESC) AS sealed,
           (SELECT extract(epoch FROM min(s.expires_at) - now())::float8 FROM webhooks.secrets s
             WHERE s.endpoint_id = e.id AND s.expires_at > now()) AS secrets_change_in
      FROM webhooks.endpoints e
     WHERE e.id = ANY ($1::text[])
    """,
)

# A row is returned for every delivery that is still ours and whose endpoint is the one that was looked at.
# `number` is missing where an at-most-once delivery may have been sent before.
BEGIN = sql(
    "begin_attempts",
    """
    WITH ours AS MATERIALIZED (
      SELECT g.delivery_id, g.delivery_at, g.claim, g.once, d.message_id, d.message_at, d.trigger,
             tried.tries, tried.doubtful
        FROM unnest($1::text[], $2::timestamptz[], $3::bigint[], $4::text[], $5::int[], $6::bool[])
          AS g (delivery_id, delivery_at, claim, endpoint_id, version, once)
       CROSS JOIN LATERAL (
         SELECT * FROM webhooks.deliveries d
          WHERE d.id = g.delivery_id AND d.created_at = g.delivery_at
            AND d.claim = g.claim AND d.state = 'running') d
       CROSS JOIN LATERAL (
         SELECT count(*)::int AS tries,
                coalesce(bool_or(a.outcome IN ('started', 'unknown') AND a.number > d.known), false) AS
                doubtful
           FROM webhooks.attempts a
          WHERE a.delivery_id = g.delivery_id AND a.delivery_at = g.delivery_at) tried
       WHERE EXISTS (SELECT FROM webhooks.endpoints e WHERE e.id = g.endpoint_id AND e.version = g.version)
    ), lost AS (
      UPDATE webhooks.attempts a
         SET outcome = 'unknown', finished_at = now(), error_kind = 'interrupted',
             error = 'wharfd stopped between the send and the record of its result'
        FROM ours
       WHERE ours.tries > 0 AND a.delivery_id = ours.delivery_id AND a.delivery_at = ours.delivery_at
         AND a.outcome = 'started'
    ), written AS (
      INSERT INTO webhooks.attempts (delivery_id, delivery_at, number, claim, trigger)
      SELECT ours.delivery_id, ours.delivery_at, ours.tries + 1, ours.claim, ours.trigger
        FROM ours WHERE NOT (ours.once AND ours.doubtful)
      RETURNING delivery_id, number
    )
    SELECT ours.delivery_id, written.number, m.body
      FROM ours
      LEFT JOIN written ON written.delivery_id = ours.delivery_id
      LEFT JOIN LATERAL (
        SELECT body FROM webhooks.messages m
         WHERE m.id = ours.message_id AND m.created_at = ours.message_at) m ON true
    """,
)

FINISH = sql(
    "finish_attempts",
    """
    UPDATE webhooks.attempts a
       SET outcome = f.outcome, finished_at = now(), status = f.status, duration_ms = f.duration_ms,
           error_kind = f.error_kind, error = f.error, request_sent = f.request_sent,
           response_body = f.response_body
      FROM unnest($1::text[], $2::timestamptz[], $3::int[], $4::text[], $5::smallint[], $6::int[],
                  $7::text[], $8::text[], $9::text[], $10::text[])
        AS f (delivery_id, delivery_at, number, outcome, status, duration_ms, error_kind, error,
              request_sent, response_body)
     WHERE a.delivery_id = f.delivery_id AND a.delivery_at = f.delivery_at AND a.number = f.number
       AND a.outcome IN ('started', 'unknown')
    """,
)

END_RESENDS = sql(
    "end_resends",
    """
    UPDATE webhooks.deliveries d SET trigger = 'event', resume = NULL
      FROM unnest($1::text[], $2::timestamptz[]) AS g (id, at)
     WHERE d.id = g.id AND d.created_at = g.at
    """,
)

LOCK_HEALTH = sql(
    "lock_health",
    """
    SELECT e.id, e.owner, e.url, e.status, e.failure_count, e.first_failed_at, e.breaker_opened,
           e.breaker_until, e.warned, clock_timestamp() AS now
      FROM webhooks.endpoints e WHERE e.id = ANY ($1::text[]) ORDER BY e.id FOR NO KEY UPDATE
    """,
)

WRITE_HEALTH = sql(
    "write_health",
    """
    UPDATE webhooks.endpoints e
       SET failure_count = f.failures, first_failed_at = f.failing_since, breaker_opened = f.opened,
           breaker_until = f.open_until, warned = f.warned, version = e.version + f.bump, last_triggered_at
           = now(), last_status = coalesce(f.status, e.last_status), last_success_at = CASE WHEN f.delivered
           THEN now() ELSE e.last_success_at END, last_error = CASE WHEN f.delivered THEN NULL ELSE
           coalesce(f.error, e.last_error) END, status = CASE WHEN f.disable <> '' AND e.status IN
           ('active', 'paused') THEN 'disabled' ELSE e.status END, status_reason = CASE WHEN f.disable <> ''
           AND e.status IN ('active', 'paused')
                                THEN f.disable ELSE e.status_reason END,
           status_at = CASE WHEN f.disable <> '' AND e.status IN ('active', 'paused') THEN now() ELSE
           e.status_at END
      FROM unnest($1::text[], $2::int[], $3::timestamptz[], $4::int[], $5::timestamptz[], $6::smallint[],
                  $7::int[], $8::smallint[], $9::bool[], $10::text[], $11::text[])
        AS f (id, failures, failing_since, opened, open_until, warned, bump, status, delivered, error,
        disable)
     WHERE e.id = f.id
    """,
)

# The held rows of an endpoint, oldest first, spread over the time the ramp asks for.
RELEASE = sql(
    "release_parked",
    """
    WITH parked AS MATERIALIZED (
      SELECT d.id, d.created_at, row_number() OVER (ORDER BY d.id) AS place
        FROM (SELECT d.id, d.created_at FROM webhooks.deliveries d
               WHERE d.endpoint_id = $1 AND d.state = 'held' ORDER BY d.id
               LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED) d
    )
    UPDATE webhooks.deliveries d
       SET state = 'ready', due_at = now() + make_interval(secs => (parked.place - 1) / $3::float8)
      FROM parked WHERE d.id = parked.id AND d.created_at = parked.created_at
    RETURNING d.lane
    """,
)

RELEASABLE = sql(
    "releasable_endpoints",
    """
    SELECT e.id, e.breaker_until IS NOT NULL AS probing, e.max_in_flight
      FROM webhooks.endpoints e
     WHERE e.status = 'active' AND (e.breaker_until IS NULL OR e.breaker_until <= now())
       AND EXISTS (SELECT FROM webhooks.deliveries d WHERE d.endpoint_id = e.id AND d.state = 'held')
       AND (e.breaker_until IS NULL
            OR NOT EXISTS (SELECT FROM webhooks.deliveries d
                            WHERE d.endpoint_id = e.id AND d.state IN ('ready', 'running')
                              AND (d.state = 'running' OR d.due_at <= now() + interval '1 minute')))
     ORDER BY e.id
    """,
)

# Attempts whose delivery nobody works on any more: it was buried when its worker died once too often.
ORPHANS = sql(
    "end_orphaned_attempts",
    """
    UPDATE webhooks.attempts a
       SET outcome = 'unknown', finished_at = now(), error_kind = 'interrupted',
           error = 'wharfd stopped between the send and the record of its result'
      FROM (SELECT d.id, d.created_at, d.endpoint_id, d.message_id, d.type, d.attempts, e.owner
              FROM webhooks.deliveries d JOIN webhooks.endpoints e ON e.id = d.endpoint_id
             WHERE d.state = 'buried' AND d.lane = ANY ($1::text[]) AND d.finished_at > now() - interval '1
             day'
           ) gone
     WHERE a.delivery_id = gone.id AND a.delivery_at = gone.created_at AND a.outcome = 'started'
    RETURNING gone.id, gone.endpoint_id, gone.message_id, gone.type, gone.attempts, gone.owner
    """,
)


@dataclass(frozen=True)
class Begun:
    """An attempt that was written down: its number and the bytes to send.

    `number` None: it may have been sent before and must not be sent twice. `body` None: it is gone.
    """

    number: int | None
    body: bytes | None


@dataclass(frozen=True)
class Finished:
    """How an attempt ended, as it is written down."""

    delivery_id: str
    delivery_at: datetime
    number: int
    outcome: str
    status: int | None
    duration_ms: int
    error_kind: str | None
    error: str | None
    request_sent: str
    response_body: str | None


@dataclass(frozen=True)
class HealthRow:
    """The locked health of an endpoint, and the database's time."""

    id: str
    owner: str | None
    url: str
    status: str
    health: Health
    now: datetime


@dataclass(frozen=True)
class HealthWrite:
    """What is written about an endpoint after some attempts. `disable` is the reason, empty for no."""

    id: str
    health: Health
    bump: bool
    status: int | None
    delivered: bool
    error: str | None
    disable: str = ""


async def load(db: Queries, ids: Sequence[str]) -> list[Record]:
    """Return endpoints as they are now, with their sealed keys, newest first."""
    return await db.fetch(LOAD, list(ids))


async def begin(db: Queries, rows: Sequence[tuple[str, datetime, int, str, int, bool]]) -> dict[str, Begun]:
    """Write attempts down before they are made; deliveries missing in the answer are not ours to send now.

    Each row is delivery id and time, claim, endpoint id and version, and whether it may be sent only once.
    """
    records = await db.fetch(BEGIN, *(list(column) for column in zip(*rows, strict=True)))
    return {record[0]: Begun(record[1], record[2]) for record in records}


async def finish(tx: Queries, ends: Sequence[Finished]) -> None:
    """Write how attempts ended."""
    await tx.execute(
        FINISH,
        [end.delivery_id for end in ends],
        [end.delivery_at for end in ends],
        [end.number for end in ends],
        [end.outcome for end in ends],
        [end.status for end in ends],
        [end.duration_ms for end in ends],
        [end.error_kind for end in ends],
        [end.error for end in ends],
        [end.request_sent for end in ends],
        [end.response_body for end in ends],
    )


async def end_resends(tx: Transaction, deliveries: Sequence[tuple[str, datetime]]) -> None:
    """Let deliveries that were sent again by hand be what they were before."""
    await tx.execute(END_RESENDS, [d[0] for d in deliveries], [d[1] for d in deliveries])


async def lock_health(tx: Transaction, ids: Sequence[str]) -> list[HealthRow]:
    """Return the health of endpoints, locked in one order so that two daemons cannot block each other."""
    return [
        HealthRow(row["id"], row["owner"], row["url"], row["status"], health_of(row), row["now"])
        for row in await tx.fetch(LOCK_HEALTH, sorted(set(ids)))
    ]


def health_of(row: Record | Mapping[str, Any]) -> Health:
    """Return the health that a row of `endpoints` holds."""
    return Health(
        row["failure_count"],
        row["first_failed_at"],
        row["breaker_opened"],
        row["breaker_until"],
        row["warned"],
    )


async def write_health(tx: Transaction, writes: Sequence[HealthWrite]) -> None:
    """Write what attempts did to their endpoints."""
    await tx.execute(
        WRITE_HEALTH,
        [w.id for w in writes],
        [w.health.failures for w in writes],
        [w.health.failing_since for w in writes],
        [w.health.opened for w in writes],
        [w.health.open_until for w in writes],
        [w.health.warned for w in writes],
        [int(w.bump) for w in writes],
        [w.status for w in writes],
        [w.delivered for w in writes],
        [w.error for w in writes],
        [w.disable for w in writes],
    )


async def release(db: Queries, endpoint_id: str, most: int, per_second: float) -> list[str]:
    """Let parked deliveries of an endpoint go, the oldest first, and return the lanes they are in."""
    return [record[0] for record in await db.fetch(RELEASE, endpoint_id, most, per_second)]


async def releasable(db: Queries) -> list[Record]:
    """Return active endpoints with parked deliveries that may go now; of resting ones those to be probed."""
    return await db.fetch(RELEASABLE)


async def end_orphans(tx: Transaction, lanes: Sequence[str]) -> list[Record]:
    """Mark attempts of given-up deliveries that never ended as unknown, and return those deliveries."""
    return await tx.fetch(ORPHANS, list(lanes))
