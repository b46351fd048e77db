"""Feedback: ratings, comments and flags of users about insights, with statistics that are always right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wharfd import (
    AlertRule,
    ConsolePage,
    EventType,
    Finding,
    Importer,
    Metric,
    Migrations,
    PluginContext,
    RetentionRule,
    Route,
    hookimpl,
)
from wharfd.contracts.feedback import FeedbackFlagged, FeedbackModerated

from . import console, routes, store
from .config import Settings
from .importing import IMPORTERS


@hookimpl
def register_settings() -> type[Settings]:
    """What may stand in `[plugins.feedback]`."""
    return Settings


@hookimpl
def register_migrations() -> Migrations:
    """Feedback, and the counters a trigger keeps."""
    return Migrations(__package__ or __name__)


@hookimpl
def register_routes(settings: Settings) -> list[Route]:
    """Rate, comment, flag; statistics, comments, a user's feedback; moderation."""
    return routes.routes(settings)


@hookimpl
def register_subscriptions(settings: Settings) -> list[Any]:
    """Flags, and what was decided about them, are events."""
    return [
        EventType(FeedbackFlagged, "A user flagged an insight"),
        EventType(FeedbackModerated, "A moderator decided about a flag"),
    ]


@hookimpl
def register_metrics(settings: Settings) -> list[Metric]:
    """What is counted."""
    return [
        Metric("counter", "changes_total", "What users said, by kind and outcome.", ("kind", "outcome")),
        Metric("counter", "moderations_total", "Decisions about flags.", ("state",)),
    ]


@hookimpl
def register_alerts(settings: Settings) -> list[AlertRule]:
    """Flags that nobody looks at."""
    return [
        AlertRule(
            name="flags_waiting",
            summary="Flags wait for a moderator",
            check=_find_waiting_flags,
            every_seconds=600,
            severity="info",
            runbook="plugins/wharfd_feedback/README.md#when-it-breaks",
        )
    ]


async def _find_waiting_flags(ctx: PluginContext[Settings]) -> list[Finding]:
    """Say when flags wait too long."""
    count = await store.waiting(ctx.db, ctx.settings.flags_wait)
    days = ctx.settings.flags_wait.total_seconds() / 86400
    return [Finding(f"{count} flags wait for more than {days:g} days", value=count)] if count else []


@hookimpl
def register_console() -> Sequence[ConsolePage]:
    """Flags for moderators, and what an insight got."""
    return console.PAGES


@hookimpl
def register_retention(settings: Settings) -> list[RetentionRule]:
    """Two years after its last change feedback is archived and goes; the counters follow by themselves."""
    return [
        RetentionRule(
            name="feedback", table="feedback.feedback", column="updated_at", keep=settings.keep, archive=True
        )
    ]


@hookimpl
def register_importers() -> tuple[Importer, ...]:
    """What the systems before left."""
    return IMPORTERS
