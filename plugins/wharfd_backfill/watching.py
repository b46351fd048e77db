"""Metrics, alerts, retention: what operators see of the plugin."""

from __future__ import annotations

from wharfd import AlertRule, Finding, Metric, PluginContext, RetentionRule

from . import store
from .config import Settings

METRICS = [Metric("counter", "jobs_total", "Jobs that changed to a status.", ("status",))]


async def find_stale(ctx: PluginContext[Settings]) -> list[Finding]:
    """Running jobs that have not been heard of."""
    return [
        Finding(
            f"backfill job {row['id']} ({row['job_type']}) has reported nothing since "
            f"{row['reported_at']:%Y-%m-%d %H:%M} UTC, at block {row['current_block']} of {row['end_block']}",
            key=str(row["id"]),
        )
        for row in await store.stale(ctx.db, ctx.settings.stale_after)
    ]


ALERTS = [
    AlertRule(
        name="backfill_stale",
        summary="A backfill job does not report",
        check=find_stale,
        runbook="docs/backfill.md#a-job-is-stale",
    )
]


def retention(settings: Settings) -> list[RetentionRule]:
    """Return how long finished jobs are kept; one that runs is never touched."""
    return [
        RetentionRule(
            name="backfill_jobs",
            table="backfill.jobs",
            column="updated_at",
            keep=settings.keep,
            where="status IN ('completed', 'failed')",
        )
    ]
