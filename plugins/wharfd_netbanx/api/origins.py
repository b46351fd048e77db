"""Stored events as origins, for whoever follows a trace back to the provider's webhook."""

from __future__ import annotations

from collections.abc import Sequence

from wharfd import PluginContext, sql
from wharfd.contracts.html import address
from wharfd.contracts.lineage import Origin

from ..config import Settings

EVENTS_PAGE = "/console/netbanx/events"

FIND = sql(
    "find_origins",
    """SELECT id, source, name, owner, received_at, state, trace_id FROM netbanx.events
WHERE id = ANY ($1::text[]) AND ($2::text IS NULL OR owner = $2) ORDER BY id""",
)


class StoredEvents:
    """Implements `wharfd.contracts.lineage.Origins`."""

    def __init__(self, ctx: PluginContext[Settings]) -> None:
        self._ctx = ctx

    async def find(self, ids: Sequence[str], owner: str | None) -> list[Origin]:
        """Return stored events by id."""
        rows = await self._ctx.db.read.fetch(FIND, list(ids), owner)
        return [Origin(**dict(row), page=address(EVENTS_PAGE, id=row["id"])) for row in rows]
