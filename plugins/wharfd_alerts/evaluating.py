"""Evaluating one rule: ask its plugin, take every alert one step, tell whoever is to be told. One commit."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from time import perf_counter
from typing import Any

import msgspec
import trio

from wharfd import (
    Again,
    AlertRule,
    Finding,
    Job,
    PluginContext,
    Record,
    Snooze,
    Transaction,
    WharfdError,
)
from wharfd.contracts.alerts import AlertFired, AlertResolved

from . import store
from .config import Settings
from .model import Pace, Silence, Step, at_least, bounded, silenced, steps

BROKEN = "cannot_evaluate"  # the rule that fires for rules that could not be evaluated
CHECK_SECONDS = 30.0
_NOT_RUNNING = timedelta(minutes=2)  # a plugin that restarts is no reason to wake anybody
_UNKNOWN_SECONDS = 60.0
_ACTOR = "alerts"


class RuleRow(msgspec.Struct):
    """What the queue's handler gets of a rule."""

    name: str
    plugin: str
    rule: str


def known_rules(ctx: PluginContext[Settings]) -> dict[str, tuple[str, AlertRule]]:
    """Return every rule that plugins of this daemon declared, by `plugin.rule`."""
    return {f"{plugin}.{rule.name}": (plugin, rule) for plugin, rule in ctx.plugins.declared(AlertRule)}


async def evaluate(ctx: PluginContext[Settings], job: Job[RuleRow]) -> Any:
    """Evaluate one rule and come back when it is due again."""
    known = known_rules(ctx).get(job.row.name)
    if known is None:
        return Snooze(_UNKNOWN_SECONDS, reason="no plugin of this daemon has this rule")
    plugin, rule = known
    started = perf_counter()
    findings, problem = await _ask(ctx, plugin, rule)
    seconds = perf_counter() - started
    ctx.metrics["evaluations_total"].labels("failed" if problem else "done").inc()
    ctx.metrics["evaluation_seconds"].observe(seconds)
    async with job.commit() as tx:
        silences = await store.silences(tx)
        if problem is None:
            await _reconcile(ctx, tx, silences, plugin, rule, findings)
        await _reconcile_broken(ctx, tx, silences, job.row.name, rule, problem)
        await tx.execute(store.EVALUATED, job.row.name, problem, len(findings), seconds)
        job.finish(Again(await store.now(tx) + timedelta(seconds=max(1.0, rule.every_seconds))))
    return None


async def _ask(
    ctx: PluginContext[Settings], plugin: str, rule: AlertRule
) -> tuple[Mapping[str, Finding], str | None]:
    """Return what the rule found, or why it could not say."""
    try:
        with trio.move_on_after(CHECK_SECONDS):
            return bounded(await ctx.plugins.call(plugin, rule.check) or ()), None
        return {}, f"its check did not end within {CHECK_SECONDS:g} s"
    except WharfdError as error:  # a sentence that says it all, such as that its plugin does not run
        return {}, str(error)[:500]
    except Exception as error:
        ctx.log.warning("alert_rule_failed", rule=f"{plugin}.{rule.name}", exc_info=True)
        return {}, f"{type(error).__name__}: {error}"[:500]


async def _reconcile(
    ctx: PluginContext[Settings],
    tx: Transaction,
    silences: list[Silence],
    plugin: str,
    rule: AlertRule,
    findings: Mapping[str, Finding],
) -> None:
    """Take every alert of a rule one step."""
    pace = Pace(timedelta(seconds=rule.for_seconds), ctx.settings.resolve_after)
    now = await store.now(tx)
    open_alerts = await store.open_alerts(tx, plugin, rule.name)
    for key in sorted({*open_alerts, *findings}):
        row, finding = open_alerts.get(key), findings.get(key)
        for step in steps(store.as_open(row), finding is not None, now, pace):
            if step is Step.BEGIN:
                assert finding is not None
                row = await store.begin(
                    tx, plugin, rule.name, rule.severity, rule.summary, rule.runbook, finding
                )
            elif step is Step.STAY:
                assert row is not None
                assert finding is not None
                await store.stay(tx, row["id"], finding)
            else:
                assert row is not None
                await store.move(tx, row["id"], step, _ACTOR)
        if row is not None:
            await tell(ctx, tx, silences, row["id"])


