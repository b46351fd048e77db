"""The SQL behind the lists people see: alerts by page, silences."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from wharfd import Database, Record, Transaction, new_id, sql

_ALERT = """id, plugin, rule, key, status, severity, summary, message, value, runbook, started_at, fired_at,
  last_found_at, clear_since, resolved_at, notified_at, acknowledged_at, acknowledged_by, note"""

OPEN = sql(
    "list_open",
    f"""SELECT {_ALERT} FROM alerts.alerts
    WHERE status <> 'resolved' AND (status = 'firing' OR $1)
    ORDER BY array_position(ARRAY['critical', 'warning', 'info'], severity), started_at DESC, id DESC
    LIMIT 1000""",
)
HISTORY = sql(
    "list_history",
    f"""SELECT {_ALERT} FROM alerts.alerts
    WHERE (started_at, id) < (coalesce($1, 'infinity'::timestamptz), coalesce($2, ''))
    ORDER BY started_at DESC, id DESC LIMIT $3""",
)
HISTORY_OF_RULE = sql(
    "list_history_of_rule",
    f"""SELECT {_ALERT} FROM alerts.alerts WHERE plugin = $4 AND rule = $5
    AND (started_at, id) < (coalesce($1, 'infinity'::timestamptz), coalesce($2, ''))
    ORDER BY started_at DESC, id DESC LIMIT $3""",
)
SILENCES = sql(
    "list_silences",
    """SELECT id, plugin, rule, key, reason, starts_at, ends_at, created_by, ended_by,
      starts_at <= now() AND ends_at > now() AS active
    FROM alerts.silences ORDER BY ends_at DESC, id DESC LIMIT 500""",
)
ADD_SILENCE = sql(
    "add_silence",
    """INSERT INTO alerts.silences (id, plugin, rule, key, reason, starts_at, ends_at, created_by)
    VALUES ($1, $2, $3, $4, $5, now(), now() + make_interval(secs => $6), $7)
    RETURNING id, plugin, rule, key, reason, starts_at, ends_at, created_by, ended_by, true AS active""",
)
END_SILENCE = sql(
    "end_silence",
    """UPDATE alerts.silences SET ended_by = $2,
      ends_at = greatest(now(), starts_at + interval '1 microsecond')
    WHERE id = $1 AND ends_at > now() RETURNING id""",
)


async def open_alerts(db: Database, *, pending: bool) -> list[Record]:
    """Return what fires, the worst first; with `pending` also what may fire soon."""
    return await db.fetch(OPEN, pending)


async def history(
    db: Database, before: tuple[datetime, str] | None, limit: int, rule: tuple[str, str] | None
) -> list[Record]:
    """Return alerts, the newest first, from after `before`; of one rule (plugin, name) or of all."""
    at, alert_id = before or (None, None)
    if rule is not None:
        return await db.fetch(HISTORY_OF_RULE, at, alert_id, limit, *rule)
    return await db.fetch(HISTORY, at, alert_id, limit)


async def silences(db: Database) -> list[Record]:
    """Return the silences, those that hold longest first."""
    return await db.fetch(SILENCES)


async def add_silence(
    tx: Transaction, plugin: str, rule: str, key: str, reason: str, seconds: float, actor: str
) -> dict[str, Any]:
    """Keep what matches quiet from now on for some seconds."""
    row = await tx.fetchrow(ADD_SILENCE, new_id("sil"), plugin, rule, key, reason, seconds, actor)
    assert row is not None
    return dict(row)


async def end_silence(tx: Transaction, silence_id: str, actor: str) -> bool:
    """End a silence now; False when there is none that holds."""
    return await tx.fetchval(END_SILENCE, silence_id, actor) is not None
