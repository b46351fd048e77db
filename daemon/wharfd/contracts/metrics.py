"""Metrics that leave the house, for sinks, and those that services sent here, for who judges them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Protocol

from .services import ServiceKey


@dataclass(frozen=True)
class MetricPoint:
    """One value of one series of this daemon. A counter's value is what it has counted since `since`."""

    name: str
    kind: Literal["counter", "gauge"]
    unit: str
    labels: Mapping[str, str]
    value: float
    at: datetime
    since: datetime


class MetricSink(Protocol):
    """Takes a daemon's metrics somewhere; returned from the hook `register_metric_sinks`."""

    @property
    def name(self) -> str:
        """What logs and metrics call it."""
        ...

    async def push(self, points: Sequence[MetricPoint]) -> None:
        """Send the points; what it raises is logged and counted, and the next minute brings newer ones."""
        ...


Figure = Literal["last", "avg", "min", "max", "sum", "count", "p50", "p95", "p99"]


class RecentPoints(Protocol):
    """The points that services sent, summed up."""

    async def figures(
        self, service: str, metric: str, labels: Mapping[str, str], over: timedelta, *, each: bool
    ) -> dict[str, dict[Figure, float]] | None:
        """Return what the points of the last `over` come to: of all together, under "", or of each series.

        `labels` are shell patterns that a series must match. Of no points there is only a `count` of all
        together, 0. None says that there never was such a metric.
        """
        ...


RECENT_POINTS: ServiceKey[RecentPoints] = ServiceKey("recent_points")
