"""The rules that ship: queues, cache, pool, connections, database, partitions, disk, clock, daemons, plugins.

And the operator's own, which look at what every daemon's `/metrics` showed, or at the points a service sent.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from wharfd import (
    AlertRule,
    Finding,
    Migrations,
    PluginContext,
    ServiceUnavailable,
    WharfdError,
    missing_months,
    server_health,
)
from wharfd.contracts.metrics import RECENT_POINTS

from . import store
from .config import OperatorRule, Settings
from .expression import holds
from .sampling import plugin_names, readings, reports

RUNBOOK = "plugins/wharfd_alerts/README.md#when-it-breaks"
_GIB = 1 << 30
_MIN_STARTED = 2.0  # per minute; below that one failure is a large share of nothing

Check = Callable[[PluginContext[Any]], Awaitable[list[Finding]]]


async def find_backlog(ctx: PluginContext[Settings]) -> list[Finding]:
    """Find queues with more due work than the limit."""
    limit = ctx.settings.queue_backlog
    return [
        Finding(f"{queue.due} rows of {queue.queue} are due and wait (limit {limit})", queue.queue, queue.due)
        for queue in await _queues(ctx)
        if queue.due > limit
    ]


async def find_failing_work(ctx: PluginContext[Settings]) -> list[Finding]:
    """Find queues where too large a share of the work fails."""
    limit, found = ctx.settings.work_failing, []
    for queue in await _queues(ctx):
        started = queue.started_per_minute
        share = (queue.retried_per_minute + queue.buried_per_minute) / started if started else 0.0
        if started >= _MIN_STARTED and share > limit:
            text = f"{share:.0%} of the work of {queue.queue} failed in the last five minutes"
            found.append(Finding(text, queue.queue, share))
    return found


async def _queues(ctx: PluginContext[Settings]) -> list[Any]:
    async def look(other: PluginContext[Any]) -> list[Any]:
        return [await other.work.statistics(name) for name in other.work.names()]

    found: list[Any] = []
    for plugin in sorted(plugin_names(ctx)):
        try:
            found += await ctx.plugins.call(plugin, look)
        except ServiceUnavailable:
            continue  # `plugin_down` tells of it
    return found


async def find_cache_misses(ctx: PluginContext[Settings]) -> list[Finding]:
    """Find daemons whose cache misses too often."""
    return [
        Finding(
            f"only {one.value:.0%} of the cache calls of {node} were hits in ten minutes", node, one.value
        )
        for node, one in await readings(ctx, "cache_hit_ratio")
        if one.value < ctx.settings.cache_hit_rate
    ]


async def find_full_pools(ctx: PluginContext[Settings]) -> list[Finding]:
    """Find connection pools that are nearly used up."""
    return [
        Finding(f"{one.value:.0%} of the {one.key} pool of {node} is in use", f"{node} {one.key}", one.value)
        for node, one in await readings(ctx, "pool_used_ratio")
        if one.value > ctx.settings.pool_used
    ]


async def find_connections(ctx: PluginContext[Settings]) -> list[Finding]:
    """Say when PostgreSQL has few connections left."""
    health = await server_health(ctx.db)
    share = health.connections / health.max_connections
    if share <= ctx.settings.connections_used:
        return []
    text = f"{health.connections} of {health.max_connections} connections of PostgreSQL are in use"
    return [Finding(text, value=share)]


async def find_database_size(ctx: PluginContext[Settings]) -> list[Finding]:
    """Say when the database comes near the size it may grow to."""
    limit = ctx.settings.database_limit_gib * _GIB
    size = (await server_health(ctx.db)).bytes
    if size <= limit * ctx.settings.database_used:
        return []
    text = f"the database has {size / _GIB:.2f} GiB of the {limit / _GIB:g} GiB it may have"
    return [Finding(text, value=size)]


async def find_slow_queries(ctx: PluginContext[Settings]) -> list[Finding]:
    """Find statements that took too long within the last five minutes."""
    limit = ctx.settings.slow_query.total_seconds()
    return [
        Finding(f"statement {one.key} took {one.value:.1f} s on {node}", one.key, one.value)
        for node, one in await readings(ctx, "slow_query_seconds")
        if one.value > limit
    ]


async def find_missing_partitions(ctx: PluginContext[Settings]) -> list[Finding]:
    """Find monthly partitions, of this or the next month, that were not made."""
    tables = [table for _, migrations in ctx.plugins.declared(Migrations) for table in migrations.partitioned]
    return [
        Finding(f"{gone.table} has no partition for {gone.month:%Y-%m}", f"{gone.table} {gone.month:%Y-%m}")
        for gone in await missing_months(ctx.db, tables)
    ]


async def find_full_disks(ctx: PluginContext[Settings]) -> list[Finding]:
    """Find daemons whose state folder has little room left."""
    return [
        Finding(f"{one.value:.0%} of the disk of {node} is free", node, one.value)
        for node, one in await readings(ctx, "disk_free_ratio")
        if one.value < ctx.settings.disk_free
    ]


async def find_clock_skew(ctx: PluginContext[Settings]) -> list[Finding]:
    """Find daemons whose clock differs from the database's."""
    limit = ctx.settings.clock_skew.total_seconds()
    return [
        Finding(f"the clock of {node} is {one.value:+.1f} s off the database's", node, one.value)
        for node, one in await readings(ctx, "clock_skew_seconds")
        if abs(one.value) > limit
    ]


