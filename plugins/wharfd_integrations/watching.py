"""What an operator sees of the plugin: metrics, a health check, alerts."""

from __future__ import annotations

from wharfd import AlertRule, Finding, Health, HealthCheck, Metric

from .config import Settings
from .model.record import OUTCOMES, stamp
from .parts import Context, parts_of
from .refusals import WINDOW_SECONDS
from .store.key_rows import expiring_keys, used_after_rotation

_FULL = 0.8

METRICS = (
    Metric(
        "counter",
        "authentications_total",
        f"Credentials checked, by outcome: {', '.join(OUTCOMES)}.",
        ("outcome",),
    ),
    Metric("gauge", "keys_in_memory", "Keys remembered by this daemon."),
    Metric("gauge", "key_lookups", "Keys looked up in the database since the plugin started."),
    Metric("gauge", "key_hits", "Keys answered from memory since the plugin started."),
    Metric("counter", "usage_written_total", "Rows written to the usage log."),
    Metric("counter", "usage_dropped_total", "Usage rows dropped: too many waited, or refused."),
    Metric("gauge", "usage_waiting", "Usage rows that wait to be written."),
)


async def look_at_usage(ctx: Context) -> Health:
    """Say whether the usage log keeps up."""
    parts = parts_of(ctx)
    detail = {
        "waiting": parts.usage.waiting,
        "dropped": parts.usage.dropped,
        "keys_in_memory": len(parts.keyring),
    }
    if parts.usage.fullness > _FULL:
        return Health("degraded", "the usage log is nearly full: its rows cannot be written", detail)
    if parts.usage.failing_since is not None:
        return Health("degraded", "the usage log waits for PostgreSQL", detail)
    return Health("ok", detail=detail)


async def find_expiring(ctx: Context) -> list[Finding]:
    """Find keys that are in use and end soon."""
    return [
        Finding(f"the key {row['id']} ({row['name']}) ends at {stamp(row['expires_at'])}", key=row["id"])
        for row in await expiring_keys(ctx.db.read, ctx.settings.expiry_warning)
    ]


async def find_used_after_rotation(ctx: Context) -> list[Finding]:
    """Find replaced keys that somebody still uses."""
    return [
        Finding(
            f"the key {row['id']} ({row['name']}) was replaced and is still used; "
            f"it stops working at {stamp(row['valid_until'])}",
            key=row["id"],
        )
        for row in await used_after_rotation(ctx.db.read)
    ]


async def find_refusals(ctx: Context) -> list[Finding]:
    """Find out whether somebody tries many credentials."""
    count = parts_of(ctx).refusals.recent()
    if count < ctx.settings.refusals_alert:
        return []
    return [Finding(f"{count} credentials were refused in {WINDOW_SECONDS / 60:g} minutes", value=count)]


def health_checks() -> list[HealthCheck]:
    """The plugin's health checks."""
    return [HealthCheck(name="usage_log", check=look_at_usage)]


def alert_rules(settings: Settings) -> list[AlertRule]:
    """The plugin's alerts."""
    days = settings.expiry_warning.total_seconds() / 86400
    return [
        AlertRule(
            name="key_ends_soon",
            summary=f"A key that is in use ends within {days:g} days",
            check=find_expiring,
            every_seconds=3600,
            runbook="docs/api-keys.md#a-key-ends-soon",
        ),
        AlertRule(
            name="key_used_after_rotation",
            summary="A replaced key is still used and will stop working",
            check=find_used_after_rotation,
            every_seconds=600,
            runbook="docs/api-keys.md#a-replaced-key-is-still-used",
        ),
        AlertRule(
            name="credentials_refused",
            summary=f"At least {settings.refusals_alert} credentials were refused in five minutes",
            check=find_refusals,
            every_seconds=30,
            runbook="docs/api-keys.md#many-credentials-are-refused",
        ),
    ]
