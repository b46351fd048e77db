"""An endpoint's health: when the breaker opens, when a probe may go, when an endpoint is disabled by itself.

Kept in the database and moved on with every attempt, so that it is the same for all daemons and survives
them. Pure: the time is an argument.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

WARNINGS = (50, 70, 90)


@dataclass(frozen=True)
class Limits:
    """When the breaker opens and when failing is enough.

    The breaker opens after `open_after` failures in a row and rests `pause_seconds`, doubled with every
    probe that fails, up to `longest_pause_seconds`. The endpoint is disabled after failing for
    `disable_after` *and* `disable_count` times in a row; None never.
    """

    open_after: int = 5
    pause_seconds: float = 30.0
    longest_pause_seconds: float = 900.0
    disable_after: timedelta | None = timedelta(days=5)
    disable_count: int = 20


@dataclass(frozen=True)
class Health:
    """Failures in a row and what follows from them. `open_until` is when the breaker lets a probe through."""

    failures: int = 0
    failing_since: datetime | None = None
    opened: int = 0
    open_until: datetime | None = None
    warned: int = 0

    def state(self, now: datetime) -> str:
        """`closed`, `open`, or `half_open` when a probe is due."""
        if self.open_until is None:
            return "closed"
        return "open" if now < self.open_until else "half_open"


@dataclass(frozen=True)
class Change:
    """What an attempt did to the health, and what is to be told because of it."""

    health: Health
    opened: bool = False
    closed: bool = False
    disable: bool = False
    warning: int | None = None


def progress(health: Health, now: datetime, limits: Limits) -> float:
    """Return how far the endpoint is on the way to being disabled, in percent: the slower of time and
    count."""
    if limits.disable_after is None or health.failing_since is None:
        return 0.0
    by_time = (now - health.failing_since) / limits.disable_after
    by_count = health.failures / max(1, limits.disable_count)
    return max(0.0, min(by_time, by_count, 1.0)) * 100


def after_success(health: Health) -> Change:
    """Return the health after a delivery: well again, whatever was before."""
    return Change(Health(), closed=health.open_until is not None)


def after_failure(
    health: Health, now: datetime, limits: Limits, *, sick: bool = True, rest_seconds: float = 0.0
) -> Change:
    """Return the health after a failed attempt.

    `sick` is whether it counts; `rest_seconds` is what the receiver asked for with Retry-After: the endpoint
    rests that long, counted or not.
    """
    failures = health.failures + sick
    since = health.failing_since or (now if sick else None)
    changed = replace(health, failures=failures, failing_since=since)
    state = health.state(now)
    was_open = health.open_until is not None
    rest = 0.0
    # While it is open, what fails was sent before it opened and says nothing new.
    if sick and (
        (state == "closed" and failures >= limits.open_after) or (state == "half_open" and health.opened)
    ):
        rest = min(limits.pause_seconds * 2 ** min(health.opened, 30), limits.longest_pause_seconds)
        changed = replace(changed, opened=health.opened + 1)
    rest = max(rest, rest_seconds)
    if rest > 0:
        until = now + timedelta(seconds=rest)
        changed = replace(changed, open_until=max(until, health.open_until or until))
    done = progress(changed, now, limits)
    warning = max((level for level in WARNINGS if done >= level > health.warned), default=None)
    if warning is not None:
        changed = replace(changed, warned=warning)
    return Change(
        changed,
        opened=changed.open_until is not None and not was_open,
        disable=done >= 100,
        warning=None if done >= 100 else warning,
    )
