"""What is watched: health, alerts, how long things are kept, and attempts that nobody ended."""

from __future__ import annotations

from datetime import timedelta

from wharfd import (
    AlertRule,
    Finding,
    Health,
    HealthCheck,
    Metric,
    PluginContext,
    RetentionRule,
    new_id,
    sql,
)
from wharfd.contracts.webhooks import OPERATIONAL_TYPES, DeliveryExhausted

from .config import Settings
from .sending.sender import QUEUES
from .store import senders

_LATE_SECONDS = 300.0
_FAILING_SHARE = 0.1
_RATE_SECONDS = 900.0
_RATE_LEAST = 20  # fewer say nothing about a share
_RATE_SAMPLE = 10_000
_CERTIFICATE_DAYS = 21
_UNFINISHED = "('ready', 'running', 'held')"

METRICS = (
    Metric("counter", "fanned_out_total", "Deliveries made of events."),
    Metric("counter", "attempts_total", "Sends, by status class or kind of failure.", ("outcome",)),
    Metric("histogram", "attempt_seconds", "How long a send took."),
    Metric("counter", "stepped_aside_total", "Claimed deliveries that were not sent then.", ("how",)),
    Metric("counter", "unknown_outcomes_total", "Attempts whose end nobody saw."),
)

FAILING = sql(
    "failing_endpoints",
    """
    SELECT id, failure_count, first_failed_at, status, status_reason FROM webhooks.endpoints
     WHERE (status = 'active' AND failure_count >= $1)
        OR (status = 'disabled' AND first_failed_at IS NOT NULL AND status_at > now() - interval '1 day')
     ORDER BY id LIMIT 100
    """,
)

ENDING = sql(
    "ending_certificates",
    """
    SELECT id, tls_ends_at, tls_ends_at <= now() AS ended FROM webhooks.endpoints
     WHERE tls_ends_at < now() + make_interval(days => $1) AND status <> 'deleted'
     ORDER BY tls_ends_at LIMIT 100
    """,
)

# Ids sort by time: the newest deliveries that were tried, and how their last try went.
FAILURE_RATE = sql(
    "failure_rate",
    """
    SELECT count(*) AS tried, count(*) FILTER (WHERE last.outcome = 'failed') AS failed
      FROM (SELECT d.id, d.created_at FROM webhooks.deliveries d
             WHERE d.id > $1 AND d.created_at > now() - make_interval(secs => $2) AND d.trigger <> 'test'
             ORDER BY d.id DESC LIMIT $3) d
     CROSS JOIN LATERAL (
       SELECT a.outcome FROM webhooks.attempts a
        WHERE a.delivery_id = d.id AND a.delivery_at = d.created_at AND a.outcome <> 'started'
        ORDER BY a.number DESC LIMIT 1) last
    """,
)


def health_checks() -> list[HealthCheck]:
    """Whether deliveries leave in time."""
    return [HealthCheck(name="deliveries", check=check_deliveries)]


async def check_deliveries(ctx: PluginContext[Settings]) -> Health:
    """Degraded while deliveries that are due wait for minutes: sending does not keep up, or stands still."""
    oldest = 0.0
    waiting = 0
    for queue in QUEUES.values():
        found = await ctx.work.statistics(queue)
        oldest = max(oldest, found.oldest_due_seconds or 0.0)
        waiting += found.due
    detail = {"due": waiting, "oldest_due_seconds": round(oldest, 1), "in_flight": _in_flight(ctx)}
    if oldest > _LATE_SECONDS:
        return Health("degraded", f"a delivery has been due for {oldest:.0f} s", detail)
    return Health("ok", detail=detail)


def _in_flight(ctx: PluginContext[Settings]) -> int:
    return int(ctx.state["sender"].gates.in_flight())


def alerts() -> list[AlertRule]:
    """What an operator should be told."""
    return [
        AlertRule(
            name="endpoints_failing",
            summary="A webhook endpoint fails again and again, or was disabled for it",
            check=find_failing,
            for_seconds=300.0,
            runbook="docs/webhooks.md#an-endpoint-fails",
        ),
        AlertRule(
            name="deliveries_late",
            summary="Webhook deliveries are not sent in time",
            check=find_late,
            severity="critical",
            for_seconds=120.0,
            runbook="docs/webhooks.md#deliveries-are-late",
        ),
        AlertRule(
            name="deliveries_failing",
            summary=f"More than {_FAILING_SHARE:.0%} of the webhook deliveries fail",
            check=find_failure_rate,
            for_seconds=60.0,
            runbook="docs/webhooks.md#many-deliveries-fail",
        ),
        AlertRule(
            name="certificate_ends",
            summary=f"A certificate of a webhook endpoint ends within {_CERTIFICATE_DAYS} days",
            check=find_ending,
            every_seconds=3600.0,
            runbook="docs/webhooks.md#a-certificate-ends",
        ),
    ]


