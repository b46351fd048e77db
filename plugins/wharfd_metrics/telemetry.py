"""This daemon's own metrics: measured, recorded as points and pushed to sinks, every minute.

A sum over its labels is recorded of each counter and gauge; sinks get every series of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Any, cast

import trio

from wharfd import PluginContext, Sample, Schedule, WharfdError, WorkQueue
from wharfd.contracts.metrics import MetricPoint, MetricSink

from . import recording, store
from .checking import Point
from .config import Settings

SERVICE = "wharfd"
EVERY_SECONDS = 60.0
_UNITS = (("_seconds", "s"), ("_bytes", "By"), ("_ratio", "1"))


@dataclass(frozen=True)
class Published:
    """What came of publishing once."""

    points: int
    pushed: tuple[str, ...] = ()
    failed: tuple[str, ...] = field(default=())

    @property
    def sentence(self) -> str:
        """It in words."""
        to = f" and pushed to {', '.join(self.pushed)}" if self.pushed else ""
        lost = f"; {', '.join(self.failed)} did not take them" if self.failed else ""
        return f"{self.points} metrics recorded{to}{lost}"


async def run(ctx: PluginContext[Settings], task_status: trio.TaskStatus[None]) -> None:
    """Publish every minute until cancelled."""
    task_status.started()
    while True:
        await trio.sleep(EVERY_SECONDS)
        try:
            await publish(ctx)
        except WharfdError as error:  # away, busy, too slow: the next minute brings newer ones
            ctx.log.warning("own_metrics_not_recorded", reason=str(error))


async def publish(ctx: PluginContext[Settings]) -> Published:
    """Measure, record, and push to every sink; a sink that fails stops nothing."""
    await measure(ctx)
    at = ctx.now()
    exported = list(points_of(ctx.metrics.samples(), at))
    totals = dict(enumerate(_totals(exported, ctx.node)))
    taken, problems = await recording.record(ctx, None, totals)
    if problems:
        ctx.log.warning("own_metrics_refused", count=len(problems), first=next(iter(problems.values())))
    pushed: list[str] = []
    failed: list[str] = []
    for sinks in await ctx.hooks.call("register_metric_sinks"):
        for sink in cast("list[MetricSink]", sinks or ()):
            (pushed if await _push(ctx, sink, exported) else failed).append(sink.name)
    return Published(len(taken.rows), tuple(pushed), tuple(failed))


async def _push(ctx: PluginContext[Settings], sink: MetricSink, points: list[MetricPoint]) -> bool:
    try:
        with trio.fail_after(EVERY_SECONDS / 2):
            await sink.push(points)
    except Exception as error:
        ctx.metrics["pushes_total"].labels(sink.name, "failed").inc()
        ctx.log.warning("metric_sink_failed", sink=sink.name, reason=f"{type(error).__name__}: {error}")
        return False
    ctx.metrics["pushes_total"].labels(sink.name, "done").inc()
    return True


def points_of(samples: Iterable[Sample], at: datetime) -> Iterable[MetricPoint]:
    """Yield the counters and gauges among the samples; of a histogram its count and sum."""
    kept = [one for one in samples if isfinite(one.value) and not one.name.endswith(("_created", "_bucket"))]
    began = next((one.value for one in kept if one.name == "process_start_time_seconds"), None)
    since = datetime.fromtimestamp(began, UTC) if began else at
    for one in kept:
        counts = one.kind in ("counter", "histogram")
        if counts or one.kind == "gauge":
            yield MetricPoint(
                one.name,
                "counter" if counts else "gauge",
                unit_of(one.name),
                one.labels,
                one.value,
                at,
                since,
            )


def unit_of(name: str) -> str:
    """Return the unit a metric's name says."""
    plain = name.removesuffix("_total").removesuffix("_sum")
    return next((unit for ending, unit in _UNITS if plain.endswith(ending)), "")


def _totals(points: Iterable[MetricPoint], node: str) -> Iterable[Point]:
    labels = {"node": node[:100]}
    totals: dict[str, MetricPoint] = {}
    for one in points:
        there = totals.get(one.name)
        totals[one.name] = one if there is None else dataclasses.replace(one, value=there.value + one.value)
    for one in totals.values():
        yield Point(SERVICE, one.name, one.value, unit=one.unit, labels=labels, timestamp=one.at)


async def measure(ctx: PluginContext[Settings]) -> None:
    """Set the gauges that nobody else keeps: pools, caches, queues, statements, roll-ups."""
    for pool in ctx.db.statistics().pools:
        for state in ("used", "idle", "waiting"):
            ctx.metrics["pool_connections"].labels(pool.purpose, state).set(getattr(pool, state))
        ctx.metrics["pool_limit"].labels(pool.purpose).set(pool.limit)
    ctx.metrics["statement_p95_seconds"].clear()  # only the hundred that cost most are shown
    for one in ctx.db.statistics().statements[:100]:
        ctx.metrics["statement_p95_seconds"].labels(one.name).set(one.p95_seconds)
    names = {p for kind in (WorkQueue, Schedule) for p, _ in ctx.plugins.declared(kind)} | {ctx.name}
    for plugin in sorted(names):
        try:
            queues, cache = await ctx.plugins.call(plugin, _look)
        except WharfdError:
            continue  # not running; what it would show is not there
        for queue in queues:
            for state in ("due", "running", "buried"):
                ctx.metrics["queue_rows"].labels(queue.queue, state).set(getattr(queue, state))
        if cache is not None:
            ctx.metrics["cache_hit_ratio"].labels(plugin).set(cache)
    waiting = await store.waiting(ctx.db)
    ctx.metrics["rollup_lag_seconds"].set(waiting["seconds"])


async def _look(other: PluginContext[Any]) -> tuple[list[Any], float | None]:
    queues = [await other.work.statistics(name) for name in other.work.names()]
    counted = other.cache.statistics().names.values()
    hits = sum(one.local_hits + one.redis_hits + one.coalesced for one in counted)
    calls = hits + sum(one.misses for one in counted)
    return queues, hits / calls if calls else None


def plain(value: Any) -> dict[str, Any]:
    """Return a statistics record as JSON values."""
    shown = dataclasses.asdict(value)
    return {name: one.total_seconds() if isinstance(one, timedelta) else one for name, one in shown.items()}
