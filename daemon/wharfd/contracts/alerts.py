"""Alerts as events and as a service: what an alerts plugin publishes, and what fires at the moment."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, ClassVar

from .events import Event
from .services import ServiceKey

# What fires, the worst first, as the API shows it; `GET /api/performance/status` and the console ask for it.
FIRING: ServiceKey[Callable[[], Awaitable[Sequence[dict[str, Any]]]]] = ServiceKey("firing_alerts")


class AlertEvent(Event, frozen=True, kw_only=True):
    """One alert. `plugin`, `rule` and `key` together say what it is about; `subject` is the alert's id."""

    plugin: str
    rule: str
    key: str
    severity: str
    summary: str
    message: str
    value: float | None
    runbook: str
    started_at: datetime
    fired_at: datetime


class AlertFired(AlertEvent, frozen=True, kw_only=True):
    """Something has been wrong for long enough that somebody should know."""

    type: ClassVar[str] = "alert.fired"


class AlertResolved(AlertEvent, frozen=True, kw_only=True):
    """What an alert told of is over."""

    type: ClassVar[str] = "alert.resolved"
    resolved_at: datetime
