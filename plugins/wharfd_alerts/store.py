"""The SQL of alerts: rules, open alerts and their steps, notices, what daemons see of themselves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from wharfd import Database, Finding, Record, Transaction, new_id, sql

from .model import Open, Silence, Step

_ALERT = """id, plugin, rule, key, status, severity, summary, message, value, runbook, started_at, fired_at,
  last_found_at, clear_since, resolved_at, notified_at, acknowledged_at, acknowledged_by, note"""

NOW = sql("now", "SELECT now()")
DECLARE = sql(
    "declare_rules",
    """INSERT INTO alerts.rules (name, plugin, rule) SELECT p || '.' || r, p, r
    FROM unnest($1::text[], $2::text[]) AS t (p, r) ORDER BY 1
    ON CONFLICT (name) DO UPDATE SET declared_at = now(),
      state = CASE WHEN rules.state IN ('ready', 'running') THEN rules.state ELSE 'ready' END""",
)
GONE = sql(
    "gone_rules",
    """DELETE FROM alerts.rules WHERE declared_at < now() - interval '1 day' AND state <> 'running'
    RETURNING plugin, rule""",
)
ORPHANED = sql(
    "orphaned_alerts",
    """SELECT a.id FROM alerts.alerts a WHERE a.status <> 'resolved'
    AND NOT EXISTS (SELECT FROM alerts.rules r WHERE r.name = CASE
      WHEN a.plugin = 'alerts' AND a.rule = 'cannot_evaluate' THEN a.key ELSE a.plugin || '.' || a.rule END)
    LIMIT 1000""",
)
EVALUATED = sql(
    "evaluated_rule",
    "UPDATE alerts.rules SET evaluated_at = now(), problem = $2, findings = $3, seconds = $4 WHERE name = $1",
)
RULES = sql(
    "list_rules",
    """SELECT name, plugin, rule, evaluated_at, problem, findings, seconds, due_at AS next_at
    FROM alerts.rules ORDER BY name""",
)
LATE = sql(
    "late_rules",
    """SELECT count(*) FILTER (WHERE due_at < now() - make_interval(secs => $1)
                              OR (state = 'running' AND lease_until < now()))
    FROM alerts.rules WHERE state IN ('ready', 'running')""",
)
OPEN = sql(
    "open_alerts",
    f"""SELECT {_ALERT} FROM alerts.alerts
    WHERE plugin = $1 AND rule = $2 AND status <> 'resolved' ORDER BY key FOR UPDATE""",
)
FIRING_KEYS = sql(
    "firing_keys",
    "SELECT key FROM alerts.alerts WHERE plugin = $1 AND rule = $2 AND status = 'firing'",
)
BEGIN = sql(
    "begin_alert",
    f"""INSERT INTO alerts.alerts (id, plugin, rule, key, status, severity, summary, message, value, runbook,
      started_at, last_found_at)
    VALUES ($1, $2, $3, $4, 'pending', $5, $6, $7, $8, $9, now(), now()) RETURNING {_ALERT}""",
)
STAY = sql(
    "stay_alert",
    """UPDATE alerts.alerts SET message = $2, value = $3, last_found_at = now(), clear_since = NULL
    WHERE id = $1""",
)
FIRE = sql("fire_alert", "UPDATE alerts.alerts SET status = 'firing', fired_at = now() WHERE id = $1")
CLEARING = sql("clear_alert", "UPDATE alerts.alerts SET clear_since = now() WHERE id = $1")
FORGET = sql("forget_alert", "DELETE FROM alerts.alerts WHERE id = $1")
RESOLVE = sql(
    "resolve_alert", "UPDATE alerts.alerts SET status = 'resolved', resolved_at = now() WHERE id = $1"
)
NOTIFIED = sql("notified_alert", "UPDATE alerts.alerts SET notified_at = now() WHERE id = $1")
LOCK = sql("lock_alert", f"SELECT {_ALERT} FROM alerts.alerts WHERE id = $1 FOR UPDATE")
READ = sql("read_alert", f"SELECT {_ALERT} FROM alerts.alerts WHERE id = $1")
ACKNOWLEDGE = sql(
    "acknowledge_alert",
    """UPDATE alerts.alerts SET acknowledged_at = now(), acknowledged_by = $2, note = $3 WHERE id = $1""",
)
TRANSITION = sql(
    "add_transition",
    "INSERT INTO alerts.transitions (alert_id, what, actor, note) VALUES ($1, $2, $3, $4)",
)
TRANSITIONS = sql(
    "list_transitions",
    "SELECT at, what, actor, note FROM alerts.transitions WHERE alert_id = $1 ORDER BY id LIMIT 500",
)
NOTICE = sql("add_notice", "INSERT INTO alerts.notices (id, alert_id, channel, kind) VALUES ($1, $2, $3, $4)")
COUNTS = sql(
    "count_firing",
    "SELECT severity, count(*) FROM alerts.alerts WHERE status = 'firing' GROUP BY severity",
)
REPORT = sql(
    "report_node",
    """INSERT INTO alerts.nodes (node, readings) VALUES ($1, $2)
    ON CONFLICT (node) DO UPDATE SET at = now(), readings = excluded.readings""",
)
NODES = sql(
    "read_nodes",
    """SELECT node, readings, extract(epoch FROM now() - at)::float8 AS age_seconds
    FROM alerts.nodes WHERE at > now() - interval '1 hour' ORDER BY node""",
)
LEAVE = sql(
    "leave_node",
    "DELETE FROM alerts.nodes WHERE node = $1 OR at <= now() - interval '1 hour' RETURNING node",
)
ACTIVE_SILENCES = sql(
    "active_silences",
    "SELECT id, plugin, rule, key FROM alerts.silences WHERE ends_at > now() AND starts_at <= now()",
)


async def declare(db: Database, rules: Sequence[tuple[str, str]]) -> None:
    """Make sure every rule (plugin, name) is evaluated by and by; renew those there are."""
    await db.execute(DECLARE, [plugin for plugin, _ in rules], [name for _, name in rules])


async def open_alerts(tx: Transaction, plugin: str, rule: str) -> dict[str, Record]:
    """Return a rule's alerts that are not resolved, by key, locked."""
    return {row["key"]: row for row in await tx.fetch(OPEN, plugin, rule)}


