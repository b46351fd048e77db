"""What a plugin can declare: frozen, typed, self-checking values, returned by the `register_*` hooks.

A declaration says *what* there is; the core decides how it is served, scheduled, worked, measured and
contained. Each class checks itself when it is made, so a wrong declaration fails at the line that wrote it.
"""

from __future__ import annotations

from .checks import Handler
from .endpoints import CacheFor, IngestRoute, Rate, Route
from .events import EventType, Subscription
from .monitoring import AlertRule, Finding, Health, HealthCheck, Metric
from .people import Command, ConsolePage
from .services import Provides, Requires
from .tables import Migrations, RetentionRule
from .work import JobKind, Retry, Schedule, WorkQueue

__all__ = [
    "AlertRule",
    "CacheFor",
    "Command",
    "ConsolePage",
    "EventType",
    "Finding",
    "Handler",
    "Health",
    "HealthCheck",
    "IngestRoute",
    "JobKind",
    "Metric",
    "Migrations",
    "Provides",
    "Rate",
    "Requires",
    "RetentionRule",
    "Retry",
    "Route",
    "Schedule",
    "Subscription",
    "WorkQueue",
]