async def find_failing(ctx: PluginContext[Settings]) -> list[Finding]:
    """Find endpoints whose breaker is about to open or open, and those disabled for failing."""
    return [
        Finding(
            f"endpoint {row['id']} is disabled: {row['status_reason']}"
            if row["status"] == "disabled"
            else f"endpoint {row['id']} failed {row['failure_count']} times in a row",
            key=row["id"],
        )
        for row in await ctx.db.fetch(FAILING, ctx.settings.open_after)
    ]


async def find_failure_rate(ctx: PluginContext[Settings]) -> list[Finding]:
    """Find whether more than a tenth of the newest deliveries failed at their last try."""
    since_ms = int(ctx.now().timestamp() * 1000) - int(_RATE_SECONDS * 1000)
    row = await ctx.db.read.fetchrow(FAILURE_RATE, new_id("dlv", at_ms=since_ms), _RATE_SECONDS, _RATE_SAMPLE)
    if row is None or row["tried"] < _RATE_LEAST or row["failed"] <= row["tried"] * _FAILING_SHARE:
        return []
    share = row["failed"] / row["tried"]
    return [
        Finding(
            f"{row['failed']} of the last {row['tried']} deliveries failed ({share:.0%})", value=share * 100
        )
    ]


async def find_ending(ctx: PluginContext[Settings]) -> list[Finding]:
    """Find endpoints one of whose certificates ends soon or has ended."""
    return [
        Finding(
            f"endpoint {row['id']}: a certificate {'ended' if row['ended'] else 'ends'} on "
            f"{row['tls_ends_at']:%Y-%m-%d}",
            key=row["id"],
        )
        for row in await ctx.db.read.fetch(ENDING, _CERTIFICATE_DAYS)
    ]


async def find_late(ctx: PluginContext[Settings]) -> list[Finding]:
    """Find queues whose oldest due delivery has waited for minutes."""
    found = []
    for queue in QUEUES.values():
        statistics = await ctx.work.statistics(queue)
        late = statistics.oldest_due_seconds or 0.0
        if late > _LATE_SECONDS and not statistics.paused:
            found.append(
                Finding(f"{queue}: the oldest due delivery waits for {late:.0f} s", key=queue, value=late)
            )
    return found


def retention(settings: Settings) -> list[RetentionRule]:
    """How long things are kept; nothing goes while a delivery of it may still be sent."""
    return [
        RetentionRule(
            name="attempts",
            table="webhooks.attempts",
            column="delivery_at",
            keep=settings.keep_deliveries,
            key=("delivery_id", "number", "delivery_at"),
            partitioned=True,
        ),
        RetentionRule(
            name="deliveries",
            table="webhooks.deliveries",
            column="created_at",
            keep=settings.keep_deliveries,
            key=("id", "created_at"),
            where=f"state NOT IN {_UNFINISHED}",
            partitioned=True,
        ),
        RetentionRule(
            name="messages",
            table="webhooks.messages",
            column="created_at",
            keep=settings.keep_messages,
            key=("id", "created_at"),
            where=(
                "NOT EXISTS (SELECT FROM webhooks.deliveries d WHERE d.message_id = t.id "
                f"AND d.state IN {_UNFINISHED})"
            ),
            partitioned=True,
        ),
        RetentionRule(
            name="recoveries",
            table="webhooks.recoveries",
            column="created_at",
            keep=timedelta(days=90),
            where="state <> 'running'",
            archive=False,
        ),
        RetentionRule(
            name="secrets",
            table="webhooks.secrets",
            column="expires_at",
            keep=timedelta(days=7),
            where="expires_at IS NOT NULL",
            archive=False,
        ),
    ]


async def end_orphans(ctx: PluginContext[Settings]) -> None:
    """Mark attempts of deliveries that were buried because their worker died: the handler of the schedule."""
    async with ctx.db.transaction() as tx:
        rows = await senders.end_orphans(tx, list(QUEUES))
        events = [
            DeliveryExhausted(
                owner=row["owner"],
                subject=row["id"],
                delivery_id=row["id"],
                endpoint_id=row["endpoint_id"],
                message_id=row["message_id"],
                event_type=row["type"],
                attempts=row["attempts"],
                error="wharfd stopped during every try",
            )
            for row in rows
            if row["type"] not in OPERATIONAL_TYPES
        ]
        if events:
            await ctx.events.publish_many(tx, events)
    if rows:
        ctx.metrics["unknown_outcomes_total"].inc(len(rows))
        ctx.log.warning("attempts_unknown", deliveries=len(rows))