async def find_plugins_down(ctx: PluginContext[Settings]) -> list[Finding]:
    """Find plugins that keep crashing or cannot be loaded."""
    return [
        Finding(
            f"the plugin {one.key.partition(' ')[0]} is {one.key.partition(' ')[2]} on {node}",
            f"{node} {one.key}",
        )
        for node, one in await readings(ctx, "plugin_down")
    ]


async def find_silent_daemons(ctx: PluginContext[Settings]) -> list[Finding]:
    """Find daemons that reported before and stopped without saying so."""
    _, silent = await reports(ctx)
    return [
        Finding(f"the daemon {node} has not reported for {age:.0f} s", node, age)
        for node, age in silent.items()
    ]


async def find_own(name: str, rule: OperatorRule, ctx: PluginContext[Settings]) -> list[Finding]:
    """Evaluate one of the operator's rules over what all daemons reported.

    Raises `WharfdError` when no daemon has the metric: the rule would never fire, and nobody would know.
    """
    fresh, _ = await reports(ctx)
    if fresh and all(name in report.unknown for report in fresh.values()):
        raise WharfdError(f"no daemon shows a metric {rule.metric}; look for its name in /metrics")
    firing = await store.firing_keys(ctx.db, ctx.name, name)
    found = []
    for node, report in fresh.items():
        for one in report.readings:
            key = f"{node} {one.key}".strip()
            if one.name == f"rule.{name}" and holds(rule, one.value, firing=key in firing):
                per = " per second" if rule.rate else ""
                series = f"{rule.metric}{{{one.key}}}" if one.key else rule.metric
                text = f"{series} is {one.value:g}{per} on {node} (limit {rule.op} {rule.threshold:g})"
                found.append(Finding(text, key, one.value))
    return found


async def find_in_points(name: str, rule: OperatorRule, ctx: PluginContext[Settings]) -> list[Finding]:
    """Evaluate one of the operator's rules over the points a service sent.

    Raises `WharfdError` when it never sent such a metric: the rule would never fire, and nobody would know.
    """
    recent = ctx.services.find(RECENT_POINTS)
    if recent is None:
        raise WharfdError("the plugin metrics, which keeps what services send, is not there")
    assert rule.service is not None
    found = await recent.figures(rule.service, rule.metric, rule.labels, rule.over, each=rule.each)
    if found is None:
        raise WharfdError(
            f"{rule.service} never sent a metric {rule.metric}; look for its name in the metrics explorer"
        )
    firing = await store.firing_keys(ctx.db, ctx.name, name)
    return [
        Finding(_points_text(rule, key, value), key, value)
        for key, figures in found.items()
        if (value := figures.get(rule.figure)) is not None and holds(rule, value, firing=key in firing)
    ]


def _points_text(rule: OperatorRule, key: str, value: float) -> str:
    series = f"{rule.metric}{{{key}}}" if key else rule.metric
    return f"{rule.figure} of {series} of {rule.service} is {value:g} (limit {rule.op} {rule.threshold:g})"


def alert_rules(settings: Settings) -> list[AlertRule]:
    """Return the rules that ship and are not switched off, and the operator's own."""
    rules = [
        AlertRule(name="silent_daemon", summary="A daemon stopped reporting", check=find_silent_daemons,
                  severity="critical", runbook=RUNBOOK),
        AlertRule(name="plugin_down", summary="A plugin does not run", check=find_plugins_down,
                  severity="critical", for_seconds=60, runbook=RUNBOOK),
        AlertRule(name="partition_missing", summary="A monthly partition was not made",
                  check=find_missing_partitions, severity="critical", every_seconds=300, runbook=RUNBOOK),
    ]  # fmt: skip
    optional: list[tuple[object, str, str, Check, str, float]] = [
        (settings.queue_backlog, "queue_backlog", "Work waits in a queue", find_backlog, "warning", 120),
        (settings.work_failing, "work_failing", "Much work fails", find_failing_work, "warning", 60),
        (settings.cache_hit_rate, "cache_hit_rate", "The cache misses often", find_cache_misses, "info", 300),
        (settings.pool_used, "pool_used", "The connection pool is nearly used up", find_full_pools,
         "warning", 60),
        (settings.connections_used, "connections_used", "PostgreSQL is nearly out of connections",
         find_connections, "critical", 60),
        (settings.database_limit_gib, "database_size", "The database nears its limit", find_database_size,
         "warning", 0),
        (settings.slow_query, "slow_query", "A statement is slow", find_slow_queries, "info", 0),
        (settings.disk_free, "disk_low", "A disk is nearly full", find_full_disks, "critical", 60),
        (settings.clock_skew, "clock_skew", "A clock is wrong", find_clock_skew, "warning", 60),
    ]  # fmt: skip
    for limit, name, summary, check, severity, wait in optional:
        if limit:
            rules.append(
                AlertRule(name=name, summary=summary, check=check, severity=severity,  # type: ignore[arg-type]
                          for_seconds=wait, runbook=RUNBOOK)
            )  # fmt: skip
    return rules + [_own(name, rule) for name, rule in settings.rules.items()]


def _own(name: str, rule: OperatorRule) -> AlertRule:
    return AlertRule(
        name=name,
        summary=rule.summary or f"{rule.metric} {rule.op} {rule.threshold:g}",
        check=partial(find_own if rule.service is None else find_in_points, name, rule),
        severity=rule.severity,
        every_seconds=15.0,
        for_seconds=rule.for_.total_seconds(),
        runbook=rule.runbook,
    )
