"""The core's own endpoints: database, performance, plugins, schedules, work queues, status."""

from __future__ import annotations

from ..http import BoundRoute
from . import (
    audit,
    bench,
    database,
    doctor,
    migrations,
    performance,
    plugins,
    schedules,
    secrets,
    status,
    work,
)
from .sources import CoreSources

__all__ = ["CoreSources", "core_routes"]


def core_routes(sources: CoreSources) -> list[BoundRoute]:
    """Return the routes of the provider `core`; their handlers get `sources` as context."""
    routes = [
        *migrations.ROUTES,
        *database.ROUTES,
        *bench.ROUTES,
        *performance.ROUTES,
        *plugins.ROUTES,
        *schedules.ROUTES,
        *work.ROUTES,
        *status.ROUTES,
        *doctor.ROUTES,
        *audit.ROUTES,
        *secrets.ROUTES,
    ]
    return [BoundRoute(route, "core", lambda: sources) for route in routes]
