"""`GET /api/v1/webhook-sources`: what is configured, and when each source was last heard of."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from wharfd import Database, PluginContext, Record, Request, sql

from ..acceptance.gates import Intake
from ..config import Settings
from ..keys import store
from ..schemes import Key

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
    stored = await store.list_keys(ctx.db.read, request.owner, None)
    now = ctx.now()
    found = []
    for name, source in sorted(ctx.settings.sources.items()):
        if request.owner not in (None, source.owner):
            continue
        typed = source.typed_keys()
        found.append(
            {
                "name": name,
                "scheme": source.scheme,
                "paths": list(source.paths),
                "companyId": source.owner,
                "keys": [key.id for key in typed],
                "storedKeys": [key.id for key in intake.stored_keys.get(name, [])],
                "takesStoredKeys": source.stored_keys,
                "keyStates": [
                    *(_show_stored(row, now) for row in stored if row["source"] == name),
                    *(_show_typed(key, now) for key in typed),
                ],
                "remarks": source.key_remarks(),
                "lastEventAt": await last_seen(ctx.db.read, name),
                "lastRefusals": list(intake.refusals.recent.get(name, ()))[:5],
            }
        )
    return {
        "sources": found,
        "signatureValidation": ctx.settings.signature_validation,
        "timestamp": now,
    }


def _show_stored(row: Record, now: datetime) -> dict[str, Any]:
    return {
        "id": row["id"],
        "name": row["name"],
        "stored": True,
        "version": row["version"],
        "state": _state(row["active"], row["valid_from"], row["valid_until"], now),
        "validFrom": row["valid_from"],
        "validUntil": row["valid_until"],
        "lastUsedAt": row["last_used_at"],
        "usageCount": row["use_count"],
    }


def _show_typed(key: Key, now: datetime) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": None,
        "stored": False,
        "version": None,
        "state": _state(True, key.valid_from, key.valid_until, now),
        "validFrom": key.valid_from,
        "validUntil": key.valid_until,
        "lastUsedAt": None,
        "usageCount": None,
    }


def _state(active: bool, begins: datetime | None, ends: datetime | None, now: datetime) -> str:
    """Say whether a key counts: active, waiting for its time, ended, or off."""
    if not active:
        return "off"
    if ends is not None and ends <= now:
        return "ended"
    return "waiting" if begins is not None and begins > now else "active"
