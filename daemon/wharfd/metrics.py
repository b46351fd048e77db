"""Prometheus metrics: one registry per daemon, named metrics per plugin, the gauges of the process.

What is served at `/metrics` is this registry as text. Names are `wharfd_<plugin>_<what>_<unit>`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import trio
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

CONTENT_TYPE = CONTENT_TYPE_LATEST


class MetricDeclaration(Protocol):
    """What is needed of a `wharfd.declare.Metric`."""

    @property
    def kind(self) -> str:
        """counter, gauge or histogram."""
        ...

    @property
    def name(self) -> str:
        """The name without prefix."""
        ...

    @property
    def help(self) -> str:
        """One sentence."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """The label names."""
        ...

    @property
    def buckets(self) -> tuple[float, ...]:
        """The upper bounds of a histogram; empty for the usual ones."""
        ...


@dataclass(frozen=True)
class Sample:
    """One line of `/metrics`. `kind` is that of its metric: counter, gauge, histogram, info …"""

    name: str
    kind: str
    labels: Mapping[str, str]
    value: float


class PluginMetrics(Mapping[str, Any]):
    """A plugin's metrics by the names it declared: `ctx.metrics["accepted_total"].labels("netbanx").inc()`.

    The values are prometheus_client's Counter, Gauge and Histogram.
    """

    def __init__(
        self, plugin: str, metrics: Mapping[str, Any], registry: CollectorRegistry | None = None
    ) -> None:
        self._plugin = plugin
        self._metrics = dict(metrics)
        self._registry = registry

    def samples(self) -> Iterator[Sample]:
        """Yield everything this daemon's `/metrics` shows now, of all plugins and the core."""
        for family in self._registry.collect() if self._registry is not None else ():
            for sample in family.samples:
                yield Sample(sample.name, family.type, sample.labels, sample.value)

    def __getitem__(self, name: str) -> Any:
        try:
            return self._metrics[name]
        except KeyError:
            known = ", ".join(sorted(self._metrics)) or "none"
            raise KeyError(f"{self._plugin} declares no metric {name!r}; it declares {known}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._metrics)

    def __len__(self) -> int:
        return len(self._metrics)


class Metrics:
    """All metrics of one daemon. Two daemons in one process (tests) do not see each other's."""

    def __init__(self, *, process: bool = True) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        self._plugins: dict[str, PluginMetrics] = {}
        if process:
            ProcessCollector(registry=self.registry)
            PlatformCollector(registry=self.registry)
            GCCollector(registry=self.registry)

    def for_plugin(self, plugin: str, declared: Sequence[MetricDeclaration] = ()) -> PluginMetrics:
        """Make the metrics a plugin declared, prefixed with its name; the same ones when asked again.

        Raises `ValueError`, naming the metric, when two declarations give the same full name.
        """
        if plugin not in self._plugins:
            made = {one.name: self._make(plugin, one) for one in declared}
            self._plugins[plugin] = PluginMetrics(plugin, made, self.registry)
        return self._plugins[plugin]

    def expose(self) -> bytes:
        """Everything in the Prometheus text format."""
        text: bytes = generate_latest(self.registry)
        return text

    def _make(self, plugin: str, declared: MetricDeclaration) -> Any:
        name = f"wharfd_{plugin}_{declared.name}"
        arguments: dict[str, Any] = {"labelnames": declared.labels, "registry": self.registry}
        try:
            if declared.kind == "counter":
                return Counter(name, declared.help, **arguments)
            if declared.kind == "gauge":
                return Gauge(name, declared.help, **arguments)
            if declared.buckets:
                arguments["buckets"] = declared.buckets
            return Histogram(name, declared.help, **arguments)
        except ValueError as error:
            raise ValueError(f"{plugin}: the metric {declared.name} cannot be made: {error}") from error


class LoopGauges:
    """How the event loop is doing: its lag and its tasks."""

    def __init__(self, metrics: Metrics, *, every_seconds: float = 1.0) -> None:
        registry = metrics.registry
        self._every = every_seconds
        self.lag = Gauge("wharfd_loop_lag_seconds", "How late the last timer fired.", registry=registry)
        self.worst = Gauge(
            "wharfd_loop_lag_worst_seconds", "The latest timer of the last minute.", registry=registry
        )
        self.tasks = Gauge("wharfd_loop_tasks", "Tasks alive in the event loop.", registry=registry)
        self.runnable = Gauge(
            "wharfd_loop_tasks_runnable", "Tasks waiting for their turn.", registry=registry
        )
        self._recent: list[float] = []

    async def watch(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Measure for ever."""
        task_status.started()
        per_minute = max(1, int(60 / self._every))
        while True:
            due = trio.current_time() + self._every
            await trio.sleep_until(due)
            lag = max(0.0, trio.current_time() - due)
            self._recent = [*self._recent[-per_minute + 1 :], lag]
            self.lag.set(lag)
            self.worst.set(max(self._recent))
            statistics = trio.lowlevel.current_statistics()
            self.tasks.set(statistics.tasks_living)
            self.runnable.set(statistics.tasks_runnable)


def quantile(buckets: Mapping[float, float], share: float) -> float | None:
    """Return the value below which this share of a histogram lies, evened out inside its bucket.

    `buckets` are cumulative counts by upper bound; in the open last bucket its lower bound is returned, and
    None when nothing was counted.
    """
    bounds = sorted(buckets)
    if not bounds or buckets[bounds[-1]] <= 0:
        return None
    wanted = share * buckets[bounds[-1]]
    lower, below = 0.0, 0.0
    for bound in bounds:
        if buckets[bound] >= wanted and buckets[bound] > below:
            if bound == float("inf"):
                return lower
            return lower + (bound - lower) * (wanted - below) / (buckets[bound] - below)
        lower, below = bound, buckets[bound]
    return lower
