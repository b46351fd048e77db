"""Metrics: keep points, roll them up by hour and day, answer over any range; publish the daemon's own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import trio

from wharfd import (
    AlertRule,
    ConsolePage,
    Importer,
    Metric,
    Migrations,
    NotReady,
    PluginContext,
    Provides,
    Requires,
    RetentionRule,
    Route,
    Schedule,
    hookimpl,
)
from wharfd.contracts.archives import COLD
from wharfd.contracts.metrics import RECENT_POINTS, MetricSink

from . import console, extension, rollup, routes, telemetry
from .config import Otlp, Settings
from .importing import IMPORTERS
from .recent import Recent
from .series import Book


@hookimpl
def register_hookspecs() -> Any:
    """`register_metric_sinks`, for plugins that take metrics elsewhere."""
    return extension


@hookimpl
def register_settings() -> type[Settings]:
    """What may stand in `[plugins.metrics]`."""
    return Settings


@hookimpl
def register_services(settings: Settings) -> list[Requires | Provides]:
    """Older points are answered from the archive where there is one; alert rules look at the newest."""
    return [Requires(COLD, optional=True), Provides(RECENT_POINTS, Recent)]


@hookimpl
def register_migrations() -> Migrations:
    """Series, points by month, deltas, hours by month, days."""
    return Migrations(__package__ or __name__, partitioned=("metrics.points", "metrics.hours"))


@hookimpl
def register_routes(settings: Settings) -> list[Route]:
    """Record, list, aggregate; pool, queries, publish."""
    return routes.routes()


@hookimpl
def register_schedules(settings: Settings) -> list[Schedule]:
    """Roll up, seal, make months."""
    return [
        Schedule(name="roll_up", handler=rollup.roll_up, every=timedelta(seconds=15)),
        Schedule(name="seal", handler=rollup.seal, every=timedelta(hours=1), jitter_seconds=60),
        Schedule(name="months", handler=rollup.make_months, cron="11 0 * * *", jitter_seconds=300),
    ]


@hookimpl
def register_metrics(settings: Settings) -> list[Metric]:
    """What is counted, and what nobody else shows: pools, caches, queues."""
    return [
        Metric("counter", "points_total", "Points by what became of them.", ("outcome",)),
        Metric("counter", "pushes_total", "Pushes to sinks by how they went.", ("sink", "outcome")),
        Metric("gauge", "rollup_lag_seconds", "Age of the oldest points that are not rolled up."),
        Metric("gauge", "pool_connections", "Connections of a pool by state.", ("pool", "state")),
        Metric("gauge", "pool_limit", "Connections a pool may have.", ("pool",)),
        Metric(
            "gauge", "statement_p95_seconds", "Time 95 % of a statement's calls stayed below.", ("statement",)
        ),
        Metric("gauge", "queue_rows", "Rows of a work queue by state.", ("queue", "state")),
        Metric("gauge", "cache_hit_ratio", "Share of cache calls that were hits.", ("plugin",)),
    ]


@hookimpl
def register_alerts(settings: Settings) -> list[AlertRule]:
    """Roll-ups that fall behind."""
    return [
        AlertRule(
            name="rollups_late",
            summary="Roll-ups of metrics are behind",
            check=rollup.find_late_rollups,
            for_seconds=60,
            runbook="plugins/wharfd_metrics/README.md#when-it-breaks",
        )
    ]


@hookimpl
def register_retention(settings: Settings) -> list[RetentionRule]:
    """Points for 90 days and to one year in the archive, hours for 400 days, days for five years."""
    # Points from which the hours are not made yet cannot go: what is summed up later would be too little.
    merged = "NOT EXISTS (SELECT FROM metrics.deltas d WHERE d.hour < now() - interval '9 days')"
    return [
        RetentionRule(
            name="points", table="metrics.points", column="at", key=("at", "id"), keep=settings.keep_points,
            where=merged, partitioned=True, cold=settings.keep_archive,
        ),
        RetentionRule(
            name="hours", table="metrics.hours", column="bucket", key=("series_id", "bucket"),
            keep=settings.keep_hours, partitioned=True, archive=False,
        ),
        RetentionRule(
            name="days", table="metrics.days", column="bucket", key=("series_id", "bucket"),
            keep=settings.keep_days, archive=False,
        ),
    ]  # fmt: skip


@hookimpl
def register_metric_sinks(ctx: PluginContext[Settings]) -> Sequence[MetricSink]:
    """The OpenTelemetry collector, when one is configured."""
    sink: MetricSink | None = ctx.state.get("otlp")
    return [sink] if sink is not None else []


@hookimpl
def register_console() -> Sequence[ConsolePage]:
    """The explorer."""
    return console.PAGES


@hookimpl
def register_importers() -> Sequence[Importer]:
    """What the systems before left."""
    return IMPORTERS


@hookimpl
async def provision(ctx: PluginContext[Settings]) -> None:
    """Make the months late points need, and what is remembered between requests."""
    ctx.state["book"] = Book(ctx.settings.max_series, ctx.settings.max_series_per_metric)
    if ctx.settings.otlp is not None:
        ctx.state["otlp"] = _open_otlp(ctx, ctx.settings.otlp)
    await rollup.make_months(ctx)


def _open_otlp(ctx: PluginContext[Settings], settings: Otlp) -> MetricSink:
    try:
        from .sinks import OtlpSink
    except ImportError as error:
        raise NotReady(f"{error.name} is not installed; run: pip install 'wharfd[otlp]'") from None
    return OtlpSink(ctx, settings)


@hookimpl
async def run(ctx: PluginContext[Settings], task_status: trio.TaskStatus[None]) -> None:
    """Publish this daemon's own metrics every minute."""
    if ctx.settings.publish:
        await telemetry.run(ctx, task_status)
    else:
        task_status.started()
        await trio.sleep_forever()
