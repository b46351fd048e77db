"""The arithmetic of rate limits, and the answer a caller gets. No storage here.

A budget is one number: its level, the time until it is whole again. Taking raises the level by the interval
of one call; a take that would raise it above the window is refused. (This is GCRA: a leaky bucket, without a
counter to reset.) `calls` may come at once, then one per interval: any stretch of time w admits at most
calls + w / interval.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..declare import Rate

Source = Literal["memory", "redis", "database"]


@dataclass(frozen=True)
class Verdict:
    """Whether a call may go on, and where its budget stands.

    `reset_seconds`: when refused, how long until this call would pass; else until the budget is whole.
    `degraded`: nodes could not be counted together, so this is what this node alone has seen (or, for a
    durable budget, nothing could be counted and the call is refused).
    """

    allowed: bool
    remaining: int
    reset_seconds: float
    limit: int
    window: float
    source: Source = "memory"
    degraded: bool = False

    @property
    def window_seconds(self) -> float:
        """The same as `window`."""
        return self.window


@dataclass(frozen=True)
class Budget:
    """A rate in whole microseconds; rounding is towards fewer calls."""

    rate: Rate
    interval: int
    window: int

    @classmethod
    def of(cls, rate: Rate) -> Budget:
        """Work out the interval between calls."""
        interval = max(1, -int(-rate.seconds * 1_000_000 // rate.calls))
        return cls(rate, interval, interval * rate.calls)

    def after(self, level: int, cost: int) -> int | None:
        """Return the level after taking `cost` calls, or None when that is more than there is."""
        raised = level + cost * self.interval
        return raised if raised <= self.window else None

    def verdict(
        self, allowed: bool, level: int, cost: int, *, source: Source, degraded: bool = False
    ) -> Verdict:
        """Say it in the caller's terms; `level` is the one after the decision."""
        wait = level if allowed else max(0, level + cost * self.interval - self.window)
        return Verdict(
            allowed=allowed,
            remaining=max(0, self.window - level) // self.interval,
            reset_seconds=wait / 1_000_000,
            limit=self.rate.calls,
            window=self.rate.seconds,
            source=source,
            degraded=degraded,
        )
