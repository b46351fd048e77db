"""How long the core's own rows are kept; the retention plugin acts on it as on any plugin's rules."""

from __future__ import annotations

from datetime import timedelta

from .declare import RetentionRule

CORE_RETENTION = (
    RetentionRule(
        name="audit", table="wharfd.audit", column="recorded_at", keep=timedelta(days=400), partitioned=True
    ),
    RetentionRule(
        name="events", table="wharfd.events", column="published_at", keep=timedelta(days=90), partitioned=True
    ),
    RetentionRule(
        name="buried_jobs",
        table="wharfd.jobs",
        column="finished_at",
        keep=timedelta(days=180),
        where="state = 'buried'",
    ),
)
