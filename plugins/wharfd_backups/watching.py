"""What is measured, and what an operator is told."""

from __future__ import annotations

from datetime import timedelta

from wharfd import AlertRule, Finding, Health, HealthCheck, Metric, PluginContext

from . import store, upkeep
from .config import Settings

Context = PluginContext[Settings]
_BACKUP_LATE = timedelta(hours=26)
_LOG_WAITS_SECONDS = 300.0

METRICS = [
    Metric(
        "counter", "runs_total", "Backups, verifications, drills and mounts that ended.", ("kind", "outcome")
    ),
    Metric("gauge", "last_success_timestamp_seconds", "When the last good one was.", ("kind",)),
    Metric("gauge", "duration_seconds", "How long the last one took.", ("kind",)),
    Metric("gauge", "size_bytes", "Size of the last backup, packed.", ("method",)),
    Metric("gauge", "drill_rto_seconds", "From nothing to a checked server, in the last good drill."),
    Metric("gauge", "drill_rpo_seconds", "What the last good drill would have lost."),
    Metric("gauge", "log_waiting_seconds", "Age of the oldest log file that is in no place."),
    Metric("gauge", "log_gaps", "Gaps in the archived log that kept backups need."),
    Metric("gauge", "log_receiving", "1 while the log is received as it is written."),
    Metric("gauge", "commits_wait", "1 while commits wait until the receiver has them."),
]


def show_log(ctx: Context) -> None:
    """Put the state of the receiver into the metrics."""
    receiver = upkeep.keeper_of(ctx).receiver
    if receiver is None:
        return
    ctx.metrics["log_waiting_seconds"].set(receiver.state.waiting_seconds())
    ctx.metrics["log_gaps"].set(len(receiver.state.gaps))
    ctx.metrics["log_receiving"].set(1 if receiver.state.receiving else 0)
    ctx.metrics["commits_wait"].set(1 if receiver.awaiting is not None and receiver.awaiting.now else 0)


def alerts(settings: Settings) -> list[AlertRule]:
    """Return what an operator is told of."""

    def rule(
        name: str, summary: str, check: object, severity: str = "critical", seconds: float = 0
    ) -> AlertRule:
        return AlertRule(
            name=name, summary=summary, check=check, severity=severity, for_seconds=seconds,  # type: ignore[arg-type]
            runbook=f"docs/runbooks/backups.md#{name.replace('_', '-')}",
        )  # fmt: skip

    return [
        rule("backup_late", "No good backup for 26 hours", late_backup),
        rule("backup_failed", "The last backup failed", failed_backup, "warning"),
        rule("drill_late", "No restore was tried successfully in time", late_drill),
        rule("log_waits", "The write-ahead log is not archived", waiting_log),
        rule("log_gap", "The archived log has a gap", gaps_in_log),
        rule("log_not_received", "The log is not received as it is written", not_receiving, "warning", 300),
        rule("key_only_here", "The key of the backups is only on this machine", key_only_here, "warning"),
    ]


async def late_backup(ctx: Context) -> list[Finding]:
    """Say when no backup ended well for too long."""
    return await _late(ctx, "backup", _BACKUP_LATE, "wharfd backup run takes one now")


async def late_drill(ctx: Context) -> list[Finding]:
    """Say when no drill ended well for too long."""
    return await _late(ctx, "drill", ctx.settings.drill_overdue, "wharfd backup drill tries one now")


async def _late(ctx: Context, kind: str, limit: timedelta, way_out: str) -> list[Finding]:
    good = await store.last_good(ctx.db, kind)
    since = await store.installed_at(ctx.db) if good is None else good["asked_at"]
    age = await store.now(ctx.db) - since
    if age <= limit:
        return []
    return [Finding(f"the last good {kind} is {age.total_seconds() / 3600:.0f} hours old; {way_out}", kind)]


async def failed_backup(ctx: Context) -> list[Finding]:
    """Say when the newest backup failed."""
    newest = await store.listed(ctx.db, kind="backup", before=None, limit=1)
    return [Finding(f"{run.id}: {run.error}", "backup") for run in newest if run.state == "failed"]


async def waiting_log(ctx: Context) -> list[Finding]:
    """Say when whole log files wait too long for a place."""
    receiver = upkeep.keeper_of(ctx).receiver
    if receiver is None or (age := receiver.state.waiting_seconds()) < _LOG_WAITS_SECONDS:
        return []
    state = receiver.state
    return [
        Finding(f"{state.waiting} log files wait, the oldest for {age:.0f} s: {state.reason}", "log", age)
    ]


async def gaps_in_log(ctx: Context) -> list[Finding]:
    """Say which log files are missing that kept backups need."""
    receiver = upkeep.keeper_of(ctx).receiver
    found = [] if receiver is None else receiver.state.gaps
    return [
        Finding(f"missing: {gap}; a restore cannot go past it without a later backup", gap.first)
        for gap in found
    ]


async def not_receiving(ctx: Context) -> list[Finding]:
    """Say when the receiver does not run, or is so far behind that commits do not wait for it."""
    receiver = upkeep.keeper_of(ctx).receiver
    if receiver is None:
        return []
    if not receiver.state.receiving:
        return [Finding(f"the receiver does not run: {receiver.state.reason or 'it starts'}", "receiver")]
    awaiting = receiver.awaiting
    if awaiting is not None and not awaiting.now and not awaiting.others:
        return [Finding(f"commits do not wait for the receiver: {awaiting.why_not}", "receiver")]
    return []


async def key_only_here(ctx: Context) -> list[Finding]:
    """Say when backups are encrypted with a key that nobody has put in escrow, as far as we know."""
    own = upkeep.keeper_of(ctx).keyring.own
    if own is None:
        return []
    return [
        Finding(
            f"copy {own} to a safe place away from this machine and set recipients to its public key; "
            "without that file the backups are worth nothing",
            "key",
        )
    ]


def health_checks() -> list[HealthCheck]:
    """Return whether there is a good backup."""
    return [HealthCheck(name="backups", check=_health)]


async def _health(ctx: Context) -> Health:
    show_log(ctx)
    for check in (late_backup, gaps_in_log, waiting_log):
        if found := await check(ctx):
            return Health("degraded", found[0].message)
    return Health("ok")
