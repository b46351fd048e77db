"""Take Paysafe/NetBanx webhooks (and other providers') in, exactly once, and work out what changed."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from wharfd import (
    EventType,
    IngestRoute,
    Metric,
    Migrations,
    PluginContext,
    RetentionRule,
    Route,
    Subscription,
    WorkQueue,
    hookimpl,
)
from wharfd.contracts.payments import AccountStatusChanged, PaymentFailed, PaymentReceived, PaymentRefunded

from . import declared, upkeep
from .acceptance.routes import ingest_routes
from .api.routes import api_routes
from .config import Settings
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
async def provision(ctx: PluginContext[Settings]) -> None:
    """Open the gates."""
    await upkeep.prepare(ctx)


@hookimpl
async def run(ctx: PluginContext[Settings], task_status: trio.TaskStatus[None]) -> None:
    """Keep counts, keys and caches current."""
    await upkeep.keep_up(ctx, task_status=task_status)
