"""How long the plugin's rows are kept."""

from __future__ import annotations

from datetime import timedelta

from wharfd import RetentionRule

from .config import Settings

_ENDED_KEYS = timedelta(days=400)  # as long as the audit log, which names them


def rules(settings: Settings) -> list[RetentionRule]:
    """The usage log by the month, and keys that were revoked long ago."""
    return [
        RetentionRule(
            name="usage",
            table="integrations.usage",
            column="at",
            keep=settings.usage_keep,
            key=("at", "id"),
            partitioned=True,
        ),
        RetentionRule(
            name="revoked_keys",
            table="integrations.keys",
            column="revoked_at",
            keep=_ENDED_KEYS,
            where="revoked_at IS NOT NULL",
        ),
    ]