def as_open(row: Record | None) -> Open | None:
    """Return what the model needs of an alert."""
    if row is None:
        return None
    return Open(row["id"], row["key"], row["status"], row["started_at"], row["clear_since"])


async def begin(
    tx: Transaction, plugin: str, rule: str, severity: str, summary: str, runbook: str, finding: Finding
) -> Record:
    """Write down a new alert, pending."""
    row = await tx.fetchrow(
        BEGIN, new_id("alr"), plugin, rule, finding.key, severity, summary, finding.message, finding.value,
        runbook,
    )  # fmt: skip
    assert row is not None
    return row


async def stay(tx: Transaction, alert_id: str, finding: Finding) -> None:
    """Renew what is known of an alert that goes on."""
    await tx.execute(STAY, alert_id, finding.message, finding.value)


_MOVES = {
    Step.FIRE: (FIRE, "fired"),
    Step.CLEARING: (CLEARING, None),
    Step.FORGET: (FORGET, None),
    Step.RESOLVE: (RESOLVE, "resolved"),
}


async def move(tx: Transaction, alert_id: str, step: Step, actor: str, note: str | None = None) -> None:
    """Take a step and write it into the alert's history."""
    statement, what = _MOVES[step]
    await tx.execute(statement, alert_id)
    if what is not None:
        await tx.execute(TRANSITION, alert_id, what, actor, note)


async def read(db: Database | Transaction, alert_id: str, *, lock: bool = False) -> Record | None:
    """Return one alert, or None."""
    return await db.fetchrow(LOCK if lock else READ, alert_id)


async def acknowledge(tx: Transaction, alert_id: str, actor: str, note: str | None) -> None:
    """Mark an alert as seen by somebody."""
    await tx.execute(ACKNOWLEDGE, alert_id, actor, note)
    await tx.execute(TRANSITION, alert_id, "acknowledged", actor, note)


async def notify(tx: Transaction, alert_id: str, channels: Iterable[str], kind: str) -> None:
    """Leave a notice for each channel and remember that the alert was told of."""
    await tx.execute(NOTIFIED, alert_id)
    for channel in channels:
        await tx.execute(NOTICE, new_id("ntc"), alert_id, channel, kind)


async def silences(db: Database | Transaction) -> list[Silence]:
    """Return the silences that hold now."""
    return [Silence(**dict(row)) for row in await db.fetch(ACTIVE_SILENCES)]


async def firing_keys(db: Database, plugin: str, rule: str) -> set[str]:
    """Return the keys under which a rule fires."""
    return {row["key"] for row in await db.fetch(FIRING_KEYS, plugin, rule)}


async def nodes(db: Database) -> list[Record]:
    """Return what the daemons of the last hour saw of themselves, and how long ago."""
    return await db.fetch(NODES)


async def now(db: Database | Transaction) -> datetime:
    """Return the database's time."""
    at: datetime = await db.fetchval(NOW)
    return at


def shown(row: Record) -> dict[str, Any]:
    """Return an alert as answers show it."""
    return dict(row)
