"""The operator's rules: one value, or one per series, out of a daemon's samples, and what it means. Pure."""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import pairwise
from math import isfinite, isnan
from typing import Protocol

from .config import OperatorRule

MOST_SERIES = 50

_OPS: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}


class Series(Protocol):
    """What is needed of a `wharfd.Sample`."""

    @property
    def name(self) -> str:
        """Its name in /metrics."""
        ...

    @property
    def labels(self) -> Mapping[str, str]:
        """Its labels."""
        ...

    @property
    def value(self) -> float:
        """Its value."""
        ...


def matches(rule: OperatorRule, sample: Series) -> bool:
    """Whether the rule is about this series."""
    return sample.name == rule.metric and all(
        fnmatchcase(sample.labels.get(name, ""), pattern) for name, pattern in rule.labels.items()
    )


def values_of(rule: OperatorRule, samples: Iterable[Series]) -> dict[str, float] | None:
    """Return the rule's values by series (all in one under "" unless `each`), None when there is no metric.

    A metric that is there without a series that matches gives no values: nothing was counted yet.
    """
    known = False
    values: dict[str, float] = {}
    for sample in samples:
        if sample.name != rule.metric:
            continue
        known = True
        if not matches(rule, sample) or isnan(sample.value):
            continue
        key = ",".join(f"{k}={v}" for k, v in sorted(sample.labels.items())) if rule.each else ""
        if key in values or len(values) < MOST_SERIES:
            values[key] = values.get(key, 0.0) + sample.value
    return values if known else None


def holds(rule: OperatorRule, value: float, *, firing: bool) -> bool:
    """Whether the alert is on at this value: past the threshold, or once on, not yet back at `clear`."""
    threshold = rule.threshold
    if firing and rule.clear is not None:
        threshold = rule.clear
    return _OPS[rule.op](value, threshold)


@dataclass
class Rates:
    """Turns counters into increases per second over a window, across resets."""

    window_seconds: float
    _seen: dict[str, deque[tuple[float, float]]] = field(default_factory=dict)

    def over(self, values: Mapping[str, float], at: float) -> dict[str, float]:
        """Take in the counters at a (monotonic) time; return the rate of each that was seen before."""
        self._seen = {key: seen for key, seen in self._seen.items() if key in values}
        rates = {}
        for key, value in values.items():
            if not isfinite(value):
                continue
            seen = self._seen.setdefault(key, deque())
            seen.append((at, value))
            # One point older than the window stays, so that the increase covers all of it.
            while len(seen) > 2 and seen[1][0] <= at - self.window_seconds:
                seen.popleft()
            passed = at - seen[0][0]
            if passed <= 0:
                continue
            points = [v for _, v in seen]
            rates[key] = sum(b - a if b >= a else b for a, b in pairwise(points)) / passed
        return rates
