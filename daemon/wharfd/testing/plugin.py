"""The pytest plugin: fixtures for wharfd's own suite and for plugin authors."""

from __future__ import annotations

from .certificates import authority
from .database import bridge, database_settings, database_templates, db, migrations
from .postgres import postgres
from .receiver import receiver
from .redis import redis_namespace, redis_server, redis_url
from .running import daemon

__all__ = [
    "authority",
    "bridge",
    "daemon",
    "database_settings",
    "database_templates",
    "db",
    "migrations",
    "postgres",
    "receiver",
    "redis_namespace",
    "redis_server",
    "redis_url",
]
