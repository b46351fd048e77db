"""The API of the plugin: every route, in the order of the README."""

from __future__ import annotations

from wharfd import Route

from ..config import Settings
from . import catalogue, deliveries, endpoints, events, lineage, recoveries, secrets, switching


def routes(settings: Settings) -> list[Route]:
    """Return all routes."""
    return [
        *endpoints.routes(settings),
        *switching.routes(settings),
        *secrets.routes(settings),
        *deliveries.routes(settings),
        *recoveries.routes(settings),
        *events.routes(settings),
        *lineage.routes(settings),
        *catalogue.routes(settings),
    ]
