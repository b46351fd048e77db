"""How the daemon watches itself: its own health checks, the loop, systemd's watchdog, ingest's metrics."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import structlog
import trio
from prometheus_client import Counter, Gauge, Histogram

from .db import sql
from .declare import Health, HealthCheck
from .health import BoundCheck, HealthBoard
from .ingest import Keeper, Observer
from .life import PluginLives
from .machinery import Machinery
from .metrics import LoopGauges, Metrics
from .registry import Registry
from .stalls import StallWatch
from .supervisor import Supervisor
from .systemd import Notifier, watchdog_seconds
from .watchdog import Watchdog

_PING = sql("health.ping", "SELECT pg_is_in_recovery()")
_LATENCY_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_COMMIT_BUCKETS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000)


def open_health(lives: PluginLives, supervisor: Supervisor, keeper: Keeper | None) -> HealthBoard:
    """Return the board of all checks: the core's own and every plugin's."""
    machinery = lives.machinery

    async def database(core: Machinery) -> Health:
        if await core.db.fetchval(_PING):
            return Health(
                "down", "PostgreSQL is a standby that takes no writes; point the url at the primary"
            )
        return Health("ok")

    async def cache(core: Machinery) -> Health:
        if core.redis is None:
            return Health("ok", "no Redis is configured; the in-process cache stands alone")
        found = await core.redis.health()
        return Health("ok" if found.state == "ok" else "degraded", found.detail)

    async def spool(core: Machinery) -> Health:
        if keeper is None:
            return Health("ok", "the spool is switched off")
        waiting = sum(one.records for one in keeper.spools.statistics())
        if waiting or keeper.outage:
            return Health("degraded", f"{waiting} accepted webhooks wait on disk for PostgreSQL")
        return Health("ok")

    own = (
        HealthCheck(name="database", check=database, critical=True),
        HealthCheck(name="cache", check=cache),
        HealthCheck(name="spool", check=spool),
    )
    return HealthBoard(
        [*(BoundCheck(check, "core", lambda: machinery) for check in own), *lives.bound_checks()],
        plugin_states=lambda: {
            status.name: (str(status.state), status.last_error or "") for status in supervisor.statuses()
        },
        log=structlog.get_logger("wharfd.health"),
    )


async def watch_process(
    machinery: Machinery,
    registry: Registry,
    notifier: Notifier,
    environ: MutableMapping[str, str],
    task_status: trio.TaskStatus[Watchdog] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Measure the event loop, name the plugin that blocks it, and ping systemd while all is well."""
    stalled = Counter(
        "wharfd_loop_stalls_total", "Times the event loop was blocked.", ["plugin"],
        registry=machinery.metrics.registry,
    )  # fmt: skip
    packages = {
        plugin.module.__name__.split(".")[0]: name
        for name, plugin in registry.host.plugins.items()
        if plugin.module is not None
    }
    stalls = StallWatch(
        plugin_of_module=lambda module: packages.get(module.split(".")[0]),
        on_stall=lambda stall: stalled.labels(stall.plugin or "core").inc(),
    )
    gauges = LoopGauges(machinery.metrics)
    watchdog = Watchdog(notifier, watchdog_seconds(environ), stalls)
    with stalls:
        async with trio.open_nursery() as nursery:
            await nursery.start(gauges.watch)
            await nursery.start(watchdog.run)
            task_status.started(watchdog)


class IngestMetrics(Observer):
    """What ingest does, as metrics."""

    def __init__(self, metrics: Metrics) -> None:
        made: dict[str, Any] = {"registry": metrics.registry}
        self._answers = Counter(
            "wharfd_ingest_answers_total", "Requests of providers answered.", ["source", "status"], **made
        )
        self._seconds = Histogram(
            "wharfd_ingest_answer_seconds", "From the last byte of a request to its answer.",
            buckets=_LATENCY_BUCKETS, **made,
        )  # fmt: skip
        self._malformed = Counter(
            "wharfd_ingest_malformed_total", "Requests refused for their form.", ["status"], **made
        )
        self._turned_away = Counter(
            "wharfd_ingest_turned_away_total", "Connections closed at once.", ["reason"], **made
        )
        self._rows = Histogram(
            "wharfd_ingest_commit_rows", "Webhooks in one commit.", buckets=_COMMIT_BUCKETS, **made
        )
        self._commit = Histogram(
            "wharfd_ingest_commit_seconds", "Time one group commit took.", buckets=_LATENCY_BUCKETS, **made
        )
        self._outage = Gauge("wharfd_ingest_outage", "1 while webhooks go to the spool.", **made)
        self._spooled = Counter(
            "wharfd_ingest_spooled_total",
            "Webhooks kept on disk while PostgreSQL was away.",
            ["source"],
            **made,
        )
        self._drained = Counter(
            "wharfd_ingest_drained_total", "Spooled webhooks that reached PostgreSQL.", ["source"], **made
        )
        self._quarantined = Counter(
            "wharfd_ingest_quarantined_total", "Spooled records set aside as unreadable.", ["source"], **made
        )

    def answered(self, source: str | None, status: int, seconds: float) -> None:
        """Count an answer and its time."""
        self._answers.labels(source or "unmatched", status).inc()
        self._seconds.observe(seconds)

    def malformed(self, status: int) -> None:
        """Count a request refused for its form."""
        self._malformed.labels(status).inc()

    def turned_away(self, reason: str) -> None:
        """Count a connection closed at once."""
        self._turned_away.labels(reason).inc()

    def committed(self, rows: int, seconds: float) -> None:
        """Count a group commit."""
        self._rows.observe(rows)
        self._commit.observe(seconds)

    def outage(self, active: bool) -> None:
        """Show whether the database is away."""
        self._outage.set(active)

    def spooled(self, source: str, rows: int, size: int) -> None:
        """Count what went to the spool."""
        self._spooled.labels(source).inc(rows)

    def drained(self, source: str, rows: int) -> None:
        """Count what came back from it."""
        self._drained.labels(source).inc(rows)

    def quarantined(self, source: str, reason: str) -> None:
        """Count what had to be set aside."""
        self._quarantined.labels(source).inc()
