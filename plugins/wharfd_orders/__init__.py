"""Take batches of orders in, carry each order out exactly once, and say what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import trio

from wharfd import (
    AlertRule,
    Command,
    ConsolePage,
    EventType,
    HealthCheck,
    Importer,
    Metric,
    Migrations,
    PluginContext,
    RetentionRule,
    Route,
    Subscription,
    WorkQueue,
    hookimpl,
)
from wharfd.contracts import orders as contract

from . import commands as _commands
from . import console as _console
from . import extension, watching
from . import work as _work
from .config import Settings
from .executing.calling import HttpExecutor
from .executing.executors import Executor, Executors, LedgerExecutor
from .importing import IMPORTERS
from .parts import Parts, keep_parts
from .routes import routes
from .steering import steer


@hookimpl
def register_hookspecs() -> Any:
    """`register_order_executors`: who else carries out orders."""
    return extension


@hookimpl
def register_settings() -> type[Settings]:
    """Limits, approval, cut-off, the order system."""
    return Settings


@hookimpl
def register_commands(settings: Settings) -> Sequence[Command]:
    """`wharfd orders …`."""
    return _commands.COMMANDS


@hookimpl
def register_migrations() -> Migrations:
    """Batches, their rows, references, the ledger. Only retention deletes any of it."""
    kept = ("orders.batches", "orders.items", "orders.orders", "orders.refs")
    return Migrations(__package__ or "wharfd_orders", keep_forever=kept)


@hookimpl
def register_routes(settings: Settings) -> Sequence[Route]:
    """`/api/bulk-orders` and `/api/v1/orders`."""
    return routes(settings)


@hookimpl
def register_work(settings: Settings) -> Sequence[WorkQueue]:
    """Rows of batches are work, in four lanes."""
    return _work.queues(settings)


@hookimpl
def register_subscriptions(settings: Settings) -> Sequence[Subscription | EventType]:
    """What others can hear."""
    return [
        EventType(contract.OrderCreated, "An order was accepted."),
        EventType(contract.OrderUpdated, "A person decided about an order."),
        EventType(contract.OrderCompleted, "An order was carried out."),
        EventType(contract.OrderFailed, "An order was refused or given up."),
        EventType(contract.BatchCreated, "A batch was accepted."),
        EventType(contract.BatchApproved, "A second person approved a batch."),
        EventType(contract.BatchCompleted, "Every order of a batch was carried out."),
        EventType(contract.BatchPartial, "A batch is over; some orders failed."),
        EventType(contract.BatchFailed, "A batch is over and every order failed."),
        EventType(contract.BatchCancelled, "A batch was cancelled."),
    ]


@hookimpl
def register_metrics(settings: Settings) -> Sequence[Metric]:
    """Orders, batches, uploads, calls."""
    return watching.METRICS


@hookimpl
def register_alerts(settings: Settings) -> Sequence[AlertRule]:
    """Unknown outcomes, batches that do not move, counts that do not fit."""
    return watching.ALERTS


@hookimpl
def register_health_checks(settings: Settings) -> Sequence[HealthCheck]:
    """Whether the order system answers."""
    return watching.HEALTH


@hookimpl
def register_retention(settings: Settings) -> Sequence[RetentionRule]:
    """Results, batches, references, keys."""
    return watching.retention(settings)


@hookimpl
def register_console() -> Sequence[ConsolePage]:
    """Batches and how far they are."""
    return _console.PAGES


@hookimpl
def register_importers() -> Sequence[Importer]:
    """What the systems before left."""
    return IMPORTERS


@hookimpl
async def provision(ctx: PluginContext[Settings]) -> None:
    """Make the executors."""
    own: list[Executor] = [LedgerExecutor()]
    if ctx.settings.http is not None:
        own.append(HttpExecutor(ctx.settings.http, ctx.http, trio.current_time, ctx.log))
    uploads = trio.CapacityLimiter(ctx.settings.uploads_at_once)
    keep_parts(ctx, Parts(Executors(own, ctx.hooks, ctx.log), uploads))


@hookimpl
async def run(ctx: PluginContext[Settings], task_status: trio.TaskStatus[None]) -> None:
    """Steer batches."""
    await steer(ctx, task_status=task_status)
