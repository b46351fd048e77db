"""Tell everyone who asked, exactly as promised: endpoints, signed deliveries, retries, and a record of
each."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import trio

from wharfd import (
    AlertRule,
    Command,
    ConsolePage,
    EventType,
    HealthCheck,
    Importer,
    JobKind,
    Metric,
    Migrations,
    PluginContext,
    Requires,
    RetentionRule,
    Retry,
    Route,
    Schedule,
    Subscription,
    WorkQueue,
    hookimpl,
)
from wharfd.contracts.lineage import ORIGINS
from wharfd.contracts.webhooks import OPERATIONAL

from . import commands, extension, watching
from . import console as _console
from .config import LEASE_SECONDS, Settings
from .fanout import fan_out
from .importing import IMPORTERS
from .model.rows import DeliveryRow
from .recovering import CancelAll, Recover, cancel_all, recover
from .routes import routes
from .sending.sender import QUEUES, SWEEP_SECONDS, Sender, deliver, sweep
from .store.asking import Asking
from .store.endpoints import ENDPOINTS, SECRETS

MOST_TRIES = 50  # the largest budget a person may ask for


@hookimpl
def register_settings() -> type[Settings]:
    """What may stand in `[plugins.webhooks]`."""
    return Settings


@hookimpl
def register_services(settings: Settings) -> list[Requires]:
    """Lineage goes back to what arrived, where some plugin knows of that."""
    return [Requires(ORIGINS, optional=True)]


@hookimpl
def register_migrations() -> Migrations:
    """Endpoints, messages, deliveries, attempts."""
    return Migrations(
        __package__ or __name__, partitioned=("webhooks.messages", "webhooks.deliveries", "webhooks.attempts")
    )


@hookimpl
def register_routes(settings: Settings) -> list[Route]:
    """Endpoints, deliveries, recovery, events and their catalogue."""
    return routes(settings)


@hookimpl
def register_work(settings: Settings) -> list[Any]:
    """Deliveries in three lanes."""
    return [
        *(_queue(lane, settings) for lane in QUEUES),
        JobKind(name="recover", args=Recover, handler=recover),
        JobKind(name="cancel_all", args=CancelAll, handler=cancel_all),
    ]


def _queue(lane: str, settings: Settings) -> WorkQueue:
    ordered = lane != "free"
    return WorkQueue(
        name=QUEUES[lane],
        table="webhooks.deliveries",
        row=DeliveryRow,
        handler=deliver,
        key=("id", "created_at"),
        lane=("lane", lane),
        fair_by="order_key",
        ordered=ordered,
        skip_buried=lane == "skipping",
        concurrency=max(1, settings.concurrency // 4) if ordered else settings.concurrency,
        lease_seconds=LEASE_SECONDS,
        retry=Retry(attempts=MOST_TRIES + 1, delays=(30,)),
    )


@hookimpl
def register_schedules(settings: Settings) -> list[Schedule]:
    """Parked deliveries are looked at."""
    return [
        Schedule(name="sweep", handler=sweep, every=timedelta(seconds=SWEEP_SECONDS)),
        Schedule(name="orphans", handler=watching.end_orphans, every=timedelta(minutes=5)),
    ]


@hookimpl
def register_subscriptions(settings: Settings) -> list[Any]:
    """Hear everything; publish what happens to endpoints and deliveries."""
    everything = Subscription(
        "*", fan_out, transactional=True, batch=100, concurrency=settings.fan_out_concurrency
    )
    return [everything, *(EventType(event, (event.__doc__ or "").split("\n")[0]) for event in OPERATIONAL)]


@hookimpl
def register_metrics(settings: Settings) -> list[Metric]:
    """What is counted."""
    return list(watching.METRICS)


@hookimpl
def register_hookspecs() -> Any:
    """`before_delivery`, for plugins that change what is sent."""
    return extension


@hookimpl
def register_health_checks(settings: Settings) -> list[HealthCheck]:
    """Whether deliveries leave in time."""
    return watching.health_checks()


@hookimpl
def register_alerts(settings: Settings) -> list[AlertRule]:
    """Endpoints that fail, deliveries that are late."""
    return watching.alerts()


@hookimpl
def register_retention(settings: Settings) -> list[RetentionRule]:
    """How long things are kept."""
    return watching.retention(settings)


@hookimpl
def register_commands(settings: Settings) -> list[Command]:
    """`wharfd deliveries`."""
    return commands.commands()


@hookimpl
def register_console() -> list[ConsolePage]:
    """Endpoints and deliveries."""
    return _console.PAGES


@hookimpl
def register_importers() -> tuple[Importer, ...]:
    """What the systems before left."""
    return IMPORTERS


@hookimpl
async def provision(ctx: PluginContext[Settings]) -> None:
    """Load the key that secrets are sealed with, and make the sender."""
    await ctx.secrets.prepare(SECRETS, ENDPOINTS)
    ctx.state["policy"] = ctx.settings.network()
    ctx.state["asking"] = Asking()
    ctx.state["sender"] = sender = Sender(ctx)
    await sender.shares.beat()


@hookimpl
async def run(ctx: PluginContext[Settings], task_status: trio.TaskStatus[None]) -> None:
    """Keep this daemon known as one that sends."""
    sender: Sender = ctx.state["sender"]
    await sender.shares.run(started=task_status.started)


@hookimpl
async def cleanup(ctx: PluginContext[Settings]) -> None:
    """Leave this daemon's share of the sending to the others."""
    sender: Sender | None = ctx.state.get("sender")
    if sender is not None:
        await sender.shares.leave()
