"""Metrics that leave the house: what a sink is given every minute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol


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
