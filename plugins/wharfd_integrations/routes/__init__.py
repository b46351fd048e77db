"""The plugin's endpoints: keys, integrations, their credentials, and the usage log."""

from __future__ import annotations

from wharfd import Route

from . import credentials, integrations, keys, usage

ROUTES: tuple[Route, ...] = (*keys.ROUTES, *integrations.ROUTES, *credentials.ROUTES, *usage.ROUTES)
