"""`/api/performance/status`: health, queues, caches, alerts, the machine, and how fast answers are."""

from __future__ import annotations

import os
import resource
import shutil
from typing import Any

import msgspec
import trio
from prometheus_client import CollectorRegistry

from ..declare import Route
from ..http import Request
from ..metrics import quantile
from .envelope import Envelope
from .sources import CoreSources
from .work import QueueInfo, queue_infos

_ACCEPTANCE = "wharfd_ingest_answer_seconds"
_RESPONSES = "wharfd_http_request_seconds"


class Times(msgspec.Struct, kw_only=True, rename="camel"):
    """How long something took since the start, in milliseconds; None before the first."""

    count: int
    mean_ms: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


class CacheName(msgspec.Struct, kw_only=True, rename="camel"):
    """What happened under one name of the cache."""

    name: str
    hit_rate: float | None
    hits: int
    misses: int


class CacheState(msgspec.Struct, kw_only=True, rename="camel"):
    """The cache as a whole, and by name."""

    redis: str
    hit_rate: float | None
    entries: int
    bytes: int
    names: list[CacheName]


class Machine(msgspec.Struct, kw_only=True, rename="camel"):
    """What the daemon and its machine use."""

    memory_bytes: int
    peak_memory_bytes: int
    cpu_seconds: float
    load_average: list[float]
    cpus: int
    disk_free_bytes: int
    disk_total_bytes: int
    open_files: int


class PerformanceStatus(msgspec.Struct, kw_only=True, rename="camel"):
    """Everything at a glance."""

    health: str
    ready: bool
    troubles: list[str]
    queues: list[QueueInfo]
    cache: CacheState
    alerts: list[Any]
    system: Machine
    ingest: dict[str, Any]
    acceptance_times: Times
    response_times: Times


async def show(ctx: CoreSources, request: Request) -> Envelope[PerformanceStatus]:
    """Show health, queues, caches, alerts, resources and times."""
    report = await ctx.health.report()
    registry = ctx.metrics.registry
    data = PerformanceStatus(
        health=report.status,
        ready=report.ready,
        troubles=report.troubles(),
        queues=await queue_infos(ctx),
        cache=_cache(ctx),
        alerts=list(await ctx.alerts()),
        system=await trio.to_thread.run_sync(_machine, str(ctx.state_dir)),
        ingest=dict(ctx.ingest()),
        acceptance_times=times_of(registry, _ACCEPTANCE),
        response_times=times_of(registry, _RESPONSES),
    )
    return Envelope(data=data, timestamp=ctx.clock.now())


def _cache(ctx: CoreSources) -> CacheState:
    found = ctx.cache.statistics()
    names = [
        CacheName(
            name=name,
            hit_rate=one.hit_rate,
            hits=one.local_hits + one.redis_hits + one.coalesced,
            misses=one.misses,
        )
        for name, one in sorted(found.names.items())
    ]
    return CacheState(
        redis=found.redis, hit_rate=found.hit_rate, entries=found.entries, bytes=found.bytes, names=names
    )


def _machine(folder: str) -> Machine:
    disk = shutil.disk_usage(folder)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    with open("/proc/self/statm", encoding="ascii") as statm:
        pages = int(statm.read().split()[1])
    return Machine(
        memory_bytes=pages * os.sysconf("SC_PAGE_SIZE"),
        peak_memory_bytes=usage.ru_maxrss * 1024,
        cpu_seconds=round(usage.ru_utime + usage.ru_stime, 2),
        load_average=[round(load, 2) for load in os.getloadavg()],
        cpus=len(os.sched_getaffinity(0)),
        disk_free_bytes=disk.free,
        disk_total_bytes=disk.total,
        open_files=len(os.listdir("/proc/self/fd")),
    )


def times_of(registry: CollectorRegistry, name: str) -> Times:
    """The times in a histogram, over all its labels."""
    buckets: dict[float, float] = {}
    total = 0.0
    for family in registry.collect():
        if family.name != name:
            continue
        for sample in family.samples:
            if sample.name.endswith("_bucket"):
                bound = float(sample.labels["le"])
                buckets[bound] = buckets.get(bound, 0.0) + sample.value
            elif sample.name.endswith("_sum"):
                total += sample.value
    count = int(max(buckets.values(), default=0))
    if count == 0:
        return Times(count=0, mean_ms=None, p50_ms=None, p95_ms=None, p99_ms=None)
    p50, p95, p99 = (round((quantile(buckets, share) or 0.0) * 1000, 3) for share in (0.50, 0.95, 0.99))
    return Times(count=count, mean_ms=round(total / count * 1000, 3), p50_ms=p50, p95_ms=p95, p99_ms=p99)


ROUTES = [
    Route(
        method="GET",
        path="/api/performance/status",
        handler=show,
        scope="system:read",
        returns=Envelope[PerformanceStatus],
    )
]
