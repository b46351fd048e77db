"""The pytest plugin: fixtures for wharfd's own suite and for plugin authors."""

from __future__ import annotations

import structlog

from .certificates import authority
from .clock import clock
from .contexts import plugin_context
from .database import bridge, database_settings, database_templates, db, migrations
from .postgres import postgres
from .receiver import receiver
from .redis import redis_namespace, redis_server, redis_url
from .running import daemon


def pytest_configure() -> None:
    """Log as plain text: the default shows local variables, slowly, and secrets may be among them."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.StackInfoRenderer(),
            structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
        ]
    )


__all__ = [
    "authority",
    "bridge",
    "clock",
    "daemon",
    "database_settings",
    "database_templates",
    "db",
    "migrations",
    "plugin_context",
    "postgres",
    "receiver",
    "redis_namespace",
    "redis_server",
    "redis_url",
]
