"""What a plugin shows of itself: health checks, metrics and alert rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .checks import NAME, Handler, check


@dataclass(frozen=True, kw_only=True)
class HealthCheck:
    """`async def check(ctx) -> Health`. A critical check that is down makes the daemon not ready."""

    name: str
    check: Handler
    timeout_seconds: float = 2.0
    critical: bool = False

    def __post_init__(self) -> None:
        check(bool(NAME.match(self.name)), self, f"name {self.name!r} must be snake_case")


@dataclass(frozen=True)
class Health:
    """What a health check found."""

    state: Literal["ok", "degraded", "down"]
    reason: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Metric:
    """A Prometheus metric; the core puts `wharfd_<plugin>_` in front of the name. Base units only."""

    kind: Literal["counter", "gauge", "histogram"]
    name: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        check(bool(NAME.match(self.name)), self, f"name {self.name!r} must be snake_case")
        check(
            self.kind != "counter" or self.name.endswith("_total"),
            self,
            f"counter {self.name} must end in _total",
        )


@dataclass(frozen=True, kw_only=True)
class AlertRule:
    """Something an operator should be told. `async def check(ctx) -> list[Finding]`; empty means well.

    It fires after `for_seconds` of finding the same thing, and resolves by itself.
    """

    name: str
    summary: str
    check: Handler
    severity: Literal["info", "warning", "critical"] = "warning"
    every_seconds: float = 60.0
    for_seconds: float = 0.0
    runbook: str = ""

    def __post_init__(self) -> None:
        check(bool(NAME.match(self.name)), self, f"name {self.name!r} must be snake_case")


@dataclass(frozen=True)
class Finding:
    """One thing an alert rule found wrong. `key` tells findings of one rule apart."""

    message: str
    key: str = ""
    value: float | None = None
