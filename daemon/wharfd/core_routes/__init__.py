"""The core's own endpoints: database, performance, plugins, schedules, work queues, status."""

from __future__ import annotations

from dataclasses import replace

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
    """Return the routes of the provider `core`; their handlers get `sources` as context.

    What they show and change is the whole daemon's: a caller that sees one owner's rows finds none of them.
    """
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
    of_the_house = (replace(route, house=route.scope is not None) for route in routes)
    return [BoundRoute(route, "core", lambda: sources) for route in of_the_house]
