"""HTTP: the paths and shapes that older callers know, and the newer ones under /api/v1."""

from __future__ import annotations

from wharfd import Route

from . import buyers, mints, tables, wires

ROUTES: list[Route] = [*buyers.ROUTES, *wires.ROUTES, *mints.ROUTES, *tables.ROUTES]
