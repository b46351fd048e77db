"""Take Paysafe/NetBanx webhooks (and other providers') in, exactly once, and work out what changed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import trio

from wharfd import (
    AlertRule,
    Command,
    ConsolePage,
    EventType,
    HealthCheck,
    Importer,
    IngestRoute,
    Metric,
    Migrations,
    PluginContext,
    Provides,
    RetentionRule,
    Route,
    Schedule,
    Subscription,
    WorkQueue,
    hookimpl,
)
from wharfd.contracts.lineage import ORIGINS
from wharfd.contracts.payments import AccountStatusChanged, PaymentFailed, PaymentReceived, PaymentRefunded

from . import console as _console
from . import declared, reconciling, upkeep, watching
from .acceptance.routes import ingest_routes
from .api.analytics import renew
from .api.origins import StoredEvents
from .api.routes import api_routes
from .commands import commands
from .config import Settings
from .importing import IMPORTERS
from .processing.handler import event_queue


@hookimpl
def register_settings() -> type[Settings]:
    """Sources with their keys, and how events are worked."""
    return Settings


@hookimpl
def register_migrations() -> Migrations:
    """Events by month; identities, transactions, accounts and roll-ups beside them."""
    return Migrations(__package__ or "wharfd_netbanx", partitioned=("netbanx.events",))


@hookimpl
def register_routes(settings: Settings) -> Sequence[Route]:
    """Transactions, accounts, analytics; events, queue and keys for operators."""
    return api_routes(settings)


@hookimpl
def register_services() -> Sequence[Provides]:
    """What arrived, for those who follow a trace."""
    return [Provides(ORIGINS, StoredEvents)]


@hookimpl
def register_ingest(settings: Settings) -> Sequence[IngestRoute]:
    """One route per source."""
    return ingest_routes(settings)


@hookimpl
def register_work(settings: Settings) -> Sequence[WorkQueue]:
    """Stored events are work."""
    return [event_queue(settings)]


@hookimpl
def register_subscriptions(settings: Settings) -> Sequence[Subscription | EventType]:
    """What the world is told."""
    return [
        EventType(PaymentReceived, "A payment is complete."),
        EventType(PaymentFailed, "A payment was refused, cancelled, expired or returned."),
        EventType(PaymentRefunded, "Money went back to the customer."),
        EventType(AccountStatusChanged, "A merchant account moved to another status."),
    ]


@hookimpl
def register_metrics(settings: Settings) -> Sequence[Metric]:
    """Counters of acceptance and processing."""
    return declared.METRICS


@hookimpl
def register_retention(settings: Settings) -> Sequence[RetentionRule]:
    """How long everything is kept."""
    return declared.RETENTION


@hookimpl
def register_schedules(settings: Settings) -> Sequence[Schedule]:
    """Analytics are renewed every minute; open payments are asked about where that is set up."""
    every = timedelta(minutes=1)
    return [Schedule(name="analytics", every=every, handler=renew), *reconciling.schedules(settings)]


@hookimpl
def register_alerts(settings: Settings) -> Sequence[AlertRule]:
    """Backlog, failures, conflicts, refusals, silence, checks that are off."""
    return watching.alert_rules(settings)


@hookimpl
def register_health_checks(settings: Settings) -> Sequence[HealthCheck]:
    """Whether every source can verify."""
    return watching.health_checks(settings)


@hookimpl
def register_commands(settings: Settings) -> Sequence[Command]:
    """`wharfd send`, `wharfd events`, `wharfd sources`."""
    return commands(settings)


@hookimpl
def register_console() -> Sequence[ConsolePage]:
    """Events and sources."""
    return _console.PAGES


@hookimpl
def register_importers() -> Sequence[Importer]:
    """What the systems before left."""
    return IMPORTERS


@hookimpl
async def provision(ctx: PluginContext[Settings]) -> None:
    """Open the gates."""
    await upkeep.prepare(ctx)


@hookimpl
async def run(ctx: PluginContext[Settings], task_status: trio.TaskStatus[None]) -> None:
    """Keep counts, keys and caches current."""
    await upkeep.keep_up(ctx, task_status=task_status)
