"""What every named statement cost: count, errors, rows, p50/p95/p99 and a list of recent slow ones.

Percentiles come from a small fixed histogram (about 19 % wide steps) over the last five to ten minutes.
Arguments are never kept. Pool gauges live in `pool`.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import perf_counter

import structlog

from .pool import PoolStatistics

_log = structlog.get_logger("wharfd.db.statistics")

_STEPS_PER_DOUBLING = 4
_SLOTS = 27 * _STEPS_PER_DOUBLING  # one microsecond to 134 seconds; longer ones share the last slot
_WINDOW_SECONDS = 300.0
_MAX_NAMES = 2000  # names come from code, so this is only a guard against generated ones
_OVERFLOW = "(other)"
_SLOW_KEPT = 100


def slot_of(seconds: float) -> int:
    """Return the histogram slot a duration falls into."""
    microseconds = seconds * 1e6
    if microseconds <= 1:
        return 0
    return min(_SLOTS - 1, int(math.log2(microseconds) * _STEPS_PER_DOUBLING))


def upper_seconds(slot: int) -> float:
    """Return the upper end of a slot."""
    return float(2 ** ((slot + 1) / _STEPS_PER_DOUBLING)) / 1e6


@dataclass(slots=True, eq=False)
class Counter:
    """The running figures of one statement."""

    count: int = 0
    errors: int = 0
    rows: int = 0
    slow: int = 0
    total_seconds: float = 0.0
    max_seconds: float = 0.0
    recent: list[int] = field(default_factory=lambda: [0] * _SLOTS)
    before: list[int] = field(default_factory=lambda: [0] * _SLOTS)
    rotate_at: float = 0.0

    def add(self, seconds: float, rows: int, *, failed: bool) -> None:
        """Count one execution."""
        self.count += 1
        self.rows += rows
        if failed:
            self.errors += 1
        self.total_seconds += seconds
        if seconds > self.max_seconds:
            self.max_seconds = seconds
        now = perf_counter()
        if now >= self.rotate_at:
            stale = now >= self.rotate_at + _WINDOW_SECONDS
            self.before = [0] * _SLOTS if stale else self.recent
            self.recent = [0] * _SLOTS
            self.rotate_at = now + _WINDOW_SECONDS
        self.recent[slot_of(seconds)] += 1

    def percentile(self, share: float) -> float:
        """Return the duration below which that share of recent executions stayed; 0 without any."""
        slots = [a + b for a, b in zip(self.recent, self.before, strict=True)]
        wanted = share * sum(slots)
        if wanted == 0:
            return 0.0
        seen = 0
        for slot, number in enumerate(slots):
            seen += number
            if seen >= wanted:
                return min(upper_seconds(slot), self.max_seconds)
        raise AssertionError("unreachable: the slots add up to their sum")


@dataclass(frozen=True)
class StatementStatistics:
    """The figures of one statement, as shown."""

    name: str
    count: int
    errors: int
    rows: int
    slow: int
    total_seconds: float
    mean_seconds: float
    p50_seconds: float
    p95_seconds: float
    p99_seconds: float
    max_seconds: float


@dataclass(frozen=True)
class SlowStatement:
    """One execution above the slow limit."""

    name: str
    seconds: float
    at: datetime
    rows: int
    failed: bool


class Statistics:
    """All statements of a daemon."""

    def __init__(self, slow_seconds: float) -> None:
        self.slow_seconds = slow_seconds
        self._counters: dict[str, Counter] = {}
        self._slow: deque[SlowStatement] = deque(maxlen=_SLOW_KEPT)

    def record(self, name: str, seconds: float, rows: int = 0, *, failed: bool = False) -> None:
        """Count one execution of a statement, and log it when it was slow."""
        counter = self._counters.get(name)
        if counter is None:
            if len(self._counters) >= _MAX_NAMES:
                name = _OVERFLOW
            counter = self._counters.setdefault(name, Counter())
        counter.add(seconds, rows, failed=failed)
        if seconds >= self.slow_seconds:
            counter.slow += 1
            self._slow.append(SlowStatement(name, seconds, datetime.now(UTC), rows, failed))
            _log.warning("slow_statement", statement=name, seconds=round(seconds, 4), rows=rows)

    def statements(self) -> list[StatementStatistics]:
        """Return every statement's figures, the most expensive in total first."""
        shown = [
            StatementStatistics(
                name=name,
                count=c.count,
                errors=c.errors,
                rows=c.rows,
                slow=c.slow,
                total_seconds=c.total_seconds,
                mean_seconds=c.total_seconds / c.count,
                p50_seconds=c.percentile(0.50),
                p95_seconds=c.percentile(0.95),
                p99_seconds=c.percentile(0.99),
                max_seconds=c.max_seconds,
            )
            for name, c in self._counters.items()
            if c.count
        ]
        return sorted(shown, key=lambda s: s.total_seconds, reverse=True)

    def slow(self) -> list[SlowStatement]:
        """Return the latest slow executions, newest first."""
        return list(reversed(self._slow))

    def clear(self) -> None:
        """Start counting anew."""
        self._counters.clear()
        self._slow.clear()


@dataclass(frozen=True)
class DatabaseStatistics:
    """What `Database.statistics()` returns."""

    pools: tuple[PoolStatistics, ...]
    statements: tuple[StatementStatistics, ...]
    slow: tuple[SlowStatement, ...]
    slow_seconds: float = 0.2
