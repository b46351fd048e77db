"""`GET /api/v1/webhook-sources`: what is configured, and when each source was last heard of."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from wharfd import Database, PluginContext, Request, sql

from ..acceptance.gates import Intake
from ..config import Settings

Context = PluginContext[Settings]

# Goes from one name of the source to the next in the index and takes the last id of each.
LAST_SEEN = sql(
    "find_last_event_of_source",
    """WITH RECURSIVE names (name) AS (
  (SELECT e.name FROM netbanx.events e WHERE e.source = $1 ORDER BY e.name LIMIT 1)
  UNION ALL
  SELECT (SELECT e.name FROM netbanx.events e WHERE e.source = $1 AND e.name > names.name
          ORDER BY e.name LIMIT 1)
  FROM names WHERE names.name IS NOT NULL
)
SELECT max(last.received_at) FROM names CROSS JOIN LATERAL (
  SELECT e.received_at FROM netbanx.events e WHERE e.source = $1 AND e.name = names.name
  ORDER BY e.id DESC LIMIT 1) last
WHERE names.name IS NOT NULL""",
)


async def last_seen(database: Database, source: str) -> datetime | None:
    """Return when a source last delivered an event that was new."""
    found: datetime | None = await database.fetchval(LAST_SEEN, source)
    return found


async def list_sources(ctx: Context, request: Request) -> dict[str, Any]:
    """List the caller's sources."""
    intake: Intake = ctx.state["intake"]
    found = []
    for name, source in sorted(ctx.settings.sources.items()):
        if request.owner not in (None, source.owner):
            continue
        found.append(
            {
                "name": name,
                "scheme": source.scheme,
                "paths": list(source.paths),
                "companyId": source.owner,
                "keys": [key.id for key in source.typed_keys()],
                "storedKeys": [key.id for key in intake.stored_keys.get(name, [])],
                "remarks": source.key_remarks(),
                "lastEventAt": await last_seen(ctx.db.read, name),
                "lastRefusals": list(intake.refusals.recent.get(name, ()))[:5],
            }
        )
    return {
        "sources": found,
        "signatureValidation": ctx.settings.signature_validation,
        "timestamp": ctx.now(),
    }
