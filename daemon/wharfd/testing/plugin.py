"""The pytest plugin: fixtures for wharfd's own suite and for plugin authors."""

from __future__ import annotations

from .database import bridge, database_settings, database_templates, db, migrations
from .postgres import postgres

__all__ = [
    "bridge",
    "database_settings",
    "database_templates",
    "db",
    "migrations",
    "postgres",
]