async def _reconcile_broken(
    ctx: PluginContext[Settings],
    tx: Transaction,
    silences: list[Silence],
    name: str,
    rule: AlertRule,
    problem: str | None,
) -> None:
    """Keep the alert that says this rule cannot be evaluated."""
    alert = (await store.open_alerts(tx, ctx.name, BROKEN)).get(name)
    if problem is None and alert is None:
        return
    now = await store.now(tx)
    finding = Finding(f"the alert rule {name} cannot be evaluated: {problem}", name)
    for step in steps(store.as_open(alert), problem is not None, now, Pace(_NOT_RUNNING)):
        if step is Step.BEGIN:
            summary = "An alert rule cannot be evaluated"
            severity = "critical" if rule.severity == "critical" else "warning"
            alert = await store.begin(tx, ctx.name, BROKEN, severity, summary, "", finding)
        elif step is Step.STAY:
            assert alert is not None
            await store.stay(tx, alert["id"], finding)
        else:
            assert alert is not None
            await store.move(tx, alert["id"], step, _ACTOR)
    if alert is not None:
        await tell(ctx, tx, silences, alert["id"])


async def tell(ctx: PluginContext[Settings], tx: Transaction, silences: list[Silence], alert_id: str) -> None:
    """Tell of an alert what has not been told: that it fires, that it still does, that it is over."""
    row = await store.read(tx, alert_id)
    if row is None or row["status"] == "pending":
        return
    kind = await _to_tell(ctx, tx, row, silences)
    if kind is None:
        return
    channels = _channels(ctx.settings, row["severity"])
    await store.notify(tx, alert_id, channels, kind)
    if kind != "still":
        await ctx.events.publish(tx, event_of(row))
    if channels:
        ctx.work.wake(tx, "notices", rows=len(channels))
    fields = {
        name: row[name] for name in ("plugin", "rule", "key", "severity", "summary", "message", "value")
    }
    log = ctx.log.info if kind == "resolved" else ctx.log.warning
    words = {"fired": "alert_fired", "still": "alert_still_firing", "resolved": "alert_resolved"}
    fields = {"alert": alert_id, "about": fields.pop("plugin"), **fields}
    tx.after_commit(lambda: log(words[kind], **fields))


async def _to_tell(
    ctx: PluginContext[Settings], tx: Transaction, row: Record, silences: list[Silence]
) -> str | None:
    if row["status"] == "resolved":
        # Whoever heard that it fires hears that it is over, also when it was silenced in between.
        return "resolved" if row["notified_at"] is not None else None
    if silenced(silences, row["plugin"], row["rule"], row["key"]):
        return None
    if row["notified_at"] is None:
        return "fired"
    if row["acknowledged_at"] is not None:
        return None
    return "still" if await store.now(tx) - row["notified_at"] >= ctx.settings.repeat else None


def _channels(settings: Settings, severity: str) -> list[str]:
    if settings.mail is not None and at_least(severity, settings.mail_severity):
        return ["mail"]
    return []


def event_of(row: Record) -> AlertFired | AlertResolved:
    """Return the event that tells of an alert."""
    facts: dict[str, Any] = {
        name: row[name]
        for name in ("plugin", "rule", "key", "severity", "summary", "message", "value", "runbook",
                     "started_at", "fired_at")
    }  # fmt: skip
    if row["status"] == "resolved":
        return AlertResolved(subject=row["id"], resolved_at=row["resolved_at"], **facts)
    return AlertFired(subject=row["id"], **facts)


async def resolve(
    ctx: PluginContext[Settings], tx: Transaction, alert_id: str, actor: str, note: str | None
) -> None:
    """End an alert by hand or because its rule is gone; it fires anew if what it tells of is found again."""
    row = await store.read(tx, alert_id, lock=True)
    if row is None or row["status"] == "resolved":
        return
    await store.move(tx, alert_id, Step.FORGET if row["status"] == "pending" else Step.RESOLVE, actor, note)
    await tell(ctx, tx, [], alert_id)
