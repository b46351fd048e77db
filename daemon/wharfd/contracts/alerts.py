"""Alerts as events: what the alerts plugin publishes when something fires and when it is over."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from .events import Event


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
