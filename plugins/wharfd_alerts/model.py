"""What an alert does when its rule is evaluated: pure, from one moment to the next.

    (nothing) ── found ──▶ pending ── found for long enough ──▶ firing ── well for long enough ──▶ resolved
                              └────── well again ──▶ (forgotten)

No database, no clock: the caller brings the time and what there is, and writes down what comes out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from fnmatch import fnmatchcase

from wharfd import Finding

SEVERITIES = ("info", "warning", "critical")
MOST_KEYS = 100  # findings of one rule; more say no more
REST = "(more)"
MOST_MESSAGE = 1000
MOST_KEY = 200


class Step(Enum):
    """What is to be done with an alert."""

    BEGIN = "begin"  # write it down as pending
    FIRE = "fire"
    STAY = "stay"  # still so: renew message and value
    CLEARING = "clearing"  # well again, but not for long enough
    FORGET = "forget"  # it never fired
    RESOLVE = "resolve"


@dataclass(frozen=True)
class Open:
    """An alert that is not resolved."""

    id: str
    key: str
    status: str
    started_at: datetime
    clear_since: datetime | None = None


@dataclass(frozen=True)
class Pace:
    """How long a rule waits before it fires and before it resolves."""

    for_: timedelta = timedelta(0)
    resolve_after: timedelta = timedelta(0)


def steps(alert: Open | None, found: bool, now: datetime, pace: Pace) -> tuple[Step, ...]:
    """Return what happens to one alert at `now`, in order."""
    if alert is None:
        if not found:
            return ()
        return (Step.BEGIN,) if pace.for_ > timedelta(0) else (Step.BEGIN, Step.FIRE)
    if found:
        due = alert.status == "pending" and now - alert.started_at >= pace.for_
        return (Step.STAY, Step.FIRE) if due else (Step.STAY,)
    if alert.status == "pending":
        return (Step.FORGET,)
    since = alert.clear_since or now
    if now - since >= pace.resolve_after:
        return (Step.RESOLVE,)
    return (Step.CLEARING,) if alert.clear_since is None else ()


def bounded(findings: Iterable[Finding]) -> dict[str, Finding]:
    """Return the findings by key: the first of each, cut to size, at most `MOST_KEYS` and one for the rest.

    Raises TypeError for what is no finding.
    """
    by_key: dict[str, Finding] = {}
    left_out = 0
    for finding in findings:
        if not isinstance(finding, Finding):
            raise TypeError(f"a check returns findings, not {type(finding).__name__}")
        key = _plain(finding.key)[:MOST_KEY]
        if key in by_key:
            continue
        if len(by_key) >= MOST_KEYS:
            left_out += 1
            continue
        by_key[key] = Finding(_plain(finding.message)[:MOST_MESSAGE], key, finding.value)
    if left_out:
        by_key[REST] = Finding(f"{left_out} more findings of this rule", REST, left_out)
    return by_key


def _plain(text: str) -> str:
    return str(text).replace("\0", "\\0")


@dataclass(frozen=True)
class Silence:
    """Keeps alerts quiet whose plugin, rule and key all match its shell patterns."""

    id: str
    plugin: str = "*"
    rule: str = "*"
    key: str = "*"

    def covers(self, plugin: str, rule: str, key: str) -> bool:
        """Whether it is for this alert."""
        return (
            fnmatchcase(plugin, self.plugin) and fnmatchcase(rule, self.rule) and fnmatchcase(key, self.key)
        )


def silenced(silences: Iterable[Silence], plugin: str, rule: str, key: str) -> bool:
    """Whether any of them covers the alert."""
    return any(silence.covers(plugin, rule, key) for silence in silences)


def at_least(severity: str, least: str) -> bool:
    """Whether a severity is as bad as `least` or worse."""
    return SEVERITIES.index(severity) >= SEVERITIES.index(least)


def mail_text(kind: str, alert: Mapping[str, object]) -> tuple[str, str]:
    """Return subject and text of the mail about an alert."""
    word = {"fired": "firing", "still": "still firing", "resolved": "resolved"}[kind]
    name = f"{alert['plugin']}.{alert['rule']}" + (f" {alert['key']}" if alert["key"] else "")
    subject = " ".join(f"[wharfd] {word}: {name}: {alert['summary']}".split())[:200]
    lines = [
        str(alert["message"]),
        "",
        f"alert      {name}",
        f"severity   {alert['severity']}",
        f"since      {alert['started_at']}",
        f"id         {alert['id']}",
    ]
    if alert["value"] is not None:
        lines.insert(4, f"value      {alert['value']:g}")
    if kind == "resolved":
        lines.append(f"resolved   {alert['resolved_at']}")
    elif alert["runbook"]:
        lines.append(f"what to do {alert['runbook']}")
    return subject, "\n".join(lines) + "\n"
