"""Keep track of backfill jobs that run elsewhere: how far they are, how long they take, whether they live."""

from __future__ import annotations

from collections.abc import Sequence

from wharfd import (
    AlertRule,
    Command,
    ConsolePage,
    EventType,
    Importer,
    Metric,
    Migrations,
    RetentionRule,
    Route,
    Subscription,
    hookimpl,
)
from wharfd.contracts.backfill import BackfillCompleted, BackfillFailed, BackfillStarted

from . import commands as _commands
from . import console as _console
from . import routes as _routes
from . import watching
from .config import Settings
from .importing import IMPORTERS


@hookimpl
def register_settings() -> type[Settings]:
    """When a job is stale, how long answers and jobs are kept."""
    return Settings


@hookimpl
def register_commands(settings: Settings) -> Sequence[Command]:
    """`wharfd backfill …`."""
    return _commands.COMMANDS


@hookimpl
def register_migrations() -> Migrations:
    """The jobs."""
    return Migrations(__package__ or "wharfd_backfill")


@hookimpl
def register_routes(settings: Settings) -> Sequence[Route]:
    """`/api/v1/monitoring/backfill/…`."""
    return _routes.routes()


@hookimpl
def register_subscriptions(settings: Settings) -> Sequence[Subscription | EventType]:
    """What others can hear."""
    return [
        EventType(BackfillStarted, "A backfill job was started."),
        EventType(BackfillCompleted, "A backfill job reached its end."),
        EventType(BackfillFailed, "A backfill job was given up."),
    ]


@hookimpl
def register_metrics(settings: Settings) -> Sequence[Metric]:
    """Jobs by status."""
    return watching.METRICS


@hookimpl
def register_alerts(settings: Settings) -> Sequence[AlertRule]:
    """Jobs that report nothing."""
    return watching.ALERTS


@hookimpl
def register_console() -> Sequence[ConsolePage]:
    """Jobs and how far they are."""
    return _console.PAGES


@hookimpl
def register_retention(settings: Settings) -> Sequence[RetentionRule]:
    """180 days after the end."""
    return watching.retention(settings)


@hookimpl
def register_importers() -> Sequence[Importer]:
    """What the systems before left."""
    return IMPORTERS
