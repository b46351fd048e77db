"""Alerts: evaluate every plugin's rules and the operator's own, and tell whoever should know."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

import trio

from wharfd import (
    AlertRule,
    Command,
    ConsolePage,
    EventType,
    Metric,
    Migrations,
    PluginContext,
    Provides,
    Requires,
    RetentionRule,
    Retry,
    Route,
    Schedule,
    WorkQueue,
    hookimpl,
)
from wharfd.contracts.alerts import FIRING, AlertFired, AlertResolved
from wharfd.contracts.metrics import RECENT_POINTS

from . import channels, commands, console, evaluating, routes, rules, upkeep
from .config import Settings
from .sampling import Sampler


@hookimpl
def register_settings() -> type[Settings]:
    """What may stand in `[plugins.alerts]`."""
    return Settings


@hookimpl
def register_migrations() -> Migrations:
    """Rules, alerts, silences, notices, daemons."""
    return Migrations(__package__ or __name__)


@hookimpl
def register_routes(settings: Settings) -> list[Route]:
    """What fires, what fired, acknowledge, silence."""
    return routes.routes()


@hookimpl
def register_work(settings: Settings) -> list[WorkQueue]:
    """Rules are work that never ends; notices are sent once."""
    return [
        WorkQueue(
            name="rules",
            table="alerts.rules",
            key=("name",),
            row=evaluating.RuleRow,
            handler=evaluating.evaluate,
            concurrency=4,
            timeout_seconds=60,
            retry=Retry(attempts=1_000_000, delays=(5, 15, 60)),
        ),
        WorkQueue(
            name="notices",
            table="alerts.notices",
            row=channels.NoticeRow,
            handler=channels.send_notice,
            concurrency=2,
            fair_by="alert_id",
            ordered=True,  # "resolved" never overtakes "firing"
            skip_buried=True,
            retry=Retry(attempts=50, delays=(10, 60, 600)),
        ),
    ]


@hookimpl
def register_schedules(settings: Settings) -> list[Schedule]:
    """The heartbeat, and rules that came and went."""
    tidy = Schedule(name="tidy", handler=upkeep.tidy, every=timedelta(minutes=10), jitter_seconds=30)
    beat = Schedule(name="heartbeat", handler=channels.beat, every=timedelta(minutes=1), timeout_seconds=45)
    return [tidy, beat] if settings.heartbeat_url is not None else [tidy]


@hookimpl
def register_services(settings: Settings) -> list[Provides | Requires]:
    """What fires, for the daemon's own status; and what services send, for rules over that."""
    return [
        Provides(FIRING, lambda ctx: partial(routes.find_open, ctx)),
        Requires(RECENT_POINTS, optional=True),
    ]


@hookimpl
def register_subscriptions(settings: Settings) -> list[Any]:
    """Alerts are events: whoever subscribes to them is told, and webhooks carry them outside."""
    return [
        EventType(AlertFired, "Something has been wrong for long enough that somebody should know"),
        EventType(AlertResolved, "What an alert told of is over"),
    ]


@hookimpl
def register_metrics(settings: Settings) -> list[Metric]:
    """What is counted."""
    return [
        Metric("counter", "evaluations_total", "Evaluations of alert rules.", ("outcome",)),
        Metric("histogram", "evaluation_seconds", "Time to evaluate an alert rule."),
        Metric("counter", "notices_total", "Notices by channel and how it went.", ("channel", "outcome")),
        Metric("gauge", "firing", "Alerts that fire, over all daemons.", ("severity",)),
        Metric("gauge", "reading", "What this daemon measured of itself.", ("reading", "key")),
    ]


@hookimpl
def register_alerts(settings: Settings) -> list[AlertRule]:
    """Queues, cache, pool, database, disk, clock, daemons; and the operator's own."""
    return rules.alert_rules(settings)


@hookimpl
def register_retention(settings: Settings) -> list[RetentionRule]:
    """Resolved alerts go after a while, with their history."""
    return [
        RetentionRule(
            name="alerts",
            table="alerts.alerts",
            column="resolved_at",
            where="status = 'resolved'",
            keep=settings.keep,
        )
    ]


@hookimpl
def register_commands(settings: Settings) -> list[Command]:
    """`wharfd alerts`."""
    return commands.commands()


@hookimpl
def register_console(settings: Settings) -> list[ConsolePage]:
    """The page of alerts."""
    return console.PAGES


@hookimpl
async def provision(ctx: PluginContext[Settings]) -> None:
    """Say which rules there are."""
    ctx.state["sampler"] = Sampler(ctx)
    await upkeep.declare_rules(ctx)


@hookimpl
async def run(ctx: PluginContext[Settings], task_status: trio.TaskStatus[None]) -> None:
    """Measure this daemon all the time."""
    await ctx.state["sampler"].run(task_status)


@hookimpl
async def cleanup(ctx: PluginContext[Settings]) -> None:
    """Say that this daemon stops on purpose."""
    if "sampler" in ctx.state:
        await ctx.state["sampler"].leave()


@hookimpl
def observe_plugin_state(ctx: PluginContext[Settings], plugin: str, old: str, new: str) -> None:
    """Remember which plugins do not run."""
    sampler: Sampler | None = ctx.state.get("sampler")
    if sampler is not None:
        sampler.plugins_down.pop(plugin, None)
        if new in ("quarantined", "failed"):
            sampler.plugins_down[plugin] = new
