"""What is measured, and what an operator is told."""

from __future__ import annotations

from typing import Any

from wharfd import AlertRule, Finding, Metric, PluginContext, sql

from . import checking, store
from .config import Settings
from .nightly import policies_of

Context = PluginContext[Settings]

METRICS = [
    Metric("counter", "runs_total", "Runs that ended.", ("outcome",)),
    Metric("counter", "rows_total", "Rows that were archived or deleted.", ("action",)),
    Metric("gauge", "last_run_timestamp_seconds", "When a run last ended well."),
]
_LATE = sql(
    "retention_late",
    """SELECT coalesce(max(finished_at),
                       (SELECT min(applied_at) FROM wharfd.migrations WHERE plugin = 'retention'))
      < now() - interval '50 hours' FROM retention.runs WHERE state = 'done' AND NOT dry AND rule IS NULL""",
)
_STUCK = sql(
    "retention_stuck",
    """SELECT id, rule, error FROM retention.units
    WHERE state <> 'dropped' AND error IS NOT NULL ORDER BY id LIMIT 20""",
)
_ALERTS = {
    "retention_late": "Retention has not run for two days",
    "retention_failed": "A retention run failed or was stopped",
    "archive_stuck": "An archive cannot go on",
    "archive_missing": "An archive is gone or damaged in one of its places",
    "hold_ending": "A legal hold ends soon",
    "override_of_no_rule": "An override names no rule",
}


def alerts() -> list[AlertRule]:
    """Return what an operator is told of."""
    checks = {
        "retention_late": late,
        "retention_failed": failed,
        "archive_stuck": stuck,
        "archive_missing": missing,
        "hold_ending": ending,
        "override_of_no_rule": strangers,
    }
    return [
        AlertRule(
            name=name,
            summary=summary,
            check=checks[name],
            every_seconds=300,
            runbook=f"docs/runbooks/retention.md#{name.replace('_', '-')}",
        )
        for name, summary in _ALERTS.items()
    ]


async def late(ctx: Context) -> list[Finding]:
    """Say when no run ended well for two days."""
    is_late = await ctx.db.fetchval(_LATE)
    return [Finding("no run ended well for two days; wharfd retention run", "run")] if is_late else []


async def failed(ctx: Context) -> list[Finding]:
    """Say what went wrong in the newest run, and with a rule when it last ran; reports count for nothing."""
    ended = [run for run in await store.runs(ctx.db, 50) if run.state in ("done", "failed") and not run.dry]
    if ended and ended[0].state == "failed":
        return [Finding(f"{ended[0].id}: {ended[0].error}", "run")]
    newest: dict[str, dict[str, Any]] = {}
    for run in reversed(ended):
        newest.update(run.result)
    return [
        Finding(f"{policy.name}: {' · '.join(outcome['said'])}", policy.name)
        for policy in policies_of(ctx)[0]
        if (outcome := newest.get(policy.name)) and outcome["errors"]
    ]


async def stuck(ctx: Context) -> list[Finding]:
    """Say which units do not go on."""
    return [Finding(f"{row['rule']}: {row['error']}", row["id"]) for row in await ctx.db.fetch(_STUCK)]


async def missing(ctx: Context) -> list[Finding]:
    """Say which archives could not be read back in every place, nor mended."""
    return [Finding(f"{unit} of {words}", unit) for unit, words in await checking.trouble(ctx.db)]


async def ending(ctx: Context) -> list[Finding]:
    """Say which holds end within two weeks."""
    return [
        Finding(f"the hold {row['id']} on {row['source']} ends on {row['expires_at'].date()}", row["id"])
        for row in await ctx.db.fetch(store.ENDING)
    ]


async def strangers(ctx: Context) -> list[Finding]:
    """Say which overrides in the configuration fit no rule."""
    return [Finding(f'[plugins.retention.policies."{n}"] fits no rule', n) for n in policies_of(ctx)[1]]
